//! Chat that never loses, repeats or reorders a line.

pub mod link;
pub mod mutant;
pub mod rng;
pub mod secure;
pub mod time;
pub mod transmit;
pub mod wire;

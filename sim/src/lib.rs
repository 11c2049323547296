//! Simulations of tertulia: one plan, two levels, one set of checkers.
//!
//! A [`plan`] is data: who is there, who says what, what the network does, what goes wrong. A
//! [`world`] runs the real machines under it in virtual time, and shows everything that
//! happens to the [checkers](check), a file for each promise of SPEC.md section 2. A
//! [run](run::run) that breaks one prints a command that replays it.

pub mod attack;
pub mod calm;
pub mod check;
pub mod clock;
mod errands;
pub mod failure;
pub mod fate;
pub mod history;
pub mod memory;
pub mod plan;
pub mod record;
pub mod run;
mod told;
pub mod turmoil_world;
pub mod watch;
pub mod world;

//! Entropy.

use std::io;

use crate::rng::Seed;

/// A seed from the operating system: all the randomness that a machine will ever have.
///
/// # Errors
///
/// If the system has none to give.
#[expect(clippy::disallowed_methods, reason = "this is where the driver asks")]
pub fn system_seed() -> io::Result<Seed> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::from)?;
    Ok(seed)
}

//! Invariant 11, in bytes: what the allocator says that the broker holds is within what its limits
//! declare (BRK-9). It is counted where a test asks for it: `tests/memory.rs`.

use super::Checker;
use crate::history::{History, Observation};

/// The broker holds no more than it may.
pub(super) struct Memory;

impl Checker for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match *observation {
            Observation::Holds(bytes) if bytes > history.memory_bound => Err(format!(
                "the broker holds {bytes} bytes, and {} are allowed",
                history.memory_bound
            )),
            _ => Ok(()),
        }
    }
}

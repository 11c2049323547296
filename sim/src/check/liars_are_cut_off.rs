//! A peer that acknowledges what was never sent, or what was left out on purpose, loses its link for
//! it (ACK-3, THR-12): nothing but a CLOSE follows.

use super::Checker;
use crate::history::{History, Observation};

/// Nobody is believed who has surely lied.
pub(super) struct LiarsAreCutOff;

impl Checker for LiarsAreCutOff {
    fn name(&self) -> &'static str {
        "liars_are_cut_off"
    }

    fn on(&mut self, observation: &Observation, _: &History) -> Result<(), String> {
        match observation {
            Observation::Believed(index) => Err(format!(
                "attacker {index} acknowledges what cannot have come, and is believed"
            )),
            _ => Ok(()),
        }
    }
}

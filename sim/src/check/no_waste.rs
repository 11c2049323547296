//! Invariant 10, where nothing excuses anything: over a network that loses, delays and repeats
//! nothing, nothing is taken for lost (LOSS-1, LOSS-2). An impatient probe is no waste (PROBE-1).

use tertulia::situation::Situation;

use super::Checker;
use crate::history::{History, Observation};

/// What is repeated over a perfect network was lost by a machine or by what drives it.
pub(super) struct NoWaste;

impl Checker for NoWaste {
    fn name(&self) -> &'static str {
        "no_waste"
    }

    fn on(&mut self, _: &Observation, _: &History) -> Result<(), String> {
        Ok(())
    }

    fn at_end(&mut self, history: &History) -> Result<(), String> {
        if !history.is_network_perfect {
            return Ok(());
        }
        match history.met[Situation::PieceLost as usize] {
            0 => Ok(()),
            times => Err(format!("{times} pieces are taken for lost, and none was")),
        }
    }
}

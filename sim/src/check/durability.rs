//! Invariant 6: what was durable is there after every recovery (DLV-6).

use super::Checker;
use crate::history::{History, Observation};

/// A broker that starts again has every line that its disk ever had, and no other.
pub(super) struct Durability;

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        let Observation::Recovered { log, lines, .. } = observation else {
            return Ok(());
        };
        for ((of, room), before) in &history.logs {
            let now = lines.iter().find(|(name, _)| name == room);
            let now = now.map_or(&[][..], |(_, lines)| lines);
            if of == log && now != before {
                return Err(format!(
                    "{} had {} lines, and other {} after a recovery",
                    room.as_str(),
                    before.len(),
                    now.len()
                ));
            }
        }
        Ok(())
    }
}

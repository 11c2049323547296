//! Invariant 6: what was durable is there after every recovery (DLV-6).

use super::Checker;
use crate::history::{History, Observation};

/// A broker that starts again has every line that its disk ever had, and no other; from a backup, the
/// first of them.
pub(super) struct Durability;

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        let Observation::Recovered {
            log,
            is_backup,
            lines,
            ..
        } = observation
        else {
            return Ok(());
        };
        for ((of, room), known) in &history.logs {
            let lost = history.lost.get(&(*of, room.clone()));
            let now = lines.iter().find(|(name, _)| name == room);
            let now = now.map_or(&[][..], |(_, lines)| lines);
            // A backup may be older than the one before.
            let is_there = if *is_backup {
                lost.is_some_and(|lost| lost.iter().any(|before| before.starts_with(now)))
            } else {
                known == now
            };
            if of == log && !is_there {
                return Err(format!(
                    "{} had {} lines, and other {} after a recovery",
                    room.as_str(),
                    known.len(),
                    now.len()
                ));
            }
        }
        Ok(())
    }
}

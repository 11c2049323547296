//! Invariant 2: a publication is stored at most once, for ever (DLV-2).

use std::collections::BTreeMap;

use tertulia::chat::{Kind, LogId, RoomName};
use tertulia::secure::{AccountKey, DeviceKey};

use super::Checker;
use crate::history::{History, Observation};

/// No line of a log repeats a publication, and nobody becomes a member twice,
/// or leaves without being one.
#[derive(Default)]
pub(super) struct ExactlyOnceInTheLog {
    stored: BTreeMap<(LogId, RoomName, DeviceKey, u64), u64>,
    members: BTreeMap<(LogId, RoomName, AccountKey), u64>,
}

impl Checker for ExactlyOnceInTheLog {
    fn name(&self) -> &'static str {
        "exactly_once_in_the_log"
    }

    fn on(&mut self, observation: &Observation, _: &History) -> Result<(), String> {
        let Observation::Appended { log, room, line } = observation else {
            return Ok(());
        };
        let before = match line.kind {
            Kind::Joined => self
                .members
                .insert((*log, room.clone(), line.account), line.seq),
            // RUM-12
            Kind::Left => {
                let member = (*log, room.clone(), line.account);
                if self.members.remove(&member).is_none() {
                    return Err(format!("line {}: no member leaves", line.seq));
                }
                None
            }
            _ => self.stored.insert(
                (*log, room.clone(), line.device, line.typed_at_ms),
                line.seq,
            ),
        };
        match before {
            Some(before) => Err(format!(
                "{} line {} is line {before} once more",
                room.as_str(),
                line.seq
            )),
            None => Ok(()),
        }
    }
}

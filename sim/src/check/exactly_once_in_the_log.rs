//! Invariant 2: a publication is stored at most once, for ever (DLV-2).

use std::collections::BTreeMap;

use tertulia::chat::{Kind, Line, LogId, RoomName};
use tertulia::secure::{AccountKey, DeviceKey};

use super::Checker;
use crate::history::{History, Observation};

/// No line of a log repeats a publication, and nobody becomes a member twice,
/// or leaves without being one.
#[derive(Default)]
pub(super) struct ExactlyOnceInTheLog {
    stored: BTreeMap<(LogId, RoomName, AccountKey, u64), u64>,
    members: BTreeMap<(LogId, RoomName, AccountKey), u64>,
    /// From which device each publication was stored last.
    devices: BTreeMap<(LogId, RoomName, (AccountKey, u64)), DeviceKey>,
}

/// What names what was typed, within a room.
const fn key_of(line: &Line) -> (AccountKey, u64) {
    (line.account, line.typed_at_ms)
}

impl Checker for ExactlyOnceInTheLog {
    fn name(&self) -> &'static str {
        "exactly_once_in_the_log"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Appended { log, room, line } => {
                let by = self
                    .devices
                    .get(&(*log, room.clone(), key_of(line)))
                    .copied();
                let taken = self.take(*log, room, line);
                let is_outdated = history.outdated.contains(&line.account);
                // JRN-11: whether it was stored is not told to whoever is revoked, nor to the device as
                // which that is linked again.
                let (account, typed_at_ms) = key_of(line);
                let key = (account, room.clone(), typed_at_ms);
                let is_unconfirmed = history.unconfirmed.contains(&key)
                    && by.is_some_and(|by| by != line.device && history.revoked.contains(&by));
                if is_outdated || is_unconfirmed {
                    Ok(())
                } else {
                    taken
                }
            }
            // What came after the backup has never been.
            Observation::Recovered {
                log,
                is_backup: true,
                lines,
                ..
            } => {
                self.stored.retain(|(of, ..), _| of != log);
                self.members.retain(|(of, ..), _| of != log);
                let lines = lines
                    .iter()
                    .flat_map(|(room, lines)| lines.iter().map(move |line| (room, line)));
                for (room, line) in lines {
                    // What is there was judged when it came.
                    let _judged = self.take(*log, room, line);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl ExactlyOnceInTheLog {
    fn take(&mut self, log: LogId, room: &RoomName, line: &Line) -> Result<(), String> {
        let key = (log, room.clone(), key_of(line));
        self.devices.insert(key, line.device);
        let before = match line.kind {
            Kind::Joined => self
                .members
                .insert((log, room.clone(), line.account), line.seq),
            // RUM-12
            Kind::Left => {
                let member = (log, room.clone(), line.account);
                if self.members.remove(&member).is_none() {
                    return Err(format!("line {}: no member leaves", line.seq));
                }
                None
            }
            _ => self.stored.insert(
                (log, room.clone(), line.account, line.typed_at_ms),
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

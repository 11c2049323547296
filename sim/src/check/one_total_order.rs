//! Invariant 4: all nodes see slices of one log, which never changes (DLV-3), and see nothing
//! before it is durable (DLV-6, BRK-1). If it changes all the same, because the broker was restored
//! from a backup, they are told (RUM-10).

use std::collections::{BTreeMap, BTreeSet};

use tertulia::chat::{Line, LogId, RoomName};

use super::Checker;
use crate::history::{History, Life, Observation};

/// What is stored gets the next number, and what is shown is what the log has at that number.
#[derive(Default)]
pub(super) struct OneTotalOrder {
    tails: BTreeMap<(LogId, RoomName), (u64, u64)>,
    slices: BTreeMap<(Life, RoomName), Slice>,
}

/// What a life was shown of a room since it was told of the last fork.
struct Slice {
    log: LogId,
    /// The number of the last line, and when that was stored.
    last: (u64, u64),
    /// Which versions of the history it can be of. Each keeps its number when it is lost.
    versions: BTreeSet<usize>,
}

impl Checker for OneTotalOrder {
    fn name(&self) -> &'static str {
        "one_total_order"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Appended { log, room, line } => {
                let tail = self.tails.entry((*log, room.clone())).or_default();
                let (seq, stored_at_ms) = core::mem::replace(tail, (line.seq, line.stored_at_ms));
                if line.seq != seq + 1 {
                    return Err(format!("line {} stored after {seq}", line.seq));
                }
                // RUM-4
                if line.stored_at_ms < stored_at_ms {
                    return Err(format!("line {} stored before its predecessor", line.seq));
                }
            }
            Observation::Recovered {
                log,
                is_backup: true,
                lines,
                ..
            } => {
                self.tails.retain(|(of, _), _| of != log);
                for (room, lines) in lines {
                    let version = history.versions(*log, room).count() - 1;
                    let slices = self.slices.iter_mut();
                    for (_, slice) in slices.filter(|((_, of), _)| of == room) {
                        if slice.log == *log && has(lines, slice.last) {
                            slice.versions.insert(version);
                        }
                    }
                    if let Some(line) = lines.last() {
                        let tail = (line.seq, line.stored_at_ms);
                        self.tails.insert((*log, room.clone()), tail);
                    }
                }
            }
            Observation::Fork(life, room) | Observation::RoomLeft(life, room) => {
                self.slices.remove(&(*life, room.clone()));
            }
            // JRN-1
            Observation::Resumed(life, room, log, cursor) => {
                let last = (cursor.seq, cursor.stored_at_ms);
                let versions = history.versions(*log, room).enumerate();
                let versions = versions.filter(|(_, lines)| has(lines, last));
                let slice = Slice {
                    log: *log,
                    last,
                    versions: versions.map(|(version, _)| version).collect(),
                };
                self.slices.insert((*life, room.clone()), slice);
            }
            Observation::Shown {
                life,
                room,
                log,
                line,
            } => return self.show(*life, room, *log, line, history),
            // HST-1
            Observation::Past {
                life,
                room,
                log,
                line,
            } => {
                let index = (line.seq as usize).wrapping_sub(1);
                let mut versions = history.versions(*log, room);
                if !versions.any(|lines| lines.get(index) == Some(line)) {
                    return Err(format!(
                        "client {} is shown an earlier line {} of {} that the log does not have",
                        life.client,
                        line.seq,
                        room.as_str()
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl OneTotalOrder {
    fn show(
        &mut self,
        life: Life,
        room: &RoomName,
        log: LogId,
        line: &Line,
        history: &History,
    ) -> Result<(), String> {
        let index = (line.seq as usize).wrapping_sub(1);
        let versions = || history.versions(log, room).enumerate();
        let has_it: BTreeSet<usize> = versions()
            .filter(|(_, lines)| lines.get(index) == Some(line))
            .map(|(version, _)| version)
            .collect();
        let said = |what: &str| {
            Err(format!(
                "client {} is shown line {} of {}, {what}",
                life.client,
                line.seq,
                room.as_str()
            ))
        };
        if has_it.is_empty() && versions().all(|(_, lines)| lines.get(index).is_none()) {
            return said("which is not stored");
        }
        if has_it.is_empty() {
            return said("and the log has another one");
        }
        let slice = self.slices.entry((life, room.clone()));
        let slice = slice.or_insert_with(|| Slice {
            log,
            last: (0, 0),
            versions: has_it.clone(),
        });
        slice.last = (line.seq, line.stored_at_ms);
        slice.versions.retain(|version| has_it.contains(version));
        if slice.log != log || slice.versions.is_empty() {
            return said("of another history, and was told of no fork");
        }
        Ok(())
    }
}

/// Whether a log has a line with this number and time, or it is the place before the first one.
fn has(lines: &[Line], (seq, stored_at_ms): (u64, u64)) -> bool {
    seq == 0
        || lines
            .get((seq as usize).wrapping_sub(1))
            .is_some_and(|line| line.stored_at_ms == stored_at_ms)
}

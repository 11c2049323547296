//! Invariant 3: what a node shows has numbers that rise by one, through every reconnection
//! (DLV-2, DLV-3), and begins early enough (DLV-1).

use std::collections::{BTreeMap, BTreeSet};

use tertulia::chat::{Kind, Line, LogId, RoomName};
use tertulia::secure::DeviceKey;

use super::Checker;
use crate::history::{History, Life, Observation};

/// The numbers that each life of each node shows in each room.
#[derive(Default)]
pub(super) struct ExactlyOnceInTheApplication {
    last: BTreeMap<(Life, RoomName), Shown>,
    /// When the last line before a fork was stored.
    forked_after: BTreeMap<(Life, RoomName), u64>,
    /// How long each history of the room was when the node said that it was in.
    joined_at: BTreeMap<(Life, RoomName), BTreeMap<LogId, u64>>,
    /// How long it was whenever a device was let in.
    entered_at: BTreeMap<(LogId, RoomName, DeviceKey), BTreeSet<u64>>,
}

/// A line that was shown.
#[derive(Clone, Copy)]
struct Shown {
    seq: u64,
    stored_at_ms: u64,
}

impl Checker for ExactlyOnceInTheApplication {
    fn name(&self) -> &'static str {
        "exactly_once_in_the_application"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Joined(life, room) => {
                let logs = history.logs.keys().filter(|(_, of)| of == room);
                let longest = |log| history.versions(log, room).map(<[Line]>::len).max();
                let tails = logs.map(|(log, _)| (*log, longest(*log).unwrap_or(0) as u64));
                self.joined_at
                    .entry((*life, room.clone()))
                    .or_insert_with(|| tails.collect());
                Ok(())
            }
            Observation::Entered {
                log, room, device, ..
            } => {
                let key = (*log, room.clone(), *device);
                let tail = history.log(*log, room).len() as u64;
                self.entered_at.entry(key).or_default().insert(tail);
                Ok(())
            }
            // JRN-1
            Observation::Resumed(life, room, _, cursor) => {
                let shown = Shown {
                    seq: cursor.seq,
                    stored_at_ms: cursor.stored_at_ms,
                };
                self.last.insert((*life, room.clone()), shown);
                Ok(())
            }
            // RUM-12: who comes again is a new member.
            Observation::RoomLeft(life, room) => {
                let key = (*life, room.clone());
                self.joined_at.remove(&key);
                self.last.remove(&key);
                self.forked_after.remove(&key);
                Ok(())
            }
            // RUM-10: the node goes on in another history, from the same time.
            Observation::Fork(life, room) => {
                let key = (*life, room.clone());
                self.joined_at.remove(&key);
                match self.last.remove(&key) {
                    Some(last) => self.forked_after.insert(key, last.stored_at_ms),
                    // A history that was left before anything of it was shown: its node goes on from
                    // where it came in there, and not from what it had been shown before.
                    None => self.forked_after.remove(&key),
                };
                Ok(())
            }
            Observation::Shown {
                life,
                room,
                log,
                line,
            } => {
                let key = (*life, room.clone());
                let said = |what: String| {
                    Err(format!(
                        "client {} in {}: {what}",
                        life.client,
                        room.as_str()
                    ))
                };
                let shown = Shown {
                    seq: line.seq,
                    stored_at_ms: line.stored_at_ms,
                };
                let forked_after = self.forked_after.remove(&key);
                match self.last.insert(key.clone(), shown) {
                    Some(Shown { seq: last, .. })
                        if last + 1 != line.seq
                            // RUM-16: it left, and came back as a new member.
                            && !(last < line.seq
                                && is_first_allowed(*life, *log, room, line, history)) =>
                    {
                        said(format!("line {} after {last}", line.seq))
                    }
                    None if forked_after.is_some_and(|at| {
                        is_other_than_after(at, *log, room, line.seq, history)
                            && !is_first_allowed(*life, *log, room, line, history)
                            && !self.follows_entry(*life, *log, room, line, history)
                    }) =>
                    {
                        said(format!("begins with line {} after a fork", line.seq))
                    }
                    None => match self.joined_at.get(&key).map(|tails| tails.get(log)) {
                        None => said(format!("line {} before being in", line.seq)),
                        Some(Some(tail)) if line.seq > tail + 1 => said(format!(
                            "begins with line {}, but came when {tail} was the last",
                            line.seq
                        )),
                        Some(_) => Ok(()),
                    },
                    Some(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl ExactlyOnceInTheApplication {
    /// Whether a line is the first one after the device was let in, or what that has stored: all
    /// that follows is told, though a clock that was set back says that it was before (RUM-10).
    fn follows_entry(
        &self,
        life: Life,
        log: LogId,
        room: &RoomName,
        line: &Line,
        history: &History,
    ) -> bool {
        let key = (log, room.clone(), history.device(life.client));
        let is_own = is_own_entry(life, line, history);
        let tails = self.entered_at.get(&key);
        tails.is_some_and(|tails| {
            tails.contains(&(line.seq - 1)) || is_own && tails.contains(&line.seq)
        })
    }
}

/// Whether a line says that the one who reads it has entered.
fn is_own_entry(life: Life, line: &Line, history: &History) -> bool {
    line.kind == Kind::Joined && line.account == history.keys[life.client].0
}

/// Whether a line is the first that was stored after a time in no version of a history.
fn is_other_than_after(at: u64, log: LogId, room: &RoomName, seq: u64, history: &History) -> bool {
    history
        .versions(log, room)
        .all(|lines| seq != first_after(at, lines))
}

/// The number of the first line that was stored after a time.
fn first_after(at_ms: u64, log: &[Line]) -> u64 {
    let before = log.iter().take_while(|line| line.stored_at_ms <= at_ms);
    before.count() as u64 + 1
}

/// Whether a line is the first that the node may read of a history that has a policy (RUM-16).
fn is_first_allowed(
    life: Life,
    log: LogId,
    room: &RoomName,
    line: &Line,
    history: &History,
) -> bool {
    let is_own = is_own_entry(life, line, history);
    let has_policy = |lines: &[Line]| lines.iter().any(|line| line.kind == Kind::Policy);
    is_own && history.versions(log, room).any(has_policy)
}

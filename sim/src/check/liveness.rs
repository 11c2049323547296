//! Invariant 9: once the network heals, everything outstanding is stored and delivered (DLV-1,
//! DLV-8).

use std::collections::{BTreeMap, BTreeSet};

use tertulia::chat::RoomName;

use super::Checker;
use crate::history::{History, Life, Observation};

/// What each living node has still to be told.
#[derive(Default)]
pub(super) struct Liveness {
    seen: BTreeMap<(Life, RoomName), u64>,
    waiting: BTreeSet<(Life, u64)>,
}

impl Checker for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn on(&mut self, observation: &Observation, _: &History) -> Result<(), String> {
        match observation {
            Observation::Shown {
                life, room, line, ..
            } => {
                self.seen.insert((*life, room.clone()), line.seq);
            }
            Observation::Fork(life, room) | Observation::RoomLeft(life, room) => {
                self.seen.remove(&(*life, room.clone()));
            }
            Observation::Resumed(life, room, _, cursor) => {
                self.seen.insert((*life, room.clone()), cursor.seq);
            }
            // What was seen since the backup has never been.
            Observation::Recovered {
                is_backup: true, ..
            } => self.seen.clear(),
            Observation::Restored(life, _, handle, _) => {
                self.waiting.insert((*life, *handle));
            }
            Observation::Typed(typed) => {
                self.waiting.insert((typed.life, typed.handle));
            }
            Observation::Stored(life, _, handle, _)
            | Observation::NotStored(life, _, handle, _) => {
                self.waiting.remove(&(*life, *handle));
            }
            _ => {}
        }
        Ok(())
    }

    fn at_end(&mut self, history: &History) -> Result<(), String> {
        let Some(log) = history.current else {
            return Ok(());
        };
        for (client, (life, rooms)) in &history.alive {
            let waiting = self.waiting.range((*life, 0)..=(*life, u64::MAX)).count();
            if waiting > 0 {
                return Err(format!("client {client} has {waiting} lines not stored"));
            }
            for room in rooms {
                let tail = history.log(log, room).len() as u64;
                let seen = self.seen.get(&(*life, room.clone())).copied();
                // Who has just come has nothing to see if nothing is said any more.
                let seen = seen.max(history.base(*life, room));
                if seen.is_none_or(|seen| seen < tail) {
                    return Err(format!(
                        "{}, client {client} stuck at {}/{tail}",
                        room.as_str(),
                        seen.unwrap_or(0)
                    ));
                }
            }
        }
        Ok(())
    }
}

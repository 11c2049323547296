//! Invariant 3: what a node shows has numbers that rise by one, through every reconnection
//! (DLV-2, DLV-3), and begins early enough (DLV-1).

use std::collections::BTreeMap;

use tertulia::chat::RoomName;

use super::Checker;
use crate::history::{History, Life, Observation};

/// The numbers that each life of each node shows in each room.
#[derive(Default)]
pub(super) struct ExactlyOnceInTheApplication {
    last: BTreeMap<(Life, RoomName), u64>,
    /// The room's last line when the node said that it was in.
    joined_at: BTreeMap<(Life, RoomName), u64>,
}

impl Checker for ExactlyOnceInTheApplication {
    fn name(&self) -> &'static str {
        "exactly_once_in_the_application"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Joined(life, room) => {
                let tail = history
                    .current
                    .map_or(0, |log| history.log(log, room).len());
                self.joined_at
                    .entry((*life, room.clone()))
                    .or_insert(tail as u64);
                Ok(())
            }
            // RUM-10: the node drops its cursor and begins anew.
            Observation::Fork(life, room) => {
                self.last.remove(&(*life, room.clone()));
                self.joined_at.remove(&(*life, room.clone()));
                Ok(())
            }
            Observation::Shown {
                life, room, line, ..
            } => {
                let key = (*life, room.clone());
                let said = |what: String| {
                    Err(format!(
                        "client {} in {}: {what}",
                        life.client,
                        room.as_str()
                    ))
                };
                match self.last.insert(key.clone(), line.seq) {
                    Some(last) if last + 1 != line.seq => {
                        said(format!("line {} after {last}", line.seq))
                    }
                    None => match self.joined_at.get(&key) {
                        None => said(format!("line {} before being in", line.seq)),
                        Some(tail) if line.seq > tail + 1 => said(format!(
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

//! Roaming is not leaving (DLV-7): nobody is said to have gone who was heard within the grace, or
//! to have come who was there.

use std::collections::{BTreeMap, BTreeSet};

use tertulia::chat::{NoticeEvent, RoomName};

use super::Checker;
use crate::history::{History, Life, Observation};

/// Whom the broker says to be there, and what the nodes were told of it.
#[derive(Default)]
pub(super) struct NoNoise {
    present: BTreeSet<(RoomName, String)>,
    /// How often each came, left and timed out, as the broker says.
    changes: BTreeMap<(RoomName, String), [u64; 3]>,
    /// The same as each node shows it.
    shown: BTreeMap<(Life, RoomName, String), [u64; 3]>,
    /// Whether the broker's word is heard at all.
    is_told: bool,
}

impl Checker for NoNoise {
    fn name(&self) -> &'static str {
        "no_noise"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            // A new log is a new broker, which knows of nobody.
            Observation::NewLog => self.present.clear(),
            // What was durable when the broker was killed it may have told, or not.
            Observation::Recovered { present, .. } => {
                let present: BTreeSet<_> = present.iter().cloned().collect();
                for key in present.difference(&self.present) {
                    self.changes.entry(key.clone()).or_default()[0] += 1;
                }
                for key in self.present.difference(&present) {
                    let changes = self.changes.entry(key.clone()).or_default();
                    (changes[1], changes[2]) = (changes[1] + 1, changes[2] + 1);
                }
                self.present = present;
            }
            // RUM-10, RUM-12: it has forgotten which notices of the room it has seen.
            Observation::Fork(life, room) | Observation::RoomLeft(life, room) => {
                self.shown
                    .retain(|(of, name, _), _| (of, name) != (life, room));
            }
            Observation::Came(room, name) => {
                self.is_told = true;
                let key = (room.clone(), name.clone());
                if !self.present.insert(key.clone()) {
                    return Err(format!("{name} comes to {} and was there", room.as_str()));
                }
                self.changes.entry(key).or_default()[0] += 1;
            }
            Observation::Gone(room, name, timed_out) => {
                let key = (room.clone(), name.clone());
                self.changes.entry(key.clone()).or_default()[1 + usize::from(*timed_out)] += 1;
                if !self.present.remove(&key) {
                    return Err(format!("{name} goes, and was not in {}", room.as_str()));
                }
                return may_go(room, name, *timed_out, history);
            }
            Observation::Noticed(life, room, event, name) if self.is_told => {
                let index = match event {
                    NoticeEvent::Joined => 0,
                    NoticeEvent::Left => 1,
                    NoticeEvent::TimedOut => 2,
                };
                let shown = self
                    .shown
                    .entry((*life, room.clone(), name.clone()))
                    .or_default();
                shown[index] += 1;
                let changes = self.changes.get(&(room.clone(), name.clone()));
                if changes.is_none_or(|changes| changes[index] < shown[index]) {
                    return Err(format!(
                        "client {} is told once too often of {name} in {}: {event:?}",
                        life.client,
                        room.as_str()
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// PRS-1: an account ceases to be present because it said so, or after the grace.
fn may_go(room: &RoomName, name: &str, timed_out: bool, history: &History) -> Result<(), String> {
    let Some(account) = history.account_of(name) else {
        return Err(format!("{name}, who is nobody, goes"));
    };
    if !timed_out && !history.leaving.contains(&(account, room.clone())) {
        return Err(format!("{name} is said to leave {}", room.as_str()));
    }
    let silent = history.given_up.get(&(account, room.clone())).copied();
    let silent = silent.unwrap_or_default();
    // Whose link was closed for a broken rule has been heard for the last time then.
    let is_owed = timed_out && !history.attackers.contains(&account);
    if is_owed && silent < history.grace {
        return Err(format!("{name} times out, but was heard {silent:?} before"));
    }
    Ok(())
}

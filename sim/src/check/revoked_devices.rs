//! A device that is revoked says nothing more, its node is told, and what waits there is kept (DEV-6,
//! DEV-8).

use std::collections::{BTreeMap, BTreeSet};

use tertulia::chat::{Kind, LogId, Refusal, RoomName};
use tertulia::client::EndReason;
use tertulia::secure::DeviceKey;
use tertulia::situation::{self, Situation};

use super::Checker;
use crate::history::{History, Life, Observation};

/// Who is revoked, and what has no outcome at whose node.
#[derive(Default)]
pub(super) struct RevokedDevices {
    /// How many publications may still come of each, that were with the store before.
    revoked: BTreeMap<(LogId, DeviceKey), usize>,
    /// What has no outcome: in which room, and when it was typed.
    waiting: BTreeMap<(Life, u64), (RoomName, u64)>,
    /// The lives that ended because their devices were revoked.
    ended: BTreeSet<Life>,
}

impl Checker for RevokedDevices {
    fn name(&self) -> &'static str {
        "revoked_devices"
    }

    fn on(&mut self, observation: &Observation, _: &History) -> Result<(), String> {
        match observation {
            Observation::Revoked {
                log,
                device,
                under_way,
            } => {
                let key = (*log, *device);
                self.revoked.entry(key).or_insert(*under_way);
                Ok(())
            }
            // It may be older than the revocation.
            Observation::Recovered {
                log,
                is_backup: true,
                ..
            } => {
                self.revoked.retain(|(of, _), _| of != log);
                Ok(())
            }
            Observation::Appended { log, room, line } if line.kind == Kind::Message => {
                match self.revoked.get_mut(&(*log, line.device)) {
                    Some(0) => Err(format!(
                        "line {} of {} is of a device that was revoked before",
                        line.seq,
                        room.as_str()
                    )),
                    Some(under_way) => {
                        *under_way -= 1;
                        Ok(())
                    }
                    None => Ok(()),
                }
            }
            Observation::Typed(typed) => {
                let key = (typed.life, typed.handle);
                let what = (typed.room.clone(), typed.typed_at_ms);
                self.waiting.insert(key, what);
                Ok(())
            }
            Observation::Restored(life, room, handle, typed_at_ms) => {
                let what = (room.clone(), *typed_at_ms);
                self.waiting.insert((*life, *handle), what);
                Ok(())
            }
            Observation::Stored(life, _, handle, _)
            | Observation::NotStored(life, _, handle, _) => {
                self.waiting.remove(&(*life, *handle));
                Ok(())
            }
            Observation::Ended(
                life,
                EndReason::NotAdmitted {
                    code: Refusal::DeviceRevoked,
                    ..
                },
            ) => {
                self.ended.insert(*life);
                Ok(())
            }
            Observation::LeftBehind(life, kept) if self.ended.contains(life) => {
                self.compare(*life, kept)
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, history: &History) -> Result<(), String> {
        let Some(log) = history.current else {
            return Ok(());
        };
        let mut alive = history.alive.keys();
        let goes_on = alive.find(|client| {
            let key = (log, history.device(**client));
            self.revoked.contains_key(&key)
        });
        match goes_on {
            Some(client) => Err(format!("client {client} goes on, and is revoked")),
            None => Ok(()),
        }
    }
}

impl RevokedDevices {
    /// Whether the journal of a life that was revoked has what its node said nothing of.
    fn compare(&self, life: Life, kept: &BTreeSet<(RoomName, u64)>) -> Result<(), String> {
        let waiting = self.waiting.range((life, 0)..=(life, u64::MAX));
        let waiting: Vec<_> = waiting.map(|(_, what)| what).collect();
        if !waiting.is_empty() {
            situation::meet(Situation::RevokedWhileWaiting);
        }
        match waiting.iter().find(|what| !kept.contains(**what)) {
            Some((room, typed_at_ms)) => Err(format!(
                "client {} is revoked, and what it typed in {} at {typed_at_ms} is gone",
                life.client,
                room.as_str()
            )),
            None => Ok(()),
        }
    }
}

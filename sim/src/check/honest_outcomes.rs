//! Invariant 7: every publication of a node that lives gets exactly one outcome, and it is true
//! (DLV-6, NOD-2).

use std::collections::{BTreeMap, BTreeSet};

use tertulia::chat::{Kind, Line, Refusal, RoomName};
use tertulia::secure::AccountKey;
use tertulia::situation::{self, Situation};

use super::Checker;
use crate::history::{History, Life, Observation};

/// "Stored" is said once, after the store has said so, with the right number. Nothing in these
/// runs deserves a refusal but a policy of somebody who did not make the room (RUM-16), and what waits
/// at one device while another one leaves the room (PUB-10, DEV-9). What was refused is never stored.
#[derive(Default)]
pub(super) struct HonestOutcomes {
    told: BTreeMap<(Life, u64), u64>,
    refused: BTreeSet<(AccountKey, RoomName, u64)>,
}

impl Checker for HonestOutcomes {
    fn name(&self) -> &'static str {
        "honest_outcomes"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Stored(life, room, handle, seq) => {
                if let Some(before) = self.told.insert((*life, *handle), *seq) {
                    return Err(format!(
                        "client {} says twice that {handle} is stored: as {before} and {seq}",
                        life.client
                    ));
                }
                let typed = history.handles.get(&(*life, *handle));
                let account = history.keys[life.client].0;
                let is_true = typed.is_some_and(|(typed_in, typed_at_ms)| {
                    typed_in == room
                        && history.logs.keys().any(|(log, of)| {
                            of == room
                                && history.versions(*log, room).any(|lines| {
                                    let line = lines.get((*seq as usize).wrapping_sub(1));
                                    line.is_some_and(|line| {
                                        line.account == account && line.typed_at_ms == *typed_at_ms
                                    })
                                })
                        })
                });
                if is_true {
                    return Ok(());
                }
                Err(format!(
                    "client {} says that {handle} is stored as {seq} of {}, but it is not",
                    life.client,
                    room.as_str()
                ))
            }
            Observation::NotStored(life, room, handle, (code, may_be_stored)) => {
                if *code == Refusal::NotAdmitted && may_be_refused(*life, *handle, history) {
                    self.told.insert((*life, *handle), 0);
                    // PUB-10: it does not claim to know.
                    return match may_be_stored {
                        true => Ok(()),
                        false => self.refuse(*life, *handle, history),
                    };
                }
                Err(format!(
                    "client {} says that {handle} is refused in {}: {code}",
                    life.client,
                    room.as_str()
                ))
            }
            Observation::Appended { room, line, .. } => {
                let key = (line.account, room.clone(), line.typed_at_ms);
                let is_message = is_typed(line.kind);
                // A journal that was restored from a backup may know nothing of the refusal.
                let author = history.source(room, line).map(|typed| typed.life.client);
                let is_outdated = history.outdated.contains(&line.account)
                    || author.is_some_and(|client| history.restored.contains(&client));
                if is_message && !is_outdated && self.refused.contains(&key) {
                    return Err(format!("line {} was refused before", line.seq));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, history: &History) -> Result<(), String> {
        for (life, _) in history.alive.values() {
            let all = history.handles.range((*life, 0)..=(*life, u64::MAX));
            for ((_, handle), _) in all {
                if !self.told.contains_key(&(*life, *handle)) {
                    return Err(format!(
                        "client {} never says what became of {handle}",
                        life.client
                    ));
                }
            }
        }
        Ok(())
    }
}

impl HonestOutcomes {
    /// What is refused is nowhere in the log, and will not be.
    fn refuse(&mut self, life: Life, handle: u64, history: &History) -> Result<(), String> {
        let Some((room, typed_at_ms)) = history.handles.get(&(life, handle)) else {
            return Ok(());
        };
        let account = history.keys[life.client].0;
        let lines = history
            .current
            .map_or(&[][..], |log| history.log(log, room));
        let is_it = |line: &&Line| {
            is_typed(line.kind) && line.account == account && line.typed_at_ms == *typed_at_ms
        };
        let key = (account, room.clone(), *typed_at_ms);
        // JRN-11: another device had sent it, and was revoked before it was told.
        if let Some(line) = lines.iter().find(is_it)
            && !history.outdated.contains(&account)
            && !history.unconfirmed.contains(&key)
        {
            return Err(format!(
                "client {} says that {handle} is refused, and it is line {} of {}",
                life.client,
                line.seq,
                room.as_str()
            ));
        }
        self.refused.insert(key);
        Ok(())
    }
}

/// Whether somebody has typed it: a broker's own lines are of some millisecond, too.
const fn is_typed(kind: Kind) -> bool {
    matches!(kind, Kind::Message | Kind::Policy)
}

/// Whether it was taken out of the room with its account, or is a policy, for a room that somebody else
/// made in some version of its history.
fn may_be_refused(life: Life, handle: u64, history: &History) -> bool {
    let account = history.keys[life.client].0;
    let Some((room, typed_at_ms)) = history.handles.get(&(life, handle)) else {
        return false;
    };
    if history.was_taken_out(life.client, room) {
        situation::meet(Situation::TakenOutByOwnDevice);
        return true;
    }
    let typed = history.typed.get(&(account, room.clone(), *typed_at_ms));
    let is_policy = typed.is_some_and(|typed| typed.kind == Kind::Policy);
    let mut logs = history.logs.keys().filter(|(_, of)| of == room);
    let made_by_another = logs.any(|(log, of)| {
        let mut versions = history.versions(*log, of);
        versions.any(|lines| lines.first().is_some_and(|line| line.account != account))
    });
    let may_be = is_policy && made_by_another;
    if may_be {
        situation::meet(Situation::PolicyRefused);
    }
    may_be
}

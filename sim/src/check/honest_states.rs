//! "Delivered" is never said of more than was the case (DLV-6, STA-1, STA-3), and in the end of no
//! less.

use std::collections::{BTreeMap, BTreeSet};

use tertulia::chat::{Delivered, Kind, Line, LogId, RoomName};
use tertulia::secure::AccountKey;
use tertulia::situation::{self, Situation};

use super::Checker;
use crate::history::{History, Life, Observation};

/// Who was to have each line, who was there, and what its author was told of it.
#[derive(Default)]
pub(super) struct HonestStates {
    members: BTreeMap<(LogId, RoomName), BTreeMap<AccountKey, u64>>,
    present: BTreeMap<RoomName, BTreeSet<AccountKey>>,
    /// Who was present when a line was stored.
    present_at: BTreeMap<(LogId, RoomName, u64), BTreeSet<AccountKey>>,
    /// What was typed to be watched, once it is stored: as which line.
    watched: BTreeMap<(Life, u64), (RoomName, u64)>,
    told: BTreeMap<(Life, u64), Delivered>,
}

impl Checker for HonestStates {
    fn name(&self) -> &'static str {
        "honest_states"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Appended { log, room, line } => {
                let members = self.members.entry((*log, room.clone())).or_default();
                change(members, line);
                let present = self.present.get(room).into_iter().flatten();
                let key = (*log, room.clone(), line.seq);
                // A line of the same number may have been lost with a backup.
                self.present_at.entry(key).or_default().extend(present);
            }
            Observation::Present {
                room,
                account,
                is_present,
                ..
            } => {
                let present = self.present.entry(room.clone()).or_default();
                if *is_present {
                    present.insert(*account);
                } else {
                    present.remove(account);
                }
            }
            Observation::NewLog => self.present.clear(),
            Observation::Recovered {
                log,
                is_backup: true,
                lines,
                present,
            } => {
                self.members.retain(|(of, _), _| of != log);
                for (room, lines) in lines {
                    let members = self.members.entry((*log, room.clone())).or_default();
                    lines.iter().for_each(|line| change(members, line));
                }
                self.present.clear();
                for (room, name) in present {
                    let present = self.present.entry(room.clone()).or_default();
                    present.extend(history.account_of(name));
                }
            }
            Observation::Stored(life, room, handle, seq) => {
                self.note_stored(*life, room, *handle, *seq, history);
            }
            Observation::Delivered(life, room, handle, delivered) => {
                self.told.insert((*life, *handle), *delivered);
                if delivered.k == delivered.n {
                    situation::meet(Situation::DeliveredToAll);
                }
                return self.judge(*life, room, *handle, *delivered, history);
            }
            _ => {}
        }
        Ok(())
    }

    /// Everybody who lives has said by now what they have. After a fork the lines that were watched
    /// may be others.
    fn at_end(&mut self, history: &History) -> Result<(), String> {
        let Some(log) = history.current.filter(|_| history.forked_at.is_none()) else {
            return Ok(());
        };
        for ((life, handle), (room, seq)) in &self.watched {
            let lives = history.alive.get(&life.client).map(|(life, _)| *life);
            let is_in = history.joined.contains(&(*life, room.clone()));
            let account = history.keys[life.client].0;
            // Leaving a room ends what is watched there.
            let left = history.leaving.contains(&(account, room.clone()));
            if lives != Some(*life) || !is_in || left {
                continue;
            }
            let have = who_have(history, log, room, *seq);
            let to_have = self.to_have(log, room, *seq, account);
            let least = to_have.intersection(&have).count() as u64;
            let told = self.told.get(&(*life, *handle)).copied();
            let n = to_have.len() as u64;
            // Once all have it nothing more is told, whoever leaves then.
            let is_right = |told: Delivered| told.k == told.n || told.k >= least && told.n == n;
            if !told.is_some_and(is_right) {
                return Err(format!(
                    "client {} watches line {seq} of {}, which {least} of {n} have, and is told {told:?}",
                    life.client,
                    room.as_str()
                ));
            }
        }
        Ok(())
    }
}

impl HonestStates {
    /// A watch begins when the line is stored, and ends with the life that asked for it.
    fn note_stored(
        &mut self,
        life: Life,
        room: &RoomName,
        handle: u64,
        seq: u64,
        history: &History,
    ) {
        let source = history.handles.get(&(life, handle));
        let account = history.keys[life.client].0;
        let typed = source.and_then(|(_, typed_at_ms)| {
            let key = (account, room.clone(), *typed_at_ms);
            history.typed.get(&key)
        });
        if typed.is_some_and(|typed| typed.is_watched && typed.life == life) {
            self.watched.insert((life, handle), (room.clone(), seq));
        }
    }

    /// Who was a member when a line was stored, and still is, but for its author.
    fn to_have(
        &self,
        log: LogId,
        room: &RoomName,
        seq: u64,
        author: AccountKey,
    ) -> BTreeSet<AccountKey> {
        let members = self.members.get(&(log, room.clone()));
        let members = members.into_iter().flatten();
        let are_to = members.filter(|(account, joined)| **account != author && **joined <= seq);
        are_to.map(|(account, _)| *account).collect()
    }

    /// What is told is at most what was so when the line was stored, or is now.
    fn judge(
        &self,
        life: Life,
        room: &RoomName,
        handle: u64,
        told: Delivered,
        history: &History,
    ) -> Result<(), String> {
        let author = history.keys[life.client].0;
        let source = history.handles.get(&(life, handle));
        let index = (told.seq as usize).wrapping_sub(1);
        let is_it = |line: &Line| {
            line.account == author
                && source.is_some_and(|(_, typed_at_ms)| line.typed_at_ms == *typed_at_ms)
        };
        let logs = history.logs.keys().filter(|(_, of)| of == room);
        let possible = logs.flat_map(|(log, _)| {
            let versions = history.versions(*log, room);
            versions.map(move |lines| (*log, lines))
        });
        let mut possible = possible.filter(|(_, lines)| lines.get(index).is_some_and(is_it));
        let is_true = possible.any(|(log, lines)| {
            let mut members = BTreeMap::new();
            let before = &lines[..=index];
            before.iter().for_each(|line| change(&mut members, line));
            members.remove(&author);
            let has = |account: &&AccountKey| {
                let key = (log, room.clone(), **account);
                let has = history.journaled.get(&key);
                // Who keeps to no rule may say that it has what it has not.
                history.attackers.contains(*account)
                    || has.is_some_and(|has| has.contains(&told.seq))
            };
            let present = self.present_at.get(&(log, room.clone(), told.seq));
            let present = present.into_iter().flatten();
            let present = present
                .filter(|account| members.contains_key(account))
                .count() as u64;
            told.n <= members.len() as u64
                && told.k <= members.keys().filter(has).count() as u64
                && told.present_n <= present
        });
        let adds_up = told.k <= told.n
            && told.present_n <= told.n
            && told.present_k <= told.k.min(told.present_n);
        if is_true && adds_up {
            return Ok(());
        }
        Err(format!(
            "client {} is told {told:?} of {handle} in {}, which is too much",
            life.client,
            room.as_str()
        ))
    }
}

/// Who is there in the end and has a line. It is not there for whom a hole was left: who is let in,
/// does not hear of it, and asks again, goes on after what was said in between.
fn who_have(history: &History, log: LogId, room: &RoomName, seq: u64) -> BTreeSet<AccountKey> {
    let living = history.alive.iter();
    let have = living.filter_map(|(client, (life, _))| {
        let account = history.keys[*client].0;
        // Who has lost what it had does not report it, and another device of its need not have it.
        let mut restored = history.restored.iter();
        let has_lost = restored.any(|client| history.keys[*client].0 == account)
            || history.retired.values().any(|of| *of == account);
        let is_in = history.joined.contains(&(*life, room.clone()));
        let journaled = history.journaled.get(&(log, room.clone(), account));
        let has = journaled.is_some_and(|lines| lines.contains(&seq));
        (is_in && has && !has_lost).then_some(account)
    });
    have.collect()
}

/// What a line makes of who is a member, and since which line.
fn change(members: &mut BTreeMap<AccountKey, u64>, line: &Line) {
    match line.kind {
        Kind::Joined => {
            members.insert(line.account, line.seq);
        }
        Kind::Left => {
            members.remove(&line.account);
        }
        _ => {}
    }
}

//! Invariant 5: lines of one device appear in the order in which it published them (DLV-4), and
//! none is left out (PUB-1, PUB-2).

use std::collections::{BTreeMap, BTreeSet};

use tertulia::chat::{Kind, LogId, RoomName};
use tertulia::secure::DeviceKey;

use super::Checker;
use crate::history::{History, Life, Observation};

/// In the log, a device's lines rise; within one life of its node they rise by one. A new life
/// begins where it begins, because what waited in the old one may be gone with it; and in a new
/// log a node goes on with what it had waiting.
#[derive(Default)]
pub(super) struct Fifo {
    last: BTreeMap<(LogId, RoomName, DeviceKey), (Life, usize)>,
    /// The index of a life's first line in a room.
    first: BTreeMap<(Life, RoomName), usize>,
    /// The indices of what may be refused, by client: policies, and what was.
    refusable: BTreeSet<(usize, RoomName, usize)>,
}

impl Checker for Fifo {
    fn name(&self) -> &'static str {
        "fifo"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        if let Observation::Typed(typed) = observation {
            self.first
                .entry((typed.life, typed.room.clone()))
                .or_insert(typed.index);
            if typed.kind == Kind::Policy {
                let key = (typed.life.client, typed.room.clone(), typed.index);
                self.refusable.insert(key);
            }
        }
        if let Observation::NotStored(life, room, handle, _) = observation
            && let Some((_, typed_at_ms)) = history.handles.get(&(*life, *handle))
        {
            let account = history.keys[life.client].0;
            let key = (account, room.clone(), *typed_at_ms);
            if let Some(typed) = history.typed.get(&key) {
                let key = (typed.life.client, room.clone(), typed.index);
                self.refusable.insert(key);
            }
        }
        if let Observation::Recovered {
            log,
            is_backup: true,
            lines,
            ..
        } = observation
        {
            self.last.retain(|(of, ..), _| of != log);
            for (room, lines) in lines {
                for line in lines {
                    if let Some(typed) = history.source(room, line) {
                        let key = (*log, room.clone(), line.device);
                        self.last.insert(key, (typed.life, typed.index));
                    }
                }
            }
        }
        let Observation::Appended { log, room, line } = observation else {
            return Ok(());
        };
        if !matches!(line.kind, Kind::Message | Kind::Policy)
            || history.outdated.contains(&line.account)
            || history.attackers.contains(&line.account)
        {
            return Ok(());
        }
        let Some(typed) = history.source(room, line) else {
            return Ok(());
        };
        let (life, index) = (typed.life, typed.index);
        let key = (*log, room.clone(), line.device);
        let before = self.last.insert(key, (life, index));
        // What is missing is what an older history has.
        let is_first_log =
            history.restores == 0 && history.logs.keys().all(|(other, _)| other == log);
        // Who is linked again goes on with what waited before.
        let is_restored =
            history.restored.contains(&life.client) || history.was_revoked(life.client);
        let expected = match before {
            Some((before, last)) if before == life && history.restores == 0 && !is_restored => {
                Some(last + 1)
            }
            _ if is_restored => None,
            // In its first log a life's lines begin with its first.
            _ if is_first_log => self.first.get(&(life, room.clone())).copied(),
            _ => None,
        };
        let skips_refused = |from: usize| {
            let mut skipped = from..index;
            skipped.all(|i| self.refusable.contains(&(life.client, room.clone(), i)))
        };
        // JRN-9: a journal of before brings back what was given up with the room since.
        let has_come_back = history.restored.contains(&life.client)
            && history.leaving.contains(&(line.account, room.clone()));
        let is_late = !has_come_back && before.is_some_and(|(_, last)| index <= last);
        if is_late || expected.is_some_and(|from| from > index || !skips_refused(from)) {
            return Err(format!(
                "{} line {} is number {index} of client {}, after {:?}",
                room.as_str(),
                line.seq,
                life.client,
                before.map(|(_, last)| last),
            ));
        }
        Ok(())
    }
}

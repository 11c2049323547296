//! Members that keep to no rule delay nobody (THR-11): what an honest node types while they are at
//! work, in a room with other honest nodes that are connected, is shown to each of these within the
//! bound of [`Calm`](crate::calm::Calm): six round trips, what the store and the journal take for a
//! request, and a constant.
//!
//! Only lines are judged for which the plan lets nothing else go wrong near their time, neither with
//! their authors nor with their readers nor with the broker; and none in plans whose network loses
//! anything.

use std::collections::{BTreeMap, BTreeSet};

use tertulia::chat::{Kind, RoomName};
use tertulia::secure::AccountKey;
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;

use super::Checker;
use crate::history::{History, Life, Observation, Typed};

/// What names a line.
type Key = (AccountKey, RoomName, u64);

/// Nobody waits for a line for longer because somebody attacks.
#[derive(Default)]
pub(super) struct NobodyIsDelayed {
    online: BTreeSet<Life>,
    /// When each line was typed, and who is still to be shown it.
    awaited: BTreeMap<Key, (Timestamp, BTreeSet<Life>)>,
}

impl Checker for NobodyIsDelayed {
    fn name(&self) -> &'static str {
        "nobody_is_delayed"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Online(life) => {
                self.online.insert(*life);
            }
            Observation::Offline(life) | Observation::Died(life) | Observation::Ended(life, _) => {
                self.online.remove(life);
            }
            Observation::Typed(typed) => self.await_line(typed, history),
            Observation::Shown {
                life, room, line, ..
            } => {
                let key = (line.account, room.clone(), line.typed_at_ms);
                self.shown(*life, key, history);
            }
            _ => {}
        }
        self.find_late(history)
    }

    fn at_end(&mut self, history: &History) -> Result<(), String> {
        self.find_late(history)
    }
}

impl NobodyIsDelayed {
    /// Somebody types a line: who has to see it soon?
    fn await_line(&mut self, typed: &Typed, history: &History) {
        let Some(calm) = &history.calm else {
            return;
        };
        let is_there = |life: &Life| {
            self.online.contains(life)
                && history.joined.contains(&(*life, typed.room.clone()))
                && calm.is_calm(life.client, history.now)
        };
        let is_judged = typed.kind == Kind::Message && calm.is_attacked(history.now);
        if !is_judged || !is_there(&typed.life) {
            return;
        }
        let lives = history.alive.values().map(|(life, _)| *life);
        let others = lives.filter(|life| *life != typed.life && is_there(life));
        let readers: BTreeSet<Life> = others.collect();
        if !readers.is_empty() {
            let account = history.keys[typed.life.client].0;
            let key = (account, typed.room.clone(), typed.typed_at_ms);
            self.awaited.insert(key, (history.now, readers));
        }
    }

    fn shown(&mut self, life: Life, key: Key, history: &History) {
        let Some((since, readers)) = self.awaited.get_mut(&key) else {
            return;
        };
        let is_in_time =
            (history.calm.as_ref()).is_some_and(|calm| history.now <= *since + calm.within());
        if is_in_time && readers.remove(&life) {
            situation::meet(Situation::ShownWhileAttacked);
        }
        if readers.is_empty() {
            self.awaited.remove(&key);
        }
    }

    /// Whether a line has not come in time.
    fn find_late(&self, history: &History) -> Result<(), String> {
        let Some(calm) = &history.calm else {
            return Ok(());
        };
        let mut awaited = self.awaited.iter();
        let late = awaited.find(|(_, (since, _))| *since + calm.within() < history.now);
        let Some(((_, room, typed_at_ms), (since, readers))) = late else {
            return Ok(());
        };
        let clients = readers.iter().map(|life| life.client);
        Err(format!(
            "{}, what was typed at {since} (line {typed_at_ms}) is not shown to clients {:?} within \
             {:?}",
            room.as_str(),
            clients.collect::<Vec<_>>(),
            calm.within()
        ))
    }
}

//! The simulated storage: the reference store behind a latency, in order, failing on request.
//!
//! It writes the log that the checkers believe in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tertulia::broker::{
    MemoryStore, PresenceRow, StorageCompletion, StorageOp, StorageOutcome, StorageRequest,
};
use tertulia::chat::{Line, LogId, NoticeEvent, Recorded, RoomName};
use tertulia::mutant::{self, Mutant};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;

use crate::fate::{Dice, mix};
use crate::history::Observation;

/// A store with a latency.
pub struct SimStore {
    memory: MemoryStore,
    queue: VecDeque<StorageRequest>,
    latency: Duration,
    /// When the request before is done: they are done in order (BRK-5).
    busy_until: Timestamp,
    dice: Dice,
    /// By how much longer requests take now, for each fault.
    slow: Vec<Duration>,
    /// How often requests fail now, in thousandths, for each fault.
    failing: Vec<u64>,
    /// For how many faults there is no room now.
    full: u32,
    /// Whether something was refused for that.
    was_full: bool,
    /// The last line of each room when the broker was killed last.
    tails: BTreeMap<RoomName, u64>,
    /// What is told as done and is not, if the store is a mutant.
    unsynced: Vec<Observation>,
    /// What was there before the last line, if the store is a mutant.
    earlier: Option<MemoryStore>,
}

impl SimStore {
    /// An empty store.
    #[must_use]
    pub const fn new(log: LogId, latency: Duration, seed: u64) -> Self {
        Self {
            memory: MemoryStore::new(log),
            queue: VecDeque::new(),
            latency,
            busy_until: Timestamp::ZERO,
            dice: Dice::new(mix(seed, 0x5702)),
            slow: Vec::new(),
            failing: Vec::new(),
            full: 0,
            was_full: false,
            tails: BTreeMap::new(),
            unsynced: Vec::new(),
            earlier: None,
        }
    }

    /// What is stored.
    #[must_use]
    pub const fn memory(&self) -> &MemoryStore {
        &self.memory
    }

    /// Makes requests take longer, or ends that.
    pub fn slow(&mut self, by: Duration, on: bool) {
        toggle(&mut self.slow, by, on);
    }

    /// Makes requests fail, or ends that.
    pub fn fail(&mut self, permille: u64, on: bool) {
        toggle(&mut self.failing, permille, on);
    }

    /// Leaves no room for anything more, or ends that.
    pub const fn fill(&mut self, on: bool) {
        if on {
            self.full += 1;
        } else {
            self.full = self.full.saturating_sub(1);
        }
    }

    /// How long a request takes now.
    #[must_use]
    pub fn takes(&self) -> Duration {
        self.latency + self.slow.iter().sum::<Duration>()
    }

    /// Takes a request, and says when it will be done.
    pub fn submit(&mut self, request: StorageRequest, now: Timestamp) -> Timestamp {
        self.busy_until = self.busy_until.max(now + self.takes());
        self.queue.push_back(request);
        self.busy_until
    }

    /// The broker is gone. So many thousandths of what it asked are done, from the oldest on.
    pub fn crash(&mut self, commits_permille: u64) -> Vec<Observation> {
        if !self.queue.is_empty() {
            situation::meet(Situation::KilledWhileStoring);
        }
        let done = self.queue.len() * commits_permille as usize / 1_000;
        let all = (0..done).filter_map(|_| self.complete());
        let seen = all.flat_map(|(_, observations)| observations).collect();
        self.queue.clear();
        let rooms = self.memory.rooms();
        let tails = rooms.map(|room| (room.clone(), self.memory.lines(room).count() as u64));
        self.tails = tails.collect();
        self.unsynced.clear();
        self.busy_until = Timestamp::ZERO;
        if let Some(earlier) = self.earlier.take() {
            self.memory = earlier;
        }
        seen
    }

    /// What is there from here on is what was there before, and is no longer.
    pub fn restore(&mut self, backup: MemoryStore) {
        self.memory = backup;
        self.earlier = None;
    }

    /// What is there when the broker starts again; whether that is a backup.
    #[must_use]
    pub fn recovered(&self, is_backup: bool) -> Observation {
        let mut memory = self.memory.clone();
        let rooms: Vec<RoomName> = memory.rooms().cloned().collect();
        let lines = rooms.into_iter().map(|room| {
            let lines = self.memory.lines(&room).cloned().collect();
            (room, lines)
        });
        let lines = lines.collect();
        let request = StorageRequest {
            id: 0,
            op: StorageOp::Open,
        };
        let present = match memory.handle(request).outcome {
            StorageOutcome::Opened(opened) => opened.presence,
            _ => Vec::new(),
        };
        let present = present
            .into_iter()
            .map(|row| (row.room, row.author.name.to_string()));
        Observation::Recovered {
            log: self.memory.log_id(),
            is_backup,
            lines,
            present: present.collect(),
        }
    }

    /// How many publications are under way.
    #[must_use]
    pub fn publications(&self) -> usize {
        let ops = self.queue.iter().map(|request| &request.op);
        ops.filter(|op| matches!(op, StorageOp::Append { .. }))
            .count()
    }

    /// STO-8: a full disk takes nothing, and can still be read.
    fn has_no_room(&mut self, op: &StorageOp) -> bool {
        let reads = matches!(
            op,
            StorageOp::Open
                | StorageOp::Read { .. }
                | StorageOp::History { .. }
                | StorageOp::Members { .. }
        );
        let has_no_room = self.full > 0 && !reads;
        if !reads && !has_no_room && self.was_full {
            situation::meet(Situation::DiskFull);
        }
        self.was_full = has_no_room || self.was_full && reads;
        has_no_room
    }

    /// Does the oldest request. What it made durable is told, before the broker can know.
    pub fn complete(&mut self) -> Option<(StorageCompletion, Vec<Observation>)> {
        let request = self.queue.pop_front()?;
        if self
            .failing
            .iter()
            .any(|permille| self.dice.chance(*permille))
            || self.has_no_room(&request.op)
        {
            let (id, outcome) = (request.id, StorageOutcome::Failed);
            return Some((StorageCompletion { id, outcome }, Vec::new()));
        }
        if mutant::is_active(Mutant::LoseTail) && matches!(request.op, StorageOp::Append { .. }) {
            self.earlier = Some(self.memory.clone());
        }
        let log = self.memory.log_id();
        let op = request.op.clone();
        let completion = self.memory.handle(request);
        let appended = |room: RoomName, line: &Line| Observation::Appended {
            log,
            room,
            line: line.clone(),
        };
        let mut seen = Vec::new();
        match (op, &completion.outcome) {
            (StorageOp::Append { room, .. }, StorageOutcome::Appended(stored)) => {
                seen.push(appended(room, &stored.line));
            }
            (
                StorageOp::Append { room, .. } | StorageOp::Decide { room, .. },
                StorageOutcome::Decided(decided),
            ) => {
                seen.push(appended(room, &decided.line.line));
                let out = decided.out.as_ref();
                let notice = out.and_then(|out| out.notice.as_ref());
                seen.extend(notice.map(|row| presence(log, row)));
            }
            (
                StorageOp::Enter {
                    room,
                    device,
                    presence: wanted,
                    ..
                },
                StorageOutcome::Entered(entered),
            ) => {
                if let Some(stored) = &entered.joined {
                    seen.push(appended(room.clone(), &stored.line));
                }
                if wanted.is_none() {
                    situation::meet(Situation::QuietlyThere);
                }
                let base = entered.base.seq;
                seen.push(Observation::Entered {
                    log,
                    room,
                    device,
                    base,
                });
                seen.extend(entered.notice.as_ref().map(|row| presence(log, row)));
            }
            (StorageOp::Append { room, .. }, StorageOutcome::Known(Recorded::Stored(seq)))
                if self.tails.get(&room).is_some_and(|tail| seq <= tail) =>
            {
                situation::meet(Situation::RepeatedAfterRecovery);
            }
            (StorageOp::Leave { room, .. }, StorageOutcome::Departed(Some(departed))) => {
                seen.push(appended(room, &departed.line.line));
                seen.extend(departed.notice.as_ref().map(|row| presence(log, row)));
            }
            (StorageOp::Absent { .. }, StorageOutcome::Absented(Some(row))) => {
                seen.push(presence(log, row));
            }
            (StorageOp::RevokeDevice { device, .. }, StorageOutcome::DeviceRevoked) => {
                let is_its = |request: &&StorageRequest| matches!(&request.op, StorageOp::Append { device: of, .. } if *of == device);
                let under_way = self.queue.iter().filter(is_its).count();
                seen.push(Observation::Revoked {
                    log,
                    device,
                    under_way,
                });
            }
            (StorageOp::History { room, account, .. }, StorageOutcome::Past { .. }) => {
                seen.push(Observation::PageRead(log, room, account));
            }
            _ => {}
        }
        if mutant::is_active(Mutant::AnswerBeforeSync) {
            core::mem::swap(&mut self.unsynced, &mut seen);
        }
        Some((completion, seen))
    }
}

/// What the store has recorded of somebody's presence.
fn presence(log: LogId, row: &PresenceRow) -> Observation {
    Observation::Present {
        log,
        room: row.room.clone(),
        account: row.author.account,
        is_present: row.event == NoticeEvent::Joined,
    }
}

fn toggle<T: PartialEq>(active: &mut Vec<T>, value: T, on: bool) {
    if on {
        active.push(value);
    } else if let Some(index) = active.iter().position(|other| *other == value) {
        active.remove(index);
    }
}

//! The simulated storage: the reference store behind a latency, in order, failing on request.
//!
//! It writes the log that the checkers believe in.

use std::collections::VecDeque;
use std::time::Duration;

use tertulia::broker::{MemoryStore, StorageCompletion, StorageOp, StorageOutcome, StorageRequest};
use tertulia::chat::{Line, LogId, RoomName};
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

    /// How many requests are under way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Does the oldest request. What it made durable is told, before the broker can know.
    pub fn complete(&mut self) -> Option<(StorageCompletion, Vec<Observation>)> {
        let request = self.queue.pop_front()?;
        if self
            .failing
            .iter()
            .any(|permille| self.dice.chance(*permille))
        {
            let (id, outcome) = (request.id, StorageOutcome::Failed);
            return Some((StorageCompletion { id, outcome }, Vec::new()));
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
            (StorageOp::Enter { room, device, .. }, StorageOutcome::Entered(entered)) => {
                if let Some(stored) = &entered.joined {
                    seen.push(appended(room.clone(), &stored.line));
                }
                let base = entered.base.seq;
                seen.push(Observation::Entered {
                    log,
                    room,
                    device,
                    base,
                });
            }
            (StorageOp::Leave { room, .. }, StorageOutcome::Departed(Some(departed))) => {
                seen.push(appended(room, &departed.line.line));
            }
            _ => {}
        }
        Some((completion, seen))
    }
}

fn toggle<T: PartialEq>(active: &mut Vec<T>, value: T, on: bool) {
    if on {
        active.push(value);
    } else if let Some(index) = active.iter().position(|other| *other == value) {
        active.remove(index);
    }
}

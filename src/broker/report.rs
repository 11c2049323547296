//! What a broker tells those who look after it (MET-1).

use super::{Broker, Budgets, Counters, Opening, Pressure};
use crate::chat::Budget;
use crate::drops::Drops;

/// How a broker is, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was done so far.
    pub counters: Counters,
    /// Which datagrams were dropped so far.
    pub drops: Drops,
    /// Links that are confirmed.
    pub links: usize,
    /// Handshakes that are half-open.
    pub half_open: usize,
    /// Rooms in use.
    pub rooms: usize,
    /// Accounts that are present in any room (PRS-4).
    pub people: usize,
    /// Requests to the store that are under way.
    pub pending: usize,
    /// What is held for others, in bytes (MEM-1).
    pub held: u64,
    /// What may be.
    pub memory_max: u64,
    /// How near that is.
    pub pressure: Pressure,
    /// Of how many accounts it is remembered what they have used (BUD-7).
    pub accounts_remembered: usize,
    /// Whether somebody who comes now gets in: the store has opened, and there is room.
    pub is_ready: bool,
}

impl Report {
    /// The labels of all budgets, those of which nobody was refused anything included.
    pub fn budgets() -> impl Iterator<Item = &'static str> {
        let settable = Budgets::SETTABLE.into_iter();
        settable.chain([Budget::Memory]).map(Budget::label)
    }
}

impl Broker {
    /// How the broker is. Costs little, however many links there are.
    #[must_use]
    pub fn report(&self) -> Report {
        let (held, memory_max) = self.held();
        let pressure = self.pressure();
        Report {
            counters: self.counters.clone(),
            drops: self.drops.clone(),
            links: self.sessions.len(),
            half_open: self.half_open.len(),
            rooms: self.rooms.len(),
            people: self.people.len(),
            pending: self.pending.len(),
            held,
            memory_max,
            pressure,
            accounts_remembered: self.ledger.accounts(),
            is_ready: self.opening == Opening::Done && pressure < Pressure::Crowded,
        }
    }
}

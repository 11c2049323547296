//! Credit: how much a sender may send before its receiver's owner has taken what came (CRD-1).
//!
//! An acknowledgement says that a message has arrived, not that anybody has looked at it. Without
//! credit, a peer could fill the memory of an owner that is busy. Credit is a total that only ever
//! rises, as in RFC 9000 section 4: so the newest word about it is the only one that counts, and one
//! that is late or lost does no harm.

use core::time::Duration;

use crate::link::report::Violation;
use crate::time::Timestamp;

/// What each message costs besides its bytes: the room that its books take (CRD-1, LIM-10).
pub const MESSAGE_COST: u64 = 64;
/// The credit that each channel has in each direction, beyond what was taken (CRD-1, LIM-10). More
/// than may be unacknowledged, so that it does not hold up a sender whose receiver keeps pace.
pub const CREDIT_CHANNEL: u64 = 393_216;
/// The credit that all channels but the control channel have together (CRD-1, LIM-10).
pub const CREDIT_LINK: u64 = 524_288;

/// The credit that a channel, and all of them, have when their owner takes what comes as fast as it
/// does (CRD-4, LIM-10).
pub const CREDIT_MAX: u64 = 8_388_608;

/// A receiver tells of new credit when it is this part of the whole (CRD-3).
const TELL_PART: u64 = 4;

/// What a message of `len` bytes costs (CRD-1).
pub(super) const fn cost(len: usize) -> u64 {
    len as u64 + MESSAGE_COST
}

/// The credit that a peer has given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    used: u64,
    limit: u64,
}

impl Allowance {
    pub(super) const fn new(initial: u64) -> Self {
        Self {
            used: 0,
            limit: initial,
        }
    }

    /// Whether a message of `len` bytes may follow (CRD-2).
    pub(super) const fn has_room(&self, len: usize) -> bool {
        self.used + cost(len) <= self.limit
    }

    /// A message of `len` bytes follows.
    pub(super) const fn spend(&mut self, len: usize) {
        self.used += cost(len);
    }

    /// The peer has given more; what it said before may come later (CRD-3).
    pub(super) fn raise(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }
}

/// The credit that this side gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// How much beyond what was taken.
    window: u64,
    /// What had been taken when the peer was last told, and when that was.
    told_with: u64,
    told_at: Option<Timestamp>,
    /// The cost of what has come.
    received: u64,
    /// The cost of what the owner has taken.
    taken: u64,
    /// The limit that the peer was told.
    told: u64,
    is_due: bool,
}

impl Grant {
    pub(super) const fn new(window: u64) -> Self {
        Self {
            window,
            told_with: 0,
            told_at: None,
            received: 0,
            taken: 0,
            told: window,
            is_due: false,
        }
    }

    /// The first piece of a message of `len` bytes came (CRD-2).
    pub(super) const fn on_begun(&mut self, len: usize) -> Result<(), Violation> {
        self.received += cost(len);
        match self.received <= self.told {
            true => Ok(()),
            false => Err(Violation::CreditExceeded),
        }
    }

    /// The owner took a message of `len` bytes (CRD-3).
    pub(super) const fn on_taken(&mut self, len: usize) {
        self.taken += cost(len);
        self.is_due |= self.limit() - self.told >= self.window / TELL_PART;
    }

    /// The limit that the peer is to be told, if it is (CRD-3).
    pub(super) fn due(&self) -> Option<u64> {
        self.is_due.then(|| self.limit())
    }

    /// It was told. What was used up within a round trip was too little: then there is twice as
    /// much from now on (CRD-4), if there may be.
    pub(super) fn on_sent(&mut self, srtt: Duration, may_grow: bool, now: Timestamp) {
        self.told = self.limit();
        self.is_due = false;
        let is_used_up = self.taken - self.told_with >= self.window / TELL_PART;
        let is_fast = self
            .told_at
            .is_some_and(|at| now.saturating_since(at) <= srtt);
        if may_grow && is_used_up && is_fast && self.window < CREDIT_MAX {
            self.window = (self.window * 2).min(CREDIT_MAX);
            self.is_due = true;
        }
        self.told_with = self.taken;
        self.told_at = Some(now);
    }

    /// What it was told was lost: it is told again, with what is true by then (CRD-3).
    pub(super) const fn on_lost(&mut self) {
        self.is_due = true;
    }

    const fn limit(&self) -> u64 {
        self.taken + self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRD-1, CRD-2.
    #[test]
    fn a_message_costs_its_length_and_64_bytes() {
        let mut allowance = Allowance::new(1_000);
        allowance.spend(400);
        assert!(allowance.has_room(1_000 - 464 - 64));
        assert!(!allowance.has_room(1_000 - 464 - 63));
        let mut grant = Grant::new(1_000);
        assert_eq!(grant.on_begun(400), Ok(()));
        assert_eq!(grant.on_begun(1_000 - 464 - 64), Ok(()));
        assert_eq!(grant.on_begun(0), Err(Violation::CreditExceeded));
    }

    /// CRD-4.
    #[test]
    fn an_owner_that_takes_a_quarter_in_each_round_trip_gets_twice_as_much() {
        let srtt = Duration::from_millis(100);
        let after = |apart: u64| {
            let mut grant = Grant::new(4_000);
            for turn in 0..50 {
                grant.on_begun(1_000).unwrap();
                grant.on_taken(1_000);
                while grant.due().is_some() {
                    grant.on_sent(srtt, true, Timestamp::from_millis(turn * apart));
                }
            }
            grant.window
        };
        assert_eq!(after(101), 4_000);
        assert_eq!(after(100), 8_000, "then a quarter takes two round trips");
        assert!(after(10) >= 16_000);
        assert!(after(1) <= 50 * 1_064 * 8, "not without taking more");
        let mut grant = Grant::new(CREDIT_MAX);
        grant.on_begun(CREDIT_MAX as usize / 2).unwrap();
        grant.on_taken(CREDIT_MAX as usize / 2);
        grant.on_sent(srtt, true, Timestamp::ZERO);
        assert_eq!(grant.window, CREDIT_MAX);
    }

    /// CRD-3.
    #[test]
    fn credit_is_told_by_quarters_and_never_falls() {
        let mut grant = Grant::new(1_000);
        for _ in 0..2 {
            grant.on_begun(100).unwrap();
        }
        grant.on_taken(100);
        assert_eq!(grant.due(), None, "164 of 250");
        grant.on_taken(100);
        assert_eq!(grant.due(), Some(1_328));
        grant.on_sent(Duration::ZERO, true, Timestamp::ZERO);
        assert_eq!(grant.due(), None);
        grant.on_begun(10).unwrap();
        grant.on_taken(10);
        grant.on_lost();
        assert_eq!(grant.due(), Some(1_402), "with what is true by now");

        let mut allowance = Allowance::new(1_000);
        allowance.raise(1_402);
        allowance.raise(1_328);
        assert!(allowance.has_room(1_402 - 64));
    }
}

//! When a handshake message is sent again (SEC-5).

use std::time::Duration;

use crate::rng::SeededRng;
use crate::time::Timestamp;

/// Offsets of the first repetitions, in ms.
const FIRST: [u64; 5] = [0, 200, 400, 700, 1000];

/// The repetitions of one handshake message: dense at first, because at 30 % loss in both
/// directions every second exchange fails, then ever sparser, because an absent broker need not be
/// asked ten times a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: Timestamp,
    sent: usize,
    next: Timestamp,
}

impl Schedule {
    /// Begins now.
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            start: now,
            sent: 0,
            next: now,
        }
    }

    /// When the next one is due.
    pub(super) const fn next(&self) -> Timestamp {
        self.next
    }

    /// When the first one was due.
    pub(super) const fn start(&self) -> Timestamp {
        self.start
    }

    /// Whether one is due; if so, it counts as sent.
    pub(super) fn take_due(&mut self, rng: &mut SeededRng, now: Timestamp) -> bool {
        if now < self.next {
            return false;
        }
        self.sent += 1;
        let interval_ms = match FIRST.get(self.sent) {
            Some(offset) => offset - FIRST[self.sent - 1],
            None => match now.saturating_since(self.start).as_secs() {
                0..10 => 500,
                10..60 => 1_000,
                _ => 5_000,
            },
        };
        let jittered_us = rng.range(interval_ms * 800, interval_ms * 1_200);
        self.next = now + Duration::from_micros(jittered_us);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-5.
    #[test]
    fn repetitions_are_dense_at_first_and_sparse_in_the_end() {
        let mut rng = SeededRng::new([3; 32]);
        let mut schedule = Schedule::new(Timestamp::ZERO);
        let mut times = Vec::new();
        while schedule.next() < Timestamp::from_millis(120_000) {
            let now = schedule.next();
            assert!(schedule.take_due(&mut rng, now));
            assert!(!schedule.take_due(&mut rng, now));
            times.push(now.as_millis());
        }
        let in_span = |from, to| times.iter().filter(|t| (from..to).contains(*t)).count();
        assert_eq!(times[0], 0);
        assert!((160..=240).contains(&times[1]));
        assert!((4..=6).contains(&in_span(0, 1_000)));
        assert!((15..=23).contains(&in_span(1_000, 10_000)));
        assert!((41..=63).contains(&in_span(10_000, 60_000)));
        assert!((9..=16).contains(&in_span(60_000, 120_000)));
    }
}

//! When a handshake message is sent again (SEC-5).

use std::time::Duration;

use crate::rng::SeededRng;
use crate::time::Timestamp;

/// How far repetitions are apart at first, and for how long.
const DENSE: Duration = Duration::from_millis(50);
const DENSE_FOR: Duration = Duration::from_secs(5);
/// How far they are apart in the end.
const SPARSE: Duration = Duration::from_secs(5);

/// The repetitions of one handshake message: dense at first, because at 30 % loss in both
/// directions every second exchange fails, and because a broker that starts again is back in a
/// moment; then ever sparser, because an absent one need not be asked ten times a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: Timestamp,
    interval: Duration,
    next: Timestamp,
}

impl Schedule {
    /// Begins now.
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            start: now,
            interval: DENSE,
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
        if now.saturating_since(self.start) >= DENSE_FOR {
            self.interval = (self.interval * 3 / 2).min(SPARSE);
        }
        let percent = u32::try_from(rng.range(80, 120)).unwrap_or(100);
        self.next = now + self.interval * percent / 100;
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
        assert!((40..=60).contains(&times[1]));
        assert!((83..=125).contains(&in_span(0, 5_000)));
        assert!((8..=14).contains(&in_span(5_000, 20_000)));
        assert!((16..=26).contains(&in_span(20_000, 120_000)));
    }
}

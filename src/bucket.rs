//! A bucket of tokens that fills with time.

use core::time::Duration;

use crate::time::Timestamp;

/// A bucket of tokens, which are the time that they take to come. It keeps one number: when it will
/// be full again. How deep it is, its owner says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    full_at: Timestamp,
}

impl Bucket {
    /// Whether it holds `cost`, of at most `depth`.
    pub(crate) fn holds(self, cost: Duration, depth: Duration, now: Timestamp) -> bool {
        self.full_at.max(now) + cost <= now + depth
    }

    /// Takes `cost` out, also if it does not hold that much.
    pub(crate) fn take(&mut self, cost: Duration, now: Timestamp) {
        self.full_at = self.full_at.max(now) + cost;
    }

    /// How much is missing.
    pub(crate) fn debt(self, now: Timestamp) -> Duration {
        self.full_at.saturating_since(now)
    }

    /// When nothing will be missing any more.
    pub(crate) const fn full_at(self) -> Timestamp {
        self.full_at
    }
}

//! How much is granted.

use core::time::Duration;

use crate::bucket::Bucket;
use crate::chat::Budget;
use crate::time::Timestamp;

/// So much in so much time, and so much at once after a quiet while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// How much comes in each [`per`](Self::per); 0 counts as 1.
    pub amount: u64,
    /// In how much time.
    pub per: Duration,
    /// How much there is after a quiet while; 0 counts as 1.
    pub burst: u64,
}

/// Whoever waits is told to wait for a bit more than there must be, so that it does not come for each
/// token: for a part of what there is at once, one in so many, but no longer than [`EXTRA_MAX`].
const EXTRA_PART: u32 = 16;
const EXTRA_MAX: Duration = Duration::from_secs(1);

impl Allowance {
    /// `amount` a second.
    #[must_use]
    pub const fn per_second(amount: u64, burst: u64) -> Self {
        Self {
            amount,
            per: Duration::from_secs(1),
            burst,
        }
    }

    /// How long so much takes to come.
    pub(super) fn time_of(&self, units: u64) -> Duration {
        let nanos = self.per.as_nanos().saturating_mul(u128::from(units));
        let nanos = nanos / u128::from(self.amount.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long to wait until `bucket` has something, if it has nothing.
    pub(super) fn wait(&self, bucket: Bucket, now: Timestamp) -> Option<Duration> {
        let depth = self.time_of(self.burst.max(1));
        let one = self.time_of(1);
        if bucket.holds(one, depth, now) {
            return None;
        }
        let missing = (bucket.debt(now) + one).saturating_sub(depth);
        let extra = (depth / EXTRA_PART).min(EXTRA_MAX);
        Some(missing + extra)
    }

    /// Four times as much.
    pub(super) const fn times_four(self) -> Self {
        Self {
            amount: self.amount.saturating_mul(4),
            burst: self.burst.saturating_mul(4),
            ..self
        }
    }
}

/// What a broker's host grants (BUD-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    grants: [Grant; 5],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grant {
    /// `None`: as much as may be.
    allowance: Option<Allowance>,
    /// Whether who is on the broker's own machine is granted all.
    spares_local: bool,
}

impl Default for Budgets {
    /// What a host on the open internet needs (SPEC.md section 10.3 has the reasons), and nothing for
    /// who is on the broker's own machine.
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        let allowances = [
            Allowance {
                amount: 360,
                per: hour,
                burst: 100,
            },
            Allowance::per_second(1, 256),
            Allowance::per_second(500, 5_000),
            Allowance::per_second(8 << 20, 128 << 20),
            Allowance::per_second(4 << 20, 128 << 20),
        ];
        let grant = |allowance| Grant {
            allowance: Some(allowance),
            spares_local: true,
        };
        Self {
            grants: allowances.map(grant),
        }
    }
}

impl Budgets {
    /// Those that a host can set.
    pub const SETTABLE: [Budget; 5] = [
        Budget::Registrations,
        Budget::Changes,
        Budget::Lines,
        Budget::Bytes,
        Budget::History,
    ];

    /// Has everybody granted so much, also those on the broker's own machine; `None` is as much as may
    /// be. The memory of a broker is set elsewhere.
    pub fn set(&mut self, budget: Budget, allowance: Option<Allowance>) {
        if let Some(grant) = Self::index(budget).and_then(|index| self.grants.get_mut(index)) {
            *grant = Grant {
                allowance,
                spares_local: false,
            };
        }
    }

    /// What somebody is granted who is on the broker's own machine, or not; `None` is as much as may
    /// be.
    #[must_use]
    pub fn allowance(&self, budget: Budget, is_local: bool) -> Option<Allowance> {
        let grant = Self::index(budget).and_then(|index| self.grants.get(index))?;
        grant
            .allowance
            .filter(|_| !(is_local && grant.spares_local))
    }

    fn index(budget: Budget) -> Option<usize> {
        Self::SETTABLE.iter().position(|other| *other == budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BUD-1: who waits as told does not come in vain, however much it took.
    #[test]
    fn who_waits_as_told_is_served() {
        let allowance = Allowance::per_second(100, 1_000);
        for taken in [1_000, 1_001, 5_000, 1_000_000] {
            let mut bucket = Bucket::default();
            let start = Timestamp::from_millis(5_000);
            assert_eq!(allowance.wait(bucket, start), None);
            bucket.take(allowance.time_of(taken), start);
            let wait = allowance.wait(bucket, start).unwrap();
            let least = Duration::from_millis(10 * (taken - 1_000 + 1));
            assert!(wait >= least && wait <= least + EXTRA_MAX, "{wait:?}");
            assert_eq!(allowance.wait(bucket, start + wait), None);
        }
    }

    /// BUD-2.
    #[test]
    fn what_a_host_sets_holds_for_all_and_what_nobody_sets_for_those_from_elsewhere() {
        let mut budgets = Budgets::default();
        for budget in Budgets::SETTABLE {
            assert_eq!(budgets.allowance(budget, true), None, "{budget:?}");
            assert!(budgets.allowance(budget, false).is_some(), "{budget:?}");
        }
        let few = Allowance::per_second(1, 2);
        budgets.set(Budget::Lines, Some(few));
        budgets.set(Budget::Bytes, None);
        for is_local in [false, true] {
            assert_eq!(budgets.allowance(Budget::Lines, is_local), Some(few));
            assert_eq!(budgets.allowance(Budget::Bytes, is_local), None);
        }
    }
}

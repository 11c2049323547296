//! The clocks of a driver.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

use crate::time::Timestamp;

/// A monotonic clock, by which machines run, and a wall clock, with which lines are stamped.
///
/// The monotonic one is tokio's, whose time a simulation sets.
#[derive(Clone)]
pub struct Clock {
    origin: Instant,
    unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Clock {
    /// The system's clocks. The monotonic one begins at zero now.
    #[must_use]
    pub fn system() -> Self {
        Self::with_wall(system_unix_ms)
    }

    /// The same with another wall clock: `unix_ms` returns the milliseconds of Unix time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
    pub fn with_wall(unix_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            origin: Instant::now(),
            unix_ms: Arc::new(unix_ms),
        }
    }

    /// What time it is for machines.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
    pub fn now(&self) -> Timestamp {
        Timestamp::ZERO + Instant::now().saturating_duration_since(self.origin)
    }

    /// What the wall clock says, in milliseconds of Unix time.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        (self.unix_ms)()
    }

    /// Waits until `at`; for ever if there is no such time.
    pub(crate) async fn sleep_until(&self, at: Option<Timestamp>) {
        let instant = at.and_then(|at| {
            let since_origin = Duration::from_nanos(at.as_nanos());
            self.origin.checked_add(since_origin)
        });
        match instant {
            Some(instant) => sleep_until(instant).await,
            None => std::future::pending().await,
        }
    }
}

/// Zero before 1970, which is the sign of a clock that was never set.
#[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
fn system_unix_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn its_time_is_the_one_that_a_simulation_sets() {
        let clock = Clock::with_wall(|| 7);
        assert_eq!(clock.now(), Timestamp::ZERO);
        clock
            .sleep_until(Some(Timestamp::from_millis(90_000)))
            .await;
        assert_eq!(clock.now(), Timestamp::from_millis(90_000));
        assert_eq!(clock.unix_ms(), 7);
    }
}

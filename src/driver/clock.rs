//! The clocks of a driver.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::time::Timestamp;

/// A monotonic clock, by which machines run, and a wall clock, with which lines are stamped.
///
/// The monotonic one is tokio's, whose time a simulation sets.
#[derive(Clone)]
pub struct Clock {
    origin: Instant,
    unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    suspended: Option<Arc<dyn Fn() -> Duration + Send + Sync>>,
    worked: Option<fn() -> Duration>,
}

impl Clock {
    /// The system's clocks. The monotonic one begins at zero now.
    #[must_use]
    pub fn system() -> Self {
        let clock = Self::with_wall(system_unix_ms);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let clock = Self {
            worked: Some(system_worked),
            ..clock.with_suspensions(system_suspended)
        };
        clock
    }

    /// The same with another wall clock: `unix_ms` returns the milliseconds of Unix time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
    pub fn with_wall(unix_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            origin: Instant::now(),
            unix_ms: Arc::new(unix_ms),
            suspended: None,
            worked: None,
        }
    }

    /// The same with knowledge of what neither clock shows: `suspended` returns for how long the
    /// machine has been suspended in all.
    #[must_use]
    pub fn with_suspensions(
        self,
        suspended: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let suspended: Arc<dyn Fn() -> Duration + Send + Sync> = Arc::new(suspended);
        Self {
            suspended: Some(suspended),
            ..self
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

    /// For how long this thread has had the processor in all, or where nobody can tell, how late it
    /// is: the difference of two is what lay between them cost.
    pub(super) fn worked(&self) -> Duration {
        let by_clock = || self.now().saturating_since(Timestamp::ZERO);
        self.worked.map_or_else(by_clock, |worked| worked())
    }

    /// For how long the machine has been suspended in all, if this clock can tell.
    pub(super) fn suspended(&self) -> Option<Duration> {
        self.suspended.as_ref().map(|suspended| suspended())
    }

    /// Waits until `at`; for ever if there is no such time.
    pub async fn sleep_until(&self, at: Option<Timestamp>) {
        match at.and_then(|at| self.instant(at)) {
            Some(instant) => sleep_until(instant).await,
            None => std::future::pending().await,
        }
    }

    /// That time for the runtime, unless it is beyond all times.
    fn instant(&self, at: Timestamp) -> Option<Instant> {
        let since_origin = Duration::from_nanos(at.as_nanos());
        self.origin.checked_add(since_origin)
    }
}

/// Waits until a time that moves with every datagram, mostly away.
///
/// To set a timer of the runtime to an earlier time than all others wakes the thread that waits, by a
/// system call, even if that is the thread itself. So a timer that is set is left alone as long as
/// it is early enough, and set again when it has come.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<(Timestamp, Pin<Box<Sleep>>)>);

impl Alarm {
    /// Waits until `at`; for ever if there is no such time.
    pub(super) async fn wait(&mut self, clock: &Clock, at: Option<Timestamp>) {
        let Some((at, instant)) = at.and_then(|at| Some((at, clock.instant(at)?))) else {
            return std::future::pending().await;
        };
        let (set_for, sleep) = self
            .0
            .get_or_insert_with(|| (at, Box::pin(sleep_until(instant))));
        if *set_for > at {
            sleep.as_mut().reset(instant);
            *set_for = at;
        }
        sleep.as_mut().await;
        while *set_for < at {
            sleep.as_mut().reset(instant);
            *set_for = at;
            sleep.as_mut().await;
        }
    }
}

/// What the clock that goes on in suspension is ahead of the one that does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn system_suspended() -> Duration {
    system_time(ClockId::Boottime).saturating_sub(system_time(ClockId::Monotonic))
}

/// How long this thread has had the processor.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn system_worked() -> Duration {
    system_time(ClockId::ThreadCPUTime)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn system_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
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

    /// Waits twice with the same alarm, the first time until `first` comes or is given up at once.
    async fn rings(first: u64, then: u64) -> u64 {
        let clock = Clock::system();
        let at = |ms| Some(Timestamp::ZERO + Duration::from_millis(ms));
        let mut alarm = Alarm::default();
        tokio::select! {
            biased;
            () = alarm.wait(&clock, at(first)) => {}
            () = tokio::task::yield_now() => {}
        }
        alarm.wait(&clock, at(then)).await;
        clock.now().as_nanos() / 1_000_000
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_at_the_time_that_it_was_moved_to() {
        assert_eq!(rings(50, 50).await, 50);
        assert_eq!(rings(50, 20).await, 20);
        assert_eq!(rings(20, 50).await, 50);
        let (mut alarm, clock) = (Alarm::default(), Clock::system());
        let hour = Duration::from_secs(3_600);
        let rung = tokio::time::timeout(hour, alarm.wait(&clock, None)).await;
        assert!(rung.is_err());
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_machine_that_is_awake_has_been_suspended_no_longer_a_moment_later() {
        let clock = Clock::system();
        let before = clock.suspended().unwrap();
        let later = clock.suspended().unwrap();
        assert!(later.abs_diff(before) < Duration::from_secs(1));
    }

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

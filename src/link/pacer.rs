//! Spreads what the window allows over the round trip (CC-2).
//!
//! The pacer keeps one number: how long, at the present rate, the path is busy with what was sent.
//! Sending is allowed while that backlog is less than a burst.

use core::time::Duration;

use crate::time::Timestamp;
use crate::wire::DATAGRAM_MAX;

/// How many datagrams may go at once (CC-2).
pub(super) const BURST: usize = 10;

/// The pacer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pacer {
    /// Until when the path is busy.
    busy_until: Timestamp,
}

impl Pacer {
    /// When the next datagram may go: `Ok` if at `now`.
    pub(super) fn check(
        &self,
        window: u64,
        srtt: Duration,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let burst = cost((BURST - 1) * DATAGRAM_MAX, window, srtt);
        let allowed = self.busy_until - burst;
        if allowed <= now { Ok(()) } else { Err(allowed) }
    }

    /// `len` bytes were sent.
    pub(super) fn on_sent(&mut self, len: usize, window: u64, srtt: Duration, now: Timestamp) {
        self.busy_until = self.busy_until.max(now) + cost(len, window, srtt);
    }
}

/// How long `len` bytes take at 5/4 of the window per round trip (CC-2).
fn cost(len: usize, window: u64, srtt: Duration) -> Duration {
    let nanos = srtt.as_nanos() * 4 * len as u128 / (5 * u128::from(window.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRTT: Duration = Duration::from_millis(100);
    const WINDOW: u64 = 100 * DATAGRAM_MAX as u64;

    /// CC-2.
    #[test]
    fn ten_datagrams_go_at_once_and_the_others_at_five_quarters_of_the_window_per_round_trip() {
        let mut pacer = Pacer::default();
        let mut now = Timestamp::from_millis(1000);
        let start = now;
        let mut sent_at = Vec::new();
        while sent_at.len() < 135 {
            match pacer.check(WINDOW, SRTT, now) {
                Ok(()) => {
                    pacer.on_sent(DATAGRAM_MAX, WINDOW, SRTT, now);
                    sent_at.push(now.saturating_since(start));
                }
                Err(later) => {
                    assert!(later > now);
                    now = later;
                }
            }
        }
        assert!(sent_at[..10].iter().all(Duration::is_zero));
        assert!(!sent_at[10].is_zero());
        assert_eq!(sent_at[134], SRTT, "10 at once, 125 in a round trip");
    }

    #[test]
    fn a_pause_earns_one_burst_and_no_more() {
        let mut pacer = Pacer::default();
        let now = Timestamp::from_millis(60_000);
        for _ in 0..BURST {
            assert!(pacer.check(WINDOW, SRTT, now).is_ok());
            pacer.on_sent(DATAGRAM_MAX, WINDOW, SRTT, now);
        }
        assert!(pacer.check(WINDOW, SRTT, now).is_err());
    }
}

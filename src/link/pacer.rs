//! Spreads what the window allows over the round trip (CC-2).
//!
//! The pacer keeps one number: how long, at the present rate, the path is busy with what was sent.
//! Sending is allowed while that backlog is less than a burst.

use core::time::Duration;

use crate::time::Timestamp;
use crate::wire::DATAGRAM_BASE;

/// How many datagrams may go at once (CC-2).
pub(super) const BURST: usize = 10;

/// What a fast path takes in this time may go at once, too: timers are seldom finer (CC-2).
const BURST_TIME: Duration = Duration::from_millis(2);

/// The pacer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pacer {
    /// Until when the path is busy.
    busy_until: Timestamp,
}

impl Pacer {
    /// When the next datagram may go, at `rate` bytes a second: `Ok` if at `now`.
    pub(super) fn check(&self, rate: u64, now: Timestamp) -> Result<(), Timestamp> {
        let burst = cost((BURST - 1) * DATAGRAM_BASE, rate).max(BURST_TIME);
        let allowed = self.busy_until - burst;
        if allowed <= now { Ok(()) } else { Err(allowed) }
    }

    /// `len` bytes were sent.
    pub(super) fn on_sent(&mut self, len: usize, rate: u64, now: Timestamp) {
        self.busy_until = self.busy_until.max(now) + cost(len, rate);
    }
}

/// How long `len` bytes take.
fn cost(len: usize, rate: u64) -> Duration {
    let nanos = len as u128 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 125 datagrams in 100 ms.
    const RATE: u64 = 1_250 * DATAGRAM_BASE as u64;

    /// How many datagrams go from now on, and when each.
    fn send(rate: u64, count: usize) -> Vec<Duration> {
        let mut pacer = Pacer::default();
        let mut now = Timestamp::from_millis(1000);
        let start = now;
        let mut sent_at = Vec::new();
        while sent_at.len() < count {
            match pacer.check(rate, now) {
                Ok(()) => {
                    pacer.on_sent(DATAGRAM_BASE, rate, now);
                    sent_at.push(now.saturating_since(start));
                }
                Err(later) => {
                    assert!(later > now);
                    now = later;
                }
            }
        }
        sent_at
    }

    /// CC-2.
    #[test]
    fn ten_datagrams_go_at_once_and_the_others_at_the_rate() {
        let sent_at = send(RATE, 135);
        assert!(sent_at[..10].iter().all(Duration::is_zero));
        assert!(!sent_at[10].is_zero());
        assert_eq!(sent_at[134], Duration::from_millis(100), "10 at once, 125");
    }

    /// CC-2: 100 datagrams a millisecond.
    #[test]
    fn a_fast_path_gets_what_it_takes_in_two_milliseconds_at_once() {
        let sent_at = send(100_000 * DATAGRAM_BASE as u64, 300);
        let at_once = sent_at.iter().filter(|at| at.is_zero()).count();
        assert_eq!(at_once, 201);
    }

    #[test]
    fn a_pause_earns_one_burst_and_no_more() {
        let mut pacer = Pacer::default();
        let now = Timestamp::from_millis(60_000);
        for _ in 0..BURST {
            assert!(pacer.check(RATE, now).is_ok());
            pacer.on_sent(DATAGRAM_BASE, RATE, now);
        }
        assert!(pacer.check(RATE, now).is_err());
    }
}

//! When to probe a silent peer: SPEC.md PROBE-1.
//!
//! A lost message of sparse traffic is not missed by anyone: no later packet shows the hole. Only a
//! timer can bring it back, and on a network with heavy loss the repair is lost as well. So the
//! first probes follow each other closely, like the rungs at the foot of a ladder, and only then
//! back off as congestion control demands of timers (RFC 8961):
//!
//! ```text
//! T   T + 0.45 srtt   2T   2T + 0.45 srtt   3.5T   5.75T   ...   at most 2 s (or T) apart
//! ```
//!
//! Copies sent ahead of any time-out would have their place between the first sending and T; this
//! version sends none.

use core::time::Duration;

use crate::time::Timestamp;

/// The most that probes are apart, unless a round trip takes longer (PROBE-1).
const INTERVAL_MAX: Duration = Duration::from_secs(2);

/// How long after the start of a round its second probe follows, in percent of the srtt (PROBE-1).
const SECOND_PROBE_PERCENT: u32 = 45;

/// How many probes the two rounds at the foot have (PROBE-1).
const FOOT: u32 = 4;

/// The schedule of one count: from the first sending of what is unacknowledged to any
/// acknowledgement of something new.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ladder {
    /// When the oldest packet in flight was sent; `None`: nothing is in flight (PROBE-3).
    anchor: Option<Timestamp>,
    /// How many probes of this count have fired.
    fired: u32,
    /// When the last probe fired, unless that was before `anchor`.
    last: Option<Timestamp>,
}

impl Ladder {
    /// A packet was sent that elicits an acknowledgement.
    pub(super) fn on_sent(&mut self, now: Timestamp) {
        if self.anchor.is_none() {
            *self = Self {
                anchor: Some(now),
                fired: 0,
                last: None,
            };
        }
    }

    /// Something new was acknowledged; of what was sent since, `oldest` is still in flight.
    pub(super) fn on_ack(&mut self, oldest: Option<Timestamp>) {
        self.anchor = oldest;
        self.fired = 0;
        self.last = self.last.filter(|last| oldest.is_some_and(|at| at < *last));
    }

    /// A probe fired.
    pub(super) fn on_fired(&mut self, now: Timestamp) {
        self.fired = self.fired.saturating_add(1);
        self.last = Some(now);
    }

    /// When the next probe is due, with `timeout` for T.
    ///
    /// Never sooner after the last one than the schedule has them apart: a probe that fired late
    /// pushes the others back, and one that an acknowledgement overtook still gets its time.
    pub(super) fn next(&self, timeout: Duration, srtt: Duration) -> Option<Timestamp> {
        let due = self.anchor? + rung(self.fired, timeout, srtt);
        let before = match self.fired.checked_sub(1) {
            Some(before) => rung(before, timeout, srtt),
            None => Duration::ZERO,
        };
        let apart = rung(self.fired, timeout, srtt).saturating_sub(before);
        Some(self.last.map_or(due, |last| due.max(last + apart)))
    }
}

/// How long after the first sending probe `index` is due (PROBE-1).
fn rung(index: u32, timeout: Duration, srtt: Duration) -> Duration {
    let second = srtt * SECOND_PROBE_PERCENT / 100;
    match index {
        0 => timeout,
        1 => timeout + second,
        2 => timeout * 2,
        3 => timeout * 2 + second,
        _ => {
            let longest = INTERVAL_MAX.max(timeout);
            let mut interval = timeout;
            let mut due = timeout * 2;
            for round in FOOT..=index {
                interval = interval * 3 / 2;
                if interval >= longest {
                    return due + longest * (index - round + 1);
                }
                due += interval;
            }
            due
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_millis(120);
    const SRTT: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn schedule(probes: u32) -> Vec<u64> {
        let mut ladder = Ladder::default();
        ladder.on_sent(at(1000));
        let mut fired = Vec::new();
        for _ in 0..probes {
            let due = ladder.next(T, SRTT).unwrap();
            ladder.on_fired(due);
            fired.push(due.as_millis() - 1000);
        }
        fired
    }

    /// PROBE-1.
    #[test]
    fn two_pairs_of_probes_are_followed_by_rounds_that_grow_by_half() {
        assert_eq!(schedule(7), [120, 165, 240, 285, 420, 690, 1095]);
    }

    /// PROBE-1: RFC 8961 demands exponential growth, and liveness a bound on it.
    #[test]
    fn probes_are_at_most_two_seconds_apart() {
        let fired = schedule(40);
        let gaps: Vec<u64> = fired.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps.iter().max(), Some(&2000));
        assert_eq!(gaps.last(), Some(&2000));
        assert!(gaps[4..].is_sorted());
    }

    /// PROBE-3.
    #[test]
    fn with_nothing_in_flight_no_probe_is_armed() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.next(T, SRTT), None);
        ladder.on_sent(at(0));
        ladder.on_ack(None);
        assert_eq!(ladder.next(T, SRTT), None);
    }

    /// PROBE-1: the count begins with the oldest packet, not with the newest.
    #[test]
    fn packets_that_follow_do_not_push_the_probe_back() {
        let mut ladder = Ladder::default();
        ladder.on_sent(at(0));
        ladder.on_sent(at(100));
        assert_eq!(ladder.next(T, SRTT), Some(at(120)));
    }

    /// PROBE-1.
    #[test]
    fn an_ack_of_something_new_starts_the_count_afresh() {
        let mut ladder = Ladder::default();
        ladder.on_sent(at(0));
        ladder.on_fired(at(120));
        ladder.on_fired(at(165));
        ladder.on_ack(Some(at(20)));
        assert_eq!(
            ladder.next(T, SRTT),
            Some(at(165 + 120)),
            "the probe gets its time"
        );
        ladder.on_ack(Some(at(400)));
        assert_eq!(ladder.next(T, SRTT), Some(at(520)));
    }

    #[test]
    fn a_probe_that_fires_late_is_not_followed_by_a_burst() {
        let mut ladder = Ladder::default();
        ladder.on_sent(at(0));
        ladder.on_fired(at(60_000));
        assert_eq!(ladder.next(T, SRTT), Some(at(60_045)));
    }
}

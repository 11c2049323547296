//! When to probe a silent peer: SPEC.md PROBE-1.
//!
//! A lost message of sparse traffic is not missed by anyone: no later packet shows the hole. Only a
//! timer can bring it back, and on a network with heavy loss the repair is lost as well. So the
//! first probes follow each other closely, like the rungs at the foot of a ladder, and only then
//! back off as congestion control demands of timers (RFC 8961):
//!
//! ```text
//! rounds begin at   T   2T   3.5T   5.75T   9.125T   ...   at most 2 s (or T) apart
//! each has probes   at its beginning and 0.45 srtt later
//! ```
//!
//! Two probes in each round, not one: a message that is sent for the first time while the ladder
//! has backed off has no other copy on its way.
//!
//! Copies sent ahead of any time-out would have their place between the first sending and T; this
//! version sends none.

use core::time::Duration;

use crate::time::Timestamp;

/// The most that probes are apart, unless a round trip takes longer (PROBE-1).
const INTERVAL_MAX: Duration = Duration::from_secs(2);

/// How long after the start of a round its second probe follows, in percent of the srtt (PROBE-1).
const SECOND_PROBE_PERCENT: u32 = 45;

/// How many probes a round has (PROBE-1).
const ROUND: u32 = 2;

/// How many rounds follow each other without growing intervals.
const FOOT: u32 = 2;

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

    /// What is in flight is counted from now on, if anything is (LIF-6).
    pub(super) fn restart(&mut self, now: Timestamp) {
        *self = Self {
            anchor: self.anchor.map(|_| now),
            ..Self::default()
        };
    }

    /// A probe fired.
    pub(super) fn on_fired(&mut self, now: Timestamp) {
        self.fired = self.fired.saturating_add(1);
        self.last = Some(now);
    }

    /// Whether the next probe is of the third round or later (LOSS-3).
    pub(super) const fn is_past_foot(&self) -> bool {
        self.fired >= FOOT * ROUND
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
    let second = srtt * SECOND_PROBE_PERCENT / 100 * (index % ROUND);
    let longest = INTERVAL_MAX.max(timeout);
    let (mut start, mut interval) = (timeout, timeout);
    for round in 1..=index / ROUND {
        if interval >= longest {
            return start + longest * (index / ROUND - round + 1) + second;
        }
        start += interval;
        interval = interval * 3 / 2;
    }
    start + second
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
    fn rounds_of_two_probes_grow_by_half_from_the_third_on() {
        assert_eq!(
            schedule(10),
            [120, 165, 240, 285, 420, 465, 690, 735, 1095, 1140]
        );
    }

    /// PROBE-1: RFC 8961 demands exponential growth, and liveness a bound on it.
    #[test]
    fn rounds_are_at_most_two_seconds_apart() {
        let begins: Vec<u64> = schedule(40).into_iter().step_by(2).collect();
        let gaps: Vec<u64> = begins.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted());
        assert_eq!(gaps[1..4], [180, 270, 405]);
        assert_eq!(gaps[8..], [2000; 11]);
    }

    /// PROBE-1: on a path where T is longer than that, rounds are T apart.
    #[test]
    fn on_a_very_slow_path_probes_wait_for_a_round_trip() {
        let slow = Duration::from_secs(3);
        assert_eq!(rung(8, slow, Duration::ZERO), slow * 5);
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

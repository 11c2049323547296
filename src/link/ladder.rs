//! When to probe a silent peer: SPEC.md PROBE-1, PROBE-4.
//!
//! A lost message of sparse traffic is not missed by anyone: no later packet shows the hole. Only a
//! timer can bring it back, and on a network with heavy loss the repair is lost as well. So the
//! first probes follow each other closely, like the rungs at the foot of a ladder, and only then
//! back off as congestion control demands of timers (RFC 8961):
//!
//! ```text
//! rounds begin at   T   2T   3T   4.5T   6.75T   10.125T   ...   at most 2 s (or T) apart
//! each has probes   at its beginning and 0.45 srtt later, from the third on also 0.9 srtt later
//! ```
//!
//! Several probes in each round, not one: a message that is sent for the first time while the
//! ladder has backed off has no other copy on its way; and the longer the silence, the more it is
//! worth to be there when it ends.
//!
//! The copies that are sent ahead of any time-out (`copies`) have their place between the first
//! sending and T. Like them, most probes draw on the link's budget for copies (`redundancy`): only
//! as many are free as timers may send by themselves (RFC 8961, RFC 8085).

use core::time::Duration;

use crate::time::Timestamp;

/// The most that probes are apart, unless a round trip takes longer (PROBE-1).
const INTERVAL_MAX: Duration = Duration::from_secs(2);

/// How far the probes of a round are apart, in percent of the srtt (PROBE-1).
const PROBES_APART_PERCENT: u32 = 45;

/// So many rounds, a T apart, are followed by longer ones at growing intervals: what lasts longer is
/// an outage, and a few packets more than two a T find its end sooner.
const FOOT: u32 = 2;
/// How many probes each of these has (PROBE-1).
const FOOT_ROUND: u32 = 2;
/// How many probes each later round has (PROBE-1).
const ROUND: u32 = 3;

/// More doublings than this make no difference (PROBE-4).
const DOUBLINGS_MAX: u32 = 16;

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
    /// How many free probes of this count have fired, and when the next may (PROBE-4).
    free: u32,
    next_free: Timestamp,
}

impl Ladder {
    /// A packet was sent that elicits an acknowledgement.
    pub(super) fn on_sent(&mut self, now: Timestamp) {
        if self.anchor.is_none() {
            *self = Self {
                anchor: Some(now),
                ..Self::default()
            };
        }
    }

    /// Something new was acknowledged; of what is still missing, `oldest` was sent first. The count
    /// goes on if that is what it began with, and begins anew otherwise.
    pub(super) fn on_ack(&mut self, oldest: Option<Timestamp>) {
        if self.anchor == oldest {
            return;
        }
        self.anchor = oldest;
        self.fired = 0;
        self.free = 0;
        self.last = self.last.filter(|last| oldest.is_some_and(|at| at < *last));
    }

    /// What is in flight is counted from now on, if anything is (LIF-6).
    pub(super) fn restart(&mut self, now: Timestamp) {
        *self = Self {
            anchor: self.anchor.map(|_| now),
            ..Self::default()
        };
    }

    /// A probe fired, with `timeout` for T. Says whether it is free: the first after T, the second
    /// another T later, and each one after that twice as long after the one before (PROBE-4).
    pub(super) fn on_fired(&mut self, timeout: Duration, now: Timestamp) -> bool {
        self.fired = self.fired.saturating_add(1);
        self.last = Some(now);
        let is_free = now >= self.next_free;
        if is_free {
            self.next_free = now + timeout * (1 << self.free.min(DOUBLINGS_MAX));
            self.free += 1;
        }
        is_free
    }

    /// Whether the next probe is of the third round or later (LOSS-3).
    pub(super) const fn is_past_foot(&self) -> bool {
        self.fired >= FOOT * FOOT_ROUND
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
        let apart = match self.fired {
            0 => srtt * PROBES_APART_PERCENT / 100,
            _ => apart,
        };
        Some(self.last.map_or(due, |last| due.max(last + apart)))
    }
}

/// How long after the first sending probe `index` is due (PROBE-1).
fn rung(index: u32, timeout: Duration, srtt: Duration) -> Duration {
    let (rounds, step) = match index.checked_sub(FOOT * FOOT_ROUND) {
        None => (index / FOOT_ROUND, index % FOOT_ROUND),
        Some(above) => (FOOT + above / ROUND, above % ROUND),
    };
    let within = srtt * PROBES_APART_PERCENT / 100 * step;
    let longest = INTERVAL_MAX.max(timeout);
    let (mut start, mut interval) = (timeout, timeout);
    for round in 1..=rounds {
        if interval >= longest {
            return start + longest * (rounds - round + 1) + within;
        }
        start += interval;
        if round >= FOOT {
            interval = interval * 3 / 2;
        }
    }
    start + within
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
            ladder.on_fired(T, due);
            fired.push(due.as_millis() - 1000);
        }
        fired
    }

    /// PROBE-1.
    #[test]
    fn two_rounds_of_two_probes_are_followed_by_rounds_of_three_at_growing_intervals() {
        assert_eq!(
            schedule(10),
            [120, 165, 240, 285, 360, 405, 450, 540, 585, 630]
        );
    }

    /// PROBE-4.
    #[test]
    fn the_intervals_of_free_probes_double_from_the_third_on() {
        let mut ladder = Ladder::default();
        ladder.on_sent(at(0));
        let mut free = Vec::new();
        for _ in 0..40 {
            let due = ladder.next(T, SRTT).unwrap();
            if ladder.on_fired(T, due) {
                free.push(due.as_millis());
            }
        }
        let gaps: Vec<u64> = free.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(free[..2], [120, 240]);
        assert!(
            gaps.iter().zip(0..).all(|(gap, n)| *gap >= 120 << n),
            "{free:?}"
        );
        ladder.on_ack(Some(at(60_000)));
        let due = ladder.next(T, SRTT).unwrap();
        assert!(ladder.on_fired(T, due), "an ack begins anew");
    }

    /// PROBE-1: RFC 8961 demands exponential growth, and liveness a bound on it.
    #[test]
    fn rounds_are_at_most_two_seconds_apart() {
        let begins: Vec<u64> = schedule(62)[4..].iter().copied().step_by(3).collect();
        let gaps: Vec<u64> = begins.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted());
        assert_eq!(gaps[..4], [180, 270, 405, 607]);
        assert_eq!(gaps[7..], [2000; 12]);
    }

    /// PROBE-1: on a path where T is longer than that, rounds are T apart.
    #[test]
    fn on_a_very_slow_path_probes_wait_for_a_round_trip() {
        let slow = Duration::from_secs(3);
        assert_eq!(rung(10, slow, Duration::ZERO), slow * 5);
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
        ladder.on_fired(T, at(120));
        ladder.on_fired(T, at(165));
        ladder.on_ack(Some(at(0)));
        assert_eq!(ladder.next(T, SRTT), Some(at(240)), "of something else");
        ladder.on_ack(Some(at(20)));
        let due = ladder.next(T, SRTT).unwrap();
        assert_eq!(due, at(165 + 45), "the probe carried this too");
        assert!(!ladder.on_fired(T, due), "free is one in T");
        ladder.on_ack(Some(at(400)));
        assert_eq!(ladder.next(T, SRTT), Some(at(520)));
    }

    #[test]
    fn a_probe_that_fires_late_is_not_followed_by_a_burst() {
        let mut ladder = Ladder::default();
        ladder.on_sent(at(0));
        ladder.on_fired(T, at(60_000));
        assert_eq!(ladder.next(T, SRTT), Some(at(60_045)));
    }
}

//! How much of what a broker sends may be copies (LAD-8).
//!
//! Each link bounds its own copies. Where all of them together fill the broker's own access, the
//! links cannot see it, and each would make it worse for the others.

use core::time::Duration;

use crate::time::Timestamp;

/// Up to so many bytes a second, the rules of each link alone hold (LAD-8).
const FREE_PER_SECOND: u64 = 1_000_000;
/// Above it, at most this part of what is sent is copies (LAD-8).
const PART: u64 = 4;
/// Over which time the bytes are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// What went out in the present second and in the one before.
#[derive(Debug, Default)]
pub(super) struct Egress {
    since: Timestamp,
    sent: u64,
    copied: u64,
    sent_before: u64,
    copied_before: u64,
}

impl Egress {
    /// Whether links may send copies at `now`.
    pub(super) fn may_copy(&mut self, now: Timestamp) -> bool {
        self.turn(now);
        let sent = self.weighed(self.sent_before, self.sent, now);
        let copied = self.weighed(self.copied_before, self.copied, now);
        sent <= FREE_PER_SECOND || copied * PART < sent
    }

    /// So many bytes were sent, and so many of them were copies.
    pub(super) fn on_sent(&mut self, sent: usize, copied: u64, now: Timestamp) {
        self.turn(now);
        self.sent += sent as u64;
        self.copied += copied;
    }

    fn turn(&mut self, now: Timestamp) {
        let age = now.saturating_since(self.since);
        if age < WINDOW {
            return;
        }
        let is_next = age < WINDOW * 2;
        *self = Self {
            since: if is_next { self.since + WINDOW } else { now },
            sent_before: if is_next { self.sent } else { 0 },
            copied_before: if is_next { self.copied } else { 0 },
            ..Self::default()
        };
    }

    /// What of both seconds lies in the one that ends now.
    fn weighed(&self, before: u64, current: u64, now: Timestamp) -> u64 {
        let age = now.saturating_since(self.since).as_millis() as u64;
        let left = (WINDOW.as_millis() as u64).saturating_sub(age);
        before * left / WINDOW.as_millis() as u64 + current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends needed packets of 1,000 bytes at that rate, and as many copies as may go, one for each;
    /// returns what part of the last seconds were copies, in percent.
    fn copies(needed_per_second: u64) -> u64 {
        let mut egress = Egress::default();
        let (mut sent, mut copied) = (0, 0);
        for packet in 0..needed_per_second * 5 {
            let now = Timestamp::from_nanos(packet * 1_000_000_000 / needed_per_second);
            let is_counted = packet > needed_per_second * 2;
            egress.on_sent(1_000, 0, now);
            sent += u64::from(is_counted);
            if egress.may_copy(now) {
                egress.on_sent(1_000, 1_000, now);
                sent += u64::from(is_counted);
                copied += u64::from(is_counted);
            }
        }
        copied * 100 / sent
    }

    /// LAD-8.
    #[test]
    fn above_a_megabyte_a_second_copies_are_at_most_a_quarter() {
        for quiet in [100, 400] {
            assert!(copies(quiet) >= 49);
        }
        for busy in [1_000, 5_000, 50_000] {
            let part = copies(busy);
            assert!((20..=25).contains(&part), "{part}");
        }
    }

    /// LAD-8: a busy second is forgotten when it is over.
    #[test]
    fn an_hour_later_nothing_of_it_counts() {
        let mut egress = Egress::default();
        egress.on_sent(5_000_000, 4_000_000, Timestamp::from_millis(1));
        assert!(!egress.may_copy(Timestamp::from_millis(2)));
        assert!(egress.may_copy(Timestamp::from_millis(3_600_000)));
    }
}

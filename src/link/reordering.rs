//! Paths on which packets overtake each other: LOSS-5, after RFC 8985 (RACK).
//!
//! As long as nothing says otherwise, packets arrive in the order in which they were sent, and one
//! that three later ones have overtaken is lost. When a packet that was taken for lost arrives after
//! all, the path is another one, and from then on only time tells: the *reordering window* is how
//! much later than usual a packet may come. It widens as long as packets come later than that.

use core::time::Duration;

use super::rtt::{GRANULARITY, Rtt};
use crate::time::Timestamp;

/// So many packets later an acknowledged one was sent, and this one is lost (LOSS-1).
const PACKET_THRESHOLD: u64 = 3;

/// The window is so many parts of the shortest round trip for each step (LOSS-5).
const STEP: u32 = 4;

/// After so many times that packets were lost, with none that was only late, the window is one step
/// narrower (LOSS-5).
const KEPT_FOR: u8 = 16;

/// What a link knows about the order in which its packets arrive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reordering {
    /// How wide the window is; 0: no packet has ever been late.
    steps: u8,
    /// For so many more losses it stays as wide.
    kept_for: u8,
    /// When it was last widened: packets that were sent before were judged by a narrower one.
    widened_at: Timestamp,
    /// When something was last lost: what was sent before it was lost at the same time.
    lost_at: Timestamp,
}

impl Reordering {
    /// So many packets later an acknowledged one must have been sent for a packet to be lost,
    /// whenever that was (LOSS-1).
    pub(super) const fn packet_threshold(&self) -> u64 {
        match self.steps {
            0 => PACKET_THRESHOLD,
            _ => u64::MAX,
        }
    }

    /// How long after its sending a packet is lost that a later one has overtaken (LOSS-1, LOSS-5).
    pub(super) fn loss_delay(&self, rtt: &Rtt) -> Duration {
        let usual = rtt.smoothed().max(rtt.latest());
        let window = rtt.min().saturating_mul(self.steps.into()) / STEP;
        let late = usual + window.min(rtt.smoothed());
        late.max(usual * 9 / 8).max(GRANULARITY)
    }

    /// A packet that was sent at `sent_at`, was overtaken and taken for lost has arrived. The window
    /// widens at most once for what was under way at the same time.
    pub(super) fn on_late(&mut self, sent_at: Timestamp, now: Timestamp) {
        self.kept_for = KEPT_FOR;
        if self.steps == 0 || sent_at > self.widened_at {
            self.steps = self.steps.saturating_add(1);
            self.widened_at = now;
        }
    }

    /// Packets were lost, the newest of which was sent at `sent_at`.
    pub(super) fn on_loss(&mut self, sent_at: Timestamp, now: Timestamp) {
        if self.steps <= 1 || sent_at <= self.lost_at {
            return;
        }
        self.lost_at = now;
        self.kept_for = self.kept_for.saturating_sub(1);
        if self.kept_for == 0 {
            self.steps -= 1;
            self.kept_for = KEPT_FOR;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Samples of 100 ms, after one of 80.
    fn rtt() -> Rtt {
        let mut rtt = Rtt::new();
        for sample in [80].into_iter().chain([100; 100]) {
            rtt.on_sample(Duration::from_millis(sample), Duration::ZERO, at(0));
        }
        rtt
    }

    fn delay_ms(reordering: &Reordering) -> u64 {
        reordering.loss_delay(&rtt()).as_millis() as u64
    }

    /// LOSS-1: as long as nothing was late; the lower bound holds on the fastest network.
    #[test]
    fn three_packets_or_nine_eighths_of_a_round_trip_tell_a_loss() {
        let reordering = Reordering::default();
        assert_eq!(reordering.packet_threshold(), 3);
        assert_eq!(delay_ms(&reordering), 112);
        let mut fast = Rtt::new();
        fast.on_sample(Duration::ZERO, Duration::ZERO, at(0));
        assert_eq!(reordering.loss_delay(&fast), GRANULARITY);
    }

    /// LOSS-5: a quarter of 80 ms more each time, once for what was under way together, up to a
    /// whole round trip.
    #[test]
    fn the_window_widens_with_each_packet_that_comes_later_still() {
        let mut reordering = Reordering::default();
        reordering.on_late(at(0), at(130));
        assert_eq!(reordering.packet_threshold(), u64::MAX);
        assert_eq!(delay_ms(&reordering), 120);
        reordering.on_late(at(130), at(260));
        assert_eq!(delay_ms(&reordering), 120, "judged before it was widened");
        reordering.on_late(at(131), at(270));
        assert_eq!(delay_ms(&reordering), 140);
        for round in 1..1_000 {
            reordering.on_late(at(1_000 * round), at(1_000 * round + 300));
        }
        assert!(
            [199, 200].contains(&delay_ms(&reordering)),
            "twice the usual"
        );
    }

    /// LOSS-5.
    #[test]
    fn the_window_narrows_by_a_step_after_sixteen_losses_that_were_true() {
        let mut reordering = Reordering::default();
        for round in [1, 2] {
            reordering.on_late(at(1_000 * round), at(1_000 * round + 130));
        }
        let mut lose = |from: u64, rounds: u64| {
            for round in from..from + rounds {
                reordering.on_loss(at(10_000 + 200 * round), at(10_199 + 200 * round));
                // Found later, and lost at the same time.
                reordering.on_loss(at(10_199 + 200 * round), at(10_199 + 200 * round));
            }
            delay_ms(&reordering)
        };
        assert_eq!(lose(0, 15), 140);
        assert_eq!(lose(15, 1), 120);
        assert_eq!(lose(16, 100), 120, "never shut");
    }
}

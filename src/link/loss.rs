//! How much of what this side sends is lost: LAD-3.
//!
//! Only packets whose fate is certain count: those acknowledged, and those that a later one
//! overtook for so long that they will not come. What was sent into an outage proves nothing before
//! something gets through again. The estimate forgets: each packet weighs 127/128 of the one after
//! it. It begins as if a few packets had been seen already, so that the first losses of a link do
//! not surprise it, and a link that loses nothing stops copying soon.

/// One packet, in the estimate's fixed-point numbers.
const ONE: u32 = 1 << 16;
/// Each packet weighs so much less than the one after it: one part in 128 (LAD-3).
const DECAY_SHIFT: u32 = 7;
/// What an estimate begins with: 3/8 of 20 packets lost (LAD-3). Enough to copy what a link says
/// first, and so little that fifty packets without a loss end it: that is what a clean path pays.
const PRIOR_SENT: u32 = 20 * ONE;
const PRIOR_LOST: u32 = ONE * 3 / 8;

/// How much of what one side sends is lost, as far as that side can tell (LAD-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossEstimate {
    /// The packets whose fate is known, in fixed-point numbers; never zero.
    sent: u32,
    lost: u32,
}

impl Default for LossEstimate {
    fn default() -> Self {
        Self {
            sent: PRIOR_SENT,
            lost: PRIOR_LOST,
        }
    }
}

impl LossEstimate {
    /// The fate of one more packet is known.
    pub(super) const fn on_resolved(&mut self, is_lost: bool) {
        self.sent -= self.sent >> DECAY_SHIFT;
        self.lost -= self.lost >> DECAY_SHIFT;
        self.sent += ONE;
        if is_lost {
            self.lost += ONE;
        }
    }

    /// A packet that was counted as lost was only late.
    pub(super) const fn take_back(&mut self) {
        self.lost = self.lost.saturating_sub(ONE);
    }

    /// The part that is lost, in millionths.
    #[must_use]
    pub const fn per_million(self) -> u32 {
        (self.lost as u64 * 1_000_000 / self.sent as u64) as u32
    }

    /// Of a path that loses nothing, as far as anybody can tell.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            sent: PRIOR_SENT,
            lost: 0,
        }
    }

    /// What a new link on the same path begins with: the same part lost, but no more certain than a
    /// link's own first guess (LAD-9).
    #[must_use]
    pub const fn as_prior(self) -> Self {
        let lost = self.lost as u64 * PRIOR_SENT as u64 / self.sent as u64;
        Self {
            sent: PRIOR_SENT,
            lost: lost as u32,
        }
    }

    /// Both are about the same path: half of each.
    #[must_use]
    pub const fn mixed(self, other: Self) -> Self {
        let (this, other) = (self.as_prior(), other.as_prior());
        Self {
            sent: PRIOR_SENT,
            lost: this.lost.midpoint(other.lost),
        }
    }
}

#[cfg(test)]
impl LossEstimate {
    /// Of a path that is known to lose so many of a thousand packets.
    pub(super) fn known(permille: u32) -> Self {
        let mut loss = Self::none();
        for packet in 0..2_000 {
            loss.on_resolved(packet * permille / 1_000 != (packet + 1) * permille / 1_000);
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(fates: impl IntoIterator<Item = bool>) -> LossEstimate {
        let mut loss = LossEstimate::default();
        for is_lost in fates {
            loss.on_resolved(is_lost);
        }
        loss
    }

    /// LAD-3.
    #[test]
    fn an_estimate_begins_near_two_percent_and_falls_below_half_a_percent_in_fifty_packets() {
        assert_eq!(LossEstimate::default().per_million(), 18_750);
        assert!(after([false; 40]).per_million() > 5_000);
        assert!(after([false; 50]).per_million() < 5_000);
    }

    /// LAD-3.
    #[test]
    fn an_estimate_comes_near_the_true_loss_within_two_hundred_packets() {
        for every in [5, 10, 20] {
            let loss = after((1..=200).map(|packet| packet % every == 0));
            let (is, truth) = (loss.per_million(), 1_000_000 / every);
            assert!(is.abs_diff(truth) < truth / 4, "{is} {truth}");
        }
    }

    /// LAD-3: a packet that was only late does not make the path a bad one.
    #[test]
    fn what_was_only_late_is_taken_back() {
        let mut loss = after([true]);
        loss.take_back();
        assert!(loss.per_million() < LossEstimate::default().per_million());
        loss.take_back();
        assert_eq!(loss.per_million(), 0);
    }

    /// LAD-9.
    #[test]
    fn what_another_link_has_learnt_weighs_no_more_than_a_first_guess() {
        let learnt = after((0..400).map(|packet| packet % 10 == 0));
        let mut told = learnt.as_prior();
        assert!(told.per_million().abs_diff(learnt.per_million()) < 10);
        for _ in 0..160 {
            told.on_resolved(false);
        }
        assert!(told.per_million() < 7_000);
        let half = learnt.mixed(after([false; 2_000]));
        assert!(half.per_million().abs_diff(learnt.per_million() / 2) < 100);
    }
}

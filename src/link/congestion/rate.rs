//! How fast the path delivers: draft-cheng-iccrg-delivery-rate-estimation-02 (CC-5).
//!
//! Each packet remembers how much had been delivered when it was sent. When it is acknowledged, what
//! was delivered since, over the time that it took to send or to acknowledge that much, whichever is
//! longer, is a sample of what the path can do. One that began while the application had nothing to
//! send says only what the application did.

use core::time::Duration;

use crate::time::Timestamp;

/// What a packet remembers of its sending.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::link) struct Stamp {
    delivered: u64,
    delivered_at: Timestamp,
    first_sent_at: Timestamp,
    is_app_limited: bool,
}

impl Stamp {
    /// How many bytes had been delivered by then.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }
}

/// A sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateSample {
    /// Bytes a second.
    pub(super) rate: u64,
    /// Whether the application had too little to send for the path to show what it can do.
    pub(super) is_app_limited: bool,
    /// How many bytes had been delivered when the sampled flight began.
    pub(super) prior_delivered: u64,
}

/// The estimator.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateEstimator {
    delivered: u64,
    delivered_at: Timestamp,
    first_sent_at: Timestamp,
    /// Until more is delivered, samples are app-limited.
    app_limited_until: Option<u64>,
    /// The newest packet of the present acknowledgement, and when it was sent.
    newest: Option<(Stamp, Timestamp)>,
}

impl RateEstimator {
    /// How many bytes were delivered so far.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Whether what is in flight was sent while the application had too little to send.
    pub(super) fn is_app_limited(&self) -> bool {
        self.app_limited_until
            .is_some_and(|until| self.delivered <= until)
    }

    /// A packet is sent while `in_flight` bytes are.
    pub(super) fn on_sent(&mut self, in_flight: u64, now: Timestamp) -> Stamp {
        if in_flight == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Stamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            is_app_limited: self.is_app_limited(),
        }
    }

    /// The application has nothing more to send, while `in_flight` bytes are in flight.
    pub(super) fn on_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = Some(self.delivered + in_flight);
    }

    /// A packet of `len` bytes, sent at `sent_at`, was acknowledged.
    pub(super) fn on_acked(&mut self, len: u64, stamp: &Stamp, sent_at: Timestamp, now: Timestamp) {
        self.delivered += len;
        self.delivered_at = now;
        let is_newest = self
            .newest
            .is_none_or(|(other, at)| (stamp.delivered, sent_at) >= (other.delivered, at));
        if is_newest {
            self.newest = Some((*stamp, sent_at));
            self.first_sent_at = sent_at;
        }
    }

    /// The acknowledgement has been worked off. No sample if it covers less than `min_rtt`: then it
    /// tells more about how acknowledgements come in bunches than about the path.
    pub(super) fn sample(&mut self, min_rtt: Duration) -> Option<RateSample> {
        let (stamp, sent_at) = self.newest.take()?;
        let sending = sent_at.saturating_since(stamp.first_sent_at);
        let acknowledging = self.delivered_at.saturating_since(stamp.delivered_at);
        let took = sending.max(acknowledging);
        if took < min_rtt || took.is_zero() {
            return None;
        }
        let delivered = u128::from(self.delivered - stamp.delivered);
        let rate = delivered * 1_000_000_000 / took.as_nanos();
        Some(RateSample {
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
            is_app_limited: stamp.is_app_limited,
            prior_delivered: stamp.delivered,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// CC-5: 1,000 bytes are sent every 2 ms, and acknowledged as they arrive, every 4 ms.
    #[test]
    fn the_slower_of_sending_and_acknowledging_is_the_rate() {
        let mut rate = RateEstimator::default();
        let stamps: Vec<_> = (0..40)
            .map(|i| (rate.on_sent(i * 1_000, at(2 * i)), at(2 * i)))
            .collect();
        let mut sample = None;
        for (i, (stamp, sent_at)) in stamps.iter().enumerate() {
            let now = at(100 + 4 * i as u64);
            rate.on_acked(1_000, stamp, *sent_at, now);
            sample = rate.sample(MS * 50);
        }
        // 40,000 bytes in 256 ms since the first was sent.
        let sample = sample.unwrap();
        assert_eq!(sample.rate, 40_000 * 1_000 / 256);
        assert!(!sample.is_app_limited);
    }

    /// CC-5: what came back within less than a round trip came in a bunch.
    #[test]
    fn an_interval_shorter_than_a_round_trip_is_no_sample() {
        let mut rate = RateEstimator::default();
        let stamp = rate.on_sent(0, at(0));
        rate.on_acked(1_000, &stamp, at(0), at(49));
        assert_eq!(rate.sample(MS * 50), None);
    }

    /// CC-5: an application that sends little has shown nothing of the path.
    #[test]
    fn samples_that_began_without_anything_to_send_are_marked() {
        let mut rate = RateEstimator::default();
        let first = rate.on_sent(0, at(0));
        rate.on_app_limited(1_000);
        rate.on_acked(1_000, &first, at(0), at(50));
        assert!(!rate.sample(MS * 50).unwrap().is_app_limited);
        assert!(rate.is_app_limited());
        let second = rate.on_sent(0, at(60));
        rate.on_acked(1_000, &second, at(60), at(110));
        let sample = rate.sample(MS * 50).unwrap();
        assert_eq!((sample.rate, sample.is_app_limited), (20_000, true));
    }
}

//! How long a round trip takes: RFC 9002 section 5 (RTT-1).

use core::time::Duration;

use crate::time::Timestamp;

/// The longest that a peer may hold back an acknowledgement (ACK-2, RTT-1).
pub(super) const ACK_DELAY_MAX: Duration = Duration::from_millis(25);

/// The round-trip time before the first sample, and its variance (RTT-1).
const INITIAL_RTT: Duration = Duration::from_millis(200);
const INITIAL_VARIANCE: Duration = Duration::from_millis(100);

/// The least that variance adds to the time-out of a probe (PROBE-1).
const PROBE_MARGIN_MIN: Duration = Duration::from_millis(5);

/// The finest that timers are set (LOSS-1).
pub(super) const GRANULARITY: Duration = Duration::from_millis(1);

/// How many probe time-outs of silence and loss make persistent congestion (RFC 9002 section 7.6).
const PERSISTENT_THRESHOLD: u32 = 3;

/// The estimator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rtt {
    smoothed: Duration,
    variance: Duration,
    latest: Duration,
    min: Duration,
    first_sample_at: Option<Timestamp>,
}

impl Rtt {
    pub(super) const fn new() -> Self {
        Self {
            smoothed: INITIAL_RTT,
            variance: INITIAL_VARIANCE,
            latest: INITIAL_RTT,
            min: Duration::MAX,
            first_sample_at: None,
        }
    }

    /// Takes a sample: an acknowledgement came `sample` after its packet was sent, and the peer says
    /// that it held it back for `ack_delay` (RTT-1).
    pub(super) fn on_sample(&mut self, sample: Duration, ack_delay: Duration, now: Timestamp) {
        self.latest = sample;
        self.min = self.min.min(sample);
        if self.first_sample_at.is_none() {
            self.first_sample_at = Some(now);
            self.smoothed = sample;
            self.variance = sample / 2;
            return;
        }
        let ack_delay = ack_delay.min(ACK_DELAY_MAX);
        let adjusted = match sample.checked_sub(ack_delay) {
            Some(without_delay) if without_delay >= self.min => without_delay,
            _ => sample,
        };
        let deviation = self.smoothed.abs_diff(adjusted);
        self.variance = (self.variance * 3 + deviation) / 4;
        self.smoothed = (self.smoothed * 7 + adjusted) / 8;
    }

    /// Before any sample: the handshake has shown that a round trip takes no longer than this. It says
    /// little if it is long, because of several copies any may have been answered (RTT-1).
    pub(super) fn hint(&mut self, at_most: Duration) {
        if self.first_sample_at.is_none() && at_most < self.smoothed {
            self.smoothed = at_most;
            self.variance = at_most / 2;
            self.latest = at_most;
        }
    }

    /// What made samples vary was long ago (LIF-6).
    pub(super) fn forget_variance(&mut self) {
        self.variance = self.variance.min(self.smoothed / 2);
    }

    /// The latest sample.
    pub(super) const fn latest(&self) -> Duration {
        self.latest
    }

    pub(super) const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// The shortest sample; [`Duration::MAX`] before there is one.
    pub(super) const fn min(&self) -> Duration {
        self.min
    }

    /// When the first sample came.
    pub(super) const fn first_sample_at(&self) -> Option<Timestamp> {
        self.first_sample_at
    }

    /// The probe time-out T (PROBE-1), for a peer that acknowledges at once.
    pub(super) fn probe_timeout(&self) -> Duration {
        self.smoothed + (self.variance * 4).max(PROBE_MARGIN_MIN)
    }

    /// How long an uninterrupted run of losses must last to be persistent congestion (CC-1).
    pub(super) fn persistent_congestion(&self) -> Duration {
        (self.smoothed + (self.variance * 4).max(GRANULARITY) + ACK_DELAY_MAX)
            * PERSISTENT_THRESHOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(samples: &[(u32, u32)]) -> Rtt {
        let mut rtt = Rtt::new();
        for (sample, delay) in samples {
            rtt.on_sample(MS * *sample, MS * *delay, Timestamp::ZERO);
        }
        rtt
    }

    /// RTT-1.
    #[test]
    fn before_the_first_sample_the_rtt_is_200_ms_with_a_variance_of_100() {
        let rtt = Rtt::new();
        assert_eq!(rtt.smoothed(), MS * 200);
        assert_eq!(rtt.probe_timeout(), MS * 600);
    }

    /// RTT-1: a handshake that took long says nothing, and a sample says more than any handshake.
    #[test]
    fn a_handshake_shortens_the_guess_until_there_is_a_sample() {
        let mut rtt = Rtt::new();
        rtt.hint(MS * 300);
        assert_eq!(rtt.probe_timeout(), MS * 600);
        rtt.hint(MS * 40);
        assert_eq!((rtt.smoothed(), rtt.probe_timeout()), (MS * 40, MS * 120));
        assert_eq!(rtt.first_sample_at(), None);
        rtt.on_sample(MS * 90, Duration::ZERO, Timestamp::ZERO);
        rtt.hint(MS);
        assert_eq!((rtt.smoothed(), rtt.variance), (MS * 90, MS * 45));
    }

    /// LIF-6.
    #[test]
    fn variance_can_be_forgotten_and_the_round_trip_stays() {
        let mut rtt = after(&[(80, 0), (800, 0)]);
        let smoothed = rtt.smoothed();
        assert!(rtt.variance > smoothed);
        rtt.forget_variance();
        assert_eq!((rtt.smoothed(), rtt.variance), (smoothed, smoothed / 2));
    }

    /// RTT-1: the first sample counts whole, whatever the peer says about its delay.
    #[test]
    fn the_first_sample_replaces_the_guess() {
        let rtt = after(&[(80, 20)]);
        assert_eq!((rtt.smoothed(), rtt.variance), (MS * 80, MS * 40));
    }

    /// RTT-1.
    #[test]
    fn the_peers_delay_is_subtracted_up_to_25_ms_and_never_below_the_minimum() {
        assert_eq!(
            after(&[(80, 0), (100, 10)]).smoothed(),
            MS * (7 * 80 + 90) / 8
        );
        assert_eq!(
            after(&[(80, 0), (120, 99)]).smoothed(),
            MS * (7 * 80 + 95) / 8
        );
        assert_eq!(
            after(&[(80, 0), (90, 20)]).smoothed(),
            MS * (7 * 80 + 90) / 8
        );
    }

    /// PROBE-1: the lower bound holds on the fastest network.
    #[test]
    fn a_time_out_has_a_lower_bound() {
        let rtt = after(&[(0, 0), (0, 0)]);
        assert_eq!(rtt.probe_timeout(), MS * 5);
    }
}

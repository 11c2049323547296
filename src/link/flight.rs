//! Whether traffic is thin: fewer than four packets that elicit acknowledgements in one smoothed
//! round trip (ACK-2).
//!
//! A receiver acknowledges thin traffic at once; a sender knows that, and probes the sooner
//! (PROBE-1).

use core::time::Duration;

use crate::time::Timestamp;

/// So many packets within a round trip are no longer thin (ACK-2).
const THICK: usize = 4;

/// Remembers when the latest few packets went or came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FlightMeter {
    /// The latest times in a ring; `None` until so many packets have passed.
    times: [Option<Timestamp>; THICK],
    next: u8,
}

impl FlightMeter {
    /// A packet went or came.
    pub(super) fn record(&mut self, now: Timestamp) {
        self.times[usize::from(self.next)] = Some(now);
        self.next = (self.next + 1) % THICK as u8;
    }

    /// Whether fewer than four packets passed in the round trip that ended with the latest.
    pub(super) fn is_thin(&self, srtt: Duration) -> bool {
        let latest = self.times.iter().flatten().max();
        match (self.times[usize::from(self.next)], latest) {
            (Some(fourth), Some(latest)) => latest.saturating_since(fourth) >= srtt,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ACK-2.
    #[test]
    fn the_fourth_packet_within_a_round_trip_ends_the_thin_traffic() {
        let mut meter = FlightMeter::default();
        let srtt = Duration::from_millis(100);
        for at in [0, 30, 60] {
            meter.record(Timestamp::from_millis(at));
            assert!(meter.is_thin(srtt));
        }
        meter.record(Timestamp::from_millis(90));
        assert!(!meter.is_thin(srtt));
        for at in [150, 200, 250] {
            meter.record(Timestamp::from_millis(at));
        }
        assert!(meter.is_thin(srtt));
    }
}

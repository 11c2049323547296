//! What a broker has done so far, for those who look after it (BRK-4, MET-2).

use core::time::Duration;
use std::collections::BTreeMap;

use crate::chat::Refusal;
use crate::transmit::Transmit;

/// Counted since the broker began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that came in, those that were dropped included.
    pub datagrams_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Datagrams that went out.
    pub datagrams_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Lines that were stored, of all kinds.
    pub lines_stored: u64,
    /// How long publications took from being asked to being answered (MET-2).
    pub store_latency: Latency,
    /// Events that nobody took in time (LIM-23).
    pub events_untold: u64,
    refused: BTreeMap<&'static str, u64>,
}

/// Up to how many milliseconds each count of a [`Latency`] is about; there is one more, for all above.
pub const LATENCIES_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/// How long something took, how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How often it took no longer than that ([`LATENCIES_MS`]) and longer than the one before.
    pub counts: [u64; LATENCIES_MS.len() + 1],
    /// All of it together.
    pub total: Duration,
}

impl Latency {
    pub(super) fn add(&mut self, took: Duration) {
        let is_longer = |ms: &&u64| took > Duration::from_millis(**ms);
        let at = LATENCIES_MS.iter().take_while(is_longer).count();
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.total = self.total.saturating_add(took);
    }
}

impl Counters {
    pub(super) fn on_sent(&mut self, transmit: &Transmit) {
        let datagrams = match transmit.segment_size {
            Some(size) => transmit.len.div_ceil(size.max(1)),
            None => 1,
        };
        self.datagrams_out += datagrams as u64;
        self.bytes_out += transmit.len as u64;
    }

    pub(super) fn refuse(&mut self, code: Refusal) {
        *self.refused.entry(code.label()).or_default() += 1;
    }

    /// How often something was refused, by [`Refusal::label`].
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refused.iter().map(|(label, count)| (*label, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MET-2.
    #[test]
    fn a_time_is_counted_where_it_belongs() {
        let mut latency = Latency::default();
        for ms in [0, 1, 2, 3, 5_000, 5_001] {
            latency.add(Duration::from_millis(ms));
        }
        assert_eq!(latency.counts, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(latency.total, Duration::from_millis(10_007));
    }
}

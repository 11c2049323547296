//! What a broker has done so far, for those who look after it (BRK-4, MET-2).

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
    refused: BTreeMap<&'static str, u64>,
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

//! What an ACK frame says: which packet numbers have arrived.

use core::ops::RangeInclusive;

use super::{DecodeError, Reader, VARINT_MAX, put_varint};

/// The most ranges of packet numbers in one ACK (LIM-4, FRM-3).
pub const ACK_RANGES_MAX: usize = 64;

/// The content of an ACK frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// How long the largest number waited for this acknowledgement, in microseconds.
    pub delay_us: u64,
    /// The numbers that have arrived.
    pub ranges: AckRanges,
}

impl Ack {
    /// The largest number that has arrived.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.ranges.largest()
    }

    /// Appends the fields of an ACK frame.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut ranges = self.ranges.iter();
        let first = ranges.next().unwrap_or(0..=0);
        put_varint(out, *first.end());
        put_varint(out, self.delay_us);
        put_varint(out, ranges.len() as u64);
        put_varint(out, first.end() - first.start());
        let mut above = *first.start();
        for range in ranges {
            put_varint(out, above - range.end() - 2);
            put_varint(out, range.end() - range.start());
            above = *range.start();
        }
    }

    /// Reads the fields of an ACK frame (FRM-3).
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const BELOW_ZERO: DecodeError = DecodeError::Invalid("ACK range: it goes below zero");
        let largest = reader.varint()?;
        let delay_us = reader.varint()?;
        let further = reader.varint()?;
        if further >= ACK_RANGES_MAX as u64 {
            return Err(DecodeError::Invalid("number of ACK ranges"));
        }
        let mut smallest = largest.checked_sub(reader.varint()?).ok_or(BELOW_ZERO)?;
        let mut ranges = AckRanges(vec![smallest..=largest]);
        for _ in 0..further {
            // Both fields are stored less one, and neither sum can overflow: varints end at 2^62.
            let gap = reader.varint()? + 1;
            let largest = smallest.checked_sub(gap + 1).ok_or(BELOW_ZERO)?;
            smallest = largest.checked_sub(reader.varint()?).ok_or(BELOW_ZERO)?;
            ranges.0.push(smallest..=largest);
        }
        Ok(Self { delay_us, ranges })
    }
}

/// Ranges of packet numbers from high to low: 1 to [`ACK_RANGES_MAX`], with a hole between any two
/// (FRM-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckRanges(Vec<RangeInclusive<u64>>);

impl AckRanges {
    /// The ranges that begin with `highest`; `None` if it is empty or goes above [`VARINT_MAX`].
    #[must_use]
    pub fn new(highest: RangeInclusive<u64>) -> Option<Self> {
        (!highest.is_empty() && *highest.end() <= VARINT_MAX).then(|| Self(vec![highest]))
    }

    /// Adds a range below all others. Says whether it did: it does not if there are
    /// [`ACK_RANGES_MAX`] already, if `lower` is empty, or if it is not below them with a hole
    /// between.
    #[must_use]
    pub fn push(&mut self, lower: RangeInclusive<u64>) -> bool {
        let lowest = self.0.last().map_or(0, |range| *range.start());
        let fits = self.0.len() < ACK_RANGES_MAX
            && !lower.is_empty()
            && lower.end().saturating_add(1) < lowest;
        if fits {
            self.0.push(lower);
        }
        fits
    }

    /// The largest number in any range.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.0.first().map_or(0, |range| *range.end())
    }

    /// The ranges, from high to low.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> + ExactSizeIterator + '_ {
        self.0.iter().cloned()
    }
}

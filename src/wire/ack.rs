//! What an ACK frame says: which packet numbers have arrived.

use core::ops::RangeInclusive;

use smallvec::SmallVec;

use super::{DecodeError, Reader, VARINT_MAX, put_varint};

/// The most ranges of packet numbers in one ACK (LIM-4, FRM-3).
pub const ACK_RANGES_MAX: usize = 64;

/// So many ranges below the highest take no memory of their own.
const RANGES_FEW: usize = 3;

/// The content of an ACK frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// How long the largest number waited for this acknowledgement, in microseconds.
    pub delay_us: u64,
    /// The numbers that have arrived.
    pub ranges: AckRanges,
    /// How many packets have come with which mark, if that is told (ECN-2).
    pub ecn: Option<EcnCounts>,
}

/// How many packets of a link have come with which mark (RFC 9000 section 19.3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnCounts {
    /// With ECT(0).
    pub ect0: u64,
    /// With ECT(1).
    pub ect1: u64,
    /// With CE: marked on their way.
    pub ce: u64,
}

impl EcnCounts {
    /// How many had any.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.ect0.saturating_add(self.ect1).saturating_add(self.ce)
    }
}

impl Ack {
    /// The largest number that has arrived.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.ranges.largest()
    }

    /// Appends the fields of an ACK frame.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let AckRanges { highest, further } = &self.ranges;
        put_varint(out, *highest.end());
        put_varint(out, self.delay_us);
        put_varint(out, further.len() as u64);
        put_varint(out, highest.end() - highest.start());
        let mut above = highest;
        for range in further {
            put_varint(out, above.start() - range.end() - 2);
            put_varint(out, range.end() - range.start());
            above = range;
        }
        if let Some(EcnCounts { ect0, ect1, ce }) = self.ecn {
            for count in [ect0, ect1, ce] {
                put_varint(out, count);
            }
        }
    }

    /// Reads the fields of an ACK frame, with the counts of marks or without (FRM-3).
    pub(super) fn decode(reader: &mut Reader<'_>, has_counts: bool) -> Result<Self, DecodeError> {
        const BELOW_ZERO: DecodeError = DecodeError::Invalid("ACK range: it goes below zero");
        let largest = reader.varint()?;
        let delay_us = reader.varint()?;
        let count = reader.varint()?;
        if count >= ACK_RANGES_MAX as u64 {
            return Err(DecodeError::Invalid("number of ACK ranges"));
        }
        let mut smallest = largest.checked_sub(reader.varint()?).ok_or(BELOW_ZERO)?;
        let highest = smallest..=largest;
        let mut further = SmallVec::new();
        for _ in 0..count {
            // The gap is stored less one. The sum cannot overflow: a varint is below 2^62.
            let gap = reader.varint()? + 1;
            let largest = smallest.checked_sub(gap + 1).ok_or(BELOW_ZERO)?;
            smallest = largest.checked_sub(reader.varint()?).ok_or(BELOW_ZERO)?;
            further.push(smallest..=largest);
        }
        let ranges = AckRanges { highest, further };
        let mut ecn = None;
        if has_counts {
            ecn = Some(EcnCounts {
                ect0: reader.varint()?,
                ect1: reader.varint()?,
                ce: reader.varint()?,
            });
        }
        Ok(Self {
            delay_us,
            ranges,
            ecn,
        })
    }
}

/// Ranges of packet numbers from high to low: 1 to [`ACK_RANGES_MAX`], with a hole between any two
/// (FRM-3). A few of them, by far the most common case, take no memory beside this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckRanges {
    highest: RangeInclusive<u64>,
    further: SmallVec<[RangeInclusive<u64>; RANGES_FEW]>,
}

impl AckRanges {
    /// The one range `highest`, to which lower ones may be [pushed](Self::push); `None` if it is
    /// empty or goes above [`VARINT_MAX`].
    #[must_use]
    pub fn new(highest: RangeInclusive<u64>) -> Option<Self> {
        let fits = !highest.is_empty() && *highest.end() <= VARINT_MAX;
        fits.then_some(Self {
            highest,
            further: SmallVec::new(),
        })
    }

    /// Adds a range below all others, and says whether it did: it does not if there are
    /// [`ACK_RANGES_MAX`] already (LIM-4), or if `lower` is empty or not below them with a hole
    /// between.
    #[must_use]
    pub fn push(&mut self, lower: RangeInclusive<u64>) -> bool {
        let fits = self.count() < ACK_RANGES_MAX
            && !lower.is_empty()
            && lower.end().saturating_add(1) < self.smallest();
        if fits {
            self.further.push(lower);
        }
        fits
    }

    /// How many ranges there are: at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.further.len()
    }

    /// The largest number in any range.
    #[must_use]
    pub const fn largest(&self) -> u64 {
        *self.highest.end()
    }

    /// The smallest number in any range.
    #[must_use]
    pub fn smallest(&self) -> u64 {
        *self.further.last().unwrap_or(&self.highest).start()
    }

    /// The ranges, from high to low.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> + '_ {
        core::iter::once(&self.highest)
            .chain(&self.further)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(fields: &[u64]) -> Result<Ack, DecodeError> {
        let mut bytes = Vec::new();
        for field in fields {
            put_varint(&mut bytes, *field);
        }
        Ack::decode(&mut Reader::new(&bytes), false)
    }

    /// FRM-3.
    #[test]
    fn ranges_go_from_high_to_low_with_a_hole_between() {
        let ack = decode(&[100, 7, 2, 10, 0, 8, 78, 0]).unwrap();
        assert!(ack.ranges.iter().eq([90..=100, 80..=88, 0..=0]));
        assert_eq!((ack.largest(), ack.ranges.smallest()), (100, 0));
        assert_eq!(ack.ranges.count(), 3);
    }

    /// FRM-3.
    #[test]
    fn a_range_below_zero_is_malformed() {
        let below_zero = Err(DecodeError::Invalid("ACK range: it goes below zero"));
        for fields in [
            &[5, 0, 0, 6][..],            // the first
            &[5, 0, 1, 4, 0, 0],          // the end of the second
            &[5, 0, 1, 2, 0, 2],          // its beginning
            &[5, 0, 1, 0, VARINT_MAX, 0], // far away
            &[5, 0, 1, 0, 0, VARINT_MAX],
        ] {
            assert_eq!(decode(fields), below_zero, "{fields:?}");
        }
        assert!(decode(&[5, 0, 1, 2, 0, 1]).is_ok());
    }

    /// FRM-3, LIM-4.
    #[test]
    fn an_ack_has_at_most_64_ranges() {
        assert_eq!(ACK_RANGES_MAX, 64);
        let with_further = |count: usize| {
            let mut fields = vec![1000, 0, count as u64, 0];
            fields.resize(4 + 2 * count, 0);
            decode(&fields)
        };
        let mut full = with_further(63).unwrap().ranges;
        assert_eq!(full.count(), 64);
        assert!(!full.push(0..=0));
        let too_many = Err(DecodeError::Invalid("number of ACK ranges"));
        assert_eq!(with_further(64), too_many);
    }

    /// ENC-4: the number of ranges that an ACK claims takes no memory.
    #[test]
    fn ranges_that_are_not_there_are_truncation() {
        assert_eq!(decode(&[1000, 0, 63, 0, 0, 0]), Err(DecodeError::Truncated));
    }

    #[test]
    fn ranges_that_no_ack_can_carry_cannot_be_built() {
        assert_eq!(AckRanges::new(RangeInclusive::new(2, 1)), None);
        assert_eq!(AckRanges::new(0..=VARINT_MAX + 1), None);
        let mut ranges = AckRanges::new(10..=VARINT_MAX).unwrap();
        assert!(!ranges.push(8..=9), "no hole");
        assert!(!ranges.push(8..=20), "overlap");
        assert!(!ranges.push(0..=u64::MAX), "above");
        assert!(!ranges.push(RangeInclusive::new(2, 1)), "empty");
        assert!(ranges.push(8..=8));
        assert!(ranges.iter().eq([10..=VARINT_MAX, 8..=8]));
    }
}

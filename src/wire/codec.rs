//! Reading and writing the primitives of SPEC.md section 4.

use super::DecodeError;

/// The largest value of a varint (ENC-1).
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// How many bytes the shortest varint for `value` takes (ENC-1).
///
/// Values above [`VARINT_MAX`] have no encoding; they count as 8.
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value` as a varint in its shortest form (ENC-1, ENC-2).
///
/// # Panics
///
/// If `value` is above [`VARINT_MAX`]: a wrong local call, never something that a peer can cause.
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    assert!(value <= VARINT_MAX, "no varint for {value}");
    let bytes = value.to_be_bytes();
    let (len, tag) = match varint_len(value) {
        1 => (1, 0x00),
        2 => (2, 0x40),
        4 => (4, 0x80),
        _ => (8, 0xc0),
    };
    let first = out.len();
    out.extend_from_slice(&bytes[8 - len..]);
    out[first] |= tag;
}

/// Appends a varint length and the bytes.
pub fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A cursor over received bytes. Every method takes what it names off the front, or fails and
/// says why; none panics, and none allocates (ENC-4).
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the front.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Takes a two-byte integer.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Takes a four-byte integer.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Takes an eight-byte integer.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Takes a varint, which must be in its shortest form (ENC-1, ENC-2).
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let len = 1_usize << (self.rest.first().ok_or(DecodeError::Truncated)? >> 6);
        let taken = self.bytes(len)?;
        let raw = taken
            .iter()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let value = raw & (VARINT_MAX >> (62 - (8 * len - 2)));
        if varint_len(value) == len {
            Ok(value)
        } else {
            Err(DecodeError::NonMinimalVarint)
        }
    }

    /// Takes a varint length and that many bytes.
    pub fn sized(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.varint()?;
        self.bytes(usize::try_from(len).map_err(|_| DecodeError::Truncated)?)
    }

    /// Takes a varint length and that many bytes of UTF-8 (ENC-5).
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        core::str::from_utf8(self.sized()?).map_err(|_| DecodeError::NotUtf8)
    }

    /// Takes everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Takes everything that is left, as UTF-8 (ENC-5).
    pub fn rest_text(&mut self) -> Result<&'a str, DecodeError> {
        core::str::from_utf8(self.rest()).map_err(|_| DecodeError::NotUtf8)
    }

    /// Ends the reading: whatever is left makes the whole malformed (ENC-3).
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ENC-1: the examples of RFC 9000, appendix A.1.
    #[test]
    fn varints_agree_with_the_examples_of_rfc_9000() {
        for (bytes, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
        }
    }

    /// ENC-2.
    #[test]
    fn a_varint_longer_than_need_be_is_malformed() {
        assert_eq!(
            Reader::new(&[0x40, 0x25]).varint(),
            Err(DecodeError::NonMinimalVarint)
        );
    }

    /// ENC-3.
    #[test]
    fn trailing_bytes_make_the_whole_malformed() {
        let mut reader = Reader::new(&[1, 2]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.finish(), Err(DecodeError::TrailingBytes));
    }

    /// ENC-4.
    #[test]
    fn a_declared_length_beyond_the_end_is_truncation() {
        let mut huge = Vec::new();
        put_varint(&mut huge, VARINT_MAX);
        assert_eq!(Reader::new(&huge).sized(), Err(DecodeError::Truncated));
    }

    /// ENC-5.
    #[test]
    fn text_that_is_not_utf_8_is_malformed() {
        assert_eq!(Reader::new(&[1, 0xff]).text(), Err(DecodeError::NotUtf8));
        assert_eq!(Reader::new(&[0xff]).rest_text(), Err(DecodeError::NotUtf8));
    }
}

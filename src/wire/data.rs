//! What surrounds the ciphertext of a data-class datagram: SPEC.md section 5.2.
//!
//! ```text
//! flags (1) | connection id | packet number (1 to 4) | sealed frames | tag (16)
//! ```
//!
//! A link writes a [`DataHeader`] and its frames; `secure` seals the frames and masks the header. A
//! receiver's `secure` lifts the mask with the help of [`Flags`] and [`restore_number`].

use super::VARINT_MAX;

/// The bytes of the tag that ends a data-class datagram.
pub const TAG_LEN: usize = 16;

/// The most bytes of a packet number that are sent (PKT-2).
pub const NUMBER_LEN_MAX: usize = 4;

/// How far behind the start of the packet number the sample for header protection begins (PKT-4).
pub const SAMPLE_OFFSET: usize = 4;

/// The fewest bytes of a packet number that a sender picks (PKT-2), so that a short one takes no more than PKT-7 allows.
const NUMBER_LEN_MIN: usize = 2;

/// Whether the first byte of a datagram says that it is of the data class (SPEC.md section 5).
#[must_use]
pub const fn is_data(first_byte: u8) -> bool {
    first_byte & Flags::CLASS != 0
}

/// This byte as the first one of a datagram of the data class.
#[must_use]
pub const fn as_data(byte: u8) -> u8 {
    byte | Flags::CLASS
}

/// The first byte of a data-class datagram, without header protection: `1 E E R R R P P`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The bits that header protection covers (PKT-4).
    pub const PROTECTED: u8 = 0x1f;
    const CLASS: u8 = 0x80;
    const EPOCH: u8 = 0x60;
    const RESERVED: u8 = 0x1c;
    const NUMBER_LEN: u8 = 0x03;

    /// The flags for a packet number of `number_len` bytes, in epoch 0, with no reserved bit set
    /// (PKT-6).
    ///
    /// # Panics
    ///
    /// If `number_len` is not 1 to [`NUMBER_LEN_MAX`].
    #[must_use]
    pub const fn new(number_len: usize) -> Self {
        assert!(1 <= number_len && number_len <= NUMBER_LEN_MAX);
        Self(Self::CLASS | (number_len - 1) as u8)
    }

    /// These flags in an epoch, of which they tell the lowest two bits (PKT-6).
    #[must_use]
    pub const fn in_epoch(self, epoch: u64) -> Self {
        Self(self.0 & !Self::EPOCH | Self::epoch_bits(epoch) << 5)
    }

    /// What of an epoch is sent (PKT-6).
    #[must_use]
    pub const fn epoch_bits(epoch: u64) -> u8 {
        (epoch % 4) as u8
    }

    /// The epoch's lowest bits, 0 to 3. These bits are not protected: they tell which keys to use (PKT-6).
    #[must_use]
    pub const fn epoch(self) -> u8 {
        (self.0 & Self::EPOCH) >> 5
    }

    /// Whether a reserved bit is set (PKT-6). Means something only once the packet has decrypted.
    #[must_use]
    pub const fn has_reserved_bits(self) -> bool {
        self.0 & Self::RESERVED != 0
    }

    /// How many bytes of the packet number were sent: 1 to [`NUMBER_LEN_MAX`].
    #[must_use]
    pub const fn number_len(self) -> usize {
        (self.0 & Self::NUMBER_LEN) as usize + 1
    }
}

/// The header of a data-class datagram as its sender writes it, before protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader<'a> {
    /// The receiver's connection id. Its length is known to the receiver and not sent (PKT-1).
    pub cid: &'a [u8],
    /// The whole packet number.
    pub number: u64,
    /// How many of its lowest bytes are sent.
    number_len: usize,
    /// The flags.
    flags: Flags,
}

impl<'a> DataHeader<'a> {
    /// The header of packet `number`, which is later than `largest_acked`, the largest number that
    /// the receiver is known to have seen.
    #[must_use]
    pub fn new(cid: &'a [u8], number: u64, largest_acked: Option<u64>) -> Self {
        let number_len = number_len(number, largest_acked);
        Self {
            cid,
            number,
            number_len,
            flags: Flags::new(number_len),
        }
    }

    /// The same header in another epoch than 0 (PKT-6).
    #[must_use]
    pub const fn in_epoch(self, epoch: u64) -> Self {
        let flags = self.flags.in_epoch(epoch);
        Self { flags, ..self }
    }

    /// How many bytes [`DataHeader::encode`] appends.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        1 + self.cid.len() + self.number_len
    }

    /// Appends the header, and returns where in `out` the packet number begins.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        out.push(self.flags.0);
        out.extend_from_slice(self.cid);
        let number_offset = out.len();
        let bytes = self.number.to_be_bytes();
        out.extend_from_slice(&bytes[bytes.len() - self.number_len..]);
        number_offset
    }
}

/// Appends what PAD frames are missing for the header protection's sample: packet number and frames
/// together are at least [`SAMPLE_OFFSET`] bytes (PKT-3).
pub fn pad_for_sample(out: &mut Vec<u8>, number_offset: usize) {
    let len = out.len().max(number_offset + SAMPLE_OFFSET);
    out.resize(len, 0);
}

/// How many bytes of `number` to send: at least two, and so many that they can stand for more than
/// twice as many numbers as the receiver may not have seen yet (PKT-2, RFC 9000 section 17.1).
fn number_len(number: u64, largest_acked: Option<u64>) -> usize {
    let unacked = largest_acked.map_or(number.saturating_add(1), |acked| {
        number.saturating_sub(acked)
    });
    (NUMBER_LEN_MIN..NUMBER_LEN_MAX)
        .find(|len| (1 << (8 * len)) / 2 > unacked)
        .unwrap_or(NUMBER_LEN_MAX)
}

/// The packet number whose lowest `len` bytes are `truncated`, and which is nearest to the one that
/// follows `largest`, the largest that has decrypted so far (PKT-2, RFC 9000 appendix A.3).
///
/// Never above [`VARINT_MAX`], so that every number that decrypts can be acknowledged. `len` is 1
/// to [`NUMBER_LEN_MAX`], `truncated` below 256 to the power of `len`, and `largest` at most
/// [`VARINT_MAX`].
#[must_use]
pub fn restore_number(truncated: u32, len: usize, largest: Option<u64>) -> u64 {
    debug_assert!((1..=NUMBER_LEN_MAX).contains(&len));
    let expected = largest.map_or(0, |largest| largest + 1);
    let window = 1_u64 << (8 * len);
    let candidate = (expected & !(window - 1)) | u64::from(truncated);
    let number = if candidate + window / 2 <= expected {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    };
    number.min(VARINT_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header_len(cid: &[u8], number: u64, largest_acked: Option<u64>) -> usize {
        DataHeader::new(cid, number, largest_acked).encoded_len()
    }

    #[test]
    fn the_first_bit_tells_the_class() {
        assert!((0x00..=0x7f).all(|first| !is_data(first)));
        assert!((0x80..=0xff).all(is_data));
    }

    #[test]
    fn a_header_looks_as_the_specification_says() {
        let mut out = vec![0xaa];
        let header = DataHeader::new(b"c", 0x0123_4567, Some(0x0123_0000));
        assert_eq!(header.encode(&mut out), 3, "where the number begins");
        assert_eq!(out, [0xaa, 0x81, b'c', 0x45, 0x67]);
        assert_eq!(out.len(), 1 + header.encoded_len());
    }

    /// PKT-1: the receiver knows the length of its connection id, and the header does not say it.
    #[test]
    fn the_length_of_a_connection_id_is_not_sent() {
        assert_eq!(header_len(b"", 0, None), 3);
        assert_eq!(header_len(b"brokerid", 0, None), 3 + 8);
    }

    /// PKT-6.
    #[test]
    fn flags_are_sent_with_epoch_0_and_no_reserved_bit() {
        for len in 1..=NUMBER_LEN_MAX {
            let flags = Flags::new(len);
            assert!(is_data(flags.0) && !flags.has_reserved_bits());
            assert_eq!((flags.epoch(), flags.number_len()), (0, len));
        }
    }

    /// PKT-6.
    #[test]
    fn a_header_tells_the_lowest_two_bits_of_its_epoch() {
        for epoch in 0..9 {
            let mut out = Vec::new();
            DataHeader::new(b"", 7, None)
                .in_epoch(epoch)
                .encode(&mut out);
            let flags = Flags(out[0]);
            assert!(is_data(out[0]) && !flags.has_reserved_bits());
            assert_eq!(
                (u64::from(flags.epoch()), flags.number_len()),
                (epoch % 4, 2)
            );
        }
    }

    /// PKT-4, PKT-6: the class and the epoch can be read through the protection, the rest cannot.
    #[test]
    fn flags_are_read_bit_by_bit() {
        for byte in 0x80..=0xff {
            let flags = Flags(byte);
            let bits = format!("{byte:08b}");
            assert_eq!(flags.epoch(), u8::from_str_radix(&bits[1..3], 2).unwrap());
            assert_eq!(flags.has_reserved_bits(), bits[3..6].contains('1'));
            let number_len = usize::from_str_radix(&bits[6..], 2).unwrap() + 1;
            assert_eq!(flags.number_len(), number_len);
            assert_eq!(Flags(byte ^ Flags::PROTECTED).epoch(), flags.epoch());
        }
        assert_eq!(Flags::PROTECTED, Flags::RESERVED | Flags::NUMBER_LEN);
    }

    /// PKT-2: the examples of RFC 9000, appendix A.2, and the two bytes that are always sent.
    #[test]
    fn numbers_are_as_long_as_rfc_9000_says_and_at_least_two_bytes() {
        assert_eq!(number_len(0xac_5c02, Some(0xab_e8b3)), 2);
        assert_eq!(number_len(0xac_e8fe, Some(0xab_e8b3)), 3);
        assert_eq!(number_len(0, None), 2);
        assert_eq!(number_len(1, Some(0)), 2);
        assert_eq!(number_len((1 << 15) - 2, None), 2);
        assert_eq!(number_len((1 << 15) - 1, None), 3, "2^15 unacknowledged");
        assert_eq!(number_len(1 << 23, Some(1)), 3);
        assert_eq!(number_len(1 << 23, Some(0)), 4);
        assert_eq!(number_len(VARINT_MAX, None), 4);
    }

    /// PKT-2: the example of RFC 9000, appendix A.3.
    #[test]
    fn numbers_are_restored_as_rfc_9000_says() {
        assert_eq!(restore_number(0x9b32, 2, Some(0xa82f_30ea)), 0xa82f_9b32);
        assert_eq!(restore_number(0, 2, None), 0);
        assert_eq!(restore_number(0xffff, 2, Some(0x1_0000)), 0xffff);
        assert_eq!(restore_number(0, 2, Some(0xffff)), 0x1_0000);
        assert_eq!(restore_number(0xff, 1, None), 0xff, "never below zero");
    }

    /// PKT-2: a peer that has driven its numbers up there gets no number that an ACK cannot name.
    #[test]
    fn no_number_above_the_largest_varint_is_restored() {
        for truncated in [0, 1, 0x8000, 0xffff] {
            for largest in VARINT_MAX - 2..=VARINT_MAX {
                assert!(restore_number(truncated, 2, Some(largest)) <= VARINT_MAX);
            }
        }
    }

    /// PKT-3.
    #[test]
    fn short_packets_are_padded_so_that_there_is_a_sample() {
        for frames in 0..6 {
            let mut out = Vec::new();
            let number_offset = DataHeader::new(b"id", 1, None).encode(&mut out);
            out.resize(out.len() + frames, 0x01);
            pad_for_sample(&mut out, number_offset);
            assert_eq!(out.len() - number_offset, (2 + frames).max(SAMPLE_OFFSET));
            assert!(
                out[number_offset + 2 + frames..]
                    .iter()
                    .all(|pad| *pad == 0)
            );
        }
    }

    /// PKT-7.
    #[test]
    fn flags_cid_number_and_tag_take_27_bytes_toward_a_broker_and_23_toward_a_node() {
        let acked = 1_000_000_000;
        for unacked in [1, (1 << 14) - 1] {
            let number = acked + unacked;
            let toward_broker = header_len(&[0; 8], number, Some(acked)) + TAG_LEN;
            let toward_node = header_len(&[0; 4], number, Some(acked)) + TAG_LEN;
            assert_eq!((toward_broker, toward_node), (27, 23));
        }
    }

    proptest! {
        /// PKT-2: whatever a receiver has seen from the largest number that it acknowledged up to
        /// the number itself, and a way past it, the number that was sent is restored.
        #[test]
        fn what_is_sent_of_a_number_is_enough_to_restore_it(
            acked in prop::option::of(0..1_u64 << 61),
            unacked in (1..=31_u32).prop_flat_map(|bits| 1..1_u64 << bits),
            seen in any::<prop::sample::Index>(),
        ) {
            let number = acked.map_or(unacked - 1, |acked| acked + unacked);
            let mut out = Vec::new();
            let at = DataHeader::new(&[], number, acked).encode(&mut out);
            let truncated = out[at..].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            let len = Flags(out[0]).number_len();
            let lowest = acked.unwrap_or(0);
            let seen = lowest + seen.index((2 * unacked) as usize) as u64;
            prop_assert_eq!(restore_number(truncated, len, Some(seen)), number);
            if acked.is_none() {
                prop_assert_eq!(restore_number(truncated, len, None), number);
            }
        }
    }
}

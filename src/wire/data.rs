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

/// The fewest bytes of a packet number that a sender picks (PKT-2).
const NUMBER_LEN_MIN: usize = 2;

/// Whether the first byte of a datagram says that it is of the data class (SPEC.md section 5).
#[must_use]
pub const fn is_data(first_byte: u8) -> bool {
    first_byte & Flags::CLASS != 0
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

    /// The epoch, 0 to 3. These bits are not protected: they tell which keys to use (PKT-6).
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
}

impl<'a> DataHeader<'a> {
    /// The header of packet `number`, which is later than `largest_acked`, the largest number that
    /// the receiver is known to have seen.
    #[must_use]
    pub fn new(cid: &'a [u8], number: u64, largest_acked: Option<u64>) -> Self {
        Self {
            cid,
            number,
            number_len: number_len(number, largest_acked),
        }
    }

    /// How many bytes [`DataHeader::encode`] appends.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        1 + self.cid.len() + self.number_len
    }

    /// Appends the header, and returns where in `out` the packet number begins.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        out.push(Flags::new(self.number_len).0);
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

//! Datagrams and frames to and from bytes (SPEC.md sections 4, 5 and 7).
//!
//! This is the lowest layer, and the only one that knows how things look on the wire. It holds no
//! state: every function here turns bytes into a value or a value into bytes, and whether the value
//! makes sense at this moment of a link's life is for the layers above to say. They never index
//! into a datagram; this layer never knows why it is asked.
//!
//! A datagram's life, in the order in which it meets this module:
//!
//! 1. Its first bit tells its class ([`is_data`]). Length and class are all that is ever read of a
//!    datagram before a checksum or a key has vouched for it.
//! 2. The **handshake class** has no keys yet. A CRC that covers a protocol id which is never sent
//!    stands in for them ([`Handshake::decode`]). It stops stray traffic and flipped bits, not an
//!    attacker: what the fields say is only believed once Noise has hashed them
//!    ([`Hello::prologue`]) or mac1 has covered them ([`Hello::before_mac1`]). A HELLO of a version
//!    of the future is still readable as far as is needed to answer it ([`UnknownHello`]).
//! 3. The **data class** is almost all ciphertext. Here is only what surrounds it: the flags, and
//!    how a packet number is shortened and restored ([`DataHeader`], [`Flags`],
//!    [`restore_number`]).
//! 4. What decrypts is a sequence of **frames** ([`decode_frames`]), read one by one as the link
//!    asks for them. The content of a frame is a slice of the datagram's own buffer: nothing is
//!    copied.
//!
//! Three rules hold everywhere, because every byte read here was written by a stranger:
//!
//! - *One value, one encoding.* Decoders are strict: shortest varints only (ENC-2), no bytes left
//!   over (ENC-3), padding that is zero, lists that hold what they must. So whatever decodes
//!   encodes to the very same bytes again, which is what the fuzzer checks ([`roundtrip`]): a
//!   mismatch between encoder and decoder has nowhere to hide, and a peer has no spare bits to say
//!   the same thing in two ways.
//! - *Input never panics and never chooses how much memory is taken* (ENC-4). What is declared is
//!   taken only if it is there, and lists are bounded by named constants. Encoders do panic, when
//!   the caller breaks a bound that is documented: that is a bug at home, not a peer's doing.
//! - *Errors name the blame.* A [`DecodeError`] is always the sender's fault or the network's.

mod ack;
mod cid;
mod codec;
mod data;
mod frame;
mod handshake;
#[doc(hidden)]
pub mod roundtrip;

pub use ack::{ACK_RANGES_MAX, Ack, AckRanges, EcnCounts};
pub use cid::{Cid, RESET_TOKEN_LEN, ResetToken};
pub use codec::{Reader, VARINT_MAX, put_sized, put_varint, varint_len};
pub use data::{
    DataHeader, Flags, NUMBER_LEN_MAX, SAMPLE_OFFSET, TAG_LEN, as_data, is_data, pad_for_sample,
    restore_number,
};
pub use frame::{
    Frame, FrameIter, MESSAGE_MAX, REASON_MAX, decode_frames, frag_header_len, msg_header_len,
    put_frag, put_msg, put_unknown,
};
pub use handshake::{
    Accept, BROKER_CID_LEN, BrokerCid, COOKIE_MAX, Finish, Handshake, Hello, MAC1_LEN, MARK_LEN,
    NODE_CID_MAX, NodeCid, OFFERS_MAX, PROTOCOL_ID, Retry, UnknownHello, VersionReply,
};

/// The version of the protocol that is spoken here.
pub const VERSION: u8 = 1;

/// The most bytes of UDP payload that a datagram has, unless its path has shown that it takes more
/// (LIM-1, MTU-1).
pub const DATAGRAM_BASE: usize = 1200;

/// The most bytes of UDP payload that any datagram has: what a jumbo frame leaves (LIM-1, MTU-1).
pub const DATAGRAM_MAX: usize = 8952;

/// The fewest bytes that a HELLO has (LIM-1, HSD-3). It keeps every answer to a HELLO shorter than
/// the HELLO (HSD-8), so that nobody can be flooded through a broker.
pub const HELLO_MIN: usize = 256;

/// Why bytes could not be decoded. The sender is to blame, or the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before what they declare.
    #[error("truncated")]
    Truncated,
    /// Bytes are left over (ENC-3).
    #[error("trailing bytes")]
    TrailingBytes,
    /// A varint is longer than need be (ENC-2).
    #[error("varint not in its shortest form")]
    NonMinimalVarint,
    /// Text is not UTF-8 (ENC-5).
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A field holds a value that the specification rules out.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// The CRC does not match (HSD-1).
    #[error("CRC mismatch")]
    BadCrc,
    /// A type that this version does not know (FRM-1).
    #[error("unknown type {0:#04x}")]
    UnknownType(u8),
    /// A protocol version that is not spoken here (HSD-7).
    #[error("unknown version {0}")]
    UnknownVersion(u8),
}

//! Datagrams and frames to and from bytes.

mod codec;

pub use codec::{Reader, VARINT_MAX, put_sized, put_varint, varint_len};

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

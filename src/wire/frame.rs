//! Frames, the content of a data packet: SPEC.md section 7.

use bytes::{Buf as _, Bytes};

use super::{Ack, Cid, DecodeError, Reader, ResetToken, put_sized, put_varint, varint_len};

/// The most bytes of a message (LIM-2, FRM-4).
pub const MESSAGE_MAX: usize = 65_536;

/// The most bytes of the reason in a CLOSE (LIM-2).
pub const REASON_MAX: usize = 128;

const PAD: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const ACK_ECN: u8 = 0x03;
const MSG: u8 = 0x04;
const FRAG: u8 = 0x05;
const CREDIT_LINK: u8 = 0x07;
const CREDIT_CHANNEL: u8 = 0x08;
const NEW_CID: u8 = 0x09;
const RETIRE_CID: u8 = 0x0a;
const PATH_CHALLENGE: u8 = 0x0b;
const PATH_RESPONSE: u8 = 0x0c;
const CLOSE: u8 = 0x0d;

/// From this type on, a frame tells its own length and is skipped when unknown (FRM-2).
const SKIPPABLE: u8 = 0x40;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Nothing, in one byte.
    Pad,
    /// A demand for an acknowledgement.
    Ping,
    /// An acknowledgement.
    Ack(Ack),
    /// A whole message.
    Msg {
        /// The channel.
        channel: u64,
        /// The message's number in its channel and direction.
        number: u64,
        /// The message; may be empty (FRM-4).
        data: Bytes,
    },
    /// A piece of a message that does not fit one packet.
    Frag {
        /// The channel.
        channel: u64,
        /// The message's number in its channel and direction.
        number: u64,
        /// The length of the whole message, in bytes; at most [`MESSAGE_MAX`].
        total: u64,
        /// Where the piece begins in the message, in bytes.
        offset: u64,
        /// The piece; not empty (FRM-4).
        data: Bytes,
    },
    /// What the messages of all channels but the control channel may cost in total (CRD-3).
    CreditLink {
        /// The total, from the beginning of the link on.
        limit: u64,
    },
    /// What the messages of a channel may cost in total (CRD-3).
    CreditChannel {
        /// The channel.
        channel: u64,
        /// The total, from the beginning of the link on.
        limit: u64,
    },
    /// A further connection id under which the sender can be reached (CID-1).
    NewCid {
        /// Its place among all that the sender ever gave out on this link; the handshake's is 0.
        sequence: u64,
        /// The connection id; not empty.
        cid: Cid,
        /// What ends a reset of a link that uses it (RST-1); zeros from a node.
        token: ResetToken,
    },
    /// A connection id of the receiver is not used any more (CID-2).
    RetireCid {
        /// Its place.
        sequence: u64,
    },
    /// Random bytes that whoever is at the other end of a path is to send back (PTH-2).
    PathChallenge([u8; 8]),
    /// Those bytes (PTH-3).
    PathResponse([u8; 8]),
    /// The end of the link.
    Close {
        /// Why, as a code point of SPEC.md section 14.
        code: u64,
        /// Why, in words: at most [`REASON_MAX`] bytes.
        reason: String,
    },
    /// A frame of the future, or grease, to be skipped (FRM-2).
    Unknown {
        /// The type, from 0x40 on.
        kind: u8,
        /// The content.
        data: Bytes,
    },
}

impl Frame {
    /// Whether whoever receives the frame owes an acknowledgement (ACK-1).
    #[must_use]
    pub const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Pad | Self::Ack(_) | Self::Close { .. })
    }

    /// Appends the frame.
    ///
    /// # Panics
    ///
    /// If a field breaks the bounds that its documentation names, or a number is above
    /// [`VARINT_MAX`](super::VARINT_MAX): a wrong local call.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pad => out.push(PAD),
            Self::Ping => out.push(PING),
            Self::Ack(ack) => {
                out.push(if ack.ecn.is_some() { ACK_ECN } else { ACK });
                ack.encode(out);
            }
            Self::Msg {
                channel,
                number,
                data,
            } => put_msg(out, *channel, *number, data),
            Self::Frag {
                channel,
                number,
                total,
                offset,
                data,
            } => put_frag(out, *channel, *number, *total, *offset, data),
            Self::CreditLink { limit } => {
                out.push(CREDIT_LINK);
                put_varint(out, *limit);
            }
            Self::CreditChannel { channel, limit } => {
                out.push(CREDIT_CHANNEL);
                put_varint(out, *channel);
                put_varint(out, *limit);
            }
            Self::NewCid {
                sequence,
                cid,
                token,
            } => {
                assert!(!cid.as_bytes().is_empty(), "an empty connection id");
                out.push(NEW_CID);
                put_varint(out, *sequence);
                put_sized(out, cid.as_bytes());
                out.extend_from_slice(&token.0);
            }
            Self::RetireCid { sequence } => {
                out.push(RETIRE_CID);
                put_varint(out, *sequence);
            }
            Self::PathChallenge(data) => {
                out.push(PATH_CHALLENGE);
                out.extend_from_slice(data);
            }
            Self::PathResponse(data) => {
                out.push(PATH_RESPONSE);
                out.extend_from_slice(data);
            }
            Self::Close { code, reason } => {
                let len = reason.len();
                assert!(len <= REASON_MAX, "a reason of {len} bytes");
                out.push(CLOSE);
                put_varint(out, *code);
                put_sized(out, reason.as_bytes());
            }
            Self::Unknown { kind, data } => put_unknown(out, *kind, data),
        }
    }

    /// Takes one frame off the front of `payload`.
    fn decode(payload: &mut Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let frame = match reader.u8()? {
            PAD => Self::Pad,
            PING => Self::Ping,
            kind @ (ACK | ACK_ECN) => Self::Ack(Ack::decode(&mut reader, kind == ACK_ECN)?),
            MSG => Self::Msg {
                channel: reader.varint()?,
                number: reader.varint()?,
                data: payload.slice_ref(reader.sized()?),
            },
            FRAG => Self::decode_frag(payload, &mut reader)?,
            CREDIT_LINK => Self::CreditLink {
                limit: reader.varint()?,
            },
            CREDIT_CHANNEL => Self::CreditChannel {
                channel: reader.varint()?,
                limit: reader.varint()?,
            },
            NEW_CID => Self::NewCid {
                sequence: reader.varint()?,
                cid: Cid::decode(reader.sized()?)?,
                token: ResetToken(reader.array()?),
            },
            RETIRE_CID => Self::RetireCid {
                sequence: reader.varint()?,
            },
            PATH_CHALLENGE => Self::PathChallenge(reader.array()?),
            PATH_RESPONSE => Self::PathResponse(reader.array()?),
            CLOSE => Self::decode_close(&mut reader)?,
            kind @ SKIPPABLE.. => Self::Unknown {
                kind,
                data: payload.slice_ref(reader.sized()?),
            },
            unknown => return Err(DecodeError::UnknownType(unknown)),
        };
        let taken = payload.len() - reader.remaining();
        payload.advance(taken);
        Ok(frame)
    }

    fn decode_close(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = reader.varint()?;
        let reason = reader.text()?;
        if reason.len() > REASON_MAX {
            return Err(DecodeError::Invalid("length of a reason"));
        }
        Ok(Self::Close {
            code,
            reason: reason.to_owned(),
        })
    }

    fn decode_frag(payload: &Bytes, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let channel = reader.varint()?;
        let number = reader.varint()?;
        let total = reader.varint()?;
        let offset = reader.varint()?;
        let data = reader.sized()?;
        if !is_proper_piece(total, offset, data.len()) {
            return Err(DecodeError::Invalid("fragment"));
        }
        Ok(Self::Frag {
            channel,
            number,
            total,
            offset,
            data: payload.slice_ref(data),
        })
    }
}

/// The frames of a packet's payload, in order. The first error ends it.
///
/// An empty payload is an error: a packet has at least one frame (FRM-1).
#[must_use]
pub fn decode_frames(payload: Bytes) -> FrameIter {
    FrameIter {
        is_empty: payload.is_empty(),
        rest: payload,
    }
}

/// What [`decode_frames`] returns.
#[derive(Clone, Debug)]
pub struct FrameIter {
    /// Whether the emptiness of the payload is still to be reported.
    is_empty: bool,
    rest: Bytes,
}

impl Iterator for FrameIter {
    type Item = Result<Frame, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if core::mem::take(&mut self.is_empty) {
            return Some(Err(DecodeError::Invalid("packet: it has no frame")));
        }
        if self.rest.is_empty() {
            return None;
        }
        let frame = Frame::decode(&mut self.rest);
        if frame.is_err() {
            self.rest.clear();
        }
        Some(frame)
    }
}

impl core::iter::FusedIterator for FrameIter {}

/// How many bytes a MSG takes before its content of `len` bytes (FRM-5).
#[must_use]
pub const fn msg_header_len(channel: u64, number: u64, len: usize) -> usize {
    1 + varint_len(channel) + varint_len(number) + varint_len(len as u64)
}

/// Appends a MSG.
///
/// # Panics
///
/// If a number is above [`VARINT_MAX`](super::VARINT_MAX): a wrong local call.
pub fn put_msg(out: &mut Vec<u8>, channel: u64, number: u64, data: &[u8]) {
    out.push(MSG);
    put_varint(out, channel);
    put_varint(out, number);
    put_sized(out, data);
}

/// How many bytes a FRAG takes before its content of `len` bytes (FRM-5).
#[must_use]
pub const fn frag_header_len(
    channel: u64,
    number: u64,
    total: u64,
    offset: u64,
    len: usize,
) -> usize {
    msg_header_len(channel, number, len) + varint_len(total) + varint_len(offset)
}

/// Appends a frame that nobody knows (FRM-2).
///
/// # Panics
///
/// If frames of this type cannot be skipped: a wrong local call.
pub fn put_unknown(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    assert!(kind >= SKIPPABLE, "type {kind:#04x} cannot be skipped");
    out.push(kind);
    put_sized(out, data);
}

/// Appends a FRAG.
///
/// # Panics
///
/// If it breaks FRM-4, or a number is above [`VARINT_MAX`](super::VARINT_MAX): a wrong local call.
pub fn put_frag(
    out: &mut Vec<u8>,
    channel: u64,
    number: u64,
    total: u64,
    offset: u64,
    data: &[u8],
) {
    let len = data.len();
    assert!(
        is_proper_piece(total, offset, len),
        "a fragment of {len} bytes at {offset} of {total}"
    );
    out.push(FRAG);
    put_varint(out, channel);
    put_varint(out, number);
    put_varint(out, total);
    put_varint(out, offset);
    put_sized(out, data);
}

/// Whether `len` bytes at `offset` may be a fragment of a message of `total` bytes (FRM-4).
const fn is_proper_piece(total: u64, offset: u64, len: usize) -> bool {
    let len = len as u64;
    total <= MESSAGE_MAX as u64 && 0 < len && len <= total && offset <= total - len
}

#[cfg(test)]
mod tests;

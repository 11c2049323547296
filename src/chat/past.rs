//! A line of earlier times, to and from bytes (SPEC.md section 9.6).

use bytes::Bytes;

use super::Kind;
use super::message::PAST;
use crate::wire::{DecodeError, Reader, put_varint};

/// A line that was asked for: nothing of it follows from the line before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastLine {
    /// The line's number.
    pub seq: u64,
    /// The author's number (RUM-6).
    pub author: u64,
    /// The device's number for it.
    pub n: u64,
    /// What it is.
    pub kind: Kind,
    /// When it was stored, in milliseconds of the broker's Unix time.
    pub stored_at_ms: u64,
    /// When it was typed, in milliseconds of the author's Unix time.
    pub typed_at_ms: u64,
    /// For a message, the text.
    pub body: Bytes,
}

impl PastLine {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.reserve(40 + self.body.len());
        out.push(PAST);
        put_varint(out, self.seq);
        put_varint(out, self.author);
        put_varint(out, self.n);
        out.push(self.kind.code());
        out.extend_from_slice(&self.stored_at_ms.to_be_bytes());
        out.extend_from_slice(&self.typed_at_ms.to_be_bytes());
        out.extend_from_slice(&self.body);
    }

    pub(super) fn read(r: &mut Reader<'_>, message: &Bytes) -> Result<Self, DecodeError> {
        Ok(Self {
            seq: r.varint()?,
            author: r.varint()?,
            n: r.varint()?,
            kind: Kind::from_code(r.u8()?),
            stored_at_ms: r.u64()?,
            typed_at_ms: r.u64()?,
            body: message.slice_ref(r.rest()),
        })
    }
}

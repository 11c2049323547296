//! Channels: ordered streams of messages that do not wait for each other (CHN-1, CHN-3).
//!
//! A message that fits any datagram travels as one piece, a MSG; a longer one is cut into FRAGs
//! (CHN-5), all but the last of the length that fills the path's datagrams when the first of them goes
//! out (MTU-5). So a piece is named by a small index, and 64 bits tell which pieces of a message are
//! settled. A channel takes memory from its first message on.

mod credit;
mod receive;
mod send;

use crate::wire::DATAGRAM_BASE;

pub use credit::{CREDIT_CHANNEL, CREDIT_LINK, CREDIT_MAX, MESSAGE_COST};
pub(super) use receive::{Fragment, Novelty, ReceiveChannels};
pub(super) use send::{SendChannels, Which};

/// The control channel, which is always open and goes first (CHN-2, CHN-6).
pub(super) const CONTROL: u8 = 0;
/// How many channels a link has (CHN-2, LIM-4).
pub const CHANNELS_MAX: u8 = 64;
/// How many messages of a channel may be unacknowledged, counted from the oldest (CHN-4, LIM-4).
pub const CHANNEL_MESSAGES_MAX: usize = 256;
/// How many bytes of a channel may be unacknowledged, counted likewise (CHN-4, LIM-4).
pub const CHANNEL_BYTES_MAX: usize = 4_194_304;
/// How many of them there may be however small the window is (CHN-4, LIM-4).
pub const CHANNEL_BYTES_MIN: usize = 262_144;

/// A channel that has sent less than this since nothing of it waited is sparse, and goes ahead of
/// the others: so chat does not wait for files (CHN-6).
pub(super) const SPARSE_BYTES: usize = 512;

/// What a piece leaves of a datagram that it is to fill: with the largest header and tag of a packet,
/// and the largest header of a fragment, 12 bytes for an acknowledgement of packets none of which is
/// missing. A longer one takes a packet of its own.
const PIECE_SPARES: usize = 61;

/// The most bytes of a message in one piece that any path takes.
pub(super) const PIECE_BASE: usize = piece_max(DATAGRAM_BASE);

/// The most bytes that the header of a piece takes in its packet (FRM-5).
pub(super) const PIECE_HEADER_MAX: usize = 16;

/// The most bytes of a message in one piece for which a datagram has `datagram` bytes.
pub(super) const fn piece_max(datagram: usize) -> usize {
    datagram - PIECE_SPARES
}

/// The most fragments of a message (CHN-5).
pub(super) const FRAGMENTS_MAX: usize = 64;

/// A piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) channel: u8,
    /// Which piece of the message, from 0.
    pub(super) index: u8,
    /// How often the message had been cut anew when this was a piece of it (MTU-5).
    pub(super) cut: u8,
    /// The message's number.
    pub(super) number: u64,
}

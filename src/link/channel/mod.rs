//! Channels: ordered streams of messages that do not wait for each other (CHN-1, CHN-3).
//!
//! A message that fits one packet travels as one piece, a MSG; a longer one is cut at fixed places
//! into FRAGs (CHN-5). Because the cuts are fixed, a piece is named by a small index, and 64 bits
//! tell which pieces of a message are settled. A channel takes memory from its first message on.

mod credit;
mod receive;
mod send;

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

/// The most bytes of a message in one piece. With the largest header and tag of a packet, and the
/// largest header of a fragment, 31 bytes of a datagram are left for an acknowledgement.
pub(super) const PIECE_MAX: usize = 1_120;

/// The most bytes of a packet's content that a piece takes with its header (FRM-5).
pub(super) const FULL_PIECE: usize = PIECE_MAX + 16;

/// The most fragments of a message (CHN-5).
pub(super) const FRAGMENTS_MAX: usize = 64;

/// A piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) channel: u8,
    /// Which piece of the message, from 0.
    pub(super) index: u8,
    /// The message's number.
    pub(super) number: u64,
}

//! What a link says about itself: events, errors by blame, and numbers.

use bytes::Bytes;

use crate::secure::OpenError;
use crate::wire::{Cid, DecodeError};

/// Something that happened on a link, for its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The channel's next message (CHN-1).
    Message {
        /// The channel.
        channel: u8,
        /// The message.
        data: Bytes,
    },
    /// Nothing has been heard for a while although something is unacknowledged (LIF-2). Told once
    /// for each silence.
    Silent,
    /// The peer is done with one of this side's connection ids: nothing more will come for it, and
    /// another one may be issued (CID-2).
    CidRetired {
        /// The connection id.
        cid: Cid,
    },
    /// The broker has nothing left of this link, which has ended: the last event (RST-4).
    Reset,
    /// The link has ended: the last event.
    Closed {
        /// Whether the peer said so.
        by_peer: bool,
        /// Why.
        code: CloseCode,
        /// Why, in words; by a peer's words if `by_peer`.
        reason: String,
    },
}

/// Why a link ended: SPEC.md section 14.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseCode {
    /// There was nothing more to do.
    Done,
    /// The peer broke a rule.
    Protocol,
    /// The device has signed in on a newer link.
    Replaced,
    /// The program ends.
    ShuttingDown,
    /// Nothing was heard for too long.
    TimedOut,
    /// The keys have served their time (KEY-4).
    Keys,
    /// There is no room.
    Overloaded,
    /// The device was revoked (DEV-8).
    Revoked,
    /// A code that this version does not know.
    Other(u64),
}

impl CloseCode {
    /// The code point.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::Done => 0,
            Self::Protocol => 1,
            Self::Replaced => 2,
            Self::ShuttingDown => 3,
            Self::TimedOut => 4,
            Self::Keys => 5,
            Self::Overloaded => 6,
            Self::Revoked => 7,
            Self::Other(code) => code,
        }
    }
}

impl From<u64> for CloseCode {
    fn from(code: u64) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Protocol,
            2 => Self::Replaced,
            3 => Self::ShuttingDown,
            4 => Self::TimedOut,
            5 => Self::Keys,
            6 => Self::Overloaded,
            7 => Self::Revoked,
            other => Self::Other(other),
        }
    }
}

/// Why a datagram was dropped. Nobody in particular is to blame: the network, a stranger, or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DropReason {
    /// The link had ended.
    #[error("link closed")]
    Closed,
    /// It cannot hold a sealed packet.
    #[error("too short")]
    TooShort,
    /// It names keys that do not exist, or not any more (PKT-6, KEY-7).
    #[error("unknown epoch")]
    Epoch,
    /// Its number was seen before, or is too old to tell (KEY-2).
    #[error("replayed")]
    Replay,
    /// It does not decrypt (KEY-4).
    #[error("not authentic")]
    Authentication,
}

impl From<OpenError> for DropReason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::TooShort => Self::TooShort,
            OpenError::Epoch => Self::Epoch,
            OpenError::Replay => Self::Replay,
            OpenError::Authentication => Self::Authentication,
        }
    }
}

/// A rule that the peer broke; it closes the link (LIF-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// PKT-6.
    #[error("reserved bits set")]
    ReservedBits,
    /// Frames that do not decode (FRM-1).
    #[error("malformed frames: {0}")]
    Malformed(#[from] DecodeError),
    /// ACK-3.
    #[error("acknowledged a packet that was never sent")]
    AckOfUnsent,
    /// ACK-3.
    #[error("acknowledged a packet that was left out on purpose")]
    AckOfSkipped,
    /// CHN-2.
    #[error("channel out of range")]
    ChannelOutOfRange,
    /// CHN-2.
    #[error("channel that the node has not opened")]
    ChannelNotOpened,
    /// CHN-4.
    #[error("message number too far ahead")]
    TooFarAhead,
    /// CHN-4.
    #[error("more bytes in a channel than allowed")]
    TooManyBytes,
    /// CHN-5.
    #[error("fragments disagree about their message")]
    FragmentsDisagree,
    /// CHN-5.
    #[error("message in too many fragments")]
    TooManyFragments,
    /// CRD-2.
    #[error("more than the credit given")]
    CreditExceeded,
    /// CID-1.
    #[error("connection id of another length")]
    CidLength,
    /// CID-1.
    #[error("two connection ids with one sequence")]
    CidsDisagree,
    /// CID-1.
    #[error("more connection ids than allowed")]
    TooManyCids,
    /// CID-2.
    #[error("retired a connection id that does not exist, or the last one")]
    RetiredUnissued,
    /// PTH-3.
    #[error("a node that asks for a path")]
    ChallengeByNode,
}

/// Why a message was not queued: a wrong local call, or one too early or too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The channel has as much unacknowledged as it may (CHN-4): try again when some of it is.
    #[error("channel full")]
    ChannelFull,
    /// The peer's owner has yet to take what it was sent (CRD-2): try again when it has.
    #[error("no credit")]
    NoCredit,
    /// The message is longer than 65,536 bytes (CHN-5).
    #[error("message too long")]
    TooLong,
    /// There is no such channel, or the node has not opened it (CHN-2).
    #[error("no such channel")]
    NoChannel,
    /// The link has ended.
    #[error("link closed")]
    Closed,
}

/// A link's life in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Packets that arrived and decrypted.
    pub packets_received: u64,
    /// Packets that failed authentication (KEY-4).
    pub authentication_failures: u64,
    /// Packets of ours that were taken for lost.
    pub packets_lost: u64,
    /// Packets that were taken for lost, and acknowledged later.
    pub packets_lost_wrongly: u64,
    /// Probes sent.
    pub probes_sent: u64,
    /// Bytes of datagrams sent with nothing but copies, and of copies in others (LAD-5).
    pub bytes_copied: u64,
    /// Pieces of messages that arrived more than once.
    pub duplicate_pieces: u64,
    /// How often the peer told that packets were marked on their way (ECN-3).
    pub marks_told: u64,
    /// Packets that only tried whether the path takes larger ones (MTU-2).
    pub mtu_probes_sent: u64,
    /// How often the link came to another path (PTH-3, PTH-6).
    pub moves: u64,
}

//! What the broker asks of its store, and what it is told.
//!
//! The broker never touches a disk. It asks ([`StorageRequest`]), and goes on; when the driver's
//! store has done it, durably, it says so ([`StorageCompletion`]). Nothing is told to anybody
//! before that (BRK-1). Requests of one room are answered in the order in which they were asked
//! (BRK-5). A store decides by [`judge`](crate::chat::judge), inside the transaction that appends.

use crate::chat::{
    LastPublication, Line, LineBase, LogId, Name, Publication, Recorded, Refusal, Resume,
    ResumeOutcome, RoomName,
};
use crate::secure::{AccountKey, DeviceKey};

/// Ties a completion to its request.
pub type RequestId = u64;

/// A request to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageRequest {
    /// To be repeated in the completion.
    pub id: RequestId,
    /// What is asked.
    pub op: StorageOp,
}

/// What the broker asks of its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageOp {
    /// Give `account` the name, if it is free or the account's own (SGN-2).
    Register {
        /// Who asks.
        account: AccountKey,
        /// From which device.
        device: DeviceKey,
        /// For which name.
        name: Name,
    },
    /// Let an account into a room: make it a member if it is none (RUM-7), and say where it and
    /// its device stand.
    Enter {
        /// Which room; it begins to exist with its first line.
        room: RoomName,
        /// Who enters.
        account: AccountKey,
        /// With which device.
        device: DeviceKey,
        /// The account's name.
        name: Name,
        /// Where the node wants to go on.
        resume: Option<Resume>,
        /// How many lines before the tail are wanted otherwise.
        history: u64,
        /// The broker's wall clock.
        now_ms: u64,
    },
    /// End an account's membership, if it is a member (RUM-12).
    Leave {
        /// Of which room.
        room: RoomName,
        /// Who leaves.
        account: AccountKey,
        /// From which device.
        device: DeviceKey,
        /// The account's name.
        name: Name,
        /// The broker's wall clock.
        now_ms: u64,
    },
    /// Take a publication (PUB-2).
    Append {
        /// Into which room.
        room: RoomName,
        /// Whose it is.
        account: AccountKey,
        /// From which device.
        device: DeviceKey,
        /// The account's name.
        name: Name,
        /// What is published.
        publication: Publication,
        /// If set, the publication is refused for ever, should it be the next one (PUB-4).
        refuse: Option<Refusal>,
        /// The broker's wall clock.
        now_ms: u64,
    },
    /// Read lines.
    Read {
        /// From which room.
        room: RoomName,
        /// The first line wanted.
        from: u64,
        /// At most this many lines.
        lines_max: usize,
        /// No further line once bodies of this many bytes have been read.
        bytes_max: usize,
    },
}

/// The store's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageCompletion {
    /// The request's id.
    pub id: RequestId,
    /// What came of it.
    pub outcome: StorageOutcome,
}

/// What came of a storage request. Everything told here is as durable as the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageOutcome {
    /// [`StorageOp::Register`]: the account has this name now, as first written.
    Registered(Name),
    /// [`StorageOp::Register`]: no.
    NotRegistered(Refusal),
    /// [`StorageOp::Enter`].
    Entered(Box<Entered>),
    /// [`StorageOp::Leave`]: the line that says so, if the account was a member.
    Departed(Option<Box<StoredLine>>),
    /// [`StorageOp::Append`]: a new line.
    Appended(Box<StoredLine>),
    /// [`StorageOp::Append`]: nothing new; this is what is known of the publication.
    Known(Recorded),
    /// [`StorageOp::Append`]: its number was used for something else, or is not to be had.
    Conflict,
    /// [`StorageOp::Append`]: publications before it are missing; this is the last one known.
    Gap(u64),
    /// [`StorageOp::Read`]: lines without a hole, beginning with the one asked for; empty if there
    /// is none yet.
    Lines(Vec<StoredLine>),
    /// The store could not do it, and has changed nothing.
    Failed,
}

/// Who an author number stands for (RUM-6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The number.
    pub number: u64,
    /// The account.
    pub account: AccountKey,
    /// The device.
    pub device: DeviceKey,
    /// The account's name.
    pub name: Name,
}

impl From<&Line> for Author {
    fn from(line: &Line) -> Self {
        let Line {
            account,
            device,
            author,
            ..
        } = *line;
        Self {
            number: author,
            account,
            device,
            name: line.name.clone(),
        }
    }
}

/// A line, and the place in the log before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLine {
    /// The line.
    pub line: Line,
    /// The `stored_at_ms` of the line before it.
    pub previous_stored_at_ms: u64,
}

/// How somebody stands in a room that they have entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// This history's id.
    pub log: LogId,
    /// The line that made the account a member, if it was none before.
    pub joined: Option<StoredLine>,
    /// As which author the account is announced: (account, device) if that has lines here, else
    /// the device with which the account became a member.
    pub author: Author,
    /// What became of the resume.
    pub resume: ResumeOutcome,
    /// The place before the first line to be sent.
    pub base: LineBase,
    /// The room's last line, the joined one included.
    pub tail_seq: u64,
    /// The device's last publication.
    pub last: LastPublication,
}

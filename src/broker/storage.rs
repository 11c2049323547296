//! What the broker asks of its store, and what it is told.
//!
//! The broker never touches a disk. It asks ([`StorageRequest`]), and goes on; when the driver's
//! store has done it, durably, it says so ([`StorageCompletion`]). Nothing is told to anybody
//! before that (BRK-1). Requests of one room are answered in the order in which they were asked
//! (BRK-5). A store decides by [`judge`](crate::chat::judge), inside the transaction that appends.

use crate::chat::{
    Coverage, Decision, InviteMark, InviteTerms, LastPublication, Line, LineBase, LogId, Name,
    NoticeEvent, Publication, Recorded, Refusal, ResumeOutcome, RoomName, Start, Stretch,
};
use crate::secure::{AccountKey, DeviceKey};
use crate::transmit::Path;
use crate::wire::BrokerCid;

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
    /// Tell what was so when the broker ended: asked first, and once.
    Open,
    /// Give `account` the name, if it is free or the account's own (SGN-2), and if the account may
    /// come in (ADM-1), from this device (DEV-8).
    Register {
        /// Who asks.
        account: AccountKey,
        /// From which device.
        device: DeviceKey,
        /// For which name.
        name: Name,
        /// What lets it in, if it is not known yet.
        entrance: Entrance,
        /// The broker's wall clock.
        now_ms: u64,
    },
    /// Make an invite (ADM-2).
    Invite {
        /// Who asks, and needs a role in the room (ROL-7); `None` for the operator.
        by: Option<AccountKey>,
        /// By what its secret is known.
        mark: InviteMark,
        /// How often and how long it lets in.
        terms: InviteTerms,
        /// The room that it leads to.
        room: RoomName,
        /// The broker's wall clock.
        now_ms: u64,
    },
    /// Call an invite back (ADM-4).
    Revoke {
        /// Its number.
        invite: u64,
    },
    /// List an account's devices, for one of them (DEV-7).
    Devices {
        /// Whose.
        account: AccountKey,
        /// Who asks.
        device: DeviceKey,
    },
    /// Note that an account has certified another device (DEV-5).
    LinkDevice {
        /// Which account.
        account: AccountKey,
        /// From which of its devices.
        by: DeviceKey,
        /// The new one.
        device: DeviceKey,
        /// The broker's wall clock.
        now_ms: u64,
    },
    /// Let a device speak for its account no more (DEV-8), one that was never seen included.
    RevokeDevice {
        /// Which account.
        account: AccountKey,
        /// Which of its devices.
        device: DeviceKey,
        /// The broker's wall clock.
        now_ms: u64,
    },
    /// Let an account into a room: make it a member if it is none (RUM-7), and present if it is to
    /// be and is not (PRS-1), and say where it and its device stand.
    Enter {
        /// Which room; it begins to exist with its first line.
        room: RoomName,
        /// Who enters.
        account: AccountKey,
        /// With which device.
        device: DeviceKey,
        /// The account's name.
        name: Name,
        /// Where the node wants to begin.
        start: Start,
        /// How many lines before the tail are wanted, if it begins there.
        history: u64,
        /// The last notice that the node has seen (PRS-3).
        seen: u64,
        /// The least number of a notice that makes the account present; `None` for a quiet
        /// session, which does not (RUM-14).
        presence: Option<u64>,
        /// The broker's wall clock.
        now_ms: u64,
    },
    /// End an account's membership, if it is a member, and its presence with it (RUM-12).
    Leave {
        /// Of which room.
        room: RoomName,
        /// Who leaves.
        account: AccountKey,
        /// From which device.
        device: DeviceKey,
        /// The account's name.
        name: Name,
        /// The least number of the notice, should it be present.
        presence: u64,
        /// The broker's wall clock.
        now_ms: u64,
    },
    /// End an account's presence, if it is present (PRS-1).
    Absent {
        /// In which room.
        room: RoomName,
        /// Whose.
        account: AccountKey,
        /// How: [`Left`](NoticeEvent::Left) or [`TimedOut`](NoticeEvent::TimedOut).
        event: NoticeEvent,
        /// The least number of the notice.
        presence: u64,
    },
    /// Take a publication (PUB-2). A policy is refused for ever unless the account made the room
    /// (RUM-16).
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
    /// Decide something in the operator's name (ROL-6).
    Decide {
        /// The order under which it was left; one that is done is not done again.
        order: Option<u64>,
        /// In which room.
        room: RoomName,
        /// What.
        decision: Decision,
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
    /// Read lines for somebody who asks for earlier ones (HST-1): nothing that the room's policy withholds
    /// from them (RUM-16), and nothing for whom is no member, unless they have the beginning already.
    History {
        /// From which room.
        room: RoomName,
        /// For whom.
        account: AccountKey,
        /// Whether it was given what comes before these, and so is given the rest (HST-4).
        has_begun: bool,
        /// The first line wanted.
        from: u64,
        /// No line from this one on.
        before: u64,
        /// At most this many lines.
        lines_max: usize,
        /// No further line once bodies of this many bytes have been read.
        bytes_max: usize,
    },
    /// A device of an account has these lines, all of them, in its own durable journal (STA-1).
    /// That is added to what the account has, as far as the room goes.
    Report {
        /// In which room.
        room: RoomName,
        /// Who reports.
        account: AccountKey,
        /// The lines.
        lines: Stretch,
    },
    /// List a room's members, in the order of their keys.
    Members {
        /// Of which room.
        room: RoomName,
    },
    /// Remember which links are open, and where they led last.
    Links {
        /// New ones, and those that have moved.
        remember: Vec<LinkRow>,
        /// Those that are no longer; done after `remember`.
        forget: Vec<BrokerCid>,
    },
}

impl StorageOp {
    /// The room that it is about, if it is about one.
    #[must_use]
    pub const fn room(&self) -> Option<&RoomName> {
        match self {
            Self::Open
            | Self::Register { .. }
            | Self::Revoke { .. }
            | Self::Devices { .. }
            | Self::LinkDevice { .. }
            | Self::RevokeDevice { .. }
            | Self::Links { .. } => None,
            Self::Enter { room, .. }
            | Self::Leave { room, .. }
            | Self::Absent { room, .. }
            | Self::Append { room, .. }
            | Self::Decide { room, .. }
            | Self::Invite { room, .. }
            | Self::Read { room, .. }
            | Self::History { room, .. }
            | Self::Report { room, .. }
            | Self::Members { room } => Some(room),
        }
    }
}

/// What lets in an account that the store does not know (ADM-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Nothing is needed.
    Open,
    /// An invite is: the one that was shown, if one was.
    Invited(Option<InviteMark>),
    /// Nothing helps: it is refused for this reason (BUD-3).
    Closed(Refusal),
}

/// The most invites of a broker that are neither revoked nor expired (LIM-14).
pub const INVITES_MAX: u64 = 16_384;

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
    /// [`StorageOp::Open`].
    Opened(Box<Opened>),
    /// [`StorageOp::Register`]: the account has this name now, as first written.
    Registered {
        /// The name.
        name: Name,
        /// Whether the account was not known before.
        is_new: bool,
    },
    /// [`StorageOp::Register`]: no.
    NotRegistered(Refusal),
    /// [`StorageOp::Invite`]: its number.
    Invited(u64),
    /// [`StorageOp::Invite`]: no, there are too many (LIM-14), or the mark is taken.
    NotInvited(Refusal),
    /// [`StorageOp::Revoke`]: whether there was such an invite to call back.
    Revoked(bool),
    /// [`StorageOp::Devices`]: in the order in which the broker learned of them.
    Devices(Vec<DeviceRow>),
    /// [`StorageOp::LinkDevice`].
    DeviceLinked,
    /// [`StorageOp::RevokeDevice`]: now, or before.
    DeviceRevoked,
    /// [`StorageOp::Devices`], [`StorageOp::LinkDevice`], [`StorageOp::RevokeDevice`]: no.
    NotAllowed(Refusal),
    /// [`StorageOp::Append`] of a decision, and [`StorageOp::Decide`]: a new line, and who is out by
    /// it.
    Decided(Box<Decided>),
    /// [`StorageOp::Decide`]: no.
    NotDecided(Refusal),
    /// [`StorageOp::Append`]: refused for ever, because the account is not heard until then (ROL-5).
    Muted(u64),
    /// [`StorageOp::Enter`].
    Entered(Box<Entered>),
    /// [`StorageOp::Enter`]: no, for a reason that lasts (ROL-4, SGN-8).
    NotEntered(Refusal),
    /// [`StorageOp::Leave`]: what says so, if the account was a member.
    Departed(Option<Box<Departed>>),
    /// [`StorageOp::Absent`]: the notice, if the account was present.
    Absented(Option<Box<PresenceRow>>),
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
    /// [`StorageOp::History`].
    Past {
        /// The first line that the account may read; beyond the last one if it may read none.
        first: u64,
        /// Lines without a hole, beginning with the one asked for, or with `first` if that is
        /// later.
        lines: Vec<StoredLine>,
    },
    /// [`StorageOp::Report`].
    Reported,
    /// [`StorageOp::Members`].
    Members(Vec<MemberRow>),
    /// [`StorageOp::Links`].
    Remembered,
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
    /// The notice that the account has become present, if it has.
    pub notice: Option<PresenceRow>,
    /// The last notice about each account that the node has not seen, in the order of their
    /// numbers, if it resumes: the newest [`MISSED_MAX`] of them. The account's own are among them.
    pub missed: Vec<PresenceRow>,
    /// The number of the room's last notice, `notice` included; 0 if there was none.
    pub presence: u64,
}

/// The most notices that are told to a node that was away (PRS-3).
pub const MISSED_MAX: usize = 1_024;

/// What ended a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// The line that says so.
    pub line: StoredLine,
    /// The notice that the account has ceased to be present, if it was.
    pub notice: Option<PresenceRow>,
}

/// A decision, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The line that says so.
    pub line: StoredLine,
    /// Who is no member any more, if anybody.
    pub out: Option<ShownOut>,
}

/// Somebody whose membership others have ended (ROL-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownOut {
    /// Who.
    pub account: AccountKey,
    /// [`Kicked`](Refusal::Kicked) or [`Banned`](Refusal::Banned).
    pub code: Refusal,
    /// The notice that the account has ceased to be present, if it was.
    pub notice: Option<PresenceRow>,
}

/// The last notice about an account in a room. A store keeps one for each; a later one replaces it.
///
/// Its number is what the broker asked for, or that of the room's last notice plus one, if that is
/// more (PRS-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceRow {
    /// In which room.
    pub room: RoomName,
    /// About whom.
    pub author: Author,
    /// What happened.
    pub event: NoticeEvent,
    /// The notice's number.
    pub number: u64,
    /// The room's last line then.
    pub after_seq: u64,
}

/// What was so when the broker ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Who was present: the rows whose event is [`Joined`](NoticeEvent::Joined), by room and
    /// account.
    pub presence: Vec<PresenceRow>,
    /// The links that were open, by their ids.
    pub links: Vec<LinkRow>,
}

/// A link that is open, as the broker remembers it for after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// The id under which the node sends.
    pub cid: BrokerCid,
    /// Its validated path.
    pub path: Path,
}

/// A member of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// Who.
    pub account: AccountKey,
    /// The line that made it a member.
    pub joined_seq: u64,
    /// What its devices have reported to have.
    pub has: Coverage,
}

/// A device of an account (DEV-7). A store keeps [`DEVICES_MAX`](crate::chat::DEVICES_MAX) of each: one
/// more takes the place of that which was seen last the longest ago, and is not revoked (LIM-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its key.
    pub device: DeviceKey,
    /// Whether it was linked (DEV-5).
    pub is_linked: bool,
    /// When it was first seen, in milliseconds of Unix time.
    pub first_seen_ms: u64,
    /// When it signed in last, or was linked.
    pub last_seen_ms: u64,
    /// When it was revoked, if it was.
    pub revoked_at_ms: Option<u64>,
}

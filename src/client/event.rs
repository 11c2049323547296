//! What a client tells its owner.

use core::time::Duration;

use super::{Asker, ErrandEvent};
use crate::chat::{Delivered, Line, LogId, Name, NoticeEvent, Refusal, RoomName};
use crate::secure::PublicKey;

/// What can be put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOff {
    /// Signing in.
    SignIn,
    /// Coming into a room.
    Join,
    /// Lines that wait to be stored.
    Lines,
    /// What is read of what was said before.
    History,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// First contact: the broker has shown this key. Remember it (SEC-9), then call
    /// [`set_identity`](super::Client::set_identity); the client waits for that.
    FirstContact(PublicKey),
    /// Signed in to the broker.
    Online,
    /// Out of contact; the client goes on trying (NOD-3).
    Offline,
    /// In the room.
    Joined {
        /// Which one.
        room: RoomName,
    },
    /// What follows in a room begins with this line, and the broker withholds those between it and
    /// the last one that was shown (RUM-16, RUM-17).
    Skipped {
        /// Which room.
        room: RoomName,
        /// The line.
        first: u64,
    },
    /// The broker does not let the client into the room.
    JoinRefused {
        /// Which one.
        room: RoomName,
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// The broker has put something off; it is asked again by itself, and nothing is lost (PUB-4,
    /// BUD-1).
    PutOff {
        /// What.
        what: PutOff,
        /// In which room, if in one.
        room: Option<RoomName>,
        /// For how long.
        wait: Duration,
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// No member of the room any more.
    RoomLeft {
        /// Which one.
        room: RoomName,
        /// Why, if others have decided so (ROL-4).
        removed: Option<(Refusal, String)>,
    },
    /// What came of the oldest wish for an invite in this room that has no answer yet (ROL-7).
    Invited {
        /// To which room.
        room: RoomName,
        /// Its number, or why there is none, for programs and in words.
        outcome: Result<u64, (Refusal, String)>,
    },
    /// Who is present in a room.
    Roster {
        /// In which one.
        room: RoomName,
        /// How many there are.
        total: u64,
        /// Their names, or as many as a message holds.
        names: Vec<Name>,
    },
    /// Which rooms are in use on the broker.
    Rooms {
        /// How many there are.
        total: u64,
        /// Those, or as many as a message holds, each with how many are present.
        rooms: Vec<(RoomName, u64)>,
    },
    /// The broker's history of the room is not the one known before: it was lost or restored
    /// (RUM-10). What still waits is sent to the new one.
    Fork {
        /// Which room.
        room: RoomName,
    },
    /// The room's next line.
    Line {
        /// Which room.
        room: RoomName,
        /// Of which history.
        log: LogId,
        /// The line.
        line: Line,
    },
    /// Somebody came or went.
    Notice {
        /// Which room.
        room: RoomName,
        /// Its presence number.
        number: u64,
        /// What happened.
        event: NoticeEvent,
        /// To whom.
        name: Name,
    },
    /// A publication is in the journal, and will be sent until it has an outcome (NOD-2).
    Waiting {
        /// Which one, as [`publish`](super::Client::publish) called it.
        handle: u64,
        /// For which room.
        room: RoomName,
    },
    /// A publication is stored (DLV-6).
    Stored {
        /// Which one, as [`publish`](super::Client::publish) called it.
        handle: u64,
        /// In which room.
        room: RoomName,
        /// As which line.
        seq: u64,
    },
    /// How far a watched publication has come (STA-3).
    Delivered {
        /// Which one, as [`publish`](super::Client::publish) called it.
        handle: u64,
        /// In which room.
        room: RoomName,
        /// Which line it is, and who has it.
        delivered: Delivered,
    },
    /// A watched publication is told no further: too many others are watched (LIM-11).
    Unwatched {
        /// Which one, as [`publish`](super::Client::publish) called it.
        handle: u64,
        /// In which room.
        room: RoomName,
    },
    /// A line of earlier times, as [`ask_history`](super::Client::ask_history) asked.
    Past {
        /// Which room.
        room: RoomName,
        /// Who asked.
        asker: Asker,
        /// Of which history.
        log: LogId,
        /// The line.
        line: Line,
    },
    /// No more of those.
    HistoryEnd {
        /// Which room.
        room: RoomName,
        /// Who asked.
        asker: Asker,
        /// How many there were.
        count: u64,
        /// Whether there are earlier ones that may be asked for.
        earlier: bool,
    },
    /// A publication is refused for ever.
    NotStored {
        /// Which one, as [`publish`](super::Client::publish) called it.
        handle: u64,
        /// In which room.
        room: RoomName,
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
        /// It was sent on an earlier link, whose answer never came, and nobody can be asked any
        /// more: it may have been stored all the same (PUB-10).
        may_be_stored: bool,
    },
    /// What came of an errand.
    Errand(ErrandEvent),
    /// The client is done; nothing more will happen.
    Ended(EndReason),
}

/// Why a client ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It left, as it was told to, with everything settled; or its errand is done.
    Left,
    /// It was told to give up; this many publications were still waiting.
    Abandoned {
        /// How many.
        waiting: usize,
    },
    /// The broker is not the one known before (SEC-8).
    KeyChanged {
        /// The key that is known.
        known: PublicKey,
        /// The key that the broker showed.
        shown: PublicKey,
    },
    /// The broker does not accept the name.
    NameRefused {
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// The broker does not let the account or the device in, under whatever name (ADM-4, DEV-8), or
    /// refuses an errand.
    NotAdmitted {
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// The broker speaks other versions of the protocol only (HSD-7).
    Version {
        /// Those that it speaks.
        spoken: Vec<u8>,
    },
    /// The same device signed in somewhere else (SGN-4).
    Replaced,
    /// The broker knows publications of this device that this node never made: its journal was
    /// restored from a backup, or copied. The account goes on with another device (JRN-4).
    Retired {
        /// How many publications have no outcome, and are not stored.
        waiting: usize,
    },
    /// One of the two sides broke the protocol.
    Protocol {
        /// Which rule, in words.
        reason: String,
    },
}

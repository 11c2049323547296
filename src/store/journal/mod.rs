//! A node's journal that outlives its process (SPEC.md section 11.1).
//!
//! [`JournalFile`] is the file: entries go in, and their fold comes out. [`Journal`] writes to it
//! on a thread of its own, whatever is waiting in one transaction, so that the driver never waits
//! for a disk; [`JournalStore`] is what the driver sees of it.
//!
//! Programs beside the node use the same file: they spool lines, which whoever has the link numbers
//! and sends, and read what was received.

mod desk;
mod earlier;
mod entries;
mod file;
mod rows;
mod schema;
mod told;
mod writer;

use crate::chat::{Line, LogId, Name, NoticeEvent, RoomName};

pub use desk::{Outcome, Spooled, Watched};
pub use earlier::Asked;
pub use file::JournalFile;
pub use told::Told;
pub use writer::{Journal, JournalStore, News, Unopened};

/// How many items (lines and notices) of a room a journal keeps; the cursor stays when the oldest
/// go (JRN-5).
pub const JOURNAL_LINES_MAX: u64 = 100_000;
/// How many lines may have been printed without the journal's knowing it (CLI-11).
pub const SHOWN_LAG_MAX: usize = 64;

/// Something that was received, under a number that rises with each in the whole journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A line.
    Line {
        /// The item's number.
        id: u64,
        /// Of which history.
        log: LogId,
        /// The line.
        line: Box<Line>,
    },
    /// A notice.
    Notice {
        /// The item's number.
        id: u64,
        /// The presence number.
        number: u64,
        /// What happened.
        event: NoticeEvent,
        /// To whom.
        name: Name,
    },
}

impl Item {
    /// The item's number.
    #[must_use]
    pub const fn id(&self) -> u64 {
        match self {
            Self::Line { id, .. } | Self::Notice { id, .. } => *id,
        }
    }
}

/// What was printed last in a room (CLI-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The room's newest line with this number.
    Line(RoomName, u64),
    /// The notice with this number.
    Notice(RoomName, u64),
    /// The item with this number.
    Item(RoomName, u64),
}

#[cfg(test)]
mod tests;

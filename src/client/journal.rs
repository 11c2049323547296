//! What a node keeps, so that nothing it typed or received is lost.
//!
//! The machine asks for entries to be journaled ([`JournalRequest`]), in order, and goes on when
//! it is told that they are. A publication is not sent before it is in the journal (NOD-2), a line
//! is not handed to the reader before it and the new cursor are (NOD-1).

use crate::chat::{LineBase, LogId, Publication, RoomName};

/// Something to be journaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRequest {
    /// To be repeated in the completion. Ids rise.
    pub id: u64,
    /// What.
    pub entry: JournalEntry,
}

/// An entry of a node's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalEntry {
    /// A publication waits in the outbox. One with the same `handle` is replaced: it has been
    /// renumbered (RUM-10).
    Waiting {
        /// The node's own name for it, which does not change.
        handle: u64,
        /// For which room.
        room: RoomName,
        /// What.
        publication: Publication,
    },
    /// A publication has its outcome and leaves the outbox.
    Settled {
        /// The node's own name for it.
        handle: u64,
    },
    /// A line was received; the node's cursor is now here.
    Received {
        /// In which room.
        room: RoomName,
        /// Of which history.
        log: LogId,
        /// After the line.
        cursor: LineBase,
    },
}

//! What a node keeps, so that nothing it typed or received is lost.
//!
//! The machine asks for entries to be journaled ([`JournalRequest`]), in order, and goes on when
//! it is told that they are. A publication is not sent before it is in the journal (NOD-2), a line
//! is not handed to the reader before it and the new cursor are (NOD-1).
//!
//! What a journal holds is the [fold](JournalState::apply) of its entries, whatever keeps them: a
//! client that starts from it ([`ClientConfig::restored`](super::ClientConfig::restored)) goes on
//! where the one before it ended, at whatever entry that was (JRN-1).

use std::collections::BTreeMap;

use crate::chat::{
    LastPublication, Line, LineBase, LogId, Name, NoticeEvent, Publication, Recorded, RoomName,
    Stretch,
};

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
    /// A publication waits in the outbox.
    Waiting {
        /// The node's own name for it, which does not change. Handles rise.
        handle: u64,
        /// What its owner called it before it had a number, if it was spooled.
        spooled: Option<u64>,
        /// For which room.
        room: RoomName,
        /// What.
        publication: Publication,
    },
    /// A publication has its outcome and leaves the outbox.
    Settled {
        /// The node's own name for it.
        handle: u64,
        /// In which room.
        room: RoomName,
        /// What the broker recorded.
        outcome: Recorded,
    },
    /// The node is in a room, at a place that it did not reach line by line.
    Entered {
        /// Which room.
        room: RoomName,
        /// Of which history.
        log: LogId,
        /// Before the next line.
        place: LineBase,
        /// Whether that history is another one than before: presence numbers and the numbers of
        /// publications mean nothing there (RUM-10).
        is_fork: bool,
    },
    /// From here on the numbers of publications follow the broker's last one: what waits has the
    /// next ones, in its order (PUB-7).
    Numbered {
        /// In which room.
        room: RoomName,
        /// The broker's last one of this device.
        last: LastPublication,
    },
    /// A line was received; the node's cursor is now here.
    Received {
        /// In which room.
        room: RoomName,
        /// Of which history.
        log: LogId,
        /// After the line.
        cursor: LineBase,
        /// The line.
        line: Box<Line>,
    },
    /// A notice was received (PRS-3).
    Noticed {
        /// In which room.
        room: RoomName,
        /// Its presence number.
        number: u64,
        /// What happened.
        event: NoticeEvent,
        /// To whom.
        name: Name,
    },
    /// The room was left for good (RUM-12). Which numbers are used there stays (JRN-9).
    Left {
        /// Which room.
        room: RoomName,
    },
}

/// What a journal holds: where a node stands in its rooms, and what it has not got rid of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalState {
    /// The rooms.
    pub rooms: BTreeMap<RoomName, RoomState>,
    /// No handle that was ever used is this one or above it.
    pub next_handle: u64,
}

/// Where a node stands in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomState {
    /// After the last line received, and of which history; `None` before the first JOINED.
    pub cursor: Option<(LogId, LineBase)>,
    /// The place at which the node entered, not having reached it line by line: it has every line
    /// from there to the cursor.
    pub entered_after: u64,
    /// The last notice (PRS-3).
    pub presence: u64,
    /// Whether the numbers of publications follow those that the broker knows. Until then they are
    /// provisional.
    pub is_numbered: bool,
    /// The last number given to a publication (PUB-1).
    pub last_n: u64,
    /// The last publication whose outcome is known.
    pub confirmed: LastPublication,
    /// What has no outcome yet, by handle, and so by number.
    pub waiting: BTreeMap<u64, Publication>,
}

impl RoomState {
    /// A room in which the node never was.
    pub const NEW: Self = Self {
        cursor: None,
        entered_after: 0,
        presence: 0,
        is_numbered: false,
        last_n: 0,
        confirmed: LastPublication::NONE,
        waiting: BTreeMap::new(),
    };

    /// A room that was left. Which numbers the device has used there stays, if that is known, as
    /// none is ever used twice (JRN-9).
    pub(super) fn left(is_known: bool, last_n: u64, confirmed: LastPublication) -> Self {
        if !is_known {
            return Self::NEW;
        }
        Self {
            is_numbered: true,
            last_n,
            confirmed,
            ..Self::NEW
        }
    }

    /// The lines that the node has without a hole, up to its cursor (STA-1).
    pub(super) fn journaled(&self) -> Stretch {
        let to = self.cursor.map_or(0, |(_, base)| base.seq);
        Stretch {
            after: self.entered_after,
            to,
        }
    }

    /// What waits has the numbers after the broker's last one, in its order (PUB-7).
    fn number_after(&mut self, last: LastPublication) {
        self.last_n = last.n;
        for publication in self.waiting.values_mut() {
            self.last_n += 1;
            publication.n = self.last_n;
        }
        self.confirmed = last;
        self.is_numbered = true;
    }

    fn settle(&mut self, handle: u64) {
        if let Some(publication) = self.waiting.remove(&handle)
            && publication.n > self.confirmed.n
        {
            self.confirmed = LastPublication {
                n: publication.n,
                digest: publication.digest(),
            };
        }
    }
}

impl JournalState {
    /// Takes the next entry (JRN-1).
    pub fn apply(&mut self, entry: JournalEntry) {
        match entry {
            JournalEntry::Waiting {
                handle,
                room,
                publication,
                ..
            } => {
                self.next_handle = self.next_handle.max(handle + 1);
                let room = self.room(room);
                room.last_n = room.last_n.max(publication.n);
                room.waiting.insert(handle, publication);
            }
            JournalEntry::Settled { handle, room, .. } => self.room(room).settle(handle),
            JournalEntry::Entered {
                room,
                log,
                place,
                is_fork,
            } => {
                let room = self.room(room);
                room.cursor = Some((log, place));
                room.entered_after = place.seq;
                if is_fork {
                    room.presence = 0;
                    room.is_numbered = false;
                }
            }
            JournalEntry::Numbered { room, last } => self.room(room).number_after(last),
            JournalEntry::Received {
                room, log, cursor, ..
            } => self.room(room).cursor = Some((log, cursor)),
            JournalEntry::Noticed { room, number, .. } => self.room(room).presence = number,
            JournalEntry::Left { room } => {
                let room = self.room(room);
                // What waits was given up: which of its numbers are used is not known.
                let is_known = room.is_numbered && room.waiting.is_empty();
                *room = RoomState::left(is_known, room.last_n, room.confirmed);
            }
        }
    }

    /// The node goes on with another device. As that has published nothing yet, what waits has its
    /// final numbers at once (JRN-4). What the device before had stored after the journal was
    /// backed up, nobody can know here (JRN-11).
    pub fn change_device(&mut self) {
        for room in self.rooms.values_mut() {
            room.number_after(LastPublication::NONE);
        }
    }

    /// How many publications have no outcome.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.rooms.values().map(|room| room.waiting.len()).sum()
    }

    fn room(&mut self, room: RoomName) -> &mut RoomState {
        self.rooms.entry(room).or_insert(RoomState::NEW)
    }
}

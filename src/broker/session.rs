//! One node's link as the chat sees it: who is there, and in which rooms it sits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::budget::PutOff;
use super::devices::Errand;
use super::history::Page;
use super::introduction::Introduction;
use super::seats::Seats;
use super::storage::{LinkRow, PresenceRow, StoredLine};
use crate::chat::{AUTHORS_MAX, InviteMark, Name, RoomFromBroker, RoomName, Stretch};
use crate::link::Link;
use crate::secure::{AccountKey, DeviceKey};
use crate::time::Timestamp;
use crate::wire::BrokerCid;

/// Answers that a session's channel may have waiting, beyond those a well-behaved node can cause
/// by itself (PUB-8): a node that does not take its answers is cut off (BRK-2, LIM-16).
pub(super) const REPLIES_MAX: usize = 256;

/// A confirmed link and what it is for.
pub(super) struct Session {
    pub(super) link: Link,
    /// The connection ids that lead to it (CID-1).
    pub(super) cids: Vec<BrokerCid>,
    /// What the store remembers, or will, of where it leads (RST-5).
    pub(super) remembered: Option<LinkRow>,
    /// When its HELLO came.
    pub(super) begun_at: Timestamp,
    pub(super) account: AccountKey,
    pub(super) device: DeviceKey,
    pub(super) stage: Stage,
    /// Whether the node has closed the link.
    pub(super) was_hung_up: bool,
    pub(super) control: VecDeque<Bytes>,
    /// The rooms, by channel.
    pub(super) seats: Seats,
    /// The deadline under which the broker has the link in its timer table: the link's own, or an
    /// earlier one.
    pub(super) deadline: Option<Timestamp>,
    /// Whether the link waits for its turn to send.
    pub(super) has_turn: bool,
    /// What it held when that was last looked at (MEM-1).
    pub(super) held: u64,
}

/// How far a session has come.
pub(super) enum Stage {
    /// SIGN_IN is still to come (SGN-1), or was refused.
    Unnamed,
    /// The store is to be asked whether the name is free, once it has opened.
    Early(Box<(Name, Option<InviteMark>)>),
    /// The store is asked whether the name is free.
    Registering,
    /// Signed in.
    Named(Name),
    /// Here for something else (DEV-1).
    Errand(Errand),
    /// Said goodbye, or was ended; only the link's own end is still to come.
    Ended,
}

/// A session's place in one room.
pub(super) struct Seat {
    pub(super) room: RoomName,
    pub(super) stage: SeatStage,
    /// Answers to the node itself, ahead of what the room says.
    pub(super) replies: VecDeque<Bytes>,
    /// The account is leaving the room, or has left it: whatever else comes here has crossed that.
    pub(super) is_leaving: bool,
    /// It makes nobody present (RUM-14).
    pub(super) is_quiet: bool,
    /// How its link keeps up.
    pub(super) progress: Progress,
    /// The line with which it began (HST-2).
    pub(super) began: u64,
    /// The lines that it watches, and whether their counts have changed since they were told.
    pub(super) watched: BTreeMap<u64, bool>,
    /// A report that the store is to be asked to remember again (BRK-5).
    pub(super) unreported: Option<Stretch>,
    /// The pages of earlier lines that it has asked for.
    pub(super) pages: VecDeque<Page>,
    /// Publications that are with the store.
    pub(super) publishing: usize,
    /// The last publication that has to come again later (BUD-5).
    pub(super) put_off: Option<PutOff>,
    /// The authors who were introduced, as a set of bits: words that have any, in rising order. In a
    /// small room that is one.
    introduced: SmallVec<[(u64, u64); 1]>,
    /// How many that are.
    introduced_count: usize,
}

/// How far a seat has come.
pub(super) enum SeatStage {
    /// The store is asked.
    Entering {
        /// The last notice that the node has seen (PRS-3).
        presence: u64,
    },
    /// In the room, reading.
    In(Cursor),
    /// Refused or left; the channel stays used up, and may still have answers to send.
    Closed,
}

/// Where a member is in its room (BRK-2).
pub(super) struct Cursor {
    /// The next line that it gets.
    pub(super) next_seq: u64,
    /// Notices up to this one are not for it (PRS-3).
    pub(super) presence_floor: u64,
    /// Notices that it has missed and that the feed may not have (PRS-3).
    pub(super) missed: VecDeque<PresenceRow>,
    pub(super) place: Place,
    pub(super) pace: Pace,
}

/// How a member is served (BRK-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// What happens is handed to its link at once.
    Live,
    /// It does not keep up: its link gets nothing more.
    Lagging,
    /// It catches up, a little at a time.
    Replay,
}

/// Where a member's next line comes from.
pub(super) enum Place {
    /// From the room's feed, at this index.
    Live(u64),
    /// From the store, in batches.
    Replay {
        /// Read, and not yet taken by the link.
        fetched: VecDeque<StoredLine>,
        /// A read is under way.
        reading: bool,
    },
}

impl Session {
    /// Keeps no memory for what waited once: its link rests.
    pub(super) fn rest(&mut self) {
        self.control.shrink_to_fit();
        for seat in self.seats.values_mut() {
            seat.replies.shrink_to_fit();
            seat.pages.shrink_to_fit();
            if let SeatStage::In(cursor) = &mut seat.stage {
                cursor.missed.shrink_to_fit();
                if let Place::Replay { fetched, .. } = &mut cursor.place {
                    fetched.shrink_to_fit();
                }
            }
        }
    }

    /// The session's name, once signed in.
    pub(super) const fn name(&self) -> Option<&Name> {
        match &self.stage {
            Stage::Named(name) => Some(name),
            Stage::Unnamed
            | Stage::Early(_)
            | Stage::Registering
            | Stage::Errand(_)
            | Stage::Ended => None,
        }
    }

    /// Whether it is a session of `account` that has not ended.
    pub(super) fn is_of(&self, account: AccountKey) -> bool {
        self.account == account && !matches!(self.stage, Stage::Ended)
    }

    /// Whether it sits in rooms, and is behind in all of them (BRK-9).
    pub(super) fn is_behind(&self) -> bool {
        let cursors = || {
            let stages = self.seats.values().map(|seat| &seat.stage);
            stages.filter_map(|stage| match stage {
                SeatStage::In(cursor) => Some(cursor),
                SeatStage::Entering { .. } | SeatStage::Closed => None,
            })
        };
        cursors().next().is_some() && cursors().all(|cursor| cursor.pace != Pace::Live)
    }

    /// Whether it sits in rooms, and in all of them quietly (RUM-14), or is on an errand (DEV-2).
    pub(super) fn is_quiet(&self) -> bool {
        if matches!(self.stage, Stage::Errand(_)) {
            return true;
        }
        !self.seats.is_empty() && self.seats.values().all(|seat| seat.is_quiet)
    }

    /// The channel on which `room` is joined.
    pub(super) fn channel_of(&self, room: &RoomName) -> Option<u8> {
        let mut seats = self.seats.iter();
        seats.find_map(|(channel, seat)| (seat.is_open() && seat.room == *room).then_some(channel))
    }

    /// Whether a room of its has had so many authors that it needs a new link, on which none is
    /// introduced yet (LIM-17).
    pub(super) fn is_full_of_authors(&self) -> bool {
        self.seats.values().any(|seat| seat.is_full_of_authors())
    }

    /// Whether more answers wait than a well-behaved node lets pile up.
    pub(super) fn is_clogged(&self) -> bool {
        self.control.len() > REPLIES_MAX
            || self
                .seats
                .values()
                .any(|seat| seat.replies.len() > REPLIES_MAX)
    }
}

/// What a channel was given, and how far that was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Progress {
    handed: u64,
    acknowledged: u64,
    /// When something was acknowledged last, or began to wait for it; `None` if nothing waits.
    since: Option<Timestamp>,
}

impl Progress {
    /// The link has taken a message.
    pub(super) const fn note_handed(&mut self) {
        self.handed += 1;
    }

    /// Of all that was handed over, `unacked` messages wait. Returns for how long nothing was
    /// acknowledged.
    pub(super) fn update(&mut self, unacked: usize, now: Timestamp) -> Duration {
        let acknowledged = self.handed.saturating_sub(unacked as u64);
        if unacked == 0 {
            self.since = None;
        } else if acknowledged > self.acknowledged || self.since.is_none() {
            self.since = Some(now);
        }
        self.acknowledged = acknowledged;
        let waits = |since| now.saturating_since(since);
        self.since.map(waits).unwrap_or_default()
    }
}

impl Cursor {
    /// It does not keep up: of what it is to get, nothing is kept but where it is (BRK-9).
    pub(super) fn fall_behind(&mut self) {
        self.pace = Pace::Lagging;
        if let Place::Replay { fetched, .. } = &mut self.place {
            fetched.clear();
        }
    }

    /// How many lines were read for it that the link has not taken.
    pub(super) fn fetched(&self) -> usize {
        match &self.place {
            Place::Live(_) => 0,
            Place::Replay { fetched, .. } => fetched.len(),
        }
    }

    /// A read that failed may be repeated (BRK-5).
    pub(super) const fn read_again(&mut self) {
        if let Place::Replay { reading, .. } = &mut self.place {
            *reading = false;
        }
    }
}

impl Seat {
    pub(super) fn new(room: RoomName, stage: SeatStage, is_quiet: bool) -> Self {
        Self {
            room,
            stage,
            is_quiet,
            replies: VecDeque::new(),
            is_leaving: false,
            progress: Progress::default(),
            began: 0,
            watched: BTreeMap::new(),
            unreported: None,
            pages: VecDeque::new(),
            publishing: 0,
            put_off: None,
            introduced: SmallVec::new(),
            introduced_count: 0,
        }
    }

    /// Whether the seat is, or may come to be, in its room.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.stage, SeatStage::Closed)
    }

    /// For nothing: see `bug!(CursorPoisoned)`.
    pub(super) fn poison(&mut self, seq: u64) {
        if let SeatStage::In(cursor) = &mut self.stage
            && let Place::Replay { fetched, .. } = &mut cursor.place
        {
            fetched.clear();
            cursor.next_seq = seq;
        }
    }

    /// Says this on the seat's channel, unless the last word there was said (RUM-12, ROL-4): the node
    /// has forgotten the room with that.
    pub(super) fn reply(&mut self, message: &RoomFromBroker) {
        if self.is_open() {
            self.replies.push_back(message.encode());
        }
    }

    /// The last word on the seat's channel, which stays used up.
    pub(super) fn close(&mut self, last_word: &RoomFromBroker) {
        self.stage = SeatStage::Closed;
        self.replies.push_back(last_word.encode());
    }

    /// The introduction of `author`, if it is still due on this channel (RUM-6).
    pub(super) fn introduction(&self, author: &Introduction) -> Option<Bytes> {
        let (word, bit) = word_and_bit(author.number());
        let is_known = |at: usize| self.introduced[at].1 & bit != 0;
        (!self.find_introduced(word).is_ok_and(is_known)).then(|| author.message())
    }

    pub(super) fn note_introduced(&mut self, author: u64) {
        let (word, bit) = word_and_bit(author);
        match self.find_introduced(word) {
            Ok(at) => self.introduced[at].1 |= bit,
            Err(at) => self.introduced.insert(at, (word, bit)),
        }
        self.introduced_count += 1;
    }

    fn find_introduced(&self, word: u64) -> Result<usize, usize> {
        self.introduced
            .binary_search_by_key(&word, |(word, _)| *word)
    }

    /// Whether the node would take no other author on this channel (LIM-17).
    pub(super) const fn is_full_of_authors(&self) -> bool {
        self.introduced_count >= AUTHORS_MAX
    }

    /// As if so many had been introduced.
    #[cfg(test)]
    pub(super) const fn pretend_introduced(&mut self, count: usize) {
        self.introduced_count = count;
    }
}

/// Where a number is in a set of bits.
const fn word_and_bit(number: u64) -> (u64, u64) {
    (number / 64, 1 << (number % 64))
}

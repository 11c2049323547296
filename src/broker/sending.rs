//! Giving links what their sessions are due, as the links take it (BRK-2, BRK-3).

use std::time::Duration;

use bytes::Bytes;

use super::feed::{Feed, FeedItem};
use super::history::{PageNext, advance_page, next_of_page};
use super::introduction::Introduction;
use super::session::{Cursor, Pace, Place, Seat, SeatStage, Session};
use super::states::{next_delivered, note_delivered};
use super::storage::StorageOp;
use super::{Again, Broker, LinkId, Pending, Pressure, READ_BYTES_MAX, READ_LINES_MAX};
use crate::bug;
use crate::chat::{RoomFromBroker, RoomName};
use crate::link::{Care, Link};
use crate::time::Timestamp;

/// After how long without any acknowledgement a member is taken not to keep up (BRK-9).
pub const LAG_AFTER: Duration = Duration::from_secs(2);
/// With how many unacknowledged messages on its channel a member that catches up gets no more
/// (BRK-9).
const REPLAY_IN_FLIGHT_MAX: usize = 64;
/// With how many unacknowledged messages on its channel a seat gets no more of what was earlier.
const PAGE_IN_FLIGHT_MAX: usize = 64;

impl Broker {
    /// Hands the link what it can take of what its session is due (BRK-2). The link's own windows
    /// bound the work (BRK-3).
    pub(super) fn pump(&mut self, id: LinkId, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        while let Some(message) = session.control.front() {
            if !session.link.can_send(0, message.len()) {
                break;
            }
            let Some(message) = session.control.pop_front() else {
                break;
            };
            // `can_send` has just said yes; a link that closes meanwhile needs nothing more.
            let _ = session.link.send(0, message, now);
        }
        let mut from = 0;
        while let Some(channel) = self.seat_from(id, from) {
            self.pump_seat(id, channel, now);
            from = channel + 1;
        }
    }

    /// The first channel from `from` on at which the session has a seat.
    fn seat_from(&self, id: LinkId, from: u8) -> Option<u8> {
        self.sessions.get(&id)?.seats.first_from(from)
    }

    fn pump_seat(&mut self, id: LinkId, channel: u8, now: Timestamp) {
        match self.hand_over(id, channel, now) {
            None => {}
            Some(Wanted::Lines { .. }) if self.puts_reading_off(id, channel, Again::Place, now) => {
            }
            Some(Wanted::Page { .. }) if self.puts_reading_off(id, channel, Again::Page, now) => {}
            Some(Wanted::Lines { room, from }) => self.read_for(id, channel, room, from),
            Some(Wanted::Page { room, from, before }) => {
                self.read_page(id, channel, &room, from, before);
            }
        }
    }

    /// Gives the link what the seat has for it: answers, counts, what follows, and last what was
    /// earlier. Returns what must be read first.
    fn hand_over(&mut self, id: LinkId, channel: u8, now: Timestamp) -> Option<Wanted> {
        let is_thrifty = self.pressure() >= Pressure::Thrifty;
        let session = self.sessions.get_mut(&id)?;
        let account = session.account;
        let Session { link, seats, .. } = &mut **session;
        let seat = seats.get_mut(channel)?;
        while let Some(message) = seat.replies.front() {
            if !link.can_send(channel, message.len()) {
                return None;
            }
            let message = seat.replies.pop_front()?;
            if link.send(channel, message, now).is_ok() {
                seat.progress.note_handed();
            }
        }
        let SeatStage::In(_) = seat.stage else {
            return None;
        };
        let room = self.rooms.get_mut(&seat.room)?;
        link.set_care(channel, Care::of_one_in(room.present.len()));
        while let Some(delivered) = next_delivered(seat, &room.roster, account) {
            let message = RoomFromBroker::Delivered(delivered).encode();
            if !hand(link, seat, channel, None, message, now) {
                return None;
            }
            note_delivered(seat, &mut room.roster, account, (id, channel), delivered);
        }
        let feed = room.feed.as_ref()?;
        loop {
            if !keeps_up(link, seat, channel, is_thrifty, now) {
                return None;
            }
            match next_item(seat, feed) {
                Next::Item(item, source) => {
                    let place = (item.seq, item.presence);
                    if !hand(link, seat, channel, Some(&item.author), item.message, now) {
                        if let SeatStage::In(cursor) = &mut seat.stage {
                            cursor.fall_behind();
                        }
                        return None;
                    }
                    advance(seat, place, source);
                }
                Next::Read(from) => {
                    let room = seat.room.clone();
                    return Some(Wanted::Lines { room, from });
                }
                Next::Nothing => break,
            }
        }
        if let SeatStage::In(cursor) = &mut seat.stage
            && matches!(cursor.place, Place::Live(_))
        {
            cursor.pace = Pace::Live;
        }
        // What follows never waits behind much of what was earlier.
        while link.unacked_messages(channel) < PAGE_IN_FLIGHT_MAX {
            match next_of_page(seat) {
                PageNext::Say(message, author) => {
                    if !hand(link, seat, channel, author.as_ref(), message, now) {
                        return None;
                    }
                    advance_page(seat);
                }
                PageNext::Read { from, before } => {
                    let room = seat.room.clone();
                    return Some(Wanted::Page { room, from, before });
                }
                PageNext::Nothing => break,
            }
        }
        None
    }

    /// Asks the store for the lines that a seat needs next.
    fn read_for(&mut self, id: LinkId, channel: u8, room: RoomName, from: u64) {
        let (lines_max, bytes_max) = (READ_LINES_MAX, READ_BYTES_MAX);
        let op = StorageOp::Read {
            room: room.clone(),
            from,
            lines_max,
            bytes_max,
        };
        if self
            .ask(
                op,
                Pending::Read {
                    link: id,
                    channel,
                    room: room.clone(),
                },
            )
            .is_none()
        {
            self.starved.insert(id);
            return;
        }
        if let Some(room) = self.rooms.get_mut(&room) {
            room.asking += 1;
        }
        let seat = self
            .sessions
            .get_mut(&id)
            .and_then(|s| s.seats.get_mut(channel));
        if let Some(seat) = seat
            && let SeatStage::In(cursor) = &mut seat.stage
            && let Place::Replay { reading, .. } = &mut cursor.place
        {
            *reading = true;
        }
    }
}

/// What must be read before a seat can go on.
enum Wanted {
    /// Lines from this one on.
    Lines { room: RoomName, from: u64 },
    /// Earlier lines.
    Page {
        room: RoomName,
        from: u64,
        before: u64,
    },
}

/// Whether the seat's link may get more now (BRK-9).
fn keeps_up(link: &Link, seat: &mut Seat, channel: u8, is_thrifty: bool, now: Timestamp) -> bool {
    let unacked = link.unacked_messages(channel);
    if bug!(UnboundedQueue) {
        return matches!(seat.stage, SeatStage::In(_));
    }
    let waits = seat.progress.update(unacked, now);
    let SeatStage::In(cursor) = &mut seat.stage else {
        return false;
    };
    // MEM-3
    let is_ahead = is_thrifty && unacked >= REPLAY_IN_FLIGHT_MAX;
    if waits >= LAG_AFTER || (is_ahead && cursor.pace == Pace::Live) {
        if cursor.pace != Pace::Lagging {
            crate::sometimes!(MemberLagging);
        }
        cursor.fall_behind();
    } else if cursor.pace == Pace::Lagging && unacked < REPLAY_IN_FLIGHT_MAX {
        crate::sometimes!(MemberReplaying);
        cursor.pace = Pace::Replay;
    }
    match cursor.pace {
        Pace::Live => true,
        Pace::Lagging => false,
        Pace::Replay => unacked < REPLAY_IN_FLIGHT_MAX,
    }
}

/// Gives the link a message, after the introduction of its author if that is due: both or neither,
/// so that an introduction is never wasted. Returns whether the link has taken it.
fn hand(
    link: &mut Link,
    seat: &mut Seat,
    channel: u8,
    author: Option<&Introduction>,
    message: Bytes,
    now: Timestamp,
) -> bool {
    let introduction = author.and_then(|author| seat.introduction(author));
    if introduction.is_some() && seat.is_full_of_authors() {
        return false;
    }
    let introduction_len = introduction.as_ref().map_or(0, Bytes::len);
    if !link.can_send(channel, introduction_len + message.len()) {
        return false;
    }
    if let Some(introduction) = introduction {
        if link.send(channel, introduction, now).is_err() {
            return false;
        }
        author
            .into_iter()
            .for_each(|author| seat.note_introduced(author.number()));
        seat.progress.note_handed();
        if !link.can_send(channel, message.len()) {
            return false;
        }
    }
    let is_taken = link.send(channel, message, now).is_ok();
    if is_taken {
        seat.progress.note_handed();
    }
    is_taken
}

/// What a seat gets next.
enum Next {
    /// This.
    Item(FeedItem, Source),
    /// Nothing now.
    Nothing,
    /// Lines from this one on must be read from the store first.
    Read(u64),
}

/// Where it comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The seat's place in the room.
    Place,
    /// The notices that it has missed.
    Missed,
}

/// Finds out what `seat` gets next, moving between feed and store as need be.
fn next_item(seat: &mut Seat, feed: &Feed) -> Next {
    loop {
        let SeatStage::In(cursor) = &mut seat.stage else {
            return Next::Nothing;
        };
        if let Some(item) = next_missed(cursor, feed) {
            return Next::Item(item, Source::Missed);
        }
        match &mut cursor.place {
            Place::Live(index) => match feed.get(*index) {
                Ok(Some(item)) if item.presence.is_some_and(|p| p <= cursor.presence_floor) => {
                    *index += 1;
                }
                Ok(Some(item)) => return Next::Item(item.clone(), Source::Place),
                Ok(None) => return Next::Nothing,
                Err(_gone) => {
                    cursor.place = Place::Replay {
                        fetched: Default::default(),
                        reading: false,
                    };
                }
            },
            Place::Replay { fetched, reading } => {
                if let Some(stored) = fetched.front() {
                    return Next::Item(FeedItem::line(stored, feed.last_author()), Source::Place);
                }
                if feed.covers(cursor.next_seq) {
                    cursor.place = Place::Live(feed.index_of(cursor.next_seq));
                } else if *reading {
                    return Next::Nothing;
                } else {
                    return Next::Read(cursor.next_seq);
                }
            }
        }
    }
}

/// The next notice that was missed, if its turn has come: all lines before it have been handed
/// over, and the feed has nothing older.
fn next_missed(cursor: &mut Cursor, feed: &Feed) -> Option<FeedItem> {
    let floor = cursor.presence_floor;
    while cursor.missed.front().is_some_and(|row| row.number <= floor) {
        cursor.missed.pop_front();
    }
    let row = cursor.missed.front()?;
    let in_feed = match &cursor.place {
        Place::Live(index) => feed.get(*index).ok().flatten(),
        Place::Replay { .. } => None,
    };
    let is_older = |number: u64| floor < number && number < row.number;
    let waits_for_feed = in_feed.and_then(|item| item.presence).is_some_and(is_older);
    let is_due = row.after_seq < cursor.next_seq && !waits_for_feed;
    is_due.then(|| FeedItem::notice(row, feed.last_author()))
}

/// The link has taken the item with this line number and, if it is a notice, presence number.
fn advance(seat: &mut Seat, (seq, presence): (u64, Option<u64>), source: Source) {
    let SeatStage::In(cursor) = &mut seat.stage else {
        return;
    };
    match presence {
        Some(presence) => cursor.presence_floor = presence,
        None => cursor.next_seq = seq + 1,
    }
    match &mut cursor.place {
        _ if source == Source::Missed => {}
        Place::Live(index) => *index += 1,
        Place::Replay { fetched, .. } => {
            fetched.pop_front();
        }
    }
}

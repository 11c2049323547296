//! Giving links what their sessions are due, as the links take it (BRK-2, BRK-3).

use bytes::Bytes;

use super::feed::{Feed, FeedItem};
use super::session::{Cursor, Place, Seat, SeatStage, Session};
use super::storage::StorageOp;
use super::{Broker, LinkId, Pending, READ_BYTES_MAX, READ_LINES_MAX};
use crate::chat::RoomName;
use crate::time::Timestamp;

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
        let channels: Vec<u8> = session.seats.keys().copied().collect();
        for channel in channels {
            self.pump_seat(id, channel, now);
        }
    }

    fn pump_seat(&mut self, id: LinkId, channel: u8, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Session { link, seats, .. } = session;
        let Some(seat) = seats.get_mut(&channel) else {
            return;
        };
        while let Some(message) = seat.replies.front() {
            if !link.can_send(channel, message.len()) {
                return;
            }
            let Some(message) = seat.replies.pop_front() else {
                break;
            };
            let _ = link.send(channel, message, now);
        }
        let SeatStage::In(_) = seat.stage else { return };
        let Some(room) = self.rooms.get_mut(&seat.room) else {
            return;
        };
        let Some(feed) = &room.feed else { return };
        loop {
            let (item, source) = match next_item(seat, feed) {
                Next::Item(item, source) => (item, source),
                Next::Nothing => return,
                Next::Read(from) => {
                    let name = seat.room.clone();
                    self.read_for(id, channel, name, from);
                    return;
                }
            };
            let introduction = seat.introduction(&item.author);
            let introduction_len = introduction.as_ref().map_or(0, Bytes::len);
            // Both or neither, so that an introduction is never wasted.
            if !link.can_send(channel, introduction_len + item.message.len()) {
                return;
            }
            if let Some(introduction) = introduction {
                if link.send(channel, introduction, now).is_err() {
                    return;
                }
                seat.note_introduced(item.author.number);
                if !link.can_send(channel, item.message.len()) {
                    return;
                }
            }
            if link.send(channel, item.message.clone(), now).is_err() {
                return;
            }
            advance(seat, &item, source);
        }
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
            .and_then(|s| s.seats.get_mut(&channel));
        if let Some(Seat {
            stage: SeatStage::In(cursor),
            ..
        }) = seat
            && let Place::Replay { reading, .. } = &mut cursor.place
        {
            *reading = true;
        }
    }
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
                    return Next::Item(FeedItem::line(stored), Source::Place);
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
    is_due.then(|| FeedItem::notice(row))
}

/// The link has taken `item`.
fn advance(seat: &mut Seat, item: &FeedItem, source: Source) {
    let SeatStage::In(cursor) = &mut seat.stage else {
        return;
    };
    match item.presence {
        Some(presence) => cursor.presence_floor = presence,
        None => cursor.next_seq = item.seq + 1,
    }
    match &mut cursor.place {
        _ if source == Source::Missed => {}
        Place::Live(index) => *index += 1,
        Place::Replay { fetched, .. } => {
            fetched.pop_front();
        }
    }
}

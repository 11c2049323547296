//! Pages of earlier lines, for those who ask (SPEC.md section 9.6).
//!
//! A page is read in small batches, and handed over when its seat has nothing newer to send: who
//! scrolls back delays neither itself nor anybody else.

use std::collections::VecDeque;

use bytes::Bytes;

use super::introduction::Introduction;
use super::seating::{ASK_AGAIN_AFTER, Broken};
use super::session::{Seat, SeatStage};
use super::states::in_room;
use super::storage::{Author, StorageOp, StorageOutcome, StoredLine};
use super::{Again, Broker, LinkId, Pending};
use crate::chat::{PastLine, RoomFromBroker, RoomName};
use crate::time::Timestamp;

/// The most lines of a page (HST-2).
pub const PAGE_LINES_MAX: u64 = 1_000;
/// The most pages that a seat may ask for at a time (HST-2).
pub const PAGES_WAITING_MAX: usize = 8;
/// How many lines of a page are read at a time.
const BATCH_LINES_MAX: usize = 32;
/// After how many bytes of bodies such a read stops.
const BATCH_BYTES_MAX: usize = 32_768;

/// A page that was asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// The next line that it gets, as far as that is known.
    next: u64,
    /// The line before which it ends.
    end: u64,
    /// How many lines were handed over.
    count: u64,
    /// Whether the account may read lines before the page.
    earlier: bool,
    /// Read, and not yet taken by the link.
    fetched: VecDeque<StoredLine>,
    reading: bool,
}

/// What a page has for its seat.
pub(super) enum PageNext {
    /// A line, with its author; or the end.
    Say(Bytes, Option<Introduction>),
    /// Lines must be read first: so many from here, and none from there on.
    Read { from: u64, before: u64 },
    /// Nothing now.
    Nothing,
}

impl Page {
    fn new(before: u64, count: u64) -> Self {
        let count = count.min(PAGE_LINES_MAX);
        let next = before.saturating_sub(count).max(1);
        Self {
            next,
            end: before,
            count: 0,
            earlier: next > 1,
            fetched: VecDeque::new(),
            reading: false,
        }
    }
}

impl Broker {
    /// HST-2
    pub(super) fn on_history(
        &mut self,
        id: LinkId,
        channel: u8,
        before: u64,
        count: u64,
    ) -> Result<(), Broken> {
        let session = self.sessions.get_mut(&id);
        let seat = session.and_then(|session| session.seats.get_mut(channel));
        let Some(seat) = in_room(seat, "a question before joining")? else {
            return Ok(());
        };
        if seat.pages.len() >= PAGES_WAITING_MAX {
            return Err("too many pages at once");
        }
        // What the seat gets anyway is no part of a page.
        let before = match before {
            0 => seat.began,
            before => before.min(seat.began),
        };
        seat.pages.push_back(Page::new(before, count));
        self.mark_ready(id);
        Ok(())
    }

    /// Asks the store for the next lines of a seat's page.
    pub(super) fn read_page(
        &mut self,
        id: LinkId,
        channel: u8,
        name: &RoomName,
        from: u64,
        before: u64,
    ) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let op = StorageOp::History {
            room: name.clone(),
            account: session.account,
            has_begun: session
                .seats
                .get(channel)
                .and_then(|seat| seat.pages.front())
                .is_some_and(|page| page.count > 0),
            from,
            before,
            lines_max: BATCH_LINES_MAX,
            bytes_max: BATCH_BYTES_MAX,
        };
        let pending = Pending::History {
            link: id,
            channel,
            room: name.clone(),
        };
        if self.ask(op, pending).is_none() {
            self.starved.insert(id);
            return;
        }
        self.note_asking(name);
        if let Some(page) = self.page_of(id, channel) {
            page.reading = true;
        }
    }

    /// The store has read lines of a seat's page, or could not.
    pub(super) fn on_past(
        &mut self,
        id: LinkId,
        channel: u8,
        outcome: StorageOutcome,
        now: Timestamp,
    ) {
        if let StorageOutcome::Past { lines, .. } = &outcome {
            self.charge_reading(id, lines, now);
        }
        let Some(page) = self.page_of(id, channel) else {
            return;
        };
        let StorageOutcome::Past { first, lines } = outcome else {
            // Still reading, as far as anybody else is concerned (BRK-5).
            self.read_again
                .insert((now + ASK_AGAIN_AFTER, id, channel, Again::Page));
            return;
        };
        page.reading = false;
        if page.count == 0 {
            page.next = page.next.max(first);
            page.earlier = first < page.next;
        }
        if lines.is_empty() {
            page.end = page.next;
        }
        page.fetched.extend(lines);
    }

    /// The page that is read for a seat.
    fn page_of(&mut self, id: LinkId, channel: u8) -> Option<&mut Page> {
        let session = self.sessions.get_mut(&id)?;
        session.seats.get_mut(channel)?.pages.front_mut()
    }
}

/// Finds out what `seat` is told of the past next.
pub(super) fn next_of_page(seat: &Seat) -> PageNext {
    let SeatStage::In(_) = seat.stage else {
        return PageNext::Nothing;
    };
    let Some(page) = seat.pages.front() else {
        return PageNext::Nothing;
    };
    if let Some(stored) = page.fetched.front() {
        let line = &stored.line;
        let past = RoomFromBroker::Past(PastLine {
            seq: line.seq,
            author: line.author,
            n: line.n,
            kind: line.kind,
            stored_at_ms: line.stored_at_ms,
            typed_at_ms: line.typed_at_ms,
            body: line.body.clone(),
        });
        return PageNext::Say(past.encode(), Some(Author::from(line).into()));
    }
    if page.reading {
        return PageNext::Nothing;
    }
    if page.next < page.end {
        return PageNext::Read {
            from: page.next,
            before: page.end,
        };
    }
    let (count, earlier) = (page.count, page.earlier);
    PageNext::Say(RoomFromBroker::HistoryEnd { count, earlier }.encode(), None)
}

/// The link has taken what the page had.
pub(super) fn advance_page(seat: &mut Seat) {
    let Some(page) = seat.pages.front_mut() else {
        return;
    };
    if let Some(stored) = page.fetched.pop_front() {
        page.next = stored.line.seq + 1;
        page.count += 1;
    } else {
        seat.pages.pop_front();
    }
}

impl Seat {
    /// The page that the seat gets is about to be read, or as good as that.
    pub(super) fn begin_reading_page(&mut self) {
        if let Some(page) = self.pages.front_mut() {
            page.reading = true;
        }
    }
}

/// A read that failed may be repeated (BRK-5).
pub(super) fn read_page_again(seat: &mut Seat) {
    if let Some(page) = seat.pages.front_mut() {
        page.reading = false;
    }
}

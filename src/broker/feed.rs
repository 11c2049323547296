//! What a room's live members read: its recent lines and notices, in the room's order.
//!
//! One line is encoded once, whatever the number of members; a member's place is an index
//! (BRK-2). What has fallen off the feed is read from the store.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::introduction::Introduction;
use super::storage::{PresenceRow, StoredLine};
use crate::chat::{RoomFromBroker, WireLine};

/// The most items that a feed keeps (LIM-5).
pub const RECENT_LINES_MAX: usize = 1_024;
/// The most encoded bytes that a feed keeps (LIM-5).
pub const RECENT_BYTES_MAX: usize = 1 << 20;

/// A line or a notice, ready to be sent to everybody.
#[derive(Clone, Debug)]
pub(super) struct FeedItem {
    /// For a line its number, for a notice that of the line after it.
    pub(super) seq: u64,
    /// For a notice, its presence number.
    pub(super) presence: Option<u64>,
    /// Whom it is about, for an introduction where one is due; shared, as the message is, by all
    /// who get it.
    pub(super) author: Arc<Introduction>,
    /// The encoded message.
    pub(super) message: Bytes,
}

impl FeedItem {
    /// A line, encoded, whose author may be one of those `known`.
    pub(super) fn line<'a>(
        stored: &StoredLine,
        known: impl IntoIterator<Item = &'a Arc<Introduction>>,
    ) -> Self {
        let line = &stored.line;
        let message = RoomFromBroker::Line(WireLine {
            seq: line.seq,
            author: line.author,
            n: line.n,
            kind: line.kind,
            since_previous_ms: line
                .stored_at_ms
                .saturating_sub(stored.previous_stored_at_ms),
            typed_lag_ms: line.stored_at_ms.cast_signed() - line.typed_at_ms.cast_signed(),
            body: line.body.clone(),
        });
        Self {
            seq: line.seq,
            presence: None,
            author: Introduction::of(line.into(), known),
            message: message.encode(),
        }
    }

    /// A notice, encoded (PRS-2), that may be about one of those `known`.
    pub(super) fn notice<'a>(
        row: &PresenceRow,
        known: impl IntoIterator<Item = &'a Arc<Introduction>>,
    ) -> Self {
        let message = RoomFromBroker::Notice {
            presence: row.number,
            event: row.event,
            author: row.author.number,
        };
        Self {
            seq: row.after_seq + 1,
            presence: Some(row.number),
            author: Introduction::of(row.author.clone(), known),
            message: message.encode(),
        }
    }
}

/// The recent part of one room.
#[derive(Debug)]
pub(super) struct Feed {
    items: VecDeque<FeedItem>,
    bytes: usize,
    /// The index of the first item; indices are never used twice.
    first: u64,
    /// All lines from this number on are here.
    covers_from: u64,
    /// The room's last line.
    tail_seq: u64,
    /// When the last line that came was stored. For nothing: see `bug!(DeliverBeforeSync)`.
    pub(super) tail_stored_at_ms: Option<u64>,
}

impl Feed {
    /// The feed of a room whose log ends with `tail_seq`.
    pub(super) const fn new(tail_seq: u64) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            first: 0,
            covers_from: tail_seq + 1,
            tail_seq,
            tail_stored_at_ms: None,
        }
    }

    /// The room's last line.
    pub(super) const fn tail_seq(&self) -> u64 {
        self.tail_seq
    }

    /// Whether a member that needs line `seq` next finds it, and all after it, here.
    pub(super) const fn covers(&self, seq: u64) -> bool {
        seq >= self.covers_from
    }

    /// The index from which a member that needs line `seq` next reads. Notices between the line
    /// before and `seq` are included.
    pub(super) fn index_of(&self, seq: u64) -> u64 {
        self.first + self.items.partition_point(|item| item.seq < seq) as u64
    }

    /// The item at `index`; `None` beyond the end, and [`Gone`] before the beginning.
    pub(super) fn get(&self, index: u64) -> Result<Option<&FeedItem>, Gone> {
        let offset = index.checked_sub(self.first).ok_or(Gone)?;
        Ok(usize::try_from(offset)
            .ok()
            .and_then(|offset| self.items.get(offset)))
    }

    /// Whom the last item is about.
    pub(super) fn last_author(&self) -> Option<&Arc<Introduction>> {
        self.items.back().map(|item| &item.author)
    }

    /// Appends the room's next line, whose author may be the one `known`.
    pub(super) fn push_line(&mut self, stored: &StoredLine, known: Option<&Arc<Introduction>>) {
        if stored.line.seq != self.tail_seq + 1 {
            // The store answers in order (BRK-5); should it not, nobody may be shown a hole.
            tracing::error!(
                seq = stored.line.seq,
                tail = self.tail_seq,
                "the store skipped a line"
            );
            self.first += self.items.len() as u64;
            self.items.clear();
            self.bytes = 0;
            self.covers_from = stored.line.seq;
        }
        self.tail_seq = stored.line.seq;
        self.tail_stored_at_ms = Some(stored.line.stored_at_ms);
        let item = FeedItem::line(stored, known.into_iter().chain(self.last_author()));
        self.push(item);
    }

    /// Appends a notice, which may be about the one `known`: the store tells of it in its turn among the
    /// lines (BRK-5, PRS-2).
    pub(super) fn push_notice(&mut self, row: &PresenceRow, known: Option<&Arc<Introduction>>) {
        self.push(FeedItem {
            seq: self.tail_seq + 1,
            ..FeedItem::notice(row, known.into_iter().chain(self.last_author()))
        });
    }

    /// How many items there are, and their bytes.
    pub(super) fn holds(&self) -> (usize, usize) {
        (self.items.len(), self.bytes)
    }

    fn push(&mut self, item: FeedItem) {
        self.bytes += item.message.len();
        self.items.push_back(item);
        self.shrink(1);
    }

    /// Keeps no more than one part in `divisor` of what it may (LIM-5, MEM-2): what falls off is read
    /// from the store.
    pub(super) fn shrink(&mut self, divisor: usize) {
        let (items_max, bytes_max) = (RECENT_LINES_MAX / divisor, RECENT_BYTES_MAX / divisor);
        while self.items.len() > items_max || self.bytes > bytes_max {
            let Some(evicted) = self.items.pop_front() else {
                break;
            };
            crate::sometimes!(FeedEvicted);
            self.first += 1;
            self.bytes -= evicted.message.len();
            if evicted.presence.is_none() {
                self.covers_from = evicted.seq + 1;
            }
        }
    }
}

/// What was asked for has fallen off the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::storage::Author;
    use crate::chat::{Kind, Line, Name, NoticeEvent, RoomName};
    use crate::secure::{AccountKey, DeviceKey};

    fn line(seq: u64, len: usize) -> StoredLine {
        let line = Line {
            seq,
            stored_at_ms: 1000 + seq,
            account: AccountKey([1; 32]),
            device: DeviceKey([2; 32]),
            name: Name::new("ada").unwrap(),
            author: 1,
            n: seq,
            typed_at_ms: 1000,
            kind: Kind::Message,
            body: vec![b'x'; len].into(),
        };
        StoredLine {
            line,
            previous_stored_at_ms: 999 + seq,
        }
    }

    /// PRS-2: a notice stands after the lines before it.
    #[test]
    fn notices_keep_their_place_among_the_lines() {
        let mut feed = Feed::new(4);
        let notice = |event, number, after_seq| PresenceRow {
            room: RoomName::default(),
            author: Author::from(&line(5, 1).line),
            event,
            number,
            after_seq,
        };
        feed.push_line(&line(5, 1), None);
        feed.push_notice(&notice(NoticeEvent::Joined, 8, 5), None);
        feed.push_line(&line(6, 1), None);
        feed.push_notice(&notice(NoticeEvent::Left, 9, 6), None);
        let seqs: Vec<_> = (0..4).map(|i| feed.get(i).unwrap().unwrap().seq).collect();
        assert_eq!(seqs, [5, 6, 6, 7]);
        assert_eq!(
            (feed.index_of(5), feed.index_of(6), feed.index_of(7)),
            (0, 1, 3)
        );
        assert!(feed.get(4).unwrap().is_none());
    }

    #[test]
    fn what_a_room_has_of_an_author_shares_one_introduction() {
        let mut feed = Feed::new(0);
        feed.push_line(&line(1, 1), None);
        let known = feed.last_author().cloned();
        let mut of_another = line(2, 1);
        of_another.line.author = 2;
        feed.push_line(&of_another, known.as_ref());
        feed.push_line(&line(3, 1), known.as_ref());
        feed.push_line(&line(4, 1), None);
        let author = |index| &feed.get(index).unwrap().unwrap().author;
        assert_eq!(author(1).number(), 2);
        assert!(Arc::ptr_eq(author(0), author(2)) && Arc::ptr_eq(author(0), author(3)));
    }

    /// LIM-5, BRK-2.
    #[test]
    fn the_feed_is_bounded_and_says_what_it_has_lost() {
        let mut feed = Feed::new(0);
        for seq in 1..=2 * RECENT_LINES_MAX as u64 {
            feed.push_line(&line(seq, 10), None);
        }
        assert!(!feed.covers(RECENT_LINES_MAX as u64));
        assert!(feed.covers(RECENT_LINES_MAX as u64 + 1));
        assert_eq!(feed.get(0).unwrap_err(), Gone);
        for seq in 1..=200 {
            feed.push_line(&line(2 * RECENT_LINES_MAX as u64 + seq, 16_000), None);
        }
        assert!(feed.bytes <= RECENT_BYTES_MAX);
        assert!(feed.items.len() < 80);
    }

    /// DLV-3, BRK-5: a store that skips a line cannot make the feed show a hole.
    #[test]
    fn after_a_skipped_line_the_feed_covers_only_what_follows() {
        let mut feed = Feed::new(0);
        feed.push_line(&line(1, 1), None);
        feed.push_line(&line(3, 1), None);
        assert!(!feed.covers(2));
        assert!(feed.covers(3));
        assert_eq!(feed.get(0).unwrap_err(), Gone);
    }
}

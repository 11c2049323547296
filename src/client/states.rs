//! What a node says and asks about a room's lines besides sending them: how far it has come, how
//! far its own lines have come, and what was said earlier (SPEC.md sections 9.5 and 9.6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::room::Room;
use super::{Client, ClientEvent};
use crate::bug;
use crate::chat::{PastLine, RoomFromNode, RoomName, Stretch};
use crate::link::Link;
use crate::time::Timestamp;

/// The least time between two reports of a room (STA-2).
pub const CURSOR_INTERVAL: Duration = Duration::from_secs(1);
/// The most of a room's lines that are watched (LIM-11).
const WATCHES_MAX: usize = crate::broker::WATCHES_MAX;
/// The most pages that are asked for at a time (HST-2).
const PAGES_WAITING_MAX: usize = crate::broker::PAGES_WAITING_MAX;

/// Reporting what is journaled (STA-1, STA-2).
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// These lines are journaled: all since the node entered.
    journaled: Stretch,
    /// Up to which line was reported on this link.
    reported: u64,
    not_before: Timestamp,
}

impl From<Stretch> for Reports {
    /// So much is journaled, from before.
    fn from(journaled: Stretch) -> Self {
        Self {
            journaled,
            ..Self::default()
        }
    }
}

impl Reports {
    /// Line `seq` is journaled. One that does not come next is of a stretch before this one.
    pub(super) const fn on_journaled(&mut self, seq: u64) {
        if seq == self.journaled.to + 1 {
            self.journaled.to = seq;
        }
    }

    /// The link is gone, and maybe a report with it.
    pub(super) const fn on_link_lost(&mut self) {
        self.reported = 0;
    }

    /// The link did not take the report: it is made again in its time.
    pub(super) const fn put_off(&mut self) {
        self.reported = 0;
    }

    /// When something is to be reported.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let is_news = !self.journaled.is_empty() && self.journaled.to > self.reported;
        is_news.then_some(self.not_before)
    }

    /// The report that is due now.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<RoomFromNode> {
        self.due().filter(|at| *at <= now)?;
        self.reported = self.journaled.to;
        self.not_before = now + CURSOR_INTERVAL;
        Some(RoomFromNode::Cursor(self.journaled))
    }
}

/// One's own lines that are watched (STA-3).
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Publications to be watched once they are stored.
    wanted: BTreeSet<u64>,
    /// By line: the publication, and whether the broker was asked on this link.
    lines: BTreeMap<u64, (u64, bool)>,
}

impl Watches {
    /// Returns which publication makes place for it, if one has to.
    pub(super) fn want(&mut self, handle: u64) -> Option<u64> {
        self.wanted.insert(handle);
        let is_full = self.wanted.len() > WATCHES_MAX;
        is_full.then(|| self.wanted.pop_first()).flatten()
    }

    /// The publication has its outcome: it is this line, or none. Returns which one makes place.
    pub(super) fn on_settled(&mut self, handle: u64, seq: Option<u64>) -> Option<u64> {
        let is_wanted = self.wanted.remove(&handle);
        seq.filter(|_| is_wanted)
            .and_then(|seq| self.watch(seq, handle))
    }

    fn watch(&mut self, seq: u64, handle: u64) -> Option<u64> {
        self.lines.insert(seq, (handle, false));
        let is_full = self.lines.len() > WATCHES_MAX;
        let oldest = is_full.then(|| self.lines.pop_first()).flatten();
        oldest.map(|(_, (handle, _))| handle)
    }

    /// The link is gone: what was asked on it is to be asked again.
    pub(super) fn on_link_lost(&mut self) {
        for (_, asked) in self.lines.values_mut() {
            *asked = false;
        }
    }

    pub(super) fn next_to_ask(&self) -> Option<RoomFromNode> {
        let mut lines = self.lines.iter();
        let seq = lines.find_map(|(seq, (_, asked))| (!asked).then_some(*seq))?;
        Some(RoomFromNode::Watch { seq })
    }

    pub(super) fn note_asked(&mut self, seq: u64) {
        if let Some((_, asked)) = self.lines.get_mut(&seq) {
            *asked = true;
        }
    }

    /// The broker has told of line `seq`; `all` have it. Returns which publication it is.
    pub(super) fn on_delivered(&mut self, seq: u64, all: bool) -> Option<u64> {
        let (handle, _) = self.lines.get(&seq).copied()?;
        if all {
            self.lines.remove(&seq);
        }
        Some(handle)
    }
}

/// Who asks for earlier lines, and so gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The node itself.
    Node,
    /// A program beside it (JRN-13).
    Other,
}

/// The pages of earlier lines that were asked for (HST-2).
#[derive(Debug, Default)]
pub(super) struct Pages(VecDeque<Page>);

#[derive(Debug)]
struct Page {
    before: u64,
    count: u64,
    asker: Asker,
    asked: bool,
    /// The last line that was handed over.
    last: u64,
    told: u64,
    /// The last line that came on this link.
    came: u64,
}

impl Pages {
    /// Asks for `count` lines before line `before`. Returns `false` if too much is asked already.
    pub(super) fn ask(&mut self, before: u64, count: u64, asker: Asker) -> bool {
        let has_space = self.0.len() < PAGES_WAITING_MAX;
        if has_space {
            self.0.push_back(Page {
                before,
                count,
                asker,
                asked: false,
                last: 0,
                told: 0,
                came: 0,
            });
        }
        has_space
    }

    /// The link is gone: what was not told to its end is asked again (HST-3).
    pub(super) fn on_link_lost(&mut self) {
        for page in &mut self.0 {
            page.asked = false;
            page.came = 0;
        }
    }

    pub(super) fn next_to_ask(&mut self) -> Option<RoomFromNode> {
        let page = self.0.iter().find(|page| !page.asked)?;
        let (before, count) = (page.before, page.count);
        Some(RoomFromNode::History { before, count })
    }

    pub(super) fn note_asked(&mut self) {
        if let Some(page) = self.0.iter_mut().find(|page| !page.asked) {
            page.asked = true;
        }
    }

    /// Takes a line: whether it is news (HST-1, HST-4).
    pub(super) fn on_past(&mut self, line: &PastLine) -> Result<bool, &'static str> {
        let page = self.0.front_mut().filter(|page| page.asked);
        let page = page.ok_or("an earlier line that was not asked for")?;
        // The first one is near enough for no more to come than were asked for.
        let follows = match page.came {
            0 => line.seq > 0 && line.seq.saturating_add(page.count) >= page.before,
            came => line.seq == came + 1,
        };
        if (!follows || line.seq >= page.before) && !bug!(EndlessPages) {
            return Err("an earlier line out of turn");
        }
        page.came = line.seq;
        let is_news = line.seq > page.last;
        if is_news {
            page.last = line.seq;
            page.told += 1;
        }
        Ok(is_news)
    }

    /// For whom the lines are that come now.
    pub(super) fn asker(&self) -> Asker {
        self.0.front().map_or(Asker::Node, |page| page.asker)
    }

    /// The page is told to its end: how many lines it had (HST-4).
    pub(super) fn on_end(&mut self) -> Result<u64, &'static str> {
        let asked = self.0.front().is_some_and(|page| page.asked);
        let page = asked.then(|| self.0.pop_front()).flatten();
        let page = page.ok_or("the end of a page that was not asked for")?;
        if page.came > 0 && page.came + 1 != page.before && !bug!(EndlessPages) {
            return Err("a page that ends early");
        }
        Ok(page.told)
    }

    /// Gives up what was asked. Returns how many lines each page had so far, and for whom.
    pub(super) fn clear(&mut self) -> Vec<(u64, Asker)> {
        let pages = core::mem::take(&mut self.0).into_iter();
        pages.map(|page| (page.told, page.asker)).collect()
    }
}

impl Client {
    /// Has line `seq` of `room` watched, which is one's own and was stored before: as
    /// [`watch`](Self::watch) has a publication that waits. Returns the handle under which
    /// [`ClientEvent::Delivered`] tells; `None`, having done
    /// nothing, if the client is not in the room.
    pub fn watch_line(&mut self, room: &RoomName, seq: u64, now: Timestamp) -> Option<u64> {
        let seat = self.rooms.get_mut(room)?;
        let handle = self.next_handle;
        self.next_handle += 1;
        let oldest = seat.watches.watch(seq, handle);
        self.tell_unwatched(room, oldest);
        self.go_on(now);
        Some(handle)
    }

    /// LIM-11: what made place is told no further, and that is told.
    pub(super) fn tell_unwatched(&mut self, room: &RoomName, handle: Option<u64>) {
        let room = room.clone();
        let event = handle.map(|handle| ClientEvent::Unwatched { handle, room });
        self.events.extend(event);
    }
}

/// Reports what is journaled, and asks what is to be asked (STA-2, STA-3, HST-2).
pub(super) fn say_the_rest(link: &mut Link, room: &mut Room, now: Timestamp) {
    let Some(channel) = room.channel() else {
        return;
    };
    // What does not fit now is said after the next input.
    let mut say = |message: &RoomFromNode| {
        let message = message.encode();
        link.can_send(channel, message.len()) && link.send(channel, message, now).is_ok()
    };
    while let Some(message @ RoomFromNode::Watch { seq }) = room.watches.next_to_ask() {
        if !say(&message) {
            return;
        }
        room.watches.note_asked(seq);
    }
    while let Some(message) = room.pages.next_to_ask() {
        if !say(&message) {
            return;
        }
        room.pages.note_asked();
    }
    if let Some(message) = room.reports.take_due(now)
        && !say(&message)
    {
        room.reports.put_off();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::chat::Kind;

    fn past(seq: u64) -> PastLine {
        PastLine {
            seq,
            author: 1,
            n: 1,
            kind: Kind::Message,
            stored_at_ms: 0,
            typed_at_ms: 0,
            body: Bytes::new(),
        }
    }

    /// STA-2.
    #[test]
    fn a_report_is_made_at_once_and_then_once_a_second() {
        let mut reports = Reports::from(Stretch::starting_after(2));
        let at = Timestamp::from_millis;
        assert_eq!((reports.due(), reports.take_due(at(5_000))), (None, None));
        reports.on_journaled(3);
        let report = |to| Some(RoomFromNode::Cursor(Stretch { after: 2, to }));
        assert_eq!(reports.take_due(at(5_000)), report(3));
        (4..=9).for_each(|seq| reports.on_journaled(seq));
        assert_eq!(reports.take_due(at(5_999)), None);
        assert_eq!(reports.due(), Some(at(6_000)));
        assert_eq!(reports.take_due(at(6_000)), report(9));
        assert_eq!(reports.due(), None);
        reports.on_link_lost();
        assert_eq!(reports.take_due(at(7_000)), report(9));
    }

    /// LIM-11: whoever makes place is named, be it stored or not.
    #[test]
    fn the_oldest_watch_that_makes_place_is_named() {
        let mut watches = Watches::default();
        let most = WATCHES_MAX as u64;
        assert!((0..most).all(|handle| watches.want(handle).is_none()));
        assert_eq!(watches.want(most), Some(0));
        assert!((1..=most).all(|handle| watches.on_settled(handle, Some(handle)).is_none()));
        watches.want(most + 1);
        assert_eq!(watches.on_settled(most + 1, Some(most + 1)), Some(1));
    }

    /// HST-1, HST-4: a page that has a hole, goes too far, begins too early or ends too early is none.
    #[test]
    fn a_page_with_a_hole_is_not_taken() {
        let mut pages = Pages::default();
        assert!(pages.on_past(&past(3)).is_err(), "nobody asked");
        pages.ask(9, 5, Asker::Node);
        pages.note_asked();
        for too_early in 0..4 {
            assert!(pages.on_past(&past(too_early)).is_err(), "{too_early}");
        }
        assert_eq!(pages.on_past(&past(4)), Ok(true));
        assert_eq!(pages.on_past(&past(5)), Ok(true));
        for wrong in [0, 4, 5, 7, 9] {
            assert!(pages.on_past(&past(wrong)).is_err(), "{wrong}");
        }
        (6..9).for_each(|seq| assert_eq!(pages.on_past(&past(seq)), Ok(true)));
        assert_eq!(pages.on_end(), Ok(5));
        assert!(pages.on_end().is_err());
        pages.ask(9, 5, Asker::Node);
        pages.note_asked();
        assert_eq!(pages.on_past(&past(4)), Ok(true));
        assert!(pages.on_end().is_err(), "those after it are missing");
    }

    /// HST-3: after an outage a page goes on where it was.
    #[test]
    fn a_page_that_was_cut_off_is_asked_again_and_repeats_nothing() {
        let mut pages = Pages::default();
        pages.ask(9, 5, Asker::Node);
        pages.note_asked();
        assert_eq!(pages.on_past(&past(4)), Ok(true));
        pages.on_link_lost();
        assert!(pages.next_to_ask().is_some());
        pages.note_asked();
        assert_eq!(pages.on_past(&past(4)), Ok(false));
        (5..9).for_each(|seq| assert_eq!(pages.on_past(&past(seq)), Ok(true)));
        assert_eq!(pages.on_end(), Ok(5));
    }
}

//! One room as a node knows it: where it is in the log, and what waits to be stored.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::states::{Pages, Reports, Watches};
use crate::bug;
use crate::chat::{
    Join, Joined, Kind, LastPublication, Line, LineBase, LogId, Name, PastLine, Publication,
    Resume, ResumeOutcome, RoomFromNode, RoomId, RoomName, Start, WireLine,
};
use crate::client::journal::{JournalEntry, RoomState};
use crate::secure::{AccountKey, DeviceKey};
use crate::time::Timestamp;

/// The most publications that wait in a room's outbox (LIM-6, PUB-8).
pub const OUTBOX_MAX: usize = 10_000;
/// The most publications of a room that are sent and not answered (LIM-6, PUB-8).
pub const PUBLISH_WINDOW: usize = 64;
/// The most authors that a broker may introduce in a room.
const AUTHORS_MAX: usize = 65_536;

/// How to be in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinOptions {
    /// Which one.
    pub room: RoomName,
    /// How many lines from before are wanted.
    pub history: u64,
    /// Whether to be there without being present: no Joined, no Left, not listed (RUM-14).
    pub quiet: bool,
    /// The line to begin at, instead of `history` lines before the last one (RUM-15).
    pub from: Option<u64>,
}

impl From<RoomName> for JoinOptions {
    /// To be present, and to get what follows.
    fn from(room: RoomName) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }
}

/// A room that the client wants to be in.
pub(super) struct Room {
    pub(super) name: RoomName,
    pub(super) options: JoinOptions,
    pub(super) seat: Seat,
    /// Where the client is in which history; `None` before the first JOINED.
    cursor: Option<(LogId, LineBase)>,
    /// The last notice seen (PRS-3).
    presence: u64,
    outbox: VecDeque<Waiting>,
    /// What was sent on this link and is not answered, in the order of sending (PUB-8).
    unanswered: VecDeque<Unanswered>,
    /// How often publications were put off or found a gap on this link. What was sent before that
    /// happened is answered in the same way, and this must not be taken for news.
    round: u64,
    /// Whether numbers follow those that the broker knows; until then they are provisional.
    is_numbered: bool,
    /// Until they do: what is asked for its outcome, because the broker knows its number.
    asking: Option<LastPublication>,
    /// How many requests to journal new numbers are under way: nothing is sent under them before.
    numbering: usize,
    /// The last number given to a publication.
    last_n: u64,
    /// The last publication whose outcome is known.
    confirmed: LastPublication,
    /// The newest line that is known to be one's own, and so must still be shown.
    own_seq: u64,
    /// Whether the room is to be left as soon as nothing waits (RUM-12).
    pub(super) leaving: bool,
    pub(super) reports: Reports,
    pub(super) watches: Watches,
    pub(super) pages: Pages,
    /// The first line that this client was sent, in the present history (HST-2).
    began: u64,
    /// Not before this are refused publications sent again.
    pub(super) retry_at: Option<Timestamp>,
}

/// How the room stands on the current link.
pub(super) enum Seat {
    /// Not asked for yet.
    Out,
    /// JOIN is on its way.
    Asked(u8),
    /// In, with those whom the broker has introduced.
    In(u8, BTreeMap<u64, Author>),
    /// In, and LEAVE is on its way.
    Leaving(BTreeMap<u64, Author>),
    /// The broker has said no.
    Refused,
}

/// Who an author number stands for on this channel (RUM-6).
pub(super) struct Author {
    account: AccountKey,
    device: DeviceKey,
    name: Name,
}

/// A publication in the outbox.
struct Waiting {
    handle: u64,
    publication: Publication,
    journaled: bool,
    sent: bool,
    /// The broker knows something else under its number (JRN-3).
    is_denied: bool,
}

/// What JOINED means for a node's journal and its device.
pub(super) struct Seated {
    /// What is to be journaled.
    pub(super) entry: Option<JournalEntry>,
    /// The broker knows publications of this device that the node does not (JRN-4).
    pub(super) is_outrun: bool,
}

/// A publication on its way to its answer.
struct Unanswered {
    n: u64,
    round: u64,
}

/// What the broker said of a publication that the outbox holds, or nothing if it holds it no more.
pub(super) type Settled = Option<u64>;

impl Room {
    /// A room as the journal knows it (JRN-1).
    pub(super) fn new(options: JoinOptions, state: RoomState) -> Self {
        let waiting = |(handle, publication)| Waiting {
            handle,
            publication,
            journaled: true,
            sent: false,
            is_denied: false,
        };
        Self {
            name: options.room.clone(),
            options,
            seat: Seat::Out,
            cursor: state.cursor,
            presence: state.presence,
            outbox: state.waiting.into_iter().map(waiting).collect(),
            unanswered: VecDeque::new(),
            round: 0,
            is_numbered: state.is_numbered,
            asking: None,
            numbering: 0,
            last_n: state.last_n,
            confirmed: state.confirmed,
            own_seq: 0,
            leaving: false,
            reports: Reports::from(state.cursor.map_or(0, |(_, base)| base.seq)),
            watches: Watches::default(),
            pages: Pages::default(),
            began: state.cursor.map_or(0, |(_, base)| base.seq + 1),
            retry_at: None,
        }
    }

    /// The channel on which the room is in.
    pub(super) const fn channel(&self) -> Option<u8> {
        match self.seat {
            Seat::In(channel, _) => Some(channel),
            Seat::Out | Seat::Asked(_) | Seat::Leaving(..) | Seat::Refused => None,
        }
    }

    /// Whether the broker was asked on this link to let the client in.
    pub(super) const fn is_asked_for(&self) -> bool {
        !matches!(self.seat, Seat::Out | Seat::Refused)
    }

    pub(super) fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Whether nothing waits, and every own line that was stored has been received.
    pub(super) fn is_settled(&self) -> bool {
        let received = self.cursor.map_or(0, |(_, base)| base.seq);
        self.outbox.is_empty() && (received >= self.own_seq || matches!(self.seat, Seat::Refused))
    }

    /// LEAVE has been sent: nothing more is said on the channel.
    pub(super) fn on_leave_sent(&mut self) {
        self.seat = match core::mem::replace(&mut self.seat, Seat::Out) {
            Seat::In(_, authors) => Seat::Leaving(authors),
            other => other,
        };
    }

    // ---- the link

    /// The link is gone: everything that waits is to be sent again (PUB-6).
    pub(super) fn on_link_lost(&mut self) {
        if !matches!(self.seat, Seat::Refused) {
            self.seat = Seat::Out;
        }
        self.unsend_after(0);
        for waiting in &mut self.outbox {
            waiting.is_denied = false;
        }
        self.unanswered.clear();
        self.asking = None;
        self.retry_at = None;
        self.reports.on_link_lost();
        self.watches.on_link_lost();
        self.pages.on_link_lost();
    }

    pub(super) fn join_message(&self) -> Bytes {
        let from = self.options.from.map_or(Start::Tail, Start::Line);
        let resume = |(log, base)| Start::After(Resume { log, base });
        RoomFromNode::Join(Join {
            room: self.name.as_str().to_owned(),
            quiet: self.options.quiet,
            history: self.options.history,
            presence: self.presence,
            start: self.cursor.map_or(from, resume),
        })
        .encode()
    }

    /// Takes JOINED.
    pub(super) fn on_joined(&mut self, channel: u8, joined: &Joined) -> Seated {
        self.seat = Seat::In(channel, BTreeMap::new());
        let is_fork = joined.resume == ResumeOutcome::Fork;
        if self.cursor.is_none() || is_fork {
            self.own_seq = 0;
            self.presence = 0;
        }
        let entry = (joined.resume != ResumeOutcome::Resumed).then(|| {
            self.cursor = Some((joined.log, joined.base));
            self.began = joined.base.seq + 1;
            JournalEntry::Entered {
                room: self.name.clone(),
                log: joined.log,
                place: joined.base,
                is_fork,
            }
        });
        if is_fork {
            self.reports = Reports::default();
            self.watches = Watches::default();
        }
        let last = joined.last;
        // JRN-3: a broker that has lost what it confirmed was restored from an older state.
        if is_fork || last.n < self.confirmed.n {
            self.is_numbered = false;
        }
        let is_outrun = self.is_numbered && self.is_outrun_by(&last);
        self.asking = (!self.is_numbered || is_outrun).then_some(last);
        Seated { entry, is_outrun }
    }

    /// Whether the broker knows a publication of this device that this node never made (JRN-4).
    fn is_outrun_by(&self, last: &LastPublication) -> bool {
        let own = if last.n == self.confirmed.n {
            Some(self.confirmed.digest)
        } else {
            let same = self.outbox.iter().find(|w| w.publication.n == last.n);
            same.map(|waiting| waiting.publication.digest())
        };
        let is_other = own.is_some_and(|digest| digest != last.digest);
        (last.n > self.last_n || is_other) && !bug!(KeepDevice)
    }

    /// JRN-3: once everything that the broker may know has its outcome, what is left gets the
    /// numbers that follow (PUB-7). Returns what is to be journaled before any of it is sent.
    pub(super) fn number_if_answered(&mut self) -> Option<JournalEntry> {
        if self.is_numbered || self.channel().is_none() || !self.has_answers() {
            return None;
        }
        let last = self.asking.take()?;
        self.is_numbered = true;
        self.confirmed = last;
        self.last_n = last.n;
        for waiting in &mut self.outbox {
            self.last_n += 1;
            waiting.publication.n = self.last_n;
            waiting.sent = false;
            waiting.is_denied = false;
        }
        self.numbering += 1;
        let room = self.name.clone();
        Some(JournalEntry::Numbered { room, last })
    }

    /// Whether the broker has said of everything that it may know whether it does.
    fn has_answers(&self) -> bool {
        self.asking.is_some_and(|last| {
            let is_answered = |w: &Waiting| w.is_denied || w.publication.n > last.n;
            self.outbox.iter().all(is_answered)
        })
    }

    /// Whether the device can be given up as far as this room goes (JRN-4): nothing that waits can
    /// have been stored without the node's knowing.
    pub(super) fn is_done_with_device(&self) -> bool {
        match self.seat {
            _ if self.outbox.is_empty() => true,
            Seat::Refused => true,
            Seat::In(..) => self.is_numbered && self.has_answers(),
            Seat::Out | Seat::Asked(_) | Seat::Leaving(_) => false,
        }
    }

    // ---- the outbox

    /// Whether another publication fits.
    pub(super) fn has_space(&self) -> bool {
        self.outbox.len() < OUTBOX_MAX
    }

    /// Whether a publication waits under this handle.
    pub(super) fn has(&self, handle: u64) -> bool {
        self.outbox.iter().any(|waiting| waiting.handle == handle)
    }

    /// Puts something into the outbox, under the next number (PUB-1).
    pub(super) fn push(
        &mut self,
        handle: u64,
        typed_at_ms: u64,
        kind: Kind,
        body: Bytes,
    ) -> Publication {
        self.last_n += 1;
        let n = self.last_n;
        let publication = Publication {
            n,
            typed_at_ms,
            kind,
            body,
        };
        let waiting = Waiting {
            handle,
            publication: publication.clone(),
            journaled: false,
            sent: false,
            is_denied: false,
        };
        self.outbox.push_back(waiting);
        publication
    }

    /// The new numbers are journaled.
    pub(super) const fn on_numbers_journaled(&mut self) {
        self.numbering = self.numbering.saturating_sub(1);
    }

    pub(super) fn on_journaled(&mut self, handle: u64) {
        if let Some(waiting) = self
            .outbox
            .iter_mut()
            .find(|waiting| waiting.handle == handle)
        {
            waiting.journaled = true;
        }
    }

    /// The next publication to be sent, if the window allows one (PUB-8).
    pub(super) fn next_to_send(&self) -> Option<&Publication> {
        if self.retry_at.is_some() || self.unanswered.len() >= PUBLISH_WINDOW {
            return None;
        }
        let next = match &self.asking {
            Some(last) => self
                .outbox
                .iter()
                .filter(|waiting| waiting.publication.n <= last.n)
                .find(|waiting| !waiting.sent && !waiting.is_denied)?,
            None if !self.is_numbered || self.numbering > 0 => return None,
            None => self
                .outbox
                .iter()
                .take(PUBLISH_WINDOW)
                .find(|waiting| !waiting.sent)?,
        };
        next.journaled.then_some(&next.publication)
    }

    pub(super) fn mark_sent(&mut self, n: u64) {
        if let Some(waiting) = self.outbox.iter_mut().find(|w| w.publication.n == n) {
            waiting.sent = true;
            let round = self.round;
            self.unanswered.push_back(Unanswered { n, round });
        }
    }

    /// Whether the broker owes this room an answer (LIF-5).
    pub(super) fn is_expecting(&self) -> bool {
        matches!(self.seat, Seat::Asked(_)) || !self.unanswered.is_empty()
    }

    /// Publication `n` was answered, in whatever way.
    pub(super) fn on_answer(&mut self, n: u64) {
        let _round = self.take_unanswered(|sent| sent == n);
    }

    /// Publication `n` is to be sent again later (PUB-4). Returns whether that is news.
    pub(super) fn on_retry_later(&mut self, n: u64) -> bool {
        let round = self.take_unanswered(|sent| sent == n);
        self.begin_round(round, n.saturating_sub(1))
    }

    /// A publication came before its predecessors (PUB-2): after `last`, all are to be sent again.
    pub(super) fn on_gap(&mut self, last: u64) {
        let round = self.take_unanswered(|sent| sent > last.saturating_add(1));
        let _is_news = self.begin_round(round, last);
    }

    /// The round of the oldest unanswered publication whose number is `wanted`.
    fn take_unanswered(&mut self, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let index = self.unanswered.iter().position(|sent| wanted(sent.n))?;
        self.unanswered.remove(index).map(|sent| sent.round)
    }

    /// Has everything after `n` sent again, unless that was begun since `round`.
    fn begin_round(&mut self, round: Option<u64>, n: u64) -> bool {
        let is_news = round.is_none_or(|round| round == self.round);
        if is_news {
            self.round += 1;
            self.unsend_after(n);
        }
        is_news
    }

    /// Everything after `n` is to be sent again.
    fn unsend_after(&mut self, n: u64) {
        for waiting in self.outbox.iter_mut().filter(|w| w.publication.n > n) {
            waiting.sent = false;
        }
    }

    /// Publication `n` has an outcome: it leaves the outbox (NOD-2).
    pub(super) fn settle(&mut self, n: u64) -> Settled {
        let index = self.outbox.iter().position(|w| w.publication.n == n)?;
        let waiting = self.outbox.remove(index)?;
        if n > self.confirmed.n {
            let digest = waiting.publication.digest();
            self.confirmed = LastPublication { n, digest };
        }
        Some(waiting.handle)
    }

    /// Whether this line of the own device is what waits under its number, and not something that
    /// had the number before (JRN-3).
    pub(super) fn waits_for(&self, line: &Line) -> bool {
        let same = self.outbox.iter().find(|w| w.publication.n == line.n);
        same.is_some_and(|Waiting { publication, .. }| {
            publication.kind == line.kind
                && publication.typed_at_ms == line.typed_at_ms
                && publication.body == line.body
        })
    }

    /// The broker knows something else under the number `n` (JRN-3). Returns whether that tells
    /// that the device is used elsewhere too (JRN-4).
    pub(super) fn on_conflict(&mut self, n: u64) -> bool {
        let Some(waiting) = self.outbox.iter_mut().find(|w| w.publication.n == n) else {
            return false;
        };
        waiting.is_denied = true;
        if self.is_numbered && self.asking.is_none() {
            // What was sent behind it will be answered; nothing more is sent.
            let sent = self.outbox.iter().filter(|waiting| waiting.sent);
            let n = sent.map(|waiting| waiting.publication.n).max().unwrap_or(n);
            let digest = [0; 32];
            self.asking = Some(LastPublication { n, digest });
        }
        self.is_numbered && !bug!(KeepDevice)
    }

    /// One's own line `seq` is stored, and will be shown.
    pub(super) fn note_own(&mut self, seq: u64) {
        self.own_seq = self.own_seq.max(seq);
    }

    // ---- what the room says

    /// Takes an introduction (RUM-6).
    pub(super) fn introduce(
        &mut self,
        number: u64,
        account: AccountKey,
        device: DeviceKey,
        name: &str,
    ) -> Result<(), &'static str> {
        let (Seat::In(_, authors) | Seat::Leaving(authors)) = &mut self.seat else {
            return Err("an introduction before JOINED");
        };
        // The broker checked the name; should it not have, it must not reach a screen.
        let name = Name::new(name).map_err(|_| "an author without a valid name")?;
        if authors.len() >= AUTHORS_MAX {
            return Err("too many authors");
        }
        authors.insert(
            number,
            Author {
                account,
                device,
                name,
            },
        );
        Ok(())
    }

    pub(super) fn name_of(&self, number: u64) -> Option<Name> {
        let (Seat::In(_, authors) | Seat::Leaving(authors)) = &self.seat else {
            return None;
        };
        authors.get(&number).map(|author| author.name.clone())
    }

    /// Asks for `count` lines before line `before`, or before the first one that was sent if that
    /// is 0. Returns `false`, having asked nothing, if that cannot be asked now.
    pub(super) fn ask_page(&mut self, before: u64, count: u64) -> bool {
        let before = if before == 0 { self.began } else { before };
        self.cursor.is_some() && count > 0 && self.pages.ask(before, count)
    }

    /// Line `seq` of a history is journaled, and all before it that were sent (STA-1).
    pub(super) fn on_line_journaled(&mut self, log: LogId, seq: u64) {
        if self.cursor.is_some_and(|(present, _)| present == log) {
            self.reports.on_journaled(seq);
        }
    }

    /// Takes an earlier line that was asked for; `None` if it was handed over already (HST-3).
    pub(super) fn on_past(&mut self, past: PastLine) -> Result<Option<Line>, &'static str> {
        let (Seat::In(_, authors) | Seat::Leaving(authors)) = &self.seat else {
            return Err("an earlier line before JOINED");
        };
        let author = authors
            .get(&past.author)
            .ok_or("an author without introduction")?;
        let is_news = self.pages.on_past(&past)?;
        Ok(is_news.then(|| Line {
            seq: past.seq,
            stored_at_ms: past.stored_at_ms,
            account: author.account,
            device: author.device,
            name: author.name.clone(),
            author: past.author,
            n: past.n,
            typed_at_ms: past.typed_at_ms,
            kind: past.kind,
            body: past.body,
        }))
    }

    /// Takes the next line (RUM-8). Returns it with the cursor after it.
    pub(super) fn on_line(
        &mut self,
        wire: WireLine,
    ) -> Result<(Line, LogId, LineBase), &'static str> {
        let (Seat::In(_, authors) | Seat::Leaving(authors)) = &self.seat else {
            return Err("a line before JOINED");
        };
        let Some((log, base)) = &mut self.cursor else {
            return Err("a line before JOINED");
        };
        if wire.seq != base.seq + 1 {
            return Err("a line out of turn");
        }
        let author = authors
            .get(&wire.author)
            .ok_or("an author without introduction")?;
        let stored_at_ms = base.stored_at_ms.saturating_add(wire.since_previous_ms);
        let line = Line {
            seq: wire.seq,
            stored_at_ms,
            account: author.account,
            device: author.device,
            name: author.name.clone(),
            author: wire.author,
            n: wire.n,
            typed_at_ms: stored_at_ms.wrapping_add_signed(wire.typed_lag_ms.wrapping_neg()),
            kind: wire.kind,
            body: wire.body,
        };
        *base = line.base_after(RoomId::of(&self.name), base);
        Ok((line, *log, *base))
    }

    /// Takes a notice: whether it is news (PRS-3).
    pub(super) const fn on_notice(&mut self, presence: u64) -> bool {
        let is_new = presence > self.presence;
        if is_new {
            self.presence = presence;
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A room whose JOINED said that line 5 is next.
    fn joined() -> Room {
        let mut room = Room::new(JoinOptions::default(), RoomState::NEW);
        room.seat = Seat::Asked(1);
        room.on_joined(
            1,
            &Joined {
                log: LogId([1; 16]),
                room: RoomId::of(&room.name),
                resume: ResumeOutcome::Fresh,
                last: LastPublication::NONE,
                base: LineBase {
                    seq: 4,
                    stored_at_ms: 100,
                    hash: [0; 32],
                },
            },
        );
        room.introduce(1, AccountKey([1; 32]), DeviceKey([2; 32]), "ada")
            .unwrap();
        assert!(room.number_if_answered().is_some());
        room.on_numbers_journaled();
        room
    }

    fn line(seq: u64, author: u64) -> WireLine {
        WireLine {
            seq,
            author,
            n: 1,
            kind: Kind::Message,
            since_previous_ms: 7,
            typed_lag_ms: 3,
            body: Bytes::from_static(b"hi"),
        }
    }

    /// RUM-8, DLV-3.
    #[test]
    fn a_line_out_of_turn_is_not_taken() {
        let mut room = joined();
        for wrong in [4, 6, 0] {
            assert_eq!(
                room.on_line(line(wrong, 1)).unwrap_err(),
                "a line out of turn"
            );
        }
        let (taken, _, cursor) = room.on_line(line(5, 1)).unwrap();
        assert_eq!(
            (taken.stored_at_ms, taken.typed_at_ms, cursor.seq),
            (107, 104, 5)
        );
        assert_eq!(room.on_line(line(5, 1)).unwrap_err(), "a line out of turn");
    }

    /// RUM-6, SGN-3: nobody is shown without having been introduced by a proper name.
    #[test]
    fn a_line_of_a_stranger_is_not_taken() {
        let mut room = joined();
        assert_eq!(
            room.on_line(line(5, 2)).unwrap_err(),
            "an author without introduction"
        );
        let keys = (AccountKey([1; 32]), DeviceKey([2; 32]));
        assert!(room.introduce(2, keys.0, keys.1, "\x1b[31m").is_err());
    }

    /// PRS-3.
    #[test]
    fn a_notice_is_news_once() {
        let mut room = joined();
        assert!(room.on_notice(10));
        assert!(!room.on_notice(10));
        assert!(!room.on_notice(9));
        assert!(room.on_notice(11));
    }

    /// PUB-8.
    #[test]
    fn no_more_than_a_window_is_sent_unanswered() {
        let mut room = joined();
        for handle in 0..100 {
            room.push(handle, 0, Kind::Message, Bytes::from_static(b"x"));
            room.on_journaled(handle);
        }
        let mut sent = 0;
        while let Some(next) = room.next_to_send() {
            let n = next.n;
            room.mark_sent(n);
            sent += 1;
        }
        assert_eq!(sent, PUBLISH_WINDOW);
        // One's own line may be the first to tell; what frees the window is the answer.
        assert_eq!(room.settle(1), Some(0));
        assert_eq!(room.next_to_send(), None);
        room.on_answer(1);
        assert_eq!(
            room.next_to_send().map(|next| next.n),
            Some(PUBLISH_WINDOW as u64 + 1)
        );
    }

    /// PUB-8, PUB-2: what was sent before a repetition began is answered as it was sent, and that
    /// is no reason to begin another one.
    #[test]
    fn a_gap_behind_a_gap_does_not_repeat_the_window_again() {
        let mut room = joined();
        for handle in 0..10 {
            room.push(handle, 0, Kind::Message, Bytes::from_static(b"x"));
            room.on_journaled(handle);
        }
        let send_all = |room: &mut Room| {
            let mut sent = Vec::new();
            while let Some(next) = room.next_to_send() {
                let n = next.n;
                room.mark_sent(n);
                sent.push(n);
            }
            sent
        };
        assert_eq!(send_all(&mut room), (1..=10).collect::<Vec<u64>>());
        assert!(room.on_retry_later(1));
        assert_eq!(send_all(&mut room), (1..=10).collect::<Vec<u64>>());
        for _ in 2..=10 {
            room.on_gap(0);
            assert_eq!(send_all(&mut room), [0_u64; 0]);
        }
        // The repetition has a gap of its own: that one is news.
        room.on_answer(1);
        room.on_gap(1);
        assert_eq!(send_all(&mut room), (2..=10).collect::<Vec<u64>>());
    }
}

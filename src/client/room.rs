//! One room as a node knows it: where it is in the log, and what waits to be stored.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::outbox::Outbox;
use super::states::{Asker, Pages, Reports, Watches};
use crate::bug;
use crate::chat::{
    AUTHORS_MAX, CHAT_LINE_MAX, Join, Joined, Kind, Line, LineBase, LogId, Name, PastLine,
    Publication, Resume, ResumeOutcome, RoomFromNode, RoomId, RoomName, Start, Stretch, WireLine,
    check_body,
};
use crate::client::journal::{JournalEntry, RoomState};
use crate::secure::{AccountKey, DeviceKey};
use crate::time::Timestamp;

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
    /// What records call it; every line is hashed with it.
    id: RoomId,
    pub(super) options: JoinOptions,
    pub(super) seat: Seat,
    /// Where the client is in which history; `None` before the first JOINED.
    cursor: Option<(LogId, LineBase)>,
    /// The last notice seen (PRS-3).
    presence: u64,
    pub(super) outbox: Outbox,
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

/// What JOINED means for a node's journal and its device.
pub(super) struct Seated {
    /// What is to be journaled.
    pub(super) entry: Option<JournalEntry>,
    /// The broker knows publications of this device that the node does not (JRN-4).
    pub(super) is_outrun: bool,
    /// The node goes on with this line, and gets none between its last one and that (RUM-17).
    pub(super) skipped_to: Option<u64>,
}

impl Room {
    /// A room as the journal knows it (JRN-1).
    pub(super) fn new(options: JoinOptions, state: RoomState) -> Self {
        Self {
            id: RoomId::of(&options.room),
            name: options.room.clone(),
            options,
            seat: Seat::Out,
            cursor: state.cursor,
            presence: state.presence,
            own_seq: 0,
            leaving: false,
            reports: Reports::from(state.journaled()),
            watches: Watches::default(),
            pages: Pages::default(),
            began: state.cursor.map_or(0, |(_, base)| base.seq + 1),
            retry_at: None,
            outbox: Outbox::from(state),
        }
    }

    /// The channel on which the room is in.
    pub(super) const fn channel(&self) -> Option<u8> {
        match self.seat {
            Seat::In(channel, _) => Some(channel),
            Seat::Out | Seat::Asked(_) | Seat::Leaving(..) | Seat::Refused => None,
        }
    }

    /// How many people are known to be in the room: those whom the broker has introduced on this
    /// link. There may be more (LAD-4).
    pub(super) fn people_known(&self) -> usize {
        match &self.seat {
            Seat::In(_, introduced) | Seat::Leaving(introduced) => introduced.len(),
            Seat::Out | Seat::Asked(_) | Seat::Refused => 0,
        }
    }

    /// Whether a JOIN on this channel waits for its answer.
    pub(super) fn is_asked_on(&self, channel: u8) -> bool {
        matches!(self.seat, Seat::Asked(asked) if asked == channel)
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
        self.outbox.on_link_lost();
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
    pub(super) fn on_joined(
        &mut self,
        channel: u8,
        joined: &Joined,
    ) -> Result<Seated, &'static str> {
        let skipped_to = self.check_place(joined)?;
        self.seat = Seat::In(channel, BTreeMap::new());
        let is_fork = joined.resume == ResumeOutcome::Fork;
        if self.cursor.is_none() || is_fork {
            self.own_seq = 0;
            self.presence = 0;
        }
        let entry = (joined.resume != ResumeOutcome::Resumed).then(|| {
            self.cursor = Some((joined.log, joined.base));
            self.began = joined.base.seq + 1;
            // What it had before lies behind a hole, or is of another history.
            self.reports = Reports::from(Stretch::starting_after(joined.base.seq));
            JournalEntry::Entered {
                room: self.name.clone(),
                log: joined.log,
                place: joined.base,
                is_fork,
            }
        });
        if is_fork {
            self.watches = Watches::default();
        }
        let is_outrun = self.outbox.on_joined(joined.last, is_fork);
        Ok(Seated {
            entry,
            is_outrun,
            skipped_to,
        })
    }

    /// RUM-17: only a fork, which the reader is told of, leads elsewhere than on. Returns the line
    /// with which it goes on, if those before it are left out.
    fn check_place(&self, joined: &Joined) -> Result<Option<u64>, &'static str> {
        let Joined { log, base, .. } = *joined;
        match (joined.resume, self.cursor) {
            _ if bug!(AnyPlace) => Ok(None),
            (ResumeOutcome::Fork, _) | (ResumeOutcome::Fresh, None) => Ok(None),
            (ResumeOutcome::Resumed, Some(cursor)) if cursor == (log, base) => Ok(None),
            (ResumeOutcome::Resumed, _) => Err("JOINED that resumes elsewhere"),
            (ResumeOutcome::Fresh, Some((of, cursor))) => {
                let goes_on = of == log && base.seq >= cursor.seq;
                let skips = base.seq > cursor.seq;
                let first = skips.then_some(base.seq + 1);
                goes_on.then_some(first).ok_or("JOINED that goes back")
            }
        }
    }

    /// JRN-3: once everything that the broker may know has its outcome, what is left gets the
    /// numbers that follow (PUB-7). Returns what is to be journaled before any of it is sent.
    pub(super) fn number_if_answered(&mut self) -> Option<JournalEntry> {
        self.channel()?;
        let last = self.outbox.number_if_answered()?;
        let room = self.name.clone();
        Some(JournalEntry::Numbered { room, last })
    }

    /// Whether the device can be given up as far as this room goes (JRN-4): nothing that waits can
    /// have been stored without the node's knowing.
    pub(super) fn is_done_with_device(&self) -> bool {
        match self.seat {
            _ if self.outbox.is_empty() => true,
            Seat::Refused => true,
            Seat::In(..) => self.outbox.is_done_with_device(),
            Seat::Out | Seat::Asked(_) | Seat::Leaving(_) => false,
        }
    }

    // ---- the outbox

    /// The next publication to be sent, if nothing is put off and the window allows one (PUB-8).
    pub(super) fn next_to_send(&self) -> Option<&Publication> {
        match self.retry_at {
            Some(_) => None,
            None => self.outbox.next_to_send(),
        }
    }

    /// Whether the broker owes this room an answer (LIF-5).
    pub(super) fn is_expecting(&self) -> bool {
        matches!(self.seat, Seat::Asked(_)) || self.outbox.is_expecting()
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
        let name = Name::of_author(name, &account).map_err(|_| "an author without a valid name")?;
        // LIM-17
        if authors.len() >= AUTHORS_MAX && !authors.contains_key(&number) {
            return Err("too many authors");
        }
        let before = authors.get(&number);
        if before.is_some_and(|author| (author.account, author.device) != (account, device)) {
            return Err("an author's number that is another's");
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
    /// is 0 or later: a page that is cut off means the same on the next link (HST-1). Returns
    /// `false`, having asked nothing, if that cannot be asked now.
    pub(super) fn ask_page(&mut self, before: u64, count: u64, asker: Asker) -> bool {
        let before = match before {
            0 => self.began,
            before => before.min(self.began),
        };
        self.cursor.is_some() && count > 0 && self.pages.ask(before, count, asker)
    }

    /// Line `seq` of a history is journaled (STA-1).
    pub(super) fn on_line_journaled(&mut self, log: LogId, seq: u64) {
        if self.cursor.is_some_and(|(present, _)| present == log) {
            self.reports.on_journaled(seq);
        }
    }

    /// Takes an earlier line that was asked for; `None` if it was handed over already (HST-3).
    pub(super) fn on_past(
        &mut self,
        past: PastLine,
    ) -> Result<Option<(LogId, Line)>, &'static str> {
        let (Seat::In(_, authors) | Seat::Leaving(authors), Some((log, _))) =
            (&self.seat, self.cursor)
        else {
            return Err("an earlier line before JOINED");
        };
        let author = authors
            .get(&past.author)
            .ok_or("an author without introduction")?;
        check_line(past.kind, &past.body)?;
        let is_news = self.pages.on_past(&past)?;
        let line = Line {
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
        };
        Ok(is_news.then_some((log, line)))
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
        if wire.seq != base.seq + 1 && !bug!(NoTurnCheck) {
            return Err("a line out of turn");
        }
        check_line(wire.kind, &wire.body)?;
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
        *base = line.base_after(self.id, base);
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

/// RUM-18: what no store takes is no line.
fn check_line(kind: Kind, body: &[u8]) -> Result<(), &'static str> {
    let is_line = match kind {
        Kind::Message => check_body(body).is_ok(),
        _ => body.len() <= CHAT_LINE_MAX,
    };
    is_line.then_some(()).ok_or("a line that is none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::LastPublication;

    /// A room whose JOINED said that line 5 is next.
    fn room_at_line_4() -> Room {
        let mut room = Room::new(JoinOptions::default(), RoomState::NEW);
        room.seat = Seat::Asked(1);
        room.on_joined(
            1,
            &Joined {
                log: LogId([1; 16]),
                room: room.id,
                resume: ResumeOutcome::Fresh,
                last: LastPublication::NONE,
                base: LineBase {
                    seq: 4,
                    stored_at_ms: 100,
                    hash: [0; 32],
                },
            },
        )
        .unwrap();
        room.introduce(1, AccountKey([1; 32]), DeviceKey([2; 32]), "ada")
            .unwrap();
        assert!(room.number_if_answered().is_some());
        room.outbox.on_numbers_journaled();
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
        let mut room = room_at_line_4();
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

    /// STA-1: a report names what came since the node came in, and never what it had before a hole.
    #[test]
    fn a_report_says_nothing_of_what_lies_before_a_hole() {
        let mut room = room_at_line_4();
        let log = LogId([1; 16]);
        let report = |room: &mut Room| room.reports.take_due(Timestamp::from_millis(60_000));
        (5..=7).for_each(|seq| room.on_line_journaled(log, seq));
        let lines = Stretch { after: 4, to: 7 };
        assert_eq!(report(&mut room), Some(RoomFromNode::Cursor(lines)));

        room.on_link_lost();
        let base = LineBase {
            seq: 12,
            stored_at_ms: 200,
            hash: [1; 32],
        };
        room.on_joined(
            2,
            &Joined {
                log,
                room: room.id,
                resume: ResumeOutcome::Fresh,
                last: LastPublication::NONE,
                base,
            },
        )
        .unwrap();
        // What was under way to the journal before comes to its end there.
        room.on_line_journaled(log, 8);
        assert_eq!(report(&mut room), None);
        room.on_line_journaled(log, 13);
        room.reports.on_link_lost();
        let due = room.reports.due().unwrap();
        let lines = Stretch { after: 12, to: 13 };
        assert_eq!(
            room.reports.take_due(due),
            Some(RoomFromNode::Cursor(lines))
        );
    }

    /// RUM-17, PUB-2: whatever else JOINED may say, it leads neither back nor, in secret, elsewhere.
    #[test]
    fn a_broker_leads_a_node_back_or_elsewhere_only_by_a_fork() {
        let place = |log, resume, seq| Joined {
            log: LogId([log; 16]),
            room: RoomId([0; 16]),
            resume,
            last: LastPublication::NONE,
            base: LineBase {
                seq,
                stored_at_ms: 100,
                hash: [0; 32],
            },
        };
        let skipped = |joined: Joined| {
            let mut room = room_at_line_4();
            room.on_link_lost();
            let seated = room.on_joined(2, &joined);
            seated.map(|seated| seated.skipped_to)
        };
        assert_eq!(skipped(place(1, ResumeOutcome::Resumed, 4)), Ok(None));
        assert_eq!(skipped(place(9, ResumeOutcome::Fork, 0)), Ok(None));
        assert_eq!(skipped(place(1, ResumeOutcome::Fresh, 4)), Ok(None));
        assert_eq!(skipped(place(1, ResumeOutcome::Fresh, 9)), Ok(Some(10)));
        for wrong in [
            place(1, ResumeOutcome::Resumed, 5),
            place(9, ResumeOutcome::Resumed, 4),
            place(1, ResumeOutcome::Fresh, 3),
            place(9, ResumeOutcome::Fresh, 9),
        ] {
            assert!(skipped(wrong).is_err(), "{wrong:?}");
        }
    }

    /// RUM-18: what could not have been stored is not shown.
    #[test]
    fn a_line_that_is_none_is_not_taken() {
        for body in [
            vec![b'x'; CHAT_LINE_MAX + 1],
            vec![],
            vec![b'\n'],
            vec![0xff],
        ] {
            let mut wire = line(5, 1);
            wire.body = body.into();
            assert_eq!(room_at_line_4().on_line(wire), Err("a line that is none"));
        }
    }

    /// RUM-6: a number stands for one author as long as the channel lasts.
    #[test]
    fn an_authors_number_is_not_given_to_another() {
        let mut room = room_at_line_4();
        let (account, device) = (AccountKey([1; 32]), DeviceKey([2; 32]));
        assert_eq!(room.introduce(1, account, device, "ada"), Ok(()));
        assert!(
            room.introduce(1, account, DeviceKey([3; 32]), "ada")
                .is_err()
        );
    }

    /// RUM-6, SGN-3: nobody is shown without having been introduced by a proper name.
    #[test]
    fn a_line_of_a_stranger_is_not_taken() {
        let mut room = room_at_line_4();
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
        let mut room = room_at_line_4();
        assert!(room.on_notice(10));
        assert!(!room.on_notice(10));
        assert!(!room.on_notice(9));
        assert!(room.on_notice(11));
    }

    /// LIM-17: who tells of more authors than that breaks a rule; one that is known may be told again.
    #[test]
    fn so_many_authors_are_introduced_and_no_more() {
        let mut room = room_at_line_4();
        let mut introduce = |number: u64| {
            let mut device = [3; 32];
            device[..8].copy_from_slice(&number.to_be_bytes());
            room.introduce(number, AccountKey([1; 32]), DeviceKey(device), "ada")
        };
        for number in 2..=AUTHORS_MAX as u64 {
            introduce(number).unwrap();
        }
        assert_eq!(introduce(1 << 20), Err("too many authors"));
        introduce(2).unwrap();
        assert_eq!(room.people_known(), AUTHORS_MAX);
    }
}

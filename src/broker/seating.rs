//! Sessions and their seats in rooms: what nodes ask for, what the store answers, and what the
//! links are given to send (SPEC.md sections 9 and 10).

use std::time::Duration;

use bytes::Bytes;

use super::budget::Payer;
use super::feed::Feed;
use super::history::read_page_again;
use super::holding::MemoryWait;
use super::moderation::muted;
use super::roll::Told;
use super::room::{Parting, Room};
use super::session::{Cursor, Pace, Place, Seat, SeatStage, Stage};
use super::storage::{Entered, StorageOp, StorageOutcome};
use super::{Again, Broker, Counters, LinkId, Pending, ROOMS_MAX};
use crate::bug;
use crate::chat::{
    Budget, ControlFromNode, Decision, HistoryPolicy, Join, Joined, Kind, Publication, Recorded,
    Refusal, ResumeOutcome, RoomFromBroker, RoomFromNode, RoomId, RoomName, check_body,
};
use crate::link::{CloseCode, LinkEvent};
use crate::time::Timestamp;

/// Publications of one seat that may be with the store at a time: a window's worth, and those of
/// a window before a GAP (PUB-8).
pub(super) const PUBLISHING_MAX: usize = 256;

/// How long after the store has failed the same is asked again: a store that fails fast must not
/// keep the broker busy (BRK-3, BRK-5).
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A rule that the node broke; its link is closed with these words (LIF-4).
pub(super) type Broken = &'static str;

impl Broker {
    /// After anything that a link may have made something of.
    pub(super) fn after_input(&mut self, id: LinkId, now: Timestamp) {
        while let Some(event) = self.sessions.get_mut(&id).and_then(|s| s.link.poll_event()) {
            match event {
                LinkEvent::Message { channel, data } => self.on_message(id, channel, &data, now),
                LinkEvent::Closed { by_peer, .. } => {
                    if let Some(session) = self.sessions.get_mut(&id) {
                        session.was_hung_up = by_peer;
                    }
                    self.end_session(id, false, now);
                }
                LinkEvent::CidRetired { cid } => {
                    crate::sometimes!(CidRetired);
                    self.on_cid_retired(id, cid);
                }
                // The one is a node's business, the other is told to nodes alone.
                LinkEvent::Silent | LinkEvent::Reset => {}
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.is_clogged() {
            session
                .link
                .close(CloseCode::Protocol, "answers are not taken", now);
            self.end_session(id, false, now);
        } else if session.is_full_of_authors() {
            let reason = "too many authors for one link";
            session.link.close(CloseCode::Overloaded, reason, now);
            self.end_session(id, false, now);
        }
        if self
            .sessions
            .get(&id)
            .is_some_and(|session| session.link.is_closed())
        {
            self.forget_link(id);
            return;
        }
        self.note_link(id);
        self.note_link_holds(id);
        self.mark_ready(id);
        self.reschedule(id);
    }

    fn on_message(&mut self, id: LinkId, channel: u8, data: &Bytes, now: Timestamp) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if matches!(session.stage, Stage::Ended) {
            return;
        }
        let handled = if channel == 0 {
            match ControlFromNode::decode(data) {
                Ok(message) => self.on_control(id, message, now),
                Err(_) => Err("malformed control message"),
            }
        } else if session.name().is_none() {
            Err("a room before signing in")
        } else {
            match RoomFromNode::decode(data) {
                Ok(RoomFromNode::Join(join)) => self.on_join(id, channel, join, now),
                Ok(RoomFromNode::Leave) => self.on_leave(id, channel, now),
                Ok(RoomFromNode::Cursor(lines)) => self.on_cursor(id, channel, lines, now),
                Ok(RoomFromNode::Watch { seq }) => self.on_watch(id, channel, seq, now),
                Ok(RoomFromNode::History { before, count }) => {
                    self.on_history(id, channel, before, count)
                }
                Ok(RoomFromNode::Who) => self.on_who(id, channel),
                Ok(RoomFromNode::Invite(wish)) => self.on_invite(id, channel, wish, now),
                Ok(RoomFromNode::Publish(publication)) => {
                    self.on_publish(id, channel, publication, now)
                }
                Err(_) => Err("malformed room message"),
            }
        };
        if let Err(broken) = handled
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.link.close(CloseCode::Protocol, broken, now);
            self.end_session(id, false, now);
        }
    }

    // ---- joining

    fn on_join(
        &mut self,
        id: LinkId,
        channel: u8,
        join: Join,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let now_ms = self.wall_ms(now);
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        let Some(account_name) = session.name().cloned() else {
            return Ok(());
        };
        if let Some(seat) = session.seats.get_mut(channel) {
            self.counters.refuse(Refusal::AlreadyJoined);
            refuse_join(seat, Refusal::AlreadyJoined);
            return Ok(());
        }
        let (room, refusal) = match RoomName::new(&join.room) {
            Ok(name) => {
                let refusal = self.refuses_join(id, &name, now);
                (name, refusal)
            }
            Err(_) => (RoomName::default(), Some(Refusal::RoomInvalid)),
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        let stage = if refusal.is_some() {
            SeatStage::Closed
        } else {
            SeatStage::Entering {
                presence: join.presence,
            }
        };
        let mut seat = Seat::new(room.clone(), stage, join.quiet);
        if let Some(refusal) = refusal {
            self.counters.refuse(refusal);
            refuse_join(&mut seat, refusal);
            session.seats.insert(channel, seat);
            return Ok(());
        }
        session.seats.insert(channel, seat);
        let op = StorageOp::Enter {
            room: room.clone(),
            account: session.account,
            device: session.device,
            name: account_name,
            start: join.start,
            history: join.history,
            seen: join.presence,
            presence: (!join.quiet).then_some(now_ms),
            now_ms,
        };
        let (account, device) = (session.account, session.device);
        self.rooms
            .entry(room.clone())
            .or_insert_with(Room::new)
            .asking += 1;
        if !join.quiet {
            self.take_seat(&room, account, device);
        }
        if self
            .ask(
                op,
                Pending::Enter {
                    link: id,
                    channel,
                    room: room.clone(),
                },
            )
            .is_none()
        {
            self.refuse_entry(id, channel, &room, Refusal::RetryLater, now);
        }
        Ok(())
    }

    /// Why a session is not let into a room, as far as the broker knows without asking its store.
    fn refuses_join(&self, id: LinkId, name: &RoomName, now: Timestamp) -> Option<Refusal> {
        let session = self.sessions.get(&id)?;
        if session.channel_of(name).is_some() {
            Some(Refusal::AlreadyJoined)
        } else if self.rooms.len() >= ROOMS_MAX && !self.rooms.contains_key(name) {
            Some(Refusal::TooManyRooms)
        } else {
            // BUD-4
            self.over_budget(session.payer(), Budget::Changes, now)
        }
    }

    /// The store says no, lets the account in no more (ROL-4), or cannot answer now: the seat is given
    /// up, so that the node may try again on another channel.
    fn refuse_entry(
        &mut self,
        id: LinkId,
        channel: u8,
        name: &RoomName,
        code: Refusal,
        now: Timestamp,
    ) {
        if let Some(session) = self.sessions.get_mut(&id)
            && let Some(seat) = session.seats.get_mut(channel)
        {
            seat.stage = SeatStage::Closed;
            self.counters.refuse(code);
            refuse_join(seat, code);
            let (account, is_quiet) = (session.account, seat.is_quiet);
            let last_heard = session.link.last_heard();
            if !is_quiet {
                self.give_up_seat(name, account, Parting::Other, last_heard, now);
            }
        }
        self.done_asking(name);
        self.mark_ready(id);
    }

    pub(super) fn done_asking(&mut self, name: &RoomName) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.asking = room.asking.saturating_sub(1);
        }
        self.forget_if_unused(name);
    }

    fn on_entered(
        &mut self,
        id: LinkId,
        channel: u8,
        name: &RoomName,
        entered: Entered,
        now: Timestamp,
    ) {
        if let Some(room) = self.rooms.get_mut(name) {
            let tail_before = entered.tail_seq - u64::from(entered.joined.is_some());
            room.feed.get_or_insert_with(|| Feed::new(tail_before));
        }
        if let Some(joined) = &entered.joined {
            self.on_stored(name, joined);
            self.change_roll(name, |roll| {
                roll.on_joined(joined.line.account, joined.line.seq);
                Told::new()
            });
        }
        let account = entered.author.account;
        let is_new = entered.notice.is_some();
        if is_new || entered.joined.is_some() {
            let who = self.sessions.get(&id).map(|session| session.payer());
            let is_local = who.is_some_and(|who| who.is_local);
            self.charge(Payer { account, is_local }, Budget::Changes, 1, now);
        }
        let room = self.rooms.get(name);
        let own = room.and_then(|room| room.present.get(&account));
        let own = own.map(|presence| presence.number);
        let own = entered.notice.as_ref().map(|row| row.number).or(own);
        if let Some(row) = entered.notice {
            // Told even if the session is gone again: the store has it.
            self.on_came(row, now);
        }
        let session = self.sessions.get_mut(&id);
        let seat = session.and_then(|s| s.seats.get_mut(channel));
        let Some(seat) = seat else { return };
        let SeatStage::Entering { presence } = seat.stage else {
            return;
        };
        // A node that goes on gets the notices it has not seen, but none from before it became
        // present; one that is new gets only its own and later ones (PRS-3).
        let own_floor = own.filter(|_| !seat.is_quiet).map(|own| own - 1);
        let presence_floor = match entered.resume {
            ResumeOutcome::Resumed => presence.min(entered.presence).max(own_floor.unwrap_or(0)),
            ResumeOutcome::Fresh | ResumeOutcome::Fork if is_new => {
                own_floor.unwrap_or(entered.presence)
            }
            ResumeOutcome::Fresh | ResumeOutcome::Fork => entered.presence,
        };
        seat.reply(&RoomFromBroker::Joined(Joined {
            log: entered.log,
            room: RoomId::of(name),
            resume: entered.resume,
            last: entered.last,
            base: entered.base,
        }));
        let place = Place::Replay {
            fetched: Default::default(),
            reading: false,
        };
        let next_seq = entered.base.seq + 1;
        seat.began = next_seq;
        seat.stage = SeatStage::In(Cursor {
            next_seq,
            presence_floor,
            missed: entered.missed.into(),
            place,
            pace: Pace::Live,
        });
        if let Some(room) = self.rooms.get_mut(name) {
            room.readers.insert((id, channel));
        }
    }

    // ---- publishing

    fn on_publish(
        &mut self,
        id: LinkId,
        channel: u8,
        publication: Publication,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let now_ms = self.wall_ms(now);
        let busy = self.pending.len() >= super::STORAGE_PENDING_MAX;
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        let Some(name) = session.name().cloned() else {
            return Ok(());
        };
        let (account, device, payer) = (session.account, session.device, session.payer());
        let seat = session
            .seats
            .get_mut(channel)
            .ok_or("a publication before joining")?;
        let n = publication.n;
        match seat.stage {
            // RUM-12
            _ if seat.is_leaving => return Ok(()),
            SeatStage::In(_) => {}
            SeatStage::Entering { .. } => return Err("a publication before JOINED"),
            SeatStage::Closed => return Err("a publication in a room that is closed"),
        }
        if seat.publishing >= PUBLISHING_MAX && !bug!(EndlessPublishing) {
            return Err("too many publications at once");
        }
        let room = seat.room.clone();
        let now_or_later = match seat.waits_behind(n, now) {
            // LIM-7
            _ if busy => Err(Refusal::RetryLater),
            Some(refusal) => Err(refusal),
            None if let Some(refusal) = self.refuses_for_memory(MemoryWait::Line) => Err(refusal),
            None => self.take_line(payer, &room, publication.body.len(), now),
        };
        let seat = self
            .sessions
            .get_mut(&id)
            .and_then(|s| s.seats.get_mut(channel));
        let Some(seat) = seat else {
            return Ok(());
        };
        if let Err(refusal) = now_or_later {
            seat.note_put_off(n, refusal, now);
            refuse_publication(&mut self.counters, seat, n, refusal);
            return Ok(());
        }
        let refuse = match publication.kind {
            Kind::Message => check_body(&publication.body).err().map(Refusal::from),
            Kind::Policy => match HistoryPolicy::parse(&publication.body) {
                Some(_) => None,
                None => Some(Refusal::BadText),
            },
            Kind::Decision => match Decision::parse(&publication.body) {
                Some(_) => None,
                None => Some(Refusal::BadText),
            },
            _ => Some(Refusal::BadText),
        };
        seat.publishing += 1;
        let op = StorageOp::Append {
            room: room.clone(),
            account,
            device,
            name,
            publication,
            refuse,
            now_ms,
        };
        if let Some(room) = self.rooms.get_mut(&room) {
            room.asking += 1;
        }
        if [bug!(AckBeforeSync), bug!(DeliverBeforeSync)].contains(&true) {
            self.tell_early(id, channel, &op);
        }
        self.ask(
            op,
            Pending::Append {
                link: id,
                channel,
                room,
                n,
            },
        );
        Ok(())
    }

    fn on_append_outcome(
        &mut self,
        id: LinkId,
        channel: u8,
        name: &RoomName,
        n: u64,
        outcome: StorageOutcome,
        now: Timestamp,
    ) {
        let now_ms = self.wall_ms(now);
        if let StorageOutcome::Appended(stored) = &outcome {
            self.on_stored(name, stored);
        }
        self.answer_publication(id, channel, n, &outcome, now_ms);
        if let StorageOutcome::Decided(decided) = outcome {
            self.on_decided(name, *decided, now);
        }
    }

    fn answer_publication(
        &mut self,
        id: LinkId,
        channel: u8,
        n: u64,
        outcome: &StorageOutcome,
        now_ms: u64,
    ) {
        let seat = self
            .sessions
            .get_mut(&id)
            .and_then(|s| s.seats.get_mut(channel));
        let Some(seat) = seat else { return };
        seat.publishing = seat.publishing.saturating_sub(1);
        match outcome {
            StorageOutcome::Appended(stored) => {
                seat.reply(&RoomFromBroker::Stored {
                    n,
                    seq: stored.line.seq,
                });
            }
            StorageOutcome::Known(Recorded::Stored(seq)) => {
                crate::sometimes!(PublicationKnown);
                seat.reply(&RoomFromBroker::Stored { n, seq: *seq });
            }
            StorageOutcome::Decided(decided) => {
                let seq = decided.line.line.seq;
                seat.reply(&RoomFromBroker::Stored { n, seq });
            }
            StorageOutcome::Known(Recorded::Refused(code)) => {
                refuse_publication(&mut self.counters, seat, n, *code);
            }
            StorageOutcome::Muted(until_ms) => {
                let (code, reason) = (Refusal::Muted, muted(*until_ms, now_ms));
                self.counters.refuse(code);
                seat.reply(&RoomFromBroker::NotStored { n, code, reason });
            }
            StorageOutcome::Conflict => {
                refuse_publication(&mut self.counters, seat, n, Refusal::Conflict);
            }
            StorageOutcome::Gap(last) => {
                crate::sometimes!(GapAnswered);
                seat.reply(&RoomFromBroker::Gap { last: *last });
            }
            // BRK-5
            _ => refuse_publication(&mut self.counters, seat, n, Refusal::RetryLater),
        }
    }

    // ---- the store's answers

    pub(super) fn on_storage(&mut self, pending: Pending, outcome: StorageOutcome, now: Timestamp) {
        match pending {
            Pending::Register { link } => {
                self.on_registered(link, outcome, now);
                self.after_input(link, now);
            }
            Pending::Enter {
                link,
                channel,
                room,
            } => {
                match outcome {
                    StorageOutcome::Entered(entered) => {
                        self.on_entered(link, channel, &room, *entered, now);
                        self.done_asking(&room);
                    }
                    StorageOutcome::NotEntered(code) => {
                        self.refuse_entry(link, channel, &room, code, now);
                    }
                    _ => self.refuse_entry(link, channel, &room, Refusal::RetryLater, now),
                }
                self.after_input(link, now);
            }
            Pending::Append {
                link,
                channel,
                room,
                n,
            } => {
                self.on_append_outcome(link, channel, &room, n, outcome, now);
                self.done_asking(&room);
                self.after_input(link, now);
            }
            Pending::Leave { room, account } => {
                match outcome {
                    StorageOutcome::Departed(departed) => {
                        if let Some(departed) = departed {
                            self.change_roll(&room, |roll| roll.on_departed(account));
                            self.on_stored(&room, &departed.line);
                            departed
                                .notice
                                .into_iter()
                                .for_each(|row| self.on_left(row));
                        }
                        self.on_departed(&room, account, now);
                    }
                    _ => self.on_not_departed(&room, account, now),
                }
                self.done_asking(&room);
            }
            Pending::Links { remember, forget } => {
                self.on_links_told(&remember, &forget, &outcome);
            }
            Pending::Absent {
                room,
                account,
                event,
            } => {
                self.on_absented(&room, account, event, outcome, now);
                self.done_asking(&room);
            }
            Pending::Invite {
                link,
                channel,
                room,
            } => {
                self.on_invited(link, channel, &outcome);
                self.done_asking(&room);
                self.after_input(link, now);
            }
            Pending::Decide { room } => {
                self.on_operator_decided(&room, outcome, now);
                self.done_asking(&room);
            }
            Pending::Open => self.on_open_outcome(outcome, now),
            Pending::Errand { link, errand } => self.on_errand_stored(link, errand, outcome, now),
            Pending::Report {
                link,
                channel,
                room,
                account,
                lines,
            } => {
                if outcome == StorageOutcome::Reported {
                    self.change_roll(&room, |roll| roll.on_report(account, lines));
                } else {
                    self.report_later(link, channel, lines, now);
                }
                self.done_asking(&room);
            }
            Pending::Members { room } => {
                self.on_members(&room, outcome, now);
                self.done_asking(&room);
            }
            Pending::History {
                link,
                channel,
                room,
            } => {
                self.on_past(link, channel, outcome, now);
                self.done_asking(&room);
                self.after_input(link, now);
            }
            Pending::Read {
                link,
                channel,
                room,
            } => {
                self.on_lines(link, channel, outcome, now);
                self.done_asking(&room);
                self.after_input(link, now);
            }
        }
    }

    fn on_lines(&mut self, id: LinkId, channel: u8, outcome: StorageOutcome, now: Timestamp) {
        if let StorageOutcome::Lines(lines) = &outcome {
            self.charge_reading(id, lines, now);
        }
        let seat = self
            .sessions
            .get_mut(&id)
            .and_then(|s| s.seats.get_mut(channel));
        let Some(Seat {
            stage: SeatStage::In(cursor),
            ..
        }) = seat
        else {
            return;
        };
        let Place::Replay { fetched, reading } = &mut cursor.place else {
            return;
        };
        if let StorageOutcome::Lines(lines) = outcome {
            crate::sometimes!(ReplayedFromStore);
            *reading = false;
            if cursor.pace != Pace::Lagging {
                fetched.extend(lines);
            }
        } else {
            // Still reading, as far as anybody else is concerned (BRK-5).
            self.read_again
                .insert((now + ASK_AGAIN_AFTER, id, channel, Again::Place));
        }
    }

    /// Has the reads repeated that failed and are due again (BRK-5).
    pub(super) fn repeat_reads(&mut self, now: Timestamp) {
        while let Some(&(at, id, channel, what)) = self.read_again.first() {
            if at > now {
                return;
            }
            self.read_again.pop_first();
            let session = self.sessions.get_mut(&id);
            let Some(seat) = session.and_then(|s| s.seats.get_mut(channel)) else {
                continue;
            };
            match (what, &mut seat.stage) {
                (Again::Page, _) => read_page_again(seat),
                (Again::Place, SeatStage::In(cursor)) => cursor.read_again(),
                (Again::Place, _) => {}
                (Again::Report, _) => {
                    if let Some(lines) = seat.unreported.take() {
                        // A seat that is closed by now is not owed anything.
                        let _ = self.on_cursor(id, channel, lines, now);
                    }
                }
            }
            self.mark_ready(id);
        }
    }
}

/// RUM-11: told on a channel that is used up, too.
fn refuse_join(seat: &mut Seat, code: Refusal) {
    let refused = RoomFromBroker::JoinRefused {
        code,
        reason: code.to_string(),
    };
    seat.replies.push_back(refused.encode());
}

fn refuse_publication(counters: &mut Counters, seat: &mut Seat, n: u64, code: Refusal) {
    counters.refuse(code);
    if code == Refusal::RetryLater {
        crate::sometimes!(RetryLaterAnswered);
    }
    seat.reply(&RoomFromBroker::NotStored {
        n,
        code,
        reason: code.to_string(),
    });
}

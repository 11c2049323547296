//! What a client does while it has a link: sign in, join, publish, leave. What it hears meanwhile is
//! in `heard`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::connect::fresh_cid;
use super::room::{Room, Seat};
use super::schedule::Schedule;
use super::states::say_the_rest;
use super::{Client, ClientEvent, EndReason, Gate, JournalEntry, ROOMS_PER_LINK_MAX, State};
use crate::chat::{ControlFromNode, Refusal, RoomFromNode, RoomName};
use crate::drops::Dropped;
use crate::link::{Care, CloseCode, Link, LinkEvent};
use crate::time::Timestamp;
use crate::transmit::{Origin, Path};
use crate::wire::ResetToken;

/// How long after RETRY_LATER the same is asked again (PUB-4).
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long a node waits at least, whatever a broker says (BUD-8).
pub(super) const WAIT_MIN: Duration = Duration::from_millis(20);

/// A link, and what was said on it.
pub(super) struct Up {
    pub(super) link: Link,
    finishing: Option<Finishing>,
    stage: Stage,
    /// When to sign in again, because the broker has put it off (BRK-5).
    sign_in_at: Option<Timestamp>,
    /// The rooms, by the channels that they were given.
    channels: BTreeMap<u8, RoomName>,
}

/// FINISH, repeated until the broker is heard (SEC-5).
pub(super) struct Finishing {
    pub(super) datagram: Bytes,
    pub(super) schedule: Schedule,
    pub(super) path: Path,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// SIGN_IN is under way.
    SigningIn,
    SignedIn,
    /// BYE is under way.
    Leaving,
}

impl Up {
    pub(super) const fn new(link: Link, finishing: Option<Finishing>) -> Self {
        Self {
            link,
            finishing,
            stage: Stage::SigningIn,
            sign_in_at: None,
            channels: BTreeMap::new(),
        }
    }

    /// When FINISH is due again.
    pub(super) fn finish_due(&self) -> Option<Timestamp> {
        self.finishing
            .as_ref()
            .map(|finishing| finishing.schedule.next())
    }

    /// When to sign in again, if the broker has put it off.
    pub(super) const fn sign_in_due(&self) -> Option<Timestamp> {
        self.sign_in_at
    }

    /// The broker has put off signing in.
    pub(super) const fn sign_in_again_at(&mut self, at: Timestamp) {
        self.sign_in_at = Some(at);
    }

    pub(super) const fn on_welcome(&mut self) {
        self.stage = Stage::SignedIn;
    }

    /// Whether SIGN_IN is under way, or to be sent again.
    pub(super) const fn is_signing_in(&self) -> bool {
        matches!(self.stage, Stage::SigningIn)
    }

    /// Whether BYE is under way.
    pub(super) const fn has_said_bye(&self) -> bool {
        matches!(self.stage, Stage::Leaving)
    }

    /// The room that was given this channel.
    pub(super) fn room_on(&self, channel: u8) -> Option<&RoomName> {
        self.channels.get(&channel)
    }

    /// Whether rooms may be spoken to.
    pub(super) const fn is_signed_in(&self) -> bool {
        matches!(self.stage, Stage::SignedIn)
    }

    /// Sends FINISH from a new address without waiting for its turn.
    pub(super) const fn restart_schedule(&mut self, now: Timestamp) {
        if let Some(finishing) = &mut self.finishing {
            finishing.schedule = Schedule::new(now);
        }
    }

    /// The next channel that is not used yet.
    fn unused_channel(&self) -> Option<u8> {
        let last = self.channels.keys().next_back().copied().unwrap_or(0);
        last.checked_add(1)
            .filter(|c| usize::from(*c) <= ROOMS_PER_LINK_MAX)
    }
}

impl Client {
    // ---- the link

    /// Data packets. The error is why one is dropped.
    pub(super) fn on_data(
        &mut self,
        origin: Origin,
        datagram: BytesMut,
        now: Timestamp,
    ) -> Result<(), Dropped> {
        let State::Up(up) = &mut self.state else {
            return self.on_stray_data(origin.path, &datagram, now);
        };
        up.link.handle_datagram(origin, datagram, now)?;
        // The broker has the keys, so it has our FINISH.
        up.finishing = None;
        self.on_link_events(now);
        Ok(())
    }

    /// Sends FINISH if it is due (SEC-5).
    pub(super) fn repeat_finish(&mut self, now: Timestamp) {
        let State::Up(up) = &mut self.state else {
            return;
        };
        if let Some(finishing) = &mut up.finishing
            && finishing.schedule.take_due(&mut self.rng, now)
        {
            self.outgoing
                .push_back((finishing.path, finishing.datagram.clone()));
        }
    }

    /// Takes what the link has, unless the journal is behind: then the broker gets no credit, and
    /// waits (JRN-12, CRD-3).
    pub(super) fn on_link_events(&mut self, now: Timestamp) {
        while !self.is_journal_behind() {
            let State::Up(up) = &mut self.state else {
                return;
            };
            let Some(event) = up.link.poll_event() else {
                return;
            };
            match event {
                LinkEvent::Message { channel, data } => self.on_message(channel, &data, now),
                // RST-4
                LinkEvent::Reset => self.shake_hands(now),
                // LIF-2
                LinkEvent::Silent => {
                    crate::sometimes!(ShookHandsAnew);
                    self.shake_hands(now);
                }
                // CID-2: nothing has to be routed here, so any fresh one will do.
                LinkEvent::CidRetired { .. } => {
                    let cid = fresh_cid(&mut self.rng).into();
                    up.link.issue_cid(cid, ResetToken::default());
                }
                LinkEvent::Closed {
                    by_peer,
                    code,
                    reason,
                } => {
                    self.on_closed(by_peer, code, reason, now);
                }
            }
        }
    }

    fn on_closed(&mut self, by_peer: bool, code: CloseCode, reason: String, now: Timestamp) {
        match code {
            CloseCode::Replaced if by_peer => self.end(EndReason::Replaced, now),
            CloseCode::Revoked if by_peer => {
                let code = Refusal::DeviceRevoked;
                let reason = code.to_string();
                self.end(EndReason::NotAdmitted { code, reason }, now);
            }
            CloseCode::Protocol => self.end(EndReason::Protocol { reason }, now),
            _ => self.shake_hands(now),
        }
    }

    // ---- signing in and out

    /// SGN-1
    pub(super) fn sign_in(&mut self, now: Timestamp) {
        if self.errand.is_some() {
            return self.begin_errand(now);
        }
        let sign_in = ControlFromNode::SignIn {
            name: self.name.as_str().to_owned(),
            // ADM-2: not to a broker that has only just shown its key.
            invite: self.invite.clone().filter(|_| self.knew_key),
        };
        self.send_control(&sign_in, now);
    }

    /// Signs in again if that is due (BRK-5).
    pub(super) fn repeat_sign_in(&mut self, now: Timestamp) {
        if let State::Up(up) = &mut self.state
            && up.sign_in_at.is_some_and(|at| at <= now)
        {
            up.sign_in_at = None;
            self.sign_in(now);
        }
    }

    pub(super) fn send_control(&mut self, message: &ControlFromNode, now: Timestamp) {
        let State::Up(up) = &mut self.state else {
            return;
        };
        // What a node says here is little, and at a person's pace; a channel that is full of
        // questions answers enough of them. A link that has just closed reports that by itself.
        let _ = up.link.send(0, message.encode(), now);
    }

    /// Says something in a room that is answered at once, or never (RUM-13, ROL-7).
    pub(super) fn send_question(
        &mut self,
        room: &RoomName,
        question: &RoomFromNode,
        now: Timestamp,
    ) -> bool {
        let State::Up(up) = &mut self.state else {
            return false;
        };
        let channel = self.rooms.get(room).and_then(Room::channel);
        channel.is_some_and(|channel| up.link.send(channel, question.encode(), now).is_ok())
    }

    // ---- going on

    /// Does whatever can be done now: join, publish, say goodbye.
    pub(super) fn go_on(&mut self, now: Timestamp) {
        self.use_link(now);
        let State::Up(up) = &mut self.state else {
            return;
        };
        let is_expecting = match up.stage {
            Stage::SigningIn => {
                let errand = self.errand.as_ref();
                up.sign_in_at.is_none() && errand.is_none_or(|errand| errand.is_expecting())
            }
            Stage::SignedIn => self.rooms.values().any(Room::is_expecting),
            Stage::Leaving => true,
        };
        up.link.set_expecting(is_expecting, now);
    }

    fn use_link(&mut self, now: Timestamp) {
        self.on_link_events(now);
        if self.leaving {
            self.go_on_leaving(now);
        }
        let State::Up(up) = &mut self.state else {
            return;
        };
        if up.stage != Stage::SignedIn {
            return;
        }
        if self.retiring && self.rooms.values().all(Room::is_done_with_device) {
            let waiting = self.waiting();
            return self.end(EndReason::Retired { waiting }, now);
        }
        self.number_what_waits();
        let State::Up(up) = &mut self.state else {
            return;
        };
        let mut is_used_up = false;
        for room in self.rooms.values_mut() {
            if matches!(room.seat, Seat::Out) && room.retry_at.is_none() {
                is_used_up |= !join(up, room, now);
            }
            publish_waiting(up, room, now);
            say_the_rest(&mut up.link, room, now);
            leave_if_settled(up, room, now);
        }
        if is_used_up {
            // Joins that were put off have taken the link's channels: another link has new ones.
            up.link.close(CloseCode::Done, "no channel is left", now);
            self.on_link_events(now);
        }
        self.forget_refused();
    }

    /// A room that was never entered is left without a word.
    fn forget_refused(&mut self) {
        let is_over = |room: &Room| room.leaving && matches!(room.seat, Seat::Refused);
        let over: Vec<RoomName> = self
            .rooms
            .values()
            .filter(|room| is_over(room))
            .map(|room| room.name.clone())
            .collect();
        for room in over {
            self.forget(room, None);
        }
    }

    /// RUM-12: the room is left for good, or others have decided so (ROL-4).
    pub(super) fn forget(&mut self, room: RoomName, removed: Option<(Refusal, String)>) {
        let left = self.drop_room(&room, removed.as_ref());
        self.tell_in_turn(Some(left), ClientEvent::RoomLeft { room, removed });
    }

    /// Where others have decided so, nothing that waits is sent any more. Returns the journal request
    /// that says so.
    pub(super) fn drop_room(
        &mut self,
        room: &RoomName,
        removed: Option<&(Refusal, String)>,
    ) -> u64 {
        if let Some((code, reason)) = removed {
            self.give_up_waiting(room, *code, reason);
        }
        if let Some(left) = self.rooms.remove(room) {
            self.restored.insert(room.clone(), left.outbox.left());
        }
        self.journal(JournalEntry::Left { room: room.clone() })
    }

    /// JRN-9: the journal gives it up with the room.
    pub(super) fn give_up_waiting(&mut self, name: &RoomName, code: Refusal, reason: &str) {
        let room = self.rooms.get(name);
        let handles = room.map_or_else(Vec::new, |room| room.outbox.handles());
        for (handle, may_be_stored) in handles {
            self.events.push_back(ClientEvent::NotStored {
                handle,
                room: name.clone(),
                code,
                reason: reason.to_owned(),
                may_be_stored,
            });
        }
    }

    /// JRN-3: what the broker has answered for gets numbers that follow the broker's.
    fn number_what_waits(&mut self) {
        let mut entries = Vec::new();
        for room in self.rooms.values_mut() {
            entries.extend(room.number_if_answered().map(|e| (room.name.clone(), e)));
        }
        for (room, entry) in entries {
            let id = self.journal(entry);
            self.journaling.insert(id, (room, Gate::Numbers));
        }
    }

    /// NOD-4: once everything is settled, says goodbye, or just ends if there is nobody to say it
    /// to.
    fn go_on_leaving(&mut self, now: Timestamp) {
        if !self.rooms.values().all(Room::is_settled) || !self.deliveries.is_empty() {
            return;
        }
        match &mut self.state {
            State::Shaking(_) | State::Choosing(_) => self.end(EndReason::Left, now),
            State::Up(up) => match up.stage {
                Stage::SigningIn | Stage::Leaving => {}
                Stage::SignedIn => {
                    up.stage = Stage::Leaving;
                    self.send_control(&ControlFromNode::Bye, now);
                }
            },
            State::Ended => {}
        }
    }
}

/// RUM-12: once nothing waits, and every own line has been received.
fn leave_if_settled(up: &mut Up, room: &mut Room, now: Timestamp) {
    let Some(channel) = room.channel().filter(|_| room.leaving && room.is_settled()) else {
        return;
    };
    if up
        .link
        .send(channel, RoomFromNode::Leave.encode(), now)
        .is_ok()
    {
        room.on_leave_sent();
    }
}

/// Asks to be let into `room`. Returns `false` if the link has no channel left for that (RUM-11).
fn join(up: &mut Up, room: &mut Room, now: Timestamp) -> bool {
    let message = room.join_message();
    let Some(channel) = up.unused_channel() else {
        return false;
    };
    if up.link.send(channel, message, now).is_ok() {
        up.channels.insert(channel, room.name.clone());
        room.seat = Seat::Asked(channel);
    }
    true
}

/// Gives the link what the room's window and the channel take (PUB-6, PUB-8).
fn publish_waiting(up: &mut Up, room: &mut Room, now: Timestamp) {
    let Some(channel) = room.channel() else {
        return;
    };
    up.link
        .set_care(channel, Care::of_one_for(room.people_known()));
    while let Some(publication) = room.next_to_send() {
        let n = publication.n;
        let message = RoomFromNode::Publish(publication.clone()).encode();
        if !up.link.can_send(channel, message.len()) || up.link.send(channel, message, now).is_err()
        {
            return;
        }
        room.outbox.mark_sent(n);
    }
}

//! What a client can be told to do.

use bytes::Bytes;

use super::room::Room;
use super::{
    Asker, Client, EndReason, Gate, JoinOptions, JournalEntry, JournalState, PublishError,
    ROOMS_PER_LINK_MAX, RoomState, State,
};
use crate::chat::{
    ControlFromNode, Decision, HistoryPolicy, InviteWish, Kind, RoomFromNode, RoomName, check_body,
};
use crate::link;
use crate::secure::NodeIdentity;
use crate::time::Timestamp;

impl Client {
    /// Asks to be in a room. Returns `false` if the client wants to be in too many rooms already.
    pub fn join(&mut self, options: JoinOptions, now: Timestamp) -> bool {
        if let Some(room) = self.rooms.get_mut(&options.room) {
            // It may have been joined for what waits there (JRN-2). If that was asked for already,
            // it takes another link to be there in another way.
            let is_other = room.options.quiet && !options.quiet && room.is_asked_for();
            room.options = options;
            if let (true, State::Up(up)) = (is_other, &mut self.state) {
                up.link
                    .close(link::CloseCode::Done, "to be there in another way", now);
            }
        } else {
            if self.rooms.len() >= ROOMS_PER_LINK_MAX {
                return false;
            }
            let state = self
                .restored
                .remove(&options.room)
                .unwrap_or(RoomState::NEW);
            self.rooms
                .insert(options.room.clone(), Room::new(options, state));
        }
        self.go_on(now);
        true
    }

    /// Leaves `room` for good, as soon as what waits there is settled:
    /// [`ClientEvent::RoomLeft`](super::ClientEvent::RoomLeft) tells. Returns `false` if the client
    /// is not in it.
    pub fn leave_room(&mut self, room: &RoomName, now: Timestamp) -> bool {
        let Some(leaving) = self.rooms.get_mut(room) else {
            return false;
        };
        leaving.leaving = true;
        self.go_on(now);
        true
    }

    /// Asks who is present in `room`: [`ClientEvent::Roster`](super::ClientEvent::Roster) tells.
    /// Returns `false`, having asked nobody, if the client is not in it now.
    pub fn ask_who(&mut self, room: &RoomName, now: Timestamp) -> bool {
        let asked = self.send_question(room, &RoomFromNode::Who, now);
        self.go_on(now);
        asked
    }

    /// Asks the broker to make an invite that leads to `room`:
    /// [`ClientEvent::Invited`](super::ClientEvent::Invited) tells what came of it, unless the link is
    /// lost before. Only those with a role there may (ROL-7). Returns `false`, having asked nobody, if
    /// the client is not in the room now.
    pub fn ask_invite(&mut self, room: &RoomName, wish: InviteWish, now: Timestamp) -> bool {
        let asked = self.send_question(room, &RoomFromNode::Invite(wish), now);
        self.go_on(now);
        asked
    }

    /// Asks which rooms are in use: [`ClientEvent::Rooms`](super::ClientEvent::Rooms) tells.
    /// Returns `false`, having asked nobody, if the client is out of contact.
    pub fn ask_rooms(&mut self, now: Timestamp) -> bool {
        if self.online {
            self.send_control(&ControlFromNode::ListRooms, now);
        }
        self.online
    }

    /// Puts `text` into the outbox of `room`. It is sent as soon as it is journaled and the broker
    /// is in reach, and as often as it takes. Returns the handle under which
    /// [`ClientEvent::Stored`](super::ClientEvent::Stored) or
    /// [`ClientEvent::NotStored`](super::ClientEvent::NotStored) will tell its outcome.
    ///
    /// # Errors
    ///
    /// If it cannot be a line there; then nothing was done (PUB-5).
    pub fn publish(
        &mut self,
        room: &RoomName,
        text: &[u8],
        typed_at_ms: u64,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        self.publish_spooled(room, text, typed_at_ms, None, now)
    }

    /// The same for a text that was spooled: kept without a number, under the name `spooled`. The
    /// journal is told that name, to take it from the spool at the same moment (JRN-6).
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn publish_spooled(
        &mut self,
        room: &RoomName,
        text: &[u8],
        typed_at_ms: u64,
        spooled: Option<u64>,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        check_body(text)?;
        let body = Bytes::copy_from_slice(text);
        self.put_out(room, (Kind::Message, body), typed_at_ms, spooled, now)
    }

    /// Decides who may read what was said in `room` before they came. Only whoever made the room
    /// may: others are told [`ClientEvent::NotStored`](super::ClientEvent::NotStored) (RUM-16).
    /// Otherwise like [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// If nothing can be published there now.
    pub fn set_policy(
        &mut self,
        room: &RoomName,
        policy: HistoryPolicy,
        typed_at_ms: u64,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        let body = Bytes::from_static(policy.as_str().as_bytes());
        self.put_out(room, (Kind::Policy, body), typed_at_ms, None, now)
    }

    /// Decides something about somebody in `room`. Only those with a role there may: others are told
    /// [`ClientEvent::NotStored`](super::ClientEvent::NotStored) (ROL-3). Otherwise like
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// If nothing can be published there now.
    pub fn decide(
        &mut self,
        room: &RoomName,
        decision: &Decision,
        typed_at_ms: u64,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        let body = decision.to_string().into();
        self.put_out(room, (Kind::Decision, body), typed_at_ms, None, now)
    }

    /// Has a publication that waits watched once it is stored:
    /// [`ClientEvent::Delivered`](super::ClientEvent::Delivered) tells who has it, at once and at
    /// every change, until all have it (STA-3), or others have taken its place
    /// ([`ClientEvent::Unwatched`](super::ClientEvent::Unwatched)). Returns `false` if none waits under this handle.
    pub fn watch(&mut self, handle: u64) -> bool {
        let room = self.rooms.values_mut().find(|room| room.outbox.has(handle));
        let Some(room) = room else {
            return false;
        };
        let (name, oldest) = (room.name.clone(), room.watches.want(handle));
        self.tell_unwatched(&name, oldest);
        true
    }

    /// Asks for `count` earlier lines of `room`, before line `before`, or before those that the
    /// client was sent if that is 0. [`ClientEvent::Past`](super::ClientEvent::Past) tells them,
    /// oldest first, and [`ClientEvent::HistoryEnd`](super::ClientEvent::HistoryEnd) their end,
    /// also over an outage. Returns `false`, having asked nothing, if the client has not been in
    /// the room yet, or has asked too much already.
    pub fn ask_history(
        &mut self,
        room: &RoomName,
        before: u64,
        count: u64,
        asker: Asker,
        now: Timestamp,
    ) -> bool {
        let room = self.rooms.get_mut(room);
        let asked = room.is_some_and(|room| room.ask_page(before, count, asker));
        self.go_on(now);
        asked
    }

    fn put_out(
        &mut self,
        room: &RoomName,
        (kind, body): (Kind, Bytes),
        typed_at_ms: u64,
        spooled: Option<u64>,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        if self.leaving {
            return Err(PublishError::Leaving);
        }
        let handle = self.next_handle;
        let is_behind = self.is_journal_behind();
        let room = self.rooms.get_mut(room).ok_or(PublishError::NotInRoom)?;
        if room.leaving {
            return Err(PublishError::NotInRoom);
        }
        if !room.outbox.has_space() {
            return Err(PublishError::OutboxFull);
        }
        if is_behind {
            return Err(PublishError::JournalBehind);
        }
        self.next_handle += 1;
        let publication = room.outbox.push(handle, typed_at_ms, kind, body);
        let name = room.name.clone();
        let id = self.journal(JournalEntry::Waiting {
            handle,
            spooled,
            room: name.clone(),
            publication,
        });
        self.journaling
            .insert(id, (name, Gate::Publication(handle)));
        self.go_on(now);
        Ok(handle)
    }

    /// Starts from what the journal holds, as
    /// [`ClientConfig::restored`](super::ClientConfig::restored) would have: for a journal that is
    /// found only when the broker has shown its key. Returns `false`, having done nothing, if
    /// something was published already.
    pub fn restore(&mut self, journal: JournalState, now: Timestamp) -> bool {
        if self.next_handle > 0 || self.online {
            return false;
        }
        self.next_handle = journal.next_handle;
        self.restored = journal.rooms;
        for room in self.rooms.values_mut() {
            if let Some(state) = self.restored.remove(&room.name) {
                *room = Room::new(room.options.clone(), state);
            }
        }
        self.join_where_something_waits();
        self.go_on(now);
        true
    }

    /// Answers [`ClientEvent::FirstContact`](super::ClientEvent::FirstContact): who one is for that
    /// broker.
    pub fn set_identity(&mut self, identity: NodeIdentity, now: Timestamp) {
        if !matches!(self.state, State::Choosing(_)) {
            return;
        }
        if let State::Choosing(choosing) = core::mem::replace(&mut self.state, State::Ended) {
            self.finish_first_contact(*choosing, identity, now);
        }
        self.go_on(now);
    }

    /// Leaves as soon as everything is settled: nothing waits, and every own line has been
    /// received (NOD-4). [`ClientEvent::Ended`](super::ClientEvent::Ended) tells.
    pub fn leave(&mut self, now: Timestamp) {
        self.leaving = true;
        self.go_on(now);
    }

    /// Ends at once, with a word to the broker if there is a link, whatever still waits.
    pub fn abandon(&mut self, now: Timestamp) {
        let waiting = self.waiting();
        self.end(EndReason::Abandoned { waiting }, now);
    }

    /// This machine has a new address, or may have one: to be called when the driver has rebound
    /// its socket, or is told that the network changed. A link is kept, and its broker told at once
    /// (PTH-6); a handshake begins its schedule anew (SEC-5).
    pub fn handle_address_change(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Shaking(_) => self.restart_schedule(now),
            State::Up(up) => {
                up.link.handle_address_change(now);
                up.restart_schedule(now);
            }
            State::Choosing(_) | State::Ended => {}
        }
        self.go_on(now);
    }

    /// This machine has slept for a while that its clock does not show: whether the broker is still
    /// there is asked at once, and backing off begins anew (LIF-6, SEC-5).
    pub fn handle_resume(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Shaking(_) => self.restart_schedule(now),
            State::Up(up) => {
                up.link.handle_resume(now);
                up.restart_schedule(now);
            }
            State::Choosing(_) | State::Ended => {}
        }
        self.go_on(now);
    }
}

//! What a client does while it has a link: sign in, join, publish, receive, leave.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::connect::fresh_cid;
use super::room::{Room, Seat};
use super::schedule::Schedule;
use super::{Client, ClientEvent, Delivery, EndReason, JournalEntry, ROOMS_PER_LINK_MAX, State};
use crate::chat::{
    ControlFromBroker, ControlFromNode, Refusal, RoomFromBroker, RoomFromNode, RoomName,
};
use crate::drops::Dropped;
use crate::link::{CloseCode, Link, LinkEvent};
use crate::time::Timestamp;
use crate::transmit::Path;

/// How long after RETRY_LATER the same is asked again (PUB-4).
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A link, and what was said on it.
pub(super) struct Up {
    pub(super) link: Link,
    finishing: Option<Finishing>,
    stage: Stage,
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
            channels: BTreeMap::new(),
        }
    }

    /// When FINISH is due again.
    pub(super) fn finish_due(&self) -> Option<Timestamp> {
        self.finishing
            .as_ref()
            .map(|finishing| finishing.schedule.next())
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
        path: Path,
        datagram: BytesMut,
        now: Timestamp,
    ) -> Result<(), Dropped> {
        let State::Up(up) = &mut self.state else {
            return Err(Dropped::UnknownLink);
        };
        up.link.handle_datagram(path, datagram, now)?;
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

    pub(super) fn on_link_events(&mut self, now: Timestamp) {
        loop {
            let State::Up(up) = &mut self.state else {
                return;
            };
            let Some(event) = up.link.poll_event() else {
                return;
            };
            match event {
                LinkEvent::Message { channel, data } => self.on_message(channel, &data, now),
                // LIF-2
                LinkEvent::Silent => self.shake_hands(now),
                // CID-2: nothing has to be routed here, so any fresh one will do.
                LinkEvent::CidRetired { .. } => {
                    up.link.issue_cid(fresh_cid(&mut self.rng).into());
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
            CloseCode::Protocol => self.end(EndReason::Protocol { reason }, now),
            _ => self.shake_hands(now),
        }
    }

    /// The broker broke a rule (LIF-4).
    fn protest(&mut self, reason: &'static str, now: Timestamp) {
        if let State::Up(up) = &mut self.state {
            up.link.close(CloseCode::Protocol, reason, now);
        }
    }

    fn on_message(&mut self, channel: u8, data: &Bytes, now: Timestamp) {
        let handled = if channel == 0 {
            match ControlFromBroker::decode(data) {
                Ok(message) => {
                    self.on_control(message, now);
                    Ok(())
                }
                Err(_) => Err("malformed control message"),
            }
        } else {
            match RoomFromBroker::decode(data) {
                Ok(message) => self.on_room_message(channel, message, now),
                Err(_) => Err("malformed room message"),
            }
        };
        if let Err(broken) = handled {
            self.protest(broken, now);
        }
    }

    // ---- signing in and out

    /// SGN-1
    pub(super) fn sign_in(&mut self, now: Timestamp) {
        let name = self.name.as_str().to_owned();
        self.send_control(&ControlFromNode::SignIn { name }, now);
    }

    fn send_control(&mut self, message: &ControlFromNode, now: Timestamp) {
        let State::Up(up) = &mut self.state else {
            return;
        };
        // The control channel holds two messages in its life: it is never full. A link that has
        // just closed reports that by itself.
        let _ = up.link.send(0, message.encode(), now);
    }

    fn on_control(&mut self, message: ControlFromBroker, now: Timestamp) {
        let State::Up(up) = &mut self.state else {
            return;
        };
        match message {
            ControlFromBroker::Welcome { .. } => {
                up.stage = Stage::SignedIn;
                self.online = true;
                self.events.push_back(ClientEvent::Online);
            }
            ControlFromBroker::SignInRefused {
                code: Refusal::RetryLater,
                ..
            } => self.sign_in(now),
            ControlFromBroker::SignInRefused { code, reason } => {
                self.end(EndReason::NameRefused { code, reason }, now);
            }
            ControlFromBroker::ByeOk => self.end(EndReason::Left, now),
        }
    }

    // ---- rooms

    fn on_room_message(
        &mut self,
        channel: u8,
        message: RoomFromBroker,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        let State::Up(up) = &mut self.state else {
            return Ok(());
        };
        let name = up
            .channels
            .get(&channel)
            .ok_or("a channel that was not opened")?
            .clone();
        let room = self
            .rooms
            .get_mut(&name)
            .ok_or("a room that was not joined")?;
        match message {
            RoomFromBroker::Joined(joined) => {
                if !matches!(room.seat, Seat::Asked(asked) if asked == channel) {
                    return Err("JOINED without JOIN");
                }
                let renumbered = room.on_joined(channel, &joined);
                for (handle, publication) in renumbered {
                    self.journal_waiting(&name, handle, publication);
                }
                if joined.resume == crate::chat::ResumeOutcome::Fork {
                    self.events
                        .push_back(ClientEvent::Fork { room: name.clone() });
                }
                self.events.push_back(ClientEvent::Joined { room: name });
            }
            RoomFromBroker::JoinRefused {
                code: Refusal::RetryLater,
                ..
            } => {
                room.seat = Seat::Out;
                room.retry_at = Some(now + RETRY_AFTER);
            }
            RoomFromBroker::JoinRefused { code, reason } => {
                room.seat = Seat::Refused;
                self.events.push_back(ClientEvent::JoinRefused {
                    room: name,
                    code,
                    reason,
                });
            }
            RoomFromBroker::Introduce {
                author,
                account,
                device,
                name,
            } => {
                room.introduce(author, account, device, &name)?;
            }
            RoomFromBroker::Line(wire) => self.on_line(&name, wire)?,
            RoomFromBroker::Notice {
                presence,
                event,
                author,
            } => {
                let who = room
                    .name_of(author)
                    .ok_or("an author without introduction")?;
                if room.on_notice(presence) {
                    self.deliveries
                        .push_back(Delivery::Notice(name, event, who));
                    self.deliver();
                }
            }
            RoomFromBroker::Stored { n, seq } => self.on_stored(&name, n, seq),
            RoomFromBroker::NotStored {
                n,
                code: Refusal::RetryLater,
                ..
            } => {
                room.unsend_after(n.saturating_sub(1));
                room.retry_at = Some(now + RETRY_AFTER);
            }
            RoomFromBroker::NotStored { n, code, reason } => {
                if let Some(handle) = room.settle(n) {
                    self.journal(JournalEntry::Settled { handle });
                    let room = name;
                    self.events.push_back(ClientEvent::NotStored {
                        handle,
                        room,
                        code,
                        reason,
                    });
                }
            }
            RoomFromBroker::Gap { last } => room.unsend_after(last),
        }
        Ok(())
    }

    fn on_line(
        &mut self,
        name: &RoomName,
        wire: crate::chat::WireLine,
    ) -> Result<(), &'static str> {
        let own_device = self.known.as_ref().map(|(_, identity)| identity.device());
        let room = self
            .rooms
            .get_mut(name)
            .ok_or("a room that was not joined")?;
        let (line, log, cursor) = room.on_line(wire)?;
        let own = (Some(line.device) == own_device && line.n > 0).then_some((line.n, line.seq));
        let received = JournalEntry::Received {
            room: name.clone(),
            log,
            cursor,
        };
        let entry = self.journal(received);
        self.deliveries
            .push_back(Delivery::Line(entry, name.clone(), Box::new(line)));
        if let Some((n, seq)) = own {
            // One's own line says as much as STORED.
            self.on_stored(name, n, seq);
        }
        self.deliver();
        Ok(())
    }

    fn on_stored(&mut self, name: &RoomName, n: u64, seq: u64) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if let Some(handle) = room.settle(n) {
            room.note_own(seq);
            self.journal(JournalEntry::Settled { handle });
            self.events.push_back(ClientEvent::Stored {
                handle,
                room: name.clone(),
                seq,
            });
        }
    }

    // ---- going on

    /// Does whatever can be done now: join, publish, say goodbye.
    pub(super) fn go_on(&mut self, now: Timestamp) {
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
        for room in self.rooms.values_mut() {
            if matches!(room.seat, Seat::Out) && room.retry_at.is_none() {
                join(up, room, now);
            }
            publish_waiting(up, room, now);
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

fn join(up: &mut Up, room: &mut Room, now: Timestamp) {
    let message = room.join_message();
    // With the channels of this link used up (by joins that were refused), the next link will do.
    let Some(channel) = up.unused_channel() else {
        return;
    };
    if up.link.send(channel, message, now).is_ok() {
        up.channels.insert(channel, room.name.clone());
        room.seat = Seat::Asked(channel);
    }
}

/// Gives the link what the room's window and the channel take (PUB-6, PUB-8).
fn publish_waiting(up: &mut Up, room: &mut Room, now: Timestamp) {
    let Some(channel) = room.channel() else {
        return;
    };
    while let Some(publication) = room.next_to_send() {
        let n = publication.n;
        let message = RoomFromNode::Publish(publication.clone()).encode();
        if !up.link.can_send(channel, message.len()) || up.link.send(channel, message, now).is_err()
        {
            return;
        }
        room.mark_sent(n);
    }
}

//! What the broker says, on the control channel and in the rooms.

use core::time::Duration;

use bytes::Bytes;

use super::room::{Room, Seat};
use super::up::{RETRY_AFTER, WAIT_MIN};
use super::{Client, ClientEvent, EndReason, JournalEntry, PutOff, State};
use crate::bug;
use crate::chat::{
    ControlFromBroker, Joined, Name, NoticeEvent, Recorded, Refusal, ResumeOutcome, RoomFromBroker,
    RoomName, WireLine,
};
use crate::link::CloseCode;
use crate::time::Timestamp;

/// The longest that a node waits because a broker says so (BUD-8).
pub const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// After how long the same is asked again (PUB-4, BUD-8).
fn wait(code: Refusal) -> Duration {
    let told = code.wait().unwrap_or(RETRY_AFTER);
    told.clamp(WAIT_MIN, WAIT_MAX)
}

impl Client {
    /// The broker broke a rule (LIF-4).
    fn protest(&mut self, reason: &'static str, now: Timestamp) {
        if let State::Up(up) = &mut self.state {
            up.link.close(CloseCode::Protocol, reason, now);
        }
    }

    pub(super) fn on_message(&mut self, channel: u8, data: &Bytes, now: Timestamp) {
        let handled = if channel == 0 {
            match ControlFromBroker::decode(data) {
                Ok(ControlFromBroker::Errand(answer)) => self.on_errand_answer(answer, now),
                Ok(message) => self.on_control(message, now),
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

    fn on_control(
        &mut self,
        message: ControlFromBroker,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        let State::Up(up) = &mut self.state else {
            return Ok(());
        };
        match message {
            // SGN-9
            ControlFromBroker::Welcome { .. } | ControlFromBroker::SignInRefused { .. }
                if !up.is_signing_in() =>
            {
                return Err("an answer to a SIGN_IN that was not sent");
            }
            ControlFromBroker::ByeOk if !up.has_said_bye() => {
                return Err("BYE_OK without BYE");
            }
            ControlFromBroker::Welcome { .. } => {
                up.on_welcome();
                self.online = true;
                self.events.push_back(ClientEvent::Online);
            }
            ControlFromBroker::SignInRefused { code, reason } if code.is_for_now() => {
                let wait = wait(code);
                up.sign_in_again_at(now + wait);
                self.tell_put_off(PutOff::SignIn, None, (code, reason));
            }
            ControlFromBroker::SignInRefused { code, reason } if code.is_of_the_account() => {
                self.end(EndReason::NotAdmitted { code, reason }, now);
            }
            ControlFromBroker::SignInRefused { code, reason } => {
                self.end(EndReason::NameRefused { code, reason }, now);
            }
            ControlFromBroker::ByeOk => self.end(EndReason::Left, now),
            // Taken by the caller.
            ControlFromBroker::Errand(_) => {}
            ControlFromBroker::Rooms { total, rooms } => {
                // A name that is none must not reach a screen.
                let known =
                    |(people, name): (u64, String)| Some((RoomName::recorded(&name).ok()?, people));
                let rooms = rooms.into_iter().filter_map(known).collect();
                self.events.push_back(ClientEvent::Rooms { total, rooms });
            }
        }
        Ok(())
    }

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
            .room_on(channel)
            .ok_or("a channel that was not opened")?
            .clone();
        let room = self.room(&name)?;
        match message {
            RoomFromBroker::Joined(joined) => self.on_joined(name, channel, &joined)?,
            RoomFromBroker::JoinRefused { code, reason } => {
                if !room.is_asked_on(channel) {
                    return Err("JOIN_REFUSED without JOIN");
                }
                self.on_join_refused(name, code, reason, now)?;
            }
            RoomFromBroker::Introduce {
                author,
                account,
                device,
                name,
            } => room.introduce(author, account, device, &name)?,
            RoomFromBroker::Line(wire) => self.on_line(&name, wire)?,
            RoomFromBroker::Notice {
                presence,
                event,
                author,
            } => self.on_notice(name, presence, event, author)?,
            RoomFromBroker::Stored { n, seq } => {
                room.outbox.on_answer(n)?;
                self.on_stored(&name, n, seq);
            }
            RoomFromBroker::NotStored { n, code, reason } => {
                self.on_not_stored(name, n, (code, reason), now)?;
            }
            RoomFromBroker::Gap { last } => room.outbox.on_gap(last),
            RoomFromBroker::Delivered(delivered) => {
                let all = delivered.k >= delivered.n;
                if let Some(handle) = room.watches.on_delivered(delivered.seq, all) {
                    self.events.push_back(ClientEvent::Delivered {
                        handle,
                        room: name,
                        delivered,
                    });
                }
            }
            RoomFromBroker::Past(past) => {
                let asker = room.pages.asker();
                if let Some((log, line)) = room.on_past(past)? {
                    self.events.push_back(ClientEvent::Past {
                        room: name,
                        asker,
                        log,
                        line,
                    });
                }
            }
            RoomFromBroker::HistoryEnd { earlier, .. } => {
                let asker = room.pages.asker();
                let count = room.pages.on_end()?;
                self.events.push_back(ClientEvent::HistoryEnd {
                    room: name,
                    asker,
                    count,
                    earlier,
                });
            }
            RoomFromBroker::Left => {
                // PUB-10: another device of the account has left, and nobody stores this any more.
                self.give_up_waiting(&name, Refusal::NotAdmitted, "the account has left the room");
                self.forget(name, None);
            }
            RoomFromBroker::PutOff { code, reason } => {
                self.tell_put_off(PutOff::History, Some(name), (code, reason));
            }
            RoomFromBroker::Invited { invite } => {
                let outcome = Ok(invite);
                let invited = ClientEvent::Invited {
                    room: name,
                    outcome,
                };
                self.events.push_back(invited);
            }
            RoomFromBroker::NotInvited { code, reason } => {
                let outcome = Err((code, reason));
                let invited = ClientEvent::Invited {
                    room: name,
                    outcome,
                };
                self.events.push_back(invited);
            }
            RoomFromBroker::Removed { code, reason } => self.forget(name, Some((code, reason))),
            RoomFromBroker::Roster { total, names } => {
                // A name that is none must not reach a screen.
                let known = names.iter().filter_map(|name| Name::recorded(name).ok());
                self.events.push_back(ClientEvent::Roster {
                    room: name,
                    total,
                    names: known.collect(),
                });
            }
        }
        Ok(())
    }

    /// Its owner is told that it has to wait, and why.
    fn tell_put_off(
        &mut self,
        what: PutOff,
        room: Option<RoomName>,
        (code, reason): (Refusal, String),
    ) {
        self.events.push_back(ClientEvent::PutOff {
            what,
            room,
            wait: wait(code),
            code,
            reason,
        });
    }

    fn room(&mut self, name: &RoomName) -> Result<&mut Room, &'static str> {
        self.rooms.get_mut(name).ok_or("a room that was not joined")
    }

    // ---- being in a room

    fn on_joined(
        &mut self,
        name: RoomName,
        channel: u8,
        joined: &Joined,
    ) -> Result<(), &'static str> {
        let room = self.room(&name)?;
        if !room.is_asked_on(channel) {
            return Err("JOINED without JOIN");
        }
        let seated = room.on_joined(channel, joined)?;
        let is_fork = joined.resume == ResumeOutcome::Fork;
        let cut_off = if is_fork {
            room.pages.clear()
        } else {
            Vec::new()
        };
        self.retiring |= seated.is_outrun;
        let entered = seated.entry.map(|entry| self.journal(entry));
        for (count, asker) in cut_off {
            self.events.push_back(ClientEvent::HistoryEnd {
                room: name.clone(),
                asker,
                count,
                earlier: true,
            });
        }
        if is_fork {
            crate::sometimes!(ForkSeen);
            self.tell_in_turn(entered, ClientEvent::Fork { room: name.clone() });
        }
        if let Some(first) = seated.skipped_to {
            crate::sometimes!(LinesSkipped);
            let room = name.clone();
            self.tell_in_turn(entered, ClientEvent::Skipped { room, first });
        }
        self.tell_in_turn(entered, ClientEvent::Joined { room: name });
        Ok(())
    }

    fn on_join_refused(
        &mut self,
        name: RoomName,
        code: Refusal,
        reason: String,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        let room = self.room(&name)?;
        if code.is_for_now() {
            room.seat = Seat::Out;
            room.retry_at = Some(now + wait(code));
            self.tell_put_off(PutOff::Join, Some(name), (code, reason));
        } else {
            room.seat = Seat::Refused;
            // ROL-4: who comes back comes anew.
            let removed = matches!(code, Refusal::Kicked | Refusal::Banned)
                .then(|| self.drop_room(&name, Some(&(code, reason.clone()))));
            let refused = ClientEvent::JoinRefused {
                room: name,
                code,
                reason,
            };
            self.tell_in_turn(removed, refused);
        }
        Ok(())
    }

    fn on_notice(
        &mut self,
        name: RoomName,
        number: u64,
        event: NoticeEvent,
        author: u64,
    ) -> Result<(), &'static str> {
        let room = self.room(&name)?;
        let who = room
            .name_of(author)
            .ok_or("an author without introduction")?;
        if room.on_notice(number) {
            let noticed = self.journal(JournalEntry::Noticed {
                room: name.clone(),
                number,
                event,
                name: who.clone(),
            });
            let notice = ClientEvent::Notice {
                room: name,
                number,
                event,
                name: who,
            };
            self.tell_in_turn(Some(noticed), notice);
        }
        Ok(())
    }

    // ---- lines

    fn on_not_stored(
        &mut self,
        name: RoomName,
        n: u64,
        (code, reason): (Refusal, String),
        now: Timestamp,
    ) -> Result<(), &'static str> {
        let room = self.room(&name)?;
        if code.is_for_now() {
            if room.outbox.on_retry_later(n)? {
                room.retry_at = Some(now + wait(code));
                self.tell_put_off(PutOff::Lines, Some(name), (code, reason));
            }
            return Ok(());
        }
        room.outbox.on_answer(n)?;
        if code == Refusal::Conflict {
            self.retiring |= room.outbox.on_conflict(n);
        } else if let Some(handle) = room.outbox.settle(n) {
            room.watches.on_settled(handle, None);
            self.journal(JournalEntry::Settled {
                handle,
                room: name.clone(),
                outcome: Recorded::Refused(code),
            });
            self.events.push_back(ClientEvent::NotStored {
                handle,
                room: name,
                code,
                reason,
                may_be_stored: false,
            });
        }
        Ok(())
    }

    fn on_line(&mut self, name: &RoomName, wire: WireLine) -> Result<(), &'static str> {
        let own_device = self.known.as_ref().map(|(_, identity)| identity.device());
        let room = self.room(name)?;
        let (line, log, cursor) = room.on_line(wire)?;
        let is_own = Some(line.device) == own_device && room.outbox.waits_for(&line);
        let own = is_own.then_some((line.n, line.seq));
        if bug!(ReportBeforeJournal) {
            room.on_line_journaled(log, line.seq);
        }
        let received = self.journal(JournalEntry::Received {
            room: name.clone(),
            log,
            cursor,
            line: Box::new(line.clone()),
        });
        let told = ClientEvent::Line {
            room: name.clone(),
            log,
            line,
        };
        if let Some((n, seq)) = own {
            // One's own line says as much as STORED.
            self.on_stored(name, n, seq);
        }
        self.tell_in_turn(Some(received), told);
        Ok(())
    }

    fn on_stored(&mut self, name: &RoomName, n: u64, seq: u64) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if let Some(handle) = room.outbox.settle(n) {
            room.note_own(seq);
            let oldest = room.watches.on_settled(handle, Some(seq));
            self.tell_unwatched(name, oldest);
            self.journal(JournalEntry::Settled {
                handle,
                room: name.clone(),
                outcome: Recorded::Stored(seq),
            });
            self.events.push_back(ClientEvent::Stored {
                handle,
                room: name.clone(),
                seq,
            });
        }
    }
}

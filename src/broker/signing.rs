//! Signing in and out: who a session is, and what its end means (SPEC.md section 9.1).

use super::holding::MemoryWait;
use super::room::Parting;
use super::seating::{ASK_AGAIN_AFTER, Broken};
use super::session::Stage;
use super::storage::{Entrance, StorageOp, StorageOutcome};
use super::{Access, Broker, LinkId, Opening, Pending};
use crate::bug;
use crate::chat::{ControlFromBroker, ControlFromNode, Name, OPERATOR, Refusal};
use crate::link::CloseCode;
use crate::time::Timestamp;

impl Broker {
    pub(super) fn on_control(
        &mut self,
        id: LinkId,
        message: ControlFromNode,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        match (message, &session.stage) {
            // ROL-6: nobody signs in as the operator, however one may have come by the signature.
            (ControlFromNode::SignIn { .. }, Stage::Unnamed) if session.account == OPERATOR.0 => {
                self.refuse_sign_in(id, Refusal::NotAdmitted, String::new());
                Ok(())
            }
            (ControlFromNode::SignIn { name, invite }, Stage::Unnamed) => {
                let name = match Name::new(&name) {
                    Ok(name) => name,
                    Err(error) => {
                        self.refuse_sign_in(id, Refusal::NameInvalid, error.to_string());
                        return Ok(());
                    }
                };
                let invite = invite.map(|secret| secret.mark());
                self.set_stage(id, Stage::Early(Box::new((name, invite))));
                self.register(id, now);
                Ok(())
            }
            (ControlFromNode::Bye, Stage::Named(_)) => {
                session.control.push_back(ControlFromBroker::ByeOk.encode());
                self.end_session(id, true, now);
                Ok(())
            }
            (ControlFromNode::ListRooms, Stage::Named(_)) => {
                let rooms = self.list_rooms();
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.control.push_back(rooms.encode());
                }
                Ok(())
            }
            (ControlFromNode::Errand(errand), Stage::Unnamed | Stage::Errand(_)) => {
                self.on_errand(id, errand, now)
            }
            (ControlFromNode::Errand(_), _) => Err("an errand after signing in"),
            (ControlFromNode::ListRooms, _) => Err("a question before signing in"),
            // Without having signed in there is nothing to leave (DEV-1).
            (ControlFromNode::Bye, Stage::Unnamed | Stage::Errand(_)) => {
                session.control.push_back(ControlFromBroker::ByeOk.encode());
                self.end_session(id, false, now);
                Ok(())
            }
            (ControlFromNode::SignIn { .. }, _) => Err("signed in already"),
            (ControlFromNode::Bye, _) => Err("goodbye while signing in"),
        }
    }

    /// Asks the store whether the session may have its name, as soon as the store has opened.
    fn register(&mut self, id: LinkId, now: Timestamp) {
        let now_ms = self.wall_ms(now);
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let Stage::Early(early) = &session.stage else {
            return;
        };
        let (name, invite) = &**early;
        if self.opening != Opening::Done {
            return;
        }
        if let Some(refusal) = self.refuses_for_memory(MemoryWait::Newcomer) {
            self.refuse_sign_in(id, refusal, String::new());
            return;
        }
        let ip = session.link.path().remote.ip();
        let op = StorageOp::Register {
            account: session.account,
            device: session.device,
            name: name.clone(),
            entrance: match (self.refuses_newcomer(ip, now), self.config.access) {
                (Some(refusal), _) => Entrance::Closed(refusal),
                (None, Access::Open) => Entrance::Open,
                (None, Access::Invite) => Entrance::Invited(*invite),
            },
            now_ms,
        };
        match self.ask(op, Pending::Register { link: id }) {
            Some(_) => self.set_stage(id, Stage::Registering),
            None => self.refuse_sign_in(id, Refusal::RetryLater, String::new()),
        }
    }

    /// The store has told what was so before, or could not (BRK-8).
    pub(super) fn on_open_outcome(&mut self, outcome: StorageOutcome, now: Timestamp) {
        let StorageOutcome::Opened(opened) = outcome else {
            self.opening = Opening::AgainAt(now + ASK_AGAIN_AFTER);
            return;
        };
        self.opening = Opening::Done;
        self.on_opened(*opened, now);
        let early: Vec<LinkId> = self.sessions.keys().copied().collect();
        for id in early {
            self.register(id, now);
            self.mark_ready(id);
        }
    }

    /// Asks the store again if that is due (BRK-5).
    pub(super) fn repeat_opening(&mut self, now: Timestamp) {
        if matches!(self.opening, Opening::AgainAt(at) if at <= now) {
            self.opening = Opening::Asked;
            self.ask(StorageOp::Open, Pending::Open);
        }
    }

    pub(super) fn refuse_sign_in(&mut self, id: LinkId, code: Refusal, reason: String) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        self.counters.refuse(code);
        let reason = if reason.is_empty() {
            code.to_string()
        } else {
            reason
        };
        session.stage = Stage::Unnamed;
        session
            .control
            .push_back(ControlFromBroker::SignInRefused { code, reason }.encode());
    }

    pub(super) fn set_stage(&mut self, id: LinkId, stage: Stage) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stage = stage;
        }
    }

    pub(super) fn on_registered(&mut self, id: LinkId, outcome: StorageOutcome, now: Timestamp) {
        let people = self.people.len() as u64;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !matches!(session.stage, Stage::Registering) {
            return;
        }
        match outcome {
            StorageOutcome::Registered { name, is_new } => {
                let ip = session.link.path().remote.ip();
                session.stage = Stage::Named(name);
                session
                    .control
                    .push_back(ControlFromBroker::Welcome { people }.encode());
                if is_new {
                    self.charge_newcomer(ip, now);
                }
                self.replace_older(id, now);
            }
            StorageOutcome::NotRegistered(code) => self.refuse_sign_in(id, code, String::new()),
            _ => self.refuse_sign_in(id, Refusal::RetryLater, String::new()),
        }
    }

    /// SGN-4: of the device's links the older one goes, without a word to anybody. That may be the
    /// one that signs in: packets of a node that was killed come late.
    fn replace_older(&mut self, id: LinkId, now: Timestamp) {
        let begun_at = |id: LinkId| self.sessions.get(&id).map(|s| s.begun_at);
        let Some(device) = self.sessions.get(&id).map(|session| session.device) else {
            return;
        };
        let other = self.devices.get(&device).copied();
        let Some(other) = other.filter(|other| *other != id) else {
            self.devices.insert(device, id);
            return;
        };
        let (older, newer) = match begun_at(other) > begun_at(id) {
            true => (id, other),
            false => (other, id),
        };
        self.devices.insert(device, newer);
        if bug!(GhostSession) {
            return;
        }
        if let Some(session) = self.sessions.get_mut(&older) {
            session
                .link
                .close(CloseCode::Replaced, "the device has signed in anew", now);
            self.end_session(older, false, now);
            self.mark_ready(older);
        }
    }

    /// The session is over; its link may still have to say so. Presence goes at once if goodbye
    /// was said, and lingers for the grace otherwise.
    pub(super) fn end_session(&mut self, id: LinkId, said_bye: bool, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if matches!(session.stage, Stage::Ended) {
            return;
        }
        let is_quiet = session.is_quiet();
        let stage = core::mem::replace(&mut session.stage, Stage::Ended);
        let (account, device, last_heard) =
            (session.account, session.device, session.link.last_heard());
        // Who hangs up without goodbye may come back, and is not counted on.
        let parting = match (said_bye, session.was_hung_up) {
            (true, _) => Parting::Bye(device),
            (false, false) => Parting::Lost(device),
            (false, true) => Parting::Other,
        };
        let seats = core::mem::take(&mut session.seats);
        if self.devices.get(&device) == Some(&id) {
            self.devices.remove(&device);
        }
        if !said_bye && !is_quiet && !seats.values().any(|seat| seat.is_open()) {
            self.note_sign_of_life(account, last_heard);
        }
        if let Stage::Errand(errand) = stage {
            self.give_up_errand(id, &errand);
        }
        for (channel, seat) in seats {
            if let Some(room) = self.rooms.get_mut(&seat.room) {
                room.readers.remove(&(id, channel));
            }
            let watched = seat.watched.keys().copied();
            self.stop_watching(&seat.room, account, (id, channel), watched);
            if seat.is_open() && !seat.is_quiet {
                self.give_up_seat(&seat.room, account, parting, last_heard, now);
            }
            self.forget_if_unused(&seat.room);
        }
        if said_bye && !is_quiet {
            self.say_goodbye(account, device, now);
        }
    }

    pub(super) fn forget_link(&mut self, id: LinkId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        let link = &session.link;
        self.losses.learn(link.path().remote.ip(), link.loss());
        for cid in &session.cids {
            self.routes.remove(cid);
        }
        self.accounts.remove(&(session.account, id));
        self.forget_link_holds(&session);
        if let Some(row) = session.remembered {
            self.links.forget(row.cid);
        }
    }
}

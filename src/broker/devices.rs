//! Errands: what a node does that does not sign in. It links, lists and revokes the devices of its
//! account (SPEC.md section 9.8).
//!
//! A session on an errand has no name, no room and no presence, and is beside whatever other session
//! its device has. To link a device takes two of them: one offers, the other asks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::seating::Broken;
use super::session::Stage;
use super::storage::{DeviceRow, StorageOp, StorageOutcome};
use super::{Broker, LinkId, Pending};
use crate::bug;
use crate::chat::{
    ControlFromBroker, DeviceEntry, ErrandFromBroker, ErrandFromNode, Grant, LINK_LASTS_MAX_MS,
    LinkMark, Name, Proof, Refusal,
};
use crate::link::CloseCode;
use crate::secure::{AccountKey, DeviceKey, SIGNATURE_LEN};
use crate::time::Timestamp;

/// The most offers that a broker holds (LIM-15).
pub const LINK_OFFERS_MAX: usize = 1_024;

/// What a session on an errand waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// Nothing: it may ask for something.
    Idle,
    /// The store's answer.
    Storing,
    /// Somebody to ask by its offer.
    Offering(LinkMark),
    /// What this link, which has offered, says.
    Asking(LinkId),
    /// Its own device, to say what becomes of this link, which has asked.
    Asked(LinkId),
}

/// An errand that is with the store.
pub(super) enum Stored {
    /// Whether the device may offer.
    Offer { mark: LinkMark, until: Timestamp },
    /// That a device is one of the account now, of which this link is to be told.
    Link { asking: LinkId, grant: Grant },
    /// The list.
    List,
    /// That this device is none any more.
    Revoke {
        account: AccountKey,
        device: DeviceKey,
    },
}

/// The offers that are held, each good for one device (DEV-3). In memory only.
#[derive(Debug, Default)]
pub(super) struct Offers(BTreeMap<LinkMark, Offer>);

/// What is held of one.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) link: LinkId,
    pub(super) account: AccountKey,
    pub(super) until: Timestamp,
}

impl Offers {
    /// Holds an offer, in place of another of the same account: returns who had made that. The error
    /// is that there are too many, or one with this mark.
    pub(super) fn hold(
        &mut self,
        mark: LinkMark,
        offer: Offer,
        now: Timestamp,
    ) -> Result<Option<LinkId>, ()> {
        self.0.retain(|_, held| held.until > now);
        let same = self.0.get(&mark);
        if same.is_some_and(|held| held.account != offer.account) {
            return Err(());
        }
        let mut others = self.0.iter();
        let before = others.find(|(_, held)| held.account == offer.account);
        let before = before.map(|(mark, held)| (*mark, held.link));
        if let Some((mark, _)) = before {
            self.0.remove(&mark);
        }
        if self.0.len() >= LINK_OFFERS_MAX {
            return Err(());
        }
        let before = before
            .map(|(_, link)| link)
            .filter(|link| *link != offer.link);
        self.0.insert(mark, offer);
        Ok(before)
    }

    /// How many are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.0.len()
    }

    /// Takes the offer out, for the one time that it is good for.
    pub(super) fn take(&mut self, mark: &LinkMark, now: Timestamp) -> Option<LinkId> {
        let offer = self.0.remove(mark)?;
        (offer.until > now).then_some(offer.link)
    }
}

impl Broker {
    /// DEV-1: one thing at a time.
    pub(super) fn on_errand(
        &mut self,
        id: LinkId,
        errand: ErrandFromNode,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        if matches!(session.stage, Stage::Unnamed) {
            session.stage = Stage::Errand(Errand::Idle);
        }
        let Stage::Errand(waits) = &session.stage else {
            return Err("an errand after signing in");
        };
        let (account, device) = (session.account, session.device);
        match (errand, waits) {
            (ErrandFromNode::LinkGrant(grant), Errand::Asked(asking)) => {
                let asking = *asking;
                self.on_grant(id, asking, grant, now)
            }
            // DEV-5: it has crossed the news that the device has gone.
            (ErrandFromNode::LinkGrant(_), Errand::Idle) => {
                self.refuse_errand(id, Refusal::LinkUnknown);
                Ok(())
            }
            (ErrandFromNode::LinkGrant(_), _) => Err("a grant for nobody"),
            (_, waits) if *waits != Errand::Idle => Err("two errands at a time"),
            (ErrandFromNode::LinkOffer { mark, lasts_ms }, _) => {
                let lasts = Duration::from_millis(lasts_ms.min(LINK_LASTS_MAX_MS));
                let until = now + lasts;
                let op = StorageOp::Devices { account, device };
                self.ask_for_errand(id, op, Stored::Offer { mark, until });
                Ok(())
            }
            (ErrandFromNode::LinkAsk { mark, proof }, _) => {
                self.on_link_ask(id, &mark, proof, now);
                Ok(())
            }
            (ErrandFromNode::ListDevices, _) => {
                let op = StorageOp::Devices { account, device };
                self.ask_for_errand(id, op, Stored::List);
                Ok(())
            }
            (ErrandFromNode::RevokeDevice { device, signature }, _) => {
                self.on_revoke_device(id, (account, device), &signature, now)
            }
        }
    }

    fn ask_for_errand(&mut self, id: LinkId, op: StorageOp, errand: Stored) {
        match self.ask(op, Pending::Errand { link: id, errand }) {
            Some(_) => self.set_stage(id, Stage::Errand(Errand::Storing)),
            None => self.refuse_errand(id, Refusal::RetryLater),
        }
    }

    /// DEV-4: the offer is gone with this, whatever comes of it.
    fn on_link_ask(&mut self, id: LinkId, mark: &LinkMark, proof: Proof, now: Timestamp) {
        let device = self.sessions.get(&id).map(|session| session.device);
        let offering = self.offers.take(mark, now);
        let (Some(device), Some(offering)) = (device, offering) else {
            return self.refuse_errand(id, Refusal::LinkUnknown);
        };
        self.set_stage(id, Stage::Errand(Errand::Asking(offering)));
        self.set_stage(offering, Stage::Errand(Errand::Asked(id)));
        self.answer_errand(offering, ErrandFromBroker::LinkAsked { device, proof });
    }

    /// DEV-5: the device is told when the store knows it.
    fn on_grant(
        &mut self,
        id: LinkId,
        asking: LinkId,
        grant: Grant,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let (Some(session), Some(asker)) = (self.sessions.get(&id), self.sessions.get(&asking))
        else {
            return Ok(());
        };
        if !session
            .account
            .vouches_for(&asker.device, &grant.certificate)
        {
            return Err("a certificate that does not hold");
        }
        if Name::recorded(&grant.name).is_err() {
            return Err("a name that is none");
        }
        let op = StorageOp::LinkDevice {
            account: session.account,
            by: session.device,
            device: asker.device,
            now_ms: self.wall_ms(now),
        };
        self.ask_for_errand(id, op, Stored::Link { asking, grant });
        if !self.waits_for_store(id) {
            self.refuse_errand(asking, Refusal::RetryLater);
        }
        Ok(())
    }

    fn waits_for_store(&self, id: LinkId) -> bool {
        let stage = self.sessions.get(&id).map(|session| &session.stage);
        matches!(stage, Some(Stage::Errand(Errand::Storing)))
    }

    /// DEV-8
    fn on_revoke_device(
        &mut self,
        id: LinkId,
        (account, device): (AccountKey, DeviceKey),
        signature: &[u8; SIGNATURE_LEN],
        now: Timestamp,
    ) -> Result<(), Broken> {
        if !account.revokes(&self.public_key(), &device, signature) {
            return Err("a revocation that its account has not signed");
        }
        let now_ms = self.wall_ms(now);
        let op = StorageOp::RevokeDevice {
            account,
            device,
            now_ms,
        };
        self.ask_for_errand(id, op, Stored::Revoke { account, device });
        Ok(())
    }

    // ---- what the store says

    pub(super) fn on_errand_stored(
        &mut self,
        id: LinkId,
        errand: Stored,
        outcome: StorageOutcome,
        now: Timestamp,
    ) {
        if let (Stored::Revoke { account, device }, StorageOutcome::DeviceRevoked) =
            (&errand, &outcome)
        {
            // Also where whoever asked has gone meanwhile.
            self.close_revoked(*account, *device, now);
        }
        let waits = self.waits_for_store(id);
        match (errand, outcome) {
            (Stored::Link { asking, grant }, outcome) => {
                self.on_linked(id, asking, grant, outcome);
            }
            _ if !waits => {}
            (Stored::Offer { mark, until }, StorageOutcome::Devices(_)) => {
                self.hold_offer(id, mark, until, now);
            }
            (Stored::List, StorageOutcome::Devices(rows)) => {
                let entries = rows.iter().map(|row| self.entry(row)).collect();
                self.end_errand(id, ErrandFromBroker::Devices(entries));
            }
            (Stored::Revoke { .. }, StorageOutcome::DeviceRevoked) => {
                self.end_errand(id, ErrandFromBroker::DeviceRevoked);
            }
            (_, StorageOutcome::NotAllowed(code)) => self.refuse_errand(id, code),
            _ => self.refuse_errand(id, Refusal::RetryLater),
        }
    }

    /// DEV-3
    fn hold_offer(&mut self, id: LinkId, mark: LinkMark, until: Timestamp, now: Timestamp) {
        let Some(account) = self.sessions.get(&id).map(|session| session.account) else {
            return;
        };
        let offer = Offer {
            link: id,
            account,
            until,
        };
        match self.offers.hold(mark, offer, now) {
            Ok(before) => {
                self.set_stage(id, Stage::Errand(Errand::Offering(mark)));
                self.answer_errand(id, ErrandFromBroker::LinkDone);
                if let Some(before) = before {
                    self.refuse_errand(before, Refusal::LinkUnknown);
                }
            }
            Err(()) => self.refuse_errand(id, Refusal::RetryLater),
        }
    }

    fn on_linked(&mut self, id: LinkId, asking: LinkId, grant: Grant, outcome: StorageOutcome) {
        let account = self.sessions.get(&id).map(|session| session.account);
        let is_waiting = self.sessions.get(&asking).is_some_and(
            |session| matches!(session.stage, Stage::Errand(Errand::Asking(of)) if of == id),
        );
        let refusal = match (outcome, account) {
            (StorageOutcome::DeviceLinked, Some(account)) if is_waiting => {
                let granted = ErrandFromBroker::LinkGranted { account, grant };
                self.end_errand(asking, granted);
                return self.end_errand(id, ErrandFromBroker::LinkDone);
            }
            (StorageOutcome::DeviceLinked, _) => Refusal::LinkUnknown,
            (StorageOutcome::NotAllowed(code), _) => code,
            _ => Refusal::RetryLater,
        };
        if is_waiting {
            self.refuse_errand(asking, refusal);
        }
        if self.waits_for_store(id) {
            self.refuse_errand(id, refusal);
        }
    }

    fn entry(&self, row: &DeviceRow) -> DeviceEntry {
        DeviceEntry {
            device: row.device,
            is_linked: row.is_linked,
            is_here: self.devices.contains_key(&row.device),
            first_seen_ms: row.first_seen_ms,
            last_seen_ms: row.last_seen_ms,
            revoked_at_ms: row.revoked_at_ms,
        }
    }

    /// DEV-8: the store has it that this device speaks for the account no more. Its links are closed;
    /// the account is not away for that before the grace is over.
    pub fn close_revoked(&mut self, account: AccountKey, device: DeviceKey, now: Timestamp) {
        let links = self
            .accounts
            .range((account, LinkId::MIN)..=(account, LinkId::MAX));
        let links: Vec<LinkId> = links.map(|(_, id)| *id).collect();
        for id in links {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if bug!(KeepRevoked) {
                continue;
            }
            if session.device == device && !matches!(session.stage, Stage::Ended) {
                session
                    .link
                    .close(CloseCode::Revoked, "this device was revoked", now);
                self.end_session(id, false, now);
                self.mark_ready(id);
            }
        }
    }

    // ---- the end of it

    /// A session on an errand is over: who waits for it waits no more.
    pub(super) fn give_up_errand(&mut self, id: LinkId, errand: &Errand) {
        let other = match errand {
            Errand::Offering(mark) => {
                self.offers.0.remove(mark);
                return;
            }
            Errand::Asking(other) | Errand::Asked(other) => *other,
            // What the store says finds out.
            Errand::Idle | Errand::Storing => return,
        };
        let waits = self.sessions.get(&other).is_some_and(|session| {
            matches!(session.stage, Stage::Errand(Errand::Asking(of) | Errand::Asked(of)) if of == id)
        });
        if waits {
            self.refuse_errand(other, Refusal::LinkUnknown);
        }
    }

    fn refuse_errand(&mut self, id: LinkId, code: Refusal) {
        let reason = code.to_string();
        self.end_errand(id, ErrandFromBroker::Refused { code, reason });
    }

    fn end_errand(&mut self, id: LinkId, answer: ErrandFromBroker) {
        self.set_stage(id, Stage::Errand(Errand::Idle));
        self.answer_errand(id, answer);
    }

    pub(super) fn answer_errand(&mut self, id: LinkId, answer: ErrandFromBroker) {
        if let Some(session) = self.sessions.get_mut(&id) {
            let answer = ControlFromBroker::Errand(answer).encode();
            session.control.push_back(answer);
            self.mark_ready(id);
        }
    }
}

//! Budgets: what each account, and each network, may cause (SPEC.md section 10.3).
//!
//! A budget is a bucket of tokens. As long as there is anything in it, what is asked is done, and
//! may leave a debt; when there is nothing, the answer says when to come again, and nothing is
//! recorded or used up: whoever waits as told loses nothing.

mod allowance;
mod ledger;

use core::time::Duration;
use std::net::IpAddr;

pub use allowance::{Allowance, Budgets};
pub(super) use ledger::Ledger;
pub use ledger::{ACCOUNTS_REMEMBERED_MAX, NETWORKS_REMEMBERED_MAX};

use super::session::{Place, Seat, SeatStage, Session};
use super::storage::StoredLine;
use super::{Again, Broker, LinkId};
use crate::chat::{Budget, Refusal, RoomFromBroker, RoomName};
use crate::secure::AccountKey;
use crate::time::Timestamp;

/// What a line costs beside its body, of [`Budget::Bytes`] and [`Budget::History`] (BUD-5, BUD-6).
pub const LINE_COST: u64 = 64;

/// Whoever has to wait so long for what is read for it is told (BUD-6).
const TOLD_FROM: Duration = Duration::from_secs(1);

/// Whether an address is the broker's own machine's (BUD-2).
const fn is_local(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whose budgets are meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payer {
    pub(super) account: AccountKey,
    /// Whether it is on the broker's own machine; whoever is gone is not.
    pub(super) is_local: bool,
}

impl Session {
    /// Whose budgets it uses.
    pub(super) const fn payer(&self) -> Payer {
        Payer {
            account: self.account,
            is_local: is_local(self.link.path().remote.ip()),
        }
    }
}

/// A publication that was put off (BUD-5): those behind it come too early as well.
#[derive(Clone, Copy, Debug)]
pub(super) struct PutOff {
    n: u64,
    budget: Budget,
    until: Timestamp,
}

impl Seat {
    /// Whether a publication before `n` was put off, so that this one has to wait as well: to store
    /// it is not possible, and to be asked would cost its author (PUB-2).
    pub(super) fn waits_behind(&mut self, n: u64, now: Timestamp) -> Option<Refusal> {
        let put_off = self
            .put_off
            .filter(|put_off| put_off.n < n && now < put_off.until);
        self.put_off = put_off;
        let PutOff { budget, until, .. } = put_off?;
        Some(over(budget, until.saturating_since(now)))
    }

    /// Publication `n` has to come again later, if the refusal says so.
    pub(super) fn note_put_off(&mut self, n: u64, refusal: Refusal, now: Timestamp) {
        if let Refusal::OverBudget { budget, wait_ms } = refusal {
            let until = now + Duration::from_millis(wait_ms);
            self.put_off = Some(PutOff { n, budget, until });
        }
    }
}

/// Nothing is left of `budget`; there will be in `wait`.
pub(super) fn over(budget: Budget, wait: Duration) -> Refusal {
    // Rounded up: who comes earlier would come in vain.
    let wait_ms = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Refusal::OverBudget { budget, wait_ms }
}

impl Broker {
    /// Why `who` has to wait, if it has to.
    pub(super) fn over_budget(
        &self,
        who: Payer,
        budget: Budget,
        now: Timestamp,
    ) -> Option<Refusal> {
        let allowance = self.config.budgets.allowance(budget, who.is_local)?;
        self.ledger.refuses(&who.account, budget, allowance, now)
    }

    /// `who` has caused so much.
    pub(super) fn charge(&mut self, who: Payer, budget: Budget, units: u64, now: Timestamp) {
        if let Some(allowance) = self.config.budgets.allowance(budget, who.is_local) {
            self.ledger
                .charge(who.account, budget, allowance, units, now);
        }
    }

    /// BUD-6: lines were read for the session, as far as it is still there.
    pub(super) fn charge_reading(&mut self, id: LinkId, lines: &[StoredLine], now: Timestamp) {
        let cost = |stored: &StoredLine| stored.line.body.len() as u64 + LINE_COST;
        if let Some(who) = self.sessions.get(&id).map(|session| session.payer()) {
            self.charge(who, Budget::History, lines.iter().map(cost).sum(), now);
        }
    }

    /// BUD-5: why a publication of so many bytes has to wait, if it has to; else it counts.
    pub(super) fn take_line(
        &mut self,
        who: Payer,
        room: &RoomName,
        len: usize,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let over = |budget| self.over_budget(who, budget, now);
        if let Some(refusal) = over(Budget::Lines).or_else(|| over(Budget::Bytes)) {
            return Err(refusal);
        }
        let present = self.rooms.get(room).map_or(0, |room| room.present.len());
        let bytes = (len as u64 + LINE_COST).saturating_mul(present.max(1) as u64);
        self.charge(who, Budget::Bytes, bytes, now);
        self.charge(who, Budget::Lines, 1, now);
        Ok(())
    }

    /// Why nobody may come in from there now who is not known, if so (BUD-3).
    pub(super) fn refuses_newcomer(&self, ip: IpAddr, now: Timestamp) -> Option<Refusal> {
        let budgets = &self.config.budgets;
        let allowance = budgets.allowance(Budget::Registrations, is_local(ip))?;
        self.ledger.refuses_newcomer(ip, allowance, now)
    }

    /// Somebody has come in from there who was not known.
    pub(super) fn charge_newcomer(&mut self, ip: IpAddr, now: Timestamp) {
        let budgets = &self.config.budgets;
        if let Some(allowance) = budgets.allowance(Budget::Registrations, is_local(ip)) {
            self.ledger.charge_newcomer(ip, allowance, now);
        }
    }

    /// BUD-6: what a seat is to be read has to wait, if its account has read so much; then whoever
    /// waits long is told.
    pub(super) fn puts_reading_off(
        &mut self,
        id: LinkId,
        channel: u8,
        what: Again,
        now: Timestamp,
    ) -> bool {
        let who = self.sessions.get(&id).map(|session| session.payer());
        let Some(code) = who.and_then(|who| self.over_budget(who, Budget::History, now)) else {
            return false;
        };
        let wait = code.wait().unwrap_or_default();
        let session = self.sessions.get_mut(&id);
        let Some(seat) = session.and_then(|session| session.seats.get_mut(channel)) else {
            return false;
        };
        match (what, &mut seat.stage) {
            (Again::Page, _) => seat.begin_reading_page(),
            (_, SeatStage::In(cursor)) => {
                if let Place::Replay { reading, .. } = &mut cursor.place {
                    *reading = true;
                }
            }
            _ => {}
        }
        if wait >= TOLD_FROM {
            self.counters.refuse(code);
            let reason = code.to_string();
            seat.reply(&RoomFromBroker::PutOff { code, reason });
        }
        self.read_again.insert((now + wait, id, channel, what));
        self.mark_ready(id);
        true
    }
}

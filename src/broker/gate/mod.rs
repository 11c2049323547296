//! Who may begin a handshake (SPEC.md section 6.4).
//!
//! A HELLO costs its sender nothing, and the broker three multiplications on a curve and an entry
//! in a table: whoever forges senders' addresses could have it do nothing else. So a broker that has
//! much to do has a node prove first that it gets what is sent to its address, and remembers nothing
//! meanwhile; and no network gets more handshakes than people in it could need.
//!
//! This decides, and is told what came of it; that there are datagrams at all, it does not know.

mod cookies;
mod limits;
mod load;

use core::time::Duration;
use std::net::SocketAddr;

pub use cookies::COOKIE_LIFETIME;
pub use limits::{
    ADDRESS_BURST, ADDRESS_RATE, FIRST_CONTACT_COST, NETWORK_BURST, NETWORK_RATE, PREFIXES_MAX,
};
pub use load::{
    HALF_OPEN_CALM, HANDSHAKE_BURST, HANDSHAKE_SHARE_CALM, HANDSHAKE_SHARE_MAX,
    HANDSHAKES_PER_TURN, LOAD_LASTS,
};

use crate::drops::Dropped;
use crate::rng::Seed;
use crate::secure::COOKIE_LEN;
use crate::time::Timestamp;
use crate::wire::Hello;
use cookies::{Cookies, Proof};
use limits::Limits;
use load::Load;

/// What is to be done about a HELLO whose mac1 is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its handshake may begin, and counts.
    Begin,
    /// Its sender is to send it again with this cookie; until then it is dropped for that reason.
    Ask([u8; COOKIE_LEN], Dropped),
    /// Nothing, for that reason.
    Refuse(Dropped),
}

/// Decides about handshakes.
#[derive(Debug)]
pub(super) struct Gate {
    cookies: Cookies,
    load: Load,
    limits: Limits,
    /// Whether the datagram that was handled last has led to a Diffie-Hellman.
    has_worked: bool,
}

impl Gate {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            cookies: Cookies::new(seed),
            load: Load::default(),
            limits: Limits::default(),
            has_worked: false,
        }
    }

    /// What is to be done about a HELLO from that address, with so many handshakes half-open
    /// (ADR-1).
    pub(super) fn judge(
        &mut self,
        from: SocketAddr,
        hello: &Hello,
        is_first_contact: bool,
        half_open: usize,
        now: Timestamp,
    ) -> Verdict {
        self.has_worked = false;
        let proof = self.cookies.proof(from, hello, now);
        let is_asked = self.load.asks(is_first_contact, half_open, now);
        let reason = match proof {
            Proof::None => Dropped::CookieMissing,
            Proof::Wrong => Dropped::CookieWrong,
            Proof::Right => {
                return match self.refuses(from, is_first_contact, now) {
                    Some(reason) => Verdict::Refuse(reason),
                    None => self.begin(from, is_first_contact, now),
                };
            }
        };
        // ADR-5: who may have forged that address must not keep others there from coming in.
        if is_asked || self.refuses(from, is_first_contact, now).is_some() {
            return Verdict::Ask(self.cookies.cookie(from, hello, now), reason);
        }
        self.begin(from, is_first_contact, now)
    }

    /// A FINISH has come for a handshake that began there: whether it may be looked at (ADR-7).
    pub(super) fn judge_finish(&mut self, from: SocketAddr, now: Timestamp) -> Result<(), Dropped> {
        match self.refuses(from, true, now) {
            Some(reason) => Err(reason),
            None => {
                self.has_worked = true;
                Ok(())
            }
        }
    }

    /// It did not verify (ADR-7).
    pub(super) fn on_wrong_finish(&mut self, from: SocketAddr, now: Timestamp) {
        self.limits.charge(from.ip(), true, now);
    }

    /// The datagram that was handled last took so long. What was refused does not count: asking for
    /// cookies would not make it less (ADR-3, ADR-6).
    pub(super) fn on_time_taken(&mut self, taken: Duration, now: Timestamp) {
        if core::mem::take(&mut self.has_worked) {
            self.load.on_time_taken(taken, now);
        }
    }

    /// Why one more handshake from there may not go on now, if it may not (ADR-5, ADR-6).
    fn refuses(&self, from: SocketAddr, is_first_contact: bool, now: Timestamp) -> Option<Dropped> {
        if self.load.is_busy(now) {
            return Some(Dropped::Busy);
        }
        let is_within = self.limits.allow(from.ip(), is_first_contact, now);
        (!is_within).then_some(Dropped::Rate)
    }

    fn begin(&mut self, from: SocketAddr, is_first_contact: bool, now: Timestamp) -> Verdict {
        self.has_worked = true;
        self.load.begin(now);
        self.limits.charge(from.ip(), is_first_contact, now);
        Verdict::Begin
    }
}

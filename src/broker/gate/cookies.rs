//! Cookies that are good for a while (ADR-2).

use core::time::Duration;
use std::net::SocketAddr;

use crate::rng::{Seed, SeededRng};
use crate::secure::{COOKIE_LEN, CookieSecret};
use crate::time::Timestamp;
use crate::wire::Hello;

/// How long cookies are made with one secret, and how much longer they are good (ADR-2).
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(60);

/// What a HELLO says of its sender's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing: it has no cookie.
    None,
    /// Nothing: its cookie was made for something else, long ago, or by somebody else.
    Wrong,
    /// Somebody who gets what is sent there has sent it.
    Right,
}

/// The secrets of the present and of the time before.
#[derive(Debug)]
pub(super) struct Cookies {
    rng: SeededRng,
    current: CookieSecret,
    since: Timestamp,
    previous: Option<CookieSecret>,
}

impl Cookies {
    pub(super) fn new(seed: Seed) -> Self {
        let mut rng = SeededRng::new(seed);
        Self {
            current: CookieSecret::new(&rng.bytes()),
            rng,
            since: Timestamp::ZERO,
            previous: None,
        }
    }

    /// What a node at `from` is to send back.
    pub(super) fn cookie(
        &mut self,
        from: SocketAddr,
        hello: &Hello,
        now: Timestamp,
    ) -> [u8; COOKIE_LEN] {
        self.rotate(now);
        self.current.cookie(from, hello)
    }

    /// What the cookie of a HELLO from there proves.
    pub(super) fn proof(&mut self, from: SocketAddr, hello: &Hello, now: Timestamp) -> Proof {
        if hello.cookie.is_empty() {
            return Proof::None;
        }
        self.rotate(now);
        let mut secrets = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten();
        match secrets.any(|secret| secret.verify(from, hello)) {
            true => Proof::Right,
            false => Proof::Wrong,
        }
    }

    /// Draws a new secret if the present one has had its time, and forgets what is too old.
    fn rotate(&mut self, now: Timestamp) {
        let age = now.saturating_since(self.since);
        if age < COOKIE_LIFETIME {
            return;
        }
        let fresh = CookieSecret::new(&self.rng.bytes());
        let before = core::mem::replace(&mut self.current, fresh);
        self.previous = (age < COOKIE_LIFETIME * 2).then_some(before);
        self.since = now;
    }
}

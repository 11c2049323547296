//! Cookies: how a broker has a node prove that it gets what is sent to its address, and remembers
//! nothing meanwhile (ADR-2).

use core::fmt;
use std::net::{IpAddr, SocketAddr};

use ring::hmac::{self, HMAC_SHA256};
use subtle::ConstantTimeEq as _;

use super::keys::KEY_LEN;
use crate::wire::Hello;

/// The bytes of a cookie (ADR-2).
pub const COOKIE_LEN: usize = 16;

/// What a broker's cookies are made of (ADR-2).
#[derive(Clone)]
pub struct CookieSecret(hmac::Key);

impl CookieSecret {
    /// The secret of these bytes, which are random.
    #[must_use]
    pub fn new(secret: &[u8; KEY_LEN]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, secret))
    }

    /// What is to come back in the HELLO, if the sender of this one is at `from` (ADR-2).
    ///
    /// It depends on the address, and on what the node chose for this handshake: nobody can use it
    /// elsewhere or for another one. What a node changes because of the cookie is not in it.
    #[must_use]
    pub fn cookie(&self, from: SocketAddr, hello: &Hello) -> [u8; COOKIE_LEN] {
        let ip = match from.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&ip.octets());
        context.update(&from.port().to_be_bytes());
        context.update(&hello.prologue());
        context.update(&hello.noise);
        let mut cookie = [0; COOKIE_LEN];
        cookie.copy_from_slice(&context.sign().as_ref()[..COOKIE_LEN]);
        cookie
    }

    /// Whether the HELLO has the cookie that was made for it. In constant time, so that nobody finds
    /// the right one byte by byte.
    #[must_use]
    pub fn verify(&self, from: SocketAddr, hello: &Hello) -> bool {
        self.cookie(from, hello)[..].ct_eq(&hello.cookie).into()
    }
}

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::secure::Initiator;
    use crate::wire::{Handshake, NodeCid};

    fn hello(cid: u8, seed: u8) -> Hello {
        let initiator = Initiator::first_contact(NodeCid::new(&[cid]).unwrap(), [seed; 32]);
        match Handshake::decode(initiator.hello()) {
            Ok(Handshake::Hello(hello)) => hello,
            other => panic!("{other:?}"),
        }
    }

    fn with_cookie(hello: &Hello, cookie: &[u8]) -> Hello {
        let mut hello = hello.clone();
        hello.cookie = Bytes::copy_from_slice(cookie);
        hello
    }

    /// ADR-2.
    #[test]
    fn a_cookie_is_good_for_one_address_and_one_handshake() {
        let secret = CookieSecret::new(&[1; 32]);
        let from: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let right = secret.cookie(from, &hello(1, 1));
        assert!(secret.verify(from, &with_cookie(&hello(1, 1), &right)));
        // The same host, as a socket for both families names it.
        let mapped = "[::ffff:192.0.2.7]:4711".parse().unwrap();
        assert!(secret.verify(mapped, &with_cookie(&hello(1, 1), &right)));

        for elsewhere in ["192.0.2.8:4711", "192.0.2.7:4712", "[2001:db8::7]:4711"] {
            let elsewhere = elsewhere.parse().unwrap();
            assert!(!secret.verify(elsewhere, &with_cookie(&hello(1, 1), &right)));
        }
        for other in [hello(2, 1), hello(1, 2)] {
            assert!(!secret.verify(from, &with_cookie(&other, &right)));
        }
        let other = CookieSecret::new(&[2; 32]);
        assert!(!other.verify(from, &with_cookie(&hello(1, 1), &right)));
        for len in 0..COOKIE_LEN {
            assert!(!secret.verify(from, &with_cookie(&hello(1, 1), &right[..len])));
        }
        for byte in 0..COOKIE_LEN {
            let mut wrong = right;
            wrong[byte] ^= 1;
            assert!(!secret.verify(from, &with_cookie(&hello(1, 1), &wrong)));
        }
    }

    /// ADR-2: what comes back is the same HELLO, but for cookie, padding, mac1 and CRC.
    #[test]
    fn a_cookie_does_not_depend_on_what_it_changes() {
        let secret = CookieSecret::new(&[1; 32]);
        let from: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let mut hello = hello(1, 1);
        let before = secret.cookie(from, &hello);
        hello.cookie = Bytes::from_static(b"something else");
        hello.padding += 9;
        hello.mac1 = [7; 16];
        assert_eq!(secret.cookie(from, &hello), before);
    }
}

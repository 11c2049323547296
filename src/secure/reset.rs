//! Stateless resets: how a broker that knows nothing of a link any more ends it (RST-1).
//!
//! The token of a connection id is a function of the id and of a secret that outlives the broker's
//! process. So a broker that has lost everything else can still show that it is the one that gave
//! the id out, and nobody else can.

use core::fmt;

use bytes::Bytes;
use ring::hmac::{self, HMAC_SHA256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::keys::KEY_LEN;
use crate::rng::SeededRng;
use crate::wire::{BrokerCid, RESET_TOKEN_LEN, ResetToken, as_data};

/// The fewest bytes of a reset: as many as a short data packet toward a node has (RST-2).
pub const RESET_LEN_MIN: usize = 21;
/// The most bytes of a reset: as many as another short data packet has (RST-2).
pub const RESET_LEN_MAX: usize = 42;

/// What a broker's reset tokens are made of (RST-1). Erased when dropped.
#[derive(Clone)]
pub struct ResetSecret(Zeroizing<[u8; KEY_LEN]>);

impl ResetSecret {
    /// The secret of these bytes, which are random.
    #[must_use]
    pub fn new(secret: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The token of a connection id (RST-1).
    #[must_use]
    pub fn token(&self, cid: &BrokerCid) -> ResetToken {
        let key = hmac::Key::new(HMAC_SHA256, &*self.0);
        let tag = hmac::sign(&key, cid);
        let mut token = [0; RESET_TOKEN_LEN];
        token.copy_from_slice(&tag.as_ref()[..RESET_TOKEN_LEN]);
        ResetToken(token)
    }
}

impl fmt::Debug for ResetSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetSecret(..)")
    }
}

/// A reset that is shorter than `cause` bytes, so that two brokers that answer each other come to an
/// end; `None` if none can be (RST-2).
#[must_use]
pub fn encode_reset(token: &ResetToken, cause: usize, rng: &mut SeededRng) -> Option<Bytes> {
    let longest = RESET_LEN_MAX.min(cause.checked_sub(1)?);
    if longest < RESET_LEN_MIN {
        return None;
    }
    let len = rng.range(RESET_LEN_MIN as u64, longest as u64) as usize;
    let mut datagram = vec![0; len];
    let (noise, tail) = datagram.split_at_mut(len - RESET_TOKEN_LEN);
    rng.fill(noise);
    noise[0] = as_data(noise[0]);
    tail.copy_from_slice(&token.0);
    Some(datagram.into())
}

/// Whether what a datagram ends in is this token (RST-4). In constant time, so that nobody finds the
/// right one byte by byte.
#[must_use]
pub fn is_token(tail: &[u8; RESET_TOKEN_LEN], token: &ResetToken) -> bool {
    tail.ct_eq(&token.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::is_data;

    fn token() -> ResetToken {
        ResetSecret::new([7; KEY_LEN]).token(&[6; 8])
    }

    /// RST-1. The value comes from another implementation of HMAC (Python's hmac and hashlib).
    #[test]
    fn a_token_is_the_truncated_hmac_of_the_connection_id() {
        let expected = [
            0x7c, 0x68, 0xb6, 0x01, 0x5c, 0x60, 0xcb, 0x05, 0xff, 0xe6, 0x24, 0xba, 0x6e, 0xd9,
            0x5b, 0x00,
        ];
        assert_eq!(token().0, expected);
        assert_ne!(token(), ResetSecret::new([7; KEY_LEN]).token(&[5; 8]));
        assert_ne!(token(), ResetSecret::new([8; KEY_LEN]).token(&[6; 8]));
    }

    /// RST-2.
    #[test]
    fn a_reset_looks_like_a_data_packet_that_is_shorter_than_its_cause() {
        let mut rng = SeededRng::new([1; 32]);
        for cause in 0..=1_200 {
            for _ in 0..20 {
                let Some(reset) = encode_reset(&token(), cause, &mut rng) else {
                    assert!(cause <= RESET_LEN_MIN);
                    continue;
                };
                assert!(is_data(reset[0]) && reset.ends_with(&token().0));
                assert!((RESET_LEN_MIN..=RESET_LEN_MAX).contains(&reset.len()));
                assert!(reset.len() < cause);
            }
        }
        let lengths = (0..200).filter_map(|_| encode_reset(&token(), 43, &mut rng));
        let lengths: std::collections::BTreeSet<usize> = lengths.map(|r| r.len()).collect();
        assert!(lengths.len() > 10, "{lengths:?}");
    }

    /// RST-4.
    #[test]
    fn no_other_token_will_do() {
        let right = token();
        assert!(is_token(&right.0, &right));
        for byte in 0..RESET_TOKEN_LEN {
            let mut wrong = right.0;
            wrong[byte] ^= 1;
            assert!(!is_token(&wrong, &right));
        }
    }

    /// KEY-5: neither reaches a log.
    #[test]
    fn debug_output_shows_neither_secret_nor_token() {
        let text = format!(
            "{:?} {:?}",
            ResetSecret::new([0xab; KEY_LEN]),
            ResetToken([0xcd; 16])
        );
        assert!(!text.contains("171") && !text.contains("205"), "{text}");
        assert!(!text.contains("abab") && !text.contains("cdcd"), "{text}");
    }
}

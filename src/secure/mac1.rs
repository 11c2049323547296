//! The first line of defence of a broker: a HELLO from somebody who does not even know its public
//! key is dropped after one hash, without a Diffie-Hellman and without an answer (SEC-4).

use ring::digest::{self, SHA256};
use ring::hmac::{self, HMAC_SHA256};
use subtle::ConstantTimeEq as _;

use super::keys::PublicKey;
use crate::wire::{Hello, MAC1_LEN};

/// What is hashed in front of the broker's public key (SEC-4).
const KEY_CONTEXT: &[u8] = b"tertulia mac1";

/// mac1 for an encoded HELLO to that broker, whatever its mac1 field holds (SEC-4).
pub(super) fn compute(broker: &PublicKey, datagram: &[u8]) -> [u8; MAC1_LEN] {
    let mut key = digest::Context::new(&SHA256);
    key.update(KEY_CONTEXT);
    key.update(broker.as_bytes());
    let key = hmac::Key::new(HMAC_SHA256, key.finish().as_ref());

    let tag = hmac::sign(&key, Hello::before_mac1(datagram));
    let mut mac1 = [0; MAC1_LEN];
    mac1.copy_from_slice(&tag.as_ref()[..MAC1_LEN]);
    mac1
}

/// Whether `received` is mac1 of `datagram` (SEC-4).
///
/// In constant time, so that a scanner cannot find the right one byte by byte.
pub(super) fn verify(broker: &PublicKey, datagram: &[u8], received: &[u8; MAC1_LEN]) -> bool {
    compute(broker, datagram).ct_eq(received).into()
}

/// Makes mac1 of an encoded HELLO right, and nothing else.
#[cfg(test)]
pub(crate) fn put_mac1(broker: &PublicKey, datagram: &mut [u8]) {
    let mac1 = compute(broker, datagram);
    let at = Hello::before_mac1(datagram).len();
    datagram[at..at + MAC1_LEN].copy_from_slice(&mac1);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-4. The value comes from another implementation of HMAC (Python's hmac and hashlib).
    #[test]
    fn mac1_is_the_truncated_hmac_of_what_precedes_it() {
        let broker = PublicKey([0x42; 32]);
        let datagram: Vec<u8> = (0..=255).collect();
        let expected = [
            0xbf, 0x03, 0xf0, 0x2b, 0x6c, 0xf3, 0xf3, 0x80, 0x51, 0xae, 0x3a, 0x2e, 0x50, 0x0f,
            0x46, 0x5e,
        ];
        assert_eq!(compute(&broker, &datagram), expected);
        assert!(verify(&broker, &datagram, &expected));

        let mut other = datagram.clone();
        other[256 - MAC1_LEN - 4] ^= 1;
        assert!(
            verify(&broker, &other, &expected),
            "mac1 and CRC are not covered"
        );
        other[256 - MAC1_LEN - 4 - 1] ^= 1;
        assert!(!verify(&broker, &other, &expected));
        assert!(!verify(&PublicKey([0x43; 32]), &datagram, &expected));
    }
}

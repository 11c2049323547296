//! The one-time code by which a device joins an account, and what shows who has it (SPEC.md section
//! 9.8).
//!
//! The broker carries what the two devices say to each other, and could put keys of its own in
//! between. It knows the hash of the code's secret only, so it cannot make the proofs, which cover
//! every key that matters.

use core::fmt;
use core::str::FromStr;

use ring::hmac::{self, HMAC_SHA256};
use zeroize::Zeroizing;

use super::invite::read_hex;
use super::line::sha256;
use crate::secure::{AccountKey, DeviceKey, PublicKey};

/// How many bytes a code's secret has (DEV-3).
pub const LINK_SECRET_LEN: usize = 16;
/// How many bytes a proof has.
pub const PROOF_LEN: usize = 32;
/// How long an offer is held at most, in milliseconds (DEV-3): ten minutes.
pub const LINK_LASTS_MAX_MS: u64 = 600_000;

const MARK_CONTEXT: &[u8] = b"tertulia link 1";
const ASK_CONTEXT: &[u8] = b"tertulia link ask 1";
const GRANT_CONTEXT: &[u8] = b"tertulia link grant 1";

/// Whoever has it may link one device (DEV-3): random bytes, which stand in a URL and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecret(Zeroizing<[u8; LINK_SECRET_LEN]>);

/// What a broker holds of a secret: it recognizes it, and can prove nothing by it (DEV-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkMark(pub [u8; 32]);

/// That whoever made it has the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof(pub [u8; PROOF_LEN]);

/// Text that is no code's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code is written as 32 hexadecimal digits")]
pub struct ParseLinkError;

impl LinkSecret {
    /// The secret of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; LINK_SECRET_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// What the broker holds of it (DEV-3).
    #[must_use]
    pub fn mark(&self) -> LinkMark {
        LinkMark(sha256(&[MARK_CONTEXT, &self.0[..]]))
    }

    /// Lower-case hex, for the one URL that it is made for.
    #[must_use]
    pub fn reveal(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What a device shows that asks to be linked, at the broker with that key (DEV-4).
    #[must_use]
    pub fn prove_asking(&self, broker: &PublicKey, device: &DeviceKey) -> Proof {
        self.prove(&asking(broker, device))
    }

    /// Whether that is what the device would have shown.
    #[must_use]
    pub fn is_asking(&self, broker: &PublicKey, device: &DeviceKey, proof: &Proof) -> bool {
        self.is_proof(&asking(broker, device), proof)
    }

    /// What is shown to a device that is linked to this account, which has this name (DEV-5).
    #[must_use]
    pub fn prove_granting(
        &self,
        broker: &PublicKey,
        device: &DeviceKey,
        account: &AccountKey,
        name: &str,
    ) -> Proof {
        self.prove(&granting(broker, device, account, name))
    }

    /// Whether that is what the account would have shown.
    #[must_use]
    pub fn is_granting(
        &self,
        broker: &PublicKey,
        device: &DeviceKey,
        account: &AccountKey,
        name: &str,
        proof: &Proof,
    ) -> bool {
        self.is_proof(&granting(broker, device, account, name), proof)
    }

    fn prove(&self, said: &[u8]) -> Proof {
        let mut proof = Proof([0; PROOF_LEN]);
        proof
            .0
            .copy_from_slice(hmac::sign(&self.key(), said).as_ref());
        proof
    }

    /// In constant time.
    fn is_proof(&self, said: &[u8], proof: &Proof) -> bool {
        hmac::verify(&self.key(), said, &proof.0).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(HMAC_SHA256, &self.0[..])
    }
}

fn asking(broker: &PublicKey, device: &DeviceKey) -> Vec<u8> {
    [ASK_CONTEXT, broker.as_bytes(), device.as_bytes()].concat()
}

fn granting(broker: &PublicKey, device: &DeviceKey, account: &AccountKey, name: &str) -> Vec<u8> {
    let keys: [&[u8]; 5] = [
        GRANT_CONTEXT,
        broker.as_bytes(),
        device.as_bytes(),
        account.as_bytes(),
        name.as_bytes(),
    ];
    keys.concat()
}

/// Tells nothing.
impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(..)")
    }
}

impl FromStr for LinkSecret {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, ParseLinkError> {
        read_hex(text).map(Self).ok_or(ParseLinkError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: PublicKey = PublicKey([1; 32]);
    const DEVICE: DeviceKey = DeviceKey([2; 32]);
    const ACCOUNT: AccountKey = AccountKey([3; 32]);

    /// DEV-3.
    #[test]
    fn a_code_is_read_back_from_its_text_and_never_shown_by_accident() {
        let secret = LinkSecret::new([0xa7; LINK_SECRET_LEN]);
        assert_eq!(secret.reveal().parse(), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "LinkSecret(..)");
        assert_eq!("a7".parse::<LinkSecret>(), Err(ParseLinkError));
        let mark = sha256(&[b"tertulia link 1", &[0xa7; LINK_SECRET_LEN]]);
        assert_eq!(secret.mark(), LinkMark(mark));
    }

    /// DEV-4, DEV-5: a proof is for these keys and this name, and for the one thing that it says.
    #[test]
    fn a_proof_is_of_one_secret_and_all_that_matters() {
        let secret = LinkSecret::new([7; LINK_SECRET_LEN]);
        let asking = secret.prove_asking(&BROKER, &DEVICE);
        assert!(secret.is_asking(&BROKER, &DEVICE, &asking));
        assert!(!secret.is_asking(&PublicKey([9; 32]), &DEVICE, &asking));
        assert!(!secret.is_asking(&BROKER, &DeviceKey([9; 32]), &asking));
        let other = LinkSecret::new([8; LINK_SECRET_LEN]);
        assert!(!other.is_asking(&BROKER, &DEVICE, &asking));

        let granting = secret.prove_granting(&BROKER, &DEVICE, &ACCOUNT, "ada");
        let holds = |broker, device, account, name| {
            secret.is_granting(&broker, &device, &account, name, &granting)
        };
        assert!(holds(BROKER, DEVICE, ACCOUNT, "ada"));
        assert!(!holds(PublicKey([9; 32]), DEVICE, ACCOUNT, "ada"));
        assert!(!holds(BROKER, DeviceKey([9; 32]), ACCOUNT, "ada"));
        assert!(!holds(BROKER, DEVICE, AccountKey([9; 32]), "ada"));
        assert!(!holds(BROKER, DEVICE, ACCOUNT, "bob"));
        assert!(!secret.is_asking(&BROKER, &DEVICE, &granting));
    }
}

//! The keys that last: who a broker, an account and a device are.
//!
//! A broker is an X25519 key. A person is an *account* (Ed25519) that vouches, by a certificate,
//! for each *device* (X25519) that speaks for it (SEC-3). Private keys are erased when dropped
//! (KEY-5), as far as the libraries below erase what they derive from them.

use core::fmt;
use core::str::FromStr;

use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize as _, Zeroizing};

use crate::rng::SeededRng;

/// How many bytes a key has, public or private.
pub const KEY_LEN: usize = 32;
/// How many bytes a device's certificate has (SEC-3).
pub const CERTIFICATE_LEN: usize = 64;
/// How many bytes an account's signature has.
pub const SIGNATURE_LEN: usize = 64;

/// What is signed in front of the device key (SEC-3).
const CERTIFICATE_CONTEXT: &[u8] = b"tertulia device 1";
/// What is signed in front of a broker's key and a device's (DEV-8).
const REVOCATION_CONTEXT: &[u8] = b"tertulia revoke 1";
/// How many bytes of a key `Debug` shows.
const DEBUG_BYTES: usize = 4;

/// Text that is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is written as 64 hexadecimal digits")]
pub struct ParseKeyError;

/// Defines a public key: 32 bytes that are ordered, and written in lower-case hex.
macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; KEY_LEN]);

        impl $name {
            /// The key's bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
                &self.0
            }

            /// The fingerprint by which people compare keys (KEY-6).
            #[must_use]
            pub fn fingerprint(&self) -> String {
                let digest = digest::digest(&digest::SHA256, &self.0);
                let mut text = String::from("SHA256:");
                write_hex(&mut text, digest.as_ref())
                    .expect("a String takes whatever is written to it");
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                write_hex(f, &self.0[..DEBUG_BYTES])?;
                write!(f, "..)")
            }
        }

        impl FromStr for $name {
            type Err = ParseKeyError;

            fn from_str(text: &str) -> Result<Self, ParseKeyError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

public_key! {
    /// A broker's public key (X25519).
    PublicKey
}

public_key! {
    /// An account's public key (Ed25519).
    AccountKey
}

public_key! {
    /// A device's public key (X25519), its Noise static key.
    DeviceKey
}

impl AccountKey {
    /// Whether `certificate` is this account's word for `device` (SEC-3).
    #[must_use]
    pub fn vouches_for(&self, device: &DeviceKey, certificate: &[u8; CERTIFICATE_LEN]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&certified_bytes(device), certificate)
            .is_ok()
    }

    /// Whether `signature` is this account's word to the broker with that key that `device` speaks
    /// for it no more (DEV-8).
    #[must_use]
    pub fn revokes(
        &self,
        broker: &PublicKey,
        device: &DeviceKey,
        signature: &[u8; SIGNATURE_LEN],
    ) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&revoked_bytes(broker, device), signature)
            .is_ok()
    }
}

/// A broker's key pair (X25519).
#[derive(Clone)]
pub struct BrokerIdentity {
    secret: StaticSecret,
    public: PublicKey,
}

impl BrokerIdentity {
    /// The identity whose private key is `secret`.
    #[must_use]
    pub fn from_secret(mut bytes: [u8; KEY_LEN]) -> Self {
        let secret = StaticSecret::from(bytes);
        bytes.zeroize();
        let public = PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// A new identity.
    #[must_use]
    pub fn generate(rng: &mut SeededRng) -> Self {
        Self::from_secret(rng.bytes())
    }

    /// The private key, for the file that keeps it.
    #[must_use]
    pub fn secret(&self) -> &[u8; KEY_LEN] {
        self.secret.as_bytes()
    }

    /// The public key, by which nodes know the broker.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }
}

impl fmt::Debug for BrokerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BrokerIdentity").field(&self.public).finish()
    }
}

/// Who a node is: a device's key pair, the account that it speaks for, and the certificate that
/// binds them (SEC-3). The account's own first device has its private key too; one that was linked
/// has not (DEV-6).
#[derive(Clone)]
pub struct NodeIdentity {
    account_seed: Option<Zeroizing<[u8; KEY_LEN]>>,
    account: AccountKey,
    device_secret: StaticSecret,
    device: DeviceKey,
    certificate: [u8; CERTIFICATE_LEN],
}

impl NodeIdentity {
    /// A new account with its first device.
    #[must_use]
    pub fn generate(rng: &mut SeededRng) -> Self {
        Self::from_secrets(rng.bytes(), rng.bytes())
    }

    /// The identity with the account of that Ed25519 seed and the device of that X25519 key.
    #[must_use]
    pub fn from_secrets(account_seed: [u8; KEY_LEN], device_secret: [u8; KEY_LEN]) -> Self {
        let account_seed = Zeroizing::new(account_seed);
        let pair = signing_key(&account_seed);
        let mut account = AccountKey([0; KEY_LEN]);
        account.0.copy_from_slice(pair.public_key().as_ref());
        let (device_secret, device) = device_pair(device_secret);
        let certificate = sign(&pair, &certified_bytes(&device));
        Self {
            account_seed: Some(account_seed),
            account,
            device_secret,
            device,
            certificate,
        }
    }

    /// The identity of a device that another one has linked to its account (DEV-6). `None` if the
    /// certificate is not that account's word for that device.
    #[must_use]
    pub fn linked(
        account: AccountKey,
        certificate: [u8; CERTIFICATE_LEN],
        device_secret: [u8; KEY_LEN],
    ) -> Option<Self> {
        let (device_secret, device) = device_pair(device_secret);
        account.vouches_for(&device, &certificate).then_some(Self {
            account_seed: None,
            account,
            device_secret,
            device,
            certificate,
        })
    }

    /// The account's public key.
    #[must_use]
    pub const fn account(&self) -> AccountKey {
        self.account
    }

    /// The device's public key.
    #[must_use]
    pub const fn device(&self) -> DeviceKey {
        self.device
    }

    /// The account's signature over the device's key (SEC-3).
    #[must_use]
    pub const fn certificate(&self) -> &[u8; CERTIFICATE_LEN] {
        &self.certificate
    }

    /// Whether the account's private key is on another device (DEV-6).
    #[must_use]
    pub const fn is_linked(&self) -> bool {
        self.account_seed.is_none()
    }

    /// The account's word for another device (SEC-3); `None` where its private key is not.
    #[must_use]
    pub fn certify(&self, device: &DeviceKey) -> Option<[u8; CERTIFICATE_LEN]> {
        let pair = signing_key(self.account_seed.as_ref()?);
        Some(sign(&pair, &certified_bytes(device)))
    }

    /// The account's word to a broker that a device speaks for it no more (DEV-8); `None` where its
    /// private key is not.
    #[must_use]
    pub fn revoke(&self, broker: &PublicKey, device: &DeviceKey) -> Option<[u8; SIGNATURE_LEN]> {
        let pair = signing_key(self.account_seed.as_ref()?);
        Some(sign(&pair, &revoked_bytes(broker, device)))
    }

    /// This node claiming another's account, with the certificate that it has.
    #[cfg(test)]
    pub(super) fn claiming(mut self, account: AccountKey) -> Self {
        self.account = account;
        self
    }

    /// The account's Ed25519 seed, for the file that keeps it; `None` where it is not.
    #[must_use]
    pub fn account_seed(&self) -> Option<&[u8; KEY_LEN]> {
        self.account_seed.as_deref()
    }

    /// The device's private key, for the file that keeps it.
    #[must_use]
    pub fn device_secret(&self) -> &[u8; KEY_LEN] {
        self.device_secret.as_bytes()
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIdentity")
            .field("account", &self.account)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// What a handshake leaves to the link: one secret for each direction (KEY-1). Erased on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecrets {
    /// For the packets that this side sends.
    pub send: [u8; KEY_LEN],
    /// For the packets that this side receives.
    pub receive: [u8; KEY_LEN],
}

impl LinkSecrets {
    /// The same secrets as the peer holds them.
    #[cfg(test)]
    pub(crate) fn mirrored(&self) -> Self {
        Self {
            send: self.receive,
            receive: self.send,
        }
    }
}

impl Drop for LinkSecrets {
    fn drop(&mut self) {
        self.send.zeroize();
        self.receive.zeroize();
    }
}

impl fmt::Debug for LinkSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecrets(..)")
    }
}

/// What an account signs to certify `device` (SEC-3).
fn certified_bytes(device: &DeviceKey) -> [u8; CERTIFICATE_CONTEXT.len() + KEY_LEN] {
    let mut bytes = [0; CERTIFICATE_CONTEXT.len() + KEY_LEN];
    bytes[..CERTIFICATE_CONTEXT.len()].copy_from_slice(CERTIFICATE_CONTEXT);
    bytes[CERTIFICATE_CONTEXT.len()..].copy_from_slice(&device.0);
    bytes
}

/// What an account signs to take back its word for `device` at the broker with that key (DEV-8).
fn revoked_bytes(broker: &PublicKey, device: &DeviceKey) -> Vec<u8> {
    [REVOCATION_CONTEXT, &broker.0, &device.0].concat()
}

fn signing_key(account_seed: &[u8; KEY_LEN]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(account_seed).expect("every 32 bytes are an Ed25519 seed")
}

fn sign(pair: &Ed25519KeyPair, bytes: &[u8]) -> [u8; SIGNATURE_LEN] {
    let mut signature = [0; SIGNATURE_LEN];
    signature.copy_from_slice(pair.sign(bytes).as_ref());
    signature
}

fn device_pair(mut secret: [u8; KEY_LEN]) -> (StaticSecret, DeviceKey) {
    let pair = StaticSecret::from(secret);
    secret.zeroize();
    let public = DeviceKey(x25519_dalek::PublicKey::from(&pair).to_bytes());
    (pair, public)
}

fn write_hex(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

fn parse_hex(text: &str) -> Result<[u8; KEY_LEN], ParseKeyError> {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_LEN {
        return Err(ParseKeyError);
    }
    let mut bytes = [0; KEY_LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Ok(bytes)
}

fn hex_digit(digit: u8) -> Result<u8, ParseKeyError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(ParseKeyError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KEY-6: the SHA-256 of 32 zero bytes.
    #[test]
    fn a_fingerprint_is_the_sha_256_of_the_public_key() {
        assert_eq!(
            PublicKey([0; KEY_LEN]).fingerprint(),
            "SHA256:66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
        );
    }

    /// SEC-3.
    #[test]
    fn an_account_vouches_for_its_device_and_for_no_other() {
        let mut rng = SeededRng::new([1; 32]);
        let node = NodeIdentity::generate(&mut rng);
        let other = NodeIdentity::generate(&mut rng);
        let vouches =
            |account: AccountKey, device| account.vouches_for(&device, node.certificate());
        assert!(vouches(node.account(), node.device()));
        assert!(!vouches(node.account(), other.device()));
        assert!(!vouches(other.account(), node.device()));
        for byte in 0..CERTIFICATE_LEN {
            let mut forged = *node.certificate();
            forged[byte] ^= 1;
            assert!(!node.account().vouches_for(&node.device(), &forged));
        }
    }

    /// SEC-3: the certificate covers the context, so no other signature of the account will do.
    #[test]
    fn a_signature_without_the_context_is_no_certificate() {
        let node = NodeIdentity::from_secrets([1; KEY_LEN], [2; KEY_LEN]);
        let pair = Ed25519KeyPair::from_seed_unchecked(node.account_seed().unwrap()).unwrap();
        let mut bare = [0; CERTIFICATE_LEN];
        bare.copy_from_slice(pair.sign(node.device().as_bytes()).as_ref());
        assert!(!node.account().vouches_for(&node.device(), &bare));
    }

    /// DEV-6: a linked device has the account's word, and nothing to give another one.
    #[test]
    fn a_linked_device_speaks_for_its_account_and_vouches_for_nobody() {
        let mut rng = SeededRng::new([4; 32]);
        let first = NodeIdentity::generate(&mut rng);
        let secret: [u8; KEY_LEN] = rng.bytes();
        let device = NodeIdentity::from_secrets([9; KEY_LEN], secret).device();
        let certificate = first.certify(&device).unwrap();
        let linked = NodeIdentity::linked(first.account(), certificate, secret).unwrap();
        assert!(linked.is_linked() && !first.is_linked());
        assert_eq!(
            (linked.account(), linked.device()),
            (first.account(), device)
        );
        assert!(first.account().vouches_for(&device, linked.certificate()));
        assert_eq!(linked.account_seed(), None);
        assert_eq!(linked.certify(&device), None);
        assert_eq!(
            linked.revoke(&PublicKey([1; KEY_LEN]), &first.device()),
            None
        );
        let other = NodeIdentity::linked(first.account(), *first.certificate(), secret);
        assert!(other.is_none(), "the certificate of another device");
    }

    /// DEV-8: the word to one broker about one device is none to another, or about another, and no
    /// certificate takes its place.
    #[test]
    fn a_revocation_is_for_one_broker_and_one_device() {
        let mut rng = SeededRng::new([5; 32]);
        let (node, other) = (
            NodeIdentity::generate(&mut rng),
            NodeIdentity::generate(&mut rng),
        );
        let (broker, elsewhere) = (PublicKey([1; KEY_LEN]), PublicKey([2; KEY_LEN]));
        let word = node.revoke(&broker, &other.device()).unwrap();
        let account = node.account();
        assert!(account.revokes(&broker, &other.device(), &word));
        assert!(!account.revokes(&elsewhere, &other.device(), &word));
        assert!(!account.revokes(&broker, &node.device(), &word));
        assert!(!other.account().revokes(&broker, &other.device(), &word));
        assert!(!account.revokes(&broker, &node.device(), node.certificate()));
        assert!(!account.vouches_for(&other.device(), &word));
    }

    /// The key pairs of RFC 7748 section 6.1 (Alice) and RFC 8032 section 7.1 (test 1).
    #[test]
    fn public_keys_agree_with_the_examples_of_the_rfcs() {
        let hex = |text: &str| text.parse::<PublicKey>().unwrap().0;
        let broker = BrokerIdentity::from_secret(hex(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        ));
        assert_eq!(
            broker.public().to_string(),
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        );
        let node = NodeIdentity::from_secrets(
            hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
            [9; KEY_LEN],
        );
        assert_eq!(
            node.account().to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    #[test]
    fn a_key_reads_back_from_its_text() {
        let key = BrokerIdentity::generate(&mut SeededRng::new([3; 32])).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.to_string().to_uppercase().parse(), Ok(key));
        for bad in ["", "00", &"g0".repeat(32), &"0".repeat(63), &"é".repeat(32)] {
            assert_eq!(bad.parse::<PublicKey>(), Err(ParseKeyError), "{bad}");
        }
    }

    /// KEY-5, of which this is the part that a test can see: no secret reaches a log.
    #[test]
    fn debug_output_shows_no_secret() {
        let node = NodeIdentity::from_secrets([0xab; KEY_LEN], [0xcd; KEY_LEN]);
        let broker = BrokerIdentity::from_secret([0xef; KEY_LEN]);
        let secrets = LinkSecrets {
            send: [0xab; KEY_LEN],
            receive: [0xcd; KEY_LEN],
        };
        let text = format!("{node:?} {broker:?} {secrets:?}");
        for leak in ["abab", "cdcd", "efef", "171, 171", "205, 205", "239, 239"] {
            assert!(!text.contains(leak), "{text}");
        }
    }
}

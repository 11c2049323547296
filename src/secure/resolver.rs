//! The primitives that `snow` builds Noise from: SHA-256 and AES-256-GCM by ring, X25519 by
//! dalek, and randomness from the handshake's seed.
//!
//! `snow` is built without any primitive of its own, so that nothing in a handshake can reach the
//! randomness of the operating system: the same seed and the same messages make the same handshake.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{self, SHA256, SHA256_OUTPUT_LEN};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::keys::KEY_LEN;
use crate::rng::{Seed, SeededRng};
use crate::wire::TAG_LEN;

/// The input block of SHA-256, in bytes.
const SHA256_BLOCK_LEN: usize = 64;

/// Hands `snow` the primitives of suite 1 (SEC-1).
pub(super) struct Primitives {
    seed: Zeroizing<Seed>,
}

impl Primitives {
    /// All randomness comes from `seed`.
    pub(super) const fn new(seed: Zeroizing<Seed>) -> Self {
        Self { seed }
    }
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Entropy(SeededRng::new(*self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519::unset()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha256::new()) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::AESGCM).then(|| Box::new(AesGcm(None)) as Box<dyn Cipher>)
    }
}

/// The handshake's randomness.
struct Entropy(SeededRng);

impl Random for Entropy {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.0.fill(out);
        Ok(())
    }
}

/// One X25519 key pair.
struct X25519 {
    secret: StaticSecret,
    public: PublicKey,
}

impl X25519 {
    /// A pair to be overwritten by `set` or `generate`.
    fn unset() -> Self {
        Self::from_secret([0; KEY_LEN])
    }

    fn from_secret(secret: [u8; KEY_LEN]) -> Self {
        let secret = StaticSecret::from(secret);
        let public = PublicKey::from(&secret);
        Self { secret, public }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, secret: &[u8]) {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        bytes.copy_from_slice(secret);
        *self = Self::from_secret(*bytes);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.try_fill_bytes(&mut *bytes)?;
        *self = Self::from_secret(*bytes);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// A public key of low order gives all zeros, and no error: Noise discourages the check, since
    /// whoever sends such a key only gives away a handshake of its own (Noise section 12.1).
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public: [u8; KEY_LEN] = *public.first_chunk().ok_or(Error::Dh)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(public));
        out[..KEY_LEN].copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

/// SHA-256.
struct Sha256(digest::Context);

impl Sha256 {
    fn new() -> Self {
        Self(digest::Context::new(&SHA256))
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        SHA256_BLOCK_LEN
    }

    fn hash_len(&self) -> usize {
        SHA256_OUTPUT_LEN
    }

    fn reset(&mut self) {
        *self = Self::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..SHA256_OUTPUT_LEN].copy_from_slice(self.0.clone().finish().as_ref());
    }
}

/// AES-256-GCM; no key until `snow` has set one.
struct AesGcm(Option<LessSafeKey>);

impl AesGcm {
    /// Four zero bytes and the counter (Noise section 12.3).
    fn nonce(counter: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&counter.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; KEY_LEN]) {
        self.0 = UnboundKey::new(&AES_256_GCM, key)
            .ok()
            .map(LessSafeKey::new);
    }

    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out[..plaintext.len() + TAG_LEN].split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let key = self.0.as_ref().expect("snow sets the key first");
        let made = key
            .seal_in_place_separate_tag(Self::nonce(counter), Aad::from(authtext), text)
            .expect("a handshake message is far below the AEAD's length limit");
        tag.copy_from_slice(made.as_ref());
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        counter: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let (text, tag) = ciphertext
            .split_last_chunk::<TAG_LEN>()
            .ok_or(Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(text);
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        let (nonce, authtext) = (Self::nonce(counter), Aad::from(authtext));
        key.open_in_place_separate_tag(nonce, authtext, (*tag).into(), out, 0..)
            .map(|plain| plain.len())
            .map_err(|ring::error::Unspecified| Error::Decrypt)
    }
}

#[cfg(test)]
mod tests;

//! Noise, once more: XX and IK with 25519, AES-GCM and SHA-256, for an attacker that puts into the
//! payloads what it likes.
//!
//! Written from the specification of Noise (revision 34, sections 5.2, 5.3 and 7.5), and not with
//! `snow`: so every input on which both sides agree also says that the library speaks Noise.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{self, SHA256};
use ring::hmac::{self, HMAC_SHA256};
use tertulia::secure::LinkSecrets;
use x25519_dalek::{PublicKey, StaticSecret};

const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;

/// The hash, the chaining key and the cipher of a handshake (5.2).
struct Symmetric {
    hash: [u8; KEY_LEN],
    chain: [u8; KEY_LEN],
    key: Option<[u8; KEY_LEN]>,
    nonce: u64,
}

impl Symmetric {
    fn new(pattern: &str, prologue: &[u8]) -> Self {
        let name = format!("Noise_{pattern}_25519_AESGCM_SHA256");
        let mut hash = [0; KEY_LEN];
        hash[..name.len()].copy_from_slice(name.as_bytes());
        let mut symmetric = Self {
            hash,
            chain: hash,
            key: None,
            nonce: 0,
        };
        symmetric.mix_hash(prologue);
        symmetric
    }

    fn mix_hash(&mut self, data: &[u8]) {
        let digest = digest::digest(&SHA256, &[&self.hash, data].concat());
        self.hash.copy_from_slice(digest.as_ref());
    }

    fn mix_key(&mut self, input: &[u8]) {
        let (chain, key) = self.expand(input);
        (self.chain, self.key, self.nonce) = (chain, Some(key), 0);
    }

    /// HKDF with two outputs (4.3).
    fn expand(&self, input: &[u8]) -> ([u8; KEY_LEN], [u8; KEY_LEN]) {
        let mac = |key: &[u8], data: &[u8]| {
            let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, key), data);
            <[u8; KEY_LEN]>::try_from(tag.as_ref()).expect("SHA-256 gives 32 bytes")
        };
        let seed = mac(&self.chain, input);
        let first = mac(&seed, &[1]);
        (first, mac(&seed, &[&first[..], &[2]].concat()))
    }

    fn cipher(&mut self) -> Option<(LessSafeKey, Nonce)> {
        let key = UnboundKey::new(&AES_256_GCM, &self.key?).expect("32 bytes are a key");
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.nonce.to_be_bytes());
        self.nonce += 1;
        Some((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = plain.to_vec();
        if let Some((key, nonce)) = self.cipher() {
            key.seal_in_place_append_tag(nonce, Aad::from(self.hash), &mut out)
                .expect("it is short");
        }
        self.mix_hash(&out);
        out
    }

    fn open(&mut self, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut out = sealed.to_vec();
        if let Some((key, nonce)) = self.cipher() {
            key.open_in_place(nonce, Aad::from(self.hash), &mut out)
                .ok()?;
            out.truncate(out.len() - TAG_LEN);
        }
        self.mix_hash(sealed);
        Some(out)
    }
}

/// One side of a handshake. The messages are to be written and read in the pattern's order.
pub(super) struct Noise {
    is_ik: bool,
    is_initiator: bool,
    symmetric: Symmetric,
    own: StaticSecret,
    ephemeral: StaticSecret,
    peer: PublicKey,
    peer_ephemeral: PublicKey,
}

impl Noise {
    /// The node's side; `broker` is looked at in IK only.
    pub(super) fn initiator(
        is_ik: bool,
        prologue: &[u8],
        own: [u8; KEY_LEN],
        ephemeral: [u8; KEY_LEN],
        broker: [u8; KEY_LEN],
    ) -> Self {
        let mut noise = Self::new(is_ik, true, prologue, own, ephemeral);
        noise.peer = broker.into();
        if is_ik {
            noise.symmetric.mix_hash(&broker);
        }
        noise
    }

    /// The broker's side.
    pub(super) fn responder(
        is_ik: bool,
        prologue: &[u8],
        own: [u8; KEY_LEN],
        ephemeral: [u8; KEY_LEN],
    ) -> Self {
        let mut noise = Self::new(is_ik, false, prologue, own, ephemeral);
        if is_ik {
            let own = PublicKey::from(&noise.own);
            noise.symmetric.mix_hash(own.as_bytes());
        }
        noise
    }

    fn new(
        is_ik: bool,
        is_initiator: bool,
        prologue: &[u8],
        own: [u8; KEY_LEN],
        ephemeral: [u8; KEY_LEN],
    ) -> Self {
        Self {
            is_ik,
            is_initiator,
            symmetric: Symmetric::new(if is_ik { "IK" } else { "XX" }, prologue),
            own: own.into(),
            ephemeral: ephemeral.into(),
            peer: [0; KEY_LEN].into(),
            peer_ephemeral: [0; KEY_LEN].into(),
        }
    }

    // ---- the node's messages

    /// The Noise message of HELLO.
    pub(super) fn write_hello(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = self.write_ephemeral();
        if self.is_ik {
            self.mix_dh(&self.ephemeral.diffie_hellman(&self.peer));
            out.extend(self.write_static());
            self.mix_dh(&self.own.diffie_hellman(&self.peer));
        }
        out.extend(self.symmetric.seal(payload));
        out
    }

    /// The payload of ACCEPT.
    pub(super) fn read_accept(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let mut rest = self.read_ephemeral(message)?;
        self.mix_dh(&self.ephemeral.diffie_hellman(&self.peer_ephemeral));
        if self.is_ik {
            self.mix_dh(&self.own.diffie_hellman(&self.peer_ephemeral));
        } else {
            rest = self.read_static(rest)?;
            self.mix_dh(&self.ephemeral.diffie_hellman(&self.peer));
        }
        self.symmetric.open(rest)
    }

    /// The Noise message of FINISH.
    pub(super) fn write_finish(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = self.write_static();
        self.mix_dh(&self.own.diffie_hellman(&self.peer_ephemeral));
        out.extend(self.symmetric.seal(payload));
        out
    }

    // ---- the broker's messages

    /// The payload of HELLO.
    pub(super) fn read_hello(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let mut rest = self.read_ephemeral(message)?;
        if self.is_ik {
            self.mix_dh(&self.own.diffie_hellman(&self.peer_ephemeral));
            rest = self.read_static(rest)?;
            self.mix_dh(&self.own.diffie_hellman(&self.peer));
        }
        self.symmetric.open(rest)
    }

    /// The Noise message of ACCEPT.
    pub(super) fn write_accept(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = self.write_ephemeral();
        self.mix_dh(&self.ephemeral.diffie_hellman(&self.peer_ephemeral));
        if self.is_ik {
            self.mix_dh(&self.ephemeral.diffie_hellman(&self.peer));
        } else {
            out.extend(self.write_static());
            self.mix_dh(&self.own.diffie_hellman(&self.peer_ephemeral));
        }
        out.extend(self.symmetric.seal(payload));
        out
    }

    /// The payload of FINISH.
    pub(super) fn read_finish(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let rest = self.read_static(message)?;
        self.mix_dh(&self.ephemeral.diffie_hellman(&self.peer));
        self.symmetric.open(rest)
    }

    // ---- what both need

    /// The keys, once all messages are read and written.
    pub(super) fn split(&self) -> LinkSecrets {
        let (from_node, from_broker) = self.symmetric.expand(&[]);
        let (send, receive) = match self.is_initiator {
            true => (from_node, from_broker),
            false => (from_broker, from_node),
        };
        LinkSecrets { send, receive }
    }

    fn mix_dh(&mut self, shared: &x25519_dalek::SharedSecret) {
        self.symmetric.mix_key(shared.as_bytes());
    }

    fn write_ephemeral(&mut self) -> Vec<u8> {
        let public = PublicKey::from(&self.ephemeral).to_bytes();
        self.symmetric.mix_hash(&public);
        public.to_vec()
    }

    fn read_ephemeral<'a>(&mut self, message: &'a [u8]) -> Option<&'a [u8]> {
        let (key, rest) = message.split_first_chunk::<KEY_LEN>()?;
        self.symmetric.mix_hash(key);
        self.peer_ephemeral = (*key).into();
        Some(rest)
    }

    fn write_static(&mut self) -> Vec<u8> {
        let public = PublicKey::from(&self.own).to_bytes();
        self.symmetric.seal(&public)
    }

    fn read_static<'a>(&mut self, message: &'a [u8]) -> Option<&'a [u8]> {
        let (sealed, rest) = message.split_at_checked(KEY_LEN + TAG_LEN)?;
        let key = <[u8; KEY_LEN]>::try_from(self.symmetric.open(sealed)?).ok()?;
        self.peer = key.into();
        Some(rest)
    }
}

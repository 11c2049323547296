//! How a node and a broker come to share keys: Noise, in two or three datagrams (SEC-1).
//!
//! ```text
//!   the node knows the broker's key (IK)         first contact (XX)
//!
//!   node                    broker               node                    broker
//!     | -- HELLO (identity) ->|                    | -- HELLO ------------>|
//!     |<- ACCEPT (payload) -- |                    |<- ACCEPT (payload) -- |
//!                                                  | -- FINISH (identity)->|
//! ```
//!
//! The node's side is an [`Initiator`], which on first contact turns into a [`Finisher`] that tells
//! the broker's key before anything of the node's own is sent. The broker's side is [`respond`],
//! which on first contact leaves a [`PendingFinish`].
//!
//! **No Noise state is kept between datagrams.** A state that has read half of a forged message is
//! spoilt for the right one, and copies cannot be made of it. But all its randomness comes from one
//! seed, so it can be run again: each side keeps the seed and what it has accepted, and replays the
//! handshake up to the datagram at hand. So a forged, corrupt or cut ACCEPT or FINISH changes
//! nothing (SEC-11), a repeated one gives the same answer again, and a half-open handshake takes some
//! hundred bytes instead of several expanded keys. The price is about three more multiplications on
//! the curve for each handshake.

mod responder;

pub use responder::{
    NodeEstablished, PendingFinish, Response, Screened, knows_key, respond, screen,
};

use bytes::Bytes;
use core::fmt;
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::keys::{KEY_LEN, LinkSecrets, NodeIdentity, PublicKey};
use super::mac1;
use super::resolver::Primitives;
use crate::rng::Seed;
use crate::wire::{
    Accept, BrokerCid, Finish, Handshake, Hello, MAC1_LEN, NodeCid, Reader, ResetToken, Retry,
    VERSION,
};

/// The suite byte of `25519_AESGCM_SHA256` with AES-256-GCM packets (SEC-1).
pub const SUITE: u8 = 1;

/// The most that Noise adds to a payload: an ephemeral key, a sealed static key, and a tag.
const NOISE_OVERHEAD: usize = KEY_LEN + KEY_LEN + 16 + 16;
/// Stands in for the node's static key in a first contact up to ACCEPT, where XX has no use for it.
const NO_STATIC: [u8; KEY_LEN] = [0; KEY_LEN];

/// Why a handshake datagram was dropped. The sender is to blame, or somebody on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A pattern or suite that is not spoken here (SEC-1).
    #[error("unknown pattern or suite")]
    Unsupported,
    /// The sender does not know this broker's key (SEC-4).
    #[error("wrong mac1")]
    Mac1,
    /// A RETRY that answers another HELLO, or asks for nothing new (ADR-4).
    #[error("a retry for nothing")]
    Retry,
    /// For another connection id.
    #[error("wrong connection id")]
    WrongCid,
    /// Not a Noise message of this handshake, or of another peer than expected.
    #[error("Noise message does not decrypt")]
    Noise,
    /// The peer's payload is not what SEC-3 says.
    #[error("malformed payload")]
    Payload,
    /// The account does not vouch for the device (SEC-3).
    #[error("certificate does not verify")]
    Certificate,
}

/// The Noise pattern, as the HELLO names it (SEC-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// First contact.
    Xx,
    /// The broker's key is known.
    Ik,
}

impl Pattern {
    const fn byte(self) -> u8 {
        match self {
            Self::Xx => 0,
            Self::Ik => 1,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Xx => "Noise_XX_25519_AESGCM_SHA256",
            Self::Ik => "Noise_IK_25519_AESGCM_SHA256",
        }
    }

    fn of(hello: &Hello) -> Result<Self, HandshakeError> {
        [Self::Xx, Self::Ik]
            .into_iter()
            .find(|pattern| pattern.byte() == hello.pattern && hello.suite == SUITE)
            .ok_or(HandshakeError::Unsupported)
    }
}

/// What a broker tells a node in ACCEPT (SEC-3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BrokerPayload {
    /// The connection id toward the broker.
    pub cid: BrokerCid,
    /// What ends a reset of the link under that id (RST-1).
    pub reset_token: ResetToken,
    /// The broker's log.
    pub log_id: [u8; 16],
}

impl BrokerPayload {
    fn encode(&self) -> Vec<u8> {
        [&self.cid[..], &self.reset_token.0, &self.log_id].concat()
    }

    fn decode(payload: &[u8]) -> Result<Self, HandshakeError> {
        let mut reader = Reader::new(payload);
        let mut decode = || {
            let decoded = Self {
                cid: reader.array()?,
                reset_token: ResetToken(reader.array()?),
                log_id: reader.array()?,
            };
            reader.finish().map(|()| decoded)
        };
        decode().map_err(|_| HandshakeError::Payload)
    }
}

impl fmt::Debug for BrokerPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerPayload")
            .field("cid", &self.cid)
            .field("log_id", &self.log_id)
            .finish_non_exhaustive()
    }
}

/// A node's side of a handshake, until the broker has accepted.
pub struct Initiator {
    plan: Plan,
    hello: Bytes,
}

impl Initiator {
    /// A handshake with a broker whose key is not known, or to be looked at anew (SEC-8, SEC-9).
    ///
    /// `cid` is what the broker's datagrams are to bear. `seed` must never be used twice.
    #[must_use]
    pub fn first_contact(cid: NodeCid, seed: Seed) -> Self {
        Self::new(cid, seed, Contact::First)
    }

    /// A handshake with the broker of that key, and with no other (SEC-8).
    ///
    /// `cid` is what the broker's datagrams are to bear. `seed` must never be used twice.
    #[must_use]
    pub fn known_broker(cid: NodeCid, broker: PublicKey, node: &NodeIdentity, seed: Seed) -> Self {
        let node = Box::new(node.clone());
        Self::new(cid, seed, Contact::Known { broker, node })
    }

    fn new(cid: NodeCid, seed: Seed, contact: Contact) -> Self {
        let plan = Plan {
            cid,
            seed: Zeroizing::new(seed),
            contact,
        };
        let hello = plan.hello();
        Self { plan, hello }
    }

    /// The HELLO, the same bytes each time it is sent (SEC-5).
    #[must_use]
    pub const fn hello(&self) -> &Bytes {
        &self.hello
    }

    /// The connection id in the HELLO.
    #[must_use]
    pub const fn cid(&self) -> NodeCid {
        self.plan.cid
    }

    /// What to send after a RETRY in place of `sent`, the HELLO that was sent last where it came
    /// from: the same with the cookie that it asks for. One that answers another HELLO, or has the
    /// cookie of this one, is refused (ADR-4).
    pub fn answer_retry(&self, sent: &Bytes, retry: &Retry) -> Result<Bytes, HandshakeError> {
        if retry.cid != self.plan.cid {
            return Err(HandshakeError::WrongCid);
        }
        let Ok(Handshake::Hello(mut hello)) = Handshake::decode(sent) else {
            return Err(HandshakeError::Retry);
        };
        if retry.mark != hello.mark() || retry.cookie.is_empty() || retry.cookie == hello.cookie {
            return Err(HandshakeError::Retry);
        }
        hello.cookie = retry.cookie.clone();
        Ok(self.plan.complete(hello))
    }

    /// Takes the broker's answer. One that is refused has changed nothing, so the next may be
    /// right (SEC-11).
    pub fn handle_accept(&self, accept: &Accept) -> Result<Accepted, HandshakeError> {
        if accept.cid != self.plan.cid {
            return Err(HandshakeError::WrongCid);
        }
        let (mut noise, _) = self.plan.begin(self.plan.static_key());
        let payload = read(&mut noise, &accept.noise)?;
        let payload = BrokerPayload::decode(&payload)?;
        if let Contact::Known { .. } = self.plan.contact {
            let secrets = split(noise, Role::Node);
            return Ok(Accepted::Established(Established {
                secrets,
                broker: payload,
            }));
        }
        let key = noise.get_remote_static().and_then(<[u8]>::first_chunk);
        Ok(Accepted::FirstContact(Box::new(Finisher {
            plan: self.plan.clone(),
            accept: Bytes::copy_from_slice(&accept.noise),
            key: PublicKey(*key.ok_or(HandshakeError::Noise)?),
            payload,
        })))
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// What comes of an ACCEPT.
#[derive(Debug)]
pub enum Accepted {
    /// Both sides have their keys.
    Established(Established),
    /// The broker has shown its key, and waits for FINISH.
    FirstContact(Box<Finisher>),
}

/// A node's side of a completed handshake.
#[derive(Clone, Debug)]
pub struct Established {
    /// The secrets of the link.
    pub secrets: LinkSecrets,
    /// What the broker said of itself.
    pub broker: BrokerPayload,
}

/// A first contact, when the broker has shown its key and the node has shown nothing yet. To drop
/// it is to say nothing (SEC-8).
pub struct Finisher {
    plan: Plan,
    /// The Noise message of the ACCEPT.
    accept: Bytes,
    key: PublicKey,
    payload: BrokerPayload,
}

impl Finisher {
    /// The key that the broker has proved to have: to be compared with the one known (SEC-8), or to
    /// be remembered before finishing (SEC-9).
    #[must_use]
    pub const fn broker_key(&self) -> PublicKey {
        self.key
    }

    /// Shows the node's identity: the FINISH datagram, the same bytes each time it is sent (SEC-5).
    #[must_use]
    pub fn finish(self, node: &NodeIdentity) -> (Bytes, Established) {
        let (mut noise, _) = self.plan.begin(node.device_secret());
        read(&mut noise, &self.accept).expect("this ACCEPT was read before");
        let finish = Handshake::Finish(Finish {
            version: VERSION,
            cid: self.payload.cid,
            noise: write(&mut noise, &node_payload(node)),
        });
        let established = Established {
            secrets: split(noise, Role::Node),
            broker: self.payload,
        };
        (encode(&finish), established)
    }
}

impl fmt::Debug for Finisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finisher")
            .field("key", &self.key)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

/// Everything that determines a node's side of a handshake.
#[derive(Clone)]
struct Plan {
    cid: NodeCid,
    seed: Zeroizing<Seed>,
    contact: Contact,
}

#[derive(Clone, Debug)]
enum Contact {
    First,
    Known {
        broker: PublicKey,
        node: Box<NodeIdentity>,
    },
}

impl Plan {
    const fn pattern(&self) -> Pattern {
        match self.contact {
            Contact::First => Pattern::Xx,
            Contact::Known { .. } => Pattern::Ik,
        }
    }

    /// The node's static key, as far as its HELLO needs one.
    fn static_key(&self) -> &[u8; KEY_LEN] {
        match &self.contact {
            Contact::First => &NO_STATIC,
            Contact::Known { node, .. } => node.device_secret(),
        }
    }

    /// The HELLO without its Noise message: what is offered.
    fn offer(&self) -> Hello {
        Hello {
            version: VERSION,
            pattern: self.pattern().byte(),
            suite: SUITE,
            versions: vec![VERSION],
            suites: vec![SUITE],
            cid: self.cid,
            cookie: Bytes::new(),
            noise: Bytes::new(),
            padding: 0,
            mac1: [0; MAC1_LEN],
        }
    }

    /// The HELLO datagram.
    fn hello(&self) -> Bytes {
        let mut hello = self.offer();
        (_, hello.noise) = self.begin(self.static_key());
        self.complete(hello)
    }

    /// Adds padding, mac1 and CRC: at least as long as any answer to it (HSD-3, HSD-8).
    fn complete(&self, mut hello: Hello) -> Bytes {
        hello.mac1 = [0; MAC1_LEN];
        hello.pad();
        if let Contact::Known { broker, .. } = &self.contact {
            let without_mac1 = encode(&Handshake::Hello(hello.clone()));
            hello.mac1 = mac1::compute(broker, &without_mac1);
        }
        encode(&Handshake::Hello(hello))
    }

    /// The Noise state after the first message, and that message: the same each time.
    fn begin(&self, static_key: &[u8; KEY_LEN]) -> (HandshakeState, Bytes) {
        let prologue = self.offer().prologue();
        let mut builder = noise_builder(self.pattern(), &self.seed);
        let mut payload = Vec::new();
        if let Contact::Known { broker, node } = &self.contact {
            builder = builder
                .remote_public_key(broker.as_bytes())
                .expect(BUILDER_IS_COMPLETE);
            payload = node_payload(node);
        }
        let mut noise = builder
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(static_key)?.build_initiator())
            .expect(BUILDER_IS_COMPLETE);
        let message = write(&mut noise, &payload);
        (noise, message)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("cid", &self.cid)
            .field("contact", &self.contact)
            .finish_non_exhaustive()
    }
}

/// Whose end of a handshake.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Node,
    Broker,
}

/// Why building a Noise state cannot fail.
const BUILDER_IS_COMPLETE: &str = "the pattern's name is right and each of its keys is given once";

pub(super) fn noise_builder<'a>(pattern: Pattern, seed: &Zeroizing<Seed>) -> Builder<'a> {
    let params = pattern.name().parse().expect(BUILDER_IS_COMPLETE);
    Builder::with_resolver(params, Box::new(Primitives::new(seed.clone())))
}

/// Writes the next Noise message.
pub(super) fn write(noise: &mut HandshakeState, payload: &[u8]) -> Bytes {
    let mut message = vec![0; payload.len() + NOISE_OVERHEAD];
    let len = noise
        .write_message(payload, &mut message)
        .expect("it is this side's turn and the buffer is large enough");
    message.truncate(len);
    message.into()
}

/// Reads the peer's Noise message: its payload.
pub(super) fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let mut payload = vec![0; message.len()];
    let len = noise
        .read_message(message, &mut payload)
        .map_err(|_| HandshakeError::Noise)?;
    payload.truncate(len);
    Ok(payload)
}

/// Noise's two keys of a completed handshake: the first is for what the node sends (KEY-1).
pub(super) fn split(mut noise: HandshakeState, role: Role) -> LinkSecrets {
    debug_assert!(noise.is_handshake_finished());
    let from_node_and_broker = Zeroizing::new(noise.dangerously_get_raw_split());
    let (from_node, from_broker) = *from_node_and_broker;
    match role {
        Role::Node => LinkSecrets {
            send: from_node,
            receive: from_broker,
        },
        Role::Broker => LinkSecrets {
            send: from_broker,
            receive: from_node,
        },
    }
}

/// A node's payload: its account, which vouches for the device (SEC-3).
fn node_payload(node: &NodeIdentity) -> Vec<u8> {
    [&node.account().as_bytes()[..], node.certificate()].concat()
}

fn encode(datagram: &Handshake) -> Bytes {
    let mut out = Vec::new();
    datagram.encode(&mut out);
    out.into()
}

#[cfg(test)]
mod tests;

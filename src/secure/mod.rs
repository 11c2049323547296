//! Who talks, and so that nobody else can listen or meddle: SPEC.md section 6, and the sealing of
//! section 5.2.
//!
//! In the order in which a link meets this layer:
//!
//! 1. **Keys that last.** A [`BrokerIdentity`] and a [`NodeIdentity`] are made once and kept by the
//!    drivers. People compare brokers by [`PublicKey::fingerprint`].
//! 2. **The handshake.** An [`Initiator`] says HELLO, and a broker answers by [`respond`], once mac1
//!    has shown that the node knows its key. On first contact a [`Finisher`] tells the node the
//!    broker's key, and a [`PendingFinish`] waits at the broker. What comes of it are
//!    [`LinkSecrets`], and certainty about who is at the other end.
//!    Before it takes that trouble, a broker can have the node prove its address: a [`CookieSecret`]
//!    makes what only who gets the broker's answers can send back.
//! 3. **Packets.** A [`Sealer`] and an [`Opener`] turn frames into datagrams and back. Every bit of
//!    a datagram is authenticated, each opens at most once, and one that does not open changes
//!    nothing.
//! 4. **Resets.** A [`ResetSecret`] makes the token by which a node knows that the broker, and nobody
//!    else, has no such link any more.
//!
//! Nothing here has a clock or a source of randomness of its own: each handshake and each key comes
//! from a seed that the caller supplies, and must never supply twice. Which keys are trusted, how
//! often a HELLO is repeated, and how many handshakes may be half open is decided above.

mod cookie;
mod handshake;
mod keys;
mod mac1;
mod packet;
mod replay;
mod reset;
mod resolver;

pub use cookie::{COOKIE_LEN, CookieSecret};
pub use handshake::{
    Accepted, BrokerPayload, Established, Finisher, HandshakeError, Initiator, NodeEstablished,
    PendingFinish, Response, SUITE, Screened, knows_key, respond, screen,
};
pub use keys::{
    AccountKey, BrokerIdentity, CERTIFICATE_LEN, DeviceKey, KEY_LEN, LinkSecrets, NodeIdentity,
    ParseKeyError, PublicKey, SIGNATURE_LEN,
};
pub use packet::{
    FORGED_MAX, KEY_LIFETIME, KEY_PACKETS, OpenError, Opened, Opener, SEALED_MAX, SEALED_RESERVE,
    Sealer,
};
pub use replay::{REPLAY_WINDOW, ReplayWindow};
pub use reset::{RESET_LEN_MAX, RESET_LEN_MIN, ResetSecret, encode_reset, is_token};

#[cfg(test)]
pub(crate) use mac1::put_mac1;

#[cfg(test)]
mod vectors;

//! Who talks, and so that nobody else can listen or meddle: keys, the handshake, and the sealing
//! of packets (SPEC.md section 6).

mod handshake;
mod keys;
mod mac1;
mod packet;
mod replay;
mod resolver;

pub use handshake::{
    Accepted, BrokerPayload, Established, Finisher, HandshakeError, Initiator, NodeEstablished,
    PendingFinish, Response, SUITE, respond,
};
pub use keys::{
    AccountKey, BrokerIdentity, CERTIFICATE_LEN, DeviceKey, KEY_LEN, LinkSecrets, NodeIdentity,
    ParseKeyError, PublicKey,
};
pub use packet::{FORGED_MAX, OpenError, Opened, Opener, SEALED_MAX, SEALED_RESERVE, Sealer};
pub use replay::{REPLAY_WINDOW, ReplayWindow};

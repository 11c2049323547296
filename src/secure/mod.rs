//! Who talks, and so that nobody else can listen or meddle: keys, the handshake, and the sealing
//! of packets (SPEC.md section 6).

mod keys;
mod packet;
mod replay;

pub use keys::{
    AccountKey, BrokerIdentity, CERTIFICATE_LEN, DeviceKey, KEY_LEN, LinkSecrets, NodeIdentity,
    ParseKeyError, PublicKey,
};
pub use packet::{
    FORGED_MAX, OpenError, Opened, Opener, SEALED_MAX, SEALED_RESERVE, Sealer, TAG_LEN,
};
pub use replay::{REPLAY_WINDOW, ReplayWindow};

//! What the ends of a link say to each other in these workloads, all of it on one channel.
//!
//! A client's first message says what it is for. The server answers with an [`Info`], and tells a
//! new one to a client that asks.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tertulia::secure::BrokerIdentity;

/// The channel of the link.
pub const CHANNEL: u8 = 1;

/// The server's key, which clients know: what is measured begins with the second contact.
pub fn server_identity() -> BrokerIdentity {
    BrokerIdentity::from_secret(*b"a secret of these workloads only")
}

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What it sends goes to all receivers of its group.
    Sender,
    /// Gets what is sent in its group.
    Receiver,
    /// What it sends is counted.
    Bulk,
    /// Each of its messages asks for an [`Info`].
    Query,
}

impl Role {
    const ALL: [Self; 4] = [Self::Sender, Self::Receiver, Self::Bulk, Self::Query];

    /// The first message of a client of `group`.
    pub fn hello(self, group: u32) -> Bytes {
        let mut message = BytesMut::new();
        message.put_u8(self as u8);
        message.put_u32(group);
        message.freeze()
    }

    /// What a first message says.
    pub fn read_hello(mut message: Bytes) -> Option<(Self, u32)> {
        let role = *Self::ALL.get(usize::from(message.try_get_u8().ok()?))?;
        Some((role, message.try_get_u32().ok()?))
    }
}

/// What the server says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The server's process.
    pub pid: u32,
    /// How many bytes it has got from all that upload.
    pub bulk_bytes: u64,
    /// When it got the last of them, by the monotonic clock.
    pub bulk_last_ns: u64,
}

impl Info {
    /// As a message.
    pub fn encode(self) -> Bytes {
        let mut message = BytesMut::new();
        message.put_u32(self.pid);
        message.put_u64(self.bulk_bytes);
        message.put_u64(self.bulk_last_ns);
        message.freeze()
    }

    /// What a message says.
    pub fn decode(mut message: Bytes) -> Option<Self> {
        Some(Self {
            pid: message.try_get_u32().ok()?,
            bulk_bytes: message.try_get_u64().ok()?,
            bulk_last_ns: message.try_get_u64().ok()?,
        })
    }
}

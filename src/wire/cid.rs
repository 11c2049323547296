//! A connection id as the data class knows it, whichever side it leads to (PKT-1).

use core::fmt;

use super::{BROKER_CID_LEN, BrokerCid, DecodeError, NodeCid};

/// Zero to eight bytes that tell a receiver which link a datagram belongs to (PKT-1, CID-1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cid {
    len: u8,
    bytes: [u8; BROKER_CID_LEN],
}

impl Cid {
    /// The connection id of these bytes; `None` if they are more than eight.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut cid = Self::default();
        cid.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        cid.len = bytes.len() as u8;
        Some(cid)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// As a broker's, if it has the length of one.
    #[must_use]
    pub fn as_broker(&self) -> Option<BrokerCid> {
        self.as_bytes().try_into().ok()
    }

    /// What a NEW_CID may hold: nobody needs a fresh id that is empty (CID-1).
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let cid = Self::new(bytes).filter(|cid| cid.len > 0);
        cid.ok_or(DecodeError::Invalid("length of a connection id"))
    }
}

impl From<BrokerCid> for Cid {
    fn from(bytes: BrokerCid) -> Self {
        let len = BROKER_CID_LEN as u8;
        Self { len, bytes }
    }
}

impl From<NodeCid> for Cid {
    fn from(cid: NodeCid) -> Self {
        Self::new(cid.as_bytes()).expect("a node's connection id is shorter than a broker's")
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes of a reset token (RST-1).
pub const RESET_TOKEN_LEN: usize = 16;

/// What ends a stateless reset of a link that uses some connection id (RST-1); secret. A node's ids
/// have none, which is sent as zeros.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ResetToken(pub [u8; RESET_TOKEN_LEN]);

impl fmt::Debug for ResetToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PKT-1.
    #[test]
    fn a_connection_id_has_up_to_eight_bytes() {
        for len in 0..=8 {
            let cid = Cid::new(&[7; 8][..len]).unwrap();
            assert_eq!(cid.as_bytes(), &[7; 8][..len]);
            assert_eq!(cid.as_broker().is_some(), len == 8);
        }
        assert_eq!(Cid::new(&[7; 9]), None);
    }
}

//! What can be decoded: datagrams, the frames of a packet, and the messages that links carry.

use bytes::Bytes;
use tertulia::chat::{ControlFromBroker, ControlFromNode, RoomFromBroker, RoomFromNode};
use tertulia::wire::roundtrip;

/// Checks one input: whatever decodes, as a datagram, as frames or as a message, encodes to the same
/// bytes (ENC-3). Returns as how many kinds of message it decodes.
///
/// # Panics
///
/// If something that must hold does not.
#[must_use]
pub fn check(input: &[u8]) -> usize {
    roundtrip::check(input);
    let message = Bytes::copy_from_slice(input);
    let encoded = [
        ControlFromNode::decode(&message).map(|decoded| decoded.encode()),
        ControlFromBroker::decode(&message).map(|decoded| decoded.encode()),
        RoomFromNode::decode(&message).map(|decoded| decoded.encode()),
        RoomFromBroker::decode(&message).map(|decoded| decoded.encode()),
    ];
    let mut kinds = 0;
    for encoded in encoded.into_iter().flatten() {
        assert_eq!(encoded, message);
        kinds += 1;
    }
    kinds
}

//! The property that the fuzzer looks for counterexamples to, and that the ordinary tests check on
//! the fuzzer's corpus: what decodes encodes to the same bytes again. Not part of the interface.

use bytes::Bytes;

use super::{Handshake, UnknownHello, decode_frames, handshake};

/// Checks `input` as a handshake datagram, once more as one after its CRC has been put right
/// (guessing four bytes is not what a fuzzer is good at), and as the frames of a packet.
///
/// # Panics
///
/// If the property does not hold.
pub fn check(input: &[u8]) {
    let input = Bytes::copy_from_slice(input);
    check_handshake(&input);
    check_handshake(&with_right_crc(&input));
    check_frames(&input);
}

/// `datagram` with its last four bytes replaced by the CRC that belongs there.
#[must_use]
pub fn with_right_crc(datagram: &[u8]) -> Bytes {
    match datagram.split_last_chunk::<4>() {
        Some((body, _)) => [body, &handshake::crc(body)].concat().into(),
        None => Bytes::copy_from_slice(datagram),
    }
}

fn check_handshake(datagram: &Bytes) {
    let unknown = UnknownHello::decode(datagram);
    let Ok(decoded) = Handshake::decode(datagram) else {
        return;
    };
    let mut encoded = Vec::new();
    decoded.encode(&mut encoded);
    assert_eq!(encoded, datagram[..], "{decoded:?}");
    if let Handshake::Hello(hello) = decoded {
        // What all versions share is read alike by both decoders.
        let shared = UnknownHello {
            version: hello.version,
            cid: hello.cid,
        };
        assert_eq!(unknown, Ok(shared));
    }
}

fn check_frames(payload: &Bytes) {
    let mut encoded = Vec::new();
    for frame in decode_frames(payload.clone()) {
        let Ok(frame) = frame else {
            // What came before the error was exact all the same.
            assert!(payload.starts_with(&encoded));
            return;
        };
        frame.encode(&mut encoded);
    }
    assert_eq!(encoded, payload[..]);
}

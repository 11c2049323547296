//! Section 17.4, the epochs, and section 17.5, what a link says about itself.

use bytes::{Bytes, BytesMut};
use tertulia::secure::{Opener, ResetSecret, Sealer};
use tertulia::wire::{DataHeader, Frame, decode_frames};

use super::{BROKER_CID, array, expand, vector};

/// KEY-1, KEY-7, PKT-6.
#[test]
fn the_next_epoch_agrees() {
    let secret = array("xx_from_node");
    let (key, iv) = (vector("node_key_1"), vector("node_iv_1"));
    assert_eq!(key, expand::<32>(&secret, b"tertulia key 1")[..]);
    assert_eq!(iv, expand::<12>(&secret, b"tertulia iv 1")[..]);

    let number = 0x12_3457;
    let mut sealer = Sealer::new(&secret);
    sealer.advance(number);
    let mut ping = Vec::new();
    let header = DataHeader::new(&BROKER_CID, number, Some(number - 1)).in_epoch(1);
    let number_offset = header.encode(&mut ping);
    Frame::Ping.encode(&mut ping);
    sealer.seal(number, &mut ping, 0, number_offset);
    assert_eq!(ping, vector("ping_1"));

    // Two bytes of the number tell it to who has opened one that is near.
    let mut near = Vec::new();
    let number_offset = DataHeader::new(&BROKER_CID, number - 2, None).encode(&mut near);
    Frame::Ping.encode(&mut near);
    Sealer::new(&secret).seal(number - 2, &mut near, 0, number_offset);
    let mut opener = Opener::new(&secret);
    let datagrams = [near.into(), vector("ping"), vector("ping_1")];
    let opened = datagrams.map(|datagram| {
        let opened = opener.open(BytesMut::from(&datagram[..]), BROKER_CID.len());
        (opened.map(|opened| opened.number), opener.epoch())
    });
    assert_eq!(
        opened,
        [(Ok(number - 2), 0), (Ok(number - 1), 0), (Ok(number), 1)]
    );
}

/// CRD-3, PTH-2, PTH-3, FRM-2, RST-1, CID-1, CID-2.
#[test]
fn frames_about_the_link_agree() {
    let (eight, cid) = ([1, 2, 3, 4, 5, 6, 7, 8], [0x0c; 8]);
    let token = ResetSecret::new(array("reset_secret")).token(&cid);
    let limit = 655_360;
    let frames = [
        ("credit_link", Frame::CreditLink { limit }),
        (
            "credit_channel",
            Frame::CreditChannel {
                channel: 1,
                limit: 524_288,
            },
        ),
        ("path_challenge", Frame::PathChallenge(eight)),
        ("path_response", Frame::PathResponse(eight)),
        (
            "grease",
            Frame::Unknown {
                kind: 0x77,
                data: Bytes::from_static(&[10, 11, 12]),
            },
        ),
        (
            "new_cid",
            Frame::NewCid {
                sequence: 1,
                cid: cid.into(),
                token,
            },
        ),
        ("retire_cid", Frame::RetireCid { sequence: 0 }),
    ];
    for (name, frame) in frames {
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        assert_eq!(encoded, vector(name), "{name}");
        assert!(decode_frames(vector(name)).eq([Ok(frame)]), "{name}");
    }
}

//! Peers that break the rules, and strangers who send anything.

use proptest::prelude::*;

use super::*;
use crate::secure::Opener;
use crate::wire::decode_frames;

/// What a fresh link of `side` says to a packet with these frames.
fn verdict(side: Side, frames: &[Frame]) -> Option<String> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    verdict_on_payload(side, &bytes)
}

fn verdict_on_payload(side: Side, payload: &[u8]) -> Option<String> {
    let now = Timestamp::from_millis(1);
    let mut link = Link::new(config(side, 1), now);
    let datagram = Forger::new(other(side)).payload(payload);
    link.handle_datagram(link.path(), datagram, now).unwrap();
    let reason = core::iter::from_fn(|| link.poll_event()).find_map(|event| match event {
        LinkEvent::Closed {
            by_peer: false,
            code: CloseCode::Protocol,
            reason,
        } => Some(reason),
        _ => None,
    });
    if reason.is_some() {
        assert_eq!(datagrams(&mut link, now).len(), 1, "a CLOSE goes out");
    }
    reason
}

fn msg(channel: u64, number: u64) -> Frame {
    Frame::Msg {
        channel,
        number,
        data: Bytes::from_static(b"x"),
    }
}

/// FRM-1, LIF-4.
#[test]
fn malformed_frames_close_the_link_with_a_reason_in_words() {
    for payload in [&[0x3f, 0, 0][..], &[0x04, 0, 0, 9, 1], &[0x02, 0, 0, 99, 0]] {
        let reason = verdict_on_payload(Side::Broker, payload).unwrap();
        assert!(reason.starts_with("malformed frames: "), "{reason}");
    }
}

/// FRM-2.
#[test]
fn unknown_frames_that_can_be_skipped_are_skipped() {
    let unknown = Frame::Unknown {
        kind: 0x7e,
        data: Bytes::from_static(b"from the future"),
    };
    assert_eq!(verdict(Side::Broker, &[unknown, msg(0, 0)]), None);
}

/// FRM-2: among the packets of a link, some carry grease.
#[test]
fn a_sender_greases_now_and_then() {
    let mut pair = Pair::warmed_up(FINE, 1);
    for _ in 0..200 {
        pair.send(Side::Node, 1, b"hello");
        pair.run_for(MS * 200);
    }
    let mut opener = Opener::new(&SEND);
    let mut greased = 0;
    for datagram in &pair.node.raw {
        let opened = opener
            .open(BytesMut::from(&datagram[..]), BROKER_CID.len())
            .unwrap();
        let is_grease = |frame| matches!(frame, Ok(Frame::Unknown { kind: 0x40.., .. }));
        greased += usize::from(decode_frames(opened.payload).any(is_grease));
    }
    assert_eq!(pair.broker.messages.len(), 200);
    assert!((200 / 64..=200 / 16 + 1).contains(&greased), "{greased}");
}

/// CHN-2.
#[test]
fn a_channel_that_is_not_open_or_not_there_closes_the_link() {
    assert_eq!(verdict(Side::Broker, &[msg(63, 0)]), None);
    for channel in [64, 255, 256, 1 << 40] {
        let reason = verdict(Side::Broker, &[msg(channel, 0)]).unwrap();
        assert!(reason.contains("out of range"), "{reason}");
    }
    assert_eq!(verdict(Side::Node, &[msg(0, 0)]), None);
    let reason = verdict(Side::Node, &[msg(1, 0)]).unwrap();
    assert!(reason.contains("not opened"), "{reason}");
}

/// CHN-4.
#[test]
fn a_message_too_far_ahead_closes_the_link() {
    assert_eq!(verdict(Side::Broker, &[msg(1, 255)]), None);
    assert!(verdict(Side::Broker, &[msg(1, 256)]).is_some());
}

/// CHN-5.
#[test]
fn fragments_that_disagree_close_the_link() {
    let fragment = |total, offset| Frame::Frag {
        channel: 1,
        number: 0,
        total,
        offset,
        data: Bytes::from_static(b"xy"),
    };
    assert_eq!(
        verdict(Side::Broker, &[fragment(9, 0), fragment(9, 4)]),
        None
    );
    assert!(verdict(Side::Broker, &[fragment(9, 0), fragment(8, 4)]).is_some());
}

/// PKT-6.
#[test]
fn reserved_bits_close_the_link() {
    let now = Timestamp::from_millis(1);
    let mut link = Link::new(config(Side::Broker, 1), now);
    let mut sealer = Sealer::new(&SEND);
    let mut out = vec![0b1000_0101];
    out.extend_from_slice(&BROKER_CID);
    out.extend_from_slice(&[0, 0, 1, 1]);
    sealer.seal(0, &mut out, 0, 1 + BROKER_CID.len());
    link.handle_datagram(link.path(), BytesMut::from(&out[..]), now)
        .unwrap();
    assert!(!link.is_open());
}

/// KEY-3, PTH-1: what does not decrypt changes nothing; what does counts wherever it came from, but
/// a copy raced from elsewhere does not draw the answers there.
#[test]
fn only_a_packet_that_decrypts_counts_as_heard_and_none_moves_the_path() {
    let now = Timestamp::from_millis(1);
    let elsewhere = Path::new(([198, 51, 100, 9], 9).into());
    let mut link = Link::new(config(Side::Broker, 1), now);
    let mut node = Forger::new(Side::Node);
    let mut forged = node.frames(&[Frame::Ping]);
    forged[12] ^= 1;
    let later = now + SECOND;
    assert_eq!(
        link.handle_datagram(elsewhere, forged, later),
        Err(DropReason::Authentication)
    );
    assert_eq!((link.path(), link.last_heard()), (path_to(Side::Node), now));
    assert!(!link.has_heard());
    assert_eq!(link.stats().authentication_failures, 1);

    let good = node.frames(&[Frame::Ping]);
    link.handle_datagram(elsewhere, good.clone(), later)
        .unwrap();
    assert_eq!(
        (link.path(), link.last_heard()),
        (path_to(Side::Node), later)
    );
    assert_eq!(
        link.handle_datagram(elsewhere, good, later),
        Err(DropReason::Replay)
    );
}

/// CHN-4, CHN-5: a peer that never completes anything costs at most its channels' limits.
#[test]
fn endless_fragments_run_into_a_limit() {
    let now = Timestamp::from_millis(1);
    let mut link = Link::new(config(Side::Broker, 1), now);
    let mut node = Forger::new(Side::Node);
    let mut accepted = 0;
    for number in 1..=255 {
        for offset in (0..60_000).step_by(1_100) {
            let fragment = Frame::Frag {
                channel: 1,
                number,
                total: 65_536,
                offset,
                data: vec![0; 1_100].into(),
            };
            let datagram = node.frames(&[fragment]);
            if link.handle_datagram(link.path(), datagram, now).is_ok() && link.is_open() {
                accepted += 1_100;
            }
            let _ = datagrams(&mut link, now);
        }
    }
    assert!(!link.is_open());
    assert!(accepted <= crate::link::CHANNEL_BYTES_MAX);
}

proptest! {
    /// LIF-4: whatever a peer seals, the link lives or closes with PROTOCOL, and has a next step.
    #[test]
    fn no_payload_does_more_than_close_the_link(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..20),
        by_node in any::<bool>(),
    ) {
        let side = if by_node { Side::Broker } else { Side::Node };
        let mut now = Timestamp::from_millis(1);
        let mut link = Link::new(config(side, 1), now);
        let mut peer = Forger::new(other(side));
        for payload in payloads {
            let datagram = peer.payload(&payload);
            let _ = link.handle_datagram(link.path(), datagram, now);
            while let Some(event) = link.poll_event() {
                if let LinkEvent::Closed { by_peer: false, code, .. } = event {
                    prop_assert_eq!(code, CloseCode::Protocol);
                }
            }
            let _ = datagrams(&mut link, now);
            prop_assert!(link.poll_timeout().is_some() || link.is_closed());
            now += MS * 10;
            link.handle_timeout(now);
        }
    }

    /// KEY-3, KEY-4: bytes of strangers change nothing.
    #[test]
    fn no_datagram_of_a_stranger_changes_anything(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let now = Timestamp::from_millis(1);
        let mut link = Link::new(config(Side::Broker, 1), now);
        let deadline = link.poll_timeout();
        let stranger = Path::new(([198, 51, 100, 9], 9).into());
        let taken = link.handle_datagram(stranger, BytesMut::from(&bytes[..]), now);
        prop_assert!(taken.is_err());
        prop_assert_eq!(link.poll_timeout(), deadline);
        prop_assert_eq!(link.path(), path_to(Side::Node));
        prop_assert_eq!(datagrams(&mut link, now).len(), 0);
    }
}

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::wire::{
    ACK_RANGES_MAX, AckRanges, EcnCounts, RESET_TOKEN_LEN, VARINT_MAX, roundtrip::check,
};

fn encode(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

fn decode(payload: &[u8]) -> Result<Vec<Frame>, DecodeError> {
    decode_frames(Bytes::copy_from_slice(payload)).collect()
}

fn msg(data: &'static [u8]) -> Frame {
    Frame::Msg {
        channel: 1,
        number: 2,
        data: Bytes::from_static(data),
    }
}

#[test]
fn frames_look_as_the_specification_says() {
    let mut ranges = AckRanges::new(90..=100).unwrap();
    assert!(ranges.push(80..=88) && ranges.push(0..=0));
    let ack = Ack {
        delay_us: 25_000,
        ranges,
        ecn: None,
    };
    let frag = Frame::Frag {
        channel: 1,
        number: 2,
        total: 65_536,
        offset: 100,
        data: Bytes::from_static(b"piece"),
    };
    let close = Frame::Close {
        code: 1,
        reason: "oh".to_owned(),
    };
    let grease = Frame::Unknown {
        kind: 0x40,
        data: Bytes::from_static(b"?"),
    };
    for (frame, bytes) in [
        (Frame::Pad, &[0x00][..]),
        (Frame::Ping, &[0x01]),
        (
            Frame::Ack(ack),
            b"\x02\x40\x64\x80\x00\x61\xa8\x02\x0a\x00\x08\x40\x4e\x00",
        ),
        (msg(b"whole"), b"\x04\x01\x02\x05whole"),
        (frag, b"\x05\x01\x02\x80\x01\x00\x00\x40\x64\x05piece"),
        (
            Frame::CreditLink { limit: 524_288 },
            b"\x07\x80\x08\x00\x00",
        ),
        (
            Frame::CreditChannel {
                channel: 1,
                limit: 100,
            },
            b"\x08\x01\x40\x64",
        ),
        (
            Frame::NewCid {
                sequence: 2,
                cid: Cid::from(*b"brokerid"),
                token: ResetToken(*b"sixteen byte key"),
            },
            b"\x09\x02\x08brokeridsixteen byte key",
        ),
        (Frame::RetireCid { sequence: 100 }, b"\x0a\x40\x64"),
        (Frame::PathChallenge(*b"question"), b"\x0bquestion"),
        (Frame::PathResponse(*b"question"), b"\x0cquestion"),
        (close, b"\x0d\x01\x02oh"),
        (grease, b"\x40\x01?"),
    ] {
        assert_eq!(encode(&frame), bytes);
        assert_eq!(decode(bytes), Ok(vec![frame]));
    }
}

/// FRM-1.
#[test]
fn a_packet_without_a_frame_is_malformed() {
    let mut frames = decode_frames(Bytes::new());
    assert_eq!(
        frames.next(),
        Some(Err(DecodeError::Invalid("packet: it has no frame")))
    );
    assert_eq!(frames.next(), None);
}

/// FRM-1.
#[test]
fn unknown_types_below_0x40_are_malformed() {
    let known = [PAD, PING, ACK, ACK_ECN, MSG, FRAG, CLOSE];
    let moving = [NEW_CID, RETIRE_CID, PATH_CHALLENGE, PATH_RESPONSE];
    let known = [&known[..], &moving, &[CREDIT_LINK, CREDIT_CHANNEL]].concat();
    for kind in (0..SKIPPABLE).filter(|kind| !known.contains(kind)) {
        assert_eq!(decode(&[kind, 0]), Err(DecodeError::UnknownType(kind)));
    }
}

/// FRM-2.
#[test]
fn unknown_types_from_0x40_on_are_skipped() {
    for kind in SKIPPABLE..=0xff {
        let payload = [kind, 3, 0xff, 0xff, 0xff, PING];
        let grease = Frame::Unknown {
            kind,
            data: Bytes::from_static(&[0xff; 3]),
        };
        assert_eq!(decode(&payload), Ok(vec![grease, Frame::Ping]));
    }
}

/// FRM-4, LIM-2.
#[test]
fn a_fragment_lies_within_its_message_and_may_be_all_of_it() {
    assert_eq!(MESSAGE_MAX, 65_536);
    let decode = |total, offset, data: &[u8]| {
        let mut bytes = vec![FRAG, 1, 2];
        put_varint(&mut bytes, total);
        put_varint(&mut bytes, offset);
        put_sized(&mut bytes, data);
        decode(&bytes)
    };
    for (total, offset) in [(5, 0), (6, 0), (6, 1), (65_536, 65_531), (65_536, 0)] {
        assert!(decode(total, offset, b"piece").is_ok(), "{total} {offset}");
    }
    for (total, offset, data) in [
        (5, 1, &b"piece"[..]),
        (4, 0, b"piece"),
        (0, 0, b"piece"),
        (6, 2, b"piece"),
        (65_536, 65_532, b"piece"),
        (65_537, 0, b"piece"),
        (VARINT_MAX, 0, b"piece"),
        (65_536, VARINT_MAX, b"piece"),
        (10, 0, b""),
        (0, 0, b""),
    ] {
        let malformed = Err(DecodeError::Invalid("fragment"));
        assert_eq!(decode(total, offset, data), malformed, "{total} {offset}");
    }
}

/// FRM-4.
#[test]
fn a_message_may_be_empty() {
    assert_eq!(decode(&[MSG, 1, 2, 0]), Ok(vec![msg(b"")]));
}

/// FRM-5: the headers at the upper ends of what the clause names, and one past them.
#[test]
fn msg_takes_at_most_8_bytes_and_frag_16() {
    let (channel, number, len) = (63, (1 << 30) - 1, 16_383);
    assert_eq!(msg_header_len(channel, number, len), 8);
    let (total, offset) = (65_536, 65_536 - len as u64);
    assert_eq!(frag_header_len(channel, number, total, offset, len), 16);
    assert_eq!(msg_header_len(channel + 1, number, len), 9);
}

/// LIM-2.
#[test]
fn the_reason_of_a_close_is_at_most_128_bytes_of_text() {
    assert_eq!(REASON_MAX, 128);
    let close = |reason: &[u8]| {
        let mut bytes = vec![CLOSE, 1];
        put_sized(&mut bytes, reason);
        decode(&bytes)
    };
    assert!(close(&[b'r'; REASON_MAX]).is_ok());
    let too_long = Err(DecodeError::Invalid("length of a reason"));
    assert_eq!(close(&[b'r'; REASON_MAX + 1]), too_long);
    assert_eq!(close(&[0xff]), Err(DecodeError::NotUtf8));
}

/// CID-1.
#[test]
fn a_fresh_connection_id_has_1_to_8_bytes() {
    for len in 0..=9 {
        let mut bytes = vec![NEW_CID, 1];
        put_sized(&mut bytes, &[7; 9][..len]);
        bytes.extend([8; RESET_TOKEN_LEN]);
        assert_eq!(decode(&bytes).is_ok(), (1..=8).contains(&len), "{len}");
    }
}

/// ACK-1.
#[test]
fn pad_ack_and_close_elicit_no_acks_and_all_else_does() {
    for (bytes, elicits) in [
        (&[PAD][..], false),
        (&[PING], true),
        (&[ACK, 0, 0, 0, 0], false),
        (&[MSG, 0, 0, 0], true),
        (&[FRAG, 0, 0, 2, 0, 1, 0], true),
        (&[CREDIT_LINK, 0], true),
        (&[CREDIT_CHANNEL, 0, 0], true),
        (
            &[
                NEW_CID, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
            ],
            true,
        ),
        (&[RETIRE_CID, 0], true),
        (&[PATH_CHALLENGE, 0, 0, 0, 0, 0, 0, 0, 0], true),
        (&[PATH_RESPONSE, 0, 0, 0, 0, 0, 0, 0, 0], true),
        (&[CLOSE, 0, 0], false),
        (&[SKIPPABLE, 0], true),
    ] {
        let frames = decode(bytes).unwrap();
        assert_eq!(frames[0].is_ack_eliciting(), elicits, "{frames:?}");
    }
}

#[test]
fn content_is_a_slice_of_the_packet_and_not_a_copy() {
    let payload = Bytes::from(encode(&msg(b"content")));
    let Some(Ok(Frame::Msg { data, .. })) = decode_frames(payload.clone()).next() else {
        panic!("a MSG went in");
    };
    assert_eq!(data.as_ptr(), payload[4..].as_ptr());
}

#[test]
fn nothing_is_read_after_the_first_error() {
    let mut frames = decode_frames(Bytes::from_static(&[PING, 0x3f, PING]));
    assert_eq!(frames.next(), Some(Ok(Frame::Ping)));
    assert_eq!(frames.next(), Some(Err(DecodeError::UnknownType(0x3f))));
    assert_eq!(frames.next(), None);
}

fn any_number() -> impl Strategy<Value = u64> {
    // As many of each length of varint.
    (0..62_u32).prop_flat_map(|bits| 0..=VARINT_MAX >> bits)
}

fn any_data(len: core::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), len).prop_map(Bytes::from)
}

fn any_ack() -> impl Strategy<Value = Frame> {
    let further = vec((1..1000_u64, 0..1000_u64), 0..ACK_RANGES_MAX);
    let counts = (any_number(), any_number(), any_number());
    let counts = counts.prop_map(|(ect0, ect1, ce)| EcnCounts { ect0, ect1, ce });
    let counts = proptest::option::of(counts);
    (any_number(), 0..1000_u64, any_number(), further, counts).prop_map(
        |(largest, below, delay_us, further, ecn)| {
            let highest = largest.saturating_sub(below)..=largest;
            let mut ranges = AckRanges::new(highest).unwrap();
            for (gap, below) in further {
                let Some(largest) = ranges.smallest().checked_sub(gap + 1) else {
                    break;
                };
                assert!(ranges.push(largest.saturating_sub(below)..=largest));
            }
            Frame::Ack(Ack {
                delay_us,
                ranges,
                ecn,
            })
        },
    )
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let frag = (any_data(1..200), 0..1000_u64, 1..1000_u64);
    prop_oneof![
        Just(Frame::Pad),
        Just(Frame::Ping),
        any_ack(),
        (any_number(), any_number(), any_data(0..200)).prop_map(|(channel, number, data)| {
            Frame::Msg {
                channel,
                number,
                data,
            }
        }),
        (any_number(), any_number(), frag).prop_map(|(channel, number, (data, before, after))| {
            Frame::Frag {
                channel,
                number,
                total: before + data.len() as u64 + after,
                offset: before,
                data,
            }
        }),
        (any_number(), vec(any::<u8>(), 1..=8), any::<[u8; 16]>()).prop_map(
            |(sequence, cid, token)| Frame::NewCid {
                sequence,
                cid: Cid::new(&cid).unwrap(),
                token: ResetToken(token),
            }
        ),
        any_number().prop_map(|limit| Frame::CreditLink { limit }),
        (any_number(), any_number())
            .prop_map(|(channel, limit)| Frame::CreditChannel { channel, limit }),
        any_number().prop_map(|sequence| Frame::RetireCid { sequence }),
        any::<[u8; 8]>().prop_map(Frame::PathChallenge),
        any::<[u8; 8]>().prop_map(Frame::PathResponse),
        (any_number(), "\\PC{0,32}").prop_map(|(code, reason)| Frame::Close { code, reason }),
        (SKIPPABLE..=0xff, any_data(0..200)).prop_map(|(kind, data)| Frame::Unknown { kind, data }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(frames in vec(any_frame(), 1..8)) {
        let payload = frames.iter().map(encode).collect::<Vec<_>>().concat();
        prop_assert_eq!(decode(&payload), Ok(frames));
    }

    /// FRM-5: what the header lengths promise is what the frames take.
    #[test]
    fn header_lengths_are_exact(frame in any_frame()) {
        let header_len = match &frame {
            Frame::Msg { channel, number, data } => msg_header_len(*channel, *number, data.len()),
            Frame::Frag { channel, number, total, offset, data } => {
                frag_header_len(*channel, *number, *total, *offset, data.len())
            }
            _ => return Ok(()),
        };
        let (Frame::Msg { data, .. } | Frame::Frag { data, .. }) = &frame else {
            unreachable!("others have returned");
        };
        prop_assert_eq!(encode(&frame).len(), header_len + data.len());
    }

    /// Payloads with bytes changed: what still decodes encodes to the same.
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        frames in vec(any_frame(), 1..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut payload = frames.iter().map(encode).collect::<Vec<_>>().concat();
        for (at, byte) in changes {
            *at.get_mut(&mut payload) = byte;
        }
        check(&payload);
    }

    /// ENC-4.
    #[test]
    fn arbitrary_bytes_never_panic(kind in 0..0x10_u8, rest in vec(any::<u8>(), 0..64)) {
        check(&[&[kind], &rest[..]].concat());
    }

    /// ENC-3: no frame is the beginning of another one.
    #[test]
    fn every_truncation_of_a_frame_fails(frame in any_frame()) {
        let bytes = encode(&frame);
        for len in 0..bytes.len() {
            prop_assert!(decode(&bytes[..len]).is_err(), "{} of {}", len, bytes.len());
        }
    }
}

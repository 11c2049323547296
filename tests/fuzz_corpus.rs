//! Replays the fuzzer's corpus with an ordinary compiler, so that whatever the fuzzer once found
//! stays found: no input makes a decoder panic, and what decodes encodes to the same bytes again.

use std::{fs, path::Path};

use bytes::Bytes;
use tertulia::wire::{Frame, Handshake, UnknownHello, decode_frames, roundtrip};

/// Fewer files than this, and the corpus has been lost.
const CORPUS_MIN: usize = 30;

fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decode");
    fs::read_dir(&directory)
        .and_then(|entries| entries.map(|entry| fs::read(entry?.path())).collect())
        .expect("the corpus is part of the repository")
}

#[test]
fn every_input_of_the_corpus_holds_what_the_fuzz_target_checks() {
    let corpus = corpus();
    assert!(corpus.len() >= CORPUS_MIN, "{} files", corpus.len());
    for input in corpus {
        roundtrip::check(&input);
    }
}

/// A corpus in which nothing decodes would prove nothing.
#[test]
fn the_corpus_holds_every_kind_of_datagram_and_frame() {
    let mut kinds = [false; 19];
    for input in corpus() {
        let datagram = roundtrip::with_right_crc(&input);
        if UnknownHello::decode(&datagram).is_ok_and(|hello| hello.version != 1) {
            kinds[0] = true;
        }
        if let Ok(handshake) = Handshake::decode(&datagram) {
            let kind = match handshake {
                Handshake::Hello(_) => 1,
                Handshake::Accept(_) => 2,
                Handshake::Finish(_) => 3,
                Handshake::Retry(_) => 4,
                Handshake::Version(_) => 5,
            };
            kinds[kind] = true;
        }
        let frames: Result<Vec<Frame>, _> = decode_frames(Bytes::from(input)).collect();
        for frame in frames.unwrap_or_default() {
            let kind = match frame {
                Frame::Pad => 6,
                Frame::Ping => 7,
                Frame::Ack(_) => 8,
                Frame::Msg { .. } => 9,
                Frame::Frag { .. } => 10,
                Frame::Close { .. } => 11,
                Frame::Unknown { .. } => 12,
                Frame::NewCid { .. } => 13,
                Frame::RetireCid { .. } => 14,
                Frame::PathChallenge(_) => 15,
                Frame::PathResponse(_) => 16,
                Frame::CreditLink { .. } => 17,
                Frame::CreditChannel { .. } => 18,
            };
            kinds[kind] = true;
        }
    }
    assert_eq!(kinds, [true; 19]);
}

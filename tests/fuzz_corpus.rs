//! Replays the fuzzer's corpora with an ordinary compiler, so that whatever the fuzzer once found
//! stays found. What is checked is what the fuzz targets check, from the same source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, panic};

use bytes::Bytes;
use targets::store_file::{self, Fate};
use targets::{decode, handshake, link_pair, noise_payload};
use tertulia::drops::Dropped;
use tertulia::wire::{Frame, Handshake, UnknownHello, decode_frames, roundtrip};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the library of a crate of its own")]
mod targets;

/// Fewer files than this, and the corpus has been lost.
const CORPUS_MIN: usize = 30;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    fs::read_dir(directory.join(target))
        .and_then(|entries| {
            let files = entries.map(|entry| Ok(entry?.path()));
            files
                .map(|path| path.and_then(|path| Ok((path.clone(), fs::read(path)?))))
                .collect()
        })
        .expect("the corpus is part of the repository")
}

/// What `check` says to each input of the target's corpus; names the input if it panics.
fn replay<T>(target: &str, check: fn(&[u8]) -> T) -> Vec<T> {
    let corpus = corpus(target);
    assert!(corpus.len() >= CORPUS_MIN, "{} files", corpus.len());
    let checked = corpus.iter().map(|(path, input)| {
        panic::catch_unwind(|| check(input)).unwrap_or_else(|panic| {
            eprintln!("cargo +nightly fuzz run {target} {}", path.display());
            panic::resume_unwind(panic);
        })
    });
    checked.collect()
}

#[test]
fn whatever_decodes_encodes_to_the_same_bytes() {
    let kinds = replay("decode", decode::check);
    assert!(kinds.iter().filter(|kinds| **kinds > 0).count() >= CORPUS_MIN);
}

/// SEC-11, HSD-8, BRK-4, DLV-8. A corpus in which nothing is refused would prove nothing.
#[test]
fn whatever_happens_to_a_handshake_the_ends_find_each_other() {
    let met: BTreeSet<Dropped> = replay("handshake", handshake::check)
        .concat()
        .into_iter()
        .collect();
    for reason in [
        Dropped::Empty,
        Dropped::Crc,
        Dropped::Malformed,
        Dropped::Unexpected,
        Dropped::Unsupported,
        Dropped::Mac1,
        Dropped::CookieMissing,
        Dropped::Handshake,
        Dropped::UnknownLink,
        Dropped::TooShort,
        Dropped::Replay,
        Dropped::Authentication,
    ] {
        assert!(met.contains(&reason), "{reason}");
    }
}

/// SEC-3, SEC-11, THR-10. A corpus in which no payload is taken, or each is, would prove little.
#[test]
fn whatever_a_payload_says_only_the_certified_get_a_link() {
    let taken = replay("noise_payload", noise_payload::check).concat();
    let right = taken.iter().filter(|is_taken| **is_taken).count();
    assert!(right >= CORPUS_MIN && taken.len() - right >= CORPUS_MIN);
}

/// STO-5, STO-7, STO-8, STO-10, JRN-8. A corpus in which all files are refused, or all are whole,
/// would prove little.
#[test]
fn whatever_becomes_of_a_file_nothing_is_handed_out_that_was_not_written() {
    let fates = replay("store_file", store_file::check);
    for fate in [Fate::Refused, Fate::Stopped, Fate::Shorter, Fate::Whole] {
        let count = fates.iter().filter(|met| **met == Some(fate)).count();
        assert!(count >= 5, "{fate:?}: {count}");
    }
}

/// CHN-1, LIF-4, KEY-3, DLV-8. A corpus in which no rule is broken, or always one, would prove little.
#[test]
fn whatever_happens_to_two_links_messages_arrive_once_and_in_order() {
    let endings = replay("link_pair", link_pair::check);
    assert!(endings.iter().filter(|reasons| reasons.is_empty()).count() >= CORPUS_MIN);
    let reasons: BTreeSet<String> = endings.concat().into_iter().collect();
    assert!(reasons.len() >= 10, "{reasons:?}");
}

/// The checks notice what a link may fail to do: on some input each deliberate fault panics.
#[cfg(feature = "mutants")]
#[test]
fn deliberate_faults_of_links_are_caught() {
    use tertulia::mutant::Mutant;

    for mutant in [
        Mutant::NoReorderBuffer,
        Mutant::NoAeadCheck,
        Mutant::GiveUpRetransmitting,
    ] {
        assert!(
            is_caught(mutant, "link_pair", link_pair::check),
            "{mutant:?}"
        );
    }
}

/// The same for who is let in.
#[cfg(feature = "mutants")]
#[test]
fn a_broker_that_asks_for_no_certificate_is_caught() {
    let mutant = tertulia::mutant::Mutant::NoCertificateCheck;
    assert!(is_caught(mutant, "noise_payload", noise_payload::check));
}

/// And for what is read from a disk.
#[cfg(feature = "mutants")]
#[test]
fn a_log_that_is_not_held_to_its_hash_is_caught() {
    let mutant = tertulia::mutant::Mutant::NoHashCheck;
    assert!(is_caught(mutant, "store_file", store_file::check));
}

/// Whether an input of the target's corpus finds that fault.
#[cfg(feature = "mutants")]
fn is_caught<T>(mutant: tertulia::mutant::Mutant, target: &str, check: fn(&[u8]) -> T) -> bool {
    use tertulia::mutant::activate;

    corpus(target).iter().any(|(_, input)| {
        activate(Some(mutant));
        let is_caught = panic::catch_unwind(|| check(input)).is_err();
        activate(None);
        is_caught
    })
}

/// A corpus in which nothing decodes would prove nothing.
#[test]
fn the_corpus_holds_every_kind_of_datagram_and_frame() {
    let mut kinds = [false; 19];
    for (_, input) in corpus("decode") {
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

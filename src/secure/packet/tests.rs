use proptest::prelude::*;

use super::*;
use crate::secure::vectors::{hex, vector};
use crate::wire::DataHeader;

const SECRET: [u8; KEY_LEN] = [7; KEY_LEN];
const CID: [u8; 8] = [0xc1, 0xd2, 0xe3, 0xf4, 0x05, 0x16, 0x27, 0x38];
const PING: u8 = 1;

/// A packet, sealed behind `before` in the same buffer.
fn seal_behind(before: &[u8], number: u64, acked: Option<u64>, frames: &[u8]) -> Vec<u8> {
    let mut out = before.to_vec();
    let number_offset = DataHeader::new(&CID, number, acked).encode(&mut out);
    out.extend_from_slice(frames);
    Sealer::new(&SECRET).seal(number, &mut out, before.len(), number_offset);
    out.split_off(before.len())
}

fn seal(number: u64, acked: Option<u64>, frames: &[u8]) -> Vec<u8> {
    seal_behind(&[], number, acked, frames)
}

fn open(opener: &mut Opener, datagram: &[u8]) -> Result<Opened, OpenError> {
    opener.open(BytesMut::from(datagram), CID.len())
}

/// An opener that has opened packet `number`.
fn opener_that_has_seen(number: u64) -> Opener {
    let mut opener = Opener::new(&SECRET);
    let acked = number.checked_sub(1);
    if let Some(acked) = acked {
        opener.window.insert(acked);
    }
    open(&mut opener, &seal(number, acked, &[PING; 8])).unwrap();
    opener
}

/// KEY-1, PKT-4, PKT-5: the vector of another implementation.
#[test]
fn a_packet_agrees_with_the_vector() {
    let secret: [u8; KEY_LEN] = vector("ik_from_node").try_into().unwrap();
    let (number, cid) = (0x12_3456, [6; 8]);
    let mut out = Vec::new();
    let number_offset = DataHeader::new(&cid, number, Some(number - 1)).encode(&mut out);
    out.push(PING);
    Sealer::new(&secret).seal(number, &mut out, 0, number_offset);
    assert_eq!(out, vector("packet"));

    let mut opener = Opener::new(&secret);
    opener.window.insert(number - 1);
    let opened = opener.open(BytesMut::from(&out[..]), cid.len()).unwrap();
    assert_eq!(
        (opened.number, &opened.payload[..]),
        (number, &[PING, 0][..])
    );
}

/// PKT-4: the mask is AES-256 of the sample, as in the example of FIPS 197, appendix C.3.
#[test]
fn the_mask_agrees_with_the_example_of_fips_197() {
    let key: Vec<u8> = (0..32).collect();
    let header = HeaderKey(HeaderProtectionKey::new(&AES_256, &key).unwrap());
    let packet = hex("80 00000000 00112233445566778899aabbccddeeff"
        .replace(' ', "")
        .as_str());
    assert_eq!(header.mask(&packet, 1).unwrap()[..], hex("8ea2b7ca51"));
    assert_eq!(header.mask(&packet[..20], 1), None);
}

/// PKT-5: no two packets share a nonce.
#[test]
fn the_nonce_is_the_iv_xor_the_number() {
    let mut keys = Secret::new(&SECRET).epoch(0);
    *keys.iv = [0xf0; NONCE_LEN];
    let nonce = keys.nonce(0x0102_0304_0506_0708);
    assert_eq!(nonce.as_ref()[..], hex("f0f0f0f0f1f2f3f4f5f6f7f8"));
}

/// PKT-3.
#[test]
fn the_shortest_packet_is_padded_for_the_sample() {
    let datagram = seal(0, None, &[PING]);
    assert_eq!(datagram.len(), 1 + CID.len() + SAMPLE_OFFSET + TAG_LEN);
    let opened = open(&mut Opener::new(&SECRET), &datagram).unwrap();
    assert_eq!(opened.payload[..], [PING, 0]);
}

/// PKT-3.
#[test]
fn what_is_too_short_for_a_sample_is_dropped() {
    let datagram = seal(0, None, &[PING]);
    for len in 0..datagram.len() {
        let result = open(&mut Opener::new(&SECRET), &datagram[..len]);
        assert_eq!(result, Err(OpenError::TooShort), "{len} bytes");
    }
}

/// PKT-6.
#[test]
fn reserved_bits_are_reported_once_the_packet_has_decrypted() {
    for bit in [0x04, 0x08, 0x10] {
        let mut out = Vec::new();
        let number_offset = DataHeader::new(&CID, 0, None).encode(&mut out);
        out[0] |= bit;
        out.push(PING);
        Sealer::new(&SECRET).seal(0, &mut out, 0, number_offset);
        let mut opener = Opener::new(&SECRET);
        assert!(open(&mut opener, &out).unwrap().reserved_bits);
    }
    let plain = open(&mut Opener::new(&SECRET), &seal(0, None, &[PING])).unwrap();
    assert!(!plain.reserved_bits);
}

/// A packet of an epoch, under a number.
fn seal_in_epoch(epoch: u64, number: u64) -> Vec<u8> {
    let mut sealer = Sealer::new(&SECRET);
    for _ in 0..epoch {
        sealer.advance(0);
    }
    let mut out = Vec::new();
    let header = DataHeader::new(&CID, number, Some(number.saturating_sub(9))).in_epoch(epoch);
    let number_offset = header.encode(&mut out);
    out.extend_from_slice(&[PING; 8]);
    sealer.seal(number, &mut out, 0, number_offset);
    out
}

/// KEY-1, KEY-7: what rests makes its keys again, of all epochs that it may need, and has forgotten
/// nothing that it has seen.
#[test]
fn keys_that_were_given_up_are_made_again() {
    let mut opener = Opener::new(&SECRET);
    for (number, epoch) in [(0, 0), (1, 1), (2, 0), (3, 2), (4, 1), (5, 3)] {
        let datagram = seal_in_epoch(epoch, number);
        opener.rest();
        assert_eq!(open(&mut opener, &datagram).unwrap().number, number);
        opener.rest();
        assert_eq!(open(&mut opener, &datagram), Err(OpenError::Replay));
    }
    let mut sealer = Sealer::new(&SECRET);
    sealer.advance(0);
    for number in 6..9 {
        let mut out = Vec::new();
        let header = DataHeader::new(&CID, number, Some(0)).in_epoch(sealer.epoch());
        let number_offset = header.encode(&mut out);
        out.extend_from_slice(&[PING; 8]);
        sealer.seal(number, &mut out, 0, number_offset);
        assert_eq!(out, seal_in_epoch(1, number));
        sealer.rest();
    }
    assert!(size_of::<Opener>() + size_of::<Sealer>() < 300);
}

/// KEY-1: each epoch has keys of its own, and its number in them is in decimal.
#[test]
fn the_keys_of_an_epoch_come_from_its_number() {
    let secret = Prk::new_less_safe(HKDF_SHA256, &SECRET);
    let expected = expand::<NONCE_LEN>(&secret, b"tertulia iv 12");
    assert_eq!(*Secret::new(&SECRET).epoch(12).iv, expected);
    let mut relabelled = seal_in_epoch(0, 0);
    relabelled[0] |= 1 << 5;
    let mut opener = Opener::new(&SECRET);
    assert_eq!(
        open(&mut opener, &relabelled),
        Err(OpenError::Authentication)
    );
    assert_eq!(opener.epoch(), 0);
}

/// KEY-7, KEY-2: an opener follows, takes what comes late of the epoch before, and knows what it saw.
#[test]
fn an_opener_follows_into_the_next_epoch_and_remembers_the_last() {
    let mut opener = Opener::new(&SECRET);
    for epoch in 0..9 {
        let number = epoch * 10;
        assert!(open(&mut opener, &seal_in_epoch(epoch, number)).is_ok());
        assert_eq!(opener.epoch(), epoch);
        if epoch > 0 {
            let late = seal_in_epoch(epoch - 1, number - 5);
            assert!(open(&mut opener, &late).is_ok());
            assert_eq!(open(&mut opener, &late), Err(OpenError::Replay));
            assert_eq!(opener.epoch(), epoch);
        }
        let skipping = seal_in_epoch(epoch + 2, number + 1);
        assert_eq!(open(&mut opener, &skipping), Err(OpenError::Epoch));
    }
    let too_late = seal_in_epoch(6, 67);
    assert_eq!(open(&mut opener, &too_late), Err(OpenError::Epoch));
}

/// KEY-3, KEY-7: a forged packet of the next epoch does not lead there.
#[test]
fn only_what_decrypts_begins_an_epoch() {
    let mut opener = Opener::new(&SECRET);
    assert!(open(&mut opener, &seal_in_epoch(0, 0)).is_ok());
    for number in 1..5 {
        let mut forged = seal_in_epoch(1, number);
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(open(&mut opener, &forged), Err(OpenError::Authentication));
    }
    assert_eq!((opener.epoch(), opener.forged()), (0, 4));
    assert!(open(&mut opener, &seal_in_epoch(0, 9)).is_ok());
}

/// KEY-4, KEY-7: each epoch's key seals as much as the first one's.
#[test]
fn a_new_epoch_begins_a_new_count_of_what_was_sealed() {
    let mut sealer = Sealer::new(&SECRET);
    let last = SEALED_MAX - SEALED_RESERVE;
    assert!(sealer.exhausted(last));
    sealer.advance(last);
    assert!(!sealer.exhausted(2 * last - 1));
    assert!(sealer.exhausted(2 * last));
}

/// PKT-6.
#[test]
fn a_packet_of_an_epoch_that_has_no_keys_is_dropped() {
    for epoch in 2..4 {
        let mut datagram = seal(0, None, &[PING]);
        datagram[0] |= epoch << 5;
        let mut opener = Opener::new(&SECRET);
        assert_eq!(open(&mut opener, &datagram), Err(OpenError::Epoch));
        assert_eq!(opener.forged(), 0);
    }
}

/// PKT-7.
#[test]
fn the_overhead_is_27_bytes_toward_a_broker_and_23_toward_a_node() {
    for (cid, most) in [(&CID[..], 27), (&CID[..4], 23)] {
        for (number, acked) in [
            (0, None),
            ((1 << 14) - 2, None),
            (1 << 22, Some((1 << 22) - (1 << 14))),
        ] {
            let mut out = Vec::new();
            let number_offset = DataHeader::new(cid, number, acked).encode(&mut out);
            out.extend_from_slice(&[PING; 100]);
            Sealer::new(&SECRET).seal(number, &mut out, 0, number_offset);
            assert_eq!(out.len() - 100, most, "packet {number} after {acked:?}");
        }
    }
}

/// KEY-2.
#[test]
fn a_packet_opens_once() {
    let mut opener = Opener::new(&SECRET);
    let datagram = seal(3, None, &[PING]);
    assert_eq!(open(&mut opener, &datagram).unwrap().number, 3);
    assert_eq!(open(&mut opener, &datagram), Err(OpenError::Replay));
    assert_eq!(opener.forged(), 0);
}

/// KEY-2.
#[test]
fn a_packet_below_the_window_is_dropped() {
    let mut opener = opener_that_has_seen(2000);
    let late = |number| seal(number, None, &[PING]);
    assert_eq!(
        open(&mut opener, &late(2000 - 1024)),
        Err(OpenError::Replay)
    );
    assert_eq!(open(&mut opener, &late(2001 - 1024)).unwrap().number, 977);
}

/// KEY-2, KEY-3: the window moves for what decrypts only.
#[test]
fn a_forged_packet_changes_nothing_but_its_count() {
    let mut opener = opener_that_has_seen(100);
    for number in [98, 101, 100 + 5000] {
        let mut datagram = seal(number, Some(100), &[PING; 20]);
        *datagram.last_mut().unwrap() ^= 1;
        let before = opener.window.clone();
        assert_eq!(open(&mut opener, &datagram), Err(OpenError::Authentication));
        assert_eq!(format!("{before:?}"), format!("{:?}", opener.window));
    }
    assert_eq!(opener.forged(), 3);
    assert_eq!(opener.largest(), Some(100));
    assert_eq!(
        open(&mut opener, &seal(101, Some(100), &[PING]))
            .unwrap()
            .number,
        101
    );
}

/// KEY-4.
#[test]
fn a_link_must_close_after_too_many_forgeries() {
    let mut opener = Opener::new(&SECRET);
    opener.forged = FORGED_MAX - 1;
    assert!(!opener.exhausted());
    let mut datagram = seal(0, None, &[PING]);
    datagram[12] ^= 1;
    assert_eq!(open(&mut opener, &datagram), Err(OpenError::Authentication));
    assert!(opener.exhausted());
}

/// KEY-4.
#[test]
fn a_link_must_close_before_its_key_has_sealed_too_much() {
    let sealer = Sealer::new(&SECRET);
    assert!(!sealer.exhausted(SEALED_MAX - SEALED_RESERVE - 1));
    assert!(sealer.exhausted(SEALED_MAX - SEALED_RESERVE));
    // The reserve still seals, so that the CLOSE gets out.
    seal(SEALED_MAX - 1, Some(SEALED_MAX - 2), &[PING]);
}

/// KEY-1: the two directions have keys of their own.
#[test]
fn a_packet_does_not_open_under_another_secret() {
    let mut opener = Opener::new(&[8; KEY_LEN]);
    let result = open(&mut opener, &seal(0, None, &[PING; 20]));
    assert_eq!(result, Err(OpenError::Authentication));
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutant_takes_a_changed_packet() {
    use crate::mutant::{Mutant, activate};

    let frames: Vec<u8> = (0..40).collect();
    let mut datagram = seal(0, None, &frames);
    let last = datagram.len() - TAG_LEN - 1;
    datagram[last] ^= 0x80;
    activate(Some(Mutant::NoAeadCheck));
    let opened = open(&mut Opener::new(&SECRET), &datagram);
    activate(None);
    let payload = opened.unwrap().payload;
    assert_eq!(payload[..39], frames[..39]);
    assert_eq!(payload[39], frames[39] ^ 0x80);
}

proptest! {
    /// PKT-2, PKT-5: what is sealed opens to the same, at any jump of the number that leaves fewer
    /// than 2^14 packets unacknowledged, wherever in the buffer it was sealed.
    #[test]
    fn what_is_sealed_opens(
        seen in 0..SEALED_MAX / 2,
        jump in 1..1_u64 << 14,
        before in prop::collection::vec(any::<u8>(), 0..50),
        frames in prop::collection::vec(any::<u8>(), 2..1150),
    ) {
        let mut opener = opener_that_has_seen(seen);
        let number = seen + jump;
        let datagram = seal_behind(&before, number, Some(seen), &frames);
        let opened = open(&mut opener, &datagram).unwrap();
        prop_assert_eq!(opened, Opened { number, reserved_bits: false, payload: frames.into() });
        prop_assert_eq!(opener.largest(), Some(number));
    }

    /// PKT-4, PKT-5, KEY-4: every bit of a datagram is vouched for.
    #[test]
    fn a_packet_with_any_bit_flipped_is_dropped(
        number in 0..1_u64 << 14,
        frames in prop::collection::vec(any::<u8>(), 1..60),
    ) {
        let datagram = seal(number, None, &frames);
        for bit in 0..8 * datagram.len() {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut opener = Opener::new(&SECRET);
            prop_assert!(open(&mut opener, &flipped).is_err(), "bit {} of {}", bit, datagram.len());
            prop_assert_eq!(opener.largest(), None);
        }
    }

    /// Whatever arrives, opening it neither panics nor succeeds.
    #[test]
    fn noise_from_the_network_is_dropped(
        datagram in prop::collection::vec(any::<u8>(), 0..100),
        cid_len in 0..9_usize,
    ) {
        let mut opener = opener_that_has_seen(1 << 20);
        prop_assert!(opener.open(BytesMut::from(&datagram[..]), cid_len).is_err());
    }
}

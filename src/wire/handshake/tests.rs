use proptest::{collection::vec, prelude::*};

use super::*;
use crate::wire::roundtrip::{check, with_right_crc};

fn encode(handshake: &Handshake) -> Vec<u8> {
    let mut out = Vec::new();
    handshake.encode(&mut out);
    out
}

fn decode(datagram: &[u8]) -> Result<Handshake, DecodeError> {
    Handshake::decode(&Bytes::copy_from_slice(datagram))
}

/// Decodes `datagram` after `change`, with a CRC that is right again.
fn decode_changed(
    datagram: &[u8],
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<Handshake, DecodeError> {
    let mut changed = datagram.to_vec();
    change(&mut changed);
    Handshake::decode(&with_right_crc(&changed))
}

fn cid() -> NodeCid {
    NodeCid::new(&[0xc1, 0xd1]).unwrap()
}

fn hello() -> Hello {
    let mut hello = Hello {
        version: VERSION,
        pattern: 1,
        suite: 1,
        versions: vec![2, VERSION],
        suites: vec![1],
        cid: cid(),
        cookie: Bytes::new(),
        noise: Bytes::from_static(&[0xee; 32]),
        padding: 0,
        mac1: [0xac; 16],
    };
    hello.pad();
    hello
}

/// One of each kind.
fn examples() -> [Handshake; 5] {
    let noise = Bytes::from_static(&[0xee; 48]);
    [
        Handshake::Hello(hello()),
        Handshake::Accept(Accept {
            version: VERSION,
            cid: cid(),
            noise: noise.clone(),
        }),
        Handshake::Finish(Finish {
            version: VERSION,
            cid: *b"brokerid",
            noise,
        }),
        Handshake::Retry(Retry {
            version: VERSION,
            cid: cid(),
            mark: [0xac; 16],
            cookie: Bytes::from_static(&[0xcc; 32]),
        }),
        Handshake::Version(VersionReply {
            version: 9,
            cid: cid(),
            versions: vec![VERSION],
        }),
    ]
}

/// HSD-1: `crc` is the CRC-32 of zlib, which this check value of the algorithm pins.
#[test]
fn the_crc_is_that_of_zlib_over_the_protocol_id_and_the_datagram() {
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    let crc = crc32fast::hash(b"tertulia-proto-1\x05\x01\x00\x01\x01");
    let reply = Handshake::Version(VersionReply {
        version: 1,
        cid: NodeCid::default(),
        versions: vec![1],
    });
    assert_eq!(
        encode(&reply),
        [&[5, 1, 0, 1, 1][..], &crc.to_be_bytes()].concat()
    );
}

/// HSD-1.
#[test]
fn a_wrong_crc_is_found_before_anything_else_is_looked_at() {
    for example in examples() {
        let datagram = encode(&example);
        for at in 0..datagram.len() {
            let mut flipped = datagram.clone();
            flipped[at] ^= 0x10;
            assert_eq!(decode(&flipped), Err(DecodeError::BadCrc), "byte {at}");
        }
    }
    assert_eq!(decode(&[0xff; 4]), Err(DecodeError::BadCrc));
    assert_eq!(decode(&[0xff; 3]), Err(DecodeError::Truncated));
}

/// HSD-2: byte for byte, as the specification lays a HELLO out.
#[test]
fn a_hello_looks_as_the_specification_says() {
    let datagram = encode(&Handshake::Hello(hello()));
    let fields = [
        &[1, 1, 1, 1][..],                     // type, version, pattern, suite
        &[2, 2, 1],                            // versions
        &[1, 1],                               // suites
        &[2, 0xc1, 0xd1],                      // cid
        &[0],                                  // cookie
        &[&[0, 32], &[0xee; 32][..]].concat(), // noise
        &[0, 0],                               // early
    ]
    .concat();
    assert!(datagram.starts_with(&fields));
    let padding = &datagram[fields.len()..HELLO_MIN - 20];
    assert!(padding.iter().all(|byte| *byte == 0));
    assert_eq!(datagram[HELLO_MIN - 20..HELLO_MIN - 4], [0xac; 16]);
}

/// HSD-4, HSD-5, HSD-6: byte for byte, as the specification lays them out.
#[test]
fn replies_and_finish_look_as_the_specification_says() {
    let [_, accept, finish, retry, _] = examples().map(|example| encode(&example));
    let noise = [&[0, 48], &[0xee; 48][..]].concat();
    assert_eq!(
        accept[..accept.len() - 4],
        [&[2, 1, 2, 0xc1, 0xd1], &noise[..]].concat()
    );
    assert_eq!(
        finish[..finish.len() - 4],
        [b"\x03\x01brokerid", &noise[..]].concat()
    );
    assert_eq!(
        retry[..retry.len() - 4],
        [&[4, 1, 2, 0xc1, 0xd1], &[0xac; 16][..], &[32], &[0xcc; 32]].concat()
    );
}

/// HSD-2: offsets are those of `a_hello_looks_as_the_specification_says`.
#[test]
fn a_hello_that_breaks_its_own_rules_is_malformed() {
    let datagram = encode(&Handshake::Hello(hello()));
    let broken = |at: usize, byte: u8| decode_changed(&datagram, |hello| hello[at] = byte);
    let invalid = |what| Err(DecodeError::Invalid(what));
    let no_version = invalid("version: it is not among those offered");
    assert_eq!(broken(6, 3), no_version);
    let no_suite = invalid("suite: it is not among those offered");
    assert_eq!(broken(3, 2), no_suite);
    for count in [0, 9, 255] {
        assert_eq!(broken(4, count), invalid("number of offers"));
        assert_eq!(broken(7, count), invalid("number of offers"));
    }
    assert_eq!(broken(9, 5), invalid("connection id length"));
    assert_eq!(broken(12, 33), invalid("cookie length"));
    let early = invalid("early data: there is none in this version");
    assert_eq!(broken(48, 1), early);
    assert_eq!(broken(49, 1), invalid("padding"));
    assert_eq!(broken(HELLO_MIN - 21, 1), invalid("padding"));
    // A Noise message that reaches past the end, and two that leave too little for what follows.
    assert_eq!(broken(14, 255), Err(DecodeError::Truncated));
    assert_eq!(broken(14, 237), Err(DecodeError::Truncated));
    let no_room_for_mac1 = decode_changed(&datagram, |hello| {
        hello[14] = 220;
        hello[235..252].fill(0);
    });
    assert_eq!(no_room_for_mac1, Err(DecodeError::Truncated));
}

/// HSD-3, LIM-1.
#[test]
fn a_hello_has_256_to_1200_bytes() {
    assert_eq!((HELLO_MIN, DATAGRAM_BASE), (256, 1200));
    let datagram = encode(&Handshake::Hello(hello()));
    assert_eq!(datagram.len(), HELLO_MIN);
    let with_padding = |padding: usize| {
        decode_changed(&datagram, |hello| {
            hello.splice(49..HELLO_MIN - 20, core::iter::repeat_n(0, padding));
        })
    };
    let least = HELLO_MIN - 20 - 49;
    let most = least + DATAGRAM_BASE - HELLO_MIN;
    assert!(with_padding(least).is_ok());
    assert!(with_padding(most).is_ok());
    let wrong_length = Err(DecodeError::Invalid("HELLO length"));
    assert_eq!(with_padding(least - 1), wrong_length);
    let too_long = Err(DecodeError::Invalid("datagram length"));
    assert_eq!(with_padding(most + 1), too_long);
}

/// HSD-3.
#[test]
fn a_hello_that_is_long_enough_is_not_padded() {
    let mut long = hello();
    long.noise = Bytes::from_static(&[0xee; 300]);
    long.pad();
    assert_eq!(long.padding, 0);
    let datagram = encode(&Handshake::Hello(long.clone()));
    assert_eq!(decode(&datagram), Ok(Handshake::Hello(long)));
}

/// HSD-7.
#[test]
fn the_version_and_cid_of_a_hello_from_the_future_can_be_read() {
    let future = Hello {
        version: 9,
        versions: vec![9, 8],
        ..hello()
    };
    let datagram = encode(&Handshake::Hello(future));
    assert_eq!(decode(&datagram), Err(DecodeError::UnknownVersion(9)));
    let expected = UnknownHello {
        version: 9,
        cid: cid(),
    };
    assert_eq!(UnknownHello::decode(&datagram), Ok(expected));
    // What follows the cid is nobody's business in this version.
    let mut strange = datagram;
    strange[12..].fill(0xff);
    let strange = with_right_crc(&strange);
    assert_eq!(UnknownHello::decode(&strange), Ok(expected));
}

/// HSD-7, HSD-8: a HELLO of whatever version is at least 256 bytes, a VERSION at most 20.
#[test]
fn a_version_reply_is_shorter_than_any_hello() {
    let longest = Handshake::Version(VersionReply {
        version: 9,
        cid: NodeCid::new(&[1, 2, 3, 4]).unwrap(),
        versions: vec![1; OFFERS_MAX],
    });
    assert_eq!(encode(&longest).len(), 20);
    let short = with_right_crc(&[&[1, 9, 0, 0, 1, 9, 1, 1, 0], &[0; 246][..]].concat());
    assert_eq!(short.len(), HELLO_MIN - 1);
    assert_eq!(
        UnknownHello::decode(&short),
        Err(DecodeError::Invalid("HELLO length"))
    );
}

/// HSD-7: a VERSION of whatever version can be read, and nothing else of another version.
#[test]
fn only_a_version_reply_is_understood_across_versions() {
    for example in examples() {
        let decoded = decode_changed(&encode(&example), |datagram| datagram[1] = 77);
        match example {
            Handshake::Version(reply) => assert_eq!(
                decoded,
                Ok(Handshake::Version(VersionReply {
                    version: 77,
                    ..reply
                }))
            ),
            _ => assert_eq!(decoded, Err(DecodeError::UnknownVersion(77))),
        }
    }
}

#[test]
fn a_type_that_is_none_of_the_five_is_unknown() {
    for kind in [0, 6, 0x7f, 0x80, 0xff] {
        let decoded = decode_changed(&encode(&examples()[1]), |datagram| datagram[0] = kind);
        assert_eq!(decoded, Err(DecodeError::UnknownType(kind)));
    }
    let accept = encode(&examples()[1]);
    assert_eq!(
        UnknownHello::decode(&accept),
        Err(DecodeError::UnknownType(2))
    );
}

/// ENC-3, ENC-4: each kind ends where its datagram ends, neither before nor after.
#[test]
fn trailing_and_missing_bytes_make_a_datagram_malformed() {
    for example in &examples()[1..] {
        let datagram = encode(example);
        let longer = decode_changed(&datagram, |datagram| datagram.push(0));
        assert_eq!(longer, Err(DecodeError::TrailingBytes), "{example:?}");
        for len in 4..datagram.len() {
            let shorter = decode_changed(&datagram, |datagram| datagram.truncate(len));
            assert_eq!(shorter, Err(DecodeError::Truncated), "{example:?}");
        }
    }
}

/// SEC-2.
#[test]
fn the_prologue_is_the_protocol_id_and_the_offer() {
    let datagram = encode(&Handshake::Hello(hello()));
    assert_eq!(
        hello().prologue(),
        [b"tertulia-proto-1", &datagram[1..12]].concat()
    );
}

/// SEC-4.
#[test]
fn mac1_covers_everything_before_it() {
    let datagram = encode(&Handshake::Hello(hello()));
    let covered = Hello::before_mac1(&datagram);
    assert_eq!(
        datagram[covered.len()..HELLO_MIN - 4],
        hello().mac1,
        "what follows is mac1"
    );
    assert_eq!(Hello::before_mac1(&datagram[..19]), [0; 0]);
}

/// PKT-1.
#[test]
fn the_cid_of_a_node_has_at_most_four_bytes() {
    for len in 0..=4 {
        let bytes = &[7, 8, 9, 10][..len];
        assert_eq!(NodeCid::new(bytes).unwrap().as_bytes(), bytes);
    }
    assert_eq!(NodeCid::new(&[0; 5]), None);
    assert_eq!(NodeCid::new(&[0; 300]), None);
}

/// A local mistake is found where it is made, not by a peer that silently drops the datagram.
#[test]
#[should_panic(expected = "a datagram of 1201 bytes")]
fn a_datagram_that_is_too_long_is_never_encoded() {
    Handshake::Accept(Accept {
        version: VERSION,
        cid: NodeCid::default(),
        noise: vec![0; DATAGRAM_BASE - 8].into(),
    })
    .encode(&mut Vec::new());
}

fn any_bytes(len: core::ops::RangeInclusive<usize>) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), len).prop_map(Bytes::from)
}

fn any_cid() -> impl Strategy<Value = NodeCid> {
    vec(any::<u8>(), 0..=NODE_CID_MAX).prop_map(|cid| NodeCid::new(&cid).unwrap())
}

fn any_offers() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..=OFFERS_MAX)
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let offers = (vec(any::<u8>(), 0..OFFERS_MAX), any_offers());
    let contents = (any_bytes(0..=COOKIE_MAX), any_bytes(0..=400));
    let rest = (any::<u8>(), any::<[u8; 16]>(), 0..400_usize);
    (offers, any_cid(), contents, rest).prop_map(
        |((mut versions, suites), cid, (cookie, noise), (pattern, mac1, more))| {
            versions.push(VERSION);
            let mut hello = Hello {
                version: VERSION,
                pattern,
                suite: suites[suites.len() / 2],
                versions,
                suites,
                cid,
                cookie,
                noise,
                padding: 0,
                mac1,
            };
            hello.pad();
            hello.padding += more;
            hello
        },
    )
}

fn any_handshake() -> impl Strategy<Value = Handshake> {
    let version = VERSION;
    prop_oneof![
        any_hello().prop_map(Handshake::Hello),
        (any_cid(), any_bytes(0..=400)).prop_map(move |(cid, noise)| {
            Handshake::Accept(Accept {
                version,
                cid,
                noise,
            })
        }),
        (any::<BrokerCid>(), any_bytes(0..=400)).prop_map(move |(cid, noise)| {
            Handshake::Finish(Finish {
                version,
                cid,
                noise,
            })
        }),
        (any_cid(), any::<[u8; 16]>(), any_bytes(0..=COOKIE_MAX)).prop_map(
            move |(cid, mark, cookie)| {
                Handshake::Retry(Retry {
                    version,
                    cid,
                    mark,
                    cookie,
                })
            }
        ),
        (any::<u8>(), any_cid(), any_offers()).prop_map(|(version, cid, versions)| {
            Handshake::Version(VersionReply {
                version,
                cid,
                versions,
            })
        }),
    ]
}

proptest! {
    /// HSD-2, HSD-4, HSD-5, HSD-6, HSD-7.
    #[test]
    fn what_is_encoded_decodes_to_the_same(handshake in any_handshake()) {
        prop_assert_eq!(decode(&encode(&handshake)), Ok(handshake));
    }

    /// Datagrams with bytes changed, cut off or added: what still decodes encodes to the same.
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        handshake in any_handshake(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        len in any::<prop::sample::Index>(),
    ) {
        let mut datagram = encode(&handshake);
        for (at, byte) in changes {
            *at.get_mut(&mut datagram) = byte;
        }
        check(&datagram);
        let whole = datagram.len();
        datagram.resize(len.index(whole + 8), 0);
        check(&datagram);
    }

    /// ENC-4.
    #[test]
    fn arbitrary_bytes_never_panic(input in vec(any::<u8>(), 0..400)) {
        check(&input);
    }

    /// HSD-1: without its end a datagram has no CRC to speak of.
    #[test]
    fn every_truncation_of_a_datagram_fails(
        handshake in any_handshake(),
        len in any::<prop::sample::Index>(),
    ) {
        let datagram = encode(&handshake);
        let len = len.index(datagram.len());
        prop_assert!(decode(&datagram[..len]).is_err());
    }
}

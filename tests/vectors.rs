//! The test vectors of SPEC.md section 17 are what the code says: they are read out of the text, so
//! that they cannot rot.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use ring::aead::quic::{AES_256, HeaderProtectionKey};
use ring::hkdf::{self, HKDF_SHA256, Prk};
use tertulia::chat::{
    ControlFromBroker, ControlFromNode, Delivered, HistoryPolicy, Join, Joined, Kind,
    LastPublication, Line, LineBase, LogId, Name, NoticeEvent, PastLine, Publication, Resume,
    ResumeOutcome, RoomFromBroker, RoomFromNode, RoomId, RoomName, Start, Stretch, WireLine,
};
use tertulia::rng::SeededRng;
use tertulia::secure::{
    Accepted, AccountKey, BrokerIdentity, BrokerPayload, CookieSecret, DeviceKey, Established,
    Initiator, LinkSecrets, NodeIdentity, Opener, Response, Sealer, respond,
};
use tertulia::wire::{
    Ack, AckRanges, DataHeader, EcnCounts, Frame, Handshake, Hello, NodeCid, ResetToken,
    decode_frames,
};

#[path = "vectors/admission.rs"]
mod admission;
#[path = "vectors/devices.rs"]
mod devices;
#[path = "vectors/link.rs"]
mod link;

const SPEC: &str = include_str!("../SPEC.md");

/// The seeds whose first 32 bytes of randomness are the ephemeral keys of section 17.1.
const NODE_SEED: [u8; 32] = [4; 32];
const BROKER_SEED: [u8; 32] = [5; 32];
const BROKER_CID: [u8; 8] = [6; 8];
const NODE_CID: [u8; 3] = [0xc1, 0xc2, 0xc3];
/// When the room of section 17.6 begins.
const BEGINNING_MS: u64 = 1_700_000_000_000;

/// Reads the code blocks of section 17: `name = hex # comment`, going on where it is indented.
fn vectors() -> BTreeMap<String, Vec<u8>> {
    let (_, section) = SPEC.split_once("\n## 17. ").expect("section 17");
    let mut vectors = BTreeMap::new();
    let mut name = String::new();
    for line in section.split("```").skip(1).step_by(2).flat_map(str::lines) {
        let mut digits = line.split('#').next().unwrap_or_default();
        if let Some((new, rest)) = digits.split_once(" =") {
            name = new.to_owned();
            assert!(vectors.insert(name.clone(), Vec::new()).is_none(), "{name}");
            digits = rest;
        }
        if let Some(bytes) = vectors.get_mut(&name) {
            bytes.extend(hex(digits.trim()));
        }
    }
    vectors
}

fn hex(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"))
        .collect()
}

fn vector(name: &str) -> Bytes {
    let mut vectors = vectors();
    vectors.remove(name).expect(name).into()
}

fn array<const N: usize>(name: &str) -> [u8; N] {
    vector(name)[..].try_into().expect(name)
}

fn node() -> NodeIdentity {
    NodeIdentity::from_secrets(array("account_seed"), array("device_private"))
}

fn broker() -> BrokerIdentity {
    BrokerIdentity::from_secret(array("broker_private"))
}

fn broker_payload() -> BrokerPayload {
    BrokerPayload {
        cid: BROKER_CID,
        reset_token: ResetToken([7; 16]),
        log_id: [8; 16],
    }
}

fn node_cid() -> NodeCid {
    NodeCid::new(&NODE_CID).expect("three bytes")
}

fn handshake(name: &str) -> Handshake {
    let datagram = vector(name);
    let decoded = Handshake::decode(&datagram).expect(name);
    let mut encoded = Vec::new();
    decoded.encode(&mut encoded);
    assert_eq!(encoded, datagram, "{name}");
    decoded
}

fn hello(name: &str) -> Hello {
    match handshake(name) {
        Handshake::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

fn accepted(initiator: &Initiator, name: &str) -> Accepted {
    match handshake(name) {
        Handshake::Accept(accept) => initiator.handle_accept(&accept).expect(name),
        other => panic!("{other:?}"),
    }
}

fn assert_secrets(secrets: &LinkSecrets, pattern: &str) {
    assert_eq!(secrets.send, array(&format!("{pattern}_from_node")));
    assert_eq!(secrets.receive, array(&format!("{pattern}_from_broker")));
}

/// What is in no test would prove nothing.
#[test]
fn every_vector_of_the_specification_is_checked_here() {
    let tests = concat!(
        include_str!("vectors.rs"),
        include_str!("vectors/admission.rs"),
        include_str!("vectors/devices.rs"),
        include_str!("vectors/link.rs")
    );
    let vectors = vectors();
    assert!(vectors.len() > 60, "only {} were found", vectors.len());
    let is_checked = |name: &str| {
        // `to_node_key` and the like are put together from a direction and a step.
        let step = ["to_broker", "to_node", "node", "broker", "xx", "ik"]
            .into_iter()
            .find_map(|direction| name.strip_prefix(direction));
        tests.contains(&format!("\"{name}\""))
            || step.is_some_and(|step| tests.contains(&format!("}}{step}\"")))
    };
    for name in vectors.keys() {
        assert!(is_checked(name), "{name} is checked by no test");
    }
}

/// SEC-3, KEY-6.
#[test]
fn keys_certificate_and_fingerprint_agree() {
    let payload = broker_payload();
    let fields = [&payload.cid[..], &payload.reset_token.0, &payload.log_id];
    assert_eq!(vector("broker_payload"), fields.concat());

    let node = node();
    let (account, device) = (
        AccountKey(array("account_public")),
        DeviceKey(array("device_public")),
    );
    assert_eq!((node.account(), node.device()), (account, device));
    assert!(account.vouches_for(&device, &array("certificate")));
    assert_eq!(broker().public().0, array("broker_public"));
    let fingerprint = broker().public().fingerprint();
    assert!(SPEC.contains(&format!("`{fingerprint}`")), "{fingerprint}");

    let ephemeral = |seed| SeededRng::new(seed).bytes::<32>();
    assert_eq!(ephemeral(NODE_SEED), array("node_ephemeral"));
    assert_eq!(ephemeral(BROKER_SEED), array("broker_ephemeral"));
}

/// HSD-1, HSD-2, HSD-4, HSD-5, SEC-1, SEC-2, SEC-3.
#[test]
fn a_first_contact_agrees() {
    let initiator = Initiator::first_contact(node_cid(), NODE_SEED);
    assert_eq!(*initiator.hello(), vector("xx_hello"));
    assert_eq!(hello("xx_hello").prologue(), vector("xx_prologue"));

    let (datagram, payload) = (vector("xx_hello"), broker_payload());
    let response = respond(
        &hello("xx_hello"),
        &datagram,
        &broker(),
        payload,
        BROKER_SEED,
    );
    let Ok(Response::AwaitFinish { accept, pending }) = response else {
        panic!("{response:?}");
    };
    assert_eq!(accept, vector("xx_accept"));

    let Accepted::FirstContact(finisher) = accepted(&initiator, "xx_accept") else {
        panic!("not a first contact");
    };
    assert_eq!(finisher.broker_key(), broker().public());
    let (finish, established) = finisher.finish(&node());
    assert_eq!(finish, vector("xx_finish"));
    assert_eq!(established.broker, broker_payload());
    assert_secrets(&established.secrets, "xx");

    let Handshake::Finish(finish) = handshake("xx_finish") else {
        panic!("not a FINISH");
    };
    let at_broker = pending.handle_finish(&finish).expect("the right FINISH");
    assert_eq!(at_broker.secrets.receive, established.secrets.send);
    assert_eq!(at_broker.device, node().device());
}

/// HSD-2, SEC-1, SEC-2, SEC-3, SEC-4.
#[test]
fn a_handshake_with_a_known_broker_agrees() {
    let public = broker().public();
    let initiator = Initiator::known_broker(node_cid(), public, &node(), NODE_SEED);
    assert_eq!(*initiator.hello(), vector("ik_hello"));
    assert_eq!(hello("ik_hello").prologue(), vector("ik_prologue"));

    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &vector("mac1_key"));
    let tag = ring::hmac::sign(&key, Hello::before_mac1(&vector("ik_hello")));
    assert_eq!(tag.as_ref()[..16], hello("ik_hello").mac1);

    let (datagram, payload) = (vector("ik_hello"), broker_payload());
    let response = respond(
        &hello("ik_hello"),
        &datagram,
        &broker(),
        payload,
        BROKER_SEED,
    );
    let Ok(Response::Ready {
        accept,
        established,
    }) = response
    else {
        panic!("{response:?}");
    };
    assert_eq!(accept, vector("ik_accept"));
    assert_eq!(established.account, node().account());

    let Accepted::Established(Established { secrets, broker }) = accepted(&initiator, "ik_accept")
    else {
        panic!("not established");
    };
    assert_secrets(&secrets, "ik");
    assert_eq!(broker, broker_payload());
}

/// ADR-2, ADR-4, HSD-6: asked for a cookie, and sent again with it.
#[test]
fn cookies_agree() {
    let secret = CookieSecret::new(&array("cookie_secret"));
    let from: SocketAddr = "192.0.2.7:4711".parse().expect("an address");
    let mapped = "::ffff:192.0.2.7".parse::<Ipv6Addr>().expect("an address");
    let from_bytes = [&mapped.octets()[..], &from.port().to_be_bytes()].concat();
    assert_eq!(from_bytes, vector("cookie_from"));
    for (initiator, hello_name, cookie, retry, again) in [
        (
            Initiator::first_contact(node_cid(), NODE_SEED),
            "xx_hello",
            "xx_cookie",
            "xx_retry",
            "xx_hello_again",
        ),
        (
            Initiator::known_broker(node_cid(), broker().public(), &node(), NODE_SEED),
            "ik_hello",
            "ik_cookie",
            "ik_retry",
            "ik_hello_again",
        ),
    ] {
        assert_eq!(secret.cookie(from, &hello(hello_name))[..], vector(cookie));
        let Handshake::Retry(retry) = handshake(retry) else {
            panic!("not a RETRY");
        };
        assert_eq!(retry.cookie, vector(cookie));
        assert_eq!(retry.mark, hello(hello_name).mark());
        let answered = initiator.answer_retry(initiator.hello(), &retry);
        assert_eq!(answered.expect("it is for this HELLO"), vector(again));
        assert!(secret.verify(from, &hello(again)));
    }
}

/// `N` bytes of HKDF-Expand.
fn expand<const N: usize>(secret: &[u8; 32], info: &[u8]) -> [u8; N] {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = [0; N];
    Prk::new_less_safe(HKDF_SHA256, secret)
        .expand(&[info], Length(N))
        .and_then(|okm| okm.fill(&mut out))
        .expect("few bytes");
    out
}

/// One direction of section 17.4, step by step.
fn assert_datagram(to: &str, from: &str, secret: &[u8; 32], cid: &[u8], number: u64) {
    let (key, iv, hp) = (
        vector(&format!("{from}_key")),
        vector(&format!("{from}_iv")),
        vector(&format!("{from}_hp")),
    );
    assert_eq!(key, expand::<32>(secret, b"tertulia key 0")[..]);
    assert_eq!(iv, expand::<12>(secret, b"tertulia iv 0")[..]);
    assert_eq!(hp, expand::<32>(secret, b"tertulia hp")[..]);

    let mut sealed = Vec::new();
    let number_offset = DataHeader::new(cid, number, None).encode(&mut sealed);
    assert_eq!(sealed, vector(&format!("{to}_header")));
    let mut nonce = iv.to_vec();
    nonce[11] ^= number as u8;
    assert_eq!(nonce, vector(&format!("{to}_nonce")));
    sealed.extend_from_slice(&vector(&format!("{to}_frames")));
    Sealer::new(secret).seal(number, &mut sealed, 0, number_offset);
    assert_eq!(sealed, vector(to));

    // What lies between the two last steps is the mask.
    let sample = vector(&format!("{to}_sample"));
    assert_eq!(sample, sealed[number_offset + 4..number_offset + 20]);
    let mask = HeaderProtectionKey::new(&AES_256, &hp).and_then(|key| key.new_mask(&sample));
    let mask = mask.expect("a sample of 16 bytes");
    assert_eq!(mask, vector(&format!("{to}_mask"))[..5]);
    let mut unmasked = sealed.clone();
    unmasked[0] ^= mask[0] & 0x1f;
    unmasked[number_offset] ^= mask[1];
    unmasked[number_offset + 1] ^= mask[2];
    assert_eq!(unmasked, vector(&format!("{to}_sealed")));

    let opened = Opener::new(secret).open(BytesMut::from(&sealed[..]), cid.len());
    let opened = opened.expect("a datagram that opens");
    let frames = vector(&format!("{to}_frames"));
    assert_eq!((opened.number, opened.payload), (number, frames));
}

fn message_in(frames: Bytes) -> Bytes {
    let mut messages = decode_frames(frames).filter_map(|frame| match frame {
        Ok(Frame::Msg {
            channel: 0,
            number: 0,
            data,
        }) => Some(data),
        Ok(Frame::Ack(_)) => None,
        other => panic!("{other:?}"),
    });
    messages.next().expect("a message")
}

/// KEY-1, PKT-2, PKT-3, PKT-4, PKT-5.
#[test]
fn datagrams_agree_step_by_step() {
    let (from_node, from_broker) = (array("xx_from_node"), array("xx_from_broker"));
    assert_datagram("to_broker", "node", &from_node, &BROKER_CID, 0);
    assert_datagram("to_node", "broker", &from_broker, &NODE_CID, 1);

    let name = "ada".to_owned();
    let sign_in = ControlFromNode::decode(&message_in(vector("to_broker_frames")));
    assert_eq!(sign_in, Ok(ControlFromNode::SignIn { name, invite: None }));
    let welcome = ControlFromBroker::decode(&message_in(vector("to_node_frames")));
    assert_eq!(welcome, Ok(ControlFromBroker::Welcome { people: 1 }));

    let (number, mut ping) = (0x12_3456, Vec::new());
    let number_offset = DataHeader::new(&BROKER_CID, number, Some(number - 1)).encode(&mut ping);
    Frame::Ping.encode(&mut ping);
    Sealer::new(&from_node).seal(number, &mut ping, 0, number_offset);
    assert_eq!(ping, vector("ping"));
}

/// FRM-3, FRM-4, FRM-5.
#[test]
fn frames_agree() {
    let mut ranges = AckRanges::new(90..=100).expect("a range");
    assert!(ranges.push(80..=88) && ranges.push(0..=0));
    let alphabet = Bytes::from_static(b"abcdefghijklmnopqrstuvwxyz");
    let part = |from: usize, to: usize| Frame::Frag {
        channel: 1,
        number: 301,
        total: 26,
        offset: from as u64,
        data: alphabet.slice(from..to),
    };
    let frames = [
        (
            "ack",
            Frame::Ack(Ack {
                delay_us: 7,
                ranges: ranges.clone(),
                ecn: None,
            }),
        ),
        (
            "ack_with_counts",
            Frame::Ack(Ack {
                delay_us: 7,
                ranges,
                ecn: Some(EcnCounts {
                    ect0: 90,
                    ect1: 0,
                    ce: 3,
                }),
            }),
        ),
        (
            "msg",
            Frame::Msg {
                channel: 1,
                number: 300,
                data: Bytes::from_static(b"hello"),
            },
        ),
        ("frag_1", part(0, 16)),
        ("frag_2", part(16, 26)),
        (
            "close",
            Frame::Close {
                code: 0,
                reason: "bye".to_owned(),
            },
        ),
    ];
    for (name, frame) in frames {
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        assert_eq!(encoded, vector(name), "{name}");
        assert!(decode_frames(vector(name)).eq([Ok(frame)]), "{name}");
    }
}

fn line(seq: u64, n: u64, kind: Kind, stored_at_ms: u64, typed_at_ms: u64, body: &str) -> Line {
    Line {
        seq,
        stored_at_ms,
        account: node().account(),
        device: node().device(),
        name: Name::new("ada").expect("a name"),
        author: 1,
        n,
        typed_at_ms,
        kind,
        body: body.to_owned().into(),
    }
}

fn wire_line(line: &Line, previous_ms: u64) -> RoomFromBroker {
    RoomFromBroker::Line(WireLine {
        seq: line.seq,
        author: line.author,
        n: line.n,
        kind: line.kind,
        since_previous_ms: line.stored_at_ms - previous_ms,
        typed_lag_ms: line.stored_at_ms.cast_signed() - line.typed_at_ms.cast_signed(),
        body: line.body.clone(),
    })
}

fn assert_from_broker(name: &str, message: &RoomFromBroker) {
    assert_eq!(message.encode(), vector(name), "{name}");
    assert_eq!(
        RoomFromBroker::decode(&vector(name)).as_ref(),
        Ok(message),
        "{name}"
    );
}

fn assert_from_node(name: &str, message: &RoomFromNode) {
    assert_eq!(message.encode(), vector(name), "{name}");
    assert_eq!(
        RoomFromNode::decode(&vector(name)).as_ref(),
        Ok(message),
        "{name}"
    );
}

fn join(presence: u64, start: Start) -> RoomFromNode {
    RoomFromNode::Join(Join {
        room: "Lobby".to_owned(),
        quiet: false,
        history: 10,
        presence,
        start,
    })
}

/// RUM-1, RUM-2, RUM-3, RUM-6, RUM-7.
#[test]
fn a_room_that_begins_agrees() {
    let room = RoomId::of(&RoomName::new("Lobby").expect("a name"));
    assert_eq!(room.0, array("room_id"));
    assert_from_node("join", &join(0, Start::Tail));
    let joined = Joined {
        log: LogId([8; 16]),
        room,
        resume: ResumeOutcome::Fresh,
        last: LastPublication::NONE,
        base: LineBase::START,
    };
    assert_from_broker("joined", &RoomFromBroker::Joined(joined));
    let introduce = RoomFromBroker::Introduce {
        author: 1,
        account: node().account(),
        device: node().device(),
        name: "ada".to_owned(),
    };
    assert_from_broker("introduce", &introduce);

    let first = line(1, 0, Kind::Joined, BEGINNING_MS, BEGINNING_MS, "ada");
    assert_from_broker("line_1", &wire_line(&first, 0));
    assert_eq!(first.record(room), vector("record_1"));
    assert_eq!(
        first.hash_after(room, &LineBase::START.hash),
        array("hash_1")
    );
    let notice = RoomFromBroker::Notice {
        presence: BEGINNING_MS,
        event: NoticeEvent::Joined,
        author: 1,
    };
    assert_from_broker("notice", &notice);
}

/// RUM-2, RUM-3, RUM-9, PUB-3.
#[test]
fn a_publication_and_a_resume_after_it_agree() {
    let room = RoomId(array("room_id"));
    let (typed, stored) = (BEGINNING_MS + 4_990, BEGINNING_MS + 5_000);
    let publication = Publication {
        n: 1,
        typed_at_ms: typed,
        kind: Kind::Message,
        body: "hi, Zoë".into(),
    };
    assert_eq!(publication.digest(), array("digest"));
    assert_from_node("publish", &RoomFromNode::Publish(publication));
    assert_from_broker("stored", &RoomFromBroker::Stored { n: 1, seq: 2 });

    let second = line(2, 1, Kind::Message, stored, typed, "hi, Zoë");
    assert_from_broker("line_2", &wire_line(&second, BEGINNING_MS));
    assert_eq!(second.record(room), vector("record_2"));
    let before = LineBase {
        seq: 1,
        stored_at_ms: BEGINNING_MS,
        hash: array("hash_1"),
    };
    let base = second.base_after(room, &before);
    assert_eq!(base.hash, array("hash_2"));
    let log = LogId([8; 16]);
    assert_from_node(
        "resume",
        &join(BEGINNING_MS, Start::After(Resume { log, base })),
    );
}

/// RUM-2, RUM-3, RUM-5, RUM-16.
#[test]
fn a_policy_agrees() {
    let room = RoomId(array("room_id"));
    let (typed, stored) = (BEGINNING_MS + 9_990, BEGINNING_MS + 10_000);
    let policy = HistoryPolicy::SinceJoin.as_str();
    let publication = Publication {
        n: 2,
        typed_at_ms: typed,
        kind: Kind::Policy,
        body: policy.into(),
    };
    assert_from_node("publish_policy", &RoomFromNode::Publish(publication));
    let third = line(3, 2, Kind::Policy, stored, typed, policy);
    assert_from_broker("line_3", &wire_line(&third, BEGINNING_MS + 5_000));
    assert_eq!(third.record(room), vector("record_3"));
    assert_eq!(third.hash_after(room, &array("hash_2")), array("hash_3"));
}

/// STA-1, STA-3, RUM-14, RUM-15, HST-2.
#[test]
fn states_and_pages_agree() {
    assert_from_node("cursor", &RoomFromNode::Cursor(Stretch { after: 0, to: 3 }));
    assert_from_node("watch", &RoomFromNode::Watch { seq: 2 });
    let delivered = Delivered {
        seq: 2,
        k: 1,
        n: 2,
        present_k: 1,
        present_n: 1,
    };
    assert_from_broker("delivered", &RoomFromBroker::Delivered(delivered));

    let quiet = RoomFromNode::Join(Join {
        room: "Lobby".to_owned(),
        quiet: true,
        history: 0,
        presence: 0,
        start: Start::Line(3),
    });
    assert_from_node("join_quiet", &quiet);
    let history = RoomFromNode::History {
        before: 0,
        count: 1,
    };
    assert_from_node("history", &history);
    let past = PastLine {
        seq: 2,
        author: 1,
        n: 1,
        kind: Kind::Message,
        stored_at_ms: BEGINNING_MS + 5_000,
        typed_at_ms: BEGINNING_MS + 4_990,
        body: "hi, Zoë".into(),
    };
    assert_from_broker("past", &RoomFromBroker::Past(past));
    let end = RoomFromBroker::HistoryEnd {
        count: 1,
        earlier: true,
    };
    assert_from_broker("history_end", &end);
}

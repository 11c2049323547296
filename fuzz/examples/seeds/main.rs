//! Writes something for the fuzzer to start from into the corpora below the directory named: a valid
//! encoding of each kind of datagram and frame, and short lists of steps that lead somewhere.
//! `cargo run --example seeds corpus`

mod messages;

use std::{env, fs, io, path::PathBuf};

use bytes::Bytes;
use tertulia::chat::{
    Join, Joined, LastPublication, LineBase, LogId, ResumeOutcome, RoomFromBroker, RoomFromNode,
    RoomId, RoomName, Start,
};
use tertulia::wire::{
    Accept, Ack, AckRanges, Cid, Finish, Frame, Handshake, Hello, NodeCid, ResetToken, Retry,
    VERSION, VersionReply,
};

fn main() -> io::Result<()> {
    let corpora: PathBuf = env::args_os()
        .nth(1)
        .expect("a directory to write to")
        .into();
    let seed = |target: &str, name: &str, bytes: &[u8]| {
        let directory = corpora.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("seed-{name}")), bytes)
    };
    for (name, handshake) in handshakes() {
        let mut out = Vec::new();
        handshake.encode(&mut out);
        seed("decode", name, &out)?;
    }
    let mut packet = Vec::new();
    for (name, frame) in frames() {
        let mut out = Vec::new();
        frame.encode(&mut out);
        packet.extend_from_slice(&out);
        seed("decode", name, &out)?;
    }
    seed("decode", "packet", &packet)?;
    for (number, message) in messages::all().enumerate() {
        seed("decode", &format!("message-{number}"), &message)?;
    }
    for (name, steps) in HANDSHAKE_STEPS {
        seed(
            "handshake",
            &format!("{name}-xx"),
            &[&[0, 7], *steps].concat(),
        )?;
        seed(
            "handshake",
            &format!("{name}-ik"),
            &[&[1, 7], *steps].concat(),
        )?;
    }
    for (name, steps) in LINK_STEPS {
        seed("link_pair", name, &[&[0, 7], *steps].concat())?;
        seed(
            "link_pair",
            &format!("{name}-hostile"),
            &[&[1, 7], *steps].concat(),
        )?;
    }
    for (name, attacks) in [("node", 0), ("broker", 1)] {
        for (pattern, kind) in [("xx", attacks), ("ik", attacks | 2)] {
            for (what, attempts, payloads) in PAYLOADS {
                let plan = [
                    &[kind | (attempts - 1) << 4, 7],
                    *payloads,
                    &first_words(attacks == 1),
                ];
                let name = format!("{name}-{pattern}-{what}");
                seed("noise_payload", &name, &plan.concat())?;
            }
        }
    }
    for (name, damages) in DAMAGES {
        seed(
            "store_file",
            &format!("log-{name}"),
            &[&[0], *damages].concat(),
        )?;
        seed(
            "store_file",
            &format!("journal-{name}"),
            &[&[1], *damages].concat(),
        )?;
    }
    for (name, records) in PLANS {
        seed("world", name, &[&QUIET[..], *records].concat())?;
        seed(
            "world",
            &format!("{name}-lossy"),
            &[&ROUGH[..], *records].concat(),
        )?;
    }
    Ok(())
}

/// The head of a plan, as `sim::plan::Plan::from_bytes` reads it: the seed; four clients in one room
/// or two; history; rates; store, journal, grace; who watches.
const QUIET: [u8; 21] = [
    7, 2, 0, 2, 2, 0, 1, 0, 40, 0, 0, 0, 0, 0, 10, 0, 0, 1, 0, 0, 1,
];
const ROUGH: [u8; 21] = [
    8, 2, 0, 2, 2, 0, 2, 90, 80, 90, 90, 60, 90, 90, 90, 90, 1, 1, 1, 1, 1,
];

/// What people do and what goes wrong.
const PLANS: &[(&str, &[u8])] = &[
    (
        "talk",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 0, 1, 9, 60, 9, 120, 90, 1, 0x80, 2, 0, 90, 0, 0, 200, 0,
        ],
    ),
    (
        "roam",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 15, 0, 60, 90, 0, 16, 0, 120, 0, 0, 1, 17, 0, 30, 200, 0,
        ],
    ),
    (
        "die",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 18, 0, 60, 90, 0, 1, 19, 1, 90, 0, 90, 30, 0, 140, 99, 0,
            40, 99,
        ],
    ),
    (
        "crash",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 20, 0, 60, 0, 90, 128, 20, 0, 150, 0, 1, 0,
        ],
    ),
    (
        "restore",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 21, 0, 90, 0, 90, 60, 22, 0, 160, 0, 90, 90, 25, 0, 200,
        ],
    ),
    (
        "store",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 23, 0, 40, 99, 0, 99, 24, 0, 60, 99, 0, 200, 29, 0, 90, 99,
            0, 1, 29, 1, 20, 99, 0, 0,
        ],
    ),
    (
        "clocks",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 26, 0, 60, 200, 0, 1, 1, 27, 0, 40, 99, 0, 0, 200, 28, 0,
            20, 99, 0, 0, 255,
        ],
    ),
    (
        "acts",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 8, 1, 60, 60, 9, 2, 2, 1, 20, 1, 10, 0, 1, 90, 11, 1, 0,
            40, 120, 12, 2, 99,
        ],
    ),
    (
        "cut",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 13, 1, 60, 200, 0, 1, 14, 2, 60, 200, 0, 200, 13, 3, 90,
            255, 0, 2,
        ],
    ),
    (
        "strangers",
        &[
            0, 0, 9, 60, 0, 90, 250, 0, 31, 0, 1, 0, 0, 200, 0, 31, 0, 60, 0, 0, 255, 1, 19, 0, 61,
            0, 1,
        ],
    ),
];

/// What happens to a file, as `tertulia_fuzz::store_file` reads it.
const DAMAGES: &[(&str, &[u8])] = &[
    ("none", &[]),
    // In the file: its header, a page's, a cell, a text at the end of a page.
    ("header", &[0, 0, 3, 0, 1]),
    ("version", &[0, 0, 63, 0, 4]),
    ("page", &[0, 3, 0, 0, 8, 0, 4, 5, 0, 1]),
    ("text", &[0, 5, 0xfc, 0x0f, 1]),
    (
        "texts",
        &[
            0, 7, 0xf0, 0x0f, 0x20, 1, 9, 0x80, 0x0f, 1, 2, 11, 0, 0x0f, 0x41,
        ],
    ),
    ("misquoted", &[2, 0, 9, 0, 1]),
    ("wal-misquoted", &[0x82, 0, 3, 0, 1]),
    ("filled", &[3, 4, 100, 0, 50, 0, 0]),
    ("cut", &[4, 6, 0, 0]),
    ("short", &[4, 0, 50, 0]),
    ("torn", &[5, 8, 0, 2]),
    ("swapped", &[6, 4, 5]),
    ("stale", &[7, 6, 8]),
    // In the log beside it: likewise.
    ("wal-header", &[0x80, 0, 9, 0, 1]),
    ("wal-frame", &[0x80, 3, 4, 0, 1]),
    ("wal-page", &[0x80, 9, 0, 8, 1]),
    ("wal-cut", &[0x84, 12, 0, 3]),
    ("wal-gone", &[0x84, 0, 0, 0]),
    ("wal-torn", &[0x85, 20, 0, 1]),
    ("wal-swapped", &[0x86, 2, 3]),
    ("wal-stale", &[0x87, 9, 1]),
    ("both", &[0x85, 20, 0, 1, 0, 6, 9, 9, 1]),
];

/// Payloads as `tertulia_fuzz::noise_payload` reads them, and how many each are.
const PAYLOADS: &[(&str, u8, &[u8])] = &[
    ("right", 1, &[0]),
    ("of-another", 1, &[1]),
    // Somebody's account, and another's word for the device; then that and the right one.
    ("mixed", 2, &[2, 0]),
    // Too short and too long by one, and by more.
    ("short", 4, &[8, 0xff, 8, 0x80, 3, 0, 0]),
    ("long", 4, &[8, 1, 8, 0x7f, 3, 3, 1, 2, 3, 0]),
    // One bit of the account, of the certificate, of both.
    (
        "flipped",
        3,
        &[0x40, 0, 1, 0x40, 90, 0x80, 0x80, 31, 1, 32, 1],
    ),
    // In the HELLO of XX, where nothing belongs.
    ("early", 3, &[4, 7, 1, 9, 0x0c, 40]),
];

/// What is said under the new keys: what belongs there, then something else.
fn first_words(by_node: bool) -> Vec<u8> {
    let said = match by_node {
        true => [
            RoomFromNode::Join(Join {
                room: "lobby".to_owned(),
                quiet: false,
                history: 3,
                presence: 0,
                start: Start::Tail,
            })
            .encode(),
            RoomFromNode::Who.encode(),
        ],
        false => [
            RoomFromBroker::Joined(Joined {
                log: LogId([4; 16]),
                room: RoomId::of(&RoomName::default()),
                resume: ResumeOutcome::Fresh,
                last: LastPublication::NONE,
                base: LineBase::START,
            })
            .encode(),
            RoomFromBroker::Stored { n: 1, seq: 1 }.encode(),
        ],
    };
    // The first word of who keeps to the rules; those on channel 1; a while; a frame by itself.
    let mut out = vec![0];
    for message in said {
        out.extend_from_slice(&[1 | 1 << 2, message.len() as u8]);
        out.extend_from_slice(&message);
    }
    out.extend_from_slice(&[3, 2, 1, 1, 3]);
    out
}

/// Steps as `tertulia_fuzz::handshake` reads them.
const HANDSHAKE_STEPS: &[(&str, &[u8])] = &[
    ("plain", &[3, 3, 3, 3, 3, 3]),
    // HELLO lost, the next one twice.
    ("lossy", &[5, 0, 0, 0x50, 5, 1, 0, 3, 3, 0x50, 3, 3]),
    // ACCEPT, then FINISH, damaged behind a right CRC.
    (
        "damaged",
        &[
            3, 0x45, 3, 0, 30, 0, 1, 3, 0x60, 3, 0x45, 3, 0, 40, 0, 1, 3, 0x60, 3, 3,
        ],
    ),
    (
        "cut",
        &[0x45, 4, 0, 100, 0, 3, 0x50, 3, 5, 4, 0, 30, 0, 3, 3],
    ),
    // The broker is told of a version of the future, and says so; five seconds go by.
    ("version", &[0x45, 3, 0, 1, 0, 2, 1, 0, 1, 0, 0xa0, 3]),
    // A pattern that is not spoken.
    ("pattern", &[0x45, 3, 0, 2, 0, 2, 1, 0, 0x50, 3, 3, 3, 3]),
    // The Noise message of HELLO, changed by one who knows the broker's public key.
    (
        "mac1",
        &[
            5, 1, 0, 0xc5, 3, 0, 20, 0, 1, 0x45, 3, 1, 20, 0, 1, 3, 3, 0x50, 3,
        ],
    ),
    // The FINISH comes too late, then the HELLO once more, from elsewhere, and back to the node.
    ("late", &[3, 3, 0xb0, 3, 5, 0x42, 0, 5, 0x82, 0, 3, 3, 3]),
    // Raw bytes to the broker and to the node: none, a sealed packet, a cut one, a handshake.
    (
        "raw",
        &[
            0x0c, 0, 0x0c, 2, 0x80, 1, 4, 12, 0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x4c, 6, 3,
            1, 0, 0, 0, 0, 3, 3, 3,
        ],
    ),
    // Online, then silence, and back.
    (
        "silence",
        &[3, 3, 3, 3, 3, 3, 0xd0, 5, 0, 0, 5, 0, 0, 0xa0, 3, 3, 3, 3],
    ),
];

/// Steps as `tertulia_fuzz::link_pair` reads them.
const LINK_STEPS: &[(&str, &[u8])] = &[
    ("talk", &[0x32, 1, 7, 0x32, 0x81, 7, 0x80, 7, 7]),
    (
        "long",
        &[0xf2, 1, 0xd2, 2, 0x77, 0x60, 0x77, 0x60, 0x77, 0x77],
    ),
    (
        "lossy",
        &[
            0x32, 1, 0x32, 1, 9, 0, 0, 0xb0, 0x32, 2, 9, 1, 0, 0x77, 9, 2, 0, 0x77,
        ],
    ),
    (
        "reordered",
        &[0x32, 1, 0x32, 1, 0x32, 1, 5, 2, 5, 1, 5, 0, 0x80, 0x77],
    ),
    (
        "damaged",
        &[0x52, 1, 9, 3, 0, 20, 0, 1, 9, 4, 0, 25, 0, 0x77, 0xc0, 0x77],
    ),
    ("closed", &[0x32, 1, 7, 0xfc, 1, 0x77, 0x32, 1, 0x77, 0x77]),
    // Keys rotated once and again; a packet repeated from elsewhere.
    (
        "rotated",
        &[
            0x32, 1, 0x77, 0xec, 1, 0x32, 1, 0x77, 9, 0x42, 0, 0x77, 0x77, 0xec, 0, 0x32, 0x81,
            0x77, 0x77,
        ],
    ),
    // Forged: PING; ACKs; messages; fragments; CLOSE; reserved bits; nonsense.
    ("forged-ping", &[13, 1, 0, 0]),
    (
        "forged-ack",
        &[0x32, 1, 13, 1, 0, 1, 0, 0, 0, 0, 13, 0, 1, 1, 99, 0, 0, 0],
    ),
    (
        "forged-msg",
        &[13, 3, 0, 3, 0, 5, 11, 1, 5, 13, 1, 1, 3, 200, 5],
    ),
    (
        "forged-frag",
        &[
            13, 1, 0, 5, 0, 99, 0, 9, 13, 1, 1, 5, 0, 99, 50, 9, 13, 1, 2, 5, 0, 98, 9, 9,
        ],
    ),
    (
        "forged-close",
        &[0x32, 1, 13, 1, 0, 6, 2, 13, 0, 0, 6, 0, 0x77],
    ),
    ("forged-flags", &[13, 0x81, 0, 4, 0]),
    (
        "forged-nonsense",
        &[13, 1, 0, 0x3f, 1, 2, 3, 4, 5, 6, 7, 13, 0, 0, 0x17, 0x3e, 0],
    ),
];

fn handshakes() -> Vec<(&'static str, Handshake)> {
    let cid = NodeCid::new(&[0xc1, 0xd0, 0xc1, 0xd1]).expect("four bytes fit");
    let mut xx = Hello {
        version: VERSION,
        pattern: 0,
        suite: 1,
        versions: vec![VERSION],
        suites: vec![1],
        cid,
        cookie: Bytes::new(),
        noise: Bytes::from_static(&[0xee; 32]),
        padding: 0,
        mac1: [0; 16],
    };
    xx.pad();
    let mut ik = Hello {
        pattern: 1,
        versions: vec![2, VERSION],
        suites: vec![1, 2],
        cid: NodeCid::default(),
        cookie: Bytes::from_static(&[0xcc; 32]),
        noise: Bytes::from_static(&[0xee; 208]),
        mac1: [0xac; 16],
        ..xx.clone()
    };
    ik.pad();
    let mut future = Hello {
        version: 2,
        versions: vec![2],
        ..xx.clone()
    };
    future.pad();
    vec![
        ("hello-xx", Handshake::Hello(xx)),
        ("hello-ik", Handshake::Hello(ik)),
        ("hello-future", Handshake::Hello(future)),
        (
            "accept",
            Handshake::Accept(Accept {
                version: VERSION,
                cid,
                noise: Bytes::from_static(&[0xee; 136]),
            }),
        ),
        (
            "finish",
            Handshake::Finish(Finish {
                version: VERSION,
                cid: *b"brokerid",
                noise: Bytes::from_static(&[0xee; 160]),
            }),
        ),
        (
            "retry",
            Handshake::Retry(Retry {
                version: VERSION,
                cid,
                mark: [0xac; 16],
                cookie: Bytes::from_static(&[0xcc; 32]),
            }),
        ),
        (
            "version",
            Handshake::Version(VersionReply {
                version: 2,
                cid,
                versions: vec![VERSION],
            }),
        ),
    ]
}

fn frames() -> Vec<(&'static str, Frame)> {
    let one = AckRanges::new(0..=7).expect("not empty");
    let mut many = AckRanges::new(1_000_000..=1_000_100).expect("not empty");
    for lowest in [999_990, 500, 0] {
        assert!(many.push(lowest..=lowest + 3), "they go down");
    }
    vec![
        ("pad", Frame::Pad),
        ("ping", Frame::Ping),
        (
            "ack-one",
            Frame::Ack(Ack {
                delay_us: 300,
                ranges: one,
                ecn: None,
            }),
        ),
        (
            "ack-many",
            Frame::Ack(Ack {
                delay_us: 25_000,
                ranges: many,
                ecn: None,
            }),
        ),
        (
            "msg",
            Frame::Msg {
                channel: 1,
                number: 70_000,
                data: Bytes::from_static(b"hello, world"),
            },
        ),
        (
            "frag",
            Frame::Frag {
                channel: 63,
                number: 3,
                total: 65_536,
                offset: 65_526,
                data: Bytes::from_static(b"its end..."),
            },
        ),
        ("credit-link", Frame::CreditLink { limit: 524_288 }),
        (
            "credit-channel",
            Frame::CreditChannel {
                channel: 63,
                limit: 1 << 40,
            },
        ),
        (
            "new-cid",
            Frame::NewCid {
                sequence: 2,
                cid: Cid::from(*b"brokerid"),
                token: ResetToken(*b"sixteen byte key"),
            },
        ),
        ("retire-cid", Frame::RetireCid { sequence: 0 }),
        ("path-challenge", Frame::PathChallenge(*b"question")),
        ("path-response", Frame::PathResponse(*b"question")),
        (
            "close",
            Frame::Close {
                code: 1,
                reason: "malformed: ¿qué?".to_owned(),
            },
        ),
        (
            "unknown",
            Frame::Unknown {
                kind: 0x7f,
                data: Bytes::from_static(b"grease"),
            },
        ),
    ]
}

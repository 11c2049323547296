//! Writes a valid encoding of each kind of datagram and frame into the directory named, for the
//! fuzzer to start from: `cargo run --example seeds corpus/decode`.

use std::{env, fs, io, path::PathBuf};

use bytes::Bytes;
use tertulia::wire::{
    Accept, Ack, AckRanges, Cid, Finish, Frame, Handshake, Hello, NodeCid, Retry, VERSION, VersionReply,
};

fn main() -> io::Result<()> {
    let directory: PathBuf = env::args_os()
        .nth(1)
        .expect("a directory to write to")
        .into();
    fs::create_dir_all(&directory)?;
    for (name, handshake) in handshakes() {
        let mut out = Vec::new();
        handshake.encode(&mut out);
        fs::write(directory.join(format!("seed-{name}")), out)?;
    }
    let mut packet = Vec::new();
    for (name, frame) in frames() {
        let mut out = Vec::new();
        frame.encode(&mut out);
        packet.extend_from_slice(&out);
        fs::write(directory.join(format!("seed-{name}")), out)?;
    }
    fs::write(directory.join("seed-packet"), packet)
}

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
                mac1: [0xac; 16],
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
            }),
        ),
        (
            "ack-many",
            Frame::Ack(Ack {
                delay_us: 25_000,
                ranges: many,
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

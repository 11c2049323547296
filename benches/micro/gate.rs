//! What a HELLO costs that is refused, by the stage at which it is; and one that is not.

use core::time::Duration;
use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use divan::Bencher;
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256};
use tertulia::broker::{Broker, BrokerConfig, HANDSHAKES_PER_TURN};
use tertulia::chat::LogId;
use tertulia::drops::Dropped;
use tertulia::rng::SeededRng;
use tertulia::secure::{BrokerIdentity, Initiator, NodeIdentity, PublicKey};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tertulia::wire::{Handshake, Hello, MAC1_LEN, NodeCid};

/// How many different HELLOs there are; each comes from another address each time.
const HELLOS: usize = 64;
/// How long after each other those come that are worked on: that is no load.
const STEP: Duration = Duration::from_millis(200);

/// At which stage a HELLO is refused (ADR-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its CRC is wrong: stray traffic.
    Crc,
    /// It is for another broker.
    Mac1,
    /// It has no cookie, and is answered by a RETRY.
    CookieMissing,
    /// Its cookie is wrong, and it is answered by a RETRY.
    CookieWrong,
    /// It does not decrypt.
    DiffieHellman,
    /// At none: it is answered by an ACCEPT.
    None,
}

#[divan::bench(args = [
    Stage::Crc,
    Stage::Mac1,
    Stage::CookieMissing,
    Stage::CookieWrong,
    Stage::DiffieHellman,
    Stage::None,
])]
fn refuse_a_hello(bencher: Bencher<'_, '_>, stage: Stage) {
    let target = RefCell::new(Target::new(stage));
    bencher
        .with_inputs(|| target.borrow_mut().next())
        .bench_local_values(|(path, hello)| target.borrow_mut().take(path, hello));
    target.into_inner().check();
}

/// A broker, and HELLOs that come as far as they are to come.
struct Target {
    stage: Stage,
    broker: Broker,
    hellos: Vec<Bytes>,
    now: Timestamp,
    /// How many were sent.
    number: u32,
    out: Vec<u8>,
}

impl Target {
    fn new(stage: Stage) -> Self {
        let identity = BrokerIdentity::from_secret([9; 32]);
        let key = identity.public();
        let log = LogId([1; 16]);
        let mut target = Self {
            stage,
            broker: Broker::new(BrokerConfig::default(), identity, log, [2; 32]),
            hellos: (0..HELLOS)
                .map(|number| hello(stage, key, number))
                .collect(),
            now: Timestamp::from_millis(1_000),
            number: 0,
            out: Vec::new(),
        };
        if matches!(stage, Stage::CookieMissing | Stage::CookieWrong) {
            for number in 0..HANDSHAKES_PER_TURN {
                let path = Path::new(([192, 0, 2, 1], 1_000).into());
                let hello = hello(Stage::None, key, number);
                target.take(path, BytesMut::from(&hello[..]));
            }
        }
        target
    }

    /// The next HELLO, and where it comes from.
    fn next(&mut self) -> (Path, BytesMut) {
        self.number += 1;
        if matches!(self.stage, Stage::DiffieHellman | Stage::None) {
            self.now += STEP;
            self.broker.handle_timeout(self.now);
        }
        let [a, b, c, d] = self.number.to_be_bytes();
        let path = Path::new(([10 + a, b, c, d], 1_000).into());
        let hello = &self.hellos[self.number as usize % HELLOS];
        (path, BytesMut::from(&hello[..]))
    }

    fn take(&mut self, path: Path, hello: BytesMut) {
        self.broker.handle_datagram(path, hello, self.now);
        self.out.clear();
        while self.broker.poll_transmit(self.now, &mut self.out).is_some() {}
    }

    /// All of them were refused where they were to be.
    fn check(self) {
        let reason = match self.stage {
            Stage::Crc => Dropped::Crc,
            Stage::Mac1 => Dropped::Mac1,
            Stage::CookieMissing => Dropped::CookieMissing,
            Stage::CookieWrong => Dropped::CookieWrong,
            Stage::DiffieHellman => Dropped::Handshake,
            Stage::None => {
                assert_eq!(self.broker.drops().iter().count(), 0);
                return;
            }
        };
        let refused = self.broker.drops().count(reason);
        assert_eq!(refused, u64::from(self.number), "{:?}", self.stage);
    }
}

/// A HELLO of a node that knows the broker with that key, or thinks so.
fn hello(stage: Stage, key: PublicKey, number: usize) -> Bytes {
    let mut rng = SeededRng::new([number as u8; 32]);
    let identity = NodeIdentity::generate(&mut rng);
    let to = match stage {
        Stage::Mac1 => PublicKey([9; 32]),
        _ => key,
    };
    let initiator = Initiator::known_broker(NodeCid::default(), to, &identity, rng.fork());
    let right = initiator.hello();
    let Ok(Handshake::Hello(mut hello)) = Handshake::decode(right) else {
        panic!("not a HELLO");
    };
    match stage {
        Stage::Crc => {
            let mut damaged = right.to_vec();
            damaged[100] ^= 1;
            return damaged.into();
        }
        Stage::CookieWrong => hello.cookie = Bytes::from_static(&[7; 16]),
        Stage::DiffieHellman => {
            let mut noise = hello.noise.to_vec();
            noise[191] ^= 1;
            hello.noise = noise.into();
        }
        Stage::Mac1 | Stage::CookieMissing | Stage::None => return right.clone(),
    }
    hello.pad();
    put_mac1(&mut hello, to);
    encode(hello)
}

/// SEC-4.
fn put_mac1(hello: &mut Hello, broker: PublicKey) {
    let context = [&b"tertulia mac1"[..], broker.as_bytes()].concat();
    let key = hmac::Key::new(HMAC_SHA256, digest(&SHA256, &context).as_ref());
    let datagram = encode(hello.clone());
    let tag = hmac::sign(&key, Hello::before_mac1(&datagram));
    hello.mac1.copy_from_slice(&tag.as_ref()[..MAC1_LEN]);
}

fn encode(hello: Hello) -> Bytes {
    let mut out = Vec::new();
    Handshake::Hello(hello).encode(&mut out);
    out.into()
}

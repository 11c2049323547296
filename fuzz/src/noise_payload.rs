//! A peer with right keys puts into the payloads of the handshake what it likes.
//!
//! The other fuzzed handshakes break Noise, so that hardly anything gets behind it; here Noise is
//! always right, spoken by an [implementation of its own](noise), and what it carries is not. What
//! has to hold:
//!
//! - Nothing panics, and time never stands still.
//! - A broker takes a node's payload if, and only if, an account vouches for the device in it, as
//!   SEC-3 says; for anything else no link ever opens, whatever is sent under its keys.
//! - A node takes a broker's payload if, and only if, it has the right length.
//! - What is refused is counted once, and does not keep the right payload from being taken
//!   afterwards (SEC-11).
//! - What is said first under the new keys, whatever it is, costs the one who says it its link and
//!   nobody else anything: afterwards an honest node and an honest broker find each other (DLV-8).

mod noise;

use core::time::Duration;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::{Bytes, BytesMut};
use ring::signature::{ED25519, UnparsedPublicKey};
use tertulia::broker::{Broker, BrokerConfig, MemoryStore};
use tertulia::chat::{ControlFromBroker, ControlFromNode, LogId, Name, RoomName};
use tertulia::client::{Client, ClientConfig, ClientEvent, EndReason, JournalState};
use tertulia::drops::Dropped;
use tertulia::secure::{BrokerIdentity, LinkSecrets, NodeIdentity, SUITE, Sealer};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tertulia::wire::roundtrip::with_right_crc;
use tertulia::wire::{
    Accept, DataHeader, Finish, Frame, Handshake, Hello, NodeCid, VERSION, pad_for_sample,
};

use noise::Noise;

use super::handshake::put_mac1_right;
use super::network::{End, is_sealed};

/// More payloads than these of one input are not tried.
const ATTEMPTS_MAX: usize = 6;
/// More messages than these are not sent.
const MESSAGES_MAX: usize = 12;
/// How long a payload is at most, so that every datagram fits a path.
const PAYLOAD_MAX: usize = 600;
/// How long a payload of a broker is (SEC-3).
const BROKER_PAYLOAD_LEN: usize = 8 + 16 + 16;
/// How long a datagram takes, and how often anybody is woken.
const STEP: Duration = Duration::from_millis(20);
/// How soon an honest pair is in contact: a link that only one side knows of is given up after 5 s
/// without an answer (LIF-2), and the second HELLO may be the first that counts (SEC-5).
const MEET_WITHIN: Duration = Duration::from_secs(30);

const BROKER_SECRET: [u8; 32] = [3; 32];
const MALLORY_SECRET: [u8; 32] = [6; 32];
const MALLORY_CID: [u8; 4] = [0xcc; 4];

static ADA: LazyLock<NodeIdentity> = LazyLock::new(|| NodeIdentity::from_secrets([1; 32], [2; 32]));
static MALLORY: LazyLock<NodeIdentity> =
    LazyLock::new(|| NodeIdentity::from_secrets([5; 32], MALLORY_SECRET));
static BROKER: LazyLock<BrokerIdentity> =
    LazyLock::new(|| BrokerIdentity::from_secret(BROKER_SECRET));

/// Checks one input. Returns of each payload whether it was taken.
///
/// # Panics
///
/// If something that must hold does not.
pub fn check(input: &[u8]) -> Vec<bool> {
    let Ok(plan) = Plan::arbitrary(&mut Unstructured::new(input)) else {
        return Vec::new();
    };
    match plan.attacked {
        End::Broker => attack_broker(&plan),
        End::Node => attack_node(&plan),
    }
}

struct Plan {
    attacked: End,
    is_ik: bool,
    seed: u8,
    attempts: Vec<Payload>,
    messages: Vec<Message>,
}

/// What is to be in a payload.
struct Payload {
    /// Whether, in XX, it is in the HELLO, where nothing belongs.
    is_in_hello: bool,
    base: Base,
    /// Where it is changed, and how.
    changes: Vec<(u8, u8)>,
    /// How much is cut off, or added.
    grows: i8,
}

enum Base {
    /// What belongs there.
    Right,
    /// Ada's account, and its word for her device.
    OfAnother,
    /// Ada's account, and the word of another for the attacker's device.
    Mixed,
    Raw(Vec<u8>),
}

enum Message {
    /// What is said first by who keeps to the rules.
    Polite,
    Said {
        channel: u64,
        data: Vec<u8>,
    },
    Frames(Vec<u8>),
    Wait,
}

impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        let seed = input.arbitrary()?;
        let attempts = 1 + usize::from(kind >> 4) % ATTEMPTS_MAX;
        let attempts = (0..attempts).map(|_| input.arbitrary());
        let attempts = attempts.collect::<Result<_>>()?;
        let mut messages = Vec::new();
        while !input.is_empty() && messages.len() < MESSAGES_MAX {
            messages.push(input.arbitrary()?);
        }
        Ok(Self {
            attacked: End::from_bit(kind & 1 != 0),
            is_ik: kind & 2 != 0,
            seed,
            attempts,
            messages,
        })
    }
}

impl<'a> Arbitrary<'a> for Payload {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        let base = match kind % 4 {
            0 => Base::Right,
            1 => Base::OfAnother,
            2 => Base::Mixed,
            _ => Base::Raw(short(input)?),
        };
        let changes = (0..kind >> 6).map(|_| input.arbitrary());
        Ok(Self {
            is_in_hello: kind & 0x04 != 0,
            base,
            changes: changes.collect::<Result<_>>()?,
            grows: match kind & 0x08 {
                0 => 0,
                _ => input.arbitrary()?,
            },
        })
    }
}

impl<'a> Arbitrary<'a> for Message {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        Ok(match kind % 4 {
            0 => Self::Polite,
            1 => Self::Said {
                channel: u64::from(kind >> 2) % 4,
                data: short(input)?,
            },
            2 => Self::Frames(short(input)?),
            _ => Self::Wait,
        })
    }
}

fn short(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let len: u8 = input.arbitrary()?;
    let len = usize::from(len).min(input.len());
    Ok(input.bytes(len)?.to_vec())
}

impl Payload {
    /// The bytes, if `right` are those that belong there.
    fn bytes(&self, right: &[u8]) -> Vec<u8> {
        let mut bytes = match &self.base {
            Base::Right => right.to_vec(),
            Base::OfAnother => identity_of(&ADA),
            Base::Mixed => [&ADA.account().as_bytes()[..], MALLORY.certificate()].concat(),
            Base::Raw(bytes) => bytes.clone(),
        };
        for (at, with) in &self.changes {
            if let Some(at) = usize::from(*at).checked_rem(bytes.len()) {
                bytes[at] ^= with;
            }
        }
        let len = bytes.len().saturating_add_signed(self.grows.into());
        bytes.resize(len.min(PAYLOAD_MAX), 0);
        bytes
    }
}

fn identity_of(node: &NodeIdentity) -> Vec<u8> {
    [&node.account().as_bytes()[..], node.certificate()].concat()
}

/// Whether a payload makes the attacker's device one of the account that it names (SEC-3): worked
/// out here once more, so as not to ask those who are being checked.
fn is_certified(payload: &[u8]) -> bool {
    let Some((account, certificate)) = payload.split_first_chunk::<32>() else {
        return false;
    };
    let device = MALLORY.device();
    let certified = [b"tertulia device 1", &device.as_bytes()[..]].concat();
    UnparsedPublicKey::new(&ED25519, account)
        .verify(&certified, certificate)
        .is_ok()
}

// ---- a malicious node

fn attack_broker(plan: &Plan) -> Vec<bool> {
    let mut world = World::new(plan.seed);
    // Ada has got her name.
    world.arrive(true);
    world.meet();
    world.client = None;
    let taken = plan.attempts.iter().enumerate().map(|(at, payload)| {
        let ephemeral = [at as u8 + 1; 32];
        match plan.is_ik {
            true => knock_with_ik(&mut world, payload, ephemeral, &plan.messages),
            false => knock_with_xx(&mut world, payload, ephemeral, &plan.messages),
        }
    });
    let taken = taken.collect();
    world.arrive(true);
    world.meet();
    taken
}

fn knock_with_ik(
    world: &mut World,
    payload: &Payload,
    ephemeral: [u8; 32],
    messages: &[Message],
) -> bool {
    let payload = payload.bytes(&identity_of(&MALLORY));
    let is_right = is_certified(&payload);
    let (mut noise, hello) = hello_of_mallory(true, ephemeral, &payload);
    let before = world.refused_by_broker();
    let accept = world.knock(&hello);
    assert_eq!(accept.is_some(), is_right);
    assert_eq!(world.refused_by_broker() - before, u64::from(!is_right));
    if let Some(accept) = accept {
        let told = noise.read_accept(&accept.noise).expect("Noise is right");
        assert!(world.opens(&told[..8], &noise.split(), messages));
    }
    is_right
}

fn knock_with_xx(
    world: &mut World,
    payload: &Payload,
    ephemeral: [u8; 32],
    messages: &[Message],
) -> bool {
    let early = match payload.is_in_hello {
        true => payload.bytes(&[]),
        false => Vec::new(),
    };
    let (mut noise, hello) = hello_of_mallory(false, ephemeral, &early);
    let before = world.refused_by_broker();
    let accept = world.knock(&hello);
    assert_eq!(accept.is_some(), early.is_empty());
    let Some(accept) = accept else {
        assert_eq!(world.refused_by_broker() - before, 1);
        return false;
    };
    let told = noise.read_accept(&accept.noise).expect("Noise is right");
    assert_eq!(told.len(), BROKER_PAYLOAD_LEN);
    let payload = payload.bytes(&identity_of(&MALLORY));
    let is_right = is_certified(&payload);
    world.finish(&told[..8], noise.write_finish(&payload));
    assert_eq!(world.refused_by_broker() - before, u64::from(!is_right));
    assert_eq!(world.opens(&told[..8], &noise.split(), messages), is_right);
    if !is_right {
        // SEC-11: the right one is still taken.
        let (mut noise, _) = hello_of_mallory(false, ephemeral, &early);
        noise.read_accept(&accept.noise);
        world.finish(&told[..8], noise.write_finish(&identity_of(&MALLORY)));
        assert!(world.opens(&told[..8], &noise.split(), &[]));
    }
    is_right
}

/// The attacker's HELLO with that payload, and its side of the handshake.
fn hello_of_mallory(is_ik: bool, ephemeral: [u8; 32], payload: &[u8]) -> (Noise, Hello) {
    let mut hello = Hello {
        version: VERSION,
        pattern: u8::from(is_ik),
        suite: SUITE,
        versions: vec![VERSION],
        suites: vec![SUITE],
        cid: NodeCid::new(&MALLORY_CID).expect("four bytes fit"),
        cookie: Bytes::new(),
        noise: Bytes::new(),
        padding: 0,
        mac1: [0; 16],
    };
    let broker = *BROKER.public().as_bytes();
    let prologue = hello.prologue();
    let mut noise = Noise::initiator(is_ik, &prologue, MALLORY_SECRET, ephemeral, broker);
    hello.noise = noise.write_hello(payload).into();
    (noise, hello)
}

/// The datagram, with padding and mac1 as they belong.
fn datagram_of(mut hello: Hello) -> Vec<u8> {
    hello.pad();
    let has_mac1 = hello.pattern == 1;
    let mut out = Vec::new();
    Handshake::Hello(hello).encode(&mut out);
    if has_mac1 {
        put_mac1_right(&mut out);
    }
    with_right_crc(&out).to_vec()
}

// ---- a malicious broker

fn attack_node(plan: &Plan) -> Vec<bool> {
    let mut world = World::new(plan.seed);
    world.arrive(plan.is_ik);
    let hello = world.greeting();
    let mut taken = Vec::new();
    for (at, payload) in plan.attempts.iter().enumerate() {
        let prologue = hello.prologue();
        let ephemeral = [at as u8 + 1; 32];
        let mut noise = Noise::responder(plan.is_ik, &prologue, BROKER_SECRET, ephemeral);
        let identity = noise.read_hello(&hello.noise).expect("Noise is right");
        let shown_early = if plan.is_ik {
            identity_of(&ADA)
        } else {
            Vec::new()
        };
        assert_eq!(identity, shown_early);
        let payload = payload.bytes(&[7; BROKER_PAYLOAD_LEN]);
        let is_right = payload.len() == BROKER_PAYLOAD_LEN;
        taken.push(is_right);
        let before = world.refused_by_node();
        let answer = world.accept(hello.cid, noise.write_accept(&payload));
        assert_eq!(world.refused_by_node() - before, u64::from(!is_right));
        if !is_right {
            assert!(answer.is_empty(), "a refused ACCEPT was answered");
            continue;
        }
        if !plan.is_ik {
            let finish = answer.iter().find_map(|sent| {
                match Handshake::decode(&Bytes::copy_from_slice(sent)) {
                    Ok(Handshake::Finish(finish)) => Some(finish),
                    _ => None,
                }
            });
            let finish = finish.expect("a node that takes an ACCEPT finishes");
            assert_eq!(finish.cid, payload[..8]);
            let identity = noise.read_finish(&finish.noise).expect("Noise is right");
            assert_eq!(identity, identity_of(&ADA));
        }
        world.speak(
            End::Node,
            hello.cid.as_bytes(),
            &noise.split(),
            &plan.messages,
        );
        // What a broker says may well end a node.
        world.may_end = !plan.messages.is_empty();
        break;
    }
    world.meet();
    taken
}

// ---- the honest ones

/// An honest broker, an honest node, and a network that delivers; or the attacker in the place of
/// one of them.
struct World {
    now: Timestamp,
    seed: u8,
    broker: Broker,
    store: MemoryStore,
    client: Option<Client>,
    /// What the two have sent to each other, and the broker to the attacker.
    to_broker: Vec<Vec<u8>>,
    to_node: Vec<Vec<u8>>,
    to_attacker: Vec<Vec<u8>>,
    home: Path,
    elsewhere: Path,
    stored: bool,
    ended: Option<EndReason>,
    may_end: bool,
}

impl World {
    fn new(seed: u8) -> Self {
        let log = LogId([4; 16]);
        let broker = Broker::new(BrokerConfig::default(), BROKER.clone(), log, [!seed; 32]);
        Self {
            now: Timestamp::from_millis(1_000),
            seed,
            broker,
            store: MemoryStore::new(log),
            client: None,
            to_broker: Vec::new(),
            to_node: Vec::new(),
            to_attacker: Vec::new(),
            home: Path::new(([192, 0, 2, 1], 1).into()),
            elsewhere: Path::new(([203, 0, 113, 9], 9).into()),
            stored: false,
            ended: None,
            may_end: false,
        }
    }

    /// Ada's node begins, with nothing but her keys.
    fn arrive(&mut self, is_known: bool) {
        let config = ClientConfig {
            paths: vec![self.home],
            name: Name::new("ada").expect("a name"),
            known: is_known.then(|| (BROKER.public(), ADA.clone())),
            restored: JournalState::default(),
        };
        self.seed = self.seed.wrapping_add(1);
        let mut client = Client::new(config, [self.seed; 32], self.now);
        client.join(RoomName::default().into(), self.now);
        // The first HELLO is due at once.
        client.handle_timeout(self.now);
        self.client = Some(client);
        self.stored = false;
        self.drain();
    }

    /// Ada's node and the broker are left to themselves, and she gets a line stored.
    fn meet(&mut self) {
        if let Some(client) = &mut self.client
            && self.ended.is_none()
        {
            let said = client.publish(&RoomName::default(), b"hello", 1, self.now);
            said.expect("nothing else waits");
        }
        let end = self.now + MEET_WITHIN;
        while self.now < end && !self.stored && self.ended.is_none() {
            self.step();
        }
        match &self.ended {
            Some(reason) => assert!(self.may_end, "ended: {reason:?}"),
            None => assert!(self.stored, "still out of contact"),
        }
    }

    /// Time goes by, and what was sent arrives.
    fn step(&mut self) {
        self.drain();
        for datagram in core::mem::take(&mut self.to_broker) {
            self.hand_to_broker(self.home, &datagram);
        }
        for datagram in core::mem::take(&mut self.to_node) {
            self.hand_to_node(&datagram);
        }
        self.now += STEP;
        self.broker.handle_timeout(self.now);
        if let Some(client) = &mut self.client {
            client.handle_timeout(self.now);
        }
        self.drain();
    }

    fn hand_to_broker(&mut self, from: Path, datagram: &[u8]) {
        self.broker
            .handle_datagram(from, BytesMut::from(datagram), self.now);
        self.drain();
    }

    fn hand_to_node(&mut self, datagram: &[u8]) {
        if let Some(client) = &mut self.client {
            client.handle_datagram(self.home, BytesMut::from(datagram), self.now);
        }
        self.drain();
    }

    fn refused_by_broker(&self) -> u64 {
        self.broker.drops().count(Dropped::Handshake)
    }

    fn refused_by_node(&self) -> u64 {
        let client = self.client.as_ref();
        client.map_or(0, |client| client.drops().count(Dropped::Handshake))
    }

    // ---- the attacker's datagrams

    /// The broker's answer to a HELLO of the attacker, who sends it again with a cookie if it is
    /// asked for one (ADR-3).
    fn knock(&mut self, hello: &Hello) -> Option<Accept> {
        match self.answer_to(hello.clone())? {
            Handshake::Accept(accept) => Some(accept),
            Handshake::Retry(retry) => {
                let cookie = retry.cookie;
                let hello = Hello {
                    cookie,
                    ..hello.clone()
                };
                match self.answer_to(hello)? {
                    Handshake::Accept(accept) => Some(accept),
                    other => panic!("a HELLO with a cookie was answered by {other:?}"),
                }
            }
            other => panic!("a HELLO was answered by {other:?}"),
        }
    }

    fn answer_to(&mut self, hello: Hello) -> Option<Handshake> {
        self.to_attacker.clear();
        self.hand_to_broker(self.elsewhere, &datagram_of(hello));
        let answers = core::mem::take(&mut self.to_attacker);
        let mut answers = answers.into_iter().filter(|sent| !is_sealed(sent));
        let answer = answers.next();
        assert_eq!(answers.next(), None);
        answer.map(|answer| Handshake::decode(&answer.into()).expect("a broker sends no nonsense"))
    }

    fn finish(&mut self, cid: &[u8], noise: Vec<u8>) {
        let finish = Handshake::Finish(Finish {
            version: VERSION,
            cid: cid.try_into().expect("eight bytes"),
            noise: noise.into(),
        });
        let mut out = Vec::new();
        finish.encode(&mut out);
        self.hand_to_broker(self.elsewhere, &out);
    }

    /// What the node sends upon an ACCEPT of the attacker.
    fn accept(&mut self, cid: NodeCid, noise: Vec<u8>) -> Vec<Vec<u8>> {
        let accept = Handshake::Accept(Accept {
            version: VERSION,
            cid,
            noise: noise.into(),
        });
        let mut out = Vec::new();
        accept.encode(&mut out);
        self.hand_to_node(&out);
        core::mem::take(&mut self.to_broker)
    }

    /// The node's first HELLO.
    fn greeting(&mut self) -> Hello {
        let sent = core::mem::take(&mut self.to_broker);
        let [datagram] = &sent[..] else {
            panic!("not one HELLO: {sent:?}");
        };
        match Handshake::decode(&Bytes::copy_from_slice(datagram)) {
            Ok(Handshake::Hello(hello)) => hello,
            other => panic!("a node begins by {other:?}"),
        }
    }

    /// Whether the broker has a link under these keys as soon as something comes under them; if so,
    /// what the attacker has to say is said.
    fn opens(&mut self, cid: &[u8], secrets: &LinkSecrets, messages: &[Message]) -> bool {
        let (before, _) = self.broker.link_counts();
        let mut frames = Vec::new();
        Frame::Ping.encode(&mut frames);
        self.send(End::Broker, cid, secrets, 0, &frames);
        let (after, _) = self.broker.link_counts();
        assert!(after == before || after == before + 1);
        self.speak(End::Broker, cid, secrets, messages);
        after > before
    }

    fn speak(&mut self, to: End, cid: &[u8], secrets: &LinkSecrets, messages: &[Message]) {
        let mut numbers = [0; 4];
        for (message, packet) in messages.iter().zip(1..) {
            let frames = match message {
                Message::Polite => said(0, &mut numbers, polite(to)),
                Message::Said { channel, data } => {
                    said(*channel, &mut numbers, data.clone().into())
                }
                Message::Frames(frames) => frames.clone(),
                Message::Wait => {
                    // Nobody else is there to answer the node.
                    self.to_broker.clear();
                    self.step();
                    continue;
                }
            };
            self.send(to, cid, secrets, packet, &frames);
        }
        self.to_broker.clear();
    }

    fn send(&mut self, to: End, cid: &[u8], secrets: &LinkSecrets, number: u64, frames: &[u8]) {
        let mut out = Vec::new();
        let number_offset = DataHeader::new(cid, number, None).encode(&mut out);
        out.extend_from_slice(frames);
        pad_for_sample(&mut out, number_offset);
        Sealer::new(&secrets.send).seal(number, &mut out, 0, number_offset);
        match to {
            End::Broker => self.hand_to_broker(self.elsewhere, &out),
            End::Node => self.hand_to_node(&out),
        }
    }

    // ---- what the honest ones have to give

    fn drain(&mut self) {
        while self.drain_broker() | self.drain_client() {}
    }

    fn drain_broker(&mut self) -> bool {
        let mut is_busy = false;
        let mut out = Vec::new();
        while let Some(transmit) = self.broker.poll_transmit(self.now, &mut out) {
            let to = match transmit.path == self.home {
                true => &mut self.to_node,
                false => &mut self.to_attacker,
            };
            to.extend(transmit.datagrams(&out).map(<[u8]>::to_vec));
            out.clear();
        }
        while let Some(request) = self.broker.poll_storage() {
            is_busy = true;
            let completion = self.store.handle(request);
            self.broker.handle_storage(completion, self.now);
        }
        while self.broker.poll_event().is_some() {}
        is_busy
    }

    fn drain_client(&mut self) -> bool {
        let Some(client) = &mut self.client else {
            return false;
        };
        let mut is_busy = false;
        let mut out = Vec::new();
        while let Some(transmit) = client.poll_transmit(self.now, &mut out) {
            let sent = transmit.datagrams(&out).map(<[u8]>::to_vec);
            self.to_broker.extend(sent);
            out.clear();
        }
        while let Some(request) = client.poll_journal() {
            is_busy = true;
            client.handle_journaled(request.id, self.now);
        }
        while let Some(event) = client.poll_event() {
            is_busy = true;
            match event {
                ClientEvent::FirstContact(key) => {
                    assert_eq!(key, BROKER.public());
                    client.set_identity(ADA.clone(), self.now);
                }
                ClientEvent::Stored { .. } => self.stored = true,
                ClientEvent::Ended(reason) => self.ended = Some(reason),
                _ => {}
            }
        }
        is_busy
    }
}

/// What is said first to that end by who keeps to the rules.
fn polite(to: End) -> Bytes {
    match to {
        End::Broker => ControlFromNode::SignIn {
            name: "mallory".to_owned(),
            invite: None,
        }
        .encode(),
        End::Node => ControlFromBroker::Welcome { people: 1 }.encode(),
    }
}

/// The frame of the channel's next message.
fn said(channel: u64, numbers: &mut [u64; 4], data: Bytes) -> Vec<u8> {
    let number = &mut numbers[channel as usize];
    let mut out = Vec::new();
    Frame::Msg {
        channel,
        number: *number,
        data,
    }
    .encode(&mut out);
    *number += 1;
    out
}

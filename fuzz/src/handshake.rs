//! A real client and a real broker shake hands over a network in the fuzzer's hands.
//!
//! What has to hold:
//!
//! - Nothing panics, and time never stands still.
//! - A handshake datagram causes at most one reply of the broker, no longer than itself (HSD-8).
//! - Half-open handshakes are bounded (SEC-6).
//! - What is refused is counted, once, and changes nothing that can be seen from outside (BRK-4,
//!   SEC-11, KEY-3). What must be refused is: a wrong CRC for that reason (HSD-1), and every sealed
//!   packet but those that the peer sent, the second time those too (KEY-2, KEY-4), and at the node
//!   what ends in a token that the broker's resets have shown (RST-4). It is answered by nothing but
//!   a reset, or a RETRY that belongs to it (RST-2, ADR-3).
//! - Once the network has healed the client gets a line stored, whatever happened before (DLV-8).
//!   Only one thing excuses it: it was told that the broker speaks other versions, which nobody
//!   can authenticate (HSD-7).

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::{Bytes, BytesMut};
use ring::digest::{self, SHA256};
use ring::hmac::{self, HMAC_SHA256};
use tertulia::broker::{Broker, BrokerConfig, HALF_OPEN_MAX, MemoryStore};
use tertulia::chat::{LogId, Name, RoomName};
use tertulia::client::{Client, ClientConfig, ClientEvent, EndReason, JournalState};
use tertulia::drops::{Dropped, Drops};
use tertulia::secure::{BrokerIdentity, NodeIdentity};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tertulia::wire::roundtrip::with_right_crc;
use tertulia::wire::{Handshake, Hello, MAC1_LEN, VERSION};

use super::network::{Datagram, End, Fault, Network, is_sealed};

/// More steps than these of one input are not taken.
const STEPS_MAX: usize = 64;
/// For how long the waits of one input last at most, before the network heals.
const WAITS_MAX: Duration = Duration::from_secs(1_000);
/// How soon a healed network has to show. The client asks again every 6 s at the latest (SEC-5); a
/// link that the broker has forgotten is given up after 5 s without an answer (LIF-2), once for the
/// line and once more for a FINISH that came too late.
const HEALED_WITHIN: Duration = Duration::from_secs(30);
/// More turns than these without anything arriving and without time going by are a busy loop.
const TURNS_MAX: usize = 50;

/// What time goes by at a step, in ms: around the schedules and limits of the handshake.
const WAITS_MS: [u64; 16] = [
    0, 1, 19, 50, 110, 210, 450, 950, 2_100, 4_900, 5_100, 10_100, 16_000, 26_000, 61_000, 610_000,
];

/// Both ends' keys, which take time to make.
static NODE: LazyLock<NodeIdentity> =
    LazyLock::new(|| NodeIdentity::from_secrets([1; 32], [2; 32]));
const BROKER_SECRET: [u8; 32] = [3; 32];

/// Checks one input. Returns why the two ends dropped datagrams.
///
/// # Panics
///
/// If something that must hold does not.
pub fn check(input: &[u8]) -> Vec<Dropped> {
    let mut input = Unstructured::new(input);
    let Ok(plan) = Plan::arbitrary(&mut input) else {
        return Vec::new();
    };
    let mut world = World::new(&plan);
    for step in plan.steps {
        world.take(step);
    }
    world.heal();
    let drops = [world.client.drops(), world.broker.drops()];
    let reasons = drops.into_iter().flat_map(Drops::iter);
    reasons.map(|(reason, _)| reason).collect()
}

#[derive(Debug)]
struct Plan {
    /// Whether the client knows the broker (IK) or not (XX).
    is_known: bool,
    seed: u8,
    steps: Vec<Step>,
}

impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let (is_known, seed) = (input.arbitrary()?, input.arbitrary()?);
        let mut steps = Vec::new();
        while !input.is_empty() && steps.len() < STEPS_MAX {
            steps.push(Step::arbitrary(input)?);
        }
        Ok(Self {
            is_known,
            seed,
            steps,
        })
    }
}

#[derive(Debug)]
enum Step {
    Wait {
        duration: Duration,
    },
    Deliver {
        pick: u8,
    },
    /// Everything arrives that is under way now.
    DeliverAll,
    Fault {
        fault: Fault,
        repair: Repair,
    },
    /// Bytes of a stranger arrive.
    Forge {
        to: End,
        bytes: Vec<u8>,
        repair: Repair,
    },
}

/// What of a damaged datagram is put right again, so that it gets further.
#[derive(Clone, Copy, Debug)]
enum Repair {
    Nothing,
    Crc,
    /// What a stranger can do who knows the broker's public key (SEC-4).
    Mac1AndCrc,
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        let repair = match kind >> 6 {
            0 => Repair::Nothing,
            1 | 2 => Repair::Crc,
            _ => Repair::Mac1AndCrc,
        };
        Ok(match kind % 8 {
            0 => Self::Wait {
                duration: Duration::from_millis(WAITS_MS[usize::from(kind >> 4)]),
            },
            1 | 2 => Self::Deliver {
                pick: input.arbitrary()?,
            },
            3 => Self::DeliverAll,
            4 => {
                let len: u8 = input.arbitrary()?;
                let len = usize::from(len).min(input.len());
                Self::Forge {
                    to: End::from_bit(kind & 0x08 != 0),
                    bytes: input.bytes(len)?.to_vec(),
                    repair,
                }
            }
            _ => Self::Fault {
                fault: input.arbitrary()?,
                repair,
            },
        })
    }
}

impl Repair {
    fn apply(self, bytes: &mut Vec<u8>) {
        if is_sealed(bytes) {
            return;
        }
        if matches!(self, Self::Mac1AndCrc) {
            put_mac1_right(bytes);
        }
        if !matches!(self, Self::Nothing) {
            *bytes = with_right_crc(bytes).to_vec();
        }
    }
}

/// SEC-4
pub(crate) fn put_mac1_right(hello: &mut [u8]) {
    static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
        let mut key = digest::Context::new(&SHA256);
        key.update(b"tertulia mac1");
        let broker = BrokerIdentity::from_secret(BROKER_SECRET).public();
        key.update(broker.as_bytes());
        hmac::Key::new(HMAC_SHA256, key.finish().as_ref())
    });
    let before = Hello::before_mac1(hello).len();
    if let Some(mac1) = hello.get(before..before + MAC1_LEN) {
        assert_eq!(mac1.len(), MAC1_LEN);
        let tag = hmac::sign(&KEY, &hello[..before]);
        hello[before..before + MAC1_LEN].copy_from_slice(&tag.as_ref()[..MAC1_LEN]);
    }
}

/// What can be seen of the ends from outside.
#[derive(Debug, PartialEq)]
struct View {
    deadlines: (
        Option<tertulia::client::Deadline>,
        Option<tertulia::broker::Deadline>,
    ),
    is_online: bool,
    waiting: usize,
    srtt: Option<Duration>,
    links: (usize, usize),
    people: usize,
}

struct World {
    now: Timestamp,
    waited: Duration,
    /// The reset tokens that the broker has sent (RST-2).
    tokens: BTreeSet<[u8; 16]>,
    client: Client,
    broker: Broker,
    store: MemoryStore,
    network: Network,
    home: Path,
    elsewhere: Path,
    /// What was sent and what was told since this was last looked at.
    sent: Vec<Vec<u8>>,
    events: usize,
    /// How many turns went by at this moment.
    turns: usize,
    ended: Option<EndReason>,
    stored: bool,
    /// Whether the client was told of other versions (HSD-7).
    heard_of_versions: bool,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let now = Timestamp::from_millis(1_000);
        let broker = BrokerIdentity::from_secret(BROKER_SECRET);
        let home = Path::new(([192, 0, 2, 1], 1).into());
        let config = ClientConfig {
            paths: vec![home],
            name: Name::new("ada").expect("a name"),
            known: plan.is_known.then(|| (broker.public(), NODE.clone())),
            restored: JournalState::default(),
        };
        let log = LogId([4; 16]);
        let mut world = Self {
            now,
            waited: Duration::ZERO,
            tokens: BTreeSet::new(),
            client: Client::new(config, [plan.seed; 32], now),
            broker: Broker::new(BrokerConfig::default(), broker, log, [!plan.seed; 32]),
            store: MemoryStore::new(log),
            network: Network::default(),
            home,
            elsewhere: Path::new(([203, 0, 113, 9], 9).into()),
            sent: Vec::new(),
            events: 0,
            turns: 0,
            ended: None,
            stored: false,
            heard_of_versions: false,
        };
        world.client.join(RoomName::default().into(), now);
        // The first HELLO is due at once.
        world.run_until(now);
        world
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Wait { duration } => {
                let duration = duration.min(WAITS_MAX.saturating_sub(self.waited));
                self.waited += duration;
                self.run_until(self.now + duration);
            }
            Step::Deliver { pick } => {
                if let Some(datagram) = self.network.take(pick) {
                    self.deliver(&datagram);
                }
            }
            Step::DeliverAll => {
                for _ in 0..self.network.len() {
                    if let Some(datagram) = self.network.take(0) {
                        self.deliver(&datagram);
                    }
                }
            }
            Step::Fault { fault, repair } => {
                if let Some(bytes) = self.network.apply(fault) {
                    repair.apply(bytes);
                }
            }
            Step::Forge {
                to,
                mut bytes,
                repair,
            } => {
                repair.apply(&mut bytes);
                self.hand_over(to, self.elsewhere, &bytes);
            }
        }
    }

    /// The network heals, and the client has something to say.
    fn heal(&mut self) {
        self.network.heal(self.now);
        if self.ended.is_none() {
            let said = self
                .client
                .publish(&RoomName::default(), b"hello", 1, self.now);
            said.expect("nothing else waits");
            self.drain();
        }
        let end = self.now + HEALED_WITHIN;
        while self.now < end && !self.stored && self.ended.is_none() {
            self.run_until(end.min(self.now + Duration::from_millis(100)));
        }
        if let Some(reason) = &self.ended {
            let is_told = self.heard_of_versions && matches!(reason, EndReason::Version { .. });
            assert!(is_told, "ended: {reason:?}");
            return;
        }
        let state = (self.view(), self.client.drops(), self.broker.drops());
        assert!(self.stored, "still out of contact: {state:?}");
        assert!(self.client.is_online(), "{state:?}");
        assert_eq!(self.broker.people(), 1, "{state:?}");
    }

    /// Time goes by, and whoever asked to be woken is.
    fn run_until(&mut self, end: Timestamp) {
        while let Some(next) = self.next_at().filter(|next| *next <= end) {
            if next > self.now {
                self.now = next;
                self.turns = 0;
            }
            if let Some(datagram) = self.network.arrived(self.now) {
                self.deliver(&datagram);
            }
            self.turns += 1;
            assert!(self.turns < TURNS_MAX, "busy: {:?}", self.view());
            self.broker.handle_timeout(self.now);
            self.client.handle_timeout(self.now);
            self.drain();
        }
        self.now = self.now.max(end);
    }

    fn next_at(&self) -> Option<Timestamp> {
        let broker = self.broker.poll_timeout().map(|deadline| deadline.at);
        let client = self.client.poll_timeout().map(|deadline| deadline.at);
        [self.network.next_at(), broker, client]
            .into_iter()
            .flatten()
            .min()
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let path = match datagram.is_elsewhere {
            true => self.elsewhere,
            false => self.home,
        };
        self.hand_over(datagram.to, path, &datagram.bytes);
    }

    /// Hands a datagram to one of the ends, and checks what comes of it.
    fn hand_over(&mut self, to: End, path: Path, bytes: &[u8]) {
        self.turns = 0;
        self.sent.clear();
        self.events = 0;
        // What is due anyway happens now, whatever arrives.
        let due = [
            self.client.poll_timeout().map(|due| due.at),
            self.broker.poll_timeout().map(|due| due.at),
        ];
        let is_due = due.into_iter().flatten().any(|at| at <= self.now);
        let before = self.view();
        let drops = self.drops(to).clone();
        let datagram = BytesMut::from(bytes);
        match to {
            End::Node => self.client.handle_datagram(path, datagram, self.now),
            End::Broker => self.broker.handle_datagram(path, datagram, self.now),
        }
        self.drain();
        let refused = total(self.drops(to)) - total(&drops);
        assert!(refused <= 1, "counted {refused} times");
        if refused == 1 && !is_due {
            assert_eq!(self.view(), before, "a refused datagram changed something");
            assert_eq!(self.events, 0);
            let may_reset = to == End::Broker && is_sealed(bytes);
            match &self.sent[..] {
                [] => {}
                // RST-2: nothing is kept of what is answered with a reset.
                [reset] if may_reset => {
                    assert!(is_sealed(reset) && reset.len() < bytes.len());
                    self.tokens.insert(token_of(reset));
                }
                // ADR-3: nor of what has to come again with a cookie.
                [retry] if to == End::Broker && self.was_asked_for_a_cookie(&drops) => {
                    assert_asks_again(bytes, retry);
                }
                sent => panic!("a refused datagram was answered: {sent:?}"),
            }
        }
        if is_sealed(bytes) {
            // RST-4: all of a reset that counts is its token; whoever knows it can reset.
            let is_reset = to == End::Node && self.tokens.contains(&token_of(bytes));
            if refused == 0 && !is_reset {
                assert!(self.network.is_fresh(to, bytes), "taken by {to:?}");
                self.network.on_accepted(to, bytes);
            }
        } else {
            self.check_handshake(to, bytes, refused == 1, &drops);
        }
        assert!(self.broker.link_counts().1 <= HALF_OPEN_MAX);
    }

    /// Whether the broker has just refused a HELLO for which a RETRY may be the answer (ADR-3, ADR-5,
    /// ADR-6).
    fn was_asked_for_a_cookie(&self, before: &Drops) -> bool {
        let reasons = [
            Dropped::CookieMissing,
            Dropped::CookieWrong,
            Dropped::Rate,
            Dropped::Busy,
        ];
        let now = self.broker.drops();
        let mut reasons = reasons.into_iter();
        reasons.any(|reason| now.count(reason) > before.count(reason))
    }

    fn check_handshake(&mut self, to: End, bytes: &[u8], is_refused: bool, before: &Drops) {
        let has_right_crc = !bytes.is_empty() && with_right_crc(bytes) == bytes;
        if bytes.len() > 4 && !has_right_crc {
            let count = self.drops(to).count(Dropped::Crc);
            assert_eq!(count, before.count(Dropped::Crc) + 1);
        }
        assert!(is_refused || has_right_crc);
        if let Ok(Handshake::Version(reply)) = Handshake::decode(&Bytes::copy_from_slice(bytes))
            && to == End::Node
        {
            self.heard_of_versions |= !reply.versions.contains(&VERSION);
        }
        if to == End::Broker {
            let replies = self.sent.iter().filter(|sent| !is_sealed(sent));
            let lengths: Vec<usize> = replies.map(Vec::len).collect();
            assert!(lengths.len() <= 1, "{lengths:?} for {}", bytes.len());
            assert!(lengths.iter().all(|len| *len <= bytes.len()), "{lengths:?}");
        }
    }

    /// Takes everything that either end has to give, until neither has more.
    fn drain(&mut self) {
        while self.drain_broker() | self.drain_client() {}
    }

    fn drain_broker(&mut self) -> bool {
        let mut is_busy = false;
        let mut out = Vec::new();
        while let Some(transmit) = self.broker.poll_transmit(self.now, &mut out) {
            let is_elsewhere = transmit.path != self.home;
            for datagram in transmit.datagrams(&out) {
                self.network
                    .carry(End::Node, datagram, is_elsewhere, self.now);
                self.sent.push(datagram.to_vec());
            }
            out.clear();
        }
        while let Some(request) = self.broker.poll_storage() {
            is_busy = true;
            let completion = self.store.handle(request);
            self.broker.handle_storage(completion, self.now);
        }
        while self.broker.poll_event().is_some() {
            self.events += 1;
        }
        is_busy
    }

    fn drain_client(&mut self) -> bool {
        let mut is_busy = false;
        let mut out = Vec::new();
        while let Some(transmit) = self.client.poll_transmit(self.now, &mut out) {
            for datagram in transmit.datagrams(&out) {
                self.network.carry(End::Broker, datagram, false, self.now);
                self.sent.push(datagram.to_vec());
            }
            out.clear();
        }
        while let Some(request) = self.client.poll_journal() {
            is_busy = true;
            self.client.handle_journaled(request.id, self.now);
        }
        while let Some(event) = self.client.poll_event() {
            is_busy = true;
            self.events += 1;
            match event {
                ClientEvent::FirstContact(key) => {
                    assert_eq!(key, self.broker.public_key());
                    self.client.set_identity(NODE.clone(), self.now);
                }
                ClientEvent::Stored { .. } => self.stored = true,
                ClientEvent::Ended(reason) => self.ended = Some(reason),
                _ => {}
            }
        }
        is_busy
    }

    const fn drops(&self, end: End) -> &Drops {
        match end {
            End::Node => self.client.drops(),
            End::Broker => self.broker.drops(),
        }
    }

    fn view(&self) -> View {
        View {
            deadlines: (self.client.poll_timeout(), self.broker.poll_timeout()),
            is_online: self.client.is_online(),
            waiting: self.client.waiting(),
            srtt: self.client.srtt(),
            links: self.broker.link_counts(),
            people: self.broker.people(),
        }
    }
}

/// HSD-6, HSD-8: a RETRY is for that HELLO, and shorter.
fn assert_asks_again(hello: &[u8], retry: &[u8]) {
    assert!(retry.len() < hello.len());
    let decode = |bytes: &[u8]| Handshake::decode(&Bytes::copy_from_slice(bytes));
    match (decode(hello), decode(retry)) {
        (Ok(Handshake::Hello(hello)), Ok(Handshake::Retry(retry))) => {
            assert_eq!((retry.cid, retry.mark), (hello.cid, hello.mark()));
            assert_ne!(retry.cookie, hello.cookie);
        }
        others => panic!("{others:?}"),
    }
}

fn total(drops: &Drops) -> u64 {
    drops.iter().map(|(_, count)| count).sum()
}

/// What a reset ends in; zeros of what is too short for one.
fn token_of(bytes: &[u8]) -> [u8; 16] {
    bytes.last_chunk().copied().unwrap_or_default()
}

//! Floods from forged addresses, while people talk.
//!
//! All of 127.0.0.0/8 is this machine: one socket sends as whoever it likes, and gets what is
//! answered to any of them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use tertulia::chat::{Name, RoomName};
use tertulia::client::{Client, ClientConfig, ClientEvent, JournalState};
use tertulia::driver::{Clock, Driver, Ends, NodeCommand, find_ways, memory_journal, system_seed};
use tertulia::rng::SeededRng;
use tertulia::secure::{Accepted, Initiator, NodeIdentity, PublicKey};
use tertulia::wire::{Handshake, NodeCid, as_data};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::flood::{drops, queue_of};
use crate::support::process::Broker;
use crate::support::{PATIENCE, Scene, Stopwatch, now};

/// How many datagrams are sent before the broker has to have taken them all, where nothing is timed.
const BATCH: u64 = 64;
/// How many different datagrams a flood is made of; each comes from many addresses.
const MATERIAL: usize = 2_000;
/// How often a flood comes, and for how many seconds each time.
const ROUNDS: usize = 5;
const SECONDS: usize = 10;
/// By how much the broker's own memory may grow, in KiB: its tables of strangers and of networks.
const GROWTH_KIB_MAX: u64 = 4_096;

/// ADR-1, ADR-3, DLV-1, LIM-3, HSD-8.
#[test]
fn forged_hellos_and_data_cost_nobody_a_line() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut people = People::come_in(broker.address, 3);
    for material in [hellos(broker.address), data()] {
        let mut forger = Forger::new(broker.address, 2_000);
        let before = broker.process.anonymous_kib();
        let flood = thread::spawn(move || {
            forger.send_without_hurry(&material, 10_000);
            forger
        });
        people.talk(10, Duration::ZERO);
        let forger = flood.join().expect("the flood has come to its end");
        let after = broker.process.anonymous_kib();
        forger.has_got_less_than_it_sent();
        assert!(after < before + GROWTH_KIB_MAX, "{before} KiB, {after} KiB");
    }
    assert_eq!(queue_of(broker.address.port()).dropped, 0);
    drop(people);
    let drops = counted(broker);
    println!("{drops:?}");
    assert!(drops["cookie_missing"] > 9_000, "{drops:?}");
    assert!(drops["unknown_link"] > 9_000, "{drops:?}");
}

/// A million HELLOs, and a million packets, from a hundred thousand addresses, 20,000 a second:
/// `cargo test --release --test programs -- --ignored --nocapture a_million_forged`. Quiet seconds
/// and others come in turn, so that whatever else the machine does is in both.
#[test]
#[ignore = "takes minutes, and measures"]
fn a_million_forged_hellos_and_packets_are_hardly_felt() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut people = People::come_in(broker.address, 20);
    let pace = Duration::from_secs(1);
    people.talk(SECONDS, pace);
    let before = broker.process.anonymous_kib();
    let mut quiet = Vec::new();
    let mut floods =
        [("hellos", hellos(broker.address)), ("packets", data())].map(|(name, material)| Flood {
            name,
            material,
            forger: Forger::new(broker.address, 100_000),
            felt: Vec::new(),
        });
    for _ in 0..ROUNDS {
        quiet.extend(people.talk(SECONDS, pace));
        for flood in &mut floods {
            let felt = thread::scope(|scope| {
                scope.spawn(|| {
                    flood
                        .forger
                        .send_at(&flood.material, 20_000, SECONDS as u64)
                });
                people.talk(SECONDS, pace)
            });
            flood.felt.extend(felt);
        }
    }
    let after = broker.process.anonymous_kib();
    let dropped = queue_of(broker.address.port()).dropped;
    println!("the broker had {before} KiB, and then {after}; the system dropped {dropped}");
    let quiet = percentiles(quiet);
    println!("quiet: {quiet:?}");
    let floods = floods.map(|flood| (flood.name, flood.forger, percentiles(flood.felt)));
    for (name, forger, felt) in &floods {
        println!("{name}: {felt:?}; {forger}");
    }
    drop(people);
    println!("{:?}", counted(broker));
    assert!(after < before + GROWTH_KIB_MAX);
    for (name, forger, felt) in floods {
        forger.has_got_less_than_it_sent();
        assert!(felt[1] <= quiet[1] * 2, "{name}");
    }
}

/// What comes in between the quiet seconds, and how long lines took then.
struct Flood {
    name: &'static str,
    material: Vec<Bytes>,
    forger: Forger,
    felt: Vec<Duration>,
}

/// What the broker has counted when it ends.
fn counted(broker: Broker) -> BTreeMap<String, u64> {
    let left = broker.stop().exited_with(0);
    assert!(
        !left.stderr.contains("ERROR") && !left.stderr.contains("panic"),
        "{left:#?}"
    );
    drops(&left.stderr)
}

/// The median, the 99th and the 99.9th percentile.
fn percentiles(mut all: Vec<Duration>) -> [Duration; 3] {
    all.sort_unstable();
    [500, 990, 999].map(|permille| all[(all.len() - 1) * permille / 1_000])
}

// ---- those who forge

/// HELLOs of those who know the broker's key, and of those who do not, in turn.
fn hellos(broker: SocketAddr) -> Vec<Bytes> {
    let key = key_of(broker);
    let mut rng = SeededRng::new([7; 32]);
    let identity = NodeIdentity::generate(&mut rng);
    let mut hello = |number| {
        let cid = NodeCid::new(&rng.bytes::<4>()).expect("four bytes");
        let initiator = match number % 2 {
            0 => Initiator::known_broker(cid, key, &identity, rng.fork()),
            _ => Initiator::first_contact(cid, rng.fork()),
        };
        initiator.hello().clone()
    };
    (0..MATERIAL).map(&mut hello).collect()
}

/// Random data packets.
fn data() -> Vec<Bytes> {
    let mut rng = SeededRng::new([8; 32]);
    let mut packet = |_| {
        let mut bytes = vec![0; rng.range(30, 300) as usize];
        rng.fill(&mut bytes);
        bytes[0] = as_data(bytes[0]);
        bytes.into()
    };
    (0..MATERIAL).map(&mut packet).collect()
}

/// What everybody can learn who asks.
fn key_of(broker: SocketAddr) -> PublicKey {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let initiator = Initiator::first_contact(NodeCid::default(), [1; 32]);
    let sent = socket.send_to(initiator.hello(), broker);
    sent.expect("loopback takes it");
    let mut buffer = [0; 2_000];
    let len = socket.recv(&mut buffer).expect("an answer");
    let answer = Handshake::decode(&Bytes::copy_from_slice(&buffer[..len]));
    let Ok(Handshake::Accept(accept)) = answer else {
        panic!("{answer:?}");
    };
    match initiator.handle_accept(&accept) {
        Ok(Accepted::FirstContact(finisher)) => finisher.broker_key(),
        other => panic!("{other:?}"),
    }
}

/// Somebody who sends as many others.
struct Forger {
    broker: SocketAddr,
    socket: UdpSocket,
    state: UdpSocketState,
    addresses: u64,
    sent: u64,
    sent_bytes: u64,
    answers: u64,
    answered_bytes: u64,
}

impl Forger {
    fn new(broker: SocketAddr, addresses: u64) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
        socket.set_nonblocking(true).expect("a socket of its own");
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).expect("a UDP socket");
        Self {
            broker,
            socket,
            state,
            addresses,
            sent: 0,
            sent_bytes: 0,
            answers: 0,
            answered_bytes: 0,
        }
    }

    /// Sends so many, no faster than the broker takes them.
    fn send_without_hurry(&mut self, material: &[Bytes], datagrams: u64) {
        for number in 1..=datagrams {
            self.send_next(material);
            if number % BATCH == 0 || number == datagrams {
                while queue_of(self.broker.port()).waiting > 0 {
                    thread::yield_now();
                }
                self.take_answers();
            }
        }
    }

    /// Sends so many a second, for so long.
    fn send_at(&mut self, material: &[Bytes], per_second: u64, seconds: u64) {
        let begun = Stopwatch::start();
        let (before, total) = (self.sent, per_second * seconds);
        while self.sent < before + total {
            let due = begun.elapsed().as_micros() as u64 * per_second / 1_000_000;
            while self.sent < before + due.min(total) {
                self.send_next(material);
            }
            self.take_answers();
            // Nothing waits for this: what is late is made up for.
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn send_next(&mut self, material: &[Bytes]) {
        let [.., a, b, c] = (self.sent % self.addresses).to_be_bytes();
        let from = Ipv4Addr::new(127, a + 1, b, c);
        // Another one each time that the same address has its turn.
        let round = self.sent / self.addresses;
        let datagram = &material[(self.sent + round) as usize % material.len()];
        let transmit = Transmit {
            destination: self.broker,
            ecn: None,
            contents: datagram,
            segment_size: None,
            src_ip: Some(IpAddr::V4(from)),
        };
        loop {
            match self
                .state
                .try_send(UdpSockRef::from(&self.socket), &transmit)
            {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                Err(error) => panic!("loopback takes it: {error}"),
            }
        }
        self.sent += 1;
        self.sent_bytes += datagram.len() as u64;
    }

    fn take_answers(&mut self) {
        let mut buffer = [0; 2_000];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.answers += 1;
            self.answered_bytes += len as u64;
        }
    }

    /// HSD-8, RST-2.
    fn has_got_less_than_it_sent(&self) {
        assert!(
            self.answers > 0 && self.answered_bytes < self.sent_bytes,
            "{self}"
        );
    }
}

impl std::fmt::Display for Forger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            sent,
            sent_bytes,
            answers,
            answered_bytes,
            ..
        } = self;
        write!(
            f,
            "{sent} sent, {sent_bytes} bytes; {answers} answers, {answered_bytes} bytes"
        )
    }
}

// ---- those who talk

/// Nodes in one room, in this process: what they feel is not how fast many processes start.
struct People {
    runtime: tokio::runtime::Runtime,
    nodes: Vec<Ends<Client>>,
    /// By which lines are stamped.
    origin: Instant,
    /// How many lines each has said.
    said: usize,
}

impl People {
    fn come_in(broker: SocketAddr, count: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let nodes = runtime.block_on(async {
            let mut nodes = Vec::new();
            for number in 0..count {
                nodes.push(come_in(broker, number).await);
            }
            nodes
        });
        Self {
            runtime,
            nodes,
            origin: now(),
            said: 0,
        }
    }

    /// Everybody says so many lines, one each `pace`, and hears all of them, in one order. Returns
    /// how long each line took to each of them.
    fn talk(&mut self, lines: usize, pace: Duration) -> Vec<Duration> {
        let total = lines * self.nodes.len();
        let (origin, first) = (self.origin, self.said);
        self.said += lines;
        let count = self.nodes.len() as u32;
        let nodes = std::mem::take(&mut self.nodes);
        let mut talked: Vec<Talked> = self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for (number, ends) in nodes.into_iter().enumerate() {
                // They do not all speak at one moment.
                let offset = pace * number as u32 / count;
                let speaker = Speaker {
                    number,
                    lines: first..first + lines,
                    offset,
                    pace,
                };
                tasks.spawn(talk(ends, speaker, total, origin));
            }
            tasks.join_all().await
        });
        talked.sort_unstable_by_key(|talked| talked.number);
        let order = talked[0].heard.clone();
        for talked in &talked {
            assert_eq!(talked.heard, order);
        }
        for number in 0..talked.len() {
            let own = order.iter().filter(|(speaker, _)| *speaker == number);
            assert!(own.map(|(_, line)| *line).eq(first..first + lines));
        }
        let mut latencies = Vec::new();
        for talked in talked {
            latencies.extend(talked.latencies);
            self.nodes.push(talked.ends);
        }
        latencies
    }
}

/// A node, when it is in the room.
async fn come_in(broker: SocketAddr, number: usize) -> Ends<Client> {
    let ways = find_ways(&broker.ip().to_string(), broker.port()).await;
    let ways = ways.expect("a way to the broker");
    let mut rng = SeededRng::new(system_seed().expect("the system has randomness"));
    let identity = NodeIdentity::generate(&mut rng);
    let config = ClientConfig {
        paths: ways.paths,
        name: Name::new(&format!("person{number}")).expect("a name"),
        known: None,
        restored: JournalState::default(),
    };
    let clock = Clock::system();
    let mut client = Client::new(config, rng.fork(), clock.now());
    client.join(RoomName::default().into(), clock.now());
    let (driver, mut ends) = Driver::new(client, ways.sockets, memory_journal(), clock);
    tokio::spawn(driver.run());
    loop {
        match ends.events.recv().await.expect("the node runs") {
            ClientEvent::FirstContact(_) => {
                let command = NodeCommand::SetIdentity(Box::new(identity.clone()));
                ends.commands.send(command).await.expect("the node runs");
            }
            ClientEvent::Joined { .. } => return ends,
            _ => {}
        }
    }
}

/// What somebody has done and heard.
struct Talked {
    number: usize,
    ends: Ends<Client>,
    heard: Vec<(usize, usize)>,
    latencies: Vec<Duration>,
}

/// What somebody is to say.
struct Speaker {
    number: usize,
    lines: Range<usize>,
    /// When the first line is said.
    offset: Duration,
    pace: Duration,
}

async fn talk(
    mut ends: Ends<Client>,
    mut speaker: Speaker,
    total: usize,
    origin: Instant,
) -> Talked {
    let (mut heard, mut latencies) = (Vec::new(), Vec::new());
    let mut next = pin!(sleep(speaker.offset));
    while heard.len() < total {
        tokio::select! {
            () = &mut next, if !speaker.lines.is_empty() => {
                let line = speaker.lines.next().expect("there is one");
                let at = now().duration_since(origin).as_micros();
                let (reply, _) = oneshot::channel();
                let publish = NodeCommand::Publish {
                    room: RoomName::default(),
                    text: format!("{} {line} {at}", speaker.number).into(),
                    reply,
                };
                ends.commands.send(publish).await.expect("the node runs");
                let due = next.deadline() + speaker.pace;
                next.as_mut().reset(due);
            }
            event = ends.events.recv() => {
                let event = event.expect("the node runs");
                let ClientEvent::Line { line, .. } = event else {
                    continue;
                };
                let text = line.text();
                let mut words = text.split(' ').map(|word| word.parse::<u64>());
                let (Some(Ok(speaker)), Some(Ok(line)), Some(Ok(at))) =
                    (words.next(), words.next(), words.next())
                else {
                    continue;
                };
                heard.push((speaker as usize, line as usize));
                let arrived = now().duration_since(origin);
                latencies.push(arrived.saturating_sub(Duration::from_micros(at)));
            }
        }
    }
    Talked {
        number: speaker.number,
        ends,
        heard,
        latencies,
    }
}

//! A flood: random and mutated datagrams at a broker, while people talk.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::thread;

use tertulia::rng::SeededRng;
use tertulia::wire::{DATAGRAM_MAX, PROTOCOL_ID, is_data};

use crate::support::Scene;
use crate::support::relay::{Captured, Direction, Faults, Relay, drain};

/// How many strangers take part.
const STRANGERS: usize = 8;
/// How many datagrams are sent before the broker has to have taken them all: fewer than a
/// socket's buffer holds, so that the system drops none.
const BATCH: u64 = 64;
/// How many lines are said meanwhile.
const LINES: u64 = 20;
/// By how much the broker's own memory may grow after the warm-up, in KiB.
const GROWTH_KIB_MAX: u64 = 1_024;

/// BRK-4, LIM-3, SEC-6.
#[test]
fn a_flood_of_nonsense_is_counted_and_costs_neither_memory_nor_a_word() {
    flood(15_000, 45_000);
}

/// The same with a million: `cargo test --release --test programs -- --ignored a_million`.
#[test]
#[ignore = "takes minutes"]
fn a_million_datagrams_of_nonsense_cost_neither_memory_nor_a_word() {
    flood(50_000, 1_000_000);
}

fn flood(warm_up: u64, total: u64) {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let relay = Relay::start(broker.address, Faults::default(), 1);
    let mut eve = scene.join(relay.address, "eve");
    eve.type_line("a line");
    eve.shows("eve: a line");
    eve.type_line("q!");
    eve.finish().exited_with(0);
    let mut ada = scene.join(relay.address, "ada");
    let bob = scene.join(relay.address, "bob");
    ada.shows("SERVER: bob Joined!");
    let capture = relay.capture();
    let handshakes = hellos(&capture);
    // Of all kinds, and of a link that has ended and two that have not.
    let material = capture.into_iter().map(|c| c.bytes).collect();

    let mut strangers = Strangers::new(broker.address, material);
    strangers.send(warm_up);
    let before = broker.process.anonymous_kib();
    let mut said = Vec::new();
    for number in 1..=LINES {
        strangers.send((total - warm_up) / LINES);
        let line = format!("matter {number}");
        ada.type_line(&line);
        said.push(format!("ada: {line}"));
        bob.shows(&said[said.len() - 1]);
    }
    let after = broker.process.anonymous_kib();
    println!(
        "{} datagrams, {} answered; anonymous memory {before} KiB, then {after} KiB",
        strangers.sent, strangers.answered
    );
    assert!(after < before + GROWTH_KIB_MAX, "{before} KiB, {after} KiB");

    // Nobody noticed anything.
    let joined = "SERVER: bob Joined!".to_owned();
    let said: Vec<&str> = [&joined]
        .into_iter()
        .chain(&said)
        .map(String::as_str)
        .collect();
    bob.has_shown_exactly(&said);
    assert_eq!(hellos(&relay.capture()), handshakes);

    // Everything arrived, and is accounted for.
    let port = broker.address.port();
    assert_eq!(queue_of(port).dropped, 0, "the system dropped datagrams");
    drop((ada, bob));
    let left = broker.stop().exited_with(0);
    assert!(
        !left.stderr.contains("ERROR") && !left.stderr.contains("panic"),
        "{left:#?}"
    );
    let capture = relay.capture();
    let talked = capture
        .iter()
        .filter(|c| c.direction == Direction::ToBroker);
    let talked = talked.count() as u64;
    let received: u64 = after_last(&left.stderr, "received=")
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no count of what was received: {left:#?}"));
    let sent = strangers.sent + talked;
    assert!(
        (strangers.sent..=sent).contains(&received),
        "{received} of {sent}"
    );
    let drops = drops(&left.stderr);
    println!("{received} received; {drops:?}");
    // A handshake that made room was answered before, and one without a cookie by a RETRY.
    let answered = ["made_room", "cookie_missing", "cookie_wrong"];
    let answered = answered.iter().filter_map(|reason| drops.get(*reason));
    let dropped = drops.values().sum::<u64>() - answered.sum::<u64>();
    let accounted = dropped + strangers.answered;
    assert!(
        (strangers.sent..=strangers.sent + talked).contains(&accounted),
        "{accounted} of {}, {talked} of the conversation",
        strangers.sent
    );
}

fn hellos(capture: &[Captured]) -> usize {
    let is_hello = |c: &&Captured| c.direction == Direction::ToBroker && c.bytes[0] == 1;
    capture.iter().filter(is_hello).count()
}

/// Those who send nonsense.
struct Strangers {
    broker: SocketAddr,
    sockets: Vec<UdpSocket>,
    material: Vec<Vec<u8>>,
    rng: SeededRng,
    sent: u64,
    /// How many handshakes the broker answered.
    answered: u64,
}

impl Strangers {
    fn new(broker: SocketAddr, material: Vec<Vec<u8>>) -> Self {
        let socket = |_| UdpSocket::bind((broker.ip(), 0)).expect("a port of loopback");
        Self {
            broker,
            sockets: (0..STRANGERS).map(socket).collect(),
            material,
            rng: SeededRng::new([7; 32]),
            sent: 0,
            answered: 0,
        }
    }

    /// Sends so many, no faster than the broker takes them.
    fn send(&mut self, datagrams: u64) {
        for number in 1..=datagrams {
            let datagram = self.nonsense();
            let socket = &self.sockets[self.sent as usize % STRANGERS];
            let sent = socket.send_to(&datagram, self.broker);
            sent.expect("loopback takes it");
            self.sent += 1;
            if number % BATCH == 0 || number == datagrams {
                self.let_the_broker_catch_up();
            }
        }
    }

    fn let_the_broker_catch_up(&mut self) {
        while queue_of(self.broker.port()).waiting > 0 {
            thread::yield_now();
        }
        for socket in &self.sockets {
            let answers = drain(socket);
            let handshakes = answers.iter().filter(|a| !is_data(a[0]));
            self.answered += handshakes.count() as u64;
        }
    }

    /// Random bytes, or something real that is not quite itself any more.
    fn nonsense(&mut self) -> Vec<u8> {
        let kind = self.rng.range(0, 7);
        if kind == 0 {
            let mut bytes = vec![0; self.rng.range(1, DATAGRAM_MAX as u64 + 100) as usize];
            self.rng.fill(&mut bytes);
            return bytes;
        }
        let at = self.rng.range(0, self.material.len() as u64 - 1) as usize;
        let mut bytes = self.material[at].clone();
        match kind {
            // Replayed as it is.
            1 => return bytes,
            2 => bytes.truncate(self.rng.range(1, bytes.len() as u64) as usize),
            3 => {
                let mut more = vec![0; self.rng.range(1, 64) as usize];
                self.rng.fill(&mut more);
                bytes.extend(more);
            }
            _ => {
                for _ in 0..self.rng.range(1, 8) {
                    let place = self.rng.range(0, bytes.len() as u64 - 1) as usize;
                    bytes[place] ^= 1 << self.rng.range(0, 7);
                }
            }
        }
        // A checksum keeps nobody out who can compute it.
        if !is_data(bytes[0]) && bytes.len() > 4 && self.rng.range(0, 1) == 0 {
            let body = bytes.len() - 4;
            let mut crc = crc32fast::Hasher::new();
            crc.update(PROTOCOL_ID);
            crc.update(&bytes[..body]);
            bytes[body..].copy_from_slice(&crc.finalize().to_be_bytes());
        }
        bytes
    }
}

/// What the system says of a socket.
pub(super) struct Queue {
    /// Bytes that wait to be read.
    pub(super) waiting: u64,
    /// Datagrams for which there was no room.
    pub(super) dropped: u64,
}

/// The table moves under its reader while others open and close sockets, so that a row may be missed
/// in one reading, and is not in every one of many.
pub(super) fn queue_of(port: u16) -> Queue {
    let found = (0..1_000).find_map(|_| find_queue(port));
    found.expect("the broker listens")
}

fn find_queue(port: u16) -> Option<Queue> {
    let table = fs::read_to_string("/proc/net/udp").expect("Linux lists its sockets");
    let local = format!(":{port:04X}");
    let mut rows = table.lines().map(|row| row.split_whitespace().collect());
    let row = rows.find(|row: &Vec<&str>| row.get(1).is_some_and(|at| at.ends_with(&local)))?;
    let (_, waiting) = row[4].split_once(':').expect("two queues");
    Some(Queue {
        waiting: u64::from_str_radix(waiting, 16).expect("a number"),
        dropped: row[row.len() - 1].parse().expect("a number"),
    })
}

/// The counters as the broker logs them at its end, by reason.
pub(super) fn drops(log: &str) -> BTreeMap<String, u64> {
    let line = after_last(log, "drops=").lines().next().unwrap_or_default();
    let counters = line.split(", ").filter_map(|counter| {
        let (reason, count) = counter.trim().split_once(' ')?;
        Some((reason.to_owned(), count.parse().ok()?))
    });
    counters.collect()
}

fn after_last<'a>(text: &'a str, mark: &str) -> &'a str {
    text.rsplit_once(mark).map_or("", |(_, rest)| rest)
}

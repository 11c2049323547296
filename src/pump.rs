//! A broker, its store and some clients on a virtual network, for the tests of the machines.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::broker::{
    Broker, BrokerConfig, BrokerEvent, MemoryStore, StorageCompletion, StorageOutcome,
    StorageRequest,
};
use crate::chat::{
    ControlFromBroker, ControlFromNode, Join, Line, LogId, Name, Refusal, RoomFromBroker,
    RoomFromNode, RoomName, Start,
};
use crate::client::{Client, ClientConfig, ClientEvent, EndReason, JournalEntry, JournalState};
use crate::link::{CloseCode, CongestionControl, Link, LinkConfig, LinkEvent, Side};
use crate::rng::{Seed, SeededRng};
use crate::secure::{Accepted, BrokerIdentity, Initiator, NodeIdentity, PublicKey, ResetSecret};
use crate::time::Timestamp;
use crate::transmit::Path;
use crate::wire::{Handshake, NodeCid};

/// One-way latency of the virtual network, in ms.
pub(crate) const LATENCY_MS: u64 = 20;
/// What the wall clock says at the beginning, in ms.
pub(crate) const EPOCH_MS: u64 = 1_790_000_000_000;

/// Who a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Broker,
    Client(usize),
}

/// A client as its owner sees it.
pub(crate) struct Node {
    pub(crate) client: Client,
    pub(crate) name: Name,
    pub(crate) account_secret: [u8; 32],
    pub(crate) identity: NodeIdentity,
    pub(crate) path: Path,
    /// Where the broker sees it.
    pub(crate) seen_at: Path,
    pub(crate) events: Vec<ClientEvent>,
    /// The broker key that it was shown at first contact.
    pub(crate) learned: Option<PublicKey>,
    /// Whether datagrams from and to it get through.
    pub(crate) connected: bool,
    /// While set, nothing is journaled.
    pub(crate) journal_stalled: bool,
    /// What is journaled, all of it durable.
    pub(crate) journal: JournalState,
    /// After so many more entries nothing is journaled any more.
    pub(crate) entries_left: Option<usize>,
    /// The lines in the journal.
    pub(crate) journaled_lines: Vec<Line>,
}

/// Everything, at one virtual time.
pub(crate) struct Pump {
    pub(crate) now: Timestamp,
    pub(crate) broker: Broker,
    pub(crate) broker_secret: [u8; 32],
    pub(crate) store: MemoryStore,
    /// While set, the store does not answer.
    pub(crate) store_stalled: bool,
    /// How much the store was asked.
    pub(crate) asked: u64,
    pub(crate) stalled: Vec<StorageRequest>,
    pub(crate) broker_events: Vec<BrokerEvent>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) rng: SeededRng,
    in_flight: BTreeMap<(Timestamp, u64), (End, Path, Bytes)>,
    sent: u64,
    raw_path: Option<Path>,
    raw_inbox: Vec<Bytes>,
    /// Everything that was sent, for those who watch.
    pub(crate) seen: Vec<(End, Bytes)>,
}

pub(crate) fn lobby() -> RoomName {
    RoomName::default()
}

impl Pump {
    pub(crate) fn new() -> Self {
        let broker_secret = [9; 32];
        let log = LogId([1; 16]);
        let mut pump = Self {
            now: Timestamp::from_millis(1_000),
            broker: new_broker(broker_secret, log, 1),
            broker_secret,
            store: MemoryStore::new(log),
            store_stalled: false,
            asked: 0,
            stalled: Vec::new(),
            broker_events: Vec::new(),
            nodes: Vec::new(),
            rng: SeededRng::new([5; 32]),
            in_flight: BTreeMap::new(),
            sent: 0,
            raw_path: None,
            raw_inbox: Vec::new(),
            seen: Vec::new(),
        };
        pump.broker.set_wall_clock(EPOCH_MS, pump.now);
        pump
    }

    /// A pump with clients called `names`, all in the lobby.
    pub(crate) fn with(names: &[&str]) -> Self {
        let mut pump = Self::new();
        for name in names {
            let node = pump.add(name);
            pump.nodes[node].client.join(lobby().into(), pump.now);
            pump.run_ms(500);
        }
        pump
    }

    /// The broker's process dies, and another one with the same key begins with the same store.
    pub(crate) fn crash_broker(&mut self) {
        let log = self.store.log_id();
        let seed = self.rng.fork()[0];
        self.broker = new_broker(self.broker_secret, log, seed);
        self.broker
            .set_wall_clock(EPOCH_MS + self.now.as_millis(), self.now);
        self.stalled.clear();
        self.in_flight.clear();
    }

    /// The broker's process ends, and another one with the same key begins with an empty store.
    pub(crate) fn restart_broker(&mut self, log: LogId) {
        self.broker = new_broker(self.broker_secret, log, log.0[0]);
        self.broker
            .set_wall_clock(EPOCH_MS + self.now.as_millis(), self.now);
        self.store = MemoryStore::new(log);
        self.stalled.clear();
        self.in_flight.clear();
    }

    /// The network loses all that is on its way.
    pub(crate) fn lose_all(&mut self) {
        self.in_flight.clear();
    }

    /// Hands a datagram to a node as if it came from `path`.
    pub(crate) fn inject_to(&mut self, node: usize, path: Path, datagram: &[u8]) {
        let client = &mut self.nodes[node].client;
        client.handle_datagram(path, BytesMut::from(datagram), self.now);
        self.settle();
    }

    /// A node with a new identity, on its first contact.
    pub(crate) fn add(&mut self, name: &str) -> usize {
        let (account, device) = (self.rng.bytes(), self.rng.bytes());
        let node = self.add_known(name, NodeIdentity::from_secrets(account, device), None);
        self.nodes[node].account_secret = account;
        node
    }

    /// A node with this identity, which knows the broker or not.
    pub(crate) fn add_known(
        &mut self,
        name: &str,
        identity: NodeIdentity,
        broker: Option<PublicKey>,
    ) -> usize {
        let index = self.nodes.len();
        let port = 1_000 + u16::try_from(index).expect("few nodes");
        let path = Path::new(([10, 0, 0, 1], port).into());
        let name = Name::new(name).expect("a valid name");
        let known = broker.map(|key| (key, identity.clone()));
        let config = ClientConfig {
            paths: vec![path],
            name: name.clone(),
            known,
            restored: JournalState::default(),
        };
        let client = Client::new(config, self.rng.fork(), self.now);
        self.nodes.push(Node {
            client,
            name,
            account_secret: [0; 32],
            identity,
            path,
            seen_at: path,
            events: Vec::new(),
            learned: None,
            connected: true,
            journal_stalled: false,
            journal: JournalState::default(),
            entries_left: None,
            journaled_lines: Vec::new(),
        });
        index
    }

    /// The node's process is killed, and another one begins with what `journal` holds.
    pub(crate) fn restart_node(&mut self, node: usize, journal: JournalState) {
        let seed = self.rng.fork();
        let (now, broker) = (self.now, self.broker.public_key());
        let node = &mut self.nodes[node];
        let config = ClientConfig {
            paths: vec![node.path],
            name: node.name.clone(),
            known: Some((broker, node.identity.clone())),
            restored: journal.clone(),
        };
        node.client = Client::new(config, seed, now);
        node.journal = journal;
        node.journal_stalled = false;
        node.entries_left = None;
    }

    pub(crate) fn say(&mut self, node: usize, text: &str) {
        let typed_at_ms = EPOCH_MS + self.now.as_millis();
        let client = &mut self.nodes[node].client;
        client
            .publish(&lobby(), text.as_bytes(), typed_at_ms, self.now)
            .expect("published");
    }

    /// The texts that `node` has been handed.
    pub(crate) fn heard(&self, node: usize) -> Vec<String> {
        self.nodes[node].heard()
    }

    /// Runs for this long.
    pub(crate) fn run_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        self.settle();
        let mut turns = 0;
        while let Some(next) = self.next_time().filter(|next| *next <= end) {
            turns = if next > self.now { 0 } else { turns + 1 };
            assert!(
                turns < 1_000,
                "busy at {}: {:?}",
                self.now,
                self.deadlines()
            );
            self.now = self.now.max(next);
            self.deliver();
            self.broker.handle_timeout(self.now);
            for node in &mut self.nodes {
                node.client.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    /// Answers what the store was asked while it was stalled.
    pub(crate) fn resume_store(&mut self) {
        self.store_stalled = false;
        for request in core::mem::take(&mut self.stalled) {
            let completion = self.store.handle(request);
            self.broker.handle_storage(completion, self.now);
        }
        self.settle();
    }

    /// The store could do nothing of what it was asked while it was stalled.
    pub(crate) fn fail_stalled(&mut self) {
        for StorageRequest { id, .. } in core::mem::take(&mut self.stalled) {
            let outcome = StorageOutcome::Failed;
            self.broker
                .handle_storage(StorageCompletion { id, outcome }, self.now);
        }
        self.settle();
    }

    /// Hands a datagram to the broker as if it came from `path`.
    pub(crate) fn inject(&mut self, path: Path, datagram: &[u8]) {
        self.broker
            .handle_datagram(path, BytesMut::from(datagram), self.now);
        self.settle();
    }

    fn next_time(&self) -> Option<Timestamp> {
        let flying = self.in_flight.keys().next().map(|(at, _)| *at);
        let broker = self.broker.poll_timeout().map(|deadline| deadline.at);
        let clients = self
            .nodes
            .iter()
            .filter_map(|n| n.client.poll_timeout())
            .map(|d| d.at);
        clients.chain(flying).chain(broker).min()
    }

    /// How many datagrams were sent so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// What everybody waits for, to explain a busy loop.
    fn deadlines(&self) -> String {
        let clients = self.nodes.iter().map(|node| node.client.poll_timeout());
        format!(
            "{:?} {:?}",
            self.broker.poll_timeout(),
            clients.collect::<Vec<_>>()
        )
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.in_flight.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, path, datagram) = entry.remove();
            let datagram = BytesMut::from(&datagram[..]);
            match to {
                End::Broker => self.broker.handle_datagram(path, datagram, self.now),
                End::Client(index) if self.nodes[index].hears_at(path) => {
                    let node = &mut self.nodes[index];
                    node.client.handle_datagram(node.path, datagram, self.now);
                }
                End::Client(_) => {}
            }
        }
    }

    /// Drains every machine until nobody has anything more to do at this time.
    fn settle(&mut self) {
        loop {
            let before = self.sent;
            let mut busy = false;
            let mut out = Vec::new();
            while let Some(transmit) = self.broker.poll_transmit(self.now, &mut out) {
                let index = self
                    .nodes
                    .iter()
                    .position(|node| node.seen_at == transmit.path);
                for datagram in transmit.datagrams(&out) {
                    if self.raw_path == Some(transmit.path) {
                        self.raw_inbox.push(Bytes::copy_from_slice(datagram));
                    }
                    if let Some(index) = index {
                        self.send(End::Client(index), index, transmit.path, datagram);
                    }
                }
                out.clear();
            }
            while let Some(request) = self.broker.poll_storage() {
                busy = true;
                self.asked += 1;
                if self.store_stalled {
                    self.stalled.push(request);
                } else {
                    let completion = self.store.handle(request);
                    self.broker.handle_storage(completion, self.now);
                }
            }
            while let Some(event) = self.broker.poll_event() {
                self.broker_events.push(event);
            }
            for index in 0..self.nodes.len() {
                busy |= self.settle_node(index, &mut out);
            }
            if !busy && self.sent == before {
                return;
            }
        }
    }

    fn settle_node(&mut self, index: usize, out: &mut Vec<u8>) -> bool {
        let mut busy = false;
        while let Some(transmit) = self.nodes[index].client.poll_transmit(self.now, out) {
            for datagram in transmit.datagrams(out) {
                let from = self.nodes[index].seen_at;
                self.send(End::Broker, index, from, datagram);
            }
            out.clear();
        }
        let node = &mut self.nodes[index];
        while !node.journal_stalled
            && node.entries_left != Some(0)
            && let Some(request) = node.client.poll_journal()
        {
            busy = true;
            if let Some(left) = &mut node.entries_left {
                *left -= 1;
            }
            if let JournalEntry::Received { line, .. } = &request.entry {
                node.journaled_lines.push((**line).clone());
            }
            node.journal.apply(request.entry);
            node.client.handle_journaled(request.id, self.now);
        }
        while let Some(event) = node.client.poll_event() {
            busy = true;
            if let ClientEvent::FirstContact(key) = event {
                node.learned = Some(key);
                node.client.set_identity(node.identity.clone(), self.now);
            }
            node.events.push(event);
        }
        busy
    }

    fn send(&mut self, to: End, node: usize, path: Path, datagram: &[u8]) {
        self.sent += 1;
        self.seen.push((to, Bytes::copy_from_slice(datagram)));
        if self.nodes[node].connected {
            let at = self.now + Duration::from_millis(LATENCY_MS);
            let datagram = Bytes::copy_from_slice(datagram);
            self.in_flight.insert((at, self.sent), (to, path, datagram));
        }
    }
}

impl Node {
    /// Whether what was sent to `path` gets through.
    fn hears_at(&self, path: Path) -> bool {
        self.connected && self.seen_at == path
    }

    /// The texts that it has been handed.
    pub(crate) fn heard(&self) -> Vec<String> {
        let lines = self.events.iter().filter_map(|event| match event {
            ClientEvent::Line { line, .. } if line.kind == crate::chat::Kind::Message => {
                Some(format!("{}: {}", line.name, line.text()))
            }
            _ => None,
        });
        lines.collect()
    }

    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<&EndReason> {
        self.events.iter().find_map(|event| match event {
            ClientEvent::Ended(reason) => Some(reason),
            _ => None,
        })
    }

    /// The notices that it has been handed.
    pub(crate) fn notices(&self) -> Vec<String> {
        let notices = self.events.iter().filter_map(|event| match event {
            ClientEvent::Notice { event, name, .. } => Some(format!("{name} {event:?}")),
            _ => None,
        });
        notices.collect()
    }
}

fn new_broker(secret: [u8; 32], log: LogId, seed: u8) -> Broker {
    let identity = BrokerIdentity::from_secret(secret);
    let config = BrokerConfig {
        reset_secret: Some(ResetSecret::new([4; 32])),
        ..BrokerConfig::default()
    };
    Broker::new(config, identity, log, [seed; 32])
}

/// A link to the broker that a test drives by hand, to say what no client would.
pub(crate) struct RawLink {
    pub(crate) link: Link,
    path: Path,
    received: Vec<(u8, Bytes)>,
    closed: Option<CloseCode>,
}

impl RawLink {
    pub(crate) fn closed_with(&self, code: CloseCode) -> bool {
        self.closed == Some(code)
    }

    /// What the broker said on the control channel, in its order.
    pub(crate) fn control(&self) -> Vec<ControlFromBroker> {
        let control = self.received.iter().filter(|(channel, _)| *channel == 0);
        let said = control.map(|(_, data)| ControlFromBroker::decode(data).expect("well-formed"));
        said.collect()
    }

    /// What the broker refused, in its order.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let rooms = self.received.iter().filter(|(channel, _)| *channel > 0);
        let refusals = rooms.filter_map(|(_, data)| match RoomFromBroker::decode(data) {
            Ok(
                RoomFromBroker::NotStored { code, .. } | RoomFromBroker::JoinRefused { code, .. },
            ) => Some(code),
            _ => None,
        });
        refusals.collect()
    }
}

impl Pump {
    /// A HELLO, of a node that knows the broker or not.
    pub(crate) fn hello(&mut self, seed: Seed, known: bool) -> Bytes {
        self.initiator(seed, known).hello().clone()
    }

    /// A node at the beginning of its handshake.
    pub(crate) fn initiator(&mut self, seed: Seed, known: bool) -> Initiator {
        let cid = NodeCid::new(&seed[..4]).expect("four bytes");
        if known {
            let identity = NodeIdentity::generate(&mut self.rng);
            Initiator::known_broker(cid, self.broker.public_key(), &identity, seed)
        } else {
            Initiator::first_contact(cid, seed)
        }
    }

    /// What the broker answers at once to a datagram that comes over `path`.
    pub(crate) fn answer(&mut self, path: Path, datagram: &[u8]) -> Option<Bytes> {
        self.broker
            .handle_datagram(path, BytesMut::from(datagram), self.now);
        let mut out = Vec::new();
        self.broker.poll_transmit(self.now, &mut out)?;
        Some(out.into())
    }

    /// The HELLO of a node that has proved to be at `path`, or its first one if nobody asked for a
    /// proof: then the broker has had it.
    pub(crate) fn proved_hello(&mut self, path: Path, seed: Seed, known: bool) -> Bytes {
        let initiator = self.initiator(seed, known);
        let answer = self.answer(path, initiator.hello()).expect("an answer");
        match Handshake::decode(&answer) {
            Ok(Handshake::Retry(retry)) => initiator
                .answer_retry(initiator.hello(), &retry)
                .expect("it is for this HELLO"),
            _ => initiator.hello().clone(),
        }
    }

    /// A confirmed link of a fresh identity, with nothing said on it.
    pub(crate) fn raw_link(&mut self) -> RawLink {
        let identity = NodeIdentity::generate(&mut self.rng);
        self.raw_link_of(identity)
    }

    /// A confirmed link of this identity, with nothing said on it.
    pub(crate) fn raw_link_of(&mut self, identity: NodeIdentity) -> RawLink {
        let path = Path::new(([10, 7, 7, 7], 7).into());
        let cid = NodeCid::new(&[1, 2, 3, 4]).expect("four bytes");
        let key = self.broker.public_key();
        let initiator = Initiator::known_broker(cid, key, &identity, self.rng.fork());
        self.broker
            .handle_datagram(path, BytesMut::from(&initiator.hello()[..]), self.now);
        let mut out = Vec::new();
        self.broker
            .poll_transmit(self.now, &mut out)
            .expect("an ACCEPT");
        let Ok(Handshake::Accept(accept)) = Handshake::decode(&out.into()) else {
            panic!("not an ACCEPT");
        };
        let Ok(Accepted::Established(established)) = initiator.handle_accept(&accept) else {
            panic!("not accepted");
        };
        let config = LinkConfig {
            side: Side::Node,
            local_cid: cid.into(),
            remote_cid: established.broker.cid.into(),
            reset_token: Some(established.broker.reset_token),
            path,
            secrets: established.secrets,
            seed: self.rng.fork(),
            idle_timeout: Duration::from_secs(60),
            keepalive: LinkConfig::NODE_KEEPALIVE,
            suspect_after: None,
            congestion: CongestionControl::default(),
        };
        let link = Link::new(config, self.now);
        RawLink {
            link,
            path,
            received: Vec::new(),
            closed: None,
        }
    }

    /// Signs a raw link in, and says goodbye without having joined anything.
    pub(crate) fn bye_raw(&mut self, raw: &mut RawLink, name: &str) {
        let sign_in = ControlFromNode::SignIn {
            name: name.into(),
            invite: None,
        };
        raw.link.send(0, sign_in.encode(), self.now).expect("open");
        self.run_raw(raw, 100);
        raw.link
            .send(0, ControlFromNode::Bye.encode(), self.now)
            .expect("open");
        self.run_raw(raw, 100);
    }

    /// Signs a raw link in, and joins the lobby on channel 1.
    pub(crate) fn enter_raw(&mut self, raw: &mut RawLink, name: &str) {
        let sign_in = ControlFromNode::SignIn {
            name: name.into(),
            invite: None,
        };
        raw.link
            .send(0, sign_in.encode(), self.now)
            .expect("an open link");
        self.run_raw(raw, 100);
        let join = RoomFromNode::Join(Join {
            room: "lobby".into(),
            quiet: false,
            history: 0,
            presence: 0,
            start: Start::Tail,
        });
        raw.link
            .send(1, join.encode(), self.now)
            .expect("an open link");
        self.run_raw(raw, 100);
    }

    /// Runs for this long, with `raw` connected to the broker without latency.
    pub(crate) fn run_raw(&mut self, raw: &mut RawLink, ms: u64) {
        for _ in 0..ms {
            raw.link.handle_timeout(self.now);
            let mut out = Vec::new();
            while let Some(transmit) = raw.link.poll_transmit(self.now, &mut out) {
                for datagram in transmit.datagrams(&out) {
                    self.broker
                        .handle_datagram(raw.path, BytesMut::from(datagram), self.now);
                }
                out.clear();
            }
            self.raw_inbox.clear();
            self.raw_path = Some(raw.path);
            self.run_ms(1);
            for datagram in core::mem::take(&mut self.raw_inbox) {
                // A link that has ended drops what still comes.
                let _ = raw
                    .link
                    .handle_datagram(raw.path, BytesMut::from(&datagram[..]), self.now);
            }
            while let Some(event) = raw.link.poll_event() {
                match event {
                    LinkEvent::Message { channel, data } => raw.received.push((channel, data)),
                    LinkEvent::Closed { code, .. } => raw.closed = Some(code),
                    LinkEvent::Silent | LinkEvent::Reset | LinkEvent::CidRetired { .. } => {}
                }
            }
        }
    }
}

//! A node and the broker that has turned against it, on a path of their own that loses nothing.
//!
//! The node is the real machine with a journal. When it ends it is started again from that, as a
//! person would start a program again, and goes on to say something now and then.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tertulia::chat::{Name, RoomName};
use tertulia::client::{Asker, Client, ClientConfig, ClientEvent, EndReason, JournalState};
use tertulia::rng::SeededRng;
use tertulia::secure::{AccountKey, DeviceKey, NodeIdentity};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;

use super::liar::Liar;
use crate::fate::{Dice, mix};
use crate::history::{Life, Observation, Victim};
use crate::memory;
use crate::plan::Lie;
use crate::world::{seed_of, successor};

/// How long a datagram is under way.
const LATENCY: Duration = Duration::from_millis(20);
/// How often both have a turn.
const TICK: Duration = Duration::from_millis(200);
/// How long after its end the node is started again.
const AGAIN_AFTER: Duration = Duration::from_millis(700);
/// More inputs than these at one moment are a busy loop.
const SPIN_MAX: u32 = 10_000;

/// The two.
pub(crate) struct Pair {
    seed: u64,
    index: usize,
    liar: Liar,
    dice: Dice,
    identity: NodeIdentity,
    journal: JournalState,
    room: RoomName,
    client: Option<Client>,
    life: Life,
    starts_at: Timestamp,
    ticks_at: Timestamp,
    ends_at: Timestamp,
    to_liar: VecDeque<(Timestamp, Vec<u8>)>,
    to_node: VecDeque<(Timestamp, Vec<u8>)>,
    typed: u64,
    seen: Vec<Observation>,
    held: u64,
    spinning: (Timestamp, u32),
}

impl Pair {
    pub(crate) fn new(
        seed: u64,
        index: usize,
        lies: &[Lie],
        from: Timestamp,
        ends_at: Timestamp,
    ) -> Self {
        let number = index as u64;
        let mut rng = SeededRng::new(seed_of(seed, "victim", number));
        let room = RoomName::new("den").expect("a valid name");
        let liar = Liar::new(
            SeededRng::new(seed_of(seed, "liar", number)),
            Dice::new(mix(seed, 0x11a6 + number)),
            room.clone(),
            lies.to_vec(),
        );
        Self {
            seed,
            index,
            liar,
            dice: Dice::new(mix(seed, 0x71c7 + number)),
            identity: NodeIdentity::generate(&mut rng),
            journal: JournalState::default(),
            room,
            client: None,
            life: Life {
                client: index,
                life: 0,
            },
            starts_at: from,
            ticks_at: from,
            ends_at,
            to_liar: VecDeque::new(),
            to_node: VecDeque::new(),
            typed: 0,
            seen: Vec::new(),
            held: 0,
            spinning: (from, 0),
        }
    }

    /// The victim's first keys.
    pub(crate) fn keys(&self) -> (AccountKey, DeviceKey) {
        (self.identity.account(), self.identity.device())
    }

    /// When something is to happen next, if anything is.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let first = |queue: &VecDeque<(Timestamp, Vec<u8>)>| queue.front().map(|(at, _)| *at);
        let node = match &self.client {
            Some(client) => client.poll_timeout().map(|deadline| deadline.at),
            None => Some(self.starts_at),
        };
        let all = [
            first(&self.to_liar),
            first(&self.to_node),
            node,
            Some(self.ticks_at),
        ];
        let next = all.into_iter().flatten().min();
        next.filter(|at| *at < self.ends_at)
    }

    /// Does what is due, and returns what was seen of the node.
    pub(crate) fn go_on(&mut self, now: Timestamp) -> Vec<Observation> {
        self.spinning = match self.spinning.0 == now {
            true => (now, self.spinning.1 + 1),
            false => (now, 0),
        };
        assert!(self.spinning.1 < SPIN_MAX, "a victim's busy loop at {now}");
        if self.client.is_none() && self.starts_at <= now {
            self.start(now);
        }
        while let Some((_, datagram)) = self.to_node.pop_front_if(|(at, _)| *at <= now) {
            self.with_client(now, |client, path| {
                client.handle_datagram(path, BytesMut::from(&datagram[..]), now);
            });
        }
        while let Some((_, datagram)) = self.to_liar.pop_front_if(|(at, _)| *at <= now) {
            self.liar.hear(&datagram);
        }
        let is_due = |client: &Client| client.poll_timeout().is_some_and(|d| d.at <= now);
        if self.client.as_ref().is_some_and(is_due) {
            self.with_client(now, |client, _| client.handle_timeout(now));
        }
        if self.ticks_at <= now {
            self.ticks_at = now + TICK;
            self.liar.tick(now);
            self.do_something(now);
        }
        let lies = self.liar.told;
        for datagram in self.liar.datagrams(now) {
            self.to_node.push_back((now + LATENCY, datagram));
        }
        if lies > 0 {
            self.liar.told = 0;
            situation::meet(Situation::BrokerLied);
        }
        core::mem::take(&mut self.seen)
    }

    /// What the node has in the end.
    pub(crate) fn finish(&mut self) -> Observation {
        self.kept()
    }

    fn kept(&self) -> Observation {
        let rooms = self.journal.rooms.values();
        let waiting = rooms
            .flat_map(|room| room.waiting.keys().copied())
            .collect();
        Observation::Victim(self.life, Victim::Keeps(waiting))
    }

    fn see(&mut self, what: Victim) {
        self.seen.push(Observation::Victim(self.life, what));
    }

    // ---- the node

    fn start(&mut self, now: Timestamp) {
        let config = ClientConfig {
            paths: vec![Path::new(([10, 5, 0, 1], 7_000).into())],
            name: Name::new("victim").expect("a valid name"),
            known: Some((self.liar.key(), self.identity.clone())),
            restored: self.journal.clone(),
        };
        let number = (self.index * 1_000 + self.life.life) as u64;
        let seed = seed_of(self.seed, "victim's node", number);
        let room = self.room.clone();
        let client = memory::of_node(|| {
            let mut client = Client::new(config, seed, now);
            client.join(room.into(), now);
            client
        });
        self.client = Some(client);
        let rooms = self.journal.rooms.iter();
        let cursors = rooms.filter_map(|(room, state)| {
            let (log, base) = state.cursor?;
            Some((room.clone(), log, base.seq))
        });
        let cursors = cursors.collect();
        self.see(Victim::Born(cursors));
        let kept = self.kept();
        self.seen.push(kept);
        self.drain(now);
    }

    /// What a person does with it.
    fn do_something(&mut self, now: Timestamp) {
        let room = self.room.clone();
        match self.dice.range(0, 9) {
            0..=3 => {
                self.typed += 1;
                let text = format!("victim says {}", self.typed);
                let typed_at_ms = self.typed;
                let (at, life) = (self.seen.len(), self.life);
                let typed = self.with_client(now, |client, _| {
                    let handle = client.publish(&room, text.as_bytes(), typed_at_ms, now);
                    let handle = handle.ok()?;
                    client.watch(handle);
                    Some(handle)
                });
                // What was typed comes before whatever came of it at once.
                if let Some(handle) = typed.flatten() {
                    let typed = Observation::Victim(life, Victim::Typed(handle));
                    self.seen.insert(at, typed);
                }
            }
            4 => {
                let count = self.dice.range(1, 20);
                let (at, life) = (self.seen.len(), self.life);
                let asked = self.with_client(now, |client, _| {
                    client.ask_history(&room, 0, count, Asker::Node, now)
                });
                if asked == Some(true) {
                    let asked = Observation::Victim(life, Victim::AskedHistory(count));
                    self.seen.insert(at, asked);
                }
            }
            5 => {
                self.with_client(now, |client, _| client.ask_who(&room, now));
            }
            6 => {
                // Who was shown out comes back.
                self.with_client(now, |client, _| client.join(room.into(), now));
            }
            _ => {}
        }
    }

    fn with_client<T>(
        &mut self,
        now: Timestamp,
        what: impl FnOnce(&mut Client, Path) -> T,
    ) -> Option<T> {
        let path = Path::new(([10, 5, 0, 1], 7_000).into());
        let client = self.client.as_mut()?;
        let result = memory::of_node(|| what(client, path));
        self.drain(now);
        Some(result)
    }

    fn drain(&mut self, now: Timestamp) {
        while self.drain_once(now) {}
        if let Some(held) = memory::held_by_nodes().filter(|held| *held > self.held) {
            self.held = held;
            self.see(Victim::Holds(held));
        }
    }

    fn drain_once(&mut self, now: Timestamp) -> bool {
        let Some(client) = &mut self.client else {
            return false;
        };
        let mut out = Vec::new();
        while let Some(transmit) = memory::of_node(|| client.poll_transmit(now, &mut out)) {
            for datagram in transmit.datagrams(&out) {
                self.to_liar.push_back((now + LATENCY, datagram.to_vec()));
            }
            out.clear();
        }
        let mut went_on = false;
        while let Some(request) = client.poll_journal() {
            went_on = true;
            self.journal.apply(request.entry);
            memory::of_node(|| client.handle_journaled(request.id, now));
        }
        while let Some(event) = client.poll_event() {
            went_on = true;
            let event = copy(event);
            let life = self.life;
            if let ClientEvent::Ended(reason) = &event {
                let reason = reason.clone();
                self.seen
                    .push(Observation::Victim(life, Victim::Told(Box::new(event))));
                self.end(&reason, now);
                return false;
            }
            self.seen
                .push(Observation::Victim(life, Victim::Told(Box::new(event))));
        }
        went_on
    }

    fn end(&mut self, reason: &EndReason, now: Timestamp) {
        situation::meet(Situation::VictimEnded);
        self.client = None;
        self.starts_at = now + AGAIN_AFTER;
        self.life.life += 1;
        if let EndReason::Retired { .. } = reason {
            let device = seed_of(self.seed, "device", self.life.life as u64);
            self.identity = successor(&self.identity, device);
            self.journal.change_device();
        }
    }
}

/// The event, sharing no memory with the node.
fn copy(mut event: ClientEvent) -> ClientEvent {
    if let ClientEvent::Line { line, .. } | ClientEvent::Past { line, .. } = &mut event {
        line.body = Bytes::copy_from_slice(&line.body);
    }
    event
}

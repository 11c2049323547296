//! A node and the broker that has turned against it, on a path of their own that loses nothing.
//!
//! The node is the real machine with a journal. When it ends it is started again from that, as a
//! person would start a program again, and goes on to say something now and then.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tertulia::chat::{Name, RoomName};
use tertulia::client::{Asker, Client, ClientConfig, ClientEvent, EndReason, JournalState};
use tertulia::rng::{Seed, SeededRng};
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
pub(crate) const LATENCY: Duration = Duration::from_millis(20);
/// How often both have a turn.
pub(crate) const TICK: Duration = Duration::from_millis(200);
/// How long after its end the node is started again.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_millis(700);
/// More inputs than these at one moment are a busy loop.
const SPIN_MAX: u32 = 10_000;

/// Where they meet.
///
/// # Panics
///
/// Never: it is a name.
pub(crate) fn den() -> RoomName {
    RoomName::new("den").expect("a valid name")
}

/// Who the node is at first.
pub(crate) fn victim(seed: u64, index: usize) -> NodeIdentity {
    let mut rng = SeededRng::new(seed_of(seed, "victim", index as u64));
    NodeIdentity::generate(&mut rng)
}

/// Who it is that goes on as another device, in this one of its lives.
pub(crate) fn next_victim(victim: &NodeIdentity, seed: u64, life: usize) -> NodeIdentity {
    successor(victim, seed_of(seed, "device", life as u64))
}

/// The seed of one of its lives.
pub(crate) fn seed_of_victim(seed: u64, index: usize, life: usize) -> Seed {
    let number = (index * 1_000 + life) as u64;
    seed_of(seed, "victim's node", number)
}

/// What decides what its person does.
pub(crate) fn whims(seed: u64, index: usize) -> Dice {
    Dice::new(mix(seed, 0x71c7 + index as u64))
}

/// What a person does with it in a turn.
pub(crate) enum Whim {
    /// Says something.
    Say,
    /// Asks for so many earlier lines.
    AskHistory(u64),
    /// Asks who is there.
    AskWho,
    /// Comes in again: who was shown out comes back.
    Join,
    /// Nothing.
    Nothing,
}

impl Whim {
    /// The next one.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        match dice.range(0, 9) {
            0..=3 => Self::Say,
            4 => Self::AskHistory(dice.range(1, 20)),
            5 => Self::AskWho,
            6 => Self::Join,
            _ => Self::Nothing,
        }
    }
}

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
        Self {
            seed,
            index,
            liar: Liar::of(seed, index, lies),
            dice: whims(seed, index),
            identity: victim(seed, index),
            journal: JournalState::default(),
            room: den(),
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
        Observation::Victim(self.life, keeps(&self.journal))
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
        let seed = seed_of_victim(self.seed, self.index, self.life.life);
        let room = self.room.clone();
        let client = memory::of_node(|| {
            let mut client = Client::new(config, seed, now);
            client.join(room.into(), now);
            client
        });
        self.client = Some(client);
        self.see(begins(&self.journal));
        let kept = self.kept();
        self.seen.push(kept);
        self.drain(now);
    }

    /// What a person does with it.
    fn do_something(&mut self, now: Timestamp) {
        let room = self.room.clone();
        match Whim::draw(&mut self.dice) {
            Whim::Say => {
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
            Whim::AskHistory(count) => {
                let (at, life) = (self.seen.len(), self.life);
                let asked = self.with_client(now, |client, _| {
                    client.ask_history(&room, 0, count, Asker::Node, now)
                });
                if asked == Some(true) {
                    let asked = Observation::Victim(life, Victim::AskedHistory(count));
                    self.seen.insert(at, asked);
                }
            }
            Whim::AskWho => {
                self.with_client(now, |client, _| client.ask_who(&room, now));
            }
            Whim::Join => {
                self.with_client(now, |client, _| client.join(room.into(), now));
            }
            Whim::Nothing => {}
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
            self.identity = next_victim(&self.identity, self.seed, self.life.life);
            self.journal.change_device();
        }
    }
}

/// Where a node begins that starts from this journal.
pub(crate) fn begins(journal: &JournalState) -> Victim {
    let rooms = journal.rooms.iter();
    let cursors = rooms.filter_map(|(room, state)| {
        let (log, base) = state.cursor?;
        Some((room.clone(), log, base.seq))
    });
    Victim::Born(cursors.collect())
}

/// What waits in it.
pub(crate) fn keeps(journal: &JournalState) -> Victim {
    let rooms = journal.rooms.values();
    let waiting = rooms.flat_map(|room| room.waiting.keys().copied());
    Victim::Keeps(waiting.collect())
}

/// The event, sharing no memory with the node.
fn copy(mut event: ClientEvent) -> ClientEvent {
    if let ClientEvent::Line { line, .. } | ClientEvent::Past { line, .. } = &mut event {
        line.body = Bytes::copy_from_slice(&line.body);
    }
    event
}

//! One simulated person: keys that last, a node that may die, and what was typed.

use std::collections::{BTreeMap, VecDeque};

use tertulia::chat::{LogId, Name, RoomName};
use tertulia::client::{Client, ClientConfig, JournalEntry, JournalRequest, JournalState};
use tertulia::rng::SeededRng;
use tertulia::secure::{DeviceKey, NodeIdentity, PublicKey};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;

use super::net::broker_address;
use super::seed_of;
use crate::history::{History, Life, Observation};
use crate::plan::Plan;

/// A person with a node.
pub struct Node {
    /// Under which name.
    pub name: Name,
    /// The keys.
    pub identity: NodeIdentity,
    /// The broker's key, once known (SEC-9).
    pub known: Option<PublicKey>,
    /// The program, while it runs.
    pub running: Option<Running>,
    /// What its journal holds.
    pub journal: JournalState,
    /// In which rooms.
    pub rooms: Vec<RoomName>,
    client: usize,
    lives: usize,
    last_typed_at_ms: u64,
    typed: BTreeMap<RoomName, usize>,
}

/// A node's program.
pub struct Running {
    /// Which life it is.
    pub life: Life,
    /// The machine.
    pub client: Client,
    /// Of which history each journaled line is, until it is shown.
    pub received: BTreeMap<RoomName, VecDeque<LogId>>,
    /// The last line shown, by room.
    pub shown: BTreeMap<RoomName, u64>,
    /// The rooms that it is leaving or has left, and when it is to join them again.
    pub away: BTreeMap<RoomName, Timestamp>,
    /// What the journal was asked and has not done.
    pub journaling: VecDeque<JournalEntry>,
    /// When the journal has done what it was asked.
    pub journal_busy_until: Timestamp,
}

impl Node {
    /// Somebody who has never been anywhere.
    ///
    /// # Panics
    ///
    /// Never: `node0` and its like are names.
    #[must_use]
    pub fn new(seed: u64, client: usize, rooms: Vec<RoomName>) -> Self {
        let mut rng = SeededRng::new(seed_of(seed, "identity", client as u64));
        Self {
            name: Name::new(&format!("node{client}")).expect("a valid name"),
            identity: NodeIdentity::generate(&mut rng),
            known: None,
            running: None,
            journal: JournalState::default(),
            rooms,
            client,
            lives: 0,
            last_typed_at_ms: 0,
            typed: BTreeMap::new(),
        }
    }

    /// Starts the program.
    pub fn start(&mut self, plan: &Plan, now: Timestamp) -> Life {
        let life = Life {
            client: self.client,
            life: self.lives,
        };
        self.lives += 1;
        let config = ClientConfig {
            paths: vec![Path::new(broker_address())],
            name: self.name.clone(),
            known: self.known.map(|key| (key, self.identity.clone())),
            restored: self.journal.clone(),
        };
        let number = (self.client * 1000 + life.life) as u64;
        let mut client = Client::new(config, seed_of(plan.seed, "client", number), now);
        for room in &self.rooms {
            client.join(plan.join_options(self.client, room.clone()), now);
        }
        let cursors = self.journal.rooms.iter();
        let shown = cursors.filter_map(|(room, state)| Some((room.clone(), state.cursor?.1.seq)));
        let shown = shown.collect();
        self.running = Some(Running {
            life,
            client,
            received: BTreeMap::new(),
            shown,
            away: BTreeMap::new(),
            journaling: VecDeque::new(),
            journal_busy_until: Timestamp::ZERO,
        });
        life
    }

    /// The journal has done the oldest thing that a life asked of it. Returns whether that life
    /// goes on.
    pub fn journaled(&mut self, life: Life, history: &mut History) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        if running.life != life {
            return false;
        }
        if let Some(entry) = running.journaling.pop_front() {
            history.note_journaled(life.client, &entry);
            self.journal.apply(entry);
        }
        true
    }

    /// Gives up the device for another one of the same account (JRN-4, JRN-10). Returns that.
    pub fn change_device(&mut self, seed: u64) -> DeviceKey {
        let number = (self.client * 1000 + self.lives) as u64;
        self.identity = other_device(&self.identity, seed, number);
        self.journal.change_device();
        self.identity.device()
    }

    /// A time of typing that this device has not used yet.
    pub fn typed_at_ms(&mut self, wall_ms: u64) -> u64 {
        self.last_typed_at_ms = wall_ms.max(self.last_typed_at_ms + 1);
        self.last_typed_at_ms
    }

    /// The next line's place among all that was typed into a room.
    pub fn next_index(&mut self, room: &RoomName) -> usize {
        let typed = self.typed.entry(room.clone()).or_default();
        *typed += 1;
        *typed - 1
    }
}

impl Running {
    /// Notes what the journal was asked for.
    pub fn note(&mut self, request: &JournalRequest) {
        self.journaling.push_back(request.entry.clone());
        if let JournalEntry::Received { room, log, .. } = &request.entry {
            self.received
                .entry(room.clone())
                .or_default()
                .push_back(*log);
        }
    }
}

/// Another device of the same account.
#[must_use]
pub fn other_device(identity: &NodeIdentity, seed: u64, number: u64) -> NodeIdentity {
    let device = seed_of(seed, "device", number);
    // Nobody in a simulation is linked.
    let account = identity.account_seed().copied().unwrap_or_default();
    NodeIdentity::from_secrets(account, device)
}

/// What a life begins with that starts from a journal.
#[must_use]
pub fn beginning(life: Life, journal: &JournalState) -> Vec<Observation> {
    let mut all = Vec::new();
    for (room, state) in &journal.rooms {
        if let Some((log, cursor)) = state.cursor {
            all.push(Observation::Resumed(life, room.clone(), log, cursor));
        }
        for (handle, publication) in &state.waiting {
            situation::meet(Situation::OutboxRestored);
            let typed_at_ms = publication.typed_at_ms;
            let room = room.clone();
            all.push(Observation::Restored(life, room, *handle, typed_at_ms));
        }
    }
    all
}

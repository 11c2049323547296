//! One simulated person: keys that last, a node that may die, and what was typed.

use std::collections::{BTreeMap, VecDeque};

use tertulia::chat::{LogId, Name, RoomName};
use tertulia::client::{Client, ClientConfig, JournalEntry, JournalRequest, JournalState};
use tertulia::rng::{Seed, SeededRng};
use tertulia::secure::{DeviceKey, NodeIdentity, PublicKey};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;

use super::net::broker_address;
use super::{room_name, seed_of};
use crate::errands::linked_device;
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
    /// If the plan has no such client.
    #[must_use]
    pub fn new(plan: &Plan, client: usize) -> Self {
        let rooms = plan.topology.clients[client].iter();
        let rooms = rooms.map(|room| room_name(*room)).collect();
        Self {
            name: name_of(plan, client),
            identity: identity_of(plan, client),
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
    pub fn change_device(&mut self, plan: &Plan) -> DeviceKey {
        self.identity = other_device(plan, self.client, self.lives);
        self.journal.change_device();
        self.identity.device()
    }

    /// Goes on as a device that was linked again, with what waits (DEV-6).
    pub fn link_again(&mut self, identity: NodeIdentity) -> DeviceKey {
        self.identity = identity;
        self.journal.change_device();
        self.identity.device()
    }

    /// A time of typing that this account has not used yet.
    pub fn typed_at_ms(&mut self, plan: &Plan, wall_ms: u64) -> u64 {
        let last = self.last_typed_at_ms;
        self.last_typed_at_ms = plan.typing_ms(self.client, wall_ms, last);
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

/// Under which name a client is known: its account's.
///
/// # Panics
///
/// Never: `node0` and its like are names.
#[must_use]
pub fn name_of(plan: &Plan, client: usize) -> Name {
    Name::new(&format!("node{}", plan.owner(client))).expect("a valid name")
}

/// Who a client is at first.
#[must_use]
pub fn identity_of(plan: &Plan, client: usize) -> NodeIdentity {
    let owner = plan.owner(client);
    let mut rng = SeededRng::new(seed_of(plan.seed, "identity", owner as u64));
    let first = NodeIdentity::generate(&mut rng);
    if owner == client {
        return first;
    }
    linked_to(&first, linked_device(plan, client))
}

/// Who a client is that goes on as another device after so many lives (JRN-4, JRN-10). One that was
/// linked is linked again (DEV-6).
#[must_use]
pub fn other_device(plan: &Plan, client: usize, lives: usize) -> NodeIdentity {
    let number = (client * 1000 + lives) as u64;
    let device = seed_of(plan.seed, "device", number);
    let owner = plan.owner(client);
    let first = identity_of(plan, owner);
    match owner == client {
        true => successor(&first, device),
        false => linked_to(&first, device),
    }
}

/// The account of `first`, which has its private key, with another device of its own.
///
/// # Panics
///
/// If `first` was linked.
#[must_use]
pub fn successor(first: &NodeIdentity, device: Seed) -> NodeIdentity {
    let account = first.account_seed().expect("it was not linked");
    NodeIdentity::from_secrets(*account, device)
}

/// A device that `first` has linked to its account (DEV-5).
fn linked_to(first: &NodeIdentity, device: Seed) -> NodeIdentity {
    let key = successor(first, device).device();
    let certificate = first.certify(&key).expect("it was not linked");
    NodeIdentity::linked(first.account(), certificate, device).expect("its account's word")
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

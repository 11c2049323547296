//! A node's program: a driver, its socket, and its journal.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tertulia::chat::{Kind, LogId, RoomName};
use tertulia::client::{Client, ClientConfig, JournalEntry, JournalRequest, JournalState};
use tertulia::driver::{Driver, Ends, NodeCommand};
use tertulia::situation::{self, Situation};
use tertulia::transmit::Path;
use tokio::task::JoinHandle;

use super::people::Person;
use super::stops::{OnHost, with_stops};
use super::{Delayed, SimSocket, State, WIRE_PORT, bind, node_clock, now};
use crate::clock::HostClock;
use crate::history::{Life, Observation, Typed};
use crate::world::{beginning, name_of, room_name, seed_of};

/// A program that runs.
pub(super) struct Program {
    pub(super) life: Life,
    pub(super) ends: Ends<OnHost<Client>>,
    task: JoinHandle<OnHost<Client>>,
    journal: Arc<Mutex<Journal>>,
}

/// What the journal's entries are compared with, and what they tell.
pub(super) struct Journal {
    /// What was typed and is not journaled yet: what, of which kind, and whether it is watched.
    pub(super) typing: VecDeque<(Bytes, Kind, bool)>,
    /// How many lines were typed in all lives, by room.
    typed: Arc<Mutex<BTreeMap<RoomName, usize>>>,
    /// Of which history each received line is, until it is shown.
    pub(super) received: BTreeMap<RoomName, VecDeque<LogId>>,
    /// What it was asked for and has not done.
    begun: VecDeque<JournalEntry>,
}

impl Program {
    /// Starts a person's program, and lets it join the rooms of the plan.
    pub(super) async fn start(person: &mut Person) -> Result<Self, Box<dyn Error>> {
        let Person {
            client,
            ref plan,
            ref state,
            ..
        } = *person;
        let life = Life {
            client,
            life: person.lives,
        };
        person.lives += 1;
        let wire = SocketAddr::new(turmoil::lookup("wire"), WIRE_PORT + client as u16);
        let restored = lock(&person.kept).clone();
        let config = ClientConfig {
            paths: vec![Path::new(wire)],
            name: name_of(plan, client),
            known: person.known.map(|key| (key, person.identity.clone())),
            restored: restored.clone(),
        };
        let host = HostClock::new(plan, Some(client));
        let clock = node_clock(plan.clone(), client, person.last_ms.clone(), host.clone());
        let seed = seed_of(plan.seed, "client", (client * 1000 + life.life) as u64);
        let machine = Client::new(config, seed, host.local(now()));
        let machine = OnHost::new(machine, host.clone());
        let journal = Arc::new(Mutex::new(Journal {
            typing: VecDeque::new(),
            typed: person.typed.clone(),
            received: BTreeMap::new(),
            begun: VecDeque::new(),
        }));
        let of_end = journal.clone();
        let (of_journal, of_state, full) = (journal.clone(), state.clone(), plan.clone());
        let takes = Duration::from_millis(plan.journal_ms);
        let begin = move |request: &JournalRequest| {
            let mut journal = lock(&of_journal);
            journal.handle(&request.entry, life, &of_state);
            journal.begun.push_back(request.entry.clone());
            match full.journal_full_until(client, now()) {
                Some(until) => {
                    situation::meet(Situation::JournalFull);
                    takes.max(until.saturating_since(now()))
                }
                None => takes,
            }
        };
        let (kept, of_done) = (person.kept.clone(), state.clone());
        let end = move |request: JournalRequest| {
            let _done = lock(&of_end).begun.pop_front();
            let mut shared = of_done.lock();
            shared.record.history.note_journaled(client, &request.entry);
            drop(shared);
            lock(&kept).apply(request.entry);
            request.id
        };
        let store = Delayed::new(begin, end);
        let sockets = vec![SimSocket(bind(0).await?)];
        let (driver, ends) = Driver::new(machine, sockets, store, clock);
        let task = tokio::spawn(with_stops(host, driver.run()));
        let rooms = plan.topology.clients[client].iter();
        let rooms: Vec<RoomName> = rooms.map(|room| room_name(*room)).collect();
        state.observe(Observation::Born(life));
        let alive = (life, rooms.clone());
        state.lock().record.history.alive.insert(client, alive);
        for observation in beginning(life, &restored) {
            state.observe(observation);
        }
        for room in rooms {
            let options = plan.join_options(client, room);
            ends.commands.send(NodeCommand::Join(options)).await?;
        }
        Ok(Self {
            life,
            ends,
            task,
            journal,
        })
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    /// Waits for the end of one that ends by itself: it writes its journal to the end.
    pub(super) async fn end(self, kept: &Mutex<JournalState>, state: &State) {
        // A panic is reported by the run itself.
        let _ = self.task.await;
        for entry in lock(&self.journal).begun.drain(..) {
            let mut shared = state.lock();
            shared
                .record
                .history
                .note_journaled(self.life.client, &entry);
            drop(shared);
            lock(kept).apply(entry);
        }
    }

    /// Kills it: it has no time to say goodbye.
    pub(super) async fn kill(self) {
        self.task.abort();
        // It ends by being cancelled, or a panic that the run reports by itself.
        let _ = self.task.await;
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    fn handle(&mut self, entry: &JournalEntry, life: Life, state: &State) {
        match entry {
            JournalEntry::Waiting {
                handle,
                room,
                publication,
                ..
            } => {
                let key = (life, *handle);
                if state.lock().record.history.handles.contains_key(&key) {
                    return;
                }
                let typed = self.typing.pop_front();
                let (body, kind, is_watched) =
                    typed.unwrap_or((Bytes::new(), Kind::Message, false));
                let mut typed = lock(&self.typed);
                let index = typed.entry(room.clone()).or_default();
                *index += 1;
                state.observe(Observation::Typed(Typed {
                    life,
                    room: room.clone(),
                    handle: *handle,
                    typed_at_ms: publication.typed_at_ms,
                    body,
                    kind,
                    is_watched,
                    index: *index - 1,
                }));
            }
            JournalEntry::Received { room, log, .. } => {
                self.received
                    .entry(room.clone())
                    .or_default()
                    .push_back(*log);
            }
            JournalEntry::Settled { .. }
            | JournalEntry::Entered { .. }
            | JournalEntry::Numbered { .. }
            | JournalEntry::Noticed { .. }
            | JournalEntry::Left { .. } => {}
        }
    }
}

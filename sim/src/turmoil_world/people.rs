//! The people's host: a driver for each client, and somebody who types and reads.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tertulia::chat::{LogId, Name, RoomName};
use tertulia::client::{
    Client, ClientConfig, ClientEvent, JoinOptions, JournalEntry, JournalRequest, JournalState,
};
use tertulia::driver::{Driver, Ends, Immediate, NodeCommand};
use tertulia::rng::SeededRng;
use tertulia::secure::NodeIdentity;
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::{SimSocket, State, WIRE_PORT, bind, clock, now};
use crate::history::{Life, Observation, Typed};
use crate::plan::Plan;
use crate::world::{AFTERWARDS, LIVENESS_BOUND, room_name, seed_of};

/// How often somebody looks whether everything is settled.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs all clients until everything is settled, or should be.
pub(super) async fn run(plan: Plan, state: State) -> Result<(), Box<dyn Error>> {
    let mut people = Vec::new();
    let identities = (0..plan.topology.clients.len()).map(|client| {
        let mut rng = SeededRng::new(seed_of(plan.seed, "identity", client as u64));
        NodeIdentity::generate(&mut rng)
    });
    let identities: Vec<NodeIdentity> = identities.collect();
    let keys = identities
        .iter()
        .map(|identity| (identity.account(), identity.device()));
    state.lock().record.history.keys = keys.collect();
    for (client, identity) in identities.into_iter().enumerate() {
        let person = Person::start(client, identity, &plan, state.clone()).await?;
        people.push(tokio::spawn(person.run()));
    }
    for person in people {
        person.await?;
    }
    Ok(())
}

/// What the journal's entries are compared with, and what they tell.
#[derive(Default)]
struct Journal {
    /// What was typed and is not journaled yet.
    typing: VecDeque<Bytes>,
    /// How many lines were typed, by room.
    typed: BTreeMap<RoomName, usize>,
    /// Of which history each received line is, until it is shown.
    received: BTreeMap<RoomName, VecDeque<LogId>>,
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
                let index = self.typed.entry(room.clone()).or_default();
                *index += 1;
                state.observe(Observation::Typed(Typed {
                    life,
                    room: room.clone(),
                    handle: *handle,
                    typed_at_ms: publication.typed_at_ms,
                    body: self.typing.pop_front().unwrap_or_default(),
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

struct Person {
    life: Life,
    identity: NodeIdentity,
    ends: Ends<Client>,
    journal: Arc<Mutex<Journal>>,
    /// When to say what, where.
    script: VecDeque<(Timestamp, RoomName, Bytes)>,
    plan: Plan,
    state: State,
}

impl Person {
    async fn start(
        client: usize,
        identity: NodeIdentity,
        plan: &Plan,
        state: State,
    ) -> Result<Self, Box<dyn Error>> {
        let life = Life { client, life: 0 };
        let wire = SocketAddr::new(turmoil::lookup("wire"), WIRE_PORT + client as u16);
        let config = ClientConfig {
            paths: vec![Path::new(wire)],
            name: Name::new(&format!("node{client}"))?,
            known: None,
            restored: JournalState::default(),
        };
        let seed = seed_of(plan.seed, "client", client as u64 * 1000);
        let journal = Arc::new(Mutex::new(Journal::default()));
        let (of_journal, of_state) = (journal.clone(), state.clone());
        let store = Immediate::new(move |request: JournalRequest| {
            let mut journal = of_journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.handle(&request.entry, life, &of_state);
            request.id
        });
        let clock = clock();
        let machine = Client::new(config, seed, clock.now());
        let sockets = vec![SimSocket(bind(0).await?)];
        let (driver, ends) = Driver::new(machine, sockets, store, clock);
        tokio::spawn(driver.run());
        let rooms: Vec<RoomName> = plan.topology.clients[client]
            .iter()
            .map(|room| room_name(*room))
            .collect();
        state.observe(Observation::Born(life));
        state
            .lock()
            .record
            .history
            .alive
            .insert(client, (life, rooms.clone()));
        for room in rooms {
            let history = plan.topology.history;
            let options = JoinOptions {
                history,
                ..room.into()
            };
            ends.commands.send(NodeCommand::Join(options)).await?;
        }
        Ok(Self {
            life,
            identity,
            ends,
            journal,
            script: plan.script(client),
            plan: plan.clone(),
            state,
        })
    }

    async fn run(mut self) {
        let bound = Timestamp::from_millis(self.plan.heals_at_ms()) + LIVENESS_BOUND;
        let mut ends_at = None;
        while ends_at.is_none_or(|at| now() < at) {
            let say_at = self.script.front().map(|(at, ..)| *at);
            select! {
                biased;
                event = self.ends.events.recv() => match event {
                    Some(event) => self.on_event(event).await,
                    None => return,
                },
                () = until(say_at) => self.say().await,
                () = sleep(LOOK_EVERY) => {}
            }
            if ends_at.is_none() {
                let mut shared = self.state.lock();
                let is_settled = shared.is_settled(&self.plan);
                if is_settled {
                    shared.settled_at.get_or_insert(now());
                }
                ends_at = (is_settled || now() >= bound).then(|| now() + AFTERWARDS);
            }
        }
    }

    async fn say(&mut self) {
        let Some((_, room, text)) = self.script.pop_front() else {
            return;
        };
        {
            let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.typing.push_back(text.clone());
        }
        let (reply, answer) = oneshot::channel();
        let command = NodeCommand::Publish { room, text, reply };
        // A driver that has ended has said so by an event.
        if self.ends.commands.send(command).await.is_ok() {
            let _ = answer.await;
        }
    }

    async fn on_event(&mut self, event: ClientEvent) {
        let life = self.life;
        let observation = match event {
            ClientEvent::FirstContact(_) => {
                let identity = Box::new(self.identity.clone());
                let _ = self
                    .ends
                    .commands
                    .send(NodeCommand::SetIdentity(identity))
                    .await;
                return;
            }
            ClientEvent::Online
            | ClientEvent::Offline
            | ClientEvent::JoinRefused { .. }
            | ClientEvent::RoomLeft { .. }
            | ClientEvent::Roster { .. }
            | ClientEvent::Rooms { .. } => return,
            ClientEvent::Joined { room } => Observation::Joined(life, room),
            ClientEvent::Fork { room } => Observation::Fork(life, room),
            ClientEvent::Line { room, line, .. } => {
                let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
                let log = journal
                    .received
                    .get_mut(&room)
                    .and_then(VecDeque::pop_front);
                let Some(log) = log else {
                    drop(journal);
                    let said = format!("line {} is shown and not journaled", line.seq);
                    self.state
                        .lock()
                        .record
                        .violate("one_total_order", said, now());
                    return;
                };
                Observation::Shown {
                    life,
                    room,
                    log,
                    line,
                }
            }
            ClientEvent::Notice {
                room, event, name, ..
            } => Observation::Noticed(life, room, event, name.as_str().to_owned()),
            ClientEvent::Stored { handle, room, seq } => {
                Observation::Stored(life, room, handle, seq)
            }
            ClientEvent::NotStored { handle, room, .. } => {
                Observation::NotStored(life, room, handle)
            }
            ClientEvent::Ended(reason) => Observation::Ended(life, reason),
        };
        self.state.observe(observation);
    }
}

async fn until(at: Option<Timestamp>) {
    match at {
        Some(at) => sleep(at.saturating_since(now())).await,
        None => std::future::pending().await,
    }
}

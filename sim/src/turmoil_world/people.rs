//! The people's host: somebody for each client who types and reads, and whose node dies and starts
//! again.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tertulia::chat::{Kind, RoomName};
use tertulia::client::{Asker, ClientEvent, EndReason, JournalState, PublishError};
use tertulia::driver::NodeCommand;
use tertulia::secure::{DeviceKey, NodeIdentity, PublicKey};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tokio::select;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::program::{Program, lock};
use super::{State, devices, now, sleep_until};
use crate::history::{Life, Observation};
use crate::plan::{Fault, Plan, What};
use crate::told::told;
use crate::world::outputs::{JOINED_AGAIN_AFTER, waiting};
use crate::world::people::policy_of;
use crate::world::{AFTERWARDS, LIVENESS_BOUND, other_device, room_name};

/// How often somebody looks whether everything is settled.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs all clients until everything is settled, or should be.
pub(super) async fn run(plan: Plan, state: State) -> Result<(), Box<dyn Error>> {
    let identities = state.lock().identities.clone();
    let mut linked = BTreeMap::new();
    let mut people = Vec::new();
    for (client, identity) in identities.into_iter().enumerate() {
        // Who is in no room is not there at all: shrinking leaves people out like that.
        if !plan.topology.clients[client].is_empty() {
            let (told, hears) = mpsc::unbounded_channel();
            linked.insert(client, told);
            let person = Person::new(client, identity, &plan, state.clone(), hears);
            people.push(tokio::spawn(person.run()));
        }
    }
    devices::spawn(&plan, &state, &linked);
    for person in people {
        person.await?;
    }
    Ok(())
}

/// Something that somebody does, or that befalls a node.
enum Deed {
    Start,
    /// The program ends; whether its journal is lost with it.
    Die(bool),
    /// A copy is made of the journal.
    BackUp,
    /// The journal is what the oldest copy says.
    Restore,
    Say(RoomName, Bytes),
    /// The system tells of a new network (PTH-6).
    HearOfNewAddress,
    /// Out of a room, to come back at some time.
    Leave(RoomName, Timestamp),
    /// Into it again, in the life in which it was left.
    JoinAgain(Life, RoomName),
    /// Something besides talking.
    Act(RoomName, What),
}

/// What lasts for longer than a program.
pub(super) struct Person {
    pub(super) client: usize,
    pub(super) identity: NodeIdentity,
    /// The broker's key, once known (SEC-9).
    pub(super) known: Option<PublicKey>,
    /// How often the program was started.
    pub(super) lives: usize,
    /// The last time of typing.
    pub(super) last_ms: Arc<Mutex<u64>>,
    /// What its journal holds.
    pub(super) kept: Arc<Mutex<JournalState>>,
    /// How many lines were typed, by room.
    pub(super) typed: Arc<Mutex<BTreeMap<RoomName, usize>>>,
    pub(super) plan: Plan,
    pub(super) state: State,
    program: Option<Program>,
    /// As which device it is linked.
    linked: UnboundedReceiver<NodeIdentity>,
    /// Copies of the journal and the keys, the oldest first.
    backups: VecDeque<(Timestamp, JournalState, NodeIdentity)>,
    deeds: BTreeMap<(Timestamp, u64), Deed>,
    next_deed: u64,
    /// The rooms that it is leaving or has left, and when it is to join them again.
    away: BTreeMap<RoomName, Timestamp>,
}

impl Person {
    fn new(
        client: usize,
        identity: NodeIdentity,
        plan: &Plan,
        state: State,
        linked: UnboundedReceiver<NodeIdentity>,
    ) -> Self {
        let mut person = Self {
            client,
            identity,
            known: None,
            lives: 0,
            last_ms: Arc::default(),
            kept: Arc::default(),
            typed: Arc::default(),
            plan: plan.clone(),
            state,
            program: None,
            linked,
            backups: VecDeque::new(),
            deeds: BTreeMap::new(),
            next_deed: 0,
            away: BTreeMap::new(),
        };
        if !plan.is_linked_later(client) {
            person.intend(Timestamp::ZERO, Deed::Start);
        }
        for (at, room, text) in plan.script(client) {
            person.intend(at, Deed::Say(room, text));
        }
        for absence in plan.absences.iter().filter(|a| a.client == client) {
            let at = Timestamp::from_millis(absence.at_ms);
            let back_at = Timestamp::from_millis(absence.at_ms + absence.for_ms);
            person.intend(at, Deed::Leave(room_name(absence.room), back_at));
        }
        for act in plan.acts.iter().filter(|act| act.client == client) {
            let at = Timestamp::from_millis(act.at_ms);
            person.intend(at, Deed::Act(room_name(act.room), act.what));
        }
        let own = plan
            .faults
            .iter()
            .filter(|(_, f)| f.client() == Some(client));
        for (at_ms, fault) in own {
            let at = Timestamp::from_millis(*at_ms);
            match fault {
                Fault::Die { back_after_ms, .. } => {
                    person.intend(at, Deed::Die(true));
                    if let Some(after) = back_after_ms {
                        person.intend(at + Duration::from_millis(*after), Deed::Start);
                    }
                }
                Fault::Kill { back_after_ms, .. } => {
                    person.intend(at, Deed::Die(false));
                    person.intend(at + Duration::from_millis(*back_after_ms), Deed::Start);
                }
                Fault::RestoreNode {
                    age_ms,
                    back_after_ms,
                    ..
                } => {
                    let made_at = Timestamp::from_millis(at_ms.saturating_sub(*age_ms));
                    person.intend(made_at, Deed::BackUp);
                    person.intend(at, Deed::Die(false));
                    let back_at = at + Duration::from_millis(*back_after_ms);
                    person.intend(back_at, Deed::Restore);
                    person.intend(back_at, Deed::Start);
                }
                Fault::Rebind {
                    announced: true, ..
                } => person.intend(at, Deed::HearOfNewAddress),
                _ => {}
            }
        }
        person
    }

    fn intend(&mut self, at: Timestamp, deed: Deed) {
        self.deeds.insert((at, self.next_deed), deed);
        self.next_deed += 1;
    }

    async fn run(mut self) {
        let bound = Timestamp::from_millis(self.plan.heals_at_ms()) + LIVENESS_BOUND;
        let mut ends_at = None;
        while ends_at.is_none_or(|at| now() < at) {
            let deed_at = self.deeds.first_key_value().map(|((at, _), _)| *at);
            select! {
                biased;
                event = next_event(&mut self.program) => match event {
                    Some(event) => self.on_event(event).await,
                    None => self.program = None,
                },
                Some(identity) = self.linked.recv() => self.link(identity).await,
                () = sleep_until(deed_at) => {
                    if let Some((_, deed)) = self.deeds.pop_first() {
                        self.act(deed).await;
                    }
                }
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

    async fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Start if self.program.is_none() => match Program::start(self).await {
                Ok(program) => self.program = Some(program),
                Err(error) => self.state.violate("no_panic", error.to_string()),
            },
            Deed::Start => {}
            Deed::Die(forgets) => {
                if let Some(program) = self.program.take() {
                    self.away.clear();
                    let life = program.life;
                    program.kill().await;
                    self.state.observe(Observation::Died(life));
                }
                if forgets {
                    // JRN-10
                    *lock(&self.kept) = JournalState::default();
                    let device = self.take_other_device();
                    let mut shared = self.state.lock();
                    shared.record.history.change_device(self.client, device);
                }
            }
            Deed::BackUp => {
                let backup = lock(&self.kept).clone();
                self.backups
                    .push_back((now(), backup, self.identity.clone()));
            }
            Deed::Restore => {
                if let Some((made_at, backup, identity)) = self.backups.pop_front()
                    && self.program.is_none()
                {
                    let mut shared = self.state.lock();
                    let history = &mut shared.record.history;
                    history.restore_journal(self.client, &backup, made_at);
                    history.change_device(self.client, identity.device());
                    shared.identities[self.client] = identity.clone();
                    self.identity = identity;
                    *lock(&self.kept) = backup;
                }
            }
            Deed::Say(room, text) => self.say(room, text).await,
            Deed::HearOfNewAddress => self.command(NodeCommand::AddressChange).await,
            Deed::Leave(room, back_at) => {
                let Some(program) = &self.program else {
                    return;
                };
                let life = program.life;
                if self.away.contains_key(&room) {
                    return;
                }
                self.away.insert(room.clone(), back_at);
                self.state.lock().away.insert((life, room.clone()));
                self.state.observe(Observation::Leaving(life, room.clone()));
                self.command(NodeCommand::LeaveRoom { room }).await;
            }
            Deed::JoinAgain(life, room) => {
                if self.program.as_ref().map(|program| program.life) == Some(life) {
                    self.away.remove(&room);
                    self.state.lock().away.remove(&(life, room.clone()));
                    let options = self.plan.join_options(self.client, room);
                    self.command(NodeCommand::Join(options)).await;
                }
            }
            Deed::Act(room, what) => self.do_act(room, what).await,
        }
    }

    /// JRN-4.
    fn change_device(&mut self) {
        situation::meet(Situation::DeviceRetired);
        lock(&self.kept).change_device();
        let device = self.take_other_device();
        let mut shared = self.state.lock();
        shared.record.history.succeed_device(self.client, device);
        drop(shared);
        self.intend(now(), Deed::Start);
    }

    fn take_other_device(&mut self) -> DeviceKey {
        self.identity = other_device(&self.plan, self.client, self.lives);
        self.state.lock().identities[self.client] = self.identity.clone();
        self.identity.device()
    }

    /// Goes on as a device that was linked, with what waits (DEV-6). One that runs all the same has got
    /// itself another device meanwhile.
    async fn link(&mut self, identity: NodeIdentity) {
        if self.program.is_some() {
            return;
        }
        self.take_linked(identity);
        self.act(Deed::Start).await;
    }

    fn take_linked(&mut self, identity: NodeIdentity) {
        let mut shared = self.state.lock();
        let device = identity.device();
        if shared.record.history.device(self.client) != device {
            let history = &mut shared.record.history;
            history.leave_behind(self.client, waiting(&lock(&self.kept)));
            history.succeed_device(self.client, device);
            lock(&self.kept).change_device();
            shared.identities[self.client] = identity.clone();
            self.identity = identity;
        }
    }

    /// Tells the program, if it runs. One that has ended says so by an event.
    async fn command(&self, command: NodeCommand) {
        if let Some(program) = &self.program {
            let _ = program.ends.commands.send(command).await;
        }
    }

    async fn say(&mut self, room: RoomName, text: Bytes) {
        let is_watched = self.plan.watchers.contains(&self.client);
        let (reply, answer) = oneshot::channel();
        let typed = (text.clone(), Kind::Message, is_watched);
        let command = match is_watched {
            true => NodeCommand::PublishWatched { room, text, reply },
            false => NodeCommand::Publish { room, text, reply },
        };
        self.put_out(typed, command, answer).await;
    }

    async fn do_act(&mut self, room: RoomName, what: What) {
        let Some(program) = &self.program else {
            return;
        };
        let life = program.life;
        let (reply, answer) = oneshot::channel();
        let (command, asked) = match what {
            What::SetPolicy { since_join } => {
                let policy = policy_of(since_join);
                let typed = (policy.as_str().into(), Kind::Policy, false);
                let (reply, answer) = oneshot::channel();
                let command = NodeCommand::SetPolicy {
                    room,
                    policy,
                    reply,
                };
                return self.put_out(typed, command, answer).await;
            }
            What::AskHistory { before, count } => {
                let asked = Observation::AskedHistory(life, room.clone(), before, count);
                let command = NodeCommand::AskHistory {
                    room,
                    before,
                    count,
                    asker: Asker::Node,
                    reply,
                };
                (command, asked)
            }
            What::AskWho => {
                let asked = Observation::AskedWho(life, room.clone());
                (NodeCommand::AskWho { room, reply }, asked)
            }
        };
        self.command(command).await;
        if answer.await == Ok(true) {
            self.state.observe(asked);
        }
    }

    /// Has a line published. It is seen to be typed when the journal is asked to keep it.
    async fn put_out(
        &mut self,
        typed: (Bytes, Kind, bool),
        command: NodeCommand,
        answer: oneshot::Receiver<Result<u64, PublishError>>,
    ) {
        let Some(program) = &self.program else {
            return;
        };
        program.journal().typing.push_back(typed);
        self.command(command).await;
        // Not taken: a room that was left, or an outbox that is full.
        if !matches!(answer.await, Ok(Ok(_)))
            && let Some(program) = &self.program
        {
            program.journal().typing.pop_back();
        }
    }

    async fn on_event(&mut self, event: ClientEvent) {
        let Some(program) = &self.program else {
            return;
        };
        let life = program.life;
        let observation = match told(life, event) {
            ControlFlow::Break(observation) => observation,
            ControlFlow::Continue(ClientEvent::FirstContact(key)) => {
                self.known = Some(key);
                let identity = Box::new(self.identity.clone());
                self.command(NodeCommand::SetIdentity(identity)).await;
                return;
            }
            ControlFlow::Continue(ClientEvent::RoomLeft { room, .. }) => {
                // Another device of the account may have left, for all of them (DEV-9).
                let soon = now() + JOINED_AGAIN_AFTER;
                let back_at = *self.away.entry(room.clone()).or_insert(soon);
                self.state.lock().away.insert((life, room.clone()));
                self.intend(back_at.max(now()), Deed::JoinAgain(life, room.clone()));
                Observation::RoomLeft(life, room)
            }
            ControlFlow::Continue(ClientEvent::JoinRefused { room, code, .. }) => {
                let said = format!("{life:?} is not let into {}: {code}", room.as_str());
                self.state.violate("no_broken_rules", said);
                return;
            }
            ControlFlow::Continue(ClientEvent::Fork { room }) => Observation::Fork(life, room),
            ControlFlow::Continue(ClientEvent::Line { room, line, .. }) => {
                let received = program
                    .journal()
                    .received
                    .get_mut(&room)
                    .and_then(VecDeque::pop_front);
                let Some(log) = received else {
                    let said = format!("line {} is shown and not journaled", line.seq);
                    self.state.violate("one_total_order", said);
                    return;
                };
                Observation::Shown {
                    life,
                    room,
                    log,
                    line,
                }
            }
            ControlFlow::Continue(ClientEvent::Ended(reason)) => {
                let is_retired = matches!(reason, EndReason::Retired { .. });
                self.state.observe(Observation::Ended(life, reason));
                if let Some(program) = self.program.take() {
                    program.end(&self.kept, &self.state).await;
                }
                if is_retired {
                    return self.change_device();
                }
                let waiting = waiting(&lock(&self.kept));
                Observation::LeftBehind(life, waiting)
            }
            // The journal has told of what waits, and nobody asks for rooms in these plans.
            ControlFlow::Continue(_) => return,
        };
        self.state.observe(observation);
    }
}

/// What the program tells; `None` if it has ended. For ever if none runs.
async fn next_event(program: &mut Option<Program>) -> Option<ClientEvent> {
    match program {
        Some(program) => program.ends.events.recv().await,
        None => std::future::pending().await,
    }
}

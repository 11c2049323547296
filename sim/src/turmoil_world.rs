//! The turmoil level: the real drivers in a simulated world, under the same plans, fates and
//! checkers as the core level.
//!
//! ```text
//! host `people`: a driver per client --> host `wire`: a way per client --> host `broker`: a driver
//! host `attackers`: a member ----------------------------------------------^
//!                   a broker of its own <-- a driver: its victim
//! ```
//!
//! turmoil itself is a perfect network here. All that goes wrong is done by the wire host, which
//! relays each client's datagrams through a pair of sockets: an inner one that the client takes for
//! the broker, and an outer one that the broker takes for the client. Binding another outer socket
//! is a change of address.
//!
//! The plan's attackers are the same as at the core level, behind sockets, and the victims of brokers
//! have drivers. Nobody can forge a sender's address here: what is sent under one at the core level
//! comes from a socket that nobody reads. What a victim's memory holds is looked at there alone.

mod attackers;
mod broker;
mod delayed;
mod devices;
mod people;
mod program;
mod stops;
mod victim;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tertulia::broker::{BrokerEvent, StorageOp};
use tertulia::chat::RoomName;
use tertulia::driver::{Clock, DatagramSocket};
use tertulia::mutant::{self, Mutant};
use tertulia::secure::NodeIdentity;
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tertulia::wire::is_data;
use turmoil::net::UdpSocket;

use self::delayed::Delayed;
use crate::clock::HostClock;
use crate::history::{Life, Observation};
use crate::plan::Plan;
use crate::record::Record;
use crate::run::Outcome;
use crate::watch::watched;
use crate::world::attack::{attackers, introduce};
use crate::world::{AFTERWARDS, LIVENESS_BOUND, Net, WALL_START_MS, broker_identity, identity_of};

/// Where the broker listens.
const BROKER_PORT: u16 = 7000;
/// Where the wire listens for the first client; for the others it is the ports after.
const WIRE_PORT: u16 = 8000;
/// How long a tick of turmoil's clock is.
const TICK: Duration = Duration::from_millis(1);
/// How many datagrams turmoil keeps for a socket that is not read.
const UDP_CAPACITY: usize = 4_096;

/// turmoil's socket as the driver wants it.
struct SimSocket(UdpSocket);

impl DatagramSocket for SimSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.try_recv_from(buffer)
    }

    fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.0.try_send_to(datagram, to)
    }

    async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }
}

/// What all hosts of a run share, and what survives them.
struct Shared {
    record: Record,
    net: Net,
    /// The last line that each client has shown, by room.
    shown: BTreeMap<(usize, RoomName), u64>,
    /// What was typed in a life that goes on, and has no outcome yet.
    waiting: BTreeSet<(Life, u64)>,
    /// Who is out of which room for a while.
    away: BTreeSet<(Life, RoomName)>,
    /// Whose datagrams come from which address, and which addresses are strangers'.
    senders: BTreeMap<SocketAddr, usize>,
    strangers: BTreeSet<SocketAddr>,
    /// Who each client is at present.
    identities: Vec<NodeIdentity>,
    /// Datagrams under way that acknowledge what cannot have come, each with who sent it.
    lies: BTreeMap<Vec<u8>, usize>,
    /// Who has been found out by one of them, and has not shaken hands since.
    liars: BTreeSet<usize>,
    /// What was sent to them since, and has not come.
    to_liars: BTreeSet<Vec<u8>>,
    typed: u64,
    lines_shown: u64,
    settled_at: Option<Timestamp>,
}

#[derive(Clone)]
struct State(Arc<Mutex<Shared>>);

impl State {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic is reported by itself; what it left is good enough for the report.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, observation: Observation) {
        self.lock().observe(observation);
    }

    fn violate(&self, checker: &'static str, said: String) {
        self.lock().record.violate(checker, said, now());
    }

    /// The broker tells its owner who came and went.
    fn observe_broker(&self, event: BrokerEvent) {
        match event {
            BrokerEvent::Joined { name, room } => {
                self.observe(Observation::Came(room, name.to_string()));
            }
            BrokerEvent::Left {
                name,
                room,
                timed_out,
            } => self.observe(Observation::Gone(room, name.to_string(), timed_out)),
            BrokerEvent::Stored { .. } | BrokerEvent::Decided { .. } | BrokerEvent::People(_) => {}
        }
    }

    /// PRS-1: whether somebody was silent for the grace is judged when the store is asked.
    fn note_giving_up(&self, op: &StorageOp) {
        let mut shared = self.lock();
        shared.record.history.note_giving_up(op, now());
    }

    /// The broker gets a datagram. Returns who acknowledges in it what cannot have come.
    fn observe_from(&self, address: SocketAddr, datagram: &[u8]) -> Option<usize> {
        let mut shared = self.lock();
        let len = datagram.len();
        if !datagram.first().copied().is_some_and(is_data) {
            shared.observe(Observation::ShookFrom(address, len));
        }
        if shared.strangers.contains(&address) {
            shared.observe(Observation::FromStranger(address, len));
        }
        shared.lies.remove(datagram)
    }

    /// The broker has taken a datagram of somebody's who acknowledges in it what cannot have come.
    fn find_out(&self, liar: usize) {
        situation::meet(Situation::SureLieTaken);
        self.lock().liars.insert(liar);
    }

    /// The broker sends a datagram.
    fn observe_to(&self, address: SocketAddr, datagram: &[u8]) {
        let mut shared = self.lock();
        let is_of_a_link = datagram.first().copied().is_some_and(is_data);
        if !is_of_a_link {
            shared.observe(Observation::ShookTo(address, datagram.len()));
        }
        if let Some(sender) = shared.senders.get(&address).copied()
            && shared.liars.contains(&sender)
        {
            if is_of_a_link {
                shared.to_liars.insert(datagram.to_vec());
            } else {
                // A new link begins: nobody has lied on that.
                shared.liars.remove(&sender);
            }
        }
        if shared.strangers.contains(&address) {
            let observation = Observation::ToStranger(address, datagram.len(), is_of_a_link);
            shared.observe(observation);
        }
    }

    /// The broker has taken an authentic packet; who copies one gets it heard all the same.
    fn note_heard(&self, address: SocketAddr) {
        let mut shared = self.lock();
        if let Some(client) = shared.senders.get(&address).copied() {
            shared.record.history.note_heard(client, now());
        }
    }
}

impl Shared {
    fn new(plan: &Plan) -> Self {
        let mut record = Record::new(plan);
        record.history.is_network_perfect = plan.has_perfect_network();
        let clients = 0..plan.topology.clients.len();
        let identities: Vec<_> = clients.map(|client| identity_of(plan, client)).collect();
        let keys = identities.iter().map(|id| (id.account(), id.device()));
        record.history.keys = keys.collect();
        let attackers = attackers(plan, broker_identity(plan).public());
        introduce(&attackers, &mut record.history);
        Self {
            record,
            net: Net::new(plan),
            shown: BTreeMap::new(),
            waiting: BTreeSet::new(),
            away: BTreeSet::new(),
            senders: BTreeMap::new(),
            strangers: BTreeSet::new(),
            identities,
            lies: BTreeMap::new(),
            liars: BTreeSet::new(),
            to_liars: BTreeSet::new(),
            typed: 0,
            lines_shown: 0,
            settled_at: None,
        }
    }

    fn observe(&mut self, observation: Observation) {
        match &observation {
            Observation::Typed(typed) => {
                self.typed += 1;
                self.waiting.insert((typed.life, typed.handle));
            }
            Observation::Stored(life, _, handle, _)
            | Observation::NotStored(life, _, handle, _) => {
                self.waiting.remove(&(*life, *handle));
            }
            Observation::Shown {
                life, room, line, ..
            } => {
                self.lines_shown += 1;
                self.shown.insert((life.client, room.clone()), line.seq);
            }
            Observation::Resumed(life, room, _, cursor) => {
                self.shown.insert((life.client, room.clone()), cursor.seq);
            }
            Observation::Recovered {
                is_backup: true, ..
            } => self.shown.clear(),
            Observation::Restored(life, _, handle, _) => {
                self.waiting.insert((*life, *handle));
            }
            Observation::Fork(life, room) | Observation::RoomLeft(life, room) => {
                self.shown.remove(&(life.client, room.clone()));
            }
            Observation::Died(life) | Observation::Ended(life, _) => {
                self.waiting.retain(|(whose, _)| whose != life);
                self.away.retain(|(whose, _)| whose != life);
                self.shown.retain(|(client, _), _| *client != life.client);
            }
            _ => {}
        }
        self.record.observe(observation, now());
    }

    /// Whether all that goes wrong is over, all has been said, stored, and shown to everybody.
    fn is_settled(&self, plan: &Plan) -> bool {
        let history = &self.record.history;
        let Some(log) = history.current else {
            return false;
        };
        let has_seen_all = |life: Life, room: &RoomName| {
            let shown = self.shown.get(&(life.client, room.clone())).copied();
            let shown = shown.max(history.base(life, room));
            shown == Some(history.log(log, room).len() as u64)
        };
        now() >= Timestamp::from_millis(plan.heals_at_ms())
            && self.waiting.is_empty()
            && self.away.is_empty()
            && history
                .alive
                .values()
                .all(|(life, rooms)| rooms.iter().all(|room| has_seen_all(*life, room)))
    }
}

/// What time it is on the present host.
fn now() -> Timestamp {
    Timestamp::ZERO + turmoil::elapsed()
}

/// A node's clocks. The wall clock never says the same twice, so that the time of typing names a
/// line; what it said `last` outlives the driver.
fn node_clock(plan: Plan, client: usize, last: Arc<Mutex<u64>>, host: HostClock) -> Clock {
    let of_machine = host.clone();
    let clock = Clock::with_wall(move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = plan.typing_ms(client, host.wall_ms(now()), *last);
        *last
    });
    clock.with_suspensions(move || of_machine.suspended(now()))
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(at.saturating_since(now())).await,
        None => std::future::pending().await,
    }
}

/// Runs a plan with the real drivers, with a deliberate fault in them if one is given.
///
/// The record comes with the outcome, for a closer look.
#[must_use]
pub fn run(plan: &Plan, mutant: Option<Mutant>) -> (Outcome, Record) {
    mutant::activate(mutant);
    let _of_others = situation::take();
    let state = State(Arc::new(Mutex::new(Shared::new(plan))));
    let mut simulated = Duration::ZERO;
    let ran = watched(|| run_hosts(plan, &state, &mut simulated));
    mutant::activate(None);
    let mut shared = state.lock();
    let at = Timestamp::ZERO + simulated;
    match ran {
        Ok(Ok(())) => shared.record.finish(at),
        Ok(Err(error)) => shared.record.violate("no_panic", error.to_string(), at),
        Err(said) => shared.record.violate("no_panic", said, at),
    }
    let healed = Timestamp::from_millis(plan.heals_at_ms());
    let outcome = Outcome {
        violation: shared.record.verdict().err(),
        trace: shared.record.trace(),
        simulated,
        lines_typed: shared.typed,
        lines_shown: shared.lines_shown,
        settled_after: shared.settled_at.map(|at| at.saturating_since(healed)),
        fates: shared.net.fates,
        met: situation::take(),
    };
    (outcome, std::mem::take(&mut shared.record))
}

fn run_hosts(plan: &Plan, state: &State, simulated: &mut Duration) -> Result<(), Box<dyn Error>> {
    let heals_at = Duration::from_millis(plan.heals_at_ms());
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .epoch(UNIX_EPOCH + Duration::from_millis(WALL_START_MS))
        .tick_duration(TICK)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::ZERO)
        .udp_capacity(UDP_CAPACITY)
        .simulation_duration(heals_at + LIVENESS_BOUND + 3 * AFTERWARDS)
        .build();
    let (of_broker, broker_plan) = (state.clone(), plan.clone());
    sim.host("broker", move || {
        broker::run(broker_plan.clone(), of_broker.clone())
    });
    let (of_wire, wire_plan) = (state.clone(), plan.clone());
    sim.host("wire", move || {
        wire::run(wire_plan.clone(), of_wire.clone())
    });
    if !plan.attackers.is_empty() {
        let (of_attackers, attackers_plan) = (state.clone(), plan.clone());
        sim.host("attackers", move || {
            attackers::run(attackers_plan.clone(), of_attackers.clone())
        });
    }
    sim.client("people", people::run(plan.clone(), state.clone()));
    let result = sim.run();
    *simulated = sim.elapsed();
    result
}

async fn bind(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await
}

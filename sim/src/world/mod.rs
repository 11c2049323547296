//! The core level: the real machines in a simulated world.
//!
//! One heap of events in a total order, one virtual clock, real bytes between real machines. The
//! world honours the machines' drain order, so a run is a function of its plan: the [trace
//! hash](crate::record::Record::trace) says whether two runs were the same run.

pub(crate) mod attack;
mod devices;
mod faults;
mod net;
mod node;
pub(crate) mod outputs;
pub(crate) mod people;
mod stops;
mod store;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tertulia::broker::{Broker, BrokerConfig, BrokerEvent, MemoryStore, Tables};
use tertulia::chat::{LogId, RoomName};
use tertulia::client::{Client, JournalState};
use tertulia::rng::{Seed, SeededRng};
use tertulia::secure::{BrokerIdentity, NodeIdentity, ResetSecret};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tertulia::wire::is_data;

pub(crate) use net::REPLAYED_EVERY;
pub use net::{Captured, Datagram, Fates, Net, broker_address, is_strangers};
pub use node::{Node, Running, beginning, identity_of, name_of, other_device, successor};
pub use store::SimStore;

use attack::{Attacking, attackers, introduce};

use crate::clock::HostClock;
use crate::errands::Errands;
use crate::fate::mix;
use crate::history::{Life, Observation, Violation};
use crate::memory::{self, of_broker};
use crate::plan::Plan;
use crate::record::{BROKER, Record, Trace};

/// The wall clock, in ms of Unix time, when a run begins.
pub const WALL_START_MS: u64 = 1_700_000_000_000;
/// How long after the end of all faults everything has to be settled (DLV-8).
pub const LIVENESS_BOUND: Duration = Duration::from_secs(60);
/// How long a run goes on when everything is settled: late duplicates are still to come, and what is
/// said to a node that has moved and says nothing, until its next PING (LIF-1).
pub const AFTERWARDS: Duration = Duration::from_secs(20);
/// More events than this in one moment are a busy loop.
const SPIN_MAX: u32 = 100_000;
/// More time-outs than this in one moment are one, too.
const TIMEOUTS_MAX: u32 = 1_000;

/// Something that is going to happen.
enum Event {
    Arrive(Datagram),
    /// The store's oldest request is done; in which of the broker's lives it was asked.
    Stored(u64),
    Journaled(Life, u64),
    Say(usize, u64),
    /// The backup is made that a fault will need.
    Backup(usize),
    Fault(usize),
    FaultEnds(usize),
    /// A node starts, if it does not run.
    Start(usize),
    /// Somebody leaves a room.
    Absence(usize),
    /// And joins it again.
    Back(Life, RoomName),
    /// Somebody does something besides talking.
    Act(usize),
    /// An attacker, or its victim, has something to do.
    Attack(usize),
    /// Somebody has something to do about a device.
    Errand(usize),
}

/// What a node had on its disk, and when.
pub struct Profile {
    made_at: Timestamp,
    journal: JournalState,
    identity: NodeIdentity,
}

/// What was on a disk.
enum Backup {
    Store(Box<MemoryStore>),
    Profile(Box<Profile>),
}

/// A run, and all who take part in it.
pub struct World {
    /// The plan.
    pub plan: Plan,
    /// What has happened.
    pub record: Record,
    /// What the broker told its owner.
    pub broker_events: Vec<(Timestamp, BrokerEvent)>,
    /// The network.
    pub net: Net,
    /// The store.
    pub store: SimStore,
    /// The broker.
    pub broker: Broker,
    /// The people.
    pub nodes: Vec<Node>,
    /// The clocks of the people's hosts, and after them the broker's.
    clocks: Vec<HostClock>,
    /// What has come for hosts that stand still: `None` is the broker's.
    held: BTreeMap<Option<usize>, VecDeque<Event>>,
    /// Strangers who wait for the broker's answer.
    strangers: BTreeMap<SocketAddr, Client>,
    /// The plan's attackers.
    attackers: Vec<Attacking>,
    /// What is done about devices, and when each goes on.
    errands: Vec<(Errands, Option<Timestamp>)>,
    now: Timestamp,
    queue: BTreeMap<(Timestamp, u64), Event>,
    next_event: u64,
    identity: BrokerIdentity,
    /// Whether the broker does not run.
    is_broker_down: bool,
    /// How often the broker has started.
    broker_life: u64,
    /// What the plan's faults restore, by index.
    backups: BTreeMap<usize, Backup>,
    /// How full the broker was, and for how many inputs nobody has looked.
    tables: (Tables, u32),
    /// The most memory that the broker was seen to hold.
    most_held: u64,
    /// Events, and time-outs in a row, at this moment.
    spinning: (u32, u32),
    /// How many lines were shown to anybody.
    lines_shown: u64,
    /// How many lines were typed.
    lines_typed: u64,
    /// When everything was settled.
    settled_at: Option<Timestamp>,
}

/// The seed of a machine.
pub(crate) fn seed_of(seed: u64, role: &str, number: u64) -> Seed {
    let role = role
        .bytes()
        .fold(0, |hash, byte| mix(hash, u64::from(byte)));
    let mut out = [0; 32];
    for (index, part) in out.chunks_mut(8).enumerate() {
        let word = mix(mix(seed, role), mix(number, index as u64));
        part.copy_from_slice(&word.to_be_bytes());
    }
    out
}

/// The name of a plan's room.
///
/// # Panics
///
/// Never: `room0` and its like are names.
#[must_use]
pub fn room_name(room: usize) -> RoomName {
    RoomName::new(&format!("room{room}")).expect("a valid name")
}

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let identity = broker_identity(&plan);
        let clients = 0..plan.topology.clients.len();
        let nodes: Vec<Node> = clients.map(|client| Node::new(&plan, client)).collect();
        let keys = nodes
            .iter()
            .map(|n| (n.identity.account(), n.identity.device()));
        let mut record = Record::new(&plan);
        record.history.keys = keys.collect();
        let store = empty_store(&plan, 0);
        let log = store.memory().log_id();
        let hosts = (0..nodes.len()).map(Some).chain([None]);
        let clocks: Vec<_> = hosts.map(|host| HostClock::new(&plan, host)).collect();
        let broker = new_broker(&plan, &identity, log, 0);
        let mut world = Self {
            record,
            broker_events: Vec::new(),
            net: Net::new(&plan),
            store,
            broker,
            nodes,
            clocks,
            held: BTreeMap::new(),
            strangers: BTreeMap::new(),
            attackers: attackers(&plan, identity.public()),
            errands: devices::errands_of(&plan, identity.public()),
            now: Timestamp::ZERO,
            queue: BTreeMap::new(),
            next_event: 0,
            identity,
            is_broker_down: false,
            broker_life: 0,
            backups: BTreeMap::new(),
            tables: (Tables::default(), 0),
            most_held: 0,
            spinning: (0, 0),
            lines_shown: 0,
            lines_typed: 0,
            settled_at: None,
            plan,
        };
        world.record.history.current = Some(world.store.memory().log_id());
        introduce(&world.attackers, &mut world.record.history);
        world.set_wall_clock();
        world.schedule_plan();
        for client in 0..world.nodes.len() {
            // Who is in no room is not there at all: shrinking leaves people out like that.
            let is_there = !world.nodes[client].rooms.is_empty();
            if is_there && !world.plan.is_linked_later(client) {
                world.start_node(client);
            }
        }
        world
    }

    fn schedule_plan(&mut self) {
        let plan = self.plan.clone();
        for (index, (at_ms, fault)) in plan.faults.iter().enumerate() {
            if let Some(age_ms) = fault.backup_age_ms() {
                let at = Timestamp::from_millis(at_ms.saturating_sub(age_ms));
                self.schedule(at, Event::Backup(index));
            }
            self.schedule(Timestamp::from_millis(*at_ms), Event::Fault(index));
        }
        for (index, absence) in plan.absences.iter().enumerate() {
            let at = Timestamp::from_millis(absence.at_ms);
            self.schedule(at, Event::Absence(index));
        }
        for (index, attacker) in plan.attackers.iter().enumerate() {
            let at = Timestamp::from_millis(attacker.from_ms);
            self.schedule(at, Event::Attack(index));
        }
        for index in 0..self.errands.len() {
            self.schedule_errand(index);
        }
        for (index, act) in plan.acts.iter().enumerate() {
            self.schedule(Timestamp::from_millis(act.at_ms), Event::Act(index));
        }
        for (index, talk) in plan.workload.iter().enumerate() {
            if talk.lines > 0 {
                let at = Timestamp::from_millis(talk.from_ms);
                self.schedule(at, Event::Say(index, 0));
            }
        }
    }

    // ---- getters

    /// The virtual clock.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// How many lines were typed, and how many shown.
    #[must_use]
    pub const fn lines(&self) -> (u64, u64) {
        (self.lines_typed, self.lines_shown)
    }

    /// How long after the healing everything was settled.
    #[must_use]
    pub fn settled_after(&self) -> Option<Duration> {
        let healed = Timestamp::from_millis(self.plan.heals_at_ms());
        self.settled_at.map(|at| at.saturating_since(healed))
    }

    /// The machine of a client that lives.
    ///
    /// # Panics
    ///
    /// If it does not live.
    #[must_use]
    pub fn client(&self, client: usize) -> &Client {
        let running = self.nodes[client].running.as_ref();
        &running.expect("the node lives").client
    }

    /// Whether every living node has an outcome for all it typed, and has shown all there is.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let log = self.store.memory().log_id();
        self.nodes.iter().all(|node| {
            let Some(running) = &node.running else {
                return true;
            };
            running.client.waiting() == 0
                && running.away.is_empty()
                && node.rooms.iter().all(|room| {
                    let shown = running.shown.get(room).copied();
                    let shown = shown.max(self.record.history.base(running.life, room));
                    shown == Some(self.record.history.log(log, room).len() as u64)
                })
        })
    }

    // ---- running

    /// Runs the whole plan: its faults, the healing, and the demand for liveness.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn run(&mut self) -> Result<(), Violation> {
        let heals_at = Timestamp::from_millis(self.plan.heals_at_ms());
        self.run_until(heals_at)?;
        let bound = heals_at + LIVENESS_BOUND;
        while !self.is_settled() && self.now < bound {
            self.step(bound)?;
        }
        self.settled_at = self.is_settled().then_some(self.now);
        self.run_for(AFTERWARDS)?;
        self.finish()
    }

    /// Asks the checkers for what is missing in the end.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn finish(&mut self) -> Result<(), Violation> {
        self.finish_attacks();
        self.record.finish(self.now);
        self.verdict()
    }

    /// Runs for so long.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        self.run_until(self.now + time)
    }

    /// Runs until then.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn run_until(&mut self, end: Timestamp) -> Result<(), Violation> {
        while self.now < end {
            self.step(end)?;
        }
        self.verdict()
    }

    /// Lets the next thing happen; at the latest it is `end` then.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn step(&mut self, end: Timestamp) -> Result<(), Violation> {
        let event_at = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timeout = self.next_timeout();
        // What has arrived is processed before time-outs of the same moment (PROBE-3).
        let timeout = timeout.filter(|(at, _)| event_at.is_none_or(|event| *at < event));
        let next = timeout.map(|(at, _)| at).or(event_at);
        let Some(next) = next.filter(|at| *at <= end) else {
            self.now = end;
            return self.verdict();
        };
        let next = next.max(self.now);
        let (events, timeouts) = match next == self.now {
            true => self.spinning,
            false => (0, 0),
        };
        self.spinning = (events + 1, timeout.map_or(0, |_| timeouts + 1));
        self.now = next;
        if self.spinning.0 > SPIN_MAX {
            self.violate("no_spin", format!("{SPIN_MAX} events at one moment"));
        } else if let Some((_, who)) = timeout {
            self.on_timeout(who);
        } else if let Some((_, event)) = self.queue.pop_first() {
            self.on_event(event);
        }
        self.verdict()
    }

    fn verdict(&self) -> Result<(), Violation> {
        self.record.verdict()
    }

    /// The next time-out, and whose: `None` is the broker.
    fn next_timeout(&self) -> Option<(Timestamp, Option<usize>)> {
        let runs = |host: Option<usize>| self.stopped_until(host).is_none();
        let broker = self.broker.poll_timeout().map(|d| (d.at, None));
        let broker = broker.filter(|_| !self.is_broker_down);
        let nodes = self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let deadline = node.running.as_ref()?.client.poll_timeout()?;
            Some((deadline.at, Some(index)))
        });
        let all = broker.into_iter().chain(nodes);
        let all = all.filter(|(_, host)| runs(*host));
        all.map(|(at, host)| (self.clock(host).world(at), host))
            .min()
    }

    fn on_timeout(&mut self, who: Option<usize>) {
        self.trace_event(
            Trace::Timeout,
            who.map_or(BROKER, |client| client as u64),
            &[],
        );
        if self.spinning.1 > TIMEOUTS_MAX {
            let reason = match who {
                None => format!("broker: {:?}", self.broker.poll_timeout()),
                Some(client) => format!("{client}: {:?}", self.client(client).poll_timeout()),
            };
            self.violate("no_spin", format!("a busy loop of {reason}"));
            return;
        }
        match who {
            None => {
                let now = self.set_wall_clock();
                of_broker(|| self.broker.handle_timeout(now));
                self.drain_broker();
            }
            Some(client) => self.with_client(client, |client, now| client.handle_timeout(now)),
        }
    }

    fn on_event(&mut self, event: Event) {
        let Some(event) = self.hold(event) else {
            return;
        };
        match event {
            Event::Arrive(datagram) => self.deliver(datagram),
            Event::Stored(life) => {
                if life == self.broker_life {
                    self.complete_storage();
                }
            }
            Event::Journaled(life, id) => {
                self.trace_event(Trace::Journaled, life.client as u64, &id.to_be_bytes());
                if self.nodes[life.client].journaled(life, &mut self.record.history) {
                    self.with_client(life.client, |client, now| client.handle_journaled(id, now));
                }
            }
            Event::Say(talk, line) => self.say_next(talk, line),
            Event::Backup(index) => self.back_up(index),
            Event::Start(client) => self.start_node(client),
            Event::Fault(index) => self.fault(index, true),
            Event::FaultEnds(index) => self.fault(index, false),
            Event::Absence(index) => self.leave_room(index),
            Event::Back(life, room) => self.join_again(life, &room),
            Event::Act(index) => self.act(index),
            Event::Attack(index) => self.attack(index),
            Event::Errand(index) => self.go_on_errand(index),
        }
    }

    /// Hands a datagram to whoever is at its address now.
    pub fn deliver(&mut self, datagram: Datagram) {
        let Datagram {
            from,
            to,
            bytes,
            is_damaged,
            sure_lie_of,
        } = datagram;
        if to == broker_address() {
            if self.is_broker_down {
                return;
            }
            self.trace_event(Trace::Arrive, BROKER, &bytes);
            if !is_data(bytes.first().copied().unwrap_or(0)) {
                self.observe(Observation::ShookFrom(from, bytes.len()));
            }
            if is_strangers(from) {
                self.observe(Observation::FromStranger(from, bytes.len()));
            }
            let dropped = self.dropped();
            let now = self.set_wall_clock();
            of_broker(|| {
                // The broker's own copy: it is its memory, if it keeps it.
                let data = BytesMut::from(&bytes[..]);
                self.broker.handle_datagram(Path::new(from), data, now);
            });
            if is_damaged && self.dropped() == dropped {
                self.observe(Observation::DamageTaken(None));
            }
            if is_data(bytes.first().copied().unwrap_or(0)) && self.dropped() == dropped {
                self.note_heard(from);
                if let Some(index) = sure_lie_of {
                    self.find_out(index);
                }
            }
            self.drain_broker();
        } else if let Some(client) = self.net.client_at(to) {
            self.trace_event(Trace::Arrive, client as u64, &bytes);
            if client >= self.nodes.len() {
                return self.hear_errand(client, &bytes);
            }
            let data = BytesMut::from(&bytes[..]);
            let is_dropped = self.with_client(client, |client, now| {
                let dropped = || client.drops().iter().map(|(_, count)| count).sum::<u64>();
                let before = dropped();
                client.handle_datagram(Path::new(from), data, now);
                let dropped = || client.drops().iter().map(|(_, count)| count).sum::<u64>();
                Some(dropped() > before)
            });
            if is_damaged && is_dropped == Some(false) {
                self.observe(Observation::DamageTaken(Some(client)));
            }
        }
    }

    /// How many datagrams the broker has dropped.
    fn dropped(&self) -> u64 {
        self.broker.drops().iter().map(|(_, count)| count).sum()
    }

    /// The broker has taken an authentic packet; who copies one gets it heard all the same (PTH-1).
    fn note_heard(&mut self, from: SocketAddr) {
        let attacker = net::attacker_at(from).map(|index| self.nodes.len() + index);
        // Errands are no sign of life (DEV-2).
        let clients = 0..self.nodes.len();
        let node = self.net.sender_at(from).filter(|way| clients.contains(way));
        if let Some(client) = node.or(attacker) {
            self.record.history.note_heard(client, self.now);
        }
    }

    fn complete_storage(&mut self) {
        let Some((completion, observations)) = self.store.complete() else {
            return;
        };
        self.trace_event(Trace::Stored, completion.id, &[]);
        for observation in observations {
            self.observe(observation);
        }
        let now = self.set_wall_clock();
        of_broker(|| self.broker.handle_storage(memory::told(completion), now));
        self.drain_broker();
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        self.queue.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    // ---- the record

    fn observe(&mut self, observation: Observation) {
        self.record.observe(observation, self.now);
    }

    fn violate(&mut self, checker: &'static str, detail: String) {
        self.record.violate(checker, detail, self.now);
    }

    fn trace_event(&mut self, kind: Trace, whom: u64, bytes: &[u8]) {
        self.record.add(kind, whom, bytes, self.now);
    }
}

/// Who the broker is at first.
pub(crate) fn broker_identity(plan: &Plan) -> BrokerIdentity {
    let mut rng = SeededRng::new(seed_of(plan.seed, "broker identity", 0));
    BrokerIdentity::generate(&mut rng)
}

/// A store for one of the broker's histories.
fn empty_store(plan: &Plan, number: u64) -> SimStore {
    let mut rng = SeededRng::new(seed_of(plan.seed, "log", number));
    let latency = Duration::from_millis(plan.store_ms);
    SimStore::new(LogId(rng.bytes()), latency, plan.seed)
}

/// One of the broker's lives.
fn new_broker(plan: &Plan, identity: &BrokerIdentity, log: LogId, life: u64) -> Broker {
    let config = BrokerConfig {
        grace: Duration::from_millis(plan.grace_ms),
        // One for all lives of the broker (RST-1).
        reset_secret: Some(ResetSecret::new(seed_of(plan.seed, "reset secret", 0))),
        ..BrokerConfig::default()
    };
    let seed = seed_of(plan.seed, "broker", life);
    of_broker(|| Broker::new(config, identity.clone(), log, seed))
}

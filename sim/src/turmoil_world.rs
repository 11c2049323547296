//! The turmoil level: the real drivers in a simulated world, under the same plans, fates and
//! checkers as the core level.
//!
//! ```text
//! host `people`: a driver per client --> host `wire`: a way per client --> host `broker`: a driver
//! ```
//!
//! turmoil itself is a perfect network here. All that goes wrong is done by the wire host, which
//! relays each client's datagrams through a pair of sockets: an inner one that the client takes for
//! the broker, and an outer one that the broker takes for the client. Binding another outer socket
//! is a change of address.

mod people;
mod wire;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tertulia::broker::{Broker, BrokerConfig};
use tertulia::chat::{LogId, RoomName};
use tertulia::driver::{Clock, DatagramSocket, Driver, Immediate};
use tertulia::mutant::{self, Mutant};
use tertulia::rng::SeededRng;
use tertulia::secure::{BrokerIdentity, ResetSecret};
use tertulia::situation;
use tertulia::time::Timestamp;
use turmoil::net::UdpSocket;

use crate::history::Observation;
use crate::plan::Plan;
use crate::record::Record;
use crate::run::Outcome;
use crate::watch::watched;
use crate::world::{AFTERWARDS, LIVENESS_BOUND, Net, SimStore, WALL_START_MS, seed_of};

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
    typed: u64,
    stored: u64,
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
        let mut shared = self.lock();
        match &observation {
            Observation::Typed(_) => shared.typed += 1,
            Observation::Stored(..) => shared.stored += 1,
            Observation::Shown {
                life, room, line, ..
            } => {
                shared.lines_shown += 1;
                shared.shown.insert((life.client, room.clone()), line.seq);
            }
            _ => {}
        }
        shared.record.observe(observation, now());
    }
}

impl Shared {
    /// Whether all has been said, stored, and shown to everybody.
    fn is_settled(&self, plan: &Plan) -> bool {
        let Some(log) = self.record.history.current else {
            return false;
        };
        let history = &self.record.history;
        self.typed == plan.lines()
            && self.stored == self.typed
            && history.alive.values().all(|(life, rooms)| {
                rooms.iter().all(|room| {
                    let shown = self.shown.get(&(life.client, room.clone())).copied();
                    let shown = shown.max(history.base(*life, room));
                    shown == Some(history.log(log, room).len() as u64)
                })
            })
    }
}

/// What time it is on the present host.
fn now() -> Timestamp {
    Timestamp::ZERO + turmoil::elapsed()
}

/// A driver's clocks. The wall clock never says the same twice, so that the time of typing names a
/// line.
fn clock() -> Clock {
    let last = Mutex::new(0);
    Clock::with_wall(move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (WALL_START_MS + now().as_millis()).max(*last + 1);
        *last
    })
}

/// Runs a plan with the real drivers, with a deliberate fault in them if one is given. Of its faults, those of the network are there.
///
/// The record comes with the outcome, for a closer look.
#[must_use]
pub fn run(plan: &Plan, mutant: Option<Mutant>) -> (Outcome, Record) {
    mutant::activate(mutant);
    let _of_others = situation::take();
    let state = State(Arc::new(Mutex::new(Shared {
        record: Record::default(),
        net: Net::new(plan),
        shown: BTreeMap::new(),
        typed: 0,
        stored: 0,
        lines_shown: 0,
        settled_at: None,
    })));
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
        broker(broker_plan.clone(), of_broker.clone())
    });
    let (of_wire, wire_plan) = (state.clone(), plan.clone());
    sim.host("wire", move || {
        wire::run(wire_plan.clone(), of_wire.clone())
    });
    sim.client("people", people::run(plan.clone(), state.clone()));
    let result = sim.run();
    *simulated = sim.elapsed();
    result
}

async fn bind(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await
}

/// The broker's host. It does not end by itself.
async fn broker(plan: Plan, state: State) -> Result<(), Box<dyn Error>> {
    let mut rng = SeededRng::new(seed_of(plan.seed, "broker identity", 0));
    let identity = BrokerIdentity::generate(&mut rng);
    let log = LogId(SeededRng::new(seed_of(plan.seed, "log", 0)).bytes());
    state.lock().record.history.current = Some(log);
    let config = BrokerConfig {
        grace: Duration::from_millis(plan.grace_ms),
        // One for all lives of the broker (RST-1).
        reset_secret: Some(ResetSecret::new(seed_of(plan.seed, "reset secret", 0))),
    };
    let broker = Broker::new(config, identity, log, seed_of(plan.seed, "broker", 0));
    let mut memory = SimStore::new(log, Duration::ZERO, plan.seed);
    let store = Immediate::new(move |request| {
        let _at_once = memory.submit(request, now());
        let (completion, observations) = memory.complete().expect("a request was submitted");
        for observation in observations {
            state.observe(observation);
        }
        completion
    });
    let sockets = vec![SimSocket(bind(BROKER_PORT).await?)];
    let (driver, mut ends) = Driver::new(broker, sockets, store, clock());
    let running = tokio::spawn(driver.run());
    while ends.events.recv().await.is_some() {}
    running.await?;
    Ok(())
}

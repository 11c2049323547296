//! A bad network: a UDP relay between nodes and a broker that loses, delays, reorders, repeats and
//! damages datagrams, and remembers all that it was given.
//!
//! Each node gets a socket of its own toward the broker, as a translating router gives it. What
//! happens to the n-th datagram of a direction is drawn from a seed; when it happens is up to the
//! machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use tertulia::cli::demo::Lane;

pub(crate) use tertulia::cli::demo::Faults;

use super::PATIENCE;

/// How often a thread that receives looks whether it is still wanted.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToBroker,
    ToNode,
}

/// A datagram as its sender sent it.
#[derive(Clone)]
pub(crate) struct Captured {
    pub(crate) direction: Direction,
    /// The node's address, whichever the direction.
    pub(crate) node: SocketAddr,
    /// The address that the broker saw of the node.
    pub(crate) outer: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// What somebody got who sends copies of a node's datagrams ahead of the originals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copied {
    /// Bytes of the copies.
    pub(crate) sent: usize,
    /// Bytes that the broker sent there.
    pub(crate) received: usize,
    /// The longest datagram among those.
    pub(crate) longest: usize,
}

/// The relay, which stops when this is dropped.
pub(crate) struct Relay {
    /// Where nodes find it.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    broker: SocketAddr,
    front: UdpSocket,
    faults: Faults,
    state: Mutex<State>,
    due: Condvar,
    is_stopped: AtomicBool,
    is_out: AtomicBool,
}

struct State {
    to_broker: Lane,
    to_node: Lane,
    /// The relay's own side toward the broker.
    outer_ip: IpAddr,
    routes: BTreeMap<SocketAddr, Arc<UdpSocket>>,
    /// One for each node whose datagrams are copied.
    copiers: BTreeMap<SocketAddr, Copier>,
    are_copied: bool,
    capture: Vec<Captured>,
    /// How many datagrams outages have lost.
    swallowed: u64,
    /// What is on its way, the soonest first, by the time it arrives and a serial number.
    travelling: BinaryHeap<Reverse<(Instant, u64, Parcel)>>,
    parcels: u64,
}

/// Somebody on the way who sends what a node sends, from an address of its own.
struct Copier {
    socket: UdpSocket,
    copied: Copied,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    to_broker: bool,
    node: SocketAddr,
    bytes: Vec<u8>,
}

impl Relay {
    /// A relay to `broker` that does the same to both directions, as `seed` has it.
    pub(crate) fn start(broker: SocketAddr, faults: Faults, seed: u8) -> Self {
        let front = UdpSocket::bind((broker.ip(), 0)).expect("a port of loopback");
        front
            .set_read_timeout(Some(LOOK_UP))
            .expect("a time-out is set");
        let address = front.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            broker,
            front,
            faults,
            state: Mutex::new(State {
                to_broker: Lane::new([seed; 32]),
                to_node: Lane::new([!seed; 32]),
                outer_ip: broker.ip(),
                routes: BTreeMap::new(),
                copiers: BTreeMap::new(),
                are_copied: false,
                capture: Vec::new(),
                swallowed: 0,
                travelling: BinaryHeap::new(),
                parcels: 0,
            }),
            due: Condvar::new(),
            is_stopped: AtomicBool::new(false),
            is_out: AtomicBool::new(false),
        });
        let (receiver, carrier) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::spawn(move || receive_from_nodes(&receiver));
        thread::spawn(move || carrier.carry());
        Self { address, shared }
    }

    /// Loses everything from now on, or nothing more than before.
    pub(crate) fn set_outage(&self, is_out: bool) {
        self.shared.is_out.store(is_out, Ordering::Relaxed);
    }

    /// Waits until outages have lost this many datagrams.
    pub(crate) fn has_swallowed(&self, datagrams: u64) {
        self.wait_until(|state| state.swallowed >= datagrams);
    }

    /// Waits until it was given this many datagrams.
    pub(crate) fn was_given(&self, datagrams: usize) {
        self.wait_until(|state| state.capture.len() >= datagrams);
    }

    /// Waits until the broker sends every node datagrams of more than `len` bytes to the address
    /// that it has now.
    pub(crate) fn has_moved_everybody(&self, len: usize) {
        let arrives = |state: &State, (node, route): (&SocketAddr, &Arc<UdpSocket>)| {
            let outer = address_of(route);
            let mut latest = state.capture.iter().rev();
            latest.any(|captured| {
                captured.direction == Direction::ToNode
                    && (captured.node, captured.outer) == (*node, outer)
                    && captured.bytes.len() > len
            })
        };
        self.wait_until(|state| {
            let nodes: BTreeSet<_> = state.capture.iter().map(|captured| captured.node).collect();
            let mut routes = state.routes.iter();
            routes.len() == nodes.len() && routes.all(|route| arrives(state, route))
        });
    }

    fn wait_until(&self, done: impl Fn(&State) -> bool) {
        let state = self.shared.lock();
        let (_state, waited) = self
            .shared
            .due
            .wait_timeout_while(state, PATIENCE, |state| !done(state))
            .expect("no thread of the relay panics");
        assert!(!waited.timed_out(), "too few datagrams came");
    }

    /// Gives every node a new address toward the broker, as a router that has forgotten them.
    pub(crate) fn rebind(&self) {
        self.shared.lock().routes.clear();
    }

    /// The same, and the new addresses are on `ip`.
    pub(crate) fn rebind_on(&self, ip: impl Into<IpAddr>) {
        let mut state = self.shared.lock();
        state.outer_ip = ip.into();
        state.routes.clear();
    }

    /// Sends a copy of each datagram to the broker ahead of it from now on, from an address that
    /// is not the node's; or no longer.
    pub(crate) fn set_copied(&self, are_copied: bool) {
        self.shared.lock().are_copied = are_copied;
    }

    /// What those who sent copies have got, one for each node.
    pub(crate) fn copied(&self) -> Vec<Copied> {
        let mut state = self.shared.lock();
        let copiers = state.copiers.values_mut();
        copiers
            .map(|copier| {
                copier.listen();
                copier.copied
            })
            .collect()
    }

    /// Everything that it was given so far.
    pub(crate) fn capture(&self) -> Vec<Captured> {
        self.shared.lock().capture.clone()
    }

    /// How many datagrams it has damaged.
    pub(crate) fn flipped(&self) -> u64 {
        let state = self.shared.lock();
        state.to_broker.flipped() + state.to_node.flipped()
    }

    /// Sends everything of `capture` once more, from the addresses that the relay has now.
    pub(crate) fn replay(&self, capture: &[Captured]) {
        for captured in capture {
            let parcel = Parcel {
                to_broker: captured.direction == Direction::ToBroker,
                node: captured.node,
                bytes: captured.bytes.clone(),
            };
            self.shared.hand_over(&self.shared.lock(), &parcel);
            pace();
        }
    }
}

/// Sends everything of `capture` that nodes sent to a broker to `broker`, from a stranger's
/// address. Returns what came back while it did.
pub(crate) fn replay_into(broker: SocketAddr, capture: &[Captured]) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind((broker.ip(), 0)).expect("a port of loopback");
    let mut answers = Vec::new();
    for captured in capture {
        if captured.direction == Direction::ToBroker {
            let _ = socket.send_to(&captured.bytes, broker);
            pace();
            answers.extend(drain(&socket));
        }
    }
    answers
}

/// What has arrived at `socket`.
pub(crate) fn drain(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket
        .set_nonblocking(true)
        .expect("a socket need not block");
    let mut buffer = [0; 65_536];
    let mut arrived = Vec::new();
    while let Ok(count) = socket.recv(&mut buffer) {
        arrived.push(buffer[..count].to_vec());
    }
    arrived
}

fn address_of(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("a bound socket has an address")
}

/// Keeps a flood below what the receiver's buffer holds: nothing waits for this.
fn pace() {
    thread::sleep(Duration::from_micros(200));
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        self.shared.due.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the relay panics")
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Takes one datagram in, and sends on what becomes of it.
    fn take(&self, captured: Captured) {
        let mut state = self.lock();
        let Captured {
            direction,
            node,
            bytes,
            ..
        } = captured.clone();
        state.capture.push(captured);
        if self.is_out.load(Ordering::Relaxed) {
            state.swallowed += 1;
            self.due.notify_all();
            return;
        }
        let lane = match direction {
            Direction::ToBroker => &mut state.to_broker,
            Direction::ToNode => &mut state.to_node,
        };
        for (delay, bytes) in lane.judge(&self.faults, &bytes) {
            let serial = state.parcels;
            state.parcels += 1;
            let parcel = Parcel {
                to_broker: direction == Direction::ToBroker,
                node,
                bytes,
            };
            let at = super::now() + delay;
            state.travelling.push(Reverse((at, serial, parcel)));
        }
        self.due.notify_all();
    }

    /// Hands over what has arrived, until the relay stops.
    fn carry(&self) {
        let mut state = self.lock();
        while !self.is_stopped() {
            let now = super::now();
            let wait = match state.travelling.peek() {
                None => LOOK_UP,
                Some(Reverse((at, ..))) => at.saturating_duration_since(now),
            };
            if !wait.is_zero() {
                (state, _) = self
                    .due
                    .wait_timeout(state, wait)
                    .expect("no thread of the relay panics");
                continue;
            }
            if let Some(Reverse((_, _, parcel))) = state.travelling.pop() {
                self.copy(&mut state, &parcel);
                self.hand_over(&state, &parcel);
            }
        }
    }

    /// Errors are those of a peer that is away, whose datagrams are lost like others.
    fn hand_over(&self, state: &State, parcel: &Parcel) {
        if !parcel.to_broker {
            let _ = self.front.send_to(&parcel.bytes, parcel.node);
        } else if let Some(socket) = state.routes.get(&parcel.node) {
            let _ = socket.send(&parcel.bytes);
        }
    }

    /// Sends a copy of what goes to the broker, if copies are asked for.
    fn copy(&self, state: &mut State, parcel: &Parcel) {
        if parcel.to_broker && state.are_copied {
            let copier = state.copiers.entry(parcel.node);
            copier
                .or_insert_with(|| Copier::toward(self.broker))
                .send(&parcel.bytes);
        }
    }

    /// The node's address toward the broker, which it has from its first datagram on.
    fn open_route(self: &Arc<Self>, node: SocketAddr) -> SocketAddr {
        let mut state = self.lock();
        if let Some(route) = state.routes.get(&node) {
            return address_of(route);
        }
        let socket = UdpSocket::bind((state.outer_ip, 0)).expect("a port of loopback");
        socket.connect(self.broker).expect("loopback is reachable");
        socket
            .set_read_timeout(Some(LOOK_UP))
            .expect("a time-out is set");
        let outer = address_of(&socket);
        let socket = Arc::new(socket);
        state.routes.insert(node, Arc::clone(&socket));
        let shared = Arc::clone(self);
        thread::spawn(move || receive_from_broker(&shared, node, &socket));
        outer
    }

    fn is_route(&self, node: SocketAddr, socket: &Arc<UdpSocket>) -> bool {
        let state = self.lock();
        let route = state.routes.get(&node);
        route.is_some_and(|route| Arc::ptr_eq(route, socket))
    }
}

fn receive_from_nodes(shared: &Arc<Shared>) {
    let mut buffer = [0; 65_536];
    while !shared.is_stopped() {
        if let Ok((count, node)) = shared.front.recv_from(&mut buffer) {
            let outer = shared.open_route(node);
            shared.take(Captured {
                direction: Direction::ToBroker,
                node,
                outer,
                bytes: buffer[..count].to_vec(),
            });
        }
    }
}

fn receive_from_broker(shared: &Shared, node: SocketAddr, socket: &Arc<UdpSocket>) {
    let mut buffer = [0; 65_536];
    while !shared.is_stopped() && shared.is_route(node, socket) {
        if let Ok(count) = socket.recv(&mut buffer)
            && shared.is_route(node, socket)
        {
            shared.take(Captured {
                direction: Direction::ToNode,
                node,
                outer: address_of(socket),
                bytes: buffer[..count].to_vec(),
            });
        }
    }
}

impl Copier {
    fn toward(broker: SocketAddr) -> Self {
        let socket = UdpSocket::bind((broker.ip(), 0)).expect("a port of loopback");
        socket.connect(broker).expect("loopback is reachable");
        Self {
            socket,
            copied: Copied::default(),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.copied.sent += bytes.len();
        let _ = self.socket.send(bytes);
        self.listen();
    }

    fn listen(&mut self) {
        for datagram in drain(&self.socket) {
            self.copied.received += datagram.len();
            self.copied.longest = self.copied.longest.max(datagram.len());
        }
    }
}

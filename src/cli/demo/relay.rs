//! A UDP relay between nodes and a broker: the bad network of the demonstration.
//!
//! Each node gets a socket of its own toward the broker, as a translating router gives it; after
//! [`Relay::rebind`] it gets another one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::network::{Faults, Lane};
use crate::driver::{Clock, system_seed};
use crate::rng::SeededRng;
use crate::time::Timestamp;

/// How many datagrams wait to be looked at; more than that are lost, as on any router.
const QUEUE_MAX: usize = 1_024;
/// More than any datagram of the protocol.
const BUFFER_BYTES: usize = 2_048;
/// Any port of this machine.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The relay, which stops when this is dropped.
pub(super) struct Relay {
    /// Where nodes find it.
    pub(super) address: SocketAddr,
    /// How often it has given every node a new address.
    rebinds: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

/// A datagram that has come in.
struct Taken {
    is_to_broker: bool,
    node: SocketAddr,
    bytes: Vec<u8>,
}

/// A datagram under way, the soonest first.
type Parcel = Reverse<(Timestamp, u64, bool, SocketAddr, Vec<u8>)>;

struct Network {
    front: Arc<UdpSocket>,
    broker: SocketAddr,
    faults: Faults,
    to_broker: Lane,
    to_node: Lane,
    routes: BTreeMap<SocketAddr, Arc<UdpSocket>>,
    readers: JoinSet<()>,
    taken: mpsc::Sender<Taken>,
    travelling: BinaryHeap<Parcel>,
    parcels: u64,
    clock: Clock,
}

impl Relay {
    /// A relay to `broker` that does the same to both directions.
    pub(super) async fn start(broker: SocketAddr, faults: Faults) -> io::Result<Self> {
        let front = Arc::new(UdpSocket::bind(LOOPBACK).await?);
        let address = front.local_addr()?;
        let mut rng = SeededRng::new(system_seed()?);
        let (taken, incoming) = mpsc::channel(QUEUE_MAX);
        let (rebinds, rebound) = watch::channel(0);
        let network = Network {
            front: Arc::clone(&front),
            broker,
            faults,
            to_broker: Lane::new(rng.fork()),
            to_node: Lane::new(rng.fork()),
            routes: BTreeMap::new(),
            readers: JoinSet::new(),
            taken: taken.clone(),
            travelling: BinaryHeap::new(),
            parcels: 0,
            clock: Clock::system(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(front, None, taken));
        tasks.spawn(network.run(incoming, rebound));
        Ok(Self {
            address,
            rebinds,
            _tasks: tasks,
        })
    }

    /// Gives every node a new address toward the broker, as a router that has forgotten them.
    pub(super) fn rebind(&self) {
        self.rebinds.send_modify(|count| *count += 1);
    }
}

/// Takes what comes in at `socket`: from `node`, or, at the front, from whoever sends it.
async fn receive(socket: Arc<UdpSocket>, node: Option<SocketAddr>, taken: mpsc::Sender<Taken>) {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        // An error is what an ICMP message said of a broker that is away: it comes back.
        if let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let datagram = Taken {
                is_to_broker: node.is_none(),
                node: node.unwrap_or(from),
                bytes: buffer[..len].to_vec(),
            };
            match taken.try_send(datagram) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}

impl Network {
    async fn run(mut self, mut incoming: mpsc::Receiver<Taken>, mut rebound: watch::Receiver<u64>) {
        loop {
            let due = self.travelling.peek().map(|Reverse((at, ..))| *at);
            select! {
                biased;
                changed = rebound.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.routes.clear();
                    self.readers.abort_all();
                }
                () = self.clock.sleep_until(due) => self.hand_over().await,
                Some(datagram) = incoming.recv() => self.take(&datagram).await,
            }
        }
    }

    async fn take(&mut self, datagram: &Taken) {
        if datagram.is_to_broker && self.open_route(datagram.node).await.is_err() {
            // Without a socket it is lost, as so much else.
            return;
        }
        let lane = if datagram.is_to_broker {
            &mut self.to_broker
        } else {
            &mut self.to_node
        };
        let now = self.clock.now();
        for (delay, bytes) in lane.judge(&self.faults, &datagram.bytes) {
            let parcel = (
                now + delay,
                self.parcels,
                datagram.is_to_broker,
                datagram.node,
                bytes,
            );
            self.parcels += 1;
            self.travelling.push(Reverse(parcel));
        }
    }

    /// Hands over the datagram that is due.
    async fn hand_over(&mut self) {
        let Some(Reverse((_, _, is_to_broker, node, bytes))) = self.travelling.pop() else {
            return;
        };
        // Errors are those of a peer that is away, whose datagrams are lost like others.
        if !is_to_broker {
            let _ = self.front.send_to(&bytes, node).await;
        } else if let Some(route) = self.routes.get(&node) {
            let _ = route.send(&bytes).await;
        }
    }

    /// The node's address toward the broker, which it has from its next datagram on.
    async fn open_route(&mut self, node: SocketAddr) -> io::Result<()> {
        if self.routes.contains_key(&node) {
            return Ok(());
        }
        let socket = UdpSocket::bind(LOOPBACK).await?;
        socket.connect(self.broker).await?;
        let socket = Arc::new(socket);
        self.routes.insert(node, Arc::clone(&socket));
        let reader = receive(socket, Some(node), self.taken.clone());
        self.readers.spawn(reader);
        Ok(())
    }
}

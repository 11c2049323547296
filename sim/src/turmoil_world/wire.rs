//! The wire host: relays every client's datagrams, each to its fate.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io;
use std::net::SocketAddr;

use tertulia::time::Timestamp;
use tertulia::wire::DATAGRAM_MAX;
use tokio::select;
use turmoil::net::UdpSocket;

use super::{BROKER_PORT, State, WIRE_PORT, bind, now, sleep_until};
use crate::errands;
use crate::fate::Direction;
use crate::plan::{Fault, Plan};
use crate::record::Trace;
use crate::world::{REPLAYED_EVERY, is_strangers};

/// Relays until the run is over.
pub(super) async fn run(plan: Plan, state: State) -> Result<(), Box<dyn Error>> {
    let broker = SocketAddr::new(turmoil::lookup("broker"), BROKER_PORT);
    let mut ways = Vec::new();
    for way in 0..plan.topology.clients.len() + errands::ways(&plan) {
        let way = Relay::new(way, &plan, broker, state.clone()).await?;
        ways.push(tokio::spawn(way.run()));
    }
    for way in ways {
        way.await??;
    }
    Ok(())
}

/// On which way out of the relay something is.
#[derive(Clone, Copy)]
enum Hop {
    Up,
    Copied,
    Down,
}

/// One client's way, or that of an errand.
struct Relay {
    client: usize,
    /// Whether it is an errand's, whose packets are no sign of life (DEV-2).
    is_errand: bool,
    /// Toward the client, which takes it for the broker.
    inner: UdpSocket,
    /// Toward the broker, which takes it for the client.
    outer: UdpSocket,
    /// Somebody's who copies what the client sends.
    copier: UdpSocket,
    /// The client's address, once heard.
    node: Option<SocketAddr>,
    broker: SocketAddr,
    /// What is under way, by the time of its arrival.
    under_way: BTreeMap<(Timestamp, u64), (Hop, Vec<u8>)>,
    next: u64,
    /// The faults that begin and end, in order, each with its index in the plan.
    faults: VecDeque<(Timestamp, usize, Fault, bool)>,
    state: State,
}

impl Relay {
    async fn new(client: usize, plan: &Plan, broker: SocketAddr, state: State) -> io::Result<Self> {
        let is_errand = client >= plan.topology.clients.len();
        let mut faults = Vec::new();
        for (index, (at_ms, fault)) in plan.faults.iter().enumerate() {
            if fault.client() == Some(client) {
                let ends_ms = at_ms + fault.lasts_ms();
                let begins = Timestamp::from_millis(*at_ms);
                faults.push((begins, index, fault.clone(), true));
                let ends = Timestamp::from_millis(ends_ms);
                faults.push((ends, index, fault.clone(), false));
            }
        }
        faults.sort_by_key(|(at, ..)| *at);
        let copier = bind(0).await?;
        let address = seen_from_outside(&copier)?;
        {
            let mut shared = state.lock();
            if !is_errand {
                shared.senders.insert(address, client);
            }
            shared.strangers.insert(address);
        }
        Ok(Self {
            client,
            is_errand,
            inner: bind(WIRE_PORT + client as u16).await?,
            outer: bind_outer(client, is_errand, &state).await?,
            copier,
            node: None,
            broker,
            under_way: BTreeMap::new(),
            next: 0,
            faults: faults.into(),
            state,
        })
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            let delivery = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let fault = self.faults.front().map(|(at, ..)| *at);
            let next = delivery.into_iter().chain(fault).min();
            select! {
                biased;
                result = self.inner.readable() => result?,
                result = self.outer.readable() => result?,
                () = sleep_until(next) => {}
            }
            self.take(Direction::Up);
            self.take(Direction::Down);
            self.act_on_faults().await?;
            self.deliver();
        }
    }

    /// Takes what has come from one side, and finds out its fate.
    fn take(&mut self, direction: Direction) {
        let socket = match direction {
            Direction::Up => &self.inner,
            Direction::Down => &self.outer,
        };
        let mut buffer = [0; DATAGRAM_MAX + 1];
        while let Ok((len, from)) = socket.try_recv_from(&mut buffer) {
            if direction == Direction::Up {
                self.node = Some(from);
            }
            let mut shared = self.state.lock();
            let datagram = &buffer[..len];
            shared
                .record
                .add(Trace::Send, self.client as u64, datagram, now());
            let arrivals = shared
                .net
                .send(self.client, direction, self.broker, datagram, now());
            for (at, datagram) in arrivals {
                let hop = match direction {
                    Direction::Up if is_strangers(datagram.from) => Hop::Copied,
                    Direction::Up => Hop::Up,
                    Direction::Down => Hop::Down,
                };
                self.under_way
                    .insert((at, self.next), (hop, datagram.bytes));
                self.next += 1;
            }
        }
    }

    /// Lets arrive what is due.
    fn deliver(&mut self) {
        while let Some(entry) = self.under_way.first_entry()
            && entry.key().0 <= now()
        {
            let (hop, bytes) = entry.remove();
            // Sending fails for nobody but a peer that is gone.
            let _ = match (hop, self.node) {
                (Hop::Up, _) => self.outer.try_send_to(&bytes, self.broker),
                (Hop::Copied, _) => self.copier.try_send_to(&bytes, self.broker),
                (Hop::Down, Some(node)) => self.inner.try_send_to(&bytes, node),
                (Hop::Down, None) => continue,
            };
        }
    }

    async fn act_on_faults(&mut self) -> io::Result<()> {
        while self.faults.front().is_some_and(|(at, ..)| *at <= now())
            && let Some((_, index, fault, begins)) = self.faults.pop_front()
        {
            self.state.lock().net.apply(&fault, begins);
            if let Fault::Replay { .. } = fault {
                self.replay(index);
            }
            let moves = match fault {
                Fault::NewAddress { .. } => !begins,
                Fault::Rebind { .. } => begins,
                _ => false,
            };
            if moves {
                self.outer = bind_outer(self.client, self.is_errand, &self.state).await?;
            }
        }
        Ok(())
    }
}

impl Relay {
    /// What was recorded on the way is sent again, both ways.
    fn replay(&mut self, index: usize) {
        let mut shared = self.state.lock();
        let recorded = shared.net.take_recorded(index);
        for (number, (sent_at, direction, bytes)) in recorded.into_iter().enumerate() {
            shared.record.history.note_replay(self.client, sent_at);
            let hop = match direction {
                Direction::Up => Hop::Up,
                Direction::Down => Hop::Down,
            };
            let at = now() + REPLAYED_EVERY * number as u32;
            self.under_way.insert((at, self.next), (hop, bytes));
            self.next += 1;
        }
    }
}

/// The address of one of the wire's sockets, as the broker sees it.
fn seen_from_outside(socket: &UdpSocket) -> io::Result<SocketAddr> {
    let port = socket.local_addr()?.port();
    Ok(SocketAddr::new(turmoil::lookup("wire"), port))
}

/// A socket toward the broker, known to be a client's, if it is one's.
async fn bind_outer(client: usize, is_errand: bool, state: &State) -> io::Result<UdpSocket> {
    let socket = bind(0).await?;
    let address = seen_from_outside(&socket)?;
    if !is_errand {
        state.lock().senders.insert(address, client);
    }
    Ok(socket)
}

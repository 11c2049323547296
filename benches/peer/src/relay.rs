//! The server: gives what a sender sends, unchanged, to every receiver of the same group.
//!
//! One task owns the socket and all links. A turn of it takes a bounded number of datagrams, then
//! fires the timers that are due, hands on the messages that have come, and sends a bounded number
//! of trains, a train for each link in turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::process;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tertulia::driver::{DATAGRAMS_PER_TURN, TRAINS_PER_TURN, system_seed};
use tertulia::link::{CongestionControl, Link, LinkConfig, LinkEvent, Side};
use tertulia::rng::SeededRng;
use tertulia::secure::{BrokerIdentity, BrokerPayload, NodeEstablished, Response, respond};
use tertulia::time::Timestamp;
use tertulia::transmit::{Origin, Path};
use tertulia::wire::{BrokerCid, Handshake, Hello, NodeCid, ResetToken, is_data};
use tokio::task::yield_now;

use crate::Result;
use crate::host::{now, now_ns};
use crate::port::Port;
use crate::protocol::{CHANNEL, Info, Role, server_identity};

/// The server.
pub struct Relay {
    port: Port,
    identity: BrokerIdentity,
    rng: SeededRng,
    /// All links that there ever were. A connection id begins with a link's place here.
    peers: Vec<Peer>,
    receivers: BTreeMap<u32, Vec<usize>>,
    /// The links that may have something to send.
    busy: VecDeque<usize>,
    /// When each link's timer is due.
    deadlines: BTreeSet<(Timestamp, usize)>,
    info: Info,
}

/// The server's end of a link.
struct Peer {
    link: Link,
    role: Option<(Role, u32)>,
    /// Messages that the link does not take yet.
    waiting: VecDeque<Bytes>,
    is_busy: bool,
    deadline: Option<Timestamp>,
    /// What the ACCEPT answered, and the ACCEPT, until the first packet has come (SEC-6).
    accepted: Option<(Bytes, Bytes, Timestamp)>,
}

impl Relay {
    /// A server at `address`.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            port: Port::bind(address)?,
            identity: server_identity(),
            rng: SeededRng::new(system_seed()?),
            peers: Vec::new(),
            receivers: BTreeMap::new(),
            busy: VecDeque::new(),
            deadlines: BTreeSet::new(),
            info: Info {
                pid: process::id(),
                bulk_bytes: 0,
                bulk_last_ns: 0,
            },
        })
    }

    /// Serves until the process ends.
    pub async fn run(mut self) {
        loop {
            self.take_datagrams();
            let now = now();
            self.fire_timers(now);
            self.hand_on(now);
            let has_more = self.transmit(now);
            if has_more {
                yield_now().await;
            } else {
                let due = self.deadlines.first().map(|(at, _)| *at);
                self.port.wait(due).await;
            }
        }
    }

    // ---- in

    fn take_datagrams(&mut self) {
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some((origin, datagram)) = self.port.receive() else {
                return;
            };
            if datagram.first().is_some_and(|&first| is_data(first)) {
                self.on_data(origin, datagram);
            } else {
                self.on_handshake(origin.path, &datagram.freeze());
            }
        }
    }

    fn on_data(&mut self, origin: Origin, datagram: BytesMut) {
        let place = datagram.get(1..5).and_then(|bytes| bytes.try_into().ok());
        let place = place.map_or(usize::MAX, |bytes| u32::from_be_bytes(bytes) as usize);
        let Some(peer) = self.peers.get_mut(place) else {
            return;
        };
        let now = now();
        let handled = peer.link.handle_datagram(origin, datagram, now);
        if handled.is_ok()
            && let Some((.., since)) = peer.accepted.take()
        {
            peer.link.hint_rtt(now.saturating_since(since), now);
        }
        self.touch(place);
    }

    fn on_handshake(&mut self, path: Path, datagram: &Bytes) {
        let again = self.peers.iter().find_map(|peer| {
            let (hello, accept, _) = peer.accepted.as_ref()?;
            (peer.link.path() == path && hello == datagram).then_some(accept)
        });
        if let Some(accept) = again {
            self.port.send(path, accept);
        } else if let Ok(Handshake::Hello(hello)) = Handshake::decode(datagram) {
            self.on_hello(path, &hello, datagram);
        }
    }

    fn on_hello(&mut self, path: Path, hello: &Hello, datagram: &Bytes) {
        let mut cid: BrokerCid = self.rng.bytes();
        cid[..4].copy_from_slice(&(self.peers.len() as u32).to_be_bytes());
        let payload = BrokerPayload {
            cid,
            reset_token: ResetToken::default(),
            log_id: [0; 16],
        };
        let seed = self.rng.fork();
        if let Ok(Response::Ready {
            accept,
            established,
        }) = respond(hello, datagram, &self.identity, payload, seed)
        {
            let now = now();
            let link = self.link(path, cid, hello.cid, &established, now);
            self.peers.push(Peer {
                link,
                role: None,
                waiting: VecDeque::new(),
                is_busy: false,
                deadline: None,
                accepted: Some((datagram.clone(), accept.clone(), now)),
            });
            self.port.send(path, &accept);
        }
    }

    fn link(
        &mut self,
        path: Path,
        local: BrokerCid,
        remote: NodeCid,
        node: &NodeEstablished,
        now: Timestamp,
    ) -> Link {
        let config = LinkConfig {
            side: Side::Broker,
            local_cid: local.into(),
            remote_cid: remote.into(),
            reset_token: None,
            path,
            secrets: node.secrets.clone(),
            seed: self.rng.fork(),
            idle_timeout: Duration::from_secs(600),
            keepalive: LinkConfig::BROKER_KEEPALIVE,
            suspect_after: None,
            congestion: CongestionControl::default(),
        };
        Link::new(config, now)
    }

    fn fire_timers(&mut self, now: Timestamp) {
        while let Some(&(at, place)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.peers[place].deadline = None;
            self.peers[place].link.handle_timeout(now);
            self.touch(place);
        }
    }

    /// The link at `place` may have something to say.
    fn touch(&mut self, place: usize) {
        if !self.peers[place].is_busy {
            self.peers[place].is_busy = true;
            self.busy.push_back(place);
        }
    }

    // ---- on

    /// Hands on what has come.
    fn hand_on(&mut self, now: Timestamp) {
        // Those that are added on the way have nothing to hand on.
        for at in 0..self.busy.len() {
            let place = self.busy[at];
            while let Some(event) = self.peers[place].link.poll_event() {
                if let LinkEvent::Message { data, .. } = event {
                    self.on_message(place, data, now);
                }
            }
        }
    }

    fn on_message(&mut self, from: usize, message: Bytes, now: Timestamp) {
        match self.peers[from].role {
            None => {
                let role = Role::read_hello(message);
                self.peers[from].role = role;
                if let Some((Role::Receiver, group)) = role {
                    self.receivers.entry(group).or_default().push(from);
                }
                self.send(from, self.info.encode(), now);
            }
            Some((Role::Sender, group)) => {
                let receivers = self.receivers.remove(&group).unwrap_or_default();
                for &to in &receivers {
                    self.send(to, message.clone(), now);
                }
                self.receivers.insert(group, receivers);
            }
            Some((Role::Bulk, _)) => {
                self.info.bulk_bytes += message.len() as u64;
                self.info.bulk_last_ns = now_ns();
            }
            Some((Role::Query, _)) => self.send(from, self.info.encode(), now),
            Some((Role::Receiver, _)) => {}
        }
    }

    fn send(&mut self, to: usize, message: Bytes, now: Timestamp) {
        let peer = &mut self.peers[to];
        if peer.waiting.is_empty() && peer.link.can_send(CHANNEL, message.len()) {
            // It can.
            let _ = peer.link.send(CHANNEL, message, now);
        } else {
            peer.waiting.push_back(message);
        }
        self.touch(to);
    }

    // ---- out

    /// Sends what is due, a bounded share of it. Says whether there may be more.
    fn transmit(&mut self, now: Timestamp) -> bool {
        let (peers, busy, deadlines) = (&mut self.peers, &mut self.busy, &mut self.deadlines);
        self.port.transmit(TRAINS_PER_TURN, |out| {
            while let Some(place) = busy.pop_front() {
                let peer = &mut peers[place];
                peer.feed(now);
                let transmit = peer.link.poll_transmit(now, out);
                let is_done = peer.link.is_drained() && peer.waiting.is_empty();
                if transmit.is_some() && !is_done {
                    busy.push_back(place);
                } else {
                    peer.is_busy = false;
                    peer.set_timer(place, deadlines);
                }
                if transmit.is_some() {
                    return transmit;
                }
            }
            None
        })
    }
}

impl Peer {
    /// Gives the link as many messages as it takes.
    fn feed(&mut self, now: Timestamp) {
        while let Some(message) = self.waiting.front()
            && self.link.can_send(CHANNEL, message.len())
            && let Some(message) = self.waiting.pop_front()
        {
            // It can.
            let _ = self.link.send(CHANNEL, message, now);
        }
    }

    /// Enters when its timer is due.
    fn set_timer(&mut self, place: usize, deadlines: &mut BTreeSet<(Timestamp, usize)>) {
        let due = self.link.poll_timeout().map(|due| due.at);
        if due != self.deadline {
            if let Some(at) = self.deadline {
                deadlines.remove(&(at, place));
            }
            if let Some(at) = due {
                deadlines.insert((at, place));
            }
            self.deadline = due;
        }
    }
}

//! Two links and a network between them, in virtual time.
//!
//! The network is this module's own, because what it does to datagrams is part of what the tests
//! say: they begin with a topology and go on in sentences.

mod acks;
mod bottleneck;
mod congestion;
mod copies;
mod credit;
mod delivery;
mod ecn;
mod epochs;
mod goodput;
mod hostile;
mod latency;
mod life;
mod mtu;
#[cfg(feature = "mutants")]
mod mutants;
mod paths;
mod reordering;
mod sharing;
mod thin;
mod timing;
mod tricks;

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::envelope::Envelope;
use super::{
    Care, CloseCode, CongestionControl, DropReason, Link, LinkConfig, LinkEvent, LossEstimate,
    Reason, SendError, Side,
};
use crate::rng::{SeededRng, SparseRng};
use crate::secure::{LinkSecrets, Sealer};
use crate::time::Timestamp;
use crate::transmit::Path;
use crate::wire::{Cid, DATAGRAM_BASE, DATAGRAM_MAX, Frame};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The secrets of the node; the broker has them the other way round.
const SEND: [u8; 32] = [1; 32];
const RECEIVE: [u8; 32] = [2; 32];
const NODE_CID: [u8; 2] = [0xca, 0xfe];
const BROKER_CID: [u8; 8] = [0xbb; 8];

fn path_to(side: Side) -> Path {
    match side {
        Side::Node => Path::new(([192, 0, 2, 1], 1111).into()),
        Side::Broker => Path::new(([192, 0, 2, 2], 2222).into()),
    }
}

const fn other(side: Side) -> Side {
    match side {
        Side::Node => Side::Broker,
        Side::Broker => Side::Node,
    }
}

fn config(side: Side, seed: u8) -> LinkConfig {
    let (send, receive, local_cid, remote_cid) = match side {
        Side::Node => (SEND, RECEIVE, &NODE_CID[..], &BROKER_CID[..]),
        Side::Broker => (RECEIVE, SEND, &BROKER_CID[..], &NODE_CID[..]),
    };
    LinkConfig {
        side,
        local_cid: Cid::new(local_cid).unwrap(),
        remote_cid: Cid::new(remote_cid).unwrap(),
        reset_token: None,
        path: path_to(other(side)),
        secrets: LinkSecrets { send, receive },
        seed: [seed; 32],
        idle_timeout: Duration::from_secs(600),
        keepalive: match side {
            Side::Node => LinkConfig::NODE_KEEPALIVE,
            Side::Broker => LinkConfig::BROKER_KEEPALIVE,
        },
        suspect_after: match side {
            Side::Node => Some(LinkConfig::NODE_SUSPECT_AFTER),
            Side::Broker => None,
        },
        congestion: CongestionControl::default(),
    }
}

/// What the network does to datagrams, each with its own chance in percent.
#[derive(Clone, Copy, Debug)]
struct Network {
    one_way: Duration,
    /// Up to so much is added to each datagram's way, so that they overtake each other.
    jitter: Duration,
    loss: u64,
    duplicate: u64,
    corrupt: u64,
    /// From node to broker, so many bytes a second, and a queue that holds so much time's worth.
    bottleneck: Option<(u32, Duration)>,
    /// Each direction by itself lets nothing through for so many thousandths of the time, for so
    /// long on average.
    outages: Option<(u64, Duration)>,
    /// Longer datagrams do not get through, in bytes.
    mtu: usize,
}

/// What Ethernet leaves to UDP over IPv4, in bytes.
const ETHERNET: usize = 1_472;

/// A round trip takes 100 ms and nothing goes wrong.
const FINE: Network = Network {
    one_way: Duration::from_millis(50),
    jitter: Duration::ZERO,
    loss: 0,
    duplicate: 0,
    corrupt: 0,
    bottleneck: None,
    outages: None,
    mtu: ETHERNET,
};

const fn lossy(loss: u64) -> Network {
    Network { loss, ..FINE }
}

/// One side of the pair, and what came out of its link.
struct End {
    link: Link,
    /// Messages, with when they were handed over.
    messages: Vec<(Timestamp, u8, Bytes)>,
    ended: Option<(bool, CloseCode, String)>,
    silences: u32,
    retired: Vec<Cid>,
    resets: u32,
    /// Every datagram sent: when, and how long.
    sent: Vec<(Timestamp, usize)>,
    /// The same, byte for byte.
    raw: Vec<Vec<u8>>,
    /// The trains sent: how many datagrams each.
    trains: Vec<usize>,
    dropped: Vec<DropReason>,
    /// While set, the owner takes no events.
    is_stalled: bool,
}

struct Pair {
    now: Timestamp,
    node: End,
    broker: End,
    network: Network,
    /// Datagrams on their way, by when they arrive, in the order sent; and whom they are for.
    wire: BTreeMap<(Timestamp, u64), (Side, Path, Vec<u8>)>,
    count: u64,
    rng: SeededRng,
    /// How many steps were made at the latest moment that saw any.
    steps: u32,
    stepped_at: Timestamp,
    /// A fault of the moment: drops the datagrams of that side.
    muted: Option<Side>,
    /// Where the node is, as the broker sees it; what goes elsewhere is lost.
    node_at: Path,
    /// Bytes that the broker sent to each path.
    sent_to: BTreeMap<Path, usize>,
    /// Until when the bottleneck is busy with what it has.
    busy_until: Timestamp,
    /// Toward the node and toward the broker: whether anything gets through, and until when that
    /// stays so.
    spells: [(bool, Timestamp); 2],
}

impl Pair {
    fn new(network: Network, seed: u64) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let end = |side, tag| End {
            link: Link::new(config(side, (seed as u8).wrapping_add(tag)), now),
            messages: Vec::new(),
            ended: None,
            silences: 0,
            retired: Vec::new(),
            resets: 0,
            sent: Vec::new(),
            raw: Vec::new(),
            trains: Vec::new(),
            dropped: Vec::new(),
            is_stalled: false,
        };
        Self {
            now,
            node: end(Side::Node, 1),
            broker: end(Side::Broker, 2),
            network,
            wire: BTreeMap::new(),
            count: 0,
            rng: SeededRng::new(bytes),
            steps: 0,
            stepped_at: now,
            muted: None,
            node_at: path_to(Side::Node),
            sent_to: BTreeMap::new(),
            busy_until: now,
            spells: [(false, now); 2],
        }
    }

    /// A pair that has measured its round trip, and that nothing is lost, and whose node has opened
    /// channel 1.
    fn warmed_up(network: Network, seed: u64) -> Self {
        let mut pair = Self::new(FINE, seed);
        for _ in 0..20 {
            pair.send(Side::Node, 1, b"warm");
            pair.run_for(MS * 200);
            pair.send(Side::Broker, 1, b"up");
            pair.run_for(MS * 200);
        }
        for side in [Side::Node, Side::Broker] {
            pair.end(side).link.hint_loss(LossEstimate::none());
            pair.end(side).messages.clear();
            pair.end(side).sent.clear();
            pair.end(side).raw.clear();
        }
        pair.network = network;
        pair
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Node => &mut self.node,
            Side::Broker => &mut self.broker,
        }
    }

    fn send(&mut self, side: Side, channel: u8, message: &[u8]) {
        self.try_send(side, channel, message).unwrap();
    }

    fn try_send(&mut self, side: Side, channel: u8, message: &[u8]) -> Result<(), SendError> {
        let now = self.now;
        let message = Bytes::copy_from_slice(message);
        let sent = self.end(side).link.send(channel, message, now);
        self.drain(side);
        sent
    }

    fn close(&mut self, side: Side, code: CloseCode, reason: &str) {
        let now = self.now;
        self.end(side).link.close(code, reason, now);
        self.drain(side);
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    /// Runs until neither link has anything to do but to keep alive, and returns how long that
    /// took. Fails if that does not happen within `limit`.
    fn run_until_quiet(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        loop {
            let is_quiet = |end: &End| {
                end.link.poll_timeout().is_none_or(|deadline| {
                    matches!(
                        deadline.reason,
                        Reason::Keepalive | Reason::Idle | Reason::Path | Reason::Rest
                    )
                })
            };
            if self.wire.is_empty() && is_quiet(&self.node) && is_quiet(&self.broker) {
                return self.now.saturating_since(start);
            }
            let at = self
                .next_at()
                .expect("a link that is not quiet has a deadline");
            self.now = self.now.max(at);
            assert!(self.now <= start + limit, "not quiet after {limit:?}");
            self.step();
        }
    }

    fn next_at(&self) -> Option<Timestamp> {
        let timeout = |end: &End| end.link.poll_timeout().map(|deadline| deadline.at);
        let arrival = self.wire.keys().next().map(|(at, _)| *at);
        [arrival, timeout(&self.node), timeout(&self.broker)]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is due at this moment: arrivals before time-outs (PROBE-3).
    fn step(&mut self) {
        let now = self.now;
        self.steps = if self.stepped_at == now {
            self.steps + 1
        } else {
            0
        };
        self.stepped_at = now;
        assert!(self.steps < 1_000, "the time stands still at {now}");
        if let Some(entry) = self.wire.first_entry()
            && entry.key().0 <= now
        {
            let (to, path, datagram) = entry.remove();
            if to == Side::Node && path != self.node_at {
                return;
            }
            let from = match to {
                Side::Node => path_to(Side::Broker),
                Side::Broker => path,
            };
            self.hand_over(to, from, &datagram);
            return;
        }
        for side in [Side::Node, Side::Broker] {
            let link = &mut self.end(side).link;
            if link
                .poll_timeout()
                .is_some_and(|deadline| deadline.at <= now)
            {
                link.handle_timeout(now);
                self.drain(side);
            }
        }
    }

    /// Gives `to` a datagram that comes from `from`.
    fn hand_over(&mut self, to: Side, from: Path, datagram: &[u8]) {
        let now = self.now;
        let end = self.end(to);
        let handled = end
            .link
            .handle_datagram(from, BytesMut::from(datagram), now);
        if let Err(reason) = handled {
            end.dropped.push(reason);
        }
        self.drain(to);
    }

    fn drain(&mut self, side: Side) {
        let now = self.now;
        let end = self.end(side);
        while !end.is_stalled
            && let Some(event) = end.link.poll_event()
        {
            assert!(end.ended.is_none(), "an event after the last: {event:?}");
            match event {
                LinkEvent::Message { channel, data } => end.messages.push((now, channel, data)),
                LinkEvent::Silent => end.silences += 1,
                LinkEvent::CidRetired { cid } => end.retired.push(cid),
                LinkEvent::Reset => end.resets += 1,
                LinkEvent::Closed {
                    by_peer,
                    code,
                    reason,
                } => end.ended = Some((by_peer, code, reason)),
            }
        }
        let mut out = Vec::new();
        let mut datagrams = Vec::new();
        let mut is_drained = false;
        while let Some(transmit) = end.link.poll_transmit(now, &mut out) {
            assert!(!is_drained, "there was more than the link said");
            is_drained = end.link.is_drained();
            assert_eq!(transmit.len, out.len());
            let train: Vec<Vec<u8>> = transmit.datagrams(&out).map(<[u8]>::to_vec).collect();
            assert_eq!(transmit.segment_size.is_some(), train.len() > 1);
            end.trains.push(train.len());
            datagrams.extend(train.into_iter().map(|datagram| (transmit.path, datagram)));
            out.clear();
        }
        for (path, datagram) in datagrams {
            assert!(datagram.len() <= DATAGRAM_MAX);
            self.end(side).sent.push((now, datagram.len()));
            self.end(side).raw.push(datagram.clone());
            let path = match side {
                Side::Node => self.node_at,
                Side::Broker => {
                    *self.sent_to.entry(path).or_default() += datagram.len();
                    path
                }
            };
            if self.muted != Some(side) {
                self.carry(other(side), path, datagram);
            }
        }
    }

    fn carry(&mut self, to: Side, path: Path, mut datagram: Vec<u8>) {
        let network = self.network;
        if datagram.len() > network.mtu || self.chance(network.loss) || self.is_out(to) {
            return;
        }
        if self.chance(network.duplicate) {
            self.put_on_wire(to, path, datagram.clone());
        }
        if self.chance(network.corrupt) {
            let at = self.rng.range(0, datagram.len() as u64 - 1) as usize;
            datagram[at] ^= 1 << self.rng.range(0, 7);
        }
        self.put_on_wire(to, path, datagram);
    }

    fn put_on_wire(&mut self, to: Side, path: Path, datagram: Vec<u8>) {
        let Some(queued) = self.queue(to, datagram.len()) else {
            return;
        };
        let jitter = self.network.jitter.as_nanos() as u64;
        let delay = self.network.one_way + Duration::from_nanos(self.rng.range(0, jitter));
        self.count += 1;
        self.wire.insert(
            (self.now + queued + delay, self.count),
            (to, path, datagram),
        );
    }

    /// How long a datagram waits at the bottleneck; `None` if its queue is full.
    fn queue(&mut self, to: Side, len: usize) -> Option<Duration> {
        let Some((rate, queue)) = self.network.bottleneck.filter(|_| to == Side::Broker) else {
            return Some(Duration::ZERO);
        };
        if self.busy_until.saturating_since(self.now) > queue {
            return None;
        }
        self.busy_until = self.busy_until.max(self.now) + SECOND * len as u32 / rate;
        Some(self.busy_until.saturating_since(self.now))
    }

    /// Whether nothing gets through to `to` at the moment.
    fn is_out(&mut self, to: Side) -> bool {
        let Some((permille, mean)) = self.network.outages else {
            return false;
        };
        let mean_up = mean * (1000 - permille as u32) / permille as u32;
        let (mut gets_through, mut until) = self.spells[to as usize];
        while until <= self.now {
            gets_through = !gets_through;
            until += exponential(if gets_through { mean_up } else { mean }, &mut self.rng);
        }
        self.spells[to as usize] = (gets_through, until);
        !gets_through
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.range(0, 99) < percent
    }

    /// The messages that `side` was handed on `channel`.
    fn heard(&self, side: Side, channel: u8) -> Vec<&[u8]> {
        let end = match side {
            Side::Node => &self.node,
            Side::Broker => &self.broker,
        };
        end.messages
            .iter()
            .filter(|(_, on, _)| *on == channel)
            .map(|(_, _, data)| &data[..])
            .collect()
    }
}

/// A time that is as likely to go on at any moment, and lasts `mean` on average.
fn exponential(mean: Duration, rng: &mut SeededRng) -> Duration {
    let uniform = rng.range(1, 1 << 32) as f64 / (1_u64 << 32) as f64;
    mean.mul_f64(-uniform.ln())
}

/// Plays a peer by hand: seals any frames, under any number.
struct Forger {
    envelope: Envelope,
    cid: &'static [u8],
}

impl Forger {
    /// Speaks for `side`.
    fn new(side: Side) -> Self {
        let (key, cid) = match side {
            Side::Node => (SEND, &BROKER_CID[..]),
            Side::Broker => (RECEIVE, &NODE_CID[..]),
        };
        let rng = SparseRng::new([9; 32]);
        Self {
            envelope: Envelope::new(
                Sealer::new(&key),
                Cid::new(cid).unwrap(),
                rng,
                Timestamp::ZERO,
            ),
            cid,
        }
    }

    fn frames(&mut self, frames: &[Frame]) -> BytesMut {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.encode(&mut bytes);
        }
        self.payload(&bytes)
    }

    /// Seals a payload that may be no frames at all.
    fn payload(&mut self, payload: &[u8]) -> BytesMut {
        let mut out = Vec::new();
        let packet = self.envelope.begin(None, &mut out);
        out.extend_from_slice(payload);
        self.envelope.finish(packet, 0, &mut out);
        assert_eq!(&out[1..=self.cid.len()], self.cid);
        BytesMut::from(&out[..])
    }
}

/// Everything that a link sends at `now`, datagram by datagram.
fn datagrams(link: &mut Link, now: Timestamp) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut out = Vec::new();
    while let Some(transmit) = link.poll_transmit(now, &mut out) {
        datagrams.extend(transmit.datagrams(&out).map(<[u8]>::to_vec));
        out.clear();
    }
    datagrams
}

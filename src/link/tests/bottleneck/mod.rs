//! A bottleneck that several flows share, in virtual time: links of ours, and a download as TCP
//! with CUBIC would make it.
//!
//! ```text
//! node 0 ─┐                                          ┌─ broker 0
//! node 1 ─┼─ queue, rate ── loss on the wire, delay ─┼─ broker 1
//! cubic ──┘ ─────────── and the same back ────────── └─ cubic's client
//! ```
//!
//! Each direction has a drop-tail queue, a rate, a loss on the wire behind it, and a delay, which may
//! be another one for each packet. Lengths
//! are those of IP packets.

mod cubic;
mod flow;

use core::time::Duration;
use std::collections::BTreeMap;

pub(in crate::link) use cubic::Cubic;
pub(in crate::link) use flow::{Heard, LinkFlow, Source};

use super::{ETHERNET, MS, Side, other};
use crate::rng::SeededRng;
use crate::time::Timestamp;
use crate::transmit::Ecn;

/// What IP and UDP add to a datagram, in bytes.
const UDP_OVERHEAD: usize = 28;

/// One direction of the bottleneck.
#[derive(Clone, Copy, Debug)]
pub(in crate::link) struct Road {
    /// Bytes a second.
    pub(in crate::link) rate: u64,
    /// How much time's worth waits at most.
    pub(in crate::link) queue: Duration,
    /// From the end of the queue to the other side.
    pub(in crate::link) one_way: Duration,
    /// Lost on the wire, behind the queue, of each million.
    pub(in crate::link) loss_ppm: u64,
    /// Each packet takes longer by up to so much, whatever those before it took: they overtake each
    /// other.
    pub(in crate::link) jitter: Duration,
    /// What waits for longer than this is marked, if it may be (RFC 3168).
    pub(in crate::link) marks_above: Option<Duration>,
    /// Longer packets do not get through, in bytes of IP.
    pub(in crate::link) mtu: usize,
}

impl Road {
    /// Megabits a second, a round trip and a queue in milliseconds, nothing lost on the wire.
    pub(in crate::link) const fn new(mbit: u64, rtt_ms: u64, queue_ms: u64) -> Self {
        Self {
            rate: mbit * 125_000,
            queue: Duration::from_millis(queue_ms),
            one_way: Duration::from_micros(rtt_ms * 500),
            loss_ppm: 0,
            jitter: Duration::ZERO,
            marks_above: None,
            mtu: ETHERNET + UDP_OVERHEAD,
        }
    }

    pub(in crate::link) const fn losing(self, loss_ppm: u64) -> Self {
        Self { loss_ppm, ..self }
    }

    pub(in crate::link) const fn marking_above(self, waits: Duration) -> Self {
        Self {
            marks_above: Some(waits),
            ..self
        }
    }

    pub(in crate::link) const fn taking(self, mtu: usize) -> Self {
        Self { mtu, ..self }
    }

    pub(in crate::link) const fn jittering(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }
}

/// What a flow puts on the road.
#[derive(Clone, Debug)]
pub(in crate::link) enum Packet {
    Datagram(Vec<u8>, Ecn),
    /// A full TCP segment; counted by transmissions, since the content does not matter.
    Segment {
        number: u64,
        sent_at: Timestamp,
    },
    /// What a TCP receiver has got, highest first, and the time that it echoes.
    Ack {
        ranges: Vec<(u64, u64)>,
        echo: Timestamp,
    },
}

impl Packet {
    /// The length of the IP packet, in bytes.
    fn len(&self) -> usize {
        match self {
            Self::Datagram(bytes, _) => bytes.len() + UDP_OVERHEAD,
            Self::Segment { .. } => cubic::SEGMENT,
            Self::Ack { ranges, .. } => 52 + 8 * ranges.len().min(3),
        }
    }
}

/// Two ends that exchange packets over the bottleneck.
pub(in crate::link) trait Flow {
    /// When either end has something to do without being spoken to.
    fn next_at(&self) -> Option<Timestamp>;

    /// A packet has come to `side`.
    fn handle(&mut self, side: Side, packet: Packet, now: Timestamp);

    /// Acts on what is due.
    fn handle_timeout(&mut self, now: Timestamp);

    /// What either end sends now: who sends it, and what.
    fn drain(&mut self, now: Timestamp) -> Vec<(Side, Packet)>;
}

/// What has passed in one direction for one flow.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::link) struct Passed {
    /// Bytes of IP packets that left the queue.
    pub(in crate::link) bytes: u64,
    pub(in crate::link) packets: u64,
    /// Packets that found the queue full.
    pub(in crate::link) dropped: u64,
    /// Packets that were marked.
    pub(in crate::link) marked: u64,
    /// How long the packets waited in the queue, in total and at most.
    pub(in crate::link) waited: Duration,
    pub(in crate::link) waited_most: Duration,
}

impl Passed {
    pub(in crate::link) fn waited_on_average(&self) -> Duration {
        self.waited / u32::try_from(self.packets.max(1)).unwrap_or(u32::MAX)
    }
}

/// A direction at work.
#[derive(Debug)]
struct Queue {
    road: Road,
    /// Until when it is busy with what it has.
    busy_until: Timestamp,
}

impl Queue {
    /// How long a packet waits before it is sent, and when it is; `None` if the queue is full.
    fn pass(&mut self, len: usize, now: Timestamp) -> Option<(Duration, Timestamp)> {
        let waits = self.busy_until.saturating_since(now);
        if waits > self.road.queue {
            return None;
        }
        let nanos = len as u64 * 1_000_000_000 / self.road.rate;
        self.busy_until = self.busy_until.max(now) + Duration::from_nanos(nanos);
        Some((waits, self.busy_until))
    }
}

/// The flows and the road.
pub(in crate::link) struct Bottleneck {
    pub(in crate::link) now: Timestamp,
    up: Queue,
    down: Queue,
    /// Packets behind the queues, by when they arrive: of which flow, and for which side.
    wire: BTreeMap<(Timestamp, u64), (usize, Side, Packet)>,
    count: u64,
    rng: SeededRng,
    /// What passed for each flow: from its node's side, and from its broker's.
    passed: Vec<[Passed; 2]>,
}

impl Bottleneck {
    /// The same road in both directions.
    pub(in crate::link) fn new(road: Road, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let now = Timestamp::from_millis(1_000_000);
        let queue = || Queue {
            road,
            busy_until: now,
        };
        Self {
            now,
            up: queue(),
            down: queue(),
            wire: BTreeMap::new(),
            count: 0,
            rng: SeededRng::new(bytes),
            passed: Vec::new(),
        }
    }

    /// What passed for flow `index` in packets that `side` sent, since the last
    /// [`forget`](Self::forget).
    pub(in crate::link) fn passed(&self, index: usize, side: Side) -> Passed {
        self.passed
            .get(index)
            .map_or_else(Passed::default, |both| both[side as usize])
    }

    /// Begins to count anew.
    pub(in crate::link) fn forget(&mut self) {
        self.passed.clear();
    }

    /// Runs the flows for this long. They are the same in each call.
    pub(in crate::link) fn run_for(&mut self, flows: &mut [&mut dyn Flow], duration: Duration) {
        let end = self.now + duration;
        let mut next: Vec<Option<Timestamp>> = Vec::new();
        for (index, flow) in flows.iter_mut().enumerate() {
            self.drain(index, &mut **flow);
            next.push(flow.next_at());
        }
        let mut stuck = 0;
        loop {
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let timeout = next.iter().flatten().min().copied();
            let Some(at) = [arrival, timeout].into_iter().flatten().min() else {
                break;
            };
            if at > end {
                break;
            }
            stuck = if at > self.now { 0 } else { stuck + 1 };
            assert!(stuck < 100_000, "the time stands still at {at}");
            self.now = self.now.max(at);
            // Arrivals before time-outs (PROBE-3).
            if arrival.is_some_and(|at| at <= self.now) {
                let Some((_, (index, side, packet))) = self.wire.pop_first() else {
                    break;
                };
                flows[index].handle(side, packet, self.now);
                self.drain(index, &mut *flows[index]);
                next[index] = flows[index].next_at();
                continue;
            }
            for index in 0..flows.len() {
                if next[index].is_some_and(|at| at <= self.now) {
                    flows[index].handle_timeout(self.now);
                    self.drain(index, &mut *flows[index]);
                    next[index] = flows[index].next_at();
                }
            }
        }
        self.now = end;
    }

    fn drain(&mut self, index: usize, flow: &mut dyn Flow) {
        if self.passed.len() <= index {
            self.passed.resize(index + 1, [Passed::default(); 2]);
        }
        for (from, mut packet) in flow.drain(self.now) {
            let queue = match from {
                Side::Node => &mut self.up,
                Side::Broker => &mut self.down,
            };
            let passed = &mut self.passed[index][from as usize];
            let Some((waits, sent_at)) = queue.pass(packet.len(), self.now) else {
                passed.dropped += 1;
                continue;
            };
            passed.bytes += packet.len() as u64;
            passed.packets += 1;
            passed.waited += waits;
            passed.waited_most = passed.waited_most.max(waits);
            let road = queue.road;
            if let Packet::Datagram(_, ecn @ Ecn::Ect0) = &mut packet
                && road.marks_above.is_some_and(|above| waits > above)
            {
                passed.marked += 1;
                *ecn = Ecn::Ce;
            }
            if packet.len() > road.mtu {
                continue;
            }
            if road.loss_ppm > 0 && self.rng.range(0, 999_999) < road.loss_ppm {
                continue;
            }
            self.count += 1;
            let jitter = match road.jitter.as_nanos() as u64 {
                0 => Duration::ZERO,
                most => Duration::from_nanos(self.rng.range(0, most)),
            };
            let key = (sent_at + road.one_way + jitter, self.count);
            self.wire.insert(key, (index, other(from), packet));
        }
    }
}

/// The queue holds what it should, and no more.
#[test]
fn a_queue_delays_by_what_is_ahead_and_drops_what_does_not_fit() {
    let road = Road::new(1, 100, 20);
    let now = Timestamp::from_millis(5);
    let mut queue = Queue {
        road,
        busy_until: Timestamp::ZERO,
    };
    // 1,250 bytes take 10 ms at 125,000 bytes a second.
    let waits: Vec<_> = (0..5)
        .map(|_| queue.pass(1_250, now).map(|(waits, _)| waits.as_millis()))
        .collect();
    assert_eq!(waits, [Some(0), Some(10), Some(20), None, None]);
    let later = now + MS * 30;
    assert_eq!(queue.pass(125, later), Some((Duration::ZERO, later + MS)));
}

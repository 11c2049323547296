//! A link of ours as a flow, with what its owners send.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::super::{config, other, path_to};
use super::{Flow, Packet};
use crate::link::{DropReason, Link, LinkConfig, LinkEvent, Side};
use crate::rng::SeededRng;
use crate::time::Timestamp;
use crate::transmit::Origin;

/// What an owner sends on one channel.
#[derive(Clone, Copy, Debug)]
pub(in crate::link) struct Source {
    pub(in crate::link) from: Side,
    pub(in crate::link) channel: u8,
    /// The length of each message, in bytes; at least 8.
    pub(in crate::link) len: usize,
    /// The average time between two messages, which are sent at random times; `None`: as fast as
    /// the link takes them.
    pub(in crate::link) every: Option<Duration>,
    /// How many messages the owner leaves unacknowledged at most.
    pub(in crate::link) unacked: usize,
    pub(in crate::link) starts_at: Timestamp,
}

impl Source {
    /// A file in messages of 16 KiB.
    pub(in crate::link) const fn bulk(from: Side, channel: u8, starts_at: Timestamp) -> Self {
        Self {
            from,
            channel,
            len: 16_384,
            every: None,
            unacked: usize::MAX,
            starts_at,
        }
    }

    /// Lines of 100 bytes, on average this far apart.
    pub(in crate::link) const fn chat(
        from: Side,
        channel: u8,
        every: Duration,
        starts_at: Timestamp,
    ) -> Self {
        Self {
            from,
            channel,
            len: 100,
            every: Some(every),
            unacked: usize::MAX,
            starts_at,
        }
    }
}

/// What has come of one source.
#[derive(Clone, Debug, Default)]
pub(in crate::link) struct Heard {
    pub(in crate::link) bytes: u64,
    /// How long each message took, from the owner that sent it to the other.
    pub(in crate::link) took: Vec<Duration>,
}

impl Heard {
    /// The given part of a thousand of the messages took at most so long, in milliseconds.
    pub(in crate::link) fn permille(&self, permille: usize) -> u128 {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = took.len().saturating_sub(1) * permille / 1_000;
        took.get(at).map_or(0, Duration::as_millis)
    }
}

/// A source at work.
#[derive(Debug)]
struct Running {
    source: Source,
    next_at: Timestamp,
    /// A message that found no room.
    waiting: Option<Bytes>,
    has_begun: bool,
}

impl Running {
    /// When the owner sends next of its own accord, and not because there is room again.
    fn due(&self) -> Option<Timestamp> {
        let waits = self.waiting.is_some() || (self.source.every.is_none() && self.has_begun);
        (!waits).then_some(self.next_at)
    }

    fn send(&mut self, link: &mut Link, rng: &mut SeededRng, now: Timestamp) {
        let Source { channel, len, .. } = self.source;
        while self.next_at <= now {
            self.has_begun = true;
            let handed_over = match self.source.every {
                None => now,
                Some(_) => self.next_at,
            };
            let message = self.waiting.take().unwrap_or_else(|| {
                let mut message = vec![7; len];
                message[..8].copy_from_slice(&handed_over.as_nanos().to_be_bytes());
                message.into()
            });
            let is_allowed = link.unacked_messages(channel) < self.source.unacked;
            if !is_allowed || link.send(channel, message.clone(), now).is_err() {
                self.waiting = Some(message);
                return;
            }
            if let Some(every) = self.source.every {
                // Exponential, in steps of a thousandth of the probability.
                let part = rng.range(1, 1_000) as f64 / 1_000.0;
                self.next_at += every.mul_f64(-part.ln());
            }
        }
    }
}

/// Two links and what their owners send. The owners take what comes at once.
pub(in crate::link) struct LinkFlow {
    links: [Link; 2],
    sources: Vec<Running>,
    /// By whether the node sent it, and its channel.
    heard: BTreeMap<(bool, u8), Heard>,
    rng: SeededRng,
}

impl LinkFlow {
    /// `adjust` may change what the links start from.
    pub(in crate::link) fn new(
        seed: u8,
        sources: &[Source],
        now: Timestamp,
        adjust: impl Fn(&mut LinkConfig),
    ) -> Self {
        let link = |side, tag| {
            let mut config = config(side, seed.wrapping_mul(2).wrapping_add(tag));
            adjust(&mut config);
            Link::new(config, now)
        };
        let mut node = link(Side::Node, 0);
        for source in sources.iter().filter(|source| source.from == Side::Broker) {
            // Channels on which the broker sends are opened by the node (CHN-2).
            let opened = node.send(source.channel, Bytes::new(), now);
            opened.expect("a new link takes a message");
        }
        let running = |source: &Source| Running {
            source: *source,
            next_at: source.starts_at,
            waiting: None,
            has_begun: false,
        };
        Self {
            links: [node, link(Side::Broker, 1)],
            sources: sources.iter().map(running).collect(),
            heard: BTreeMap::new(),
            rng: SeededRng::new([seed; 32]),
        }
    }

    /// Whether the links may copy anything (LAD-8).
    pub(in crate::link) fn allow_copies(&mut self, is_allowed: bool) {
        for link in &mut self.links {
            link.allow_copies(is_allowed);
        }
    }

    pub(in crate::link) fn link(&self, side: Side) -> &Link {
        &self.links[side as usize]
    }

    /// What came of what `from` sent on `channel`, since the last [`forget`](Self::forget).
    pub(in crate::link) fn heard(&self, from: Side, channel: u8) -> Heard {
        self.heard
            .get(&(from == Side::Node, channel))
            .cloned()
            .unwrap_or_default()
    }

    /// Begins to count anew.
    pub(in crate::link) fn forget(&mut self) {
        self.heard.clear();
    }

    fn send(&mut self, now: Timestamp) {
        for running in &mut self.sources {
            let link = &mut self.links[running.source.from as usize];
            running.send(link, &mut self.rng, now);
        }
    }

    fn take(&mut self, now: Timestamp) {
        for to in [Side::Node, Side::Broker] {
            while let Some(event) = self.links[to as usize].poll_event() {
                match event {
                    LinkEvent::Message { channel, data } => {
                        let Some(sent_at) = data.first_chunk() else {
                            continue;
                        };
                        let from = other(to);
                        let sent_at = Timestamp::from_nanos(u64::from_be_bytes(*sent_at));
                        let heard = self.heard.entry((from == Side::Node, channel)).or_default();
                        heard.bytes += data.len() as u64;
                        heard.took.push(now.saturating_since(sent_at));
                    }
                    LinkEvent::Closed { code, reason, .. } => panic!("{code:?}: {reason}"),
                    _ => {}
                }
            }
        }
    }
}

impl Flow for LinkFlow {
    fn next_at(&self) -> Option<Timestamp> {
        let links = self.links.iter().filter_map(Link::poll_timeout);
        let sources = self.sources.iter().filter_map(Running::due);
        links.map(|deadline| deadline.at).chain(sources).min()
    }

    fn handle(&mut self, side: Side, packet: Packet, now: Timestamp) {
        let Packet::Datagram(datagram, ecn) = packet else {
            panic!("{packet:?} came to a link");
        };
        let from = Origin {
            path: path_to(other(side)),
            ecn,
        };
        let datagram = BytesMut::from(&datagram[..]);
        let handled = self.links[side as usize].handle_datagram(from, datagram, now);
        // What a thousand others have overtaken may be a replay, for all that can be told (KEY-2).
        assert!(matches!(handled, Ok(()) | Err(DropReason::Replay)));
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        for link in &mut self.links {
            if link
                .poll_timeout()
                .is_some_and(|deadline| deadline.at <= now)
            {
                link.handle_timeout(now);
            }
        }
    }

    fn drain(&mut self, now: Timestamp) -> Vec<(Side, Packet)> {
        self.take(now);
        self.send(now);
        let mut packets = Vec::new();
        let mut out = Vec::new();
        for side in [Side::Node, Side::Broker] {
            while let Some(transmit) = self.links[side as usize].poll_transmit(now, &mut out) {
                let datagrams = transmit.datagrams(&out).map(<[u8]>::to_vec);
                let packet = |datagram| (side, Packet::Datagram(datagram, transmit.ecn));
                packets.extend(datagrams.map(packet));
                out.clear();
            }
        }
        packets
    }
}

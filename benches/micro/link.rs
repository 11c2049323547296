//! Two links and nothing in between: what a message costs both ends together.

use core::time::Duration;

use bytes::{Bytes, BytesMut};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use tertulia::link::{CongestionControl, Link, LinkConfig, LinkEvent, Side};
use tertulia::secure::LinkSecrets;
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tertulia::wire::Cid;

const CHANNEL: u8 = 1;
/// How long a round trip takes.
const STEP: Duration = Duration::from_micros(100);

struct Pair {
    now: Timestamp,
    node: Link,
    broker: Link,
    out: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let now = Timestamp::from_millis(1_000);
        Self {
            now,
            node: Link::new(config(Side::Node), now),
            broker: Link::new(config(Side::Broker), now),
            out: Vec::new(),
        }
    }

    /// Sends `count` messages from the node, as fast as the link takes them, and waits until the
    /// broker's owner has them all.
    fn carry(&mut self, message: &Bytes, count: usize) {
        let (mut sent, mut received) = (0, 0);
        while received < count {
            while sent < count && self.node.can_send(CHANNEL, message.len()) {
                let taken = self.node.send(CHANNEL, message.clone(), self.now);
                taken.expect("it said so");
                sent += 1;
            }
            carry(&mut self.node, &mut self.broker, self.now, &mut self.out);
            while let Some(event) = self.broker.poll_event() {
                received += usize::from(matches!(event, LinkEvent::Message { .. }));
            }
            carry(&mut self.broker, &mut self.node, self.now, &mut self.out);
            self.now += STEP;
            for link in [&mut self.node, &mut self.broker] {
                while link.poll_event().is_some() {}
                if link.poll_timeout().is_some_and(|due| due.at <= self.now) {
                    link.handle_timeout(self.now);
                }
            }
        }
    }
}

fn config(side: Side) -> LinkConfig {
    let (ours, theirs, local, remote) = match side {
        Side::Node => ([1; 32], [2; 32], &[3; 4][..], &[4; 8][..]),
        Side::Broker => ([2; 32], [1; 32], &[4; 8][..], &[3; 4][..]),
    };
    LinkConfig {
        side,
        local_cid: Cid::new(local).expect("at most eight bytes"),
        remote_cid: Cid::new(remote).expect("at most eight bytes"),
        reset_token: None,
        path: Path::new(([127, 0, 0, 1], 1).into()),
        secrets: LinkSecrets {
            send: ours,
            receive: theirs,
        },
        seed: ours,
        idle_timeout: Duration::from_secs(600),
        keepalive: LinkConfig::NODE_KEEPALIVE,
        suspect_after: None,
        congestion: CongestionControl::default(),
    }
}

/// Everything that `from` has to send.
fn carry(from: &mut Link, to: &mut Link, now: Timestamp, out: &mut Vec<u8>) {
    out.clear();
    while let Some(transmit) = from.poll_transmit(now, out) {
        for datagram in transmit.datagrams(out) {
            let handled = to.handle_datagram(to.path(), BytesMut::from(datagram), now);
            handled.expect("it is the other end's");
        }
        out.clear();
    }
}

/// A message of 100 bytes, alone: sent, delivered, and acknowledged.
#[divan::bench]
fn small_messages_one_by_one(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    let message = Bytes::from(vec![b'x'; 100]);
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(move || pair.carry(&message, 1));
}

/// 64 messages of 100 bytes, which share packets.
#[divan::bench]
fn small_messages_in_a_burst(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    let message = Bytes::from(vec![b'x'; 100]);
    bencher
        .counter(ItemsCount::new(64_usize))
        .bench_local(move || pair.carry(&message, 64));
}

/// A mebibyte in messages of 16 KiB.
#[divan::bench]
fn bulk(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    let message = Bytes::from(vec![b'x'; 16_384]);
    bencher
        .counter(BytesCount::new(64 * message.len()))
        .bench_local(move || pair.carry(&message, 64));
}

//! Queues that mark packets instead of dropping them: ECN-1 to ECN-5.

use super::bottleneck::{Bottleneck, LinkFlow, Passed, Road, Source};
use super::*;
use crate::transmit::{Ecn, Origin};

/// What becomes of a file that takes all there is, and of chat beside it on a link of its own.
struct Outcome {
    goodput: u64,
    /// What 99 % of the lines took at most, in milliseconds.
    latency: u128,
    passed: Passed,
}

fn file_beside_chat(road: Road, control: CongestionControl) -> Outcome {
    let mut bottleneck = Bottleneck::new(road, 7);
    let now = bottleneck.now;
    let file = Source::bulk(Side::Node, 1, now);
    let line = Source::chat(Side::Node, 1, MS * 500, now);
    let mut file = LinkFlow::new(1, &[file], now, |config| config.congestion = control);
    let mut chat = LinkFlow::new(2, &[line], now, |_| {});
    bottleneck.run_for(&mut [&mut file, &mut chat], SECOND * 10);
    file.forget();
    chat.forget();
    bottleneck.forget();
    bottleneck.run_for(&mut [&mut file, &mut chat], SECOND * 100);
    Outcome {
        goodput: file.heard(Side::Node, 1).bytes / 100,
        latency: chat.heard(Side::Node, 1).permille(990),
        passed: bottleneck.passed(0, Side::Node),
    }
}

/// ECN-1, ECN-2, ECN-3: a queue that marks loses nothing, is short, and is used all the same.
#[test]
fn where_a_queue_marks_it_drops_nothing_and_chat_waits_less() {
    for (control, above) in [
        (CongestionControl::NewReno, 20),
        // It leaves little more than this standing.
        (CongestionControl::Bbr, 5),
    ] {
        let road = Road::new(10, 50, 100);
        let full = file_beside_chat(road, control);
        let marked = file_beside_chat(road.marking_above(MS * above), control);
        println!(
            "{control:?}: {} kB/s, 99 % of lines within {} ms, {} dropped; marked: {}, {}, {} and {}",
            full.goodput / 1_000,
            full.latency,
            full.passed.dropped,
            marked.goodput / 1_000,
            marked.latency,
            marked.passed.dropped,
            marked.passed.marked,
        );
        assert!(marked.passed.marked > 0);
        assert_eq!(marked.passed.dropped, 0);
        assert!(marked.latency <= full.latency + 2);
        assert!(marked.goodput * 100 > full.goodput * 85);
    }
}

/// Carries all that `from` sends to `to`, with the marks that `road` makes of its own; `None`: lost.
fn carry(
    from: &mut Link,
    to: &mut Link,
    road: impl Fn(Ecn) -> Option<Ecn>,
    now: Timestamp,
) -> Vec<Ecn> {
    let (mut sent, mut out) = (Vec::new(), Vec::new());
    while let Some(transmit) = from.poll_transmit(now, &mut out) {
        for datagram in transmit.datagrams(&out) {
            sent.push(transmit.ecn);
            if let Some(ecn) = road(transmit.ecn) {
                let path = path_to(Side::Node);
                let datagram = BytesMut::from(datagram);
                let handled = to.handle_datagram(Origin { path, ecn }, datagram, now);
                handled.expect("it decrypts");
            }
        }
        out.clear();
    }
    sent
}

/// How the packets of a node that says a hundred things are marked, on such a road.
fn marks(road: impl Fn(Ecn) -> Option<Ecn>) -> (Vec<Ecn>, Link) {
    let mut now = Timestamp::from_millis(1);
    let mut node = Link::new(config(Side::Node, 1), now);
    let mut broker = Link::new(config(Side::Broker, 2), now);
    let mut sent = Vec::new();
    for _ in 0..100 {
        node.send(1, Bytes::from_static(b"hello"), now).unwrap();
        for _ in 0..40 {
            sent.extend(carry(&mut node, &mut broker, &road, now));
            carry(&mut broker, &mut node, Some, now);
            now += MS * 10;
            node.handle_timeout(now);
            broker.handle_timeout(now);
        }
    }
    assert!(!node.unacknowledged(), "everything has come");
    (sent, node)
}

/// ECN-1, ECN-4.
#[test]
fn a_road_that_lets_marks_be_is_sent_nothing_but_marked_packets() {
    let (sent, _) = marks(Some);
    assert!(sent.iter().all(|ecn| *ecn == Ecn::Ect0));
}

/// ECN-4: nothing is lost, and nothing is marked any more.
#[test]
fn a_road_that_wipes_marks_off_or_drops_what_has_any_is_sent_none() {
    let wipes = |_| Some(Ecn::NotEct);
    let drops = |ecn| (ecn == Ecn::NotEct).then_some(ecn);
    let changes = |ecn| match ecn {
        Ecn::Ect0 => Some(Ecn::Ect1),
        other => Some(other),
    };
    let roads: [&dyn Fn(Ecn) -> Option<Ecn>; 3] = [&wipes, &drops, &changes];
    for road in roads {
        let (sent, _) = marks(road);
        let last = sent.iter().rposition(|ecn| *ecn == Ecn::Ect0);
        println!("the last marked of {}: {last:?}", sent.len());
        assert!(last.is_some_and(|last| last < sent.len() - 10));
    }
}

/// ECN-3: a road that marks everything slows a sender down, and stops nothing.
#[test]
fn a_road_that_marks_everything_is_believed() {
    let (sent, node) = marks(|_| Some(Ecn::Ce));
    assert_eq!(sent.last(), Some(&Ecn::Ect0));
    assert!(node.stats().marks_told > 10);
    assert_eq!(node.stats().packets_lost, 0);
}

//! Acknowledgements: when they are sent, and what they may claim.

use super::*;
use crate::wire::{Ack, AckRanges};

/// An ACK frame for these ranges, from high to low.
fn ack(ranges: &[(u64, u64)]) -> Frame {
    let mut all = ranges.iter().map(|(low, high)| *low..=*high);
    let mut ranges = AckRanges::new(all.next().unwrap()).unwrap();
    for range in all {
        assert!(ranges.push(range));
    }
    Frame::Ack(Ack {
        delay_us: 0,
        ranges,
        ecn: None,
    })
}

/// A node's link that has sent `packets` packets, and the broker's hand.
fn node_after(packets: u64) -> (Link, Forger, Timestamp) {
    let mut now = Timestamp::from_millis(1);
    let mut link = Link::new(config(Side::Node, 5), now);
    let mut broker = Forger::new(Side::Broker);
    let mut sent = 0;
    while sent < packets {
        link.send(1, Bytes::new(), now).unwrap();
        let before = link.envelope.next_number();
        sent += datagrams(&mut link, now).len() as u64;
        if link.envelope.next_number() == before + 1 {
            hear(&mut link, &mut broker, &[ack(&[(before, before)])], now);
        }
        now += MS * 100;
    }
    (link, broker, now)
}

fn hear(link: &mut Link, from: &mut Forger, frames: &[Frame], now: Timestamp) {
    let datagram = from.frames(frames);
    link.handle_datagram(link.path(), datagram, now).unwrap();
}

fn ended(link: &mut Link) -> Option<(CloseCode, String)> {
    core::iter::from_fn(|| link.poll_event()).find_map(|event| match event {
        LinkEvent::Closed { code, reason, .. } => Some((code, reason)),
        _ => None,
    })
}

/// ACK-1: an exchange ends. One message, one acknowledgement, nothing more.
#[test]
fn a_packet_with_only_an_ack_causes_no_packet() {
    let mut pair = Pair::warmed_up(FINE, 1);
    pair.send(Side::Node, 1, b"hello");
    pair.run_for(SECOND * 5);
    assert_eq!(pair.node.sent.len(), 1);
    assert_eq!(pair.broker.sent.len(), 1);
}

/// ACK-1: PAD, ACK and CLOSE are the frames that elicit nothing.
#[test]
fn pad_and_ack_are_not_answered_and_ping_is() {
    let now = Timestamp::from_millis(1);
    let mut link = Link::new(config(Side::Broker, 5), now);
    let mut node = Forger::new(Side::Node);
    hear(&mut link, &mut node, &[Frame::Pad, Frame::Pad], now);
    assert_eq!(datagrams(&mut link, now).len(), 0);
    hear(&mut link, &mut node, &[Frame::Ping], now);
    assert_eq!(datagrams(&mut link, now).len(), 1);
    hear(&mut link, &mut node, &[ack(&[(0, 0)])], now);
    assert_eq!(datagrams(&mut link, now).len(), 0);
}

/// ACK-2, RTT-1: an immediate acknowledgement makes the round trip what it is.
#[test]
fn thin_traffic_is_acknowledged_without_delay() {
    let mut pair = Pair::warmed_up(FINE, 2);
    for _ in 0..20 {
        pair.send(Side::Node, 1, b"hello");
        pair.run_for(MS * 100);
        assert!(!pair.node.link.unacknowledged());
    }
    assert_eq!(pair.node.link.srtt(), Some(MS * 100));
}

/// ACK-2.
#[test]
fn bulk_is_acknowledged_every_second_packet() {
    let mut pair = Pair::warmed_up(FINE, 3);
    pair.send(Side::Node, 1, &[0; 60_000]);
    pair.run_until_quiet(SECOND * 10);
    let (data, acks) = (pair.node.sent.len(), pair.broker.sent.len());
    assert!(
        acks <= data / 2 + 10,
        "{acks} acknowledgements for {data} packets"
    );
}

/// ACK-3.
#[test]
fn an_ack_for_a_packet_never_sent_closes_the_link() {
    let (mut link, mut broker, now) = node_after(3);
    let unsent = link.envelope.next_number();
    hear(&mut link, &mut broker, &[ack(&[(0, unsent)])], now);
    let (code, reason) = ended(&mut link).unwrap();
    assert_eq!(code, CloseCode::Protocol);
    assert!(reason.contains("never sent"), "{reason}");
}

/// ACK-3: who acknowledges what he has not seen is found out within 256 packets.
#[test]
fn an_ack_for_a_number_left_out_closes_the_link() {
    let (mut link, mut broker, now) = node_after(600);
    let newest = link.envelope.next_number() - 1;
    hear(
        &mut link,
        &mut broker,
        &[ack(&[(newest - 260, newest)])],
        now,
    );
    let (code, reason) = ended(&mut link).unwrap();
    assert_eq!(code, CloseCode::Protocol);
    assert!(reason.contains("left out"), "{reason}");
}

/// ACK-4: ranges over all numbers up to 2^62 end before they cost anything.
#[test]
fn an_ack_that_claims_everything_is_refused_at_once() {
    let (mut link, mut broker, now) = node_after(3);
    hear(&mut link, &mut broker, &[ack(&[(0, (1 << 62) - 1)])], now);
    assert_eq!(ended(&mut link).unwrap().0, CloseCode::Protocol);
}

/// ACK-5: holes without end cost a bounded memory, and acknowledgements stay within a datagram.
#[test]
fn endless_holes_in_the_packet_numbers_cost_bounded_memory() {
    let now = Timestamp::from_millis(1);
    let mut link = Link::new(config(Side::Broker, 5), now);
    let mut node = Forger::new(Side::Node);
    for _ in 0..2_000 {
        let _never_arrives = node.frames(&[Frame::Ping]);
        hear(&mut link, &mut node, &[Frame::Ping], now);
        let answer = datagrams(&mut link, now);
        assert!(answer.iter().all(|datagram| datagram.len() < 250));
    }
    assert!(link.is_open());
}

/// ACK-5: a link that only listens, with many holes in what it heard, gets rid of them with its PINGs.
#[test]
fn holes_are_forgotten_once_the_peer_knows_of_them() {
    // broker === 20 % loss === node, which has nothing to say
    let mut pair = Pair::warmed_up(lossy(20), 8);
    for _ in 0..200 {
        pair.send(Side::Broker, 1, b"hello");
        pair.run_for(MS * 300);
    }
    pair.network = FINE;
    pair.run_for(SECOND * 20);
    pair.node.sent.clear();
    pair.send(Side::Broker, 1, b"hello");
    pair.run_for(SECOND);
    assert!(pair.node.sent[0].1 < 60, "{:?}", pair.node.sent);
}

/// PROBE-2: a probe carries what was lost, so that one that gets through repairs it.
#[test]
fn a_probe_carries_the_oldest_messages_and_repairs_their_loss() {
    // node --x two datagrams-- broker
    let mut pair = Pair::warmed_up(FINE, 4);
    pair.muted = Some(Side::Node);
    pair.send(Side::Node, 1, b"first");
    pair.run_for(MS * 10);
    pair.send(Side::Node, 2, b"second");
    pair.muted = None;
    let sent_at = pair.now - MS * 10;
    pair.run_until_quiet(SECOND * 5);
    let arrived: Vec<_> = pair
        .broker
        .messages
        .iter()
        .map(|(at, on, _)| (*at, *on))
        .collect();
    let probed = sent_at + MS * 155;
    assert_eq!(arrived.len(), 2);
    assert_eq!(
        (arrived[0].0, arrived[1].0),
        (arrived[0].0, arrived[0].0),
        "in one packet"
    );
    assert!(
        arrived[0].0 >= probed && arrived[0].0 <= probed + MS * 20,
        "{arrived:?}"
    );
}

/// PROBE-2: when there is nothing to repeat, a probe is a PING.
#[test]
fn a_probe_for_a_lost_ping_is_a_ping() {
    let mut pair = Pair::warmed_up(FINE, 5);
    pair.run_for(SECOND * 14);
    pair.node.sent.clear();
    pair.muted = Some(Side::Node);
    pair.run_for(SECOND * 3);
    pair.muted = None;
    let probes = pair.node.link.stats().probes_sent;
    assert!(probes > 0);
    assert!(pair.node.sent.iter().all(|(_, len)| *len < 60));
    pair.run_until_quiet(SECOND * 5);
    assert!(
        pair.node.link.stats().probes_sent <= probes + 3,
        "one round"
    );
}

/// PROBE-1: to a peer that is gone, a link sends in rounds that grow, and never in bursts.
#[test]
fn probes_to_a_silent_peer_thin_out() {
    let mut pair = Pair::warmed_up(FINE, 6);
    pair.muted = Some(Side::Node);
    let start = pair.now;
    pair.send(Side::Node, 1, b"anybody there?");
    pair.run_for(SECOND * 60);
    let times = pair
        .node
        .sent
        .iter()
        .map(|(at, _)| at.saturating_since(start));
    let (early, late): (Vec<_>, Vec<_>) = times.partition(|after| *after < SECOND * 2);
    assert!((10..=20).contains(&early.len()), "{early:?}");
    assert!(late.len() <= 58 * 3, "{late:?}");
}

/// LOSS-3: minutes of probes, each with all that is unacknowledged, fill no window.
#[test]
fn new_messages_are_not_held_up_by_what_a_silence_swallowed() {
    // node --x 500 s-- broker
    let mut pair = Pair::warmed_up(FINE, 7);
    pair.muted = Some(Side::Node);
    for _ in 0..5 {
        pair.send(Side::Node, 1, &[0; 100]);
        pair.run_for(MS * 600);
    }
    pair.run_for(SECOND * 500);
    pair.muted = None;
    let sent_at = pair.now;
    pair.send(Side::Node, 2, b"new");
    pair.run_for(MS * 50);
    let arrived: Vec<_> = pair
        .broker
        .messages
        .iter()
        .map(|(at, on, _)| (*at, *on))
        .collect();
    let on = [2, 1, 1, 1, 1, 1];
    let expected = on.map(|channel| (sent_at + MS * 50, channel));
    assert_eq!(arrived, expected, "the new one, and what it took along");
    pair.run_until_quiet(SECOND * 20);
}

//! Keeping a link alive, and ending it.

use super::super::State;
use super::*;
use crate::secure::{SEALED_MAX, SEALED_RESERVE};

/// LIF-1: a node's PINGs, and their answers, are all that an idle link sends.
#[test]
fn an_idle_node_pings_every_15_seconds() {
    let mut pair = Pair::warmed_up(FINE, 1);
    pair.run_for(SECOND * 61);
    let times: Vec<_> = pair.node.sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 4);
    let gaps = times
        .windows(2)
        .map(|pair| pair[1].saturating_since(pair[0]));
    assert!(gaps.into_iter().all(|gap| gap == SECOND * 15));
    assert_eq!(pair.broker.sent.len(), 4);
}

/// LIF-6: a node whose machine wakes up asks at once, and again as if for the first time.
#[test]
fn a_node_that_was_suspended_asks_at_once_and_stops_backing_off() {
    let mut pair = Pair::warmed_up(FINE, 5);
    pair.muted = Some(Side::Broker);
    pair.send(Side::Node, 1, b"said before the lid was closed");
    pair.run_for(SECOND * 4);
    let (now, before) = (pair.now, pair.node.sent.len());
    pair.node.link.handle_resume(now);
    pair.drain(Side::Node);
    assert_eq!(pair.node.sent.len(), before + 1);
    pair.run_for(MS * 400);
    let asked = pair.node.sent.len() - before;
    assert!(asked >= 4, "{asked} in the first two rounds");
}

/// LIF-1: a broker that has heard nothing for 25 s asks.
#[test]
fn a_broker_pings_after_25_seconds_of_silence() {
    let mut pair = Pair::warmed_up(FINE, 2);
    let heard = pair.broker.link.last_heard();
    pair.muted = Some(Side::Node);
    pair.run_for(SECOND * 26);
    let (first, _) = pair.broker.sent[0];
    assert_eq!(first.saturating_since(heard), SECOND * 25);
}

/// LIF-2: a silence is reported once, 5 s after something began to wait for an answer.
#[test]
fn a_silence_while_something_is_unacknowledged_is_reported() {
    let mut pair = Pair::warmed_up(FINE, 3);
    pair.muted = Some(Side::Node);
    pair.run_for(SECOND * 10);
    assert_eq!(pair.node.silences, 0, "nothing was sent yet");
    pair.send(Side::Node, 1, b"anybody there?");
    assert_eq!(pair.node.link.unacked_since(), Some(pair.now));
    pair.run_for(MS * 4_999);
    assert_eq!(pair.node.silences, 0);
    pair.run_for(MS);
    assert_eq!(pair.node.silences, 1);
    pair.run_for(SECOND * 30);
    assert_eq!(pair.node.silences, 1);
    assert!(
        pair.node.link.is_open(),
        "what to do about it is the owner's affair"
    );
}

/// LIF-2: a link that hears nothing for its grace is over, without a word.
#[test]
fn a_link_not_heard_from_for_the_grace_ends() {
    let mut pair = Pair::warmed_up(FINE, 4);
    let heard = pair.broker.link.last_heard();
    pair.muted = Some(Side::Node);
    pair.run_for(SECOND * 590);
    assert_eq!(pair.broker.ended, None);
    pair.run_for(SECOND * 20);
    assert_eq!(
        pair.broker.ended,
        Some((false, CloseCode::TimedOut, String::new()))
    );
    assert!(pair.broker.link.is_closed());
    assert_eq!(pair.broker.link.poll_timeout(), None);
    let (last, _) = pair.broker.sent[pair.broker.sent.len() - 1];
    assert!(last < heard + SECOND * 600);
}

/// LIF-3.
#[test]
fn a_close_ends_both_sides_with_its_code_and_reason() {
    let mut pair = Pair::warmed_up(FINE, 5);
    pair.close(Side::Broker, CloseCode::Replaced, "a newer link");
    assert!(!pair.broker.link.is_open() && !pair.broker.link.is_closed());
    assert_eq!(
        pair.try_send(Side::Broker, 1, b"late"),
        Err(SendError::Closed)
    );
    pair.run_for(SECOND * 5);
    let (code, reason) = (CloseCode::Replaced, "a newer link".to_owned());
    assert_eq!(pair.node.ended, Some((true, code, reason.clone())));
    assert_eq!(pair.broker.ended, Some((false, code, reason)));
    assert!(pair.node.link.is_closed() && pair.broker.link.is_closed());
    assert_eq!(
        pair.node.sent.len(),
        0,
        "who receives a CLOSE sends nothing more"
    );
    assert_eq!(pair.broker.sent.len(), 1);
}

/// LIF-3: the same CLOSE again, to the 1st, 2nd, 4th, 8th ... packet that follows.
#[test]
fn a_lost_close_is_repeated_ever_more_rarely() {
    let now = Timestamp::from_millis(1);
    let mut link = Link::new(config(Side::Broker, 1), now);
    let mut node = Forger::new(Side::Node);
    link.close(CloseCode::ShuttingDown, "bye", now);
    let close = datagrams(&mut link, now);
    assert_eq!(close.len(), 1);
    let mut answered = Vec::new();
    for packet in 1..=40 {
        let datagram = node.frames(&[Frame::Ping]);
        link.handle_datagram(link.path(), datagram, now).unwrap();
        let answer = datagrams(&mut link, now);
        if !answer.is_empty() {
            assert_eq!(answer, close);
            answered.push(packet);
        }
    }
    assert_eq!(answered, [1, 2, 4, 8, 16, 32]);
    let deadline = link.poll_timeout().unwrap();
    assert_eq!(deadline.at, now + MS * 600 * 3, "3 T");
    link.handle_timeout(deadline.at);
    assert!(link.is_closed());
    let datagram = node.frames(&[Frame::Ping]);
    assert_eq!(
        link.handle_datagram(link.path(), datagram, deadline.at),
        Err(DropReason::Closed)
    );
}

/// LIF-3: two CLOSEs that cross end in silence, not in a quarrel.
#[test]
fn closes_that_cross_each_other_are_not_answered() {
    let mut pair = Pair::warmed_up(FINE, 6);
    pair.close(Side::Broker, CloseCode::Done, "");
    pair.close(Side::Node, CloseCode::Done, "");
    pair.run_for(SECOND * 10);
    assert_eq!((pair.node.sent.len(), pair.broker.sent.len()), (1, 1));
    assert!(pair.node.link.is_closed() && pair.broker.link.is_closed());
}

/// LIF-3, LIM-2: a reason is cut to 128 bytes, between characters.
#[test]
fn a_long_reason_is_cut() {
    let mut pair = Pair::warmed_up(FINE, 7);
    pair.close(Side::Node, CloseCode::Done, &"ü".repeat(100));
    pair.run_for(SECOND);
    let (_, _, reason) = pair.broker.ended.unwrap();
    assert_eq!(reason, "ü".repeat(64));
}

/// LIF-1, PROBE-3: after hours of silence the first message goes out at once, and is repaired as
/// quickly as any other.
#[test]
fn after_hours_of_idling_the_first_message_is_as_quick_as_ever() {
    let mut pair = Pair::warmed_up(FINE, 8);
    pair.run_for(SECOND * 3600 * 3);
    pair.muted = Some(Side::Node);
    let sent_at = pair.now;
    pair.send(Side::Node, 1, b"good morning");
    pair.muted = None;
    pair.run_until_quiet(SECOND * 5);
    let (at, _, _) = pair.broker.messages[0];
    assert!(at.saturating_since(sent_at) < MS * 200);
}

/// KEY-4: a link whose peer acknowledges nothing, so that it cannot go on to another key (KEY-8),
/// closes with KEYS before its key has sealed too much.
#[test]
fn a_used_up_key_closes_the_link() {
    let mut pair = Pair::warmed_up(FINE, 9);
    let now = pair.now;
    assert!(pair.node.link.rotate_keys(now));
    pair.muted = Some(Side::Node);
    let last = SEALED_MAX - SEALED_RESERVE - 1;
    let first = pair.node.link.envelope.next_number();
    pair.node.link.envelope.pretend_sent(first + last);
    pair.send(Side::Node, 1, b"the last");
    pair.run_for(SECOND);
    assert_eq!(
        pair.node.ended.map(|(_, code, _)| code),
        Some(CloseCode::Keys)
    );
}

/// How many bytes there are in a link, by what the allocator gets back for it.
fn bytes_of(link: Link) -> usize {
    let freed = allocation_counter::measure(|| drop(link)).bytes_current;
    size_of::<Link>() + usize::try_from(-freed).unwrap()
}

/// MEM-1: a link costs a broker little while nothing happens on it, whatever has happened before: also
/// between the signs of life, which need keys.
#[test]
fn an_idle_link_is_small() {
    let mut pair = Pair::warmed_up(FINE, 10);
    for _ in 0..200 {
        pair.send(Side::Node, 1, &[7; 3_000]);
        pair.send(Side::Broker, 1, &[8; 3_000]);
        pair.run_for(MS * 20);
    }
    assert!(!pair.broker.link.is_resting() && !pair.node.link.is_resting());
    pair.run_for(SECOND * 50);
    assert!(pair.broker.link.is_resting() && pair.node.link.is_resting());
    pair.send(Side::Broker, 1, b"as before");
    pair.run_for(SECOND);
    assert_eq!(pair.node.messages.last().unwrap().2, b"as before"[..]);
    assert!(!pair.broker.link.is_resting());
    pair.run_for(SECOND * 4);
    let patience = pair.now + SECOND * 10;
    while !pair.broker.link.is_resting() {
        pair.run_for(MS * 100);
        assert!(pair.now < patience);
    }
    let held = bytes_of(pair.broker.link);
    assert!(held <= 2_300, "{held}");
}

/// A pair whose round trip takes 40 ms, as the node knows; the broker has learned that it takes
/// 23 s, as after an outage in which all was held up.
fn far_apart(seed: u64) -> Pair {
    // node === 20 ms === broker
    let one_way = MS * 20;
    let mut pair = Pair::new(Network { one_way, ..FINE }, seed);
    for _ in 0..100 {
        pair.send(Side::Node, 1, b"warm");
        pair.run_for(MS * 200);
    }
    let now = pair.now;
    let State::Open(open) = &mut pair.broker.link.state else {
        panic!("it was just used");
    };
    for _ in 0..100 {
        open.rtt.on_sample(SECOND * 23, Duration::ZERO, now);
    }
    pair.node.sent.clear();
    pair.broker.sent.clear();
    pair
}

/// PROBE-1, ACK-2, LIF-1: the broker finds thick what the node finds thin, and holds back its
/// acknowledgements for longer than the node would wait. Only signs of life go to and fro all the
/// same: four PINGs, and what they cause.
#[test]
fn links_that_learned_round_trips_far_apart_fall_silent() {
    let mut pair = far_apart(7);
    pair.run_for(SECOND * 60);
    let sent = pair.node.sent.len() + pair.broker.sent.len();
    assert!((8..=20).contains(&sent), "{sent}");
}

/// ACK-2: to whoever asks again and again, it is said again what has come, although by the broker's
/// own measure the questions crossed the acknowledgement (which was lost) for 14 s.
#[test]
fn a_peer_that_probes_again_and_again_is_answered() {
    let mut pair = far_apart(8);
    // broker --x 100 ms of acknowledgements-- node
    pair.muted = Some(Side::Broker);
    pair.send(Side::Node, 1, b"hello");
    pair.run_for(MS * 100);
    pair.muted = None;
    assert!(pair.node.link.unacknowledged());
    pair.run_for(MS * 900);
    assert!(!pair.node.link.unacknowledged());
    let sent = pair.broker.sent.len();
    assert!((2..=6).contains(&sent), "{sent}");
}

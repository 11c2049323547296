//! A node whose address changes, and others who only make it look so.

use proptest::prelude::*;

use super::*;
use crate::wire::{ResetToken, decode_frames};

const NO_TOKEN: ResetToken = ResetToken([0; 16]);

fn elsewhere(port: u16) -> Path {
    Path::new(([198, 51, 100, 7], port).into())
}

/// A pair in which both sides have connection ids in store.
fn pair_with_spares(network: Network, seed: u64) -> Pair {
    let mut pair = Pair::new(FINE, seed);
    for index in 1..=2_u8 {
        assert!(pair.broker.link.issue_cid(Cid::from([index; 8]), NO_TOKEN));
        assert!(
            pair.node
                .link
                .issue_cid(Cid::new(&[index, index]).unwrap(), NO_TOKEN)
        );
    }
    for _ in 0..20 {
        pair.send(Side::Node, 1, b"warm");
        pair.send(Side::Broker, 0, b"up");
        pair.run_for(MS * 200);
    }
    for side in [Side::Node, Side::Broker] {
        pair.end(side).messages.clear();
        pair.end(side).sent.clear();
        pair.end(side).raw.clear();
    }
    pair.sent_to.clear();
    pair.network = network;
    pair
}

/// The broker's latest PATH_CHALLENGE: it goes to a connection id that is not in use yet.
fn question(pair: &Pair) -> Vec<u8> {
    let mut raw = pair.broker.raw.iter();
    let question = raw.rfind(|datagram| datagram[1..3] == [1, 1]);
    question.unwrap().clone()
}

/// The connection ids of the datagrams that `side` sent, each once, in order.
fn cids_used(pair: &mut Pair, side: Side) -> Vec<Vec<u8>> {
    let len = match side {
        Side::Node => BROKER_CID.len(),
        Side::Broker => NODE_CID.len(),
    };
    let raw = pair.end(side).raw.iter();
    let mut cids: Vec<_> = raw.map(|datagram| datagram[1..=len].to_vec()).collect();
    cids.dedup();
    cids
}

/// PTH-1, PTH-2, PTH-3: a NAT gives the node a new address; a round trip after the node's next
/// packet the link is there.
#[test]
fn a_node_behind_a_new_address_is_followed_within_a_round_trip() {
    // node (was at A, now at B) === broker
    let mut pair = pair_with_spares(FINE, 1);
    pair.node_at = elsewhere(1);
    let start = pair.now;
    pair.send(Side::Node, 1, b"here I am");
    pair.run_for(MS * 50);
    assert_eq!(pair.broker.link.path(), path_to(Side::Node));
    pair.run_for(MS * 100);
    assert_eq!(pair.broker.link.path(), elsewhere(1));
    assert_eq!(pair.broker.link.stats().moves, 1);
    pair.send(Side::Broker, 1, b"there you are");
    pair.run_until_quiet(SECOND);
    assert_eq!(pair.heard(Side::Node, 1), [b"there you are"]);
    assert_eq!(pair.heard(Side::Broker, 1), [b"here I am"]);
    assert_eq!(pair.node.silences, 0);
    assert!(pair.now < start + MS * 700);
}

/// PTH-3: what was on its way to the old address is sent again at once, not by and by.
#[test]
fn what_went_to_the_old_address_is_repaired_by_the_move() {
    let mut pair = pair_with_spares(FINE, 2);
    pair.node_at = elsewhere(1);
    for _ in 0..3 {
        pair.send(Side::Broker, 1, &[7; 9_000]);
    }
    pair.send(Side::Node, 1, b"here I am");
    let start = pair.now;
    pair.run_until_quiet(SECOND * 5);
    let last = pair.node.messages.last().unwrap().0;
    assert_eq!(pair.heard(Side::Node, 1).len(), 3);
    assert!(
        last < start + MS * 500,
        "{:?}",
        last.saturating_since(start)
    );
}

/// PTH-6, CID-1, CID-2: a node that knows of its new address tells at once, under fresh connection
/// ids, and both stores are filled again.
#[test]
fn a_node_that_roams_is_not_recognized_by_its_connection_ids() {
    let mut pair = pair_with_spares(FINE, 3);
    let fresh = [[3; 8], [4; 8], [5; 8]];
    for round in 0..3 {
        let before = cids_used(&mut pair, Side::Node);
        pair.node.raw.clear();
        pair.broker.raw.clear();
        pair.node_at = elsewhere(round);
        let now = pair.now;
        pair.node.link.handle_address_change(now);
        pair.drain(Side::Node);
        pair.run_for(MS * 160);
        assert_eq!(pair.broker.link.path(), elsewhere(round));
        let after = cids_used(&mut pair, Side::Node);
        assert_eq!(after.len(), 1);
        assert!(!before.contains(&after[0]));
        pair.run_until_quiet(SECOND * 5);
        for side in [Side::Node, Side::Broker] {
            assert_eq!(core::mem::take(&mut pair.end(side).retired).len(), 1);
        }
        let next = fresh[usize::from(round)];
        assert!(pair.broker.link.issue_cid(Cid::from(next), NO_TOKEN));
        let next = Cid::new(&next[..2]).unwrap();
        assert!(pair.node.link.issue_cid(next, NO_TOKEN));
        pair.send(Side::Node, 1, b"still me");
        pair.send(Side::Broker, 1, b"so you say");
        pair.run_until_quiet(SECOND * 5);
    }
    let to_new = pair.broker.raw.iter().map(|datagram| &datagram[1..3]);
    assert!(to_new.into_iter().all(|cid| cid != NODE_CID));
    assert_eq!(pair.node.link.stats().moves, 3);
}

/// CID-2: without a fresh id the old one goes on.
#[test]
fn a_node_without_spare_ids_roams_all_the_same() {
    let mut pair = Pair::warmed_up(FINE, 4);
    pair.node_at = elsewhere(1);
    let now = pair.now;
    pair.node.link.handle_address_change(now);
    pair.drain(Side::Node);
    pair.run_until_quiet(SECOND);
    assert_eq!(pair.broker.link.path(), elsewhere(1));
    assert!(pair.node.retired.is_empty() && pair.broker.retired.is_empty());
}

/// PTH-3, PTH-5: somebody copies a packet and is faster than its sender. The copy's address is asked
/// and does not answer; the session stays, and the true sender notices nothing.
#[test]
fn a_copied_packet_raced_from_elsewhere_does_not_move_the_link() {
    // node === broker <-- a copy, 1 ms ahead
    let mut pair = pair_with_spares(FINE, 5);
    pair.send(Side::Node, 1, b"copied");
    let copy = pair.node.raw.last().unwrap().clone();
    pair.run_for(MS * 49);
    pair.hand_over(Side::Broker, elsewhere(66), &copy);
    pair.run_for(SECOND * 3);
    assert_eq!(pair.broker.link.path(), path_to(Side::Node));
    assert_eq!(pair.broker.dropped, [DropReason::Replay], "the original");
    let (asked, limit) = (pair.sent_to[&elsewhere(66)], copy.len() * 3);
    assert!(0 < asked && asked <= limit, "{asked} bytes for {limit}");
    pair.send(Side::Broker, 1, b"to the true one");
    pair.run_until_quiet(SECOND);
    assert_eq!(pair.heard(Side::Node, 1), [b"to the true one"]);
    assert_eq!(pair.broker.link.stats().moves, 0);
}

/// PTH-5: the next packet of the true sender ends the asking.
#[test]
fn a_newer_packet_from_the_old_path_ends_a_rumour() {
    let mut pair = pair_with_spares(FINE, 6);
    pair.send(Side::Node, 1, b"copied");
    let copy = pair.node.raw.last().unwrap().clone();
    pair.hand_over(Side::Broker, elsewhere(66), &copy);
    let asked = pair.sent_to[&elsewhere(66)];
    pair.run_for(MS * 10);
    pair.send(Side::Node, 1, b"not copied");
    pair.run_for(SECOND * 3);
    assert_eq!(pair.sent_to[&elsewhere(66)], asked);
}

/// PTH-1: who relays even the question and the answer gets the link for as long as it takes the true
/// sender to say something.
#[test]
fn a_link_that_was_lured_away_comes_back() {
    let mut pair = pair_with_spares(FINE, 7);
    let thief = elsewhere(66);
    pair.send(Side::Node, 1, b"copied");
    let copy = pair.node.raw.last().unwrap().clone();
    pair.hand_over(Side::Broker, thief, &copy);
    let question = question(&pair);
    pair.hand_over(Side::Node, path_to(Side::Broker), &question);
    let answer = pair.node.raw.last().unwrap().clone();
    pair.hand_over(Side::Broker, thief, &answer);
    assert_eq!(pair.broker.link.path(), thief);
    pair.run_for(MS * 300);
    pair.send(Side::Node, 1, b"what is going on?");
    pair.run_for(MS * 160);
    assert_eq!(pair.broker.link.path(), path_to(Side::Node));
    pair.send(Side::Broker, 1, b"all is well");
    pair.run_until_quiet(SECOND * 5);
    assert_eq!(pair.heard(Side::Node, 1), [b"all is well"]);
}

/// PTH-3: an answer that comes over another path than the question's proves nothing.
#[test]
fn an_answer_from_the_wrong_path_does_not_count() {
    let mut pair = pair_with_spares(FINE, 8);
    let thief = elsewhere(66);
    pair.send(Side::Node, 1, b"copied");
    let copy = pair.node.raw.last().unwrap().clone();
    pair.hand_over(Side::Broker, thief, &copy);
    let question = question(&pair);
    pair.hand_over(Side::Node, path_to(Side::Broker), &question);
    pair.run_for(SECOND * 3);
    assert_eq!(pair.broker.link.path(), path_to(Side::Node));
    assert_eq!(pair.broker.link.stats().moves, 0);
}

/// PTH-4: while a path has not proved itself, what waits for the node stays off it.
#[test]
fn before_the_answer_everything_but_the_question_takes_the_old_path() {
    let mut pair = pair_with_spares(FINE, 9);
    pair.node_at = elsewhere(1);
    pair.send(Side::Node, 1, b"x");
    let heard = pair.node.raw.last().unwrap().len();
    pair.muted = Some(Side::Node);
    for _ in 0..3 {
        pair.send(Side::Broker, 1, &[0; 10_000]);
    }
    pair.run_for(SECOND * 4);
    let to_new = pair.sent_to[&elsewhere(1)];
    assert!(to_new <= heard * 3, "{to_new} bytes for {heard}");
    assert!(pair.sent_to[&path_to(Side::Node)] > 10_000);
    assert_eq!(pair.broker.link.path(), path_to(Side::Node));
}

/// PTH-3, CC-1: the window of the old path is not that of the new one.
#[test]
fn a_moved_link_begins_with_the_initial_window() {
    let mut pair = pair_with_spares(FINE, 10);
    for _ in 0..40 {
        while pair.try_send(Side::Broker, 1, &[0; 60_000]).is_ok() {}
        pair.run_for(MS * 50);
    }
    pair.node_at = elsewhere(1);
    let now = pair.now;
    pair.node.link.handle_address_change(now);
    pair.drain(Side::Node);
    pair.run_for(MS * 200);
    let sent = pair.sent_to[&elsewhere(1)];
    assert!(sent <= 10 * DATAGRAM_BASE + 100, "{sent}");
    pair.run_until_quiet(SECOND * 20);
}

/// PTH-3, CC-3: a node that is at its window's limit because acknowledgements go astray still answers.
#[test]
fn a_full_window_does_not_keep_a_node_from_answering() {
    let mut pair = pair_with_spares(FINE, 11);
    pair.send(Side::Node, 1, &[1; 60_000]);
    pair.run_for(MS * 20);
    pair.node_at = elsewhere(1);
    pair.run_until_quiet(SECOND * 5);
    assert_eq!(pair.broker.link.path(), elsewhere(1));
    assert_eq!(pair.heard(Side::Broker, 1).len(), 1);
    assert_eq!(pair.node.silences, 0);
}

/// LIF-2, PTH-2: at 30 % loss each way a session survives a new address without a new handshake.
#[test]
fn a_move_survives_heavy_loss() {
    let (mut silences, mut took) = (0, Vec::new());
    for seed in 0..200 {
        let mut pair = pair_with_spares(lossy(30), seed);
        pair.node_at = elsewhere(1);
        pair.send(Side::Node, 1, b"here I am");
        let start = pair.now;
        while pair.broker.link.path() != elsewhere(1) {
            pair.run_for(MS * 10);
        }
        took.push(pair.now.saturating_since(start).as_millis());
        pair.run_until_quiet(SECOND * 60);
        silences += pair.node.silences;
        assert_eq!(pair.heard(Side::Broker, 1).len(), 1);
    }
    took.sort_unstable();
    let at = |percent: usize| took[took.len() * percent / 100];
    let (median, p95) = (at(50), at(95));
    println!("a move at 30 % loss: median {median} ms, 95 % {p95} ms");
    assert!(p95 < 1_000, "{p95} ms");
    assert!(silences <= 2, "{silences} of 200");
}

/// LIF-5, PTH-1: a node that has said everything, and whose answer goes to where it is no longer,
/// does not wait for its keepalive.
#[test]
fn a_node_that_waits_for_an_answer_asks_after_a_few_timeouts() {
    for is_expecting in [true, false] {
        let mut pair = pair_with_spares(FINE, 12);
        pair.run_until_quiet(SECOND * 5);
        let now = pair.now;
        pair.node.link.set_expecting(is_expecting, now);
        pair.node_at = elsewhere(1);
        pair.send(Side::Broker, 1, b"the answer");
        pair.run_for(SECOND);
        assert_eq!(pair.heard(Side::Node, 1).len(), usize::from(is_expecting));
    }
}

/// LIF-5: as long as the peer shows that it is there, and at its own pace.
#[test]
fn a_node_that_waits_long_asks_now_and_then() {
    let mut pair = pair_with_spares(FINE, 13);
    pair.run_until_quiet(SECOND * 5);
    let (now, before) = (pair.now, pair.node.sent.len());
    pair.node.link.set_expecting(true, now);
    pair.run_for(SECOND * 10);
    let asked = pair.node.sent.len() - before;
    assert!((15..=40).contains(&asked), "{asked}");
    let now = pair.now;
    pair.node.link.set_expecting(false, now);
    pair.run_for(SECOND * 14);
    assert_eq!(pair.node.sent.len() - before, asked);
}

/// CID-1, CID-2, PTH-3, LIF-4: what a hostile peer does with these frames closes the link or nothing.
#[test]
fn frames_about_paths_and_ids_that_break_the_rules_close_the_link() {
    let new = |sequence, len: usize| Frame::NewCid {
        sequence,
        cid: Cid::new(&[sequence as u8; 8][..len]).unwrap(),
        token: NO_TOKEN,
    };
    let cases: [(Side, Vec<Frame>, Option<&str>); 8] = [
        (Side::Node, vec![new(1, 8), new(2, 8), new(2, 8)], None),
        (
            Side::Node,
            vec![new(1, 8), new(2, 8), new(3, 8)],
            Some("more connection ids"),
        ),
        (Side::Node, vec![new(1, 4)], Some("another length")),
        (Side::Broker, vec![new(1, 2), new(1 << 60, 2)], None),
        (
            Side::Broker,
            vec![Frame::RetireCid { sequence: 0 }],
            Some("retired"),
        ),
        (
            Side::Broker,
            vec![Frame::PathChallenge([1; 8])],
            Some("asks for a path"),
        ),
        (Side::Broker, vec![Frame::PathResponse([1; 8])], None),
        (Side::Node, vec![Frame::PathResponse([1; 8])], None),
    ];
    for (side, frames, expected) in cases {
        let now = Timestamp::from_millis(1);
        let mut link = Link::new(config(side, 1), now);
        let datagram = Forger::new(other(side)).frames(&frames);
        link.handle_datagram(link.path(), datagram, now).unwrap();
        let closed = core::iter::from_fn(|| link.poll_event()).find_map(|event| match event {
            LinkEvent::Closed { reason, .. } => Some(reason),
            _ => None,
        });
        match expected {
            None => assert_eq!(closed, None, "{frames:?}"),
            Some(words) => assert!(closed.unwrap().contains(words), "{frames:?}"),
        }
    }
}

/// PTH-2: the question is all that a datagram to an unproved path holds.
#[test]
fn a_question_comes_alone() {
    let mut pair = pair_with_spares(FINE, 12);
    pair.send(Side::Node, 1, b"copied");
    let copy = pair.node.raw.last().unwrap().clone();
    pair.hand_over(Side::Broker, elsewhere(66), &copy);
    let mut opener = crate::secure::Opener::new(&RECEIVE);
    let mut questions = 0;
    for datagram in &pair.broker.raw {
        let opened = opener
            .open(BytesMut::from(&datagram[..]), NODE_CID.len())
            .unwrap();
        let frames: Vec<_> = decode_frames(opened.payload).flatten().collect();
        if frames
            .iter()
            .any(|frame| matches!(frame, Frame::PathChallenge(_)))
        {
            assert!(
                matches!(frames[..], [Frame::PathChallenge(_)]),
                "{frames:?}"
            );
            questions += 1;
        }
    }
    assert_eq!(questions, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// CHN-1, PTH-3, PTH-5, CID-2: with addresses that change at any time, noticed or not, copies
    /// that race from elsewhere, and any loss, every message arrives once and in order, and nobody
    /// who did not answer ever got more than three times what came from there.
    #[test]
    fn a_roaming_node_loses_nothing(
        loss in 0_u64..40,
        jitter in 0_u32..60,
        seed in any::<u64>(),
        plan in prop::collection::vec((0_u8..6, 0_usize..3_000, 0_u32..400), 1..50),
    ) {
        // node (wandering) === loss, jitter === broker <-- copies
        let mut pair = pair_with_spares(Network { jitter: MS * jitter, duplicate: 3, ..lossy(loss) }, seed);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let (mut copied, mut moves, mut spare) = (0, 0_u16, 10_u8);
        for (index, (action, len, wait)) in plan.into_iter().enumerate() {
            let message = vec![index as u8; len];
            match action {
                0 | 1 => {
                    pair.send(Side::Node, 1, &message);
                    up.push(message);
                }
                2 => {
                    pair.send(Side::Broker, 1, &message);
                    down.push(message);
                }
                3 | 4 => {
                    moves += 1;
                    pair.node_at = elsewhere(moves);
                    if action == 4 {
                        let now = pair.now;
                        pair.node.link.handle_address_change(now);
                        pair.drain(Side::Node);
                    }
                }
                _ => {
                    if let Some(copy) = pair.node.raw.last().cloned() {
                        copied += copy.len();
                        pair.hand_over(Side::Broker, elsewhere(6_666), &copy);
                    }
                }
            }
            pair.run_for(MS * wait);
            for side in [Side::Node, Side::Broker] {
                for old in core::mem::take(&mut pair.end(side).retired) {
                    spare += 1;
                    let fresh = [spare; 8];
                    let fresh = Cid::new(&fresh[..old.as_bytes().len()]).unwrap();
                    prop_assert!(pair.end(side).link.issue_cid(fresh, NO_TOKEN));
                }
            }
        }
        pair.send(Side::Node, 1, b"the last");
        up.push(b"the last".to_vec());
        pair.network = FINE;
        pair.run_until_quiet(SECOND * 600);
        prop_assert_eq!(pair.heard(Side::Broker, 1), up);
        prop_assert_eq!(pair.heard(Side::Node, 1), down);
        prop_assert_eq!(pair.broker.link.path(), pair.node_at);
        let to_thief = pair.sent_to.get(&elsewhere(6_666)).copied().unwrap_or(0);
        prop_assert!(to_thief <= copied * 3);
        prop_assert_eq!((pair.node.ended, pair.broker.ended), (None, None));
    }
}

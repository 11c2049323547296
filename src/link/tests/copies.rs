//! Copies ahead of any time-out, as seen from outside: when they go, and when they do not.

use super::*;

/// A link that has learnt that so many of a hundred packets are lost.
fn pair(loss: u32, network: Network, seed: u64) -> Pair {
    let mut pair = Pair::warmed_up(network, seed);
    let known = LossEstimate::known(loss * 10);
    for side in [Side::Node, Side::Broker] {
        pair.end(side).link.hint_loss(known);
    }
    pair
}

/// When the node sent something, in milliseconds after `start`.
fn sent_after(pair: &Pair, start: Timestamp) -> Vec<u64> {
    let times = pair.node.sent.iter().map(|(at, _)| *at);
    times
        .filter(|at| *at >= start)
        .map(|at| at.saturating_since(start).as_millis() as u64)
        .collect()
}

/// LAD-1: 0.15 and 0.5 of 100 ms; the acknowledgement comes later than these, and ends it.
#[test]
fn a_small_message_is_copied_within_the_round_trip_and_repaired_by_a_copy() {
    let mut pair = pair(20, FINE, 1);
    let start = pair.now;
    pair.send(Side::Node, 1, b"hello");
    pair.run_for(SECOND * 5);
    assert_eq!(sent_after(&pair, start), [0, 15, 50]);
    assert_eq!(pair.heard(Side::Broker, 1), [b"hello"]);
    // node --x-- broker, for 10 ms
    pair.muted = Some(Side::Node);
    let start = pair.now;
    pair.send(Side::Node, 1, b"again");
    pair.run_for(MS * 10);
    pair.muted = None;
    pair.run_for(SECOND * 5);
    let (at, _, _) = pair.broker.messages.last().unwrap();
    assert_eq!(*at, start + MS * 65);
}

/// LAD-1: what is large is repaired when it is missed.
#[test]
fn a_large_message_is_not_copied() {
    let mut pair = pair(20, FINE, 2);
    let copied = pair.node.link.stats().bytes_copied;
    let start = pair.now;
    pair.send(Side::Node, 1, &[1; 513]);
    pair.run_for(SECOND * 5);
    assert_eq!(sent_after(&pair, start), [0]);
    pair.send(Side::Node, 1, &[1; 3_000]);
    pair.run_for(SECOND * 5);
    assert_eq!(pair.node.link.stats().bytes_copied, copied);
}

/// LAD-2: the second message makes a packet for the copy of the first unnecessary.
#[test]
fn a_message_takes_along_an_earlier_one() {
    let mut pair = pair(4, FINE, 3);
    let duplicates = pair.broker.link.stats().duplicate_pieces;
    let start = pair.now;
    pair.send(Side::Node, 1, b"first");
    pair.run_for(MS * 25);
    pair.send(Side::Node, 2, b"second");
    pair.run_for(SECOND * 5);
    assert_eq!(sent_after(&pair, start), [0, 25, 65]);
    let duplicates = pair.broker.link.stats().duplicate_pieces - duplicates;
    assert_eq!(duplicates, 3, "the first one twice, the second once");
}

/// LAD-4.
#[test]
fn what_many_wait_for_is_copied_on_a_clean_path_too() {
    let mut pair = pair(0, FINE, 4);
    pair.node.link.set_care(3, Care::Generous);
    for (channel, times) in [(2, &[0][..]), (3, &[0, 15, 50])] {
        let start = pair.now;
        pair.send(Side::Node, channel, b"hello");
        pair.run_for(SECOND * 5);
        assert_eq!(sent_after(&pair, start), times);
    }
}

/// LAD-5: eight packets and one each round trip, however many messages there are.
#[test]
fn packets_of_copies_are_few_however_much_is_sent() {
    let mut pair = pair(20, FINE, 5);
    pair.node.link.set_care(1, Care::Generous);
    let start = pair.now;
    let messages = 100;
    for _ in 0..messages {
        pair.send(Side::Node, 1, &[1; 100]);
        pair.run_for(MS * 60);
    }
    pair.run_until_quiet(SECOND * 5);
    let round_trips = pair.now.saturating_since(start).as_millis() as usize / 100;
    let copies = sent_after(&pair, start).len() - messages;
    assert!(copies > round_trips / 2, "{copies}");
    assert!(copies <= round_trips + 8, "{copies}");
}

/// LAD-5, PROBE-4: the window is full, and no copy goes; of the probes, the free ones.
#[test]
fn copies_obey_the_window() {
    let mut pair = pair(20, FINE, 6);
    let copied = pair.node.link.stats().bytes_copied;
    pair.muted = Some(Side::Node);
    let start = pair.now;
    pair.send(Side::Node, 2, &[0; 60_000]);
    pair.send(Side::Node, 1, b"small");
    // What the pacer lets go.
    pair.run_for(MS * 20);
    let full = sent_after(&pair, start).len();
    pair.run_for(MS * 280);
    let probes = sent_after(&pair, start).len() - full;
    assert_eq!(probes, 2, "at T and 2T");
    assert_eq!(pair.node.link.stats().bytes_copied, copied);
}

/// LAD-8: whoever owns many links may have nothing left for copies.
#[test]
fn an_owner_can_forbid_copies() {
    let mut pair = pair(20, FINE, 7);
    pair.node.link.allow_copies(false);
    let start = pair.now;
    pair.send(Side::Node, 1, b"hello");
    pair.run_for(SECOND * 5);
    assert_eq!(sent_after(&pair, start), [0]);
    pair.node.link.allow_copies(true);
    pair.send(Side::Node, 1, b"hello");
    pair.run_for(SECOND * 5);
    assert_eq!(sent_after(&pair, start), [0, 5_000, 5_015, 5_050]);
}

/// LAD-6: more than half of the window is more than a chat.
#[test]
fn a_link_with_much_to_send_makes_no_copies_for_ten_round_trips() {
    let mut pair = pair(20, FINE, 8);
    pair.send(Side::Node, 2, &[0; 7_000]);
    pair.run_for(MS * 300);
    let start = pair.now;
    pair.send(Side::Node, 1, b"hello");
    pair.run_for(SECOND * 2);
    assert_eq!(sent_after(&pair, start), [0]);
    pair.send(Side::Node, 1, b"hello");
    pair.run_for(SECOND * 2);
    assert_eq!(sent_after(&pair, start), [0, 2_000, 2_015, 2_050]);
}

/// LAD-6: a narrow path that holds the messages and not their copies gets the messages.
#[test]
fn copies_give_way_on_a_path_that_they_would_fill() {
    // node === 3,000 B/s, a queue of 300 ms === broker
    let bottleneck = Some((3_000, MS * 300));
    let network = Network { bottleneck, ..FINE };
    let mut pair = pair(20, network, 9);
    pair.node.link.set_care(1, Care::Generous);
    let mut sent_at = Vec::new();
    for _ in 0..600 {
        sent_at.push(pair.now);
        pair.send(Side::Node, 1, &[1; 100]);
        pair.run_for(MS * 60);
    }
    pair.run_until_quiet(SECOND * 30);
    let stats = pair.node.link.stats();
    let (copied, sent) = (stats.bytes_copied, stats.bytes_sent);
    let arrived = pair.broker.messages.iter().map(|(at, _, _)| *at);
    let mut took: Vec<_> = arrived
        .zip(sent_at)
        .map(|(at, sent_at)| at.saturating_since(sent_at))
        .collect();
    took.sort_unstable();
    println!("{copied} of {sent} bytes copied, median {:?}", took[300]);
    assert_eq!(took.len(), 600);
    assert!(copied * 4 < sent, "{copied} of {sent}");
    assert!(took[300] < MS * 200, "{:?}", took[300]);
}

/// LAD-6: where each packet takes another time, no queue stands.
#[test]
fn a_path_that_jitters_is_not_taken_for_one_with_a_queue() {
    const SEEDS: core::ops::Range<u64> = 20..30;
    const LINES: u32 = 600;
    for (one_way, jitter) in [(50, 40), (0, 40), (10, 20)] {
        let network = Network {
            one_way: MS * one_way,
            jitter: MS * jitter,
            ..lossy(30)
        };
        let mut held = 0;
        for seed in SEEDS {
            let mut pair = Pair::new(network, seed);
            for _ in 0..LINES {
                pair.send(Side::Node, 1, &[1; 100]);
                pair.run_for(MS * 100);
                let now = pair.now;
                let open = pair.node.link.open().unwrap();
                held += u32::from(open.redundancy.is_held(now));
            }
        }
        let all = LINES * SEEDS.count() as u32;
        println!("{one_way} + {jitter} ms: held {held} of {all}");
        assert!(
            held * 4 < all,
            "{one_way} + {jitter} ms: held {held} of {all}"
        );
    }
}

/// LOSS-4, PROBE-3: the last copy of a settled message is lost, and nobody probes for it.
#[test]
fn nothing_is_probed_for_that_has_arrived() {
    let mut pair = pair(4, FINE, 10);
    pair.send(Side::Node, 1, b"hello");
    pair.run_for(MS * 10);
    pair.muted = Some(Side::Node);
    pair.run_for(SECOND * 5);
    assert_eq!(pair.node.link.stats().probes_sent, 0);
    assert!(!pair.node.link.unacknowledged());
}

/// LAD-3, PTH-3: what a link knows of a path, it does not believe of another.
#[test]
fn a_link_that_moves_begins_to_learn_anew() {
    let mut pair = pair(20, FINE, 11);
    assert!(pair.node.link.loss().per_million() > 150_000);
    let now = pair.now;
    pair.node.link.handle_address_change(now);
    assert_eq!(pair.node.link.loss(), LossEstimate::default());
}

//! The window and the pacer, as seen from outside.

use super::*;

/// How many bytes a side sent from `start` on, within `duration`.
fn sent_within(end: &End, start: Timestamp, duration: Duration) -> usize {
    let within = |(at, _): &&(Timestamp, usize)| *at >= start && *at < start + duration;
    end.sent.iter().filter(within).map(|(_, len)| len).sum()
}

/// CC-1, CC-3: a new link sends ten datagrams and then waits for acknowledgements.
#[test]
fn the_initial_window_is_ten_datagrams() {
    let mut pair = Pair::new(FINE, 1);
    let start = pair.now;
    pair.send(Side::Node, 1, &[0; 60_000]);
    pair.run_for(MS * 99);
    let sent = sent_within(&pair.node, start, MS * 99);
    assert!(
        (9 * DATAGRAM_BASE..=10 * DATAGRAM_BASE).contains(&sent),
        "{sent}"
    );
    pair.run_until_quiet(SECOND * 5);
}

/// CC-1: slow start doubles what goes in a round trip.
#[test]
fn bulk_speeds_up_from_one_round_trip_to_the_next() {
    let mut pair = Pair::new(FINE, 2);
    let start = pair.now;
    for _ in 0..4 {
        pair.send(Side::Node, 1, &[0; 60_000]);
    }
    pair.run_until_quiet(SECOND * 5);
    let per_rtt: Vec<usize> = (0..4)
        .map(|rtt| sent_within(&pair.node, start + MS * 100 * rtt, MS * 100))
        .collect();
    assert!(
        per_rtt[3] > per_rtt[0] * 4 && per_rtt.is_sorted(),
        "{per_rtt:?}"
    );
}

/// CC-1: what the application did not need, it cannot have earned.
#[test]
fn an_app_limited_link_does_not_grow_its_window() {
    let mut pair = Pair::warmed_up(FINE, 3);
    for _ in 0..200 {
        pair.send(Side::Node, 1, &[0; 1_000]);
        pair.run_for(MS * 60);
    }
    pair.run_until_quiet(SECOND);
    pair.node.sent.clear();
    let start = pair.now;
    pair.send(Side::Node, 1, &[0; 60_000]);
    pair.run_for(MS * 99);
    let sent = sent_within(&pair.node, start, MS * 99);
    assert!(sent <= 10 * DATAGRAM_BASE, "{sent}");
}

/// CC-2: at most ten datagrams leave at one moment, however large the window has grown, on a path
/// that takes less than that in two milliseconds.
#[test]
fn bursts_are_at_most_ten_datagrams() {
    // node === 1,250,000 B/s, a queue of 100 ms === broker
    let bottleneck = Some((1_250_000, MS * 100));
    let mut pair = Pair::warmed_up(Network { bottleneck, ..FINE }, 4);
    for _ in 0..40 {
        while pair.try_send(Side::Node, 1, &[0; 60_000]).is_ok() {}
        pair.run_for(MS * 50);
    }
    pair.run_until_quiet(SECOND * 20);
    let mut at_once: BTreeMap<Timestamp, usize> = BTreeMap::new();
    for (at, _) in &pair.node.sent {
        *at_once.entry(*at).or_default() += 1;
    }
    assert!(at_once.values().all(|count| *count <= 10));
    let most = (0..20).map(|i| {
        let from = pair.node.sent[0].0 + MS * 100 * i;
        sent_within(&pair.node, from, MS * 100)
    });
    assert!(
        most.max() > Some(60 * DATAGRAM_BASE),
        "the window has grown"
    );
}

/// CC-3, PROBE-1: into a black hole go the window and the probes, and nothing else.
#[test]
fn only_probes_exceed_the_window() {
    let mut pair = Pair::warmed_up(FINE, 5);
    pair.muted = Some(Side::Node);
    let probes_before = pair.node.link.stats().probes_sent;
    let start = pair.now;
    pair.send(Side::Node, 1, &[0; 60_000]);
    pair.run_for(MS * 350);
    let probes = pair.node.link.stats().probes_sent - probes_before;
    let sent = sent_within(&pair.node, start, MS * 350);
    assert!(probes >= 2);
    assert!(
        sent <= (10 + probes as usize) * DATAGRAM_BASE,
        "{sent}, {probes} probes"
    );
}

/// CC-1, CC-2: bulk fills a narrow path, and loses little in its queue.
#[test]
fn bulk_fills_a_bottleneck_without_flooding_it() {
    // node === 125,000 B/s, a queue of 100 ms === broker
    let bottleneck = Some((125_000, MS * 100));
    let mut pair = Pair::warmed_up(Network { bottleneck, ..FINE }, 6);
    let start = pair.now;
    let mut left = 40;
    while left > 0 {
        while left > 0 && pair.try_send(Side::Node, 1, &[0; 50_000]).is_ok() {
            left -= 1;
        }
        pair.run_for(MS * 20);
    }
    pair.run_until_quiet(SECOND * 60);
    let took = pair
        .broker
        .messages
        .last()
        .unwrap()
        .0
        .saturating_since(start);
    let (lost, sent) = (pair.node.link.stats().packets_lost, pair.node.sent.len());
    println!("2 MB over 125,000 B/s: {took:?}, {lost} of {sent} packets lost");
    assert!(took < SECOND * 20, "at best 16 s");
    assert!(lost * 20 < sent as u64);
}

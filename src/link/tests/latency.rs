//! How long sparse messages take, with a loss in the way: the reason for the ladder.

use super::*;

/// The latencies of 100-byte messages sent every 500 ms, over one hop with a round trip of 100 ms,
/// in order, in milliseconds: median, 99 %, 99.9 %.
fn latencies(loss: u64, messages: usize) -> [u64; 3] {
    // node === loss === broker
    let mut pair = Pair::warmed_up(lossy(loss), 1000 + loss);
    let mut sent_at = Vec::new();
    for _ in 0..messages {
        sent_at.push(pair.now);
        pair.send(Side::Node, 1, &[1; 100]);
        pair.run_for(MS * 500);
    }
    pair.run_until_quiet(SECOND * 60);
    let arrived = pair.broker.messages.iter().map(|(at, _, _)| *at);
    let mut took: Vec<u64> = arrived
        .zip(sent_at)
        .map(|(at, sent)| at.saturating_since(sent).as_millis() as u64)
        .collect();
    assert_eq!(took.len(), messages);
    took.sort_unstable();
    let sent: usize = pair.node.sent.iter().map(|(_, len)| len).sum();
    let of = |permille: usize| took[(took.len() - 1) * permille / 1000];
    let figures = [of(500), of(990), of(999)];
    println!(
        "{loss:2} % loss: {figures:?} ms, {} probes, {} B per message, {} duplicates",
        pair.node.link.stats().probes_sent,
        sent / messages,
        pair.broker.link.stats().duplicate_pieces,
    );
    figures
}

/// PROBE-1, PROBE-2, ACK-2: the bounds are a little above what was measured.
#[test]
fn sparse_messages_get_through_heavy_loss_quickly() {
    for (loss, bounds) in [
        (0, [50, 50, 50]),
        (5, [50, 160, 260]),
        (20, [50, 310, 480]),
        (30, [50, 430, 900]),
    ] {
        let measured = latencies(loss, 4000);
        assert!(
            measured.iter().zip(bounds).all(|(is, bound)| *is <= bound),
            "{loss} %: {measured:?} ms, bounds {bounds:?} ms"
        );
    }
}

/// The same over two hops, as chat has them: node, broker, node; messages 2 s apart.
fn latencies_over_two_hops(loss: u64, messages: usize) -> [u64; 3] {
    // node === loss === broker === loss === node
    let mut up = Pair::warmed_up(lossy(loss), 2000 + loss);
    let mut down = Pair::warmed_up(lossy(loss), 3000 + loss);
    let mut took = Vec::new();
    let mut sent_at = Vec::new();
    let start = up.now;
    while took.len() < messages {
        let due = start + SECOND * 2 * sent_at.len() as u32;
        if sent_at.len() < messages && due <= up.now {
            sent_at.push(due);
            up.send(Side::Node, 1, &[1; 100]);
        }
        let next = [
            up.next_at(),
            down.next_at(),
            Some(due).filter(|due| *due > up.now),
        ];
        let at = next.into_iter().flatten().min().unwrap();
        for pair in [&mut up, &mut down] {
            pair.run_for(at.saturating_since(pair.now));
        }
        for (_, _, line) in core::mem::take(&mut up.broker.messages) {
            down.send(Side::Broker, 1, &line);
        }
        for (at, _, _) in core::mem::take(&mut down.node.messages) {
            took.push(at.saturating_since(sent_at[took.len()]).as_millis() as u64);
        }
    }
    took.sort_unstable();
    let of = |permille: usize| took[(took.len() - 1) * permille / 1000];
    let figures = [of(500), of(990), of(999)];
    println!("{loss:2} % loss on both of two hops: {figures:?} ms");
    figures
}

/// PROBE-1, PROBE-2: no loss that people chat over makes a line wait for long.
#[test]
fn lines_get_over_two_lossy_hops_quickly() {
    for (loss, bounds) in [
        (1, [100, 220, 320]),
        (5, [100, 220, 320]),
        (10, [100, 320, 380]),
        (20, [100, 380, 600]),
        (30, [220, 450, 700]),
    ] {
        let measured = latencies_over_two_hops(loss, 4000);
        assert!(
            measured.iter().zip(bounds).all(|(is, bound)| *is <= bound),
            "{loss} %: {measured:?} ms, bounds {bounds:?} ms"
        );
    }
}

/// CC-1, PROBE-2: 30 % loss shrinks the window to its minimum, and chat still flows.
#[test]
fn six_hundred_lines_get_through_30_percent_loss_in_well_under_a_minute() {
    // broker === 30 % loss === node, all 600 lines waiting from the start, 200 published
    for seed in 0..4 {
        let mut pair = Pair::warmed_up(lossy(30), seed);
        let start = pair.now;
        let (mut down, mut up) = (600, 200);
        while down > 0 || up > 0 {
            while down > 0 && pair.try_send(Side::Broker, 1, &[1; 110]).is_ok() {
                down -= 1;
            }
            while up > 0 && pair.try_send(Side::Node, 1, &[1; 110]).is_ok() {
                up -= 1;
            }
            pair.run_for(MS * 10);
        }
        pair.run_until_quiet(SECOND * 60);
        let last = pair.node.messages.last().unwrap().0.saturating_since(start);
        println!("600 lines down, 200 up at 30 % loss: {last:?}");
        assert_eq!(pair.node.messages.len(), 600);
        assert_eq!(pair.broker.messages.len(), 200);
        assert!(last < SECOND * 30);
    }
}

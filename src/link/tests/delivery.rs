//! Every message arrives once and in order, whatever the network does.

use proptest::prelude::*;

use super::*;

fn network() -> impl Strategy<Value = Network> {
    let mtu = prop_oneof![Just(DATAGRAM_BASE), Just(ETHERNET), Just(DATAGRAM_MAX)];
    (0_u64..150, 0_u64..80, 0_u64..60, 0_u64..30, 0_u64..20, mtu).prop_map(
        |(one_way, jitter, loss, duplicate, corrupt, mtu)| Network {
            one_way: MS * one_way as u32,
            jitter: MS * jitter as u32,
            loss,
            duplicate,
            corrupt,
            bottleneck: None,
            outages: None,
            mtu,
        },
    )
}

/// A message of `len` bytes that differs from all others.
fn message(index: usize, len: usize) -> Vec<u8> {
    let mut bytes = index.to_be_bytes().to_vec();
    bytes.resize(len.max(8), index as u8);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// CHN-1, LOSS-2, PROBE-1, PROBE-3: with any loss, reordering, duplication and corruption,
    /// every message on every channel arrives once and in order, and then both sides fall silent.
    #[test]
    fn every_message_arrives_once_and_in_order_and_then_all_is_quiet(
        network in network(),
        seed in any::<u64>(),
        plan in prop::collection::vec(
            (any::<bool>(), 0_u8..4, 0_usize..3_000, 0_u64..400),
            1..60,
        ),
    ) {
        // node === network === broker
        let mut pair = Pair::warmed_up(network, seed);
        for channel in 0..4 {
            pair.network = FINE;
            pair.send(Side::Node, channel, b"open");
        }
        pair.run_for(SECOND);
        pair.broker.messages.clear();
        pair.network = network;
        let mut expected: BTreeMap<(bool, u8), Vec<Vec<u8>>> = BTreeMap::new();
        for (index, (by_node, channel, len, wait)) in plan.into_iter().enumerate() {
            let side = if by_node { Side::Node } else { Side::Broker };
            let message = message(index, len);
            pair.send(side, channel, &message);
            expected.entry((by_node, channel)).or_default().push(message);
            pair.run_for(MS * wait as u32);
        }
        pair.run_until_quiet(SECOND * 3600);
        for ((by_node, channel), messages) in expected {
            let to = if by_node { Side::Broker } else { Side::Node };
            prop_assert_eq!(pair.heard(to, channel), messages);
        }
        prop_assert!(!pair.node.link.unacknowledged() && !pair.broker.link.unacknowledged());
        prop_assert_eq!((pair.node.ended, pair.broker.ended), (None, None));
    }
}

/// CHN-3.
#[test]
fn a_message_missing_on_one_channel_delays_none_on_another() {
    // node --x first datagram-- broker
    let mut pair = Pair::warmed_up(FINE, 1);
    pair.muted = Some(Side::Node);
    pair.send(Side::Node, 1, b"missing");
    pair.muted = None;
    let sent_at = pair.now;
    pair.send(Side::Node, 1, b"behind it");
    pair.send(Side::Node, 2, b"free");
    pair.run_until_quiet(SECOND);
    let at: Vec<_> = pair
        .broker
        .messages
        .iter()
        .map(|(at, on, _)| (*on, *at))
        .collect();
    assert_eq!(at[0], (2, sent_at + MS * 50));
    assert_eq!(pair.heard(Side::Broker, 1), [&b"missing"[..], b"behind it"]);
    assert!(at[1].1 > at[0].1);
}

/// CHN-5.
#[test]
fn a_message_of_60_kib_arrives_at_30_percent_loss() {
    // node === 30 % loss === broker
    for seed in 0..8 {
        let mut pair = Pair::warmed_up(lossy(30), seed);
        let long: Vec<u8> = (0..60 * 1024_u32).map(|i| (i % 251) as u8).collect();
        pair.send(Side::Node, 1, &long);
        pair.send(Side::Node, 1, b"after it");
        let took = pair.run_until_quiet(SECOND * 30);
        println!("60 KiB at 30 % loss: {took:?}");
        assert_eq!(pair.heard(Side::Broker, 1), [&long[..], b"after it"]);
    }
}

/// CHN-5: the longest message there is, and an empty one (FRM-4).
#[test]
fn the_longest_and_the_shortest_message_arrive() {
    let mut pair = Pair::warmed_up(FINE, 2);
    let longest = vec![7; 65_536];
    pair.send(Side::Node, 1, &longest);
    pair.send(Side::Node, 1, b"");
    assert_eq!(
        pair.try_send(Side::Node, 1, &[7; 65_537]),
        Err(SendError::TooLong)
    );
    pair.run_until_quiet(SECOND * 10);
    assert_eq!(pair.heard(Side::Broker, 1), [&longest[..], b""]);
}

/// CHN-4: a full channel takes no more until the oldest message is acknowledged.
#[test]
fn a_full_channel_refuses_and_recovers() {
    let mut pair = Pair::warmed_up(FINE, 3);
    pair.muted = Some(Side::Node);
    for _ in 0..256 {
        pair.send(Side::Node, 1, b"x");
    }
    assert!(!pair.node.link.can_send(1, 1));
    assert_eq!(pair.node.link.unacked_messages(1), 256);
    assert_eq!(
        pair.try_send(Side::Node, 1, b"x"),
        Err(SendError::ChannelFull)
    );
    assert!(pair.node.link.can_send(2, 1));
    pair.muted = None;
    pair.run_until_quiet(SECOND * 10);
    assert!(pair.node.link.can_send(1, 1));
    assert_eq!(pair.heard(Side::Broker, 1).len(), 256);
}

/// CHN-2.
#[test]
fn a_broker_sends_only_on_channels_that_the_node_has_opened() {
    let mut pair = Pair::new(FINE, 4);
    assert_eq!(
        pair.try_send(Side::Broker, 1, b"x"),
        Err(SendError::NoChannel)
    );
    assert_eq!(
        pair.try_send(Side::Node, 64, b"x"),
        Err(SendError::NoChannel)
    );
    pair.send(Side::Broker, 0, b"control is always open");
    pair.send(Side::Node, 1, b"open");
    pair.run_for(SECOND);
    pair.send(Side::Broker, 1, b"x");
    pair.run_until_quiet(SECOND);
    assert_eq!(pair.heard(Side::Node, 1), [b"x"]);
}

/// CHN-6: a short message on one channel does not wait for a long one on another.
#[test]
fn a_long_message_does_not_hold_up_the_other_channels() {
    let mut pair = Pair::warmed_up(FINE, 5);
    let start = pair.now;
    pair.send(Side::Node, 1, &[1; 60_000]);
    pair.send(Side::Node, 2, b"short");
    pair.send(Side::Node, 0, b"control");
    pair.run_until_quiet(SECOND * 10);
    let after = |wanted: u8| {
        let of = |(_, on, _): &&(Timestamp, u8, Bytes)| *on == wanted;
        pair.broker
            .messages
            .iter()
            .find(of)
            .unwrap()
            .0
            .saturating_since(start)
    };
    assert!(after(0) <= MS * 200 && after(2) <= MS * 200 && after(1) > MS * 200);
}

/// CC-2: what is to be sent at once leaves as one train of equal datagrams.
#[test]
fn a_long_message_leaves_in_trains() {
    let mut pair = Pair::warmed_up(FINE, 6);
    pair.send(Side::Node, 1, &[1; 60_000]);
    let longest = pair.node.trains.iter().max();
    assert!(
        longest.is_some_and(|train| *train >= 5),
        "{:?}",
        pair.node.trains
    );
    pair.run_until_quiet(SECOND * 10);
}

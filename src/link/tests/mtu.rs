//! How large datagrams are: MTU-1 to MTU-5.

use proptest::prelude::*;

use super::bottleneck::{Bottleneck, LinkFlow, Road, Source};
use super::*;

/// A message of 60,000 bytes that differs from others.
fn long(index: u8) -> Vec<u8> {
    (0..60_000_u32)
        .map(|at| at.to_be_bytes()[3] ^ index)
        .collect()
}

/// Sends messages until `count` more have arrived, and returns the longest datagram of the node's that
/// the path takes.
fn send_many(pair: &mut Pair, count: usize) -> usize {
    let before = pair.broker.messages.len();
    pair.node.sent.clear();
    let mut index = before;
    while pair.broker.messages.len() < before + count {
        while index < before + count && pair.try_send(Side::Node, 1, &long(index as u8)).is_ok() {
            index += 1;
        }
        pair.run_for(MS * 10);
    }
    for (index, (_, _, message)) in pair.broker.messages.iter().enumerate() {
        assert!(*message == long(index as u8), "message {index}");
    }
    let lens = pair.node.sent.iter().map(|(_, len)| *len);
    lens.filter(|len| *len <= pair.network.mtu).max().unwrap()
}

/// A pair whose node has sent much over a path that takes datagrams of `mtu` bytes.
fn settled(mtu: usize, seed: u64) -> Pair {
    let mut pair = Pair::warmed_up(Network { mtu, ..FINE }, seed);
    send_many(&mut pair, 40);
    pair
}

/// MTU-1, MTU-2, MTU-5: a file finds out what the path takes, and fills it.
#[test]
fn datagrams_of_a_file_become_as_large_as_the_path_takes() {
    for (mtu, proven) in [
        (1_200, 1_200),
        (1_400, 1_372),
        (1_452, 1_452),
        (1_500, 1_472),
        (65_507, 8_952),
    ] {
        let mut pair = settled(mtu, 1);
        let sent = |pair: &mut Pair| {
            send_many(pair, 10);
            let lens = pair.node.sent.iter().map(|(_, len)| *len);
            let mut lens: Vec<usize> = lens.filter(|len| *len <= proven).collect();
            lens.sort_unstable();
            lens[lens.len() / 2]
        };
        let usual = sent(&mut pair);
        assert!((proven - 24..=proven).contains(&usual), "{mtu}: {usual}");
        let stats = pair.node.link.stats();
        assert_eq!(stats.packets_lost, 0, "a size that is too large is no loss");
        assert!(stats.mtu_probes_sent <= 4 + 3, "{}", stats.mtu_probes_sent);
    }
}

/// MTU-2: what a chat sends is small, and so is what it wants to know.
#[test]
fn a_chat_tries_no_sizes() {
    let mut pair = Pair::warmed_up(FINE, 2);
    for _ in 0..200 {
        pair.send(Side::Node, 1, &[7; 1_000]);
        pair.run_for(MS * 30);
    }
    assert_eq!(pair.node.link.stats().mtu_probes_sent, 0);
}

/// MTU-2, CC-1, LAD-3: the loss of a probe slows nothing down and is taken for no loss of the path.
#[test]
fn probes_that_are_lost_change_nothing_else() {
    let goodput = |mtu| {
        let mut bottleneck = Bottleneck::new(Road::new(50, 50, 100).taking(mtu), 7);
        let now = bottleneck.now;
        let file = Source::bulk(Side::Node, 1, now);
        let mut file = LinkFlow::new(1, &[file], now, |config| {
            config.congestion = CongestionControl::Bbr;
        });
        bottleneck.run_for(&mut [&mut file], SECOND * 12);
        let link = file.link(Side::Node);
        let (probes, lost) = (link.stats().mtu_probes_sent, link.stats().packets_lost);
        println!("{mtu}: {probes} probes, {lost} lost");
        (file.heard(Side::Node, 1).bytes, probes, link.loss())
    };
    let (narrow, probes, loss) = goodput(1_228);
    assert_eq!(probes, 3);
    assert!(loss.per_million() < 1_000, "{loss:?}");
    let (wide, probes, _) = goodput(1_500);
    assert_eq!(
        probes,
        3 + 3,
        "three arrive, and the fourth size is too large"
    );
    assert!(wide > narrow && narrow * 100 > wide * 95, "{narrow} {wide}");
}

/// MTU-4, MTU-5: the path comes to take less, and nothing is lost, whether acknowledgements of small
/// packets go on coming or not.
#[test]
fn a_path_that_takes_less_than_before_loses_nothing_for_good() {
    for chats in [false, true] {
        for (mtu, seed) in [(ETHERNET, 3), (DATAGRAM_MAX, 4)] {
            let mut pair = settled(mtu, seed);
            for index in 40..48 {
                pair.send(Side::Node, 1, &long(index));
            }
            pair.network.mtu = DATAGRAM_BASE;
            for index in 0..40_u8 {
                if chats {
                    pair.send(Side::Node, 2, &[index]);
                }
                pair.run_for(MS * 100);
            }
            let on_one = |pair: &Pair| {
                let messages = pair.broker.messages.iter();
                messages.filter(|(_, channel, _)| *channel == 1).count()
            };
            assert_eq!(on_one(&pair), 48, "within four seconds");
            pair.broker.messages.retain(|(_, channel, _)| *channel == 1);
            let longest = send_many(&mut pair, 4);
            assert!(longest <= DATAGRAM_BASE, "{longest}");
            pair.network.mtu = mtu;
            pair.run_for(SECOND * 11);
            send_many(&mut pair, 40);
            let longest = send_many(&mut pair, 4);
            assert!(longest > ETHERNET - 24, "it takes more again: {longest}");
        }
    }
}

/// MTU-4, MTU-5: large datagrams were only late, and some arrive when what they hold was cut anew: they
/// stand for no pieces that there are now.
#[test]
fn old_pieces_that_are_acknowledged_late_settle_nothing() {
    let mut pair = settled(DATAGRAM_MAX, 3);
    pair.node.raw.clear();
    pair.muted = Some(Side::Node);
    for index in 40..44 {
        pair.send(Side::Node, 1, &long(index));
    }
    pair.run_for(MS * 20);
    let late = core::mem::take(&mut pair.node.raw);
    assert!(late.len() > 16 && late.iter().all(|datagram| datagram.len() > DATAGRAM_BASE));
    pair.muted = None;
    for index in 0..4 {
        pair.send(Side::Node, 2, &[index]);
    }
    // The last acknowledgement of those is on its way.
    pair.run_for(MS * 99);
    pair.muted = Some(Side::Node);
    pair.node.sent.clear();
    pair.run_for(MS * 2);
    let lost = pair.node.link.stats().packets_lost;
    assert_eq!(lost, late.len() as u64);
    let sent = &pair.node.sent;
    assert!(
        sent.iter().all(|(_, len)| *len <= DATAGRAM_BASE),
        "{sent:?}"
    );
    let from = path_to(Side::Node);
    for datagram in late.iter().skip(1).step_by(2) {
        pair.hand_over(Side::Broker, from, datagram);
    }
    pair.run_for(MS * 99);
    assert!(pair.node.link.stats().packets_lost_wrongly > 8);
    pair.muted = None;
    pair.run_until_quiet(SECOND * 60);
    pair.broker.messages.retain(|(_, channel, _)| *channel == 1);
    assert_eq!(pair.broker.messages.len(), 44);
    send_many(&mut pair, 1);
}

/// MTU-3: nothing is known of a new path.
#[test]
fn on_a_new_path_datagrams_are_small_again() {
    let mut pair = settled(ETHERNET, 5);
    for index in 40..44 {
        pair.send(Side::Node, 1, &long(index));
    }
    pair.network.mtu = DATAGRAM_BASE;
    let now = pair.now;
    pair.node.link.handle_address_change(now);
    pair.node.sent.clear();
    pair.drain(Side::Node);
    let longest = pair.node.sent.iter().map(|(_, len)| *len).max();
    assert!(
        longest.is_some_and(|len| len <= DATAGRAM_BASE),
        "{longest:?}"
    );
    pair.run_for(SECOND * 2);
    assert_eq!(pair.broker.messages.len(), 44);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// CHN-1, MTU-4, MTU-5: whatever a path takes, and however often that changes while files go both
    /// ways and datagrams are lost, doubled and overtaken, every message arrives once and in order.
    #[test]
    fn what_a_path_takes_may_change_at_any_time(
        (loss, jitter, duplicate) in (0_u64..15, 0_u64..60, 0_u64..20),
        seed in any::<u64>(),
        plan in prop::collection::vec((any::<bool>(), 1_usize..60_000, 0_u32..300, 0_usize..12), 20..90),
    ) {
        let network = Network { jitter: MS * jitter as u32, duplicate, ..lossy(loss) };
        let mut pair = Pair::warmed_up(network, seed);
        let mut expected: [Vec<Vec<u8>>; 2] = Default::default();
        for (index, (by_node, len, wait, change)) in plan.into_iter().enumerate() {
            let side = if by_node { Side::Node } else { Side::Broker };
            let message: Vec<u8> = (0..len).map(|at| (at ^ (at >> 8) ^ index) as u8).collect();
            while pair.try_send(side, 1, &message).is_err() {
                pair.run_for(MS * 50);
            }
            expected[usize::from(by_node)].push(message);
            if let Some(mtu) = [DATAGRAM_BASE, ETHERNET, DATAGRAM_MAX].get(change) {
                pair.network.mtu = *mtu;
            }
            pair.run_for(MS * wait);
        }
        pair.run_until_quiet(SECOND * 3600);
        for (end, expected) in [(&pair.broker, &expected[1]), (&pair.node, &expected[0])] {
            let got: Vec<&[u8]> = end.messages.iter().map(|(_, _, message)| &message[..]).collect();
            prop_assert!(got.len() == expected.len(), "{} of {}", got.len(), expected.len());
            prop_assert!(got.iter().zip(expected).all(|(got, expected)| got == expected));
        }
    }
}

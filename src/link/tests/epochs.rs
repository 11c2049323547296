//! Keys that change while messages flow.

use proptest::prelude::*;

use super::*;
use crate::secure::{KEY_PACKETS, SEALED_MAX};

/// The epochs of a side: in which it seals, and in which its peer's packets came.
fn epochs(end: &End) -> (u64, u64) {
    (end.link.envelope.epoch(), end.link.opener.epoch())
}

fn rotate(pair: &mut Pair, side: Side) -> bool {
    let now = pair.now;
    pair.end(side).link.rotate_keys(now)
}

/// KEY-7: the peer follows with the first packet, and each direction has an epoch of its own.
#[test]
fn a_rotation_takes_one_packet() {
    let mut pair = Pair::warmed_up(FINE, 1);
    assert!(rotate(&mut pair, Side::Node));
    assert_eq!((epochs(&pair.node), epochs(&pair.broker)), ((1, 0), (0, 0)));
    pair.send(Side::Node, 1, b"under new keys");
    pair.run_for(MS * 50);
    assert_eq!((epochs(&pair.node), epochs(&pair.broker)), ((1, 0), (0, 1)));
    assert_eq!(pair.heard(Side::Broker, 1), [b"under new keys"]);
    pair.run_until_quiet(SECOND);
    assert!(pair.node.dropped.is_empty() && pair.broker.dropped.is_empty());
}

/// KEY-7: nobody goes on before the peer is known to have come along.
#[test]
fn a_rotation_waits_for_the_one_before_to_be_acknowledged() {
    let mut pair = Pair::new(FINE, 2);
    assert!(
        !rotate(&mut pair, Side::Node),
        "nothing was acknowledged yet"
    );
    pair.send(Side::Node, 1, b"one");
    pair.run_for(MS * 100);
    assert!(rotate(&mut pair, Side::Node));
    assert!(!rotate(&mut pair, Side::Node));
    pair.muted = Some(Side::Node);
    pair.send(Side::Node, 1, b"two");
    pair.run_for(SECOND * 2);
    assert!(!rotate(&mut pair, Side::Node));
    pair.muted = None;
    pair.run_until_quiet(SECOND * 5);
    assert!(rotate(&mut pair, Side::Node));
    pair.close(Side::Node, CloseCode::Done, "");
    assert!(!rotate(&mut pair, Side::Node));
    pair.run_for(SECOND);
    let end = (true, CloseCode::Done, String::new());
    assert_eq!(pair.broker.ended, Some(end), "sealed under the new keys");
}

/// KEY-8: a chat of a working day, a line now and then and long silences.
#[test]
fn keys_change_every_hour_unasked() {
    let mut pair = Pair::warmed_up(lossy(10), 3);
    let mut said = Vec::new();
    for hour in 1..=9_u8 {
        // Nobody says a word in the sixth hour, when pings and acknowledgements are all there is.
        if hour != 6 {
            pair.send(Side::Node, 1, &[hour]);
            said.push(vec![hour]);
        }
        pair.run_for(SECOND * 3_600);
        for side in [Side::Node, Side::Broker] {
            let (epoch, _) = epochs(pair.end(side));
            let expected = u64::from(hour) - 1..=u64::from(hour);
            assert!(
                expected.contains(&epoch),
                "{side:?}: {epoch} in hour {hour}"
            );
        }
    }
    assert_eq!(pair.heard(Side::Broker, 1), said);
    assert_eq!(epochs(&pair.node).0, epochs(&pair.broker).1);
    assert_eq!(epochs(&pair.broker).0, epochs(&pair.node).1);
    assert_eq!((pair.node.ended, pair.broker.ended), (None, None));
}

/// KEY-8, KEY-4: volume ends an epoch long before its key is used up, so that the link goes on.
#[test]
fn keys_change_by_volume_too() {
    let mut pair = Pair::warmed_up(FINE, 4);
    for round in 1..=9_u8 {
        let next = pair.node.link.envelope.next_number() + KEY_PACKETS;
        pair.node.link.envelope.pretend_sent(next);
        pair.send(Side::Node, 1, &[round]);
        pair.run_for(SECOND);
        assert_eq!(epochs(&pair.node), (u64::from(round), 0));
        assert_eq!(epochs(&pair.broker).1, u64::from(round));
    }
    assert!(pair.node.link.envelope.next_number() > SEALED_MAX);
    assert_eq!(pair.heard(Side::Broker, 1).len(), 9);
    assert_eq!((pair.node.ended, pair.broker.ended), (None, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// KEY-7, KEY-2, CHN-1: rotations at any time, with any loss, reordering and duplication, lose
    /// nothing and let nothing in twice, and never leave a peer behind.
    #[test]
    fn rotations_disturb_nothing(
        loss in 0_u64..40,
        jitter in 0_u32..120,
        duplicate in 0_u64..20,
        seed in any::<u64>(),
        plan in prop::collection::vec((any::<bool>(), any::<bool>(), 0_usize..3_000, 0_u32..300), 1..60),
    ) {
        // node === loss, jitter, duplicates === broker
        let network = Network { jitter: MS * jitter, duplicate, ..lossy(loss) };
        let mut pair = Pair::warmed_up(network, seed);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (index, (by_node, rotates, len, wait)) in plan.into_iter().enumerate() {
            let side = if by_node { Side::Node } else { Side::Broker };
            if rotates {
                let _ = rotate(&mut pair, side);
            }
            let message = vec![index as u8; len];
            pair.send(side, 1, &message);
            if by_node { &mut up } else { &mut down }.push(message);
            pair.run_for(MS * wait);
        }
        pair.run_until_quiet(SECOND * 600);
        prop_assert_eq!(pair.heard(Side::Broker, 1), up);
        prop_assert_eq!(pair.heard(Side::Node, 1), down);
        prop_assert_eq!(epochs(&pair.node).0, epochs(&pair.broker).1);
        prop_assert_eq!(epochs(&pair.broker).0, epochs(&pair.node).1);
        prop_assert_eq!((pair.node.ended, pair.broker.ended), (None, None));
    }
}

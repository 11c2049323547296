//! Owners that do not take what they are sent.

use proptest::prelude::*;

use super::*;
use crate::link::{CREDIT_CHANNEL, CREDIT_LINK, CREDIT_MAX, MESSAGE_COST};

/// What the messages cost that wait for the owner of `end`, on the control channel and on all others.
fn waiting(end: &End) -> (u64, u64) {
    let mut sums = (0, 0);
    for event in &end.link.events {
        if let LinkEvent::Message { channel, data } = event {
            let sum = match channel {
                0 => &mut sums.0,
                _ => &mut sums.1,
            };
            *sum += data.len() as u64 + MESSAGE_COST;
        }
    }
    sums
}

/// Sends on `channels` in turn whatever `side` may send, for a while. Returns why it could not send
/// more in the end.
fn flood(pair: &mut Pair, side: Side, channels: &[u8], len: usize) -> (usize, Option<SendError>) {
    let (mut sent, mut refusal) = (0, None);
    for _ in 0..200 {
        for channel in channels {
            loop {
                match pair.try_send(side, *channel, &vec![*channel; len]) {
                    Ok(()) => sent += 1,
                    Err(error) => {
                        refusal = Some(error);
                        break;
                    }
                }
            }
        }
        pair.run_for(MS * 50);
    }
    (sent, refusal)
}

fn resume(pair: &mut Pair, side: Side) {
    pair.end(side).is_stalled = false;
    pair.drain(side);
}

/// CRD-1, CRD-2, CRD-3, LIM-10: a sender is stopped when the receiver's owner takes nothing, and goes
/// on when it does.
#[test]
fn an_owner_that_takes_nothing_stops_the_sender_at_the_credit() {
    let mut pair = Pair::warmed_up(FINE, 1);
    pair.broker.is_stalled = true;
    let (sent, refusal) = flood(&mut pair, Side::Node, &[1, 2, 3], 10_000);
    assert_eq!(refusal, Some(SendError::NoCredit));
    assert!(!pair.node.link.unacknowledged(), "all of it has arrived");
    let (_, cost) = waiting(&pair.broker);
    assert!(cost <= CREDIT_LINK && cost + 20_000 > CREDIT_LINK, "{cost}");
    assert_eq!(pair.broker.messages.len(), 0);

    resume(&mut pair, Side::Broker);
    let (more, _) = flood(&mut pair, Side::Node, &[1, 2, 3], 10_000);
    pair.run_until_quiet(SECOND * 10);
    assert!(more > sent);
    assert_eq!(pair.broker.messages.len(), sent + more);
}

/// CRD-1, LIM-10: one channel does not get all of the link's credit.
#[test]
fn a_channel_has_a_credit_of_its_own() {
    let mut pair = Pair::warmed_up(FINE, 2);
    pair.broker.is_stalled = true;
    let (_, refusal) = flood(&mut pair, Side::Node, &[1], 1_000);
    assert_eq!(refusal, Some(SendError::NoCredit));
    let (_, cost) = waiting(&pair.broker);
    assert!(
        cost <= CREDIT_CHANNEL && cost + 2_000 > CREDIT_CHANNEL,
        "{cost}"
    );
    assert_eq!(pair.try_send(Side::Node, 2, &[0; 1_000]), Ok(()));
}

/// CRD-1: whatever waits in rooms, control still has credit.
#[test]
fn the_control_channel_does_not_share_the_credit_of_the_others() {
    let mut pair = Pair::warmed_up(FINE, 3);
    pair.broker.is_stalled = true;
    let _ = flood(&mut pair, Side::Node, &[1, 2], 5_000);
    assert_eq!(
        pair.try_send(Side::Node, 1, &[0; 5_000]),
        Err(SendError::NoCredit)
    );
    assert_eq!(pair.try_send(Side::Node, 0, b"goodbye"), Ok(()));
}

/// CRD-1: messages without a byte cost something too.
#[test]
fn empty_messages_do_not_pile_up_without_end() {
    let mut pair = Pair::warmed_up(FINE, 4);
    pair.node.is_stalled = true;
    let (sent, refusal) = flood(&mut pair, Side::Broker, &[1], 0);
    assert_eq!(refusal, Some(SendError::NoCredit));
    assert!(sent as u64 <= CREDIT_CHANNEL / MESSAGE_COST);
}

/// CRD-3: the only word about new credit is lost, again and again, and comes through in the end.
#[test]
fn lost_credit_is_told_again() {
    let mut pair = Pair::warmed_up(FINE, 5);
    pair.broker.is_stalled = true;
    let _ = flood(&mut pair, Side::Node, &[1], 10_000);
    pair.muted = Some(Side::Broker);
    resume(&mut pair, Side::Broker);
    pair.run_for(SECOND);
    assert_eq!(
        pair.try_send(Side::Node, 1, &[0; 10_000]),
        Err(SendError::NoCredit)
    );
    pair.muted = None;
    pair.run_for(SECOND * 2);
    assert_eq!(pair.try_send(Side::Node, 1, &[0; 10_000]), Ok(()));
    pair.run_until_quiet(SECOND * 5);
}

/// CRD-3, CRD-4: an owner that keeps pace does not make a channel wait for credit, once that has
/// grown with the window.
#[test]
fn credit_does_not_hold_up_a_sender_whose_receiver_keeps_pace() {
    for len in [60_000, 10_000, 110] {
        let mut pair = Pair::warmed_up(FINE, 6);
        for turn in 0..400 {
            let refusal = loop {
                if let Err(refusal) = pair.try_send(Side::Node, 1, &vec![0; len]) {
                    break refusal;
                }
            };
            assert!(
                refusal == SendError::ChannelFull || turn < 200,
                "{refusal:?}"
            );
            pair.run_for(MS * 10);
        }
        pair.run_until_quiet(SECOND * 20);
    }
}

/// What a link whose owner takes nothing holds when a hostile peer sends `len` bytes in each message,
/// on each of `channels`, until the link closes.
fn hostile(channels: &[u8], len: usize) -> (u64, String) {
    let now = Timestamp::from_millis(1);
    let mut link = Link::new(config(Side::Broker, 1), now);
    let mut node = Forger::new(Side::Node);
    for number in 0.. {
        for channel in channels {
            let frame = Frame::Msg {
                channel: (*channel).into(),
                number,
                data: vec![0; len].into(),
            };
            let datagram = node.frames(&[frame]);
            link.handle_datagram(link.path(), datagram, now).unwrap();
            let _ = datagrams(&mut link, now);
            if let Some(LinkEvent::Closed { reason, .. }) = link.events.back() {
                let reason = reason.clone();
                let costs = link.events.iter().filter_map(|event| match event {
                    LinkEvent::Message { data, .. } => Some(data.len() as u64 + MESSAGE_COST),
                    _ => None,
                });
                return (costs.sum(), reason);
            }
        }
    }
    unreachable!("numbers do not end");
}

/// CRD-2, LIM-10, LIF-4: a peer that takes no notice of its credit costs no more than that.
#[test]
fn more_than_the_credit_closes_the_link() {
    for (channels, len, limit) in [
        (&[1][..], 1_000, CREDIT_CHANNEL),
        (&[1], 0, CREDIT_CHANNEL),
        (&[0], 500, CREDIT_CHANNEL),
        (&[1, 2, 3, 4, 5, 6, 7, 63], 1_000, CREDIT_LINK),
    ] {
        let (held, reason) = hostile(channels, len);
        assert!(reason.contains("credit"), "{reason}");
        assert!(held <= limit && held + 2_000 > limit, "{held} of {limit}");
    }
}

/// CRD-3, CHN-2.
#[test]
fn credit_for_a_channel_that_is_not_there_closes_the_link() {
    for (channel, closes) in [(63, false), (64, true), (1 << 40, true)] {
        let now = Timestamp::from_millis(1);
        let mut link = Link::new(config(Side::Node, 1), now);
        let credit = Frame::CreditChannel {
            channel,
            limit: 1 << 61,
        };
        let datagram = Forger::new(Side::Broker).frames(&[credit, Frame::CreditLink { limit: 0 }]);
        link.handle_datagram(link.path(), datagram, now).unwrap();
        assert_eq!(link.is_open(), !closes, "{channel}");
    }
}

/// CRD-2: what waits for a slow owner does not keep the datagrams alive that it came in.
#[test]
fn what_waits_for_long_is_copied_out_of_its_datagram() {
    let now = Timestamp::from_millis(1);
    let mut link = Link::new(config(Side::Broker, 1), now);
    let mut node = Forger::new(Side::Node);
    for number in 0..100 {
        let data = Bytes::from_static(b"x");
        let msg = Frame::Msg {
            channel: 1,
            number,
            data,
        };
        let mut frames = vec![Frame::Pad; 1_000];
        frames[0] = msg;
        let datagram = node.frames(&frames);
        link.handle_datagram(link.path(), datagram, now).unwrap();
    }
    let messages = link.events.drain(..).filter_map(|event| match event {
        LinkEvent::Message { data, .. } => Some(BytesMut::from(data)),
        _ => None,
    });
    // Whoever holds the whole buffer alone gets all of it back.
    let capacities: Vec<usize> = messages.map(|data| data.capacity()).collect();
    let whole = capacities.iter().filter(|capacity| **capacity > 900);
    assert_eq!(whole.count(), 16, "{capacities:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// CHN-1, CRD-2, CRD-3: with owners that stop taking at any time, and any loss, what waits stays
    /// within the credit, and in the end every message that was taken on arrives once and in order.
    #[test]
    fn stalling_owners_lose_nothing_and_hold_no_more_than_the_credit(
        loss in 0_u64..30,
        seed in any::<u64>(),
        plan in prop::collection::vec((0_u8..6, 0_u8..3, 0_usize..60_000, 0_u32..600), 1..60),
    ) {
        // node === loss === broker
        let mut pair = Pair::warmed_up(lossy(loss), seed);
        pair.network = FINE;
        pair.send(Side::Node, 2, b"open");
        pair.run_for(SECOND);
        pair.broker.messages.clear();
        pair.network = lossy(loss);
        let mut expected: BTreeMap<(bool, u8), Vec<Vec<u8>>> = BTreeMap::new();
        for (index, (action, channel, len, wait)) in plan.into_iter().enumerate() {
            let side = if action % 2 == 0 { Side::Node } else { Side::Broker };
            if action < 4 {
                let mut message = index.to_be_bytes().to_vec();
                message.resize(len.max(8), 1);
                let mut sent = 0;
                while sent < 5 && pair.try_send(side, channel, &message).is_ok() {
                    sent += 1;
                }
                let all = expected.entry((side == Side::Node, channel)).or_default();
                all.extend(core::iter::repeat_n(message, sent));
            } else {
                let end = pair.end(side);
                end.is_stalled = !end.is_stalled;
                pair.drain(side);
            }
            pair.run_for(MS * wait);
            for side in [Side::Node, Side::Broker] {
                let (control, others) = waiting(pair.end(side));
                prop_assert!(control <= CREDIT_MAX && others <= CREDIT_MAX);
            }
        }
        resume(&mut pair, Side::Node);
        resume(&mut pair, Side::Broker);
        pair.run_until_quiet(SECOND * 600);
        for ((by_node, channel), messages) in expected {
            let to = if by_node { Side::Broker } else { Side::Node };
            prop_assert_eq!(pair.heard(to, channel), messages);
        }
        prop_assert_eq!((pair.node.ended, pair.broker.ended), (None, None));
    }
}

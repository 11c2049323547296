//! The broker as its clients see it.

use core::time::Duration;

use bytes::Bytes;

use super::*;
use crate::chat::{ControlFromNode, Join, Kind, Publication, Refusal, RoomFromNode, Start};
use crate::client::{ClientEvent, EndReason, JoinOptions};
use crate::drops::Dropped;
use crate::pump::{EPOCH_MS, LATENCY_MS, Pump, lobby};
use crate::secure::NodeIdentity;

mod admission;
mod budget;
mod devices;
mod gate;
mod history;
mod holding;
mod moderation;
mod presence;
mod slow;
mod states;

/// DLV-1, DLV-3, DLV-5, PRS-1, PRS-4, RUM-7, SGN-5: the conversation that everything grew from.
#[test]
fn three_people_chat() {
    let mut pump = Pump::with(&["ada", "bob", "cleo"]);
    pump.say(0, "hello");
    pump.run_ms(200);
    pump.say(1, "hi ada");
    pump.run_ms(200);
    for node in 0..3 {
        assert_eq!(pump.heard(node), ["ada: hello", "bob: hi ada"]);
    }
    assert_eq!(
        pump.nodes[0].notices(),
        ["ada Joined", "bob Joined", "cleo Joined"]
    );
    assert_eq!(pump.nodes[2].notices(), ["cleo Joined"]);
    assert_eq!(pump.broker.people(), 3);

    pump.nodes[1].client.leave(pump.now);
    pump.run_ms(200);
    assert_eq!(pump.nodes[1].end(), Some(&EndReason::Left));
    assert_eq!(
        pump.nodes[0].notices().last().map(String::as_str),
        Some("bob Left")
    );
    assert_eq!(pump.broker.people(), 2);
    assert_eq!(pump.broker_events.last(), Some(&BrokerEvent::People(2)));
    assert_eq!(pump.store.lines(&lobby()).count(), 5);
}

/// SGN-2: a refused name disturbs nobody.
#[test]
fn a_taken_name_is_refused_and_nobody_else_notices() {
    let mut pump = Pump::with(&["ada"]);
    let events = pump.nodes[0].events.len();
    let thief = pump.add("ADA");
    pump.nodes[thief].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    let taken = |r: &EndReason| {
        matches!(
            r,
            EndReason::NameRefused {
                code: Refusal::NameTaken,
                ..
            }
        )
    };
    assert!(pump.nodes[thief].end().is_some_and(taken));
    assert_eq!(pump.nodes[0].events.len(), events);
    assert_eq!(pump.broker.people(), 1);
}

/// SGN-1, LIF-4: a node that breaks the rules loses its link, and nothing else happens.
#[test]
fn a_node_that_speaks_before_signing_in_loses_its_link() {
    let publish = RoomFromNode::Publish(Publication {
        n: 1,
        typed_at_ms: 1,
        kind: Kind::Message,
        body: Bytes::from_static(b"x"),
    });
    let sign_in = ControlFromNode::SignIn {
        name: "ada".into(),
        invite: None,
    };
    for (channel, first, second) in [
        (1, publish.encode(), None),
        (0, Bytes::from_static(b"\xff"), None),
        (0, sign_in.encode(), Some(sign_in.encode())),
    ] {
        let mut pump = Pump::with(&["bob"]);
        let mut raw = pump.raw_link();
        raw.link.send(channel, first, pump.now).unwrap();
        if let Some(second) = second {
            raw.link.send(channel, second, pump.now).unwrap();
        }
        pump.run_raw(&mut raw, 400);
        assert!(raw.closed_with(CloseCode::Protocol), "channel {channel}");
        pump.say(0, "still here");
        pump.run_ms(200);
        assert_eq!(pump.heard(0), ["bob: still here"]);
    }
}

/// SGN-4, DLV-7: the same device on a new link is the same person, who never left.
#[test]
fn a_device_that_returns_replaces_its_older_link_in_silence() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let notices = pump.nodes[1].notices();
    let identity = pump.nodes[0].identity.clone();
    let key = pump.broker.public_key();
    let again = pump.add_known("ada", identity, Some(key));
    pump.nodes[again].client.join(lobby().into(), pump.now);
    pump.run_ms(1_000);
    assert_eq!(pump.nodes[0].end(), Some(&EndReason::Replaced));
    assert_eq!(pump.nodes[1].notices(), notices);
    assert_eq!(pump.broker.people(), 2);
    pump.say(again, "me again");
    pump.run_ms(200);
    assert_eq!(pump.heard(1), ["ada: me again"]);
}

/// PRS-1, DLV-7: out of reach is not gone, until the grace is over.
#[test]
fn a_node_that_dies_has_left_when_its_grace_is_over() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[0].connected = false;
    pump.run_ms(590_000);
    assert_eq!(pump.nodes[1].notices(), ["bob Joined"]);
    pump.run_ms(30_000);
    assert_eq!(pump.nodes[1].notices(), ["bob Joined", "ada TimedOut"]);
    assert_eq!(pump.broker.people(), 1);
}

/// LIF-1, PRS-1: under a short grace a quiet node is asked for a sign of life in time.
#[test]
fn a_quiet_node_is_not_taken_for_dead_under_a_short_grace() {
    let mut pump = Pump::new();
    pump.broker.config.grace = Duration::from_secs(2);
    for name in ["ada", "bob"] {
        let node = pump.add(name);
        pump.nodes[node].client.join(lobby().into(), pump.now);
    }
    pump.run_ms(120_000);
    assert_eq!(pump.broker.people(), 2);
    pump.nodes[0].connected = false;
    pump.run_ms(4_000);
    assert_eq!(pump.broker.people(), 1);
}

/// PRS-1, PRS-3, RUM-9, DLV-1: back within the grace, a node gets what it missed and nobody saw it
/// go.
#[test]
fn a_node_that_comes_back_within_its_grace_gets_what_it_missed_without_noise() {
    let mut pump = Pump::with(&["ada", "bob", "cleo"]);
    pump.nodes[0].connected = false;
    pump.run_ms(20_000);
    for n in 0..5 {
        pump.say(1, &format!("line {n}"));
    }
    pump.say(0, "typed in a tunnel");
    pump.run_ms(100_000);
    assert_eq!(pump.heard(0), [""; 0]);
    pump.nodes[0].connected = true;
    pump.run_ms(10_000);
    assert_eq!(pump.heard(0), pump.heard(1));
    assert_eq!(pump.heard(0).len(), 6);
    assert_eq!(pump.nodes[1].notices(), ["bob Joined", "cleo Joined"]);
    assert_eq!(
        pump.nodes[0].notices(),
        ["ada Joined", "bob Joined", "cleo Joined"]
    );
}

/// BRK-1, DLV-6: what the store has not confirmed, nobody is told.
#[test]
fn nothing_is_shown_before_the_store_has_it() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.store_stalled = true;
    pump.say(0, "patience");
    pump.run_ms(5_000);
    assert_eq!(pump.heard(0).len() + pump.heard(1).len(), 0);
    assert!(
        !pump.nodes[0]
            .events
            .iter()
            .any(|e| matches!(e, ClientEvent::Stored { .. }))
    );
    pump.resume_store();
    pump.run_ms(200);
    assert_eq!(pump.heard(1), ["ada: patience"]);
    assert!(
        pump.nodes[0]
            .events
            .iter()
            .any(|e| matches!(e, ClientEvent::Stored { seq: 3, .. }))
    );
}

/// BRK-5, PUB-4: a failed append is asked again, and stored once.
#[test]
fn a_failing_store_loses_nothing() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.store_stalled = true;
    for text in ["one", "two", "three"] {
        pump.say(0, text);
    }
    pump.run_ms(200);
    for request in core::mem::take(&mut pump.stalled) {
        let outcome = StorageOutcome::Failed;
        pump.broker.handle_storage(
            StorageCompletion {
                id: request.id,
                outcome,
            },
            pump.now,
        );
    }
    pump.resume_store();
    pump.run_ms(3_000);
    assert_eq!(pump.heard(1), ["ada: one", "ada: two", "ada: three"]);
}

/// BRK-2, RUM-8, RUM-9, LIM-5: beyond the feed there is the store, with the same lines.
#[test]
fn a_member_far_behind_reads_from_the_store_without_hole_or_repeat() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[1].connected = false;
    let count = RECENT_LINES_MAX + 300;
    for n in 0..count {
        pump.say(0, &format!("{n}"));
        if n % 50 == 0 {
            pump.run_ms(200);
        }
    }
    pump.run_ms(20_000);
    assert_eq!(pump.heard(0).len(), count);
    pump.nodes[1].connected = true;
    pump.run_ms(30_000);
    assert_eq!(pump.heard(1), pump.heard(0));
}

/// RUM-9: earlier lines for those who ask, and only as many.
#[test]
fn a_newcomer_sees_as_much_history_as_it_asks_for() {
    let mut pump = Pump::with(&["ada"]);
    for n in 1..=5 {
        pump.say(0, &format!("{n}"));
    }
    pump.run_ms(500);
    let new = pump.add("bob");
    pump.nodes[new].client.join(
        JoinOptions {
            history: 2,
            ..lobby().into()
        },
        pump.now,
    );
    let newer = pump.add("cleo");
    pump.nodes[newer].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    assert_eq!(pump.heard(new), ["ada: 4", "ada: 5"]);
    assert_eq!(pump.heard(newer), [""; 0]);
}

/// SEC-6, SEC-7, KEY-3, LIM-3: hellos by themselves make no session, and half-open handshakes are
/// bounded and expire.
#[test]
fn half_open_handshakes_are_bounded_and_take_no_effect() {
    let mut pump = Pump::with(&["ada"]);
    let mut seeds = SeededRng::new([3; 32]);
    for number in 0..HALF_OPEN_MAX + 10 {
        // They have proved their addresses, and each is somewhere else.
        let [.., high, low] = number.to_be_bytes();
        let path = Path::new(([10, 9, high, low], 9).into());
        let hello = pump.proved_hello(path, seeds.fork(), true);
        pump.inject(path, &hello);
    }
    assert_eq!(pump.broker.link_counts(), (1, HALF_OPEN_MAX));
    assert_eq!(pump.broker.drops().count(Dropped::MadeRoom), 10);
    assert_eq!(pump.broker.people(), 1);
    pump.run_ms(u64::try_from(HALF_OPEN_LIFETIME.as_millis()).unwrap());
    assert_eq!(pump.broker.link_counts(), (1, 0));
}

/// SEC-6, HSD-8: a repeated hello costs nothing and gets the same answer.
#[test]
fn a_repeated_hello_gets_the_identical_reply() {
    let mut pump = Pump::new();
    let path = Path::new(([10, 9, 9, 9], 9).into());
    for known in [false, true] {
        let hello = pump.hello([4; 32], known);
        let mut answer = || {
            let mut out = Vec::new();
            pump.broker
                .handle_datagram(path, BytesMut::from(&hello[..]), pump.now);
            assert!(pump.broker.poll_transmit(pump.now, &mut out).is_some());
            out
        };
        let first = answer();
        assert_eq!(answer(), first);
        assert!(first.len() <= hello.len());
    }
}

/// HSD-7: who speaks another version is told which ones there are.
#[test]
fn a_hello_of_another_version_is_answered_with_the_versions_spoken() {
    let mut pump = Pump::new();
    let path = Path::new(([10, 9, 9, 9], 9).into());
    let mut hello = pump.hello([4; 32], false).to_vec();
    hello[1] = 2;
    let hello = wire::roundtrip::with_right_crc(&hello);
    pump.broker
        .handle_datagram(path, BytesMut::from(&hello[..]), pump.now);
    let mut out = Vec::new();
    pump.broker.poll_transmit(pump.now, &mut out).unwrap();
    match wire::Handshake::decode(&out.into()) {
        Ok(wire::Handshake::Version(reply)) => assert_eq!(reply.versions, [wire::VERSION]),
        other => panic!("{other:?}"),
    }
}

/// BRK-4: nothing is dropped without being counted.
#[test]
fn drops_are_counted_by_their_reason() {
    let mut pump = Pump::with(&["ada"]);
    let path = Path::new(([10, 9, 9, 9], 9).into());
    let hello = pump.hello([4; 32], true);
    let mut damaged = hello.to_vec();
    damaged[40] ^= 1;
    let mut wrong_mac1 = hello.to_vec();
    let at = wrong_mac1.len() - 5;
    wrong_mac1[at] ^= 1;
    let wrong_mac1 = wire::roundtrip::with_right_crc(&wrong_mac1);
    for (datagram, reason) in [
        (&b""[..], Dropped::Empty),
        (&[0x80; 40], Dropped::UnknownLink),
        (&[0x80; 4], Dropped::TooShort),
        (&damaged, Dropped::Crc),
        (&wrong_mac1, Dropped::Mac1),
    ] {
        assert_eq!(pump.broker.drops().count(reason), 0, "{reason}");
        pump.inject(path, datagram);
        assert_eq!(pump.broker.drops().count(reason), 1, "{reason}");
    }
}

/// PUB-5, PUB-4: what is no line is refused for ever; what is kept is what was asked first.
#[test]
fn a_broker_refuses_what_is_no_line() {
    let mut pump = Pump::new();
    let mut raw = pump.raw_link();
    pump.enter_raw(&mut raw, "ada");
    let mut publish = |n, kind, body: &[u8]| {
        let body = Bytes::copy_from_slice(body);
        let publication = Publication {
            n,
            typed_at_ms: EPOCH_MS,
            kind,
            body,
        };
        raw.link
            .send(1, RoomFromNode::Publish(publication).encode(), pump.now)
            .unwrap();
    };
    publish(1, Kind::Message, &[b'x'; crate::chat::CHAT_LINE_MAX + 1]);
    publish(2, Kind::Message, b"two\nlines");
    publish(3, Kind::Left, b"");
    publish(4, Kind::Message, b"fine");
    pump.run_raw(&mut raw, 500);
    assert_eq!(
        raw.refusals(),
        [Refusal::TooLong, Refusal::BadText, Refusal::BadText]
    );
    let texts: Vec<_> = pump
        .store
        .lines(&lobby())
        .map(|line| line.text().into_owned())
        .collect();
    assert_eq!(texts, ["ada", "fine"]);
}

/// RUM-11, RUM-1: a room is joined once on a link, under a name that is one.
#[test]
fn a_second_join_and_a_bad_room_name_are_refused() {
    let mut pump = Pump::new();
    let mut raw = pump.raw_link();
    pump.enter_raw(&mut raw, "ada");
    for (channel, room) in [(2, "LOBBY"), (3, "a:b")] {
        let join = RoomFromNode::Join(Join {
            room: room.into(),
            quiet: false,
            history: 0,
            presence: 0,
            start: Start::Tail,
        });
        raw.link.send(channel, join.encode(), pump.now).unwrap();
    }
    pump.run_raw(&mut raw, 500);
    assert_eq!(
        raw.refusals(),
        [Refusal::AlreadyJoined, Refusal::RoomInvalid]
    );
}

/// LIM-7, BRK-5: more requests than the store may have waiting are put off, not lost.
#[test]
fn a_store_that_falls_behind_puts_publications_off() {
    let mut pump = Pump::with(&["ada"]);
    let asked = || Asked {
        pending: Pending::Register { link: LinkId::MAX },
        cost: 0,
        at: Timestamp::ZERO,
    };
    let free = RequestId::MAX - STORAGE_PENDING_MAX as RequestId;
    for id in free..RequestId::MAX {
        pump.broker.pending.insert(id, asked());
    }
    pump.say(0, "one");
    pump.run_ms(3 * LATENCY_MS);
    assert_eq!(pump.heard(0), [""; 0]);
    assert_eq!(pump.broker.pending.len(), STORAGE_PENDING_MAX);
    pump.broker.pending.clear();
    pump.run_ms(2_000);
    assert_eq!(pump.heard(0), ["ada: one"]);
}

/// LIM-5: more rooms than a broker can have in use are refused with a reason.
#[test]
fn too_many_rooms_are_refused() {
    let mut pump = Pump::with(&["ada"]);
    for n in 0..ROOMS_MAX {
        let name = RoomName::new(&format!("room {n}")).unwrap();
        let mut room = Room::new();
        room.asking = 1;
        pump.broker.rooms.insert(name, room);
    }
    let one_more = RoomName::new("one more").unwrap();
    pump.nodes[0].client.join(one_more.clone().into(), pump.now);
    pump.run_ms(500);
    let refused = |e: &ClientEvent| {
        matches!(
            e,
            ClientEvent::JoinRefused {
                code: Refusal::TooManyRooms,
                ..
            }
        )
    };
    assert!(pump.nodes[0].events.iter().any(refused));
}

/// SGN-2: an account keeps its name.
#[test]
fn an_account_cannot_come_back_under_another_name() {
    let mut pump = Pump::with(&["ada"]);
    let identity: NodeIdentity = pump.nodes[0].identity.clone();
    let key = pump.broker.public_key();
    let renamed = pump.add_known("eve", identity, Some(key));
    pump.run_ms(500);
    let fixed = |r: &EndReason| {
        matches!(
            r,
            EndReason::NameRefused {
                code: Refusal::NameFixed,
                ..
            }
        )
    };
    assert!(pump.nodes[renamed].end().is_some_and(fixed));
}

/// BRK-3: a link that has much to send does not keep another from its turn.
#[test]
fn links_take_turns() {
    let mut pump = Pump::with(&["ada", "bob", "cleo"]);
    for n in 0..200 {
        pump.say(0, &format!("{n} {}", "x".repeat(1_000)));
    }
    // The broker is given what ada sends, and asked once for what it sends itself.
    pump.run_ms(LATENCY_MS * 3);
    let mut turns = Vec::new();
    let mut out = Vec::new();
    pump.now += Duration::from_secs(1);
    pump.broker.handle_timeout(pump.now);
    for node in 0..3 {
        let id = *pump.broker.routes.values().nth(node).unwrap();
        pump.broker.mark_ready(id);
    }
    while let Some(transmit) = pump.broker.poll_transmit(pump.now, &mut out) {
        turns.push(transmit.path);
        out.clear();
    }
    turns.dedup();
    let repeats = turns.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(repeats, 0);
    assert!(!turns.is_empty());
}

/// PTH-1, DLV-7: a NAT forgets a node, which neither side notices as more than a moment of quiet.
#[test]
fn a_node_behind_a_new_address_keeps_its_link() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let notices = pump.nodes[1].notices();
    for port in 1..=3 {
        pump.nodes[0].seen_at = Path::new(([203, 0, 113, 5], port).into());
        pump.say(0, &format!("from port {port}"));
        pump.run_ms(4 * LATENCY_MS);
        pump.say(1, &format!("to port {port}"));
        pump.run_ms(500);
    }
    assert_eq!(pump.heard(0), pump.heard(1));
    assert_eq!(pump.heard(0).len(), 6);
    assert_eq!(pump.nodes[1].notices(), notices);
    let offline = |event: &&ClientEvent| matches!(event, ClientEvent::Offline);
    assert_eq!(pump.nodes[0].events.iter().filter(offline).count(), 0);
    assert_eq!(pump.broker.next_link, 2, "no new handshake");
}

/// CID-1, CID-2, LIM-9, PTH-6: a node that roams gets a fresh connection id for each one that it
/// used up, and the broker keeps no route to those.
#[test]
fn a_roaming_node_costs_the_broker_three_routes() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.run_ms(500);
    assert_eq!(pump.broker.routes.len(), 6);
    let mut before: Vec<BrokerCid> = pump.broker.routes.keys().copied().collect();
    for port in 1..=5 {
        pump.nodes[0].seen_at = Path::new(([203, 0, 113, 5], port).into());
        pump.nodes[0].client.handle_address_change(pump.now);
        pump.run_ms(500);
        pump.say(1, "are you there?");
        pump.run_ms(500);
        assert_eq!(pump.broker.routes.len(), 6);
    }
    assert_eq!(pump.heard(0).len(), 5);
    before.retain(|cid| pump.broker.routes.contains_key(cid));
    assert_eq!(before.len(), 3, "bob's");
    assert_eq!(pump.broker.next_link, 2, "no new handshake");

    pump.nodes[0].client.abandon(pump.now);
    pump.run_ms(2_000);
    assert_eq!(pump.broker.routes.len(), 3);
}

/// SEC-5, PTH-6: a handshake goes on from the new address at once.
#[test]
fn a_node_that_moves_while_it_shakes_hands_says_hello_again() {
    let mut pump = Pump::new();
    let node = pump.add("ada");
    pump.nodes[node].connected = false;
    pump.run_ms(30_000);
    pump.nodes[node].connected = true;
    pump.nodes[node].seen_at = Path::new(([203, 0, 113, 5], 1).into());
    pump.nodes[node].client.handle_address_change(pump.now);
    pump.run_ms(10 * LATENCY_MS);
    assert!(pump.nodes[node].client.is_online());
}

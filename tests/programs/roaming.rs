//! Nodes whose addresses change in the middle of a conversation, and strangers who pretend it.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::support::crowd::{Crowd, NAMES};
use crate::support::relay::{Captured, Copied, Direction, Faults, Relay, replay_into};
use crate::support::{Scene, Stopwatch};

/// How long after the last line was typed all must have been shown.
const LATEST: Duration = Duration::from_secs(60);
/// HSD-2.
const HELLO: u8 = 1;
/// The first bit of a datagram whose sender and receiver share keys (section 5).
const DATA_CLASS: u8 = 0x80;
/// PTH-2: flags, connection id, packet number, PATH_CHALLENGE and tag toward a node, at most.
const QUESTION_LEN: usize = 1 + 4 + 4 + 9 + 16;
/// PTH-2: how often one candidate is asked.
const QUESTIONS_MAX: usize = 3;
/// PTH-4.
const AMPLIFICATION_MAX: usize = 3;
const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// A quarter of all datagrams is lost, and later ones overtake earlier ones.
const FAULTS: Faults = Faults {
    loss_percent: 25,
    duplicate_percent: 0,
    delay_ms: 0,
    jitter_ms_max: 20,
    flip_every: None,
};

/// How many datagrams of `capture` went that way and begin like this.
fn count(capture: &[Captured], direction: Direction, first: impl Fn(u8) -> bool) -> usize {
    let captured = capture.iter().filter(|one| one.direction == direction);
    captured
        .filter(|one| one.bytes.first().is_some_and(|byte| first(*byte)))
        .count()
}

/// DLV-7: a move is not a new link.
#[track_caller]
fn no_handshake_in(capture: &[Captured]) {
    let hellos = count(capture, Direction::ToBroker, |first| first == HELLO);
    assert_eq!(hellos, 0, "nodes that shook hands again");
    for direction in [Direction::ToBroker, Direction::ToNode] {
        let others = count(capture, direction, |first| first & DATA_CLASS == 0);
        assert_eq!(others, 0, "{direction:?}");
    }
}

/// Everybody talks, and gets a new address on each of `networks` in turn.
fn talk_while_moving(relay: &Relay, crowd: &mut Crowd, networks: &[Ipv4Addr]) {
    let joined = relay.capture().len();
    for network in networks {
        crowd.type_lines(20);
        relay.was_given(relay.capture().len() + 12);
        relay.rebind_on(*network);
        let moved = Stopwatch::start();
        crowd.type_lines(20);
        relay.has_moved_everybody(QUESTION_LEN);
        println!("everybody was found after {:?}", moved.elapsed());
    }
    crowd.shows_all_within(LATEST);
    crowd.has_shown_the_same_and_nothing_else();
    no_handshake_in(&relay.capture()[joined..]);
}

/// DLV-1 to DLV-4, DLV-7, PTH-1, PTH-2, PTH-3.
#[test]
fn a_router_that_forgets_three_nodes_again_and_again_costs_no_line_and_no_handshake() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let relay = Relay::start(broker.address, FAULTS, 40);
    let mut crowd = Crowd::join(&scene, relay.address);
    broker.counts(NAMES.len());
    let counted = broker.counted();
    talk_while_moving(&relay, &mut crowd, &[HOME; 4]);
    assert_eq!(broker.counted(), counted);
}

/// DLV-1 to DLV-4, DLV-7, PTH-1, PTH-2, PTH-3. Only Linux has the other networks without further
/// ado.
#[test]
#[cfg(target_os = "linux")]
fn nodes_that_change_to_another_network_and_back_lose_no_line_and_shake_no_hands() {
    let scene = Scene::new();
    let anywhere = scene
        .broker_on(([0, 0, 0, 0], 0))
        .args(&["--access", "open"]);
    let broker = anywhere.start_broker();
    let relay = Relay::start((HOME, broker.address.port()).into(), FAULTS, 41);
    let mut crowd = Crowd::join(&scene, relay.address);
    broker.counts(NAMES.len());
    let counted = broker.counted();
    let (cafe, train) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    talk_while_moving(&relay, &mut crowd, &[cafe, train, HOME]);
    assert_eq!(broker.counted(), counted);
}

/// Whether all who send copies were given up once, and asked again (PTH-5).
fn has_asked_all_twice(copied: &[Copied]) -> bool {
    let asked = copied
        .iter()
        .filter(|copied| copied.received > QUESTIONS_MAX * QUESTION_LEN);
    asked.count() == NAMES.len()
}

/// PTH-1 to PTH-5: who copies datagrams and is faster than their sender gets questions, and never
/// anything of the conversation.
#[test]
fn copies_that_overtake_the_originals_move_nobody_and_draw_little() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let relay = Relay::start(broker.address, FAULTS, 42);
    let mut crowd = Crowd::join(&scene, relay.address);
    broker.counts(NAMES.len());
    let (counted, joined) = (broker.counted(), relay.capture().len());

    crowd.type_lines(20);
    relay.set_copied(true);
    let copying = Stopwatch::start();
    while !has_asked_all_twice(&relay.copied()) {
        assert!(copying.elapsed() < LATEST, "{:?}", relay.copied());
        crowd.type_lines(5);
        crowd.shows_all_within(LATEST);
    }
    relay.set_copied(false);
    crowd.type_lines(5);
    crowd.shows_all_within(LATEST);

    let copied = relay.copied();
    println!("{copied:?}");
    for copied in copied {
        assert!(
            copied.received <= AMPLIFICATION_MAX * copied.sent,
            "{copied:?}"
        );
        assert!(copied.longest <= QUESTION_LEN, "{copied:?}");
    }
    crowd.has_shown_the_same_and_nothing_else();
    no_handshake_in(&relay.capture()[joined..]);
    assert_eq!(broker.counted(), counted);
}

/// KEY-2, SEC-7, PTH-1, CID-2: some of the datagrams were lost on their way, so that the replay is
/// the first that their receivers see of them.
#[test]
fn what_was_captured_before_a_move_changes_nothing_after_it() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let relay = Relay::start(broker.address, FAULTS, 43);
    let mut crowd = Crowd::join(&scene, relay.address);
    broker.counts(NAMES.len());
    let (counted, joined) = (broker.counted(), relay.capture().len());
    crowd.type_lines(20);
    relay.was_given(joined + 30);
    let before = relay.capture();
    relay.rebind();
    crowd.type_lines(20);
    relay.has_moved_everybody(QUESTION_LEN);
    crowd.shows_all_within(LATEST);

    let moved = relay.capture().len();
    relay.replay(&before);
    let drawn = replay_into(broker.address, &before);
    crowd.type_lines(20);
    crowd.shows_all_within(LATEST);

    // The HELLOs are answered, as anybody's are; the rest is not even asked about.
    let asked = drawn.iter().filter(|answer| answer[0] & DATA_CLASS != 0);
    assert_eq!(asked.count(), 0);
    crowd.has_shown_the_same_and_nothing_else();
    let after = relay.capture().split_off(moved);
    assert_eq!(
        count(&after, Direction::ToBroker, |first| first & DATA_CLASS == 0),
        0
    );
    assert_eq!(broker.counted(), counted);
}

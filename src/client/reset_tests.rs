//! Nodes whose broker has forgotten them, and strangers who only say so.

use super::*;
use crate::pump::{End, LATENCY_MS, Pump};
use crate::secure::{RESET_LEN_MAX, RESET_LEN_MIN, ResetSecret};
use crate::wire::{BrokerCid, is_data};

/// A round trip of the pump's network.
const RTT_MS: u64 = 2 * LATENCY_MS;

fn stranger() -> Path {
    Path::new(([203, 0, 113, 66], 66).into())
}

/// The connection ids that `node` sends to, each once, in the order of their first use.
fn cids_used(pump: &Pump) -> Vec<BrokerCid> {
    let to_broker = pump.seen.iter().filter(|(to, _)| *to == End::Broker);
    let data = to_broker.filter(|(_, datagram)| is_data(datagram[0]));
    let mut cids: Vec<BrokerCid> = Vec::new();
    for (_, datagram) in data {
        let cid = datagram[1..9].try_into().unwrap();
        if !cids.contains(&cid) {
            cids.push(cid);
        }
    }
    cids
}

/// RST-5: a listener that says nothing is told, and misses nothing.
#[test]
fn a_silent_listener_is_back_at_once_after_a_crash() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.run_ms(2_000);
    pump.crash_broker();
    // The store answers, a reset, a handshake, signing in, joining.
    pump.run_ms(5 * RTT_MS);
    assert!(pump.nodes.iter().all(|node| node.client.is_online()));
    assert_eq!((offline(&pump, 0), offline(&pump, 1)), (1, 1));
    pump.say(0, "did you notice?");
    pump.run_ms(2 * RTT_MS);
    assert_eq!(pump.heard(1), ["ada: did you notice?"]);
}

/// RST-5, CID-2, PTH-3: what is remembered is where the node is now, and under which id.
#[test]
fn a_silent_listener_that_has_moved_is_back_at_once() {
    let mut pump = Pump::with(&["ada"]);
    pump.nodes[0].seen_at = Path::new(([10, 0, 0, 99], 99).into());
    pump.nodes[0].client.handle_address_change(pump.now);
    pump.run_ms(3_000);
    assert_eq!(cids_used(&pump).len(), 2);
    pump.crash_broker();
    pump.run_ms(5 * RTT_MS);
    assert!(pump.nodes[0].client.is_online());
    assert_eq!(offline(&pump, 0), 1);
}

/// RST-5: the first two resets are lost.
#[test]
fn a_reset_that_is_lost_is_sent_again() {
    let mut pump = Pump::with(&["ada"]);
    pump.run_ms(2_000);
    pump.nodes[0].connected = false;
    pump.crash_broker();
    pump.run_ms(1_500);
    pump.nodes[0].connected = true;
    pump.run_ms(500 + 5 * RTT_MS);
    assert!(pump.nodes[0].client.is_online());
    assert_eq!(offline(&pump, 0), 1);
}

/// RST-5: they are sent three times, and then the link is forgotten for good.
#[test]
fn a_link_of_the_life_before_is_forgotten_in_the_end() {
    let mut pump = Pump::with(&["ada"]);
    pump.run_ms(2_000);
    pump.nodes[0].connected = false;
    pump.crash_broker();
    pump.seen.clear();
    pump.run_ms(20_000);
    let to_node = |pump: &Pump| {
        let seen = pump.seen.iter();
        seen.filter(|(to, _)| *to == End::Client(0)).count()
    };
    assert_eq!(to_node(&pump), 3);
    pump.crash_broker();
    pump.run_ms(20_000);
    assert_eq!(to_node(&pump), 3);
}

/// RST-4, RST-5: a node that has given the broker up asks seldom; the broker's return wakes it, after
/// a crash as after an orderly end.
#[test]
fn a_node_that_has_given_up_is_woken_by_the_brokers_return() {
    for is_orderly in [false, true] {
        let mut pump = Pump::with(&["ada"]);
        pump.run_ms(2_000);
        if is_orderly {
            pump.broker.shut_down(pump.now);
            pump.run_ms(50);
            assert_eq!(offline(&pump, 0), 1);
        }
        pump.nodes[0].connected = false;
        pump.say(0, "for later");
        pump.run_ms(500_000);
        assert_eq!(offline(&pump, 0), 1);
        pump.nodes[0].connected = true;
        pump.crash_broker();
        pump.run_ms(6 * RTT_MS);
        assert_eq!(pump.heard(0), ["ada: for later"], "orderly: {is_orderly}");
    }
}

/// RTT-1, PROBE-1: the first words on a link are lost; how long a round trip takes is known from the
/// handshake.
#[test]
fn a_first_flight_that_is_lost_is_repeated_after_three_round_trips() {
    let mut pump = Pump::new();
    let identity = NodeIdentity::generate(&mut pump.rng);
    let key = pump.broker.public_key();
    let node = pump.add_known("ada", identity, Some(key));
    pump.run_ms(RTT_MS);
    pump.lose_all();
    pump.run_ms(3 * RTT_MS + RTT_MS + 10);
    assert!(pump.nodes[node].client.is_online());
}

/// LIF-5: the line is taken and acknowledged, and the answer goes to where the node is no longer.
#[test]
fn an_answer_that_went_astray_is_asked_for() {
    let mut pump = Pump::with(&["ada"]);
    pump.run_ms(2_000);
    pump.store_stalled = true;
    pump.say(0, "heard?");
    pump.run_ms(3 * RTT_MS);
    pump.nodes[0].seen_at = Path::new(([10, 0, 0, 99], 99).into());
    pump.resume_store();
    pump.run_ms(1_000);
    assert_eq!(pump.heard(0), ["ada: heard?"]);
    assert_eq!(offline(&pump, 0), 0);
}

/// LIF-6, SEC-5: what the node's machine knows of itself ends the waiting.
#[test]
fn a_node_that_was_suspended_tries_at_once() {
    let mut pump = Pump::with(&["ada"]);
    pump.nodes[0].connected = false;
    pump.say(0, "for later");
    pump.run_ms(300_000);
    assert_eq!(offline(&pump, 0), 1);
    pump.nodes[0].connected = true;
    pump.nodes[0].client.handle_resume(pump.now);
    pump.run_ms(4 * RTT_MS + 10);
    assert_eq!(pump.heard(0), ["ada: for later"]);
}

/// The broker's reset for a connection id, as the pump's brokers make it.
fn reset_of(cid: &BrokerCid) -> Vec<u8> {
    let token = ResetSecret::new([4; 32]).token(cid);
    [&[0xc1; 9][..], &token.0].concat()
}

fn offline(pump: &Pump, node: usize) -> usize {
    let events = pump.nodes[node].events.iter();
    events.filter(|e| matches!(e, ClientEvent::Offline)).count()
}

/// RST-1, RST-2, RST-4, PUB-6: a reset, a handshake, signing in, joining, publishing: five round
/// trips, and no waiting in between.
#[test]
fn a_line_said_to_a_broker_that_has_forgotten_the_link_is_stored_five_round_trips_later() {
    let mut pump = Pump::with(&["ada"]);
    pump.crash_broker();
    pump.say(0, "anybody there?");
    pump.run_ms(5 * RTT_MS + 10);
    assert_eq!(pump.heard(0), ["ada: anybody there?"]);
    assert_eq!(offline(&pump, 0), 1);
}

/// RST-4, CID-2: the ids that a node takes into use later have tokens too.
#[test]
fn a_node_that_has_moved_is_reset_as_well() {
    let mut pump = Pump::with(&["ada"]);
    pump.run_ms(1_000);
    pump.nodes[0].client.handle_address_change(pump.now);
    pump.run_ms(1_000);
    assert_eq!(cids_used(&pump).len(), 2);
    pump.crash_broker();
    pump.say(0, "from elsewhere");
    pump.run_ms(5 * RTT_MS + 10);
    assert_eq!(pump.heard(0), ["ada: from elsewhere"]);
}

/// RST-2, RST-4: strangers can say what they like: without the token, or from an address that is not
/// the broker's, it ends nothing.
#[test]
fn nobody_without_the_token_ends_a_link() {
    let mut pump = Pump::with(&["ada"]);
    let broker = pump.nodes[0].path;
    let cid = cids_used(&pump)[0];
    let right = reset_of(&cid);
    for byte in right.len() - 16..right.len() {
        let mut forged = right.clone();
        forged[byte] ^= 1;
        pump.inject_to(0, broker, &forged);
    }
    for len in 0..100 {
        pump.inject_to(0, broker, &vec![0x80; len]);
        pump.inject_to(0, broker, &[&vec![0x80; len][..], &[0; 16]].concat());
    }
    pump.inject_to(0, stranger(), &right);
    pump.run_ms(1_000);
    assert_eq!(offline(&pump, 0), 0);

    pump.inject_to(0, broker, &right);
    assert_eq!(offline(&pump, 0), 1, "the right one");
}

/// RST-2, RST-4: who knows a connection id that is done with can have its reset from the broker, and
/// gains nothing.
#[test]
fn the_reset_of_a_retired_connection_id_is_worth_nothing() {
    let mut pump = Pump::with(&["ada"]);
    pump.run_ms(1_000);
    pump.nodes[0].client.handle_address_change(pump.now);
    pump.run_ms(1_000);
    let [retired, live] = cids_used(&pump)[..] else {
        panic!("one move");
    };
    let broker = pump.nodes[0].path;
    pump.inject_to(0, broker, &reset_of(&retired));
    assert_eq!(offline(&pump, 0), 0);
    pump.inject_to(0, broker, &reset_of(&live));
    assert_eq!(offline(&pump, 0), 1);
}

/// What the broker says to a stranger who sends `datagram`.
fn answers(pump: &mut Pump, datagram: &[u8]) -> Vec<Vec<u8>> {
    pump.broker
        .handle_datagram(stranger(), BytesMut::from(datagram), pump.now);
    let (mut out, mut answers) = (Vec::new(), Vec::new());
    while let Some(transmit) = pump.broker.poll_transmit(pump.now, &mut out) {
        if transmit.path == stranger() {
            answers.extend(transmit.datagrams(&out).map(<[u8]>::to_vec));
        }
        out.clear();
    }
    answers
}

/// RST-2: no token leaves the broker while its id leads anywhere.
#[test]
fn connection_ids_that_lead_somewhere_are_not_reset() {
    let mut pump = Pump::with(&["ada"]);
    let live = cids_used(&pump)[0];
    let forged = |cid: &BrokerCid| [&[0x80][..], cid, &[7; 60]].concat();
    assert!(answers(&mut pump, &forged(&live)).is_empty());

    // A first contact that waits for its FINISH, and one that waits for its first packet.
    for known in [false, true] {
        let before = pump.broker.link_counts().1;
        let hello = pump.hello([40 + u8::from(known); 32], known);
        let accept = answers(&mut pump, &hello);
        assert_eq!((accept.len(), pump.broker.link_counts().1), (1, before + 1));
    }
    let half_open = pump.broker.half_open_cids();
    assert_eq!(half_open.len(), 2);
    for cid in half_open {
        assert!(answers(&mut pump, &forged(&cid)).is_empty());
    }
    let unknown = answers(&mut pump, &forged(b"unknown!"));
    assert_eq!(unknown.len(), 1);
    let token = ResetSecret::new([4; 32]).token(b"unknown!");
    assert!(unknown[0].ends_with(&token.0));
}

/// RST-2: what is too short to be a packet is not answered, and every answer is shorter than its
/// cause.
#[test]
fn two_brokers_that_answer_each_other_come_to_an_end() {
    let (mut one, mut other) = (Pump::new(), Pump::new());
    let mut flying = vec![[&[0x80][..], &[9; 1_199]].concat()];
    let mut lengths = Vec::new();
    while let Some(datagram) = flying.pop() {
        lengths.push(datagram.len());
        flying = answers(&mut one, &datagram);
        core::mem::swap(&mut one, &mut other);
    }
    assert!(lengths.len() > 1, "{lengths:?}");
    assert!(lengths.is_sorted_by(|longer, shorter| longer > shorter));
    assert!(lengths[1] <= RESET_LEN_MAX && *lengths.last().unwrap() >= RESET_LEN_MIN);
}

/// RST-3: who sends rubbish under many names gets little back.
#[test]
fn resets_are_limited_in_time() {
    let mut pump = Pump::new();
    let mut answered = 0;
    for name in 0..10_000_u64 {
        let datagram = [&[0x80][..], &name.to_be_bytes(), &[7; 60]].concat();
        answered += answers(&mut pump, &datagram).len();
    }
    assert_eq!(answered as u32, crate::broker::RESETS_BURST);
}

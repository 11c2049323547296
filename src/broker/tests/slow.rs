//! A member that does not keep up.

use super::*;
use crate::broker::session::{Pace, Place, REPLIES_MAX, SeatStage};
use crate::chat::AUTHORS_MAX;

/// What the broker holds of the lobby for the third node: how many messages its link has, how many
/// lines were read for it, and its pace.
fn held(pump: &Pump) -> (usize, usize, Pace) {
    let device = pump.nodes[2].identity.device();
    let session = &pump.broker.sessions[&pump.broker.devices[&device]];
    let Some(SeatStage::In(cursor)) = session.seats.get(1).map(|seat| &seat.stage) else {
        panic!("not in the lobby");
    };
    let fetched = match &cursor.place {
        Place::Live(_) => 0,
        Place::Replay { fetched, .. } => fetched.len(),
    };
    (session.link.unacked_messages(1), fetched, cursor.pace)
}

/// BRK-9, BRK-2, DLV-1, DLV-3: a reader that stops costs the broker a constant, and the others
/// nothing; afterwards it gets everything.
#[test]
fn a_reader_that_stops_costs_a_constant_and_delays_nobody() {
    let mut pump = Pump::with(&["ada", "bob", "cleo"]);
    pump.nodes[2].connected = false;
    let mut at_two_seconds = None;
    for turn in 0..300_usize {
        for line in 0..8 {
            pump.say(0, &format!("{turn}.{line}"));
        }
        pump.run_ms(4 * LATENCY_MS + 1);
        assert_eq!(
            pump.nodes[1].heard().len(),
            8 * (turn + 1),
            "bob is not delayed"
        );
        if pump.now >= Timestamp::from_millis(6_000) && at_two_seconds.is_none() {
            at_two_seconds = Some(held(&pump));
        }
    }
    let (unacked, fetched, pace) = held(&pump);
    assert_eq!(Some((unacked, fetched, pace)), at_two_seconds);
    assert_eq!((fetched, pace), (0, Pace::Lagging));
    assert!(unacked <= 256, "{unacked} messages");

    pump.nodes[2].connected = true;
    pump.run_ms(30_000);
    assert_eq!(pump.heard(2), pump.heard(1));
    assert_eq!(held(&pump), (0, 0, Pace::Live));
    pump.say(0, "welcome back");
    pump.run_ms(4 * LATENCY_MS);
    assert_eq!(pump.heard(2).last().unwrap(), "ada: welcome back");
}

/// BRK-9: two seconds without an acknowledgement are enough, however little was sent.
#[test]
fn a_member_that_acknowledges_nothing_for_two_seconds_gets_no_more() {
    let mut pump = Pump::with(&["ada", "bob", "cleo"]);
    pump.run_ms(3_000);
    pump.nodes[2].connected = false;
    let mut most = 0;
    for turn in 0..20 {
        pump.say(0, &turn.to_string());
        pump.run_ms(500);
        most = most.max(held(&pump).0);
    }
    assert!(most <= 6, "{most} messages");
    assert_eq!(held(&pump).2, Pace::Lagging);
    pump.nodes[2].connected = true;
    pump.run_ms(10_000);
    assert_eq!(pump.heard(2).len(), 20);
}

/// LIM-16, BRK-2: whoever does not take its answers is cut off, and the others notice nothing.
#[test]
fn answers_that_nobody_takes_are_bounded() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let device = pump.nodes[0].identity.device();
    let id = pump.broker.devices[&device];
    let answer = Bytes::from_static(b"\x80");
    let session = pump.broker.sessions.get_mut(&id).unwrap();
    session.control = vec![answer; REPLIES_MAX + 1].into();
    pump.say(0, "who takes no answers");
    pump.run_ms(1_000);
    assert!(!pump.broker.sessions.contains_key(&id));
    pump.say(1, "still here");
    pump.run_ms(1_000);
    let heard = pump.heard(1);
    assert_eq!(heard.last().map(String::as_str), Some("bob: still here"));
}

/// LIM-17: a link on which all authors were introduced that may be makes place for another one, on
/// which none is; nobody notices.
#[test]
fn a_link_with_too_many_authors_makes_place_for_another() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let device = pump.nodes[1].identity.device();
    let id = pump.broker.devices[&device];
    let session = pump.broker.sessions.get_mut(&id).unwrap();
    for seat in session.seats.values_mut() {
        seat.pretend_introduced(AUTHORS_MAX);
    }
    pump.say(0, "hello");
    pump.run_ms(60_000);
    assert!(!pump.broker.sessions.contains_key(&id));
    assert_eq!(pump.heard(1), ["ada: hello"]);
    assert_eq!(pump.nodes[0].notices(), ["ada Joined", "bob Joined"]);
}

/// LIM-23: events that nobody takes are counted and not kept.
#[test]
fn events_that_nobody_takes_are_bounded() {
    let mut pump = Pump::new();
    for _ in 0..EVENTS_UNTAKEN_MAX + 5 {
        pump.broker.tell(BrokerEvent::People(1));
    }
    assert_eq!(pump.broker.events.len(), EVENTS_UNTAKEN_MAX);
    assert_eq!(pump.broker.counters.events_untold, 5);
}

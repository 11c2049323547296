//! Presence that outlives links and brokers.

use super::*;
use crate::chat::NoticeEvent;
use crate::client::JoinOptions;

fn left(pump: &Pump) -> usize {
    let left = |event: &&BrokerEvent| matches!(event, BrokerEvent::Left { .. });
    pump.broker_events.iter().filter(left).count()
}

/// PRS-5, DLV-7: everybody is still there.
#[test]
fn a_broker_that_starts_again_makes_no_noise() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let notices = [pump.nodes[0].notices(), pump.nodes[1].notices()];
    pump.crash_broker();
    assert_eq!(pump.broker.people(), 0);
    pump.run_ms(10);
    assert_eq!(pump.broker.people(), 2, "they are expected back");
    pump.run_ms(120_000);
    pump.say(0, "did anything happen?");
    pump.run_ms(500);
    assert_eq!(pump.heard(1), ["ada: did anything happen?"]);
    assert_eq!([pump.nodes[0].notices(), pump.nodes[1].notices()], notices);
    assert_eq!(pump.broker.people(), 2);
    assert_eq!(pump.store.lines(&lobby()).count(), 3);
    assert_eq!(left(&pump), 0);
}

/// PRS-5: who does not come back is timed out once, counted from the restart.
#[test]
fn who_does_not_come_back_to_a_new_broker_is_timed_out_later() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[0].connected = false;
    pump.run_ms(500_000);
    pump.crash_broker();
    pump.run_ms(590_000);
    assert_eq!(pump.nodes[1].notices(), ["bob Joined"]);
    pump.run_ms(20_000);
    assert_eq!(pump.nodes[1].notices(), ["bob Joined", "ada TimedOut"]);
    assert_eq!(pump.broker.people(), 1);
    pump.nodes[0].connected = true;
    pump.run_ms(60_000);
    let back = ["bob Joined", "ada TimedOut", "ada Joined"];
    assert_eq!(pump.nodes[1].notices(), back);
}

/// BRK-1: what the store has not confirmed is told to nobody.
#[test]
fn no_notice_is_told_before_the_store_has_it() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.store_stalled = true;
    pump.nodes[1].client.leave(pump.now);
    pump.run_ms(2_000);
    assert_eq!(pump.nodes[0].notices(), ["ada Joined", "bob Joined"]);
    assert_eq!((pump.broker.people(), left(&pump)), (2, 0));
    pump.resume_store();
    pump.run_ms(200);
    assert_eq!(
        pump.nodes[0].notices(),
        ["ada Joined", "bob Joined", "bob Left"]
    );
    assert_eq!((pump.broker.people(), left(&pump)), (1, 1));
}

/// PRS-5, PRS-3: a notice that was stored when the broker died reaches those who come back, once,
/// where it stood among the lines.
#[test]
fn a_notice_that_died_with_the_broker_is_told_by_the_next_one() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "before");
    pump.run_ms(200);
    let account = pump.nodes[1].identity.account();
    pump.nodes[1].connected = false;
    let op = StorageOp::Absent {
        room: lobby(),
        account,
        event: NoticeEvent::Left,
        presence: EPOCH_MS + pump.now.as_millis(),
    };
    pump.store.handle(StorageRequest { id: 0, op });
    pump.crash_broker();
    pump.run_ms(60_000);
    pump.say(0, "after");
    pump.run_ms(500);
    let told = ["ada Joined", "bob Joined", "bob Left"];
    assert_eq!(pump.nodes[0].notices(), told);
    pump.crash_broker();
    pump.run_ms(60_000);
    assert_eq!(pump.nodes[0].notices(), told, "once");
    let is_notice = |event: &ClientEvent| matches!(event, ClientEvent::Notice { .. });
    let is_after = |event: &ClientEvent| matches!(event, ClientEvent::Line { line, .. } if line.text() == "after");
    let events = &pump.nodes[0].events;
    assert!(events.iter().rposition(is_notice) < events.iter().position(is_after));
}

/// PRS-1, BRK-1: a session that ends while the store lets it in was there all the same, and is
/// expected back.
#[test]
fn who_vanishes_while_coming_in_is_timed_out_like_anybody() {
    let mut pump = Pump::with(&["ada"]);
    let bob = pump.add("bob");
    pump.run_ms(500);
    pump.store_stalled = true;
    pump.nodes[bob].client.join(lobby().into(), pump.now);
    pump.run_ms(200);
    pump.nodes[bob].client.abandon(pump.now);
    pump.run_ms(200);
    pump.resume_store();
    pump.run_ms(200);
    assert_eq!(pump.nodes[0].notices(), ["ada Joined", "bob Joined"]);
    pump.run_ms(600_000);
    let all = ["ada Joined", "bob Joined", "bob TimedOut"];
    assert_eq!(pump.nodes[0].notices(), all);
    assert_eq!(pump.broker.people(), 1);
}

/// PRS-1, BRK-5: what a failing store could not record is asked again.
#[test]
fn a_goodbye_that_the_store_could_not_record_is_recorded_later() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.store_stalled = true;
    pump.nodes[1].client.leave(pump.now);
    pump.run_ms(100);
    let is_goodbye = |request: &&StorageRequest| matches!(request.op, StorageOp::Absent { .. });
    assert_eq!(pump.stalled.iter().filter(is_goodbye).count(), 1);
    pump.fail_stalled();
    pump.store_stalled = false;
    assert_eq!(pump.broker.people(), 2);
    pump.run_ms(1_000);
    assert_eq!(pump.broker.people(), 1);
    assert_eq!(
        pump.nodes[0].notices(),
        ["ada Joined", "bob Joined", "bob Left"]
    );
}

/// RUM-12, BRK-5: a node whose LEAVE the store could not take comes back and says it again.
#[test]
fn a_leave_that_the_store_could_not_take_is_said_again() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.store_stalled = true;
    pump.nodes[1].client.leave_room(&lobby(), pump.now);
    pump.run_ms(100);
    pump.fail_stalled();
    pump.store_stalled = false;
    pump.run_ms(5_000);
    let is_left = |event: &ClientEvent| matches!(event, ClientEvent::RoomLeft { .. });
    assert!(pump.nodes[1].events.iter().any(is_left));
    assert_eq!(pump.broker.people(), 1);
}

/// BRK-8: people sign in once the broker knows who was there before, and not earlier.
#[test]
fn a_broker_whose_store_takes_its_time_to_open_lets_nobody_in_before() {
    let mut pump = Pump::new();
    pump.store_stalled = true;
    let ada = pump.add("ada");
    pump.nodes[ada].client.join(lobby().into(), pump.now);
    pump.run_ms(1_000);
    assert!(!pump.nodes[ada].client.is_online());
    assert_eq!(pump.broker.link_counts().0, 1);
    let asked: Vec<_> = pump.stalled.iter().map(|request| &request.op).collect();
    assert_eq!(asked, [&StorageOp::Open]);
    pump.fail_stalled();
    pump.store_stalled = false;
    pump.run_ms(1_000);
    assert_eq!(pump.nodes[ada].notices(), ["ada Joined"]);
}

// ---- quiet sessions

/// A node called `name` that is quietly in the lobby.
fn add_quiet(pump: &mut Pump, name: &str) -> usize {
    let node = pump.add(name);
    let options = JoinOptions {
        quiet: true,
        ..lobby().into()
    };
    pump.nodes[node].client.join(options, pump.now);
    pump.run_ms(500);
    node
}

/// RUM-14: it hears and says everything, and nobody sees it come or go.
#[test]
fn a_quiet_session_is_a_members_and_makes_nobody_present() {
    let mut pump = Pump::with(&["ada"]);
    let bob = add_quiet(&mut pump, "bob");
    pump.say(0, "is anybody here?");
    pump.say(bob, "no");
    let cleo = pump.add("cleo");
    pump.nodes[cleo].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    assert_eq!(pump.heard(bob), ["ada: is anybody here?", "bob: no"]);
    assert_eq!(pump.heard(0), pump.heard(bob));
    assert_eq!(pump.nodes[bob].notices(), ["cleo Joined"]);
    assert_eq!(pump.broker.people(), 2);
    pump.nodes[0].client.ask_who(&lobby(), pump.now);
    pump.run_ms(200);
    let roster = |event: &ClientEvent| match event {
        ClientEvent::Roster { total, names, .. } => Some((*total, names.len())),
        _ => None,
    };
    assert_eq!(pump.nodes[0].events.iter().find_map(roster), Some((2, 2)));
    pump.nodes[bob].client.leave(pump.now);
    pump.run_ms(200);
    assert_eq!(pump.nodes[bob].end(), Some(&EndReason::Left));
    assert_eq!(pump.nodes[0].notices(), ["ada Joined", "cleo Joined"]);
    assert_eq!(
        pump.store.lines(&lobby()).count(),
        5,
        "bob is a member like the others"
    );
}

/// RUM-14, PRS-1: neither the goodbye nor the life of a quiet session says anything about an
/// account that is present from another one.
#[test]
fn a_quiet_session_neither_ends_nor_prolongs_a_presence() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[1].connected = false;
    pump.run_ms(70_000);
    let identity = pump.nodes[1].identity.clone();
    let key = pump.broker.public_key();
    let send = pump.add_known("bob", identity, Some(key));
    let options = JoinOptions {
        quiet: true,
        ..lobby().into()
    };
    pump.nodes[send].client.join(options, pump.now);
    pump.run_ms(500);
    pump.say(send, "from a script");
    pump.run_ms(500);
    pump.nodes[send].client.leave(pump.now);
    pump.run_ms(500);
    assert_eq!(pump.nodes[send].end(), Some(&EndReason::Left));
    assert_eq!(pump.heard(0), ["bob: from a script"]);
    assert_eq!(pump.broker.people(), 2, "bob is only out of contact");
    pump.run_ms(600_000);
    assert_eq!(pump.broker.people(), 1);
}

/// RUM-15.
#[test]
fn a_node_may_begin_at_a_line() {
    let mut pump = Pump::with(&["ada"]);
    for text in ["two", "three", "four"] {
        pump.say(0, text);
    }
    pump.run_ms(300);
    let mut heard_from = |name: &str, from| {
        let node = pump.add(name);
        let options = JoinOptions {
            from: Some(from),
            ..lobby().into()
        };
        pump.nodes[node].client.join(options, pump.now);
        pump.run_ms(500);
        pump.heard(node).len()
    };
    assert_eq!(heard_from("bob", 3), 2);
    assert_eq!(heard_from("cleo", 0), 3);
    assert_eq!(heard_from("dora", 1_000), 0);
}

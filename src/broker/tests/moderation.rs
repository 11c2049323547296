//! Roles, and what those who have one decide (SPEC.md section 9.7).

use super::*;
use crate::chat::{Decision, OPERATOR};

fn decision(text: &str) -> Decision {
    Decision::parse(text.as_bytes()).unwrap()
}

fn decide(pump: &mut Pump, node: usize, text: &str) {
    let typed_at_ms = EPOCH_MS + pump.now.as_millis();
    let client = &mut pump.nodes[node].client;
    client
        .decide(&lobby(), &decision(text), typed_at_ms, pump.now)
        .unwrap();
    pump.run_ms(300);
}

fn bodies(pump: &Pump, node: usize) -> Vec<String> {
    let lines = pump.nodes[node].events.iter();
    let decided = lines.filter_map(|event| match event {
        ClientEvent::Line { line, .. } if line.kind == Kind::Decision => {
            Some(format!("{}: {}", line.name, line.text()))
        }
        _ => None,
    });
    decided.collect()
}

fn refusals(pump: &Pump, node: usize) -> Vec<(Refusal, String)> {
    let events = pump.nodes[node].events.iter();
    let refused = events.filter_map(|event| match event {
        ClientEvent::NotStored { code, reason, .. } => Some((*code, reason.clone())),
        _ => None,
    });
    refused.collect()
}

fn removals(pump: &Pump, node: usize) -> Vec<(Refusal, String)> {
    let events = pump.nodes[node].events.iter();
    let removed = events.filter_map(|event| match event {
        ClientEvent::RoomLeft { removed, .. } => removed.clone(),
        ClientEvent::JoinRefused { code, reason, .. } => Some((*code, reason.clone())),
        _ => None,
    });
    removed.collect()
}

/// ROL-1, ROL-2, ROL-4, DLV-3: whoever made the room keeps order, and everybody sees it at the same
/// place.
#[test]
fn a_member_who_is_kicked_is_out_until_it_comes_anew() {
    let mut pump = Pump::with(&["ada", "bob", "cy"]);
    pump.say(1, "before");
    pump.run_ms(200);
    decide(&mut pump, 0, "kick bob");
    for node in [0, 2] {
        assert_eq!(bodies(&pump, node), ["ada: kick bob"]);
        assert_eq!(
            pump.nodes[node].notices().last().map(String::as_str),
            Some("bob Left")
        );
    }
    let out = (Refusal::Kicked, "kicked out of the room, by ada".to_owned());
    assert_eq!(removals(&pump, 1), [out]);
    assert_eq!(pump.broker.people(), 2);
    let typed = pump.nodes[1]
        .client
        .publish(&lobby(), b"still here?", 1, pump.now);
    assert!(typed.is_err());
    pump.say(2, "quiet now");
    pump.run_ms(300);
    assert_eq!(pump.heard(1), ["bob: before"]);

    // The one who comes back does so for all to see.
    pump.nodes[1].client.join(lobby().into(), pump.now);
    pump.run_ms(300);
    pump.say(1, "sorry");
    pump.run_ms(300);
    assert_eq!(
        pump.heard(0),
        ["bob: before", "cy: quiet now", "bob: sorry"]
    );
}

/// ROL-4: what has crossed the decision on its way is refused, and the node, which has forgotten the
/// room by then, is not told so: it would lose its link, and all its other rooms.
#[test]
fn who_is_kicked_while_it_writes_keeps_its_link() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let garden = RoomName::new("garden").unwrap();
    pump.nodes[1].client.join(garden.clone().into(), pump.now);
    pump.run_ms(300);
    pump.store_stalled = true;
    decide(&mut pump, 0, "kick bob");
    pump.say(1, "typed before it was known");
    pump.run_ms(300);
    pump.resume_store();
    pump.run_ms(1_000);
    assert_eq!(removals(&pump, 1).len(), 1);
    assert_eq!(refusals(&pump, 1).len(), 1);
    assert_eq!(pump.heard(0), [""; 0]);
    assert_eq!(pump.nodes[1].end(), None);
    pump.nodes[1]
        .client
        .publish(&garden, b"still here", 1, pump.now)
        .unwrap();
    pump.run_ms(300);
    assert_eq!(pump.heard(1), ["bob: still here"]);
}

/// PUB-10, DLV-6: what was stored before its author was cut off and kicked is not said to be lost; what
/// was typed after that is known to be.
#[test]
fn of_a_line_whose_answer_never_came_a_kick_leaves_open_whether_it_was_stored() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(1, "stored before the kick");
    pump.run_ms(LATENCY_MS + 1);
    pump.nodes[1].connected = false;
    pump.run_ms(30_000);
    pump.say(1, "typed while away");
    assert_eq!(pump.heard(0), ["bob: stored before the kick"]);
    decide(&mut pump, 0, "kick bob");
    pump.nodes[1].connected = true;
    pump.run_ms(30_000);
    let events = pump.nodes[1].events.iter();
    let doubts = events.filter_map(|event| match event {
        ClientEvent::NotStored { may_be_stored, .. } => Some(*may_be_stored),
        _ => None,
    });
    assert_eq!(doubts.collect::<Vec<_>>(), [true, false]);
}

/// ROL-4: a kick is not undone by having been away.
#[test]
fn who_was_away_when_it_was_kicked_does_not_resume() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[1].connected = false;
    pump.run_ms(1_000);
    decide(&mut pump, 0, "kick bob");
    pump.nodes[1].connected = true;
    pump.run_ms(30_000);
    assert_eq!(removals(&pump, 1).len(), 1);
    assert_eq!(pump.broker.people(), 1);
    pump.nodes[1].client.join(lobby().into(), pump.now);
    pump.run_ms(300);
    assert_eq!(pump.broker.people(), 2);
}

/// ROL-4.
#[test]
fn who_is_banned_stays_out_until_it_is_not() {
    let mut pump = Pump::with(&["ada", "bob"]);
    decide(&mut pump, 0, "ban Bob");
    pump.nodes[1].client.join(lobby().into(), pump.now);
    pump.run_ms(300);
    let codes: Vec<Refusal> = removals(&pump, 1).iter().map(|out| out.0).collect();
    assert_eq!(codes, [Refusal::Banned; 2]);
    assert_eq!(pump.broker.people(), 1);
    // The broker's process may end meanwhile.
    pump.crash_broker();
    pump.run_ms(15_000);
    decide(&mut pump, 0, "unban bob");
    pump.nodes[1].client.join(lobby().into(), pump.now);
    pump.run_ms(300);
    assert_eq!(pump.broker.people(), 2);
}

/// ROL-5: what a muted member types is refused, with the time that is left, and the rest goes on.
#[test]
fn who_is_muted_is_told_for_how_long() {
    let mut pump = Pump::with(&["ada", "bob"]);
    decide(&mut pump, 0, "mute 60 bob");
    pump.say(1, "hello?");
    pump.run_ms(300);
    let refused = refusals(&pump, 1);
    assert_eq!(refused[0].0, Refusal::Muted);
    assert!(
        refused[0].1.starts_with("muted in the room for another"),
        "{refused:?}"
    );
    pump.say(0, "listen");
    pump.run_ms(60_000);
    pump.say(1, "thanks");
    pump.run_ms(300);
    assert_eq!(pump.heard(1), ["ada: listen", "bob: thanks"]);
}

/// ROL-3: authority is looked at where the line is stored.
#[test]
fn who_has_no_role_decides_nothing_and_who_is_given_one_does() {
    let mut pump = Pump::with(&["ada", "bob", "cy"]);
    decide(&mut pump, 1, "kick cy");
    assert_eq!(refusals(&pump, 1)[0].0, Refusal::NotAllowed);
    decide(&mut pump, 0, "role moderator bob");
    decide(&mut pump, 1, "kick ada");
    assert_eq!(refusals(&pump, 1)[1].0, Refusal::NotAllowed);
    decide(&mut pump, 1, "kick nobody");
    assert_eq!(refusals(&pump, 1)[2].0, Refusal::NoSuchMember);
    decide(&mut pump, 1, "kick cy");
    assert_eq!(
        bodies(&pump, 0),
        ["ada: role moderator bob", "bob: kick cy"]
    );
    assert_eq!(removals(&pump, 2).len(), 1);
}

/// ROL-6: the operator is no member of any room, and above all of them.
#[test]
fn the_operator_decides_in_a_name_that_nobody_else_can_have() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.broker
        .decide(None, lobby(), decision("ban ada"), pump.now);
    pump.run_ms(300);
    assert_eq!(bodies(&pump, 1), ["SERVER: ban ada"]);
    assert_eq!(removals(&pump, 0)[0].0, Refusal::Banned);
    let by = pump.store.lines(&lobby()).last().map(|line| line.account);
    assert_eq!(by, Some(OPERATOR.0));
    // Who resumes later is told who decided, too.
    let cy = pump.add("cy");
    let options = JoinOptions {
        history: 10,
        ..lobby().into()
    };
    pump.nodes[cy].client.join(options, pump.now);
    pump.run_ms(300);
    assert_eq!(bodies(&pump, cy), ["SERVER: ban ada"]);
}

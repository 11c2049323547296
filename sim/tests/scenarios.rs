//! What the protocol promises, told as stories: each a few lines of what happens, on the real
//! machines in a simulated world. All checkers watch every story.

use std::time::Duration;

use sim::fate::Direction;
use sim::history::Observation;
use sim::plan::{Absence, Fault, Plan, Way};
use sim::world::{World, room_name};
use tertulia::broker::{BrokerEvent, RECENT_LINES_MAX};
use tertulia::chat::NoticeEvent;
use tertulia::client::{EndReason, PUBLISH_WINDOW};
use tertulia::time::Timestamp;

/// When everybody has come who comes at the beginning.
const ALL_THERE: Timestamp = Timestamp::from_millis(3_000);

/// A world in which everybody is in `room0`, 50 ms from the broker.
fn quiet(clients: usize) -> World {
    let mut world = World::new(Plan::quiet(1, clients));
    run(&mut world, 3);
    world
}

fn run(world: &mut World, seconds: u64) {
    world
        .run_for(Duration::from_secs(seconds))
        .expect("no rule is broken");
}

/// Everything outstanding must be settled now, on top of what the checkers ask.
fn finish(world: &mut World) {
    assert!(world.is_settled());
    world.finish().expect("no rule is broken");
}

fn say(world: &mut World, client: usize, text: &str) {
    world
        .say(client, &room_name(0), text.as_bytes())
        .expect("the node takes it");
}

const fn cut(client: usize) -> Fault {
    Fault::Cut {
        client,
        way: Way::Both,
        for_ms: 0,
    }
}

/// The messages that a client has been shown, as text.
fn shown(world: &World, client: usize) -> Vec<String> {
    let texts = world
        .record
        .observations
        .iter()
        .filter_map(|(_, o)| match o {
            Observation::Shown { life, line, .. } if life.client == client && line.n > 0 => {
                Some(line.text().into_owned())
            }
            _ => None,
        });
    texts.collect()
}

/// The notices about `name` that a client has been shown since all had come.
fn notices(world: &World, client: usize, name: &str) -> Vec<(Timestamp, NoticeEvent)> {
    let notices = world
        .record
        .observations
        .iter()
        .filter_map(|(at, o)| match o {
            Observation::Noticed(life, _, event, who)
                if life.client == client && who == name && *at > ALL_THERE =>
            {
                Some((*at, *event))
            }
            _ => None,
        });
    notices.collect()
}

/// The messages of the broker's present log.
fn stored(world: &World) -> Vec<String> {
    let room = room_name(0);
    let lines = world.store.memory().lines(&room);
    lines
        .filter(|line| line.n > 0)
        .map(|line| line.text().into_owned())
        .collect()
}

/// The pattern bytes of the HELLOs that a client has sent, without repetitions (HSD-2).
fn patterns(world: &World, client: usize) -> Vec<u8> {
    let captured = world.net.captured.as_deref().unwrap_or_default();
    let sent = captured
        .iter()
        .filter(|c| c.client == client && c.direction == Direction::Up);
    let mut patterns: Vec<u8> = sent
        .filter(|c| c.datagram.bytes.first() == Some(&1))
        .map(|c| c.datagram.bytes[2])
        .collect();
    patterns.dedup();
    patterns
}

/// RUM-10, PUB-7, DLV-2.
#[test]
fn lines_typed_while_the_broker_lost_its_log_are_stored_once_in_the_new_one() {
    let mut world = quiet(2);
    say(&mut world, 0, "into the old log");
    run(&mut world, 2);
    world.apply(&cut(0), true);
    say(&mut world, 0, "waiting one");
    say(&mut world, 0, "waiting two");
    world.restart_broker();
    say(&mut world, 0, "waiting three");
    run(&mut world, 10);
    world.apply(&cut(0), false);
    run(&mut world, 60);
    let waited = ["waiting one", "waiting two", "waiting three"];
    assert_eq!(stored(&world), waited);
    let forks = |client| {
        let all = world.record.observations.iter();
        all.filter(|(_, o)| matches!(o, Observation::Fork(life, _) if life.client == client))
            .count()
    };
    assert_eq!((forks(0), forks(1)), (1, 1));
    for client in [0, 1] {
        let shown = shown(&world, client);
        assert!(shown.ends_with(&waited.map(str::to_owned)), "{shown:?}");
    }
    finish(&mut world);
}

/// SGN-4, DLV-7.
#[test]
fn a_node_that_dies_and_returns_makes_neither_joined_nor_left() {
    let mut world = quiet(2);
    world.stop_node(0);
    run(&mut world, 20);
    world.start_node(0);
    run(&mut world, 60);
    assert_eq!(notices(&world, 1, "node0"), []);
    let left = |e: &BrokerEvent| matches!(e, BrokerEvent::Left { .. });
    assert!(!world.broker_events.iter().any(|(_, event)| left(event)));
    assert_eq!(world.broker.people(), 2);
    assert_eq!(world.broker.link_counts(), (2, 0), "the older link is gone");
    finish(&mut world);
}

/// SGN-4.
#[test]
fn a_device_that_signs_in_elsewhere_replaces_itself_unnoticed() {
    let mut plan = Plan::quiet(1, 3);
    plan.topology.clients[2].clear();
    let mut world = World::new(plan);
    run(&mut world, 3);
    world.share_device(2, 0);
    world.start_node(2);
    run(&mut world, 10);
    let replaced = |o: &Observation| matches!(o, Observation::Ended(life, EndReason::Replaced) if life.client == 0);
    assert!(world.record.observations.iter().any(|(_, o)| replaced(o)));
    assert_eq!(notices(&world, 1, "node0"), []);
    assert_eq!(world.broker.people(), 2);
}

/// DLV-7, LIF-2, KEY-3.
#[test]
fn a_node_whose_address_changes_goes_on_without_a_word_to_anybody() {
    for dead_secs in [0, 2, 20] {
        let mut world = quiet(2);
        let fault = Fault::NewAddress {
            client: 0,
            dead_ms: dead_secs * 1000,
        };
        world.apply(&fault, true);
        say(&mut world, 0, "typed while away");
        run(&mut world, dead_secs);
        world.apply(&fault, false);
        say(&mut world, 1, "welcome back");
        run(&mut world, 30);
        assert_eq!(notices(&world, 1, "node0"), []);
        assert_eq!(shown(&world, 0), shown(&world, 1));
        assert_eq!(shown(&world, 0).len(), 2);
        finish(&mut world);
    }
}

/// PRS-1, LIF-2.
#[test]
fn a_node_that_dies_has_left_by_time_out_after_its_grace_and_not_before() {
    let mut plan = Plan::quiet(1, 2);
    plan.grace_ms = 60_000;
    let mut world = World::new(plan);
    run(&mut world, 10);
    world.stop_node(0);
    run(&mut world, 120);
    let notices = notices(&world, 1, "node0");
    let [(at, NoticeEvent::TimedOut)] = notices[..] else {
        panic!("{notices:?}");
    };
    // It was last heard between its joining and its death; the notice takes a moment.
    let seconds = at.as_millis() as f64 / 1000.0;
    assert!((60.0..70.5).contains(&seconds), "{seconds}");
    assert_eq!(world.broker.people(), 1);
    finish(&mut world);
}

/// BRK-2, RUM-9, LIM-5, DLV-1.
#[test]
fn a_member_that_has_missed_more_than_the_feed_keeps_gets_every_line_from_the_store() {
    let mut world = quiet(3);
    world.apply(&cut(1), true);
    let missed = RECENT_LINES_MAX + 500;
    for line in 0..missed {
        say(&mut world, 0, &format!("line {line}"));
    }
    run(&mut world, 30);
    assert_eq!(stored(&world).len(), missed);
    world.apply(&cut(1), false);
    run(&mut world, 60);
    assert_eq!(shown(&world, 1).len(), missed);
    assert_eq!(shown(&world, 1), shown(&world, 2));
    assert_eq!(notices(&world, 2, "node1"), []);
    finish(&mut world);
}

/// RUM-9: lines go on being stored while the newcomer catches up.
#[test]
fn a_newcomer_with_history_gets_the_past_and_the_present_without_a_seam() {
    let mut plan = Plan::quiet(1, 3);
    plan.topology.history = 100_000;
    plan.store_ms = 20;
    plan.faults = vec![(
        0,
        Fault::Die {
            client: 1,
            back_after_ms: Some(20_000),
        },
    )];
    let mut world = World::new(plan);
    run(&mut world, 3);
    for line in 0..2000 {
        say(&mut world, 0, &format!("past {line}"));
        if line % 100 == 99 {
            run(&mut world, 1);
        }
    }
    for line in 0..100 {
        say(&mut world, 0, &format!("present {line}"));
        world
            .run_for(Duration::from_millis(50))
            .expect("no rule is broken");
    }
    run(&mut world, 60);
    assert_eq!(shown(&world, 1).len(), 2100);
    finish(&mut world);
}

/// DLV-2, PUB-1: what makes a line the same is its number, not its text.
#[test]
fn the_same_text_typed_three_times_is_shown_three_times() {
    let mut plan = Plan::quiet(5, 2);
    plan.rates.loss_permille = 300;
    plan.rates.duplicate_permille = 300;
    let mut world = World::new(plan);
    run(&mut world, 10);
    for _ in 0..3 {
        say(&mut world, 0, "knock");
    }
    run(&mut world, 30);
    assert_eq!(shown(&world, 1), ["knock"; 3]);
    assert_eq!(shown(&world, 0), ["knock"; 3]);
    finish(&mut world);
}

/// What somebody could notice from outside.
fn state(world: &World) -> (Vec<String>, usize, Vec<Vec<String>>, usize, usize) {
    let shown = (0..world.nodes.len()).map(|client| shown(world, client));
    (
        stored(world),
        world.broker.people(),
        shown.collect(),
        world.broker.link_counts().0,
        world.broker_events.len(),
    )
}

/// KEY-2, SEC-7, SEC-11: by the same broker.
#[test]
fn everything_ever_sent_sent_again_changes_nothing() {
    let mut world = World::new(Plan::quiet(1, 2));
    world.net.captured = Some(Vec::new());
    run(&mut world, 3);
    say(&mut world, 0, "only once");
    say(&mut world, 1, "me too");
    run(&mut world, 5);
    let before = state(&world);
    let captured = world.net.captured.take().unwrap_or_default();
    assert!(captured.len() > 20);
    for _ in 0..2 {
        for old in &captured {
            world.deliver(old.datagram.clone());
        }
    }
    run(&mut world, 60);
    assert_eq!(state(&world), before);
    assert!(world.client(0).is_online() && world.client(1).is_online());
    finish(&mut world);
}

/// KEY-2, SEC-7: by the broker's next incarnation, which has the same key.
#[test]
fn everything_ever_sent_to_a_broker_means_nothing_to_its_next_incarnation() {
    let mut world = World::new(Plan::quiet(1, 2));
    world.net.captured = Some(Vec::new());
    run(&mut world, 3);
    say(&mut world, 0, "only once");
    run(&mut world, 5);
    let captured = world.net.captured.take().unwrap_or_default();
    world.stop_node(0);
    world.stop_node(1);
    world.restart_broker();
    let before = state(&world);
    for old in &captured {
        world.deliver(old.datagram.clone());
    }
    run(&mut world, 60);
    assert_eq!(state(&world), before);
    assert_eq!(
        (world.broker.people(), world.broker.link_counts()),
        (0, (0, 0))
    );
    assert!(stored(&world).is_empty());
}

/// SEC-9, SEC-1.
#[test]
fn a_node_learns_the_brokers_key_once_and_insists_on_it_from_then_on() {
    let mut world = World::new(Plan::quiet(1, 1));
    world.net.captured = Some(Vec::new());
    run(&mut world, 3);
    assert_eq!(patterns(&world, 0), [0], "XX");
    world.apply(&cut(0), true);
    say(&mut world, 0, "hello?");
    run(&mut world, 6);
    world.apply(&cut(0), false);
    run(&mut world, 10);
    assert_eq!(patterns(&world, 0)[..2], [0, 1], "then IK");
    world.stop_node(0);
    world.net.captured = Some(Vec::new());
    world.start_node(0);
    run(&mut world, 3);
    assert_eq!(patterns(&world, 0), [1], "IK");
    finish(&mut world);
}

/// SEC-8.
#[test]
fn a_broker_with_another_key_stops_the_node_for_good() {
    let mut world = quiet(1);
    let known = world.broker.public_key();
    world.change_broker_key();
    world.restart_broker();
    say(&mut world, 0, "not for a stranger");
    let violation = world
        .run_for(Duration::from_secs(60))
        .expect_err("the node ends");
    assert_eq!(violation.checker, "no_broken_rules");
    let ended = world.record.observations.iter().find_map(|(_, o)| match o {
        Observation::Ended(_, reason) => Some(reason.clone()),
        _ => None,
    });
    let shown = world.broker.public_key();
    assert_eq!(ended, Some(EndReason::KeyChanged { known, shown }));
    assert_eq!(world.broker.link_counts().0, 0);
    assert!(stored(&world).is_empty());
}

/// BRK-1, DLV-6.
#[test]
fn a_line_is_shown_to_nobody_and_called_stored_by_nobody_while_the_store_has_it() {
    let mut world = quiet(2);
    let slow = Fault::SlowStore {
        by_ms: 8_000,
        for_ms: 0,
    };
    world.apply(&slow, true);
    say(&mut world, 0, "patience");
    run(&mut world, 8);
    let is_told = |o: &Observation| match o {
        Observation::Shown { line, .. } => line.n > 0,
        Observation::Stored(..) => true,
        _ => false,
    };
    assert!(!world.record.observations.iter().any(|(_, o)| is_told(o)));
    run(&mut world, 1);
    assert_eq!(shown(&world, 0), ["patience"]);
    assert_eq!(shown(&world, 1), ["patience"]);
    finish(&mut world);
}

/// BRK-5, PUB-4, DLV-4.
#[test]
fn while_the_store_fails_nodes_try_again_until_every_line_is_stored_in_order() {
    let mut world = quiet(2);
    let failing = Fault::FailingStore {
        permille: 1000,
        for_ms: 0,
    };
    world.apply(&failing, true);
    let texts = ["one", "two", "three", "four", "five"];
    for text in texts {
        say(&mut world, 0, text);
    }
    run(&mut world, 5);
    assert!(stored(&world).is_empty() && shown(&world, 1).is_empty());
    world.apply(&failing, false);
    run(&mut world, 2);
    assert_eq!(stored(&world), texts);
    assert_eq!(shown(&world, 1), texts);
    finish(&mut world);
}

/// BRK-5: somebody who comes while the store fails gets in when it works again.
#[test]
fn while_the_store_fails_nobody_gets_in_and_afterwards_everybody_does() {
    let mut world = World::new(Plan::quiet(1, 3));
    let failing = Fault::FailingStore {
        permille: 1000,
        for_ms: 0,
    };
    world.apply(&failing, true);
    run(&mut world, 10);
    assert_eq!(world.broker.people(), 0);
    world.apply(&failing, false);
    run(&mut world, 3);
    assert_eq!(world.broker.people(), 3);
    finish(&mut world);
}

/// BRK-5: the store fails just when lines have to be read from it.
#[test]
fn a_member_that_catches_up_survives_a_store_that_fails() {
    let mut world = quiet(2);
    world.apply(&cut(1), true);
    for line in 0..2000 {
        say(&mut world, 0, &format!("line {line}"));
    }
    run(&mut world, 30);
    let failing = Fault::FailingStore {
        permille: 700,
        for_ms: 0,
    };
    world.apply(&failing, true);
    world.apply(&cut(1), false);
    run(&mut world, 30);
    world.apply(&failing, false);
    run(&mut world, 30);
    assert_eq!(shown(&world, 1).len(), 2000);
    finish(&mut world);
}

/// What a client is shown of lines and notices, in order.
fn conversation(world: &World, client: usize) -> Vec<String> {
    let items = world
        .record
        .observations
        .iter()
        .filter_map(|(_, o)| match o {
            Observation::Shown { life, line, .. } if life.client == client => {
                Some(format!("{} {}", line.seq, line.text()))
            }
            Observation::Noticed(life, _, event, who) if life.client == client => {
                Some(format!("{who} {event:?}"))
            }
            _ => None,
        });
    items.collect()
}

/// PRS-2.
#[test]
fn notices_take_the_same_place_among_the_lines_for_everybody() {
    let mut plan = Plan::quiet(3, 6);
    plan.rates.loss_permille = 200;
    plan.rates.jitter_ms = 60;
    for client in 2..6 {
        let after = 2_000 * client as u64;
        let away = Fault::Die {
            client,
            back_after_ms: Some(after),
        };
        plan.faults.push((0, away));
    }
    let mut world = World::new(plan);
    for line in 0..100 {
        say(&mut world, line % 2, &format!("line {line}"));
        world
            .run_for(Duration::from_millis(200))
            .expect("no rule is broken");
        if line == 80 {
            world.leave(5);
        }
    }
    run(&mut world, 30);
    let conversations: Vec<Vec<String>> = (0..5).map(|c| conversation(&world, c)).collect();
    let longest = conversations.iter().max_by_key(|c| c.len()).expect("five");
    assert!(
        longest
            .iter()
            .filter(|item| item.ends_with("Joined"))
            .count()
            >= 5
    );
    assert!(longest.contains(&"node5 Left".to_owned()), "{longest:?}");
    for conversation in &conversations {
        // From one's own notice on; what came before it is not for the newcomer.
        let from = conversation
            .iter()
            .position(|item| item.ends_with("Joined"))
            .expect("one's own");
        assert!(
            longest.ends_with(&conversation[from..]),
            "{conversation:?} of {longest:?}"
        );
    }
    finish(&mut world);
}

/// SGN-5, NOD-4.
#[test]
fn who_leaves_out_of_contact_stays_until_everything_is_stored() {
    let mut world = quiet(2);
    world.apply(&cut(0), true);
    say(&mut world, 0, "my last words");
    world.leave(0);
    run(&mut world, 20);
    assert!(world.nodes[0].running.is_some());
    world.apply(&cut(0), false);
    run(&mut world, 20);
    assert!(world.nodes[0].running.is_none());
    assert_eq!(shown(&world, 1), ["my last words"]);
    let notices = notices(&world, 1, "node0");
    assert_eq!(
        notices.last().map(|(_, event)| *event),
        Some(NoticeEvent::Left)
    );
    finish(&mut world);
}

/// SEC-3, PKT-5: nothing that people write or are called can be read on the way.
#[test]
fn no_datagram_shows_a_name_a_room_or_a_text() {
    let mut world = World::new(Plan::quiet(1, 3));
    world.net.captured = Some(Vec::new());
    run(&mut world, 3);
    for line in 0..20 {
        say(&mut world, line % 3, "a most confidential remark");
    }
    run(&mut world, 3);
    world.apply(&cut(1), true);
    run(&mut world, 25);
    world.apply(&cut(1), false);
    run(&mut world, 30);
    let captured = world.net.captured.take().unwrap_or_default();
    assert!(captured.len() > 100);
    for secret in ["node0", "node1", "node2", "room0", "confidential"] {
        let is_shown = |bytes: &[u8]| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(
            !captured.iter().any(|c| is_shown(&c.datagram.bytes)),
            "{secret}"
        );
    }
    finish(&mut world);
}

/// PUB-8, PUB-2: one failure in a full window leaves gaps behind it, and each of them is answered.
/// Taking each answer for news had the whole window sent again for every one of them.
#[test]
fn a_store_that_is_slow_and_fails_is_not_flooded_with_repetitions() {
    let mut plan = Plan::quiet(11, 2);
    plan.store_ms = 20;
    let mut world = World::new(plan);
    run(&mut world, 3);
    let failing = Fault::FailingStore {
        permille: 100,
        for_ms: 0,
    };
    let slow = Fault::SlowStore {
        by_ms: 2_000,
        for_ms: 0,
    };
    world.apply(&slow, true);
    world.apply(&failing, true);
    for line in 0..200 {
        say(&mut world, 0, &format!("line {line}"));
    }
    for _ in 0..300 {
        world
            .run_for(Duration::from_millis(100))
            .expect("no rule is broken");
        // A window of the one who talks, and whatever else there is to ask.
        assert!(
            world.store.pending() <= PUBLISH_WINDOW + 2,
            "{}",
            world.store.pending()
        );
    }
    world.apply(&slow, false);
    world.apply(&failing, false);
    run(&mut world, 30);
    assert_eq!(shown(&world, 1).len(), 200);
    finish(&mut world);
}

/// BRK-3, BRK-5: a store that fails at once was asked again at once, for ever.
#[test]
fn a_store_that_fails_reads_at_once_does_not_keep_the_broker_spinning() {
    let mut plan = Plan::quiet(12, 2);
    plan.store_ms = 0;
    let mut world = World::new(plan);
    run(&mut world, 3);
    world.apply(&cut(1), true);
    for line in 0..RECENT_LINES_MAX + 500 {
        say(&mut world, 0, &format!("line {line}"));
    }
    run(&mut world, 30);
    let failing = Fault::FailingStore {
        permille: 1000,
        for_ms: 0,
    };
    world.apply(&cut(1), false);
    while shown(&world, 1).is_empty() {
        world
            .run_for(Duration::from_millis(10))
            .expect("no rule is broken");
    }
    world.apply(&failing, true);
    run(&mut world, 10);
    assert!(shown(&world, 1).len() < RECENT_LINES_MAX);
    world.apply(&failing, false);
    run(&mut world, 30);
    assert_eq!(shown(&world, 1).len(), RECENT_LINES_MAX + 500);
    finish(&mut world);
}

/// BRK-5, DLV-8: each attempt uses up a channel, and there are 63 of them.
#[test]
fn a_node_that_was_put_off_more_often_than_there_are_channels_still_gets_in() {
    let mut world = World::new(Plan::quiet(13, 2));
    while !world.client(0).is_online() {
        world
            .run_for(Duration::from_millis(1))
            .expect("no rule is broken");
    }
    let failing = Fault::FailingStore {
        permille: 1000,
        for_ms: 0,
    };
    world.apply(&failing, true);
    run(&mut world, 90);
    world.apply(&failing, false);
    run(&mut world, 10);
    assert_eq!(world.broker.people(), 2);
    finish(&mut world);
}

/// BRK-3: with nobody far away, asking again at once is asking thousands of times a second.
#[test]
fn while_the_store_fails_signing_in_is_tried_now_and_then() {
    let mut plan = Plan::quiet(14, 1);
    plan.rates.latency_ms = 0;
    plan.store_ms = 0;
    let mut world = World::new(plan);
    let failing = Fault::FailingStore {
        permille: 1000,
        for_ms: 0,
    };
    world.apply(&failing, true);
    run(&mut world, 10);
    assert!(world.net.fates.sent < 200, "{:?}", world.net.fates);
    world.apply(&failing, false);
    run(&mut world, 3);
    assert_eq!(world.broker.people(), 1);
    finish(&mut world);
}

/// NOD-1, RUM-12: the journal may be slow; what it has to do yet comes before the farewell.
#[test]
fn a_node_is_out_of_a_room_only_after_every_line_that_came_before() {
    let mut plan = Plan::quiet(1, 2);
    plan.journal_ms = 500;
    plan.absences = vec![Absence {
        client: 0,
        room: 0,
        at_ms: 3_700,
        for_ms: 2_000,
    }];
    let mut world = World::new(plan);
    run(&mut world, 3);
    for text in ["one", "two", "three"] {
        say(&mut world, 1, text);
    }
    run(&mut world, 20);
    let is_out = |o: &Observation| matches!(o, Observation::RoomLeft(..));
    let all = &world.record.observations;
    let out = all.iter().position(|(_, o)| is_out(o)).expect("it left");
    let lines = all[..out].iter().filter(|(_, o)| {
        matches!(o, Observation::Shown { life, line, .. } if life.client == 0 && line.n > 0)
    });
    assert_eq!(lines.count(), 3);
    finish(&mut world);
}

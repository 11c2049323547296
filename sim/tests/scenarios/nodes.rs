//! Of nodes that come, go, move and are told the truth.

use super::*;

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
    world.kill_node(0);
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

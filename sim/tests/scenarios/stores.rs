//! Of stores and journals that are slow or fail, and of leaving.

use super::*;

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
        let under_way = world.store.publications();
        assert!(under_way <= PUBLISH_WINDOW, "{under_way}");
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

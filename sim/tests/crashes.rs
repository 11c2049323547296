//! A short conversation, with a crash at every single event of it.

use std::time::Duration;

use sim::plan::{Plan, Talk};
use sim::run::for_each_seed;
use sim::world::World;
use tertulia::time::Timestamp;

/// How much of what its store was asked is done when a broker crashes, in thousandths.
const COMMITS: [u64; 3] = [0, 500, 1_000];
/// When everything is over.
const END: Timestamp = Timestamp::from_millis(20_000);

/// Two people come in and say four lines each, over a network that loses a little, with a store and
/// journals that take their time: so that a crash finds something under way.
fn conversation() -> Plan {
    let mut plan = Plan::quiet(3, 2);
    plan.rates.latency_ms = 5;
    plan.rates.loss_permille = 50;
    plan.rates.duplicate_permille = 50;
    plan.rates.duplicate_later_ms = 400;
    (plan.store_ms, plan.journal_ms) = (4, 3);
    plan.workload = (0..2)
        .map(|client| Talk {
            client,
            room: 0,
            from_ms: 40,
            every_ms: 9,
            lines: 4,
            len: 30,
            is_monotonous: client == 1,
        })
        .collect();
    plan
}

/// How many events the conversation takes, without a crash.
fn events() -> u64 {
    let mut world = World::new(conversation());
    let mut events = 0;
    while world.lines().0 < 8 || !world.is_settled() {
        world.step(END).expect("no rule is broken");
        events += 1;
    }
    events
}

/// Runs the conversation up to its `event`th event, lets `crash` do its work, and demands that all
/// is well in the end.
fn with_crash(event: u64, crash: impl Fn(&mut World), back: impl Fn(&mut World)) {
    let mut world = World::new(conversation());
    let mut run = || {
        for _ in 0..event {
            world.step(END)?;
        }
        crash(&mut world);
        world.run_for(Duration::from_millis(100))?;
        back(&mut world);
        world.run_until(END)?;
        world.finish()
    };
    if let Err(violation) = run() {
        panic!("after event {event}: {violation:?}");
    }
    assert!(world.is_settled(), "after event {event}");
}

/// DLV-1 to DLV-6, BRK-1, PUB-2: whatever the broker was about to do (append, answer, deliver),
/// and however much of it its disk has.
#[test]
fn a_broker_may_crash_at_any_event() {
    let events = events();
    assert!(events > 100, "{events}");
    for_each_seed(0..events, |event| {
        for commits in COMMITS {
            with_crash(
                event,
                |world| world.crash_broker(commits),
                World::reopen_broker,
            );
        }
    });
    println!("{events} events, {} crashes", events * COMMITS.len() as u64);
}

/// JRN-1, NOD-1, NOD-2: whatever a node was about to do, it goes on from its journal.
#[test]
fn a_node_may_be_killed_at_any_event() {
    for_each_seed(0..events(), |event| {
        for client in 0..2 {
            with_crash(
                event,
                |world| world.kill_node(client),
                |world| world.start_node(client),
            );
        }
    });
}

/// JRN-1, DLV-2: both at once, and both a second time before all is well.
#[test]
fn everything_may_crash_together_and_again() {
    let crash = |world: &mut World| {
        world.crash_broker(500);
        world.kill_node(0);
        world.kill_node(1);
    };
    let back = |world: &mut World| {
        world.reopen_broker();
        world.start_node(0);
        world.start_node(1);
    };
    for_each_seed(0..events(), |event| {
        with_crash(event, crash, |world| {
            back(world);
            let broken = world.run_for(Duration::from_millis(event % 300));
            broken.unwrap_or_else(|violation| panic!("after event {event}: {violation:?}"));
            crash(world);
            back(world);
        });
    });
}

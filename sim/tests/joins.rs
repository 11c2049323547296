//! How long it takes to get in, when every third datagram is lost.

use std::time::Duration;

use sim::history::{Life, Observation};
use sim::plan::Plan;
use sim::run::for_each_seed;
use sim::world::World;
use tertulia::time::Timestamp;

/// How many joins are measured.
const JOINS: u64 = 1_000;

/// One node, 50 ms from the broker, through 30 % loss in each direction.
fn lossy(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 1);
    plan.rates.loss_permille = 300;
    plan
}

/// Runs until the node is in its room, and says how long that took from `since` on.
fn time_to_join(world: &mut World, life: usize, since: Timestamp) -> Duration {
    let life = Life { client: 0, life };
    let end = since + Duration::from_secs(600);
    loop {
        let joined = |o: &Observation| matches!(o, Observation::Joined(who, _) if *who == life);
        if world
            .record
            .observations
            .iter()
            .any(|(_, observation)| joined(observation))
        {
            return world.now().saturating_since(since);
        }
        assert!(world.now() < end, "not in after ten minutes");
        world.step(end).expect("no rule is broken");
    }
}

fn report(what: &str, times: Vec<(u64, Duration)>) {
    let mut times: Vec<Duration> = times.into_iter().map(|(_, time)| time).collect();
    times.sort_unstable();
    let at = |permille: usize| times[(times.len() * permille).div_ceil(1000) - 1];
    println!(
        "{what}: p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, max {:.2?}",
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    assert!(at(999) < Duration::from_secs(10), "{:?}", at(999));
}

/// SEC-5, SEC-6, DLV-8.
#[test]
fn a_stranger_is_in_within_ten_seconds_at_30_percent_loss() {
    let times = for_each_seed(0..JOINS, |seed| {
        let mut world = World::new(lossy(seed));
        time_to_join(&mut world, 0, Timestamp::ZERO)
    });
    report("first contact (XX)", times);
}

/// SEC-5, SEC-6, SEC-9, DLV-8.
#[test]
fn an_old_acquaintance_is_in_within_ten_seconds_at_30_percent_loss() {
    let times = for_each_seed(0..JOINS, |seed| {
        let mut world = World::new(lossy(seed));
        let _ = time_to_join(&mut world, 0, Timestamp::ZERO);
        world.stop_node(0);
        let since = world.now();
        world.start_node(0);
        time_to_join(&mut world, 1, since)
    });
    report("known broker (IK)", times);
}

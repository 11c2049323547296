//! Attackers by themselves, many and for long; those of drawn plans are in `seeds.rs`.

use std::collections::BTreeMap;

use sim::attack::Acks;
use sim::fate::Dice;
use sim::history::Observation;
use sim::plan::{Attacker, Lie, Plan, Talk, Trick, Who};
use sim::run::{for_each_seed, run, seeds_of_environment};
use sim::world::World;
use tertulia::mutant::{self, Mutant};
use tertulia::situation::Situation;

/// How many malicious brokers: so many for each thing that they lie about, and for all at once.
const BROKERS: u64 = 11 * 20;

/// A node whose broker lies about whatever the seed says, and nobody else.
fn lied_to(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 0);
    let lies = match seed % 11 {
        10 => Lie::ALL.to_vec(),
        index => vec![Lie::ALL[index as usize]],
    };
    plan.attackers = vec![Attacker {
        from_ms: 0,
        for_ms: 60_000,
        who: Who::Broker { lies },
    }];
    plan
}

/// THR-15: whatever a broker says, a node does not crash, does not grow, loses nothing of its outbox,
/// and shows nothing that breaks the contract without saying so.
#[test]
fn a_lying_broker_fools_no_node() {
    let outcomes = for_each_seed(0..BROKERS, |seed| run(&lied_to(seed), None));
    let mut broken = BTreeMap::<String, (u64, u64)>::new();
    for (seed, outcome) in outcomes {
        if let Some(violation) = outcome.violation {
            let what = format!("{}: {}", violation.checker, violation.detail);
            let what = what
                .split(|c: char| c.is_ascii_digit())
                .collect::<Vec<_>>()
                .join("#");
            broken
                .entry(what.chars().take(60).collect())
                .or_insert((seed, 0))
                .1 += 1;
        }
    }
    for (what, (seed, times)) in &broken {
        println!("{times} times, first by seed {seed}: {what}");
    }
    assert!(broken.is_empty());
}

/// How many drawn plans are run with nothing in them but their attackers.
const ATTACKED: u64 = 500;
/// And to how many people a line must have been shown in each, on the average, for the runs to say
/// anything.
const SHOWN_EACH: u64 = 10;

/// THR-11: in every drawn plan, what honest nodes say while members keep to no rule is shown to the
/// others soon.
#[test]
fn in_drawn_plans_attackers_alone_delay_nobody() {
    let seeds = seeds_of_environment(ATTACKED);
    let plans = seeds.end - seeds.start;
    let outcomes = for_each_seed(seeds, |seed| {
        run(&Plan::draw(seed).with_attackers_alone(), None)
    });
    let mut shown = 0;
    let mut broken = Vec::new();
    for (seed, outcome) in outcomes {
        broken.extend(outcome.violation.map(|violation| (seed, violation)));
        shown += outcome.met[Situation::ShownWhileAttacked as usize];
    }
    println!("{plans} plans: shown in time while somebody attacked: {shown}");
    assert_eq!(broken, []);
    assert!(shown >= plans * SHOWN_EACH);
}

/// Three people who talk in a room, each every half a second, from 50 ms away.
fn talking(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 3);
    plan.workload = (0..3)
        .map(|client| Talk {
            client,
            room: 0,
            from_ms: 2_000 + 100 * client as u64,
            every_ms: 500,
            lines: 40,
            len: 60,
            is_monotonous: false,
        })
        .collect();
    plan
}

/// The same with two members in the room that keep to no rule, from 3 s on and to the end.
fn attacked(seed: u64) -> Plan {
    let mut plan = talking(seed);
    let mut dice = Dice::new(seed);
    for _ in 0..2 {
        let acks = Acks::ALL[dice.range(0, 5) as usize];
        let mut tricks = Trick::ALL.to_vec();
        tricks.retain(|_| dice.chance(500));
        plan.attackers.push(Attacker {
            from_ms: 3_000,
            for_ms: 20_000,
            who: Who::Member {
                room: 0,
                acks,
                tricks,
            },
        });
    }
    plan
}

/// How long each line took from when it was typed to when another client showed it, in ms, sorted.
fn latencies(plan: Plan, mutant: Option<Mutant>) -> Vec<u64> {
    mutant::activate(mutant);
    let mut world = World::new(plan);
    let ran = world.run();
    mutant::activate(None);
    assert_eq!(ran, Ok(()), "seed {}", world.plan.seed);
    let mut typed = BTreeMap::new();
    let mut took = Vec::new();
    for (at, observation) in &world.record.observations {
        match observation {
            Observation::Typed(line) => {
                let account = world.record.history.keys[line.life.client].0;
                typed.insert((account, line.typed_at_ms), (*at, line.life.client));
            }
            Observation::Shown { life, line, .. } => {
                let typed = typed.get(&(line.account, line.typed_at_ms));
                if let Some((since, client)) = typed
                    && *client != life.client
                {
                    took.push(at.saturating_since(*since).as_millis() as u64);
                }
            }
            _ => {}
        }
    }
    took.sort_unstable();
    took
}

/// The first of them does nothing but to publish.
fn flooded(seed: u64) -> Plan {
    let mut plan = attacked(seed);
    plan.attackers[0].who = Who::Member {
        room: 0,
        acks: Acks::Honest,
        tricks: vec![Trick::Flood],
    };
    plan
}

/// How many plans latencies are compared in.
const COMPARED: u64 = 40;
/// And in how many with a broker that is to be caught.
const STARVED: u64 = 4;

/// The latency under which so many of a hundred stay, over all plans.
fn percentile(all: &[u64], percent: usize) -> u64 {
    all[(all.len() - 1) * percent / 100]
}

fn latencies_of_all(
    plan: impl Fn(u64) -> Plan + Sync,
    mutant: Option<Mutant>,
    seeds: u64,
) -> Vec<u64> {
    let each = for_each_seed(0..seeds, |seed| latencies(plan(seed), mutant));
    let mut all: Vec<u64> = each.into_iter().flat_map(|(_, took)| took).collect();
    all.sort_unstable();
    all
}

/// THR-11: what members do that keep to no rule delays nobody's lines by more than the store's one
/// queue does, in which theirs stand, too.
#[test]
fn hostile_members_delay_honest_lines_by_little() {
    let quiet = latencies_of_all(talking, None, COMPARED);
    let attacked = latencies_of_all(attacked, None, COMPARED);
    for percent in [50, 90, 99, 100] {
        println!(
            "{percent} %: {} ms quiet, {} ms attacked",
            percentile(&quiet, percent),
            percentile(&attacked, percent)
        );
    }
    assert_eq!(quiet.len(), attacked.len(), "nothing is lost");
    assert!(is_little(&quiet, &attacked));
    // The comparison can fail: a broker that has no limit to what one member publishes at a time.
    let mutant = Some(Mutant::EndlessPublishing);
    let starved = latencies_of_all(flooded, mutant, STARVED);
    println!(
        "without a limit: 99 % {} ms, 100 % {} ms",
        percentile(&starved, 99),
        percentile(&starved, 100)
    );
    assert!(!is_little(&quiet, &starved));
}

/// What one line may wait for at most because of others: that it is sent again when the store has
/// been too busy (PUB-4), and the publications that a broker bears of a member (PUB-8), at 1 ms each.
const SLOWER_MAX_MS: u64 = 500 + 256;

/// Of a hundred lines, 99 take a tenth longer at most; and none much longer.
fn is_little(quiet: &[u64], attacked: &[u64]) -> bool {
    let at = |all, percent| percentile(all, percent);
    at(attacked, 99) * 10 <= at(quiet, 99) * 11
        && at(attacked, 100) <= at(quiet, 100) + SLOWER_MAX_MS
}

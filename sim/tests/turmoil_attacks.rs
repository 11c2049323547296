//! The plans' attackers with the real drivers: their members behind sockets, and their brokers' victims
//! with drivers of their own.

use sim::attack::Acks;
use sim::plan::{Attacker, Lie, Plan, Trick, Who};
use sim::run::{first_seed, for_each_seed, seeds_of_environment};
use sim::turmoil_world::run;
use tertulia::mutant::Mutant;
use tertulia::situation::Situation;

/// How many drawn plans run with nothing in them but their attackers.
const ATTACKED: u64 = 40;
/// And to how many people a line must have been shown in each, on the average, for the runs to say
/// anything.
const SHOWN_EACH: u64 = 5;

/// In how many drawn plans somebody is looked for who bears too much.
const SEEDS: u64 = 10;

/// THR-11, THR-12, THR-15: what attackers do that speak to the machines over drawn plans, they do to
/// what people run, too; and it delays nobody, fools nobody, and no lie is believed.
#[test]
fn attackers_of_drawn_plans_are_borne_with_the_drivers_too() {
    let seeds = seeds_of_environment(ATTACKED);
    let plans = seeds.end - seeds.start;
    let outcomes = for_each_seed(seeds, |seed| {
        run(&Plan::draw(seed).with_attackers_alone(), None).0
    });
    let mut met = [0; Situation::COUNT];
    for (seed, outcome) in outcomes {
        assert_eq!(outcome.violation, None, "seed {seed}");
        for (sum, met) in met.iter_mut().zip(outcome.met) {
            *sum += met;
        }
    }
    for situation in [
        Situation::MemberAttacked,
        Situation::SureLieTaken,
        Situation::BrokerLied,
        Situation::VictimEnded,
        Situation::ShownWhileAttacked,
    ] {
        let times = met[situation as usize];
        println!("{situation:?}: {times}");
        assert!(times > 0, "{situation:?}");
    }
    assert!(met[Situation::ShownWhileAttacked as usize] >= plans * SHOWN_EACH);
}

/// A drawn plan in which nothing goes wrong but for this attacker.
fn attacked(seed: u64, who: Who) -> Plan {
    let mut plan = Plan::draw(seed).with_attackers_alone();
    plan.attackers = vec![Attacker {
        from_ms: 5_000,
        for_ms: 30_000,
        who,
    }];
    plan
}

fn member(acks: Acks, tricks: &[Trick]) -> Who {
    let (room, tricks) = (0, tricks.to_vec());
    Who::Member { room, acks, tricks }
}

fn broker(lie: Lie) -> Who {
    Who::Broker { lies: vec![lie] }
}

/// The checkers that watch attackers can fail at this level, too.
#[test]
fn who_bears_too_much_of_attackers_is_caught_by_the_same_checkers_with_the_drivers() {
    for (mutant, who, checker) in [
        (
            Mutant::BelieveUnsent,
            member(Acks::Unsent, &[Trick::Asks]),
            "liars_are_cut_off",
        ),
        (
            Mutant::EndlessPublishing,
            member(Acks::Honest, &[Trick::Flood]),
            "nobody_is_delayed",
        ),
        (
            Mutant::Amplify,
            member(Acks::Honest, &[]),
            "strangers_get_little",
        ),
        (
            Mutant::NoPathCheck,
            member(Acks::Honest, &[Trick::Addresses]),
            "strangers_get_little",
        ),
        (Mutant::AnyPlace, broker(Lie::Joined), "not_fooled"),
        (Mutant::NoTurnCheck, broker(Lie::Order), "not_fooled"),
    ] {
        let by = |seed, mutant| {
            let (outcome, _) = run(&attacked(seed, who.clone()), mutant);
            outcome.violation.map(|violation| violation.checker)
        };
        let first = first_seed(0..SEEDS, |seed| by(seed, Some(mutant)) == Some(checker));
        println!("{mutant:?}: by seed {first:?}");
        let seed = first.unwrap_or_else(|| panic!("{mutant:?}"));
        // It is the mutant that is found, and not the plan.
        assert_eq!(by(seed, None), None, "{mutant:?}");
    }
}

#[test]
fn the_same_seed_twice_is_the_same_run_with_attackers_and_drivers_too() {
    let mut plan = attacked(1, member(Acks::Storm, &Trick::ALL));
    plan.attackers.push(Attacker {
        from_ms: 4_000,
        for_ms: 20_000,
        who: Who::Broker {
            lies: Lie::ALL.to_vec(),
        },
    });
    let (one, other) = (run(&plan, None).0, run(&plan, None).0);
    assert_eq!(one.violation, None);
    assert_eq!(one, other);
}

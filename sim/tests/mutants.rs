//! The tests are tested: every deliberate fault in the machines is found, by the checker whose
//! business it is.

use std::collections::BTreeMap;
use std::env;

use sim::attack::Acks;
use sim::failure::mutant_from_environment;
use sim::plan::{Attacker, Fault, Lie, Plan, Talk, Trick, Way, Who};
use sim::run::{SEEDS, first_seed, for_each_seed, run};
use sim::turmoil_world;
use tertulia::mutant::Mutant;

/// The checker that must find a mutant.
const fn checker_of(mutant: Mutant) -> &'static str {
    match mutant {
        Mutant::NoDedup => "exactly_once_in_the_log",
        Mutant::NoGapCheck => "fifo",
        // A node takes a line out of its turn for a broken rule before it shows it (RUM-8).
        Mutant::NoReorderBuffer => "no_broken_rules",
        Mutant::NoAeadCheck => "no_phantom",
        Mutant::GiveUpRetransmitting => "liveness",
        Mutant::DropSecondEvent => "exactly_once_in_the_application",
        // All is sent again, in the end.
        Mutant::DropSecondDatagram => "no_waste",
        // Whoever copies packets gets what is said to their sender.
        Mutant::NoPathCheck => "strangers_get_little",
        Mutant::ForgetReturn => "no_noise",
        Mutant::AnswerBeforeSync => "one_total_order",
        Mutant::LoseTail => "durability",
        Mutant::ForgetPublications => "exactly_once_in_the_log",
        Mutant::AckBeforeSync => "honest_outcomes",
        Mutant::DeliverBeforeSync => "one_total_order",
        Mutant::GhostSession | Mutant::UnboundedQueue => "bounds",
        Mutant::SeamHole => "exactly_once_in_the_application",
        // A node takes a line out of its turn for a broken rule before it shows it (RUM-8).
        Mutant::CursorPoisoned | Mutant::ForgetFork => "no_broken_rules",
        // What is left out on purpose is acknowledged by nobody who tells the truth (ACK-3).
        Mutant::StaleAck => "no_broken_rules",
        Mutant::KeepDevice => "liveness",
        Mutant::NoCrc => "no_damage",
        Mutant::EntitlementIgnored | Mutant::ForgetDeparture => "membership",
        Mutant::ReportBeforeJournal | Mutant::HoleReported => "honest_states",
        Mutant::AnyPlace | Mutant::NoTurnCheck | Mutant::EndlessPages => "not_fooled",
        Mutant::Amplify => "strangers_get_little",
        Mutant::BelieveUnsent | Mutant::BelieveSkipped => "liars_are_cut_off",
        Mutant::NoCertificateCheck | Mutant::NoHashCheck => "none: the corpus of the fuzzer does",
        Mutant::EndlessPublishing => "nobody_is_delayed",
        Mutant::KeepRevoked => "revoked_devices",
        Mutant::KeepOtherDevice => "membership",
    }
}

/// Whether the core level, which has no drivers, knows nothing of it: then it runs with them.
const fn is_of_the_driver(mutant: Mutant) -> bool {
    matches!(mutant, Mutant::DropSecondEvent | Mutant::DropSecondDatagram)
}

/// A drawn plan under which the mutant has a chance to show itself.
fn plan_for(mutant: Mutant, seed: u64) -> Plan {
    let mut plan = Plan::draw(seed);
    if mutant == Mutant::NoAeadCheck {
        // Most corruption of a packet makes nonsense of it, which closes the link; it has to hit
        // the text of a line to make a phantom.
        plan.rates.corrupt_permille = 50;
        for talk in &mut plan.workload {
            talk.len = talk.len.clamp(900, 1_000);
        }
    }
    if mutant == Mutant::KeepDevice {
        // Somebody goes on typing after the journal was restored.
        let room = plan.topology.clients[0][0];
        plan.faults.retain(|(_, fault)| fault.client() != Some(0));
        plan.faults.push((
            20_000,
            Fault::RestoreNode {
                client: 0,
                age_ms: 8_000,
                back_after_ms: 500,
            },
        ));
        plan.workload.push(Talk {
            client: 0,
            room,
            from_ms: 5_000,
            every_ms: 1_000,
            lines: 30,
            len: 40,
            is_monotonous: false,
        });
    }
    if mutant == Mutant::UnboundedQueue {
        // Somebody pastes more than a channel holds, while somebody else hears nothing.
        let way = Way::Down;
        let (client, for_ms) = (1, 20_000);
        let cut = Fault::Cut {
            client,
            way,
            for_ms,
        };
        plan.topology.clients[1] = vec![0];
        plan.topology.clients[0] = vec![0];
        plan.faults = vec![(10_000, cut)];
        plan.absences.clear();
        plan.workload = vec![Talk {
            client: 0,
            room: 0,
            from_ms: 10_500,
            every_ms: 20,
            lines: 400,
            len: 24,
            is_monotonous: false,
        }];
    }
    if let Some(who) = attacker_for(mutant) {
        // Attackers do many things; what the mutant is for has to be among them, for long enough.
        plan.attackers = vec![Attacker {
            from_ms: 5_000,
            for_ms: 30_000,
            who,
        }];
    }
    if mutant == Mutant::EndlessPublishing {
        // How soon a line is to come can be told only where nothing else delays it.
        plan = plan.with_attackers_alone();
    }
    if mutant == Mutant::DropSecondDatagram {
        // Loss of its own would hide what the driver loses.
        plan = plan.with_perfect_network();
    }
    plan
}

/// Who tries what a mutant lets happen.
fn attacker_for(mutant: Mutant) -> Option<Who> {
    let broker = |lie| Some(Who::Broker { lies: vec![lie] });
    let member = |acks| {
        let (room, tricks) = (0, vec![Trick::Asks]);
        Some(Who::Member { room, acks, tricks })
    };
    match mutant {
        Mutant::AnyPlace => broker(Lie::Joined),
        Mutant::NoTurnCheck => broker(Lie::Order),
        Mutant::EndlessPages => broker(Lie::Pages),
        Mutant::BelieveUnsent => member(Acks::Unsent),
        Mutant::BelieveSkipped => member(Acks::Skipped),
        Mutant::EndlessPublishing => Some(Who::Member {
            room: 0,
            acks: Acks::Honest,
            tricks: vec![Trick::Flood],
        }),
        _ => None,
    }
}

/// The share of plans, in thousandths, under which the checker named found the mutant when that was
/// measured last, by `SIM_RATES=100 cargo test -p sim --test mutants -- --nocapture`.
const fn rate_permille(mutant: Mutant) -> u64 {
    match mutant {
        Mutant::NoDedup => 160,
        Mutant::NoGapCheck => 300,
        Mutant::NoReorderBuffer => 930,
        Mutant::NoAeadCheck => 110,
        Mutant::GiveUpRetransmitting => 870,
        Mutant::DropSecondEvent | Mutant::DropSecondDatagram => 990,
        Mutant::NoPathCheck => 440,
        Mutant::ForgetReturn => 170,
        Mutant::AnswerBeforeSync => 820,
        Mutant::LoseTail => 470,
        Mutant::ForgetPublications => 90,
        Mutant::AckBeforeSync => 980,
        Mutant::DeliverBeforeSync => 320,
        Mutant::GhostSession => 740,
        Mutant::SeamHole => 890,
        Mutant::CursorPoisoned => 70,
        Mutant::StaleAck => 970,
        Mutant::NoCrc => 40,
        Mutant::UnboundedQueue => 990,
        Mutant::ForgetFork => 540,
        Mutant::KeepDevice => 370,
        Mutant::EntitlementIgnored => 140,
        Mutant::ForgetDeparture => 50,
        Mutant::ReportBeforeJournal => 230,
        Mutant::HoleReported => 150,
        Mutant::AnyPlace => 680,
        Mutant::NoTurnCheck | Mutant::Amplify => 990,
        Mutant::EndlessPages => 750,
        Mutant::BelieveUnsent => 850,
        Mutant::BelieveSkipped => 650,
        Mutant::EndlessPublishing => 480,
        Mutant::KeepRevoked => 150,
        Mutant::KeepOtherDevice => 120,
        Mutant::NoCertificateCheck | Mutant::NoHashCheck => 0,
    }
}

/// What finds a mutant under the plan of a seed.
fn killer(mutant: Mutant, seed: u64) -> Option<&'static str> {
    let plan = plan_for(mutant, seed);
    let outcome = if is_of_the_driver(mutant) {
        turmoil_world::run(&plan, Some(mutant)).0
    } else {
        run(&plan, Some(mutant))
    };
    outcome.violation.map(|violation| violation.checker)
}

/// Each runs until it is found, or so often that chance does not explain it any more.
#[test]
fn every_mutant_is_killed_by_the_checker_whose_business_it_is() {
    if let Ok(seeds) = env::var("SIM_RATES") {
        return measure(seeds.parse().expect("SIM_RATES is a number"));
    }
    println!("| mutant | checker | killed by seed | rate | seeds needed |");
    println!("|---|---|---|---|---|");
    let (mut survivors, mut most_needed) = (Vec::new(), 0);
    for mutant in Mutant::ALL {
        let rate = rate_permille(mutant);
        let needed = seeds_needed(rate);
        let checker = checker_of(mutant);
        let first = first_seed(0..needed, |seed| killer(mutant, seed) == Some(checker));
        let told = first.map_or("none".to_owned(), |seed| seed.to_string());
        println!(
            "| {mutant:?} | {checker} | {told} | {} % | {needed} |",
            rate as f64 / 10.0
        );
        most_needed = most_needed.max(needed);
        match first {
            // It is the mutant that is found, and not the plan.
            Some(seed) if is_of_the_driver(mutant) => {
                let (outcome, _) = turmoil_world::run(&plan_for(mutant, seed), None);
                assert_eq!(outcome.violation, None, "seed {seed}");
            }
            Some(seed) => {
                let outcome = run(&plan_for(mutant, seed), None);
                assert_eq!(outcome.violation, None, "seed {seed}");
            }
            None => survivors.push(mutant),
        }
    }
    assert!(
        survivors.is_empty(),
        "not found by their checkers: {survivors:?}"
    );
    println!("at most {most_needed} seeds are needed, {SEEDS} are run");
    assert!(most_needed <= SEEDS);
}

/// DEV-8, DEV-9: what a broker does wrong with the devices of an account, no plan shows in which every
/// account has one.
#[test]
fn faults_about_devices_are_found_only_where_accounts_have_several() {
    const PLANS: u64 = 30;
    for mutant in [Mutant::KeepRevoked, Mutant::KeepOtherDevice] {
        let found = first_seed(0..PLANS, |seed| {
            let mut plan = plan_for(mutant, seed);
            plan.linked.clear();
            run(&plan, Some(mutant)).violation.is_some()
        });
        assert_eq!(found, None, "{mutant:?}");
    }
}

/// Prints how often each mutant is found, or the one of `SIM_MUTANT`, and by which checkers.
fn measure(seeds: u64) {
    let only = mutant_from_environment();
    let wanted = |mutant: &Mutant| only.is_none_or(|only| only == *mutant);
    for mutant in Mutant::ALL.into_iter().filter(wanted) {
        let outcomes = for_each_seed(0..seeds, |seed| killer(mutant, seed));
        let mut by = BTreeMap::<&str, u64>::new();
        for (_, killer) in outcomes {
            *by.entry(killer.unwrap_or("nobody")).or_default() += 1;
        }
        let own = by.get(checker_of(mutant)).copied().unwrap_or(0);
        println!("{mutant:?}: {} permille; {by:?}", own * 1_000 / seeds);
    }
}

/// How many seeds find a fault with 99.9 % certainty that one seed finds with this probability.
fn seeds_needed(permille: u64) -> u64 {
    let misses = 1.0 - permille as f64 / 1_000.0;
    (0.001_f64.ln() / misses.max(f64::MIN_POSITIVE).ln()).ceil() as u64
}

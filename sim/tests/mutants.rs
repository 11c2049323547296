//! The tests are tested: every deliberate fault in the machines is found, by the checker whose
//! business it is.

use sim::plan::{Fault, Plan, Talk, Way};
use sim::run::{for_each_seed, run};
use sim::turmoil_world;
use tertulia::mutant::Mutant;

/// How many seeds each mutant gets.
const SEEDS: u64 = 30;
/// How many seeds a mutant of the driver gets, at the turmoil level: it is caught nowhere else.
const DRIVER_SEEDS: u64 = 16;

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
        Mutant::ReportBeforeJournal => "honest_states",
    }
}

/// Whether the core level, which has no drivers, knows nothing of it.
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
    if mutant == Mutant::DropSecondDatagram {
        // Loss of its own would hide what the driver loses.
        plan = plan.with_perfect_network();
    }
    plan
}

#[test]
fn every_mutant_is_killed_by_the_checker_whose_business_it_is() {
    println!(
        "| mutant | checker | first killed by seed | killed by it | by others | survived | seeds needed |"
    );
    println!("|---|---|---|---|---|---|---|");
    let (mut survivors, mut most_needed) = (Vec::new(), 0.0_f64);
    for mutant in Mutant::ALL {
        let is_drivers = is_of_the_driver(mutant);
        let seeds = if is_drivers { DRIVER_SEEDS } else { SEEDS };
        let outcomes = for_each_seed(0..seeds, |seed| {
            let plan = plan_for(mutant, seed);
            let outcome = if is_drivers {
                // It is the mutant that is caught, and not the plan.
                assert_eq!(
                    turmoil_world::run(&plan, None).0.violation,
                    None,
                    "seed {seed}"
                );
                turmoil_world::run(&plan, Some(mutant)).0
            } else {
                run(&plan, Some(mutant))
            };
            outcome.violation.map(|violation| violation.checker)
        });
        let checker = checker_of(mutant);
        let killed = |by: &dyn Fn(&str) -> bool| {
            outcomes
                .iter()
                .filter(|(_, name)| name.is_some_and(by))
                .count()
        };
        let (own, others) = (
            killed(&|name| name == checker),
            killed(&|name| name != checker),
        );
        let first = outcomes.iter().find(|(_, name)| *name == Some(checker));
        let first = first.map_or("never".to_owned(), |(seed, _)| seed.to_string());
        println!(
            "| {mutant:?} | {checker} | {first} | {} % | {} % | {} % | {:.0} |",
            own * 100 / outcomes.len(),
            others * 100 / outcomes.len(),
            (outcomes.len() - own - others) * 100 / outcomes.len(),
            seeds_needed(own as f64 / outcomes.len() as f64)
        );
        most_needed = most_needed.max(seeds_needed(own as f64 / outcomes.len() as f64));
        if own == 0 {
            survivors.push(mutant);
        }
    }
    assert!(
        survivors.is_empty(),
        "not found by their checkers: {survivors:?}"
    );
    // `tests/seeds.rs` runs so many.
    assert!(most_needed <= 500.0, "{most_needed} seeds are needed");
}

/// How many seeds find a fault with 99.9 % certainty that one seed finds with probability `rate`.
fn seeds_needed(rate: f64) -> f64 {
    (0.001_f64.ln() / (1.0 - rate).max(f64::MIN_POSITIVE).ln()).ceil()
}

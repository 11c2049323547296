//! The core level: many drawn plans, every promise of SPEC.md section 2 checked on each.

use std::env;
use std::time::Instant;

use sim::failure::{Failure, in_workspace, mutant_from_environment, read};
use sim::plan::Plan;
use sim::run::{Figures, Outcome, SEEDS, for_each_seed, run, seeds_of_environment};
use tertulia::situation::Situation;

/// Where plans are written down.
const PLANS: &str = "sim/plans";

/// DLV-1 to DLV-8: nothing lost, nothing twice, one order, FIFO, no phantoms, honest states,
/// everything delivered in the end; and no panic and no ERROR line anywhere.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how fast the simulation is, is measured in real time"
)]
fn every_promise_holds_under_every_drawn_plan() {
    let mutant = mutant_from_environment();
    let begun = Instant::now();
    let outcomes = for_each_seed(seeds_of_environment(SEEDS), |seed| {
        run(&Plan::draw(seed), mutant)
    });
    let wall = begun.elapsed();
    let mut figures = Figures::default();
    for (_, outcome) in &outcomes {
        figures.add(outcome);
    }
    println!("{figures}");
    println!(
        "{:.0} simulated seconds per wall minute",
        figures.simulated.as_secs_f64() / wall.as_secs_f64() * 60.0
    );
    let failed = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.violation.is_some());
    let failed: Vec<&(u64, Outcome)> = failed.collect();
    for (seed, outcome) in failed.iter().take(3) {
        let violation = outcome.violation.clone().expect("it failed");
        let failure = Failure::new(&Plan::draw(*seed), mutant, violation, outcome.trace);
        println!("{}", failure.expect("the plan can be written"));
    }
    assert!(
        failed.is_empty(),
        "{} of {} failed",
        failed.len(),
        outcomes.len()
    );
    assert_honest_load(&figures, &outcomes);
    if env::var("SIM_SEEDS").is_err() {
        assert_everything_was_met(figures);
    }
}

/// What plans can lead to, these do lead to: those drawn, and those written down.
fn assert_everything_was_met(mut figures: Figures) {
    let written = written_plans();
    let outcomes = for_each_seed(0..written.len() as u64, |index| {
        run(&written[index as usize], None)
    });
    for (_, outcome) in &outcomes {
        figures.add(outcome);
    }
    println!("| situation | met |");
    println!("|---|---|");
    let mut never = Vec::new();
    for (situation, met) in Situation::ALL.into_iter().zip(figures.met) {
        println!("| {situation:?} | {met} |");
        if met == 0 {
            never.push(situation);
        }
    }
    assert!(never.is_empty(), "never met: {never:?}");
}

/// The plans on file, by name.
fn written_plans() -> Vec<Plan> {
    let directory = in_workspace(PLANS)
        .read_dir()
        .expect("the plans' directory");
    let names = directory.map(|entry| entry.expect("a file").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    let read = |name: &String| read(&format!("{PLANS}/{name}")).expect("a plan");
    names.iter().map(read).collect()
}

/// Simulated seconds are not idle ones, and the network does what the plans say.
fn assert_honest_load(figures: &Figures, outcomes: &[(u64, Outcome)]) {
    assert!(figures.median_typed() >= 100, "{}", figures.median_typed());
    let mut expected = 0.0;
    for (seed, Outcome { fates, .. }) in outcomes {
        let planned = Plan::draw(*seed).rates.loss_permille as f64;
        let exposed = fates.exposed() as f64;
        expected += planned * exposed / 1000.0;
        // Two points, and what chance does in a short run: four standard deviations.
        let chance = 4.0 * (planned * (1000.0 - planned) / exposed.max(1.0)).sqrt();
        let off = (fates.loss_permille() - planned).abs();
        assert!(off <= 20.0 + chance, "seed {seed}: {off} off {planned}");
    }
    let off = (figures.fates.lost as f64 - expected).abs() / figures.fates.exposed() as f64;
    assert!(off <= 0.02, "{off}");
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    let both = for_each_seed(0..50, |seed| {
        let plan = Plan::draw(seed);
        (run(&plan, None), run(&plan, None))
    });
    for (seed, (one, other)) in both {
        assert_eq!(one, other, "seed {seed}");
        assert_ne!(one.trace, 0);
    }
}

/// LOSS-1: where nothing is lost and nothing overtakes anything, nothing is taken for lost.
#[test]
fn a_perfect_network_is_never_suspected_of_a_loss() {
    let outcomes = for_each_seed(0..100, |seed| {
        run(&Plan::draw(seed).with_perfect_network(), None).violation
    });
    for (seed, violation) in outcomes {
        assert_eq!(violation, None, "seed {seed}");
    }
}

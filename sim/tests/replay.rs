//! Runs one plan again: the one of `SIM_SEED`, or the one in the file `SIM_PLAN`; with `SIM_MUTANT`
//! under that mutant, with `SIM_LEVEL=turmoil` with the real drivers, with `SIM_TRACE=1` printing
//! everything that happens. Without either variable
//! there is nothing to do.

use std::env;

use sim::failure::{headline, mutant_from_environment, read};
use sim::plan::Plan;
use sim::run::{Outcome, run, run_traced};
use sim::turmoil_world;
use tertulia::mutant::Mutant;

fn plan_from_environment() -> Option<Plan> {
    if let Ok(path) = env::var("SIM_PLAN") {
        return Some(read(&path).unwrap_or_else(|error| panic!("{path}: {error}")));
    }
    let seed = env::var("SIM_SEED").ok()?;
    Some(Plan::draw(seed.parse().expect("SIM_SEED is a number")))
}

/// Runs the plan with the real drivers, and says what was observed if that is asked for.
fn with_drivers(plan: &Plan, mutant: Option<Mutant>) -> Outcome {
    let (outcome, record) = turmoil_world::run(plan, mutant);
    if env::var("SIM_TRACE").is_ok() {
        for (at, observation) in &record.observations {
            eprintln!("{at} {observation:?}");
        }
    }
    outcome
}

#[test]
fn the_plan_of_the_environment_keeps_every_promise() {
    let Some(plan) = plan_from_environment() else {
        println!("neither SIM_SEED nor SIM_PLAN is set");
        return;
    };
    let mutant = mutant_from_environment();
    let is_with_drivers = env::var("SIM_LEVEL").is_ok_and(|level| level == "turmoil");
    let outcome = match env::var("SIM_TRACE") {
        _ if is_with_drivers => with_drivers(&plan, mutant),
        Ok(_) => run_traced(&plan, mutant),
        Err(_) => run(&plan, mutant),
    };
    println!(
        "trace={:016x} after {:?}: {} lines typed, {} shown; {:?}",
        outcome.trace, outcome.simulated, outcome.lines_typed, outcome.lines_shown, outcome.fates
    );
    if let Some(violation) = outcome.violation {
        panic!("{}", headline(plan.seed, &violation));
    }
}

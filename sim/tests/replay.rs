//! Runs one plan again: the one of `SIM_SEED`, or the one in the file `SIM_PLAN`; with `SIM_MUTANT`
//! under that mutant, with `SIM_TRACE=1` printing everything that happens. Without either variable
//! there is nothing to do.

use std::env;

use sim::failure::{headline, mutant_from_environment, read};
use sim::plan::Plan;
use sim::run::{run, run_traced};

fn plan_from_environment() -> Option<Plan> {
    if let Ok(path) = env::var("SIM_PLAN") {
        return Some(read(&path).unwrap_or_else(|error| panic!("{path}: {error}")));
    }
    let seed = env::var("SIM_SEED").ok()?;
    Some(Plan::draw(seed.parse().expect("SIM_SEED is a number")))
}

#[test]
fn the_plan_of_the_environment_keeps_every_promise() {
    let Some(plan) = plan_from_environment() else {
        println!("neither SIM_SEED nor SIM_PLAN is set");
        return;
    };
    let mutant = mutant_from_environment();
    let outcome = match env::var("SIM_TRACE") {
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

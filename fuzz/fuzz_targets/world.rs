//! Whatever people do, and whatever goes wrong meanwhile, every promise is kept: the input is a
//! small plan of the simulation, run with the real machines and all checkers.
//!
//! `cargo +nightly fuzz run world` looks for counterexamples; see `../sim/src/plan/from_bytes.rs`. What
//! it has found worth keeping is in `corpus/world`, which `../sim/tests/fuzz_corpus.rs` replays.

#![no_main]

use sim::failure::Failure;
use sim::plan::Plan;
use sim::run::run;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let plan = Plan::from_bytes(input);
    let outcome = run(&plan, None);
    if let Some(violation) = outcome.violation {
        // Written down as a plan, shrunk, with the command that runs it.
        match Failure::new(&plan, None, violation, outcome.trace) {
            Ok(failure) => panic!("{failure}"),
            Err(error) => panic!("{plan:?}: {error}"),
        }
    }
});

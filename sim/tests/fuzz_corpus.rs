//! Runs the plans that the fuzzer has found worth keeping (`fuzz/corpus/world`): they reach more of
//! the machines than as many drawn ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sim::failure::headline;
use sim::plan::Plan;
use sim::run::{Outcome, for_each_seed, run};
use tertulia::mutant::Mutant;
use tertulia::situation::Situation;

fn corpus() -> Vec<(String, Plan)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/world");
    let entries = fs::read_dir(directory).expect("the corpus is part of the repository");
    let mut corpus: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("a directory that can be read").path();
            let bytes = fs::read(&path).expect("a file that can be read");
            (path.display().to_string(), Plan::from_bytes(&bytes))
        })
        .collect();
    corpus.sort_by(|a, b| a.0.cmp(&b.0));
    corpus
}

/// Fewer than these plans, and the corpus has been lost.
const PLANS_MIN: usize = 20;

/// A corpus in which hardly anything is met would prove little.
#[test]
fn the_plans_of_the_fuzzer_keep_every_promise() {
    let corpus = corpus();
    assert!(corpus.len() >= PLANS_MIN, "{} plans", corpus.len());
    let run = |at: u64| -> Outcome { run(&corpus[at as usize].1, None) };
    let outcomes = for_each_seed(0..corpus.len() as u64, run);
    let mut met = BTreeSet::new();
    for (at, outcome) in &outcomes {
        let (file, plan) = &corpus[*at as usize];
        if let Some(violation) = &outcome.violation {
            println!("cargo +nightly fuzz run world {file}");
            panic!("{}", headline(plan.seed, violation));
        }
        let here = Situation::ALL.iter().zip(outcome.met);
        met.extend(
            here.filter(|(_, times)| *times > 0)
                .map(|(it, _)| format!("{it:?}")),
        );
    }
    assert!(met.len() >= 15, "only {met:?}");
}

/// The corpus itself finds what a fuzzer is to find.
#[test]
fn deliberate_faults_are_found_by_the_plans_of_the_fuzzer() {
    let corpus = corpus();
    for mutant in [
        Mutant::NoReorderBuffer,
        Mutant::AnswerBeforeSync,
        Mutant::SeamHole,
        Mutant::GhostSession,
    ] {
        let is_found = |(_, plan): &(String, Plan)| run(plan, Some(mutant)).violation.is_some();
        assert!(corpus.iter().any(is_found), "{mutant:?}");
    }
}

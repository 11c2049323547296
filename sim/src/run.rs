//! Runs of plans, one or many, and what is said of them.

use std::time::Duration;

use tertulia::mutant::{self, Mutant};
use tertulia::time::Timestamp;

use crate::history::Violation;
use crate::plan::Plan;
use crate::watch::watched;
use crate::world::{Fates, World};

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    /// The hash over everything that happened; 0 if the run panicked.
    pub trace: u64,
    /// How long it took in virtual time.
    pub simulated: Duration,
    /// Lines typed.
    pub lines_typed: u64,
    /// Lines shown.
    pub lines_shown: u64,
    /// How long after the healing everything was settled.
    pub settled_after: Option<Duration>,
    /// What befell the datagrams.
    pub fates: Fates,
}

/// Runs a plan, with a deliberate fault in the machines if one is given.
#[must_use]
pub fn run(plan: &Plan, mutant: Option<Mutant>) -> Outcome {
    run_as(plan, mutant, false)
}

/// Like [`run`], and prints everything that happens.
#[must_use]
pub fn run_traced(plan: &Plan, mutant: Option<Mutant>) -> Outcome {
    run_as(plan, mutant, true)
}

fn run_as(plan: &Plan, mutant: Option<Mutant>, is_traced: bool) -> Outcome {
    mutant::activate(mutant);
    let mut at = Timestamp::ZERO;
    let watched = watched(|| {
        let mut world = World::new(plan.clone());
        if is_traced {
            world.print_trace();
        }
        let violation = world.run().err();
        at = world.now();
        let (lines_typed, lines_shown) = world.lines();
        Outcome {
            violation,
            trace: world.trace(),
            simulated: world.now().saturating_since(Timestamp::ZERO),
            lines_typed,
            lines_shown,
            settled_after: world.settled_after(),
            fates: world.net.fates,
        }
    });
    mutant::activate(None);
    watched.unwrap_or_else(|said| Outcome {
        violation: Some(Violation {
            checker: "no_panic",
            detail: said,
            at,
        }),
        trace: 0,
        simulated: at.saturating_since(Timestamp::ZERO),
        lines_typed: 0,
        lines_shown: 0,
        settled_after: None,
        fates: Fates::default(),
    })
}

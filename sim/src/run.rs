//! Runs of plans, one or many.

use std::env;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tertulia::mutant::{self, Mutant};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;

use crate::history::Violation;
use crate::plan::Plan;
use crate::watch::watched;
use crate::world::{Fates, World};

/// How many drawn plans every run of the tests takes at the core level. `tests/mutants.rs` says how
/// many are needed.
pub const SEEDS: u64 = 2_000;

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
    /// How often each situation was met, in the order of [`Situation::ALL`].
    pub met: [u64; Situation::COUNT],
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
    let _of_others = situation::take();
    let mut at = Timestamp::ZERO;
    let watched = watched(|| {
        let mut world = World::new(plan.clone());
        world.record.history.is_network_perfect = plan.has_perfect_network();
        if is_traced {
            world.record.print();
        }
        let violation = world.run().err();
        at = world.now();
        let (lines_typed, lines_shown) = world.lines();
        Outcome {
            violation,
            trace: world.record.trace(),
            simulated: world.now().saturating_since(Timestamp::ZERO),
            lines_typed,
            lines_shown,
            settled_after: world.settled_after(),
            fates: world.net.fates,
            met: situation::take(),
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
        met: situation::take(),
    })
}

/// `SIM_SEEDS` seeds from `SIM_FIRST_SEED` on; so many from 0 on unless told otherwise.
///
/// # Panics
///
/// If one of the variables is no number.
#[must_use]
pub fn seeds_of_environment(count: u64) -> Range<u64> {
    let number = |name, default| match env::var(name) {
        Ok(value) => value.parse().expect("a number"),
        Err(_) => default,
    };
    let first = number("SIM_FIRST_SEED", 0);
    first..first + number("SIM_SEEDS", count)
}

/// Does something with every seed, on as many threads as there are processors. The results are in
/// the order of the seeds.
///
/// # Panics
///
/// If a thread does.
pub fn for_each_seed<T: Send>(seeds: Range<u64>, what: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(seeds.start);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return done;
            }
            done.push((seed, what(seed)));
        }
    };
    let mut all: Vec<(u64, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let done = workers
            .into_iter()
            .map(|w| w.join().expect("a worker does not panic"));
        done.flatten().collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    all
}

/// The first of the seeds for which something is so, on as many threads as there are processors.
/// Later seeds are not tried once one is found.
///
/// # Panics
///
/// If a thread does.
pub fn first_seed(seeds: Range<u64>, is_it: impl Fn(u64) -> bool + Sync) -> Option<u64> {
    let first = AtomicU64::new(u64::MAX);
    let _done = for_each_seed(seeds, |seed| {
        if seed < first.load(Ordering::Relaxed) && is_it(seed) {
            first.fetch_min(seed, Ordering::Relaxed);
        }
    });
    Some(first.into_inner()).filter(|seed| *seed < u64::MAX)
}

/// How much honest work a batch of runs was.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How many runs.
    pub runs: usize,
    /// How long they took in virtual time.
    pub simulated: Duration,
    /// Lines typed, for each run.
    pub typed: Vec<u64>,
    /// Lines shown.
    pub shown: u64,
    /// How long it took to settle after the healing, for each run that did.
    pub settled: Vec<Duration>,
    /// What befell the datagrams.
    pub fates: Fates,
    /// How often each situation was met.
    pub met: Vec<u64>,
}

impl Figures {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.simulated += outcome.simulated;
        self.typed.push(outcome.lines_typed);
        self.shown += outcome.lines_shown;
        self.settled.extend(outcome.settled_after);
        self.fates.add(&outcome.fates);
        self.met.resize(Situation::COUNT, 0);
        for (sum, met) in self.met.iter_mut().zip(outcome.met) {
            *sum += met;
        }
    }

    /// The median number of lines typed in a run.
    #[must_use]
    pub fn median_typed(&self) -> u64 {
        let mut typed = self.typed.clone();
        typed.sort_unstable();
        typed.get(typed.len() / 2).copied().unwrap_or(0)
    }
}

/// Several lines of text.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed: u64 = self.typed.iter().sum();
        writeln!(
            f,
            "{} runs, {:.0} simulated seconds; {typed} lines typed (median {}), {} shown",
            self.runs,
            self.simulated.as_secs_f64(),
            self.median_typed(),
            self.shown
        )?;
        let Fates {
            sent,
            cut,
            burst,
            lost,
            astray,
            raced,
            duplicated,
            corrupted,
            truncated,
        } = self.fates;
        let share = |count: u64| count as f64 * 100.0 / sent.max(1) as f64;
        writeln!(
            f,
            "{sent} datagrams: lost {:.1} %, cut off {:.1} %, lost in bursts {:.1} %, astray {:.1} %, \
             raced {:.1} %, duplicated {:.1} %, corrupted {:.1} %, truncated {:.1} %",
            share(lost),
            share(cut),
            share(burst),
            share(astray),
            share(raced),
            share(duplicated),
            share(corrupted),
            share(truncated),
        )?;
        let mut settled = self.settled.clone();
        settled.sort_unstable();
        let at = |part: usize| settled.get(settled.len() * part / 100).copied();
        write!(
            f,
            "settled after the healing: median {:.1?}, 99 % {:.1?}, all {:.1?}",
            at(50).unwrap_or_default(),
            at(99).unwrap_or_default(),
            settled.last().copied().unwrap_or_default()
        )
    }
}

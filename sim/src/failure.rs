//! What is said of a run that broke a rule: enough to run it again, and the smallest plan that
//! still breaks it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use tertulia::mutant::Mutant;

use crate::history::Violation;
use crate::plan::{Plan, Rates, Who};
use crate::run::{Outcome, run};

/// At most so many runs are spent on making a plan smaller.
const SHRINK_RUNS_MAX: usize = 300;

/// A run that broke a rule, with its files written.
#[derive(Clone, Debug)]
pub struct Failure {
    seed: u64,
    mutant: Option<Mutant>,
    violation: Violation,
    trace: u64,
    file: String,
    minimal_file: String,
    minimal: Plan,
}

impl Failure {
    /// Shrinks the plan, and writes both down.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub fn new(
        plan: &Plan,
        mutant: Option<Mutant>,
        violation: Violation,
        trace: u64,
    ) -> io::Result<Self> {
        let minimal = shrink(plan, mutant, violation.checker);
        let name = match mutant {
            None => plan.seed.to_string(),
            Some(mutant) => format!("{}-{mutant:?}", plan.seed),
        };
        let (file, minimal_file) = (
            format!("target/sim/{name}.json"),
            format!("target/sim/{name}.min.json"),
        );
        write(plan, &file)?;
        write(&minimal, &minimal_file)?;
        Ok(Self {
            seed: plan.seed,
            mutant,
            violation,
            trace,
            file,
            minimal_file,
            minimal,
        })
    }

    /// The command that runs the smallest plan again.
    #[must_use]
    pub fn minimal_command(&self) -> String {
        format!(
            "SIM_PLAN={}{} SIM_TRACE=1 cargo test -p sim --test replay -- --nocapture",
            self.minimal_file,
            self.mutant_setting()
        )
    }

    /// The command that runs the plan again.
    #[must_use]
    pub fn replay_command(&self) -> String {
        let by = if Plan::draw(self.seed) == self.plan_on_file() {
            format!("SIM_SEED={}", self.seed)
        } else {
            format!("SIM_PLAN={}", self.file)
        };
        let mutant = self.mutant_setting();
        format!("{by}{mutant} cargo test -p sim --test replay -- --nocapture")
    }

    fn mutant_setting(&self) -> String {
        self.mutant
            .map_or(String::new(), |mutant| format!(" SIM_MUTANT={mutant:?}"))
    }

    fn plan_on_file(&self) -> Plan {
        read(&self.file).unwrap_or_else(|_| self.minimal.clone())
    }
}

/// The block that a test prints.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = self.minimal.topology.clients.iter();
        let clients = clients.filter(|rooms| !rooms.is_empty()).count();
        writeln!(f, "{}", headline(self.seed, &self.violation))?;
        writeln!(
            f,
            "plan: {}   shrunk: {} ({} faults, {clients} clients)   trace={:016x}",
            self.file,
            self.minimal_file,
            self.minimal.faults.len(),
            self.trace
        )?;
        writeln!(f, "replay:  {}", self.replay_command())?;
        write!(f, "minimal: {}", self.minimal_command())
    }
}

/// The line that says which rule was broken; a replay prints the same.
#[must_use]
pub fn headline(seed: u64, violation: &Violation) -> String {
    format!(
        "SIM FAILURE level=core seed={seed} violation={}({}) at={}",
        violation.checker, violation.detail, violation.at
    )
}

/// A path below the workspace's root, whatever the present directory.
#[must_use]
pub fn in_workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Reads a plan.
///
/// # Errors
///
/// If there is none.
pub fn read(path: &str) -> io::Result<Plan> {
    Ok(serde_json::from_slice(&fs::read(in_workspace(path))?)?)
}

fn write(plan: &Plan, path: &str) -> io::Result<()> {
    let path = in_workspace(path);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, serde_json::to_vec_pretty(plan)?)
}

/// The mutant that the environment asks for.
///
/// # Panics
///
/// If it asks for one that does not exist.
#[must_use]
pub fn mutant_from_environment() -> Option<Mutant> {
    let name = env::var("SIM_MUTANT")
        .ok()
        .filter(|name| !name.is_empty())?;
    let known = Mutant::ALL.into_iter().find(|m| format!("{m:?}") == name);
    Some(known.unwrap_or_else(|| panic!("no mutant is called {name}: {:?}", Mutant::ALL)))
}

/// Leaves out of a plan what it does not need to break the same rule.
#[must_use]
pub fn shrink(plan: &Plan, mutant: Option<Mutant>, checker: &str) -> Plan {
    let mut best = plan.clone();
    let mut runs = 0;
    loop {
        let smaller = candidates(&best).into_iter().find(|candidate| {
            runs += 1;
            runs <= SHRINK_RUNS_MAX && breaks(&run(candidate, mutant), checker)
        });
        match smaller {
            Some(smaller) => best = smaller,
            None => return best,
        }
    }
}

fn breaks(outcome: &Outcome, checker: &str) -> bool {
    outcome
        .violation
        .as_ref()
        .is_some_and(|violation| violation.checker == checker)
}

/// Plans that are a little smaller, the most promising first.
fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        if smaller != *plan {
            all.push(smaller);
        }
    };
    with(&|p| p.faults.clear());
    for client in 0..plan.topology.clients.len() {
        with(&|p| {
            // A client in no room does not start; the others keep their numbers, and their fates.
            p.topology.clients[client].clear();
            p.workload.retain(|talk| talk.client != client);
            p.absences.retain(|absence| absence.client != client);
            p.acts.retain(|act| act.client != client);
            p.faults.retain(|(_, fault)| fault.client() != Some(client));
        });
    }
    for fault in 0..plan.faults.len() {
        with(&|p| {
            p.faults.remove(fault);
        });
    }
    for attacker in 0..plan.attackers.len() {
        with(&|p| {
            p.attackers.remove(attacker);
        });
        smaller_attacks(plan, attacker, &mut with);
    }
    for linked in 0..plan.linked.len() {
        with(&|p| {
            p.linked.remove(linked);
        });
    }
    with(&|p| p.acts.clear());
    with(&|p| p.watchers.clear());
    with(&|p| p.entering.clear());
    for act in 0..plan.acts.len() {
        with(&|p| {
            p.acts.remove(act);
        });
    }
    for absence in 0..plan.absences.len() {
        with(&|p| {
            p.absences.remove(absence);
        });
    }
    for talk in 0..plan.workload.len() {
        with(&|p| {
            p.workload.remove(talk);
        });
        with(&|p| p.workload[talk].lines = p.workload[talk].lines.div_ceil(2));
    }
    let rates: [fn(&mut Rates); 5] = [
        |r| r.loss_permille = 0,
        |r| r.jitter_ms = 0,
        |r| (r.duplicate_permille, r.duplicate_later_ms) = (0, 0),
        |r| r.corrupt_permille = 0,
        |r| r.truncate_permille = 0,
    ];
    for rate in rates {
        with(&|p| rate(&mut p.rates));
    }
    all
}

/// The same attacker, doing one thing less, or for half as long.
fn smaller_attacks(plan: &Plan, attacker: usize, with: &mut impl FnMut(&dyn Fn(&mut Plan))) {
    let count = match &plan.attackers[attacker].who {
        Who::Member { tricks, .. } => tricks.len(),
        Who::Broker { lies } => lies.len(),
    };
    for index in 0..count {
        with(&|p| match &mut p.attackers[attacker].who {
            Who::Member { tricks, .. } => {
                tricks.remove(index);
            }
            Who::Broker { lies } => {
                lies.remove(index);
            }
        });
    }
    with(&|p| p.attackers[attacker].for_ms /= 2);
}

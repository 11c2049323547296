//! A failure must be seen, say how to repeat it, and be repeated by that.

use std::env;
use std::process::Command;

use sim::failure::{Failure, headline, in_workspace};
use sim::plan::{Plan, Talk};
use sim::run::run;
use tertulia::mutant::Mutant;

/// A plan that cannot end well with nodes that give up on what is lost.
fn hopeless() -> Plan {
    let mut plan = Plan::quiet(7, 3);
    plan.rates.loss_permille = 300;
    plan.workload = (0..3)
        .map(|client| Talk {
            client,
            room: 0,
            from_ms: 5_000,
            every_ms: 300,
            lines: 10,
            len: 40,
            is_monotonous: false,
        })
        .collect();
    plan
}

/// Runs a printed command as a person would: in the workspace, without what cargo has told this
/// test about its own package (which would make it build everything anew).
fn replay(command: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(in_workspace(""));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let is_cargos = name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name.starts_with("CARGO_BIN_")
            || [
                "CARGO_CRATE_NAME",
                "CARGO_PRIMARY_PACKAGE",
                "CARGO_TARGET_TMPDIR",
                "OUT_DIR",
            ]
            .contains(&name.as_str());
        if is_cargos || name.starts_with("SIM_") {
            shell.env_remove(name);
        }
    }
    let output = shell.output().expect("a shell");
    assert!(!output.status.success(), "the replay found nothing");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_plan_that_must_fail_fails_and_its_command_repeats_it() {
    let (plan, mutant) = (hopeless(), Some(Mutant::GiveUpRetransmitting));
    let outcome = run(&plan, mutant);
    let violation = outcome.violation.expect("nobody repeats what is lost");
    assert_eq!(violation.checker, "liveness");
    let said = headline(plan.seed, &violation);
    let failure = Failure::new(&plan, mutant, violation, outcome.trace).expect("files");
    let block = failure.to_string();
    println!("{block}");
    assert!(block.starts_with(&said));

    let repeated = replay(&failure.replay_command());
    assert!(repeated.contains(&said), "{repeated}");
    assert!(
        repeated.contains(&format!("trace={:016x}", outcome.trace)),
        "{repeated}"
    );
    let minimal = replay(&failure.minimal_command());
    assert!(minimal.contains("violation=liveness("), "{minimal}");
}

/// Without the mutant the same plan ends well: it is not the plan that is hopeless.
#[test]
fn the_same_plan_ends_well_with_machines_that_repeat_what_is_lost() {
    assert_eq!(run(&hopeless(), None).violation, None);
}

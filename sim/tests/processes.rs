//! A run is a function of its plan: another process has the same runs.

use std::env;
use std::process::Command;

use sim::plan::Plan;
use sim::{run, turmoil_world};

/// Tells the child what it is.
const CHILD: &str = "SIM_HASHES";
/// How many plans run at the core level.
const SEEDS: u64 = 5;

/// The hashes over everything that happens in a few runs: of the machines, and of the drivers.
fn hashes() -> Vec<String> {
    let core = (0..SEEDS).map(|seed| run::run(&Plan::draw(seed), None).trace);
    let drivers = turmoil_world::run(&Plan::draw(1), None).0;
    let all = core.chain([drivers.trace]);
    all.map(|trace| format!("hash={trace:016x}")).collect()
}

#[test]
fn another_process_has_the_same_runs() {
    if env::var(CHILD).is_ok() {
        println!("\n{}", hashes().join("\n"));
        return;
    }
    let child = Command::new(env::current_exe().expect("this test has a file"))
        .args([
            "another_process_has_the_same_runs",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .expect("the test starts once more");
    assert!(child.status.success());
    let said = String::from_utf8_lossy(&child.stdout);
    let theirs: Vec<&str> = said.lines().filter(|l| l.starts_with("hash=")).collect();
    assert_eq!(theirs.len() as u64, SEEDS + 1, "{said}");
    assert_eq!(theirs, hashes());
}

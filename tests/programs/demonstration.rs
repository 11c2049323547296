//! The demonstration that sceptics run, on a small scale.

use crate::support::{Program, Scene};

/// Runs a demonstration with these arguments.
fn demonstration(scene: &Scene) -> Program {
    let short = [
        "demo",
        "--lines",
        "60",
        "--every",
        "20ms",
        "--nodes",
        "3",
        "--reorder",
    ];
    Program::bare_node(scene).args(&short)
}

/// CLI-15, DLV-1 to DLV-4, DLV-7.
#[test]
fn a_demonstration_over_a_bad_network_shows_that_nothing_is_lost() {
    let scene = Scene::new();
    let finished = demonstration(&scene).run(b"").exited_with(0);
    let words = "3 nodes, 60 lines, 30 % lost each way, broker killed 0x, address changed 5x";
    let verdict = "sent 60   shown 60 60 60   lost 0   duplicated 0   out of order 0   p50 ";
    let mut lines = finished.stdout.lines();
    assert_eq!(lines.next().map(str::trim), Some(words), "{finished:#?}");
    let last = lines.next().map(str::trim).unwrap_or_default();
    assert!(last.starts_with(verdict), "{finished:#?}");
    assert_eq!(lines.next(), None);
}

/// CLI-15, CLI-6: a program with a fault in it is found out, in a build that has faults.
#[cfg(feature = "mutants")]
#[test]
fn a_demonstration_of_programs_that_reorder_ends_with_1() {
    let scene = Scene::new();
    let faulty = demonstration(&scene).env("CHAT_MUTANT", "NoReorderBuffer");
    let finished = faulty.run(b"").exited_with(1);
    assert!(!finished.stdout.contains("lost 0 "), "{finished:#?}");
}

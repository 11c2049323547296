#![allow(missing_docs)]
use sim::plan::{Plan, Talk};
use sim::run::run;
#[test]
fn clean() {
    let mut plan = Plan::quiet(1, 3);
    for client in 0..3 {
        plan.workload.push(Talk {
            client,
            room: 0,
            from_ms: 1000,
            every_ms: 500,
            lines: 20,
            len: 40,
            is_monotonous: false,
        });
    }
    let o = run(&plan, None);
    println!("{o:?}");
    assert_eq!(o.violation, None);
}
#[test]
fn many() {
    let n: u64 = std::env::var("N")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(50);
    for seed in 0..n {
        let o = run(&Plan::draw(seed), None);
        println!(
            "{seed} {:?} {:?} typed {} shown {} {:?} {:?}",
            o.violation, o.simulated, o.lines_typed, o.lines_shown, o.settled_after, o.fates
        );
    }
}
#[test]
fn one() {
    let n: u64 = std::env::var("N")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    println!("{:?}", Plan::draw(n));
    let o = sim::run::run_traced(&Plan::draw(n), None);
    println!("{o:?}");
}
#[test]
fn bad() {
    let n: u64 = std::env::var("N")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(50);
    let mut s = 0.0;
    for seed in 0..n {
        let o = run(&Plan::draw(seed), None);
        s += o.simulated.as_secs_f64();
        if o.violation.is_some() || o.settled_after.is_none_or(|s| s.as_secs() > 10) {
            println!(
                "{seed} {:?} {:?} typed {} shown {} {:?} {:?}",
                o.violation, o.simulated, o.lines_typed, o.lines_shown, o.settled_after, o.fates
            );
        }
    }
    println!("{s}");
}

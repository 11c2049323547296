//! The real drivers, through a network that loses, reorders, duplicates and cuts.

use sim::history::Observation;
use sim::plan::{Fault, Plan, Talk, Way};
use sim::record::Record;
use sim::run::{Figures, Outcome, for_each_seed, seeds_of_environment};
use sim::turmoil_world::run;
use tertulia::mutant::Mutant;
use tertulia::situation::Situation;

/// How many drawn plans run with the drivers.
const DRAWN: u64 = 40;

/// Three people in a room. Almost a third of all datagrams is lost, many come late or twice, and
/// one of the three is cut off for a while and then has another address.
fn rough(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 3);
    plan.topology.history = 1_000;
    plan.rates.loss_permille = 300;
    plan.rates.jitter_ms = 60;
    plan.rates.duplicate_permille = 100;
    plan.rates.duplicate_later_ms = 3_000;
    plan.rates.corrupt_permille = 20;
    plan.workload = (0..3)
        .map(|client| Talk {
            client,
            room: 0,
            from_ms: 500,
            every_ms: 700,
            lines: 20,
            len: 40,
            is_monotonous: client == 2,
        })
        .collect();
    plan.faults = vec![
        (
            4_000,
            Fault::Cut {
                client: 1,
                way: Way::Both,
                for_ms: 7_000,
            },
        ),
        (
            12_000,
            Fault::NewAddress {
                client: 1,
                dead_ms: 500,
            },
        ),
    ];
    plan
}

/// The messages that a client has been shown, as text.
fn shown(record: &Record, client: usize) -> Vec<String> {
    let texts = record.observations.iter().filter_map(|(_, o)| match o {
        Observation::Shown { life, line, .. } if life.client == client && line.n > 0 => {
            Some(format!("{}: {}", line.name, line.text()))
        }
        _ => None,
    });
    texts.collect()
}

/// DLV-1 to DLV-8, with everything between the machines and the network that people run.
#[test]
fn three_nodes_over_a_rough_network_see_every_line_once_and_in_the_same_order() {
    let (outcome, record) = run(&rough(1), None);
    println!("{outcome:?}");
    assert_eq!(outcome.violation, None);
    let first = shown(&record, 0);
    assert_eq!(first.len(), 60);
    assert_eq!(shown(&record, 1), first);
    assert_eq!(shown(&record, 2), first);
    let loss = outcome.fates.loss_permille();
    assert!((250.0..350.0).contains(&loss), "{loss}");
    assert!(outcome.fates.cut > 0 && outcome.fates.duplicated > 0);
}

#[test]
fn the_same_seed_twice_is_the_same_run_with_the_drivers_too() {
    let (one, other) = (run(&rough(2), None).0, run(&rough(2), None).0);
    assert_eq!(one.violation, None);
    assert_eq!(one, other);
    assert_ne!(one.trace, run(&rough(3), None).0.trace);
}

/// DLV-1 to DLV-8: the drawn plans, as far as they are about the network.
#[test]
fn every_promise_holds_under_drawn_plans_with_the_drivers_too() {
    let outcomes = for_each_seed(seeds_of_environment(DRAWN), |seed| {
        run(&Plan::draw(seed), None).0
    });
    let mut figures = Figures::default();
    for (seed, outcome) in &outcomes {
        assert_eq!(outcome.violation, None, "seed {seed}");
        figures.add(outcome);
    }
    println!("{figures}");
    for situation in EVERYWHERE {
        let met = figures.met[situation as usize];
        println!("{situation:?}: {met}");
        assert!(met > 0, "{situation:?} is never met");
    }
}

/// What these plans lead to with the drivers, too.
const EVERYWHERE: [Situation; 6] = [
    Situation::MemberAttacked,
    Situation::BrokerLied,
    Situation::DevicesInOneRoom,
    Situation::DeviceLinked,
    Situation::DeviceRevoked,
    Situation::RevokedWhileWaiting,
];

/// Three people who paste at the same time, over a network without any fault of its own.
fn pasting(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 3);
    plan.workload = (0..3)
        .map(|client| Talk {
            client,
            room: 0,
            from_ms: 2_000,
            every_ms: 40,
            lines: 200,
            len: 60,
            is_monotonous: false,
        })
        .collect();
    plan
}

/// LOSS-1: what the drivers take from the network they hand on. A driver that loses some
/// of it breaks no promise, because all is sent again; but over a network that loses nothing,
/// nothing has to be. The machines by themselves know nothing of it.
#[test]
fn a_driver_that_drops_every_second_datagram_of_a_batch_is_caught_with_the_drivers_only() {
    let checker = |outcome: Outcome| outcome.violation.map(|violation| violation.checker);
    let mutant = Some(Mutant::DropSecondDatagram);
    for seed in 0..4 {
        let plan = pasting(seed);
        assert_eq!(checker(run(&plan, None).0), None);
        assert_eq!(checker(run(&plan, mutant).0), Some("no_waste"));
        assert_eq!(checker(sim::run::run(&plan, mutant)), None);
    }
}

/// PRS-1, PTH-3: who comes and goes, and what strangers get, is watched with the drivers too.
#[test]
fn faults_of_a_broker_are_caught_by_the_same_checkers_with_the_drivers() {
    let mut plan = pasting(1);
    plan.grace_ms = 10_000;
    for talk in &mut plan.workload {
        (talk.every_ms, talk.lines) = (500, 50);
    }
    let is_killed = Fault::Kill {
        client: 1,
        back_after_ms: 2_000,
    };
    let is_copied = Fault::Racer {
        client: 2,
        for_ms: 10_000,
    };
    plan.faults = vec![(5_000, is_killed), (12_000, is_copied)];
    let checker = |mutant| {
        let violation = run(&plan, mutant).0.violation;
        violation.map(|violation| violation.checker)
    };
    assert_eq!(checker(None), None);
    assert_eq!(checker(Some(Mutant::ForgetReturn)), Some("no_noise"));
    assert_eq!(
        checker(Some(Mutant::NoPathCheck)),
        Some("strangers_get_little")
    );
}

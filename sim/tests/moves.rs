//! Moves outside of partitions and bursts cost no contact, as a rule.

use sim::history::Observation;
use sim::plan::{Fault, Plan};
use sim::run::for_each_seed;
use sim::world::World;

/// How many plans.
const SEEDS: u64 = 150;

/// A drawn plan of which only the rates, the moves and the copies are left.
fn moving(seed: u64) -> Plan {
    let mut plan = Plan::draw(seed);
    plan.absences.clear();
    plan.acts.clear();
    plan.attackers.clear();
    let is_move = |fault: &Fault| matches!(fault, Fault::Rebind { .. } | Fault::Racer { .. });
    plan.faults.retain(|(_, fault)| is_move(fault));
    plan
}

/// PTH-1, PTH-3, PTH-6, DLV-7: a node that moves goes on over the same link. The bound is one for
/// the batch, and not zero for each run: where almost a third of the datagrams is lost, all three
/// questions of a path are lost now and then (PTH-2), or their answers, and whoever is copied all
/// the while is asked where the copies come from. Then a new handshake is the right way out (LIF-2).
#[test]
fn a_node_that_moves_seldom_loses_contact() {
    let counts = for_each_seed(0..SEEDS, |seed| {
        let mut world = World::new(moving(seed));
        world
            .run()
            .unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
        let count = |is: fn(&Observation) -> bool| {
            let all = world.record.observations.iter();
            all.filter(|(_, o)| is(o)).count()
        };
        (
            count(|o| matches!(o, Observation::Moved(_))),
            count(|o| matches!(o, Observation::Offline(_))),
            count(|o| matches!(o, Observation::Gone(..))),
        )
    });
    let (mut moves, mut offline) = (0, 0);
    for (seed, (moved, lost, gone)) in counts {
        assert_eq!(gone, 0, "seed {seed}");
        (moves, offline) = (moves + moved, offline + lost);
    }
    println!("{moves} moves, contact lost {offline} times");
    assert!(moves >= 100, "{moves}");
    assert!(offline * 5 <= moves, "{offline} of {moves}");
}

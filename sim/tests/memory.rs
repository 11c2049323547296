//! A broker's memory, counted by the allocator of this process, with the real drivers; and that of
//! a broker with members, and of a node with a broker, that keep to no rule.

use sim::attack::Acks;
use sim::history::{Observation, Victim};
use sim::memory::{self, Allocator};
use sim::plan::{Attacker, Fault, Lie, Plan, Talk, Trick, Way, Who};
use sim::turmoil_world::run;
use sim::world::World;
use tertulia::mutant::Mutant;

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

/// What a broker holds at most, in bytes, for one member that does everything at once: a few times
/// what it was seen to cost. The limits allow much more, 63 rooms full.
const MEMBER_COSTS_MAX: u64 = 4 << 20;
/// How many drawn plans are counted.
const DRAWN: u64 = 3;

/// Somebody pastes somewhat more than a broker may hold, while somebody else hears
/// nothing.
fn pasting() -> Plan {
    let mut plan = Plan::quiet(5, 2);
    plan.rates.latency_ms = 5;
    let len = 16_000;
    let lines = memory::bound(&plan) * 6 / 5 / len;
    plan.workload = vec![Talk {
        client: 0,
        room: 0,
        from_ms: 2_000,
        every_ms: 20,
        lines,
        len: len as usize,
        is_monotonous: false,
    }];
    let deaf = Fault::Cut {
        client: 1,
        way: Way::Down,
        for_ms: lines * 20 + 5_000,
    };
    plan.faults = vec![(1_900, deaf)];
    plan
}

/// Runs a plan. Returns what broke, and the most that the broker held.
fn most_held(plan: &Plan, mutant: Option<Mutant>) -> (Option<&'static str>, u64) {
    let (outcome, record) = run(plan, mutant);
    let held = record.observations.iter().filter_map(|(_, o)| match o {
        Observation::Holds(bytes) => Some(*bytes),
        _ => None,
    });
    let checker = outcome.violation.map(|violation| violation.checker);
    (checker, held.max().unwrap_or(0))
}

/// BRK-2, BRK-9, LIM-4, LIM-5: a slow member costs a constant. One test, because one thread is
/// counted.
#[test]
fn a_broker_holds_no_more_than_its_limits_say_and_more_if_a_queue_has_none() {
    memory::count();
    let plan = pasting();
    let bound = memory::bound(&plan);
    let (violation, held) = most_held(&plan, None);
    println!("pasting: {held} bytes held at most, {bound} allowed");
    assert_eq!(violation, None);
    assert!(held > 500_000, "{held}");
    let (violation, held) = most_held(&plan, Some(Mutant::UnboundedQueue));
    println!("the same with a queue without a limit: {held} bytes and more");
    assert_eq!(violation, Some("memory"));
    for seed in 0..DRAWN {
        let plan = Plan::draw(seed);
        let (violation, held) = most_held(&plan, None);
        println!(
            "seed {seed}: {held} bytes held at most, {} allowed",
            memory::bound(&plan)
        );
        assert_eq!(violation, None, "seed {seed}");
    }
    hostile_members_cost_a_broker_no_more_than_its_limits_say();
    a_lying_broker_makes_no_node_grow();
}

/// THR-11: a member that does everything that no node does, for each way to acknowledge.
fn hostile_members_cost_a_broker_no_more_than_its_limits_say() {
    for (seed, acks) in (0..).zip(Acks::ALL) {
        let mut plan = Plan::quiet(seed, 2);
        plan.workload = vec![Talk {
            client: 0,
            room: 0,
            from_ms: 2_000,
            every_ms: 100,
            lines: 200,
            len: 200,
            is_monotonous: false,
        }];
        plan.attackers = vec![attacker(Who::Member {
            room: 0,
            acks,
            tricks: Trick::ALL.to_vec(),
        })];
        let held = most_held_in_a_world(&plan, |seen| match seen {
            Observation::Holds(bytes) => Some(*bytes),
            _ => None,
        });
        let bound = memory::bound(&plan);
        println!("a member that acknowledges {acks:?}: {held} bytes held at most, {bound} allowed");
        assert!(held > 100_000 && held <= MEMBER_COSTS_MAX, "{held}");
    }
}

/// THR-15
fn a_lying_broker_makes_no_node_grow() {
    for (seed, lie) in (0..).zip(Lie::ALL) {
        let mut plan = Plan::quiet(seed, 0);
        plan.attackers = vec![attacker(Who::Broker { lies: vec![lie] })];
        let held = most_held_in_a_world(&plan, |seen| match seen {
            Observation::Victim(_, Victim::Holds(bytes)) => Some(*bytes),
            _ => None,
        });
        let bound = memory::VICTIM_HOLDS_MAX;
        println!("a broker that lies about {lie:?}: {held} bytes held at most, {bound} allowed");
        assert!(held > 1_000, "{held}");
    }
}

fn attacker(who: Who) -> Attacker {
    Attacker {
        from_ms: 3_000,
        for_ms: 20_000,
        who,
    }
}

/// The most that was held in a run that keeps every promise.
fn most_held_in_a_world(plan: &Plan, held: impl Fn(&Observation) -> Option<u64>) -> u64 {
    let mut world = World::new(plan.clone());
    assert_eq!(world.run(), Ok(()), "seed {}", plan.seed);
    let all = &world.record.observations;
    all.iter()
        .filter_map(|(_, seen)| held(seen))
        .max()
        .unwrap_or(0)
}

//! A broker that may hold little.

use super::*;
use crate::chat::Budget;
use crate::client::PutOff;

/// Runs for so long, and sees to it that the broker never holds more than it may. Returns the most
/// that it held.
fn run_bounded(pump: &mut Pump, ms: u64) -> u64 {
    let mut most = 0;
    for _ in 0..ms / 10 {
        pump.run_ms(10);
        let (held, max) = pump.broker.held();
        assert!(held <= max, "{held} of {max}");
        most = most.max(held);
    }
    most
}

fn bodies(pump: &Pump, node: usize) -> Vec<usize> {
    let heard = pump.heard(node).into_iter();
    heard
        .map(|line| line["ada: ".len()..][..6].parse().unwrap())
        .collect()
}

fn say_large(pump: &mut Pump, n: usize) {
    pump.say(0, &format!("{n:06}{}", "x".repeat(8_000)));
}

/// MEM-1, MEM-2, DLV-1, DLV-3: what rooms keep beside the store shrinks before anything else; who is
/// behind reads from the store, and gets everything.
#[test]
fn rooms_keep_less_in_memory_and_nobody_misses_a_line() {
    let mut pump = Pump::with(&["ada", "bob", "cleo"]);
    pump.broker.holding.set_max(1 << 20);
    pump.nodes[2].connected = false;
    let mut most = 0;
    for n in 0..300 {
        say_large(&mut pump, n);
        most = most.max(run_bounded(&mut pump, 50));
    }
    pump.nodes[2].connected = true;
    run_bounded(&mut pump, 30_000);
    for node in 0..3 {
        assert_eq!(bodies(&pump, node), (0..300).collect::<Vec<_>>());
    }
    // The room alone would keep a MiB (LIM-5).
    let expected = 7 << 16..9 << 16;
    assert!(expected.contains(&most), "{most}");
    assert!(pump.broker.pressure() <= Pressure::Narrow);
    assert_eq!(pump.broker.link_counts().0, 3, "nobody lost its link");
}

/// MEM-3, MEM-5, DLV-1, BRK-9: members that take nothing are given less, and lose their links rather
/// than that others wait; afterwards they have everything.
#[test]
fn those_who_hold_most_lose_their_links_and_no_line() {
    let names = ["ada", "bob", "cleo", "dan", "eve", "fay", "gil", "hal"];
    let mut pump = Pump::with(&names);
    pump.broker.holding.set_max(768 << 10);
    for node in 2..8 {
        pump.nodes[node].connected = false;
    }
    for n in 0..60 {
        say_large(&mut pump, n);
        run_bounded(&mut pump, 100);
    }
    run_bounded(&mut pump, 10_000);
    assert_eq!(bodies(&pump, 1), (0..60).collect::<Vec<_>>());
    for node in 2..8 {
        pump.nodes[node].connected = true;
    }
    run_bounded(&mut pump, 60_000);
    for node in 2..8 {
        assert_eq!(bodies(&pump, node), (0..60).collect::<Vec<_>>(), "{node}");
    }
    let left = |notice: &&String| notice.ends_with("Left") || notice.ends_with("TimedOut");
    assert_eq!(pump.nodes[1].notices().iter().filter(left).count(), 0);
}

/// MEM-4, BUD-1, PUB-4: who comes, and what is said, has to wait while there is no room, is told so,
/// and is taken when there is.
#[test]
fn newcomers_and_lines_wait_while_there_is_no_room() {
    let mut pump = Pump::with(&["ada", "bob"]);
    for n in 0..30 {
        let node = pump.add(&format!("guest{n}"));
        pump.nodes[node].client.join(lobby().into(), pump.now);
    }
    pump.run_ms(20_000);
    // Once for the room to keep less, and once for what is left.
    for _ in 0..2 {
        let (held, _) = pump.broker.held();
        pump.broker.holding.set_max(held * 160 / 141);
        assert!(!pump.broker.mind_memory(pump.now));
    }
    assert_eq!(pump.broker.pressure(), Pressure::Full);
    pump.say(0, "patience");
    let cleo = pump.add("cleo");
    pump.nodes[cleo].client.join(lobby().into(), pump.now);
    pump.run_ms(5_000);
    assert_eq!(pump.heard(1), [""; 0]);
    let told = |pump: &Pump, node: usize, of: PutOff| {
        pump.nodes[node].events.iter().any(|event| {
            matches!(event, ClientEvent::PutOff { what, code, .. } if *what == of
                && matches!(code, Refusal::OverBudget { budget: Budget::Memory, .. }))
        })
    };
    assert!(told(&pump, 0, PutOff::Lines));
    // Full or Closed: either way nobody new comes in.
    assert_eq!(pump.broker.people(), 32);
    pump.broker.holding.set_max(MEMORY_MAX);
    pump.run_ms(15_000);
    assert_eq!(pump.heard(1), ["ada: patience"]);
    assert_eq!(pump.broker.people(), 33);
}

/// MEM-1, LIM-21: what is gone is not counted.
#[test]
fn what_was_held_is_let_go_of() {
    let mut pump = Pump::with(&["ada", "bob"]);
    for n in 0..50 {
        say_large(&mut pump, n);
    }
    pump.run_ms(20_000);
    for node in 0..2 {
        pump.nodes[node].client.leave(pump.now);
    }
    pump.run_ms(10_000);
    assert_eq!(pump.broker.link_counts(), (0, 0));
    pump.broker.mind_memory(pump.now);
    assert_eq!(pump.broker.held().0, 0);
}

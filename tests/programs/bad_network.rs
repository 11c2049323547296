//! The delivery contract over networks that lose, repeat, reorder and damage datagrams.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::process::Process;
use crate::support::relay::{Faults, Relay};
use crate::support::transcript::finished_lines;
use crate::support::{Scene, Stopwatch};

/// How long after the last line was typed all must have been shown, at 30 % loss.
const LATEST: Duration = Duration::from_secs(60);
const LINES_EACH: usize = 200;
const NAMES: [&str; 3] = ["ada", "bob", "cleo"];

/// What `node` has shown that somebody typed.
fn conversation(node: &Process) -> Vec<String> {
    finished_lines(&node.stdout.text())
        .filter(|line| !line.starts_with("SERVER: "))
        .map(str::to_owned)
        .collect()
}

/// Starts a node for each name, one after the other, until each has seen all later ones join.
fn all_join(scene: &Scene, relay: &Relay) -> Vec<Process> {
    let mut nodes: Vec<Process> = Vec::new();
    for name in NAMES {
        let node = scene.join(relay.address, name);
        for earlier in &nodes {
            earlier.shows(&format!("SERVER: {name} Joined!"));
        }
        nodes.push(node);
    }
    nodes
}

/// DLV-1 to DLV-4, LOSS-2, CHN-1.
#[test]
fn three_nodes_show_the_same_600_lines_at_30_percent_loss() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let faults = Faults {
        loss_percent: 30,
        duplicate_percent: 5,
        delay_ms_max: 40,
        flip_every: None,
    };
    let relay = Relay::start(broker.address, faults, 30);
    let mut nodes = all_join(&scene, &relay);

    for number in 1..=LINES_EACH {
        for node in &mut nodes {
            node.type_line(&format!("line {number}"));
        }
    }
    let typed = Stopwatch::start();
    let total = NAMES.len() * LINES_EACH;
    for (index, node) in nodes.iter().enumerate() {
        // What a node has shown before: itself and those who came after it.
        let joined = NAMES.len() - index;
        let left = LATEST.saturating_sub(typed.elapsed());
        node.shows_until(left, |text| finished_lines(text).count() >= joined + total);
    }
    println!(
        "all 600 lines shown {:?} after the last one was typed",
        typed.elapsed()
    );

    let first = conversation(&nodes[0]);
    for (index, node) in nodes.iter().enumerate() {
        let joined = NAMES[index..]
            .iter()
            .map(|name| format!("SERVER: {name} Joined!"));
        let expected: Vec<String> = joined.chain(first.iter().cloned()).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        node.has_shown_exactly(&expected);
    }
    assert_eq!(first.len(), first.iter().collect::<BTreeSet<_>>().len());
    for name in NAMES {
        let own: Vec<&String> = first
            .iter()
            .filter(|line| line.starts_with(&format!("{name}: ")))
            .collect();
        let expected: Vec<String> = (1..=LINES_EACH)
            .map(|number| format!("{name}: line {number}"))
            .collect();
        assert!(own.iter().copied().eq(&expected), "{name}: {own:?}");
    }
}

/// DLV-5, KEY-3, KEY-4, BRK-4, SEC-11.
#[test]
fn a_flipped_bit_in_every_tenth_datagram_alters_nothing_and_is_counted() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let faults = Faults {
        flip_every: Some(10),
        ..Faults::default()
    };
    let relay = Relay::start(broker.address, faults, 10);
    let mut nodes = all_join(&scene, &relay);
    let mut expected = vec!["SERVER: cleo Joined!".to_owned()];
    for number in 1..=40 {
        for (name, typing) in NAMES.iter().zip(0..) {
            let nodes: &mut [Process] = &mut nodes;
            nodes[typing].type_line(&format!("an unaltered line {number}"));
            let line = format!("{name}: an unaltered line {number}");
            for node in nodes.iter() {
                node.shows(&line);
            }
            expected.push(line);
        }
    }
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    nodes[2].has_shown_exactly(&expected);
    assert!(relay.flipped() > 20, "{} flipped", relay.flipped());
    drop(nodes);
    let broker = broker.stop().exited_with(0);
    let counted = broker
        .stderr
        .lines()
        .any(|line| line.contains("authentication"));
    assert!(counted, "{broker:#?}");
}

/// DLV-7, DLV-8, NOD-3, LIF-2.
#[test]
fn an_outage_and_a_new_address_delay_lines_and_make_no_noise() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let relay = Relay::start(broker.address, Faults::default(), 7);
    let mut ada = scene.join(relay.address, "ada");
    let bob = scene.join(relay.address, "bob");
    ada.shows("SERVER: bob Joined!");
    relay.set_outage(true);
    ada.type_line("typed in a tunnel");
    relay.has_swallowed(3);
    relay.rebind();
    relay.set_outage(false);
    for node in [&ada, &bob] {
        node.shows("ada: typed in a tunnel");
    }
    bob.has_shown_exactly(&["SERVER: bob Joined!", "ada: typed in a tunnel"]);
    broker.counts(2);
    let counted = "People in chat: 0\nPeople in chat: 1\nPeople in chat: 2\n";
    assert_eq!(broker.counted(), counted);
}

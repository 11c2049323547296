//! The delivery contract over networks that lose, repeat, reorder and damage datagrams.

use std::time::Duration;

use crate::support::crowd::{Crowd, NAMES};
use crate::support::process::Process;
use crate::support::relay::{Faults, Relay};
use crate::support::{Scene, Stopwatch};

/// How long after the last line was typed all must have been shown, at 30 % loss.
const LATEST: Duration = Duration::from_secs(60);
const LINES_EACH: usize = 200;

/// DLV-1 to DLV-4, LOSS-2, CHN-1.
#[test]
fn three_nodes_show_the_same_600_lines_at_30_percent_loss() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let faults = Faults {
        loss_percent: 30,
        duplicate_percent: 5,
        delay_ms: 0,
        jitter_ms_max: 40,
        flip_every: None,
    };
    let relay = Relay::start(broker.address, faults, 30);
    let mut crowd = Crowd::join(&scene, relay.address);
    crowd.type_lines(LINES_EACH);
    let typed = Stopwatch::start();
    crowd.shows_all_within(LATEST);
    println!(
        "all 600 lines shown {:?} after the last one was typed",
        typed.elapsed()
    );
    crowd.has_shown_the_same_and_nothing_else();
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
    let mut nodes = Crowd::join(&scene, relay.address).nodes;
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

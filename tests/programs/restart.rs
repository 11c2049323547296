//! A broker that is killed and comes back.

use std::time::Duration;

use crate::support::process::Process;
use crate::support::transcript::count_of;
use crate::support::{Scene, Stopwatch};

fn shown(node: &Process, line: &str) -> usize {
    count_of(&node.stdout.text(), line)
}

/// DLV-2, DLV-6, NOD-3, PUB-6.
#[test]
fn a_line_typed_without_a_broker_is_shown_when_it_is_stored_and_once() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let address = broker.address;
    let mut ada = scene.join(address, "ada");
    let bob = scene.join(address, "bob");
    ada.shows("SERVER: bob Joined!");
    ada.type_line("before");
    bob.shows("ada: before");
    ada.shows("ada: before");

    broker.process.kill();
    ada.type_line("while it was away");
    // Nothing can store it, and the node knows that before it says so.
    ada.stderr.wait(crate::support::PATIENCE, |text| {
        (!text.is_empty()).then_some(())
    });
    assert_eq!(shown(&ada, "ada: while it was away"), 0);

    let broker = scene.broker_on(address).start_broker();
    for node in [&ada, &bob] {
        node.shows("ada: while it was away");
    }
    ada.type_line("after");
    for node in [&ada, &bob] {
        node.shows("ada: after");
        assert_eq!(shown(node, "ada: before"), 1);
        assert_eq!(shown(node, "ada: while it was away"), 1);
        assert_eq!(shown(node, "ada: after"), 1);
    }
    broker.counts(2);
}

/// RST-2, RST-4, RST-5, SEC-5, DLV-1: the broker is killed, and a moment after it is back everybody
/// is, whether they say anything or not, and whether they have noticed or not.
#[test]
fn talkers_and_silent_listeners_are_back_as_soon_as_the_broker_is() {
    let scene = Scene::new();
    let mut broker = scene.broker().start_broker();
    let address = broker.address;
    let mut ada = scene.join(address, "ada");
    let bob = scene.join(address, "bob");
    ada.shows("SERVER: bob Joined!");

    for (round, is_noticed) in [false, false, true].into_iter().enumerate() {
        // The store knows of links within a second.
        let chatting = Stopwatch::start();
        for line in 0.. {
            let text = format!("round {round}, line {line}");
            ada.type_line(&text);
            bob.shows(&format!("ada: {text}"));
            if chatting.elapsed() > Duration::from_millis(1_500) {
                break;
            }
        }
        broker.process.kill();
        if is_noticed {
            let said = ada.stderr.text().len();
            ada.type_line("into the void");
            ada.stderr.wait(crate::support::PATIENCE, |text| {
                (text.len() > said).then_some(())
            });
        }
        broker = scene.broker_on(address).start_broker();
        let since = Stopwatch::start();
        let text = format!("round {round}, after");
        ada.type_line(&text);
        bob.shows(&format!("ada: {text}"));
        let took = since.elapsed();
        println!("round {round}: the next line was there {took:.0?} after the broker");
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    assert_eq!(shown(&bob, "ada: into the void"), 1);
}

/// CLI-6, NOD-4: what was not confirmed is counted, and shown to nobody.
#[test]
fn lines_that_nobody_confirms_are_counted_at_the_end() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let node = scene.node(broker.address).args(&["--drain", "1s"]);
    let mut ada = scene.join_with(node, "ada");
    broker.process.kill();
    ada.type_bytes(b"one\ntwo\n");
    ada.end_input();
    ada.finish()
        .exited_with(75)
        .said("2 lines")
        .showed("SERVER: ada Joined!\nLeaving chat!\n");
}

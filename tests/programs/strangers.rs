//! What a stranger on the path can read and do.

use crate::support::Scene;
use crate::support::relay::{Captured, Faults, Relay, replay_into};

fn holds(capture: &[Captured], words: &str) -> bool {
    let words = words.as_bytes();
    capture.iter().any(|captured| {
        captured
            .bytes
            .windows(words.len())
            .any(|part| part == words)
    })
}

/// SEC-1, PKT-5, KEY-2, SEC-7.
#[test]
fn a_captured_conversation_can_be_neither_read_nor_said_again() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let relay = Relay::start(broker.address, Faults::default(), 1);
    let mut ada = scene.join(relay.address, "ada-of-london");
    let mut bob = scene.join(relay.address, "bob-of-lisbon");
    ada.shows("SERVER: bob-of-lisbon Joined!");
    for number in 1..=10 {
        ada.type_line(&format!("confidential matter {number}"));
    }
    for node in [&ada, &bob] {
        node.shows("ada-of-london: confidential matter 10");
    }

    let capture = relay.capture();
    assert!(capture.len() > 20, "{} datagrams", capture.len());
    for words in [
        "ada-of-london",
        "bob-of-lisbon",
        "confidential",
        "matter",
        "lobby",
    ] {
        assert!(!holds(&capture, words), "{words:?} can be read");
    }

    broker.counts(2);
    let before = (ada.stdout.text(), bob.stdout.text(), broker.counted());
    relay.replay(&capture);
    replay_into(broker.address, &capture);
    // What was replayed has arrived before this line.
    bob.type_line("anything new?");
    for node in [&ada, &bob] {
        node.shows("bob-of-lisbon: anything new?");
    }
    let line = "bob-of-lisbon: anything new?\n";
    assert_eq!(ada.stdout.text(), before.0 + line);
    assert_eq!(bob.stdout.text(), before.1 + line);
    assert_eq!(broker.counted(), before.2);

    drop((ada, bob));
    let broker = broker.stop().exited_with(0);
    assert!(broker.stderr.contains("replay"), "{broker:#?}");
}

/// SEC-7, SEC-10: the keys of a conversation are gone with its broker.
#[test]
fn a_captured_conversation_means_nothing_to_a_restarted_broker() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let relay = Relay::start(broker.address, Faults::default(), 2);
    let mut ada = scene.join(relay.address, "ada");
    ada.type_line("once");
    ada.shows("ada: once");
    ada.type_line("q!");
    ada.finish().exited_with(0);
    let capture = relay.capture();
    let address = broker.address;
    broker.stop().exited_with(0);

    let broker = scene.broker_on(address).start_broker();
    let bob = scene.join(broker.address, "bob");
    replay_into(broker.address, &capture);
    let mut ada = scene.join(broker.address, "ada");
    ada.type_line("twice");
    bob.shows("ada: twice");
    bob.has_shown_exactly(&["SERVER: bob Joined!", "SERVER: ada Joined!", "ada: twice"]);
    broker.counts(2);
}

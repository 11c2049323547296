//! Who is in the room, and who only seems to be.

use rustix::process::Signal;

use crate::support::Scene;
use crate::support::relay::{Faults, Relay};

/// PRS-1, CLI-1.
#[test]
fn a_node_that_dies_without_a_word_is_timed_out_after_the_grace() {
    let scene = Scene::new();
    let broker = scene.broker().args(&["--grace", "2s"]).start_broker();
    let bob = scene.join(broker.address, "bob");
    let ada = scene.join(broker.address, "ada");
    bob.shows("SERVER: ada Joined!");
    ada.kill();
    bob.shows("SERVER: ada Left! (timed out)");
    bob.has_shown_exactly(&[
        "SERVER: bob Joined!",
        "SERVER: ada Joined!",
        "SERVER: ada Left! (timed out)",
    ]);
    broker.counts(1);
}

/// DLV-1, DLV-7, PRS-1.
#[test]
fn a_node_that_sleeps_within_the_grace_makes_no_noise_and_misses_nothing() {
    let scene = Scene::new();
    let broker = scene.broker().args(&["--grace", "10m"]).start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let bob = scene.join(broker.address, "bob");
    ada.shows("SERVER: bob Joined!");
    bob.signal(Signal::STOP);
    for number in 1..=20 {
        ada.type_line(&format!("are you there? {number}"));
        ada.shows(&format!("ada: are you there? {number}"));
    }
    bob.signal(Signal::CONT);
    bob.shows("ada: are you there? 20");
    let lines: Vec<String> = (1..=20)
        .map(|number| format!("ada: are you there? {number}"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let joined = "SERVER: bob Joined!";
    bob.has_shown_exactly(&[&[joined], &lines[..]].concat());
    ada.has_shown_exactly(&[&["SERVER: ada Joined!", joined], &lines[..]].concat());
    broker.counts(2);
    let counted = "People in chat: 0\nPeople in chat: 1\nPeople in chat: 2\n";
    assert_eq!(broker.counted(), counted);
}

/// LIF-1, NOD-3: a link on which nothing is said is kept, and nobody is told otherwise.
#[test]
fn nodes_with_nothing_to_say_stay_in_contact() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let relay = Relay::start(broker.address, Faults::default(), 9);
    let ada = scene.join(relay.address, "ada");
    let mut bob = scene.join(relay.address, "bob");
    ada.shows("SERVER: bob Joined!");
    // One keepalive of each node, and its acknowledgement: 15 s.
    let said = relay.capture().len();
    relay.was_given(said + 4);
    bob.type_line("quiet, isn't it?");
    ada.shows("bob: quiet, isn't it?");
    for node in [&ada, &bob] {
        let stderr = node.stderr.text();
        assert!(!stderr.contains("no contact"), "{stderr}");
    }
}

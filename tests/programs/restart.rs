//! A broker that is killed and comes back.

use crate::support::Scene;
use crate::support::process::Process;
use crate::support::transcript::count_of;

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

/// CLI-6, NOD-2, NOD-4: 75 means that the lines are kept, and the next node sends them.
#[test]
fn lines_kept_at_the_end_are_sent_by_the_next_node_of_the_profile() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let address = broker.address;
    let mut ada = scene.join_with(scene.node(address).args(&["--drain", "1s"]), "ada");
    broker.process.kill();
    ada.type_bytes(b"kept one\nkept two\n");
    ada.end_input();
    let left = ada.finish().exited_with(75).said("2 lines kept");
    assert!(!left.stdout.contains("kept"), "{left:#?}");

    let broker = scene.broker_on(address).start_broker();
    let bob = scene.join(broker.address, "bob");
    let mut ada = scene.join(broker.address, "ada");
    for node in [&ada, &bob] {
        node.shows("ada: kept two");
    }
    ada.type_line("q!");
    ada.finish().exited_with(0);
    bob.shows("SERVER: ada Left!");
    assert_eq!(shown(&bob, "ada: kept one"), 1);
    assert_eq!(shown(&bob, "ada: kept two"), 1);
}

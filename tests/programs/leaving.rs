//! The ways out of a conversation.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::Scene;

/// CLI-3, CLI-6.
#[test]
fn a_signal_leaves_as_q_does() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let bob = scene.join(broker.address, "bob");
    for signal in [Signal::TERM, Signal::INT] {
        let mut ada = scene.join(broker.address, "ada");
        ada.signal(signal);
        ada.finish()
            .exited_with(0)
            .showed("SERVER: ada Joined!\nLeaving chat!\n");
    }
    bob.shows_times("SERVER: ada Left!", 2);
    bob.has_shown_exactly(&[
        "SERVER: bob Joined!",
        "SERVER: ada Joined!",
        "SERVER: ada Left!",
        "SERVER: ada Joined!",
        "SERVER: ada Left!",
    ]);
}

/// CLI-6, NOD-4: the first Ctrl-C waits for what is unsettled, the second does not.
#[test]
fn a_second_control_c_exits_at_once() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join_with(scene.node(broker.address).args(&["--drain", "10m"]), "ada");
    broker.process.signal(Signal::STOP);
    ada.type_line("this will wait");
    ada.says("no contact");
    ada.signal(Signal::INT);
    // Two signals at once can arrive as one.
    while !ada.has_ended_within(Duration::from_millis(100)) {
        ada.signal(Signal::INT);
    }
    ada.finish().exited_with(130);
}

/// CLI-6: `chat-node | head -1` is no error.
#[test]
fn a_closed_stdout_ends_a_node_quietly() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut node = scene
        .node(broker.address)
        .args(&["--name", "ada"])
        .start_with_closed_stdout();
    let left = node.finish();
    assert!(!left.stderr.contains("panic"), "{left:#?}");
    assert!(!left.stderr.to_lowercase().contains("error"), "{left:#?}");
    broker.counts(0);
}

/// CLI-9: a broker that is told to stop says so to nobody's dismay.
#[test]
fn a_broker_stops_at_sigterm_and_at_sigint() {
    let scene = Scene::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut broker = scene.broker().start_broker();
        broker.process.signal(signal);
        broker.process.finish().exited_with(0);
    }
}

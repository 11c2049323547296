//! Directories that were restored from a backup: what is said then, and that nothing is doubled.

use std::fs;

use crate::support::process::Process;
use crate::support::transcript::finished_lines;
use crate::support::{Program, Scene, copy};

fn ada(scene: &Scene, broker: std::net::SocketAddr) -> Program {
    let node = scene.node(broker).args(&["--name", "ada"]);
    node.data_dir(&scene.path("ada"))
}

/// A node of ada that is in the lobby.
fn enter(scene: &Scene, broker: std::net::SocketAddr) -> Process {
    let node = ada(scene, broker).start();
    node.shows("SERVER: ada Joined!");
    node
}

fn leave(mut node: Process) {
    node.type_line("q!");
    node.finish().exited_with(0);
}

/// What a node has shown of the conversation.
fn said(node: &Process) -> Vec<String> {
    let text = node.stdout.text();
    let lines = finished_lines(&text).filter(|line| !line.starts_with("SERVER: "));
    lines.map(str::to_owned).collect()
}

/// JRN-4, JRN-3, DLV-2: a profile that is older than what the broker knows of it goes on as a new
/// device of the same account, says so, and doubles nothing.
#[test]
fn a_profile_restored_from_a_backup_goes_on_as_a_new_device() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let address = broker.address;
    let bob = scene.join(address, "bob");
    let mut node = enter(&scene, address);
    node.type_line("one");
    node.shows("ada: one");
    leave(node);
    copy(&scene.path("ada"), &scene.path("backup"));
    let mut node = enter(&scene, address);
    node.type_line("two");
    node.shows("ada: two");
    leave(node);

    copy(&scene.path("backup"), &scene.path("ada"));
    let mut node = ada(&scene, address).start();
    node.type_line("three");
    node.says("it was restored from a backup, or copied. It goes on as a new device");
    node.shows("ada: three");
    bob.shows("ada: three");
    assert_eq!(said(&bob), ["ada: one", "ada: two", "ada: three"]);
    assert_eq!(said(&node), ["ada: two", "ada: three"]);
    leave(node);
}

/// RUM-10, JRN-3, DLV-2: a broker that is older than what its nodes know says what it has; they say
/// that it is another history, and go on with it.
#[test]
fn a_broker_restored_from_a_backup_is_another_history_and_goes_on() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let address = broker.address;
    let mut node = enter(&scene, address);
    let bob = scene.join(address, "bob");
    node.type_line("one");
    bob.shows("ada: one");
    broker.stop().exited_with(0);
    copy(&scene.path("broker"), &scene.path("backup"));
    let broker = scene.broker_on(address).start_broker();
    node.type_line("two");
    bob.shows("ada: two");
    broker.process.kill();

    copy(&scene.path("backup"), &scene.path("broker"));
    let _broker = scene.broker_on(address).start_broker();
    node.type_line("three");
    for node in [&node, &bob] {
        node.shows("ada: three");
        node.says("the broker has another history of lobby than before");
        assert_eq!(said(node), ["ada: one", "ada: two", "ada: three"]);
    }
    let exported = scene.bare_broker().args(&["export"]);
    let exported = exported
        .data_dir(&scene.path("broker"))
        .run(b"")
        .exited_with(0);
    let texts = ["one", "two", "three"].map(|text| {
        let text = format!("\"text\":\"{text}\"");
        exported.stdout.matches(&text).count()
    });
    assert_eq!(texts, [1, 0, 1], "{exported:#?}");
}

/// CLI-6: a profile that cannot be written to is said in words, and nothing is pretended.
#[test]
fn a_profile_that_is_no_directory_is_said_in_words() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    fs::write(scene.path("ada"), "a file").expect("a file");
    let finished = ada(&scene, broker.address).run(b"hello\n");
    finished.exited_with(73).said("cannot use").showed("");
}

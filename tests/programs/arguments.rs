//! Flags, and the exit codes that scripts go by.

use std::fs;
use std::net::UdpSocket;

use crate::support::{Program, Scene};

/// CLI-6.
#[test]
fn a_flag_that_does_not_exist_is_a_usage_error() {
    let scene = Scene::new();
    for program in [scene.bare_broker(), Program::bare_node(&scene)] {
        program
            .arg("--no-such-flag")
            .run(b"")
            .exited_with(64)
            .said("--no-such-flag")
            .showed("");
    }
}

/// BRK-6.
#[test]
fn a_public_address_is_refused_as_long_as_nobody_could_enter() {
    let scene = Scene::new();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        scene
            .bare_broker()
            .args(&["--listen", listen])
            .run(b"")
            .exited_with(64)
            .said("--access open")
            .said("chat-broker invite")
            .showed("");
    }
    let broker = scene
        .bare_broker()
        .args(&["--listen", "0.0.0.0:0", "--access", "open", "--memory"])
        .start_broker();
    broker.stop().exited_with(0);
}

/// BRK-6, ADM-1: who was invited is remembered, or there is no point in it.
#[test]
fn access_by_invite_needs_a_memory_that_lasts() {
    let scene = Scene::new();
    scene
        .broker()
        .args(&["--access", "invite", "--memory"])
        .run(b"")
        .exited_with(64)
        .said("--memory")
        .showed("");
}

/// CLI-6.
#[test]
fn a_data_directory_that_cannot_be_used_is_said_so() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "not a directory").expect("the scene's directory is ours");
    let below = file.join("below");
    scene
        .bare_broker()
        .args(&["--listen", "127.0.0.1:0"])
        .data_dir(&below)
        .run(b"")
        .exited_with(73)
        .said("file");
    let broker = scene.broker().start_broker();
    scene
        .node(broker.address)
        .data_dir(&below)
        .run(b"ada\n")
        .exited_with(73)
        .said("file")
        .showed("");
    // A broker's directory is in use by one broker.
    scene.broker().run(b"").exited_with(73).showed("");
}

/// CLI-6: at first contact there is no profile yet that could keep the line.
#[test]
fn a_broker_that_was_never_reached_is_said_so() {
    let scene = Scene::new();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port of loopback");
    let address = silent.local_addr().expect("a bound socket has an address");
    scene
        .node(address)
        .args(&["--name", "ada", "--drain", "1s"])
        .run(b"hello\n")
        .exited_with(69);
}

/// CLI-6.
#[test]
fn the_version_names_the_commit() {
    let scene = Scene::new();
    for (program, name) in [
        (scene.bare_broker(), "chat-broker"),
        (Program::bare_node(&scene), "chat-node"),
    ] {
        let version = program.arg("--version").run(b"").exited_with(0).stdout;
        let expected = format!("{name} {} (", env!("CARGO_PKG_VERSION"));
        let hash = version
            .strip_prefix(&expected)
            .and_then(|rest| rest.strip_suffix(")\n"))
            .unwrap_or_else(|| panic!("{version:?}"));
        let is_hash = hash.len() >= 7 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hash || hash == "unknown", "{version:?}");
    }
}

/// CLI-6: the help is read in terminals of 80 columns.
#[test]
fn the_help_fits_80_columns() {
    let scene = Scene::new();
    for program in [scene.bare_broker(), Program::bare_node(&scene)] {
        for flag in ["--help", "-h"] {
            let help = program.clone().arg(flag).run(b"").exited_with(0).stdout;
            let widest = help.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|width| width <= 80), "{help}");
        }
    }
}

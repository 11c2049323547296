//! A second device of somebody: linked by a code, listed, revoked.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::support::process::{Finished, Process};
use crate::support::transcript::finished_lines;
use crate::support::{PATIENCE, Program, Scene, copy};

/// ada at the machine `machine`, which has a directory of its own.
fn ada(scene: &Scene, broker: SocketAddr, machine: &str) -> Program {
    let node = scene.node(broker).called(machine);
    node.data_dir(&scene.path(machine))
}

/// The same, in the lobby.
fn chat(scene: &Scene, broker: SocketAddr, machine: &str) -> Process {
    ada(scene, broker, machine).args(&["--name", "ada"]).start()
}

/// Has `machine` make a code, and returns it and the program that waits.
fn offer(scene: &Scene, broker: SocketAddr, machine: &str) -> (Process, String) {
    let offering = ada(scene, broker, machine).args(&["--name", "ada", "link"]);
    let offering = offering.start();
    let url = offering
        .stdout
        .wait(PATIENCE, |text| {
            finished_lines(text).next().map(str::to_owned)
        })
        .unwrap_or_else(|| offering.fail("no code"));
    assert!(url.starts_with("chat://") && url.contains("&l="), "{url}");
    offering.says("waiting for it");
    (offering, url)
}

fn ask(scene: &Scene, broker: SocketAddr, machine: &str, code: &str) -> Finished {
    let asking = ada(scene, broker, machine).args(&["link", code]);
    asking.run(b"")
}

/// Links `machine` by a code of the desk's. Returns the new device's fingerprint.
fn link(scene: &Scene, broker: SocketAddr, machine: &str) -> String {
    let (mut offering, code) = offer(scene, broker, "desk");
    let asked = ask(scene, broker, machine, &code).exited_with(0);
    let asked = asked.said("linked: this is a device of ada now").showed("");
    let offered = offering.finish().exited_with(0);
    let offered = offered.said("linked: this is a device of ada now");
    let fingerprint = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("  SHA256:"));
        line.expect("a fingerprint").trim().to_owned()
    };
    assert_eq!(fingerprint(&asked.stderr), fingerprint(&offered.stderr));
    fingerprint(&asked.stderr)
}

fn devices(scene: &Scene, broker: SocketAddr, machine: &str, args: &[&str]) -> Finished {
    let listing = ada(scene, broker, machine).args(&["--name", "ada", "devices"]);
    listing.args(args).run(b"")
}

/// CLI-24, CLI-25, DEV-1 to DEV-9, beside a node that is open all the time; under `invite`, where the
/// account is vouched for.
#[test]
fn a_second_device_is_linked_listed_and_revoked() {
    let scene = Scene::new();
    let broker = scene.broker().args(&["--access", "invite"]).start_broker();
    let at = broker.address;
    let invite = scene.bare_broker().args(&["invite", "--data-dir"]);
    let invite = invite.arg(scene.path("broker")).run(b"").exited_with(0);
    let invited = ada(&scene, at, "desk").arg(invite.stdout.trim());
    let mut desk = invited.args(&["--name", "ada"]).start();
    desk.shows("SERVER: ada Joined!");

    let phone_key = link(&scene, at, "phone");
    let mut phone = chat(&scene, at, "phone");
    phone.type_line("from the phone");
    desk.shows("ada: from the phone");
    phone.shows("ada: from the phone");
    desk.type_line("from the desk");
    phone.shows("ada: from the desk");
    broker.counts(1);

    let listed = devices(&scene, at, "desk", &[]).exited_with(0).stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[0].contains("own key") && lines[0].ends_with("here now; this one"));
    assert!(lines[1].starts_with(&phone_key) && lines[1].contains(": linked, "));
    assert!(lines[1].ends_with("here now"), "{listed}");

    let desk_key = lines[0].split(": ").next().expect("a fingerprint");
    let stolen = devices(&scene, at, "phone", &["revoke", desk_key]);
    stolen
        .exited_with(77)
        .said("which has the account's private key");
    let nobody = "0".repeat(64);
    let unknown = devices(&scene, at, "desk", &["revoke", &nobody]);
    unknown.exited_with(64).said("none of the devices");
    let linking = ada(&scene, at, "phone").args(&["--name", "ada", "link"]);
    linking.run(b"").exited_with(77).showed("");

    let revoked = devices(&scene, at, "desk", &["revoke", &phone_key[..20]]);
    revoked.exited_with(0).said("speaks for ada no more");
    phone
        .finish()
        .exited_with(77)
        .said("this device was revoked");
    let back = ada(&scene, at, "phone")
        .args(&["--name", "ada"])
        .run(b"hello\n");
    back.exited_with(77).said("this device was revoked");
    let sent = ada(&scene, at, "phone").args(&["--name", "ada", "send", "hello"]);
    sent.run(b"")
        .exited_with(77)
        .said("this device was revoked");
    desk.type_line("alone again");
    desk.shows("ada: alone again");
    let listed = devices(&scene, at, "desk", &[]).exited_with(0).stdout;
    assert!(
        listed
            .lines()
            .nth(1)
            .is_some_and(|line| line.contains(", revoked "))
    );
    // One account, which has come once and has not left.
    desk.has_shown_exactly(&[
        "SERVER: ada Joined!",
        "ada: from the phone",
        "ada: from the desk",
        "ada: alone again",
    ]);
}

/// DEV-3, DEV-4, CLI-24: once, and for whom it is.
#[test]
fn a_code_that_is_wrong_or_used_links_nobody_and_says_so() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let at = broker.address;
    let desk = chat(&scene, at, "desk");
    desk.shows("SERVER: ada Joined!");
    let (mut offering, code) = offer(&scene, at, "desk");
    let (known, secret) = code.split_once("&l=").expect("it has a secret");
    let wrong = format!("{known}&l={}", "0".repeat(secret.len()));
    ask(&scene, at, "thief", &wrong)
        .exited_with(77)
        .said("the code is wrong");
    ask(&scene, at, "thief", known)
        .exited_with(64)
        .said("no code");
    ada(&scene, at, "thief")
        .arg(&code)
        .run(b"")
        .exited_with(64)
        .said("chat-node link CODE");
    ask(&scene, at, "phone", &code).exited_with(0);
    offering.finish().exited_with(0);
    ask(&scene, at, "thief", &code)
        .exited_with(77)
        .said("was used before");
    assert!(!scene.path("thief").join("profiles").exists());

    // Whoever takes the code back has nobody linked by it.
    let (mut offering, code) = offer(&scene, at, "desk");
    offering.signal(rustix::process::Signal::INT);
    offering.finish().exited_with(130);
    ask(&scene, at, "tablet", &code).exited_with(77);

    ada(&scene, at, "nowhere")
        .args(&["link"])
        .run(b"")
        .exited_with(73)
        .said("nobody here");
}

/// DEV-6, CLI-26, JRN-10, JRN-4: a linked device without its journal, or with an old one, says what to do,
/// and what waits there is sent when that is done.
#[test]
fn a_linked_device_that_has_lost_its_memory_is_linked_again() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let at = broker.address;
    let desk = chat(&scene, at, "desk");
    desk.shows("SERVER: ada Joined!");
    link(&scene, at, "phone");
    let say = |text: &str| {
        let sending = ada(&scene, at, "phone").args(&["--name", "ada", "send", text]);
        sending.run(b"")
    };
    say("one").exited_with(0);
    copy(&scene.path("phone"), &scene.path("backup"));
    say("two").exited_with(0);
    fs::remove_dir_all(scene.path("phone")).expect("it is there");
    copy(&scene.path("backup"), &scene.path("phone"));
    say("three").exited_with(75).said("chat-node link CODE");
    let node = ada(&scene, at, "phone").args(&["--name", "ada"]);
    let again = node.run(b"");
    assert!([75, 77].contains(&again.code), "{again:#?}");
    again.said("chat-node link CODE");

    link(&scene, at, "phone");
    let mut phone = chat(&scene, at, "phone");
    for text in ["one", "two", "three"] {
        desk.shows(&format!("ada: {text}"));
    }
    phone.type_line("q!");
    phone.finish().exited_with(0);
    let said: Vec<String> = finished_lines(&desk.stdout.text())
        .map(str::to_owned)
        .collect();
    let expected = ["SERVER: ada Joined!", "ada: one", "ada: two", "ada: three"];
    assert_eq!(said, expected);

    for entry in fs::read_dir(profile(&scene.path("phone"))).expect("it is there") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains("journal.db") {
            fs::remove_file(path).expect("it is there");
        }
    }
    say("four").exited_with(73).said("is gone");
    link(&scene, at, "phone");
    say("five").exited_with(0);
    desk.shows("ada: five");
}

/// CLI-28, DEV-8: the host calls a device back too, while the broker runs.
#[test]
fn the_host_lists_and_revokes_the_devices_of_somebody() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let at = broker.address;
    let desk = chat(&scene, at, "desk");
    desk.shows("SERVER: ada Joined!");
    let phone_key = link(&scene, at, "phone");
    let mut phone = chat(&scene, at, "phone");
    phone.type_line("hello");
    desk.shows("ada: hello");
    let host = |args: &[&str]| {
        let host = scene.bare_broker().data_dir(&scene.path("broker"));
        host.arg("devices").args(args).run(b"")
    };
    let listed = host(&["ada"]).exited_with(0).stdout;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains(&format!("{phone_key}: linked")), "{listed}");
    host(&["bob"]).exited_with(64).said("nobody is called bob");
    host(&["ada", "revoke", "00000000"]).exited_with(64);
    host(&["ada", "revoke", &phone_key]).exited_with(0);
    phone
        .finish()
        .exited_with(77)
        .said("this device was revoked");
    let listed = host(&["ada"]).exited_with(0).stdout;
    assert_eq!(listed.matches(", revoked ").count(), 1, "{listed}");
}

/// The one profile of a machine.
fn profile(machine: &Path) -> std::path::PathBuf {
    let only = |dir: &Path| {
        let entry = fs::read_dir(dir).expect("a directory").next();
        entry.expect("an entry").expect("an entry").path()
    };
    only(&only(&machine.join("profiles")))
}

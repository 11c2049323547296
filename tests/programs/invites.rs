//! Letting people in, and keeping others out.

use crate::support::process::{Broker, Finished};
use crate::support::{Program, Scene};

/// `chat-broker invite` for the broker of the scene.
fn invite(scene: &Scene, args: &[&str]) -> Program {
    scene
        .bare_broker()
        .called("invite")
        .args(&["invite", "--data-dir"])
        .arg(scene.path("broker"))
        .args(args)
}

/// The URL of a new invite.
fn url(scene: &Scene, args: &[&str]) -> String {
    let made = invite(scene, args).run(b"").exited_with(0);
    let url = made.stdout.strip_suffix('\n').expect("one line");
    assert!(url.starts_with("chat://") && !url.contains('\n'), "{url}");
    url.to_owned()
}

fn by_invite(scene: &Scene) -> Broker {
    scene.broker().args(&["--access", "invite"]).start_broker()
}

/// Comes as `name`, says a line, and leaves.
fn visit(scene: &Scene, broker: &Broker, url: &str, name: &str) -> Finished {
    scene
        .node(broker.address)
        .called(name)
        .arg(url)
        .args(&["--name", name])
        .run(b"hello\n")
}

/// CLI-19, ADM-1, ADM-3: the broker runs all the time.
#[test]
fn who_has_the_url_of_an_invite_comes_in_as_often_as_it_says() {
    let scene = Scene::new();
    let broker = by_invite(&scene);
    let one = url(&scene, &[]);
    assert!(one.contains(&broker.address.to_string()), "{one}");
    let ada = visit(&scene, &broker, &one, "ada").exited_with(0);
    ada.showed("SERVER: ada Joined!\nada: hello\nLeaving chat!\n");
    visit(&scene, &broker, &one, "bob")
        .exited_with(77)
        .said("used as often as it may be")
        .showed("");
    // Who has come in before needs no invite, and a used one does no harm.
    visit(&scene, &broker, &one, "ada").exited_with(0);
    let again = scene.node(broker.address).args(&["--name", "ada"]);
    again.run(b"again\n").exited_with(0);

    let two = url(&scene, &["--uses", "2", "--room", "den", "--expires", "1h"]);
    let bob = visit(&scene, &broker, &two, "bob").exited_with(0);
    bob.showed("SERVER: bob Joined!\nbob: hello\nLeaving chat!\n");
    let list = invite(&scene, &["list"]).run(b"").exited_with(0).stdout;
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("1: 1 person, until "), "{list}");
    assert!(lines[0].ends_with("came in by it: ada"), "{list}");
    assert!(lines[1].contains("to den, made"), "{list}");
    assert!(lines[1].ends_with("came in by it: bob"), "{list}");
    let doctor = scene.bare_broker().arg("doctor");
    let doctor = doctor.arg("--data-dir").arg(scene.path("broker")).run(b"");
    assert!(doctor.exited_with(0).stdout.contains("0 faults"));
}

/// CLI-19, ADM-4: each is told why.
#[test]
fn an_invite_that_is_over_lets_nobody_in_and_says_so() {
    let scene = Scene::new();
    let broker = by_invite(&scene);
    let expired = url(&scene, &["--expires", "1ms"]);
    let revoked = url(&scene, &["--uses", "any", "--expires", "never"]);
    visit(&scene, &broker, &revoked, "ada").exited_with(0);
    invite(&scene, &["revoke", "2"]).run(b"").exited_with(0);
    invite(&scene, &["revoke", "2"]).run(b"").exited_with(64);
    let (known, secret) = revoked.split_once("&i=").expect("it has a secret");
    let unknown = format!("{known}&i={}", "0".repeat(secret.len()));
    for (url, why) in [
        (expired.as_str(), "the invite has expired"),
        (&revoked, "the invite was revoked"),
        (&unknown, "no such invite"),
        (known, "ask for an invite"),
    ] {
        let out = visit(&scene, &broker, url, "bob").exited_with(77);
        out.said(why).showed("");
        let sent = scene.node(broker.address).arg(url);
        let sent = sent.args(&["--name", "cy", "send", "hello"]).run(b"");
        sent.exited_with(77).said(why).showed("");
    }
    // Who came in before stays in.
    visit(&scene, &broker, &revoked, "ada").exited_with(0);
}

/// ADM-5, ADR-8: who has no URL gets no answer at all.
#[test]
fn a_broker_by_invite_does_not_answer_strangers() {
    let scene = Scene::new();
    let broker = by_invite(&scene);
    scene
        .node(broker.address)
        .args(&["--name", "eve", "--drain", "1s"])
        .run(b"hello\n")
        .exited_with(69)
        .showed("Leaving chat!\n");
    let broker = broker.stop().exited_with(0);
    assert!(broker.stderr.contains("first_contact"), "{broker:#?}");
    assert!(!broker.stdout.contains("People in chat: 1"), "{broker:#?}");
}

/// BRK-6, CLI-19: the first invite is made before the broker has ever run.
#[test]
fn a_broker_starts_at_a_public_address_once_somebody_is_invited() {
    let scene = Scene::new();
    let url = url(&scene, &["--at", "chat.example"]);
    assert!(url.starts_with("chat://chat.example:20001#k="), "{url}");
    let broker = scene.broker_on(([0, 0, 0, 0], 0)).start_broker();
    let port = broker.address.port();
    let here = url.replace("chat.example:20001", &format!("127.0.0.1:{port}"));
    let ada = visit(&scene, &broker, &here, "ada").exited_with(0);
    ada.showed("SERVER: ada Joined!\nada: hello\nLeaving chat!\n");
}

/// CLI-19: a telephone can read it from the screen.
#[test]
fn at_a_terminal_the_url_is_shown_as_a_picture_too() {
    let scene = Scene::new();
    let _broker = by_invite(&scene);
    let mut made = invite(&scene, &["--at", "[2001:db8::7]:7"]).start_in_terminal();
    made.shows("chat://[2001:db8::7]:7#k=");
    made.shows("▀");
    assert_eq!(made.finish(), 0);
}

/// CLI-22, ROL-7.
#[test]
fn whoever_made_the_room_invites_others_from_within() {
    let scene = Scene::new();
    let broker = by_invite(&scene);
    let first = url(&scene, &["--uses", "2"]);
    let node = |name: &str, url: &str| {
        let node = scene.node(broker.address).called(name).arg(url);
        let node = node.args(&["--name", name]).start();
        node.shows(&format!("SERVER: {name} Joined!"));
        node
    };
    let mut ada = node("ada", &first);
    let mut bob = node("bob", &first);
    bob.type_line("/invite");
    bob.says("-- the broker makes no invite: that is for a higher role to decide --");
    ada.type_line("/invite 2");
    ada.says("-- invite 2, for 7 days: chat://");
    let said = ada.stderr.text();
    let made = said
        .split_whitespace()
        .find(|word| word.starts_with("chat://"));
    visit(&scene, &broker, made.expect("a URL"), "cy").exited_with(0);
    bob.shows("cy: hello");
}

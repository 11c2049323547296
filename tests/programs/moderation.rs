//! Keeping order in a room.

use crate::support::process::Process;
use crate::support::{Program, Scene};

/// `chat-broker` with these words, for the broker of the scene.
fn operator(scene: &Scene, args: &[&str]) -> Program {
    let program = scene.bare_broker().called("operator").args(args);
    program.arg("--data-dir").arg(scene.path("broker"))
}

fn says_and_shows(who: &mut Process, text: &str, line: &str, others: &[&Process]) {
    who.type_line(text);
    who.shows(line);
    others.iter().for_each(|other| other.shows(line));
}

/// CLI-20, CLI-1, ROL-2, ROL-4, ROL-5.
#[test]
fn whoever_made_the_room_keeps_order_in_it_and_everybody_sees_how() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let mut bob = scene.join(broker.address, "bob");
    let cy = scene.join(broker.address, "cy");

    bob.type_line("/kick cy");
    bob.says("-- the broker does not do that: that is for a higher role to decide --");
    says_and_shows(
        &mut ada,
        "/mute bob 1h",
        "SERVER: ada muted bob for 1h",
        &[&bob, &cy],
    );
    bob.type_line("hello?");
    bob.says("-- the broker refused a line: muted in the room for another ");
    says_and_shows(&mut ada, "/unmute bob", "SERVER: ada unmuted bob", &[&bob]);
    let made = "SERVER: ada made cy moderator";
    says_and_shows(&mut ada, "/role cy moderator", made, &[&cy]);
    says_and_shows(&mut ada, "/ban bob", "SERVER: ada banned bob", &[&cy]);
    cy.shows("SERVER: bob Left!");
    bob.says("-- you are not in lobby any more: banned from the room, by ada --");
    bob.type_line("/join lobby");
    bob.says("banned from the room");
    bob.type_line("q!");
    bob.finish();
    // Who is banned is told so from the start.
    let refused = scene.node(broker.address).args(&["--name", "bob"]).run(b"");
    refused
        .exited_with(77)
        .said("banned from the room")
        .showed("");

    says_and_shows(&mut ada, "/unban bob", "SERVER: ada unbanned bob", &[&cy]);
    let mut bob = scene.join(broker.address, "bob");
    says_and_shows(&mut bob, "thank you", "bob: thank you", &[&ada, &cy]);
    let out = broker.stop().exited_with(0);
    assert!(out.stderr.contains("decision=ban bob"), "{out:#?}");
}

/// CLI-21, ROL-6: while the broker runs, and while it does not.
#[test]
fn the_operator_decides_beside_the_broker() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let bob = scene.join(broker.address, "bob");
    operator(&scene, &["kick", "ada"]).run(b"").exited_with(0);
    bob.shows("SERVER: ada was kicked");
    ada.says("-- you are not in lobby any more: kicked out of the room, by SERVER --");
    operator(&scene, &["kick", "--room", "lobby", "ada"])
        .run(b"")
        .exited_with(77)
        .said("nobody of that name is a member");
    ada.type_line("/join lobby");
    bob.shows_times("SERVER: ada Joined!", 1);

    let address = broker.address;
    broker.stop().exited_with(0);
    operator(&scene, &["mute", "ada"]).run(b"").exited_with(0);
    let broker = scene.broker_on(address).start_broker();
    bob.shows("SERVER: ada was muted");
    ada.type_line("hello?");
    ada.says("-- the broker refused a line: muted in the room --");
    for words in [["unmute", "ada"], ["ban", "ada"], ["unban", "ada"]] {
        operator(&scene, &words).run(b"").exited_with(0);
    }
    bob.shows("SERVER: ada was unbanned");
    drop((ada, bob));
    broker.stop().exited_with(0);
    let doctor = operator(&scene, &["doctor"]).run(b"").exited_with(0);
    assert!(doctor.stdout.contains("0 faults"), "{doctor:#?}");
    let export = operator(&scene, &["export"]).run(b"").exited_with(0).stdout;
    let banned = r#""decision":"ban""#;
    assert!(
        export.contains(banned) && export.contains(r#""from":"SERVER""#),
        "{export}"
    );
}

/// JSN-2, JSN-5.
#[test]
fn programs_decide_and_are_told_in_objects() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let json = |name| scene.node(broker.address).args(&["--json", "--name", name]);
    let mut ada = json("ada").called("ada").start();
    ada.shows(r#"{"room":"lobby","type":"joined"}"#);
    let bob = json("bob").called("bob").start();
    bob.shows(r#"{"room":"lobby","type":"joined"}"#);
    ada.type_line(r#"{"type":"mute","name":"bob","seconds":60}"#);
    let shows = |who: &Process, words: &'static str| {
        who.shows_until(crate::support::PATIENCE, |text| text.contains(words));
    };
    shows(&bob, r#""decision":"mute""#);
    shows(&bob, r#""seconds":60"#);
    ada.type_line(r#"{"type":"kick","name":"bob"}"#);
    let removed =
        r#"{"code":24,"reason":"kicked out of the room, by ada","room":"lobby","type":"removed"}"#;
    bob.shows(removed);
    shows(&ada, r#""about":"bob","account":"#);
}

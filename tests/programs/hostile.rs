//! A member who means harm: with names, with lines, with rooms.

use tertulia::chat::{Kind, Publication, Refusal, visible};

use crate::support::process::Process;
use crate::support::raw::RawMember;
use crate::support::{PATIENCE, Scene};

/// What a broker's own memory may grow by for 1,000 rooms and 16 links, in KiB.
const ROOMS_GROWTH_KIB_MAX: u64 = 24 << 10;
/// What would act on a terminal, be unseen, or pass for somebody else's words.
const TEXTS: [&str; 12] = [
    "\x1b[2J\x1b[Hgone",
    "\x1b]0;owned\x07",
    "\x1b]52;c;cm0gLXJmIH4=\x1b\\",
    "\u{9b}31mred",
    "back\x08\x08\x08\x08",
    "over\rSERVER: ada Left!",
    "\u{202e}dlrow olleh",
    "\u{2066}isolated",
    "zero\u{200b}width\u{2060}\u{feff}",
    "tags\u{e0068}\u{e0069}",
    "para\u{2029}graph",
    "\x7f\0\x0b\x0c",
];

fn message(n: u64, body: impl Into<Vec<u8>>) -> Publication {
    Publication {
        n,
        typed_at_ms: 1,
        kind: Kind::Message,
        body: body.into().into(),
    }
}

/// Waits until a program has written `text`.
fn writes(program: &Process, text: &str) {
    let written = |all: &str| all.contains(text).then_some(());
    let written = program.stdout.wait(PATIENCE, written);
    written.unwrap_or_else(|| program.fail(&format!("never wrote {text:?}")));
}

/// SGN-3, SGN-8: whatever the program that asks.
#[test]
fn nobody_gets_a_name_that_deceives() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let ace = scene.join(broker.address, "Ace");
    let mut mallory = RawMember::connect(broker.address, 7, 8);
    for text in TEXTS {
        assert_eq!(
            mallory.sign_in(text),
            Some(Refusal::NameInvalid),
            "{text:?}"
        );
    }
    for invalid in [
        "SERVER",
        "sеrver",
        "ace:",
        "ace∶",
        "\u{200f}ace",
        "a\u{301}\u{301}\u{301}\u{301}\u{301}",
    ] {
        assert_eq!(
            mallory.sign_in(invalid),
            Some(Refusal::NameInvalid),
            "{invalid:?}"
        );
    }
    assert_eq!(
        mallory.sign_in(&"x".repeat(60_000)),
        Some(Refusal::NameInvalid)
    );
    for alike in ["асе", "АСЕ", "аСе"] {
        assert_eq!(mallory.sign_in(alike), Some(Refusal::NameAlike), "{alike}");
    }
    for taken in ["ace", " ACE ", "ａｃｅ"] {
        assert_eq!(mallory.sign_in(taken), Some(Refusal::NameTaken), "{taken}");
    }
    assert_eq!(mallory.sign_in("mallory"), None);
    assert_eq!(ace.stdout.text(), "SERVER: Ace Joined!\n");
    let log = broker.stop().exited_with(0).stderr;
    assert_eq!(visible(&log.replace('\n', "")), log.replace('\n', ""));
}

/// CLI-5, JSN-6, PUB-5, LIM-2: what everybody else's screen shows is lines, with a name before each,
/// and JSON holds exactly what was said.
#[test]
fn hostile_lines_leave_screens_undisturbed() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let bob = scene.join(broker.address, "bob");
    let program = scene
        .node(broker.address)
        .args(&["--json", "--name", "reader"])
        .start();
    writes(&program, "\"online\"");
    let carol = scene
        .node(broker.address)
        .arg("--name")
        .arg("carol")
        .start_in_terminal();
    carol.shows("SERVER: carol Joined!");
    bob.shows("SERVER: carol Joined!");

    let mut mallory = RawMember::connect(broker.address, 7, 8);
    assert_eq!(mallory.sign_in("mallory"), None);
    assert_eq!(mallory.join(1, "lobby"), None);
    let mut n = 0;
    let mut publish = |body: &[u8]| {
        n += 1;
        mallory.publish(1, message(n, body))
    };
    for text in TEXTS {
        assert_eq!(publish(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(publish(b"one\nSERVER: ada Joined!"), Some(Refusal::BadText));
    assert_eq!(publish(b"\xff\xfe"), Some(Refusal::BadText));
    assert_eq!(publish(&[b'x'; 60_000]), Some(Refusal::TooLong));
    assert_eq!(publish(b"that was all"), None);

    bob.shows("mallory: that was all");
    carol.shows("mallory: that was all");
    writes(&program, "that was all");
    let shown = bob.stdout.text();
    let lines: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("mallory: "))
        .collect();
    assert_eq!(lines.len(), TEXTS.len() + 1, "{shown}");
    for (line, text) in lines.iter().zip(TEXTS) {
        assert_eq!(line.strip_prefix("mallory: "), Some(&*visible(text)));
        assert_eq!(visible(line), *line);
    }
    // A prompt makes room for what arrives by these, and by nothing else.
    let screen = carol
        .screen
        .text()
        .replace("\r\x1b[K", "")
        .replace("\r\n", "\n");
    assert_eq!(visible(&screen.replace('\n', "")), screen.replace('\n', ""));
    let written = program.stdout.text();
    assert_eq!(
        visible(&written.replace('\n', "")),
        written.replace('\n', "")
    );
    let texts = written.lines().filter_map(|line| {
        let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let is_hers = object["type"] == "line" && object["from"] == "mallory";
        is_hers.then(|| object["text"].as_str().expect("a text").to_owned())
    });
    assert!(texts.take(TEXTS.len()).eq(TEXTS));
}

/// LIM-4, LIM-5, SGN-8, DLV-1: rooms by the thousand cost what they may, and nobody a line.
#[test]
fn a_thousand_rooms_cost_little_and_disturb_nobody() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let bob = scene.join(broker.address, "bob");
    let before = broker.process.anonymous_kib();
    let mut links = Vec::new();
    let mut let_in = 0;
    for device in 0..16 {
        let mut mallory = RawMember::connect(broker.address, 7, 100 + device);
        assert_eq!(mallory.sign_in("mallory"), None);
        for channel in 1..64 {
            let number = u32::from(device) * 63 + u32::from(channel);
            let_in += u32::from(mallory.join(channel, &format!("room {number}")).is_none());
        }
        ada.type_line(&format!("line {device}"));
        links.push(mallory);
    }
    ada.type_line("the last");
    bob.shows("ada: the last");
    let said: Vec<String> = (0..16).map(|line| format!("ada: line {line}")).collect();
    let shown = bob.stdout.text();
    let heard: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("ada: line"))
        .collect();
    assert_eq!(heard, said);
    assert!(!shown.contains("mallory"), "{shown}");
    let growth = broker.process.anonymous_kib().saturating_sub(before);
    println!("{let_in} rooms, {growth} KiB");
    assert!(growth < ROOMS_GROWTH_KIB_MAX, "{growth} KiB");
}

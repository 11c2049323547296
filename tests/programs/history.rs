//! What was said earlier, who may read it, and who has what was said.

use std::net::SocketAddr;

use crate::support::Scene;
use crate::support::process::Process;

/// A node that tells what becomes of its lines.
fn join_with_states(scene: &Scene, broker: SocketAddr, name: &str) -> Process {
    scene.join_with(scene.node(broker).arg("--states"), name)
}

/// The lines of stderr.
fn said(node: &Process) -> Vec<String> {
    let text = node.stderr.text();
    text.lines().map(str::to_owned).collect()
}

/// The earlier lines that were told, without their times.
fn earlier(node: &Process) -> Vec<String> {
    let lines = said(node).into_iter().filter(|line| line.starts_with("| "));
    let without_time = |line: String| {
        let mut words = line.splitn(4, ' ').skip(1);
        let (seq, _, what) = (words.next(), words.next(), words.next());
        format!("{} {}", seq.unwrap_or_default(), what.unwrap_or_default())
    };
    lines.map(without_time).collect()
}

/// CLI-17, HST-2: earlier lines are told beside the conversation, page by page, and stdout stays
/// what it was.
#[test]
fn a_newcomer_reads_back_page_by_page() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    for text in ["one", "two\u{202e}", "three"] {
        ada.type_line(text);
    }
    ada.shows("ada: three");
    let mut bob = scene.join(broker.address, "bob");
    bob.type_line("/history 2");
    bob.says("-- earlier in lobby: lines 3 to 4; /history shows those before --");
    assert_eq!(earlier(&bob), ["3 ada: two<U+202E>", "4 ada: three"]);
    bob.type_line("/history");
    bob.says("-- earlier in lobby: lines 1 to 2; that is its beginning --");
    let pages = earlier(&bob);
    assert_eq!(pages[2..], ["1 -- ada became a member --", "2 ada: one"]);
    bob.type_line("/history");
    bob.says("-- nothing earlier in lobby: that is its beginning --");
    bob.type_line("hello");
    bob.shows("bob: hello");
    bob.has_shown_exactly(&["SERVER: bob Joined!", "bob: hello"]);
}

/// RUM-16, CLI-3, CLI-17: with since-join, what was said before is not to be had in any way; only
/// whoever made the room decides.
#[test]
fn a_newcomer_under_since_join_sees_nothing_from_before() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    ada.type_line("a secret");
    ada.shows("ada: a secret");
    ada.type_line("/policy since-join");
    let decided =
        "-- ada has decided for lobby: a member may read what was said since it became one --";
    ada.says(decided);
    let bob = scene.node(broker.address).args(&["--history", "100"]);
    let mut bob = scene.join_with(bob, "bob");
    bob.type_line("/history 100");
    bob.says("-- nothing earlier in lobby: lines 1 to 3 are not for you to read --");
    bob.type_line("/policy all");
    bob.says("-- the broker does not change who may read earlier lines: ");
    ada.type_line("welcome");
    bob.shows("ada: welcome");
    bob.has_shown_exactly(&["SERVER: bob Joined!", "ada: welcome"]);
    let tail = scene
        .node(broker.address)
        .args(&["--name", "eve", "tail", "--from", "1"]);
    let tail = tail.called("tail").start();
    tail.says("-- lines 1 to ");
    ada.type_line("hello eve");
    tail.shows("ada: hello eve");
    tail.has_shown_exactly(&["ada: hello eve"]);
    // It can be undone, and then everything is there.
    ada.type_line("/policy all");
    bob.says("-- ada has decided for lobby: every member may read everything --");
    bob.type_line("/history 3");
    bob.says("-- earlier in lobby: lines 1 to 3; that is its beginning --");
    assert_eq!(earlier(&bob)[1], "2 ada: a secret");
}

/// CLI-18, CLI-17, RUM-12: who was away as a stranger is told what did not come, and may read it
/// where the room allows.
#[test]
fn a_hole_is_said_as_a_hole() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let mut bob = scene.join(broker.address, "bob");
    ada.type_line("one");
    bob.shows("ada: one");
    bob.type_line("/leave");
    bob.says("-- you have left lobby --");
    for text in ["two", "three"] {
        ada.type_line(text);
    }
    ada.shows("ada: three");
    bob.type_line("/join lobby");
    bob.shows_times("SERVER: bob Joined!", 2);
    let hole = "-- lines 4 to 6 of lobby did not come here: /history shows what you may read --";
    bob.says(hole);
    bob.type_line("/history 3");
    bob.says("-- earlier in lobby: lines 4 to 6; /history shows those before --");
    let expected = [
        "4 -- bob is no member any more --",
        "5 ada: two",
        "6 ada: three",
    ];
    assert_eq!(earlier(&bob), expected);
    let holes = said(&bob)
        .into_iter()
        .filter(|line| line.contains("did not come"));
    assert_eq!(holes.count(), 1);
}

/// CLI-18: also to the next process of who left the room.
#[test]
fn a_hole_is_said_after_a_restart_too() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let mut bob = scene.join(broker.address, "bob");
    ada.type_line("one");
    bob.shows("ada: one");
    bob.type_line("/leave");
    bob.says("-- you have left lobby --");
    bob.type_line("q!");
    bob.finish().exited_with(0);
    ada.type_line("two");
    ada.shows("ada: two");
    let bob = scene.join(broker.address, "bob");
    bob.says("-- lines 4 to 5 of lobby did not come here: /history shows what you may read --");
    let mut bob = bob;
    bob.type_line("q!");
    bob.finish().exited_with(0);
    let mut bob = scene.join(broker.address, "bob");
    bob.type_line("three");
    bob.shows("bob: three");
    assert!(!bob.stderr.text().contains("did not come"), "said once");
}

/// STA-3, CLI-14: those who are away count, and are counted when they come back.
#[test]
fn delivered_counts_up_when_an_absent_member_returns() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = join_with_states(&scene, broker.address, "ada");
    ada.type_line("anybody?");
    ada.says("-- stored in lobby as line 2 --");
    ada.says("-- line 2 of lobby: nobody else is to have it --");
    let mut bob = scene.join(broker.address, "bob");
    let _eve = scene.join(broker.address, "eve");
    bob.shows("SERVER: eve Joined!");
    bob.end_input();
    bob.finish().exited_with(0);
    ada.shows("SERVER: bob Left!");
    ada.type_line("here?");
    ada.says("-- line 5 of lobby: delivered to 1 of 2 --");
    let bob = scene.join(broker.address, "bob");
    ada.says("-- line 5 of lobby: delivered to 2 of 2 --");
    bob.shows("ada: here?");
    let text = ada.stderr.text();
    let stored = text.find("stored in lobby as line 5");
    let delivered = text.find("line 5 of lobby: delivered to 2 of 2");
    assert!(stored.is_some() && stored < delivered, "{text}");
}

/// JSN-2, JSN-3: the same for programs.
#[test]
fn a_program_asks_for_earlier_lines_and_is_told_who_has_its_own() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let ada = scene.join(broker.address, "ada");
    let bot = scene
        .node(broker.address)
        .args(&["--json", "--states", "--name", "bot"]);
    let mut bot = bot.called("bot").start();
    let shows = |bot: &Process, words: &[&str]| {
        bot.shows_until(crate::support::PATIENCE, |text| {
            let has_all = |line: &str| words.iter().all(|word| line.contains(word));
            text.lines().any(has_all)
        });
    };
    bot.type_line(r#"{"type":"say","text":"beep"}"#);
    shows(&bot, &[r#""type":"stored""#, r#""seq":3"#]);
    let delivered = [r#""type":"delivered""#, r#""k":1,"n":1"#, r#""seq":3"#];
    shows(&bot, &delivered);
    bot.type_line(r#"{"type":"history","count":9}"#);
    shows(
        &bot,
        &[
            r#""type":"past""#,
            r#""kind":"member_joined""#,
            r#""seq":1,"#,
        ],
    );
    shows(
        &bot,
        &[
            r#""type":"history_end""#,
            r#""count":1"#,
            r#""earlier":false"#,
        ],
    );
    bot.type_line(r#"{"type":"history","count":1,"before":1}"#);
    shows(&bot, &[r#""type":"history_end""#, r#""count":0"#]);
    bot.type_line(r#"{"type":"policy","history":"since-join"}"#);
    shows(&bot, &[r#""type":"not_stored""#, r#""code":4"#]);
    ada.shows("bot: beep");
    bot.end_input();
    let finished = bot.finish().exited_with(0);
    let lines = finished.stdout.lines();
    let objects = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
    assert!(
        objects.into_iter().all(|is_object| is_object),
        "{}",
        finished.stdout
    );
}

//! Nodes that are killed without a word, and go on.

use rustix::process::Signal;

use crate::support::Scene;
use crate::support::process::Finished;
use crate::support::transcript::count_of;

/// What was said on the screens of one node after another, without the notices.
fn said(screens: &[Finished]) -> Vec<Vec<String>> {
    let lines = |screen: &Finished| {
        let lines = screen.stdout.split_inclusive('\n');
        let whole = lines.filter_map(|line| line.strip_suffix('\n'));
        let said = whole.filter(|line| line.starts_with("bob: "));
        said.map(str::to_owned).collect()
    };
    screens.iter().map(lines).collect()
}

/// JRN-1, JRN-2, NOD-2, PUB-6: what was typed without a broker survives the node's death, and is
/// sent by the next one, once.
#[test]
fn lines_survive_the_death_of_node_and_broker_and_are_sent_once() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let address = broker.address;
    let bob = scene.join(address, "bob");
    let mut ada = scene.join(address, "ada");
    broker.process.kill();
    ada.type_bytes(b"one\ntwo\n");
    ada.says("2 lines waiting");
    ada.kill();

    let again = scene.node(address).args(&["--name", "ada"]).start();
    again.says("2 lines from before are still waiting, they will send themselves");
    again.signal(Signal::KILL);
    let _broker = scene.broker_on(address).start_broker();
    let mut ada = scene.node(address).args(&["--name", "ada"]).start();
    for node in [&bob, &ada] {
        node.shows("ada: two");
        let text = node.stdout.text();
        assert_eq!(
            (count_of(&text, "ada: one"), count_of(&text, "ada: two")),
            (1, 1)
        );
        assert!(text.find("ada: one") < text.find("ada: two"), "{text}");
    }
    ada.type_line("three");
    bob.shows("ada: three");
}

/// CLI-6, NOD-4, JRN-2: what leaving gave up on is kept, also for a room that nobody asks for then.
#[test]
fn what_leaving_gives_up_on_is_kept_and_sent_the_next_time() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let address = broker.address;
    let den = scene
        .node(address)
        .args(&["--name", "bob", "--room", "den"])
        .start();
    den.shows("SERVER: bob Joined!");
    let node = scene
        .node(address)
        .args(&["--room", "den", "--drain", "100ms"]);
    let mut ada = scene.join_with(node, "ada");
    broker.process.kill();
    ada.type_bytes(b"one\ntwo\n");
    ada.end_input();
    ada.finish().exited_with(75).said("2 lines kept");

    let _broker = scene.broker_on(address).start_broker();
    let ada = scene
        .node(address)
        .args(&["--name", "ada", "--room", "attic"])
        .start();
    ada.shows("SERVER: ada Joined!");
    den.shows("ada: two");
    let text = den.stdout.text();
    assert_eq!(
        (count_of(&text, "ada: one"), count_of(&text, "ada: two")),
        (1, 1)
    );
}

/// CLI-11, DLV-1, DLV-3: on the screens of a node that is killed again and again nothing is
/// missing, nothing out of order, and little repeated.
#[test]
fn the_screens_of_a_node_that_is_killed_again_and_again_show_everything() {
    const LINES: usize = 400;
    const KILLS: usize = 4;
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut bob = scene.join(broker.address, "bob");
    let mut screens = Vec::new();
    for life in 0..=KILLS {
        let mut ada = scene.node(broker.address).args(&["--name", "ada"]).start();
        if life == 0 {
            ada.shows("SERVER: ada Joined!");
        }
        let (from, until) = (life * LINES / (KILLS + 1), (life + 1) * LINES / (KILLS + 1));
        for n in from..until {
            bob.type_line(&n.to_string());
        }
        if life < KILLS {
            // Somewhere in the middle of it.
            ada.shows(&format!("bob: {}", (from + until) / 2));
            ada.signal(Signal::KILL);
        } else {
            ada.shows(&format!("bob: {}", LINES - 1));
            ada.end_input();
        }
        screens.push(ada.finish());
    }
    let mut next = 0;
    for (life, lines) in said(&screens).into_iter().enumerate() {
        let first = lines
            .first()
            .map_or(next, |line| line[5..].parse().unwrap());
        assert!(
            first <= next,
            "life {life} begins with {first} instead of {next}"
        );
        assert!(
            next - first <= 64,
            "life {life} repeats {} lines",
            next - first
        );
        for (n, line) in (first..).zip(&lines) {
            assert_eq!(*line, format!("bob: {n}"), "life {life}");
        }
        if first < next {
            let stderr = &screens[life].stderr;
            assert!(stderr.contains("may be repeated"), "life {life}: {stderr}");
        }
        next = first + lines.len();
    }
    assert_eq!(next, LINES);
}

/// CLI-11: a node that left in good order repeats nothing, and shows what it missed.
#[test]
fn a_member_who_returns_sees_what_it_missed_and_nothing_twice() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut bob = scene.join(broker.address, "bob");
    let mut ada = scene.join(broker.address, "ada");
    bob.type_line("one");
    ada.shows("bob: one");
    ada.type_line("q!");
    ada.finish().exited_with(0);
    bob.shows("SERVER: ada Left!");
    bob.type_line("two");
    bob.shows("bob: two");
    let ada = scene.join(broker.address, "ada");
    ada.has_shown_exactly(&["bob: two", "SERVER: ada Joined!"]);
    assert!(
        !ada.stderr.text().contains("repeated"),
        "{}",
        ada.stderr.text()
    );
}

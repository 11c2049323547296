//! `chat-node send` and `chat-node tail`, as scripts use them.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::support::process::Process;
use crate::support::transcript::count_of;
use crate::support::{Program, Scene};

fn send(scene: &Scene, broker: SocketAddr, text: &str) -> Program {
    scene.node(broker).args(&["send", "--name", "ada", text])
}

fn tail(scene: &Scene, broker: SocketAddr, flags: &[&str]) -> Process {
    let tail = scene.node(broker).args(&["--name", "bot", "tail"]);
    tail.args(flags).called("tail").start()
}

/// Stops a tail as a script does.
fn stop(mut tail: Process) -> String {
    tail.signal(Signal::TERM);
    tail.finish().exited_with(0).stdout
}

/// CLI-12, RUM-14: 0 means stored, and nobody sees anybody come or go.
#[test]
fn a_line_that_was_sent_is_stored_and_makes_no_noise() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let bob = scene.join(broker.address, "bob");
    for text in ["one", "two"] {
        send(&scene, broker.address, text)
            .run(b"")
            .exited_with(0)
            .showed("");
    }
    // Without a name it is the only one there is; flags go before and after the subcommand.
    let only = scene
        .node(broker.address)
        .args(&["--room", "lobby", "--name", "ada"]);
    only.args(&["send"]).run(b"three\n\nfour\n").exited_with(0);
    bob.shows("ada: four");
    bob.has_shown_exactly(&[
        "SERVER: bob Joined!",
        "ada: one",
        "ada: two",
        "ada: three",
        "ada: four",
    ]);
    broker.counts(1);
}

/// CLI-12, JRN-6: beside an open node, that one sends it.
#[test]
fn a_line_is_sent_by_the_node_that_is_open() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let ada = scene.join(broker.address, "ada");
    let bob = scene.join(broker.address, "bob");
    send(&scene, broker.address, "from a script")
        .run(b"")
        .exited_with(0);
    for node in [&ada, &bob] {
        node.shows("ada: from a script");
    }
    let den = scene
        .node(broker.address)
        .args(&["send", "--name", "ada", "--room", "den", "hi"]);
    den.run(b"").exited_with(0);
    ada.has_shown_exactly(&[
        "SERVER: ada Joined!",
        "SERVER: bob Joined!",
        "ada: from a script",
    ]);
}

/// CLI-12, STA-3: delivered means that those who are present have it, whoever has the link.
#[test]
fn a_line_is_waited_for_until_those_who_are_present_have_it() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let delivered = |text: &str, timeout: &str| {
        let wait = ["--wait", "delivered", "--timeout", timeout];
        send(&scene, broker.address, text).args(&wait).run(b"")
    };
    delivered("to nobody", "60s").exited_with(0);
    let mut bob = scene.join(broker.address, "bob");
    let mut cat = scene.join(broker.address, "cat");
    cat.type_line("q!");
    cat.finish().exited_with(0);
    // A member who is away is not waited for.
    delivered("one", "60s").exited_with(0);
    let ada = scene.join(broker.address, "ada");
    delivered("two", "60s").exited_with(0);
    bob.shows("ada: one");
    bob.shows("ada: two");

    // Present as far as anybody knows, and not listening.
    bob.signal(Signal::STOP);
    delivered("three", "2s")
        .exited_with(75)
        .said("1 line stored, but not everybody who was present has it yet");
    ada.shows("ada: three");
    let mut late = {
        let wait = ["--wait", "delivered", "--timeout", "60s"];
        let late = send(&scene, broker.address, "four").args(&wait);
        late.called("late").start()
    };
    ada.shows("ada: four");
    assert!(!late.has_ended_within(std::time::Duration::ZERO));
    bob.signal(Signal::CONT);
    late.finish().exited_with(0);
    bob.shows("ada: four");
    bob.type_line("q!");
    bob.finish().exited_with(0);
    ada.shows("SERVER: bob Left!");
    // What the scripts received before counts as received by her, and comes first.
    ada.has_shown_exactly(&[
        "ada: to nobody",
        "SERVER: bob Joined!",
        "SERVER: cat Joined!",
        "SERVER: cat Left!",
        "ada: one",
        "SERVER: ada Joined!",
        "ada: two",
        "ada: three",
        "ada: four",
        "SERVER: bob Left!",
    ]);
}

/// CLI-12: who takes the link over waits on for what was sent by another.
#[test]
fn a_line_is_waited_for_by_who_takes_the_link_over() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let bob = scene.join(broker.address, "bob");
    let ada = scene.join(broker.address, "ada");
    bob.signal(Signal::STOP);
    let wait = ["--wait", "delivered", "--timeout", "60s"];
    let mut late = send(&scene, broker.address, "hi").args(&wait).start();
    ada.shows("ada: hi");
    ada.kill();
    assert!(!late.has_ended_within(std::time::Duration::ZERO));
    bob.signal(Signal::CONT);
    late.finish().exited_with(0);
    bob.shows("ada: hi");
}

/// CLI-12, CLI-6: without a broker the line is kept, and sent once, by whoever comes next.
#[test]
fn a_line_that_cannot_be_sent_is_kept_and_sent_once() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let address = broker.address;
    let bob = scene.join(address, "bob");
    send(&scene, address, "zero").run(b"").exited_with(0);
    broker.process.kill();
    let impatient = send(&scene, address, "one").args(&["--timeout", "200ms"]);
    impatient.run(b"").exited_with(75).said("1 line kept");
    let _broker = scene.broker_on(address).start_broker();
    send(&scene, address, "two").run(b"").exited_with(0);
    bob.shows("ada: two");
    let shown = bob.stdout.text();
    let said: Vec<_> = shown
        .lines()
        .filter(|line| line.starts_with("ada: "))
        .collect();
    assert_eq!(said, ["ada: zero", "ada: one", "ada: two"]);
}

/// CLI-6, CLI-12: where nothing can be kept, and where the name is somebody else's.
#[test]
fn what_cannot_be_sent_at_all_says_why() {
    let scene = Scene::new();
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    let first = send(&scene, address, "hi").args(&["--timeout", "200ms"]);
    first.run(b"").exited_with(69).said("no contact");
    let first = scene
        .node(address)
        .args(&["tail", "--name", "bot", "--timeout", "200ms"]);
    first.run(b"").exited_with(69);

    let broker = scene.broker().start_broker();
    let elsewhere = scene
        .node(broker.address)
        .data_dir(&scene.path("elsewhere"));
    let _ada = scene.join_with(elsewhere, "ada");
    send(&scene, broker.address, "hi")
        .run(b"")
        .exited_with(77)
        .said("taken");
    send(&scene, broker.address, "two\nlines")
        .args(&["--wait", "sent"])
        .run(b"")
        .exited_with(64);
    scene
        .node(broker.address)
        .args(&["send", "--name", "eve"])
        .run(b"\xff\n")
        .exited_with(64);
}

/// JRN-6: two at once share one link, and neither is lost.
#[test]
fn two_that_send_at_once_do_not_stand_in_each_others_way() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let bob = scene.join(broker.address, "bob");
    let all: Vec<_> = (0..4)
        .map(|n| send(&scene, broker.address, &n.to_string()).start())
        .collect();
    for mut process in all {
        process.end_input();
        process.finish().exited_with(0);
    }
    for n in 0..4 {
        bob.shows(&format!("ada: {n}"));
        assert_eq!(count_of(&bob.stdout.text(), &format!("ada: {n}")), 1);
    }
}

/// CLI-13, JRN-7: a cursor goes on where it was, also after kill -9, and sees each line in order.
#[test]
fn a_tail_with_a_cursor_goes_on_where_it_was() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut bob = scene.join(broker.address, "bob");
    let first = tail(&scene, broker.address, &["--cursor", "deploy"]);
    // It follows from its start; a line that it has shown says that it has begun.
    let mut n = 0;
    while !first.stdout.text().contains("bob: ") {
        n += 1;
        bob.type_line(&format!("begin {n}"));
        bob.shows(&format!("bob: begin {n}"));
    }
    bob.type_line("one");
    first.shows("bob: one");
    assert!(stop(first).ends_with("bob: one\n"));
    bob.type_line("two");
    bob.shows("bob: two");
    let second = tail(&scene, broker.address, &["--cursor", "deploy"]);
    second.shows("bob: two");
    assert_eq!(stop(second), "bob: two\n");
    // Another name begins for itself, and --from says where.
    let other = tail(&scene, broker.address, &["--from", "1", "--json"]);
    other.shows_until(crate::support::PATIENCE, |text| {
        text.contains("\"text\":\"two\"")
    });
    let text = stop(other);
    assert!(
        text.contains("\"type\":\"line\"") && text.contains("\"from\":\"bob\""),
        "{text}"
    );
    bob.type_line("q!");
    let shown = bob.finish().exited_with(0).stdout;
    assert!(!shown.contains("bot"), "{shown}");
}

/// CLI-13: the cursor moves when the command ends with 0, and only then.
#[test]
fn a_tail_with_a_command_moves_its_cursor_when_that_succeeds() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut bob = scene.join(broker.address, "bob");
    bob.type_bytes(b"good\nbad\nlast\n");
    bob.shows("bob: last");
    let out = scene.path("out");
    let program = |command: String| {
        let tail = scene
            .node(broker.address)
            .args(&["tail", "--name", "bot", "--from", "1"]);
        tail.args(&["--cursor", "c", "--exec", &command]).start()
    };
    let command = format!(
        "line=$(cat); case $line in *':\"bad\"'*) exit 1;; esac; echo $CHAT_SEQ $CHAT_FROM >>{}",
        out.display()
    );
    let mut fails = program(command);
    fails.finish().exited_with(75).said("the command failed");
    let first = std::fs::read_to_string(&out).unwrap();
    assert_eq!(first.lines().count(), 1, "{first}");
    let works = program(format!(
        "echo $CHAT_SEQ $CHAT_FROM >>{}; echo done",
        out.display()
    ));
    works.shows_times("done", 2);
    works.kill();
    let all = std::fs::read_to_string(&out).unwrap();
    let seqs: Vec<u64> = all
        .lines()
        .map(|line| line.strip_suffix(" bob").unwrap().parse().unwrap())
        .collect();
    assert_eq!(
        (seqs.len(), seqs[1] - seqs[0], seqs[2] - seqs[1]),
        (3, 1, 1),
        "{seqs:?}"
    );
}

/// CLI-13, JSN-4: or when the line is acknowledged.
#[test]
fn a_tail_moves_its_cursor_when_it_is_told_to() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut bob = scene.join(broker.address, "bob");
    bob.type_bytes(b"one\ntwo\n");
    bob.shows("bob: two");
    let flags = ["--cursor", "c", "--ack", "--from", "1"];
    let mut first = tail(&scene, broker.address, &flags);
    first.shows("bob: two");
    // bob's own joined line is number 1.
    first.type_line("{\"ack\":2}");
    first.type_line("nonsense");
    first.says("not {\"ack\":SEQ}");
    stop(first);
    let second = tail(&scene, broker.address, &flags);
    second.shows("bob: two");
    assert_eq!(stop(second), "bob: two\n");
}

/// CLI-13, JRN-7, RUM-14: beside an open node, in a room that it is not in.
#[test]
fn a_tail_reads_beside_an_open_node_what_that_is_not_shown() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let bot = scene.join(broker.address, "bot");
    let mut bob = scene
        .node(broker.address)
        .args(&["--name", "bob", "--room", "den"])
        .start();
    bob.shows("SERVER: bob Joined!");
    let reader = tail(&scene, broker.address, &["--room", "den"]);
    let mut n = 0;
    while !reader.stdout.text().contains("bob: ") {
        n += 1;
        bob.type_line(&n.to_string());
        bob.shows(&format!("bob: {n}"));
    }
    bot.has_shown_exactly(&["SERVER: bot Joined!"]);
    stop(reader);
    let shown = bob.stdout.text();
    assert!(!shown.contains("bot"), "{shown}");
}

/// JRN-13, CLI-13, CLI-18: what the journal does not hold is fetched, also beside an open node, and
/// comes in order before what it holds; what nobody may read is a hole.
#[test]
fn a_tail_from_a_line_before_those_of_the_journal_fetches_them() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut bob = scene.join(broker.address, "bob");
    let said: Vec<String> = (0..1_100).map(|n| format!("bob: {n}")).collect();
    for line in &said {
        bob.type_line(line.trim_start_matches("bob: "));
    }
    bob.shows(said.last().expect("many"));
    // Its journal begins with its own coming.
    let bot = scene.join(broker.address, "bot");
    bob.type_line("now");
    bot.shows("bob: now");
    let beside = tail(&scene, broker.address, &["--from", "1"]);
    beside.shows("bob: now");
    let all = format!("{}\nbob: now\n", said.join("\n"));
    assert_eq!(stop(beside), all);
    let mut bot = bot;
    bot.type_line("q!");
    bot.finish().exited_with(0);
    let alone = tail(&scene, broker.address, &["--from", "1000"]);
    alone.shows("bob: now");
    let text = stop(alone);
    assert_eq!(text, format!("{}\nbob: now\n", said[998..].join("\n")));
}

/// JSN-1, JSN-2, JSN-3, CLI-14: a program chats in objects, and is told what became of what it said.
#[test]
fn a_program_chats_in_objects() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let bob = scene.join(broker.address, "bob");
    scene
        .node(broker.address)
        .args(&["--json"])
        .run(b"")
        .exited_with(64);
    let node = scene.node(broker.address);
    let mut ada = node.args(&["--name", "ada", "--json", "--states"]).start();
    let has = |ada: &Process, words: &str| {
        ada.shows_until(crate::support::PATIENCE, |text| text.contains(words));
    };
    has(&ada, r#""event":"joined","name":"ada""#);
    ada.type_line(r#"{"type":"say","text":"q!"}"#);
    bob.shows("ada: q!");
    has(&ada, r#""type":"stored""#);
    has(&ada, r#""text":"q!""#);
    ada.says("stored in lobby as line");
    ada.type_line("hello");
    ada.says("not a JSON object");
    ada.type_line(r#"{"type":"quit"}"#);
    let shown = ada.finish().exited_with(0).stdout;
    assert!(shown.ends_with("{\"type\":\"ended\"}\n"), "{shown}");
    for line in shown.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
}

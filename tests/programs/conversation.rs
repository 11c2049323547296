//! The conversation that the programs were made for.

use crate::support::Scene;

fn three_people_talk(listen: &str) {
    let scene = Scene::new();
    let listen: std::net::SocketAddr = listen.parse().expect("an address");
    let broker = scene.broker_on(listen).start_broker();

    let mut ada = scene.join(broker.address, "ada");
    let mut bob = scene.join(broker.address, "bob");
    ada.shows("SERVER: bob Joined!");
    let mut cleo = scene.join(broker.address, "cleo");
    ada.shows("SERVER: cleo Joined!");
    bob.shows("SERVER: cleo Joined!");

    ada.type_line("hello");
    for node in [&ada, &bob, &cleo] {
        node.shows("ada: hello");
    }
    bob.type_line("");
    bob.type_line("hello yourself");
    for node in [&ada, &bob, &cleo] {
        node.shows("bob: hello yourself");
    }
    bob.type_line("q!");
    bob.finish().exited_with(0);
    ada.shows("SERVER: bob Left!");
    cleo.shows("SERVER: bob Left!");
    cleo.type_line("good evening, ada");
    ada.shows("cleo: good evening, ada");
    cleo.shows("cleo: good evening, ada");
    cleo.end_input();
    cleo.finish().exited_with(0);
    ada.shows("SERVER: cleo Left!");
    ada.type_line("q!");
    ada.finish().exited_with(0);

    ada.has_shown_exactly(&[
        "SERVER: ada Joined!",
        "SERVER: bob Joined!",
        "SERVER: cleo Joined!",
        "ada: hello",
        "bob: hello yourself",
        "SERVER: bob Left!",
        "cleo: good evening, ada",
        "SERVER: cleo Left!",
        "Leaving chat!",
    ]);
    bob.has_shown_exactly(&[
        "SERVER: bob Joined!",
        "SERVER: cleo Joined!",
        "ada: hello",
        "bob: hello yourself",
        "Leaving chat!",
    ]);
    cleo.has_shown_exactly(&[
        "SERVER: cleo Joined!",
        "ada: hello",
        "bob: hello yourself",
        "SERVER: bob Left!",
        "cleo: good evening, ada",
        "Leaving chat!",
    ]);
    broker.counts(0);
    let counted: String = [0, 1, 2, 3, 2, 1, 0]
        .map(|people| format!("People in chat: {people}\n"))
        .concat();
    assert_eq!(broker.counted(), counted);
    broker.stop().exited_with(0);
}

/// CLI-1, CLI-2, CLI-3, CLI-9, PRS-1.
#[test]
fn three_people_talk_over_ipv4_and_their_screens_are_as_promised() {
    three_people_talk("127.0.0.1:0");
}

/// CLI-1, CLI-2, CLI-3, CLI-9, PRS-1.
#[test]
fn three_people_talk_over_ipv6_and_their_screens_are_as_promised() {
    three_people_talk("[::1]:0");
}

/// CLI-2: with `--name`, the first line of the input is a line like any other.
#[test]
fn a_name_given_as_a_flag_leaves_the_first_line_to_the_conversation() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    scene
        .node(broker.address)
        .args(&["--name", "ada"])
        .run(b"hello\n")
        .exited_with(0)
        .showed("SERVER: ada Joined!\nada: hello\nLeaving chat!\n");
}

/// CLI-9: what the broker logs of a line is its room, number and length.
#[test]
fn the_brokers_streams_never_hold_the_text_of_a_line() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    ada.type_line("the-secret-of-ada");
    ada.shows("ada: the-secret-of-ada");
    ada.type_line("q!");
    ada.finish().exited_with(0);
    let broker = broker.stop().exited_with(0);
    assert!(broker.stderr.contains("lobby"), "{broker:#?}");
    assert!(!broker.stderr.contains("secret"), "{broker:#?}");
    assert!(!broker.stdout.contains("secret"), "{broker:#?}");
}

/// DLV-2: what is told apart is publications, not texts.
#[test]
fn the_same_text_typed_three_times_is_shown_three_times() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let bob = scene.join(broker.address, "bob");
    ada.shows("SERVER: bob Joined!");
    ada.type_bytes(b"knock\nknock\nknock\ncome in\n");
    for node in [&ada, &bob] {
        node.shows("ada: come in");
    }
    let knocks = ["ada: knock"; 3];
    let joined = ["SERVER: bob Joined!"];
    bob.has_shown_exactly(&[&joined[..], &knocks, &["ada: come in"]].concat());
}

/// CLI-9, KEY-6.
#[test]
fn the_banner_says_version_address_key_and_store() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let banner = &broker.banner;
    let version = concat!("chat-broker ", env!("CARGO_PKG_VERSION"), " (");
    assert!(banner.starts_with(version), "{banner}");
    assert!(
        broker.address.ip().is_loopback() && broker.address.port() != 0,
        "{banner}"
    );
    assert!(broker.fingerprint.starts_with("SHA256:"), "{banner}");
    assert!(banner.contains("store "), "{banner}");
}

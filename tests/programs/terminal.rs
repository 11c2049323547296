//! What a person at a terminal sees, and how names are given out.

use crate::support::Scene;

/// CLI-2, CLI-3.
#[test]
fn a_person_at_a_terminal_is_asked_for_a_name_and_prompted() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.node(broker.address).start_in_terminal();
    ada.shows("Enter User Name: ");
    ada.type_line("ada");
    ada.shows("SERVER: ada Joined!");
    ada.shows("YOU: ");
    ada.type_line("hello");
    ada.shows("ada: hello");
    let bob = scene.join(broker.address, "bob");
    ada.shows("SERVER: bob Joined!");
    ada.type_line("q!");
    ada.shows("Leaving chat!");
    assert_eq!(ada.finish(), 0);
    bob.shows("SERVER: ada Left!");
    bob.has_shown_exactly(&["SERVER: bob Joined!", "SERVER: ada Left!"]);
}

/// CLI-2: prompts are for people, and a person is one with a keyboard and a screen.
#[test]
fn with_a_name_as_a_flag_a_terminal_is_not_asked_for_one() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene
        .node(broker.address)
        .args(&["--name", "ada"])
        .start_in_terminal();
    ada.shows("YOU: ");
    ada.shows("SERVER: ada Joined!");
    ada.type_line("q!");
    assert_eq!(ada.finish(), 0);
    assert!(!ada.screen.text().contains("Enter User Name"));
}

/// CLI-3: the terminal turns the keys into what they stand for.
#[test]
fn control_c_and_the_end_of_input_leave_from_a_terminal() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    for key in ["\x03", "\x04"] {
        let mut ada = scene.node(broker.address).start_in_terminal();
        ada.shows("Enter User Name: ");
        ada.type_line("ada");
        ada.shows("SERVER: ada Joined!");
        ada.press(key);
        ada.shows("Leaving chat!");
        assert_eq!(ada.finish(), 0, "{key:?}: {}", ada.screen.text());
    }
}

/// CLI-2, SGN-2.
#[test]
fn a_taken_name_is_asked_for_again_at_a_terminal() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let ada = scene.join(broker.address, "ada");
    let mut other = scene
        .node(broker.address)
        .data_dir(&scene.path("other"))
        .start_in_terminal();
    other.shows("Enter User Name: ");
    other.type_line("ada");
    other.shows_times("Enter User Name: ", 2);
    other.type_line("bob");
    other.shows("SERVER: bob Joined!");
    ada.shows("SERVER: bob Joined!");
    ada.has_shown_exactly(&["SERVER: ada Joined!", "SERVER: bob Joined!"]);
}

/// CLI-6, SGN-2, SGN-3: a name in other letters is the same name.
#[test]
fn a_taken_name_is_refused_off_a_terminal_and_nobody_hears_of_it() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    for name in ["ada\n", "ADA\n"] {
        scene
            .node(broker.address)
            .data_dir(&scene.path("other"))
            .run(name.as_bytes())
            .exited_with(77)
            .said("taken")
            .showed("");
    }
    ada.type_line("still me");
    ada.shows("ada: still me");
    ada.has_shown_exactly(&["SERVER: ada Joined!", "ada: still me"]);
    broker.counts(1);
    assert_eq!(broker.counted(), "People in chat: 0\nPeople in chat: 1\n");
}

/// CLI-8.
#[test]
fn a_profile_is_open_in_one_node_at_a_time() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let ada = scene.join(broker.address, "ada");
    scene
        .node(broker.address)
        .run(b"ada\nhello\n")
        .exited_with(77)
        .said("ada is already open here")
        .showed("");
    let mut again = scene.node(broker.address).start_in_terminal();
    again.shows("Enter User Name: ");
    again.type_line("ada");
    again.shows("ada is already open here");
    drop(again);
    // The lock dies with its process, however that dies. Nobody noticed that she was gone.
    ada.kill();
    let mut ada = scene.node(broker.address).start();
    ada.type_bytes(b"ada\nback again\n");
    ada.shows("ada: back again");
    // CLI-11: what was printed just before the kill may be printed once more.
    let shown = ada.stdout.text();
    let news = shown
        .strip_prefix("SERVER: ada Joined!\n")
        .unwrap_or(&shown);
    assert_eq!(news, "ada: back again\n", "{shown}");
}

/// CLI-9: at a terminal the count is drawn over the last one.
#[test]
fn the_broker_redraws_its_count_in_place_on_a_terminal() {
    let scene = Scene::new();
    let broker = scene.broker().start_in_terminal();
    broker.shows("listening on ");
    broker.shows("People in chat: 0");
    let address = {
        let screen = broker.screen.text();
        let (_, rest) = screen.split_once("listening on ").expect("a banner");
        let word = rest.split_whitespace().next().expect("an address");
        word.parse().expect("an address")
    };
    let _ada = scene.join(address, "ada");
    broker.shows("\r\x1b[KPeople in chat: 1");
}

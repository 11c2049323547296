//! Input that is no plain line: broken, too long, or meant to act on somebody's terminal.

use crate::support::Scene;
use crate::support::process::Process;

/// Types `input` at one node and returns what another shows of it, up to a closing line.
fn overheard(input: &[u8]) -> (String, Process) {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let bob = scene.join(broker.address, "bob");
    let mut ada = scene.join(broker.address, "ada");
    bob.shows("SERVER: ada Joined!");
    ada.type_bytes(input);
    ada.type_line("the end");
    ada.shows("ada: the end");
    bob.shows("ada: the end");
    let shown = bob.stdout.text();
    let shown = shown
        .strip_prefix("SERVER: bob Joined!\nSERVER: ada Joined!\n")
        .and_then(|shown| shown.strip_suffix("ada: the end\n"))
        .expect("the conversation is between these lines");
    let own = ada.stdout.text();
    assert_eq!(own, format!("SERVER: ada Joined!\n{shown}ada: the end\n"));
    (shown.to_owned(), ada)
}

/// CLI-4.
#[test]
fn invalid_utf8_is_refused_and_the_lines_around_it_go_on() {
    let (shown, ada) = overheard(b"before\ncaf\xe9\nafter\n");
    assert_eq!(shown, "ada: before\nada: after\n");
    assert!(ada.stderr.text().contains("UTF-8"), "{}", ada.stderr.text());
}

/// CLI-4, LIM-2, CHN-5.
#[test]
fn a_line_of_16_kib_arrives_intact_and_a_longer_one_is_refused() {
    let longest: String = ('a'..='z').cycle().take(16_384).collect();
    let input = format!("{longest}\n{longest}!\nafter\n");
    let (shown, ada) = overheard(input.as_bytes());
    assert_eq!(shown, format!("ada: {longest}\nada: after\n"));
    assert!(!ada.stderr.text().is_empty());
}

/// CLI-4: what is refused is the line, however many buffers it fills.
#[test]
fn a_line_of_a_megabyte_is_refused_as_one() {
    let mut input = vec![b'x'; 1 << 20];
    input.extend_from_slice(b"\nafter\n");
    let (shown, _) = overheard(&input);
    assert_eq!(shown, "ada: after\n");
}

/// CLI-5.
#[test]
fn what_could_act_on_a_terminal_is_shown_as_symbols() {
    let input = "\x1b[31mred\nbell\x07\nnul\0\ntab\there\nc1\u{9b}31m\ndel\x7f\nbidi\u{202e}idib\n";
    let (shown, _) = overheard(input.as_bytes());
    assert_eq!(
        shown,
        "ada: ␛[31mred\nada: bell␇\nada: nul␀\nada: tab␉here\nada: c1<U+009B>31m\nada: del␡\n\
         ada: bidi<U+202E>idib\n"
    );
}

/// CLI-3.
#[test]
fn empty_lines_are_skipped_and_line_ends_of_other_systems_are_taken() {
    let (shown, _) = overheard(b"\n\r\none\r\n\ntwo\n");
    assert_eq!(shown, "ada: one\nada: two\n");
}

/// CLI-3.
#[test]
fn only_a_whole_line_leaves_and_only_a_known_command_commands() {
    let (shown, _) = overheard(b"q! is how one leaves\n q!\n//x\n/etc/hosts is a file\nQ!\n");
    assert_eq!(
        shown,
        "ada: q! is how one leaves\nada:  q!\nada: /x\nada: /etc/hosts is a file\nada: Q!\n"
    );
}

/// SGN-3, CLI-5, CLI-6.
#[test]
fn names_that_could_deceive_are_refused_with_a_sentence() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let names = ["\x1b[31mada", "SERVER", "you", "a: b", "ada\u{202e}", ""];
    for name in names {
        let node = scene.node(broker.address);
        let by_flag = node.clone().arg("--name").arg(name).run(b"hello\n");
        let by_line = node.run(format!("{name}\nhello\n").as_bytes());
        for refused in [by_flag, by_line] {
            let refused = refused.exited_with(64).said("name").showed("");
            assert!(!refused.stderr.contains('\x1b'), "{refused:#?}");
        }
    }
    assert_eq!(broker.counted(), "People in chat: 0\n");
}

/// CLI-1, CLI-3: a command is answered to who gave it, on stderr.
#[test]
fn known_commands_are_obeyed_and_heard_by_nobody() {
    let (shown, ada) = overheard(b"/who\n/help\n");
    assert_eq!(shown, "");
    ada.says("bob");
    ada.says("/leave");
}

//! What a host grants, and what those are told who want more.

use tertulia::chat::{Budget, Refusal};

use crate::support::raw::RawMember;
use crate::support::transcript::count_of;
use crate::support::{PATIENCE, Scene};

/// In how many rooms each of a crowd is.
const ROOMS_EACH: u8 = 30;

/// BUD-1, BUD-2, BUD-8, CLI-27, DLV-4: lines that are too many wait, which is said, and all of them
/// come, in their order.
#[test]
fn a_paste_over_the_budget_waits_and_arrives_in_order() {
    let scene = Scene::new();
    let broker = scene
        .broker()
        .args(&["--budget", "lines=40/s:20"])
        .start_broker();
    let bob = scene.join(broker.address, "bob");
    let mut ada = scene.join(broker.address, "ada");
    let lines: Vec<String> = (0..120).map(|n| format!("line {n}")).collect();
    for line in &lines {
        ada.type_line(line);
    }
    bob.shows("ada: line 119");
    ada.says("waiting for");
    ada.says("too many lines at once: retry after ");
    let shown: Vec<String> = bob
        .stdout
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("ada: ").map(str::to_owned))
        .collect();
    assert_eq!(shown, lines);
    // Not for each of them.
    assert!(count_of(&ada.stderr.text(), "waiting for") <= 2);
}

/// BUD-1, JSN-8: a program is told what waits, for how long, and why; `send` waits and then has it
/// stored.
#[test]
fn a_program_is_told_what_is_put_off_and_for_how_long() {
    let scene = Scene::new();
    let broker = scene
        .broker()
        .args(&["--budget", "lines=10/s:3", "--budget", "changes=none"])
        .start_broker();
    let mut bot = scene
        .node(broker.address)
        .args(&["--json", "--name", "bot"])
        .start();
    for n in 0..8 {
        bot.type_line(&format!(r#"{{"type":"say","text":"{n}"}}"#));
    }
    bot.stdout
        .wait(PATIENCE, |text| {
            text.contains(r#""text":"7""#).then_some(())
        })
        .unwrap_or_else(|| bot.fail("the last line is missing"));
    let text = bot.stdout.text();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(r#""put_off""#))
        .collect();
    assert!(!told.is_empty(), "{text}");
    for object in told {
        let expected = r#"{"code":58,"reason":"too many lines at once: retry after 0."#;
        assert!(object.starts_with(expected), "{object}");
        assert!(
            object.contains(r#""room":"lobby","type":"put_off","wait_ms":"#),
            "{object}"
        );
        assert!(object.ends_with(r#","what":"lines"}"#), "{object}");
    }
    let send = scene.node(broker.address).args(&["--name", "ada", "send"]);
    send.run(b"a\nb\nc\nd\ne\nf\n")
        .exited_with(0)
        .said("lines in lobby waiting for");
}

/// BUD-3: newcomers beyond what an address is granted are told to wait, and those who are known come
/// in.
#[test]
fn a_newcomer_too_many_waits_and_is_told_for_how_long() {
    let scene = Scene::new();
    let broker = scene
        .broker()
        .args(&["--budget", "registrations=1/h:1"])
        .start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let bob = scene.node(broker.address).args(&["--name", "bob"]).start();
    bob.says("to sign in waiting for");
    bob.says("too many new accounts from this network");
    ada.type_line("q!");
    ada.finish().exited_with(0);
    scene.join(broker.address, "ada");
    broker.counts(1);
}

/// MEM-1, MEM-4: a broker that may hold little tells newcomers so, in words, while those who are there
/// go on; when others leave, it lets them in.
#[test]
fn a_broker_that_holds_as_much_as_it_may_lets_nobody_in_until_others_leave() {
    let scene = Scene::new();
    let broker = scene
        .broker()
        .args(&["--memory-max", "16MiB", "--budget", "changes=none"])
        .start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let mut bob = scene.join(broker.address, "bob");
    // Rooms are what takes room. Each of a crowd is in as many as there may be, until one comes who
    // is not let in.
    let mut crowd = Vec::new();
    let mut rooms = 0;
    let refusal = loop {
        let place = u8::try_from(crowd.len() + 10).expect("the broker never has enough");
        let mut member = RawMember::connect(broker.address, place, place);
        if let Some(refusal) = member.sign_in(&format!("guest{place}")) {
            break refusal;
        }
        for channel in 1..=ROOMS_EACH {
            rooms += 1;
            assert_eq!(member.join(channel, &format!("room{rooms}")), None);
        }
        crowd.push(member);
    };
    assert!(
        matches!(
            refusal,
            Refusal::OverBudget {
                budget: Budget::Memory,
                ..
            }
        ),
        "{refusal:?}"
    );
    let cleo = scene.node(broker.address).args(&["--name", "cleo"]).start();
    cleo.says("to sign in waiting for");
    cleo.says("the broker has too much to hold");
    ada.type_line("is it full?");
    bob.shows("ada: is it full?");
    bob.type_line("for others");
    ada.shows("bob: for others");
    for member in &mut crowd {
        member.bye();
    }
    cleo.shows("SERVER: cleo Joined!");
    ada.type_line("come in");
    cleo.shows("ada: come in");
}

/// CLI-6, BUD-2: what is no budget is refused with a reason.
#[test]
fn a_budget_that_is_none_is_refused() {
    let scene = Scene::new();
    for wrong in ["lines", "lines=0/s", "tea=5/h"] {
        scene
            .broker()
            .args(&["--budget", wrong])
            .run(b"")
            .exited_with(64)
            .said("--budget");
    }
}

//! A node that is stopped in the middle of a busy room, as a closed lid does it.
//!
//! `CHAT_PAUSE=600 cargo test --release --test programs pauses -- --nocapture --test-threads 1` is
//! the long run, in seconds.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::process::Process;
use crate::support::transcript::finished_lines;
use crate::support::typist::Typist;
use crate::support::{PATIENCE, Scene};

/// Who talks.
const TALKERS: [&str; 2] = ["ada", "bob"];
/// Between two lines, whoever types them.
const PACE: Duration = Duration::from_millis(10);
/// How long the pause is if nobody asks for more.
const PAUSE: Duration = Duration::from_secs(3);
/// By how much the broker's memory may grow meanwhile: recent lines, one link's messages, and what
/// its database keeps at hand.
const GROWTH_MAX_KIB: u64 = 16 * 1_024;

fn pause() -> Duration {
    let asked = std::env::var("CHAT_PAUSE").ok();
    asked.map_or(PAUSE, |asked| {
        Duration::from_secs(asked.parse().expect("CHAT_PAUSE is a number of seconds"))
    })
}

/// The lines of the conversation that a node has shown.
fn said(node: &Process) -> Vec<String> {
    let text = node.stdout.text();
    let lines = finished_lines(&text).filter(|line| line.contains(": line "));
    lines.map(str::to_owned).collect()
}

/// The 99th percentile of what it took for what `ada` typed between two moments to be shown to
/// `bob`.
fn p99(bob: &Process, typed: &[Instant], from: Instant, to: Instant) -> Duration {
    let text = bob.stdout.text();
    let shown = finished_lines(&text).zip(bob.stdout.line_times());
    let shown = shown.filter(|(line, _)| line.starts_with("ada: line "));
    let spans = shown
        .zip(typed)
        .filter(|(_, typed)| (from..to).contains(*typed));
    let mut spans: Vec<Duration> = spans.map(|((_, at), typed)| at - *typed).collect();
    spans.sort_unstable();
    spans[spans.len() * 99 / 100]
}

/// DLV-1, DLV-3, DLV-7, PRS-1: whoever slept for less than the grace has missed nothing, and has
/// not left.
#[test]
fn a_node_that_slept_within_the_grace_is_shown_everything_and_has_not_left() {
    let notices = sleep_in_a_busy_room(pause() * 4);
    assert_eq!(notices, [""; 0]);
}

/// DLV-1, DLV-3, PRS-1: whoever slept for longer has missed nothing either, and was said to be
/// away.
#[test]
fn a_node_that_slept_beyond_the_grace_is_shown_everything_and_was_timed_out() {
    let notices = sleep_in_a_busy_room(pause() / 3);
    assert_eq!(
        notices,
        ["SERVER: dan Left! (timed out)", "SERVER: dan Joined!"]
    );
}

/// Returns what was said about the one who slept.
fn sleep_in_a_busy_room(grace: Duration) -> Vec<String> {
    let scene = Scene::new();
    let grace = format!("{}ms", grace.as_millis());
    let broker = scene.broker().args(&["--grace", &grace]).start_broker();
    let mut talkers: Vec<Process> = TALKERS.map(|name| scene.join(broker.address, name)).into();
    let dan = scene.join(broker.address, "dan");
    for talker in &talkers {
        talker.shows("SERVER: dan Joined!");
    }
    let before = talkers[1].stdout.lines();
    let typist = Typist::start(talkers.iter_mut().map(Process::take_input).collect(), PACE);
    // The room is the clock: so many lines are the span of a pause.
    let span = (pause().as_millis() / PACE.as_millis()) as usize;
    let patience = pause() * 2 + PATIENCE;
    let started = crate::support::now();
    assert!(talkers[1].stdout.wait_for_lines(patience, before + span));

    dan.signal(Signal::STOP);
    let stopped = crate::support::now();
    let memory = broker.process.anonymous_kib();
    let shown = talkers[1].stdout.lines();
    assert!(talkers[1].stdout.wait_for_lines(patience, shown + span));
    let growth = broker.process.anonymous_kib().saturating_sub(memory);
    let continued = crate::support::now();
    dan.signal(Signal::CONT);

    let typed = typist.stop();
    let total = TALKERS.len() * typed.times.len();
    for node in talkers.iter().chain([&dan]) {
        node.shows_until(patience, |text| {
            finished_lines(text)
                .filter(|line| line.contains(": line "))
                .count()
                >= total
        });
    }
    let complete = crate::support::now();
    let expected = said(&talkers[0]);
    assert_eq!(expected.len(), total);
    for node in talkers.iter().chain([&dan]) {
        assert!(said(node) == expected, "two nodes differ");
    }
    let quiet = p99(&talkers[1], &typed.times, started, stopped);
    let paused = p99(&talkers[1], &typed.times, stopped, continued);
    println!(
        "stopped for {:?} of {total} lines, grace {grace}: complete {:?} after it went on; p99 of \
         the others {quiet:?} before, {paused:?} meanwhile; the broker grew by {growth} KiB",
        continued - stopped,
        complete - continued,
    );
    assert!(growth < GROWTH_MAX_KIB, "{growth} KiB");
    talkers[0].shows_until(PATIENCE, |text| {
        text.matches("dan Left!").count() + 1 == text.matches("dan Joined!").count()
    });
    let text = talkers[0].stdout.text();
    let about_dan = finished_lines(&text).filter(|line| line.starts_with("SERVER: dan"));
    about_dan.skip(1).map(str::to_owned).collect()
}

//! What is on the disk: after a kill, on a disk that is full or fails, and when it was damaged.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::support::process::{Broker, Finished, Process};
use crate::support::{Program, Scene};

const SUDDENLY: &str = "confirmed just before the end";

/// `chat-broker` with a task, about the scene's `broker` directory.
fn task(scene: &Scene, arguments: &[&str]) -> Program {
    scene
        .bare_broker()
        .args(arguments)
        .data_dir(&scene.path("broker"))
}

/// The texts of the messages in the log, in their order.
fn texts(export: Finished) -> Vec<String> {
    let lines = export.exited_with(0).stdout;
    let messages = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .filter(|line: &serde_json::Value| line["type"] == "line");
    messages
        .map(|line| line["text"].as_str().expect("a text").to_owned())
        .collect()
}

fn stored(scene: &Scene) -> Vec<String> {
    texts(task(scene, &["export"]).run(b""))
}

fn is_sound(scene: &Scene) {
    let report = task(scene, &["doctor"]).run(b"").exited_with(0).stdout;
    assert!(report.ends_with(" 0 faults\n"), "{report}");
}

/// STO-5, BRK-7: what was shown is stored, whatever happens to the broker.
#[test]
fn lines_survive_a_kill_and_are_there_for_who_comes_later() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let address = broker.address;
    assert!(broker.banner.ends_with("log.db"), "{}", broker.banner);
    let mut ada = scene.join(address, "ada");
    ada.type_line("first");
    ada.shows("ada: first");
    ada.type_line(SUDDENLY);
    ada.shows(&format!("ada: {SUDDENLY}"));
    broker.process.kill();
    assert_eq!(stored(&scene), ["first", SUDDENLY]);

    let _broker = scene.broker_on(address).start_broker();
    ada.type_line("after");
    ada.shows("ada: after");
    let bob = scene.join_with(scene.node(address).args(&["--history", "10"]), "bob");
    bob.shows("ada: after");
    for line in ["ada: first", &format!("ada: {SUDDENLY}"), "ada: after"] {
        assert_eq!(bob.stdout.text().matches(line).count(), 1, "{line}");
    }
    assert_eq!(stored(&scene), ["first", SUDDENLY, "after"]);
    is_sound(&scene);
}

/// PUB-2, STO-5, DLV-2: publications whose confirmation the kill has swallowed are sent again, and
/// not stored again.
#[test]
fn a_stream_of_lines_is_stored_once_and_in_order_through_kills() {
    const LINES: usize = 400;
    let scene = Scene::new();
    let mut broker = scene.broker().start_broker();
    let address = broker.address;
    let mut ada = scene.join(address, "ada");
    let expected: Vec<String> = (0..LINES).map(|i| format!("line {i}")).collect();
    for (i, line) in expected.iter().enumerate() {
        ada.type_line(line);
        // Somewhere in the stream: this one is shown, and those after it are under way.
        if i % 100 == 99 {
            ada.shows(&format!("ada: {}", expected[i - 70]));
            broker.process.kill();
            broker = scene.broker_on(address).start_broker();
        }
    }
    ada.shows(&format!("ada: {}", expected[LINES - 1]));
    assert_eq!(stored(&scene), expected);
    let shown = ada.stdout.text();
    let shown: Vec<_> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("ada: "))
        .collect();
    assert_eq!(shown, expected);
    is_sound(&scene);
}

/// CLI-16: the tasks do not disturb a broker, and tell what there is.
#[test]
fn a_log_can_be_looked_at_while_its_broker_runs() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join_with(scene.node(broker.address).args(&["--room", "Den"]), "ada");
    ada.type_line("a \"quoted\" \u{1F600} line");
    ada.shows("ada: a \"quoted\" \u{1F600} line");
    is_sound(&scene);
    assert_eq!(stored(&scene), ["a \"quoted\" \u{1F600} line"]);
    assert_eq!(
        texts(task(&scene, &["export", "--room", "den"]).run(b"")).len(),
        1
    );
    assert_eq!(
        texts(task(&scene, &["export", "--room", "attic"]).run(b"")).len(),
        0
    );
    let status = task(&scene, &["status"]).run(b"").exited_with(0).stdout;
    assert!(status.contains("2 lines in 1 rooms, 1 names"), "{status}");
    assert!(status.contains("Den: 2 lines"), "{status}");
    broker.stop().exited_with(0);
    // In order: nothing is left beside the file.
    let mut files = names(&scene.path("broker"));
    files.sort();
    assert_eq!(
        files,
        ["key", "listening", "lock", "log.db", "reset-secret"]
    );
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("it is there");
    entries
        .map(|entry| {
            entry
                .expect("nobody else is here")
                .file_name()
                .to_string_lossy()
                .into()
        })
        .collect()
}

/// CLI-16.
#[test]
fn where_nothing_is_stored_there_is_nothing_to_look_at() {
    let scene = Scene::new();
    for name in ["doctor", "export", "status"] {
        task(&scene, &[name])
            .run(b"")
            .exited_with(73)
            .said("no broker has stored anything");
    }
    assert!(!scene.path("broker").exists(), "looking makes nothing");
}

/// BRK-7: with `--memory --ephemeral-key` nothing is kept at all.
#[test]
fn a_broker_that_keeps_nothing_leaves_nothing() {
    let scene = Scene::new();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let broker = scene
            .broker()
            .args(&["--memory", "--ephemeral-key"])
            .start_broker();
        keys.push(broker.fingerprint.clone());
        broker.stop().exited_with(0);
    }
    assert_ne!(keys[0], keys[1]);
    assert!(!scene.path("broker").exists());
}

// ---- what cannot be used

/// A scene whose broker has stored a line and has ended in an orderly way.
fn with_a_line() -> Scene {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    ada.type_line("kept");
    ada.shows("ada: kept");
    ada.type_line("q!");
    ada.finish().exited_with(0);
    broker.stop().exited_with(0);
    scene
}

fn log_file(scene: &Scene) -> PathBuf {
    scene.path("broker").join("log.db")
}

/// STO-6, CLI-6.
#[test]
fn a_second_broker_on_a_directory_is_refused_and_disturbs_nothing() {
    let scene = with_a_line();
    let _broker = scene.broker().start_broker();
    scene
        .broker()
        .run(b"")
        .exited_with(73)
        .said("another broker uses")
        .showed("");
    assert_eq!(stored(&scene), ["kept"]);
}

/// STO-2, CLI-6.
#[test]
fn a_log_of_a_newer_version_is_refused_and_left_alone() {
    let scene = with_a_line();
    // The last byte of the schema's version in SQLite's header.
    patch(&log_file(&scene), 63, |version| version + 1);
    let before = fs::read(log_file(&scene)).expect("it is there");
    for program in [
        scene.broker(),
        task(&scene, &["doctor"]),
        task(&scene, &["export"]),
    ] {
        program
            .run(b"")
            .exited_with(73)
            .said("a newer version")
            .showed("");
    }
    assert_eq!(fs::read(log_file(&scene)).expect("it is there"), before);
    patch(&log_file(&scene), 63, |version| version - 1);
    assert_eq!(stored(&scene), ["kept"]);
}

fn patch(file: &Path, at: u64, change: impl Fn(u8) -> u8) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .expect("it is there");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("it is long enough");
    file.read_exact(&mut byte).expect("it is long enough");
    file.seek(SeekFrom::Start(at)).expect("it is long enough");
    file.write_all(&[change(byte[0])]).expect("it is ours");
}

/// STO-6, STO-10, CLI-6.
#[test]
fn a_damaged_log_is_refused_with_what_to_do() {
    let scene = with_a_line();
    let content = fs::read(log_file(&scene)).expect("it is there");
    let text = content.windows(4).rposition(|bytes| bytes == b"kept");
    let at = text.expect("the line is in the file") as u64;
    patch(&log_file(&scene), at, |letter| letter ^ 1);
    // Its structure is sound, so that only its room notices.
    let faults = task(&scene, &["doctor"]).run(b"").exited_with(74).stdout;
    assert!(
        faults.contains("line 2 of the room lobby: it is not what was stored"),
        "{faults}"
    );
    let mut broker = scene.broker().start_broker();
    let mut ada = scene.node(broker.address).args(&["--name", "ada"]).start();
    broker
        .process
        .finish()
        .exited_with(74)
        .said("line 2 of the room lobby")
        .said("chat-broker doctor");
    assert!(!ada.has_ended_within(std::time::Duration::ZERO));
    ada.end_input();

    // A page that is no page any more.
    let mut page = OpenOptions::new()
        .write(true)
        .open(log_file(&scene))
        .expect("it is there");
    page.seek(SeekFrom::Start(4_096))
        .expect("it is long enough");
    page.write_all(&[0x5a; 4_096]).expect("it is ours");
    scene
        .broker()
        .run(b"")
        .exited_with(74)
        .said("damaged")
        .said("chat-broker doctor")
        .showed("");
    task(&scene, &["doctor"]).run(b"").exited_with(74);

    fs::write(log_file(&scene), "no log at all").expect("it is ours");
    scene
        .broker()
        .run(b"")
        .exited_with(74)
        .said("log.db")
        .showed("");
}

/// CLI-6.
#[test]
fn a_log_that_cannot_be_written_to_is_said_so() {
    let scene = Scene::new();
    fs::create_dir_all(log_file(&scene)).expect("the scene's directory is ours");
    scene
        .broker()
        .run(b"")
        .exited_with(73)
        .said("log.db")
        .showed("");
}

// ---- disks that are full, and disks that fail

/// STO-3, STO-8: at a limit nothing is confirmed and nothing is lost; when it is raised, it goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_files_is_said_in_words_and_passes_when_it_is_raised() {
    let scene = Scene::new();
    // No file longer than 600 blocks of 512 bytes, for now.
    let limited = [
        "sh",
        "-c",
        "trap '' XFSZ; ulimit -S -f 600; exec \"$@\"",
        "sh",
    ];
    let broker = scene.broker().run_by(&limited).start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let mut sent = vec!["first".to_owned()];
    ada.type_line(&sent[0]);
    ada.shows("ada: first");
    sent.extend((0..40).map(|i| format!("{i} {}", "x".repeat(10_000))));
    for line in &sent[1..] {
        ada.type_line(line);
    }
    broker.process.says("nothing can be stored");
    broker.process.says("limit is reached");

    // What was shown before the look into the log was confirmed, and so it has to be there.
    let shown = ada.stdout.text().matches("ada: ").count();
    let stored_then = stored(&scene);
    assert!(shown <= stored_then.len() && stored_then.len() < sent.len());
    assert_eq!(stored_then, sent[..stored_then.len()]);

    limit_files(&broker.process, None);
    ada.shows(&format!("ada: {}", sent[sent.len() - 1]));
    broker.process.says("can be written to again");
    assert_eq!(stored(&scene), sent);
    is_sound(&scene);
    let mut files = names(&scene.path("broker"));
    files.retain(|name| name.contains("probe"));
    assert!(files.is_empty(), "{files:?}");
}

/// STO-8: a write that fails for no reason that may pass ends the broker; what it had confirmed is
/// there, and what it had not comes again.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fails_ends_the_broker_and_loses_nothing() {
    let scene = Scene::new();
    let unkilled = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    let mut broker = scene.broker().run_by(&unkilled).start_broker();
    let address = broker.address;
    let mut ada = scene.join(address, "ada");
    let mut sent: Vec<String> = (0..3).map(|i| format!("line {i}")).collect();
    for line in &sent {
        ada.type_line(line);
        ada.shows(&format!("ada: {line}"));
    }
    // Not one byte can be written any more, and as the directory is away nobody can find out why.
    let (there, away) = (scene.path("broker"), scene.path("away"));
    fs::rename(&there, &away).expect("the scene's directory is ours");
    limit_files(&broker.process, Some(0));
    sent.push("not confirmed".to_owned());
    ada.type_line(&sent[3]);
    broker
        .process
        .finish()
        .exited_with(74)
        .said("log.db")
        .said("the disk or the system fails");

    fs::rename(&away, &there).expect("the scene's directory is ours");
    assert_eq!(stored(&scene), sent[..3]);
    let _broker = scene.broker_on(address).start_broker();
    ada.shows("ada: not confirmed");
    assert_eq!(stored(&scene), sent);
    is_sound(&scene);
}

/// From now on no file of the program's may be longer than `length`, if that is given.
#[cfg(target_os = "linux")]
fn limit_files(process: &Process, length: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let pid = Pid::from_raw(process.id().cast_signed());
    let maximum = getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit {
        current: length.or(maximum),
        maximum,
    };
    prlimit(pid, Resource::Fsize, limit).expect("the process is ours");
}

/// A broker whose directory is a disk of its own, of 4 MiB. `None` where a user may not mount one;
/// that a full disk undoes a batch and passes is tested without one, too.
fn on_a_small_disk(scene: &Scene) -> Option<(Broker, PathBuf)> {
    let dir = scene.path("broker");
    fs::create_dir(&dir).expect("the scene's directory is ours");
    let mount = "mount -t tmpfs -o size=4m,mode=700 none broker && exec \"$@\"";
    let small = ["unshare", "-Urm", "sh", "-c", mount, "sh"];
    let mut may = std::process::Command::new(small[0]);
    may.args(&small[1..])
        .arg("true")
        .current_dir(scene.path(""));
    if !may.status().is_ok_and(|status| status.success()) {
        eprintln!("no disk of its own: this user may not mount one");
        return None;
    }
    let broker = scene.broker().run_by(&small).start_broker();
    // The disk as the broker sees it.
    let seen = format!("/proc/{}/root{}", broker.process.id(), dir.display());
    Some((broker, seen.into()))
}

/// STO-8: on a full disk nothing is confirmed and nothing is lost; when there is room, it goes on.
#[test]
fn a_full_disk_is_said_once_and_passes_when_there_is_room() {
    let scene = Scene::new();
    let Some((broker, disk)) = on_a_small_disk(&scene) else {
        return;
    };
    let mut ada = scene.join(broker.address, "ada");
    ada.type_line("before");
    ada.shows("ada: before");
    let ballast = disk.join("ballast");
    let mut file = File::create(&ballast).expect("the disk has room");
    while file.write_all(&[0; 4_096]).is_ok() {}
    drop(file);

    let long = "x".repeat(10_000);
    ada.type_line(&long);
    ada.type_line("after");
    broker.process.says("the disk is full");
    assert!(!ada.stdout.text().contains("after"));
    fs::remove_file(&ballast).expect("it is there");
    ada.shows("ada: after");
    broker.process.says("can be written to again");

    let said = broker.process.stderr.text();
    assert_eq!(said.matches("the disk is full").count(), 1, "{said}");
    // As it would be found after a crash now: SQLite does not follow the way to the broker's disk.
    let copy = scene.path("copy");
    fs::create_dir(&copy).expect("the scene's directory is ours");
    for name in ["log.db", "log.db-wal"] {
        fs::copy(disk.join(name), copy.join(name)).expect("there is room");
    }
    let export = scene
        .bare_broker()
        .args(&["export"])
        .data_dir(&copy)
        .run(b"");
    assert_eq!(texts(export), ["before", &long, "after"]);
    broker.stop().exited_with(0);
}

/// JRN-5, JRN-12, NOD-2: a node whose disk is full says so, shows and sends nothing that it cannot
/// keep, loses nothing of it, and goes on when there is room.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_a_node_is_said_once_and_passes_when_there_is_room() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let bob = scene.join(broker.address, "bob");
    // No file longer than 600 blocks of 512 bytes, for now.
    let limited = [
        "sh",
        "-c",
        "trap '' XFSZ; ulimit -S -f 600; exec \"$@\"",
        "sh",
    ];
    let ada = scene.node(broker.address).run_by(&limited);
    let mut ada = scene.join_with(ada, "ada");
    ada.type_line("before");
    bob.shows("ada: before");
    let long: Vec<_> = (0..60)
        .map(|i| format!("{i} {}", "x".repeat(10_000)))
        .collect();
    for line in &long {
        ada.type_line(line);
    }
    ada.says("the journal waits");
    ada.says("limit is reached");
    let last = long.last().expect("there are some");
    assert!(!ada.stdout.text().contains(last) && !bob.stdout.text().contains(last));

    limit_files(&ada, None);
    for node in [&ada, &bob] {
        node.shows(&format!("ada: {last}"));
    }
    ada.says("can be written to again");
    let said = ada.stderr.text();
    assert_eq!(said.matches("the journal waits").count(), 1, "{said}");
    let mut sent = vec!["before".to_owned()];
    sent.extend(long);
    assert_eq!(stored(&scene), sent);
    let shown = |node: &Process| {
        let text = node.stdout.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("ada: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((shown(&ada), shown(&bob)), (sent.clone(), sent));
    ada.type_line("q!");
    ada.finish().exited_with(0);
}

/// CLI-6: a full disk at the start.
#[test]
fn a_disk_that_is_full_from_the_start_is_said_so() {
    let scene = Scene::new();
    let full = ["sh", "-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"];
    let program = scene.broker().run_by(&full);
    program.run(b"").exited_with(74).said("log.db").showed("");
}

//! Programs that are killed again and again while people talk.
//!
//! `CHAT_CRASHES=100 cargo test --release --test programs crashes -- --nocapture` is the long run;
//! `sudo -E` and `--ignored` besides cut the power instead.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tertulia::rng::SeededRng;

use crate::support::process::{Broker, Process};
use crate::support::transcript::finished_lines;
use crate::support::typist::Typist;
use crate::support::{PATIENCE, Scene, Stopwatch};

/// Who talks and listens.
const TALKERS: [&str; 3] = ["ada", "bob", "cleo"];
/// Who is away most of the time.
const TRAVELLER: &str = "dan";
/// Between two lines, whoever types them: 200 lines a second.
pub(super) const PACE: Duration = Duration::from_millis(5);
/// How many crashes there are if nobody asks for more.
const CRASHES: usize = 3;

/// How many crashes are asked for.
pub(super) fn crashes() -> usize {
    let asked = std::env::var("CHAT_CRASHES").ok();
    asked.map_or(CRASHES, |asked| {
        asked.parse().expect("CHAT_CRASHES is a number")
    })
}

/// Checks that `lines` are all that the talkers have typed, each once, in the order of their
/// authors.
#[track_caller]
fn is_everything(what: &str, lines: &[String], typed: usize) {
    let mut by_author: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let (author, text) = line.split_once(": ").expect("a line has an author");
        by_author.entry(author).or_default().push(text);
    }
    for talker in TALKERS {
        let own = by_author.get(talker).map_or(&[][..], Vec::as_slice);
        let expected: Vec<String> = (1..=typed).map(|number| format!("line {number}")).collect();
        let differs = (0..typed.max(own.len()))
            .find(|index| own.get(*index).copied() != expected.get(*index).map(String::as_str));
        assert_eq!(differs, None, "{what}: {talker} typed {typed}, {own:?}");
    }
    assert_eq!(lines.len(), TALKERS.len() * typed, "{what}");
}

/// The lines of the conversation that a node has shown.
fn said(node: &Process) -> Vec<String> {
    let text = node.stdout.text();
    let lines = finished_lines(&text).filter(|line| !line.starts_with("SERVER: "));
    lines
        .filter(|line| *line != "Leaving chat!")
        .map(str::to_owned)
        .collect()
}

/// What the broker's log has, by its own account.
fn log(scene: &Scene) -> Vec<String> {
    let exported = scene.bare_broker().args(&["export", "--room", "lobby"]);
    let exported = exported
        .data_dir(&scene.path("broker"))
        .run(b"")
        .exited_with(0);
    let objects = exported.stdout.lines().map(|line| {
        serde_json::from_str::<serde_json::Value>(line).expect("a JSON object on each line")
    });
    let messages = objects.filter(|object| object["type"] == "message");
    messages
        .map(|object| {
            let field = |name: &str| object[name].as_str().expect("a text").to_owned();
            format!("{}: {}", field("from"), field("text"))
        })
        .collect()
}

/// What a crash is.
enum Crash {
    /// The broker's process ends without a word. The system writes what it had been given.
    Kill,
    /// And so does the machine: what the broker's disk was not made to keep is gone.
    PowerCut(Image),
}

impl Crash {
    /// Ends the broker.
    fn happen(&mut self, broker: Broker) {
        match self {
            Self::Kill => broker.process.kill(),
            Self::PowerCut(image) => image.cut(broker.process),
        }
    }
}

/// A disk of its own for the broker's directory: a file system in a file.
struct Image {
    mounted_at: PathBuf,
    file: PathBuf,
    copy: PathBuf,
}

impl Image {
    /// Mounts an empty one at `mounted_at`.
    fn mount(scene: &Scene, mounted_at: PathBuf) -> Self {
        let image = Self {
            mounted_at,
            file: scene.path("disk"),
            copy: scene.path("disk-after-the-cut"),
        };
        let Self {
            mounted_at, file, ..
        } = &image;
        std::fs::create_dir_all(mounted_at).expect("a directory");
        let disk = std::fs::File::create(file).expect("a file");
        disk.set_len(256 << 20).expect("a file with a hole");
        run(
            "mkfs.ext4",
            &["-q".as_ref(), "-F".as_ref(), file.as_os_str()],
        );
        image.mount_file();
        image
    }

    fn mount_file(&self) {
        let Self {
            mounted_at, file, ..
        } = self;
        run(
            "mount",
            &[
                "-o".as_ref(),
                "loop".as_ref(),
                file.as_os_str(),
                mounted_at.as_os_str(),
            ],
        );
    }

    /// Only what has reached the disk by now is there when the machine starts again.
    fn cut(&self, broker: Process) {
        broker.signal(Signal::STOP);
        std::fs::copy(&self.file, &self.copy).expect("the disk can be read");
        broker.kill();
        run("umount", &[self.mounted_at.as_os_str()]);
        std::fs::rename(&self.copy, &self.file).expect("both are on one disk");
        self.mount_file();
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Whoever still uses it is a child that is being killed.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(&self.mounted_at)
            .status();
    }
}

fn run(program: &str, arguments: &[&OsStr]) {
    let status = Command::new(program).args(arguments).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{program} {arguments:?}"
    );
}

/// DLV-1 to DLV-4, DLV-7, PUB-2, STO-1: everything is stored once and shown once to everybody,
/// however often the broker is killed.
#[test]
fn a_broker_that_is_killed_again_and_again_loses_repeats_and_reorders_nothing() {
    crash_again_and_again(&Scene::new(), Crash::Kill);
}

/// DLV-1 to DLV-4, STO-1: the same when the disk keeps only what it was made to keep.
#[test]
#[ignore = "mounts file systems, which only the superuser may"]
fn a_power_cut_takes_nothing_that_was_confirmed() {
    let scene = Scene::new();
    let image = Image::mount(&scene, scene.path("broker"));
    crash_again_and_again(&scene, Crash::PowerCut(image));
}

fn crash_again_and_again(scene: &Scene, mut crash: Crash) {
    let mut broker = scene.broker().start_broker();
    let address: SocketAddr = broker.address;
    let mut talkers: Vec<Process> = TALKERS.map(|name| scene.join(address, name)).into();
    let mut traveller = scene.join(address, TRAVELLER);
    traveller.signal(Signal::TERM);
    let before = traveller.finish().exited_with(0);
    assert!(!before.stdout.contains("line"), "{before:#?}");

    let typist = Typist::start(talkers.iter_mut().map(Process::take_input).collect(), PACE);
    let mut rng = SeededRng::new([100; 32]);
    let mut times = Vec::new();
    for _ in 0..crashes() {
        // A moment that nobody has chosen.
        let until = talkers[0].stdout.lines() + rng.range(1, 150) as usize;
        assert!(
            talkers[0].stdout.wait_for_lines(PATIENCE, until),
            "no more lines"
        );
        crash.happen(broker);
        let shown = talkers[0].stdout.lines();
        let started = Stopwatch::start();
        broker = scene.broker_on(address).start_broker();
        assert!(
            talkers[0].stdout.wait_for_lines(PATIENCE, shown + 1),
            "no new line"
        );
        times.push(started.elapsed());
    }
    let rounds = typist.stop();
    let typed = rounds.times.len();
    let traveller = scene.join(address, TRAVELLER);

    let total = TALKERS.len() * typed;
    for node in talkers.iter().chain([&traveller]) {
        node.shows_until(PATIENCE, |text| {
            finished_lines(text)
                .filter(|line| line.contains(": line "))
                .count()
                >= total
        });
    }
    let in_log = log(scene);
    is_everything("the log", &in_log, typed);
    for (node, name) in talkers.iter().zip(TALKERS).chain([(&traveller, TRAVELLER)]) {
        assert!(
            said(node) == in_log,
            "{name} was shown something else than the log"
        );
        let noise: Vec<String> = finished_lines(&node.stdout.text())
            .filter(|line| line.contains(" Left!") && !line.contains(TRAVELLER))
            .map(str::to_owned)
            .collect();
        assert_eq!(noise, [""; 0], "shown to {name}");
    }
    times.sort_unstable();
    println!(
        "{} crashes, {total} lines: lost 0, duplicated 0, reordered 0 on {} screens and in the \
         log; from the broker's start to the first new line: median {:?}, worst {:?}",
        times.len(),
        talkers.len() + 1,
        times[times.len() / 2],
        times[times.len() - 1],
    );
}

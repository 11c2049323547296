//! Nodes that are killed again and again while they talk.
//!
//! `CHAT_CRASHES=100 cargo test --release --test programs deaths -- --nocapture` is the long run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tertulia::rng::SeededRng;

use super::crashes::{PACE, crashes};
use crate::support::process::Process;
use crate::support::transcript::finished_lines;
use crate::support::{PATIENCE, Scene};

const NAMES: [&str; 3] = ["ada", "bob", "cleo"];
/// How many lines a node may print once more after it was killed (CLI-11).
const REPEATED_MAX: usize = 64;

/// A person, through all lives of the node.
struct Person {
    name: &'static str,
    node: Process,
    /// The objects that earlier lives have written.
    earlier: Vec<Vec<Value>>,
}

impl Person {
    fn start(scene: &Scene, broker: SocketAddr, name: &'static str) -> Self {
        Self {
            name,
            node: start(scene, broker, name),
            earlier: Vec::new(),
        }
    }

    /// Kills the node, and starts it again.
    fn die(&mut self, scene: &Scene, broker: SocketAddr) {
        self.node.kill_now();
        self.earlier.push(objects(&self.node));
        self.node = start(scene, broker, self.name);
    }

    /// What each life has written.
    fn lives(&self) -> Vec<Vec<Value>> {
        let mut lives = self.earlier.clone();
        lives.push(objects(&self.node));
        lives
    }
}

fn start(scene: &Scene, broker: SocketAddr, name: &str) -> Process {
    let node = scene.node(broker).args(&["--json", "--name", name]);
    let node = node.data_dir(&scene.path(name)).called(name).start();
    node.shows_until(PATIENCE, |text| text.contains(r#""type":"joined""#));
    node
}

/// The whole objects that a node has written; a killed one may not have finished its last.
fn objects(node: &Process) -> Vec<Value> {
    let text = node.stdout.text();
    let parsed = finished_lines(&text).map(|line| serde_json::from_str(line).expect("an object"));
    parsed.collect()
}

fn lines(life: &[Value]) -> Vec<(u64, String)> {
    let lines = life.iter().filter(|object| object["type"] == "line");
    let number = |object: &Value| object["seq"].as_u64().expect("a number");
    let text = |object: &Value| object["text"].as_str().expect("a text").to_owned();
    lines.map(|object| (number(object), text(object))).collect()
}

/// Types for everybody, whichever node they have at the moment.
struct Typing {
    inputs: Arc<Mutex<Vec<ChildStdin>>>,
    is_done: Arc<AtomicBool>,
    thread: thread::JoinHandle<usize>,
}

impl Typing {
    fn start(inputs: Vec<ChildStdin>) -> Self {
        let inputs = Arc::new(Mutex::new(inputs));
        let is_done = Arc::new(AtomicBool::new(false));
        let (of_thread, watched) = (Arc::clone(&inputs), Arc::clone(&is_done));
        let thread = thread::spawn(move || {
            let mut typed = 0;
            while !watched.load(Ordering::Relaxed) {
                for (index, name) in NAMES.iter().enumerate() {
                    let object = json!({"type": "say", "text": format!("{name} {typed}")});
                    let input = &mut of_thread.lock().expect("nobody panics")[index];
                    // A node that was just killed does not take it.
                    let _ = writeln!(input, "{object}");
                }
                typed += 1;
                // The rate of the stream: nothing waits for this.
                thread::sleep(PACE * NAMES.len() as u32);
            }
            typed
        });
        Self {
            inputs,
            is_done,
            thread,
        }
    }

    fn goes_on_with(&self, index: usize, node: &mut Process) {
        self.inputs.lock().expect("nobody panics")[index] = node.take_input();
    }

    /// Stops, and leaves the inputs open.
    fn stop(self) -> (usize, Arc<Mutex<Vec<ChildStdin>>>) {
        self.is_done.store(true, Ordering::Relaxed);
        (self.thread.join().expect("the typing ends"), self.inputs)
    }
}

/// What `chat-broker export` has of the lobby: number and text of each message.
fn log(scene: &Scene) -> Vec<(u64, String)> {
    let exported = scene.bare_broker().args(&["export", "--room", "lobby"]);
    let exported = exported
        .data_dir(&scene.path("broker"))
        .run(b"")
        .exited_with(0);
    let objects = exported
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let objects: Vec<Value> = objects.collect();
    let messages = objects.iter().filter(|object| object["type"] == "message");
    let message = |object: &Value| {
        let text = object["text"].as_str().expect("a text").to_owned();
        (object["seq"].as_u64().expect("a number"), text)
    };
    messages.map(message).collect()
}

/// The messages in the journal below `directory`.
fn journal(directory: &Path) -> Vec<(u64, String)> {
    let file = journal_file(directory).expect("there is a journal");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(file, flags).expect("a database");
    let select = "SELECT seq, body FROM items WHERE number = 0 AND kind = 1 ORDER BY id";
    let mut statement = database.prepare(select).expect("the journal's schema");
    let rows = statement.query_map((), |row| {
        let body: Vec<u8> = row.get(1)?;
        let seq: i64 = row.get(0)?;
        Ok((seq.unsigned_abs(), String::from_utf8(body).expect("a text")))
    });
    rows.expect("rows").collect::<Result<_, _>>().expect("rows")
}

fn journal_file(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.filter_map(Result::ok);
    entries.map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() {
            journal_file(&path)
        } else {
            (path.extension()? == "db").then_some(path)
        }
    })
}

/// DLV-1 to DLV-4, JRN-2, CLI-11: what a node has taken is stored once, whenever it is killed, and
/// its journal and its screen have everything.
#[test]
fn nodes_that_are_killed_again_and_again_lose_repeat_and_reorder_nothing() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let address = broker.address;
    let mut people = NAMES.map(|name| Person::start(&scene, address, name));
    let typing = Typing::start(
        people
            .iter_mut()
            .map(|person| person.node.take_input())
            .collect(),
    );
    let mut rng = SeededRng::new([64; 32]);
    for death in 0..crashes() {
        let index = death % NAMES.len();
        let witness = &people[(index + 1) % NAMES.len()].node.stdout;
        // A moment that nobody has chosen.
        let until = witness.lines() + rng.range(1, 150) as usize;
        assert!(witness.wait_for_lines(PATIENCE, until), "no more lines");
        people[index].die(&scene, address);
        typing.goes_on_with(index, &mut people[index].node);
    }
    let (typed, inputs) = typing.stop();
    // Whoever types last, and is shown it, has everything settled that was taken before.
    for (person, input) in people
        .iter()
        .zip(inputs.lock().expect("nobody panics").iter_mut())
    {
        let last = format!("{} the end", person.name);
        writeln!(input, "{}", json!({"type": "say", "text": last})).expect("the node lives");
    }
    for person in &people {
        person.node.shows_until(PATIENCE, |text| {
            NAMES.iter().all(|name| {
                let last = format!("\"text\":\"{name} the end\"");
                finished_lines(text).any(|line| line.contains(&last) && line.contains("\"line\""))
            })
        });
    }
    judge(&scene, &people, typed);
}

fn judge(scene: &Scene, people: &[Person], typed: usize) {
    let log = log(scene);
    let mut taken = 0;
    let mut repeated_most = 0;
    for person in people {
        let name = person.name;
        let own: Vec<&str> = log
            .iter()
            .filter_map(|(_, text)| text.strip_prefix(name)?.strip_prefix(' '))
            .collect();
        let numbers: Vec<usize> = own.iter().filter_map(|text| text.parse().ok()).collect();
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "{name} in the log: {own:?}"
        );
        assert_eq!(
            numbers.len() + 1,
            own.len(),
            "{name}: the last line is there once"
        );

        let lives = person.lives();
        let waiting = |life: &Vec<Value>| life.iter().filter(|o| o["type"] == "waiting").count();
        let waited: usize = lives.iter().map(waiting).sum();
        assert!(
            own.len() >= waited,
            "{name}: {waited} taken, {} stored",
            own.len()
        );
        taken += own.len();

        assert!(
            journal(&scene.path(name)) == log,
            "the journal of {name} differs from the log"
        );

        let mut shown: BTreeMap<u64, String> = BTreeMap::new();
        for life in &lives {
            let lines = lines(life);
            assert!(
                lines.is_sorted_by(|a, b| a.0 < b.0),
                "{name} was shown a line out of turn"
            );
            let repeated = lines
                .iter()
                .filter(|(seq, _)| shown.contains_key(seq))
                .count();
            assert!(
                repeated <= REPEATED_MAX,
                "{name}: {repeated} lines shown again"
            );
            repeated_most = repeated_most.max(repeated);
            shown.extend(lines);
        }
        let first = *shown.keys().next().expect("something was shown");
        let expected: BTreeMap<u64, String> = log
            .iter()
            .filter(|(seq, _)| *seq >= first)
            .cloned()
            .collect();
        assert!(shown == expected, "{name} was not shown everything");
    }
    let texts: BTreeSet<&String> = log.iter().map(|(_, text)| text).collect();
    assert_eq!(texts.len(), log.len(), "something is stored twice");
    println!(
        "{} nodes killed, {} lines typed, {taken} taken and stored: lost 0, duplicated 0, \
         reordered 0 in the log and in every journal; on screens lost 0, reordered 0, repeated at \
         most {repeated_most} after a kill",
        crashes(),
        typed * NAMES.len(),
    );
}

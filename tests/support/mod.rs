//! What tests of the whole programs need: a scene of their own, processes with piped streams, a
//! lossy network, a terminal.
//!
//! Nothing here sleeps to let something happen: a test waits for the output that it is about, with
//! a deadline that only a failure meets. Ports are chosen by the system, files live in a temporary
//! directory, and every child dies with the value that stands for it.

pub(crate) mod crowd;
pub(crate) mod process;
pub(crate) mod pty;
pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod transcript;
pub(crate) mod typist;

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use process::Process;

/// How long a test waits for what should take milliseconds, before it calls it a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A test's own files: nothing of the user's home is read or written.
pub(crate) struct Scene {
    directory: TempDir,
}

impl Scene {
    /// A new and empty one.
    pub(crate) fn new() -> Self {
        let directory = TempDir::with_prefix("tertulia-").expect("a temporary directory");
        Self { directory }
    }

    /// A path below the scene's directory.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// `chat-broker` with no flags at all.
    pub(crate) fn bare_broker(&self) -> Program {
        Program::new(env!("CARGO_BIN_EXE_chat-broker"), "broker", self)
    }

    /// `chat-broker` on `listen`, with its files in the scene's `broker` directory.
    pub(crate) fn broker_on(&self, listen: impl Into<SocketAddr>) -> Program {
        self.bare_broker()
            .arg("--listen")
            .arg(listen.into().to_string())
            .arg("--data-dir")
            .arg(self.path("broker"))
    }

    /// The same on a port of 127.0.0.1 that the system chooses.
    pub(crate) fn broker(&self) -> Program {
        self.broker_on(([127, 0, 0, 1], 0))
    }

    /// `chat-node` with no flags, whose broker is at `broker`: several of them are several
    /// terminals of one user.
    pub(crate) fn node(&self, broker: SocketAddr) -> Program {
        Program::new(env!("CARGO_BIN_EXE_chat-node"), "node", self)
            .env("CHAT_BROKER", broker.to_string())
    }

    /// Starts a node as a person would, types `name`, and waits for its `Joined!`.
    pub(crate) fn join(&self, broker: SocketAddr, name: &str) -> Process {
        self.join_with(self.node(broker), name)
    }

    /// The same for a node that has flags.
    pub(crate) fn join_with(&self, node: Program, name: &str) -> Process {
        let mut node = node.called(name).start();
        node.type_line(name);
        node.shows(&format!("SERVER: {name} Joined!"));
        node
    }
}

/// A program to be run in a scene.
#[derive(Clone)]
pub(crate) struct Program {
    path: PathBuf,
    what: String,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
}

impl Program {
    fn new(path: &'static str, what: &str, scene: &Scene) -> Self {
        Self {
            path: path.into(),
            what: what.to_owned(),
            arguments: Vec::new(),
            environment: vec![
                ("HOME".into(), scene.path("home").into()),
                ("XDG_DATA_HOME".into(), scene.path("data").into()),
            ],
            directory: scene.directory.path().to_owned(),
        }
    }

    /// The node of `chat-node` without an address, for flags that need none.
    pub(crate) fn bare_node(scene: &Scene) -> Self {
        Self::new(env!("CARGO_BIN_EXE_chat-node"), "node", scene)
    }

    /// The name under which failures speak of it.
    pub(crate) fn called(mut self, what: &str) -> Self {
        what.clone_into(&mut self.what);
        self
    }

    /// One more argument.
    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    /// One more variable of its environment, which is otherwise almost empty.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The same, run by `wrapper`, whose last words make it become the program that its remaining
    /// arguments name.
    pub(crate) fn run_by(mut self, wrapper: &[&str]) -> Self {
        let (path, arguments) = wrapper.split_first().expect("it has a name");
        let program = std::mem::replace(&mut self.path, path.into());
        let own = std::mem::take(&mut self.arguments);
        self.arguments = arguments.iter().map(OsString::from).collect();
        self.arguments.push(program.into());
        self.arguments.extend(own);
        self
    }

    pub(crate) fn data_dir(self, directory: &Path) -> Self {
        self.arg("--data-dir").arg(directory)
    }
}

/// Measures how long something took.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        now().duration_since(self.0)
    }
}

/// The only clock of the tests.
#[expect(
    clippy::disallowed_methods,
    reason = "real programs run in real time, and a test of them has a deadline"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Makes `to` what `from` is, whatever it was before.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}

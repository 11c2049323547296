//! The processes of the demonstration: a broker that can be killed, and nodes at pipes.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cli::exit::{Code, Failure};

/// The hidden command by which this program is a broker.
pub(in crate::cli) const BROKER_COMMAND: &str = "broker";
/// How long a process may take to say its first word.
const START_MAX: Duration = Duration::from_secs(30);
/// The file in which a process's stderr is kept.
const ERRORS: &str = "stderr";

/// A temporary directory, and this very program.
pub(super) struct Stage {
    directory: TempDir,
    program: PathBuf,
}

/// A broker's process.
pub(super) struct Broker {
    pub(super) address: SocketAddr,
    child: Child,
    /// Kept open: a broker that nobody listens to would notice.
    _stdout: Lines<BufReader<ChildStdout>>,
}

/// A node's process.
pub(super) struct Node {
    child: Child,
    stdin: Option<ChildStdin>,
}

/// What a node's stdout brought.
#[derive(Debug)]
pub(super) enum Shown {
    Line(usize, String),
    /// There is no more.
    End(usize),
}

impl Stage {
    pub(super) fn new() -> Result<Self, Failure> {
        let system = |error: std::io::Error| {
            let message = format!("the system does not let it run: {error}");
            Failure::new(Code::Unavailable, message)
        };
        Ok(Self {
            directory: TempDir::with_prefix("tertulia-demo-").map_err(system)?,
            program: std::env::current_exe().map_err(system)?,
        })
    }

    /// Starts the broker, at `at` if it has had an address before, and waits until it listens.
    pub(super) async fn start_broker(&self, at: Option<SocketAddr>) -> Result<Broker, Failure> {
        let listen = at.map_or_else(|| "127.0.0.1:0".to_owned(), |at| at.to_string());
        let mut child = self.spawn("broker", &[BROKER_COMMAND, "--listen", &listen])?;
        let stdout = child.stdout.take().ok_or_else(no_pipe)?;
        let mut lines = BufReader::new(stdout).lines();
        let banner = timeout(START_MAX, lines.next_line()).await;
        let banner = banner.ok().and_then(Result::ok).flatten();
        let address = banner.as_deref().and_then(|banner| {
            let (_, rest) = banner.split_once("listening on ")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        match address {
            Some(address) => Ok(Broker {
                address,
                child,
                _stdout: lines,
            }),
            None => Err(self.failure(Code::Unavailable, "the broker did not start", "broker")),
        }
    }

    /// Starts a node of somebody called `name`, who enters by `relay`; what it shows goes to
    /// `shown`.
    pub(super) fn start_node(
        &self,
        index: usize,
        name: &str,
        relay: SocketAddr,
        shown: mpsc::Sender<Shown>,
    ) -> Result<Node, Failure> {
        let relay = relay.to_string();
        let arguments = ["--plain", "--broker", &relay, "--name", name];
        let mut child = self.spawn(name, &arguments)?;
        let stdout = child.stdout.take().ok_or_else(no_pipe)?;
        let stdin = child.stdin.take();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if shown.send(Shown::Line(index, line)).await.is_err() {
                    return;
                }
            }
            // Who is not waiting for it does not miss it.
            let _ = shown.send(Shown::End(index)).await;
        });
        Ok(Node { child, stdin })
    }

    /// A failure with what `name` said about it.
    pub(super) fn failure(&self, code: Code, what: &str, name: &str) -> Failure {
        let file = self.directory.path().join(name).join(ERRORS);
        let said = std::fs::read_to_string(file).unwrap_or_default();
        Failure::new(code, format!("{what}\n{}", said.trim_end()))
    }

    /// Starts this program with the arguments, its files in a directory called `name`.
    fn spawn(&self, name: &str, arguments: &[&str]) -> Result<Child, Failure> {
        let directory = self.directory.path().join(name);
        let start = || {
            std::fs::create_dir_all(&directory)?;
            let errors = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(directory.join(ERRORS))?;
            Command::new(&self.program)
                .args(arguments)
                .arg("--data-dir")
                .arg(directory.join("data"))
                // What this user has set for programs of the same family is not meant for these.
                .env_clear()
                .envs(std::env::vars_os().filter(|(name, _)| is_inherited(name)))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(errors)
                .kill_on_drop(true)
                .spawn()
        };
        start().map_err(|error| {
            let message = format!("cannot start {}: {error}", self.program.display());
            Failure::new(Code::Unavailable, message)
        })
    }
}

fn is_inherited(name: &OsStr) -> bool {
    let own = name.to_string_lossy().starts_with("CHAT_");
    !own || name == "CHAT_MUTANT"
}

fn no_pipe() -> Failure {
    Failure::new(Code::Unavailable, "a process without its pipes")
}

impl Broker {
    /// Ends it without a word, as a crash does.
    pub(super) async fn kill(mut self) {
        // Fails only if it is gone already.
        let _ = self.child.kill().await;
    }
}

impl Node {
    /// Types a line. Whether the node still takes any.
    pub(super) async fn type_line(&mut self, line: &str) -> bool {
        match &mut self.stdin {
            Some(stdin) => stdin
                .write_all(format!("{line}\n").as_bytes())
                .await
                .is_ok(),
            None => false,
        }
    }

    /// Ends its input, whereupon it leaves.
    pub(super) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Ends it without a word.
    pub(super) async fn kill(mut self) {
        // Fails only if it is gone already.
        let _ = self.child.kill().await;
    }
}

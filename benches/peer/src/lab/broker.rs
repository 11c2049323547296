//! A `chat-broker` that this process has started.

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use super::Target;
use crate::Result;
use crate::opts::Opts;

/// How long a broker may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker's place on the disk and in the network, and its process if there is one.
pub struct Broker {
    pub target: Target,
    pub address: SocketAddr,
    dir: PathBuf,
    program: PathBuf,
    /// Where strace is to write what the broker syncs.
    strace: Option<String>,
    child: Option<Running>,
}

struct Running {
    child: Child,
    /// The broker's own process: the child, or the child of strace.
    pid: u32,
    stdout: Lines<BufReader<ChildStdout>>,
    started: Instant,
}

impl Broker {
    /// A broker without a past, not started yet.
    pub fn prepare(target: Target, dir: &Path, opts: &Opts) -> Result<Self> {
        let dir = dir.join(target.name());
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(dir.join("data"))?;
        // A port that is free now, and the same for every start of this broker.
        let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let strace = opts.text("strace", "");
        let strace = (!strace.is_empty()).then(|| format!("{strace}.{}", target.name()));
        Ok(Self {
            target,
            address,
            dir,
            program: opts.text("broker", "chat-broker").into(),
            strace,
            child: None,
        })
    }

    /// Where its lines and keys are.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts it, and waits until it listens. Returns how long that took.
    pub async fn start(&mut self) -> Result<Duration> {
        let started = self.spawn()?;
        self.listens().await?;
        Ok(started.elapsed())
    }

    /// Starts it. Returns when that was.
    pub fn spawn(&mut self) -> Result<Instant> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("broker.log"))?;
        let started = Instant::now();
        let mut child = self.command(log).spawn()?;
        let pid = child.id().ok_or("a child has an id")?;
        let stdout = child.stdout.take().ok_or("its output is piped")?;
        self.child = Some(Running {
            child,
            pid,
            stdout: BufReader::new(stdout).lines(),
            started,
        });
        Ok(started)
    }

    fn command(&self, log: File) -> Command {
        let mut command;
        if let Some(trace) = &self.strace {
            command = Command::new("strace");
            let calls = "trace=fsync,fdatasync,sync_file_range,msync,sync,syncfs";
            command.args(["-f", "-ttt", "-T", "-y", "-e", calls, "-o", trace]);
            command.arg(&self.program);
        } else {
            // A broker must not outlive a run that was cut off by a time limit.
            command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]).arg(&self.program);
        }
        command.args(["--listen", &self.address.to_string()]);
        command.arg("--data-dir").arg(self.data_dir());
        if self.target == Target::Memory {
            command.arg("--memory");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log).kill_on_drop(true);
        command
    }

    /// Waits until it says that it listens. Returns when it was started and how long that took.
    pub async fn listens(&mut self) -> Result<Duration> {
        let dir = self.dir.clone();
        let running = self.child.as_mut().ok_or("the broker was not started")?;
        while let Some(line) = timeout(PATIENCE, running.stdout.next_line()).await?? {
            if line.contains("listening on") {
                let took = running.started.elapsed();
                if self.strace.is_some() {
                    running.pid = only_child_of(running.pid).unwrap_or(running.pid);
                }
                return Ok(took);
            }
        }
        Err(format!("the broker ended; see {}", dir.join("broker.log").display()).into())
    }

    /// Its process; 0 if it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, |running| running.pid)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid())?;
        let pid = Pid::from_raw(pid).ok_or("the broker does not run")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        if self.child.is_some() {
            // It may have ended by itself.
            let _ = self.signal(Signal::KILL);
        }
        if let Some(mut running) = self.child.take() {
            let _ = running.child.kill().await;
        }
    }

    /// Ends it in an orderly way, as far as it lets itself be ended.
    pub async fn stop(&mut self) {
        let asked = self.signal(Signal::TERM);
        if let Some(running) = &mut self.child
            && asked.is_ok()
            && timeout(PATIENCE, running.child.wait()).await.is_ok()
        {
            self.child = None;
        }
        self.kill().await;
        sleep(Duration::from_millis(10)).await;
    }
}

fn only_child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

//! Programs with piped streams, as a script runs them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::transcript::{Transcript, count_of, finished_lines};
use super::{PATIENCE, Program};

/// A running program, which is killed when this is dropped.
pub(crate) struct Process {
    what: String,
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) stdout: Transcript,
    pub(crate) stderr: Transcript,
}

/// What a program has left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit code; as a shell says it, 128 and the number if a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it with all its streams piped.
    pub(crate) fn start(&self) -> Process {
        let mut process = self.start_unread();
        let stdout = process.child.stdout.take().expect("stdout is piped");
        process.stdout = Transcript::of(stdout);
        process
    }

    /// Starts it with a pipe for stdout that nobody will ever read.
    pub(crate) fn start_with_closed_stdout(&self) -> Process {
        let mut process = self.start_unread();
        drop(process.child.stdout.take());
        process
    }

    fn start_unread(&self) -> Process {
        let mut child = self.command().spawn().expect("the program is built");
        let stderr = child.stderr.take().expect("stderr is piped");
        Process {
            what: self.what.clone(),
            stdin: child.stdin.take(),
            stdout: Transcript::ended(),
            stderr: Transcript::of(stderr),
            child,
        }
    }

    /// Runs it to its end with `input` as its whole input.
    pub(crate) fn run(&self, input: &[u8]) -> Finished {
        let mut process = self.start();
        process.type_bytes(input);
        process.end_input();
        process.finish()
    }

    /// Starts it as a broker and waits for its banner.
    pub(crate) fn start_broker(&self) -> Broker {
        let process = self.start();
        let banner = process
            .stdout
            .wait(PATIENCE, |text| {
                finished_lines(text).next().map(str::to_owned)
            })
            .unwrap_or_else(|| process.fail("no banner"));
        let after = |word: &str| {
            let (_, rest) = banner
                .split_once(word)
                .unwrap_or_else(|| process.fail(&format!("no {word:?} in the banner")));
            rest.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let address = after("listening on ")
            .parse()
            .unwrap_or_else(|_| process.fail("no address in the banner"));
        let fingerprint = after("key ");
        Broker {
            process,
            address,
            fingerprint,
            banner,
        }
    }
}

/// A broker that has said where it listens.
pub(crate) struct Broker {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: String,
    pub(crate) banner: String,
}

impl Broker {
    /// Waits until the last word about people is this one.
    pub(crate) fn counts(&self, people: usize) {
        let expected = format!("People in chat: {people}");
        self.process
            .stdout
            .wait(PATIENCE, |text| {
                (text.ends_with('\n') && text.lines().last() == Some(&expected)).then_some(())
            })
            .unwrap_or_else(|| self.process.fail(&format!("never said {expected:?}")));
    }

    /// What it said on stdout after its banner.
    pub(crate) fn counted(&self) -> String {
        let text = self.process.stdout.text();
        let (_, rest) = text.split_once('\n').expect("the banner is a line");
        rest.to_owned()
    }

    /// Stops it as an operator does, and returns what it left behind.
    pub(crate) fn stop(mut self) -> Finished {
        self.process.signal(Signal::TERM);
        self.process.finish()
    }
}

impl Process {
    /// Types `line` and a line feed.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.type_bytes(format!("{line}\n").as_bytes());
    }

    /// Types bytes as they are.
    pub(crate) fn type_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("the input has not ended");
        // A program that has ended reads no more; what it left behind will tell.
        let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
    }

    /// Hands its input over to somebody else who types.
    pub(crate) fn take_input(&mut self) -> ChildStdin {
        self.stdin.take().expect("the input has not ended")
    }

    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until stdout has the finished line `line`.
    pub(crate) fn shows(&self, line: &str) {
        self.shows_times(line, 1);
    }

    /// Waits until stdout has the finished line `line` this often.
    pub(crate) fn shows_times(&self, line: &str, times: usize) {
        self.stdout
            .wait(PATIENCE, |text| {
                (count_of(text, line) >= times).then_some(())
            })
            .unwrap_or_else(|| self.fail(&format!("never showed {line:?} {times} times")));
    }

    /// Waits until `done` is satisfied with stdout.
    pub(crate) fn shows_until(&self, patience: Duration, done: impl Fn(&str) -> bool) {
        self.stdout
            .wait(patience, |text| done(text).then_some(()))
            .unwrap_or_else(|| self.fail("never showed enough"));
    }

    /// Waits until stderr holds `words`.
    pub(crate) fn says(&self, words: &str) {
        self.stderr
            .wait(PATIENCE, |text| text.contains(words).then_some(()))
            .unwrap_or_else(|| self.fail(&format!("never said {words:?}")));
    }

    /// Checks all of stdout, byte for byte.
    #[track_caller]
    pub(crate) fn has_shown_exactly(&self, lines: &[&str]) {
        let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(
            String::from_utf8_lossy(&self.stdout.bytes()),
            expected,
            "stdout of {}; its stderr:\n{}",
            self.what,
            self.stderr.text()
        );
    }

    /// How much memory of its own it has.
    pub(crate) fn anonymous_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.and_then(|kib| kib.parse().ok())
            .expect("the system counts memory")
    }

    /// Its number with the system.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // Only a program that has ended cannot be signalled, and it needs none.
        let _ = kill_process(pid, signal);
    }

    /// Kills it as the system does when it must: without a word.
    pub(crate) fn kill(mut self) {
        self.kill_and_reap();
    }

    /// The same, and what it has written can still be read.
    pub(crate) fn kill_now(&mut self) {
        self.kill_and_reap();
        assert!(
            self.stdout.wait_for_end(PATIENCE),
            "a pipe outlives its writer"
        );
    }

    /// Whether it ends within `patience`.
    pub(crate) fn has_ended_within(&self, patience: Duration) -> bool {
        self.stdout.wait_for_end(patience)
    }

    /// Waits for its end.
    pub(crate) fn finish(&mut self) -> Finished {
        // Its streams end when it does: it has no children.
        if !self.stdout.wait_for_end(PATIENCE) || !self.stderr.wait_for_end(PATIENCE) {
            self.fail::<()>("did not end");
        }
        let status = self.child.wait().expect("it is our child");
        let code = status.code().or(status.signal().map(|number| 128 + number));
        Finished {
            code: code.expect("a process that has ended has a code or a signal"),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }

    /// Fails the test with everything that is known about the program.
    #[track_caller]
    pub(crate) fn fail<T>(&self, why: &str) -> T {
        panic!(
            "{} {why}\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.stdout.text(),
            self.stderr.text()
        )
    }

    fn kill_and_reap(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}

impl Finished {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exited_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Checks that stderr holds `words`.
    #[track_caller]
    pub(crate) fn said(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "{words:?} in {self:#?}");
        self
    }

    /// Checks all of stdout.
    #[track_caller]
    pub(crate) fn showed(self, stdout: &str) -> Self {
        assert_eq!(self.stdout, stdout, "{self:#?}");
        self
    }
}

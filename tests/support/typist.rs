//! Somebody who types all the time.

use std::io::Write as _;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Types into several nodes in turn, until told to stop: `line 1` into each, then `line 2`.
pub(crate) struct Typist {
    is_done: Arc<AtomicBool>,
    thread: JoinHandle<Typed>,
}

/// What was typed.
pub(crate) struct Typed {
    /// When the first node was given each line.
    pub(crate) times: Vec<Instant>,
    /// The nodes leave when these are dropped.
    pub(crate) _inputs: Vec<ChildStdin>,
}

impl Typist {
    /// Types a line in each such span.
    pub(crate) fn start(mut inputs: Vec<ChildStdin>, pace: Duration) -> Self {
        let is_done = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&is_done);
        let thread = thread::spawn(move || {
            let mut rounds = Vec::new();
            while !watched.load(Ordering::Relaxed) {
                rounds.push(super::now());
                for input in &mut inputs {
                    writeln!(input, "line {}", rounds.len()).expect("the node takes input");
                    // The rate of the stream: nothing waits for this.
                    thread::sleep(pace);
                }
            }
            Typed {
                times: rounds,
                _inputs: inputs,
            }
        });
        Self { is_done, thread }
    }

    /// Types no more.
    pub(crate) fn stop(self) -> Typed {
        self.is_done.store(true, Ordering::Relaxed);
        self.thread.join().expect("the typist types")
    }
}

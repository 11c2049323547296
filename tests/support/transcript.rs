//! What a program has written so far, and waiting for more of it.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Everything that came out of one stream, read by a thread of its own.
#[derive(Clone)]
pub(crate) struct Transcript {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    bytes: Vec<u8>,
    /// When each line came to its end.
    lines: Vec<Instant>,
    is_ended: bool,
}

impl Transcript {
    /// Reads `stream` until it ends.
    pub(crate) fn of(mut stream: impl Read + Send + 'static) -> Self {
        let transcript = Self::ended();
        transcript.lock().is_ended = false;
        let writer = transcript.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose last process has gone reads as an error, which is its end.
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                writer.lock().push(&buffer[..count]);
                writer.shared.changed.notify_all();
            }
            writer.lock().is_ended = true;
            writer.shared.changed.notify_all();
        });
        transcript
    }

    /// One into which nothing is written.
    pub(crate) fn ended() -> Self {
        let state = State {
            bytes: Vec::new(),
            lines: Vec::new(),
            is_ended: true,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no reader panics")
    }

    /// All of it, so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// All of it, so far, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Waits until `found` finds what it looks for; `None` if the stream ends or the time is up
    /// before.
    pub(crate) fn wait<T>(
        &self,
        patience: Duration,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> Option<T> {
        let deadline = super::now() + patience;
        let mut state = self.lock();
        loop {
            let result = found(&String::from_utf8_lossy(&state.bytes));
            let left = deadline.saturating_duration_since(super::now());
            if result.is_some() || state.is_ended || left.is_zero() {
                return result;
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("no reader panics");
        }
    }

    /// How many finished lines there are so far.
    pub(crate) fn lines(&self) -> usize {
        self.lock().lines.len()
    }

    /// When each finished line came to its end.
    pub(crate) fn line_times(&self) -> Vec<Instant> {
        self.lock().lines.clone()
    }

    /// Waits until there are so many finished lines; whether there are.
    pub(crate) fn wait_for_lines(&self, patience: Duration, lines: usize) -> bool {
        let short = |state: &mut State| state.lines.len() < lines && !state.is_ended;
        let state = self.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, patience, short);
        waited.expect("no reader panics").0.lines.len() >= lines
    }

    /// Waits for the end of the stream; whether it came.
    pub(crate) fn wait_for_end(&self, patience: Duration) -> bool {
        self.wait(patience, |_| None::<()>);
        self.lock().is_ended
    }
}

impl State {
    fn push(&mut self, bytes: &[u8]) {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let now = super::now();
        self.lines.extend(std::iter::repeat_n(now, lines));
        self.bytes.extend_from_slice(bytes);
    }
}

/// How many lines of `text` are exactly `line`, counting finished lines only.
pub(crate) fn count_of(text: &str, line: &str) -> usize {
    finished_lines(text).filter(|found| *found == line).count()
}

/// The lines of `text` that have come to their end.
pub(crate) fn finished_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
}

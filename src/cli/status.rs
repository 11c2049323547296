//! `People in chat: N` on the broker's stdout, and a log on the same terminal that does not tear it
//! up (CLI-9).

use std::io::{self, IsTerminal as _, Stderr, Stdout, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use super::logging::escapes_are_welcome;

/// Back to the start of the line, and nothing on it.
const CLEAR_LINE: &str = "\r\x1b[K";

/// The broker's stdout and stderr. Clones are the same.
#[derive(Debug)]
pub(super) struct Status<O = Stdout, E = Stderr>(Arc<Mutex<State<O, E>>>);

#[derive(Debug)]
struct State<O, E> {
    out: O,
    err: E,
    /// Whether the count is redrawn in place.
    in_place: bool,
    /// Whether the log is shown on the terminal where the count is.
    shares_terminal: bool,
    /// The count that stands on a line of its own that is not ended.
    shown: Option<usize>,
}

impl<O, E> Clone for Status<O, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Status {
    /// The process's own.
    pub(super) fn new() -> Self {
        let in_place = io::stdout().is_terminal() && escapes_are_welcome();
        let shares_terminal = in_place && io::stderr().is_terminal();
        Self::over(io::stdout(), io::stderr(), in_place, shares_terminal)
    }
}

impl<O: Write, E: Write> Status<O, E> {
    fn over(out: O, err: E, in_place: bool, shares_terminal: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            out,
            err,
            in_place,
            shares_terminal,
            shown: None,
        })))
    }

    /// Prints a line of its own.
    pub(super) fn line(&self, text: &str) {
        let mut state = self.lock();
        // A broker whose stdout is closed serves on.
        let _ = writeln!(state.out, "{text}").and_then(|()| state.out.flush());
    }

    /// Shows how many people are present.
    pub(super) fn people(&self, count: usize) {
        let mut state = self.lock();
        let _ = if state.in_place {
            state.shown = Some(count);
            state.draw()
        } else {
            writeln!(state.out, "People in chat: {count}").and_then(|()| state.out.flush())
        };
    }

    /// Ends the line that the count stands on.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        if state.shown.take().is_some() {
            let _ = writeln!(state.out);
        }
    }

    /// What is shown is whole whenever the lock is free, also after a panic.
    fn lock(&self) -> MutexGuard<'_, State<O, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: Write, E: Write> State<O, E> {
    fn draw(&mut self) -> io::Result<()> {
        if let Some(count) = self.shown {
            write!(self.out, "{CLEAR_LINE}People in chat: {count}")?;
            self.out.flush()?;
        }
        Ok(())
    }
}

/// For the log: a whole event at a time.
impl<O: Write, E: Write> Write for Status<O, E> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        let is_in_the_way = state.shares_terminal && state.shown.is_some();
        if is_in_the_way {
            let _ = write!(state.out, "{CLEAR_LINE}").and_then(|()| state.out.flush());
        }
        let written = state.err.write_all(event).map(|()| event.len());
        if is_in_the_way {
            let _ = state.draw();
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().err.flush()
    }
}

impl<'a> MakeWriter<'a> for Status {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(in_place: bool) -> (String, String) {
        let mut status = Status::over(Vec::new(), Vec::new(), in_place, in_place);
        status.line("banner");
        status.people(0);
        status.write_all(b"INFO joined\n").unwrap();
        status.people(1);
        status.end();
        let state = status.lock();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&state.out), text(&state.err))
    }

    /// CLI-9.
    #[test]
    fn off_a_terminal_each_change_is_a_line() {
        let (out, err) = shown(false);
        assert_eq!(out, "banner\nPeople in chat: 0\nPeople in chat: 1\n");
        assert_eq!(err, "INFO joined\n");
    }

    /// CLI-9.
    #[test]
    fn on_a_terminal_the_count_is_redrawn_in_place_below_the_log() {
        let (out, err) = shown(true);
        let expected = "banner\n\
            \r\x1b[KPeople in chat: 0\
            \r\x1b[K\r\x1b[KPeople in chat: 0\
            \r\x1b[KPeople in chat: 1\n";
        assert_eq!(out, expected);
        assert_eq!(err, "INFO joined\n");
    }
}

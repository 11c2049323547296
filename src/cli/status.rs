//! `People in chat: N` on the broker's stdout, and a log on the same terminal that does not tear it
//! up (CLI-9).

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use super::logging::escapes_are_welcome;

/// Back to the start of the line, and nothing on it.
const CLEAR_LINE: &str = "\r\x1b[K";

/// How many lines wait until somebody reads them; more are left out (LIM-26).
const LINES_WAITING_MAX: usize = 4_096;

/// The broker's stdout and stderr. Clones are the same.
///
/// Whoever reads them may stop to, as a pager does, and the system then has a writer wait. So others
/// write, each a thread, and a broker serves on.
#[derive(Debug)]
pub(super) struct Status<O = NonBlocking, E = NonBlocking>(Arc<Mutex<State<O, E>>>);

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
    /// The process's own. When what is returned beside it is dropped, what waits is written, unless
    /// nobody reads it within a second.
    pub(super) fn new() -> (Self, [WorkerGuard; 2]) {
        let in_place = io::stdout().is_terminal() && escapes_are_welcome();
        let shares_terminal = in_place && io::stderr().is_terminal();
        let (out, writes_out) = behind(io::stdout());
        let (err, writes_err) = behind(io::stderr());
        let status = Self::over(out, err, in_place, shares_terminal);
        (status, [writes_out, writes_err])
    }
}

/// A writer for which nobody waits.
fn behind(writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING_MAX)
        .finish(writer)
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
        let _ = state.say(&format!("{text}\n"));
    }

    /// Shows how many people are present.
    pub(super) fn people(&self, count: usize) {
        let mut state = self.lock();
        let _ = if state.in_place {
            state.shown = Some(count);
            state.draw()
        } else {
            state.say(&format!("People in chat: {count}\n"))
        };
    }

    /// Ends the line that the count stands on.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        if state.shown.take().is_some() {
            let _ = state.say("\n");
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
            self.say(&format!("{CLEAR_LINE}People in chat: {count}"))?;
        }
        Ok(())
    }

    /// With one call, so that it is left out as a whole or not at all.
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// For the log: a whole event at a time.
impl<O: Write, E: Write> Write for Status<O, E> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        let is_in_the_way = state.shares_terminal && state.shown.is_some();
        if is_in_the_way {
            let _ = state.say(CLEAR_LINE);
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
    use std::sync::mpsc;

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

    /// What nobody reads: whoever writes waits until this is dropped at the other end.
    struct Unread(mpsc::Receiver<()>);

    impl Write for Unread {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// CLI-9, LIM-26: a broker whose output nobody reads goes on, and what waits does not grow.
    #[test]
    fn nobody_waits_for_who_reads_the_output() {
        let (read_on, waits) = mpsc::channel();
        let (out, writes) = behind(Unread(waits));
        let left_out = out.error_counter();
        let status = Status::over(out, io::sink(), false, false);
        let many = 3 * LINES_WAITING_MAX;
        (0..many).for_each(|count| status.people(count));
        let left_out = left_out.dropped_lines();
        assert!(left_out + LINES_WAITING_MAX + 1 >= many, "{left_out}");
        drop((read_on, writes));
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

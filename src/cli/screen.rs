//! What a node shows, plainly (CLI-1, CLI-2).
//!
//! stdout carries the conversation, stderr everything else. At a terminal a prompt waits for the
//! next line; what arrives meanwhile takes its place, and it is shown again below. What was half
//! typed then is still in the terminal's own buffer, and is sent with the rest of the line.

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::logging::escapes_are_welcome;
use crate::chat::visible_lines;

/// How much waits to be shown; when it is full, nothing more is taken from the broker.
const WAITING_MAX: usize = 256;
/// How much of that is free whenever [`Screen::room`] has returned.
const ROOM: usize = 8;

/// Back to the start of the line, and nothing on it.
const CLEAR_LINE: &str = "\r\x1b[K";

enum Show {
    /// A line of the conversation, or one that is not for showing: it counts all the same.
    Line(Option<String>),
    Note(String),
    Prompt(&'static str),
    /// The prompt was answered: the terminal itself went on to the next line.
    Answered,
    NoPrompt,
}

/// The way to a thread that shows things: writing to a terminal or a pipe can take its time.
#[derive(Debug)]
pub(super) struct Screen {
    sender: mpsc::Sender<Show>,
    done: oneshot::Receiver<()>,
    printed: watch::Receiver<u64>,
    /// How many lines it was given to print.
    given: AtomicU64,
    is_interactive: bool,
}

impl Screen {
    /// The process's own stdout and stderr.
    pub(super) fn start() -> Self {
        let is_interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
        let painter = Painter {
            out: io::stdout(),
            err: io::stderr(),
            clear: if escapes_are_welcome() {
                CLEAR_LINE
            } else {
                "\n"
            },
            shares_terminal: io::stderr().is_terminal(),
            prompt: None,
        };
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let (count, printed) = watch::channel(0);
        let (is_done, done) = oneshot::channel();
        thread::spawn(move || {
            painter.show_all(receiver, &count);
            // Who waits for this may be gone.
            let _ = is_done.send(());
        });
        Self {
            sender,
            done,
            printed,
            given: AtomicU64::new(0),
            is_interactive,
        }
    }

    /// Whether somebody sits there: stdin and stdout are both terminals.
    pub(super) const fn is_interactive(&self) -> bool {
        self.is_interactive
    }

    /// Waits until a few things more can be shown without waiting.
    pub(super) async fn room(&self) {
        // If nobody looks any more there is all the room in the world.
        let _ = self.sender.reserve_many(ROOM).await;
    }

    /// Waits until stdout is closed by whoever read it.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Prints a line of the conversation.
    pub(super) async fn line(&self, text: String) {
        self.line_or_nothing(Some(text)).await;
    }

    /// Prints a line of the conversation, if there is anything to be printed of it.
    /// Returns how many that makes.
    pub(super) async fn line_or_nothing(&self, text: Option<String>) -> u64 {
        self.show(Show::Line(text)).await;
        self.given.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many lines of the conversation were printed, all the way: whoever reads stdout has them.
    pub(super) fn printed(&self) -> watch::Receiver<u64> {
        self.printed.clone()
    }

    /// Prints something else.
    pub(super) async fn note(&self, text: String) {
        self.show(Show::Note(text)).await;
    }

    /// Waits until everything is printed that it was given, but not for longer than this. Returns
    /// how much is.
    pub(super) async fn all_printed(&self, patience: Duration) -> u64 {
        let given = self.given.load(Ordering::Relaxed);
        let mut printed = self.printed.clone();
        // Nobody reads, or not fast enough.
        let _ = timeout(patience, printed.wait_for(|count| *count >= given)).await;
        *printed.borrow()
    }

    /// Asks for a line; at a terminal only.
    pub(super) async fn prompt(&self, prompt: &'static str) {
        if self.is_interactive {
            self.show(Show::Prompt(prompt)).await;
        }
    }

    /// A line was typed where the prompt was.
    pub(super) async fn answered(&self) {
        self.show(Show::Answered).await;
    }

    /// Asks for nothing any more.
    pub(super) async fn end_prompt(&self) {
        self.show(Show::NoPrompt).await;
    }

    async fn show(&self, show: Show) {
        // A closed stdout is noticed elsewhere.
        let _ = self.sender.send(show).await;
    }

    /// Waits until everything is shown.
    pub(super) async fn finish(self) {
        drop(self.sender);
        // The thread is done either way.
        let _ = self.done.await;
    }
}

struct Painter<O, E> {
    out: O,
    err: E,
    /// What makes room where the prompt is.
    clear: &'static str,
    /// Whether notes appear where the prompt is.
    shares_terminal: bool,
    /// The prompt that is shown.
    prompt: Option<&'static str>,
}

impl<O: Write, E: Write> Painter<O, E> {
    /// Shows what comes, until there is no more, or nobody to see it.
    fn show_all(mut self, mut shows: mpsc::Receiver<Show>, printed: &watch::Sender<u64>) {
        while let Some(show) = shows.blocking_recv() {
            let counts = matches!(show, Show::Line(_));
            if self.show(show).is_err() {
                return;
            }
            if counts {
                printed.send_modify(|count| *count += 1);
            }
        }
    }

    /// The error is that of stdout.
    fn show(&mut self, show: Show) -> io::Result<()> {
        match show {
            Show::Line(None) => Ok(()),
            Show::Line(Some(text)) => {
                self.make_room()?;
                writeln!(self.out, "{text}")?;
                self.show_prompt()
            }
            Show::Note(text) => {
                if self.shares_terminal {
                    self.make_room()?;
                    self.out.flush()?;
                }
                // Notes that nobody wants are no reason to end.
                let _ = writeln!(self.err, "{}", visible_lines(&text));
                if self.shares_terminal {
                    self.show_prompt()?;
                }
                Ok(())
            }
            Show::Prompt(prompt) => {
                if self.prompt.replace(prompt) == Some(prompt) {
                    return Ok(());
                }
                self.show_prompt()
            }
            Show::Answered => {
                self.prompt = None;
                Ok(())
            }
            Show::NoPrompt => {
                self.make_room()?;
                self.prompt = None;
                self.out.flush()
            }
        }
    }

    fn make_room(&mut self) -> io::Result<()> {
        match self.prompt {
            Some(_) => self.out.write_all(self.clear.as_bytes()),
            None => Ok(()),
        }
    }

    fn show_prompt(&mut self) -> io::Result<()> {
        if let Some(prompt) = self.prompt {
            self.out.write_all(prompt.as_bytes())?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(clear: &'static str, shares_terminal: bool, shows: Vec<Show>) -> (String, String) {
        let mut painter = Painter {
            out: Vec::new(),
            err: Vec::new(),
            clear,
            shares_terminal,
            prompt: None,
        };
        for show in shows {
            painter.show(show).unwrap();
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(painter.out), text(painter.err))
    }

    fn line(text: &str) -> Show {
        Show::Line(Some(text.to_owned()))
    }

    /// CLI-1, CLI-2.
    #[test]
    fn off_a_terminal_there_are_lines_and_nothing_else() {
        let note = Show::Note("note".to_owned());
        let shows = vec![line("a: 1"), note, line("b: 2"), Show::NoPrompt];
        let (out, err) = shown(CLEAR_LINE, false, shows);
        assert_eq!(out, "a: 1\nb: 2\n");
        assert_eq!(err, "note\n");
    }

    /// CLI-2.
    #[test]
    fn a_prompt_is_shown_once_for_each_answer() {
        let prompt = || Show::Prompt("YOU: ");
        let note = Show::Note("note".to_owned());
        let shows = vec![prompt(), prompt(), Show::Answered, note, prompt()];
        let (out, err) = shown(CLEAR_LINE, true, shows);
        assert_eq!(out, "YOU: YOU: ");
        assert_eq!(err, "note\n");
    }

    /// CLI-2.
    #[test]
    fn what_arrives_takes_the_place_of_the_prompt_which_is_shown_again_below() {
        let shows = || {
            let note = Show::Note("note".to_owned());
            vec![
                Show::Prompt("YOU: "),
                line("a: 1"),
                note,
                Show::NoPrompt,
                line("Leaving chat!"),
            ]
        };
        let (out, err) = shown(CLEAR_LINE, true, shows());
        let expected = "YOU: \r\x1b[Ka: 1\nYOU: \r\x1b[KYOU: \r\x1b[KLeaving chat!\n";
        assert_eq!(out, expected);
        assert_eq!(err, "note\n");
        let (out, _) = shown("\n", true, shows());
        assert!(!out.contains(['\r', '\x1b']), "{out:?}");
    }
}

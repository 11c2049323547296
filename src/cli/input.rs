//! What is typed, or comes through a pipe, line by line (CLI-4).

use std::io::Read;
use std::thread;

use tokio::sync::mpsc;

use crate::chat::CHAT_LINE_MAX;

/// How many lines wait to be taken; the reading waits meanwhile, and so does who writes.
const LINES_WAITING_MAX: usize = 16;
/// How many bytes are read at a time.
const READ_BYTES: usize = 8_192;

/// A line of the input, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Bytes without the line feed, and without the carriage return before it. They may be
    /// anything, UTF-8 or not.
    Line(Vec<u8>),
    /// A line that was longer than a line may be; it was not kept.
    TooLong,
}

/// Reads the standard input, on a thread of its own: such reading cannot be interrupted.
///
/// The channel closes at the end of the input.
pub(super) fn start() -> mpsc::Receiver<Input> {
    let (lines, receiver) = mpsc::channel(LINES_WAITING_MAX);
    thread::spawn(move || read(std::io::stdin().lock(), &lines));
    receiver
}

/// Reads to the end, or until nobody wants more.
fn read(mut from: impl Read, lines: &mpsc::Sender<Input>) {
    let mut splitter = Splitter::default();
    let mut buffer = [0; READ_BYTES];
    loop {
        let len = match from.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // A terminal that is gone gives errors for ever: that is an end, too.
            Err(_) => 0,
        };
        if len == 0 {
            if let Some(last) = splitter.finish() {
                // At the end it makes no difference whether anybody listens.
                let _ = lines.blocking_send(last);
            }
            return;
        }
        for line in splitter.split(&buffer[..len]) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    }
}

/// Cuts bytes into lines, and keeps no more of one than a line may have.
#[derive(Debug, Default)]
struct Splitter {
    line: Vec<u8>,
    /// The rest of this line is skipped.
    is_too_long: bool,
}

impl Splitter {
    /// The lines that end in `bytes`.
    fn split(&mut self, bytes: &[u8]) -> Vec<Input> {
        let mut lines = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.take(piece);
            // After the last piece comes no line feed.
            if pieces.peek().is_some() {
                lines.push(self.end());
            }
        }
        lines
    }

    /// The last line, if the input ended within one.
    fn finish(&mut self) -> Option<Input> {
        (self.is_too_long || !self.line.is_empty()).then(|| self.end())
    }

    fn take(&mut self, piece: &[u8]) {
        // One more than a line may have: it could be a carriage return.
        if self.is_too_long || self.line.len() + piece.len() > CHAT_LINE_MAX + 1 {
            self.is_too_long = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn end(&mut self) -> Input {
        let mut line = core::mem::take(&mut self.line);
        let was_too_long = core::mem::take(&mut self.is_too_long);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if was_too_long || line.len() > CHAT_LINE_MAX {
            Input::TooLong
        } else {
            Input::Line(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], chunk: usize) -> Vec<Input> {
        let mut splitter = Splitter::default();
        let mut lines: Vec<Input> = input
            .chunks(chunk)
            .flat_map(|chunk| splitter.split(chunk))
            .collect();
        lines.extend(splitter.finish());
        lines
    }

    fn line(text: &str) -> Input {
        Input::Line(text.into())
    }

    #[test]
    fn lines_end_with_a_line_feed_and_lose_one_carriage_return() {
        for chunk in 1..8 {
            let got = lines(b"a\r\n\nb\r\r\nlast", chunk);
            assert_eq!(got, [line("a"), line(""), line("b\r"), line("last")]);
        }
        assert_eq!(lines(b"a\n", 5), [line("a")]);
        assert_eq!(lines(b"", 5), []);
    }

    /// CLI-4.
    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_not() {
        let longest = "x".repeat(CHAT_LINE_MAX);
        for (first, expected) in [
            (longest.clone(), line(&longest)),
            (format!("{longest}\r"), line(&longest)),
            (format!("{longest}y"), Input::TooLong),
            (longest.repeat(9), Input::TooLong),
        ] {
            let input = format!("{first}\nnext");
            for chunk in [1_000, READ_BYTES, usize::MAX] {
                let got = lines(input.as_bytes(), chunk);
                assert_eq!(got, [expected.clone(), line("next")]);
            }
        }
    }

    /// CLI-4.
    #[test]
    fn skipping_a_huge_line_takes_no_memory() {
        let mut splitter = Splitter::default();
        for _ in 0..1_000 {
            assert_eq!(splitter.split(&[b'x'; READ_BYTES]), []);
            assert!(splitter.line.capacity() <= 2 * CHAT_LINE_MAX);
        }
        assert_eq!(splitter.finish(), Some(Input::TooLong));
    }
}

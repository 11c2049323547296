//! The program `chat-node`, in its plain interface.
//!
//! First the name, then a [session](session::Session): one driver of one machine, which lasts
//! until the node leaves, or the name turns out to be taken and another one is asked for.

mod carrier;
mod command;
mod devices;
mod errand;
mod host;
mod json;
mod link;
mod record;
mod script;
mod send;
mod session;
mod tail;
mod words;

use std::path::PathBuf;

use bytes::Bytes;
use tokio::select;
use tokio::sync::mpsc;

use super::args::{DevicesArgs, LinkArgs, LogFormat, NodeArgs, SendArgs, TailArgs};
use super::exit::{Code, Failure};
use super::input::{self, Input};
use super::screen::Screen;
use super::signals::Signals;
use super::{files, keys, logging};
use crate::chat::{Name, RoomName};
use crate::profile::known_hosts::KnownHosts;
use command::Command;
use host::Hosted;
use script::Scripted;
use session::Session;

const NAME_PROMPT: &str = "Enter User Name: ";
const LINE_PROMPT: &str = "YOU: ";
const FAREWELL: &str = "Leaving chat!";

/// What one process has, whoever it turns out to be.
struct Terminal {
    screen: Screen,
    input: mpsc::Receiver<Input>,
    signals: Signals,
    /// How many lines of the input were taken.
    lines_taken: u64,
}

/// How a session ended.
enum Outcome {
    /// And so does the program.
    Exit(Code),
    /// The same again: the node goes on as another device (JRN-4).
    Again,
    /// The broker does not accept the name, for this reason.
    NameRefused(String),
}

/// What somebody typed means (CLI-3).
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Nothing,
    Leave,
    Text(Bytes),
    /// A program says for which room (JSN-3).
    TextIn(RoomName, Bytes),
    Command(Command),
    /// A command that is wrong, and how.
    Mistake(String),
}

/// `chat-node keys`: the fingerprints of the keys that are here (CLI-23).
pub(super) async fn keys(args: NodeArgs) -> Result<Code, Failure> {
    keys::of_nodes(&files::find_data_dir(args.data_dir, "node")?)
}

/// `chat-node link`.
pub(super) async fn link(args: NodeArgs, link: LinkArgs) -> Result<Code, Failure> {
    logging::start("warn", LogFormat::Text, std::io::stderr);
    link::run(args, link).await
}

/// `chat-node devices`.
pub(super) async fn devices(args: NodeArgs, devices: DevicesArgs) -> Result<Code, Failure> {
    logging::start("warn", LogFormat::Text, std::io::stderr);
    devices::run(args, devices).await
}

/// `chat-node send`.
pub(super) async fn send(args: NodeArgs, send: SendArgs) -> Result<Code, Failure> {
    logging::start("warn", LogFormat::Text, std::io::stderr);
    send::run(&args, &send).await
}

/// `chat-node tail`.
pub(super) async fn tail(args: NodeArgs, tail: TailArgs) -> Result<Code, Failure> {
    logging::start("warn", LogFormat::Text, std::io::stderr);
    tail::run(&args, &tail).await
}

/// Runs a node until it leaves.
pub(super) async fn run(mut args: NodeArgs) -> Result<Code, Failure> {
    logging::start("warn", LogFormat::Text, std::io::stderr);
    let signals = Signals::new().map_err(|error| {
        let message = format!("the system does not let it run: {error}");
        Failure::new(Code::Unavailable, message)
    })?;
    let mut terminal = Terminal {
        screen: Screen::start(),
        input: input::start(),
        signals,
        lines_taken: 0,
    };
    let mut hosted = if args.host {
        Some(Hosted::start(&mut args, &terminal.screen).await?)
    } else {
        None
    };
    let outcome = select! {
        biased;
        failure = Hosted::failure(hosted.as_mut()) => Err(failure),
        outcome = chat(&args, &mut terminal) => outcome,
    };
    if let Some(hosted) = hosted {
        hosted.end().await;
    }
    let Terminal {
        screen,
        mut signals,
        ..
    } = terminal;
    screen.end_prompt().await;
    select! {
        biased;
        () = screen.finish() => outcome,
        // Whoever reads stdout does not: the second Ctrl-C does not wait for that.
        () = signals.next() => Ok(Code::Interrupted),
    }
}

async fn chat(args: &NodeArgs, terminal: &mut Terminal) -> Result<Code, Failure> {
    let data_dir: PathBuf = files::data_dir(args.data_dir.clone(), "node")?;
    let hosts = KnownHosts::new(&data_dir);
    let mut name = match &args.name {
        Some(name) => name.clone(),
        None => match terminal.ask_name().await? {
            Some(name) => name,
            None => return Ok(Code::Done),
        },
    };
    loop {
        let mut session = Session::start(args, &name, &data_dir, &hosts, terminal).await?;
        let outcome = session.run().await;
        let closed = session.close().await;
        match outcome.and_then(|outcome| closed.map(|()| outcome))? {
            Outcome::Exit(code) => return Ok(code),
            Outcome::Again => {}
            Outcome::NameRefused(why) if !terminal.screen.is_interactive() => {
                let message = format!("the broker does not accept the name {name}: {why}");
                return Err(Failure::new(Code::Refused, message));
            }
            Outcome::NameRefused(why) => {
                terminal.screen.end_prompt().await;
                let note = format!("the broker does not accept the name {name}: {why}");
                terminal.screen.note(note).await;
                match terminal.ask_name().await? {
                    Some(other) => name = other,
                    None => return Ok(Code::Done),
                }
            }
        }
    }
}

impl Terminal {
    /// Asks for a name until there is a valid one; off a terminal the first line has to be one
    /// (CLI-2). `None` if the user would rather leave.
    async fn ask_name(&mut self) -> Result<Option<Name>, Failure> {
        let is_interactive = self.screen.is_interactive();
        loop {
            self.screen.prompt(NAME_PROMPT).await;
            let typed = select! {
                biased;
                () = self.signals.next() => None,
                typed = self.input.recv() => typed,
            };
            let line = match typed {
                Some(Input::Line(line)) if line != b"q!" => line,
                Some(Input::TooLong) => Vec::new(),
                None if !is_interactive => {
                    let message = "no name: give --name, or the name as the first line of input";
                    return Err(Failure::new(Code::Usage, message));
                }
                Some(Input::Line(_)) | None => {
                    self.screen.end_prompt().await;
                    self.screen.line(FAREWELL.to_owned()).await;
                    return Ok(None);
                }
            };
            self.lines_taken += 1;
            self.screen.answered().await;
            let text = String::from_utf8_lossy(&line);
            match Name::new(text.trim()) {
                Ok(name) => return Ok(Some(name)),
                Err(error) if is_interactive => {
                    self.screen.note(error.to_string()).await;
                }
                Err(error) => {
                    let message = format!("the first line of the input is no name: {error}");
                    return Err(Failure::new(Code::Usage, message));
                }
            }
        }
    }
}

impl Typed {
    /// CLI-3. A line that begins with `/` and is no known command is text.
    fn of(line: Vec<u8>) -> Self {
        match line.as_slice() {
            b"" => Self::Nothing,
            b"q!" => Self::Leave,
            [b'/', b'/', ..] => Self::Text(Bytes::from(line).slice(1..)),
            _ => match Command::of(&line) {
                Some(Ok(command)) => Self::Command(command),
                Some(Err(mistake)) => Self::Mistake(mistake),
                None => Self::Text(line.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLI-3.
    #[test]
    fn only_a_whole_line_leaves_and_two_slashes_stand_for_one() {
        let text = |text: &'static str| Typed::Text(text.into());
        for (line, meaning) in [
            ("", Typed::Nothing),
            ("q!", Typed::Leave),
            (" q!", text(" q!")),
            ("q! ", text("q! ")),
            ("Q!", text("Q!")),
            (" ", text(" ")),
            ("/nonsense", text("/nonsense")),
            ("//x", text("/x")),
            ("///x", text("//x")),
            ("//", text("/")),
            ("/rooms", Typed::Command(Command::Rooms)),
            ("/join", Typed::Mistake("/join ROOM".to_owned())),
        ] {
            assert_eq!(Typed::of(line.into()), meaning, "{line:?}");
        }
    }
}

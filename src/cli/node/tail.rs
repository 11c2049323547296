//! `chat-node tail`: the lines of a room, for a script, from where it was (CLI-13).

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use tokio::select;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::script::Scripted;
use super::{json, words};
use crate::broker::PAGE_LINES_MAX;
use crate::chat::{Kind, Line, LogId, RoomName};
use crate::cli::args::{NodeArgs, TailArgs};
use crate::cli::exit::{self, Code, Failure};
use crate::cli::input::{self, Input};
use crate::cli::signals::Signals;
use crate::driver::Clock;
use crate::store::journal::{Item, JournalFile};
use crate::store::sqlite::StoreError;

/// How often it looks for lines, and whether the link is to be had.
const LOOKED_EVERY: Duration = Duration::from_millis(20);
/// How often it says which room it reads, in turns of that.
const WANTED_EVERY: u32 = 100;
/// How many lines are read at a time.
const READ_AT_A_TIME: usize = 64;
/// How many lines may wait for their acknowledgement.
const UNACKNOWLEDGED_MAX: usize = 4_096;

struct Tail<'a> {
    args: &'a TailArgs,
    is_json: bool,
    room: RoomName,
    script: Scripted,
    journal: JournalFile,
    /// The last item that was read.
    read: u64,
    /// The first line that is wanted, until it is known whether it is there.
    missing_from: Option<u64>,
    /// Lines from before those that the journal holds, as long as they are written out.
    earlier: Option<Earlier>,
    /// What was written and not acknowledged: item (0 for an earlier line) and line number.
    unacknowledged: VecDeque<(u64, u64)>,
}

/// Lines of a history that are asked for, a page at a time (JRN-13).
struct Earlier {
    log: LogId,
    /// The next line that is wanted.
    next: u64,
    /// The line before which they end: the first that the journal holds.
    end: u64,
    /// What is asked for, and before which line that ends.
    asked: Option<(u64, u64)>,
}

/// Follows until it is told to stop, or nobody reads.
pub(super) async fn run(args: &NodeArgs, tail: &TailArgs) -> Result<Code, Failure> {
    let mut signals = Signals::new().map_err(|error| {
        let message = format!("the system does not let it run: {error}");
        Failure::new(Code::Unavailable, message)
    })?;
    let script = Scripted::find(args, tail.timeout).await?;
    let mut journal = script.journal()?;
    let room = args.rooms().remove(0);
    let read = begin(&mut journal, tail, &room).map_err(|error| unusable(&error))?;
    let mut tail = Tail {
        missing_from: tail.from.filter(|_| read == 0),
        args: tail,
        is_json: args.json,
        room,
        script,
        journal,
        read,
        earlier: None,
        unacknowledged: VecDeque::new(),
    };
    let mut acks = tail.args.ack.then(input::start);
    let mut carrier = None;
    let outcome = select! {
        biased;
        () = signals.next() => Ok(Code::Done),
        outcome = tail.follow(&mut carrier, &mut acks) => outcome,
    };
    if let Some(carrier) = carrier {
        // It is over either way.
        drop(carrier.end().await);
    }
    outcome
}

/// After which item to begin: the cursor's, or before line `--from`, or what follows from now on.
fn begin(journal: &mut JournalFile, tail: &TailArgs, room: &RoomName) -> Result<u64, StoreError> {
    let cursor = match &tail.cursor {
        Some(name) => journal.cursor(name, room)?,
        None => None,
    };
    if let Some(item) = cursor {
        return Ok(item);
    }
    if tail.from.is_some() {
        return Ok(0);
    }
    let newest = journal.newest(room)?;
    if let Some(name) = &tail.cursor {
        // From now on nothing is missed, even if nothing is read this time.
        journal.move_cursor(name, room, newest)?;
    }
    Ok(newest)
}

impl Tail<'_> {
    async fn follow(
        &mut self,
        carrier: &mut Option<super::carrier::Carrier>,
        acks: &mut Option<mpsc::Receiver<Input>>,
    ) -> Result<Code, Failure> {
        for turn in 0_u32.. {
            if turn % WANTED_EVERY == 0 {
                let now_ms = Clock::system().unix_ms();
                let wanted = self.journal.want(&self.room, self.args.from, now_ms);
                wanted.map_err(|error| unusable(&error))?;
                self.ask_on(now_ms)?;
            }
            self.script.carry(carrier).await?;
            self.take_acks(acks)?;
            self.find_missing()?;
            if let Some(code) = self.write_earlier().await? {
                return Ok(code);
            }
            while self.earlier.is_none() && self.unacknowledged.len() < UNACKNOWLEDGED_MAX {
                let items = self
                    .journal
                    .items_after(&self.room, self.read, READ_AT_A_TIME);
                let items = items.map_err(|error| unusable(&error))?;
                if items.is_empty() {
                    break;
                }
                for item in items {
                    if let Some(code) = self.on_item(item).await? {
                        return Ok(code);
                    }
                }
                self.take_acks(acks)?;
            }
            sleep(LOOKED_EVERY).await;
        }
        Ok(Code::Done)
    }

    /// Writes an item out, if it is a line that is wanted, and moves the cursor as it may. Returns
    /// how to end, if that is the end.
    async fn on_item(&mut self, item: Item) -> Result<Option<Code>, Failure> {
        let id = item.id();
        self.read = id;
        let Item::Line { log, line, .. } = item else {
            return Ok(None);
        };
        self.write(id, log, &line).await
    }

    /// Writes a line out, if it is wanted. `id` is the item that it is; 0 if it is none.
    async fn write(&mut self, id: u64, log: LogId, line: &Line) -> Result<Option<Code>, Failure> {
        if line.kind != Kind::Message || self.args.from.is_some_and(|from| line.seq < from) {
            return Ok(None);
        }
        if let Some(command) = &self.args.exec {
            let is_done = self.execute(command, log, line).await?;
            if !is_done {
                eprintln!(
                    "chat-node: the command failed at line {}; the cursor stays there",
                    line.seq
                );
                return Ok(Some(Code::Unconfirmed));
            }
            self.move_cursor(id)?;
            return Ok(None);
        }
        let text = if self.is_json {
            json::line(&self.room, log, line)
        } else {
            words::line(None, line).unwrap_or_default()
        };
        let mut stdout = std::io::stdout();
        if writeln!(stdout, "{text}")
            .and_then(|()| stdout.flush())
            .is_err()
        {
            // Whoever read it has had enough.
            return Ok(Some(Code::Done));
        }
        if self.args.ack {
            self.unacknowledged.push_back((id, line.seq));
        } else {
            self.move_cursor(id)?;
        }
        Ok(None)
    }

    // ---- earlier lines

    /// Once it is known which line the journal begins with: what is wanted before it is asked for.
    fn find_missing(&mut self) -> Result<(), Failure> {
        let Some(from) = self.missing_from else {
            return Ok(());
        };
        let items = self
            .journal
            .items_after(&self.room, self.read, READ_AT_A_TIME);
        let items = items.map_err(|error| unusable(&error))?;
        let line = items.iter().find_map(|item| match item {
            Item::Line { log, line, .. } => Some((*log, line.seq)),
            Item::Notice { .. } => None,
        });
        if let Some((log, end)) = line {
            self.missing_from = None;
            let (next, asked) = (from.max(1), None);
            self.earlier = (next < end).then_some(Earlier {
                log,
                next,
                end,
                asked,
            });
        }
        Ok(())
    }

    /// Says that it still waits for what it asked for; or asks again, if nobody knows of that.
    fn ask_on(&mut self, now_ms: u64) -> Result<(), Failure> {
        if let Some(earlier) = &mut self.earlier
            && let Some((id, _)) = earlier.asked
        {
            let is_known = self.journal.still_asks(id, now_ms);
            if !is_known.map_err(|error| unusable(&error))? {
                earlier.asked = None;
            }
        }
        Ok(())
    }

    /// Asks for the next page of earlier lines, or writes out the one that has come.
    async fn write_earlier(&mut self) -> Result<Option<Code>, Failure> {
        let may_write = self.unacknowledged.len() < UNACKNOWLEDGED_MAX;
        let Some(earlier) = self.earlier.as_mut().filter(|_| may_write) else {
            return Ok(None);
        };
        let Some((id, before)) = earlier.asked else {
            let before = earlier.end.min(earlier.next + PAGE_LINES_MAX);
            let now_ms = Clock::system().unix_ms();
            let asked = self
                .journal
                .ask_earlier(&self.room, earlier.next, before, now_ms);
            earlier.asked = Some((asked.map_err(|error| unusable(&error))?, before));
            return Ok(None);
        };
        let answer = self.journal.take_answer(id);
        let Some(lines) = answer.map_err(|error| unusable(&error))? else {
            return Ok(None);
        };
        let (log, mut next, end) = (earlier.log, earlier.next, earlier.end);
        for (of, line) in lines {
            if of == log && line.seq >= next {
                say_hole(next, line.seq);
                next = line.seq + 1;
                if let Some(code) = self.write(0, log, &line).await? {
                    return Ok(Some(code));
                }
            }
        }
        say_hole(next, before);
        self.earlier = (before < end).then_some(Earlier {
            log,
            next: before,
            end,
            asked: None,
        });
        Ok(None)
    }

    /// Runs the command with the line as a JSON object on its stdin, and what matters of it in its
    /// environment. Returns whether it ended with 0.
    async fn execute(&self, command: &str, log: LogId, line: &Line) -> Result<bool, Failure> {
        let object = json::line(&self.room, log, line);
        let mut child = std::process::Command::new("sh")
            .arg("-c")
            .arg(command)
            .env("CHAT_ROOM", self.room.as_str())
            .env("CHAT_SEQ", line.seq.to_string())
            .env("CHAT_FROM", line.name.as_str())
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Failure::new(Code::Unavailable, format!("cannot run {command}: {error}"))
            })?;
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(mut stdin) = child.stdin.take() {
                // A command that does not read it is none the worse for that.
                let _ = writeln!(stdin, "{object}");
            }
            child.wait()
        });
        match ended.await {
            Ok(Ok(status)) => Ok(status.success()),
            Ok(Err(error)) => {
                let message = format!("cannot wait for {command}: {error}");
                Err(Failure::new(Code::Unavailable, message))
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// JSN-4: everything up to the line is acknowledged.
    fn take_acks(&mut self, acks: &mut Option<mpsc::Receiver<Input>>) -> Result<(), Failure> {
        let Some(acks) = acks else {
            return Ok(());
        };
        let mut reached = None;
        while let Ok(input) = acks.try_recv() {
            let seq = match &input {
                Input::Line(line) => json::ack(line),
                Input::TooLong => None,
            };
            match seq {
                Some(seq) => {
                    while let Some((item, _)) = self.unacknowledged.pop_front_if(|(_, s)| *s <= seq)
                    {
                        reached = Some(item);
                    }
                }
                None => eprintln!("chat-node: not {{\"ack\":SEQ}}"),
            }
        }
        match reached {
            Some(item) => self.move_cursor(item),
            None => Ok(()),
        }
    }

    fn move_cursor(&mut self, item: u64) -> Result<(), Failure> {
        match &self.args.cursor {
            // The cursor is for items: an earlier line is written again if this is not the end.
            Some(name) if item > 0 => self
                .journal
                .move_cursor(name, &self.room, item)
                .map_err(|error| unusable(&error)),
            Some(_) | None => Ok(()),
        }
    }
}

/// A hole is shown as a hole: lines from `first` on and before line `end`, if there are any.
fn say_hole(first: u64, end: u64) {
    if first < end {
        eprintln!("-- lines {first} to {} are not to be had --", end - 1);
    }
}

fn unusable(error: &StoreError) -> Failure {
    exit::of_store(std::path::Path::new("the journal"), error)
}

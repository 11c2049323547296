//! `chat-node send`: a line from a script, and the truth about what became of it (CLI-12).

use std::io::IsTerminal as _;
use std::time::Duration;

use bytes::Bytes;
use tokio::select;
use tokio::time::{sleep, timeout};

use super::script::Scripted;
use super::words;
use crate::chat::{Recorded, RoomName, check_body};
use crate::cli::args::{NodeArgs, SendArgs, Wait};
use crate::cli::exit::{Code, Failure};
use crate::cli::input::{self, Input};
use crate::cli::signals::Signals;
use crate::driver::Clock;
use crate::store::journal::JournalFile;

/// How often it looks for outcomes, and whether the link is to be had.
const LOOKED_EVERY: Duration = Duration::from_millis(20);

/// Keeps the lines, then sees to it that they are stored, for as long as it may take.
pub(super) async fn run(args: &NodeArgs, send: &SendArgs) -> Result<Code, Failure> {
    let mut signals = Signals::new().map_err(|error| {
        let message = format!("the system does not let it run: {error}");
        Failure::new(Code::Unavailable, message)
    })?;
    let texts = texts(send).await?;
    if texts.is_empty() {
        return Ok(Code::Done);
    }
    let room = args.rooms().remove(0);
    let script = Scripted::find(args, send.timeout).await?;
    let mut journal = script.journal()?;
    let now_ms = Clock::system().unix_ms();
    let ids = journal
        .spool(&room, &texts, now_ms, send.wait == Wait::Delivered)
        .map_err(|error| unusable(&error))?;
    let mut carrier = None;
    let mut open = ids.clone();
    let settling = async {
        while !settle(&journal, &mut open, send.wait)? {
            script.carry(&mut carrier).await?;
            sleep(LOOKED_EVERY).await;
        }
        Ok(())
    };
    let settled: Option<Result<(), Failure>> = select! {
        biased;
        settled = timeout(send.timeout, settling) => settled.ok(),
        () = signals.next() => None,
    };
    if let Some(carrier) = carrier {
        // Why the link was of no use is known by now, or of no interest.
        drop(carrier.end().await);
    }
    match settled {
        Some(Ok(())) => report(&journal, &ids, &room),
        // It waits for somebody to do something.
        Some(Err(failure)) if failure.code == Code::Unconfirmed => Err(failure),
        // The broker will have none of it, now or later: what is not numbered yet is taken back.
        Some(Err(failure)) => {
            for id in open {
                let refused = crate::chat::Refusal::NotAdmitted;
                journal
                    .refuse(id, refused)
                    .map_err(|error| unusable(&error))?;
            }
            Err(failure)
        }
        None => {
            settle(&journal, &mut open, send.wait)?;
            if open.is_empty() {
                return report(&journal, &ids, &room);
            }
            let unwatched = journal.unwatch(&open);
            unwatched.map_err(|error| unusable(&error))?;
            let late = open.len();
            settle(&journal, &mut open, Wait::Stored)?;
            if late > open.len() {
                eprintln!("chat-node: {}", words::undelivered(late - open.len()));
            }
            if !open.is_empty() {
                eprintln!("chat-node: {}", words::kept(open.len()));
            }
            Ok(Code::Unconfirmed)
        }
    }
}

/// The lines to be sent: TEXT, or what comes by stdin.
async fn texts(send: &SendArgs) -> Result<Vec<Bytes>, Failure> {
    let usage = |message: String| Failure::new(Code::Usage, message);
    let mut texts: Vec<Bytes> = Vec::new();
    if let Some(text) = &send.text {
        let lines = text.lines().filter(|line| !line.is_empty());
        texts.extend(lines.map(|line| Bytes::copy_from_slice(line.as_bytes())));
    } else {
        if std::io::stdin().is_terminal() {
            return Err(usage("what? Give TEXT, or pipe lines into it".to_owned()));
        }
        let mut input = input::start();
        while let Some(line) = input.recv().await {
            match line {
                Input::Line(line) if line.is_empty() => {}
                Input::Line(line) => texts.push(line.into()),
                Input::TooLong => {
                    let n = texts.len() + 1;
                    return Err(usage(format!(
                        "line {n} is longer than 16384 bytes; nothing was sent"
                    )));
                }
            }
        }
    }
    for (n, text) in texts.iter().enumerate() {
        check_body(text)
            .map_err(|error| usage(format!("line {}: {error}; nothing was sent", n + 1)))?;
    }
    Ok(texts)
}

/// Takes out of `open` what has come as far as `wait` says, or never will. Returns whether
/// everything has.
fn settle(journal: &JournalFile, open: &mut Vec<u64>, wait: Wait) -> Result<bool, Failure> {
    let mut still = Vec::new();
    for id in open.drain(..) {
        let outcome = journal.outcome(id).map_err(|error| unusable(&error))?;
        let is_done = outcome.is_some_and(|outcome| match (outcome.recorded, wait) {
            (Recorded::Stored(_), Wait::Delivered) => outcome.is_delivered,
            (Recorded::Stored(_), Wait::Stored) | (Recorded::Refused(_), _) => true,
        });
        if !is_done {
            still.push(id);
        }
    }
    *open = still;
    Ok(open.is_empty())
}

/// 0 only if all of it is stored.
fn report(journal: &JournalFile, ids: &[u64], room: &RoomName) -> Result<Code, Failure> {
    for id in ids {
        let outcome = journal.outcome(*id).map_err(|error| unusable(&error))?;
        if let Some(Recorded::Refused(code)) = outcome.map(|outcome| outcome.recorded) {
            let message = format!("the broker refused a line for {room}: {code:?}");
            return Err(Failure::new(Code::Refused, message));
        }
    }
    Ok(Code::Done)
}

fn unusable(error: &crate::store::sqlite::StoreError) -> Failure {
    crate::cli::exit::of_store(std::path::Path::new("the journal"), error)
}

//! Looking at what a broker has stored: `doctor`, `export`, `status` (CLI-16).

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::args::LookTask;
use super::broker::log_path;
use super::exit::{Code, Failure};
use super::{lines, running};
use crate::chat::{RoomName, visible};
use crate::store::log::{self, LogView};
use crate::store::sqlite::StoreError;

/// Why there is no more output.
enum Stop {
    /// The log cannot be read.
    Log(StoreError),
    /// Stdout cannot be written to.
    Output(io::Error),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Log(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Does `task` with the log in `dir`, which a broker may be using.
pub(super) fn run(task: &LookTask, dir: &Path) -> Result<Code, Failure> {
    let path = log_path(dir);
    if !path.exists() {
        let message = format!("no broker has stored anything in {}", dir.display());
        return Err(Failure::new(Code::Directory, message));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match task {
        LookTask::Doctor => doctor(&path, &mut out),
        LookTask::Export { room } => export(&path, room.as_ref(), &mut out),
        LookTask::Status => status(&path, &mut out).and_then(|code| {
            if let Some(running) = running::of(dir) {
                out.write_all(running.as_bytes())?;
            }
            Ok(code)
        }),
    };
    match done.and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Ok(code) => Ok(code),
        Err(Stop::Log(error)) => {
            // What was found before is worth having.
            let _ = out.flush();
            Err(Failure::log(&path, &error))
        }
        // Whoever read it has read enough.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Code::Done),
        Err(Stop::Output(error)) => Err(Failure::file(Path::new("stdout"), &error)),
    }
}

/// STO-10.
fn doctor(path: &Path, out: &mut impl Write) -> Result<Code, Stop> {
    let report = log::check(path)?;
    for fault in &report.faults {
        writeln!(out, "{}", visible(fault))?;
    }
    let (rooms, lines, faults) = (report.rooms, report.lines, report.faults.len());
    writeln!(out, "log {} in {}", report.log, path.display())?;
    writeln!(
        out,
        "{lines} lines in {rooms} rooms checked, {faults} faults"
    )?;
    Ok(if faults == 0 { Code::Done } else { Code::Disk })
}

fn export(path: &Path, only: Option<&RoomName>, out: &mut impl Write) -> Result<Code, Stop> {
    let log = LogView::open(path)?;
    for room in log.rooms()? {
        if only.is_none_or(|only| room.name == *only) {
            log.each_line(&room.name, |stored| {
                let object = lines::object(&room.name, log.log_id(), &stored.line);
                Ok::<_, Stop>(writeln!(out, "{}", lines::written(&object))?)
            })?;
        }
    }
    Ok(Code::Done)
}

fn status(path: &Path, out: &mut impl Write) -> Result<Code, Stop> {
    let log = LogView::open(path)?;
    let rooms = log.rooms()?;
    let lines: u64 = rooms.iter().map(|room| room.lines).sum();
    let size = |suffix: &str| {
        let mut path = path.as_os_str().to_owned();
        path.push(suffix);
        std::fs::metadata(path).map_or(0, |metadata| metadata.len())
    };
    writeln!(out, "log {} in {}", log.log_id(), path.display())?;
    writeln!(
        out,
        "{lines} lines in {} rooms, {} names, {} bytes on disk",
        rooms.len(),
        log.accounts()?,
        size("") + size("-wal"),
    )?;
    for room in rooms {
        let last = room.last_stored_at_ms.map_or_else(String::new, |ms| {
            let at = UNIX_EPOCH.checked_add(Duration::from_millis(ms));
            at.map_or_else(String::new, |at| {
                format!(
                    ", the last one at {}",
                    humantime::format_rfc3339_seconds(at)
                )
            })
        });
        writeln!(
            out,
            "{}: {} lines, {} bytes of text, {} members{last}",
            visible(room.name.as_str()),
            room.lines,
            room.bytes,
            room.members,
        )?;
    }
    Ok(Code::Done)
}

//! What a running broker leaves in its data directory about itself, for `chat-broker status` (CLI-16).

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::metrics;
use crate::broker::Report;
use crate::driver::BrokerCommand;
use crate::profile::files::try_lock;

/// How often it is written anew, if anything has changed (CLI-16).
const WRITTEN_EVERY: Duration = Duration::from_secs(1);

const FILE_NAME: &str = "running";

/// Where it is written; it goes with the broker.
#[derive(Debug)]
pub(super) struct RunningFile {
    path: PathBuf,
    written: String,
}

impl RunningFile {
    /// The file in a broker's data directory.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(FILE_NAME),
            written: String::new(),
        }
    }

    /// Writes what has changed. It is whole at any time; on the disk it need not be.
    pub(super) fn write(&mut self, report: &Report) {
        let text = text(report);
        if text == self.written {
            return;
        }
        let Some(dir) = self.path.parent() else {
            return;
        };
        let written = NamedTempFile::new_in(dir).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            Ok(file.persist(&self.path)?)
        });
        match written {
            Ok(_) => self.written = text,
            // A full disk says so where it matters.
            Err(error) => tracing::debug!(%error, "the status was not written"),
        }
    }
}

/// Keeps the file up to date, for as long as the broker answers.
pub(super) async fn keep(mut file: RunningFile, commands: mpsc::Sender<BrokerCommand>) {
    let mut ticks = interval(WRITTEN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !commands.is_closed() {
        ticks.tick().await;
        if let Some(report) = metrics::report(&commands).await {
            file.write(&report);
        }
    }
}

impl Drop for RunningFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// MET-1: what the broker that uses `dir` has said of itself last, if one does.
pub(super) fn of(dir: &Path) -> Option<String> {
    // Whoever gets the lock is alone: what is left there is of a broker that was killed.
    if !matches!(try_lock(&dir.join("lock")), Ok(None)) {
        return None;
    }
    fs::read_to_string(dir.join(FILE_NAME)).ok()
}

/// As `status` shows it.
fn text(report: &Report) -> String {
    let counters = &report.counters;
    let mut text = format!(
        "running: {} links, {} half-open, {} rooms, {} people, {} requests to the store under way\n\
         memory: {} of {} bytes ({})\n\
         since it began: {} datagrams in ({} bytes), {} out ({} bytes), {} lines stored\n",
        report.links,
        report.half_open,
        report.rooms,
        report.people,
        report.pending,
        report.held,
        report.memory_max,
        report.pressure,
        counters.datagrams_in,
        counters.bytes_in,
        counters.datagrams_out,
        counters.bytes_out,
        counters.lines_stored,
    );
    let refused: Vec<_> = counters
        .refused()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let drops = report.drops.to_string();
    let none = |list: String| match list.is_empty() {
        true => "none".to_owned(),
        false => list,
    };
    // Writing to a String does not fail.
    let _ = writeln!(text, "datagrams dropped: {}", none(drops));
    let _ = writeln!(text, "refused: {}", none(refused.join(", ")));
    let _ = writeln!(
        text,
        "budgets are in use by {} accounts",
        report.accounts_remembered
    );
    text
}

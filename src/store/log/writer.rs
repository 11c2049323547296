//! The thread that commits, and the one that keeps SQLite's log short.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::mpsc as async_mpsc;

use super::tables::Tables;
use super::{
    Answer, CHECKPOINT_PAGES, COMMIT_REQUESTS_MAX, Job, WAL_PAGES_MAX, may_pass, schema, spawn,
};
use crate::broker::{StorageCompletion, StorageOutcome};
use crate::store::sqlite::{self, BUSY_TIMEOUT, Blame, Result, StoreError};

/// How long commits wait for readers to let SQLite's log be emptied.
const RESTART_PATIENCE: Duration = Duration::from_millis(100);

/// Commits what is asked for.
pub(super) struct Writer {
    connection: Connection,
    tables: Tables,
    answered: async_mpsc::UnboundedSender<Vec<Answer>>,
    keeper: Keeper,
    /// How many pages SQLite's log had after the last commit.
    wal_pages: Arc<AtomicU32>,
    /// At how many the log is to be emptied at all costs.
    restart_at: u32,
    /// Why batches fail at the moment, if they do.
    trouble: Option<Blame>,
}

impl Writer {
    pub(super) fn new(
        mut connection: Connection,
        tables: Tables,
        answered: async_mpsc::UnboundedSender<Vec<Answer>>,
        keeper: Keeper,
    ) -> Result<Self> {
        let wal_pages = Arc::new(AtomicU32::new(0));
        let pages_now = Arc::clone(&wal_pages);
        // In place of SQLite's own checkpoints, which a commit would wait for.
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            pages_now.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            connection,
            tables,
            answered,
            keeper,
            wal_pages,
            restart_at: WAL_PAGES_MAX,
            trouble: None,
        })
    }

    /// Commits `jobs` until nobody can ask any more, and closes the file once `reader` has ended.
    pub(super) fn start(
        mut self,
        jobs: mpsc::Receiver<Job>,
        reader: JoinHandle<()>,
        failed: &async_mpsc::UnboundedSender<StoreError>,
    ) -> Result<()> {
        let run = move || {
            // STO-5: what waits shares a transaction; what comes alone does not wait for company.
            while let Ok(first) = jobs.recv() {
                let rest = jobs.try_iter().take(COMMIT_REQUESTS_MAX - 1);
                let batch = std::iter::once(first).chain(rest).collect();
                let answers = self.answer(batch)?;
                // Whoever asked may be gone.
                let _ = self.answered.send(answers);
                self.shorten_log()?;
            }
            drop(self.answered);
            self.keeper.end();
            // It says itself why it failed, if it did.
            let _ = reader.join();
            // The last connection to be closed empties SQLite's log.
            self.connection.close().map_err(|(_, error)| error.into())
        };
        spawn("store-writer", run, failed).map(drop)
    }

    /// What is to be answered to a batch, now that it is on the disk; or that nothing of it is.
    fn answer(&mut self, batch: Vec<Job>) -> Result<Vec<Answer>> {
        let tickets: Vec<_> = batch
            .iter()
            .map(|(ticket, request)| (ticket.clone(), request.id))
            .collect();
        let outcomes = match self.commit(batch) {
            Ok(outcomes) => {
                if self.trouble.take().is_some() {
                    tracing::info!("the store can be written to again");
                }
                self.tables.trim(super::ROOMS_CACHED_MAX);
                outcomes
            }
            Err(error) => {
                self.tables.forget();
                let error = sqlite::or_limit(error, &self.connection);
                if !may_pass(error.blame) {
                    return Err(error);
                }
                if self.trouble.replace(error.blame) != Some(error.blame) {
                    tracing::warn!(%error, "nothing can be stored");
                }
                vec![StorageOutcome::Failed; tickets.len()]
            }
        };
        let answers = tickets.into_iter().zip(outcomes);
        Ok(answers
            .map(|((ticket, id), outcome)| (ticket, StorageCompletion { id, outcome }))
            .collect())
    }

    /// Does all of a batch, durably, or none of it.
    fn commit(&mut self, batch: Vec<Job>) -> Result<Vec<StorageOutcome>> {
        let begin = TransactionBehavior::Immediate;
        let transaction = Transaction::new(&mut self.connection, begin)?;
        let outcomes = batch
            .into_iter()
            .map(|(_, request)| self.tables.apply(&transaction, request.op))
            .collect::<Result<_>>()?;
        transaction.commit()?;
        Ok(outcomes)
    }

    /// STO-9.
    fn shorten_log(&mut self) -> Result<()> {
        let pages = self.wal_pages.load(Ordering::Relaxed);
        if self.keeper.look_at(pages) {
            // Little has come since. Once nothing is left the log begins anew: commits that write
            // over it wait for the disk once, those that lengthen it for the file's new length too.
            checkpoint(&self.connection, PASSIVE)?;
        }
        if pages < WAL_PAGES_MAX {
            self.restart_at = WAL_PAGES_MAX;
        }
        if pages < self.restart_at {
            return Ok(());
        }
        self.connection.busy_timeout(RESTART_PATIENCE)?;
        let restarted = checkpoint(&self.connection, RESTART);
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        if !restarted? {
            // Somebody reads from it all the time; commits do not wait for that at every turn.
            self.restart_at = pages.saturating_add(WAL_PAGES_MAX / 4);
            tracing::warn!(pages, "the store's log grows: another process reads it");
        }
        Ok(())
    }
}

/// The thread that moves what was committed into the file, beside the commits.
#[derive(Debug)]
pub(super) struct Keeper {
    wake: mpsc::SyncSender<()>,
    thread: JoinHandle<()>,
    /// At how many pages of SQLite's log it is woken next.
    next_at: u32,
    /// Whether it has moved what there was when it was woken last.
    has_moved: Arc<AtomicBool>,
}

impl Keeper {
    pub(super) fn start(
        path: &Path,
        failed: &async_mpsc::UnboundedSender<StoreError>,
    ) -> Result<Self> {
        let connection = sqlite::open(path, &schema::SCHEMA)?;
        let (wake, woken) = mpsc::sync_channel(1);
        let has_moved = Arc::new(AtomicBool::new(false));
        let moved = Arc::clone(&has_moved);
        let run = move || {
            for () in woken {
                checkpoint(&connection, PASSIVE)?;
                moved.store(true, Ordering::Relaxed);
            }
            Ok(())
        };
        Ok(Self {
            wake,
            thread: spawn("store-keeper", run, failed)?,
            next_at: CHECKPOINT_PAGES,
            has_moved,
        })
    }

    /// Wakes the thread if SQLite's log has grown enough since it was last woken. Returns whether
    /// the thread has done since this was asked last what it was woken for.
    fn look_at(&mut self, pages: u32) -> bool {
        if pages < CHECKPOINT_PAGES {
            self.next_at = CHECKPOINT_PAGES;
        } else if pages >= self.next_at {
            // If it is awake already, or has failed, so be it.
            let _ = self.wake.try_send(());
            self.next_at = pages.saturating_add(CHECKPOINT_PAGES);
        }
        self.has_moved.swap(false, Ordering::Relaxed)
    }

    fn end(self) {
        drop(self.wake);
        // It says itself why it failed, if it did.
        let _ = self.thread.join();
    }
}

/// Moves what nobody uses, and waits for nobody.
const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Moves everything, and waits for those who read until the log begins anew.
const RESTART: &str = "PRAGMA wal_checkpoint(RESTART)";

/// Moves what was committed into the file. Returns whether all that `mode` promises was done: a
/// disk that is full and somebody who reads are no failures.
fn checkpoint(connection: &Connection, mode: &str) -> Result<bool> {
    let was_busy: rusqlite::Result<bool> = connection.query_row(mode, (), |row| row.get("busy"));
    let limit = |error| sqlite::or_limit(StoreError::from(error), connection);
    match was_busy.map_err(limit) {
        Ok(was_busy) => Ok(!was_busy),
        Err(error) if may_pass(error.blame) => {
            tracing::debug!(%error, "the store's log was not emptied");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

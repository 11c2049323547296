//! The broker's log on disk (SPEC.md section 10.1).
//!
//! [`SqliteStore`] does what the broker asks of its store, on threads of its own:
//!
//! ```text
//!  driver --requests--> writer   one transaction for everything that waits, then the answers
//!         --reads-----> reader   a short transaction of its own for each
//!                       keeper   moves what was committed from SQLite's log into the file
//! ```
//!
//! *Group commit.* The writer takes everything that waits, up to [`COMMIT_REQUESTS_MAX`], does it
//! in one transaction, and answers when COMMIT has returned (STO-5). While the disk is busy with
//! one batch, the next one gathers; when nothing waits, a request is committed at once.
//!
//! *Order.* Requests of a room are answered in the order asked, and each sees what those before it
//! did (BRK-5); the lanes see to that, so that a read need not wait for commits that do not
//! concern it.
//!
//! *Failure.* A disk that is full, or a file that somebody else holds: the whole batch is undone
//! and answered [`Failed`](crate::broker::StorageOutcome::Failed). Anything else ends the store
//! without an answer (STO-8), and [`Running::ended`] tells why.

mod alike;
mod check;
mod devices;
mod invites;
mod lanes;
mod membership;
mod moderation;
mod orders;
mod reader;
mod room;
mod rows;
mod schema;
mod tables;
mod view;
mod writer;

use std::path::Path;
use std::sync::mpsc;

use tokio::sync::mpsc as async_mpsc;

use super::sqlite::{self, Blame, Result, StoreError};
use crate::broker::{StorageCompletion, StorageRequest};
use crate::chat::LogId;
use crate::driver::Store;
pub use check::{Report, thoroughly as check};
pub use devices::DeviceDesk;
pub use invites::{InviteDesk, InviteSummary};
use lanes::{Lanes, Ticket, Way};
pub use orders::{ORDERS_LOOKED_FOR_EVERY, Order, OrderDesk};
use tables::Tables;
pub use view::{LogView, RoomSummary};

/// The log's file in a broker's data directory.
pub const FILE_NAME: &str = "log.db";
/// How many requests share a transaction (STO-5).
pub const COMMIT_REQUESTS_MAX: usize = 512;
/// How many of a room's last lines are held to its hash when it is first used (STO-6).
pub const VERIFIED_LINES_MAX: usize = 1_000;
/// Up to which size SQLite checks the whole file's structure at start (STO-6).
pub const QUICK_CHECK_MAX: u64 = 64 << 20;
/// How many pages SQLite's log may have before those committed are moved into the file, beside the
/// commits (STO-9).
pub const CHECKPOINT_PAGES: u32 = 1_000;
/// How many pages SQLite's log may have before commits wait until it is empty again (STO-9): 64 MiB.
pub const WAL_PAGES_MAX: u32 = 16_384;
/// How many rooms, authors and devices the writer remembers, all together (LIM-18).
const ROOMS_CACHED_MAX: usize = 65_536;

/// A request on its way, and what it is known by among those of its room.
type Job = (Ticket, StorageRequest);
/// An answer on its way back.
type Answer = (Ticket, StorageCompletion);

/// A broker's log in a file: what it confirms is on the disk.
///
/// Requests that wait are not bounded here but by who asks
/// ([`STORAGE_PENDING_MAX`](crate::broker::STORAGE_PENDING_MAX)). Dropping it ends it in an orderly
/// way, once everything asked for is done; [`Running::ended`] waits for that.
#[derive(Debug)]
pub struct SqliteStore {
    log: LogId,
    lanes: Lanes,
    writer: mpsc::Sender<Job>,
    reader: mpsc::Sender<reader::Read>,
    answers: async_mpsc::UnboundedReceiver<Vec<Answer>>,
}

/// A log whose threads run.
#[derive(Debug)]
pub struct Running {
    /// A sender with each thread, which sends only what ends the store.
    failures: async_mpsc::UnboundedReceiver<StoreError>,
}

impl SqliteStore {
    /// Opens the log at `path`, or makes one that is called `fresh`, and starts its threads. That
    /// one process at a time does this is the caller's to see to.
    ///
    /// # Errors
    ///
    /// As [`sqlite::open`]; [`Blame::Damaged`] too if the structure of a file of up to
    /// [`QUICK_CHECK_MAX`] bytes is not sound.
    pub fn open(path: &Path, fresh: LogId) -> Result<(Self, Running)> {
        let connection = sqlite::open(path, &schema::SCHEMA)?;
        check::quickly(&connection, path)?;
        let tables = Tables::open(&connection, fresh)?;
        let log = tables.log_id();
        let (writer, jobs) = mpsc::channel();
        let (reader, reads) = mpsc::channel();
        let (answered, answers) = async_mpsc::unbounded_channel();
        let (failed, failures) = async_mpsc::unbounded_channel();
        let keeper = writer::Keeper::start(path, &failed)?;
        let reading = reader::start(path, reads, answered.clone(), &failed)?;
        let writing = writer::Writer::new(connection, tables, answered, keeper)?;
        writing.start(jobs, reading, &failed)?;
        let store = Self {
            log,
            lanes: Lanes::default(),
            writer,
            reader,
            answers,
        };
        Ok((store, Running { failures }))
    }

    /// This history's id.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.log
    }

    /// Sends requests on their ways. Threads that are gone have failed, and answer nothing (STO-8).
    fn send(&self, ways: Vec<Way>) {
        for way in ways {
            match way {
                Way::Writer(ticket, request) => drop(self.writer.send((ticket, request))),
                Way::Reader(read) => drop(self.reader.send(read)),
            }
        }
    }

    fn arrived(&mut self, answers: Vec<Answer>) {
        let ways = self.lanes.answered(answers);
        self.send(ways);
    }
}

impl Store for SqliteStore {
    type Request = StorageRequest;
    type Completion = StorageCompletion;

    fn submit(&mut self, request: StorageRequest) {
        let way = self.lanes.asked(request);
        self.send(way.into_iter().collect());
    }

    fn take(&mut self) -> Option<StorageCompletion> {
        loop {
            if let Some(completion) = self.lanes.take() {
                return Some(completion);
            }
            let answers = self.answers.try_recv().ok()?;
            self.arrived(answers);
        }
    }

    async fn ready(&mut self) {
        while !self.lanes.has_answers() {
            match self.answers.recv().await {
                Some(answers) => self.arrived(answers),
                None => std::future::pending().await,
            }
        }
    }
}

impl Running {
    /// Waits until the threads have ended: everything that was asked for is done, and the file is
    /// closed. Can be cancelled without loss.
    ///
    /// # Errors
    ///
    /// What ended them otherwise (STO-8). Nothing is answered any more, and the process should end.
    pub async fn ended(&mut self) -> Result<()> {
        self.failures.recv().await.map_or(Ok(()), Err)
    }
}

/// Whether a failure may pass: nothing was changed, and the same may succeed later.
const fn may_pass(blame: Blame) -> bool {
    matches!(blame, Blame::Full | Blame::InUse)
}

/// Starts a thread of the store.
fn spawn(
    name: &str,
    run: impl FnOnce() -> Result<()> + Send + 'static,
    failed: &async_mpsc::UnboundedSender<StoreError>,
) -> Result<std::thread::JoinHandle<()>> {
    let failed = failed.clone();
    let thread = std::thread::Builder::new().name(name.to_owned());
    Ok(thread.spawn(move || {
        if let Err(error) = run() {
            // Nobody listens in a process that ends already.
            let _ = failed.send(error);
        }
    })?)
}

#[cfg(test)]
mod tests;

//! The thread that writes a journal.

use std::future::Future;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::file::JournalFile;
use super::{Shown, Spooled};
use crate::chat::{Refusal, RoomName};
use crate::client::JournalRequest;
use crate::driver::{Clock, Store};
use crate::store::sqlite::{Blame, Result, StoreError};

/// How often the writer looks whether other processes have left something.
const LOOKED_EVERY: Duration = Duration::from_millis(40);
/// How long after a full disk the same is tried again.
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How many lines of the spool are on their way to the node at a time.
const NEWS_MAX: usize = 64;
/// For how long a room is wanted by a reader that does not say so again.
const WANTED_FOR_MS: u64 = 15_000;

enum Job {
    Entry(JournalRequest),
    Shown(u64, Shown),
    Refuse(u64, Refusal),
}

/// What other processes have left for the one with the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A line to be sent (JRN-6).
    Spooled(Spooled),
    /// Somebody reads this room (JRN-7).
    Wanted(RoomName),
}

/// A journal, and the thread that writes it. When it and its [`JournalStore`] are dropped the
/// thread writes what it was given, and ends.
#[derive(Debug)]
pub struct Journal {
    jobs: Sender<Job>,
    shown: watch::Receiver<u64>,
    failed: watch::Receiver<Option<StoreError>>,
    news: mpsc::Receiver<News>,
    thread: JoinHandle<()>,
}

/// The journal as a driver's store: a request is completed when it is durable (NOD-1, NOD-2).
#[derive(Debug)]
pub struct JournalStore {
    jobs: Sender<Job>,
    done: mpsc::UnboundedReceiver<u64>,
    taken: Option<u64>,
}

impl Journal {
    /// Opens the journal at `path` once more, and writes to it from now on.
    ///
    /// # Errors
    ///
    /// As [`JournalFile::open`].
    pub fn start(path: &Path, clock: Clock) -> Result<(Self, JournalStore)> {
        let file = JournalFile::open(path)?;
        let (jobs, receiver) = channel();
        let (shown_sender, shown) = watch::channel(0);
        let (failed_sender, failed) = watch::channel(None);
        let (news_sender, news) = mpsc::channel(NEWS_MAX);
        let (done_sender, done) = mpsc::unbounded_channel();
        let writer = Writer {
            file,
            clock,
            done: done_sender,
            shown: shown_sender,
            news: news_sender,
            version: None,
            handed_over: 0,
            wanted: Vec::new(),
        };
        let thread = thread::spawn(move || {
            if let Err(error) = writer.run(&receiver) {
                // Whoever listens ends for it; if nobody does it is over anyway.
                failed_sender.send_replace(Some(error));
            }
        });
        let journal = Self {
            jobs: jobs.clone(),
            shown,
            failed,
            news,
            thread,
        };
        let store = JournalStore {
            jobs,
            done,
            taken: None,
        };
        Ok((journal, store))
    }

    /// Has it noted that `shown` was printed, as the `count`-th thing of this process.
    pub fn note_shown(&self, count: u64, shown: Shown) {
        // A thread that is gone has said why.
        let _ = self.jobs.send(Job::Shown(count, shown));
    }

    /// Up to which count it is durable what was printed.
    #[must_use]
    pub fn shown(&self) -> watch::Receiver<u64> {
        self.shown.clone()
    }

    /// Has the spooled line `id` refused, because the node cannot send it.
    pub fn refuse(&self, id: u64, code: Refusal) {
        let _ = self.jobs.send(Job::Refuse(id, code));
    }

    /// What other processes leave; for ever nothing if there is nothing.
    pub async fn news(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Waits until the disk has failed, and tells how.
    pub async fn failed(&self) -> StoreError {
        let mut failed = self.failed.clone();
        loop {
            if let Some(error) = &*failed.borrow_and_update() {
                return error.clone();
            }
            if failed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Waits until everything is written. The store has to be dropped before.
    pub async fn close(self) {
        drop(self.jobs);
        let thread = self.thread;
        // Its panic is reported by the runtime; there is nothing left to be written.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

impl Store for JournalStore {
    type Request = JournalRequest;
    type Completion = u64;

    fn submit(&mut self, request: JournalRequest) {
        let _ = self.jobs.send(Job::Entry(request));
    }

    fn take(&mut self) -> Option<u64> {
        self.taken.take().or_else(|| self.done.try_recv().ok())
    }

    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        let Self { done, taken, .. } = self;
        async move {
            if taken.is_none() {
                match done.recv().await {
                    Some(id) => *taken = Some(id),
                    // The disk has failed: nothing is confirmed any more.
                    None => std::future::pending().await,
                }
            }
        }
    }
}

struct Writer {
    file: JournalFile,
    clock: Clock,
    done: mpsc::UnboundedSender<u64>,
    shown: watch::Sender<u64>,
    news: mpsc::Sender<News>,
    /// Of the file, when it was last looked what others have left.
    version: Option<i64>,
    /// The last line of the spool that was handed over.
    handed_over: u64,
    /// The rooms that were told to be wanted.
    wanted: Vec<RoomName>,
}

impl Writer {
    /// Until nobody is left to write for.
    fn run(mut self, jobs: &Receiver<Job>) -> Result<()> {
        loop {
            match jobs.recv_timeout(LOOKED_EVERY) {
                Ok(job) => {
                    let batch: Vec<Job> = [job].into_iter().chain(jobs.try_iter()).collect();
                    self.write(&batch)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.look()?;
        }
    }

    /// Writes everything that was waiting in one transaction, and says so.
    fn write(&mut self, batch: &[Job]) -> Result<()> {
        let entries = || {
            batch.iter().filter_map(|job| match job {
                Job::Entry(request) => Some(request),
                Job::Shown(..) | Job::Refuse(..) => None,
            })
        };
        let shown = || {
            batch.iter().filter_map(|job| match job {
                Job::Shown(count, shown) => Some((*count, shown)),
                Job::Entry(_) | Job::Refuse(..) => None,
            })
        };
        until_there_is_room(|| {
            let shown = shown().map(|(_, shown)| shown);
            self.file
                .write(entries().map(|request| &request.entry), shown)
        })?;
        if let Some(last) = entries().last() {
            // Who asked may be gone.
            let _ = self.done.send(last.id);
        }
        if let Some((count, _)) = shown().last() {
            self.shown.send_replace(count);
        }
        for job in batch {
            if let Job::Refuse(id, code) = job {
                until_there_is_room(|| self.file.refuse(*id, *code))?;
            }
        }
        Ok(())
    }

    /// Looks what other processes have left, if the file has changed.
    fn look(&mut self) -> Result<()> {
        let version = self.file.data_version()?;
        if self.version == Some(version) {
            return Ok(());
        }
        let since = self.clock.unix_ms().saturating_sub(WANTED_FOR_MS);
        for room in self.file.wanted(since)? {
            if !self.wanted.contains(&room) {
                if self.news.try_send(News::Wanted(room.clone())).is_err() {
                    return Ok(());
                }
                self.wanted.push(room);
            }
        }
        loop {
            let spooled = self.file.spooled_after(self.handed_over, NEWS_MAX)?;
            if spooled.is_empty() {
                self.version = Some(version);
                return Ok(());
            }
            for line in spooled {
                let id = line.id;
                if self.news.try_send(News::Spooled(line)).is_err() {
                    // The rest when there is room again: the version is not noted.
                    return Ok(());
                }
                self.handed_over = id;
            }
        }
    }
}

/// A disk that is full, or a file that another process holds, is waited for: nothing is lost, and
/// nothing goes on.
fn until_there_is_room(mut write: impl FnMut() -> Result<()>) -> Result<()> {
    let mut is_said = false;
    loop {
        match write() {
            Err(error) if matches!(error.blame, Blame::Full | Blame::InUse) => {
                if !is_said {
                    tracing::warn!(%error, "the journal waits");
                    is_said = true;
                }
                thread::sleep(TRIED_AGAIN_AFTER);
            }
            done => return done,
        }
    }
}

//! The thread that writes a journal.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::entries::can_be_had_again;
use super::file::JournalFile;
use super::{Asked, SHOWN_LAG_MAX, Shown, Spooled, Watched};
use crate::chat::{Line, LogId, Refusal, RoomName};
use crate::client::JournalRequest;
use crate::driver::{Clock, Store};
use crate::store::sqlite::{self, Blame, Result, StoreError};
use crate::time::Timestamp;

/// How long the writer waits for what could share a transaction with what it has: less than the
/// transaction takes.
const GATHERED_FOR: Duration = Duration::from_micros(50);
/// How often the writer looks whether other processes have left something.
const LOOKED_EVERY: Duration = Duration::from_millis(40);
/// How long after a full disk the same is tried again.
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How many lines of the spool are on their way to the node at a time.
const NEWS_MAX: usize = 64;
/// For how long a room is wanted by a reader that does not say so again.
const WANTED_FOR_MS: u64 = 15_000;

#[derive(Debug)]
enum Job {
    Entry(JournalRequest),
    Shown(u64, Shown),
    Refuse(u64, Refusal),
    Delivered(u64),
    Answer(u64, Vec<(LogId, Line)>),
}

/// What other processes have left for the one with the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A line to be sent (JRN-6).
    Spooled(Spooled),
    /// Somebody reads this room, from this line on (JRN-7).
    Wanted(RoomName, Option<u64>),
    /// Somebody waits until those who are present have this line (CLI-12).
    Watched(Watched),
    /// Somebody asks for lines from before those that the journal holds (JRN-13).
    Asked(Asked),
}

/// A journal, and the thread that writes it. When it and its [`JournalStore`] are dropped the
/// thread writes what it was given, and ends.
#[derive(Debug)]
pub struct Journal {
    jobs: Sender<Job>,
    shown: watch::Receiver<u64>,
    failed: watch::Receiver<Option<StoreError>>,
    news: mpsc::Receiver<News>,
    /// A full disk is not waited for any more.
    is_closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The journal as a driver's store: a request is completed when it is durable (NOD-1, NOD-2).
#[derive(Debug)]
pub struct JournalStore {
    jobs: Sender<Job>,
    done: mpsc::UnboundedReceiver<u64>,
    taken: Option<u64>,
}

/// A journal whose file is not known yet: what is asked of its store waits.
#[derive(Debug)]
pub struct Unopened {
    jobs: Sender<Job>,
    receiver: Receiver<Job>,
    done: mpsc::UnboundedSender<u64>,
}

impl Unopened {
    /// A journal whose file is to be named later, and the store that asks for it.
    #[must_use]
    pub fn new() -> (Self, JournalStore) {
        let (jobs, receiver) = channel();
        let (done_sender, done) = mpsc::unbounded_channel();
        let store = JournalStore {
            jobs: jobs.clone(),
            done,
            taken: None,
        };
        let unopened = Self {
            jobs,
            receiver,
            done: done_sender,
        };
        (unopened, store)
    }

    /// Opens the journal at `path` once more, and writes to it from now on.
    ///
    /// # Errors
    ///
    /// As [`JournalFile::open`].
    pub fn open(self, path: &Path, clock: Clock) -> Result<Journal> {
        let file = JournalFile::open(path)?;
        let receiver = self.receiver;
        let (shown_sender, shown) = watch::channel(0);
        let (failed_sender, failed) = watch::channel(None);
        let (news_sender, news) = mpsc::channel(NEWS_MAX);
        let is_closing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            file,
            clock,
            is_closing: Arc::clone(&is_closing),
            done: self.done,
            shown: shown_sender,
            printed: Vec::new(),
            news: news_sender,
            version: None,
            looked_at: Timestamp::ZERO,
            handed_over: 0,
            watched: 0,
            asked: 0,
            wanted: Vec::new(),
        };
        let run = move || {
            if let Err(error) = writer.run(&receiver) {
                // Whoever listens ends for it; if nobody does it is over anyway.
                failed_sender.send_replace(Some(error));
            }
        };
        let thread = thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(run)?;
        Ok(Journal {
            jobs: self.jobs,
            shown,
            failed,
            news,
            is_closing,
            thread,
        })
    }
}

impl Journal {
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

    /// Has it noted that all who were present have the line that was spooled as `id`.
    pub fn note_delivered(&self, id: u64) {
        let _ = self.jobs.send(Job::Delivered(id));
    }

    /// Leaves what came of what was asked for as `id` (JRN-13).
    pub fn answer(&self, id: u64, lines: Vec<(LogId, Line)>) {
        let _ = self.jobs.send(Job::Answer(id, lines));
    }

    /// What other processes leave; for ever nothing if there is nothing.
    pub async fn news(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Waits until the disk has failed, and tells how; then nothing is written any more.
    pub fn failed(&self) -> impl Future<Output = StoreError> + Send + use<> {
        let mut failed = self.failed.clone();
        async move {
            let found = failed.wait_for(Option::is_some).await;
            match found.ok().and_then(|error| error.clone()) {
                Some(error) => error,
                // It has ended, as it was told to.
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until everything is written, but not until a full disk has room again. The store has to
    /// be dropped before.
    ///
    /// # Errors
    ///
    /// If something is not written, and never will be: what was not confirmed.
    pub async fn close(self) -> Result<()> {
        self.is_closing.store(true, Ordering::Relaxed);
        drop(self.jobs);
        let thread = self.thread;
        // Its panic is reported by the runtime; there is nothing left to be written.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        self.failed.borrow().clone().map_or(Ok(()), Err)
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

/// What is done in one turn.
#[derive(Debug, Default)]
struct Batch {
    requests: Vec<JournalRequest>,
    refused: Vec<(u64, Refusal)>,
    delivered: Vec<u64>,
    answers: Vec<(u64, Vec<(LogId, Line)>)>,
}

impl Batch {
    fn add(&mut self, job: Job, printed: &mut Vec<(u64, Shown)>) {
        match job {
            Job::Entry(request) => self.requests.push(request),
            Job::Shown(count, shown) => printed.push((count, shown)),
            Job::Refuse(id, code) => self.refused.push((id, code)),
            Job::Delivered(id) => self.delivered.push(id),
            Job::Answer(id, lines) => self.answers.push((id, lines)),
        }
    }

    /// Whether it will be waited for the disk (JRN-8).
    fn is_waited_for(&self) -> bool {
        let mut entries = self.requests.iter().map(|request| &request.entry);
        !entries.all(can_be_had_again)
    }
}

struct Writer {
    file: JournalFile,
    clock: Clock,
    is_closing: Arc<AtomicBool>,
    done: mpsc::UnboundedSender<u64>,
    shown: watch::Sender<u64>,
    /// What was printed, and is not noted: it can wait for something else to be written.
    printed: Vec<(u64, Shown)>,
    news: mpsc::Sender<News>,
    /// Of the file, when it was last looked what others have left.
    version: Option<i64>,
    /// When that was.
    looked_at: Timestamp,
    /// The last line of the spool that was handed over.
    handed_over: u64,
    /// The last stored line that was handed over to be watched.
    watched: u64,
    /// The last ask that was handed over.
    asked: u64,
    /// The rooms that were told to be wanted.
    wanted: Vec<RoomName>,
}

impl Writer {
    /// Until nobody is left to write for.
    fn run(mut self, jobs: &Receiver<Job>) -> Result<()> {
        loop {
            let first = jobs.recv_timeout(LOOKED_EVERY);
            let is_quiet = first.is_err();
            let is_over = matches!(first, Err(RecvTimeoutError::Disconnected));
            let Batch {
                requests,
                refused,
                delivered,
                answers,
            } = self.gather(first.ok(), jobs);
            if !requests.is_empty() || is_quiet || self.printed.len() >= SHOWN_LAG_MAX / 2 {
                self.write(&requests)?;
            }
            if is_quiet {
                self.file.sync()?;
            }
            for (id, code) in refused {
                until_there_is_room(&mut self.file, &self.is_closing, |file| {
                    file.refuse(id, code)
                })?;
            }
            for id in delivered {
                until_there_is_room(&mut self.file, &self.is_closing, |file| {
                    file.note_delivered(id)
                })?;
            }
            for (id, lines) in answers {
                until_there_is_room(&mut self.file, &self.is_closing, |file| {
                    file.answer(id, &lines)
                })?;
            }
            if is_over {
                return Ok(());
            }
            let now = self.clock.now();
            if is_quiet || self.version.is_none() || now >= self.looked_at + LOOKED_EVERY {
                self.looked_at = now;
                self.look()?;
            }
        }
    }

    /// What waits, and what comes within a moment, unless it is waited for: who has received a line
    /// often says the next one, and both share a transaction then.
    fn gather(&mut self, first: Option<Job>, jobs: &Receiver<Job>) -> Batch {
        let mut batch = Batch::default();
        let Some(first) = first else {
            return batch;
        };
        batch.add(first, &mut self.printed);
        let until = self.clock.now() + GATHERED_FOR;
        loop {
            for job in jobs.try_iter() {
                batch.add(job, &mut self.printed);
            }
            if batch.is_waited_for() || self.clock.now() >= until {
                return batch;
            }
            thread::yield_now();
        }
    }

    /// Writes everything that was waiting in one transaction, and says so.
    fn write(&mut self, requests: &[JournalRequest]) -> Result<()> {
        if requests.is_empty() && self.printed.is_empty() {
            return Ok(());
        }
        let printed = &self.printed;
        until_there_is_room(&mut self.file, &self.is_closing, |file| {
            let shown = printed.iter().map(|(_, shown)| shown);
            let entries = requests.iter().map(|request| &request.entry);
            file.write(entries, shown)
        })?;
        if self.file.take_awaited() {
            // There is something new to be watched.
            self.version = None;
        }
        if let Some(last) = requests.last() {
            // Who asked may be gone.
            let _ = self.done.send(last.id);
        }
        if let Some((count, _)) = self.printed.drain(..).next_back() {
            self.shown.send_replace(count);
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
        for (room, first) in self.file.wanted(since)? {
            if !self.wanted.contains(&room) {
                let news = News::Wanted(room.clone(), first);
                if self.news.try_send(news).is_err() {
                    return Ok(());
                }
                self.wanted.push(room);
            }
        }
        for line in self.file.watched_after(self.watched, NEWS_MAX)? {
            let id = line.id;
            if self.news.try_send(News::Watched(line)).is_err() {
                return Ok(());
            }
            self.watched = id;
        }
        for asked in self
            .file
            .asked_after(self.asked, self.clock.unix_ms(), NEWS_MAX)?
        {
            let id = asked.id;
            if self.news.try_send(News::Asked(asked)).is_err() {
                return Ok(());
            }
            self.asked = id;
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
/// nothing goes on. A node that ends does not wait for a disk: it was told that nothing of this is
/// kept (JRN-5).
fn until_there_is_room(
    file: &mut JournalFile,
    is_closing: &AtomicBool,
    mut write: impl FnMut(&mut JournalFile) -> Result<()>,
) -> Result<()> {
    let mut is_said = false;
    loop {
        let written = write(file).map_err(|error| sqlite::or_limit(error, &file.connection));
        match written {
            Err(error) if error.blame == Blame::Full && is_closing.load(Ordering::Relaxed) => {
                return Err(error);
            }
            Err(error) if matches!(error.blame, Blame::Full | Blame::InUse) => {
                if !is_said {
                    tracing::warn!(%error, "nothing can be kept: the journal waits");
                    is_said = true;
                }
                thread::sleep(TRIED_AGAIN_AFTER);
            }
            Ok(()) if is_said => {
                tracing::warn!("the journal can be written to again");
                return Ok(());
            }
            done => return done,
        }
    }
}

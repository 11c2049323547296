//! The journal as a session uses it: what was received and not printed comes first, and what was
//! printed is noted (CLI-11).

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use tokio::sync::watch;

use crate::chat::{LogId, RoomName};
use crate::cli::exit::{self, Failure};
use crate::client::JournalState;
use crate::driver::Clock;
use crate::profile::Profile;
use crate::store::journal::{Item, Journal, JournalFile, SHOWN_LAG_MAX, Shown, Told, Unopened};
use crate::store::sqlite::StoreError;

/// How many items are read from the journal at a time.
const READ_AT_A_TIME: usize = 64;

/// A profile that this process has the link of, with its journal.
pub(super) struct Record {
    pub(super) profile: Profile,
    pub(super) journal: Journal,
    /// Another connection, for reading and for the odd note.
    pub(super) file: JournalFile,
    path: PathBuf,
    /// What was printed last, or given to the screen at least.
    printed: BTreeMap<RoomName, Told>,
    /// The same of the process before, until something is printed (CLI-18).
    printed_before: BTreeMap<RoomName, Told>,
    /// Given to the screen, as its so-manieth line, and as the so-manieth of this journal.
    marks: VecDeque<(u64, u64, Shown)>,
    last_mark: u64,
    durable: watch::Receiver<u64>,
    /// Rooms of which something is to be printed first: after this item, up to that one.
    behind: VecDeque<(RoomName, u64, u64)>,
    backlog: VecDeque<(RoomName, Item)>,
}

impl Record {
    /// Opens the journal of `profile`, which has the link, and says what it holds.
    pub(super) fn open(
        profile: Profile,
        unopened: Unopened,
        clock: Clock,
    ) -> Result<(Self, JournalState), Failure> {
        let (file, journal, state) = profile.open_journal(unopened, clock)?;
        let path = profile.journal();
        let durable = journal.shown();
        let record = Self {
            profile,
            journal,
            file,
            path,
            printed: BTreeMap::new(),
            printed_before: BTreeMap::new(),
            marks: VecDeque::new(),
            last_mark: 0,
            durable,
            behind: VecDeque::new(),
            backlog: VecDeque::new(),
        };
        Ok((record, state))
    }

    /// The journal cannot be used, and this is how to end.
    pub(super) fn failure(&self, error: &StoreError) -> Failure {
        exit::of_store(&self.path, error)
    }

    /// Writes everything that is to be written. The driver has ended before.
    pub(super) async fn close(self) -> Result<(), Failure> {
        let closed = self.journal.close().await;
        closed.map_err(|error| exit::of_store(&self.path, &error))
    }

    // ---- what was received before

    /// From now on `room` is printed, beginning with what was received and never printed. Returns
    /// whether there is any.
    pub(super) fn begin(&mut self, room: &RoomName) -> Result<bool, Failure> {
        let find = || {
            let shown = self.file.shown(room)?;
            let last = self.file.line_until(room, shown)?;
            Ok((shown, last, self.file.newest(room)?))
        };
        let (shown, last, newest) = find().map_err(|error| self.failure(&error))?;
        if let Some((log, seq)) = last {
            self.printed_before.insert(room.clone(), Told::at(log, seq));
        }
        if newest > shown {
            self.behind.push_back((room.clone(), shown, newest));
        }
        Ok(newest > shown && shown > 0)
    }

    /// The next thing to be printed that was received before, if there is one.
    pub(super) fn next_from_before(&mut self) -> Result<Option<(RoomName, Item)>, Failure> {
        while self.backlog.is_empty()
            && let Some((room, after, until)) = self.behind.pop_front()
        {
            let read = self.file.items_after(&room, after, READ_AT_A_TIME);
            let items = read.map_err(|error| self.failure(&error))?;
            let Some(last) = items.last().map(Item::id) else {
                continue;
            };
            if last < until {
                self.behind.push_front((room.clone(), last, until));
            }
            let wanted = items.into_iter().filter(|item| item.id() <= until);
            self.backlog.extend(wanted.map(|item| (room.clone(), item)));
        }
        Ok(self.backlog.pop_front())
    }

    /// Whether something from before is to be printed first.
    pub(super) fn is_behind(&self) -> bool {
        !self.backlog.is_empty() || !self.behind.is_empty()
    }

    // ---- what is printed

    /// The lines of the same history between the one printed last and line `seq`, if that is not
    /// the next one.
    pub(super) fn hole_before(
        &self,
        room: &RoomName,
        log: LogId,
        seq: u64,
    ) -> Option<RangeInclusive<u64>> {
        let last = self.printed.get(room);
        let last = last.or_else(|| self.printed_before.get(room));
        last?.hole_before(log, seq)
    }

    /// Whether `line` is to be printed; it is taken for printed then.
    pub(super) fn is_new_line(&mut self, room: &RoomName, log: LogId, seq: u64) -> bool {
        self.printed_before.remove(room);
        let printed = self.printed.entry(room.clone()).or_default();
        printed.is_new_line(log, seq)
    }

    /// The room has another history (RUM-10).
    pub(super) fn on_fork(&mut self, room: &RoomName) {
        self.printed_before.remove(room);
        if let Some(printed) = self.printed.get_mut(room) {
            printed.on_fork();
        }
    }

    /// Whether the notice is to be printed; it is taken for printed then.
    pub(super) fn is_new_notice(&mut self, room: &RoomName, number: u64) -> bool {
        let printed = self.printed.entry(room.clone()).or_default();
        printed.is_new_notice(number)
    }

    /// `shown` is the screen's line number `count`.
    pub(super) fn mark(&mut self, count: u64, shown: Shown) {
        self.last_mark += 1;
        self.marks.push_back((count, self.last_mark, shown));
    }

    /// The screen has printed `count` lines.
    pub(super) fn on_printed(&mut self, count: u64) {
        while let Some((_, mark, shown)) = self.marks.pop_front_if(|(at, ..)| *at <= count) {
            self.journal.note_shown(mark, shown);
        }
    }

    /// Whether another line may be printed: the journal knows of almost all that were (CLI-11).
    pub(super) fn may_print(&self) -> bool {
        self.last_mark - *self.durable.borrow() < SHOWN_LAG_MAX as u64
    }

    /// Waits until another line may be printed.
    pub(super) fn noted(&self) -> impl Future<Output = ()> + use<> {
        let (mut durable, last_mark) = (self.durable.clone(), self.last_mark);
        async move {
            let is_enough = |noted: &u64| last_mark - *noted < SHOWN_LAG_MAX as u64;
            if durable.wait_for(is_enough).await.is_err() {
                // A journal that has failed is noticed by that.
                std::future::pending::<()>().await;
            }
        }
    }
}

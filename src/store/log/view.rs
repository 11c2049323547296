//! A log as others than its broker see it: to look at, beside the broker or without it.

use std::path::Path;

use rusqlite::Connection;

use super::rows::{self, Span, number};
use super::{schema, tables};
use crate::broker::StoredLine;
use crate::chat::{LogId, RoomName};
use crate::store::sqlite::{self, Result, StoreError};

/// How many lines are read at a time: not so many that the broker's log could not be emptied
/// meanwhile.
const LINES_AT_A_TIME: usize = 1_000;

/// A log that is only looked at.
#[derive(Debug)]
pub struct LogView {
    pub(super) connection: Connection,
    log: LogId,
}

/// What there is of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSummary {
    /// Its name, as its first user wrote it.
    pub name: RoomName,
    /// How many lines it has.
    pub lines: u64,
    /// How many bytes their bodies have.
    pub bytes: u64,
    /// How many accounts are members.
    pub members: u64,
    /// When the last line was stored, in milliseconds of Unix time.
    pub last_stored_at_ms: Option<u64>,
}

impl LogView {
    /// Opens the log at `path`, which a broker may be using.
    ///
    /// # Errors
    ///
    /// As [`sqlite::open_to_read`].
    pub fn open(path: &Path) -> Result<Self> {
        let connection = sqlite::open_to_read(path, &schema::SCHEMA)?;
        let log = tables::log_id(&connection)?;
        let log = log.ok_or_else(|| StoreError::damaged("it has no log id"))?;
        Ok(Self { connection, log })
    }

    /// This history's id.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.log
    }

    /// How many accounts have a name.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn accounts(&self) -> Result<u64> {
        let count = "SELECT count(*) FROM accounts";
        Ok(self.connection.query_row(count, (), |row| number(row, 0))?)
    }

    /// All rooms, by name.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn rooms(&self) -> Result<Vec<RoomSummary>> {
        let mut query = self.connection.prepare_cached(
            "SELECT count(*), coalesce(sum(length(body)), 0), max(stored_at),
                    (SELECT count(*) FROM members WHERE room = ?1)
             FROM lines WHERE room = ?1",
        )?;
        let summary = |room: rows::RoomRow| {
            Ok(query.query_row((room.row,), |row| {
                Ok(RoomSummary {
                    name: room.name,
                    lines: number(row, 0)?,
                    bytes: number(row, 1)?,
                    members: number(row, 3)?,
                    last_stored_at_ms: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
                })
            })?)
        };
        rows::all_rooms(&self.connection)?
            .into_iter()
            .map(summary)
            .collect()
    }

    /// Hands the lines of a room to `take`, from the first one to the last one there is when it is
    /// reached. Every line is held to the room's hash.
    ///
    /// # Errors
    ///
    /// If a line cannot be read, or is not what was stored; and whatever `take` returns.
    pub fn each_line<E: From<StoreError>>(
        &self,
        room: &RoomName,
        mut take: impl FnMut(StoredLine) -> core::result::Result<(), E>,
    ) -> core::result::Result<(), E> {
        let mut from = 1;
        loop {
            let lines = self.lines(room, from)?;
            let Some(last) = lines.last() else {
                return Ok(());
            };
            from = last.line.seq + 1;
            lines.into_iter().try_for_each(&mut take)?;
        }
    }

    /// Some lines, the first of them line `from`; none if the room has fewer.
    fn lines(&self, room: &RoomName, from: u64) -> Result<Vec<StoredLine>> {
        let span = Span {
            from,
            before: u64::MAX,
            lines_max: LINES_AT_A_TIME,
            bytes_max: usize::MAX,
        };
        match rows::find_room(&self.connection, room)? {
            Some(row) => rows::read(&self.connection, &row, span),
            None => Ok(Vec::new()),
        }
    }
}

//! Lines from before those that the journal holds, for readers beside the node (JRN-13).

use rusqlite::{OptionalExtension as _, params};

use super::entries::{insert_line, room_id};
use super::file::JournalFile;
use super::rows::{line, number, room_name};
use crate::chat::{Line, LogId, RoomName};
use crate::store::sqlite::Result;

/// For how long a reader that does not say so again is waited for, in milliseconds.
const ASKED_FOR_MS: u64 = 15_000;

/// A line into the answer to an ask, unless it has it.
const INTO_EARLIER: &str = "INSERT OR IGNORE INTO earlier (log, seq, kind, account, device, \
                            author, name, n, typed_at, stored_at, body, ask) \
                            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// What a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What it is called.
    pub id: u64,
    /// Of which room.
    pub room: RoomName,
    /// The first line that is wanted.
    pub first: u64,
    /// The line before which it ends.
    pub before: u64,
}

impl JournalFile {
    /// Asks whoever has the link for the lines of `room` from `first` on and before line `before`,
    /// at `now_ms`, in milliseconds of Unix time. Returns what that is called.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn ask_earlier(
        &mut self,
        room: &RoomName,
        first: u64,
        before: u64,
        now_ms: u64,
    ) -> Result<u64> {
        let tx = self.begin()?;
        // What readers left that are gone.
        let since = now_ms.saturating_sub(ASKED_FOR_MS).cast_signed();
        tx.execute(
            "DELETE FROM earlier WHERE ask IN (SELECT id FROM asks WHERE at < ?1)",
            [since],
        )?;
        tx.execute("DELETE FROM asks WHERE at < ?1", [since])?;
        let room = room_id(&tx, room)?;
        tx.execute(
            "INSERT INTO asks (room, first, before, at) VALUES (?1, ?2, ?3, ?4)",
            params![
                room,
                first.cast_signed(),
                before.cast_signed(),
                now_ms.cast_signed()
            ],
        )?;
        let id = tx.last_insert_rowid().cast_unsigned();
        tx.commit()?;
        Ok(id)
    }

    /// The reader still waits at `now_ms`. Returns whether anybody knows what it asked for.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn still_asks(&mut self, id: u64, now_ms: u64) -> Result<bool> {
        let changed = self.connection.execute(
            "UPDATE asks SET at = ?2 WHERE id = ?1",
            params![id.cast_signed(), now_ms.cast_signed()],
        )?;
        Ok(changed > 0)
    }

    /// What was asked after the one called `after`, and is neither answered nor given up by
    /// `now_ms`, at most `max` of it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or holds what it cannot hold.
    pub fn asked_after(&self, after: u64, now_ms: u64, max: usize) -> Result<Vec<Asked>> {
        let since = now_ms.saturating_sub(ASKED_FOR_MS).cast_signed();
        let mut statement = self.connection.prepare_cached(
            "SELECT asks.id, name, first, before FROM asks JOIN rooms ON rooms.id = room \
             WHERE NOT is_answered AND asks.id > ?1 AND at >= ?2 ORDER BY asks.id LIMIT ?3",
        )?;
        let mut rows = statement.query(params![after.cast_signed(), since, max as i64])?;
        let mut asked = Vec::new();
        while let Some(row) = rows.next()? {
            asked.push(Asked {
                id: number(row, "id")?,
                room: room_name(row, "name")?,
                first: number(row, "first")?,
                before: number(row, "before")?,
            });
        }
        Ok(asked)
    }

    /// These lines are all that is to be had of what was asked for as `id`.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn answer(&mut self, id: u64, lines: &[(LogId, Line)]) -> Result<()> {
        let tx = self.begin()?;
        let answered = tx.execute(
            "UPDATE asks SET is_answered = 1 WHERE id = ?1 AND NOT is_answered",
            [id.cast_signed()],
        )?;
        // Nobody may wait for it any more.
        for (log, line) in lines.iter().filter(|_| answered > 0) {
            insert_line(&tx, INTO_EARLIER, &[id.cast_signed()], log, line)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// What came of it, once and in order; `None` as long as it is not answered.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written, or holds what it cannot hold.
    pub fn take_answer(&mut self, id: u64) -> Result<Option<Vec<(LogId, Line)>>> {
        let tx = self.begin()?;
        let id = id.cast_signed();
        let is_answered: Option<bool> = tx
            .query_row("SELECT is_answered FROM asks WHERE id = ?1", [id], |row| {
                row.get(0)
            })
            .optional()?;
        if is_answered != Some(true) {
            return Ok(None);
        }
        let mut lines = Vec::new();
        {
            let mut statement =
                tx.prepare_cached("SELECT * FROM earlier WHERE ask = ?1 ORDER BY seq")?;
            let mut rows = statement.query([id])?;
            while let Some(row) = rows.next()? {
                lines.push((LogId(row.get("log")?), line(row)?));
            }
        }
        tx.execute("DELETE FROM earlier WHERE ask = ?1", [id])?;
        tx.execute("DELETE FROM asks WHERE id = ?1", [id])?;
        tx.commit()?;
        Ok(Some(lines))
    }
}

//! What programs beside the node leave in its journal, and find there: lines to be sent, their
//! outcomes, cursors of readers (JRN-6, JRN-7).

use bytes::Bytes;
use rusqlite::{OptionalExtension as _, params};

use super::entries::{note_outcome, room_id};
use super::file::JournalFile;
use super::rows::room_name;
use crate::chat::{Kind, LogId, Recorded, Refusal, RoomName};
use crate::store::sqlite::Result;

/// A line in the spool: kept, and not numbered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Its name there.
    pub id: u64,
    /// For which room.
    pub room: RoomName,
    /// When it was typed, in milliseconds of Unix time.
    pub typed_at_ms: u64,
    /// The text.
    pub text: Bytes,
}

/// A line that was spooled and is stored, and that somebody waits for to be delivered (CLI-12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its name in the spool.
    pub id: u64,
    /// In which room.
    pub room: RoomName,
    /// As which line.
    pub seq: u64,
}

/// What became of a line in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of which history its room is, if it was entered.
    pub log: Option<LogId>,
    /// The line's number there, or why it has none.
    pub recorded: Recorded,
    /// Whether all who were present have it, as far as somebody waits for that.
    pub is_delivered: bool,
}

impl JournalFile {
    /// Keeps `texts` for `room`, all or none of them, and returns their names (JRN-6). With
    /// `is_watched`, it will be seen to when all who are present have them, too.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn spool(
        &mut self,
        room: &RoomName,
        texts: &[Bytes],
        typed_at_ms: u64,
        is_watched: bool,
    ) -> Result<Vec<u64>> {
        let tx = self.begin()?;
        let room = room_id(&tx, room)?;
        let mut ids = Vec::with_capacity(texts.len());
        for text in texts {
            tx.prepare_cached(
                "INSERT INTO spool (room, typed_at, kind, body, is_watched) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                room,
                typed_at_ms.cast_signed(),
                Kind::Message.code(),
                &text[..],
                is_watched
            ])?;
            ids.push(tx.last_insert_rowid().cast_unsigned());
        }
        tx.commit()?;
        Ok(ids)
    }

    /// What is spooled after the one called `after`, at most `max` of it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or holds what it cannot hold.
    pub fn spooled_after(&self, after: u64, max: usize) -> Result<Vec<Spooled>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT spool.id, name, typed_at, body FROM spool JOIN rooms ON rooms.id = room \
             WHERE spool.id > ?1 ORDER BY spool.id LIMIT ?2",
        )?;
        let mut rows = statement.query(params![after.cast_signed(), max as i64])?;
        let mut spooled = Vec::new();
        while let Some(row) = rows.next()? {
            spooled.push(Spooled {
                id: row.get::<_, i64>("id")?.cast_unsigned(),
                room: room_name(row, "name")?,
                typed_at_ms: row.get::<_, i64>("typed_at")?.cast_unsigned(),
                text: Bytes::from(row.get::<_, Vec<u8>>("body")?),
            });
        }
        Ok(spooled)
    }

    /// What became of the line called `id`; `None` as long as nothing did.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn outcome(&self, id: u64) -> Result<Option<Outcome>> {
        let found = self
            .connection
            .prepare_cached("SELECT log, seq, refusal, is_delivered FROM outcomes WHERE id = ?1")?
            .query_row([id.cast_signed()], |row| {
                let (log, seq) = (
                    row.get::<_, Option<[u8; 16]>>(0)?,
                    row.get::<_, Option<i64>>(1)?,
                );
                let refusal: Option<i64> = row.get(2)?;
                let recorded = match seq {
                    Some(seq) => Recorded::Stored(seq.cast_unsigned()),
                    None => {
                        let code = refusal.unwrap_or(0).cast_unsigned();
                        Recorded::Refused(Refusal::from_code(code))
                    }
                };
                let log = log.map(LogId);
                Ok(Outcome {
                    log,
                    recorded,
                    is_delivered: row.get(3)?,
                })
            })
            .optional()?;
        Ok(found)
    }

    /// What is stored after the line called `after` and waited for, at most `max` of it. Lines of
    /// another history than the room has now are not waited for any more.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or holds what it cannot hold.
    pub fn watched_after(&self, after: u64, max: usize) -> Result<Vec<Watched>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT outcomes.id, name, outcomes.seq FROM outcomes \
             JOIN rooms ON rooms.id = room AND rooms.log = outcomes.log \
             WHERE is_watched AND outcomes.id > ?1 ORDER BY outcomes.id LIMIT ?2",
        )?;
        let mut rows = statement.query(params![after.cast_signed(), max as i64])?;
        let mut watched = Vec::new();
        while let Some(row) = rows.next()? {
            watched.push(Watched {
                id: row.get::<_, i64>("id")?.cast_unsigned(),
                room: room_name(row, "name")?,
                seq: row.get::<_, i64>("seq")?.cast_unsigned(),
            });
        }
        Ok(watched)
    }

    /// All who were present have the line called `id`.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn note_delivered(&mut self, id: u64) -> Result<()> {
        self.connection.execute(
            "UPDATE outcomes SET is_delivered = 1, is_watched = 0 WHERE id = ?1",
            [id.cast_signed()],
        )?;
        Ok(())
    }

    /// Nobody waits any more for the lines called `ids` to be delivered.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn unwatch(&mut self, ids: &[u64]) -> Result<()> {
        let tx = self.begin()?;
        for id in ids {
            let id = id.cast_signed();
            tx.execute("UPDATE spool SET is_watched = 0 WHERE id = ?1", [id])?;
            tx.execute("UPDATE sending SET is_watched = 0 WHERE spooled = ?1", [id])?;
            tx.execute("UPDATE outcomes SET is_watched = 0 WHERE id = ?1", [id])?;
        }
        tx.commit()?;
        Ok(())
    }

    /// The line called `id` will never be sent, for this reason.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn refuse(&mut self, id: u64, code: Refusal) -> Result<()> {
        let tx = self.begin()?;
        let room: Option<i64> = tx
            .query_row(
                "DELETE FROM spool WHERE id = ?1 RETURNING room",
                [id.cast_signed()],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(room) = room {
            note_outcome(&tx, id.cast_signed(), room, Recorded::Refused(code))?;
        }
        tx.commit()?;
        Ok(())
    }

    /// How many lines are kept and have no outcome.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn kept(&self) -> Result<usize> {
        let count: i64 = self.connection.query_row(
            "SELECT (SELECT count(*) FROM spool) + (SELECT count(*) FROM sending)",
            (),
            |row| row.get(0),
        )?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    // ---- readers

    /// How far the reader called `name` has come in `room`: the item that it had last (JRN-7).
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn cursor(&self, name: &str, room: &RoomName) -> Result<Option<u64>> {
        let item: Option<i64> = self
            .connection
            .query_row(
                "SELECT item FROM cursors JOIN rooms ON rooms.id = room \
                 WHERE cursors.name = ?1 AND folded = ?2",
                [name, room.folded()],
                |row| row.get(0),
            )
            .optional()?;
        Ok(item.map(i64::cast_unsigned))
    }

    /// The reader called `name` has had everything in `room` up to `item`. A cursor never goes
    /// back.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn move_cursor(&mut self, name: &str, room: &RoomName, item: u64) -> Result<()> {
        let tx = self.begin()?;
        let room = room_id(&tx, room)?;
        tx.execute(
            "INSERT INTO cursors (name, room, item) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET item = max(item, excluded.item)",
            params![name, room, item.cast_signed()],
        )?;
        tx.commit()?;
        Ok(())
    }

    /// The newest item of `room`; 0 if there is none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn newest(&self, room: &RoomName) -> Result<u64> {
        let item: i64 = self.connection.query_row(
            "SELECT coalesce(max(items.id), 0) FROM items JOIN rooms ON rooms.id = room \
             WHERE folded = ?1",
            [room.folded()],
            |row| row.get(0),
        )?;
        Ok(item.cast_unsigned())
    }

    /// Somebody reads `room` beside the node, from line `first` on if that is given, and says so
    /// at `now_ms`, in milliseconds of Unix time.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn want(&mut self, room: &RoomName, first: Option<u64>, now_ms: u64) -> Result<()> {
        let tx = self.begin()?;
        let room = room_id(&tx, room)?;
        tx.execute(
            "INSERT OR REPLACE INTO wanted (room, at, first) VALUES (?1, ?2, ?3)",
            params![room, now_ms.cast_signed(), first.map(u64::cast_signed)],
        )?;
        tx.commit()?;
        Ok(())
    }

    /// The rooms that somebody said to read at `since_ms` or later, each with the first line that
    /// is wanted.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or holds what it cannot hold.
    pub fn wanted(&self, since_ms: u64) -> Result<Vec<(RoomName, Option<u64>)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT name, first FROM wanted JOIN rooms ON rooms.id = room WHERE at >= ?1 ORDER BY at",
        )?;
        let mut rows = statement.query([since_ms.cast_signed()])?;
        let mut rooms = Vec::new();
        while let Some(row) = rows.next()? {
            let first: Option<i64> = row.get("first")?;
            rooms.push((room_name(row, "name")?, first.map(i64::cast_unsigned)));
        }
        Ok(rooms)
    }

    /// A number that is another one whenever another process has changed the file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn data_version(&self) -> Result<i64> {
        Ok(self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0))?)
    }
}

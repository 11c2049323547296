//! The journal's file: entries in, and what they come to.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use super::schema::SCHEMA;
use super::{Item, JOURNAL_LINES_MAX, Shown};
use crate::chat::{
    Kind, LastPublication, Line, LineBase, LogId, Name, NoticeEvent, Publication, Recorded,
    RoomName,
};
use crate::client::{JournalEntry, JournalState, RoomState};
use crate::secure::{AccountKey, DeviceKey};
use crate::store::sqlite::{self, Result, StoreError};

/// How many lines are added to a journal before it is looked whether old ones have to go.
const TRIMMED_EVERY: u64 = 1_000;
/// How many entries that can be had again are committed before one waits for the disk (JRN-8).
pub(super) const UNSYNCED_MAX: usize = 32;
/// How many outcomes of spooled lines are kept for those who ask (JRN-6).
const OUTCOMES_MAX: u64 = 100_000;

/// A journal that is open. Several processes may have the same one open; one of them at a time, the
/// one with the link, writes entries.
#[derive(Debug)]
pub struct JournalFile {
    pub(super) connection: Connection,
    /// Lines added since the last time that old ones were looked for.
    added: u64,
    /// SQLite's write-ahead log, which is there for as long as the connection is.
    log: File,
    /// Whether commits wait for the disk at present (JRN-8).
    is_waiting: bool,
    /// How many entries were committed that nobody waited for (JRN-8).
    unsynced: usize,
    /// Whether somebody waits for what was written.
    has_awaited: bool,
}

impl JournalFile {
    /// Opens the journal at `path`, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// As [`sqlite::open`].
    pub fn open(path: &Path) -> Result<Self> {
        let connection = sqlite::open(path, &SCHEMA)?;
        let log = File::open(sqlite::beside(path, "-wal"))?;
        Ok(Self {
            connection,
            added: 0,
            log,
            is_waiting: true,
            unsynced: 0,
            has_awaited: false,
        })
    }

    /// The journal is that of `device` from now on. Returns whether it was another one's: then the
    /// numbers of publications begin anew (JRN-4).
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn adopt(&mut self, device: DeviceKey) -> Result<bool> {
        let tx = self.begin()?;
        let owner: Option<[u8; 32]> = tx
            .query_row("SELECT device FROM owner", (), |row| row.get(0))
            .optional()?;
        let is_other = owner.is_some_and(|owner| owner != device.0);
        if owner != Some(device.0) {
            tx.execute("DELETE FROM owner", ())?;
            tx.execute("INSERT INTO owner VALUES (?1)", [&device.0])?;
        }
        if is_other {
            for room in known_rooms(&tx)? {
                number_after(&tx, room, &LastPublication::NONE)?;
            }
        }
        tx.commit()?;
        Ok(is_other)
    }

    /// A transaction whose commit waits for the disk.
    pub(super) fn begin(&mut self) -> Result<Transaction<'_>> {
        self.begin_waiting(true)
    }

    /// A transaction whose commit waits for the disk, or does not (JRN-8).
    fn begin_waiting(&mut self, waits: bool) -> Result<Transaction<'_>> {
        if self.is_waiting != waits {
            let mode = if waits { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", mode)?;
            self.is_waiting = waits;
        }
        let behavior = TransactionBehavior::Immediate;
        Ok(Transaction::new(&mut self.connection, behavior)?)
    }

    // ---- what it holds

    /// The fold of the entries (JRN-1).
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or holds what it cannot hold.
    pub fn state(&self) -> Result<JournalState> {
        let mut state = JournalState::default();
        let mut rooms = self.connection.prepare(
            "SELECT id, name, log, seq, stored_at, hash, entered_after, presence, is_numbered, last_n, \
             confirmed_n, confirmed_digest FROM rooms",
        )?;
        let mut rows = rooms.query(())?;
        while let Some(row) = rows.next()? {
            let (id, room) = (row.get("id")?, room_state(row)?);
            let (waiting, next) = self.waiting_in(id)?;
            let room = RoomState { waiting, ..room };
            // A room that is only spooled to, or was left, is none that the node knows.
            if room != RoomState::NEW {
                state.rooms.insert(room_name(row, "name")?, room);
            }
            state.next_handle = state.next_handle.max(next);
        }
        Ok(state)
    }

    fn waiting_in(&self, room: i64) -> Result<(std::collections::BTreeMap<u64, Publication>, u64)> {
        let mut statement = self.connection.prepare_cached(
            "SELECT handle, n, typed_at, kind, body FROM outbox \
             WHERE room = ?1 AND handle IS NOT NULL",
        )?;
        let mut rows = statement.query([room])?;
        let mut waiting = std::collections::BTreeMap::new();
        while let Some(row) = rows.next()? {
            waiting.insert(number(row, "handle")?, publication(row)?);
        }
        let next = waiting.keys().next_back().map_or(0, |handle| handle + 1);
        Ok((waiting, next))
    }

    /// What was received in `room` after item `after`, oldest first, at most `max` of it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or holds what it cannot hold.
    pub fn items_after(&self, room: &RoomName, after: u64, max: usize) -> Result<Vec<Item>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT items.* FROM items JOIN rooms ON rooms.id = items.room \
             WHERE folded = ?1 AND items.id > ?2 ORDER BY items.id LIMIT ?3",
        )?;
        let mut rows = statement.query(params![room.folded(), after.cast_signed(), max as i64])?;
        let mut items = Vec::new();
        while let Some(row) = rows.next()? {
            items.push(item(row)?);
        }
        Ok(items)
    }

    /// The last item of `room` that was printed (CLI-11).
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn shown(&self, room: &RoomName) -> Result<u64> {
        let shown: Option<i64> = self
            .connection
            .query_row(
                "SELECT shown FROM rooms WHERE folded = ?1",
                [room.folded()],
                |row| row.get(0),
            )
            .optional()?;
        Ok(shown.unwrap_or(0).cast_unsigned())
    }
}

impl JournalFile {
    /// The last line of `room` up to `item`, if the journal still has it: of which history, and its
    /// number.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn line_until(&self, room: &RoomName, item: u64) -> Result<Option<(LogId, u64)>> {
        let found = self.connection.query_row(
            "SELECT log, seq FROM items \
             WHERE room = (SELECT id FROM rooms WHERE folded = ?1) AND id <= ?2 AND number = 0 \
             ORDER BY id DESC LIMIT 1",
            params![room.folded(), item.cast_signed()],
            |row| Ok((LogId(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned())),
        );
        Ok(found.optional()?)
    }
}

// ---- entries

impl JournalFile {
    /// Applies entries in one transaction, and what was printed (CLI-11). It is on the disk when
    /// this returns if anything of it could not be had again (JRN-8).
    ///
    /// # Errors
    ///
    /// If it cannot be written; then nothing of it is.
    pub fn write<'a>(
        &mut self,
        entries: impl IntoIterator<Item = &'a JournalEntry> + Clone,
        shown: impl IntoIterator<Item = &'a Shown>,
    ) -> Result<()> {
        let trims = self.added >= TRIMMED_EVERY;
        let mut all = entries.clone().into_iter();
        let mut unsynced = self.unsynced + entries.clone().into_iter().count();
        let waits = unsynced >= UNSYNCED_MAX || !all.all(can_be_had_again);
        let tx = self.begin_waiting(waits)?;
        let (mut added, mut is_awaited) = (0, false);
        for entry in entries {
            added += u64::from(matches!(entry, JournalEntry::Received { .. }));
            is_awaited |= apply(&tx, entry)?;
        }
        for shown in shown {
            unsynced += 1;
            set_shown(&tx, shown)?;
        }
        if trims {
            trim(&tx)?;
        }
        tx.commit()?;
        self.unsynced = if waits { 0 } else { unsynced };
        self.added = if trims { 0 } else { self.added } + added;
        self.has_awaited |= is_awaited;
        Ok(())
    }

    /// Whether a program beside the node waits for what became of anything written since this was
    /// asked last (CLI-12).
    pub(super) fn take_awaited(&mut self) -> bool {
        core::mem::take(&mut self.has_awaited)
    }

    /// Whether everything that was committed is on the disk.
    #[cfg(test)]
    pub(super) const fn waited(&self) -> bool {
        self.unsynced == 0
    }

    /// Waits until everything that was committed is on the disk (JRN-8).
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn sync(&mut self) -> Result<()> {
        if self.unsynced > 0 {
            self.log.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

/// JRN-8: a node that has lost it asks for it again, or is told it again.
const fn can_be_had_again(entry: &JournalEntry) -> bool {
    matches!(
        entry,
        JournalEntry::Received { .. } | JournalEntry::Noticed { .. } | JournalEntry::Settled { .. }
    )
}

/// Returns whether a program beside the node waits for it.
fn apply(tx: &Transaction<'_>, entry: &JournalEntry) -> Result<bool> {
    match entry {
        JournalEntry::Waiting {
            handle,
            spooled,
            room,
            publication,
        } => wait(tx, *handle, *spooled, room_id(tx, room)?, publication)?,
        JournalEntry::Settled {
            handle,
            room,
            outcome,
        } => return settle(tx, *handle, room_id(tx, room)?, *outcome),
        JournalEntry::Entered {
            room,
            log,
            place,
            is_fork,
        } => {
            let id = room_id(tx, room)?;
            set_cursor(tx, id, log, place)?;
            tx.prepare_cached("UPDATE rooms SET entered_after = seq WHERE id = ?1")?
                .execute([id])?;
            if *is_fork {
                let forget = "UPDATE rooms SET presence = 0, is_numbered = 0 WHERE id = ?1";
                tx.prepare_cached(forget)?.execute([id])?;
            }
        }
        JournalEntry::Numbered { room, last } => number_after(tx, room_id(tx, room)?, last)?,
        JournalEntry::Received {
            room,
            log,
            cursor,
            line,
        } => {
            let id = room_id(tx, room)?;
            set_cursor(tx, id, log, cursor)?;
            insert_line(tx, INTO_ITEMS, id, log, line)?;
        }
        JournalEntry::Noticed {
            room,
            number,
            event,
            name,
        } => {
            let id = room_id(tx, room)?;
            tx.prepare_cached("UPDATE rooms SET presence = ?2 WHERE id = ?1")?
                .execute(params![id, number.cast_signed()])?;
            tx.prepare_cached(
                "INSERT INTO items (room, seq, number, kind, name) VALUES (?1, 0, ?2, ?3, ?4)",
            )?
            .execute(params![
                id,
                number.cast_signed(),
                event.code(),
                name.as_str()
            ])?;
        }
        JournalEntry::Left { room } => leave(tx, room_id(tx, room)?)?,
    }
    Ok(false)
}

/// JRN-9: which numbers are used there stays, if that is known.
fn leave(tx: &Transaction<'_>, room: i64) -> Result<()> {
    let given_up = tx.execute(
        "DELETE FROM outbox WHERE room = ?1 AND handle IS NOT NULL",
        [room],
    )?;
    tx.execute(
        "UPDATE rooms SET log = NULL, seq = NULL, stored_at = NULL, hash = NULL, presence = 0, \
         entered_after = 0 WHERE id = ?1",
        [room],
    )?;
    tx.execute(
        "UPDATE rooms SET is_numbered = 0, last_n = 0, confirmed_n = 0, \
         confirmed_digest = zeroblob(32) WHERE id = ?1 AND (?2 OR NOT is_numbered)",
        params![room, given_up > 0],
    )?;
    Ok(())
}

/// The rooms that the node knows: neither only spooled to, nor only read by others.
fn known_rooms(tx: &Transaction<'_>) -> Result<Vec<i64>> {
    let mut rooms = tx.prepare(
        "SELECT id FROM rooms WHERE log IS NOT NULL OR presence <> 0 OR is_numbered \
         OR last_n <> 0 OR confirmed_n <> 0",
    )?;
    let rooms = rooms.query_map((), |row| row.get(0))?;
    Ok(rooms.collect::<rusqlite::Result<Vec<i64>>>()?)
}

/// The room's row, made if need be.
pub(super) fn room_id(tx: &Connection, room: &RoomName) -> Result<i64> {
    let known: Option<i64> = tx
        .prepare_cached("SELECT id FROM rooms WHERE folded = ?1")?
        .query_row([room.folded()], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO rooms (folded, name) VALUES (?1, ?2)")?
        .execute([room.folded(), room.as_str()])?;
    Ok(tx.last_insert_rowid())
}

/// NOD-2, JRN-6: what was spooled leaves the spool as it enters the outbox.
fn wait(
    tx: &Transaction<'_>,
    handle: u64,
    spooled: Option<u64>,
    room: i64,
    publication: &Publication,
) -> Result<()> {
    let (handle, n) = (handle.cast_signed(), publication.n.cast_signed());
    let numbered = match spooled {
        Some(id) => tx
            .prepare_cached("UPDATE outbox SET handle = ?2, n = ?3 WHERE id = ?1")?
            .execute(params![id.cast_signed(), handle, n])?,
        None => 0,
    };
    if numbered == 0 {
        tx.prepare_cached(
            "INSERT INTO outbox (room, handle, n, typed_at, kind, body, is_spooled) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
        )?
        .execute(params![
            room,
            handle,
            n,
            publication.typed_at_ms.cast_signed(),
            publication.kind.code(),
            &publication.body[..]
        ])?;
    }
    tx.prepare_cached("UPDATE rooms SET last_n = max(last_n, ?2) WHERE id = ?1")?
        .execute(params![room, n])?;
    Ok(())
}

/// Returns whether somebody waits until others have the line, too.
fn settle(tx: &Transaction<'_>, handle: u64, room: i64, outcome: Recorded) -> Result<bool> {
    let row: Option<(i64, bool, bool, Publication)> = tx
        .prepare_cached(
            "SELECT id, is_spooled, is_watched, n, typed_at, kind, body FROM outbox WHERE handle = ?1",
        )?
        .query_and_then([handle.cast_signed()], |row| {
            let is_spooled = row.get("is_spooled")?;
            let is_watched = row.get("is_watched")?;
            Ok::<_, StoreError>((row.get("id")?, is_spooled, is_watched, publication(row)?))
        })?
        .next()
        .transpose()?;
    let Some((id, is_spooled, is_watched, publication)) = row else {
        return Ok(false);
    };
    tx.prepare_cached("DELETE FROM outbox WHERE id = ?1")?
        .execute([id])?;
    tx.prepare_cached(
        "UPDATE rooms SET confirmed_n = ?2, confirmed_digest = ?3 \
         WHERE id = ?1 AND confirmed_n < ?2",
    )?
    .execute(params![
        room,
        publication.n.cast_signed(),
        publication.digest()
    ])?;
    if is_spooled {
        note_outcome(tx, id, room, outcome)?;
    }
    let is_awaited = is_watched && matches!(outcome, Recorded::Stored(_));
    if is_awaited {
        tx.prepare_cached("UPDATE outcomes SET is_watched = 1 WHERE id = ?1")?
            .execute([id])?;
    }
    Ok(is_awaited)
}

/// JRN-6.
pub(super) fn note_outcome(
    tx: &Transaction<'_>,
    id: i64,
    room: i64,
    outcome: Recorded,
) -> Result<()> {
    let (seq, refusal) = match outcome {
        Recorded::Stored(seq) => (Some(seq.cast_signed()), None),
        Recorded::Refused(code) => (None, Some(code.code().cast_signed())),
    };
    tx.prepare_cached(
        "INSERT INTO outcomes (id, room, log, seq, refusal) \
         SELECT ?1, id, log, ?3, ?4 FROM rooms WHERE id = ?2",
    )?
    .execute(params![id, room, seq, refusal])?;
    tx.prepare_cached("DELETE FROM outcomes WHERE id <= ?1 - ?2")?
        .execute(params![id, OUTCOMES_MAX.cast_signed()])?;
    Ok(())
}

fn set_cursor(tx: &Transaction<'_>, room: i64, log: &LogId, place: &LineBase) -> Result<()> {
    tx.prepare_cached(
        "UPDATE rooms SET log = ?2, seq = ?3, stored_at = ?4, hash = ?5 WHERE id = ?1",
    )?
    .execute(params![
        room,
        log.0,
        place.seq.cast_signed(),
        place.stored_at_ms.cast_signed(),
        place.hash
    ])?;
    Ok(())
}

/// JRN-3: in the order of their handles, what waits gets the numbers after `last`.
fn number_after(tx: &Transaction<'_>, room: i64, last: &LastPublication) -> Result<()> {
    let n = last.n.cast_signed();
    tx.execute(
        "UPDATE outbox SET n = ?2 + ranks.rank FROM (SELECT id, row_number() OVER \
         (ORDER BY handle) AS rank FROM outbox WHERE room = ?1 AND handle IS NOT NULL) AS ranks \
         WHERE outbox.id = ranks.id",
        params![room, n],
    )?;
    tx.execute(
        "UPDATE rooms SET is_numbered = 1, confirmed_n = ?2, confirmed_digest = ?3, last_n = ?2 + \
         (SELECT count(*) FROM outbox WHERE room = ?1 AND handle IS NOT NULL) WHERE id = ?1",
        params![room, n, last.digest],
    )?;
    Ok(())
}

/// A line into what was received.
const INTO_ITEMS: &str = "INSERT INTO items (room, log, seq, number, kind, account, device, author, \
                          name, n, typed_at, stored_at, body) \
                          VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// Inserts a line that belongs to `owner` by `statement`, which names the table.
pub(super) fn insert_line(
    tx: &Transaction<'_>,
    statement: &str,
    owner: i64,
    log: &LogId,
    line: &Line,
) -> Result<()> {
    tx.prepare_cached(statement)?.execute(params![
        owner,
        log.0,
        line.seq.cast_signed(),
        line.kind.code(),
        line.account.0,
        line.device.0,
        line.author.cast_signed(),
        line.name.as_str(),
        line.n.cast_signed(),
        line.typed_at_ms.cast_signed(),
        line.stored_at_ms.cast_signed(),
        &line.body[..]
    ])?;
    Ok(())
}

/// CLI-11.
fn set_shown(tx: &Transaction<'_>, shown: &Shown) -> Result<()> {
    let (room, seq, number) = match shown {
        Shown::Line(room, seq) => (room, *seq, 0),
        Shown::Notice(room, number) => (room, 0, *number),
        Shown::Item(room, item) => {
            tx.prepare_cached("UPDATE rooms SET shown = max(shown, ?2) WHERE folded = ?1")?
                .execute(params![room.folded(), item.cast_signed()])?;
            return Ok(());
        }
    };
    tx.prepare_cached(
        "UPDATE rooms SET shown = max(shown, coalesce((SELECT max(items.id) FROM items WHERE \
         items.room = rooms.id AND seq = ?2 AND number = ?3), 0)) WHERE folded = ?1",
    )?
    .execute(params![
        room.folded(),
        seq.cast_signed(),
        number.cast_signed()
    ])?;
    Ok(())
}

/// JRN-5: the oldest go.
fn trim(tx: &Transaction<'_>) -> Result<()> {
    let mut rooms = tx.prepare("SELECT id FROM rooms")?;
    let rooms = rooms.query_map((), |row| row.get(0))?;
    for room in rooms.collect::<rusqlite::Result<Vec<i64>>>()? {
        tx.execute(
            "DELETE FROM items WHERE room = ?1 AND id <= \
             (SELECT id FROM items WHERE room = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            params![room, JOURNAL_LINES_MAX.cast_signed()],
        )?;
    }
    Ok(())
}

// ---- rows

pub(super) fn number(row: &Row<'_>, column: &str) -> Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

pub(super) fn room_name(row: &Row<'_>, column: &str) -> Result<RoomName> {
    let name: String = row.get(column)?;
    RoomName::new(&name).map_err(|error| StoreError::damaged(format!("a room's name: {error}")))
}

fn room_state(row: &Row<'_>) -> Result<RoomState> {
    let log: Option<[u8; 16]> = row.get("log")?;
    let cursor = match log {
        Some(log) => {
            let base = LineBase {
                seq: number(row, "seq")?,
                stored_at_ms: number(row, "stored_at")?,
                hash: row.get("hash")?,
            };
            Some((LogId(log), base))
        }
        None => None,
    };
    Ok(RoomState {
        cursor,
        entered_after: number(row, "entered_after")?,
        presence: number(row, "presence")?,
        is_numbered: row.get("is_numbered")?,
        last_n: number(row, "last_n")?,
        confirmed: LastPublication {
            n: number(row, "confirmed_n")?,
            digest: row.get("confirmed_digest")?,
        },
        ..RoomState::NEW
    })
}

fn publication(row: &Row<'_>) -> Result<Publication> {
    Ok(Publication {
        n: number(row, "n")?,
        typed_at_ms: number(row, "typed_at")?,
        kind: Kind::from_code(row.get("kind")?),
        body: Bytes::from(row.get::<_, Vec<u8>>("body")?),
    })
}

fn name(row: &Row<'_>) -> Result<Name> {
    let name: String = row.get("name")?;
    Name::new(&name).map_err(|error| StoreError::damaged(format!("a name: {error}")))
}

fn item(row: &Row<'_>) -> Result<Item> {
    let (id, presence) = (number(row, "id")?, number(row, "number")?);
    if presence > 0 {
        let event = NoticeEvent::from_code(row.get("kind")?)
            .map_err(|_| StoreError::damaged("a notice of no kind"))?;
        return Ok(Item::Notice {
            id,
            number: presence,
            event,
            name: name(row)?,
        });
    }
    Ok(Item::Line {
        id,
        log: LogId(row.get("log")?),
        line: Box::new(line(row)?),
    })
}

pub(super) fn line(row: &Row<'_>) -> Result<Line> {
    Ok(Line {
        seq: number(row, "seq")?,
        stored_at_ms: number(row, "stored_at")?,
        account: AccountKey(row.get("account")?),
        device: DeviceKey(row.get("device")?),
        name: name(row)?,
        author: number(row, "author")?,
        n: number(row, "n")?,
        typed_at_ms: number(row, "typed_at")?,
        kind: Kind::from_code(row.get("kind")?),
        body: Bytes::from(row.get::<_, Vec<u8>>("body")?),
    })
}

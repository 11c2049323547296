//! The journal's file: entries in, and what they come to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::entries::{apply, can_be_had_again, known_rooms, note_shown, number_after, trim};
use super::rows::{item, number, publication, room_name, room_state};
use super::schema::SCHEMA;
use super::{Item, Shown};
use crate::chat::{LastPublication, LogId, Publication, RoomName};
use crate::client::{JournalEntry, JournalState, RoomState};
use crate::secure::DeviceKey;
use crate::store::sqlite::{self, Blame, Result, StoreError};

/// How many lines are added to a journal before it is looked whether old ones have to go.
const TRIMMED_EVERY: u64 = 1_000;
/// How many entries that can be had again are committed before one waits for the disk (JRN-8).
pub(super) const UNSYNCED_MAX: usize = 32;

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

    /// A transaction whose commit waits for the disk, or does not: then whoever has to wait does so
    /// with [`sync`](Self::sync), which costs less than to tell SQLite at every turn (JRN-8).
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
        let mut sending = self.sending()?;
        let mut rooms = self.connection.prepare(
            "SELECT id, name, log, seq, stored_at, hash, entered_after, presence, is_numbered, \
             last_n, confirmed_n, confirmed_digest FROM rooms",
        )?;
        let mut rows = rooms.query(())?;
        while let Some(row) = rows.next()? {
            let (id, room) = (row.get("id")?, room_state(row)?);
            let waiting: BTreeMap<u64, Publication> = sending.remove(&id).unwrap_or_default();
            // A number is used from when something waits under it.
            let last_n = waiting.values().map(|publication| publication.n);
            let room = RoomState {
                last_n: last_n.fold(room.last_n, u64::max),
                waiting,
                ..room
            };
            let next = room.waiting.keys().next_back().map_or(0, |last| last + 1);
            // A room that is only spooled to, or was left, is none that the node knows.
            if room != RoomState::NEW {
                state.rooms.insert(room_name(row, "name")?, room);
            }
            state.next_handle = state.next_handle.max(next);
        }
        Ok(state)
    }

    /// What waits in each room, by handle.
    fn sending(&self) -> Result<BTreeMap<i64, BTreeMap<u64, Publication>>> {
        let mut statement = self
            .connection
            .prepare("SELECT handle, room, n, typed_at, kind, body FROM sending")?;
        let mut rows = statement.query(())?;
        let mut sending = BTreeMap::<i64, BTreeMap<u64, Publication>>::new();
        while let Some(row) = rows.next()? {
            let room = sending.entry(row.get("room")?).or_default();
            room.insert(number(row, "handle")?, publication(row)?);
        }
        Ok(sending)
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
        let tx = self.begin_waiting(false)?;
        let (mut added, mut is_awaited) = (0, false);
        for entry in entries {
            added += u64::from(matches!(entry, JournalEntry::Received { .. }));
            is_awaited |= apply(&tx, entry)?;
        }
        unsynced += note_shown(&tx, shown)?;
        if trims {
            trim(&tx)?;
        }
        tx.commit()?;
        self.unsynced = unsynced;
        if waits {
            self.sync()?;
        }
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
            // Whatever the reason: what was committed is not undone by it, so trying it again, as
            // after a commit that a full disk refused, would do it twice.
            let failed = |error: io::Error| StoreError::new(Blame::Io, error.to_string());
            self.log.sync_data().map_err(failed)?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

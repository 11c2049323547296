//! What entries change in a journal's tables, each in a transaction that is given.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, ToSql, Transaction, params};

use super::rows::{number, publication};
use super::{JOURNAL_LINES_MAX, Shown};
use crate::chat::{LastPublication, Line, LineBase, LogId, Publication, Recorded, RoomName};
use crate::client::JournalEntry;
use crate::store::sqlite::{Result, StoreError};

/// How many outcomes of spooled lines are kept for those who ask (JRN-6).
const OUTCOMES_MAX: u64 = 100_000;

/// JRN-8: a node that has lost it asks for it again, or is told it again.
pub(super) const fn can_be_had_again(entry: &JournalEntry) -> bool {
    matches!(
        entry,
        JournalEntry::Received { .. } | JournalEntry::Noticed { .. } | JournalEntry::Settled { .. }
    )
}

/// Returns whether a program beside the node waits for it.
pub(super) fn apply(tx: &Transaction<'_>, entry: &JournalEntry) -> Result<bool> {
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
            set_cursor(tx, id, log, place, 0)?;
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
            let item = set_cursor(tx, id, log, cursor, 1)?;
            insert_line(tx, INTO_ITEMS, &[id, item], log, line)?;
        }
        JournalEntry::Noticed {
            room,
            number,
            event,
            name,
        } => {
            let id = room_id(tx, room)?;
            let item: i64 = tx
                .prepare_cached(
                    "UPDATE rooms SET presence = ?2, items = items + 1 WHERE id = ?1 \
                     RETURNING items",
                )?
                .query_row(params![id, number.cast_signed()], |row| row.get(0))?;
            tx.prepare_cached(
                "INSERT INTO items (room, id, seq, number, kind, name) \
                 VALUES (?1, ?2, 0, ?3, ?4, ?5)",
            )?
            .execute(params![
                id,
                item,
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
    let given_up = tx.execute("DELETE FROM sending WHERE room = ?1", [room])?;
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
pub(super) fn known_rooms(tx: &Transaction<'_>) -> Result<Vec<i64>> {
    let mut rooms = tx.prepare(
        "SELECT id FROM rooms WHERE log IS NOT NULL OR presence <> 0 OR is_numbered \
         OR last_n <> 0 OR confirmed_n <> 0 OR id IN (SELECT room FROM sending)",
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
    let spooled: Option<(i64, bool)> = match spooled {
        Some(id) => tx
            .prepare_cached("DELETE FROM spool WHERE id = ?1 RETURNING id, is_watched")?
            .query_row([id.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?,
        None => None,
    };
    tx.prepare_cached(
        "INSERT INTO sending (handle, room, n, typed_at, kind, body, spooled, is_watched) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        handle.cast_signed(),
        room,
        publication.n.cast_signed(),
        publication.typed_at_ms.cast_signed(),
        publication.kind.code(),
        &publication.body[..],
        spooled.map(|(id, _)| id),
        spooled.is_some_and(|(_, is_watched)| is_watched),
    ])?;
    Ok(())
}

/// Returns whether somebody waits until others have the line, too.
fn settle(tx: &Transaction<'_>, handle: u64, room: i64, outcome: Recorded) -> Result<bool> {
    let handle = handle.cast_signed();
    let row: Option<(Option<i64>, bool, Publication)> = tx
        .prepare_cached(
            "SELECT spooled, is_watched, n, typed_at, kind, body FROM sending WHERE handle = ?1",
        )?
        .query_and_then([handle], |row| {
            let is_watched = row.get("is_watched")?;
            Ok::<_, StoreError>((row.get("spooled")?, is_watched, publication(row)?))
        })?
        .next()
        .transpose()?;
    let Some((spooled, is_watched, publication)) = row else {
        return Ok(false);
    };
    tx.prepare_cached("DELETE FROM sending WHERE handle = ?1")?
        .execute([handle])?;
    tx.prepare_cached(
        "UPDATE rooms SET confirmed_n = ?2, confirmed_digest = ?3, last_n = max(last_n, ?2) \
         WHERE id = ?1 AND confirmed_n < ?2",
    )?
    .execute(params![
        room,
        publication.n.cast_signed(),
        publication.digest()
    ])?;
    let Some(id) = spooled else {
        return Ok(false);
    };
    note_outcome(tx, id, room, outcome)?;
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

/// The cursor is at `place` now, after `items` more of what is shown. Returns the number of the last.
fn set_cursor(
    tx: &Transaction<'_>,
    room: i64,
    log: &LogId,
    place: &LineBase,
    items: i64,
) -> Result<i64> {
    let last = tx
        .prepare_cached(
            "UPDATE rooms SET log = ?2, seq = ?3, stored_at = ?4, hash = ?5, items = items + ?6 \
             WHERE id = ?1 RETURNING items",
        )?
        .query_row(
            params![
                room,
                log.0,
                place.seq.cast_signed(),
                place.stored_at_ms.cast_signed(),
                place.hash,
                items
            ],
            |row| row.get(0),
        )?;
    Ok(last)
}

/// JRN-3: in the order of their handles, what waits gets the numbers after `last`.
pub(super) fn number_after(tx: &Transaction<'_>, room: i64, last: &LastPublication) -> Result<()> {
    let n = last.n.cast_signed();
    tx.execute(
        "UPDATE sending SET n = ?2 + ranks.rank FROM (SELECT handle, row_number() OVER \
         (ORDER BY handle) AS rank FROM sending WHERE room = ?1) AS ranks \
         WHERE sending.handle = ranks.handle",
        params![room, n],
    )?;
    tx.execute(
        "UPDATE rooms SET is_numbered = 1, confirmed_n = ?2, confirmed_digest = ?3, last_n = ?2 + \
         (SELECT count(*) FROM sending WHERE room = ?1) WHERE id = ?1",
        params![room, n, last.digest],
    )?;
    Ok(())
}

/// A line into what was received, under a room and a number there.
const INTO_ITEMS: &str = "INSERT INTO items (log, seq, number, kind, account, device, author, name, \
                          n, typed_at, stored_at, body, room, id) \
                          VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

/// Inserts a line by `statement`, which names the table, and the columns of `key` after the others.
pub(super) fn insert_line(
    tx: &Transaction<'_>,
    statement: &str,
    key: &[i64],
    log: &LogId,
    line: &Line,
) -> Result<()> {
    let values = params![
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
    ];
    let key = key.iter().map(|part| part as &dyn ToSql);
    let values: Vec<&dyn ToSql> = values.iter().copied().chain(key).collect();
    tx.prepare_cached(statement)?.execute(&values[..])?;
    Ok(())
}

/// CLI-11: up to the last of `shown`, in the order of the items of each room. Returns how much was
/// shown.
pub(super) fn note_shown<'a>(
    tx: &Transaction<'_>,
    shown: impl IntoIterator<Item = &'a Shown>,
) -> Result<usize> {
    let mut rooms = BTreeMap::<&RoomName, (u64, BTreeSet<(u64, u64)>)>::new();
    let mut count = 0;
    for shown in shown {
        count += 1;
        match shown {
            Shown::Line(room, seq) => rooms.entry(room).or_default().1.insert((*seq, 0)),
            Shown::Notice(room, number) => rooms.entry(room).or_default().1.insert((0, *number)),
            Shown::Item(room, item) => {
                let (last, _) = rooms.entry(room).or_default();
                *last = (*last).max(*item);
                continue;
            }
        };
    }
    for (room, (last, places)) in rooms {
        let last = last.max(last_of(tx, room, places)?);
        tx.prepare_cached("UPDATE rooms SET shown = max(shown, ?2) WHERE folded = ?1")?
            .execute(params![room.folded(), last.cast_signed()])?;
    }
    Ok(count)
}

/// The last item of `room` at one of `places` (line, notice), of those that were not shown before;
/// 0 if there is none. What is shown next is among the first of these.
fn last_of(tx: &Transaction<'_>, room: &RoomName, mut places: BTreeSet<(u64, u64)>) -> Result<u64> {
    let mut statement = tx.prepare_cached(
        "SELECT items.id, items.seq, number FROM items JOIN rooms ON rooms.id = items.room \
         WHERE folded = ?1 AND items.id > shown ORDER BY items.id",
    )?;
    let mut rows = statement.query([room.folded()])?;
    let mut last = 0;
    while !places.is_empty()
        && let Some(row) = rows.next()?
    {
        if places.remove(&(number(row, "seq")?, number(row, "number")?)) {
            last = number(row, "id")?;
        }
    }
    Ok(last)
}

/// JRN-5: the oldest go.
pub(super) fn trim(tx: &Transaction<'_>) -> Result<()> {
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

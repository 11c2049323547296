//! Rows of the tables, and the lines that are read from them.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::broker::{Author, PresenceRow, StoredLine};
use crate::chat::{
    HistoryPolicy, Kind, LastPublication, Line, LineBase, Name, NoticeEvent, Recorded, Refusal,
    RoomId, RoomName,
};
use crate::secure::{AccountKey, DeviceKey};
use crate::store::sqlite::{Result, StoreError};

/// SQLite's integers have a sign; what is stored here never needs the 64th bit, and would come back
/// whole if it did.
pub(super) const fn sql(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

/// Which room, as the tables and the hashes know it.
#[derive(Clone, Debug)]
pub(super) struct RoomRow {
    pub(super) row: i64,
    pub(super) id: RoomId,
    pub(super) name: RoomName,
    /// The number of the last notice.
    pub(super) presence: u64,
    pub(super) policy: HistoryPolicy,
}

/// The room called `name`, if it has lines.
pub(super) fn find_room(connection: &Connection, name: &RoomName) -> Result<Option<RoomRow>> {
    let mut query = connection
        .prepare_cached("SELECT id, name, presence, since_join FROM rooms WHERE folded = ?1")?;
    let mut rows = query.query((name.folded(),))?;
    rows.next()?.map(room_row).transpose()
}

/// All rooms, by name.
pub(super) fn all_rooms(connection: &Connection) -> Result<Vec<RoomRow>> {
    let mut query = connection
        .prepare_cached("SELECT id, name, presence, since_join FROM rooms ORDER BY folded")?;
    let mut rows = query.query(())?;
    let mut rooms = Vec::new();
    while let Some(row) = rows.next()? {
        rooms.push(room_row(row)?);
    }
    Ok(rooms)
}

fn room_row(row: &Row<'_>) -> Result<RoomRow> {
    let name = room_name(&row.get::<_, String>(1)?)?;
    Ok(RoomRow {
        row: row.get(0)?,
        id: RoomId::of(&name),
        name,
        presence: number(row, 2)?,
        policy: if row.get(3)? {
            HistoryPolicy::SinceJoin
        } else {
            HistoryPolicy::All
        },
    })
}

pub(super) fn room_name(text: &str) -> Result<RoomName> {
    RoomName::recorded(text)
        .map_err(|error| StoreError::damaged(format!("{text:?} names no room: {error}")))
}

/// The name of a line's or notice's author, who may be the operator (ROL-6).
fn author(text: &str, account: &AccountKey) -> Result<Name> {
    Name::of_author(text, account)
        .map_err(|error| StoreError::damaged(format!("{text:?} is no name: {error}")))
}

pub(super) fn person(text: &str) -> Result<Name> {
    Name::recorded(text)
        .map_err(|error| StoreError::damaged(format!("{text:?} is no name: {error}")))
}

/// The number of the room's last line; 0 if it has none.
pub(super) fn tail_seq(connection: &Connection, room: &RoomRow) -> Result<u64> {
    let mut query = connection
        .prepare_cached("SELECT seq FROM lines WHERE room = ?1 ORDER BY seq DESC LIMIT 1")?;
    let seq = query
        .query_row((room.row,), |row| number(row, 0))
        .optional()?;
    Ok(seq.unwrap_or(0))
}

/// The place after line `seq`, or before the first if that is 0; `None` beyond the tail.
pub(super) fn base_at(
    connection: &Connection,
    room: &RoomRow,
    seq: u64,
) -> Result<Option<LineBase>> {
    if seq == 0 {
        return Ok(Some(LineBase::START));
    }
    let mut query = connection
        .prepare_cached("SELECT stored_at, hash FROM lines WHERE room = ?1 AND seq = ?2")?;
    let base = query.query_row((room.row, sql(seq)), |row| {
        Ok(LineBase {
            seq,
            stored_at_ms: number(row, 0)?,
            hash: row.get(1)?,
        })
    });
    Ok(base.optional()?)
}

/// Which lines are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The first one.
    pub(super) from: u64,
    /// None from this one on.
    pub(super) before: u64,
    /// At most this many.
    pub(super) lines_max: usize,
    /// None once bodies of this many bytes have been read.
    pub(super) bytes_max: usize,
}

/// Reads lines without a hole, and holds every one of them to the room's hash: a line that is not
/// what was stored is never handed out (STO-7).
pub(super) fn read(connection: &Connection, room: &RoomRow, span: Span) -> Result<Vec<StoredLine>> {
    let Some(before_first) = span.from.checked_sub(1) else {
        return Ok(Vec::new());
    };
    let Some(mut base) = base_at(connection, room, before_first)? else {
        return Ok(Vec::new());
    };
    let mut query = connection.prepare_cached(
        "SELECT l.seq, l.stored_at, l.n, l.typed_at, l.kind, l.body, l.hash,
                l.author, a.account, a.device, a.name
         FROM lines l LEFT JOIN authors a ON a.room = l.room AND a.number = l.author
         WHERE l.room = ?1 AND l.seq >= ?2 AND l.seq < ?3 ORDER BY l.seq LIMIT ?4",
    )?;
    let before = i64::try_from(span.before).unwrap_or(i64::MAX);
    let lines_max = i64::try_from(span.lines_max).unwrap_or(i64::MAX);
    let mut rows = query.query((room.row, sql(span.from), before, lines_max))?;
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while bytes < span.bytes_max
        && let Some(row) = rows.next()?
    {
        let damaged = |what: &str| {
            let (name, seq) = (&room.name, base.seq + 1);
            StoreError::damaged(format!("line {seq} of the room {name}: {what}"))
        };
        let line = line(row).map_err(|error| damaged(&error.to_string()))?;
        if line.seq != base.seq + 1 {
            return Err(damaged("it is missing"));
        }
        let after = line.base_after(room.id, &base);
        if after.hash != row.get::<_, [u8; 32]>(6)? && !crate::bug!(NoHashCheck) {
            return Err(damaged("it is not what was stored"));
        }
        bytes += line.body.len();
        lines.push(StoredLine {
            line,
            previous_stored_at_ms: base.stored_at_ms,
        });
        base = after;
    }
    Ok(lines)
}

fn line(row: &Row<'_>) -> Result<Line> {
    Ok(Line {
        seq: number(row, 0)?,
        stored_at_ms: number(row, 1)?,
        n: number(row, 2)?,
        typed_at_ms: number(row, 3)?,
        kind: Kind::from_code(row.get(4)?),
        body: Bytes::from(row.get::<_, Vec<u8>>(5)?),
        author: number(row, 7)?,
        account: AccountKey(row.get(8)?),
        device: DeviceKey(row.get(9)?),
        name: author(&row.get::<_, String>(10)?, &AccountKey(row.get(8)?))?,
    })
}

/// The digest and outcome of a device's publication `n`.
pub(super) fn publication(
    connection: &Connection,
    room: &RoomRow,
    device: i64,
    n: u64,
) -> Result<Option<([u8; 32], Recorded)>> {
    let mut query = connection.prepare_cached(
        "SELECT digest, seq, refusal FROM publications
         WHERE device = ?1 AND room = ?2 AND n = ?3",
    )?;
    let known = query.query_row((device, room.row, sql(n)), |row| {
        let outcome = match row.get::<_, Option<i64>>(1)? {
            Some(seq) => Recorded::Stored(seq.cast_unsigned()),
            None => Recorded::Refused(Refusal::from_code(number(row, 2)?)),
        };
        Ok((row.get(0)?, outcome))
    });
    Ok(known.optional()?)
}

/// A device's latest publication in a room.
pub(super) fn last_publication(
    connection: &Connection,
    room: &RoomRow,
    device: i64,
) -> Result<LastPublication> {
    let mut query = connection.prepare_cached(
        "SELECT n, digest FROM publications WHERE device = ?1 AND room = ?2
         ORDER BY n DESC LIMIT 1",
    )?;
    let last = query.query_row((device, room.row), |row| {
        Ok(LastPublication {
            n: number(row, 0)?,
            digest: row.get(1)?,
        })
    });
    Ok(last.optional()?.unwrap_or(LastPublication::NONE))
}

/// The short number of a device that has published.
pub(super) fn device_row(connection: &Connection, device: &DeviceKey) -> Result<Option<i64>> {
    let mut query = connection.prepare_cached("SELECT id FROM devices WHERE device = ?1")?;
    let row = query.query_row((device.as_bytes(),), |row| row.get(0));
    Ok(row.optional()?)
}

/// The number of the event in the table of notices.
pub(super) const fn event_code(event: NoticeEvent) -> i64 {
    match event {
        NoticeEvent::Joined => 1,
        NoticeEvent::Left => 2,
        NoticeEvent::TimedOut => 3,
    }
}

/// Notices of a room that meet `condition` about `value`, which is SQL of this program's own.
pub(super) fn notices(
    connection: &Connection,
    room: &RoomRow,
    condition: &str,
    value: &dyn rusqlite::ToSql,
) -> Result<Vec<PresenceRow>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT p.event, p.number, p.after_seq, p.author, a.account, a.device, a.name
         FROM presence p LEFT JOIN authors a ON a.room = p.room AND a.number = p.author
         WHERE p.room = ?1 AND {condition}"
    ))?;
    let mut rows = query.query((room.row, value))?;
    let mut notices = Vec::new();
    while let Some(row) = rows.next()? {
        notices.push(notice(room, row)?);
    }
    Ok(notices)
}

fn notice(room: &RoomRow, row: &Row<'_>) -> Result<PresenceRow> {
    Ok(PresenceRow {
        room: room.name.clone(),
        author: Author {
            number: number(row, 3)?,
            account: AccountKey(row.get(4)?),
            device: DeviceKey(row.get(5)?),
            name: author(&row.get::<_, String>(6)?, &AccountKey(row.get(4)?))?,
        },
        event: match row.get(0)? {
            1 => NoticeEvent::Joined,
            2 => NoticeEvent::Left,
            3 => NoticeEvent::TimedOut,
            other => {
                let why = format!("a notice of the room {} has event {other}", room.name);
                return Err(StoreError::damaged(why));
            }
        },
        number: number(row, 1)?,
        after_seq: number(row, 2)?,
    })
}

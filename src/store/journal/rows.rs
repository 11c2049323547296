//! The rows of a journal's tables as what they stand for.

use bytes::Bytes;
use rusqlite::Row;

use super::Item;
use crate::chat::{
    Kind, LastPublication, Line, LineBase, LogId, Name, NoticeEvent, Publication, RoomName,
};
use crate::client::RoomState;
use crate::secure::{AccountKey, DeviceKey};
use crate::store::sqlite::{Result, StoreError};

pub(super) fn number(row: &Row<'_>, column: &str) -> Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

pub(super) fn room_name(row: &Row<'_>, column: &str) -> Result<RoomName> {
    let name: String = row.get(column)?;
    RoomName::recorded(&name)
        .map_err(|error| StoreError::damaged(format!("a room's name: {error}")))
}

pub(super) fn room_state(row: &Row<'_>) -> Result<RoomState> {
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

pub(super) fn publication(row: &Row<'_>) -> Result<Publication> {
    Ok(Publication {
        n: number(row, "n")?,
        typed_at_ms: number(row, "typed_at")?,
        kind: Kind::from_code(row.get("kind")?),
        body: Bytes::from(row.get::<_, Vec<u8>>("body")?),
    })
}

fn name(row: &Row<'_>) -> Result<Name> {
    let name: String = row.get("name")?;
    Name::recorded(&name).map_err(|error| StoreError::damaged(format!("a name: {error}")))
}

pub(super) fn item(row: &Row<'_>) -> Result<Item> {
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

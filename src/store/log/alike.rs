//! Which names look like others (SGN-8).

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use super::rows;
use crate::chat::{Name, RoomName, UNICODE_VERSION};
use crate::store::sqlite::Result;

/// The key, in the table of single values, of the version of Unicode that all skeletons are of.
const UNICODE: &str = "unicode";

/// Makes the skeletons anew if those in the file are of another version of Unicode, or are none yet.
pub(super) fn refresh(connection: &Connection) -> Result<()> {
    let (major, minor, update) = UNICODE_VERSION;
    let version = format!("{major}.{minor}.{update}").into_bytes();
    let mut query = connection.prepare("SELECT value FROM meta WHERE key = ?1")?;
    let made_by: Option<Vec<u8>> = query.query_row((UNICODE,), |row| row.get(0)).optional()?;
    if made_by.as_ref() == Some(&version) {
        return Ok(());
    }
    let all = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    rename(connection, "accounts", |name| {
        Ok(rows::person(name)?.skeleton())
    })?;
    rename(connection, "rooms", |name| {
        Ok(rows::room_name(name)?.skeleton())
    })?;
    let replace = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
    connection.execute(replace, (UNICODE, version))?;
    Ok(all.commit()?)
}

fn rename(
    connection: &Connection,
    table: &str,
    skeleton: impl Fn(&str) -> Result<String>,
) -> Result<()> {
    let mut query = connection.prepare(&format!("SELECT name, folded FROM {table}"))?;
    let names = query.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let names: Vec<(String, String)> = names.collect::<rusqlite::Result<_>>()?;
    let update = format!("UPDATE {table} SET skeleton = ?2 WHERE folded = ?1");
    let mut update = connection.prepare(&update)?;
    for (name, folded) in names {
        update.execute((folded, skeleton(&name)?))?;
    }
    Ok(())
}

/// Whether somebody has a name that looks like this one.
pub(super) fn person(connection: &Connection, name: &Name) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM accounts WHERE skeleton = ?1)";
    let mut query = connection.prepare_cached(query)?;
    Ok(query.query_row((name.skeleton(),), |row| row.get(0))?)
}

/// Whether a room has a name that looks like this one.
pub(super) fn room(connection: &Connection, name: &RoomName) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM rooms WHERE skeleton = ?1)";
    let mut query = connection.prepare_cached(query)?;
    Ok(query.query_row((name.skeleton(),), |row| row.get(0))?)
}

//! Invites in the tables, and a desk where the operator makes them beside the broker.

use core::num::NonZeroU64;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior};

use super::rows::{number, sql};
use super::{schema, tables};
use crate::broker::{Entrance, INVITES_MAX};
use crate::chat::{InviteMark, InviteTerms, LogId, Refusal, RoomName};
use crate::store::sqlite::{self, Result, StoreError};

/// What of a row makes up its terms, in the order in which [`terms`] reads it.
const TERMS: &str = "uses_max, expires_at, is_revoked";

/// ADM-2. `None` if there are too many (LIM-14), or one with this mark.
pub(super) fn make(
    connection: &Connection,
    mark: &InviteMark,
    terms: &InviteTerms,
    room: &RoomName,
    now_ms: u64,
) -> Result<Option<u64>> {
    let mut count = connection.prepare_cached(
        "SELECT count(*) FROM invites
         WHERE is_revoked = 0 AND (expires_at IS NULL OR expires_at > ?1)",
    )?;
    let lasting = count.query_row((sql(now_ms),), |row| number(row, 0))?;
    if lasting >= INVITES_MAX {
        return Ok(None);
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO invites (mark, room, made_at, uses_max, expires_at, is_revoked)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (mark) DO NOTHING",
    )?;
    let row = (
        mark.0,
        room.as_str(),
        sql(now_ms),
        terms.uses_max.map(|max| as_far(max.get())),
        terms.expires_at_ms.map(as_far),
        terms.is_revoked,
    );
    let inserted = insert.execute(row)?;
    Ok((inserted == 1).then(|| connection.last_insert_rowid().cast_unsigned()))
}

/// A number, or the highest there is in a table: times and counts beyond are out of reach.
fn as_far(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Calls an invite back. Returns whether there was one to call back.
pub(super) fn revoke(connection: &Connection, invite: u64) -> Result<bool> {
    let mut update = connection
        .prepare_cached("UPDATE invites SET is_revoked = 1 WHERE id = ?1 AND is_revoked = 0")?;
    Ok(update.execute((as_far(invite),))? == 1)
}

/// Whether an account may come in that is not known (ADM-1, ADM-4), and by which invite.
pub(super) fn admit(
    connection: &Connection,
    entrance: Entrance,
    now_ms: u64,
) -> Result<core::result::Result<Option<i64>, Refusal>> {
    let mark = match entrance {
        Entrance::Open => return Ok(Ok(None)),
        Entrance::Closed(refusal) => return Ok(Err(refusal)),
        Entrance::Invited(None) => return Ok(Err(Refusal::InviteNeeded)),
        Entrance::Invited(Some(mark)) => mark,
    };
    let mut query =
        connection.prepare_cached(&format!("SELECT {TERMS}, id FROM invites WHERE mark = ?1"))?;
    let found = query
        .query_row((mark.0,), |row| Ok((terms(row)?, row.get::<_, i64>(3)?)))
        .optional()?;
    let Some((terms, invite)) = found else {
        return Ok(Err(Refusal::InviteUnknown));
    };
    let uses = match terms.uses_max {
        Some(_) => uses(connection, invite)?,
        None => 0,
    };
    Ok(terms.admit(uses, now_ms).map(|()| Some(invite)))
}

/// How many have come in by an invite (ADM-3).
fn uses(connection: &Connection, invite: i64) -> Result<u64> {
    let mut query = connection.prepare_cached("SELECT count(*) FROM accounts WHERE invite = ?1")?;
    Ok(query.query_row((invite,), |row| number(row, 0))?)
}

fn terms(row: &Row<'_>) -> rusqlite::Result<InviteTerms> {
    let (uses_max, expires_at): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
    Ok(InviteTerms {
        uses_max: uses_max.map(i64::cast_unsigned).and_then(NonZeroU64::new),
        expires_at_ms: expires_at.map(i64::cast_unsigned),
        is_revoked: row.get(2)?,
    })
}

/// The invites of a broker, which may be running: it looks at them whenever somebody comes.
#[derive(Debug)]
pub struct InviteDesk {
    connection: Connection,
}

/// What there is to know of an invite; its secret is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteSummary {
    /// Its number.
    pub invite: u64,
    /// How often and how long it lets in.
    pub terms: InviteTerms,
    /// The room that it leads to.
    pub room: String,
    /// When it was made, in milliseconds of Unix time.
    pub made_at_ms: u64,
    /// Who has come in by it: their names.
    pub used_by: Vec<String>,
}

impl InviteDesk {
    /// Opens the log at `path`, or makes one that is called `fresh`.
    ///
    /// # Errors
    ///
    /// As [`sqlite::open`].
    pub fn open(path: &Path, fresh: LogId) -> Result<Self> {
        let connection = sqlite::open(path, &schema::SCHEMA)?;
        tables::log_id_or(&connection, fresh)?;
        Ok(Self { connection })
    }

    /// Makes an invite whose secret has this mark, and returns its number; `None` if there are
    /// [`INVITES_MAX`] that last.
    ///
    /// # Errors
    ///
    /// If the log cannot be written to.
    pub fn make(
        &mut self,
        mark: &InviteMark,
        terms: &InviteTerms,
        room: &RoomName,
        now_ms: u64,
    ) -> Result<Option<u64>> {
        self.change(|connection| make(connection, mark, terms, room, now_ms))
    }

    /// Calls an invite back. Returns whether there was one that had not been.
    ///
    /// # Errors
    ///
    /// If the log cannot be written to.
    pub fn revoke(&mut self, invite: u64) -> Result<bool> {
        self.change(|connection| revoke(connection, invite))
    }

    /// All invites, the oldest first.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn list(&self) -> Result<Vec<InviteSummary>> {
        let mut names = self
            .connection
            .prepare_cached("SELECT name FROM accounts WHERE invite = ?1 ORDER BY folded")?;
        let mut query = self.connection.prepare_cached(&format!(
            "SELECT {TERMS}, id, room, made_at FROM invites ORDER BY id"
        ))?;
        let mut rows = query.query(())?;
        let mut invites = Vec::new();
        while let Some(row) = rows.next()? {
            let used_by = names.query_map((row.get::<_, i64>(3)?,), |row| row.get(0))?;
            invites.push(InviteSummary {
                invite: number(row, 3)?,
                terms: terms(row)?,
                room: row.get(4)?,
                made_at_ms: number(row, 5)?,
                used_by: used_by.collect::<rusqlite::Result<_>>()?,
            });
        }
        Ok(invites)
    }

    /// Whether anybody could come in: somebody has a name, or an invite that is good for one.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn lets_anybody_in(&self, now_ms: u64) -> Result<bool> {
        let accounts = "SELECT count(*) FROM (SELECT 1 FROM accounts LIMIT 1)";
        if self
            .connection
            .query_row(accounts, (), |row| number(row, 0))?
            > 0
        {
            return Ok(true);
        }
        let is_good = |invite: &InviteSummary| {
            let uses = invite.used_by.len() as u64;
            invite.terms.admit(uses, now_ms).is_ok()
        };
        Ok(self.list()?.iter().any(is_good))
    }

    fn change<T>(&mut self, change: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        transaction.commit().map_err(StoreError::from)?;
        Ok(done)
    }
}

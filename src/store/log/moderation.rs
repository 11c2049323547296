//! How everybody stands in a room, and what is decided about it (SPEC.md section 9.7).

use rusqlite::{Connection, OptionalExtension as _};

use super::room::{CachedRoom, Whom};
use super::rows::{self, sql};
use crate::broker::{Decided, ShownOut, StorageOutcome};
use crate::chat::{
    Decision, Judge, Kind, Name, NoticeEvent, OPERATOR, Publication, Refusal, Role, Standing,
    Standings,
};
use crate::secure::AccountKey;
use crate::store::sqlite::{Result, StoreError};

/// A decision that may be made, and what it comes to.
pub(super) struct Judged {
    decision: Decision,
    about: AccountKey,
    after: Standing,
}

/// How everybody stands in the room of this row about whom something was decided.
pub(super) fn load(connection: &Connection, room: i64) -> Result<Standings> {
    let mut query = connection.prepare_cached(
        "SELECT account, role, is_banned, is_out, muted_until FROM standings WHERE room = ?1",
    )?;
    let mut found = query.query((room,))?;
    let mut standings = Standings::default();
    while let Some(row) = found.next()? {
        let role: String = row.get(1)?;
        let no_role = || StoreError::damaged(format!("{role:?} is no role"));
        let standing = Standing {
            role: Role::parse(&role).ok_or_else(no_role)?,
            is_banned: row.get(2)?,
            is_out: row.get(3)?,
            muted_until_ms: rows::number(row, 4)?,
        };
        standings.set(AccountKey(row.get(0)?), standing);
    }
    Ok(standings)
}

/// The account that owns a name (SGN-2).
pub(super) fn account_of(connection: &Connection, name: &Name) -> Result<Option<AccountKey>> {
    let mut query = connection.prepare_cached("SELECT account FROM accounts WHERE folded = ?1")?;
    let account = query.query_row((name.folded(),), |row| row.get(0));
    Ok(account.optional()?.map(AccountKey))
}

impl CachedRoom {
    /// Notes how an account stands from now on.
    pub(super) fn set_standing(
        &mut self,
        connection: &Connection,
        account: AccountKey,
        standing: Standing,
    ) -> Result<()> {
        let mut replace = connection.prepare_cached(
            "INSERT OR REPLACE INTO standings (room, account, role, is_banned, is_out, muted_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        replace.execute((
            self.row.row,
            account.as_bytes(),
            standing.role.as_str(),
            standing.is_banned,
            standing.is_out,
            sql(standing.muted_until_ms),
        ))?;
        self.standings.set(account, standing);
        Ok(())
    }

    /// Whether `by` may decide that now (ROL-3).
    pub(super) fn judge(
        &self,
        connection: &Connection,
        by: Judge,
        decision: Decision,
        at_ms: u64,
    ) -> Result<core::result::Result<Judged, Refusal>> {
        let Some(about) = account_of(connection, &decision.about)? else {
            return Ok(Err(Refusal::NoSuchMember));
        };
        let is_member = self.member_since(connection, about)?.is_some();
        let after = self
            .standings
            .decide(by, &decision, &about, is_member, at_ms);
        Ok(after.map(|after| Judged {
            decision,
            about,
            after,
        }))
    }

    /// What follows from a decision whose line was stored (ROL-4).
    pub(super) fn carry_out(
        &mut self,
        connection: &Connection,
        judged: Judged,
        presence: u64,
    ) -> Result<Option<ShownOut>> {
        let Judged {
            decision,
            about,
            after,
        } = judged;
        self.set_standing(connection, about, after)?;
        let Some(code) = decision.shows_out() else {
            return Ok(None);
        };
        let mut delete =
            connection.prepare_cached("DELETE FROM members WHERE room = ?1 AND account = ?2")?;
        if delete.execute((self.row.row, about.as_bytes()))? == 0 {
            return Ok(None);
        }
        let notice = self.absent(connection, about, NoticeEvent::Left, presence)?;
        Ok(Some(ShownOut {
            account: about,
            code,
            notice,
        }))
    }

    /// A decision of the operator (ROL-6).
    pub(super) fn decide(
        &mut self,
        connection: &Connection,
        decision: Decision,
        now_ms: u64,
    ) -> Result<StorageOutcome> {
        if self.tail.seq == 0 {
            return Ok(StorageOutcome::NotDecided(Refusal::NoSuchMember));
        }
        let at_ms = now_ms.max(self.tail.stored_at_ms);
        let line = Publication {
            n: 0,
            typed_at_ms: now_ms,
            kind: Kind::Decision,
            body: decision.to_string().into(),
        };
        let judged = match self.judge(connection, Judge::Operator, decision, at_ms)? {
            Ok(judged) => judged,
            Err(refusal) => return Ok(StorageOutcome::NotDecided(refusal)),
        };
        let operator = Whom {
            account: OPERATOR.0,
            device: OPERATOR.1,
            name: Name::operator(),
        };
        let line = self.append(connection, &operator, line, now_ms)?;
        let out = self.carry_out(connection, judged, now_ms)?;
        Ok(StorageOutcome::Decided(Box::new(Decided { line, out })))
    }
}

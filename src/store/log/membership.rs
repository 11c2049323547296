//! Who is in a room: members, their presence, what their devices have.

use rusqlite::{Connection, OptionalExtension as _};

use super::room::{CachedRoom, Whom};
use super::rows::{self, sql};
use crate::broker::{Author, Departed, Entered, MISSED_MAX, MemberRow, PresenceRow};
use crate::chat::{
    Coverage, HistoryPolicy, Kind, LastPublication, LineBase, LogId, NoticeEvent, Refusal,
    ResumeOutcome, Standing, Start, Stretch,
};
use crate::secure::{AccountKey, DeviceKey};
use crate::store::sqlite::Result;

/// How somebody wants to enter.
pub(super) struct Entry {
    pub(super) log: LogId,
    pub(super) start: Start,
    pub(super) history: u64,
    pub(super) seen: u64,
    pub(super) presence: Option<u64>,
    pub(super) now_ms: u64,
}

impl CachedRoom {
    // ---- membership

    /// RUM-7, PRS-1, ROL-4.
    pub(super) fn enter(
        &mut self,
        connection: &Connection,
        whom: &Whom,
        entry: &Entry,
    ) -> Result<core::result::Result<Entered, Refusal>> {
        let resumes = matches!(entry.start, Start::After(_));
        if let Err(refusal) = self.standings.admit(&whom.account, resumes) {
            return Ok(Err(refusal));
        }
        let standing = self.standings.of(&whom.account);
        if standing.is_out {
            let is_out = false;
            self.set_standing(connection, whom.account, Standing { is_out, ..standing })?;
        }
        let tail_before = self.tail.seq;
        let member_since = self.member_since(connection, whom.account)?;
        let joined = if member_since.is_none() {
            let mut insert = connection.prepare_cached(
                "INSERT INTO members (room, account, joined_seq) VALUES (?1, ?2, ?3)",
            )?;
            insert.execute((self.row.row, whom.account.as_bytes(), sql(tail_before + 1)))?;
            Some(self.append_change(connection, whom, Kind::Joined, entry.now_ms)?)
        } else {
            None
        };
        let member_since = member_since.unwrap_or(tail_before + 1);
        let announced = self.announced_as(connection, whom, member_since)?;
        let notice = match entry.presence {
            Some(number) if self.present(connection, whom.account)?.is_none() => {
                let event = NoticeEvent::Joined;
                Some(self.note(connection, announced.clone(), event, number)?)
            }
            _ => None,
        };
        let (resume, base) = self.begin(connection, member_since, entry, tail_before)?;
        let last = self.device(connection, whom.device)?;
        Ok(Ok(Entered {
            log: entry.log,
            joined,
            author: announced,
            resume,
            base,
            tail_seq: self.tail.seq,
            last: last.map_or(LastPublication::NONE, |device| device.last),
            notice,
            missed: match resume {
                ResumeOutcome::Resumed => self.missed(connection, entry.seen)?,
                ResumeOutcome::Fresh | ResumeOutcome::Fork => Vec::new(),
            },
            presence: self.row.presence,
        }))
    }

    /// RUM-12.
    pub(super) fn leave(
        &mut self,
        connection: &Connection,
        whom: &Whom,
        presence: u64,
        now_ms: u64,
    ) -> Result<Option<Departed>> {
        let mut delete =
            connection.prepare_cached("DELETE FROM members WHERE room = ?1 AND account = ?2")?;
        if delete.execute((self.row.row, whom.account.as_bytes()))? == 0 {
            return Ok(None);
        }
        let line = self.append_change(connection, whom, Kind::Left, now_ms)?;
        let notice = self.absent(connection, whom.account, NoticeEvent::Left, presence)?;
        Ok(Some(Departed { line, notice }))
    }

    pub(super) fn member_since(
        &self,
        connection: &Connection,
        account: AccountKey,
    ) -> Result<Option<u64>> {
        let mut query = connection
            .prepare_cached("SELECT joined_seq FROM members WHERE room = ?1 AND account = ?2")?;
        let key = (self.row.row, account.as_bytes());
        Ok(query
            .query_row(key, |row| rows::number(row, 0))
            .optional()?)
    }

    /// How a member is announced, even from a device that has published nothing here.
    fn announced_as(
        &mut self,
        connection: &Connection,
        whom: &Whom,
        member_since: u64,
    ) -> Result<Author> {
        let (number, device) = match self.author(connection, whom.account, whom.device)? {
            Some(number) => (number, whom.device),
            None => {
                let mut query = connection.prepare_cached(
                    "SELECT a.number, a.device
                     FROM lines l JOIN authors a ON a.room = l.room AND a.number = l.author
                     WHERE l.room = ?1 AND l.seq = ?2",
                )?;
                query.query_row((self.row.row, sql(member_since)), |row| {
                    Ok((rows::number(row, 0)?, DeviceKey(row.get(1)?)))
                })?
            }
        };
        Ok(Author {
            number,
            account: whom.account,
            device,
            name: whom.name.clone(),
        })
    }

    /// The place before the first line that is to be sent: RUM-9, RUM-10, RUM-15, RUM-16.
    fn begin(
        &self,
        connection: &Connection,
        member_since: u64,
        entry: &Entry,
        tail_before: u64,
    ) -> Result<(ResumeOutcome, LineBase)> {
        let (resume, seq) = match entry.start {
            Start::Tail => {
                let seq = tail_before.saturating_sub(entry.history);
                (ResumeOutcome::Fresh, seq)
            }
            Start::Line(seq) => (ResumeOutcome::Fresh, seq.saturating_sub(1).min(tail_before)),
            Start::After(wanted)
                if wanted.log == entry.log
                    && rows::base_at(connection, &self.row, wanted.base.seq)?
                        == Some(wanted.base) =>
            {
                (ResumeOutcome::Resumed, wanted.base.seq)
            }
            Start::After(wanted) => {
                let since = self.last_stored_by(connection, wanted.base.stored_at_ms)?;
                (ResumeOutcome::Fork, since.min(tail_before))
            }
        };
        let withheld = self.first_allowed_to(member_since) - 1;
        let resume = match resume {
            // What lies between is not for this account: it begins anew behind it.
            ResumeOutcome::Resumed if seq < withheld => ResumeOutcome::Fresh,
            resume => resume,
        };
        let base = rows::base_at(connection, &self.row, seq.max(withheld))?;
        Ok((resume, base.unwrap_or(LineBase::START)))
    }

    /// The last line that was stored at that time or before; 0 if there is none. Times do not fall
    /// within a room (RUM-4).
    fn last_stored_by(&self, connection: &Connection, stored_at_ms: u64) -> Result<u64> {
        let (mut at_or_before, mut after) = (0, self.tail.seq + 1);
        while after - at_or_before > 1 {
            let middle = at_or_before + (after - at_or_before) / 2;
            let base = rows::base_at(connection, &self.row, middle)?;
            match base {
                Some(base) if base.stored_at_ms <= stored_at_ms => at_or_before = middle,
                _ => after = middle,
            }
        }
        Ok(at_or_before)
    }

    /// RUM-16: the first line that a member from this line on may read.
    const fn first_allowed_to(&self, member_since: u64) -> u64 {
        match self.row.policy {
            HistoryPolicy::All => 1,
            HistoryPolicy::SinceJoin => member_since,
        }
    }

    /// RUM-16: the first line that `account` may read.
    pub(super) fn first_allowed(
        &self,
        connection: &Connection,
        account: AccountKey,
    ) -> Result<u64> {
        let since = self.member_since(connection, account)?;
        Ok(since.map_or(self.tail.seq + 1, |since| self.first_allowed_to(since)))
    }

    // ---- presence

    /// PRS-1.
    pub(super) fn absent(
        &mut self,
        connection: &Connection,
        account: AccountKey,
        event: NoticeEvent,
        presence: u64,
    ) -> Result<Option<PresenceRow>> {
        let Some(row) = self.present(connection, account)? else {
            return Ok(None);
        };
        self.note(connection, row.author, event, presence).map(Some)
    }

    /// The account's last notice, if that says that it is present.
    fn present(&self, connection: &Connection, account: AccountKey) -> Result<Option<PresenceRow>> {
        let about = "p.account = ?2 AND p.event = 1";
        let rows = rows::notices(connection, &self.row, about, account.as_bytes())?;
        Ok(rows.into_iter().next())
    }

    /// PRS-3: numbers rise.
    fn note(
        &mut self,
        connection: &Connection,
        author: Author,
        event: NoticeEvent,
        number: u64,
    ) -> Result<PresenceRow> {
        let row = PresenceRow {
            room: self.row.name.clone(),
            author,
            event,
            number: number.max(self.row.presence + 1),
            after_seq: self.tail.seq,
        };
        self.row.presence = row.number;
        let mut update =
            connection.prepare_cached("UPDATE rooms SET presence = ?2 WHERE id = ?1")?;
        update.execute((self.row.row, sql(row.number)))?;
        let mut replace = connection.prepare_cached(
            "INSERT OR REPLACE INTO presence (room, account, author, event, number, after_seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        replace.execute((
            self.row.row,
            row.author.account.as_bytes(),
            sql(row.author.number),
            rows::event_code(event),
            sql(row.number),
            sql(row.after_seq),
        ))?;
        Ok(row)
    }

    /// The notices that somebody who has seen notice `seen` has not, or the newest of them.
    fn missed(&self, connection: &Connection, seen: u64) -> Result<Vec<PresenceRow>> {
        let newest = format!("p.number > ?2 ORDER BY p.number DESC LIMIT {MISSED_MAX}");
        // Beyond what a number can be, there is none.
        let seen = i64::try_from(seen).unwrap_or(i64::MAX);
        let mut rows = rows::notices(connection, &self.row, &newest, &seen)?;
        rows.reverse();
        Ok(rows)
    }

    // ---- what members have

    /// STA-1.
    pub(super) fn report(
        &self,
        connection: &Connection,
        account: AccountKey,
        lines: Stretch,
    ) -> Result<()> {
        let to = lines.to.min(self.tail.seq);
        let mut covered = self.covered(connection, account)?;
        let grown = covered.add(Stretch { to, ..lines });
        let Some(merged) = grown.merged else {
            return Ok(());
        };
        let mut delete = connection.prepare_cached(
            "DELETE FROM covered
             WHERE room = ?1 AND account = ?2 AND after_seq BETWEEN ?3 AND ?4",
        )?;
        for gone in [Some(merged), grown.lost].into_iter().flatten() {
            let (room, account) = (self.row.row, account.as_bytes());
            delete.execute((room, account, sql(gone.after), sql(gone.to)))?;
        }
        let mut insert = connection.prepare_cached(
            "INSERT INTO covered (room, account, after_seq, seq) VALUES (?1, ?2, ?3, ?4)",
        )?;
        insert.execute((
            self.row.row,
            account.as_bytes(),
            sql(merged.after),
            sql(merged.to),
        ))?;
        Ok(())
    }

    fn covered(&self, connection: &Connection, account: AccountKey) -> Result<Coverage> {
        let mut query = connection.prepare_cached(
            "SELECT after_seq, seq FROM covered WHERE room = ?1 AND account = ?2",
        )?;
        let stretches = query.query_map((self.row.row, account.as_bytes()), |row| {
            Ok(Stretch {
                after: rows::number(row, 0)?,
                to: rows::number(row, 1)?,
            })
        })?;
        Ok(stretches.collect::<rusqlite::Result<_>>()?)
    }

    pub(super) fn members(&self, connection: &Connection) -> Result<Vec<MemberRow>> {
        let mut query = connection.prepare_cached(
            "SELECT account, joined_seq FROM members WHERE room = ?1 ORDER BY account",
        )?;
        let members = query.query_map((self.row.row,), |row| {
            Ok((AccountKey(row.get(0)?), rows::number(row, 1)?))
        })?;
        let members: Vec<_> = members.collect::<rusqlite::Result<_>>()?;
        let rows = members.into_iter().map(|(account, joined_seq)| {
            Ok(MemberRow {
                account,
                joined_seq,
                has: self.covered(connection, account)?,
            })
        });
        rows.collect()
    }
}

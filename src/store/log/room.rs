//! What a request changes in one room, inside the transaction of its batch: its lines.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _};

use super::VERIFIED_LINES_MAX;
use super::moderation::{self, Judged};
use super::rows::{self, RoomRow, Span, sql};
use crate::broker::{Decided, StorageOutcome, StoredLine};
use crate::chat::{
    Decision, HistoryPolicy, Judge, Kind, LastPublication, Line, LineBase, Name, Publication,
    Recorded, Refusal, Role, RoomName, Standing, Standings, Verdict, judge,
};
use crate::secure::{AccountKey, DeviceKey};
use crate::store::sqlite::{Result, StoreError};

/// What is remembered of a room between requests. It is what the tables say, those of the
/// transaction under way included: after a rollback it must be forgotten.
#[derive(Debug)]
pub(super) struct CachedRoom {
    pub(super) row: RoomRow,
    pub(super) tail: LineBase,
    /// The highest author number.
    last_author: u64,
    pub(super) standings: Standings,
    authors: BTreeMap<(AccountKey, DeviceKey), u64>,
    devices: BTreeMap<DeviceKey, CachedDevice>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct CachedDevice {
    row: i64,
    pub(super) last: LastPublication,
}

/// Who does something, as the store records it.
pub(super) struct Whom {
    pub(super) account: AccountKey,
    pub(super) device: DeviceKey,
    pub(super) name: Name,
}

impl CachedRoom {
    /// Loads a room that has lines.
    pub(super) fn load(connection: &Connection, row: RoomRow) -> Result<Self> {
        let seq = rows::tail_seq(connection, &row)?;
        let tail = rows::base_at(connection, &row, seq)?.unwrap_or(LineBase::START);
        let mut query =
            connection.prepare_cached("SELECT max(number) FROM authors WHERE room = ?1")?;
        let last_author: Option<i64> = query.query_row((row.row,), |row| row.get(0))?;
        Ok(Self {
            standings: moderation::load(connection, row.row)?,
            row,
            tail,
            last_author: last_author.map_or(0, i64::cast_unsigned),
            authors: BTreeMap::new(),
            devices: BTreeMap::new(),
        })
    }

    /// Makes a room; its first line follows.
    pub(super) fn create(connection: &Connection, name: &RoomName) -> Result<Self> {
        let mut insert = connection
            .prepare_cached("INSERT INTO rooms (name, folded, skeleton) VALUES (?1, ?2, ?3)")?;
        insert.execute((name.as_str(), name.folded(), name.skeleton()))?;
        let missing = || StoreError::damaged(format!("the room {name} is not where it was put"));
        let row = rows::find_room(connection, name)?.ok_or_else(missing)?;
        Self::load(connection, row)
    }

    /// Holds the room's last lines to its hash (STO-6).
    pub(super) fn verify(&self, connection: &Connection) -> Result<()> {
        let from = (self.tail.seq + 1).saturating_sub(VERIFIED_LINES_MAX as u64);
        let span = Span {
            from: from.max(1),
            before: u64::MAX,
            lines_max: VERIFIED_LINES_MAX,
            bytes_max: usize::MAX,
        };
        let lines = rows::read(connection, &self.row, span)?;
        let last = lines.last().map_or(0, |stored| stored.line.seq);
        if last == self.tail.seq {
            Ok(())
        } else {
            let name = &self.row.name;
            Err(StoreError::damaged(format!(
                "lines of the room {name} are missing"
            )))
        }
    }

    /// How much of the cache it takes.
    pub(super) fn weight(&self) -> usize {
        1 + self.authors.len() + self.devices.len() + self.standings.len()
    }

    // ---- lines

    /// PUB-2, PUB-4, RUM-16, ROL-3 to ROL-5.
    pub(super) fn publish(
        &mut self,
        connection: &Connection,
        whom: &Whom,
        publication: Publication,
        refuse: Option<Refusal>,
        now_ms: u64,
    ) -> Result<StorageOutcome> {
        let digest = publication.digest();
        let device = self.device(connection, whom.device)?;
        let known = match device {
            Some(device) if publication.n <= device.last.n => {
                rows::publication(connection, &self.row, device.row, publication.n)?
            }
            _ => None,
        };
        let last = device.map_or(0, |device| device.last.n);
        match judge(publication.n, &digest, last, |_| known) {
            Verdict::Again(recorded) => return Ok(StorageOutcome::Known(recorded)),
            Verdict::Conflict => return Ok(StorageOutcome::Conflict),
            Verdict::Gap(last) => return Ok(StorageOutcome::Gap(last)),
            Verdict::Next => {}
        }
        let allowed = match refuse {
            Some(refusal) => Err(refusal),
            None => self.judge_publication(connection, whom, &publication, now_ms)?,
        };
        let outcome = match &allowed {
            Err(refusal) => Recorded::Refused(*refusal),
            Ok(_) => Recorded::Stored(self.tail.seq + 1),
        };
        let last = LastPublication {
            n: publication.n,
            digest,
        };
        self.record(connection, whom.device, device, last, outcome)?;
        let judged = match allowed {
            Ok(judged) => judged,
            Err(Refusal::Muted) => {
                let standing = self.standings.of(&whom.account);
                return Ok(StorageOutcome::Muted(standing.muted_until_ms));
            }
            Err(_) => return Ok(StorageOutcome::Known(outcome)),
        };
        if publication.kind == Kind::Policy
            && let Some(policy) = HistoryPolicy::parse(&publication.body)
        {
            self.set_policy(connection, policy)?;
        }
        let line = self.append(connection, whom, publication, now_ms)?;
        Ok(match judged {
            Some(judged) => {
                let out = self.carry_out(connection, judged, now_ms)?;
                StorageOutcome::Decided(Box::new(Decided { line, out }))
            }
            None => StorageOutcome::Appended(Box::new(line)),
        })
    }

    /// Whether it may be stored, and what follows if it is a decision.
    fn judge_publication(
        &self,
        connection: &Connection,
        whom: &Whom,
        publication: &Publication,
        now_ms: u64,
    ) -> Result<core::result::Result<Option<Judged>, Refusal>> {
        let at_ms = now_ms.max(self.tail.stored_at_ms);
        let kind = publication.kind;
        if let Err(refusal) = self.standings.may_publish(&whom.account, kind, at_ms) {
            return Ok(Err(refusal));
        }
        if kind != Kind::Decision {
            return Ok(Ok(None));
        }
        let Some(decision) = Decision::parse(&publication.body) else {
            return Ok(Err(Refusal::BadText));
        };
        let by = Judge::Account(whom.account);
        Ok(self.judge(connection, by, decision, at_ms)?.map(Some))
    }

    fn set_policy(&mut self, connection: &Connection, policy: HistoryPolicy) -> Result<()> {
        let mut update =
            connection.prepare_cached("UPDATE rooms SET since_join = ?2 WHERE id = ?1")?;
        update.execute((self.row.row, policy == HistoryPolicy::SinceJoin))?;
        self.row.policy = policy;
        Ok(())
    }

    /// Records what became of a device's next publication, for ever.
    fn record(
        &mut self,
        connection: &Connection,
        key: DeviceKey,
        device: Option<CachedDevice>,
        last: LastPublication,
        outcome: Recorded,
    ) -> Result<()> {
        let row = match device {
            Some(device) => device.row,
            None => {
                let mut insert =
                    connection.prepare_cached("INSERT INTO devices (device) VALUES (?1)")?;
                insert.insert((key.as_bytes(),))?
            }
        };
        let (seq, refusal) = match outcome {
            Recorded::Stored(seq) => (Some(sql(seq)), None),
            Recorded::Refused(refusal) => (None, Some(sql(refusal.code()))),
        };
        let mut insert = connection.prepare_cached(
            "INSERT INTO publications (device, room, n, digest, seq, refusal)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        insert.execute((row, self.row.row, sql(last.n), last.digest, seq, refusal))?;
        self.devices.insert(key, CachedDevice { row, last });
        Ok(())
    }

    /// The line that says that `whom` is a member now, or is none any more (RUM-2).
    pub(super) fn append_change(
        &mut self,
        connection: &Connection,
        whom: &Whom,
        kind: Kind,
        now_ms: u64,
    ) -> Result<StoredLine> {
        let change = Publication {
            n: 0,
            typed_at_ms: now_ms,
            kind,
            body: whom.name.as_str().to_owned().into(),
        };
        self.append(connection, whom, change, now_ms)
    }

    /// Makes `publication` the room's next line.
    pub(super) fn append(
        &mut self,
        connection: &Connection,
        whom: &Whom,
        publication: Publication,
        now_ms: u64,
    ) -> Result<StoredLine> {
        let author = self.author_or_new(connection, whom)?;
        let line = Line {
            seq: self.tail.seq + 1,
            // RUM-4: a clock that was set back does not turn the log back.
            stored_at_ms: now_ms.max(self.tail.stored_at_ms),
            account: whom.account,
            device: whom.device,
            name: whom.name.clone(),
            author,
            n: publication.n,
            typed_at_ms: publication.typed_at_ms,
            kind: publication.kind,
            body: publication.body,
        };
        let after = line.base_after(self.row.id, &self.tail);
        let mut insert = connection.prepare_cached(
            "INSERT INTO lines (room, seq, stored_at, author, n, typed_at, kind, body, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        insert.execute((
            self.row.row,
            sql(line.seq),
            sql(line.stored_at_ms),
            sql(line.author),
            sql(line.n),
            sql(line.typed_at_ms),
            line.kind.code(),
            line.body.as_ref(),
            after.hash,
        ))?;
        let previous_stored_at_ms = self.tail.stored_at_ms;
        self.tail = after;
        Ok(StoredLine {
            line,
            previous_stored_at_ms,
        })
    }

    // ---- authors and devices

    pub(super) fn author(
        &mut self,
        connection: &Connection,
        account: AccountKey,
        device: DeviceKey,
    ) -> Result<Option<u64>> {
        if let Some(number) = self.authors.get(&(account, device)) {
            return Ok(Some(*number));
        }
        let mut query = connection.prepare_cached(
            "SELECT number FROM authors WHERE room = ?1 AND account = ?2 AND device = ?3",
        )?;
        let key = (self.row.row, account.as_bytes(), device.as_bytes());
        let number = query
            .query_row(key, |row| rows::number(row, 0))
            .optional()?;
        if let Some(number) = number {
            self.authors.insert((account, device), number);
        }
        Ok(number)
    }

    /// RUM-6: numbers are given in the order of first lines.
    fn author_or_new(&mut self, connection: &Connection, whom: &Whom) -> Result<u64> {
        if let Some(number) = self.author(connection, whom.account, whom.device)? {
            return Ok(number);
        }
        let number = self.last_author + 1;
        let mut insert = connection.prepare_cached(
            "INSERT INTO authors (room, number, account, device, name)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        insert.execute((
            self.row.row,
            sql(number),
            whom.account.as_bytes(),
            whom.device.as_bytes(),
            whom.name.as_str(),
        ))?;
        self.last_author = number;
        if number == 1 {
            // ROL-1: whoever made the room owns it.
            let owner = Standing {
                role: Role::Owner,
                ..Standing::default()
            };
            self.set_standing(connection, whom.account, owner)?;
        }
        self.authors.insert((whom.account, whom.device), number);
        Ok(number)
    }

    /// What is known of a device here, if it has ever published anywhere.
    pub(super) fn device(
        &mut self,
        connection: &Connection,
        device: DeviceKey,
    ) -> Result<Option<CachedDevice>> {
        if let Some(known) = self.devices.get(&device) {
            return Ok(Some(*known));
        }
        let Some(row) = rows::device_row(connection, &device)? else {
            return Ok(None);
        };
        let last = rows::last_publication(connection, &self.row, row)?;
        let known = CachedDevice { row, last };
        self.devices.insert(device, known);
        Ok(Some(known))
    }
}

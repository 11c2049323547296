//! What each request does to the tables.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _};

use super::membership::Entry;
use super::room::{CachedRoom, Whom};
use super::rows::{self, Span};
use super::{alike, devices, invites, orders};
use crate::broker::{Entrance, LinkRow, Opened, StorageOp, StorageOutcome};
use crate::chat::{Decision, LogId, Name, Refusal, RoomName};
use crate::secure::{AccountKey, DeviceKey};
use crate::store::sqlite::{Result, StoreError};
use crate::transmit::Path;
use crate::wire::BrokerCid;

/// The key of the log id in the table of single values.
const LOG_ID: &str = "log";

/// The tables, and what is remembered of them between requests.
#[derive(Debug)]
pub(super) struct Tables {
    log: LogId,
    rooms: BTreeMap<RoomName, CachedRoom>,
    /// The rooms whose last lines were held to their hash (STO-6).
    verified: BTreeSet<i64>,
}

/// The log id, if the file has one already.
pub(super) fn log_id(connection: &Connection) -> Result<Option<LogId>> {
    let mut query = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(query
        .query_row((LOG_ID,), |row| row.get(0))
        .optional()?
        .map(LogId))
}

/// The file's log id, which is `fresh` if it had none. Two processes that make a file at the same time
/// agree.
pub(super) fn log_id_or(connection: &Connection, fresh: LogId) -> Result<LogId> {
    if let Some(log) = log_id(connection)? {
        return Ok(log);
    }
    let insert = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";
    connection.execute(insert, (LOG_ID, fresh.0))?;
    log_id(connection)?.ok_or_else(|| StoreError::damaged("it keeps no log id"))
}

impl Tables {
    /// The tables of a file, which is given the log id `fresh` if it has none.
    pub(super) fn open(connection: &Connection, fresh: LogId) -> Result<Self> {
        let log = log_id_or(connection, fresh)?;
        alike::refresh(connection)?;
        Ok(Self {
            log,
            rooms: BTreeMap::new(),
            verified: BTreeSet::new(),
        })
    }

    pub(super) const fn log_id(&self) -> LogId {
        self.log
    }

    /// Forgets what was remembered: the transaction in which it was so was rolled back.
    pub(super) fn forget(&mut self) {
        self.rooms.clear();
    }

    /// Keeps what is remembered within its bound ([`ROOMS_CACHED_MAX`](super::ROOMS_CACHED_MAX)).
    pub(super) fn trim(&mut self, most: usize) {
        let weight: usize = self.rooms.values().map(CachedRoom::weight).sum();
        if weight > most {
            self.rooms.clear();
        }
    }

    #[cfg(test)]
    pub(super) fn remembers_rooms(&self) -> bool {
        !self.rooms.is_empty()
    }

    /// Does what is asked, within the transaction of `connection`.
    pub(super) fn apply(
        &mut self,
        connection: &Connection,
        op: StorageOp,
    ) -> Result<StorageOutcome> {
        match op {
            StorageOp::Open => open(connection),
            StorageOp::Register {
                account,
                device,
                name,
                entrance,
                now_ms,
            } => sign_in(connection, (account, device), name, entrance, now_ms),
            asking @ (StorageOp::Devices { .. }
            | StorageOp::LinkDevice { .. }
            | StorageOp::RevokeDevice { .. }) => devices::apply(connection, asking),
            inviting @ StorageOp::Invite { .. } => self.invite(connection, inviting),
            StorageOp::Revoke { invite } => {
                invites::revoke(connection, invite).map(StorageOutcome::Revoked)
            }
            StorageOp::Links { remember, forget } => links(connection, &remember, &forget),
            entering @ StorageOp::Enter { .. } => self.enter(connection, entering),
            StorageOp::Append {
                room,
                account,
                device,
                name,
                publication,
                refuse,
                now_ms,
            } => {
                let whom = Whom {
                    account,
                    device,
                    name,
                };
                let room = self.room_or_new(connection, &room)?;
                room.publish(connection, &whom, publication, refuse, now_ms)
            }
            leaving @ (StorageOp::Leave { .. } | StorageOp::Absent { .. }) => {
                self.leave(connection, leaving)
            }
            StorageOp::Decide {
                order,
                room,
                decision,
                now_ms,
            } => self.decide(connection, order, &room, decision, now_ms),
            StorageOp::Report {
                room,
                account,
                lines,
            } => {
                if let Some(room) = self.room(connection, &room)? {
                    room.report(connection, account, lines)?;
                }
                Ok(StorageOutcome::Reported)
            }
            reading => self.read(connection, reading),
        }
    }

    fn enter(&mut self, connection: &Connection, op: StorageOp) -> Result<StorageOutcome> {
        let StorageOp::Enter {
            room,
            account,
            device,
            name,
            start,
            history,
            seen,
            presence,
            now_ms,
        } = op
        else {
            return Ok(StorageOutcome::Failed);
        };
        let whom = Whom {
            account,
            device,
            name,
        };
        let entry = Entry {
            log: self.log,
            start,
            history,
            seen,
            presence,
            now_ms,
        };
        if self.room(connection, &room)?.is_none() && alike::room(connection, &room)? {
            return Ok(StorageOutcome::NotEntered(Refusal::NameAlike));
        }
        let room = self.room_or_new(connection, &room)?;
        Ok(match room.enter(connection, &whom, &entry)? {
            Ok(entered) => StorageOutcome::Entered(Box::new(entered)),
            Err(refusal) => StorageOutcome::NotEntered(refusal),
        })
    }

    /// ADM-2, ROL-7.
    fn invite(&mut self, connection: &Connection, op: StorageOp) -> Result<StorageOutcome> {
        let StorageOp::Invite {
            by,
            mark,
            terms,
            room,
            now_ms,
        } = op
        else {
            return Ok(StorageOutcome::Failed);
        };
        if let Some(by) = by {
            let found = self.room(connection, &room)?;
            if !found.is_some_and(|room| room.standings.may_invite(&by)) {
                return Ok(StorageOutcome::NotInvited(Refusal::NotAllowed));
            }
        }
        let made = invites::make(connection, &mark, &terms, &room, now_ms)?;
        Ok(made.map_or(
            StorageOutcome::NotInvited(Refusal::RetryLater),
            StorageOutcome::Invited,
        ))
    }

    /// ROL-6.
    fn decide(
        &mut self,
        connection: &Connection,
        order: Option<u64>,
        room: &RoomName,
        decision: Decision,
        now_ms: u64,
    ) -> Result<StorageOutcome> {
        if let Some(order) = order
            && !orders::waits(connection, order)?
        {
            return Ok(StorageOutcome::NotDecided(Refusal::NoEffect));
        }
        let outcome = match self.room(connection, room)? {
            Some(room) => room.decide(connection, decision, now_ms)?,
            None => StorageOutcome::NotDecided(Refusal::NoSuchMember),
        };
        if let Some(order) = order {
            let refusal = match &outcome {
                StorageOutcome::NotDecided(refusal) => Err(*refusal),
                _ => Ok(()),
            };
            orders::settle(connection, order, refusal)?;
        }
        Ok(outcome)
    }

    fn leave(&mut self, connection: &Connection, op: StorageOp) -> Result<StorageOutcome> {
        match op {
            StorageOp::Leave {
                room,
                account,
                device,
                name,
                presence,
                now_ms,
            } => {
                let whom = Whom {
                    account,
                    device,
                    name,
                };
                let departed = match self.room(connection, &room)? {
                    Some(room) => room.leave(connection, &whom, presence, now_ms)?,
                    None => None,
                };
                Ok(StorageOutcome::Departed(departed.map(Box::new)))
            }
            StorageOp::Absent {
                room,
                account,
                event,
                presence,
            } => {
                let row = match self.room(connection, &room)? {
                    Some(room) => room.absent(connection, account, event, presence)?,
                    None => None,
                };
                Ok(StorageOutcome::Absented(row.map(Box::new)))
            }
            _ => Ok(StorageOutcome::Failed),
        }
    }

    fn read(&mut self, connection: &Connection, op: StorageOp) -> Result<StorageOutcome> {
        match op {
            StorageOp::Read {
                room,
                from,
                lines_max,
                bytes_max,
            } => {
                let span = Span {
                    from,
                    before: u64::MAX,
                    lines_max,
                    bytes_max,
                };
                let lines = match self.room(connection, &room)? {
                    Some(room) => rows::read(connection, &room.row, span)?,
                    None => Vec::new(),
                };
                Ok(StorageOutcome::Lines(lines))
            }
            StorageOp::History {
                room,
                account,
                has_begun,
                from,
                before,
                lines_max,
                bytes_max,
            } => {
                let Some(room) = self.room(connection, &room)? else {
                    let lines = Vec::new();
                    return Ok(StorageOutcome::Past { first: 1, lines });
                };
                let first = match has_begun {
                    true => 1,
                    false => room.first_allowed(connection, account)?,
                };
                let span = Span {
                    from: from.max(first),
                    before,
                    lines_max,
                    bytes_max,
                };
                let lines = rows::read(connection, &room.row, span)?;
                Ok(StorageOutcome::Past { first, lines })
            }
            StorageOp::Members { room } => {
                let members = match self.room(connection, &room)? {
                    Some(room) => room.members(connection)?,
                    None => Vec::new(),
                };
                Ok(StorageOutcome::Members(members))
            }
            _ => Ok(StorageOutcome::Failed),
        }
    }

    // ---- rooms

    /// The room called `name`, if there is one.
    fn room(
        &mut self,
        connection: &Connection,
        name: &RoomName,
    ) -> Result<Option<&mut CachedRoom>> {
        if !self.rooms.contains_key(name) {
            let Some(row) = rows::find_room(connection, name)? else {
                return Ok(None);
            };
            let room = CachedRoom::load(connection, row)?;
            if !self.verified.contains(&room.row.row) {
                room.verify(connection)?;
                self.verified.insert(room.row.row);
            }
            self.rooms.insert(name.clone(), room);
        }
        Ok(self.rooms.get_mut(name))
    }

    fn room_or_new(&mut self, connection: &Connection, name: &RoomName) -> Result<&mut CachedRoom> {
        if self.room(connection, name)?.is_none() {
            let room = CachedRoom::create(connection, name)?;
            self.rooms.insert(name.clone(), room);
        }
        let missing = || StoreError::damaged(format!("the room {name} is not where it was put"));
        self.rooms.get_mut(name).ok_or_else(missing)
    }
}

/// What was so when the broker ended.
fn open(connection: &Connection) -> Result<StorageOutcome> {
    let mut presence = Vec::new();
    for room in rows::all_rooms(connection)? {
        let present = "p.event = ?2 ORDER BY p.account";
        presence.extend(rows::notices(connection, &room, present, &1)?);
    }
    let mut query =
        connection.prepare_cached("SELECT cid, remote, local FROM links ORDER BY cid")?;
    let mut rows = query.query(())?;
    let mut links = Vec::new();
    while let Some(row) = rows.next()? {
        let remote: String = row.get(1)?;
        let no_address = |_| StoreError::damaged(format!("{remote:?} is no address"));
        links.push(LinkRow {
            cid: row.get(0)?,
            path: Path {
                remote: remote.parse().map_err(no_address)?,
                local: row.get(2)?,
            },
        });
    }
    Ok(StorageOutcome::Opened(Box::new(Opened { presence, links })))
}

/// DEV-8: a device that was revoked does not come in, whatever its name.
fn sign_in(
    connection: &Connection,
    (account, device): (AccountKey, DeviceKey),
    name: Name,
    entrance: Entrance,
    now_ms: u64,
) -> Result<StorageOutcome> {
    if let Err(refusal) = devices::check(connection, account, device)? {
        return Ok(StorageOutcome::NotRegistered(refusal));
    }
    let outcome = register(connection, account, name, entrance, now_ms)?;
    if let StorageOutcome::Registered { .. } = outcome
        && let Err(refusal) = devices::note(connection, account, device, false, now_ms)?
    {
        return Ok(StorageOutcome::NotRegistered(refusal));
    }
    Ok(outcome)
}

/// SGN-2: the first account to ask for a name owns it, and keeps it. ADM-1: one that comes for the
/// first time may have to be invited; ADM-3: having come in by an invite is what counts as its use.
fn register(
    connection: &Connection,
    account: AccountKey,
    name: Name,
    entrance: Entrance,
    now_ms: u64,
) -> Result<StorageOutcome> {
    let mut query = connection.prepare_cached("SELECT name FROM accounts WHERE account = ?1")?;
    let own = query
        .query_row((account.as_bytes(),), |row| row.get::<_, String>(0))
        .optional()?;
    if let Some(own) = own {
        let own = rows::person(&own)?;
        return Ok(if own == name {
            StorageOutcome::Registered {
                name: own,
                is_new: false,
            }
        } else {
            StorageOutcome::NotRegistered(Refusal::NameFixed)
        });
    }
    let invite = match invites::admit(connection, entrance, now_ms)? {
        Ok(invite) => invite,
        Err(refusal) => return Ok(StorageOutcome::NotRegistered(refusal)),
    };
    let mut query = connection.prepare_cached("SELECT 1 FROM accounts WHERE folded = ?1")?;
    if query.exists((name.folded(),))? {
        return Ok(StorageOutcome::NotRegistered(Refusal::NameTaken));
    }
    if alike::person(connection, &name)? {
        return Ok(StorageOutcome::NotRegistered(Refusal::NameAlike));
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO accounts (account, name, folded, skeleton, invite)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let (written, folded) = (name.as_str(), name.folded());
    let skeleton = name.skeleton();
    insert.execute((account.as_bytes(), written, folded, skeleton, invite))?;
    Ok(StorageOutcome::Registered { name, is_new: true })
}

fn links(
    connection: &Connection,
    remember: &[LinkRow],
    forget: &[BrokerCid],
) -> Result<StorageOutcome> {
    let mut replace = connection
        .prepare_cached("INSERT OR REPLACE INTO links (cid, remote, local) VALUES (?1, ?2, ?3)")?;
    for LinkRow { cid, path } in remember {
        replace.execute((cid, path.remote.to_string(), path.local))?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM links WHERE cid = ?1")?;
    for cid in forget {
        delete.execute((cid,))?;
    }
    Ok(StorageOutcome::Remembered)
}

//! A store in memory: the reference for what a store must do, and all that `--memory` needs.

mod bound;
mod devices;
mod invites;
mod moderation;
mod room;

use std::collections::{BTreeMap, BTreeSet};

use super::storage::{
    Entrance, LinkRow, Opened, StorageCompletion, StorageOp, StorageOutcome, StorageRequest,
};
use crate::bug;
use crate::chat::{Decision, Kind, Line, LogId, Name, Refusal, RoomId, RoomName};
use crate::secure::{AccountKey, DeviceKey};
use crate::transmit::Path;
use crate::wire::BrokerCid;
pub use bound::KEPT_MAX;

use devices::Devices;
use invites::Invites;
use room::{Entry, RoomLog, Whom};

/// Keeps everything, until it is dropped, up to a bound (LIM-25). A clone is a backup.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    log: LogId,
    names: BTreeMap<Name, AccountKey>,
    accounts: BTreeMap<AccountKey, Name>,
    invites: Invites,
    devices: Devices,
    rooms: BTreeMap<RoomName, RoomLog>,
    /// What the names of people look like, and those of rooms (SGN-8).
    people_alike: BTreeSet<String>,
    rooms_alike: BTreeSet<String>,
    links: BTreeMap<BrokerCid, Path>,
    /// How much it keeps, by its own estimate, and may.
    kept: u64,
    kept_max: u64,
}

impl MemoryStore {
    /// An empty history called `log`.
    #[must_use]
    pub const fn new(log: LogId) -> Self {
        Self {
            log,
            names: BTreeMap::new(),
            accounts: BTreeMap::new(),
            invites: Invites::new(),
            devices: Devices::new(),
            rooms: BTreeMap::new(),
            people_alike: BTreeSet::new(),
            rooms_alike: BTreeSet::new(),
            links: BTreeMap::new(),
            kept: 0,
            kept_max: KEPT_MAX,
        }
    }

    /// This history's id.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.log
    }

    /// The lines of a room, from the first one.
    pub fn lines(&self, room: &RoomName) -> impl Iterator<Item = &Line> {
        self.rooms.get(room).into_iter().flat_map(RoomLog::lines)
    }

    /// The rooms that have lines.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.keys()
    }

    /// Does what is asked. What would be kept beyond the bound is answered `Failed`, as by a disk that
    /// is full (LIM-25); nothing else fails.
    pub fn handle(&mut self, request: StorageRequest) -> StorageCompletion {
        let StorageRequest { id, op } = request;
        let outcome = match self.has_room_for(&op) {
            true => self.apply_weighed(op),
            false => StorageOutcome::Failed,
        };
        StorageCompletion { id, outcome }
    }

    fn apply(&mut self, op: StorageOp) -> StorageOutcome {
        match op {
            StorageOp::Open => {
                if bug!(ForgetPublications) {
                    self.rooms
                        .values_mut()
                        .for_each(RoomLog::forget_publications);
                }
                StorageOutcome::Opened(Box::new(self.open()))
            }
            StorageOp::Register {
                account,
                device,
                name,
                entrance,
                now_ms,
            } => self.sign_in(account, device, name, entrance, now_ms),
            StorageOp::Invite {
                by,
                mark,
                terms,
                room,
                now_ms,
            } => {
                let log = self.rooms.get(&room);
                let may = |by| log.is_some_and(|log| log.standings.may_invite(&by));
                if by.is_none_or(may) {
                    self.invites.make(mark, terms, now_ms)
                } else {
                    StorageOutcome::NotInvited(Refusal::NotAllowed)
                }
            }
            StorageOp::Revoke { invite } => StorageOutcome::Revoked(self.invites.revoke(invite)),
            changing @ (StorageOp::Devices { .. }
            | StorageOp::LinkDevice { .. }
            | StorageOp::RevokeDevice { .. }) => self.change_devices(changing),
            StorageOp::Links { remember, forget } => self.remember(remember, &forget),
            entering @ (StorageOp::Enter { .. } | StorageOp::Leave { .. }) => {
                self.change_membership(entering)
            }
            StorageOp::Append {
                room,
                account,
                device,
                name,
                publication,
                refuse,
                now_ms,
            } => {
                let author = Whom {
                    account,
                    device,
                    name: &name,
                };
                let decision = match publication.kind {
                    Kind::Decision => Decision::parse(&publication.body),
                    _ => None,
                };
                let about = decision.and_then(|decision| self.names.get(&decision.about).copied());
                self.room(&room)
                    .publish(&author, publication, refuse, about, now_ms)
            }
            StorageOp::Decide {
                room,
                decision,
                now_ms,
                ..
            } => {
                let about = self.names.get(&decision.about).copied();
                match self.rooms.get_mut(&room) {
                    Some(log) => log.decide(decision, about, now_ms),
                    None => StorageOutcome::NotDecided(Refusal::NoSuchMember),
                }
            }
            StorageOp::Absent {
                room,
                account,
                event,
                presence,
            } => {
                let log = self.rooms.get_mut(&room);
                let row = log.and_then(|log| log.absent(account, event, presence));
                StorageOutcome::Absented(row.map(Box::new))
            }
            StorageOp::Report {
                room,
                account,
                lines,
            } => {
                if let Some(log) = self.rooms.get_mut(&room) {
                    log.report(account, lines);
                }
                StorageOutcome::Reported
            }
            reading => self.read(reading),
        }
    }

    fn change_membership(&mut self, op: StorageOp) -> StorageOutcome {
        let log_id = self.log;
        match op {
            StorageOp::Enter {
                room,
                account,
                device,
                name,
                start,
                history,
                seen,
                presence,
                now_ms,
            } => {
                if !self.rooms.contains_key(&room) && self.rooms_alike.contains(&room.skeleton()) {
                    return StorageOutcome::NotEntered(Refusal::NameAlike);
                }
                let author = Whom {
                    account,
                    device,
                    name: &name,
                };
                let entry = Entry {
                    log: log_id,
                    start,
                    history,
                    seen,
                    presence,
                    now_ms,
                };
                match self.room(&room).enter(&author, &entry) {
                    Ok(entered) => StorageOutcome::Entered(Box::new(entered)),
                    Err(refusal) => StorageOutcome::NotEntered(refusal),
                }
            }
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
                    name: &name,
                };
                let log = self.rooms.get_mut(&room);
                let departed = log.and_then(|log| log.leave(&whom, presence, now_ms));
                StorageOutcome::Departed(departed.map(Box::new))
            }
            _ => StorageOutcome::Failed,
        }
    }

    fn read(&self, op: StorageOp) -> StorageOutcome {
        match op {
            StorageOp::Read {
                room,
                from,
                lines_max,
                bytes_max,
            } => {
                let lines = self
                    .rooms
                    .get(&room)
                    .map(|log| log.read(from, u64::MAX, lines_max, bytes_max));
                StorageOutcome::Lines(lines.unwrap_or_default())
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
                let log = self.rooms.get(&room);
                let first = match has_begun {
                    true => 1,
                    false => log.map_or(1, |log| log.first_allowed(account)),
                };
                let from = from.max(first);
                let lines = log.map(|log| log.read(from, before, lines_max, bytes_max));
                StorageOutcome::Past {
                    first,
                    lines: lines.unwrap_or_default(),
                }
            }
            StorageOp::Members { room } => {
                let members = self.rooms.get(&room).map(RoomLog::members);
                StorageOutcome::Members(members.unwrap_or_default())
            }
            _ => StorageOutcome::Failed,
        }
    }

    fn open(&self) -> Opened {
        let rooms = self.rooms.values();
        let links = self.links.iter();
        Opened {
            presence: rooms.flat_map(RoomLog::present).cloned().collect(),
            links: links
                .map(|(cid, path)| LinkRow {
                    cid: *cid,
                    path: *path,
                })
                .collect(),
        }
    }

    fn remember(&mut self, remember: Vec<LinkRow>, forget: &[BrokerCid]) -> StorageOutcome {
        let rows = remember.into_iter().map(|row| (row.cid, row.path));
        self.links.extend(rows);
        for cid in forget {
            self.links.remove(cid);
        }
        StorageOutcome::Remembered
    }

    fn change_devices(&mut self, op: StorageOp) -> StorageOutcome {
        match op {
            StorageOp::Devices { account, device } => self.devices.list(account, device),
            StorageOp::LinkDevice {
                account,
                by,
                device,
                now_ms,
            } => self.devices.link(account, by, device, now_ms),
            StorageOp::RevokeDevice {
                account,
                device,
                now_ms,
            } => self.devices.revoke(account, device, now_ms),
            _ => StorageOutcome::Failed,
        }
    }

    /// DEV-8: a device that was revoked does not come in, whatever its name.
    fn sign_in(
        &mut self,
        account: AccountKey,
        device: DeviceKey,
        name: Name,
        entrance: Entrance,
        now_ms: u64,
    ) -> StorageOutcome {
        if let Err(refusal) = self.devices.check(account, device) {
            return StorageOutcome::NotRegistered(refusal);
        }
        let outcome = self.register(account, name, entrance, now_ms);
        if let StorageOutcome::Registered { .. } = outcome
            && let Err(refusal) = self.devices.note(account, device, false, now_ms)
        {
            return StorageOutcome::NotRegistered(refusal);
        }
        outcome
    }

    /// SGN-2: the first account to ask for a name owns it, and keeps it. ADM-1: one that comes for
    /// the first time may have to be invited; ADM-3: only then a use is counted.
    fn register(
        &mut self,
        account: AccountKey,
        name: Name,
        entrance: Entrance,
        now_ms: u64,
    ) -> StorageOutcome {
        if let Some(own) = self.accounts.get(&account) {
            return if *own == name {
                StorageOutcome::Registered {
                    name: own.clone(),
                    is_new: false,
                }
            } else {
                StorageOutcome::NotRegistered(Refusal::NameFixed)
            };
        }
        let invite = match self.invites.admit(entrance, now_ms) {
            Ok(invite) => invite,
            Err(refusal) => return StorageOutcome::NotRegistered(refusal),
        };
        if self.names.contains_key(&name) {
            return StorageOutcome::NotRegistered(Refusal::NameTaken);
        }
        if !self.people_alike.insert(name.skeleton()) {
            return StorageOutcome::NotRegistered(Refusal::NameAlike);
        }
        self.invites.on_used(invite);
        self.names.insert(name.clone(), account);
        self.accounts.insert(account, name.clone());
        StorageOutcome::Registered { name, is_new: true }
    }

    fn room(&mut self, name: &RoomName) -> &mut RoomLog {
        self.rooms.entry(name.clone()).or_insert_with(|| {
            self.rooms_alike.insert(name.skeleton());
            RoomLog::new(name.clone(), RoomId::of(name))
        })
    }
}

#[cfg(test)]
mod tests;

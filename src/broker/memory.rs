//! A store in memory: the reference for what a store must do, and all that `--memory` needs.

use std::collections::BTreeMap;

use super::storage::{
    Author, Entered, StorageCompletion, StorageOp, StorageOutcome, StorageRequest, StoredLine,
};
use crate::chat::{
    Digest, Kind, LastPublication, Line, LineBase, LogId, Name, Publication, Recorded, Refusal,
    Resume, ResumeOutcome, RoomId, RoomName, Verdict, judge,
};
use crate::secure::{AccountKey, DeviceKey};

/// Keeps everything, until it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    log: LogId,
    names: BTreeMap<Name, AccountKey>,
    accounts: BTreeMap<AccountKey, Name>,
    rooms: BTreeMap<RoomName, RoomLog>,
}

/// One room's log.
#[derive(Debug)]
struct RoomLog {
    id: RoomId,
    lines: Vec<StoredLine>,
    /// The room hash after each line.
    hashes: Vec<[u8; 32]>,
    authors: BTreeMap<(AccountKey, DeviceKey), u64>,
    /// The accounts that are members, with the line that made them so.
    members: BTreeMap<AccountKey, u64>,
    publications: BTreeMap<DeviceKey, Vec<(Digest, Recorded)>>,
}

/// Who does something, as the store records it.
struct Whom<'a> {
    account: AccountKey,
    device: DeviceKey,
    name: &'a Name,
}

impl MemoryStore {
    /// An empty history called `log`.
    #[must_use]
    pub const fn new(log: LogId) -> Self {
        Self {
            log,
            names: BTreeMap::new(),
            accounts: BTreeMap::new(),
            rooms: BTreeMap::new(),
        }
    }

    /// This history's id.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.log
    }

    /// The lines of a room, from the first one.
    pub fn lines(&self, room: &RoomName) -> impl Iterator<Item = &Line> {
        self.rooms
            .get(room)
            .into_iter()
            .flat_map(|log| log.lines.iter().map(|stored| &stored.line))
    }

    /// The rooms that have lines.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.keys()
    }

    /// Does what is asked. Memory is never full and never fails.
    pub fn handle(&mut self, request: StorageRequest) -> StorageCompletion {
        let outcome = match request.op {
            StorageOp::Register { account, name, .. } => self.register(account, name),
            StorageOp::Enter {
                room,
                account,
                device,
                name,
                resume,
                history,
                now_ms,
            } => {
                let log = self.log;
                let author = Whom {
                    account,
                    device,
                    name: &name,
                };
                let entered = self
                    .room(&room)
                    .enter(log, &author, resume, history, now_ms);
                StorageOutcome::Entered(Box::new(entered))
            }
            StorageOp::Leave {
                room,
                account,
                device,
                name,
                now_ms,
            } => {
                let whom = Whom {
                    account,
                    device,
                    name: &name,
                };
                let line = self.room(&room).leave(&whom, now_ms);
                StorageOutcome::Departed(line.map(Box::new))
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
                self.room(&room)
                    .publish(&author, publication, refuse, now_ms)
            }
            StorageOp::Read {
                room,
                from,
                lines_max,
                bytes_max,
            } => {
                let lines = self
                    .rooms
                    .get(&room)
                    .map(|log| log.read(from, lines_max, bytes_max));
                StorageOutcome::Lines(lines.unwrap_or_default())
            }
        };
        StorageCompletion {
            id: request.id,
            outcome,
        }
    }

    /// SGN-2: the first account to ask for a name owns it, and keeps it.
    fn register(&mut self, account: AccountKey, name: Name) -> StorageOutcome {
        if let Some(own) = self.accounts.get(&account) {
            return if *own == name {
                StorageOutcome::Registered(own.clone())
            } else {
                StorageOutcome::NotRegistered(Refusal::NameFixed)
            };
        }
        if self.names.contains_key(&name) {
            return StorageOutcome::NotRegistered(Refusal::NameTaken);
        }
        self.names.insert(name.clone(), account);
        self.accounts.insert(account, name.clone());
        StorageOutcome::Registered(name)
    }

    fn room(&mut self, name: &RoomName) -> &mut RoomLog {
        self.rooms
            .entry(name.clone())
            .or_insert_with(|| RoomLog::new(RoomId::of(name)))
    }
}

impl RoomLog {
    const fn new(id: RoomId) -> Self {
        Self {
            id,
            lines: Vec::new(),
            hashes: Vec::new(),
            authors: BTreeMap::new(),
            members: BTreeMap::new(),
            publications: BTreeMap::new(),
        }
    }

    fn tail_seq(&self) -> u64 {
        self.lines.len() as u64
    }

    /// The place after line `seq`, or before the first if that is 0; `None` beyond the tail.
    fn base_at(&self, seq: u64) -> Option<LineBase> {
        let Some(index) = seq.checked_sub(1) else {
            return Some(LineBase::START);
        };
        let index = usize::try_from(index).ok()?;
        let stored_at_ms = self.lines.get(index)?.line.stored_at_ms;
        Some(LineBase {
            seq,
            stored_at_ms,
            hash: self.hashes[index],
        })
    }

    /// RUM-7, RUM-9, RUM-10.
    fn enter(
        &mut self,
        log: LogId,
        author: &Whom<'_>,
        resume: Option<Resume>,
        history: u64,
        now_ms: u64,
    ) -> Entered {
        let tail_before = self.tail_seq();
        let joined = (!self.members.contains_key(&author.account)).then(|| {
            self.members.insert(author.account, tail_before + 1);
            let body = author.name.as_str().to_owned().into();
            self.append(
                author,
                Publication {
                    n: 0,
                    typed_at_ms: now_ms,
                    kind: Kind::Joined,
                    body,
                },
                now_ms,
            )
        });
        let fresh = || tail_before.saturating_sub(history);
        let (resume, seq) = match resume {
            None => (ResumeOutcome::Fresh, fresh()),
            Some(wanted)
                if wanted.log == log && self.base_at(wanted.base.seq) == Some(wanted.base) =>
            {
                (ResumeOutcome::Resumed, wanted.base.seq)
            }
            Some(wanted) => {
                // What was said since, by the clock: the numbers mean nothing in another history.
                let seen =
                    |stored: &StoredLine| stored.line.stored_at_ms <= wanted.base.stored_at_ms;
                let since = self.lines.partition_point(seen) as u64;
                (ResumeOutcome::Fork, since.min(tail_before))
            }
        };
        let base = self.base_at(seq).unwrap_or(LineBase::START);
        let last = self.publications.get(&author.device).and_then(|known| {
            let (digest, _) = known.last()?;
            Some(LastPublication {
                n: known.len() as u64,
                digest: *digest,
            })
        });
        Entered {
            log,
            joined,
            author: self.announced_as(author),
            resume,
            base,
            tail_seq: self.tail_seq(),
            last: last.unwrap_or(LastPublication::NONE),
        }
    }

    /// RUM-12.
    fn leave(&mut self, whom: &Whom<'_>, now_ms: u64) -> Option<StoredLine> {
        self.members.remove(&whom.account)?;
        let body = whom.name.as_str().to_owned().into();
        let left = Publication {
            n: 0,
            typed_at_ms: now_ms,
            kind: Kind::Left,
            body,
        };
        Some(self.append(whom, left, now_ms))
    }

    /// How a member is announced, even from a device that has published nothing here.
    fn announced_as(&self, whom: &Whom<'_>) -> Author {
        let member_since = self.members[&whom.account];
        let own = self.authors.get(&(whom.account, whom.device));
        let (number, device) = own.map_or_else(
            || {
                let joined = &self.lines[member_since as usize - 1].line;
                (joined.author, joined.device)
            },
            |number| (*number, whom.device),
        );
        Author {
            number,
            account: whom.account,
            device,
            name: whom.name.clone(),
        }
    }

    /// PUB-2, PUB-4.
    fn publish(
        &mut self,
        author: &Whom<'_>,
        publication: Publication,
        refuse: Option<Refusal>,
        now_ms: u64,
    ) -> StorageOutcome {
        let digest = publication.digest();
        let known = self.publications.entry(author.device).or_default();
        let recorded = |n: u64| known.get(usize::try_from(n.checked_sub(1)?).ok()?).copied();
        match judge(publication.n, &digest, known.len() as u64, recorded) {
            Verdict::Again(recorded) => StorageOutcome::Known(recorded),
            Verdict::Conflict => StorageOutcome::Conflict,
            Verdict::Gap(last) => StorageOutcome::Gap(last),
            Verdict::Next => {
                if let Some(refusal) = refuse {
                    known.push((digest, Recorded::Refused(refusal)));
                    return StorageOutcome::Known(Recorded::Refused(refusal));
                }
                let seq = self.tail_seq() + 1;
                let known = self.publications.entry(author.device).or_default();
                known.push((digest, Recorded::Stored(seq)));
                StorageOutcome::Appended(Box::new(self.append(author, publication, now_ms)))
            }
        }
    }

    /// Makes `publication` the room's next line.
    fn append(&mut self, author: &Whom<'_>, publication: Publication, now_ms: u64) -> StoredLine {
        let previous = self.base_at(self.tail_seq()).unwrap_or(LineBase::START);
        let next_author = self.authors.len() as u64 + 1;
        let number = *self
            .authors
            .entry((author.account, author.device))
            .or_insert(next_author);
        let line = Line {
            seq: previous.seq + 1,
            // RUM-4: a clock that was set back does not turn the log back.
            stored_at_ms: now_ms.max(previous.stored_at_ms),
            account: author.account,
            device: author.device,
            name: author.name.clone(),
            author: number,
            n: publication.n,
            typed_at_ms: publication.typed_at_ms,
            kind: publication.kind,
            body: publication.body,
        };
        self.hashes.push(line.hash_after(self.id, &previous.hash));
        let stored = StoredLine {
            line,
            previous_stored_at_ms: previous.stored_at_ms,
        };
        self.lines.push(stored.clone());
        stored
    }

    fn read(&self, from: u64, lines_max: usize, bytes_max: usize) -> Vec<StoredLine> {
        let Some(start) = from.checked_sub(1).and_then(|i| usize::try_from(i).ok()) else {
            return Vec::new();
        };
        let mut bytes = 0;
        let rest = self.lines.get(start..).unwrap_or_default().iter();
        rest.take(lines_max)
            .take_while(|stored| {
                let room_left = bytes < bytes_max;
                bytes += stored.line.body.len();
                room_left
            })
            .cloned()
            .collect()
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;

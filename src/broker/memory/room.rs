//! One room's log in memory: lines, members, presence, what they have.

use std::collections::BTreeMap;

use super::bound::{LINE_COST, PERSON_COST};
use super::moderation::Judged;
use crate::broker::storage::{
    Author, Decided, Departed, Entered, MISSED_MAX, MemberRow, PresenceRow, StorageOutcome,
    StoredLine,
};
use crate::bug;
use crate::chat::{
    Coverage, Decision, Digest, HistoryPolicy, Judge, Kind, LastPublication, Line, LineBase, LogId,
    Name, NoticeEvent, Publication, Recorded, Refusal, ResumeOutcome, Role, RoomId, RoomName,
    Standing, Standings, Start, Stretch, Verdict, judge,
};
use crate::secure::{AccountKey, DeviceKey};

/// One room's log.
#[derive(Clone, Debug)]
pub(super) struct RoomLog {
    name: RoomName,
    id: RoomId,
    lines: Vec<StoredLine>,
    /// The bytes of their bodies.
    bytes: u64,
    /// The room hash after each line.
    hashes: Vec<[u8; 32]>,
    authors: BTreeMap<(AccountKey, DeviceKey), u64>,
    /// The accounts that are members, with the line that made them so.
    members: BTreeMap<AccountKey, u64>,
    publications: BTreeMap<DeviceKey, Vec<(Digest, Recorded)>>,
    /// The last notice about each account.
    presence: BTreeMap<AccountKey, PresenceRow>,
    /// The number of the room's last notice.
    last_presence: u64,
    /// What accounts have, by the reports of their devices (STA-1).
    covered: BTreeMap<AccountKey, Coverage>,
    policy: HistoryPolicy,
    pub(super) standings: Standings,
}

/// Who does something, as the store records it.
pub(super) struct Whom<'a> {
    pub(super) account: AccountKey,
    pub(super) device: DeviceKey,
    pub(super) name: &'a Name,
}

/// How somebody wants to enter.
pub(super) struct Entry {
    pub(super) log: LogId,
    pub(super) start: Start,
    pub(super) history: u64,
    pub(super) seen: u64,
    pub(super) presence: Option<u64>,
    pub(super) now_ms: u64,
}

impl RoomLog {
    /// For nothing: see `bug!(ForgetPublications)`.
    pub(super) fn forget_publications(&mut self) {
        self.publications.clear();
    }

    pub(super) const fn new(name: RoomName, id: RoomId) -> Self {
        Self {
            name,
            id,
            lines: Vec::new(),
            bytes: 0,
            hashes: Vec::new(),
            authors: BTreeMap::new(),
            members: BTreeMap::new(),
            publications: BTreeMap::new(),
            presence: BTreeMap::new(),
            last_presence: 0,
            covered: BTreeMap::new(),
            policy: HistoryPolicy::All,
            standings: Standings::NONE,
        }
    }

    /// What it takes, by estimate (LIM-25).
    pub(super) fn weight(&self) -> u64 {
        let people = self.authors.len() + self.presence.len() + self.covered.len();
        let lines = self.lines.len() as u64 * LINE_COST;
        self.bytes + lines + people as u64 * PERSON_COST
    }

    /// Whether the device's publication has been answered for good.
    pub(super) fn knows(&self, device: &DeviceKey, n: u64) -> bool {
        let known = self.publications.get(device);
        known.is_some_and(|known| known.len() as u64 >= n)
    }

    pub(super) fn is_member(&self, account: AccountKey) -> bool {
        self.members.contains_key(&account)
    }

    /// Ends a membership, if there is one.
    pub(super) fn end_membership(&mut self, account: AccountKey) -> Option<()> {
        self.members.remove(&account).map(|_| ())
    }

    /// When a line would be stored now (RUM-4): a clock that was set back does not turn the log back.
    pub(super) fn stored_at(&self, now_ms: u64) -> u64 {
        let last = self.lines.last();
        now_ms.max(last.map_or(0, |stored| stored.line.stored_at_ms))
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().map(|stored| &stored.line)
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

    /// RUM-7, PRS-1, ROL-4.
    pub(super) fn enter(&mut self, author: &Whom<'_>, entry: &Entry) -> Result<Entered, Refusal> {
        let resumes = matches!(entry.start, Start::After(_));
        self.standings.admit(&author.account, resumes)?;
        let standing = self.standings.of(&author.account);
        let is_out = false;
        self.standings
            .set(author.account, Standing { is_out, ..standing });
        let tail_before = self.tail_seq();
        let joined = (!self.members.contains_key(&author.account)).then(|| {
            self.members.insert(author.account, tail_before + 1);
            self.append_change(author, Kind::Joined, entry.now_ms)
        });
        let announced = self.announced_as(author);
        let is_present = self
            .presence
            .get(&author.account)
            .is_some_and(|row| row.event == NoticeEvent::Joined);
        let notice = entry
            .presence
            .filter(|_| !is_present)
            .map(|number| self.note(announced.clone(), NoticeEvent::Joined, number));
        let (resume, base) = self.begin(author.account, entry, tail_before);
        let last = self.publications.get(&author.device).and_then(|known| {
            let (digest, _) = known.last()?;
            Some(LastPublication {
                n: known.len() as u64,
                digest: *digest,
            })
        });
        Ok(Entered {
            log: entry.log,
            joined,
            author: announced,
            resume,
            base,
            tail_seq: self.tail_seq(),
            last: last.unwrap_or(LastPublication::NONE),
            notice,
            missed: match resume {
                ResumeOutcome::Resumed => self.missed(entry.seen),
                ResumeOutcome::Fresh | ResumeOutcome::Fork => Vec::new(),
            },
            presence: self.last_presence,
        })
    }

    /// The place before the first line that is to be sent: RUM-9, RUM-10, RUM-15, RUM-16.
    fn begin(
        &self,
        account: AccountKey,
        entry: &Entry,
        tail_before: u64,
    ) -> (ResumeOutcome, LineBase) {
        if let Start::After(wanted) = entry.start
            && bug!(ForgetFork)
        {
            return (ResumeOutcome::Resumed, wanted.base);
        }
        let (resume, seq) = match entry.start {
            Start::After(_) if bug!(SeamHole) => (ResumeOutcome::Fresh, tail_before),
            Start::Tail => (
                ResumeOutcome::Fresh,
                tail_before.saturating_sub(entry.history),
            ),
            Start::Line(seq) => (ResumeOutcome::Fresh, seq.saturating_sub(1).min(tail_before)),
            Start::After(wanted)
                if wanted.log == entry.log
                    && self.base_at(wanted.base.seq) == Some(wanted.base) =>
            {
                (ResumeOutcome::Resumed, wanted.base.seq)
            }
            Start::After(wanted) => {
                // What was said since, by the clock: the numbers mean nothing in another history.
                let seen =
                    |stored: &StoredLine| stored.line.stored_at_ms <= wanted.base.stored_at_ms;
                let since = self.lines.partition_point(seen) as u64;
                (ResumeOutcome::Fork, since.min(tail_before))
            }
        };
        let withheld = self.first_allowed(account) - 1;
        let resume = match resume {
            // What lies between is not for this account: it begins anew behind it.
            ResumeOutcome::Resumed if seq < withheld => ResumeOutcome::Fresh,
            resume => resume,
        };
        let base = self.base_at(seq.max(withheld));
        (resume, base.unwrap_or(LineBase::START))
    }

    /// RUM-12.
    pub(super) fn leave(
        &mut self,
        whom: &Whom<'_>,
        presence: u64,
        now_ms: u64,
    ) -> Option<Departed> {
        self.members.remove(&whom.account)?;
        let line = self.append_change(whom, Kind::Left, now_ms);
        let notice = self.absent(whom.account, NoticeEvent::Left, presence);
        Some(Departed { line, notice })
    }

    /// The line that says that `whom` is a member now, or is none any more (RUM-2).
    fn append_change(&mut self, whom: &Whom<'_>, kind: Kind, now_ms: u64) -> StoredLine {
        let change = Publication {
            n: 0,
            typed_at_ms: now_ms,
            kind,
            body: whom.name.as_str().to_owned().into(),
        };
        self.append(whom, change, now_ms)
    }

    // ---- presence

    /// PRS-1.
    pub(super) fn absent(
        &mut self,
        account: AccountKey,
        event: NoticeEvent,
        number: u64,
    ) -> Option<PresenceRow> {
        let row = self.presence.get(&account)?;
        let author = (row.event == NoticeEvent::Joined).then(|| row.author.clone())?;
        Some(self.note(author, event, number))
    }

    /// PRS-3: numbers rise.
    fn note(&mut self, author: Author, event: NoticeEvent, number: u64) -> PresenceRow {
        self.last_presence = number.max(self.last_presence + 1);
        let row = PresenceRow {
            room: self.name.clone(),
            author,
            event,
            number: self.last_presence,
            after_seq: self.tail_seq(),
        };
        self.presence.insert(row.author.account, row.clone());
        row
    }

    /// The rows of those who are present.
    pub(super) fn present(&self) -> impl Iterator<Item = &PresenceRow> {
        let rows = self.presence.values();
        rows.filter(|row| row.event == NoticeEvent::Joined)
    }

    /// The rows that somebody who has seen notice `seen` has not, or the newest of them.
    fn missed(&self, seen: u64) -> Vec<PresenceRow> {
        let rows = self.presence.values().filter(|row| row.number > seen);
        let mut rows: Vec<PresenceRow> = rows.cloned().collect();
        rows.sort_by_key(|row| row.number);
        rows.split_off(rows.len().saturating_sub(MISSED_MAX))
    }

    // ---- states

    /// STA-1.
    pub(super) fn report(&mut self, account: AccountKey, lines: Stretch) {
        let to = lines.to.min(self.tail_seq());
        let covered = self.covered.entry(account).or_default();
        covered.add(Stretch { to, ..lines });
    }

    pub(super) fn members(&self) -> Vec<MemberRow> {
        let members = self.members.iter();
        members
            .map(|(account, joined_seq)| MemberRow {
                account: *account,
                joined_seq: *joined_seq,
                has: self.covered.get(account).cloned().unwrap_or_default(),
            })
            .collect()
    }

    /// RUM-16: the first line that `account` may read.
    pub(super) fn first_allowed(&self, account: AccountKey) -> u64 {
        match (self.members.get(&account), self.policy) {
            (None, _) => self.tail_seq() + 1,
            (Some(_), HistoryPolicy::All) => 1,
            (Some(_), HistoryPolicy::SinceJoin) if bug!(EntitlementIgnored) => 1,
            (Some(joined_seq), HistoryPolicy::SinceJoin) => *joined_seq,
        }
    }

    // ---- lines

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

    /// PUB-2, PUB-4, RUM-16, ROL-3 to ROL-5. `about` is the account that a decision names.
    pub(super) fn publish(
        &mut self,
        author: &Whom<'_>,
        publication: Publication,
        refuse: Option<Refusal>,
        about: Option<AccountKey>,
        now_ms: u64,
    ) -> StorageOutcome {
        let digest = publication.digest();
        let policy = (publication.kind == Kind::Policy)
            .then(|| HistoryPolicy::parse(&publication.body))
            .flatten();
        let allowed = match refuse {
            Some(refusal) => Err(refusal),
            None => self.judge_publication(author, &publication, about, now_ms),
        };
        let muted_until = self.standings.of(&author.account).muted_until_ms;
        let known = self.publications.entry(author.device).or_default();
        let recorded = |n: u64| known.get(usize::try_from(n.checked_sub(1)?).ok()?).copied();
        match judge(publication.n, &digest, known.len() as u64, recorded) {
            Verdict::Again(recorded) => StorageOutcome::Known(recorded),
            Verdict::Conflict => StorageOutcome::Conflict,
            Verdict::Gap(last) => StorageOutcome::Gap(last),
            Verdict::Next => {
                let judged = match allowed {
                    Ok(judged) => judged,
                    Err(refusal) => {
                        known.push((digest, Recorded::Refused(refusal)));
                        return match refusal {
                            Refusal::Muted => StorageOutcome::Muted(muted_until),
                            _ => StorageOutcome::Known(Recorded::Refused(refusal)),
                        };
                    }
                };
                let seq = self.tail_seq() + 1;
                let known = self.publications.entry(author.device).or_default();
                known.push((digest, Recorded::Stored(seq)));
                self.policy = policy.unwrap_or(self.policy);
                let line = self.append(author, publication, now_ms);
                match judged {
                    Some(judged) => {
                        let out = self.carry_out(judged, now_ms);
                        StorageOutcome::Decided(Box::new(Decided { line, out }))
                    }
                    None => StorageOutcome::Appended(Box::new(line)),
                }
            }
        }
    }

    /// Whether it may be stored, and what follows if it is a decision.
    fn judge_publication(
        &self,
        author: &Whom<'_>,
        publication: &Publication,
        about: Option<AccountKey>,
        now_ms: u64,
    ) -> Result<Option<Judged>, Refusal> {
        let at_ms = self.stored_at(now_ms);
        let kind = publication.kind;
        self.standings.may_publish(&author.account, kind, at_ms)?;
        if kind != Kind::Decision {
            return Ok(None);
        }
        let decision = Decision::parse(&publication.body).ok_or(Refusal::BadText)?;
        let by = Judge::Account(author.account);
        self.judge(by, decision, about, at_ms).map(Some)
    }

    /// Makes `publication` the room's next line.
    pub(super) fn append(
        &mut self,
        author: &Whom<'_>,
        publication: Publication,
        now_ms: u64,
    ) -> StoredLine {
        if self.lines.is_empty() {
            // ROL-1: whoever made the room owns it.
            let role = Role::Owner;
            let standing = self.standings.of(&author.account);
            self.standings
                .set(author.account, Standing { role, ..standing });
        }
        let previous = self.base_at(self.tail_seq()).unwrap_or(LineBase::START);
        let next_author = self.authors.len() as u64 + 1;
        let number = *self
            .authors
            .entry((author.account, author.device))
            .or_insert(next_author);
        let line = Line {
            seq: previous.seq + 1,
            stored_at_ms: self.stored_at(now_ms),
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
        self.bytes += stored.line.body.len() as u64;
        self.lines.push(stored.clone());
        stored
    }

    /// Lines without a hole, from `from` to the one before `before`.
    pub(super) fn read(
        &self,
        from: u64,
        before: u64,
        lines_max: usize,
        bytes_max: usize,
    ) -> Vec<StoredLine> {
        let Some(start) = from.checked_sub(1).and_then(|i| usize::try_from(i).ok()) else {
            return Vec::new();
        };
        let mut bytes = 0;
        let rest = self.lines.get(start..).unwrap_or_default().iter();
        rest.take(lines_max)
            .take_while(|stored| {
                let room_left = bytes < bytes_max && stored.line.seq < before;
                bytes += stored.line.body.len();
                room_left
            })
            .cloned()
            .collect()
    }
}

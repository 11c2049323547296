//! Whether a log is what was stored.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::QUICK_CHECK_MAX;
use super::moderation;
use super::rows::{self, RoomRow, number};
use super::view::LogView;
use crate::broker::StoredLine;
use crate::chat::{
    Decision, HistoryPolicy, Kind, Line, LogId, Name, Publication, Recorded, Role, Standing,
    Standings,
};
use crate::secure::AccountKey;
use crate::store::sqlite::{Result, StoreError};

/// How many faults are told at most.
const FAULTS_MAX: usize = 100;

/// What a full check has found (STO-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// This history's id.
    pub log: LogId,
    /// How many rooms there are.
    pub rooms: usize,
    /// How many lines were held to their rooms' hashes.
    pub lines: u64,
    /// What is wrong, in words; nothing if all is well.
    pub faults: Vec<String>,
}

/// What is looked at whenever a log is opened: the structure of the file, where that takes no
/// time worth mentioning (STO-6).
pub(super) fn quickly(connection: &Connection, path: &Path) -> Result<()> {
    if std::fs::metadata(path)?.len() > QUICK_CHECK_MAX {
        return Ok(());
    }
    match texts(connection, "PRAGMA quick_check(1)")?
        .iter()
        .find(|fault| *fault != "ok")
    {
        None => Ok(()),
        Some(fault) => Err(StoreError::damaged(format!("it is damaged: {fault}"))),
    }
}

/// Checks everything that can be checked (STO-10), beside a broker or without one: the structure of
/// the file, every line, and that all tables say the same. While it runs, a broker's commits pile up
/// in SQLite's log.
///
/// # Errors
///
/// If the log cannot be opened or read at all.
pub fn thoroughly(path: &Path) -> Result<Report> {
    let view = LogView::open(path)?;
    let mut faults = Faults::default();
    // One moment of the log, whatever a broker stores meanwhile.
    let connection = &*view.connection.unchecked_transaction()?;
    for fault in texts(connection, &format!("PRAGMA integrity_check({FAULTS_MAX})"))? {
        if fault != "ok" {
            faults.add(fault);
        }
    }
    let rooms = rows::all_rooms(connection)?;
    let mut lines = 0;
    for room in &rooms {
        let mut audit = Audit::new(connection, room);
        let walked = view.each_line(&room.name, |stored| audit.line(&stored, &mut faults));
        // The chain ends there; what comes after a line that is damaged proves nothing.
        if let Err(error) = walked {
            faults.add(error.to_string());
        } else {
            audit.end(&mut faults)?;
        }
        lines += audit.lines;
    }
    contradictions(connection, &mut faults)?;
    Ok(Report {
        log: view.log_id(),
        rooms: rooms.len(),
        lines,
        faults: faults.0,
    })
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, fault: impl Into<String>) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(fault.into());
        }
    }
}

/// The lines of one room, told again from the first one, and what should follow from them.
struct Audit<'a> {
    connection: &'a Connection,
    room: &'a RoomRow,
    lines: u64,
    stored_at_ms: u64,
    authors: u64,
    members: BTreeMap<AccountKey, u64>,
    policy: HistoryPolicy,
    standings: Standings,
}

impl<'a> Audit<'a> {
    const fn new(connection: &'a Connection, room: &'a RoomRow) -> Self {
        Self {
            connection,
            room,
            lines: 0,
            stored_at_ms: 0,
            authors: 0,
            members: BTreeMap::new(),
            policy: HistoryPolicy::All,
            standings: Standings::NONE,
        }
    }

    /// The next line, which is the one that was stored. Its hash says so.
    fn line(&mut self, stored: &StoredLine, faults: &mut Faults) -> Result<()> {
        let line = &stored.line;
        let room = &self.room.name;
        let mut fault = |what: &str| {
            faults.add(format!("line {} of the room {room}: {what}", line.seq));
        };
        self.lines += 1;
        if line.stored_at_ms < self.stored_at_ms {
            fault("it was stored before the line before it");
        }
        self.stored_at_ms = line.stored_at_ms;
        if line.author > self.authors + 1 {
            fault("its author has no lines before, and not the next number");
        }
        self.authors = self.authors.max(line.author);
        if line.n > 0 {
            let publication = Publication {
                n: line.n,
                typed_at_ms: line.typed_at_ms,
                kind: line.kind,
                body: line.body.clone(),
            };
            let expected = (publication.digest(), Recorded::Stored(line.seq));
            let device = rows::device_row(self.connection, &line.device)?;
            let known = match device {
                Some(row) => rows::publication(self.connection, self.room, row, line.n)?,
                None => None,
            };
            if known != Some(expected) {
                fault("what is known of its publication is something else");
            }
        }
        self.follow(line, faults)
    }

    /// What the line changes in the room.
    fn follow(&mut self, line: &Line, faults: &mut Faults) -> Result<()> {
        if line.seq == 1 {
            let role = Role::Owner;
            self.stands(line.account, |standing| Standing { role, ..standing });
        }
        match line.kind {
            Kind::Joined if line.n == 0 => {
                self.members.insert(line.account, line.seq);
                let is_out = false;
                self.stands(line.account, |standing| Standing { is_out, ..standing });
            }
            Kind::Decision => self.decision(line, faults)?,
            Kind::Left if line.n == 0 => {
                self.members.remove(&line.account);
            }
            Kind::Policy => {
                self.policy = HistoryPolicy::parse(&line.body).unwrap_or(self.policy);
            }
            _ => {}
        }
        Ok(())
    }

    fn stands(&mut self, account: AccountKey, change: impl FnOnce(Standing) -> Standing) {
        let standing = change(self.standings.of(&account));
        self.standings.set(account, standing);
    }

    /// A decision, and what follows from it (ROL-2).
    fn decision(&mut self, line: &Line, faults: &mut Faults) -> Result<()> {
        let decision = Decision::parse(&line.body);
        let about = match &decision {
            Some(decision) => moderation::account_of(self.connection, &decision.about)?,
            None => None,
        };
        let (Some(decision), Some(about)) = (decision, about) else {
            let (seq, room) = (line.seq, &self.room.name);
            faults.add(format!("line {seq} of the room {room}: it decides nothing"));
            return Ok(());
        };
        self.stands(about, |standing| {
            decision.applied_to(standing, line.stored_at_ms)
        });
        if decision.shows_out().is_some() {
            self.members.remove(&about);
        }
        Ok(())
    }

    /// After the last line.
    fn end(&self, faults: &mut Faults) -> Result<()> {
        let mut query = self
            .connection
            .prepare_cached("SELECT account, joined_seq FROM members WHERE room = ?1")?;
        let members = query.query_map((self.room.row,), |row| {
            Ok((AccountKey(row.get(0)?), number(row, 1)?))
        })?;
        let members: BTreeMap<_, _> = members.collect::<rusqlite::Result<_>>()?;
        let room = &self.room.name;
        if members != self.members {
            faults.add(format!(
                "the members of the room {room} are not who its lines say"
            ));
        }
        if moderation::load(self.connection, self.room.row)? != self.standings {
            faults.add(format!(
                "how accounts stand in the room {room} is not what its lines say"
            ));
        }
        if self.room.policy != self.policy {
            faults.add(format!(
                "the policy of the room {room} is not what its lines say"
            ));
        }
        let mut query = self
            .connection
            .prepare_cached("SELECT coalesce(max(seq), 0) FROM covered WHERE room = ?1")?;
        if query.query_row((self.room.row,), |row| number(row, 0))? > self.lines {
            faults.add(format!(
                "somebody is said to have lines beyond the last one of the room {room}"
            ));
        }
        Ok(())
    }
}

/// Rows that cannot all be right.
fn contradictions(connection: &Connection, faults: &mut Faults) -> Result<()> {
    for (what, query) in CONTRADICTIONS {
        let mut query = connection.prepare(query)?;
        let found: Option<String> = query.query_row((), |row| row.get(0)).optional()?;
        if let Some(found) = found {
            faults.add(format!("{what}: {found}"));
        }
    }
    let mut query = connection.prepare("SELECT name, folded FROM accounts")?;
    let mut accounts = query.query(())?;
    while let Some(row) = accounts.next()? {
        let (name, folded): (String, String) = (row.get(0)?, row.get(1)?);
        if Name::recorded(&name)
            .ok()
            .is_none_or(|name| name.folded() != folded)
        {
            faults.add(format!("an account's name is none: {name:?}"));
        }
    }
    Ok(())
}

/// What must not be, and how to find one that is.
const CONTRADICTIONS: [(&str, &str); 5] = [
    (
        "a publication's line is not there or another's",
        "SELECT 'room ' || p.room || ', device ' || p.device || ', number ' || p.n
         FROM publications p JOIN devices d ON d.id = p.device
         LEFT JOIN lines l ON l.room = p.room AND l.seq = p.seq
         LEFT JOIN authors a ON a.room = l.room AND a.number = l.author
         WHERE p.seq IS NOT NULL AND (l.n IS NOT p.n OR a.device IS NOT d.device) LIMIT 1",
    ),
    (
        "publications of a device are missing",
        "SELECT 'room ' || room || ', device ' || device FROM publications
         GROUP BY device, room HAVING min(n) != 1 OR max(n) != count(*) LIMIT 1",
    ),
    (
        "an author has another name than its account",
        "SELECT a.name || ', not ' || c.name FROM authors a
         JOIN accounts c ON c.account = a.account WHERE c.name != a.name LIMIT 1",
    ),
    (
        "what somebody has is told twice",
        "SELECT r.name FROM covered c JOIN rooms r ON r.id = c.room
         JOIN covered d ON d.room = c.room AND d.account = c.account
             AND d.after_seq > c.after_seq AND d.after_seq <= c.seq LIMIT 1",
    ),
    (
        "a row belongs to none that is there",
        "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1",
    ),
];

fn texts(connection: &Connection, query: &str) -> Result<Vec<String>> {
    let mut query = connection.prepare(query)?;
    let texts = query.query_map((), |row| row.get(0))?;
    Ok(texts.collect::<rusqlite::Result<_>>()?)
}

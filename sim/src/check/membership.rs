//! Invariant 8: who is a member, who is present and who may read what is the fold of the durable log
//! (RUM-7, RUM-12, RUM-13, RUM-16, PRS-1, PRS-5). That nobody times out who was heard within the grace
//! is `no_noise`'s part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tertulia::chat::{HistoryPolicy, Kind, Line, LogId, RoomName};
use tertulia::secure::AccountKey;
use tertulia::situation::{self, Situation};

use super::Checker;
use crate::history::{History, Life, Observation};

/// Whom the broker has heard so lately must be present where it is, in the end.
const HEARD_LATELY: Duration = Duration::from_secs(2);

/// Nobody is shown a line that the log did not let them read when they asked, the rosters that are
/// told are those that were durable between question and answer, and only members are present.
#[derive(Default)]
pub(super) struct Membership {
    folds: BTreeMap<(LogId, RoomName), Fold>,
    /// What a client was let read when it came into a room, in its present life.
    seats: BTreeMap<(usize, RoomName), Vec<Grant>>,
    /// And when the store read a page for it.
    pages: BTreeMap<(usize, RoomName), Vec<Grant>>,
    present: BTreeMap<RoomName, BTreeSet<AccountKey>>,
    /// Who was present since the first question that has no answer yet.
    questions: BTreeMap<(Life, RoomName), Question>,
}

/// What a log says about its members.
#[derive(Default)]
struct Fold {
    made_by: Option<AccountKey>,
    /// The line that made each member one.
    members: BTreeMap<AccountKey, u64>,
    policy: HistoryPolicy,
}

/// The lines that somebody may read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Grant {
    /// Of which history.
    log: LogId,
    from: u64,
    /// The last one, once the account has left.
    to: Option<u64>,
}

/// A question for the roster, or several.
struct Question {
    open: usize,
    versions: Vec<BTreeSet<AccountKey>>,
}

impl Checker for Membership {
    fn name(&self) -> &'static str {
        "membership"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Appended { log, room, line } => {
                let fold = self.folds.entry((*log, room.clone())).or_default();
                fold.take(line)?;
                if line.kind == Kind::Left {
                    self.close(room, line, history);
                }
                Ok(())
            }
            Observation::Recovered {
                log,
                lines,
                present,
                is_backup,
            } => self.recover(*log, *is_backup, lines, present, history),
            Observation::NewLog => {
                self.present.clear();
                Ok(())
            }
            Observation::Entered {
                log, room, device, ..
            } => {
                let clients = 0..history.keys.len();
                for client in clients.filter(|client| history.device(*client) == *device) {
                    self.grant(true, client, *log, room, history);
                }
                Ok(())
            }
            Observation::PageRead(log, room, account) => {
                let clients = 0..history.keys.len();
                for client in clients.filter(|client| history.keys[*client].0 == *account) {
                    self.grant(false, client, *log, room, history);
                }
                Ok(())
            }
            Observation::Present {
                log,
                room,
                account,
                is_present,
            } => self.change(*log, room, *account, *is_present),
            Observation::Born(life) => {
                self.seats.retain(|(client, _), _| *client != life.client);
                self.pages.retain(|(client, _), _| *client != life.client);
                Ok(())
            }
            Observation::RoomLeft(life, room) => {
                self.seats.remove(&(life.client, room.clone()));
                self.pages.remove(&(life.client, room.clone()));
                self.questions.remove(&(*life, room.clone()));
                Ok(())
            }
            Observation::Shown {
                life, room, line, ..
            } => may_read(&self.seats, *life, room, line),
            Observation::Past {
                life, room, line, ..
            } => may_read(&self.pages, *life, room, line),
            Observation::AskedWho(life, room) => {
                self.ask(*life, room);
                Ok(())
            }
            // What was asked on a link that is gone is answered by nobody.
            Observation::Offline(life) => {
                self.questions.retain(|(of, _), _| of != life);
                Ok(())
            }
            Observation::Roster(life, room, total, names) => {
                self.answer(*life, room, *total, names, history)
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, history: &History) -> Result<(), String> {
        for (client, (life, rooms)) in &history.alive {
            let account = history.keys[*client].0;
            let heard = history.heard.get(client).copied().unwrap_or_default();
            let is_in_touch = history.now.saturating_since(heard) < HEARD_LATELY;
            if history.quiet.contains(client) || !is_in_touch {
                continue;
            }
            for room in rooms {
                let is_in = history.joined.contains(&(*life, room.clone()));
                let present = self.present.get(room);
                if is_in && present.is_none_or(|present| !present.contains(&account)) {
                    return Err(format!(
                        "client {client} is in {} and not present",
                        room.as_str()
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Membership {
    /// An account has left: what its clients were let read ends here.
    fn close(&mut self, room: &RoomName, line: &Line, history: &History) {
        for client in 0..history.keys.len() {
            if history.keys[client].0 != line.account {
                continue;
            }
            let key = (client, room.clone());
            let seats = self.seats.get_mut(&key).into_iter().flatten();
            let pages = self.pages.get_mut(&key).into_iter().flatten();
            for grant in seats.chain(pages) {
                grant.to.get_or_insert(line.seq);
            }
        }
    }

    /// A history is what it was once: what somebody was let read of what is lost may be shown late, and
    /// ends where that did.
    fn close_lost(&mut self, log: LogId, history: &History) {
        for grants in [&mut self.seats, &mut self.pages] {
            for ((_, room), grants) in grants {
                let lost = history.lost.get(&(log, room.clone()));
                let tail = lost.and_then(|lost| Some(lost.last()?.len() as u64));
                let lost = grants.iter_mut().filter(|grant| grant.log == log);
                for grant in lost {
                    grant.to = grant.to.or(tail);
                }
            }
        }
    }

    /// The broker has come back: what its store says is what the log had made of it.
    fn recover(
        &mut self,
        log: LogId,
        is_backup: bool,
        lines: &[(RoomName, Vec<Line>)],
        present: &[(RoomName, String)],
        history: &History,
    ) -> Result<(), String> {
        self.folds.retain(|(of, _), _| *of != log);
        if is_backup {
            self.close_lost(log, history);
        }
        for (room, lines) in lines {
            let fold = self.folds.entry((log, room.clone())).or_default();
            lines.iter().try_for_each(|line| fold.take(line))?;
        }
        let mut recovered = BTreeMap::<RoomName, BTreeSet<AccountKey>>::new();
        for (room, name) in present {
            let account = history.account_of(name);
            let account = account.ok_or_else(|| format!("{name}, who is nobody, is present"))?;
            recovered.entry(room.clone()).or_default().insert(account);
        }
        self.present.retain(|_, present| !present.is_empty());
        if !is_backup && self.present != recovered {
            return Err("others are present after a restart than before".to_owned());
        }
        self.present = recovered;
        for ((_, room), question) in &mut self.questions {
            let now = self.present.get(room).cloned().unwrap_or_default();
            question.versions.push(now);
        }
        Ok(())
    }

    /// A client may read what the log lets its account read now.
    fn grant(
        &mut self,
        is_seat: bool,
        client: usize,
        log: LogId,
        room: &RoomName,
        history: &History,
    ) {
        let fold = self.folds.get(&(log, room.clone()));
        let account = history.keys[client].0;
        let Some(from) = fold.and_then(|fold| fold.first_allowed(account)) else {
            return;
        };
        if from > 1 {
            situation::meet(Situation::HistoryWithheld);
        }
        let grants = if is_seat {
            &mut self.seats
        } else {
            &mut self.pages
        };
        let grants = grants.entry((client, room.clone())).or_default();
        let grant = Grant {
            log,
            from,
            to: None,
        };
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }

    fn change(
        &mut self,
        log: LogId,
        room: &RoomName,
        account: AccountKey,
        is_present: bool,
    ) -> Result<(), String> {
        let fold = self.folds.get(&(log, room.clone()));
        let present = self.present.entry(room.clone()).or_default();
        let changed = match is_present {
            true => present.insert(account),
            false => present.remove(&account),
        };
        for ((_, of), question) in &mut self.questions {
            if of == room {
                question.versions.push(present.clone());
            }
        }
        let stranger = fold.map_or(present.first(), |fold| {
            let mut all = present.iter();
            all.find(|account| !fold.members.contains_key(account))
        });
        if stranger.is_some() {
            return Err(format!(
                "somebody is present in {} and no member",
                room.as_str()
            ));
        }
        if !changed {
            return Err(format!("somebody comes to {} or goes twice", room.as_str()));
        }
        Ok(())
    }

    fn ask(&mut self, life: Life, room: &RoomName) {
        let present = self.present.get(room).cloned().unwrap_or_default();
        let question = self.questions.entry((life, room.clone()));
        let question = question.or_insert_with(|| Question {
            open: 0,
            versions: vec![present],
        });
        question.open += 1;
    }

    /// RUM-13
    fn answer(
        &mut self,
        life: Life,
        room: &RoomName,
        total: u64,
        names: &[String],
        history: &History,
    ) -> Result<(), String> {
        let key = (life, room.clone());
        let Some(question) = self.questions.get_mut(&key) else {
            return Err(format!("client {} did not ask who is there", life.client));
        };
        situation::meet(Situation::RosterTold);
        let told = names.iter().map(|name| history.account_of(name));
        let told: Option<BTreeSet<AccountKey>> = told.collect();
        let is_true = told
            .is_some_and(|told| told.len() as u64 == total && question.versions.contains(&told));
        question.open -= 1;
        if question.open == 0 {
            self.questions.remove(&key);
        }
        if is_true {
            return Ok(());
        }
        Err(format!(
            "client {} is told that {total} are in {}, {names:?}, and they never were",
            life.client,
            room.as_str()
        ))
    }
}

impl Fold {
    /// RUM-7, RUM-12, RUM-16.
    fn take(&mut self, line: &Line) -> Result<(), String> {
        let made_by = *self.made_by.get_or_insert(line.account);
        match line.kind {
            Kind::Joined => {
                self.members.insert(line.account, line.seq);
            }
            Kind::Left => {
                self.members.remove(&line.account);
            }
            Kind::Policy if made_by != line.account => {
                return Err(format!(
                    "line {} is a policy of somebody who did not make the room",
                    line.seq
                ));
            }
            Kind::Policy => {
                let policy = HistoryPolicy::parse(&line.body);
                self.policy = policy.unwrap_or(self.policy);
            }
            _ => {}
        }
        Ok(())
    }

    /// The first line that an account may read, if it may read any.
    fn first_allowed(&self, account: AccountKey) -> Option<u64> {
        let joined = self.members.get(&account).copied()?;
        Some(match self.policy {
            HistoryPolicy::All => 1,
            HistoryPolicy::SinceJoin => joined,
        })
    }
}

fn may_read(
    grants: &BTreeMap<(usize, RoomName), Vec<Grant>>,
    life: Life,
    room: &RoomName,
    line: &Line,
) -> Result<(), String> {
    let own = grants.get(&(life.client, room.clone()));
    let mut own = own.into_iter().flatten();
    let lets = |grant: &Grant| grant.from <= line.seq && grant.to.is_none_or(|to| line.seq <= to);
    if own.any(lets) {
        return Ok(());
    }
    Err(format!(
        "client {} is shown line {} of {}, which it may not read",
        life.client,
        line.seq,
        room.as_str()
    ))
}

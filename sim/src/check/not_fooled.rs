//! What a node promises even if its broker has turned against it (THR-15): it shows no line twice,
//! out of order or after a hole that it does not tell of, nothing that no line can be, and no more
//! earlier lines than were asked for; every publication stays in its outbox until it tells an
//! outcome, one; and when it ends it says truly why.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tertulia::chat::{Delivered, Kind, Line, LogId, RoomName, check_body};
use tertulia::client::{ClientEvent, EndReason};

use super::Checker;
use crate::history::{History, Observation, Victim};
use crate::memory;

/// What each victim was shown and told.
#[derive(Default)]
pub(super) struct NotFooled {
    victims: BTreeMap<usize, Seen>,
}

#[derive(Default)]
struct Seen {
    /// The last line shown, by room.
    last: BTreeMap<RoomName, (LogId, u64)>,
    typed: BTreeSet<u64>,
    settled: BTreeSet<u64>,
    /// How many lines each page may have, and the last one and the number of those that came.
    pages: VecDeque<(u64, u64, u64)>,
}

impl Checker for NotFooled {
    fn name(&self) -> &'static str {
        "not_fooled"
    }

    fn on(&mut self, observation: &Observation, _: &History) -> Result<(), String> {
        let Observation::Victim(life, what) = observation else {
            return Ok(());
        };
        let seen = self.victims.entry(life.client).or_default();
        let checked = match what {
            Victim::Born(cursors) => seen.begin(cursors),
            Victim::Keeps(waiting) => seen.check_outbox(waiting),
            Victim::Typed(handle) => {
                seen.typed.insert(*handle);
                Ok(())
            }
            Victim::AskedHistory(count) => {
                seen.pages.push_back((*count, 0, 0));
                Ok(())
            }
            Victim::Told(event) => seen.check(event),
            Victim::Holds(bytes) if *bytes > memory::VICTIM_HOLDS_MAX => {
                Err(format!("holds {bytes} bytes"))
            }
            Victim::Holds(_) => Ok(()),
        };
        checked.map_err(|what| format!("the victim of broker {} {what}", life.client))
    }
}

impl Seen {
    /// What the journal has when the program ends is shown from there (JRN-1); and nothing again.
    fn begin(&mut self, cursors: &[(RoomName, LogId, u64)]) -> Result<(), String> {
        self.pages.clear();
        let before = core::mem::take(&mut self.last);
        for (room, log, seq) in cursors {
            if let Some((of, shown)) = before.get(room)
                && of == log
                && shown > seq
            {
                return Err(format!("has shown line {shown}, and its journal has {seq}"));
            }
            self.last.insert(room.clone(), (*log, *seq));
        }
        Ok(())
    }

    /// NOD-2, PUB-1.
    fn check_outbox(&self, waiting: &BTreeSet<u64>) -> Result<(), String> {
        let mut open = self.typed.difference(&self.settled);
        match open.find(|handle| !waiting.contains(handle)) {
            Some(lost) => Err(format!("has lost publication {lost}")),
            None => Ok(()),
        }
    }

    fn check(&mut self, event: &ClientEvent) -> Result<(), String> {
        match event {
            ClientEvent::Line { room, log, line } => self.check_line(room, *log, line),
            ClientEvent::Fork { room } | ClientEvent::RoomLeft { room, .. } => {
                self.last.remove(room);
                self.pages.clear();
                Ok(())
            }
            // A hole that is told of.
            ClientEvent::Skipped { room, first } => match self.last.remove(room) {
                Some((_, seq)) if seq + 1 >= *first => Err(format!("goes back to line {first}")),
                _ => Ok(()),
            },
            ClientEvent::Past { line, .. } => self.check_past(line),
            ClientEvent::HistoryEnd { count, .. } => match self.pages.pop_front() {
                Some((.., came)) if came == *count => Ok(()),
                page => Err(format!("tells of {count} earlier lines, of {page:?}")),
            },
            ClientEvent::Stored { handle, .. } | ClientEvent::NotStored { handle, .. } => {
                let is_first = self.settled.insert(*handle);
                match self.typed.contains(handle) && is_first {
                    true => Ok(()),
                    false => Err(format!("tells what became of {handle}: {event:?}")),
                }
            }
            ClientEvent::Delivered { delivered, .. } => check_delivered(*delivered),
            // NOD-3: nobody has told it to.
            ClientEvent::Ended(EndReason::Left | EndReason::Abandoned { .. }) => {
                Err(format!("ends: {event:?}"))
            }
            _ => Ok(()),
        }
    }

    /// DLV-2, DLV-3, RUM-8, RUM-10.
    fn check_line(&mut self, room: &RoomName, log: LogId, line: &Line) -> Result<(), String> {
        let before = self.last.insert(room.clone(), (log, line.seq));
        let is_next = before.is_none_or(|(of, seq)| of == log && line.seq == seq + 1);
        match is_next {
            true => check_text(line),
            false => Err(format!("shows {log:?}/{} after {before:?}", line.seq)),
        }
    }

    /// HST-1, HST-2.
    fn check_past(&mut self, line: &Line) -> Result<(), String> {
        let Some((count, last, came)) = self.pages.front_mut() else {
            return Err(format!("shows earlier line {} unasked", line.seq));
        };
        let is_next = *last == 0 || line.seq == *last + 1;
        (*last, *came) = (line.seq, *came + 1);
        if !is_next || *came > *count {
            return Err(format!(
                "shows {came} of {count} earlier lines: {}",
                line.seq
            ));
        }
        check_text(line)
    }
}

/// PUB-5.
fn check_text(line: &Line) -> Result<(), String> {
    match line.kind {
        Kind::Message => check_body(&line.body).map_err(|error| format!("shows: {error}")),
        _ => Ok(()),
    }
}

/// STA-3.
fn check_delivered(told: Delivered) -> Result<(), String> {
    let adds_up = told.k <= told.n
        && told.present_n <= told.n
        && told.present_k <= told.k.min(told.present_n);
    match adds_up {
        true => Ok(()),
        false => Err(format!("tells {told:?}")),
    }
}

//! The record of a run: everything that happened, shown to the checkers as it happens, and the hash
//! over it all.

use std::time::Duration;

use tertulia::situation;
use tertulia::time::Timestamp;

use crate::calm::Calm;
use crate::check::Checkers;
use crate::clock::HostClock;
use crate::fate::mix;
use crate::history::{History, Observation, Violation};
use crate::memory;
use crate::plan::Plan;
use crate::world::room_name;

/// What a run leaves behind, at either level.
#[derive(Default)]
pub struct Record {
    /// What the checkers may look at.
    pub history: History,
    /// Everything that was observed, in order.
    pub observations: Vec<(Timestamp, Observation)>,
    checkers: Checkers,
    violation: Option<Violation>,
    trace: u64,
    is_printed: bool,
}

/// What kind of event a piece of the trace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// A machine's deadline.
    Timeout,
    /// A datagram arrives.
    Arrive,
    /// A storage request is done.
    Stored,
    /// A journal entry is.
    Journaled,
    /// A datagram is sent.
    Send,
    /// An observation.
    Observe,
}

impl Record {
    /// A record of a run of `plan` in which nothing has happened yet.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut record = Self::default();
        record.history.grace = Duration::from_millis(plan.grace_ms);
        record.history.memory_bound = memory::bound(plan);
        record.history.calm = Calm::of(plan);
        record.history.clock = HostClock::new(plan, None);
        let clients = 0..plan.topology.clients.len();
        let quiet = clients.filter(|client| plan.entering(*client).quiet);
        record.history.quiet = quiet.collect();
        let rooms = plan.topology.clients.iter();
        let rooms = rooms.map(|rooms| rooms.iter().map(|room| room_name(*room)).collect());
        record.history.rooms = rooms.collect();
        record
    }

    /// Prints everything that happens from now on to stderr.
    pub const fn print(&mut self) {
        self.is_printed = true;
    }

    /// Whether everything is printed.
    #[must_use]
    pub const fn is_printed(&self) -> bool {
        self.is_printed
    }

    /// The hash over everything that has happened.
    #[must_use]
    pub const fn trace(&self) -> u64 {
        self.trace
    }

    /// Takes down what has happened, and shows it to the checkers.
    pub fn observe(&mut self, observation: Observation, now: Timestamp) {
        if self.is_printed {
            eprintln!("{now} {observation:?}");
        }
        self.history.now = now;
        self.history.note(&observation);
        let text = format!("{observation:?}");
        self.add(Trace::Observe, 0, text.as_bytes(), now);
        let checked = self.checkers.on(&observation, &self.history, now);
        self.observations.push((now, observation));
        if let Err(violation) = checked {
            self.violation.get_or_insert(violation);
        }
    }

    /// A rule was broken that no checker watches.
    pub fn violate(&mut self, checker: &'static str, detail: String, at: Timestamp) {
        self.violation.get_or_insert(Violation {
            checker,
            detail,
            at,
        });
    }

    /// Asks the checkers for what is missing in the end.
    pub fn finish(&mut self, now: Timestamp) {
        self.history.met = situation::met().to_vec();
        if let Err(violation) = self.checkers.at_end(&self.history, now) {
            self.violation.get_or_insert(violation);
        }
    }

    /// The verdict so far.
    ///
    /// # Errors
    ///
    /// The first rule that was broken.
    pub fn verdict(&self) -> Result<(), Violation> {
        self.violation.clone().map_or(Ok(()), Err)
    }

    /// Adds an event to the trace.
    pub fn add(&mut self, kind: Trace, whom: u64, bytes: &[u8], now: Timestamp) {
        let mut trace = mix(self.trace, now.as_nanos());
        trace = mix(trace, mix(kind as u64, whom));
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            trace = mix(trace, u64::from_be_bytes(word));
        }
        self.trace = trace;
        if self.is_printed && kind != Trace::Observe {
            let whom = match whom {
                BROKER => "broker".to_owned(),
                client => format!("client {client}"),
            };
            eprintln!("{now} {kind:?} {whom} {}", bytes.len());
        }
    }
}

/// The broker, in a trace.
pub const BROKER: u64 = u64::MAX;

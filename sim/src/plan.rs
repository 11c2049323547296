//! A plan: everything that a run depends on, as data.
//!
//! A plan is drawn from a seed, or written down. It is swarm-drawn: each class of faults is in it
//! or not, half of the time, because a run that always has everything hides what happens when one
//! thing is missing.

mod act;
mod draw;

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tertulia::chat::RoomName;
use tertulia::client::JoinOptions;
use tertulia::time::Timestamp;

use crate::fate::{Dice, mix};
use crate::world::room_name;
use draw::{
    draw_absences, draw_acts, draw_entering, draw_faults, draw_kills, draw_moves, draw_rates,
    draw_restores, draw_topology, draw_watchers, draw_workload,
};

pub use act::{Act, Entering, What};

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// All the randomness of the run.
    pub seed: u64,
    /// Who is there.
    pub topology: Topology,
    /// Who says what.
    pub workload: Vec<Talk>,
    /// What happens to any datagram.
    pub rates: Rates,
    /// How long the store takes for a request, in ms.
    pub store_ms: u64,
    /// How long a node's journal takes for an entry, in ms.
    pub journal_ms: u64,
    /// The broker's grace, in ms (PRS-1).
    pub grace_ms: u64,
    /// Who leaves which room for a while.
    #[serde(default)]
    pub absences: Vec<Absence>,
    /// How each client comes into its rooms; who is not listed asks for the topology's history.
    #[serde(default)]
    pub entering: Vec<Entering>,
    /// Whose lines are watched: those clients want to know who has them (STA-3).
    #[serde(default)]
    pub watchers: Vec<usize>,
    /// What people do besides talking.
    #[serde(default)]
    pub acts: Vec<Act>,
    /// What goes wrong, and when in ms.
    pub faults: Vec<(u64, Fault)>,
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The rooms of each client, by number.
    pub clients: Vec<Vec<usize>>,
    /// How many lines from before a client asks for.
    pub history: u64,
}

/// A client that says several lines in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talk {
    /// Who.
    pub client: usize,
    /// Where.
    pub room: usize,
    /// When the first one is typed, in ms.
    pub from_ms: u64,
    /// How long after a line the next one is typed, in ms.
    pub every_ms: u64,
    /// How many.
    pub lines: u64,
    /// How long a line is, in bytes.
    pub len: usize,
    /// Whether all lines have the same text.
    pub is_monotonous: bool,
}

/// A client that leaves a room for good, and thinks better of it (RUM-12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Who.
    pub client: usize,
    /// Which room.
    pub room: usize,
    /// When it asks to leave, in ms.
    pub at_ms: u64,
    /// How long after that it joins again, in ms, if it is out by then; otherwise once it is.
    pub for_ms: u64,
}

impl Talk {
    /// The text of a line, if this is the plan's talk with number `index`.
    #[must_use]
    pub fn text(&self, index: usize, line: u64) -> Bytes {
        let line = if self.is_monotonous { 0 } else { line };
        let mut text = format!("client {} says {index}.{line}", self.client);
        while text.len() < self.len {
            text.push_str(" and so on");
        }
        text.truncate(self.len.max(24));
        text.into()
    }
}

/// What happens to any datagram, whatever else goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Lost, in thousandths.
    pub loss_permille: u64,
    /// Under way for at least this long, in ms.
    pub latency_ms: u64,
    /// And for up to this much more, in ms, each datagram for itself: that reorders them.
    pub jitter_ms: u64,
    /// Duplicated, in thousandths.
    pub duplicate_permille: u64,
    /// A duplicate comes up to this much later, in ms.
    pub duplicate_later_ms: u64,
    /// Corrupted by one to four flipped bits, in thousandths.
    pub corrupt_permille: u64,
    /// Cut short, in thousandths.
    pub truncate_permille: u64,
}

/// Which way is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// From the client to the broker.
    Up,
    /// From the broker to the client.
    Down,
    /// Both.
    Both,
}

/// Something that goes wrong. All but a death end by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Nothing passes on the client's way.
    Cut {
        /// Whose.
        client: usize,
        /// Which direction.
        way: Way,
        /// For how long.
        for_ms: u64,
    },
    /// More than usual is lost on the client's way.
    Burst {
        /// Whose.
        client: usize,
        /// In thousandths.
        loss_permille: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The client's address changes: nothing passes for a while, and the old address is dead.
    NewAddress {
        /// Whose.
        client: usize,
        /// For how long nothing passes.
        dead_ms: u64,
    },
    /// The client's address changes in the middle of everything: what is under way to the old one
    /// is lost.
    Rebind {
        /// Whose.
        client: usize,
        /// Whether the node is told, as by a system that reports a new network; otherwise it is
        /// as if a NAT on the way had forgotten it.
        announced: bool,
    },
    /// Somebody on the way copies all that the client sends, and gets each copy to the broker
    /// first, from an address that is somebody else's.
    Racer {
        /// Whose.
        client: usize,
        /// For how long.
        for_ms: u64,
    },
    /// The node stops, and forgets all but its keys.
    Die {
        /// Which one.
        client: usize,
        /// When a new node with the same keys starts, if ever.
        back_after_ms: Option<u64>,
    },
    /// The node is killed, and starts again from its journal.
    Kill {
        /// Which one.
        client: usize,
        /// When it starts again.
        back_after_ms: u64,
    },
    /// The broker is killed, and starts again from its store. Of what the store was asked and has
    /// not answered, a part is done, from the oldest on; the rest is lost.
    Crash {
        /// How much is done, in thousandths.
        commits_permille: u64,
        /// When it starts again.
        back_after_ms: u64,
    },
    /// The broker is killed, and what it starts again from is a backup of its store: its history goes
    /// on from there as if the rest had never been (RUM-10).
    RestoreBroker {
        /// How old the backup is.
        age_ms: u64,
        /// When it starts again.
        back_after_ms: u64,
    },
    /// The node is killed, and what it starts again from is a backup of its journal (JRN-4).
    RestoreNode {
        /// Which one.
        client: usize,
        /// How old the backup is.
        age_ms: u64,
        /// When it starts again.
        back_after_ms: u64,
    },
    /// The store takes longer.
    SlowStore {
        /// Than usual by this much.
        by_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The store fails, now and then.
    FailingStore {
        /// How often, in thousandths.
        permille: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The broker stops and starts again with an empty store and a new log.
    NewLog,
    /// Strangers begin handshakes, all at one moment, and never answer (SEC-6).
    Strangers {
        /// How many.
        hellos: u64,
    },
}

impl Fault {
    /// The client that it befalls, if it befalls one.
    #[must_use]
    pub const fn client(&self) -> Option<usize> {
        match *self {
            Self::Cut { client, .. }
            | Self::Burst { client, .. }
            | Self::NewAddress { client, .. }
            | Self::Rebind { client, .. }
            | Self::Racer { client, .. }
            | Self::Die { client, .. }
            | Self::Kill { client, .. }
            | Self::RestoreNode { client, .. } => Some(client),
            Self::Crash { .. }
            | Self::RestoreBroker { .. }
            | Self::SlowStore { .. }
            | Self::FailingStore { .. }
            | Self::NewLog
            | Self::Strangers { .. } => None,
        }
    }

    /// How long before it the backup is made that it needs, in ms.
    #[must_use]
    pub const fn backup_age_ms(&self) -> Option<u64> {
        match *self {
            Self::RestoreBroker { age_ms, .. } | Self::RestoreNode { age_ms, .. } => Some(age_ms),
            _ => None,
        }
    }

    /// How long it lasts, in ms.
    #[must_use]
    pub const fn lasts_ms(&self) -> u64 {
        match *self {
            Self::Cut { for_ms, .. }
            | Self::Burst { for_ms, .. }
            | Self::Racer { for_ms, .. }
            | Self::SlowStore { for_ms, .. }
            | Self::FailingStore { for_ms, .. } => for_ms,
            Self::NewAddress { dead_ms, .. } => dead_ms,
            Self::Kill { back_after_ms, .. }
            | Self::Crash { back_after_ms, .. }
            | Self::RestoreBroker { back_after_ms, .. }
            | Self::RestoreNode { back_after_ms, .. } => back_after_ms,
            Self::Die { back_after_ms, .. } => match back_after_ms {
                Some(after) => after,
                None => 0,
            },
            Self::Rebind { .. } | Self::NewLog | Self::Strangers { .. } => 0,
        }
    }
}

impl Plan {
    /// A quiet plan: `clients` nodes in one room, 50 ms from a perfect network's other end.
    #[must_use]
    pub fn quiet(seed: u64, clients: usize) -> Self {
        Self {
            seed,
            topology: Topology {
                clients: vec![vec![0]; clients],
                history: 0,
            },
            workload: Vec::new(),
            rates: Rates {
                latency_ms: 50,
                ..Rates::default()
            },
            store_ms: 1,
            journal_ms: 0,
            grace_ms: 600_000,
            absences: Vec::new(),
            entering: Vec::new(),
            watchers: Vec::new(),
            acts: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(mix(seed, 0x91a2));
        let topology = draw_topology(&mut dice);
        let span_ms = dice.range(20_000, 60_000);
        let workload = draw_workload(&mut dice, &topology, span_ms);
        let rates = draw_rates(&mut dice);
        let mut faults = draw_faults(&mut dice, topology.clients.len(), span_ms);
        // Dice of their own: these classes came later, and do not move what the others draw.
        let mut more = Dice::new(mix(seed, 0x90b1));
        faults.extend(draw_moves(&mut more, topology.clients.len(), span_ms));
        faults.extend(draw_kills(
            &mut Dice::new(mix(seed, 0x6b11)),
            topology.clients.len(),
            span_ms,
        ));
        faults.extend(draw_restores(
            &mut Dice::new(mix(seed, 0x2e57)),
            topology.clients.len(),
            span_ms,
        ));
        faults.sort_by_key(|(at, _)| *at);
        let absences = draw_absences(&mut more, &topology, span_ms);
        let mut uses = Dice::new(mix(seed, 0x05e5));
        let entering = draw_entering(&mut uses, &topology);
        let watchers = draw_watchers(&mut uses, &topology);
        let acts = draw_acts(&mut uses, &topology, span_ms);
        Self {
            seed,
            entering,
            watchers,
            acts,
            topology,
            workload,
            rates,
            store_ms: dice.range(0, 20),
            journal_ms: if dice.chance(500) {
                dice.range(1, 20)
            } else {
                0
            },
            grace_ms: if dice.chance(500) { 600_000 } else { 30_000 },
            absences,
            faults,
        }
    }

    /// When everything that goes wrong is over and everything is said, in ms.
    #[must_use]
    pub fn heals_at_ms(&self) -> u64 {
        let faults = self.faults.iter().map(|(at, fault)| at + fault.lasts_ms());
        let talks = self
            .workload
            .iter()
            .map(|talk| talk.from_ms + talk.every_ms * talk.lines);
        let absences = self.absences.iter().map(|a| a.at_ms + a.for_ms);
        let acts = self.acts.iter().map(|act| act.at_ms);
        let all = faults.chain(talks).chain(absences).chain(acts);
        all.max().unwrap_or(0)
    }

    /// How a client comes into its rooms.
    #[must_use]
    pub fn entering(&self, client: usize) -> Entering {
        let usual = Entering {
            history: self.topology.history,
            ..Entering::default()
        };
        self.entering.get(client).copied().unwrap_or(usual)
    }

    /// The same in the client's words.
    #[must_use]
    pub fn join_options(&self, client: usize, room: RoomName) -> JoinOptions {
        let Entering {
            history,
            from,
            quiet,
        } = self.entering(client);
        JoinOptions {
            room,
            history,
            quiet,
            from,
        }
    }

    /// Whether every datagram comes once, undamaged, in order, and finds its receiver.
    #[must_use]
    pub fn has_perfect_network(&self) -> bool {
        self.rates == self.perfect_rates()
            && self.faults.iter().all(|(_, fault)| is_of_the_store(fault))
    }

    /// The same people, who say the same, over a network that brings everything once, undamaged and
    /// in order.
    #[must_use]
    pub fn with_perfect_network(mut self) -> Self {
        self.rates = self.perfect_rates();
        self.faults.retain(|(_, fault)| is_of_the_store(fault));
        self
    }

    fn perfect_rates(&self) -> Rates {
        Rates {
            latency_ms: self.rates.latency_ms,
            ..Rates::default()
        }
    }

    /// How many lines are to be typed.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.workload.iter().map(|talk| talk.lines).sum()
    }

    /// When a client says what in which room.
    #[must_use]
    pub fn script(&self, client: usize) -> VecDeque<(Timestamp, RoomName, Bytes)> {
        let talks = self.workload.iter().enumerate();
        let talks = talks.filter(|(_, talk)| talk.client == client);
        let lines = talks.flat_map(|(index, talk)| {
            (0..talk.lines).map(move |line| {
                let at = Timestamp::from_millis(talk.from_ms + line * talk.every_ms);
                (at, room_name(talk.room), talk.text(index, line))
            })
        });
        let mut script: Vec<_> = lines.collect();
        script.sort_by_key(|(at, ..)| *at);
        script.into()
    }
}

const fn is_of_the_store(fault: &Fault) -> bool {
    matches!(fault, Fault::SlowStore { .. } | Fault::FailingStore { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_its_file() {
        let plan = Plan::draw(16);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(plan, serde_json::from_str(&text).unwrap());
    }

    #[test]
    fn a_seed_is_a_plan_and_another_seed_is_another() {
        assert_eq!(Plan::draw(1), Plan::draw(1));
        assert_ne!(Plan::draw(1), Plan::draw(2));
    }

    #[test]
    fn each_class_of_faults_is_in_about_half_of_the_plans() {
        let plans: Vec<Plan> = (0..1000).map(Plan::draw).collect();
        let share = |has: &dyn Fn(&Plan) -> bool| plans.iter().filter(|p| has(p)).count();
        let fault = |is: fn(&Fault) -> bool| share(&|p| p.faults.iter().any(|(_, f)| is(f)));
        for count in [
            share(&|p| p.rates.loss_permille > 0),
            share(&|p| p.rates.jitter_ms > 0),
            share(&|p| p.rates.duplicate_permille > 0),
            share(&|p| p.rates.corrupt_permille > 0),
            share(&|p| p.rates.truncate_permille > 0),
            fault(|f| matches!(f, Fault::Cut { .. })),
            fault(|f| matches!(f, Fault::Burst { .. })),
            fault(|f| matches!(f, Fault::NewAddress { .. })),
            fault(|f| matches!(f, Fault::Rebind { .. })),
            fault(|f| matches!(f, Fault::Racer { .. })),
            share(&|p| !p.absences.is_empty()),
            share(&|p| !p.entering.is_empty()),
            share(&|p| p.acts.iter().any(|a| matches!(a.what, What::SetPolicy { .. }))),
            share(&|p| p.acts.iter().any(|a| matches!(a.what, What::AskHistory { .. }))),
            share(&|p| p.acts.iter().any(|a| a.what == What::AskWho)),
            fault(|f| matches!(f, Fault::Die { .. })),
            fault(|f| matches!(f, Fault::SlowStore { .. })),
            fault(|f| matches!(f, Fault::Kill { .. })),
            fault(|f| matches!(f, Fault::Crash { .. })),
            fault(|f| matches!(f, Fault::RestoreBroker { .. })),
            fault(|f| matches!(f, Fault::RestoreNode { .. })),
            fault(|f| matches!(f, Fault::FailingStore { .. })),
        ] {
            assert!((430..570).contains(&count), "{count}");
        }
    }
}

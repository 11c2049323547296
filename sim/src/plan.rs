//! A plan: everything that a run depends on, as data.
//!
//! A plan is drawn from a seed, or written down. It is swarm-drawn: each class of faults is in it
//! or not, half of the time, because a run that always has everything hides what happens when one
//! thing is missing.

mod act;
mod attack;
mod draw;
mod fault;
mod from_bytes;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tertulia::chat::RoomName;
use tertulia::client::JoinOptions;
use tertulia::time::Timestamp;

use crate::fate::{Dice, mix};
use crate::world::room_name;
use draw::{
    draw_absences, draw_acts, draw_attackers, draw_entering, draw_faults, draw_kills, draw_linked,
    draw_moves, draw_rates, draw_replays, draw_restores, draw_revocations, draw_stops,
    draw_topology, draw_watchers, draw_workload,
};

pub use act::{Act, Entering, What};
pub use attack::{Attacker, Lie, Trick, Who};
pub use fault::{Fault, Way};

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// All the randomness of the run.
    pub seed: u64,
    /// Who is there.
    pub topology: Topology,
    /// Whose accounts clients share.
    #[serde(default)]
    pub linked: Vec<Linked>,
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
    /// Who keeps to no rule.
    #[serde(default)]
    pub attackers: Vec<Attacker>,
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The rooms of each client, by number.
    pub clients: Vec<Vec<usize>>,
    /// How many lines from before a client asks for.
    pub history: u64,
}

/// A client that is a further device of another one's account (SPEC.md section 9.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    /// Which one.
    pub client: usize,
    /// Whose account it is: that client has the account's private key.
    pub owner: usize,
    /// When it is linked with a code, in ms (DEV-3); otherwise it was before the run begins.
    #[serde(default)]
    pub at_ms: Option<u64>,
}

/// For how long somebody tries to link or to revoke a device, at least, in ms.
pub const LINKING_MS: u64 = 15_000;

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
            linked: Vec::new(),
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
            attackers: Vec::new(),
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
        let mut later = Dice::new(mix(seed, 0xc10c));
        faults.extend(draw_stops(&mut later, topology.clients.len(), span_ms));
        faults.extend(draw_replays(
            &mut later,
            &faults,
            topology.clients.len(),
            span_ms,
        ));
        faults.sort_by_key(|(at, _)| *at);
        let absences = draw_absences(&mut more, &topology, span_ms);
        let mut uses = Dice::new(mix(seed, 0x05e5));
        let entering = draw_entering(&mut uses, &topology);
        let watchers = draw_watchers(&mut uses, &topology);
        let acts = draw_acts(&mut uses, &topology, span_ms);
        let attackers = draw_attackers(&mut Dice::new(mix(seed, 0xa77a)), span_ms);
        let linked = draw_linked(&mut Dice::new(mix(seed, 0x11d5)), &topology, span_ms);
        let mut calls = Dice::new(mix(seed, 0x4e0c));
        faults.extend(draw_revocations(&mut calls, &linked, span_ms));
        faults.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            linked,
            attackers,
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

    /// The client whose account another one speaks for: itself, unless it was linked.
    #[must_use]
    pub fn owner(&self, client: usize) -> usize {
        let mut linked = self.linked.iter();
        let link = linked.find(|linked| linked.client == client);
        link.map_or(client, |linked| linked.owner)
    }

    /// Whether a client is linked with a code after the run has begun, and does not start before.
    #[must_use]
    pub fn is_linked_later(&self, client: usize) -> bool {
        let mut linked = self.linked.iter();
        linked.any(|linked| linked.client == client && linked.at_ms.is_some())
    }

    /// The clients that speak for a client's account.
    pub fn devices(&self, owner: usize) -> impl Iterator<Item = usize> {
        let clients = 0..self.topology.clients.len();
        clients.filter(move |client| self.owner(*client) == owner)
    }

    /// What a client's wall clock says when somebody types, after it has said `last_ms`: never the same
    /// twice, nor what it says to another device of the account, so that it names a line.
    #[must_use]
    pub fn typing_ms(&self, client: usize, wall_ms: u64, last_ms: u64) -> u64 {
        let apart = match self.linked.len() {
            0 => 1,
            _ => self.topology.clients.len() as u64,
        };
        let own = |ms: u64| ms - ms % apart + client as u64 % apart;
        own(wall_ms).max(own(last_ms) + apart)
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
        let linked = self.linked.iter().filter_map(|linked| linked.at_ms);
        let linked = linked.map(|at_ms| at_ms + LINKING_MS);
        let acts = self.acts.iter().map(|act| act.at_ms);
        let attackers = self.attackers.iter().map(|a| a.from_ms + a.for_ms);
        let all = faults.chain(talks).chain(absences).chain(acts);
        let all = all.chain(attackers).chain(linked);
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

    /// Whether every datagram comes once, undamaged, in order, and finds its receiver, and nobody says
    /// otherwise.
    #[must_use]
    pub fn has_perfect_network(&self) -> bool {
        self.rates == self.perfect_rates()
            && self.attackers.is_empty()
            // Programs that have done their errand are gone without another word.
            && self.linked.iter().all(|linked| linked.at_ms.is_none())
            && self
                .faults
                .iter()
                .all(|(_, fault)| fault.spares_the_network())
    }

    /// The same people, who say the same, over a network that brings everything once, undamaged and
    /// in order, with nobody among them who keeps to no rule.
    #[must_use]
    pub fn with_perfect_network(mut self) -> Self {
        self.rates = self.perfect_rates();
        self.attackers.clear();
        for linked in &mut self.linked {
            linked.at_ms = None;
        }
        self.faults.retain(|(_, fault)| fault.spares_the_network());
        self
    }

    /// The same people and attackers, with nothing else that goes wrong: the network loses and damages
    /// nothing, and nobody stops or goes away.
    #[must_use]
    pub fn with_attackers_alone(mut self) -> Self {
        self.rates = Rates {
            loss_permille: 0,
            corrupt_permille: 0,
            truncate_permille: 0,
            ..self.rates
        };
        self.faults.clear();
        self.absences.clear();
        self
    }

    fn perfect_rates(&self) -> Rates {
        Rates {
            latency_ms: self.rates.latency_ms,
            ..Rates::default()
        }
    }

    /// Until when a client's journal has no room, if it has none at a time.
    #[must_use]
    pub fn journal_full_until(&self, whose: usize, at: Timestamp) -> Option<Timestamp> {
        let ends = self
            .faults
            .iter()
            .filter_map(|(at_ms, fault)| match *fault {
                Fault::FullJournal { client, for_ms } if client == whose => {
                    let begins = Timestamp::from_millis(*at_ms);
                    let ends = begins + Duration::from_millis(for_ms);
                    (begins <= at && at < ends).then_some(ends)
                }
                _ => None,
            });
        ends.max()
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
            share(&|p| !p.linked.is_empty()),
            share(&|p| {
                let mut all = p.attackers.iter();
                all.any(|a| matches!(a.who, Who::Member { .. }))
            }),
            share(&|p| {
                let mut all = p.attackers.iter();
                all.any(|a| matches!(a.who, Who::Broker { .. }))
            }),
            share(&|p| {
                p.acts
                    .iter()
                    .any(|a| matches!(a.what, What::SetPolicy { .. }))
            }),
            share(&|p| {
                p.acts
                    .iter()
                    .any(|a| matches!(a.what, What::AskHistory { .. }))
            }),
            share(&|p| p.acts.iter().any(|a| a.what == What::AskWho)),
            fault(|f| matches!(f, Fault::Die { .. })),
            fault(|f| matches!(f, Fault::SlowStore { .. })),
            fault(|f| matches!(f, Fault::Kill { .. })),
            fault(|f| matches!(f, Fault::Crash { .. })),
            fault(|f| matches!(f, Fault::RestoreBroker { .. })),
            fault(|f| matches!(f, Fault::RestoreNode { .. })),
            fault(|f| matches!(f, Fault::FailingStore { .. })),
            fault(|f| matches!(f, Fault::Stop { .. })),
            fault(|f| matches!(f, Fault::WallClock { .. })),
            fault(|f| matches!(f, Fault::Drift { .. })),
            fault(|f| matches!(f, Fault::FullStore { .. })),
            fault(|f| matches!(f, Fault::FullJournal { .. })),
            fault(|f| matches!(f, Fault::Replay { .. })),
        ] {
            assert!((430..570).contains(&count), "{count}");
        }
    }
}

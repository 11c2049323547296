//! When a plan lets nothing go wrong: the stretches in which nothing but attackers could delay what
//! people say.

use std::time::Duration;

use tertulia::time::Timestamp;

use crate::plan::{LINKING_MS, Plan, Talk, Who};

/// How long after a fault, an absence or the beginning it may still be felt: nodes look for the broker
/// less and less often, up to every 5 s, and then catch up.
const SETTLES: Duration = Duration::from_secs(10);

/// More bytes than this at a time are bulk: they take as long as the window of the path wants, and what
/// comes after them in the room waits for them.
const BULK: u64 = 4_000;
/// How long bulk may take: where datagrams overtake each other by a round trip, some 3 kB/s are seen.
const BULK_TAKES_MS: u64 = 15_000;
/// Lines that are typed this soon after one another are pasted.
const PASTED_MS: u64 = 100;

/// How long a line may take from one round trip's time, in round trips: one for the line itself,
/// which goes up and then down to the others; the rest for what a window of the path does not hold of
/// what is pasted at a time, and of what attackers say in the same rooms.
const ROUND_TRIPS: u32 = 6;

/// How long it may take besides: that it is sent again when the broker is too busy (BUD-8), and the
/// publications that a broker bears of a member at a time (PUB-8), at 1 ms each.
const SLOWER_MAX: Duration = Duration::from_millis(500 + 256);

/// What a plan says about when lines are to come, and how soon.
pub struct Calm {
    /// How soon.
    within: Duration,
    /// When members that keep to no rule are at work.
    attacks: Vec<Stretch>,
    /// When something goes wrong, or is still felt: for one client, or for all.
    troubles: Vec<(Option<usize>, Stretch)>,
}

/// From when until when.
type Stretch = (Timestamp, Timestamp);

impl Calm {
    /// That of a plan, if it has attackers among its members, and a network that loses nothing: what
    /// is lost comes later by as much as chance wants.
    #[must_use]
    pub fn of(plan: &Plan) -> Option<Self> {
        let rates = plan.rates;
        if rates.loss_permille + rates.corrupt_permille + rates.truncate_permille > 0 {
            return None;
        }
        let members = plan
            .attackers
            .iter()
            .filter(|attacker| matches!(attacker.who, Who::Member { .. }));
        let attacks = members.map(|it| stretch(it.from_ms, it.for_ms));
        let attacks: Vec<Stretch> = attacks.collect();
        if attacks.is_empty() {
            return None;
        }
        let round_trip = 2 * Duration::from_millis(rates.latency_ms + rates.jitter_ms);
        let disks = Duration::from_millis(plan.store_ms + plan.journal_ms);
        let faults = plan.faults.iter();
        let faults = faults.map(|(at_ms, fault)| (fault.client(), *at_ms, fault.lasts_ms()));
        let absences = plan.absences.iter();
        let absences = absences.map(|it| (Some(it.client), it.at_ms, it.for_ms));
        let begins = (None, 0, 0);
        let linked = plan.linked.iter();
        let linked = linked.filter_map(|it| Some((Some(it.client), it.at_ms?, LINKING_MS)));
        let felt = faults.chain(absences).chain(linked).chain([begins]);
        let felt = felt.map(|(whose, at_ms, for_ms)| {
            let (from, to) = stretch(at_ms, for_ms);
            (whose, (from, to + SETTLES))
        });
        let bulk = plan.workload.iter().flat_map(bulk);
        let bulk = bulk.map(|stretch| (None, stretch));
        Some(Self {
            within: ROUND_TRIPS * round_trip + disks + SLOWER_MAX,
            attacks,
            troubles: felt.chain(bulk).collect(),
        })
    }

    /// How soon a line is to come that is typed when all is calm.
    #[must_use]
    pub const fn within(&self) -> Duration {
        self.within
    }

    /// Whether somebody attacks at a time.
    #[must_use]
    pub fn is_attacked(&self, at: Timestamp) -> bool {
        let mut attacks = self.attacks.iter();
        attacks.any(|(from, to)| (*from..*to).contains(&at))
    }

    /// Whether a client feels nothing go wrong from a time on for as long as a line may take.
    #[must_use]
    pub fn is_calm(&self, client: usize, since: Timestamp) -> bool {
        let until = since + self.within;
        let concern = |whose: &Option<usize>| whose.is_none_or(|whose| whose == client);
        let mut troubles = self.troubles.iter();
        !troubles.any(|(whose, (from, to))| concern(whose) && *from <= until && since < *to)
    }
}

/// When somebody says more at a time than a window holds.
fn bulk(talk: &Talk) -> Vec<Stretch> {
    let at = |line| talk.from_ms + line * talk.every_ms;
    let len = talk.len as u64;
    if talk.every_ms < PASTED_MS && talk.lines * len > BULK {
        vec![stretch(
            talk.from_ms,
            at(talk.lines) - talk.from_ms + BULK_TAKES_MS,
        )]
    } else if len > BULK {
        let lines = 0..talk.lines;
        lines.map(|line| stretch(at(line), BULK_TAKES_MS)).collect()
    } else {
        Vec::new()
    }
}

fn stretch(from_ms: u64, for_ms: u64) -> Stretch {
    let from = Timestamp::from_millis(from_ms);
    (from, from + Duration::from_millis(for_ms))
}

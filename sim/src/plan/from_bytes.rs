//! A plan read from bytes: what a fuzzer writes plans in.
//!
//! Any bytes are a plan, and a small one, so that a run takes milliseconds: a head of fixed length,
//! then one record after the other. Each value is a byte (0 beyond the end), stretched over the same
//! ranges as those of drawn plans; so the mutations that a fuzzer knows (change a byte, repeat a
//! piece, cross two inputs) are changes to a plan that make sense.

use super::{
    Absence, Act, Attacker, Entering, Fault, Lie, Plan, Rates, Talk, Topology, Trick, Way, What,
    Who,
};
use crate::attack::Acks;

/// In how many ms all of a plan begins.
const SPAN_MS: u64 = 12_000;
/// More records than these are not read.
const RECORDS_MAX: usize = 16;
/// A record of strangers whose third byte is this or higher is one of an attacker.
const ATTACKS_FROM: u8 = 0xc0;
/// How many lines are typed in all, at most.
const LINES_MAX: u64 = 60;

impl Plan {
    /// The plan that the bytes mean.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut read = Bytes(bytes);
        let mut plan = Self::quiet(read.range(0, 255), 0);
        plan.topology = read.topology();
        plan.rates = read.rates();
        plan.store_ms = read.range(0, 20);
        plan.journal_ms = read.range(0, 20);
        plan.grace_ms = if read.bit() { 30_000 } else { 600_000 };
        for client in 0..plan.topology.clients.len() {
            if read.bit() {
                plan.watchers.push(client);
            }
        }
        for _ in 0..RECORDS_MAX {
            if read.0.is_empty() {
                break;
            }
            read.record(&mut plan);
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn bit(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    /// A number from `low` to `high`, both included.
    fn range(&mut self, low: u64, high: u64) -> u64 {
        low + u64::from(self.byte()) * (high - low) / 255
    }

    /// As [`range`](Self::range), or 0.
    fn rate(&mut self, low: u64, high: u64) -> u64 {
        match self.byte() {
            0 => 0,
            byte => low + u64::from(byte) * (high - low) / 255,
        }
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    fn at(&mut self) -> u64 {
        self.range(0, SPAN_MS)
    }

    /// Two to four clients, each in the first room, the second one, or both.
    fn topology(&mut self) -> Topology {
        let clients = 2 + self.pick(3);
        let rooms = |rooms| match rooms {
            0 => vec![0],
            1 => vec![1],
            _ => vec![0, 1],
        };
        Topology {
            clients: (0..clients).map(|_| rooms(self.pick(3))).collect(),
            history: [0, 5, 1_000][self.pick(3)],
        }
    }

    fn rates(&mut self) -> Rates {
        Rates {
            loss_permille: self.rate(10, 300),
            latency_ms: self.range(1, 150),
            jitter_ms: self.rate(5, 150),
            duplicate_permille: self.rate(10, 200),
            duplicate_later_ms: self.rate(10, 8_000),
            corrupt_permille: self.rate(5, 50),
            truncate_permille: self.rate(5, 50),
        }
    }

    /// Something that somebody does, or that goes wrong.
    fn record(&mut self, plan: &mut Plan) {
        let kind = self.byte();
        let client = self.pick(plan.topology.clients.len());
        let rooms = &plan.topology.clients[client];
        let room = rooms[usize::from(kind >> 7) % rooms.len()];
        match kind % 32 {
            0..8 => {
                let talk = self.talk(client, room, LINES_MAX.saturating_sub(plan.lines()));
                plan.workload.push(talk);
            }
            8 => plan.absences.push(Absence {
                client,
                room,
                at_ms: self.at(),
                for_ms: self.range(0, 10_000),
            }),
            9 => {
                let usual = plan.entering(client);
                let clients = plan.topology.clients.len();
                plan.entering.resize(clients, usual);
                plan.entering[client] = Entering {
                    history: [0, 3, 20, 1_000][self.pick(4)],
                    from: self.bit().then(|| self.range(1, 60)),
                    quiet: self.bit(),
                };
            }
            31 if self.0.get(2).is_some_and(|byte| *byte >= ATTACKS_FROM) => {
                let attacker = self.attacker(client);
                plan.attackers.push(attacker);
            }
            10..13 => {
                let what = self.what(kind % 32);
                plan.acts.push(Act {
                    client,
                    room,
                    at_ms: self.at(),
                    what,
                });
            }
            class => {
                let at_ms = self.at();
                let fault = self.fault(class, client);
                plan.faults.push((at_ms, fault));
            }
        }
    }

    fn talk(&mut self, client: usize, room: usize, lines_max: u64) -> Talk {
        let len = match self.pick(8) {
            0 => self.range(1_500, 16_000),
            1 => self.range(120, 1_500),
            _ => self.range(24, 120),
        };
        let lines = if len > 1_500 { 3 } else { 20 };
        Talk {
            client,
            room,
            from_ms: self.range(0, SPAN_MS / 4),
            every_ms: self.range(0, 500),
            lines: self.range(1, lines).min(lines_max),
            len: len as usize,
            is_monotonous: self.bit(),
        }
    }

    fn what(&mut self, class: u8) -> What {
        match class {
            10 => What::SetPolicy {
                since_join: self.bit(),
            },
            11 => What::AskHistory {
                before: self.rate(1, 100),
                count: self.range(1, 60),
            },
            _ => What::AskWho,
        }
    }

    /// Somebody who keeps to no rule: the third byte says who, the others what.
    fn attacker(&mut self, client: usize) -> Attacker {
        let (from_ms, for_ms) = (self.at(), self.range(1_000, 10_000));
        let is_broker = self.bit();
        let acks = Acks::ALL[self.pick(Acks::ALL.len())];
        let chosen = u16::from_be_bytes([self.byte(), self.byte()]);
        let who = match is_broker {
            true => Who::Broker {
                lies: chosen_of(chosen, &Lie::ALL),
            },
            false => Who::Member {
                room: client % 2,
                acks,
                tricks: chosen_of(chosen, &Trick::ALL),
            },
        };
        Attacker {
            from_ms,
            for_ms,
            who,
        }
    }

    fn fault(&mut self, class: u8, client: usize) -> Fault {
        let for_ms = self.range(200, 8_000);
        let back_after_ms = self.range(1, 5_000);
        match class {
            13 => Fault::Cut {
                client,
                way: [Way::Up, Way::Down, Way::Both][self.pick(3)],
                for_ms,
            },
            14 => Fault::Burst {
                client,
                loss_permille: self.range(500, 950),
                for_ms,
            },
            15 => Fault::NewAddress {
                client,
                dead_ms: for_ms,
            },
            16 => Fault::Rebind {
                client,
                announced: self.bit(),
            },
            17 => Fault::Racer { client, for_ms },
            18 => Fault::Die {
                client,
                back_after_ms: self.bit().then_some(for_ms),
            },
            19 => Fault::Kill {
                client,
                back_after_ms,
            },
            20 => Fault::Crash {
                commits_permille: self.range(0, 1_000),
                back_after_ms,
            },
            21 => Fault::RestoreBroker {
                age_ms: self.at(),
                back_after_ms,
            },
            22 => Fault::RestoreNode {
                client,
                age_ms: self.at(),
                back_after_ms,
            },
            23 => Fault::SlowStore {
                by_ms: self.range(10, 2_000),
                for_ms,
            },
            24 => Fault::FailingStore {
                permille: self.range(50, 900),
                for_ms,
            },
            25 => Fault::NewLog,
            26 => Fault::Stop {
                client: self.bit().then_some(client),
                for_ms,
                with_machine: self.bit(),
            },
            27 => Fault::WallClock {
                client: self.bit().then_some(client),
                by_ms: self.range(0, 7_200_000).cast_signed() - 3_600_000,
                for_ms,
            },
            28 => Fault::Drift {
                client: self.bit().then_some(client),
                ppm: self.range(0, 40_000).cast_signed() - 20_000,
                for_ms,
            },
            29 => match self.bit() {
                true => Fault::FullStore { for_ms },
                false => Fault::FullJournal { client, for_ms },
            },
            30 => Fault::Replay {
                client,
                age_ms: self.at(),
                span_ms: self.range(500, 5_000),
            },
            _ => Fault::Strangers {
                hellos: self.range(1, 200),
                is_there: self.bit(),
            },
        }
    }
}

/// Those whose bits are set.
fn chosen_of<T: Copy>(bits: u16, all: &[T]) -> Vec<T> {
    let all = all.iter().enumerate();
    let chosen = all.filter(|(index, _)| bits >> index & 1 != 0);
    chosen.map(|(_, one)| *one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_small_plan() {
        for byte in 0..=255 {
            let plan = Plan::from_bytes(&[byte; 300]);
            assert!(plan.lines() <= LINES_MAX);
            assert!(plan.heals_at_ms() < 60_000, "{plan:?}");
            assert!(plan.topology.clients.len() >= 2);
        }
        assert_eq!(Plan::from_bytes(&[]).faults, []);
    }
}

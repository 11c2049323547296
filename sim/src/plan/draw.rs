//! What a seed makes of each part of a plan.

use super::{
    Absence, Act, Attacker, Entering, Fault, Lie, Linked, Rates, Talk, Topology, Trick, Way, What,
    Who,
};
use crate::attack::Acks;
use crate::fate::Dice;

pub(super) fn draw_topology(dice: &mut Dice) -> Topology {
    let (clients, rooms) = (dice.range(2, 6), dice.range(1, 3));
    let clients = (0..clients).map(|_| {
        let mut joined: Vec<usize> = (0..rooms as usize).filter(|_| dice.chance(700)).collect();
        if joined.is_empty() {
            joined.push(0);
        }
        joined
    });
    Topology {
        clients: clients.collect(),
        history: [0, 0, 5, 1000][dice.range(0, 3) as usize],
    }
}

/// Accounts with several devices, in half of the plans.
pub(super) fn draw_linked(dice: &mut Dice, topology: &Topology, span_ms: u64) -> Vec<Linked> {
    if dice.chance(500) {
        return Vec::new();
    }
    // The last ones are devices of those before them.
    let clients = topology.clients.len();
    let first = clients - dice.range(1, (clients as u64 / 2).min(2)) as usize;
    let linked = (first..clients).map(|client| Linked {
        client,
        owner: dice.range(0, first as u64 - 1) as usize,
        at_ms: None,
    });
    let mut linked: Vec<Linked> = linked.collect();
    for linked in &mut linked {
        let at_ms = dice.range(500, span_ms / 2);
        linked.at_ms = dice.chance(500).then_some(at_ms);
    }
    linked
}

/// Devices that are revoked, and most of them linked again, with what waits there: half of those that
/// can be.
pub(super) fn draw_revocations(
    dice: &mut Dice,
    linked: &[Linked],
    span_ms: u64,
) -> Vec<(u64, Fault)> {
    let mut revocations = Vec::new();
    for linked in linked {
        let (at_ms, after_ms) = (dice.range(1_000, span_ms), dice.range(0, 5_000));
        let is_back = dice.chance(800);
        if dice.chance(500) {
            let fault = Fault::Revoke {
                client: linked.client,
                back_after_ms: is_back.then_some(after_ms),
            };
            revocations.push((at_ms, fault));
        }
    }
    revocations
}

pub(super) fn draw_workload(dice: &mut Dice, topology: &Topology, span_ms: u64) -> Vec<Talk> {
    let mut talks = Vec::new();
    for (client, rooms) in topology.clients.iter().enumerate() {
        for &room in rooms {
            let len = match dice.range(0, 9) {
                0 => dice.range(1_500, 16_000),
                1..3 => dice.range(120, 1_500),
                _ => dice.range(24, 120),
            };
            // What is said is to take seconds at the worst rates, not minutes.
            let lines = match len {
                ..=120 => dice.range(20, 50),
                121..=1_500 => dice.range(5, 15),
                _ => dice.range(1, 3),
            };
            let from_ms = dice.range(0, span_ms / 4);
            // Some people type, some paste.
            let every_ms = if dice.chance(800) {
                (span_ms - from_ms) / lines
            } else {
                dice.range(0, 5)
            };
            talks.push(Talk {
                client,
                room,
                from_ms,
                every_ms,
                lines,
                len: len as usize,
                is_monotonous: dice.chance(150),
            });
        }
    }
    talks
}

/// Each class in half of the plans; of those that are in, the rate is drawn.
pub(super) fn draw_rates(dice: &mut Dice) -> Rates {
    let mut on = |low, high| {
        let value = dice.range(low, high);
        if dice.chance(500) { value } else { 0 }
    };
    Rates {
        loss_permille: on(10, 300),
        jitter_ms: on(5, 150),
        duplicate_permille: on(10, 200),
        duplicate_later_ms: on(10, 8_000),
        corrupt_permille: on(5, 50),
        truncate_permille: on(5, 50),
        latency_ms: dice.range(1, 150),
    }
}

pub(super) fn draw_faults(dice: &mut Dice, clients: usize, span_ms: u64) -> Vec<(u64, Fault)> {
    let last = clients as u64 - 1;
    let mut faults = Vec::new();
    for class in 0..6 {
        if dice.chance(500) {
            continue;
        }
        for _ in 0..dice.range(1, 3) {
            let client = dice.range(0, last) as usize;
            let for_ms = dice.range(200, 15_000);
            let fault = match class {
                0 => Fault::Cut {
                    client,
                    way: [Way::Up, Way::Down, Way::Both][dice.range(0, 2) as usize],
                    for_ms,
                },
                1 => Fault::Burst {
                    client,
                    loss_permille: dice.range(500, 950),
                    for_ms,
                },
                2 => Fault::NewAddress {
                    client,
                    dead_ms: dice.range(0, 12_000),
                },
                3 => Fault::Die {
                    client,
                    back_after_ms: dice.chance(700).then_some(for_ms),
                },
                4 => Fault::SlowStore {
                    by_ms: dice.range(10, 2_000),
                    for_ms,
                },
                _ => Fault::FailingStore {
                    permille: dice.range(50, 900),
                    for_ms,
                },
            };
            faults.push((dice.range(0, span_ms), fault));
        }
    }
    if dice.chance(200) {
        faults.push((dice.range(0, span_ms), Fault::NewLog));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// Changes of address, and copies that come first (PTH-1).
pub(super) fn draw_moves(dice: &mut Dice, clients: usize, span_ms: u64) -> Vec<(u64, Fault)> {
    let last = clients as u64 - 1;
    let mut moves = Vec::new();
    for class in 0..2 {
        if dice.chance(500) {
            continue;
        }
        for _ in 0..dice.range(1, 3) {
            let client = dice.range(0, last) as usize;
            let fault = match class {
                0 => Fault::Rebind {
                    client,
                    announced: dice.chance(500),
                },
                _ => Fault::Racer {
                    client,
                    for_ms: dice.range(200, 15_000),
                },
            };
            moves.push((dice.range(0, span_ms), fault));
        }
    }
    moves
}

/// Programs that are killed, and go on from what they have on disk.
pub(super) fn draw_kills(dice: &mut Dice, clients: usize, span_ms: u64) -> Vec<(u64, Fault)> {
    let mut kills = Vec::new();
    for class in 0..2 {
        if dice.chance(500) {
            continue;
        }
        for _ in 0..dice.range(1, 3) {
            let back_after_ms = dice.range(0, 5_000);
            let fault = match class {
                0 => Fault::Kill {
                    client: dice.range(0, clients as u64 - 1) as usize,
                    back_after_ms,
                },
                _ => Fault::Crash {
                    commits_permille: dice.range(0, 1_000),
                    back_after_ms,
                },
            };
            kills.push((dice.range(0, span_ms), fault));
        }
    }
    kills
}

/// Programs that go on from a backup of what they had on disk.
pub(super) fn draw_restores(dice: &mut Dice, clients: usize, span_ms: u64) -> Vec<(u64, Fault)> {
    let mut restores = Vec::new();
    for class in 0..2 {
        if dice.chance(500) {
            continue;
        }
        for _ in 0..dice.range(1, 2) {
            let (age_ms, back_after_ms) = (dice.range(0, 30_000), dice.range(1, 5_000));
            let fault = match class {
                0 => Fault::RestoreBroker {
                    age_ms,
                    back_after_ms,
                },
                _ => Fault::RestoreNode {
                    client: dice.range(0, clients as u64 - 1) as usize,
                    age_ms,
                    back_after_ms,
                },
            };
            restores.push((dice.range(0, span_ms), fault));
        }
    }
    restores
}

pub(super) fn draw_absences(dice: &mut Dice, topology: &Topology, span_ms: u64) -> Vec<Absence> {
    if dice.chance(500) {
        return Vec::new();
    }
    let absence = |_| {
        let client = dice.range(0, topology.clients.len() as u64 - 1) as usize;
        let rooms = &topology.clients[client];
        Absence {
            client,
            room: rooms[dice.range(0, rooms.len() as u64 - 1) as usize],
            at_ms: dice.range(0, span_ms),
            for_ms: dice.range(0, 10_000),
        }
    };
    (0..3).map(absence).collect()
}

/// How clients come in, in half of the plans: with some history, from a line on, quietly.
pub(super) fn draw_entering(dice: &mut Dice, topology: &Topology) -> Vec<Entering> {
    if dice.chance(500) {
        return Vec::new();
    }
    let entering = |_: &Vec<usize>| Entering {
        history: [0, 3, 20, 1_000][dice.range(0, 3) as usize],
        from: dice.chance(300).then_some(dice.range(1, 60)),
        quiet: dice.chance(300),
    };
    topology.clients.iter().map(entering).collect()
}

/// Whose lines are watched: half of the people's.
pub(super) fn draw_watchers(dice: &mut Dice, topology: &Topology) -> Vec<usize> {
    let clients = 0..topology.clients.len();
    clients.filter(|_| dice.chance(500)).collect()
}

/// Each class in half of the plans.
pub(super) fn draw_acts(dice: &mut Dice, topology: &Topology, span_ms: u64) -> Vec<Act> {
    let mut acts = Vec::new();
    for class in 0..3 {
        if dice.chance(500) {
            continue;
        }
        for (client, rooms) in topology.clients.iter().enumerate() {
            for &room in rooms {
                for _ in 0..dice.range(1, 3) {
                    let what = match class {
                        // The one who made the room is among those who try.
                        0 => What::SetPolicy {
                            since_join: dice.chance(600),
                        },
                        1 => What::AskHistory {
                            before: [0, dice.range(1, 100)][dice.range(0, 1) as usize],
                            count: dice.range(1, 60),
                        },
                        _ => What::AskWho,
                    };
                    acts.push(Act {
                        client,
                        room,
                        at_ms: dice.range(0, span_ms),
                        what,
                    });
                }
            }
        }
    }
    acts
}

/// Programs and machines that stand still, clocks that are wrong, disks that are full.
pub(super) fn draw_stops(dice: &mut Dice, clients: usize, span_ms: u64) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    for class in 0..5 {
        if dice.chance(500) {
            continue;
        }
        for _ in 0..dice.range(1, 3) {
            let some = dice.range(0, clients as u64 - 1) as usize;
            let whose = (!dice.chance(300)).then_some(some);
            let for_ms = dice.range(200, 15_000);
            let fault = match class {
                0 => Fault::Stop {
                    client: whose,
                    // Now and then longer than the shorter grace.
                    for_ms: for_ms + if dice.chance(150) { 30_000 } else { 0 },
                    with_machine: dice.chance(500),
                },
                1 => Fault::WallClock {
                    client: whose,
                    by_ms: dice.range(0, 7_200_000) as i64 - 3_600_000,
                    for_ms,
                },
                2 => Fault::Drift {
                    client: whose,
                    ppm: dice.range(0, 40_000) as i64 - 20_000,
                    for_ms: 2 * for_ms,
                },
                3 => Fault::FullStore { for_ms },
                _ => Fault::FullJournal {
                    client: some,
                    for_ms,
                },
            };
            faults.push((dice.range(0, span_ms), fault));
        }
    }
    faults
}

/// What was recorded before somebody died comes again after it.
pub(super) fn draw_replays(
    dice: &mut Dice,
    faults: &[(u64, Fault)],
    clients: usize,
    span_ms: u64,
) -> Vec<(u64, Fault)> {
    if dice.chance(500) {
        return Vec::new();
    }
    let ends_a_life = |fault: &Fault| {
        matches!(
            fault,
            Fault::Die { .. }
                | Fault::Kill { .. }
                | Fault::Crash { .. }
                | Fault::RestoreBroker { .. }
                | Fault::RestoreNode { .. }
                | Fault::NewLog
        )
    };
    let deaths = faults.iter().filter(|(_, fault)| ends_a_life(fault));
    let deaths: Vec<_> = deaths.collect();
    let replay = |_| {
        let some = dice.range(0, clients as u64 - 1) as usize;
        let later_ms = dice.range(0, 5_000);
        let span_ms_of_it = dice.range(500, 5_000);
        let (at_ms, age_ms, client) = match deaths.len() as u64 {
            0 => (dice.range(0, span_ms), later_ms, some),
            count => {
                let (died_at, death) = deaths[dice.range(0, count - 1) as usize];
                let since_death_ms = death.lasts_ms() + later_ms;
                let client = death.client().unwrap_or(some);
                (
                    died_at + since_death_ms,
                    since_death_ms + span_ms_of_it,
                    client,
                )
            }
        };
        let fault = Fault::Replay {
            client,
            age_ms,
            span_ms: span_ms_of_it,
        };
        (at_ms, fault)
    };
    (0..2).map(replay).collect()
}

/// A member and a broker that keep to no rule, each in half of the plans, and each thing that they
/// may do in half of those.
pub(super) fn draw_attackers(dice: &mut Dice, span_ms: u64) -> Vec<Attacker> {
    let mut attackers = Vec::new();
    for class in 0..2 {
        if dice.chance(500) {
            continue;
        }
        let who = match class {
            0 => Who::Member {
                room: dice.range(0, 2) as usize,
                acks: Acks::ALL[dice.range(0, Acks::ALL.len() as u64 - 1) as usize],
                tricks: half_of(dice, &Trick::ALL),
            },
            _ => Who::Broker {
                lies: half_of(dice, &Lie::ALL),
            },
        };
        attackers.push(Attacker {
            from_ms: dice.range(0, span_ms / 2),
            for_ms: dice.range(2_000, 15_000),
            who,
        });
    }
    attackers
}

fn half_of<T: Copy>(dice: &mut Dice, all: &[T]) -> Vec<T> {
    all.iter().copied().filter(|_| dice.chance(500)).collect()
}

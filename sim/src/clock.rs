//! The clocks of a host: functions of the world's time, by what a plan says about them.

use std::time::Duration;

use tertulia::time::Timestamp;

use crate::plan::{Fault, Plan};
use crate::world::WALL_START_MS;

/// A clock that goes right, in millionths.
const RIGHT: i64 = 1_000_000;

/// The monotonic and the wall clock of one host, and when it stands still.
#[derive(Clone, Debug, Default)]
pub struct HostClock {
    /// How the monotonic clock goes, from when on, in order.
    pieces: Vec<Piece>,
    /// From when, until when, by how many ms the wall clock is ahead.
    jumps: Vec<(Timestamp, Timestamp, i64)>,
    /// From when, until when it stands still, and whether with its clock.
    stops: Vec<(Timestamp, Timestamp, bool)>,
}

/// A time in which a clock goes at one rate.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: Timestamp,
    /// What the clock shows then.
    shows: Timestamp,
    /// How fast it goes, in millionths; 0 if it stands still.
    rate: u64,
}

impl HostClock {
    /// The clocks of a client, or of the broker if it is none.
    #[must_use]
    pub fn new(plan: &Plan, whose: Option<usize>) -> Self {
        let mut clock = Self::default();
        let mut drifts = Vec::new();
        for (at_ms, fault) in &plan.faults {
            let from = Timestamp::from_millis(*at_ms);
            let to = Timestamp::from_millis(at_ms + fault.lasts_ms());
            match *fault {
                Fault::Stop {
                    client,
                    with_machine,
                    ..
                } if client == whose => clock.stops.push((from, to, with_machine)),
                Fault::WallClock { client, by_ms, .. } if client == whose => {
                    clock.jumps.push((from, to, by_ms));
                }
                Fault::Drift { client, ppm, .. } if client == whose => {
                    drifts.push((from, to, ppm));
                }
                _ => {}
            }
        }
        let with_machine = clock
            .stops
            .iter()
            .filter(|(.., with_machine)| *with_machine);
        let stood: Vec<_> = with_machine.map(|(from, to, _)| (*from, *to)).collect();
        let edges = drifts.iter().flat_map(|(from, to, _)| [*from, *to]);
        let edges = edges.chain(stood.iter().flat_map(|(from, to)| [*from, *to]));
        let mut edges: Vec<Timestamp> = edges.chain([Timestamp::ZERO]).collect();
        edges.sort_unstable();
        edges.dedup();
        for from in edges {
            let shows = clock.local(from);
            let stands = stood
                .iter()
                .any(|(begin, end)| *begin <= from && from < *end);
            let drift = drifts
                .iter()
                .filter(|(begin, end, _)| *begin <= from && from < *end);
            let rate = RIGHT + drift.map(|(.., ppm)| ppm).sum::<i64>();
            let rate = if stands {
                0
            } else {
                rate.max(1).unsigned_abs()
            };
            clock.pieces.push(Piece { from, shows, rate });
        }
        clock
    }

    /// What the monotonic clock shows at a time of the world.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> Timestamp {
        let piece = self.pieces.iter().rfind(|piece| piece.from <= at);
        piece.map_or(at, |piece| {
            let gone = at.saturating_since(piece.from).as_nanos();
            let gone = gone * u128::from(piece.rate) / RIGHT as u128;
            piece.shows + Duration::from_nanos(u64::try_from(gone).unwrap_or(u64::MAX))
        })
    }

    /// When it first shows at least so much.
    #[must_use]
    pub fn world(&self, local: Timestamp) -> Timestamp {
        let ends = self.pieces.iter().skip(1).map(|next| Some(next.shows));
        let mut pieces = self.pieces.iter().zip(ends.chain([None]));
        let reaches = |(_, end): &(&Piece, Option<Timestamp>)| end.is_none_or(|end| end >= local);
        let piece = pieces.find(reaches).map(|(piece, _)| piece);
        piece.map_or(local, |piece| {
            let to_go = local.saturating_since(piece.shows).as_nanos() * RIGHT as u128;
            let to_go = to_go.div_ceil(u128::from(piece.rate.max(1)));
            piece.from + Duration::from_nanos(u64::try_from(to_go).unwrap_or(u64::MAX))
        })
    }

    /// What the wall clock says, in ms of Unix time.
    #[must_use]
    pub fn wall_ms(&self, at: Timestamp) -> u64 {
        let wrong = self
            .jumps
            .iter()
            .filter(|(from, to, _)| *from <= at && at < *to);
        let right = WALL_START_MS + at.as_millis();
        right.saturating_add_signed(wrong.map(|(.., by_ms)| by_ms).sum())
    }

    /// Until when it stands still, if it does at a time.
    #[must_use]
    pub fn stopped_until(&self, at: Timestamp) -> Option<Timestamp> {
        let stops = self
            .stops
            .iter()
            .filter(|(from, to, _)| *from <= at && at < *to);
        stops.map(|(_, to, _)| *to).max()
    }

    /// When it stands still next.
    #[must_use]
    pub fn next_stop(&self, after: Timestamp) -> Option<Timestamp> {
        let stops = self.stops.iter().map(|(from, ..)| *from);
        stops.filter(|from| *from > after).min()
    }

    /// For how long the machine has been suspended in all, as a machine knows of itself.
    #[must_use]
    pub fn suspended(&self, at: Timestamp) -> Duration {
        let stood = self
            .pieces
            .iter()
            .enumerate()
            .filter(|(_, piece)| piece.rate == 0);
        let stood = stood.map(|(index, piece)| {
            let to = self
                .pieces
                .get(index + 1)
                .map_or(at, |next| next.from.min(at));
            to.saturating_since(piece.from)
        });
        stood.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn clock() -> HostClock {
        let mut plan = Plan::quiet(1, 2);
        let client = Some(1);
        plan.faults = vec![
            (
                1_000,
                Fault::Drift {
                    client,
                    ppm: 10_000,
                    for_ms: 2_000,
                },
            ),
            (
                5_000,
                Fault::Stop {
                    client,
                    for_ms: 6_000,
                    with_machine: true,
                },
            ),
            (
                20_000,
                Fault::Stop {
                    client,
                    for_ms: 1_000,
                    with_machine: false,
                },
            ),
            (
                30_000,
                Fault::WallClock {
                    client,
                    by_ms: -7_000,
                    for_ms: 100,
                },
            ),
        ];
        HostClock::new(&plan, client)
    }

    #[test]
    fn a_clock_drifts_and_stands_still_as_the_plan_says() {
        let clock = clock();
        let shown = [1_000, 2_000, 3_000, 5_000, 11_000, 20_500].map(|ms| clock.local(at(ms)));
        assert_eq!(shown, [1_000, 2_010, 3_020, 5_020, 5_020, 14_520].map(at));
        assert_eq!(clock.suspended(at(4_000)), Duration::ZERO);
        assert_eq!(clock.suspended(at(7_000)), Duration::from_secs(2));
        assert_eq!(clock.suspended(at(90_000)), Duration::from_secs(6));
        assert_eq!(clock.stopped_until(at(7_000)), Some(at(11_000)));
        assert_eq!(clock.stopped_until(at(11_000)), None);
        assert_eq!(clock.next_stop(at(11_000)), Some(at(20_000)));
        assert_eq!(clock.wall_ms(at(30_050)), WALL_START_MS + 23_050);
        assert_eq!(clock.wall_ms(at(30_100)), WALL_START_MS + 30_100);
    }

    #[test]
    fn a_deadline_is_reached_when_the_clock_shows_it_and_not_before() {
        let clock = clock();
        for ms in 0..30_000 {
            let deadline = at(ms);
            let world = clock.world(deadline);
            assert!(clock.local(world) >= deadline, "{ms}");
            let before = Timestamp::ZERO + Duration::from_nanos(world.as_nanos().saturating_sub(1));
            assert!(ms == 0 || clock.local(before) < deadline, "{ms}");
        }
    }

    #[test]
    fn others_have_the_right_time() {
        let clock = HostClock::new(&Plan::draw(3).with_perfect_network(), Some(99));
        assert_eq!(clock.local(at(12_345)), at(12_345));
        assert_eq!(clock.world(at(12_345)), at(12_345));
        assert_eq!(clock.wall_ms(at(5)), WALL_START_MS + 5);
    }
}

//! A bulk flow as TCP with CUBIC makes it: RFC 9438, with recovery after RFC 8985 (RACK-TLP) and
//! acknowledgements that name what has come (RFC 2018). Simplified: the stream never ends and its
//! content does not matter, so each transmission has a number of its own, as with RACK's order of
//! transmissions, and goodput is what was acknowledged.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{Flow, MS, Packet};
use crate::link::Side;
use crate::time::Timestamp;

/// A full segment with its headers, in bytes.
pub(super) const SEGMENT: usize = 1_500;

/// RFC 9438 section 4.1.
const C: f64 = 0.4;
const BETA: f64 = 0.7;
const WINDOW_INITIAL: f64 = 10.0;
const WINDOW_MIN: f64 = 2.0;
const REORDERING: u64 = 3;
const RTO_MIN: Duration = Duration::from_millis(200);
const ACK_DELAY: Duration = Duration::from_millis(40);

/// RFC 9438, in segments.
#[derive(Clone, Copy, Debug)]
struct Window {
    size: f64,
    slow_start_until: f64,
    /// The window before the last reduction, and when the present epoch began.
    largest: f64,
    epoch: Option<(Timestamp, f64)>,
    /// What Reno would have.
    reno: f64,
}

impl Window {
    const fn new() -> Self {
        Self {
            size: WINDOW_INITIAL,
            slow_start_until: f64::MAX,
            largest: 0.0,
            epoch: None,
            reno: 0.0,
        }
    }

    /// A segment was acknowledged.
    fn on_ack(&mut self, srtt: Duration, now: Timestamp) {
        if self.size < self.slow_start_until {
            self.size += 1.0;
            return;
        }
        let (since, begin) = *self.epoch.get_or_insert_with(|| {
            self.reno = self.size;
            (now, self.size)
        });
        let top = self.largest.max(begin);
        let k = ((top - begin) / C).cbrt();
        let t = (now.saturating_since(since) + srtt).as_secs_f64();
        let target = (C * (t - k).powi(3) + top).clamp(self.size, 1.5 * self.size);
        let alpha = match self.reno < self.largest {
            true => 3.0 * (1.0 - BETA) / (1.0 + BETA),
            false => 1.0,
        };
        self.reno += alpha / self.size;
        self.size += (target - self.size) / self.size;
        self.size = self.size.max(self.reno);
    }

    fn on_loss(&mut self) {
        self.largest = match self.size < self.largest {
            true => self.size * (1.0 + BETA) / 2.0, // fast convergence
            false => self.size,
        };
        self.size = (self.size * BETA).max(WINDOW_MIN);
        self.slow_start_until = self.size;
        self.epoch = None;
    }

    fn on_timeout(&mut self) {
        self.on_loss();
        self.size = 1.0;
    }
}

/// The sender at the node's end or at the broker's, and the receiver at the other.
#[derive(Debug)]
pub(in crate::link) struct Cubic {
    from: Side,
    starts_at: Timestamp,
    window: Window,
    next: u64,
    in_flight: BTreeMap<u64, Timestamp>,
    largest_acked: Option<u64>,
    /// The first number sent after the last reduction.
    recovered_from: u64,
    srtt: Duration,
    variance: Duration,
    backoff: u32,
    last_progress: Timestamp,
    /// Segments acknowledged.
    pub(in crate::link) acked: u64,
    /// What the receiver has, as disjoint ranges: from, to.
    got: BTreeMap<u64, u64>,
    unreported: u32,
    ack_due: Option<Timestamp>,
    echo: Timestamp,
    out: Vec<(Side, Packet)>,
}

impl Cubic {
    /// A flow that `from` sends, from `starts_at` on.
    pub(in crate::link) fn new(from: Side, starts_at: Timestamp) -> Self {
        Self {
            from,
            starts_at,
            window: Window::new(),
            next: 0,
            in_flight: BTreeMap::new(),
            largest_acked: None,
            recovered_from: 0,
            srtt: Duration::ZERO,
            variance: Duration::ZERO,
            backoff: 0,
            last_progress: starts_at,
            acked: 0,
            got: BTreeMap::new(),
            unreported: 0,
            ack_due: None,
            echo: starts_at,
            out: Vec::new(),
        }
    }

    fn rto(&self) -> Duration {
        let rto = match self.srtt {
            Duration::ZERO => MS * 1_000,
            srtt => srtt + (self.variance * 4).max(RTO_MIN),
        };
        rto * (1 << self.backoff.min(6))
    }

    fn fill(&mut self, now: Timestamp) {
        if now < self.starts_at {
            return;
        }
        while (self.in_flight.len() as f64) < self.window.size.floor() {
            if self.in_flight.is_empty() {
                self.last_progress = now;
            }
            self.in_flight.insert(self.next, now);
            let segment = Packet::Segment {
                number: self.next,
                sent_at: now,
            };
            self.out.push((self.from, segment));
            self.next += 1;
        }
    }

    fn on_ack(&mut self, ranges: &[(u64, u64)], echo: Timestamp, now: Timestamp) {
        let sample = now.saturating_since(echo);
        if self.srtt.is_zero() {
            (self.srtt, self.variance) = (sample, sample / 2);
        } else {
            self.variance = (self.variance * 3 + self.srtt.abs_diff(sample)) / 4;
            self.srtt = (self.srtt * 7 + sample) / 8;
        }
        for (low, high) in ranges {
            self.largest_acked = self.largest_acked.max(Some(*high));
            let acked: Vec<u64> = self
                .in_flight
                .range(*low..=*high)
                .map(|(n, _)| *n)
                .collect();
            for number in acked {
                self.in_flight.remove(&number);
                self.acked += 1;
                self.last_progress = now;
                self.backoff = 0;
                if number >= self.recovered_from {
                    self.window.on_ack(self.srtt, now);
                }
            }
        }
        let Some(largest) = self.largest_acked else {
            return;
        };
        let lost: Vec<u64> = self
            .in_flight
            .range(..largest.saturating_sub(REORDERING - 1))
            .map(|(number, _)| *number)
            .collect();
        if lost.iter().any(|number| *number >= self.recovered_from) {
            self.window.on_loss();
            self.recovered_from = self.next;
        }
        for number in lost {
            self.in_flight.remove(&number);
        }
    }

    fn on_segment(&mut self, number: u64, sent_at: Timestamp, now: Timestamp) {
        let expected = self.got.last_key_value().map_or(0, |(_, high)| high + 1);
        self.echo = sent_at;
        let before = number.checked_sub(1);
        let start = before
            .and_then(|before| {
                let (low, high) = self.got.range(..=before).next_back()?;
                (*high == before).then_some(*low)
            })
            .unwrap_or(number);
        let end = self.got.remove(&(number + 1)).unwrap_or(number);
        self.got.insert(start, end);
        while self.got.len() > 32 {
            self.got.pop_first();
        }
        self.unreported += 1;
        if number != expected || self.unreported >= 2 {
            self.report();
        } else {
            self.ack_due.get_or_insert(now + ACK_DELAY);
        }
    }

    fn report(&mut self) {
        let ranges = self.got.iter().rev().map(|(low, high)| (*low, *high));
        let ack = Packet::Ack {
            ranges: ranges.collect(),
            echo: self.echo,
        };
        self.out.push((super::other(self.from), ack));
        self.unreported = 0;
        self.ack_due = None;
    }
}

impl Flow for Cubic {
    fn next_at(&self) -> Option<Timestamp> {
        let timeout = match self.in_flight.is_empty() {
            true => self.starts_at,
            false => self.last_progress + self.rto(),
        };
        [Some(timeout), self.ack_due].into_iter().flatten().min()
    }

    fn handle(&mut self, side: Side, packet: Packet, now: Timestamp) {
        match packet {
            Packet::Segment { number, sent_at } if side != self.from => {
                self.on_segment(number, sent_at, now);
            }
            Packet::Ack { ranges, echo } if side == self.from => self.on_ack(&ranges, echo, now),
            other => panic!("{other:?} came to {side:?}"),
        }
        self.fill(now);
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        if self.ack_due.is_some_and(|at| at <= now) {
            self.report();
        }
        if !self.in_flight.is_empty() && self.last_progress + self.rto() <= now {
            self.window.on_timeout();
            self.in_flight.clear();
            self.recovered_from = self.next;
            self.backoff += 1;
        }
        self.fill(now);
    }

    fn drain(&mut self, _: Timestamp) -> Vec<(Side, Packet)> {
        core::mem::take(&mut self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bottleneck, Road};
    use super::*;

    fn utilisation(road: Road, seconds: u32) -> (f64, Duration) {
        let mut bottleneck = Bottleneck::new(road, 1);
        let mut cubic = Cubic::new(Side::Node, bottleneck.now);
        bottleneck.run_for(&mut [&mut cubic], MS * 1_000 * seconds);
        let passed = bottleneck.passed(0, Side::Node);
        let part = passed.bytes as f64 / (road.rate * u64::from(seconds)) as f64;
        (part, passed.waited_on_average())
    }

    #[test]
    fn alone_it_fills_the_road_and_most_of_the_queue() {
        let (part, waited) = utilisation(Road::new(2, 50, 100), 60);
        assert!(part > 0.98, "{part}");
        assert!((MS * 50..=MS * 100).contains(&waited), "{waited:?}");
    }

    /// Table of RFC 9438 section 5.2: at a loss of 1 % and a round trip of 100 ms, the average
    /// window is about Reno's, 12 segments.
    #[test]
    fn random_loss_makes_it_collapse_as_the_standard_says() {
        let road = Road::new(100, 100, 100).losing(10_000);
        let mut bottleneck = Bottleneck::new(road, 1);
        let mut cubic = Cubic::new(Side::Node, bottleneck.now);
        bottleneck.run_for(&mut [&mut cubic], MS * 200_000);
        let window = cubic.acked as f64 / 2_000.0;
        assert!((9.0..16.0).contains(&window), "{window}");
    }

    #[test]
    fn two_of_them_share_fairly() {
        let mut bottleneck = Bottleneck::new(Road::new(10, 50, 100), 1);
        let mut first = Cubic::new(Side::Node, bottleneck.now);
        let mut second = Cubic::new(Side::Node, bottleneck.now + MS * 5_000);
        bottleneck.run_for(&mut [&mut first, &mut second], MS * 30_000);
        bottleneck.forget();
        bottleneck.run_for(&mut [&mut first, &mut second], MS * 60_000);
        let bytes = |index| bottleneck.passed(index, Side::Node).bytes as f64;
        let share = bytes(0) / (bytes(0) + bytes(1));
        assert!((0.35..0.65).contains(&share), "{share}");
    }
}

//! What the network does to one datagram.
//!
//! A fate is a stateless hash of the seed, the directed link and the datagram's number on it. So
//! taking one fault out of a plan does not reshuffle what befalls all other datagrams, and a plan
//! can be shrunk by leaving things out.

use std::time::Duration;

use crate::plan::Rates;

/// One direction of the way between a client and the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From a client to the broker.
    Up,
    /// From the broker to a client.
    Down,
}

/// What happens to one datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// It never arrives.
    pub is_lost: bool,
    /// How long the copies are under way: one, or two for a datagram that is duplicated.
    pub delays: Vec<Duration>,
    /// The bits that are flipped, each as (a number to be taken modulo the length, mask).
    pub flips: Vec<(u64, u8)>,
    /// What is left, in thousandths of its length, if it is cut.
    pub cut_to_permille: Option<u64>,
}

/// Mixes two numbers into one that looks random (the finaliser of SplitMix64).
#[must_use]
pub const fn mix(a: u64, b: u64) -> u64 {
    let mut z = a
        .rotate_left(25)
        .wrapping_add(b.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Numbers that look random, in a sequence that depends on the seed only.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0, 0x5eed)
    }

    /// A number in `low..=high`.
    pub const fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high - low + 1)
    }

    /// True `permille` times in a thousand.
    pub const fn chance(&mut self, permille: u64) -> bool {
        self.draw() % 1000 < permille
    }
}

/// The fate of datagram `number` from or to `client`.
#[must_use]
pub fn fate(seed: u64, client: usize, direction: Direction, number: u64, rates: &Rates) -> Fate {
    let link = mix(client as u64, direction as u64 + 1);
    let mut dice = Dice::new(mix(mix(seed, link), number));
    // Everything is drawn always, so that one rate does not move what the others draw.
    let is_lost = dice.chance(rates.loss_permille);
    let jitter_us = dice.range(0, rates.jitter_ms * 1000);
    let is_twice = dice.chance(rates.duplicate_permille);
    let later_us = dice.range(0, rates.duplicate_later_ms * 1000);
    let is_corrupted = dice.chance(rates.corrupt_permille);
    let (place, bit, more) = (dice.draw(), dice.range(0, 7), dice.range(0, 3));
    let is_cut = dice.chance(rates.truncate_permille);
    let cut_to = dice.range(0, 999);

    let base = Duration::from_millis(rates.latency_ms) + Duration::from_micros(jitter_us);
    let mut delays = vec![base];
    if is_twice {
        delays.push(base + Duration::from_micros(later_us));
    }
    let mut flips = Vec::new();
    if is_corrupted {
        flips.push((place, 1 << bit));
        for _ in 0..more {
            flips.push((dice.draw(), 1 << dice.range(0, 7)));
        }
    }
    Fate {
        is_lost,
        delays,
        flips,
        cut_to_permille: is_cut.then_some(cut_to),
    }
}

impl Fate {
    /// What arrives of `datagram`.
    #[must_use]
    pub fn apply(&self, datagram: &[u8]) -> Vec<u8> {
        let mut bytes = datagram.to_vec();
        for (place, mask) in &self.flips {
            let len = bytes.len() as u64;
            if len > 0 {
                bytes[(place % len) as usize] ^= mask;
            }
        }
        if let Some(permille) = self.cut_to_permille {
            bytes.truncate(bytes.len() * permille as usize / 1000);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        loss_permille: 300,
        latency_ms: 40,
        jitter_ms: 20,
        duplicate_permille: 100,
        duplicate_later_ms: 3_000,
        corrupt_permille: 50,
        truncate_permille: 20,
    };

    fn fates(seed: u64, rates: &Rates) -> Vec<Fate> {
        (0..20_000)
            .map(|number| fate(seed, 3, Direction::Up, number, rates))
            .collect()
    }

    #[test]
    fn the_rates_are_those_of_the_plan() {
        let fates = fates(7, &RATES);
        let share = |what: &dyn Fn(&Fate) -> bool| {
            fates.iter().filter(|fate| what(fate)).count() as f64 / fates.len() as f64
        };
        assert!((share(&|f| f.is_lost) - 0.3).abs() < 0.015);
        assert!((share(&|f| f.delays.len() == 2) - 0.1).abs() < 0.01);
        assert!((share(&|f| !f.flips.is_empty()) - 0.05).abs() < 0.01);
        assert!((share(&|f| f.cut_to_permille.is_some()) - 0.02).abs() < 0.005);
        let mean_ms =
            fates.iter().map(|f| f.delays[0].as_secs_f64()).sum::<f64>() / fates.len() as f64;
        assert!((mean_ms - 0.05).abs() < 0.001);
    }

    #[test]
    fn losses_of_neighbours_are_independent() {
        let fates = fates(8, &RATES);
        let pairs = fates.windows(2).filter(|w| w[0].is_lost && w[1].is_lost);
        let share = pairs.count() as f64 / fates.len() as f64;
        assert!((share - 0.09).abs() < 0.01);
    }

    #[test]
    fn a_fate_depends_on_seed_link_direction_and_number_and_on_nothing_else() {
        let of = |seed, client, direction, number| fate(seed, client, direction, number, &RATES);
        let one = of(1, 2, Direction::Up, 3);
        assert_eq!(one, of(1, 2, Direction::Up, 3));
        for other in [
            of(2, 2, Direction::Up, 3),
            of(1, 3, Direction::Up, 3),
            of(1, 2, Direction::Down, 3),
            of(1, 2, Direction::Up, 4),
        ] {
            assert_ne!(one.delays, other.delays);
        }
    }

    #[test]
    fn one_rate_does_not_move_what_the_others_draw() {
        let without_loss = Rates {
            loss_permille: 0,
            ..RATES
        };
        for (with, without) in fates(9, &RATES).iter().zip(fates(9, &without_loss)) {
            assert!(!without.is_lost);
            assert_eq!(
                (&with.delays, &with.flips),
                (&without.delays, &without.flips)
            );
        }
    }

    #[test]
    fn corruption_and_truncation_do_what_they_say() {
        let fate = Fate {
            flips: vec![(11, 0x80)],
            cut_to_permille: Some(500),
            ..Fate::default()
        };
        assert_eq!(fate.apply(&[0; 10]), [0, 0x80, 0, 0, 0]);
        assert!(fate.apply(&[]).is_empty());
    }
}

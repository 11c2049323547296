//! What a bad network does to datagrams: a pure component, drawn from a seed.

use std::time::Duration;

use crate::rng::{Seed, SeededRng};

/// What happens to the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// How many in a hundred are lost.
    pub loss_percent: u64,
    /// How many in a hundred come twice.
    pub duplicate_percent: u64,
    /// How long each copy is under way at least.
    pub delay_ms: u64,
    /// Each copy waits between nothing and this in addition, so that later ones overtake it.
    pub jitter_ms_max: u64,
    /// One bit of each n-th datagram is flipped.
    pub flip_every: Option<u64>,
}

/// One direction of a network.
pub struct Lane {
    rng: SeededRng,
    count: u64,
    flipped: u64,
}

impl Lane {
    /// A direction whose fate is drawn from `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self {
            rng: SeededRng::new(seed),
            count: 0,
            flipped: 0,
        }
    }

    /// How many datagrams it has damaged.
    #[must_use]
    pub const fn flipped(&self) -> u64 {
        self.flipped
    }

    /// What becomes of the next datagram: each copy that arrives, and how much later.
    pub fn judge(&mut self, faults: &Faults, bytes: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        self.count += 1;
        let mut bytes = bytes.to_vec();
        if let Some(every) = faults.flip_every
            && self.count.is_multiple_of(every)
            && !bytes.is_empty()
        {
            let bit = self.rng.range(0, bytes.len() as u64 * 8 - 1);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            self.flipped += 1;
        }
        let copies = 1 + u64::from(self.happens(faults.duplicate_percent));
        let mut arriving = Vec::new();
        for _ in 0..copies {
            let jitter_ms = self.rng.range(0, faults.jitter_ms_max);
            if !self.happens(faults.loss_percent) {
                let delay = Duration::from_millis(faults.delay_ms + jitter_ms);
                arriving.push((delay, bytes.clone()));
            }
        }
        arriving
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.rng.range(1, 100) <= percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULTS: Faults = Faults {
        loss_percent: 30,
        duplicate_percent: 5,
        delay_ms: 10,
        jitter_ms_max: 40,
        flip_every: Some(10),
    };

    fn judged(seed: u8) -> Vec<Vec<(Duration, Vec<u8>)>> {
        let mut lane = Lane::new([seed; 32]);
        (0..10_000).map(|_| lane.judge(&FAULTS, &[0; 50])).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_network() {
        assert!(judged(1) == judged(1));
        assert!(judged(1) != judged(2));
    }

    #[test]
    fn datagrams_are_lost_repeated_and_damaged_as_often_as_asked() {
        let judged = judged(3);
        let arrived = judged.iter().flatten().count();
        assert!((7_200..7_500).contains(&arrived), "{arrived} of 10,500");
        let twice = judged.iter().filter(|copies| copies.len() > 1).count();
        assert!((150..350).contains(&twice), "{twice} came twice");
        for (index, copies) in judged.iter().enumerate() {
            for (delay, bytes) in copies {
                assert!((10..=50).contains(&delay.as_millis()));
                let flipped: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
                assert_eq!(flipped, u32::from(index % 10 == 9));
            }
        }
    }
}

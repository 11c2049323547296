//! All randomness of the core: ChaCha20 over a seed that the caller supplied.
//!
//! A driver takes the seed from the operating system, a simulation from its plan; so a run with
//! the same seed and the same inputs is the same run.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// 32 bytes of entropy, handed to a machine's constructor.
pub type Seed = [u8; 32];

/// A deterministic generator, good enough for keys.
#[derive(Clone, Debug)]
pub struct SeededRng(ChaCha20Rng);

impl SeededRng {
    /// Expands `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A seed for a generator of its own (a link's, a handshake's).
    pub fn fork(&mut self) -> Seed {
        self.bytes()
    }

    /// A number in `low..=high`, uniform up to a bias below 2^-32 for the small ranges used here.
    ///
    /// # Panics
    ///
    /// If `low > high`, or the range is the whole of `u64`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "empty range");
        low + self.0.next_u64() % (high - low + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (SeededRng::new([7; 32]), SeededRng::new([7; 32]));
        assert_eq!(a.bytes::<16>(), b.bytes::<16>());
        assert_eq!(a.fork(), b.fork());
    }

    #[test]
    fn a_range_includes_both_ends() {
        let mut rng = SeededRng::new([1; 32]);
        let drawn: Vec<u64> = (0..200).map(|_| rng.range(3, 5)).collect();
        assert!((3..=5).all(|n| drawn.contains(&n)));
        assert!(drawn.iter().all(|n| (3..=5).contains(n)));
    }
}

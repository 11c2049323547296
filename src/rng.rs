//! All randomness of the core: ChaCha20 over a seed that the caller supplied.
//!
//! A driver takes the seed from the operating system, a simulation from its plan; so a run with
//! the same seed and the same inputs is the same run.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// 32 bytes of entropy, handed to a machine's constructor.
pub type Seed = [u8; 32];

/// A deterministic generator, good enough for keys. It keeps what it has generated ahead; what draws
/// seldom and is there in great numbers has a [`SparseRng`].
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

/// The numbers of [`SeededRng::new`] with the same seed, in an eighth of its memory: nothing is kept
/// ahead, so that each draw costs a block.
#[derive(Clone, Debug)]
pub struct SparseRng {
    seed: Seed,
    /// How many words of the key stream were drawn.
    drawn: u64,
}

impl SparseRng {
    /// Expands `seed`.
    #[must_use]
    pub const fn new(seed: Seed) -> Self {
        Self { seed, drawn: 0 }
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.draw(|rng| rng.fill(out));
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.draw(SeededRng::bytes)
    }

    /// As [`SeededRng::range`].
    ///
    /// # Panics
    ///
    /// As there.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        self.draw(|rng| rng.range(low, high))
    }

    fn draw<T>(&mut self, draw: impl FnOnce(&mut SeededRng) -> T) -> T {
        let mut rng = SeededRng::new(self.seed);
        rng.0.set_word_pos(self.drawn.into());
        let drawn = draw(&mut rng);
        self.drawn = rng.0.get_word_pos() as u64;
        drawn
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
    fn a_sparse_generator_gives_the_same_numbers() {
        let (mut ahead, mut sparse) = (SeededRng::new([9; 32]), SparseRng::new([9; 32]));
        for round in 0..200 {
            let mut bytes = [vec![0; round % 70], vec![0; round % 70]];
            ahead.fill(&mut bytes[0]);
            sparse.fill(&mut bytes[1]);
            assert_eq!(bytes[0], bytes[1]);
            assert_eq!(ahead.range(3, 1_000), sparse.range(3, 1_000));
            assert_eq!(ahead.bytes::<5>(), sparse.bytes::<5>());
        }
        assert!(size_of::<SparseRng>() * 7 < size_of::<SeededRng>());
    }

    #[test]
    fn a_range_includes_both_ends() {
        let mut rng = SeededRng::new([1; 32]);
        let drawn: Vec<u64> = (0..200).map(|_| rng.range(3, 5)).collect();
        assert!((3..=5).all(|n| drawn.contains(&n)));
        assert!(drawn.iter().all(|n| (3..=5).contains(n)));
    }
}

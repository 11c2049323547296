//! Which packet numbers have been seen: a window of the highest ones (KEY-2).

/// How many packet numbers, counted down from the largest seen, are told apart (KEY-2).
pub const REPLAY_WINDOW: u64 = 1024;

/// One word more than the window needs, so that clearing whole words ahead never clears numbers
/// that are still in the window.
const WORDS: u64 = REPLAY_WINDOW / 64 + 1;

/// The packet numbers that have been seen, as far as the window reaches.
///
/// A bit for each number, at `number % (64 * WORDS)`: nothing moves when the window does.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// The largest number seen, plus one; 0 before the first.
    next: u64,
    seen: [u64; WORDS as usize],
}

impl ReplayWindow {
    /// A window that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next: 0,
            seen: [0; WORDS as usize],
        }
    }

    /// The largest number seen.
    #[must_use]
    pub const fn largest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Whether `number` is neither seen nor below the window (KEY-2).
    #[must_use]
    pub const fn is_fresh(&self, number: u64) -> bool {
        if number >= self.next {
            return true;
        }
        let (word, bit) = place(number);
        self.next - number <= REPLAY_WINDOW && self.seen[word] & bit == 0
    }

    /// Notes `number` as seen. To be called only once its packet has decrypted (KEY-2).
    pub fn insert(&mut self, number: u64) {
        debug_assert!(self.is_fresh(number), "packet {number} was seen before");
        if number >= self.next {
            self.advance_to(number);
        }
        let (word, bit) = place(number);
        self.seen[word] |= bit;
    }

    /// Moves the upper end of the window to `number`, at most once round the words.
    fn advance_to(&mut self, number: u64) {
        let entered = self.next.div_ceil(64)..=number / 64;
        for word in entered.rev().take(WORDS as usize) {
            self.seen[(word % WORDS) as usize] = 0;
        }
        self.next = number + 1;
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

/// The word and the bit that stand for `number`.
const fn place(number: u64) -> (usize, u64) {
    ((number / 64 % WORDS) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// KEY-2.
    #[test]
    fn a_number_is_fresh_once_and_never_below_the_window() {
        let mut window = ReplayWindow::new();
        assert_eq!(window.largest(), None);
        window.insert(5000);
        assert_eq!(window.largest(), Some(5000));
        assert!(!window.is_fresh(5000));
        assert!(window.is_fresh(5000 - REPLAY_WINDOW + 1));
        assert!(!window.is_fresh(5000 - REPLAY_WINDOW));
        window.insert(4999);
        assert!(!window.is_fresh(4999));
        assert_eq!(window.largest(), Some(5000));
    }

    proptest! {
        /// KEY-2: the window is the set of everything seen, cut off below the 1,024 highest numbers.
        #[test]
        fn the_window_behaves_like_a_set(
            steps in prop::collection::vec((any::<bool>(), prop_oneof![0..4_u64, 0..1200_u64, 0..5000_u64]), 1..300),
        ) {
            let mut window = ReplayWindow::new();
            let mut seen = BTreeSet::new();
            for (ahead, distance) in steps {
                let largest = seen.last().copied().unwrap_or(0_u64);
                let number = if ahead { largest + distance } else { largest.saturating_sub(distance) };
                let below = number + REPLAY_WINDOW <= largest;
                prop_assert_eq!(window.is_fresh(number), !below && !seen.contains(&number));
                if window.is_fresh(number) {
                    window.insert(number);
                    seen.insert(number);
                }
                prop_assert_eq!(window.largest(), seen.last().copied());
            }
        }
    }
}

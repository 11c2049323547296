//! Which lines of a room somebody has: stretches without a hole (SPEC.md section 9.5).

use std::collections::BTreeMap;

/// The most stretches that are remembered of an account in a room (LIM-13).
pub const STRETCHES_MAX: usize = 64;

/// Lines without a hole: those after line `after`, up to line `to`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    /// The line before the first one; 0 if that is line 1.
    pub after: u64,
    /// The last one. There is no line in the stretch if it is not above `after`.
    pub to: u64,
}

impl Stretch {
    /// No line yet, at the place after line `seq`.
    #[must_use]
    pub const fn starting_after(seq: u64) -> Self {
        Self {
            after: seq,
            to: seq,
        }
    }

    /// Whether there is no line in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.to <= self.after
    }
}

/// What somebody has of a room: stretches that neither overlap nor touch.
///
/// The highest [`STRETCHES_MAX`] are kept; a lower one makes place (LIM-13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// By the line before the first one: the last one.
    stretches: BTreeMap<u64, u64>,
}

/// What became of a coverage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grown {
    /// The stretch that holds what was added, if anything was new about it.
    pub merged: Option<Stretch>,
    /// What was not covered before, in order.
    pub gained: Vec<Stretch>,
    /// What made place, and is not covered any more.
    pub lost: Option<Stretch>,
}

impl Coverage {
    /// Whether line `seq` is among what somebody has.
    #[must_use]
    pub fn has(&self, seq: u64) -> bool {
        let from = self.stretches.range(..seq).next_back();
        from.is_some_and(|(_, to)| seq <= *to)
    }

    /// The stretches, in order.
    pub fn stretches(&self) -> impl Iterator<Item = Stretch> {
        let stretches = self.stretches.iter();
        stretches.map(|(after, to)| Stretch {
            after: *after,
            to: *to,
        })
    }

    /// Adds a stretch.
    pub fn add(&mut self, added: Stretch) -> Grown {
        let mut grown = Grown::default();
        if added.is_empty() {
            return grown;
        }
        let mut merged = added;
        let mut covered_to = added.after;
        let touched = self.touched_by(added);
        for known in &touched {
            if known.after > covered_to {
                grown.gained.push(Stretch {
                    after: covered_to,
                    to: known.after,
                });
            }
            covered_to = covered_to.max(known.to);
            merged.after = merged.after.min(known.after);
            merged.to = merged.to.max(known.to);
        }
        if covered_to < added.to {
            grown.gained.push(Stretch {
                after: covered_to,
                to: added.to,
            });
        }
        if grown.gained.is_empty() {
            return grown;
        }
        for known in &touched {
            self.stretches.remove(&known.after);
        }
        self.stretches.insert(merged.after, merged.to);
        grown.merged = Some(merged);
        self.make_place(grown)
    }

    /// LIM-13: the lowest one goes.
    fn make_place(&mut self, mut grown: Grown) -> Grown {
        if self.stretches.len() <= STRETCHES_MAX {
            return grown;
        }
        if let Some((after, to)) = self.stretches.pop_first() {
            let lost = Stretch { after, to };
            if grown.merged == Some(lost) {
                return Grown::default();
            }
            grown.lost = Some(lost);
        }
        grown
    }

    /// The stretches that overlap a given one, or lie right beside it, in order.
    fn touched_by(&self, added: Stretch) -> Vec<Stretch> {
        let before = self.stretches.range(..=added.after).next_back();
        let first = before.map_or(added.after, |(after, _)| *after);
        let near = self.stretches.range(first..=added.to);
        let near = near.map(|(after, to)| Stretch {
            after: *after,
            to: *to,
        });
        near.filter(|known| known.to >= added.after).collect()
    }
}

impl FromIterator<Stretch> for Coverage {
    fn from_iter<I: IntoIterator<Item = Stretch>>(stretches: I) -> Self {
        let mut coverage = Self::default();
        for stretch in stretches {
            coverage.add(stretch);
        }
        coverage
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn stretch(after: u64, to: u64) -> Stretch {
        Stretch { after, to }
    }

    fn all(coverage: &Coverage) -> Vec<Stretch> {
        coverage.stretches().collect()
    }

    /// STA-1: what lies between two stretches is in neither.
    #[test]
    fn a_hole_stays_a_hole_until_it_is_filled() {
        let mut coverage = Coverage::default();
        coverage.add(stretch(0, 5));
        assert_eq!(coverage.add(stretch(8, 10)).gained, [stretch(8, 10)]);
        let had = |coverage: &Coverage| (0..12).filter(|seq| coverage.has(*seq)).collect();
        let lines: Vec<u64> = had(&coverage);
        assert_eq!(lines, [1, 2, 3, 4, 5, 9, 10]);
        let grown = coverage.add(stretch(3, 11));
        assert_eq!(grown.gained, [stretch(5, 8), stretch(10, 11)]);
        assert_eq!(grown.merged, Some(stretch(0, 11)));
        assert_eq!(all(&coverage), [stretch(0, 11)]);
        assert_eq!(coverage.add(stretch(2, 9)), Grown::default());
    }

    /// LIM-13: whoever makes holes for a year costs so much and no more.
    #[test]
    fn the_lowest_stretch_makes_place() {
        let most = STRETCHES_MAX as u64;
        let place = |i: u64| stretch(10 * i, 10 * i + 5);
        let mut coverage: Coverage = (1..=most).map(place).collect();
        assert_eq!(coverage.add(place(0)), Grown::default(), "it is the lowest");
        let grown = coverage.add(place(most + 1));
        assert_eq!(grown.lost, Some(place(1)));
        assert_eq!(all(&coverage).len(), STRETCHES_MAX);
        assert!(!coverage.has(11) && coverage.has(21));
    }

    proptest! {
        /// STA-1: a coverage is the set of the lines added.
        #[test]
        fn nothing_is_covered_but_what_was_added(
            added in prop::collection::vec((0_u64..40, 0_u64..8), 0..20),
        ) {
            let (mut coverage, mut lines) = (Coverage::default(), BTreeSet::new());
            for (after, length) in added {
                let grown = coverage.add(stretch(after, after + length));
                let gained = grown.gained.iter().flat_map(|new| new.after + 1..=new.to);
                let news = (after + 1..=after + length).filter(|seq| lines.insert(*seq));
                prop_assert_eq!(gained.collect::<Vec<_>>(), news.collect::<Vec<_>>());
                prop_assert_eq!(grown.lost, None);
            }
            let covered = all(&coverage);
            let of = covered.iter().flat_map(|known| known.after + 1..=known.to);
            prop_assert_eq!(of.collect::<Vec<_>>(), Vec::from_iter(lines.iter().copied()));
            prop_assert!(covered.windows(2).all(|pair| pair[0].to < pair[1].after));
            prop_assert!((0..60).all(|seq| coverage.has(seq) == lines.contains(&seq)));
        }
    }
}

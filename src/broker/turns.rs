//! Whose link may send next (BRK-3, BRK-9).

use std::collections::{BTreeSet, VecDeque};

use super::LinkId;

/// Every so many turns, one who is behind goes first: whoever is not cannot starve it.
const LATE_EVERY: u64 = 4;

/// The links whose turn to send has come, once each.
#[derive(Debug, Default)]
pub(super) struct Turns {
    ready: VecDeque<LinkId>,
    /// Those that are behind, and catch up.
    late: VecDeque<LinkId>,
    waits: BTreeSet<LinkId>,
    taken: u64,
}

impl Turns {
    /// Gives the link a turn, unless it waits for one.
    pub(super) fn add(&mut self, id: LinkId, is_late: bool) {
        if self.waits.insert(id) {
            let queue = if is_late {
                &mut self.late
            } else {
                &mut self.ready
            };
            queue.push_back(id);
        }
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<LinkId> {
        self.taken = self.taken.wrapping_add(1);
        let late_first = self.taken.is_multiple_of(LATE_EVERY);
        let id = if late_first {
            self.late.pop_front().or_else(|| self.ready.pop_front())
        } else {
            self.ready.pop_front().or_else(|| self.late.pop_front())
        };
        let id = id?;
        self.waits.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BRK-9, BRK-3.
    #[test]
    fn who_is_behind_goes_later_and_not_never() {
        let mut turns = Turns::default();
        for id in 0..6 {
            turns.add(id, id >= 3);
            turns.add(id, false);
        }
        let mut order = Vec::new();
        while let Some(id) = turns.next() {
            order.push(id);
        }
        assert_eq!(order, [0, 1, 2, 3, 4, 5]);
        for turn in 0..100 {
            turns.add(1_000 + turn % 2, false);
            turns.add(7, true);
            order.extend(turns.next());
        }
        let late = order.iter().filter(|id| **id == 7).count();
        assert_eq!(late, 25);
    }
}

//! Whose link may send next (BRK-3, BRK-9).

use std::collections::VecDeque;

use super::LinkId;

/// Every so many turns, one who is behind goes first: whoever is not cannot starve it.
const LATE_EVERY: u64 = 4;

/// The links whose turn to send has come, once each: whether a link waits is kept with the link.
#[derive(Debug, Default)]
pub(super) struct Turns {
    ready: VecDeque<LinkId>,
    /// Those that are behind, and catch up.
    late: VecDeque<LinkId>,
    taken: u64,
}

impl Turns {
    /// Gives the link a turn, unless it `waits` for one. Whoever takes its turn says that it waits no
    /// more.
    pub(super) fn add(&mut self, id: LinkId, is_late: bool, waits: &mut bool) {
        if !core::mem::replace(waits, true) {
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
        if late_first {
            self.late.pop_front().or_else(|| self.ready.pop_front())
        } else {
            self.ready.pop_front().or_else(|| self.late.pop_front())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BRK-9, BRK-3.
    #[test]
    fn who_is_behind_goes_later_and_not_never() {
        let mut turns = Turns::default();
        let mut waits = [false; 8];
        for (id, waits) in (0..6).zip(&mut waits) {
            turns.add(id, id >= 3, waits);
            turns.add(id, false, waits);
        }
        let mut order = Vec::new();
        while let Some(id) = turns.next() {
            waits[id as usize] = false;
            order.push(id);
        }
        assert_eq!(order, [0, 1, 2, 3, 4, 5]);
        for turn in 0..100 {
            turns.add(turn % 2, false, &mut waits[turn as usize % 2]);
            turns.add(7, true, &mut waits[7]);
            if let Some(id) = turns.next() {
                waits[id as usize] = false;
                order.push(id);
            }
        }
        let late = order.iter().filter(|id| **id == 7).count();
        assert_eq!(late, 25);
    }
}

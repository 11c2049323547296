//! When which link has something to do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::LinkId;
use crate::time::Timestamp;

/// How many entries that nobody waits for are kept, beside one for each link.
const STALE_FEW: usize = 64;

/// The deadlines of all links, the earliest first.
///
/// One that is replaced by an earlier one stays: to take it out of the middle would cost more, and
/// memory at every turn. So an entry counts only if its link still waits for it, which whoever
/// takes it looks up.
#[derive(Debug, Default)]
pub(super) struct Schedule(BinaryHeap<Reverse<(Timestamp, LinkId)>>);

impl Schedule {
    pub(super) fn push(&mut self, at: Timestamp, id: LinkId) {
        self.0.push(Reverse((at, id)));
    }

    /// The earliest entry.
    pub(super) fn first(&self) -> Option<(Timestamp, LinkId)> {
        self.0.peek().map(|Reverse(first)| *first)
    }

    /// Takes the earliest entry out.
    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    /// Whether so many of the entries of `links` links are stale that they are worth a
    /// [`tidy`](Self::tidy).
    pub(super) fn is_crowded(&self, links: usize) -> bool {
        self.0.len() > 2 * links + STALE_FEW
    }

    /// Keeps what somebody waits for.
    pub(super) fn tidy(&mut self, is_awaited: impl Fn(Timestamp, LinkId) -> bool) {
        self.0.retain(|Reverse((at, id))| is_awaited(*at, *id));
    }
}

//! A link's timers: an enum and a table.

use crate::time::Timestamp;

/// Why a link wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// An acknowledgement has been held back long enough (ACK-2).
    Ack,
    /// A packet will count as lost (LOSS-1).
    Loss,
    /// Nothing has been acknowledged for too long (PROBE-1).
    Probe,
    /// A message is sent once more, ahead of its time-out (LAD-1).
    Copy,
    /// The pacer lets the next packet go (CC-2).
    Pacing,
    /// It is time for a sign of life (LIF-1).
    Keepalive,
    /// The peer has been silent while something is unacknowledged (LIF-2).
    Silence,
    /// A path is to prove itself (PTH-2).
    Path,
    /// The peer has been silent for too long (LIF-2).
    Idle,
    /// Nothing has happened for so long that no memory is kept for more.
    Rest,
    /// A closed link has answered stragglers for long enough (LIF-3).
    Closing,
}

impl Reason {
    /// The timers of an open link, in the order in which they are acted on when due together.
    const OPEN: [Self; 10] = [
        Self::Ack,
        Self::Loss,
        Self::Probe,
        Self::Copy,
        Self::Pacing,
        Self::Keepalive,
        Self::Silence,
        Self::Path,
        Self::Idle,
        Self::Rest,
    ];
}

/// When to call `handle_timeout`, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When; may lie in the past.
    pub at: Timestamp,
    /// What for.
    pub reason: Reason,
}

/// When each timer of an open link goes off.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers([Option<Timestamp>; Reason::OPEN.len()]);

impl Timers {
    /// Sets a timer, or stops it.
    pub(super) fn set(&mut self, reason: Reason, at: Option<Timestamp>) {
        self.0[reason as usize] = at;
    }

    /// The timers that have gone off by `now`.
    pub(super) fn expired(self, now: Timestamp) -> impl Iterator<Item = Reason> {
        Reason::OPEN
            .into_iter()
            .filter(move |reason| self.0[*reason as usize].is_some_and(|at| at <= now))
    }

    /// The earliest timer; of several, the first in the order in which they are acted on.
    pub(super) fn earliest(&self) -> Option<Deadline> {
        let mut earliest: Option<Deadline> = None;
        for reason in Reason::OPEN {
            if let Some(at) = self.0[reason as usize]
                && earliest.is_none_or(|other| at < other.at)
            {
                earliest = Some(Deadline { at, reason });
            }
        }
        earliest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_the_earliest_timer_and_says_why() {
        let mut timers = Timers::default();
        assert_eq!(timers.earliest(), None);
        timers.set(Reason::Idle, Some(Timestamp::from_millis(9)));
        timers.set(Reason::Probe, Some(Timestamp::from_millis(3)));
        let at = Timestamp::from_millis(3);
        let reason = Reason::Probe;
        assert_eq!(timers.earliest(), Some(Deadline { at, reason }));
        assert_eq!(timers.expired(at).collect::<Vec<_>>(), [Reason::Probe]);
        timers.set(Reason::Probe, None);
        assert_eq!(timers.earliest().map(|d| d.reason), Some(Reason::Idle));
    }
}

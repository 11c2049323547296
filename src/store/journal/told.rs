//! How far a room was told, to a screen or a program, so that nothing is told twice.

use core::ops::RangeInclusive;

use crate::chat::LogId;

/// The last line and the last notice that were told in a room.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    log: Option<LogId>,
    seq: u64,
    presence: u64,
}

impl Told {
    /// Line `seq` of `log` was told last, whatever was told after it.
    #[must_use]
    pub const fn at(log: LogId, seq: u64) -> Self {
        Self {
            log: Some(log),
            seq,
            presence: 0,
        }
    }

    /// The lines of the same history between the one told last and line `seq`, if that is not the
    /// next one.
    #[must_use]
    pub fn hole_before(&self, log: LogId, seq: u64) -> Option<RangeInclusive<u64>> {
        let is_hole = self.log == Some(log) && seq > self.seq + 1;
        is_hole.then(|| self.seq + 1..=seq - 1)
    }

    /// Whether the line is to be told; it is taken for told then.
    pub fn is_new_line(&mut self, log: LogId, seq: u64) -> bool {
        if self.log != Some(log) {
            *self = Self::default();
        } else if seq <= self.seq {
            return false;
        }
        (self.log, self.seq) = (Some(log), seq);
        true
    }

    /// Whether the notice is to be told; it is taken for told then.
    pub fn is_new_notice(&mut self, number: u64) -> bool {
        let is_new = number > self.presence;
        self.presence = self.presence.max(number);
        is_new
    }

    /// The room has another history (RUM-10): numbers that were told say nothing about it, even if
    /// it has the old one's name, as that of a broker has that was restored from a backup.
    pub const fn on_fork(&mut self) {
        (self.log, self.seq) = (None, 0);
    }
}

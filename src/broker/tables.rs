//! How full the broker is: what grows with people and is bounded by SPEC.md section 13.

use std::collections::BTreeSet;

use super::Broker;
use super::session::{SeatStage, Stage};

/// How much of each kind there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Links (LIM-5).
    pub links: usize,
    /// Half-open handshakes (SEC-6).
    pub half_open: usize,
    /// Rooms in use.
    pub rooms: usize,
    /// Storage requests under way (LIM-7).
    pub pending: usize,
    /// Sessions that have a name, and share their device with another one (SGN-4).
    pub shared_devices: usize,
    /// The most messages of one channel that wait or are unacknowledged (CHN-4).
    pub queued: usize,
    /// The most lines that were read for one seat and that its link has not taken (BRK-9).
    pub fetched: usize,
    /// The most answers that wait for one seat.
    pub replies: usize,
}

impl Tables {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            links: self.links.max(other.links),
            half_open: self.half_open.max(other.half_open),
            rooms: self.rooms.max(other.rooms),
            pending: self.pending.max(other.pending),
            shared_devices: self.shared_devices.max(other.shared_devices),
            queued: self.queued.max(other.queued),
            fetched: self.fetched.max(other.fetched),
            replies: self.replies.max(other.replies),
        }
    }
}

impl Broker {
    /// How full it is. This looks at every seat.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let mut tables = Tables {
            links: self.sessions.len(),
            half_open: self.half_open.len(),
            rooms: self.rooms.len(),
            pending: self.pending.len(),
            ..Tables::default()
        };
        let mut devices = BTreeSet::new();
        for session in self.sessions.values() {
            if matches!(session.stage, Stage::Named(_)) && !devices.insert(session.device) {
                tables.shared_devices += 1;
            }
            for (channel, seat) in session.seats.iter() {
                tables.queued = tables.queued.max(session.link.unacked_messages(channel));
                tables.replies = tables.replies.max(seat.replies.len());
                if let SeatStage::In(cursor) = &seat.stage {
                    tables.fetched = tables.fetched.max(cursor.fetched());
                }
            }
        }
        tables
    }
}

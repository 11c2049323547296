//! How much the broker holds for all, and what it does before that is too much (SPEC.md section
//! 10.4).
//!
//! What is held is estimated, not measured: sums that are kept up as it changes, so that asking costs
//! nothing. Lines that many are about to get are counted with their room, where they are kept once;
//! what only one link still needs is counted with that.

use core::fmt;
use core::time::Duration;

use super::session::{Pace, Place, Seat, SeatStage, Session};
use super::storage::StorageOp;
use super::{Broker, LinkId, READ_BYTES_MAX};
use crate::chat::{Budget, Refusal, RoomName};
use crate::link::CloseCode;
use crate::time::Timestamp;

/// What a broker holds at most, unless it is told otherwise (MEM-1, LIM-21).
pub const MEMORY_MAX: u64 = 1 << 30;
/// The least that it can be told (MEM-1).
pub const MEMORY_MIN: u64 = 16 << 20;

/// What a link costs that has nothing to say: keys, timers, tables (MEM-1).
const LINK_COST: u64 = 16 << 10;
/// What a room costs that is in use.
const ROOM_COST: u64 = 4 << 10;
/// What an account costs that is present in a room, or on its roll.
const PERSON_COST: u64 = 512;
/// What a message or a line costs besides its bytes.
const ITEM_COST: u64 = 256;
/// What a request to the store costs besides its bytes.
const REQUEST_COST: u64 = 1 << 10;

/// After how long somebody comes again who finds no room (MEM-4).
const NEWCOMERS_WAIT: Duration = Duration::from_secs(10);
/// After how long a publication comes again that finds none (MEM-4).
const LINES_WAIT: Duration = Duration::from_secs(1);

/// How near the broker is to what it may hold (MEM-2 to MEM-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is enough room.
    None,
    /// Rooms keep fewer lines in memory.
    Narrow,
    /// Links get less ahead of what they acknowledge.
    Thrifty,
    /// Nobody new comes in.
    Crowded,
    /// Nobody new comes in, and no line.
    Full,
    /// No handshake begins.
    Closed,
    /// Links are closed.
    Over,
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "there is room",
            Self::Narrow => "rooms keep less",
            Self::Thrifty => "links are given less",
            Self::Crowded => "newcomers wait",
            Self::Full => "newcomers and lines wait",
            Self::Closed => "no handshake begins",
            Self::Over => "links are closed",
        })
    }
}

/// What is held, by what holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    max: u64,
    links: u64,
    rooms: u64,
    storage: u64,
    half_open: u64,
    /// What was done about it last.
    minded: Pressure,
}

impl Holding {
    pub(super) fn new(max: u64) -> Self {
        Self {
            max: max.max(MEMORY_MIN),
            links: 0,
            rooms: 0,
            storage: 0,
            half_open: 0,
            minded: Pressure::None,
        }
    }

    /// As if the broker had been told so, or less.
    #[cfg(test)]
    pub(super) const fn set_max(&mut self, max: u64) {
        self.max = max;
    }

    /// All of it.
    pub(super) const fn total(&self) -> u64 {
        self.links + self.rooms + self.storage + self.half_open
    }

    pub(super) const fn max(&self) -> u64 {
        self.max
    }

    pub(super) const fn pressure(&self) -> Pressure {
        let sixteenths = self.total().saturating_mul(16) / self.max;
        match sixteenths {
            0..8 => Pressure::None,
            8..12 => Pressure::Narrow,
            12 => Pressure::Thrifty,
            13 => Pressure::Crowded,
            14 => Pressure::Full,
            15 => Pressure::Closed,
            _ => Pressure::Over,
        }
    }

    pub(super) fn begin_request(&mut self, cost: u64) {
        self.storage += cost;
    }

    pub(super) fn end_request(&mut self, cost: u64) {
        self.storage = self.storage.saturating_sub(cost);
    }

    const fn replace(sum: &mut u64, before: &mut u64, now: u64) {
        *sum = sum.saturating_sub(*before) + now;
        *before = now;
    }
}

/// What a request holds until it is answered.
pub(super) fn request_cost(op: &StorageOp) -> u64 {
    let bytes = match op {
        StorageOp::Append { publication, .. } => publication.body.len(),
        // The answer's.
        StorageOp::Read { .. } | StorageOp::History { .. } => READ_BYTES_MAX,
        _ => 0,
    };
    REQUEST_COST + bytes as u64
}

impl Session {
    /// What it holds (MEM-1). The lines of a member that keeps up are its room's.
    fn holds(&self) -> u64 {
        let link = self.link.holding();
        let items = link.messages as u64 * ITEM_COST + link.received as u64;
        let alone = match self.seats.values().any(|seat| seat.keeps_up()) {
            true => 0,
            false => link.to_send as u64,
        };
        let seats: u64 = self.seats.values().map(|seat| seat.holds()).sum();
        LINK_COST + items + alone + seats
    }

    /// It may hold more than before, or less.
    pub(super) fn note_holds(&mut self, holding: &mut Holding) {
        let now = self.holds();
        Holding::replace(&mut holding.links, &mut self.held, now);
    }
}

impl Seat {
    /// Whether what it is about to get is kept by its room.
    const fn keeps_up(&self) -> bool {
        match &self.stage {
            SeatStage::In(cursor) => matches!(cursor.pace, Pace::Live),
            SeatStage::Entering { .. } | SeatStage::Closed => false,
        }
    }

    fn holds(&self) -> u64 {
        let fetched = match &self.stage {
            SeatStage::In(cursor) => match &cursor.place {
                Place::Replay { fetched, .. } => fetched.len() as u64 * ITEM_COST,
                Place::Live(_) => 0,
            },
            SeatStage::Entering { .. } | SeatStage::Closed => 0,
        };
        fetched + self.replies.len() as u64 * ITEM_COST
    }
}

impl Broker {
    /// What the broker holds, and what it may (MEM-1).
    #[must_use]
    pub const fn held(&self) -> (u64, u64) {
        (self.holding.total(), self.holding.max())
    }

    /// How near it is to that.
    #[must_use]
    pub const fn pressure(&self) -> Pressure {
        self.holding.pressure()
    }

    /// A link may hold more than before, or less.
    pub(super) fn note_link_holds(&mut self, id: LinkId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.note_holds(&mut self.holding);
        }
    }

    /// A link is gone, with what it held.
    pub(super) fn forget_link_holds(&mut self, session: &Session) {
        self.holding.links = self.holding.links.saturating_sub(session.held);
    }

    /// A room may hold more than before, or less.
    pub(super) fn note_room_holds(&mut self, name: &RoomName) {
        let divisor = self.room_divisor();
        if let Some(room) = self.rooms.get_mut(name) {
            if let Some(feed) = room.feed.as_mut().filter(|_| divisor > 1) {
                feed.shrink(divisor);
            }
            let feed = room.feed.as_ref().map_or((0, 0), |feed| feed.holds());
            let people = (room.present.len() + room.roster.len()) as u64;
            let now = ROOM_COST + feed.1 as u64 + feed.0 as u64 * ITEM_COST + people * PERSON_COST;
            Holding::replace(&mut self.holding.rooms, &mut room.held, now);
        }
    }

    /// MEM-2: rooms keep an eighth of the lines that they may, or a sixty-fourth.
    const fn room_divisor(&self) -> usize {
        match self.holding.pressure() {
            Pressure::None => 1,
            Pressure::Narrow | Pressure::Thrifty | Pressure::Crowded => 8,
            Pressure::Full | Pressure::Closed | Pressure::Over => 64,
        }
    }

    /// A room is let go of, with what it held.
    pub(super) fn forget_room_holds(&mut self, held: u64) {
        self.holding.rooms = self.holding.rooms.saturating_sub(held);
    }

    /// MEM-4: why nobody new comes in, or no line, if so.
    pub(super) fn refuses_for_memory(&self, wait: MemoryWait) -> Option<Refusal> {
        let (wait, from) = match wait {
            MemoryWait::Newcomer => (NEWCOMERS_WAIT, Pressure::Crowded),
            MemoryWait::Line => (LINES_WAIT, Pressure::Full),
        };
        let has_to_wait = self.holding.pressure() >= from;
        has_to_wait.then(|| super::budget::over(Budget::Memory, wait))
    }

    /// Does what has to be done, now that more is held than before: in the order of what it costs
    /// those who are there. Returns whether links were closed, which have to say so.
    pub(super) fn mind_memory(&mut self, now: Timestamp) -> bool {
        self.holding.half_open = self.half_open.len() as u64 * LINK_COST;
        let pressure = self.holding.pressure();
        let before = core::mem::replace(&mut self.holding.minded, pressure);
        if pressure <= before && pressure != Pressure::Over {
            return false;
        }
        tracing::warn!(
            ?pressure,
            held = self.holding.total(),
            max = self.holding.max,
            "memory"
        );
        if self.room_divisor() > 1 {
            let rooms: Vec<RoomName> = self.rooms.keys().cloned().collect();
            rooms.iter().for_each(|room| self.note_room_holds(room));
        }
        let is_over = self.holding.pressure() == Pressure::Over;
        if is_over {
            self.close_heaviest(now);
        }
        is_over
    }

    /// MEM-5: those links that hold most are closed, until there is room. Their nodes have all that
    /// was not confirmed, and come back.
    fn close_heaviest(&mut self, now: Timestamp) {
        let mut links: Vec<(u64, LinkId)> = Vec::new();
        for (id, session) in &self.sessions {
            if session.link.is_open() {
                links.push((session.held, *id));
            }
        }
        links.sort_unstable();
        let enough = self.holding.max / 16 * 14;
        while self.holding.total() > enough
            && let Some((held, id)) = links.pop()
        {
            tracing::warn!(id, held, "closed a link to have room");
            if let Some(session) = self.sessions.get_mut(&id) {
                session.link.close(
                    CloseCode::Overloaded,
                    "the broker has too much to hold",
                    now,
                );
                session.control.clear();
                self.end_session(id, false, now);
                self.note_link_holds(id);
                self.after_input(id, now);
            }
        }
    }
}

/// Who finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryWait {
    Newcomer,
    Line,
}

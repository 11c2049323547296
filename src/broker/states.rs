//! Who has which line: reports, and those who want to know (SPEC.md section 9.5).

use super::roll::{Roll, Told};
use super::seating::{ASK_AGAIN_AFTER, Broken};
use super::session::{Seat, SeatStage};
use super::storage::{StorageOp, StorageOutcome};
use super::{Again, Broker, LinkId, Pending};
use crate::bug;
use crate::chat::{Delivered, RoomName, Stretch};
use crate::secure::AccountKey;
use crate::time::Timestamp;

/// The most lines that a seat watches (LIM-11).
pub const WATCHES_MAX: usize = 256;

/// A room's roll, as far as it is called.
#[derive(Debug, Default)]
pub(super) enum Roster {
    /// Nobody has asked yet.
    #[default]
    Unasked,
    /// The store is asked.
    Asked,
    /// Called, and kept up.
    Called(Roll),
}

impl Roster {
    /// How many are on it, as far as it is called.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Called(roll) => roll.len(),
            Self::Unasked | Self::Asked => 0,
        }
    }

    /// Lets `change` happen to the roll, if it is called.
    fn change(&mut self, change: impl FnOnce(&mut Roll) -> Told) -> Told {
        match self {
            Self::Called(roll) => change(roll),
            Self::Unasked | Self::Asked => Told::new(),
        }
    }
}

impl Broker {
    /// STA-1
    pub(super) fn on_cursor(
        &mut self,
        id: LinkId,
        channel: u8,
        lines: Stretch,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        let account = session.account;
        let seat = session.seats.get_mut(channel);
        let Some(seat) = in_room(seat, "a report before joining")? else {
            return Ok(());
        };
        let name = seat.room.clone();
        let lines = Stretch {
            after: if bug!(HoleReported) { 0 } else { lines.after },
            to: lines.to.min(self.tail_of(&name)),
        };
        if lines.is_empty() {
            return Ok(());
        }
        let op = StorageOp::Report {
            room: name.clone(),
            account,
            lines,
        };
        let pending = Pending::Report {
            link: id,
            channel,
            room: name.clone(),
            account,
            lines,
        };
        if self.ask(op, pending).is_some() {
            self.note_asking(&name);
        } else {
            self.report_later(id, channel, lines, now);
        }
        Ok(())
    }

    /// The store could not remember a report: it is asked again (BRK-5).
    pub(super) fn report_later(&mut self, id: LinkId, channel: u8, lines: Stretch, now: Timestamp) {
        let session = self.sessions.get_mut(&id);
        let Some(seat) = session.and_then(|session| session.seats.get_mut(channel)) else {
            return;
        };
        // On one seat a report holds those before it: the longest is enough.
        let longer = |known: &Stretch| known.to > lines.to;
        seat.unreported = seat.unreported.filter(longer).or(Some(lines));
        let again = (now + ASK_AGAIN_AFTER, id, channel, Again::Report);
        self.read_again.insert(again);
    }

    /// STA-3
    pub(super) fn on_watch(
        &mut self,
        id: LinkId,
        channel: u8,
        seq: u64,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        let account = session.account;
        let seat = session.seats.get_mut(channel);
        let Some(seat) = in_room(seat, "a watch before joining")? else {
            return Ok(());
        };
        let name = seat.room.clone();
        let room = self.rooms.get_mut(&name);
        let tail = room.as_ref().and_then(|room| room.feed.as_ref());
        // What another history had may be beyond the end of this one.
        if seq == 0 || tail.is_none_or(|feed| seq > feed.tail_seq()) {
            return Ok(());
        }
        seat.watched.insert(seq, true);
        let oldest = (seat.watched.len() > WATCHES_MAX).then(|| seat.watched.pop_first());
        if let Some(room) = room
            && let Roster::Called(roll) = &mut room.roster
        {
            roll.watch(seq, account, (id, channel));
            if let Some((oldest, _)) = oldest.flatten() {
                roll.unwatch(oldest, account, (id, channel));
            }
        } else {
            self.call_roll(&name, now);
        }
        self.mark_ready(id);
        Ok(())
    }

    /// Asks for the room's members, if nobody has.
    fn call_roll(&mut self, name: &RoomName, now: Timestamp) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if !matches!(room.roster, Roster::Unasked) {
            return;
        }
        room.roster = Roster::Asked;
        let op = StorageOp::Members { room: name.clone() };
        if self
            .ask(op, Pending::Members { room: name.clone() })
            .is_some()
        {
            self.note_asking(name);
        } else {
            self.roll_again
                .insert((now + ASK_AGAIN_AFTER, name.clone()));
        }
    }

    /// Calls the rolls anew that the store could not tell, and that are due again (BRK-5).
    pub(super) fn repeat_rolls(&mut self, now: Timestamp) {
        while let Some((at, name)) = self.roll_again.pop_first() {
            if at > now {
                self.roll_again.insert((at, name));
                return;
            }
            if let Some(room) = self.rooms.get_mut(&name) {
                room.roster = Roster::Unasked;
            }
            self.call_roll(&name, now);
        }
    }

    /// The store has told who the members are.
    pub(super) fn on_members(&mut self, name: &RoomName, outcome: StorageOutcome, now: Timestamp) {
        let StorageOutcome::Members(rows) = outcome else {
            self.roll_again
                .insert((now + ASK_AGAIN_AFTER, name.clone()));
            return;
        };
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let present = room.present.iter();
        let present = present.map(|(account, presence)| (*account, presence.after_seq));
        let mut roll = Roll::new(rows, present);
        let mut watching = Vec::new();
        for &(id, channel) in &room.readers {
            let Some(session) = self.sessions.get(&id) else {
                continue;
            };
            let account = session.account;
            let seat = session.seats.get(channel);
            for seq in seat.into_iter().flat_map(|seat| seat.watched.keys()) {
                roll.watch(*seq, account, (id, channel));
                watching.push(id);
            }
        }
        room.roster = Roster::Called(roll);
        watching.into_iter().for_each(|id| self.mark_ready(id));
    }

    /// Lets something happen to a room's roll, and whoever watches hear of it in their turn.
    pub(super) fn change_roll(&mut self, name: &RoomName, change: impl FnOnce(&mut Roll) -> Told) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        for ((id, channel), seq) in room.roster.change(change) {
            let session = self.sessions.get_mut(&id);
            let seat = session.and_then(|session| session.seats.get_mut(channel));
            if let Some(changed) = seat.and_then(|seat| seat.watched.get_mut(&seq)) {
                *changed = true;
                self.mark_ready(id);
            }
        }
    }

    /// A seat is given up, and what it watched with it.
    pub(super) fn stop_watching(
        &mut self,
        name: &RoomName,
        account: AccountKey,
        place: (LinkId, u8),
        watched: impl IntoIterator<Item = u64>,
    ) {
        self.change_roll(name, |roll| {
            for seq in watched {
                roll.unwatch(seq, account, place);
            }
            Told::new()
        });
    }

    fn tail_of(&self, name: &RoomName) -> u64 {
        let room = self.rooms.get(name);
        let feed = room.and_then(|room| room.feed.as_ref());
        feed.map_or(0, super::feed::Feed::tail_seq)
    }
}

/// The next line whose counts the seat is to be told. It watches it no more once all have it.
pub(super) fn next_delivered(
    seat: &Seat,
    roster: &Roster,
    account: AccountKey,
) -> Option<Delivered> {
    let Roster::Called(roll) = roster else {
        return None;
    };
    let mut changed = seat.watched.iter().filter(|(_, changed)| **changed);
    changed.find_map(|(seq, _)| roll.counts(*seq, account))
}

/// The link has taken `delivered`.
pub(super) fn note_delivered(
    seat: &mut Seat,
    roster: &mut Roster,
    account: AccountKey,
    place: (LinkId, u8),
    delivered: Delivered,
) {
    let seq = delivered.seq;
    if delivered.k < delivered.n {
        seat.watched.insert(seq, false);
        return;
    }
    seat.watched.remove(&seq);
    if let Roster::Called(roll) = roster {
        roll.unwatch(seq, account, place);
    }
}

/// The seat, if it is in its room; `None` if what it says has crossed its leave (RUM-12).
pub(super) fn in_room(
    seat: Option<&mut Seat>,
    otherwise: Broken,
) -> Result<Option<&mut Seat>, Broken> {
    match seat {
        Some(seat) if seat.is_leaving => Ok(None),
        Some(seat) if matches!(seat.stage, SeatStage::In(_)) => Ok(Some(seat)),
        _ => Err(otherwise),
    }
}

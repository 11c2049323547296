//! Leaving a room for good, and asking who is there (RUM-12, RUM-13, SGN-6).

use std::collections::BTreeMap;

use super::room::Parting;
use super::seating::Broken;
use super::session::SeatStage;
use super::storage::StorageOp;
use super::{Broker, LinkId, Pending};
use crate::bug;
use crate::chat::{
    Budget, ControlFromBroker, LISTED_BYTES_MAX, LISTED_MAX, RoomFromBroker, RoomName,
};
use crate::link::CloseCode;
use crate::secure::AccountKey;
use crate::time::Timestamp;

impl Broker {
    /// RUM-12
    pub(super) fn on_leave(
        &mut self,
        id: LinkId,
        channel: u8,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let now_ms = self.wall_ms(now);
        let Some(session) = self.sessions.get(&id) else {
            return Ok(());
        };
        let Some(name) = session.name().cloned() else {
            return Ok(());
        };
        let seat = session.seats.get(channel).ok_or("leaving before joining")?;
        match seat.stage {
            // Another session of the account was faster.
            _ if seat.is_leaving => return Ok(()),
            SeatStage::In(_) => {}
            SeatStage::Entering { .. } | SeatStage::Closed => {
                return Err("leaving without being in");
            }
        }
        let (account, device, room) = (session.account, session.device, seat.room.clone());
        let payer = session.payer();
        let op = StorageOp::Leave {
            room: room.clone(),
            account,
            device,
            name,
            presence: now_ms,
            now_ms,
        };
        let pending = Pending::Leave {
            room: room.clone(),
            account,
        };
        // BUD-4
        self.charge(payer, Budget::Changes, 1, now);
        if self.ask(op, pending).is_some() {
            if let Some(room) = self.rooms.get_mut(&room) {
                room.asking += 1;
            }
            self.close_seats(&room, account);
        } else if let Some(session) = self.sessions.get_mut(&id) {
            // LIM-7: the node comes back and asks again.
            session
                .link
                .close(CloseCode::Overloaded, "the store is too busy", now);
        }
        Ok(())
    }

    /// From here on, what the account's sessions still say in the room is said by a non-member:
    /// it has crossed the news on its way, and is ignored. That goes for those whom the store has not
    /// let in yet, too: it was asked before, and lets them in first.
    pub(super) fn close_seats(&mut self, name: &RoomName, account: AccountKey) {
        let links = self
            .accounts
            .range((account, LinkId::MIN)..=(account, LinkId::MAX));
        for (_, link) in links {
            let session = self.sessions.get_mut(link);
            let seats = session.into_iter().flat_map(|s| s.seats.values_mut());
            for seat in seats.filter(|seat| seat.room == *name) {
                seat.is_leaving = true;
            }
        }
    }

    /// The account is no member any more: all its sessions are shown out.
    pub(super) fn on_departed(&mut self, name: &RoomName, account: AccountKey, now: Timestamp) {
        self.show_out(name, account, &RoomFromBroker::Left, now);
    }

    /// Says `goodbye` to all sessions of the account in the room, and nothing more.
    pub(super) fn show_out(
        &mut self,
        name: &RoomName,
        account: AccountKey,
        goodbye: &RoomFromBroker,
        now: Timestamp,
    ) {
        let readers = self.readers_of(name, account);
        let shown_out = if bug!(KeepOtherDevice) {
            1
        } else {
            readers.len()
        };
        for (link, channel) in readers.into_iter().take(shown_out) {
            let Some(session) = self.sessions.get_mut(&link) else {
                continue;
            };
            let last_heard = session.link.last_heard();
            let mut is_quiet = false;
            let mut watched = BTreeMap::new();
            if let Some(seat) = session.seats.get_mut(channel) {
                is_quiet = seat.is_quiet;
                watched = core::mem::take(&mut seat.watched);
                seat.is_leaving = true;
                seat.close(goodbye);
            }
            if let Some(room) = self.rooms.get_mut(name) {
                room.readers.remove(&(link, channel));
            }
            self.stop_watching(name, account, (link, channel), watched.into_keys());
            if !is_quiet {
                self.give_up_seat(name, account, Parting::Other, last_heard, now);
            }
            self.after_input(link, now);
        }
    }

    /// The store could not end the membership: the nodes come back and ask again (BRK-5).
    pub(super) fn on_not_departed(&mut self, name: &RoomName, account: AccountKey, now: Timestamp) {
        for (link, _) in self.readers_of(name, account) {
            if let Some(session) = self.sessions.get_mut(&link) {
                session
                    .link
                    .close(CloseCode::Overloaded, "the store has failed", now);
            }
            self.after_input(link, now);
        }
    }

    /// The seats of an account in a room.
    pub(super) fn readers_of(&self, name: &RoomName, account: AccountKey) -> Vec<(LinkId, u8)> {
        let readers = self
            .rooms
            .get(name)
            .into_iter()
            .flat_map(|room| &room.readers);
        let is_of = |(link, _): &&(LinkId, u8)| {
            let session = self.sessions.get(link);
            session.is_some_and(|session| session.account == account)
        };
        readers.filter(is_of).copied().collect()
    }

    /// RUM-13
    pub(super) fn on_who(&mut self, id: LinkId, channel: u8) -> Result<(), Broken> {
        let session = self.sessions.get_mut(&id);
        let Some(seat) = session.and_then(|session| session.seats.get_mut(channel)) else {
            return Err("a question before joining");
        };
        match seat.stage {
            _ if seat.is_leaving => return Ok(()),
            SeatStage::In(_) => {}
            SeatStage::Entering { .. } | SeatStage::Closed => {
                return Err("a question without being in");
            }
        }
        let Some(room) = self.rooms.get(&seat.room) else {
            return Ok(());
        };
        let names = room
            .present
            .values()
            .map(|presence| presence.author.name().as_str().to_owned());
        let names = listed(names, String::len);
        let total = room.present.len() as u64;
        seat.reply(&RoomFromBroker::Roster { total, names });
        Ok(())
    }

    /// SGN-6
    pub(super) fn list_rooms(&self) -> ControlFromBroker {
        let used = || {
            self.rooms
                .iter()
                .filter(|(_, room)| !room.present.is_empty())
        };
        let rooms =
            used().map(|(name, room)| (room.present.len() as u64, name.as_str().to_owned()));
        let rooms = listed(rooms, |(_, name)| name.len());
        ControlFromBroker::Rooms {
            total: used().count() as u64,
            rooms,
        }
    }
}

/// As many entries as a list may have (LIM-8); `len` tells the bytes of an entry's name.
fn listed<T>(entries: impl Iterator<Item = T>, len: impl Fn(&T) -> usize) -> Vec<T> {
    // A varint before each name takes at most two bytes, a number of people at most eight.
    const OVERHEAD: usize = 10;
    let mut bytes = 0;
    let fits = |entry: &T| {
        bytes += len(entry) + OVERHEAD;
        bytes <= LISTED_BYTES_MAX
    };
    entries.take(LISTED_MAX).take_while(fits).collect()
}

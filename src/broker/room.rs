//! Rooms as the broker runs them: who is present, and telling everybody (SPEC.md section 9.4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::feed::Feed;
use super::introduction::Introduction;
use super::roll::Told;
use super::seating::ASK_AGAIN_AFTER;
use super::states::Roster;
use super::storage::{Opened, PresenceRow, StorageOp, StorageOutcome, StoredLine};
use super::{Broker, BrokerEvent, LinkId, Pending};
use crate::bug;
use crate::chat::{NoticeEvent, RoomName};
use crate::secure::{AccountKey, DeviceKey};
use crate::time::Timestamp;

/// A room that somebody uses.
pub(super) struct Room {
    /// `None` until the store has told where the log ends.
    pub(super) feed: Option<Feed>,
    /// The seats from which the feed is read.
    pub(super) readers: BTreeSet<(LinkId, u8)>,
    /// Who is present, as the store has it.
    pub(super) present: BTreeMap<AccountKey, Presence>,
    /// From how many sessions each account sits here, or is coming in; quiet ones apart.
    seats: BTreeMap<AccountKey, usize>,
    /// Devices whose links were lost here without goodbye, and when they were last heard (DEV-9).
    away: BTreeMap<AccountKey, BTreeMap<DeviceKey, Timestamp>>,
    /// Who is to have the lines, once somebody wants to know (STA-3).
    pub(super) roster: Roster,
    /// Storage requests under way: as long as there are any, the room stays.
    pub(super) asking: usize,
    /// Whether its readers are about to be given a turn.
    has_news: bool,
    /// What it held when that was last looked at (MEM-1).
    pub(super) held: u64,
}

/// The most devices of an account that may come back to a room (LIM-15).
pub(super) const AWAY_MAX: usize = 64;

/// How a session parts from a room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// Its device has said goodbye.
    Bye(DeviceKey),
    /// Its link was lost, and its device may come back (DEV-9).
    Lost(DeviceKey),
    /// It has gone otherwise.
    Other,
}

/// An account that is present in a room.
pub(super) struct Presence {
    /// The number of the notice that said so.
    pub(super) number: u64,
    /// The room's last line then.
    pub(super) after_seq: u64,
    /// As what it came; shared by what the feed has of it.
    pub(super) author: Arc<Introduction>,
    /// When it is taken to have gone, and how, if no session comes back (PRS-1).
    ends: Option<(Timestamp, NoticeEvent)>,
    /// When those of its links were last heard that have ended since without goodbye (PRS-1).
    heard: Timestamp,
}

impl Room {
    pub(super) const fn new() -> Self {
        Self {
            feed: None,
            readers: BTreeSet::new(),
            present: BTreeMap::new(),
            seats: BTreeMap::new(),
            away: BTreeMap::new(),
            roster: Roster::Unasked,
            asking: 0,
            has_news: false,
            held: 0,
        }
    }

    /// The device's link was lost, and it may come back.
    fn note_away(&mut self, account: AccountKey, device: DeviceKey, heard: Timestamp) {
        let away = self.away.entry(account).or_default();
        away.insert(device, heard);
        if away.len() > AWAY_MAX
            && let Some(oldest) = away.iter().min_by_key(|(_, heard)| **heard)
        {
            let oldest = *oldest.0;
            away.remove(&oldest);
        }
    }

    /// The device is back, or does not mean to be.
    fn forget_away(&mut self, account: AccountKey, device: DeviceKey) {
        if let Some(away) = self.away.get_mut(&account) {
            away.remove(&device);
            if away.is_empty() {
                self.away.remove(&account);
            }
        }
    }

    /// When the last one of those devices was heard.
    fn away_heard(&self, account: AccountKey) -> Option<Timestamp> {
        self.away.get(&account)?.values().copied().max()
    }

    fn is_unused(&self) -> bool {
        self.readers.is_empty() && self.present.is_empty() && self.asking == 0
    }
}

impl Broker {
    /// Takes what the store knows of the time before this broker: who was present then is
    /// expected back within the grace (PRS-5).
    pub(super) fn on_opened(&mut self, opened: Opened, now: Timestamp) {
        let back_by = now + self.config.grace;
        for row in opened.presence {
            let (name, account) = (row.room.clone(), row.author.account);
            self.rooms.entry(name.clone()).or_insert_with(Room::new);
            self.set_present(&row);
            self.expect_back_by(back_by, NoticeEvent::TimedOut, &name, account);
        }
        self.recall_links(opened.links, now);
    }

    /// Adds a durable line to its room's feed, and gives every reader a turn (BRK-1).
    pub(super) fn on_stored(&mut self, name: &RoomName, stored: &StoredLine) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let feed = room
            .feed
            .get_or_insert_with(|| Feed::new(stored.line.seq - 1));
        if bug!(DeliverBeforeSync) && stored.line.seq <= feed.tail_seq() {
            return;
        }
        let author = room.present.get(&stored.line.account);
        feed.push_line(stored, author.map(|presence| &presence.author));
        if bug!(CursorPoisoned) {
            for (link, channel) in &room.readers {
                let session = self.sessions.get_mut(link);
                if let Some(seat) = session.and_then(|s| s.seats.get_mut(*channel)) {
                    seat.poison(stored.line.seq);
                }
            }
        }
        self.counters.lines_stored += 1;
        let (seq, len) = (stored.line.seq, stored.line.body.len());
        self.tell(BrokerEvent::Stored {
            room: name.clone(),
            seq,
            len,
        });
        self.note_news(name);
    }

    /// PRS-1: one more session of the account sits in the room, or is on its way.
    pub(super) fn take_seat(&mut self, name: &RoomName, account: AccountKey, device: DeviceKey) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        room.forget_away(account, device);
        *room.seats.entry(account).or_default() += 1;
        if bug!(ForgetReturn) {
            return;
        }
        if let Some((at, _)) = room.present.get_mut(&account).and_then(|p| p.ends.take()) {
            self.graces.remove(&(at, name.clone(), account));
        }
    }

    /// A session of the account no longer sits in the room, and will not. If it was the last one,
    /// the account leaves at once if its device said goodbye and no other may come back (DEV-9), else
    /// when the grace, counted from when it was last heard, is over (PRS-1).
    pub(super) fn give_up_seat(
        &mut self,
        name: &RoomName,
        account: AccountKey,
        parting: Parting,
        last_heard: Timestamp,
        now: Timestamp,
    ) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        match parting {
            Parting::Bye(device) => room.forget_away(account, device),
            Parting::Lost(device) => room.note_away(account, device, last_heard),
            Parting::Other => {}
        }
        // A link that is given up later may have been silent for longer.
        let mut heard = last_heard;
        if let Some(presence) = room.present.get_mut(&account)
            && !matches!(parting, Parting::Bye(_))
        {
            presence.heard = presence.heard.max(last_heard);
            heard = presence.heard;
        }
        let Some(seats) = room.seats.get_mut(&account) else {
            return;
        };
        *seats -= 1;
        if *seats > 0 {
            return;
        }
        room.seats.remove(&account);
        let awaited = self.awaited_until(name, account);
        if let Parting::Bye(_) = parting {
            match awaited.filter(|at| *at > now) {
                Some(at) => self.expect_back_by(at, NoticeEvent::TimedOut, name, account),
                // Even if the store has not said yet that the account is present: by then it is.
                None => self.end_presence(name, account, NoticeEvent::Left, now),
            }
        } else {
            let at = awaited.unwrap_or_default().max(heard + self.config.grace);
            self.expect_back_by(at, NoticeEvent::TimedOut, name, account);
        }
    }

    /// Until when devices of the account may come back whose links were lost.
    fn awaited_until(&self, name: &RoomName, account: AccountKey) -> Option<Timestamp> {
        let heard = self.rooms.get(name)?.away_heard(account)?;
        Some(heard + self.config.grace)
    }

    /// A device of the account has said goodbye: that ends what an older link of it has left of its
    /// presence (SGN-5), but not that of another device (DEV-9).
    pub(super) fn say_goodbye(&mut self, account: AccountKey, device: DeviceKey, now: Timestamp) {
        let lingering = self.graces.iter().filter(|(_, _, who)| *who == account);
        let rooms: Vec<RoomName> = lingering.map(|(_, room, _)| room.clone()).collect();
        for name in rooms {
            if let Some(room) = self.rooms.get_mut(&name) {
                room.forget_away(account, device);
            }
            if self
                .awaited_until(&name, account)
                .is_none_or(|at| at <= now)
            {
                self.end_presence(&name, account, NoticeEvent::Left, now);
            }
        }
    }

    /// PRS-1: a session has ended that had not come into any room again. It was a sign of life all the
    /// same, where the account is expected back.
    pub(super) fn note_sign_of_life(&mut self, account: AccountKey, heard: Timestamp) {
        let awaited = self.graces.iter().filter(|(_, _, who)| *who == account);
        for (_, name, _) in awaited {
            let room = self.rooms.get_mut(name);
            if let Some(presence) = room.and_then(|room| room.present.get_mut(&account)) {
                presence.heard = presence.heard.max(heard);
            }
        }
    }

    /// PRS-1: nobody has come back within the grace, or what ends a presence is to be asked again.
    pub(super) fn on_grace_over(&mut self, name: &RoomName, account: AccountKey, now: Timestamp) {
        let room = self.rooms.get_mut(name);
        let presence = room.and_then(|room| room.present.get_mut(&account));
        let Some(presence) = presence else {
            return;
        };
        let Some((_, event)) = presence.ends.take() else {
            return;
        };
        let before = presence.heard;
        // A session that has not come into the room yet is a sign of life all the same.
        let sessions = self
            .accounts
            .range((account, LinkId::MIN)..=(account, LinkId::MAX))
            .filter_map(|(_, link)| self.sessions.get(link))
            .filter(|session| session.is_of(account) && !session.is_quiet());
        let heard = sessions.map(|session| session.link.last_heard());
        let at = heard.fold(before, Timestamp::max) + self.config.grace;
        if at > now && event == NoticeEvent::TimedOut && !bug!(ForgetReturn) {
            self.expect_back_by(at, event, name, account);
        } else {
            self.end_presence(name, account, event, now);
        }
    }

    /// The account is taken to have gone at `at`, unless it comes back.
    fn expect_back_by(
        &mut self,
        at: Timestamp,
        event: NoticeEvent,
        name: &RoomName,
        account: AccountKey,
    ) {
        let room = self.rooms.get_mut(name);
        if let Some(presence) = room.and_then(|room| room.present.get_mut(&account)) {
            if let Some((old, _)) = presence.ends.replace((at, event)) {
                self.graces.remove(&(old, name.clone(), account));
            }
            self.graces.insert((at, name.clone(), account));
        }
    }

    /// Asks the store to record that the account has gone. Nobody is told before it has (BRK-1).
    pub(super) fn end_presence(
        &mut self,
        name: &RoomName,
        account: AccountKey,
        event: NoticeEvent,
        now: Timestamp,
    ) {
        let room = self.rooms.get_mut(name);
        if let Some(presence) = room.and_then(|room| room.present.get_mut(&account))
            && let Some((at, _)) = presence.ends.take()
        {
            self.graces.remove(&(at, name.clone(), account));
        }
        let op = StorageOp::Absent {
            room: name.clone(),
            account,
            event,
            presence: self.wall_ms(now),
        };
        let room = name.clone();
        let pending = Pending::Absent {
            room,
            account,
            event,
        };
        if self.ask(op, pending).is_none() {
            self.expect_back_by(now + ASK_AGAIN_AFTER, event, name, account);
        } else {
            self.note_asking(name);
        }
    }

    /// The store has recorded that the account has gone, or could not.
    pub(super) fn on_absented(
        &mut self,
        name: &RoomName,
        account: AccountKey,
        event: NoticeEvent,
        outcome: StorageOutcome,
        now: Timestamp,
    ) {
        match outcome {
            StorageOutcome::Absented(Some(row)) => self.on_left(*row),
            StorageOutcome::Absented(None) => {}
            _ => {
                let room = self.rooms.get(name);
                if room.is_some_and(|room| !room.seats.contains_key(&account)) {
                    self.expect_back_by(now + ASK_AGAIN_AFTER, event, name, account);
                }
            }
        }
    }

    /// The account has become present (PRS-1): it is told to all.
    pub(super) fn on_came(&mut self, row: PresenceRow, now: Timestamp) {
        let (name, account) = (row.room.clone(), row.author.account);
        let author = self.set_present(&row);
        self.tell(BrokerEvent::Joined {
            name: row.author.name.clone(),
            room: name.clone(),
        });
        self.announce(&row, author.as_ref());
        self.change_roll(&name, |roll| {
            roll.on_came(account, row.after_seq);
            Told::new()
        });
        let room = self.rooms.get(&name);
        if room.is_some_and(|room| !room.seats.contains_key(&account)) {
            // The session that asked is gone again.
            let at = now + self.config.grace;
            self.expect_back_by(at, NoticeEvent::TimedOut, &name, account);
        }
    }

    /// The account is present. Returns its introduction, if the room is in use.
    fn set_present(&mut self, row: &PresenceRow) -> Option<Arc<Introduction>> {
        let room = self.rooms.get_mut(&row.room)?;
        let account = row.author.account;
        let known = room.feed.as_ref().and_then(Feed::last_author);
        let author = Introduction::of(row.author.clone(), known);
        let presence = Presence {
            number: row.number,
            after_seq: row.after_seq,
            author: Arc::clone(&author),
            ends: None,
            heard: Timestamp::ZERO,
        };
        if room.present.insert(account, presence).is_none() {
            *self.people.entry(account).or_default() += 1;
        }
        Some(author)
    }

    /// The account has ceased to be present (PRS-1): it is told to all.
    pub(super) fn on_left(&mut self, row: PresenceRow) {
        let (name, account) = (row.room.clone(), row.author.account);
        let Some(room) = self.rooms.get_mut(&name) else {
            return;
        };
        room.away.remove(&account);
        let mut author = None;
        if !bug!(ForgetDeparture)
            && let Some(presence) = room.present.remove(&account)
        {
            if let Some((at, _)) = presence.ends {
                self.graces.remove(&(at, name.clone(), account));
            }
            author = Some(presence.author);
            if let Some(rooms) = self.people.get_mut(&account) {
                *rooms -= 1;
                if *rooms == 0 {
                    self.people.remove(&account);
                }
            }
        }
        let timed_out = row.event == NoticeEvent::TimedOut;
        if timed_out {
            crate::sometimes!(TimedOut);
        }
        self.tell(BrokerEvent::Left {
            name: row.author.name.clone(),
            room: name.clone(),
            timed_out,
        });
        self.announce(&row, author.as_ref());
        self.change_roll(&name, |roll| {
            roll.on_gone(account, row.after_seq);
            Told::new()
        });
        self.forget_if_unused(&name);
    }

    /// PRS-2: tells all who are in the room.
    fn announce(&mut self, row: &PresenceRow, known: Option<&Arc<Introduction>>) {
        let room = self.rooms.get_mut(&row.room);
        let Some(feed) = room.and_then(|room| room.feed.as_mut()) else {
            return;
        };
        feed.push_notice(row, known);
        self.note_news(&row.room);
    }

    /// The readers of the room are to be told something, all at once of what comes at once.
    pub(super) fn note_news(&mut self, name: &RoomName) {
        self.note_room_holds(name);
        if let Some(room) = self.rooms.get_mut(name)
            && !core::mem::replace(&mut room.has_news, true)
        {
            self.news.push(name.clone());
        }
    }

    /// Gives a turn to all who are to be told something.
    pub(super) fn wake_readers(&mut self) {
        for name in self.news.drain(..) {
            let Some(room) = self.rooms.get_mut(&name) else {
                continue;
            };
            room.has_news = false;
            for (link, _) in &room.readers {
                if let Some(session) = self.sessions.get_mut(link) {
                    let is_late = session.is_behind();
                    self.turns.add(*link, is_late, &mut session.has_turn);
                }
            }
        }
    }

    /// A storage request that concerns the room is under way.
    pub(super) fn note_asking(&mut self, name: &RoomName) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.asking += 1;
        }
    }

    /// Lets go of a room that nobody uses: the store keeps it.
    pub(super) fn forget_if_unused(&mut self, name: &RoomName) {
        if self.rooms.get(name).is_some_and(Room::is_unused) {
            let room = self.rooms.remove(name);
            self.forget_room_holds(room.map_or(0, |room| room.held));
        }
    }
}

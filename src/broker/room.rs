//! Rooms as the broker runs them: who is present, and telling everybody (SPEC.md section 9.4).

use std::collections::{BTreeMap, BTreeSet};

use super::feed::Feed;
use super::storage::{Author, StoredLine};
use super::{Broker, BrokerEvent, LinkId};
use crate::bug;
use crate::chat::{NoticeEvent, RoomName};
use crate::secure::AccountKey;
use crate::time::Timestamp;

/// A room that somebody uses.
pub(super) struct Room {
    /// `None` until the store has told where the log ends.
    pub(super) feed: Option<Feed>,
    /// The seats from which the feed is read.
    pub(super) readers: BTreeSet<(LinkId, u8)>,
    pub(super) present: BTreeMap<AccountKey, Presence>,
    /// Storage requests under way: as long as there are any, the room stays.
    pub(super) asking: usize,
}

/// An account that is present in a room.
pub(super) struct Presence {
    pub(super) author: Author,
    /// From how many sessions.
    pub(super) seats: usize,
    /// The last notice before its Joined: it is told nothing older (PRS-3).
    pub(super) floor: u64,
    /// When it is taken to have left, if no session comes back (PRS-1).
    expires: Option<Timestamp>,
}

impl Room {
    pub(super) const fn new() -> Self {
        Self {
            feed: None,
            readers: BTreeSet::new(),
            present: BTreeMap::new(),
            asking: 0,
        }
    }

    fn is_unused(&self) -> bool {
        self.readers.is_empty() && self.present.is_empty() && self.asking == 0
    }
}

impl Broker {
    /// Adds a durable line to its room's feed, and gives every reader a turn (BRK-1).
    pub(super) fn on_stored(&mut self, name: &RoomName, stored: &StoredLine) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        room.feed
            .get_or_insert_with(|| Feed::new(stored.line.seq - 1))
            .push_line(stored);
        let (seq, len) = (stored.line.seq, stored.line.body.len());
        self.events.push_back(BrokerEvent::Stored {
            room: name.clone(),
            seq,
            len,
        });
        self.wake_readers(name);
    }

    /// PRS-1: one more session of `author`'s account sits in the room.
    pub(super) fn on_arrival(&mut self, name: &RoomName, author: Author, now: Timestamp) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let account = author.account;
        if let Some(presence) = room.present.get_mut(&account) {
            presence.seats += 1;
            if bug!(ForgetReturn) {
                return;
            }
            if let Some(at) = presence.expires.take() {
                self.graces.remove(&(at, name.clone(), account));
            }
            return;
        }
        let floor = room.feed.as_ref().map_or(0, Feed::presence);
        room.present.insert(
            account,
            Presence {
                floor,
                author: author.clone(),
                seats: 1,
                expires: None,
            },
        );
        *self.people.entry(account).or_default() += 1;
        self.events.push_back(BrokerEvent::Joined {
            name: author.name.clone(),
            room: name.clone(),
        });
        self.announce(name, NoticeEvent::Joined, author, now);
    }

    /// A session of the account no longer sits in the room. If it was the last one, the account
    /// leaves at once if it `said_bye`, else when the grace, counted from when it was last heard,
    /// is over (PRS-1).
    pub(super) fn on_departure(
        &mut self,
        name: &RoomName,
        account: AccountKey,
        said_bye: bool,
        last_heard: Timestamp,
        now: Timestamp,
    ) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let Some(presence) = room.present.get_mut(&account) else {
            return;
        };
        presence.seats = presence.seats.saturating_sub(1);
        if presence.seats > 0 {
            return;
        }
        if said_bye {
            self.leave(name, account, NoticeEvent::Left, now);
        } else {
            self.expect_back_by(last_heard + self.config.grace, name, account);
        }
    }

    /// PRS-1: nobody has come back within the grace.
    pub(super) fn on_grace_over(&mut self, name: &RoomName, account: AccountKey, now: Timestamp) {
        // A session that has not come into the room yet is a sign of life all the same.
        let sessions = self
            .sessions
            .values()
            .filter(|session| session.is_of(account));
        let heard = sessions.map(|session| session.link.last_heard()).max();
        match heard.map(|heard| heard + self.config.grace) {
            Some(at) if at > now && !bug!(ForgetReturn) => self.expect_back_by(at, name, account),
            _ => self.leave(name, account, NoticeEvent::TimedOut, now),
        }
    }

    /// The account is taken to have left at `at`, unless it comes back.
    fn expect_back_by(&mut self, at: Timestamp, name: &RoomName, account: AccountKey) {
        let room = self.rooms.get_mut(name);
        if let Some(presence) = room.and_then(|room| room.present.get_mut(&account)) {
            presence.expires = Some(at);
            self.graces.insert((at, name.clone(), account));
        }
    }

    fn leave(&mut self, name: &RoomName, account: AccountKey, event: NoticeEvent, now: Timestamp) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let Some(presence) = room.present.remove(&account) else {
            return;
        };
        if let Some(at) = presence.expires {
            self.graces.remove(&(at, name.clone(), account));
        }
        if let Some(rooms) = self.people.get_mut(&account) {
            *rooms -= 1;
            if *rooms == 0 {
                self.people.remove(&account);
            }
        }
        if event == NoticeEvent::TimedOut {
            crate::sometimes!(TimedOut);
        }
        self.events.push_back(BrokerEvent::Left {
            name: presence.author.name.clone(),
            room: name.clone(),
            timed_out: event == NoticeEvent::TimedOut,
        });
        self.announce(name, event, presence.author, now);
        self.forget_if_unused(name);
    }

    /// PRS-2: tells all who are in the room.
    fn announce(&mut self, name: &RoomName, event: NoticeEvent, author: Author, now: Timestamp) {
        let wall_ms = self.wall_ms(now);
        let Some(feed) = self.rooms.get_mut(name).and_then(|room| room.feed.as_mut()) else {
            return;
        };
        feed.push_notice(event, author, wall_ms);
        self.wake_readers(name);
    }

    fn wake_readers(&mut self, name: &RoomName) {
        let Some(room) = self.rooms.get(name) else {
            return;
        };
        for &(link, _) in &room.readers {
            if self.is_ready.insert(link) {
                self.ready.push_back(link);
            }
        }
    }

    /// Lets go of a room that nobody uses: the store keeps it.
    pub(super) fn forget_if_unused(&mut self, name: &RoomName) {
        if self.rooms.get(name).is_some_and(Room::is_unused) {
            self.rooms.remove(name);
        }
    }
}

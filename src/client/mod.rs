//! The node's machine: one link to one broker, kept up through everything, and the rooms on it.
//!
//! The client *shakes hands* (repeating its HELLO on every address that the broker may have),
//! learns or checks the broker's key, and is *up*: it signs in, joins its rooms where it left
//! them, and publishes what waits in its outbox. When the link falls silent it shakes hands anew,
//! with everything not yet answered still waiting; so a dead link costs time, never a line.
//!
//! ```text
//! publish -> outbox -> journal -> link ... STORED
//! link -> line (in order, no hole) -> journal -> event
//! ```
//!
//! The machine knows no clock, socket or disk: see [`Client`] for how it is driven.

mod commands;
mod connect;
mod errand;
mod event;
mod heard;
mod journal;
mod outbox;
mod room;
mod schedule;
mod states;
mod up;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub use errand::{Errand, ErrandEvent};
pub use event::{ClientEvent, EndReason, PutOff};
pub use heard::WAIT_MAX;
pub use journal::{JournalEntry, JournalRequest, JournalState, RoomState};
pub use outbox::{OUTBOX_MAX, PUBLISH_WINDOW};
pub use room::JoinOptions;
pub use states::{Asker, CURSOR_INTERVAL};

use crate::chat::{InviteSecret, Name, RoomName, TextError};
use crate::drops::{Dropped, Drops};
use crate::link;
use crate::rng::{Seed, SeededRng};
use crate::secure::{NodeIdentity, PublicKey};
use crate::time::Timestamp;
use crate::transmit::{Ecn, Origin, Path, Transmit};
use connect::{Choosing, Shaking};
use errand::OnErrand;
use room::Room;
use up::Up;

/// The most addresses that a handshake is tried on at a time.
pub const PATHS_MAX: usize = 8;
/// The most rooms of a client: channels 1 to 63 (RUM-11).
pub const ROOMS_PER_LINK_MAX: usize = 63;
/// The most journal requests that are under way: beyond it nothing is published, and no message is
/// taken from the link (LIM-12, JRN-12).
pub const JOURNAL_PENDING_MAX: u64 = 4_096;

/// What a client starts from.
pub struct ClientConfig {
    /// The addresses that the broker may have, best first; at most [`PATHS_MAX`] are tried.
    pub paths: Vec<Path>,
    /// The name to sign in under.
    pub name: Name,
    /// The broker's key and who one is there; `None` for a broker that is not known yet.
    pub known: Option<(PublicKey, NodeIdentity)>,
    /// What the journal holds. The rooms in which something waits are joined unasked (JRN-2).
    pub restored: JournalState,
}

/// Why a text was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It is no line.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The client is not in this room.
    #[error("not in this room")]
    NotInRoom,
    /// [`OUTBOX_MAX`] lines wait already.
    #[error("{OUTBOX_MAX} lines are waiting already")]
    OutboxFull,
    /// The journal does not keep up, or has no room (JRN-12): later, the same may be taken.
    #[error("not kept: the disk is full, or does not keep up")]
    JournalBehind,
    /// The client is leaving.
    #[error("leaving")]
    Leaving,
}

/// What the client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Until when.
    pub at: Timestamp,
    /// And why.
    pub reason: Reason,
}

/// Why a deadline exists, so that a busy loop explains itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A handshake message is sent again (SEC-5).
    Handshake,
    /// The link's own timer.
    Link(link::Reason),
    /// Something that the broker put off is asked again.
    Retry,
    /// What is journaled is reported (STA-2).
    Report,
}

enum State {
    /// The handshake is under way.
    Shaking(Box<Shaking>),
    /// The broker has shown its key, and the owner is to say who one is there (SEC-9).
    Choosing(Box<Choosing>),
    /// There is a link.
    Up(Box<Up>),
    /// Done.
    Ended,
}

/// What is sent only when it is journaled (NOD-2).
enum Gate {
    /// The publication with this handle.
    Publication(u64),
    /// Whatever waits in the room, because it has got new numbers.
    Numbers,
}

/// Something on its way to the reader, in the room's order.
struct Delivery {
    /// The request under which it has to be journaled first, if it has to.
    after: Option<u64>,
    event: ClientEvent,
}

/// The node's state machine.
///
/// *Input*: [`handle_datagram`](Self::handle_datagram), [`handle_timeout`](Self::handle_timeout),
/// [`handle_journaled`](Self::handle_journaled).
/// *Commands*: [`handle_address_change`](Self::handle_address_change),
/// [`handle_resume`](Self::handle_resume), [`join`](Self::join), [`publish`](Self::publish),
/// [`set_identity`](Self::set_identity), [`leave`](Self::leave), [`abandon`](Self::abandon).
/// *Output*: after any input or command, drain [`poll_transmit`](Self::poll_transmit), then
/// [`poll_journal`](Self::poll_journal), then [`poll_event`](Self::poll_event); then sleep until
/// [`poll_timeout`](Self::poll_timeout).
pub struct Client {
    paths: Vec<Path>,
    name: Name,
    known: Option<(PublicKey, NodeIdentity)>,
    /// Whether the broker's key was known from the beginning.
    knew_key: bool,
    invite: Option<InviteSecret>,
    /// What it does in place of signing in, if it does not sign in.
    errand: Option<Box<OnErrand>>,
    rng: SeededRng,
    state: State,
    rooms: BTreeMap<RoomName, Room>,
    /// The rooms that the journal knows and the client is not in: nobody has joined them yet, or
    /// they were left.
    restored: BTreeMap<RoomName, RoomState>,
    next_handle: u64,
    /// The device is used elsewhere too, or was: it is given up (JRN-4).
    retiring: bool,
    online: bool,
    leaving: bool,
    outgoing: VecDeque<(Path, Bytes)>,
    journal: VecDeque<JournalRequest>,
    next_entry: u64,
    /// What is being journaled before it is sent.
    journaling: BTreeMap<u64, (RoomName, Gate)>,
    /// Everything up to this journal request is journaled.
    journaled: Option<u64>,
    deliveries: VecDeque<Delivery>,
    events: VecDeque<ClientEvent>,
    drops: Drops,
}

impl Client {
    /// A client that begins to shake hands at once.
    ///
    /// `seed` is all the randomness that it will ever have.
    #[must_use]
    pub fn new(config: ClientConfig, seed: Seed, now: Timestamp) -> Self {
        let mut rng = SeededRng::new(seed);
        let mut paths = config.paths;
        paths.truncate(PATHS_MAX);
        let shaking = Shaking::new(config.known.as_ref(), &mut rng, now);
        let JournalState { rooms, next_handle } = config.restored;
        let mut client = Self {
            paths,
            name: config.name,
            knew_key: config.known.is_some(),
            known: config.known,
            invite: None,
            errand: None,
            rng,
            state: State::Shaking(Box::new(shaking)),
            rooms: BTreeMap::new(),
            restored: rooms,
            next_handle,
            retiring: false,
            online: false,
            leaving: false,
            outgoing: VecDeque::new(),
            journal: VecDeque::new(),
            next_entry: 0,
            journaling: BTreeMap::new(),
            journaled: None,
            deliveries: VecDeque::new(),
            events: VecDeque::new(),
            drops: Drops::default(),
        };
        client.join_where_something_waits();
        client
    }

    /// JRN-2.
    fn join_where_something_waits(&mut self) {
        let has_waiting = |(name, room): (&RoomName, &RoomState)| {
            (!room.waiting.is_empty()).then(|| name.clone())
        };
        let names: Vec<RoomName> = self.restored.iter().filter_map(has_waiting).collect();
        for name in names.into_iter().take(ROOMS_PER_LINK_MAX) {
            let state = self.restored.remove(&name).unwrap_or(RoomState::NEW);
            let options = JoinOptions {
                quiet: true,
                ..name.clone().into()
            };
            self.rooms.insert(name, Room::new(options, state));
        }
    }

    /// Has the client show this invite whenever it signs in, if it knows the broker's key (ADM-2). To
    /// be called before the first datagram.
    pub fn set_invite(&mut self, invite: InviteSecret) {
        self.invite = Some(invite);
    }

    // ---- getters

    /// Whether the client is signed in.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        self.online
    }

    /// How many publications have no outcome yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.rooms.values().map(Room::waiting).sum()
    }

    /// How many datagrams were dropped, by reason.
    #[must_use]
    pub const fn drops(&self) -> &Drops {
        &self.drops
    }

    /// The smoothed round-trip time to the broker, once measured.
    #[must_use]
    pub fn srtt(&self) -> Option<Duration> {
        match &self.state {
            State::Up(up) => up.link.srtt(),
            State::Shaking(_) | State::Choosing(_) | State::Ended => None,
        }
    }

    // ---- input

    /// Takes a datagram that came over `path`. What cannot be used is dropped and counted.
    pub fn handle_datagram(
        &mut self,
        origin: impl Into<Origin>,
        datagram: BytesMut,
        now: Timestamp,
    ) {
        let origin = origin.into();
        let path = origin.path;
        let handled = match datagram.first() {
            None => Err(Dropped::Empty),
            Some(&first) if crate::wire::is_data(first) => self.on_data(origin, datagram, now),
            Some(_) => self.on_handshake(path, &datagram.freeze(), now),
        };
        if let Err(reason) = handled {
            self.drops.add(reason, 1);
            tracing::trace!(%now, ?path, %reason, "datagram dropped");
        }
        self.go_on(now);
    }

    /// Does what has come due. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Shaking(_) => self.repeat_hello(now),
            State::Up(up) => {
                if up
                    .link
                    .poll_timeout()
                    .is_some_and(|deadline| deadline.at <= now)
                {
                    up.link.handle_timeout(now);
                }
                self.on_link_events(now);
                self.repeat_finish(now);
                self.repeat_sign_in(now);
            }
            State::Choosing(_) | State::Ended => {}
        }
        for room in self.rooms.values_mut() {
            if room.retry_at.is_some_and(|at| at <= now) {
                room.retry_at = None;
            }
        }
        self.go_on(now);
    }

    /// Everything up to and including journal request `id` is journaled.
    pub fn handle_journaled(&mut self, id: u64, now: Timestamp) {
        self.journaled = self.journaled.max(Some(id));
        while let Some(entry) = self.journaling.first_entry()
            && *entry.key() <= id
        {
            let (room, gate) = entry.remove();
            let Some(waits) = self.rooms.get_mut(&room) else {
                continue;
            };
            match gate {
                Gate::Publication(handle) => {
                    waits.outbox.on_journaled(handle);
                    self.events.push_back(ClientEvent::Waiting { handle, room });
                }
                Gate::Numbers => waits.outbox.on_numbers_journaled(),
            }
        }
        self.deliver();
        self.go_on(now);
    }

    // ---- output

    /// Appends the next batch of datagrams to `out`, if there is one due.
    pub fn poll_transmit(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Option<Transmit> {
        if let Some((path, datagram)) = self.outgoing.pop_front() {
            out.extend_from_slice(&datagram);
            return Some(Transmit {
                path,
                len: datagram.len(),
                segment_size: None,
                ecn: Ecn::NotEct,
            });
        }
        match &mut self.state {
            State::Up(up) => up.link.poll_transmit(now, out),
            State::Shaking(_) | State::Choosing(_) | State::Ended => None,
        }
    }

    /// The next thing to be journaled, if there is one.
    pub fn poll_journal(&mut self) -> Option<JournalRequest> {
        self.journal.pop_front()
    }

    /// The next thing that happened, if there is one.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let handshake = match &self.state {
            State::Shaking(shaking) => Some(shaking.next()),
            State::Up(up) => up.finish_due(),
            State::Choosing(_) | State::Ended => None,
        };
        let handshake = handshake.map(|at| Deadline {
            at,
            reason: Reason::Handshake,
        });
        let link = match &self.state {
            State::Up(up) => up.link.poll_timeout(),
            State::Shaking(_) | State::Choosing(_) | State::Ended => None,
        };
        let link = link.map(|d| Deadline {
            at: d.at,
            reason: Reason::Link(d.reason),
        });
        let sign_in = match &self.state {
            State::Up(up) => up.sign_in_due(),
            State::Shaking(_) | State::Choosing(_) | State::Ended => None,
        };
        let retries = self.rooms.values().filter_map(|room| room.retry_at);
        let retry = retries.chain(sign_in).min().map(|at| Deadline {
            at,
            reason: Reason::Retry,
        });
        let speaks = matches!(&self.state, State::Up(up) if up.is_signed_in());
        let in_room = |room: &&Room| speaks && room.channel().is_some();
        let reports = self.rooms.values().filter(in_room);
        let report = reports.filter_map(|room| room.reports.due()).min();
        let report = report.map(|at| Deadline {
            at,
            reason: Reason::Report,
        });
        [handshake, link, retry, report]
            .into_iter()
            .flatten()
            .min_by_key(|deadline| deadline.at)
    }

    // ---- shared by the parts

    /// Whether as much is to be journaled as may be (JRN-12).
    fn is_journal_behind(&self) -> bool {
        let done = self.journaled.map_or(0, |id| id + 1);
        self.next_entry.saturating_sub(done) >= JOURNAL_PENDING_MAX
    }

    fn journal(&mut self, entry: JournalEntry) -> u64 {
        let id = self.next_entry;
        self.next_entry += 1;
        self.journal.push_back(JournalRequest { id, entry });
        id
    }

    /// Tells something of a room after everything that came before it (PRS-2), and after `after`
    /// is journaled (NOD-1).
    fn tell_in_turn(&mut self, after: Option<u64>, event: ClientEvent) {
        self.deliveries.push_back(Delivery { after, event });
        self.deliver();
    }

    /// Hands over what is journaled, in order (NOD-1).
    fn deliver(&mut self) {
        while let Some(delivery) = self.deliveries.front()
            && delivery.after.is_none_or(|id| self.journaled >= Some(id))
            && let Some(Delivery { event, .. }) = self.deliveries.pop_front()
        {
            if let ClientEvent::Line { room, log, line } = &event
                && let Some(room) = self.rooms.get_mut(room)
            {
                room.on_line_journaled(*log, line.seq);
            }
            self.events.push_back(event);
        }
    }

    /// A link that was closed here is about to be forgotten: its CLOSE still has to go out.
    fn send_last_words(&mut self, now: Timestamp) {
        let State::Up(up) = &mut self.state else {
            return;
        };
        let mut out = Vec::new();
        while !up.link.is_open()
            && let Some(transmit) = up.link.poll_transmit(now, &mut out)
        {
            let datagrams = transmit.datagrams(&out).map(Bytes::copy_from_slice);
            self.outgoing
                .extend(datagrams.map(|datagram| (transmit.path, datagram)));
            out.clear();
        }
    }

    fn end(&mut self, reason: EndReason, now: Timestamp) {
        match &mut self.state {
            State::Ended => return,
            State::Up(up) => {
                up.link.close(link::CloseCode::Done, "", now);
                self.send_last_words(now);
            }
            State::Shaking(_) | State::Choosing(_) => {}
        }
        self.state = State::Ended;
        self.online = false;
        self.events.push_back(ClientEvent::Ended(reason));
    }
}

#[cfg(test)]
mod journal_tests;
#[cfg(test)]
mod liar_tests;
#[cfg(test)]
mod reset_tests;
#[cfg(test)]
mod retry_tests;
#[cfg(test)]
mod tests;

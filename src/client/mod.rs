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

mod connect;
mod event;
mod journal;
mod room;
mod schedule;
mod states;
mod up;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub use event::{ClientEvent, EndReason};
pub use journal::{JournalEntry, JournalRequest, JournalState, RoomState};
pub use room::{JoinOptions, OUTBOX_MAX, PUBLISH_WINDOW};
pub use states::CURSOR_INTERVAL;

use crate::chat::{ControlFromNode, HistoryPolicy, Kind, Name, RoomName, TextError, check_body};
use crate::drops::{Dropped, Drops};
use crate::link;
use crate::rng::{Seed, SeededRng};
use crate::secure::{NodeIdentity, PublicKey};
use crate::time::Timestamp;
use crate::transmit::{Path, Transmit};
use connect::{Choosing, Shaking};
use room::Room;
use up::Up;

/// The most addresses that a handshake is tried on at a time.
pub const PATHS_MAX: usize = 8;
/// The most rooms of a client: channels 1 to 63 (RUM-11).
pub const ROOMS_PER_LINK_MAX: usize = 63;

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
    rng: SeededRng,
    state: State,
    rooms: BTreeMap<RoomName, Room>,
    /// The rooms that the journal knows and nobody has joined yet.
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
            known: config.known,
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
    pub fn handle_datagram(&mut self, path: Path, datagram: BytesMut, now: Timestamp) {
        let handled = match datagram.first() {
            None => Err(Dropped::Empty),
            Some(&first) if crate::wire::is_data(first) => self.on_data(path, datagram, now),
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
        let still = self.journaling.split_off(&(id + 1));
        for (room, gate) in core::mem::replace(&mut self.journaling, still).into_values() {
            let Some(waits) = self.rooms.get_mut(&room) else {
                continue;
            };
            match gate {
                Gate::Publication(handle) => {
                    waits.on_journaled(handle);
                    self.events.push_back(ClientEvent::Waiting { handle, room });
                }
                Gate::Numbers => waits.on_numbers_journaled(),
            }
        }
        self.deliver();
        self.go_on(now);
    }

    // ---- commands

    /// Asks to be in a room. Returns `false` if the client wants to be in too many rooms already.
    pub fn join(&mut self, options: JoinOptions, now: Timestamp) -> bool {
        if let Some(room) = self.rooms.get_mut(&options.room) {
            // It may have been joined for what waits there (JRN-2). If that was asked for already,
            // it takes another link to be there in another way.
            let is_other = room.options.quiet && !options.quiet && room.is_asked_for();
            room.options = options;
            if let (true, State::Up(up)) = (is_other, &mut self.state) {
                up.link
                    .close(link::CloseCode::Done, "to be there in another way", now);
            }
        } else {
            if self.rooms.len() >= ROOMS_PER_LINK_MAX {
                return false;
            }
            let state = self
                .restored
                .remove(&options.room)
                .unwrap_or(RoomState::NEW);
            self.rooms
                .insert(options.room.clone(), Room::new(options, state));
        }
        self.go_on(now);
        true
    }

    /// Leaves `room` for good, as soon as what waits there is settled:
    /// [`ClientEvent::RoomLeft`] tells. Returns `false` if the client is not in it.
    pub fn leave_room(&mut self, room: &RoomName, now: Timestamp) -> bool {
        let Some(leaving) = self.rooms.get_mut(room) else {
            return false;
        };
        leaving.leaving = true;
        self.go_on(now);
        true
    }

    /// Asks who is present in `room`: [`ClientEvent::Roster`] tells. Returns `false`, having asked
    /// nobody, if the client is not in it now.
    pub fn ask_who(&mut self, room: &RoomName, now: Timestamp) -> bool {
        let asked = self.send_question(room, now);
        self.go_on(now);
        asked
    }

    /// Asks which rooms are in use: [`ClientEvent::Rooms`] tells. Returns `false`, having asked
    /// nobody, if the client is out of contact.
    pub fn ask_rooms(&mut self, now: Timestamp) -> bool {
        if self.online {
            self.send_control(&ControlFromNode::ListRooms, now);
        }
        self.online
    }

    /// Puts `text` into the outbox of `room`. It is sent as soon as it is journaled and the broker
    /// is in reach, and as often as it takes. Returns the handle under which
    /// [`ClientEvent::Stored`] or [`ClientEvent::NotStored`] will tell its outcome.
    ///
    /// # Errors
    ///
    /// If it cannot be a line there; then nothing was done (PUB-5).
    pub fn publish(
        &mut self,
        room: &RoomName,
        text: &[u8],
        typed_at_ms: u64,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        self.publish_spooled(room, text, typed_at_ms, None, now)
    }

    /// The same for a text that was spooled: kept without a number, under the name `spooled`. The
    /// journal is told that name, to take it from the spool at the same moment (JRN-6).
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn publish_spooled(
        &mut self,
        room: &RoomName,
        text: &[u8],
        typed_at_ms: u64,
        spooled: Option<u64>,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        check_body(text)?;
        let body = Bytes::copy_from_slice(text);
        self.put_out(room, (Kind::Message, body), typed_at_ms, spooled, now)
    }

    /// Decides who may read what was said in `room` before they came. Only whoever made the room
    /// may: others are told [`ClientEvent::NotStored`] (RUM-16). Otherwise like
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// If nothing can be published there now.
    pub fn set_policy(
        &mut self,
        room: &RoomName,
        policy: HistoryPolicy,
        typed_at_ms: u64,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        let body = Bytes::from_static(policy.as_str().as_bytes());
        self.put_out(room, (Kind::Policy, body), typed_at_ms, None, now)
    }

    /// Has a publication that waits watched once it is stored: [`ClientEvent::Delivered`] tells
    /// who has it, at once and at every change, until all have it (STA-3). Returns `false` if none
    /// waits under this handle.
    pub fn watch(&mut self, handle: u64) -> bool {
        let room = self.rooms.values_mut().find(|room| room.has(handle));
        room.map(|room| room.watches.want(handle)).is_some()
    }

    /// Asks for `count` earlier lines of `room`, before line `before`, or before those that the
    /// client was sent if that is 0. [`ClientEvent::Past`] tells them, oldest first, and
    /// [`ClientEvent::HistoryEnd`] their end, also over an outage. Returns `false`, having asked
    /// nothing, if the client has not been in the room yet, or has asked too much already.
    pub fn ask_history(
        &mut self,
        room: &RoomName,
        before: u64,
        count: u64,
        now: Timestamp,
    ) -> bool {
        let room = self.rooms.get_mut(room);
        let asked = room.is_some_and(|room| room.ask_page(before, count));
        self.go_on(now);
        asked
    }

    fn put_out(
        &mut self,
        room: &RoomName,
        (kind, body): (Kind, Bytes),
        typed_at_ms: u64,
        spooled: Option<u64>,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        if self.leaving {
            return Err(PublishError::Leaving);
        }
        let handle = self.next_handle;
        let room = self.rooms.get_mut(room).ok_or(PublishError::NotInRoom)?;
        if room.leaving {
            return Err(PublishError::NotInRoom);
        }
        if !room.has_space() {
            return Err(PublishError::OutboxFull);
        }
        self.next_handle += 1;
        let publication = room.push(handle, typed_at_ms, kind, body);
        let name = room.name.clone();
        let id = self.journal(JournalEntry::Waiting {
            handle,
            spooled,
            room: name.clone(),
            publication,
        });
        self.journaling
            .insert(id, (name, Gate::Publication(handle)));
        self.go_on(now);
        Ok(handle)
    }

    /// Starts from what the journal holds, as [`ClientConfig::restored`] would have: for a journal
    /// that is found only when the broker has shown its key. Returns `false`, having done nothing,
    /// if something was published already.
    pub fn restore(&mut self, journal: JournalState, now: Timestamp) -> bool {
        if self.next_handle > 0 || self.online {
            return false;
        }
        self.next_handle = journal.next_handle;
        self.restored = journal.rooms;
        for room in self.rooms.values_mut() {
            if let Some(state) = self.restored.remove(&room.name) {
                *room = Room::new(room.options.clone(), state);
            }
        }
        self.join_where_something_waits();
        self.go_on(now);
        true
    }

    /// Answers [`ClientEvent::FirstContact`]: who one is for that broker.
    pub fn set_identity(&mut self, identity: NodeIdentity, now: Timestamp) {
        if !matches!(self.state, State::Choosing(_)) {
            return;
        }
        if let State::Choosing(choosing) = core::mem::replace(&mut self.state, State::Ended) {
            self.finish_first_contact(*choosing, identity, now);
        }
        self.go_on(now);
    }

    /// Leaves as soon as everything is settled: nothing waits, and every own line has been
    /// received (NOD-4). [`ClientEvent::Ended`] tells.
    pub fn leave(&mut self, now: Timestamp) {
        self.leaving = true;
        self.go_on(now);
    }

    /// Ends at once, with a word to the broker if there is a link, whatever still waits.
    pub fn abandon(&mut self, now: Timestamp) {
        let waiting = self.waiting();
        self.end(EndReason::Abandoned { waiting }, now);
    }

    /// This machine has a new address, or may have one: to be called when the driver has rebound
    /// its socket, or is told that the network changed. A link is kept, and its broker told at once
    /// (PTH-6); a handshake begins its schedule anew (SEC-5).
    pub fn handle_address_change(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Shaking(_) => self.restart_schedule(now),
            State::Up(up) => {
                up.link.handle_address_change(now);
                up.restart_schedule(now);
            }
            State::Choosing(_) | State::Ended => {}
        }
        self.go_on(now);
    }

    /// This machine has slept for a while that its clock does not show: whether the broker is still
    /// there is asked at once, and backing off begins anew (LIF-6, SEC-5).
    pub fn handle_resume(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Shaking(_) => self.restart_schedule(now),
            State::Up(up) => {
                up.link.handle_resume(now);
                up.restart_schedule(now);
            }
            State::Choosing(_) | State::Ended => {}
        }
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
mod reset_tests;
#[cfg(test)]
mod tests;

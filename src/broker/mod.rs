//! The broker: one machine that owns all links and all rooms.
//!
//! A datagram comes in ([`handle_datagram`](Broker::handle_datagram)). If it begins a link, the
//! [handshake](self) goes into a bounded table of half-open ones and leaves it when the first data
//! packet decrypts; from then on there is a *session*: who is there, signed in under which name,
//! sitting in which rooms. A publication becomes a storage request; when the store says that the
//! line is durable, it enters the room's *feed*, and every session that sits in the room reads the
//! feed at its own pace, as its link takes it. So a slow member costs a cursor, and delays nobody.
//!
//! ```text
//! datagram -> half-open | session.link -> control and room messages -> storage request
//! completion -> room feed -> (per member: cursor) -> link -> transmit
//! ```
//!
//! The machine knows no clock, socket or disk: see [`Broker`] for how it is driven.

mod budget;
mod counters;
mod devices;
mod early;
mod egress;
mod feed;
mod gate;
mod half_open;
mod handshake;
mod history;
mod holding;
mod introduction;
mod leaving;
mod links;
mod losses;
mod memory;
mod moderation;
mod prefix;
mod report;
mod resets;
mod roll;
mod room;
mod schedule;
mod seating;
mod seats;
mod sending;
mod session;
mod signing;
mod states;
mod storage;
mod tables;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub use budget::{ACCOUNTS_REMEMBERED_MAX, Allowance, Budgets, LINE_COST, NETWORKS_REMEMBERED_MAX};
pub use counters::{Counters, LATENCIES_MS, Latency};
pub use devices::LINK_OFFERS_MAX;
pub use feed::{RECENT_BYTES_MAX, RECENT_LINES_MAX};
pub use gate::{
    ADDRESS_BURST, ADDRESS_RATE, COOKIE_LIFETIME, FIRST_CONTACT_COST, HALF_OPEN_CALM,
    HANDSHAKE_BURST, HANDSHAKE_SHARE_CALM, HANDSHAKE_SHARE_MAX, HANDSHAKES_PER_TURN, LOAD_LASTS,
    NETWORK_BURST, NETWORK_RATE, PREFIXES_MAX,
};
pub use half_open::{HALF_OPEN_LIFETIME, HALF_OPEN_MAX};
pub use history::{PAGE_LINES_MAX, PAGES_WAITING_MAX};
pub use holding::{MEMORY_MAX, MEMORY_MIN, Pressure};
pub use memory::{KEPT_MAX, MemoryStore};
pub use report::Report;
pub use resets::{RESETS_BURST, RESETS_PER_SECOND};
pub use sending::LAG_AFTER;
pub use states::WATCHES_MAX;
pub use storage::{
    Author, Decided, Departed, DeviceRow, Entered, Entrance, INVITES_MAX, LinkRow, MISSED_MAX,
    MemberRow, Opened, PresenceRow, RequestId, ShownOut, StorageCompletion, StorageOp,
    StorageOutcome, StorageRequest, StoredLine,
};
pub use tables::Tables;

use crate::chat::{Decision, LogId, Name, NoticeEvent, RoomName, Stretch};
use crate::drops::{Dropped, Drops};
use crate::link::CloseCode;
use crate::rng::{Seed, SeededRng};
use crate::secure::{AccountKey, BrokerIdentity, DeviceKey, PublicKey, ResetSecret};
use crate::time::Timestamp;
use crate::transmit::{Ecn, Origin, Path, Transmit};
use crate::wire::{self, BrokerCid};
use budget::Ledger;
use devices::{Offers, Stored};
use egress::Egress;
use gate::Gate;
use half_open::HalfOpenTable;
use holding::{Holding, request_cost};
use links::{LinkMemory, Recalls};
use losses::Losses;
use resets::Resets;
use room::Room;
use schedule::Schedule;
use session::Session;
use turns::Turns;

/// The most links of a broker (LIM-3).
pub const LINKS_MAX: usize = 65_536;
/// The most rooms that a broker has in use at a time (LIM-5).
pub const ROOMS_MAX: usize = 4_096;
/// The most storage requests that a broker has under way (LIM-7).
pub const STORAGE_PENDING_MAX: usize = 8_192;
/// The most handshake replies and resets that wait for a turn of the sender; more are dropped and
/// counted (LIM-16).
const REPLIES_WAITING_MAX: usize = 1_024;
/// The most events that wait to be taken by whoever runs the broker; more are not told, but counted
/// (LIM-23).
pub const EVENTS_UNTAKEN_MAX: usize = 65_536;
/// How many lines a read takes from the store at most (BRK-2).
pub const READ_LINES_MAX: usize = 64;
/// After how many bytes of bodies a read stops (BRK-2).
const READ_BYTES_MAX: usize = 65_536;

/// What a broker can be told about itself.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// How long an account stays present without being heard from (PRS-1).
    pub grace: Duration,
    /// What reset tokens are made of (RST-1). It has to outlive the broker's process; `None`: one
    /// that does not, so that nodes find out by themselves that their links are gone.
    pub reset_secret: Option<ResetSecret>,
    /// Whether nodes may come that do not know the broker's key yet (ADR-8).
    pub first_contacts: FirstContacts,
    /// Who may come in (ADM-1).
    pub access: Access,
    /// What each account and each network may cause (BUD-2).
    pub budgets: Budgets,
    /// How many bytes the broker holds at most, as it estimates them; [`MEMORY_MIN`] at least (MEM-1).
    pub memory_max: u64,
}

/// Who may come in, of those whom the broker does not know (ADM-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Who has an invite.
    Invite,
}

/// What is done about a node that does not know the broker's key (ADR-8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstContacts {
    /// It is told the key.
    #[default]
    Open,
    /// Nothing: to such a one the broker is not there.
    Closed,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(600),
            reset_secret: None,
            first_contacts: FirstContacts::Open,
            access: Access::Open,
            budgets: Budgets::default(),
            memory_max: MEMORY_MAX,
        }
    }
}

/// What happened, for the log and for `People in chat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerEvent {
    /// An account became present in a room.
    Joined {
        /// Who.
        name: Name,
        /// Where.
        room: RoomName,
    },
    /// An account ceased to be present in a room.
    Left {
        /// Who.
        name: Name,
        /// Where.
        room: RoomName,
        /// Whether it was not heard from for the grace, instead of having said goodbye.
        timed_out: bool,
    },
    /// Something was decided about somebody (ROL-2).
    Decided {
        /// By whom.
        by: Name,
        /// Where.
        room: RoomName,
        /// What, and about whom.
        decision: Decision,
    },
    /// A line was stored, and goes out to everybody in its room.
    Stored {
        /// Where.
        room: RoomName,
        /// Its number.
        seq: u64,
        /// The length of its body in bytes.
        len: usize,
    },
    /// The number of accounts present changed (PRS-4).
    People(usize),
}

/// What the broker waits for.
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
    /// A link's timer.
    Link(LinkId),
    /// A half-open handshake expires (SEC-6).
    HalfOpen,
    /// Somebody's grace runs out (PRS-1).
    Grace,
    /// A read that failed is repeated (BRK-5).
    ReadAgain,
    /// The store is told which links there are (RST-5).
    Links,
    /// A link of the life before is reset (RST-5).
    Recall,
}

/// Names a link for as long as the broker runs.
pub type LinkId = u64;

/// What a storage request was for.
enum Pending {
    Register {
        link: LinkId,
    },
    Enter {
        link: LinkId,
        channel: u8,
        room: RoomName,
    },
    Append {
        link: LinkId,
        channel: u8,
        room: RoomName,
        n: u64,
    },
    Read {
        link: LinkId,
        channel: u8,
        room: RoomName,
    },
    Leave {
        room: RoomName,
        account: AccountKey,
    },
    Links {
        remember: Vec<LinkRow>,
        forget: Vec<BrokerCid>,
    },
    Absent {
        room: RoomName,
        account: AccountKey,
        event: NoticeEvent,
    },
    Open,
    Errand {
        link: LinkId,
        errand: Stored,
    },
    Report {
        link: LinkId,
        channel: u8,
        room: RoomName,
        account: AccountKey,
        lines: Stretch,
    },
    Members {
        room: RoomName,
    },
    Decide {
        room: RoomName,
    },
    Invite {
        link: LinkId,
        channel: u8,
        room: RoomName,
    },
    History {
        link: LinkId,
        channel: u8,
        room: RoomName,
    },
}

/// A request that is under way.
struct Asked {
    pending: Pending,
    /// What it holds (MEM-1).
    cost: u64,
    /// When it was made.
    at: Timestamp,
}

/// What the store is asked again for a seat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    /// The lines that follow.
    Place,
    /// Earlier ones.
    Page,
    /// To remember a report.
    Report,
}

/// Whether the store has told yet what was so before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// It is asked.
    Asked,
    /// It could not, and is asked again then (BRK-5).
    AgainAt(Timestamp),
    /// It has: people may sign in.
    Done,
}

/// The broker's state machine.
///
/// *Input*: [`handle_datagram`](Self::handle_datagram), [`handle_timeout`](Self::handle_timeout),
/// [`handle_storage`](Self::handle_storage), [`set_wall_clock`](Self::set_wall_clock).
/// *Commands*: [`shut_down`](Self::shut_down).
/// *Output*: after any input, drain [`poll_transmit`](Self::poll_transmit), then
/// [`poll_storage`](Self::poll_storage), then [`poll_event`](Self::poll_event); then sleep until
/// [`poll_timeout`](Self::poll_timeout).
pub struct Broker {
    config: BrokerConfig,
    identity: BrokerIdentity,
    log: LogId,
    rng: SeededRng,
    /// Unix time in ms at monotonic time zero.
    wall_origin_ms: u64,
    gate: Gate,
    half_open: HalfOpenTable,
    resets: Resets,
    links: LinkMemory,
    recalls: Recalls,
    losses: Losses,
    egress: Egress,
    replies: VecDeque<(Path, Bytes)>,
    sessions: BTreeMap<LinkId, Box<Session>>,
    next_link: LinkId,
    routes: BTreeMap<BrokerCid, LinkId>,
    devices: BTreeMap<DeviceKey, LinkId>,
    /// Codes by which devices may be linked (DEV-3).
    offers: Offers,
    /// The links of each account.
    accounts: BTreeSet<(AccountKey, LinkId)>,
    rooms: BTreeMap<RoomName, Room>,
    /// In how many rooms each account that is present is present.
    people: BTreeMap<AccountKey, usize>,
    people_told: usize,
    graces: BTreeSet<(Timestamp, RoomName, AccountKey)>,
    /// Links whose turn to send has come.
    turns: Turns,
    /// Links whose read the store had no room for; they ask again when it has (LIM-7).
    starved: BTreeSet<LinkId>,
    /// Seats for which the store could not do something, by when it is asked again (BRK-5).
    read_again: BTreeSet<(Timestamp, LinkId, u8, Again)>,
    /// Rooms whose members the store could not list, by when it is asked again (BRK-5).
    roll_again: BTreeSet<(Timestamp, RoomName)>,
    schedule: Schedule,
    /// Room for the links that are due at a time.
    due: Vec<LinkId>,
    /// Rooms in which something has happened that their readers are to be told.
    news: Vec<RoomName>,
    opening: Opening,
    storage: VecDeque<StorageRequest>,
    pending: BTreeMap<RequestId, Asked>,
    /// The last time that the broker was told.
    latest: Timestamp,
    next_request: RequestId,
    events: VecDeque<BrokerEvent>,
    counters: Counters,
    drops: Drops,
    ledger: Ledger,
    holding: Holding,
}

impl Broker {
    /// A broker without links, which asks its store first who was there before it.
    ///
    /// `log` is the id of the history that its store holds, `seed` all the randomness that it will
    /// ever have.
    #[must_use]
    pub fn new(config: BrokerConfig, identity: BrokerIdentity, log: LogId, seed: Seed) -> Self {
        let mut rng = SeededRng::new(seed);
        let reset_secret = config.reset_secret.clone();
        let reset_secret = reset_secret.unwrap_or_else(|| ResetSecret::new(rng.bytes()));
        let gate = Gate::new(rng.fork());
        let holding = Holding::new(config.memory_max);
        let mut broker = Self {
            config,
            identity,
            log,
            rng,
            wall_origin_ms: 0,
            gate,
            half_open: HalfOpenTable::default(),
            resets: Resets::new(reset_secret),
            links: LinkMemory::default(),
            recalls: Recalls::default(),
            losses: Losses::default(),
            egress: Egress::default(),
            replies: VecDeque::new(),
            sessions: BTreeMap::new(),
            next_link: 0,
            routes: BTreeMap::new(),
            devices: BTreeMap::new(),
            offers: Offers::default(),
            accounts: BTreeSet::new(),
            rooms: BTreeMap::new(),
            people: BTreeMap::new(),
            people_told: 0,
            graces: BTreeSet::new(),
            turns: Turns::default(),
            starved: BTreeSet::new(),
            read_again: BTreeSet::new(),
            roll_again: BTreeSet::new(),
            schedule: Schedule::default(),
            due: Vec::new(),
            news: Vec::new(),
            opening: Opening::Asked,
            storage: VecDeque::new(),
            pending: BTreeMap::new(),
            latest: Timestamp::ZERO,
            next_request: 0,
            events: VecDeque::new(),
            counters: Counters::default(),
            drops: Drops::default(),
            ledger: Ledger::default(),
            holding,
        };
        broker.ask(StorageOp::Open, Pending::Open);
        broker
    }

    // ---- getters

    /// The public key by which nodes know this broker.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.identity.public()
    }

    /// How many accounts are present in any room (PRS-4).
    #[must_use]
    pub fn people(&self) -> usize {
        self.people.len()
    }

    /// How many datagrams were received (BRK-4).
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.counters.datagrams_in
    }

    /// What was done so far (BRK-4, MET-2).
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many datagrams were dropped, by reason (BRK-4).
    #[must_use]
    pub const fn drops(&self) -> &Drops {
        &self.drops
    }

    /// How many links are confirmed, and how many handshakes are half-open.
    #[must_use]
    pub fn link_counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.half_open.len())
    }

    /// The connection ids of half-open handshakes.
    #[cfg(test)]
    pub(crate) fn half_open_cids(&self) -> Vec<BrokerCid> {
        self.half_open.cids()
    }

    // ---- input

    /// Tells the broker what the wall clock says. Lines are stamped with it (RUM-4).
    pub const fn set_wall_clock(&mut self, unix_ms: u64, now: Timestamp) {
        self.wall_origin_ms = unix_ms.saturating_sub(now.as_millis());
    }

    /// Takes a datagram that came from there. What cannot be used is dropped and counted (BRK-4).
    pub fn handle_datagram(
        &mut self,
        origin: impl Into<Origin>,
        datagram: BytesMut,
        now: Timestamp,
    ) {
        let origin = origin.into();
        let path = origin.path;
        self.latest = now;
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += datagram.len() as u64;
        let handled = match datagram.first() {
            None => Err(Dropped::Empty),
            Some(&first) if wire::is_data(first) => self.on_data(origin, datagram, now),
            Some(_) => self.on_handshake(path, &datagram.freeze(), now),
        };
        if let Err(reason) = handled {
            self.drops.add(reason, 1);
            tracing::trace!(%now, ?path, %reason, "datagram dropped");
        }
        self.mind_memory(now);
    }

    /// The datagram that was handled last took so much of the processor's time, as the driver has
    /// measured: how the broker learns what handshakes cost where it runs (ADR-3, ADR-6).
    pub fn handle_time_taken(&mut self, taken: Duration, now: Timestamp) {
        self.gate.on_time_taken(taken, now);
    }

    /// Does what has come due. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.latest = now;
        self.half_open.expire(now);
        self.repeat_reads(now);
        self.repeat_rolls(now);
        self.repeat_opening(now);
        self.send_recalls(now);
        self.tell_links(now);
        self.expire_links(now);
        while let Some((at, _, _)) = self.graces.first() {
            if *at > now {
                break;
            }
            let Some((_, room, account)) = self.graces.pop_first() else {
                break;
            };
            self.on_grace_over(&room, account, now);
        }
    }

    /// Has links do what is due for them.
    fn expire_links(&mut self, now: Timestamp) {
        // Each link once: what is due may be something to transmit, and stays due until it is.
        let mut due = core::mem::take(&mut self.due);
        while let Some((at, id)) = self.schedule.first() {
            let session = self.sessions.get_mut(&id);
            if let Some(session) = session.filter(|session| session.deadline == Some(at)) {
                if at > now {
                    break;
                }
                session.deadline = None;
                due.push(id);
            }
            self.schedule.pop();
        }
        for id in due.drain(..) {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if session
                .link
                .poll_timeout()
                .is_some_and(|next| next.at <= now)
            {
                session.link.handle_timeout(now);
                if session.link.is_resting() {
                    session.rest();
                }
                self.after_input(id, now);
            } else {
                self.reschedule(id);
            }
        }
        self.due = due;
    }

    /// Takes the store's answer to a request.
    pub fn handle_storage(&mut self, completion: StorageCompletion, now: Timestamp) {
        self.latest = now;
        let Some(Asked { pending, cost, at }) = self.pending.remove(&completion.id) else {
            return;
        };
        self.holding.end_request(cost);
        if let Pending::Append { .. } = pending {
            self.counters.store_latency.add(now.saturating_since(at));
        }
        self.on_storage(pending, completion.outcome, now);
        if let Some(link) = self.starved.pop_first() {
            self.mark_ready(link);
        }
        self.mind_memory(now);
    }

    // ---- commands

    /// Closes every link in an orderly way. What is due is still to be transmitted.
    pub fn shut_down(&mut self, now: Timestamp) {
        let links: Vec<LinkId> = self.sessions.keys().copied().collect();
        for id in links {
            if let Some(session) = self.sessions.get_mut(&id) {
                // RST-5: stays remembered, so that the node hears when the broker is back.
                session.remembered = None;
                session
                    .link
                    .close(CloseCode::ShuttingDown, "the broker shuts down", now);
                self.after_input(id, now);
            }
        }
    }

    // ---- output

    /// Appends the next batch of datagrams to `out`, if there is one due.
    ///
    /// Links take turns, a batch each (BRK-3).
    pub fn poll_transmit(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Option<Transmit> {
        let mut transmit = self.next_transmit(now, out);
        if transmit.is_none() && self.mind_memory(now) {
            transmit = self.next_transmit(now, out);
        }
        if let Some(transmit) = &transmit {
            self.counters.on_sent(transmit);
        }
        transmit
    }

    fn next_transmit(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Option<Transmit> {
        if let Some((path, datagram)) = self.replies.pop_front() {
            out.extend_from_slice(&datagram);
            return Some(Transmit {
                path,
                len: datagram.len(),
                segment_size: None,
                ecn: Ecn::NotEct,
            });
        }
        self.wake_readers();
        while let Some(id) = self.turns.next() {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.has_turn = false;
            self.pump(id, now);
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.link.allow_copies(self.egress.may_copy(now));
            session
                .link
                .allow_more_credit(self.holding.pressure() < Pressure::Thrifty);
            let copied = session.link.stats().bytes_copied;
            let transmit = session.link.poll_transmit(now, out);
            if let Some(transmit) = &transmit {
                let copied = session.link.stats().bytes_copied - copied;
                self.egress.on_sent(transmit.len, copied, now);
                session.note_holds(&mut self.holding);
                if !session.link.is_drained() {
                    self.mark_ready(id);
                }
            }
            self.reschedule(id);
            if transmit.is_some() {
                return transmit;
            }
        }
        None
    }

    /// The next request to the store, if there is one.
    pub fn poll_storage(&mut self) -> Option<StorageRequest> {
        self.storage.pop_front()
    }

    /// Something is worth telling (LIM-23).
    fn tell(&mut self, event: BrokerEvent) {
        if self.events.len() < EVENTS_UNTAKEN_MAX {
            self.events.push_back(event);
        } else {
            self.counters.events_untold += 1;
        }
    }

    /// The next thing worth telling, if there is one.
    pub fn poll_event(&mut self) -> Option<BrokerEvent> {
        if self.people.len() != self.people_told && self.events.is_empty() {
            self.people_told = self.people.len();
            return Some(BrokerEvent::People(self.people_told));
        }
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let link = self.schedule.first();
        let link = link.map(|(at, link)| (at, Reason::Link(link)));
        let half_open = self.half_open.deadline().map(|at| (at, Reason::HalfOpen));
        let grace = self.graces.first().map(|(at, _, _)| (*at, Reason::Grace));
        let read_again = self.read_again.first().map(|(at, ..)| *at);
        let roll_again = self.roll_again.first().map(|(at, _)| *at);
        let read_again = read_again.into_iter().chain(roll_again).min();
        let read_again = read_again.map(|at| (at, Reason::ReadAgain));
        let links = self.links_due().map(|at| (at, Reason::Links));
        let recall = self.recalls.due().map(|at| (at, Reason::Recall));
        let opening = match self.opening {
            Opening::AgainAt(at) => Some((at, Reason::ReadAgain)),
            Opening::Asked | Opening::Done => None,
        };
        let all = [link, half_open, grace, read_again, links, recall, opening];
        let all = all.into_iter().flatten();
        all.min_by_key(|(at, _)| *at)
            .map(|(at, reason)| Deadline { at, reason })
    }

    // ---- shared by the parts

    const fn wall_ms(&self, now: Timestamp) -> u64 {
        self.wall_origin_ms.saturating_add(now.as_millis())
    }

    /// Gives the link a turn to send.
    fn mark_ready(&mut self, id: LinkId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !session.has_turn
        {
            let is_late = session.is_behind();
            self.turns.add(id, is_late, &mut session.has_turn);
        }
    }

    /// Puts the link's deadline into the schedule, unless it has an earlier one there: deadlines
    /// mostly move on, and that one has is found when the earlier one comes.
    fn reschedule(&mut self, id: LinkId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(at) = session.link.poll_timeout().map(|deadline| deadline.at) else {
            return;
        };
        if session.deadline.is_some_and(|armed| armed <= at) {
            return;
        }
        session.deadline = Some(at);
        self.schedule.push(at, id);
        if self.schedule.is_crowded(self.sessions.len()) {
            let armed = |id| self.sessions.get(&id).and_then(|session| session.deadline);
            self.schedule.tidy(|at, id| armed(id) == Some(at));
        }
    }

    /// Asks the store. Returns `false`, having asked nothing, if too much is asked already (LIM-7).
    fn ask(&mut self, op: StorageOp, pending: Pending) -> Option<RequestId> {
        if self.pending.len() >= STORAGE_PENDING_MAX {
            return None;
        }
        let id = self.next_request;
        self.next_request += 1;
        let cost = request_cost(&op);
        self.holding.begin_request(cost);
        let at = self.latest;
        self.pending.insert(id, Asked { pending, cost, at });
        self.storage.push_back(StorageRequest { id, op });
        Some(id)
    }
}

#[cfg(test)]
mod tests;

//! What happened in a run, as the checkers see it.
//!
//! The log in here is written by the simulated storage, and what was typed by the simulated
//! people: the checkers trust neither broker nor node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tertulia::broker::{StorageOp, Tables};
use tertulia::chat::{Delivered, Kind, Line, LineBase, LogId, NoticeEvent, Refusal, RoomName};
use tertulia::client::{ClientEvent, EndReason, JournalEntry, JournalState};
use tertulia::secure::{AccountKey, DeviceKey};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;

use crate::calm::Calm;
use crate::clock::HostClock;

/// A journal has what its node learned by then, however slow it is.
const JOURNALED_WITHIN: Duration = Duration::from_secs(5);

/// One run of one node's program: a client that dies and comes back has a second life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// Whose.
    pub client: usize,
    /// The how-manieth, from 0.
    pub life: usize,
}

/// Something that somebody typed.
#[derive(Clone, Debug)]
pub struct Typed {
    /// In which life.
    pub life: Life,
    /// Into which room.
    pub room: RoomName,
    /// How the client called it.
    pub handle: u64,
    /// When; no two of a device are equal, so that (device, room, `typed_at_ms`) names a line even
    /// if the same text is typed twice.
    pub typed_at_ms: u64,
    /// What.
    pub body: Bytes,
    /// Of which kind.
    pub kind: Kind,
    /// Whether the node is to say who has it.
    pub is_watched: bool,
    /// Its place among all that the device typed into this room.
    pub index: usize,
}

/// What is seen of a node whose broker has turned against it.
#[derive(Clone, Debug)]
pub enum Victim {
    /// Its program starts, and its journal has its rooms up to these lines.
    Born(Vec<(RoomName, LogId, u64)>),
    /// Its journal has these publications, which have no outcome.
    Keeps(BTreeSet<u64>),
    /// Somebody types a line, and it takes it under this handle.
    Typed(u64),
    /// Somebody asks for so many earlier lines.
    AskedHistory(u64),
    /// What it tells.
    Told(Box<ClientEvent>),
    /// It holds more memory than ever before in the run: so many bytes.
    Holds(u64),
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A node's program starts.
    Born(Life),
    /// It ends, unasked.
    Died(Life),
    /// Somebody types a line, and the node takes it.
    Typed(Typed),
    /// The simulated storage has made a line durable.
    Appended {
        /// In which history.
        log: LogId,
        /// In which room.
        room: RoomName,
        /// The line.
        line: Line,
    },
    /// The simulated storage has let a device into a room.
    Entered {
        /// In which history.
        log: LogId,
        /// Into which room.
        room: RoomName,
        /// Which device.
        device: DeviceKey,
        /// The line after which it goes on.
        base: u64,
    },
    /// The simulated storage has made durable that an account is present, or no longer.
    Present {
        /// In which history.
        log: LogId,
        /// In which room.
        room: RoomName,
        /// Who.
        account: AccountKey,
        /// Whether it is.
        is_present: bool,
    },
    /// The simulated storage was asked for a page on behalf of an account.
    PageRead(LogId, RoomName, AccountKey),
    /// The node has signed in.
    Online(Life),
    /// The node is out of contact.
    Offline(Life),
    /// The node's address changes.
    Moved(usize),
    /// Somebody asks the node to leave a room, or all (RUM-12).
    Leaving(Life, RoomName),
    /// The node is out of a room.
    RoomLeft(Life, RoomName),
    /// The broker says that an account became present.
    Came(RoomName, String),
    /// The broker says that an account ceased to be present; whether by time-out.
    Gone(RoomName, String, bool),
    /// The node is in a room.
    Joined(Life, RoomName),
    /// The node was told that the room's history is another one.
    Fork(Life, RoomName),
    /// The node shows a line.
    Shown {
        /// To whom.
        life: Life,
        /// In which room.
        room: RoomName,
        /// Of which history.
        log: LogId,
        /// The line.
        line: Line,
    },
    /// The node shows that somebody came or went.
    Noticed(Life, RoomName, NoticeEvent, String),
    /// The node says that what was typed is stored.
    Stored(Life, RoomName, u64, u64),
    /// The node says that what was typed will never be stored, and why; or may have been all the same
    /// (PUB-10).
    NotStored(Life, RoomName, u64, (Refusal, bool)),
    /// The node says who has what was typed.
    Delivered(Life, RoomName, u64, Delivered),
    /// Somebody asks for so many lines before one.
    AskedHistory(Life, RoomName, u64, u64),
    /// The node shows one.
    Past {
        /// To whom.
        life: Life,
        /// In which room.
        room: RoomName,
        /// Of which history.
        log: LogId,
        /// The line.
        line: Line,
    },
    /// The node says that there were so many, and whether there are earlier ones.
    PageEnd(Life, RoomName, u64, bool),
    /// Somebody asks who is present.
    AskedWho(Life, RoomName),
    /// The node says how many are present, and who.
    Roster(Life, RoomName, u64, Vec<String>),
    /// A client's device is about to be revoked (DEV-8).
    Revoking(usize, DeviceKey),
    /// The simulated storage has it that a device is revoked.
    Revoked {
        /// In which history.
        log: LogId,
        /// Which device.
        device: DeviceKey,
        /// How many publications of it the storage was asked for before, and has not done.
        under_way: usize,
    },
    /// The journal of a life that has ended has these publications, which have no outcome: in which room,
    /// and when they were typed.
    LeftBehind(Life, BTreeSet<(RoomName, u64)>),
    /// The node stops by itself.
    Ended(Life, EndReason),
    /// A node starts from its journal, which says after which line of which history it goes on in a
    /// room.
    Resumed(Life, RoomName, LogId, LineBase),
    /// And what was typed then, when, and waits.
    Restored(Life, RoomName, u64, u64),
    /// The broker starts again from its store.
    Recovered {
        /// With which history.
        log: LogId,
        /// Whether that is a backup of its store: what came after it is gone.
        is_backup: bool,
        /// All its lines.
        lines: Vec<(RoomName, Vec<Line>)>,
        /// Who is present where.
        present: Vec<(RoomName, String)>,
    },
    /// Something of the broker's is fuller than ever before in the run (the most of each).
    Fuller(Tables),
    /// The broker holds more memory than ever before in the run: so many bytes.
    Holds(u64),
    /// A handshake datagram that was damaged on the way was taken; by a client, or the broker.
    DamageTaken(Option<usize>),
    /// Something about a node whose broker is another than the others' (`client` is the attacker's
    /// place in the plan).
    Victim(Life, Victim),
    /// The broker goes on talking to the attacker with this place in the plan, having taken an
    /// acknowledgement from it of what cannot have come.
    Believed(usize),
    /// The broker starts with a new log.
    NewLog,
    /// A handshake datagram of so many bytes comes to the broker from an address, whoever is there.
    ShookFrom(SocketAddr, usize),
    /// The broker sends one there.
    ShookTo(SocketAddr, usize),
    /// The broker gets so many bytes from an address that will never prove itself.
    FromStranger(SocketAddr, usize),
    /// The broker sends so many bytes there; whether they belong to a link.
    ToStranger(SocketAddr, usize, bool),
}

/// Everything that the checkers may look at besides the observation at hand. What they are shown
/// is in it already.
#[derive(Default)]
pub struct History {
    /// Which account and device each client has.
    pub keys: Vec<(AccountKey, DeviceKey)>,
    /// The devices that accounts had before, and gave up (JRN-4, JRN-10).
    pub retired: BTreeMap<DeviceKey, AccountKey>,
    /// The devices that were revoked, or are about to be (DEV-8).
    pub revoked: BTreeSet<DeviceKey>,
    /// Whose they are.
    pub recalled: BTreeSet<usize>,
    /// What waited at devices that were revoked: whether it was stored they could not know.
    pub unconfirmed: BTreeSet<(AccountKey, RoomName, u64)>,
    /// Those of them whose accounts went on with what waited then.
    pub succeeded: BTreeSet<DeviceKey>,
    /// Everything that was typed, by (account, room, time of typing).
    pub typed: BTreeMap<(AccountKey, RoomName, u64), Typed>,
    /// The same by the life and its handle.
    pub handles: BTreeMap<(Life, u64), (RoomName, u64)>,
    /// The lines of each room of each history.
    pub logs: BTreeMap<(LogId, RoomName), Vec<Line>>,
    /// What they were when the broker was restored from a backup, each time, the oldest first.
    pub lost: BTreeMap<(LogId, RoomName), Vec<Vec<Line>>>,
    /// How often the broker was restored from a backup.
    pub restores: usize,
    /// When the broker's history last became another one.
    pub forked_at: Option<Timestamp>,
    /// When each client came into a room after that, and so has learned of it.
    pub learned_at: BTreeMap<(usize, RoomName), Timestamp>,
    /// The clients whose journals were ever restored from a backup.
    pub restored: BTreeSet<usize>,
    /// Those of whom JRN-11 promises nothing: their journals were restored from a backup that was
    /// older than the broker's history, or than their device, or a second time, from one with
    /// provisional numbers.
    pub outdated: BTreeSet<AccountKey>,
    /// After which line each device was last let into each room.
    pub bases: BTreeMap<(LogId, RoomName, DeviceKey), u64>,
    /// Which rooms each life of a node has been in.
    pub joined: BTreeSet<(Life, RoomName)>,
    /// Who has ever asked to leave which room.
    pub leaving: BTreeSet<(AccountKey, RoomName)>,
    /// Which clients did.
    pub leavers: BTreeSet<(usize, RoomName)>,
    /// The lines of each room of each history that any journal of an account ever had.
    pub journaled: BTreeMap<(LogId, RoomName, AccountKey), BTreeSet<u64>>,
    /// How many bytes of memory the broker may hold.
    pub memory_bound: u64,
    /// The clients that are nowhere present (RUM-14).
    pub quiet: BTreeSet<usize>,
    /// The rooms of each client of the plan.
    pub rooms: Vec<Vec<RoomName>>,
    /// When the broker last took an authentic packet of a client.
    pub heard: BTreeMap<usize, Timestamp>,
    /// For how long an account had been silent when the broker last gave it up in a room.
    pub given_up: BTreeMap<(AccountKey, RoomName), Duration>,
    /// When each client's node, and the broker, began its present life.
    pub born_at: BTreeMap<Option<usize>, Timestamp>,
    /// The clocks of the broker's host.
    pub clock: HostClock,
    /// What time it is.
    pub now: Timestamp,
    /// The broker's grace (PRS-1).
    pub grace: Duration,
    /// The accounts that keep to no rule.
    pub attackers: BTreeSet<AccountKey>,
    /// When and how soon what is said is to be seen although somebody attacks, if that can be told.
    pub calm: Option<Calm>,
    /// Whether the network is known to bring everything once, undamaged and in order, and `met`
    /// to be about this run alone.
    pub is_network_perfect: bool,
    /// How often each situation was met, once all is over.
    pub met: Vec<u64>,
    /// The current history.
    pub current: Option<LogId>,
    /// Each node's rooms in its current life, and whether it lives.
    pub alive: BTreeMap<usize, (Life, Vec<RoomName>)>,
}

impl History {
    /// The device of a client.
    #[must_use]
    pub fn device(&self, client: usize) -> DeviceKey {
        self.keys[client].1
    }

    /// What was typed, as `line` claims.
    #[must_use]
    pub fn source(&self, room: &RoomName, line: &Line) -> Option<&Typed> {
        let key = (line.account, room.clone(), line.typed_at_ms);
        self.typed.get(&key)
    }

    /// The lines of a room in a history.
    #[must_use]
    pub fn log(&self, log: LogId, room: &RoomName) -> &[Line] {
        self.logs
            .get(&(log, room.clone()))
            .map_or(&[], Vec::as_slice)
    }

    /// What a room of a history is, and what it was before each restore from a backup.
    pub fn versions(&self, log: LogId, room: &RoomName) -> impl Iterator<Item = &[Line]> {
        let lost = self.lost.get(&(log, room.clone()));
        let lost = lost.into_iter().flatten().map(Vec::as_slice);
        lost.chain([self.log(log, room)])
    }

    /// Whose device it is, or was.
    #[must_use]
    pub fn owner(&self, device: DeviceKey) -> Option<AccountKey> {
        let present = self.keys.iter().find(|(_, of)| *of == device);
        present
            .map(|(account, _)| *account)
            .or_else(|| self.retired.get(&device).copied())
    }

    /// The account of `node3` and its like.
    #[must_use]
    pub fn account_of(&self, name: &str) -> Option<AccountKey> {
        let client: usize = name.strip_prefix("node")?.parse().ok()?;
        self.keys.get(client).map(|(account, _)| *account)
    }

    /// Whether a client was ever taken out of a room by another device of its account (DEV-9).
    #[must_use]
    pub fn was_taken_out(&self, client: usize, room: &RoomName) -> bool {
        let account = self.keys[client].0;
        let mut leavers = self.leavers.iter();
        leavers.any(|(by, of)| of == room && *by != client && self.keys[*by].0 == account)
    }

    /// Whether a client had a device that was revoked.
    #[must_use]
    pub fn was_revoked(&self, client: usize) -> bool {
        self.recalled.contains(&client)
    }

    /// The broker has taken an authentic packet of a client. Of a device that is revoked it is no sign of
    /// life (DEV-8).
    pub fn note_heard(&mut self, client: usize, now: Timestamp) {
        if !self.revoked.contains(&self.device(client)) {
            self.heard.insert(client, now);
        }
    }

    /// A client's journal has done what it was asked.
    pub fn note_journaled(&mut self, client: usize, entry: &JournalEntry) {
        if let JournalEntry::Received {
            room, log, cursor, ..
        } = entry
        {
            let key = (*log, room.clone(), self.keys[client].0);
            self.journaled.entry(key).or_default().insert(cursor.seq);
        }
    }

    /// Something that was on a client's way at a time comes again.
    pub fn note_replay(&self, client: usize, sent_at: Timestamp) {
        let lives = [Some(client), None].map(|whose| self.born_at.get(&whose));
        if lives
            .into_iter()
            .flatten()
            .any(|born_at| *born_at > sent_at)
        {
            situation::meet(Situation::ReplayedAcrossLives);
        }
    }

    /// The client's journal is what it was at a time.
    pub fn restore_journal(&mut self, client: usize, backup: &JournalState, made_at: Timestamp) {
        let mut rooms = backup.rooms.values();
        let is_provisional = rooms.any(|room| !room.is_numbered && !room.waiting.is_empty());
        if !self.restored.insert(client) && is_provisional {
            self.outdated.insert(self.keys[client].0);
        }
        let learned = self.learned_at.iter().filter(|((of, _), _)| *of == client);
        let known_at = learned.map(|(_, at)| *at + JOURNALED_WITHIN).max();
        if self.forked_at.max(known_at).is_some_and(|at| made_at <= at) {
            self.outdated.insert(self.keys[client].0);
        }
    }

    /// So much waits in the journal of a client whose device is about to be another one. If that was
    /// revoked, it cannot know whether that was stored (JRN-11).
    pub fn leave_behind(&mut self, client: usize, waiting: BTreeSet<(RoomName, u64)>) {
        let (account, device) = self.keys[client];
        if self.revoked.contains(&device) {
            let waiting = waiting.into_iter();
            let waiting = waiting.map(|(room, at_ms)| (account, room, at_ms));
            self.unconfirmed.extend(waiting);
        }
    }

    /// The client's account goes on with another device, and what waits (JRN-4, DEV-6).
    pub fn succeed_device(&mut self, client: usize, device: DeviceKey) {
        self.succeeded.insert(self.keys[client].1);
        self.change_device(client, device);
    }

    /// The client's account goes on with another device, which it may have had before.
    pub fn change_device(&mut self, client: usize, device: DeviceKey) {
        let (account, old) = self.keys[client];
        if old != device {
            self.retired.insert(old, account);
        }
        self.retired.remove(&device);
        // It is back with what waited then, which may be stored as another device's.
        if self.succeeded.contains(&device) {
            self.outdated.insert(account);
        }
        self.keys[client].1 = device;
    }

    /// After which line of the current history a node was let into a room, once it knows.
    #[must_use]
    pub fn base(&self, life: Life, room: &RoomName) -> Option<u64> {
        let _in = self.joined.get(&(life, room.clone()))?;
        let key = (self.current?, room.clone(), self.device(life.client));
        self.bases.get(&key).copied()
    }

    /// When a sign of life last came that keeps an account in a room (PRS-1): from a device of it that
    /// is there, and not quietly (RUM-14).
    fn heard_in(&self, room: &RoomName, account: AccountKey) -> Timestamp {
        let heard = self.heard.iter().filter(|(client, _)| {
            let rooms = self.rooms.get(**client);
            self.keys[**client].0 == account
                && rooms.is_none_or(|rooms| rooms.contains(room))
                && !self.quiet.contains(client)
        });
        heard.map(|(_, at)| *at).max().unwrap_or_default()
    }

    /// The broker asks its store to record that somebody has gone: for how long was nothing heard?
    pub fn note_giving_up(&mut self, op: &StorageOp, now: Timestamp) {
        if let StorageOp::Absent { room, account, .. } = op {
            let heard = self.heard_in(room, *account);
            // The grace is one by the broker's clock.
            let (now, heard) = (self.clock.local(now), self.clock.local(heard));
            let silent = now.saturating_since(heard);
            self.given_up.insert((*account, room.clone()), silent);
        }
    }

    /// The lines of a history are what they were when a backup was made.
    fn note_restore(&mut self, log: LogId, backup: &[(RoomName, Vec<Line>)]) {
        self.restores += 1;
        self.forked_at = Some(self.now);
        self.bases.retain(|(of, ..), _| *of != log);
        for ((of, room), lines) in &mut self.logs {
            if *of == log {
                let now = backup.iter().find(|(name, _)| name == room);
                let now = now.map(|(_, lines)| lines.clone()).unwrap_or_default();
                // What was lost before has come back, with what it was lost for lost.
                if !lines.starts_with(&now) {
                    self.outdated.extend(self.keys.iter().map(|(a, _)| *a));
                }
                let before = core::mem::replace(lines, now);
                let lost = self.lost.entry((log, room.clone())).or_default();
                lost.push(before);
            }
        }
    }

    /// Takes note of an observation.
    pub fn note(&mut self, observation: &Observation) {
        match observation {
            Observation::Typed(typed) => {
                let account = self.keys[typed.life.client].0;
                let key = (account, typed.room.clone(), typed.typed_at_ms);
                self.handles.insert(
                    (typed.life, typed.handle),
                    (typed.room.clone(), typed.typed_at_ms),
                );
                self.typed.insert(key, typed.clone());
            }
            Observation::Restored(life, room, handle, typed_at_ms) => {
                let key = (*life, *handle);
                self.handles.insert(key, (room.clone(), *typed_at_ms));
            }
            Observation::Recovered {
                is_backup: false, ..
            } => {
                self.born_at.insert(None, self.now);
            }
            Observation::Appended { log, room, line } => {
                let lines = self.logs.entry((*log, room.clone())).or_default();
                lines.push(line.clone());
            }
            Observation::Recovered {
                log,
                is_backup: true,
                lines,
                ..
            } => {
                self.born_at.insert(None, self.now);
                self.note_restore(*log, lines);
            }
            Observation::NewLog => {
                self.born_at.insert(None, self.now);
                self.forked_at = Some(self.now);
            }
            Observation::Revoking(client, device) => {
                self.recalled.insert(*client);
                self.revoked.insert(*device);
            }
            Observation::LeftBehind(life, waiting) => {
                self.leave_behind(life.client, waiting.clone());
            }
            Observation::Entered {
                log,
                room,
                device,
                base,
            } => {
                self.bases.insert((*log, room.clone(), *device), *base);
            }
            Observation::Joined(life, room) => {
                let account = self.keys[life.client].0;
                let mut others = self.alive.values().filter(|(of, _)| of != life);
                if others.any(|(of, _)| {
                    self.keys[of.client].0 == account && self.joined.contains(&(*of, room.clone()))
                }) {
                    situation::meet(Situation::DevicesInOneRoom);
                }
                self.joined.insert((*life, room.clone()));
                let learned_at = self.learned_at.get(&(life.client, room.clone()));
                if self.forked_at > learned_at.copied() {
                    let key = (life.client, room.clone());
                    self.learned_at.insert(key, self.now);
                }
            }
            Observation::Leaving(life, room) => {
                let account = self.keys[life.client].0;
                self.leaving.insert((account, room.clone()));
                self.leavers.insert((life.client, room.clone()));
            }
            Observation::RoomLeft(life, room) => {
                self.joined.remove(&(*life, room.clone()));
            }
            Observation::Born(life) => {
                self.born_at.insert(Some(life.client), self.now);
                self.alive.insert(life.client, (*life, Vec::new()));
            }
            Observation::Died(life) | Observation::Ended(life, _) => {
                self.alive.remove(&life.client);
            }
            _ => {}
        }
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker says so.
    pub checker: &'static str,
    /// What happened.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}

//! What happened in a run, as the checkers see it.
//!
//! The log in here is written by the simulated storage, and what was typed by the simulated
//! people: the checkers trust neither broker nor node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tertulia::broker::StorageOp;
use tertulia::chat::{Line, LineBase, LogId, NoticeEvent, RoomName};
use tertulia::client::EndReason;
use tertulia::secure::{AccountKey, DeviceKey};
use tertulia::situation::Situation;
use tertulia::time::Timestamp;

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
    /// Its place among all that the device typed into this room.
    pub index: usize,
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
    /// The node says that what was typed will never be stored.
    NotStored(Life, RoomName, u64),
    /// The node stops by itself.
    Ended(Life, EndReason),
    /// A node starts from its journal, which says after which line it goes on in a room.
    Resumed(Life, RoomName, LineBase),
    /// And what was typed then, when, and waits.
    Restored(Life, RoomName, u64, u64),
    /// The broker starts again from its store.
    Recovered {
        /// With which history.
        log: LogId,
        /// All its lines.
        lines: Vec<(RoomName, Vec<Line>)>,
        /// Who is present where.
        present: Vec<(RoomName, String)>,
    },
    /// The broker starts with a new log.
    NewLog,
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
    /// Everything that was typed, by (device, room, time of typing).
    pub typed: BTreeMap<(DeviceKey, RoomName, u64), Typed>,
    /// The same by the life and its handle.
    pub handles: BTreeMap<(Life, u64), (RoomName, u64)>,
    /// The lines of each room of each history.
    pub logs: BTreeMap<(LogId, RoomName), Vec<Line>>,
    /// After which line each device was last let into each room.
    pub bases: BTreeMap<(LogId, RoomName, DeviceKey), u64>,
    /// Which rooms each life of a node has been in.
    pub joined: BTreeSet<(Life, RoomName)>,
    /// Who has ever asked to leave which room.
    pub leaving: BTreeSet<(AccountKey, RoomName)>,
    /// When the broker last took an authentic packet of an account.
    pub heard: BTreeMap<AccountKey, Timestamp>,
    /// For how long an account had been silent when the broker last gave it up in a room.
    pub given_up: BTreeMap<(AccountKey, RoomName), Duration>,
    /// What time it is.
    pub now: Timestamp,
    /// The broker's grace (PRS-1).
    pub grace: Duration,
    /// Whether the network is known to bring everything once, undamaged and in order, and `met`
    /// to be about this run alone.
    pub is_network_perfect: bool,
    /// How often each situation was met, once all is over.
    pub met: [u64; Situation::COUNT],
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
        let key = (line.device, room.clone(), line.typed_at_ms);
        self.typed.get(&key)
    }

    /// The lines of a room in a history.
    #[must_use]
    pub fn log(&self, log: LogId, room: &RoomName) -> &[Line] {
        self.logs
            .get(&(log, room.clone()))
            .map_or(&[], Vec::as_slice)
    }

    /// After which line of the current history a node was let into a room, once it knows.
    #[must_use]
    pub fn base(&self, life: Life, room: &RoomName) -> Option<u64> {
        let _in = self.joined.get(&(life, room.clone()))?;
        let key = (self.current?, room.clone(), self.device(life.client));
        self.bases.get(&key).copied()
    }

    /// The broker asks its store to record that somebody has gone: for how long was nothing heard?
    pub fn note_giving_up(&mut self, op: &StorageOp, now: Timestamp) {
        if let StorageOp::Absent { room, account, .. } = op {
            let heard = self.heard.get(account).copied().unwrap_or_default();
            let silent = now.saturating_since(heard);
            self.given_up.insert((*account, room.clone()), silent);
        }
    }

    /// Takes note of an observation.
    pub fn note(&mut self, observation: &Observation) {
        match observation {
            Observation::Typed(typed) => {
                let device = self.device(typed.life.client);
                let key = (device, typed.room.clone(), typed.typed_at_ms);
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
            Observation::Appended { log, room, line } => {
                let lines = self.logs.entry((*log, room.clone())).or_default();
                lines.push(line.clone());
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
                self.joined.insert((*life, room.clone()));
            }
            Observation::Leaving(life, room) => {
                let account = self.keys[life.client].0;
                self.leaving.insert((account, room.clone()));
            }
            Observation::RoomLeft(life, room) => {
                self.joined.remove(&(*life, room.clone()));
            }
            Observation::Born(life) => {
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

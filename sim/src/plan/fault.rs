//! What can go wrong.

use serde::{Deserialize, Serialize};

use super::LINKING_MS;

/// Which way is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// From the client to the broker.
    Up,
    /// From the broker to the client.
    Down,
    /// Both.
    Both,
}

/// Something that goes wrong. All but a death end by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Nothing passes on the client's way.
    Cut {
        /// Whose.
        client: usize,
        /// Which direction.
        way: Way,
        /// For how long.
        for_ms: u64,
    },
    /// More than usual is lost on the client's way.
    Burst {
        /// Whose.
        client: usize,
        /// In thousandths.
        loss_permille: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The client's address changes: nothing passes for a while, and the old address is dead.
    NewAddress {
        /// Whose.
        client: usize,
        /// For how long nothing passes.
        dead_ms: u64,
    },
    /// The client's address changes in the middle of everything: what is under way to the old one
    /// is lost.
    Rebind {
        /// Whose.
        client: usize,
        /// Whether the node is told, as by a system that reports a new network; otherwise it is
        /// as if a NAT on the way had forgotten it.
        announced: bool,
    },
    /// Somebody on the way copies all that the client sends, and gets each copy to the broker
    /// first, from an address that is somebody else's.
    Racer {
        /// Whose.
        client: usize,
        /// For how long.
        for_ms: u64,
    },
    /// The node stops, and forgets all but who it is: it goes on as another device (JRN-10).
    Die {
        /// Which one.
        client: usize,
        /// When a new node of the same account starts, if ever.
        back_after_ms: Option<u64>,
    },
    /// The node is killed, and starts again from its journal.
    Kill {
        /// Which one.
        client: usize,
        /// When it starts again.
        back_after_ms: u64,
    },
    /// The broker is killed, and starts again from its store. Of what the store was asked and has
    /// not answered, a part is done, from the oldest on; the rest is lost.
    Crash {
        /// How much is done, in thousandths.
        commits_permille: u64,
        /// When it starts again.
        back_after_ms: u64,
    },
    /// The broker is killed, and what it starts again from is a backup of its store: its history goes
    /// on from there as if the rest had never been (RUM-10).
    RestoreBroker {
        /// How old the backup is.
        age_ms: u64,
        /// When it starts again.
        back_after_ms: u64,
    },
    /// The node is killed, and what it starts again from is a backup of its journal (JRN-4).
    RestoreNode {
        /// Which one.
        client: usize,
        /// How old the backup is.
        age_ms: u64,
        /// When it starts again.
        back_after_ms: u64,
    },
    /// The store takes longer.
    SlowStore {
        /// Than usual by this much.
        by_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The store fails, now and then.
    FailingStore {
        /// How often, in thousandths.
        permille: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The broker stops and starts again with an empty store and a new log.
    NewLog,
    /// A program stands still, and what comes for it waits, as far as its socket has room. With its
    /// machine the monotonic clock stands still, too.
    Stop {
        /// Whose: a client's, or the broker's.
        client: Option<usize>,
        /// For how long.
        for_ms: u64,
        /// Whether the whole machine is suspended (LIF-6).
        with_machine: bool,
    },
    /// A wall clock is wrong by so much.
    WallClock {
        /// Whose: a client's, or the broker's.
        client: Option<usize>,
        /// How far it is ahead.
        by_ms: i64,
        /// Until it is set right.
        for_ms: u64,
    },
    /// A monotonic clock goes faster or slower than others.
    Drift {
        /// Whose: a client's, or the broker's.
        client: Option<usize>,
        /// Faster by this, in millionths.
        ppm: i64,
        /// For how long.
        for_ms: u64,
    },
    /// The store has no room: it takes nothing, and still reads.
    FullStore {
        /// For how long.
        for_ms: u64,
    },
    /// A node's journal has no room, and waits for it (JRN-5).
    FullJournal {
        /// Whose.
        client: usize,
        /// For how long.
        for_ms: u64,
    },
    /// Somebody on the way sends again, both ways, what the client and the broker sent each other
    /// earlier: in a life of theirs that may be over.
    Replay {
        /// Whose.
        client: usize,
        /// How long ago that began.
        age_ms: u64,
        /// For how long it was recorded.
        span_ms: u64,
    },
    /// The client's device is revoked by whoever has the key of its account, if that is another client
    /// (DEV-8).
    Revoke {
        /// Whose.
        client: usize,
        /// When it is linked again, with what waits in its journal, if ever (DEV-6).
        back_after_ms: Option<u64>,
    },
    /// Strangers begin handshakes, all at one moment, and finish none (SEC-6, ADR-3).
    Strangers {
        /// How many.
        hellos: u64,
        /// Whether they get what is sent to them, and prove it; else their addresses are forged.
        is_there: bool,
    },
}

impl Fault {
    /// The client that it befalls, if it befalls one.
    #[must_use]
    pub const fn client(&self) -> Option<usize> {
        match *self {
            Self::Cut { client, .. }
            | Self::Burst { client, .. }
            | Self::NewAddress { client, .. }
            | Self::Rebind { client, .. }
            | Self::Racer { client, .. }
            | Self::Die { client, .. }
            | Self::Kill { client, .. }
            | Self::RestoreNode { client, .. }
            | Self::FullJournal { client, .. }
            | Self::Revoke { client, .. }
            | Self::Replay { client, .. } => Some(client),
            Self::Stop { client, .. }
            | Self::WallClock { client, .. }
            | Self::Drift { client, .. } => client,
            Self::Crash { .. }
            | Self::RestoreBroker { .. }
            | Self::SlowStore { .. }
            | Self::FailingStore { .. }
            | Self::FullStore { .. }
            | Self::NewLog
            | Self::Strangers { .. } => None,
        }
    }

    /// How long before it the backup is made that it needs, in ms.
    #[must_use]
    pub const fn backup_age_ms(&self) -> Option<u64> {
        match *self {
            Self::RestoreBroker { age_ms, .. } | Self::RestoreNode { age_ms, .. } => Some(age_ms),
            _ => None,
        }
    }

    /// How long it lasts, in ms.
    #[must_use]
    pub const fn lasts_ms(&self) -> u64 {
        match *self {
            Self::Cut { for_ms, .. }
            | Self::Burst { for_ms, .. }
            | Self::Racer { for_ms, .. }
            | Self::SlowStore { for_ms, .. }
            | Self::FailingStore { for_ms, .. }
            | Self::FullStore { for_ms }
            | Self::FullJournal { for_ms, .. }
            | Self::Stop { for_ms, .. }
            | Self::WallClock { for_ms, .. }
            | Self::Drift { for_ms, .. } => for_ms,
            Self::NewAddress { dead_ms, .. } => dead_ms,
            Self::Kill { back_after_ms, .. }
            | Self::Crash { back_after_ms, .. }
            | Self::RestoreBroker { back_after_ms, .. }
            | Self::RestoreNode { back_after_ms, .. } => back_after_ms,
            Self::Die { back_after_ms, .. } => match back_after_ms {
                Some(after) => after,
                None => 0,
            },
            Self::Revoke { back_after_ms, .. } => match back_after_ms {
                Some(after) => after + LINKING_MS,
                None => LINKING_MS,
            },
            Self::Rebind { .. } | Self::NewLog | Self::Strangers { .. } | Self::Replay { .. } => 0,
        }
    }

    /// Whether it neither loses nor delays a datagram.
    pub(super) const fn spares_the_network(&self) -> bool {
        matches!(
            self,
            Self::SlowStore { .. }
                | Self::FailingStore { .. }
                | Self::FullStore { .. }
                | Self::FullJournal { .. }
                | Self::WallClock { .. }
        )
    }
}

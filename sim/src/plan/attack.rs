//! Who attacks, and how.

use serde::{Deserialize, Serialize};

use crate::attack::Acks;

/// Somebody who keeps to no rule (SPEC.md section 16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attacker {
    /// From when on, in ms.
    pub from_ms: u64,
    /// For how long, in ms.
    pub for_ms: u64,
    /// Who.
    pub who: Who,
}

/// Who attacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// A member, against the broker and so against all others.
    Member {
        /// In which of the plan's rooms it is, once there is that room.
        room: usize,
        /// How it acknowledges.
        acks: Acks,
        /// What else it does.
        tricks: Vec<Trick>,
    },
    /// A broker of its own, against a node of its own.
    Broker {
        /// About what it lies.
        lies: Vec<Lie>,
    },
}

/// What a member does that no node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Trick {
    /// It says what is no frame, or no message.
    Nonsense,
    /// It sends more than it has credit for, and further ahead than there is room (CHN-4, CRD-2).
    Credit,
    /// It asks for more rooms than there are channels.
    Rooms,
    /// It asks, again and again: WHO, WATCH, HISTORY, CURSOR, LIST_ROOMS.
    Asks,
    /// It publishes lines as long as may be, and longer, under right and wrong numbers.
    Lines,
    /// It leaves out packet numbers, and sends packets again.
    Holes,
    /// It comes from one address after the other, which are not its own.
    Addresses,
    /// It publishes as much as it can, without waiting for any answer (PUB-8).
    Flood,
}

impl Trick {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Nonsense,
        Self::Credit,
        Self::Rooms,
        Self::Asks,
        Self::Lines,
        Self::Holes,
        Self::Addresses,
        Self::Flood,
    ];
}

/// About what a broker lies to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lie {
    /// The numbers of lines: wrong ones, holes, the same again.
    Order,
    /// Where the node stands when it comes in, and what it has published.
    Joined,
    /// Who has written something.
    Authors,
    /// Lines and lists that are longer than they may be.
    Giant,
    /// What became of a publication, also of one that was never made.
    Answers,
    /// That the node has left, was removed, or is to come in again.
    Endings,
    /// Earlier lines: more than were asked for, without end, with holes.
    Pages,
    /// Who has what, and who came and went.
    Reports,
    /// It says what is no frame, or not its to say.
    Frames,
    /// It acknowledges what it has not got.
    Acks,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Order,
        Self::Joined,
        Self::Authors,
        Self::Giant,
        Self::Answers,
        Self::Endings,
        Self::Pages,
        Self::Reports,
        Self::Frames,
        Self::Acks,
    ];
}

//! What people do besides talking.

use serde::{Deserialize, Serialize};

/// How a client comes into its rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entering {
    /// How many lines from before it asks for.
    pub history: u64,
    /// The line that it wants to begin at instead, if one (RUM-15).
    pub from: Option<u64>,
    /// Whether it is there without being present (RUM-14).
    pub quiet: bool,
}

/// Something that somebody does once, if the node is in the room then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Who.
    pub client: usize,
    /// In which room.
    pub room: usize,
    /// When, in ms.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Decides who may read what was said before they came, and is refused unless the room was made
    /// by it (RUM-16).
    SetPolicy {
        /// Whether only what was said since they came.
        since_join: bool,
    },
    /// Asks for earlier lines (HST-2).
    AskHistory {
        /// Before which line; 0 for those before what the node was sent.
        before: u64,
        /// How many.
        count: u64,
    },
    /// Asks who is present (RUM-13).
    AskWho,
}

//! Attackers: a member, a broker. They speak the protocol by the real codecs and with the real keys,
//! and are no machines of the project: nothing keeps them to a rule.
//!
//! What they do is drawn from the plan's seed, so a plan with attackers is replayed and shrunk like
//! any other.

mod liar;
mod member;
pub(crate) mod pair;
mod session;

pub(crate) use liar::Liar;
pub(crate) use member::{Member, Sent, Setup};
pub(crate) use pair::Pair;
pub use session::Acks;

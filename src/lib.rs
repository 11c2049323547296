//! Chat that never loses, repeats or reorders a line: the protocol and its machines.
//!
//! The programs `chat-broker` and `chat-node` are thin drivers around this library. What they
//! promise, and every byte that they exchange, is in `SPEC.md`; its clause ids (`ACK-3`) stand
//! beside the code that obeys them.
//!
//! # The layers, and what each may not know
//!
//! | layer | what it does | what it does not know |
//! |---|---|---|
//! | [`wire`] | datagrams and frames to and from bytes | keys, time, what came before |
//! | [`secure`] | who talks: Noise handshake, sealing, replay window | frames, channels, chat |
//! | [`link`] | one encrypted connection: acks, loss recovery, channels | names, rooms, handshakes |
//! | [`chat`] | lines, publications, names, and their rules | links, storage |
//! | [`broker`], [`client`] | the two ends as machines | sockets, clocks, disks, tasks |
//! | `driver` | sockets and clocks around the machines | what a datagram means |
//! | `store` | files that outlive a process | links, presence, who waits for it |
//!
//! All but the last two are pure: time is an argument ([`time::Timestamp`]), randomness a seed
//! ([`rng`]), storage a request and a completion. Without default features nothing else is left,
//! and that still builds: a simulation runs the very code that people run.
//!
//! # The path of one line, from a key press to another's screen
//!
//! 1. The node's driver hands the typed text to [`client::Client::publish`], which numbers it,
//!    puts it into the outbox and has it journaled.
//! 2. The link carries it, as often as it takes: [`link::Link::send`],
//!    [`link::Link::poll_transmit`].
//! 3. The broker decrypts, acknowledges and orders it ([`link::Link::handle_datagram`]), and asks
//!    its store: [`broker::StorageOp::Append`].
//! 4. The store decides by [`chat::judge`] whether the publication is new, and makes it the room's
//!    next line.
//! 5. Once it is durable, [`broker::Broker::handle_storage`] puts the line into the room's feed,
//!    from which every member's link takes it at its own pace.
//! 6. The other node checks that it is the next one, journals it with its cursor, and only then
//!    tells its driver: [`client::ClientEvent::Line`].
//!
//! # The public API
//!
//! With the feature `driver`: `Broker` (bind, key, addresses, shut down), `Node` (connect, join,
//! leave), `NodeBuilder`, and `Room` (publish, answered when stored; next, the room's lines and
//! notices in their order; leave), each with its error. `handle` has an example,
//! `examples/bot.rs` a whole program.
//!
//! The machines and all below them are public so that others can drive them. They are unstable,
//! and may change in any release.

pub mod broker;
mod bucket;
pub mod chat;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod client;
#[cfg(feature = "driver")]
pub mod driver;
pub mod drops;
#[cfg(feature = "driver")]
pub mod handle;
pub mod link;
pub mod mutant;
#[cfg(feature = "sqlite")]
mod profile;
#[cfg(test)]
pub(crate) mod pump;
pub mod rng;
pub mod secure;
pub mod situation;
#[cfg(feature = "sqlite")]
pub mod store;
pub mod time;
pub mod transmit;
pub mod wire;

#[cfg(feature = "driver")]
pub use handle::{
    Broker, ConnectError, HistoryError, HistoryPage, JoinError, LeaveError, Node, NodeBuilder,
    PublishError, Receipt, Room, RoomEvent,
};
#[cfg(feature = "sqlite")]
pub use handle::{ProfileError, StartError, Trouble};

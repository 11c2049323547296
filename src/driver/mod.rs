//! Sockets, clocks and stores around the machines.
//!
//! A machine ([`Broker`], [`Client`]) says what is to be done and waits to be told what happened.
//! A [`Driver`] is the task that does it. It owns its machine: nothing else touches it, and there
//! is no lock. Others talk to the task over two bounded channels, [`Ends`]: commands in, events
//! out.
//!
//! ```text
//!  commands -> +--------+ -> events
//!  datagrams <->| Driver |<-> requests, completions (the store)
//!      time -> +--------+
//! ```
//!
//! A *turn* of the task begins when something has come: a datagram, a deadline, a command, a
//! completion. It takes a bounded share from each source, so that none keeps another waiting, and
//! then drains the machine: what is to be sent, what is to be stored, what is to be told. A
//! consumer of events that does not keep up bounds the memory: while the channel of events is full
//! no socket is read, and the network holds what it would have brought.
//!
//! Nothing happens in a `Drop`: a driver that is dropped is a process that was killed, and that is
//! what a simulation makes of it. To end in an orderly way, drop the commands or send the one that
//! ends; what is due is still transmitted then, a CLOSE to every peer above all.
//!
//! The seams are small, so that a simulation can take the place of the world: [`DatagramSocket`],
//! [`Clock`], [`Store`], and the seed of the machine ([`system_seed`]).
//!
//! [`Broker`]: crate::broker::Broker
//! [`Client`]: crate::client::Client

mod batch;
mod clock;
mod copies;
mod machine;
#[cfg(target_os = "linux")]
mod offload;
mod ports;
mod seed;
mod socket;
mod store;
mod system_socket;
mod turn;
mod ways;

pub use batch::{Inbox, RECEIPTS_MAX, Receipt, Train};
pub use clock::Clock;
pub use copies::Copies;
pub use machine::{BrokerCommand, Machine, NodeCommand};
pub use ports::{BYTES_PER_TURN, DATAGRAMS_PER_TURN, TRAINS_PER_TURN};
pub use seed::system_seed;
pub use socket::DatagramSocket;
pub use store::{Immediate, Store, memory_journal, memory_store};
pub use system_socket::{RECEIVE_BUFFER, SEND_BUFFER, SystemSocket, bind};
pub use turn::{COMMANDS_WAITING_MAX, Driver, EVENTS_WAITING_MAX, Ends};
pub use ways::{Ways, find_ways};

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod suspension_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod timing_tests;

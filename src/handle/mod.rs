//! A broker and a node as things to hold: the library's everyday face.
//!
//! ```no_run
//! # async fn chat() -> Result<(), Box<dyn std::error::Error>> {
//! use tertulia::{Broker, Node, RoomEvent};
//!
//! let broker = Broker::bind(["127.0.0.1:0".parse()?])?;
//! let mut node = Node::connect("ada", &broker.addresses()[0].to_string()).await?;
//! let mut lobby = node.join("lobby").await?;
//! let seq = lobby.publish("hello").await?;
//! while let Some(event) = lobby.next().await {
//!     if let RoomEvent::Line(line) = event {
//!         println!("{}: {}", line.name, line.text());
//!         if line.seq == seq {
//!             break;
//!         }
//!     }
//! }
//! node.leave().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Behind each handle a task owns one machine and its sockets (see [`driver`](crate::driver)).
//! Handles talk to it over bounded channels: who does not take a room's events makes the task
//! wait, and in the end the broker, which keeps what is due and delays nobody else. Only answers
//! never wait for that: while one is awaited, events pile up, up to a bound.

mod broker;
mod desk;
mod error;
mod events;
#[cfg(feature = "sqlite")]
mod keeper;
#[cfg(feature = "sqlite")]
mod kept;
mod node;
mod room;
#[cfg(feature = "sqlite")]
pub(crate) mod spool;

#[cfg(feature = "sqlite")]
pub use crate::profile::{ProfileError, Trouble};
pub use broker::Broker;
#[cfg(feature = "sqlite")]
pub use broker::StartError;
pub use error::{ConnectError, Ended, HistoryError, JoinError, LeaveError, PublishError};
pub use node::{Node, NodeBuilder};
pub use room::{HistoryPage, Receipt, Room, RoomEvent};

#[cfg(test)]
mod tests;

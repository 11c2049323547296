//! What can go wrong with a handle.

use std::io;

use tokio::sync::watch;

use crate::chat::{NameError, Refusal};
use crate::client::{self, EndReason};
#[cfg(feature = "sqlite")]
use crate::profile::ProfileError;
#[cfg(feature = "sqlite")]
use crate::store::sqlite::StoreError;

/// A node could not be made, or could not sign in.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name breaks the rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `host:port` is wanted.
    #[error("{0:?} is no host:port")]
    Address(String),
    /// The host cannot be found, or the system does not let the node have a socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The data directory cannot be used.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The broker said no, or is not the one that was expected.
    #[error("{0}")]
    Ended(Ended),
}

/// A room could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The name breaks the rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The node is in that room already, or in as many as it can be.
    #[error("in this room already, or in too many")]
    NotPossible,
    /// The broker said no.
    #[error("{reason}")]
    Refused {
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// The node has ended.
    #[error("{0}")]
    Ended(Ended),
}

/// A line was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The text is no line, or the node is not in the room any more.
    #[error(transparent)]
    Refused(#[from] client::PublishError),
    /// The broker refused it for ever.
    #[error("{reason}")]
    NotStored {
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
        /// Whether it may have been stored all the same, by way of an earlier link (PUB-10).
        may_be_stored: bool,
    },
    /// The node ended first: whether the line was stored is not known.
    #[error("{0}")]
    Ended(Ended),
}

/// Earlier lines are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The node is not in the room, or has asked for too many pages already, or too many of the
    /// room's events lie untaken.
    #[error("not in this room, or too much is asked already")]
    NotPossible,
    /// The node has ended.
    #[error("{0}")]
    Ended(Ended),
}

/// A node did not leave in an orderly way.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LeaveError(pub Ended);

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It left, or something was said that ends it.
    Node(EndReason),
    /// What it keeps on the disk cannot be written any more: what was not confirmed is not kept.
    #[cfg(feature = "sqlite")]
    Journal(StoreError),
    /// Its task was ended by the runtime.
    Task,
}

impl core::fmt::Display for Ended {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let reason = match self {
            Self::Node(reason) => reason,
            #[cfg(feature = "sqlite")]
            Self::Journal(error) => return write!(f, "the journal fails: {error}"),
            Self::Task => return f.write_str("the node's task has ended"),
        };
        match reason {
            EndReason::Left => f.write_str("the node has left"),
            EndReason::Abandoned { waiting } => {
                write!(f, "the node gave up with {waiting} lines unconfirmed")
            }
            EndReason::KeyChanged { known, shown } => write!(
                f,
                "the broker's key has changed: {} was expected, {} was shown",
                known.fingerprint(),
                shown.fingerprint()
            ),
            EndReason::NameRefused { reason, .. } => {
                write!(f, "the broker does not accept the name: {reason}")
            }
            EndReason::Version { spoken } => {
                write!(
                    f,
                    "the broker speaks other versions of the protocol: {spoken:?}"
                )
            }
            EndReason::Retired { waiting } => write!(
                f,
                "the device is used elsewhere too, and is given up with {waiting} lines unsent"
            ),
            EndReason::NotAdmitted { reason, .. } => {
                write!(f, "the broker does not let the account in: {reason}")
            }
            EndReason::Replaced => f.write_str("the device has signed in somewhere else"),
            EndReason::Protocol { reason } => write!(f, "the protocol was broken: {reason}"),
        }
    }
}

/// Who waits to learn how the node ended.
pub(super) type End = watch::Receiver<Option<Ended>>;

/// How the node ended, which it is about to do.
pub(super) async fn ended(end: &End) -> Ended {
    let mut end = end.clone();
    let ended = end.wait_for(Option::is_some).await;
    ended
        .ok()
        .and_then(|ended| ended.clone())
        .unwrap_or(Ended::Task)
}

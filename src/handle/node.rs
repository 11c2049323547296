//! A node to hold.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::desk::{Desk, Request};
use super::error::{ConnectError, Ended, JoinError, LeaveError};
use super::room::Room;
use crate::chat::{Name, RoomName};
use crate::client::{Client, ClientConfig, EndReason, JournalState};
use crate::driver::{Clock, Driver, Ways, find_ways, memory_journal, system_seed};
use crate::rng::SeededRng;
use crate::secure::{NodeIdentity, PublicKey};

/// How many things the handles have asked for wait to be done.
const REQUESTS_WAITING_MAX: usize = 64;

/// What a node starts from, where that is not the default.
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    name: Name,
    broker: String,
    key: Option<PublicKey>,
    identity: Option<NodeIdentity>,
}

impl NodeBuilder {
    /// The broker's key, if it is known; otherwise the one that it shows is trusted, and
    /// [`Node::broker_key`] tells it, to be remembered.
    #[must_use]
    pub const fn broker_key(mut self, key: PublicKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The keys under which the node has been known before; otherwise it gets new ones, and the
    /// name has to be free. [`Node::identity`] tells them, to be kept.
    #[must_use]
    pub fn identity(mut self, identity: NodeIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Waits for the broker for as long as it takes, and signs in.
    ///
    /// # Errors
    ///
    /// If the broker cannot be found, has another key, or does not accept the name.
    pub async fn connect(self) -> Result<Node, ConnectError> {
        let address = || ConnectError::Address(self.broker.clone());
        let (host, port) = self.broker.rsplit_once(':').ok_or_else(address)?;
        let port = port.parse().map_err(|_| address())?;
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        let Ways { sockets, paths } = find_ways(host, port).await?;
        let mut rng = SeededRng::new(system_seed()?);
        let identity = self
            .identity
            .unwrap_or_else(|| NodeIdentity::generate(&mut rng));
        let clock = Clock::system();
        let known = self.key.map(|key| (key, identity.clone()));
        let config = ClientConfig {
            paths,
            name: self.name,
            known,
            restored: JournalState::default(),
        };
        let machine = Client::new(config, rng.fork(), clock.now());
        let (driver, ends) = Driver::new(machine, sockets, memory_journal(), clock);
        tokio::spawn(driver.run());
        let (requests, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (online, signed_in) = oneshot::channel();
        let desk = Desk::new(ends, identity.clone(), self.key, online);
        let task = tokio::spawn(desk.run(receiver));
        if let Ok(broker_key) = signed_in.await {
            return Ok(Node {
                requests,
                task,
                identity,
                broker_key,
            });
        }
        Err(ConnectError::Ended(joined(task).await))
    }
}

/// A node that is signed in to a broker, and stays so through outages, for as long as the handle
/// or one of its rooms is held.
#[derive(Debug)]
pub struct Node {
    requests: mpsc::Sender<Request>,
    task: JoinHandle<Option<EndReason>>,
    identity: NodeIdentity,
    broker_key: PublicKey,
}

impl Node {
    /// What a node called `name`, at the broker at `broker` (`host:port`), starts from.
    ///
    /// # Errors
    ///
    /// If the name breaks the rules.
    pub fn builder(name: &str, broker: &str) -> Result<NodeBuilder, ConnectError> {
        let name = Name::new(name)?;
        Ok(NodeBuilder {
            name,
            broker: broker.to_owned(),
            key: None,
            identity: None,
        })
    }

    /// A node with new keys, at a broker that is trusted at first sight.
    ///
    /// # Errors
    ///
    /// If the name breaks the rules or is taken, or the broker cannot be found.
    pub async fn connect(name: &str, broker: &str) -> Result<Self, ConnectError> {
        Self::builder(name, broker)?.connect().await
    }

    /// The broker's key: what is to be remembered of a first contact.
    #[must_use]
    pub const fn broker_key(&self) -> PublicKey {
        self.broker_key
    }

    /// The node's own keys: what is to be kept, to be the same account again.
    #[must_use]
    pub const fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// Enters a room, to see what follows.
    ///
    /// # Errors
    ///
    /// If there can be no such room, or the broker does not let the node in.
    pub async fn join(&mut self, room: &str) -> Result<Room, JoinError> {
        self.join_with_history(room, 0).await
    }

    /// Enters a room, to see up to `history` earlier lines and what follows.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub async fn join_with_history(&mut self, room: &str, history: u64) -> Result<Room, JoinError> {
        let name = RoomName::new(room)?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Join {
            room: name.clone(),
            history,
            reply,
        };
        let ended = || JoinError::Ended(Ended(None));
        self.requests.send(request).await.map_err(|_| ended())?;
        let events = answer.await.map_err(|_| ended())??;
        Ok(Room::new(name, self.requests.clone(), events))
    }

    /// Leaves when everything that was published is stored.
    ///
    /// # Errors
    ///
    /// If the node ended for another reason.
    pub async fn leave(self) -> Result<(), LeaveError> {
        // If the desk is closed, how it ended is known below.
        let _ = self.requests.send(Request::Leave).await;
        match joined(self.task).await {
            Ended(Some(EndReason::Left)) => Ok(()),
            ended => Err(LeaveError(ended)),
        }
    }
}

async fn joined(task: JoinHandle<Option<EndReason>>) -> Ended {
    match task.await {
        Ok(reason) => Ended(reason),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Ended(None),
    }
}

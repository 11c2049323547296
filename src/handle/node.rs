//! A node to hold.

#[cfg(feature = "sqlite")]
use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::desk::{Desk, Kept, Request, Shown};
use super::error::{ConnectError, End, Ended, JoinError, LeaveError, ended};
#[cfg(feature = "sqlite")]
use super::keeper::Keeper;
use super::room::Room;
use crate::chat::{InviteSecret, Name, RoomName};
use crate::client::{Client, ClientConfig, EndReason, JournalRequest, JournalState};
use crate::driver::{Clock, Driver, Store, Ways, find_ways, memory_journal, system_seed};
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
    invite: Option<InviteSecret>,
    identity: Option<NodeIdentity>,
    #[cfg(feature = "sqlite")]
    data_dir: Option<PathBuf>,
}

impl NodeBuilder {
    /// The broker's key, if it is known; otherwise the one that it shows is trusted, and
    /// [`Node::broker_key`] tells it, to be remembered.
    #[must_use]
    pub const fn broker_key(mut self, key: PublicKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The secret of an invite, for a broker that lets in only who was invited; it is shown to a
    /// broker whose key is given, and to no other.
    #[must_use]
    pub fn invite(mut self, invite: InviteSecret) -> Self {
        self.invite = Some(invite);
        self
    }

    /// The keys under which the node has been known before; otherwise it gets new ones, and the
    /// name has to be free. [`Node::identity`] tells them, to be kept.
    #[must_use]
    pub fn identity(mut self, identity: NodeIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Keeps in this directory, made if need be, what has to outlive the process, as `chat-node`
    /// does with `--data-dir`: the node's keys (those of [`identity`](Self::identity) are of no
    /// use then), the keys of the brokers that it met, what it said and what it heard.
    ///
    /// A node that is built again under the same name goes on where the one before it ended,
    /// however that was: what was published and has no outcome is sent, and stored once. What
    /// happened in a room meanwhile comes first when it is joined; so does what was received and
    /// not handled. An event is handled when [`Room::next`] is asked for the one after it, so that
    /// a crash repeats the one that was being handled, and loses none.
    ///
    /// One node at a time may use a name in a directory; the next one waits a few seconds for it.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Waits for the broker for as long as it takes, and signs in.
    ///
    /// # Errors
    ///
    /// If the broker cannot be found, has another key, or does not accept the name; or if the data
    /// directory cannot be used.
    pub async fn connect(self) -> Result<Node, ConnectError> {
        let clock = Clock::system();
        #[cfg(feature = "sqlite")]
        if let Some(dir) = self.data_dir.clone() {
            let mut this = self;
            let (mut keeper, store) = Keeper::new(dir, &this.broker, &this.name, clock.clone())?;
            this.key = this.key.or(keeper.known_key()?);
            let mut restored = JournalState::default();
            if let Some(key) = &this.key {
                let (identity, state) = keeper.open(key).await?;
                (this.identity, restored) = (Some(identity), state);
            }
            let keeper = Some(keeper);
            return this.start(clock, restored, store, keeper).await;
        }
        let restored = JournalState::default();
        #[cfg(feature = "sqlite")]
        return self.start(clock, restored, memory_journal(), None).await;
        #[cfg(not(feature = "sqlite"))]
        self.start(clock, restored, memory_journal()).await
    }

    async fn start<S>(
        self,
        clock: Clock,
        restored: JournalState,
        store: S,
        #[cfg(feature = "sqlite")] keeper: Option<Keeper>,
    ) -> Result<Node, ConnectError>
    where
        S: Store<Request = JournalRequest, Completion = u64>,
    {
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
        let known = self.key.map(|key| (key, identity.clone()));
        let config = ClientConfig {
            paths,
            name: self.name,
            known,
            restored,
        };
        let mut machine = Client::new(config, rng.fork(), clock.now());
        if let Some(invite) = self.invite {
            machine.set_invite(invite);
        }
        let (driver, ends) = Driver::new(machine, sockets, store, clock);
        tokio::spawn(driver.run());
        let (requests, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (online, signed_in) = oneshot::channel();
        let (handled, was_handled) = mpsc::unbounded_channel();
        #[cfg(feature = "sqlite")]
        let kept = Kept::by(keeper);
        #[cfg(not(feature = "sqlite"))]
        let kept = Kept;
        let desk = Desk::new(ends, identity, self.key, online, was_handled, kept);
        let (ending, end) = watch::channel(None);
        let task = tokio::spawn(desk.run(receiver, ending));
        if let Ok(signed_in) = signed_in.await {
            let (broker_key, identity) = signed_in?;
            return Ok(Node {
                requests,
                handled,
                task,
                end,
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
    handled: mpsc::UnboundedSender<Shown>,
    task: JoinHandle<Ended>,
    end: End,
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
            invite: None,
            identity: None,
            #[cfg(feature = "sqlite")]
            data_dir: None,
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

    /// How the node ended; `None` as long as it has not.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.end.borrow().clone()
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
        // A node that takes no request is ending, and answers none.
        let _ = self.requests.send(request).await;
        let events = match answer.await {
            Ok(answer) => answer?,
            Err(_) => return Err(JoinError::Ended(ended(&self.end).await)),
        };
        let (requests, handled) = (self.requests.clone(), self.handled.clone());
        Ok(Room::new(name, requests, events, handled, self.end.clone()))
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
            Ended::Node(EndReason::Left) => Ok(()),
            ended => Err(LeaveError(ended)),
        }
    }
}

async fn joined(task: JoinHandle<Ended>) -> Ended {
    match task.await {
        Ok(ended) => ended,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Ended::Task,
    }
}

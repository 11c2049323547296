//! A node to hold, and its rooms.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::chat::{Line, Name, NameError, NoticeEvent, Refusal, RoomName};
use crate::client::{
    self, Client, ClientConfig, ClientEvent, EndReason, JoinOptions, JournalState,
};
use crate::driver::{
    Clock, Driver, Ends, NodeCommand, Ways, find_ways, memory_journal, system_seed,
};
use crate::rng::SeededRng;
use crate::secure::{NodeIdentity, PublicKey};

/// How many events of a room wait to be taken.
const ROOM_EVENTS_WAITING_MAX: usize = 256;
/// How many things the handles have asked for wait to be done.
const REQUESTS_WAITING_MAX: usize = 64;

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
    },
    /// The node ended first: whether the line was stored is not known.
    #[error("{0}")]
    Ended(Ended),
}

/// A node did not leave in an orderly way.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LeaveError(pub Ended);

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended(pub Option<EndReason>);

impl core::fmt::Display for Ended {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.0 {
            Some(EndReason::Left) => f.write_str("the node has left"),
            Some(EndReason::Abandoned { waiting }) => {
                write!(f, "the node gave up with {waiting} lines unconfirmed")
            }
            Some(EndReason::KeyChanged { known, shown }) => write!(
                f,
                "the broker's key has changed: {} was expected, {} was shown",
                known.fingerprint(),
                shown.fingerprint()
            ),
            Some(EndReason::NameRefused { reason, .. }) => {
                write!(f, "the broker does not accept the name: {reason}")
            }
            Some(EndReason::Version { spoken }) => {
                write!(
                    f,
                    "the broker speaks other versions of the protocol: {spoken:?}"
                )
            }
            Some(EndReason::Retired { waiting }) => write!(
                f,
                "the device is used elsewhere too, and is given up with {waiting} lines unsent"
            ),
            Some(EndReason::Replaced) => f.write_str("the device has signed in somewhere else"),
            Some(EndReason::Protocol { reason }) => write!(f, "the protocol was broken: {reason}"),
            None => f.write_str("the node's task has ended"),
        }
    }
}

/// Something that happened in a room, in the room's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// The next line.
    Line(Line),
    /// Somebody came or went.
    Notice {
        /// What happened.
        event: NoticeEvent,
        /// To whom.
        name: Name,
    },
    /// The broker has another history than before: earlier lines may be gone there.
    Fork,
}

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
        let desk = Desk {
            ends,
            identity: identity.clone(),
            key: self.key,
            online: Some(online),
            rooms: BTreeMap::new(),
            publications: BTreeMap::new(),
        };
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
        Ok(Room {
            name,
            requests: self.requests.clone(),
            events,
        })
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

/// A room that a node is in. Dropping it stops its events; the account stays a member.
#[derive(Debug)]
pub struct Room {
    name: RoomName,
    requests: mpsc::Sender<Request>,
    events: mpsc::Receiver<RoomEvent>,
}

impl Room {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &RoomName {
        &self.name
    }

    /// Says `text`, and waits until it is stored. Returns the line's number.
    ///
    /// # Errors
    ///
    /// If the text is no line, or was refused; or if the node ended first.
    pub async fn publish(&self, text: &str) -> Result<u64, PublishError> {
        let (reply, answer) = oneshot::channel();
        let (room, text) = (self.name.clone(), Bytes::copy_from_slice(text.as_bytes()));
        let ended = || PublishError::Ended(Ended(None));
        let request = Request::Publish { room, text, reply };
        self.requests.send(request).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// What happens next; `None` when the node has ended or left the room.
    pub async fn next(&mut self) -> Option<RoomEvent> {
        self.events.recv().await
    }

    /// Leaves the room for good, once what was published there is stored.
    pub async fn leave(mut self) {
        let room = self.name.clone();
        if self
            .requests
            .send(Request::LeaveRoom { room })
            .await
            .is_ok()
        {
            // The last events, up to the end of the stream, which is the answer.
            while self.events.recv().await.is_some() {}
        }
    }
}

type Published = oneshot::Sender<Result<u64, PublishError>>;
type Entered = oneshot::Sender<Result<mpsc::Receiver<RoomEvent>, JoinError>>;

/// What handles ask of the desk.
#[derive(Debug)]
enum Request {
    Join {
        room: RoomName,
        history: u64,
        reply: Entered,
    },
    Publish {
        room: RoomName,
        text: Bytes,
        reply: Published,
    },
    LeaveRoom {
        room: RoomName,
    },
    Leave,
}

/// A room as the desk knows it.
struct Seat {
    events: mpsc::Sender<RoomEvent>,
    /// Told when the room is entered.
    entering: Option<(Entered, mpsc::Receiver<RoomEvent>)>,
}

/// The task between the handles and the driver.
struct Desk {
    ends: Ends<Client>,
    identity: NodeIdentity,
    key: Option<PublicKey>,
    online: Option<oneshot::Sender<PublicKey>>,
    rooms: BTreeMap<RoomName, Seat>,
    publications: BTreeMap<u64, Published>,
}

impl Desk {
    /// Runs until the client ends, which it does when the last handle is dropped.
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Option<EndReason> {
        let mut is_held = true;
        loop {
            tokio::select! {
                biased;
                event = self.ends.events.recv() => match event {
                    Some(ClientEvent::Ended(reason)) => return Some(reason),
                    Some(event) => self.on_event(event).await,
                    None => return None,
                },
                request = requests.recv(), if is_held => match request {
                    Some(request) => self.on_request(request).await,
                    None => {
                        is_held = false;
                        self.command(NodeCommand::Leave).await;
                    }
                },
            }
        }
    }

    async fn command(&self, command: NodeCommand) {
        // A driver that has ended has said so by its last event.
        let _ = self.ends.commands.send(command).await;
    }

    async fn on_request(&mut self, request: Request) {
        match request {
            Request::Join {
                room,
                history,
                reply,
            } => self.join(room, history, reply).await,
            Request::Publish { room, text, reply } => {
                let (taken, handle) = oneshot::channel();
                self.command(NodeCommand::Publish {
                    room,
                    text,
                    reply: taken,
                })
                .await;
                match handle.await {
                    Ok(Ok(handle)) => {
                        self.publications.insert(handle, reply);
                    }
                    // Who asked may have lost interest.
                    Ok(Err(error)) => drop(reply.send(Err(error.into()))),
                    Err(_) => drop(reply.send(Err(PublishError::Ended(Ended(None))))),
                }
            }
            Request::LeaveRoom { room } => self.command(NodeCommand::LeaveRoom { room }).await,
            Request::Leave => self.command(NodeCommand::Leave).await,
        }
    }

    async fn join(&mut self, room: RoomName, history: u64, reply: Entered) {
        let is_full = self.rooms.len() >= client::ROOMS_PER_LINK_MAX;
        if is_full || self.rooms.contains_key(&room) {
            // Who asked may have lost interest.
            let _ = reply.send(Err(JoinError::NotPossible));
            return;
        }
        let (events, receiver) = mpsc::channel(ROOM_EVENTS_WAITING_MAX);
        let entering = Some((reply, receiver));
        self.rooms.insert(room.clone(), Seat { events, entering });
        let options = JoinOptions {
            history,
            ..room.into()
        };
        self.command(NodeCommand::Join(options)).await;
    }

    async fn on_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::FirstContact(key) => {
                self.key = Some(key);
                let identity = Box::new(self.identity.clone());
                self.command(NodeCommand::SetIdentity(identity)).await;
            }
            ClientEvent::Online => {
                if let (Some(online), Some(key)) = (self.online.take(), self.key) {
                    // Who waited for this may be gone; the desk ends with its handles.
                    let _ = online.send(key);
                }
            }
            ClientEvent::Joined { room } => {
                let entering = self.rooms.get_mut(&room).and_then(|seat| seat.entering.take());
                if let Some((reply, events)) = entering {
                    let _ = reply.send(Ok(events));
                }
            }
            ClientEvent::JoinRefused { room, code, reason } => {
                let entering = self.rooms.remove(&room).and_then(|seat| seat.entering);
                if let Some((reply, _)) = entering {
                    let _ = reply.send(Err(JoinError::Refused { code, reason }));
                }
                self.command(NodeCommand::LeaveRoom { room }).await;
            }
            ClientEvent::RoomLeft { room } => drop(self.rooms.remove(&room)),
            ClientEvent::Line { room, line, .. } => self.tell(&room, RoomEvent::Line(line)).await,
            ClientEvent::Notice { room, event, name, .. } => {
                self.tell(&room, RoomEvent::Notice { event, name }).await;
            }
            ClientEvent::Fork { room } => self.tell(&room, RoomEvent::Fork).await,
            ClientEvent::Stored { handle, seq, .. } => {
                if let Some(reply) = self.publications.remove(&handle) {
                    let _ = reply.send(Ok(seq));
                }
            }
            ClientEvent::NotStored { handle, code, reason, .. } => {
                if let Some(reply) = self.publications.remove(&handle) {
                    let _ = reply.send(Err(PublishError::NotStored { code, reason }));
                }
            }
            ClientEvent::Offline
            | ClientEvent::Waiting { .. }
            | ClientEvent::Roster { .. }
            | ClientEvent::Rooms { .. }
            // Nobody asks for these through a handle.
            | ClientEvent::Delivered { .. }
            | ClientEvent::Past { .. }
            | ClientEvent::HistoryEnd { .. }
            // Taken by the caller.
            | ClientEvent::Ended(_) => {}
        }
    }

    /// Waits for whoever takes the room's events, unless nobody does any more.
    async fn tell(&self, room: &RoomName, event: RoomEvent) {
        if let Some(seat) = self.rooms.get(room) {
            let _ = seat.events.send(event).await;
        }
    }
}

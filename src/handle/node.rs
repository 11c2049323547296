//! A node to hold, and its rooms.

use std::collections::BTreeMap;
use std::io;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

#[cfg(feature = "sqlite")]
use super::keeper::{Keeper, Told, event_of};
use crate::chat::{Line, LogId, Name, NameError, NoticeEvent, Refusal, RoomName};
use crate::client::{
    self, Client, ClientConfig, ClientEvent, EndReason, JoinOptions, JournalRequest, JournalState,
};
use crate::driver::{
    Clock, Driver, Ends, NodeCommand, Store, Ways, find_ways, memory_journal, system_seed,
};
#[cfg(feature = "sqlite")]
use crate::profile::ProfileError;
use crate::rng::SeededRng;
use crate::secure::{NodeIdentity, PublicKey};
#[cfg(feature = "sqlite")]
use crate::store::journal::Shown;
#[cfg(feature = "sqlite")]
use crate::store::sqlite::StoreError;

/// How an event is noted as handled, where that outlives the process.
#[cfg(not(feature = "sqlite"))]
type Shown = core::convert::Infallible;

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
    pub async fn connect(mut self) -> Result<Node, ConnectError> {
        let clock = Clock::system();
        #[cfg(feature = "sqlite")]
        if let Some(dir) = self.data_dir.take() {
            let (mut keeper, store) = Keeper::new(dir, &self.broker, &self.name, clock.clone())?;
            self.key = self.key.or(keeper.known_key()?);
            let mut restored = JournalState::default();
            if let Some(key) = &self.key {
                let (identity, state) = keeper.open(key).await?;
                (self.identity, restored) = (Some(identity), state);
            }
            let keeper = Some(keeper);
            return self.start(clock, restored, store, keeper).await;
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
        let machine = Client::new(config, rng.fork(), clock.now());
        let (driver, ends) = Driver::new(machine, sockets, store, clock);
        tokio::spawn(driver.run());
        let (requests, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (online, signed_in) = oneshot::channel();
        let (handled, was_handled) = mpsc::unbounded_channel();
        let desk = Desk {
            ends,
            identity,
            key: self.key,
            online: Some(online),
            rooms: BTreeMap::new(),
            publications: BTreeMap::new(),
            was_handled,
            #[cfg(feature = "sqlite")]
            keeper,
        };
        let task = tokio::spawn(desk.run(receiver));
        if let Ok(signed_in) = signed_in.await {
            let (broker_key, identity) = signed_in?;
            return Ok(Node {
                requests,
                handled,
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
    handled: mpsc::UnboundedSender<Shown>,
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
            handled: self.handled.clone(),
            handling: None,
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
    events: mpsc::Receiver<Telling>,
    handled: mpsc::UnboundedSender<Shown>,
    /// How to note that the last event was handled.
    handling: Option<Shown>,
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
        if let Some(handled) = self.handling.take() {
            // A node that has ended takes no notes: the next one repeats the event.
            let _ = self.handled.send(handled);
        }
        let (event, noted_by) = self.events.recv().await?;
        self.handling = noted_by;
        Some(event)
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
/// An event, and how to note that it was handled.
type Telling = (RoomEvent, Option<Shown>);
type Entered = oneshot::Sender<Result<mpsc::Receiver<Telling>, JoinError>>;
type SignedIn = oneshot::Sender<Result<(PublicKey, NodeIdentity), ConnectError>>;

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
    events: mpsc::Sender<Telling>,
    /// Told when the room is entered.
    entering: Option<(Entered, mpsc::Receiver<Telling>)>,
    #[cfg(feature = "sqlite")]
    told: Told,
}

/// The task between the handles and the driver.
struct Desk {
    ends: Ends<Client>,
    identity: NodeIdentity,
    key: Option<PublicKey>,
    online: Option<SignedIn>,
    rooms: BTreeMap<RoomName, Seat>,
    publications: BTreeMap<u64, Published>,
    was_handled: mpsc::UnboundedReceiver<Shown>,
    #[cfg(feature = "sqlite")]
    keeper: Option<Keeper>,
}

impl Desk {
    /// Runs until the client ends, which it does when the last handle is dropped.
    async fn run(mut self, requests: mpsc::Receiver<Request>) -> Option<EndReason> {
        let ended = self.serve(requests).await;
        #[cfg(feature = "sqlite")]
        self.close(ended.as_ref()).await;
        ended
    }

    async fn serve(&mut self, mut requests: mpsc::Receiver<Request>) -> Option<EndReason> {
        let mut is_held = true;
        loop {
            let failed = self.failed();
            tokio::select! {
                biased;
                () = failed => return None,
                Some(shown) = self.was_handled.recv() => self.note(shown),
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

    async fn command(&mut self, command: NodeCommand) {
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
        let seat = Seat {
            events,
            entering: Some((reply, receiver)),
            #[cfg(feature = "sqlite")]
            told: Told::default(),
        };
        self.rooms.insert(room.clone(), seat);
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
                #[cfg(feature = "sqlite")]
                if !self.meet(key).await {
                    return;
                }
                let identity = Box::new(self.identity.clone());
                self.command(NodeCommand::SetIdentity(identity)).await;
            }
            ClientEvent::Online => {
                if let (Some(online), Some(key)) = (self.online.take(), self.key) {
                    // Who waited for this may be gone; the desk ends with its handles.
                    let _ = online.send(Ok((key, self.identity.clone())));
                }
            }
            ClientEvent::Joined { room } => {
                let entering = self.rooms.get_mut(&room).and_then(|seat| seat.entering.take());
                if let Some((reply, events)) = entering {
                    let _ = reply.send(Ok(events));
                    #[cfg(feature = "sqlite")]
                    self.tell_unhandled(&room).await;
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
            ClientEvent::Line { room, log, line } => self.tell_line(room, log, line).await,
            ClientEvent::Notice { room, number, event, name } => {
                self.tell_notice(room, number, RoomEvent::Notice { event, name }).await;
            }
            ClientEvent::Fork { room } => self.tell(&room, (RoomEvent::Fork, None)).await,
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
    async fn tell(&mut self, room: &RoomName, event: Telling) {
        if let Some(seat) = self.rooms.get(room) {
            let _ = seat.events.send(event).await;
        }
    }
}

#[cfg(feature = "sqlite")]
impl Desk {
    /// The broker has shown its key: now it is known who the node is there. Returns `false` if
    /// that cannot be used, and has been said.
    async fn meet(&mut self, key: PublicKey) -> bool {
        let Some(keeper) = &mut self.keeper else {
            return true;
        };
        match keeper.meet(key).await {
            Ok((identity, state)) => {
                self.identity = identity;
                self.command(NodeCommand::Restore(Box::new(state))).await;
                true
            }
            Err(error) => {
                if let Some(online) = self.online.take() {
                    // Who waited for this may be gone.
                    let _ = online.send(Err(error.into()));
                }
                self.command(NodeCommand::Abandon).await;
                false
            }
        }
    }

    /// Waits until the journal has failed: nothing can be kept any more, and the node ends.
    fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
        let failed = self.keeper.as_ref().map(Keeper::failed);
        async move {
            match failed {
                Some(failed) => {
                    let error = failed.await;
                    tracing::error!(%error, "the journal fails, and the node ends");
                }
                None => std::future::pending().await,
            }
        }
    }

    fn note(&self, shown: Shown) {
        if let Some(keeper) = &self.keeper {
            keeper.note(shown);
        }
    }

    /// What was received in `room` and never handled comes first.
    async fn tell_unhandled(&mut self, room: &RoomName) {
        if let Err(error) = self.try_telling_unhandled(room).await {
            // What cannot be read now is told by the next node.
            tracing::error!(%error, %room, "the journal cannot be read");
        }
    }

    async fn try_telling_unhandled(&mut self, room: &RoomName) -> Result<(), StoreError> {
        let Some(keeper) = &self.keeper else {
            return Ok(());
        };
        let (mut after, until) = keeper.unhandled(room)?;
        while let Some(keeper) = &self.keeper
            && after < until
        {
            let items = keeper.read(room, after, until)?;
            let Some(last) = items.back() else {
                break;
            };
            after = last.id();
            for item in items {
                let Some(seat) = self.rooms.get_mut(room) else {
                    return Ok(());
                };
                let (event, shown) = event_of(item, room, &mut seat.told);
                self.tell(room, (event, Some(shown))).await;
            }
        }
        Ok(())
    }

    async fn tell_line(&mut self, room: RoomName, log: LogId, line: Line) {
        let Some(seat) = self.rooms.get_mut(&room) else {
            return;
        };
        if self.keeper.is_some() && !seat.told.is_new_line(log, line.seq) {
            return;
        }
        let shown = Shown::Line(room.clone(), line.seq);
        self.tell(&room, (RoomEvent::Line(line), Some(shown))).await;
    }

    async fn tell_notice(&mut self, room: RoomName, number: u64, notice: RoomEvent) {
        let Some(seat) = self.rooms.get_mut(&room) else {
            return;
        };
        if self.keeper.is_some() && !seat.told.is_new_notice(number) {
            return;
        }
        let shown = Shown::Notice(room.clone(), number);
        self.tell(&room, (notice, Some(shown))).await;
    }

    /// Writes what is to be written, and lets the profile go.
    async fn close(mut self, ended: Option<&EndReason>) {
        let Some(mut keeper) = self.keeper.take() else {
            return;
        };
        while let Ok(shown) = self.was_handled.try_recv() {
            keeper.note(shown);
        }
        if let Some(EndReason::Retired { .. }) = ended
            && let Err(error) = keeper.change_device()
        {
            // The next one is told the same, and tries again.
            tracing::error!(%error, "the device cannot be changed");
        }
        // The driver ends when nobody is left to talk to it, and the journal after it.
        drop(self);
        keeper.close().await;
    }
}

#[cfg(not(feature = "sqlite"))]
impl Desk {
    #[expect(clippy::unused_self)]
    fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
        std::future::pending()
    }

    #[expect(clippy::unused_self)]
    fn note(&self, shown: Shown) {
        match shown {}
    }

    async fn tell_line(&mut self, room: RoomName, _log: LogId, line: Line) {
        self.tell(&room, (RoomEvent::Line(line), None)).await;
    }

    async fn tell_notice(&mut self, room: RoomName, _number: u64, notice: RoomEvent) {
        self.tell(&room, (notice, None)).await;
    }
}

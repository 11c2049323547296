//! The task between the handles and the driver.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{ConnectError, Ended, HistoryError, JoinError, PublishError};
#[cfg(feature = "sqlite")]
use super::keeper::Keeper;
use super::room::{HistoryPage, RoomEvent};
use crate::chat::{Delivered, HistoryPolicy, Line, RoomName};
use crate::client::{Client, ClientEvent, EndReason, JoinOptions, ROOMS_PER_LINK_MAX};
use crate::driver::{Ends, NodeCommand};
use crate::secure::{NodeIdentity, PublicKey};
#[cfg(feature = "sqlite")]
pub(super) use crate::store::journal::Shown;
#[cfg(feature = "sqlite")]
use crate::store::journal::Told;

/// How it is noted that an event was handled, where that outlives the process.
#[cfg(not(feature = "sqlite"))]
pub(super) type Shown = core::convert::Infallible;

/// How many events of a room wait to be taken.
const ROOM_EVENTS_WAITING_MAX: usize = 256;

type Published = oneshot::Sender<Result<u64, PublishError>>;
type Watch = watch::Sender<Option<Delivered>>;
type Paged = oneshot::Sender<Result<HistoryPage, HistoryError>>;
/// An event, and how to note that it was handled.
pub(super) type Telling = (RoomEvent, Option<Shown>);
type Entered = oneshot::Sender<Result<mpsc::Receiver<Telling>, JoinError>>;
pub(super) type SignedIn = oneshot::Sender<Result<(PublicKey, NodeIdentity), ConnectError>>;

/// What handles ask of the desk.
#[derive(Debug)]
pub(super) enum Request {
    Join {
        room: RoomName,
        history: u64,
        reply: Entered,
    },
    Publish {
        room: RoomName,
        what: Publication,
        reply: Published,
    },
    History {
        room: RoomName,
        before: u64,
        count: u64,
        reply: Paged,
    },
    LeaveRoom {
        room: RoomName,
    },
    Leave,
}

/// What is published.
#[derive(Debug)]
pub(super) enum Publication {
    Text(Bytes),
    /// The same, and who has it is told here.
    Watched(Bytes, Watch),
    Policy(HistoryPolicy),
}

/// A room as the desk knows it.
pub(super) struct Seat {
    events: mpsc::Sender<Telling>,
    /// Told when the room is entered.
    entering: Option<(Entered, mpsc::Receiver<Telling>)>,
    #[cfg(feature = "sqlite")]
    pub(super) told: Told,
    /// The pages that were asked for, in that order, as far as they have come.
    pages: VecDeque<(Vec<Line>, Paged)>,
}

/// The task between the handles and the driver.
pub(super) struct Desk {
    ends: Ends<Client>,
    pub(super) identity: NodeIdentity,
    key: Option<PublicKey>,
    pub(super) online: Option<SignedIn>,
    pub(super) rooms: BTreeMap<RoomName, Seat>,
    publications: BTreeMap<u64, Published>,
    watched: BTreeMap<u64, Watch>,
    pub(super) was_handled: mpsc::UnboundedReceiver<Shown>,
    #[cfg(feature = "sqlite")]
    pub(super) keeper: Option<Keeper>,
}

impl Desk {
    pub(super) const fn new(
        ends: Ends<Client>,
        identity: NodeIdentity,
        key: Option<PublicKey>,
        online: SignedIn,
        was_handled: mpsc::UnboundedReceiver<Shown>,
    ) -> Self {
        Self {
            ends,
            identity,
            key,
            online: Some(online),
            rooms: BTreeMap::new(),
            publications: BTreeMap::new(),
            watched: BTreeMap::new(),
            was_handled,
            #[cfg(feature = "sqlite")]
            keeper: None,
        }
    }

    /// Runs until the client ends, which it does when the last handle is dropped.
    pub(super) async fn run(mut self, requests: mpsc::Receiver<Request>) -> Option<EndReason> {
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

    pub(super) async fn command(&mut self, command: NodeCommand) {
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
            Request::Publish { room, what, reply } => self.publish(room, what, reply).await,
            Request::History {
                room,
                before,
                count,
                reply,
            } => self.ask_history(room, before, count, reply).await,
            Request::LeaveRoom { room } => self.command(NodeCommand::LeaveRoom { room }).await,
            Request::Leave => self.command(NodeCommand::Leave).await,
        }
    }

    async fn publish(&mut self, room: RoomName, what: Publication, published: Published) {
        let (reply, handle) = oneshot::channel();
        let (command, watch) = match what {
            Publication::Text(text) => (NodeCommand::Publish { room, text, reply }, None),
            Publication::Watched(text, watch) => {
                let command = NodeCommand::PublishWatched { room, text, reply };
                (command, Some(watch))
            }
            Publication::Policy(policy) => {
                let command = NodeCommand::SetPolicy {
                    room,
                    policy,
                    reply,
                };
                (command, None)
            }
        };
        self.command(command).await;
        match handle.await {
            Ok(Ok(handle)) => {
                self.publications.insert(handle, published);
                if let Some(watch) = watch {
                    self.watched.retain(|_, watch| !watch.is_closed());
                    self.watched.insert(handle, watch);
                }
            }
            // Who asked may have lost interest.
            Ok(Err(error)) => drop(published.send(Err(error.into()))),
            Err(_) => drop(published.send(Err(PublishError::Ended(Ended(None))))),
        }
    }

    async fn ask_history(&mut self, room: RoomName, before: u64, count: u64, paged: Paged) {
        let (reply, asked) = oneshot::channel();
        let command = NodeCommand::AskHistory {
            room: room.clone(),
            before,
            count,
            reply,
        };
        self.command(command).await;
        match (asked.await, self.rooms.get_mut(&room)) {
            (Ok(true), Some(seat)) => seat.pages.push_back((Vec::new(), paged)),
            // Who asked may have lost interest.
            (Ok(_), _) => drop(paged.send(Err(HistoryError::NotPossible))),
            (Err(_), _) => drop(paged.send(Err(HistoryError::Ended(Ended(None))))),
        }
    }

    /// The room is not there any more, and what was asked of it will not come.
    fn forget(&mut self, room: &RoomName) -> Option<Seat> {
        let mut seat = self.rooms.remove(room)?;
        for (_, paged) in seat.pages.drain(..) {
            // Who asked may have lost interest.
            let _ = paged.send(Err(HistoryError::NotPossible));
        }
        Some(seat)
    }

    async fn join(&mut self, room: RoomName, history: u64, reply: Entered) {
        let is_full = self.rooms.len() >= ROOMS_PER_LINK_MAX;
        if is_full || self.rooms.contains_key(&room) {
            // Who asked may have lost interest.
            let _ = reply.send(Err(JoinError::NotPossible));
            return;
        }
        let (events, receiver) = mpsc::channel(ROOM_EVENTS_WAITING_MAX);
        let entering = Some((reply, receiver));
        let seat = Seat {
            events,
            entering,
            #[cfg(feature = "sqlite")]
            told: Told::default(),
            pages: VecDeque::new(),
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
                let entering = self.forget(&room).and_then(|seat| seat.entering);
                if let Some((reply, _)) = entering {
                    let _ = reply.send(Err(JoinError::Refused { code, reason }));
                }
                self.command(NodeCommand::LeaveRoom { room }).await;
            }
            ClientEvent::RoomLeft { room } => drop(self.forget(&room)),
            ClientEvent::Line { room, log, line } => self.tell_line(room, log, line).await,
            ClientEvent::Notice { room, number, event, name } => {
                self.tell_notice(room, number, RoomEvent::Notice { event, name }).await;
            }
            ClientEvent::Fork { room } => self.tell_fork(room).await,
            ClientEvent::Stored { handle, seq, .. } => {
                if let Some(reply) = self.publications.remove(&handle) {
                    let _ = reply.send(Ok(seq));
                }
            }
            ClientEvent::NotStored { handle, code, reason, .. } => {
                self.watched.remove(&handle);
                if let Some(reply) = self.publications.remove(&handle) {
                    let _ = reply.send(Err(PublishError::NotStored { code, reason }));
                }
            }
            ClientEvent::Delivered { handle, delivered, .. } => {
                if let Some(watch) = self.watched.get(&handle) {
                    watch.send_replace(Some(delivered));
                }
                if delivered.k >= delivered.n {
                    self.watched.remove(&handle);
                }
            }
            ClientEvent::Past { room, line, .. } => {
                let seat = self.rooms.get_mut(&room);
                if let Some((lines, _)) = seat.and_then(|seat| seat.pages.front_mut()) {
                    lines.push(line);
                }
            }
            ClientEvent::HistoryEnd { room, earlier, .. } => {
                let seat = self.rooms.get_mut(&room);
                if let Some((lines, paged)) = seat.and_then(|seat| seat.pages.pop_front()) {
                    let _ = paged.send(Ok(HistoryPage { lines, earlier }));
                }
            }
            ClientEvent::Offline
            | ClientEvent::Waiting { .. }
            | ClientEvent::Roster { .. }
            | ClientEvent::Rooms { .. }
            // Taken by the caller.
            | ClientEvent::Ended(_) => {}
        }
    }

    /// Waits for whoever takes the room's events, unless nobody does any more.
    pub(super) async fn tell(&mut self, room: &RoomName, event: Telling) {
        if let Some(seat) = self.rooms.get(room) {
            let _ = seat.events.send(event).await;
        }
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

    async fn tell_line(&mut self, room: RoomName, _log: crate::chat::LogId, line: Line) {
        self.tell(&room, (RoomEvent::Line(line), None)).await;
    }

    async fn tell_notice(&mut self, room: RoomName, _number: u64, notice: RoomEvent) {
        self.tell(&room, (notice, None)).await;
    }

    async fn tell_fork(&mut self, room: RoomName) {
        self.tell(&room, (RoomEvent::Fork, None)).await;
    }
}

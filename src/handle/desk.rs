//! The task between the handles and the driver.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::error::{ConnectError, Ended, HistoryError, JoinError, PublishError};
use super::events::{self, EventsIn, EventsOut};
#[cfg(feature = "sqlite")]
pub(super) use super::kept::{Before, Kept};
use super::room::{HistoryPage, RoomEvent};
use crate::chat::{Delivered, HistoryPolicy, Line, RoomName, visible};
use crate::client::{Asker, Client, ClientEvent, JoinOptions, ROOMS_PER_LINK_MAX};
use crate::driver::{Ends, NodeCommand};
use crate::secure::{NodeIdentity, PublicKey};
#[cfg(feature = "sqlite")]
pub(super) use crate::store::journal::Shown;
#[cfg(feature = "sqlite")]
use crate::store::journal::Told;

/// How it is noted that an event was handled, where that outlives the process.
#[cfg(not(feature = "sqlite"))]
pub(super) type Shown = core::convert::Infallible;

type Published = oneshot::Sender<Result<u64, PublishError>>;
type Watch = watch::Sender<Option<Delivered>>;
type Paged = oneshot::Sender<Result<HistoryPage, HistoryError>>;
type Entered = oneshot::Sender<Result<EventsOut, JoinError>>;
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
    pub(super) events: EventsIn,
    /// Told when the room is entered.
    entering: Option<(Entered, EventsOut)>,
    #[cfg(feature = "sqlite")]
    pub(super) told: Told,
    /// What the journal has and was not told yet.
    #[cfg(feature = "sqlite")]
    pub(super) before: Option<Before>,
    /// The pages that were asked for, in that order, as far as they have come.
    pages: VecDeque<(Vec<Line>, Paged)>,
}

/// The task between the handles and the driver.
pub(super) struct Desk {
    pub(super) ends: Ends<Client>,
    pub(super) identity: NodeIdentity,
    key: Option<PublicKey>,
    pub(super) online: Option<SignedIn>,
    pub(super) rooms: BTreeMap<RoomName, Seat>,
    publications: BTreeMap<u64, Published>,
    watched: BTreeMap<u64, Watch>,
    pub(super) was_handled: mpsc::UnboundedReceiver<Shown>,
    /// Notified when a room's events were taken, so that there is space for others.
    taken: Arc<Notify>,
    pub(super) kept: Kept,
}

impl Desk {
    pub(super) fn new(
        ends: Ends<Client>,
        identity: NodeIdentity,
        key: Option<PublicKey>,
        online: SignedIn,
        was_handled: mpsc::UnboundedReceiver<Shown>,
        kept: Kept,
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
            taken: Arc::default(),
            kept,
        }
    }

    /// Runs until the client ends, which it does when the last handle is dropped. How that was is
    /// told by `ending`, after all that was to be written is.
    pub(super) async fn run(
        mut self,
        requests: mpsc::Receiver<Request>,
        ending: watch::Sender<Option<Ended>>,
    ) -> Ended {
        let ended = self.serve(requests).await;
        let ended = self.close(ended).await;
        ending.send_replace(Some(ended.clone()));
        ended
    }

    async fn serve(&mut self, mut requests: mpsc::Receiver<Request>) -> Ended {
        let mut is_held = true;
        loop {
            self.tell_from_before();
            let may_take = self.may_take();
            let failed = self.kept.failed();
            let Self {
                ends,
                was_handled,
                taken,
                kept,
                ..
            } = self;
            tokio::select! {
                biased;
                ended = failed => return ended,
                Some(shown) = was_handled.recv() => kept.note(shown),
                event = ends.events.recv(), if may_take => match event {
                    Some(ClientEvent::Ended(reason)) => return Ended::Node(reason),
                    Some(event) => {
                        self.kept.on_event(&event);
                        self.on_event(event).await;
                    }
                    None => return Ended::Task,
                },
                () = taken.notified() => {}
                work = kept.next_work() => self.work(work).await,
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

    /// Whether another event may be taken from the driver: while there is space in every room; or
    /// while somebody waits for an answer, which may be behind events that nobody takes.
    fn may_take(&self) -> bool {
        let is_asked = |seat: &Seat| !seat.pages.is_empty() || seat.entering.is_some();
        !self.publications.is_empty()
            || self.rooms.values().any(is_asked)
            || self.rooms.values().all(|seat| seat.events.has_space())
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
            // The driver has ended; who asked is told how, as soon as its last event is here.
            Err(_) => {}
        }
    }

    async fn ask_history(&mut self, room: RoomName, before: u64, count: u64, paged: Paged) {
        let (reply, asked) = oneshot::channel();
        let command = NodeCommand::AskHistory {
            room: room.clone(),
            before,
            count,
            asker: Asker::Node,
            reply,
        };
        self.command(command).await;
        match (asked.await, self.rooms.get_mut(&room)) {
            (Ok(true), Some(seat)) => seat.pages.push_back((Vec::new(), paged)),
            // Who asked may have lost interest.
            (Ok(_), _) => drop(paged.send(Err(HistoryError::NotPossible))),
            // The driver has ended; who asked is told how, as soon as its last event is here.
            (Err(_), _) => {}
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
        let (events, receiver) = events::channel(&self.taken);
        let entering = Some((reply, receiver));
        let seat = Seat {
            events,
            entering,
            #[cfg(feature = "sqlite")]
            told: Told::default(),
            #[cfg(feature = "sqlite")]
            before: None,
            pages: VecDeque::new(),
        };
        self.rooms.insert(room.clone(), seat);
        self.kept.on_asked(&room);
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
                    self.begin_telling(&room);
                }
            }
            ClientEvent::JoinRefused { room, code, reason } => {
                let entering = self.forget(&room).and_then(|seat| seat.entering);
                if let Some((reply, _)) = entering {
                    let _ = reply.send(Err(JoinError::Refused { code, reason }));
                }
                self.command(NodeCommand::LeaveRoom { room }).await;
            }
            ClientEvent::RoomLeft { room, .. } => drop(self.forget(&room)),
            ClientEvent::Line { room, log, line } => self.tell_line(&room, log, line),
            ClientEvent::Notice { room, number, event, name } => {
                self.tell_notice(&room, number, RoomEvent::Notice { event, name });
            }
            ClientEvent::Fork { room } => self.tell_fork(&room),
            ClientEvent::Stored { handle, seq, .. } => {
                if let Some(reply) = self.publications.remove(&handle) {
                    let _ = reply.send(Ok(seq));
                }
            }
            ClientEvent::NotStored { handle, code, reason, may_be_stored, .. } => {
                self.watched.remove(&handle);
                if let Some(reply) = self.publications.remove(&handle) {
                    let _ = reply.send(Err(PublishError::NotStored { code, reason, may_be_stored }));
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
            ClientEvent::PutOff { what, wait, reason, .. } => {
                // It goes on by itself, and whoever waits goes on waiting.
                let reason = visible(&reason);
                tracing::info!(?what, ?wait, %reason, "the broker puts something off");
            }
            ClientEvent::Unwatched { handle, .. } => drop(self.watched.remove(&handle)),
            ClientEvent::Past { room, asker: Asker::Node, line, .. } => {
                let seat = self.rooms.get_mut(&room);
                if let Some((lines, _)) = seat.and_then(|seat| seat.pages.front_mut()) {
                    lines.push(line);
                }
            }
            ClientEvent::HistoryEnd { room, asker: Asker::Node, earlier, .. } => {
                let seat = self.rooms.get_mut(&room);
                if let Some((lines, paged)) = seat.and_then(|seat| seat.pages.pop_front()) {
                    let _ = paged.send(Ok(HistoryPage { lines, earlier }));
                }
            }
            // Programs beside the node are told elsewhere.
            ClientEvent::Past { .. }
            | ClientEvent::HistoryEnd { .. }
            | ClientEvent::Offline
            | ClientEvent::Waiting { .. }
            | ClientEvent::Roster { .. }
            | ClientEvent::Rooms { .. }
            | ClientEvent::Invited { .. }
            | ClientEvent::Errand(_)
            // The number of the next line tells.
            | ClientEvent::Skipped { .. }
            // Taken by the caller.
            | ClientEvent::Ended(_) => {}
        }
    }

    /// Tells whoever holds the room, unless nobody does any more. A room whose events nobody takes
    /// is told no further.
    pub(super) fn tell(&mut self, room: &RoomName, event: RoomEvent, shown: Option<Shown>) {
        let Some(seat) = self.rooms.get(room) else {
            return;
        };
        seat.events.tell((event, shown));
        if seat.events.are_too_many() {
            tracing::warn!(%room, "too many events lie untaken: no more are told");
            self.forget(room);
        }
    }
}

/// What is kept of a node that ends with its process: nothing.
#[cfg(not(feature = "sqlite"))]
#[derive(Default)]
pub(super) struct Kept;

#[cfg(not(feature = "sqlite"))]
#[expect(clippy::unused_self, reason = "the same calls as with files")]
impl Kept {
    fn failed(&self) -> impl Future<Output = Ended> + Send + use<> {
        std::future::pending()
    }

    fn next_work(&mut self) -> impl Future<Output = core::convert::Infallible> + Send + use<> {
        std::future::pending()
    }

    fn note(&self, shown: Shown) {
        match shown {}
    }

    fn on_asked(&mut self, _room: &RoomName) {}

    fn on_event(&mut self, _event: &ClientEvent) {}
}

#[cfg(not(feature = "sqlite"))]
#[expect(clippy::unused_self, reason = "the same calls as with files")]
impl Desk {
    async fn work(&mut self, work: core::convert::Infallible) {
        match work {}
    }

    fn tell_from_before(&mut self) {}

    fn begin_telling(&mut self, _room: &RoomName) {}

    fn tell_line(&mut self, room: &RoomName, _log: crate::chat::LogId, line: Line) {
        self.tell(room, RoomEvent::Line(line), None);
    }

    fn tell_notice(&mut self, room: &RoomName, _number: u64, notice: RoomEvent) {
        self.tell(room, notice, None);
    }

    fn tell_fork(&mut self, room: &RoomName) {
        self.tell(room, RoomEvent::Fork, None);
    }

    async fn close(self, ended: Ended) -> Ended {
        ended
    }
}

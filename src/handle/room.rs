//! A room to hold, and what comes of it.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::desk::{Publication, Request, Shown};
use super::error::{End, Ended, HistoryError, PublishError, ended};
use super::events::EventsOut;
use crate::chat::{Delivered, HistoryPolicy, Line, Name, NoticeEvent, RoomName};

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

/// Earlier lines of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The lines, oldest first, of all kinds, without a hole.
    pub lines: Vec<Line>,
    /// Whether there are earlier ones that may be asked for.
    pub earlier: bool,
}

/// A line of one's own that is stored, and is watched on its way to the others.
#[derive(Debug)]
pub struct Receipt {
    seq: u64,
    delivered: watch::Receiver<Option<Delivered>>,
}

impl Receipt {
    /// The line's number.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Waits until it is known how many have the line, or have it now; only the newest is told.
    /// `None` after all have it, when too many others are watched, or when the node has ended.
    pub async fn next(&mut self) -> Option<Delivered> {
        // Nobody tells any more.
        self.delivered.changed().await.ok()?;
        *self.delivered.borrow_and_update()
    }
}

/// A room that a node is in. Dropping it stops its events; the account stays a member.
#[derive(Debug)]
pub struct Room {
    name: RoomName,
    requests: mpsc::Sender<Request>,
    events: EventsOut,
    handled: mpsc::UnboundedSender<Shown>,
    end: End,
    /// How to note that the last event was handled.
    handling: Option<Shown>,
}

impl Room {
    pub(super) const fn new(
        name: RoomName,
        requests: mpsc::Sender<Request>,
        events: EventsOut,
        handled: mpsc::UnboundedSender<Shown>,
        end: End,
    ) -> Self {
        Self {
            name,
            requests,
            events,
            handled,
            end,
            handling: None,
        }
    }

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
        let what = Publication::Text(Bytes::copy_from_slice(text.as_bytes()));
        self.publish_as(what).await
    }

    /// Says `text`, and waits until it is stored, as [`publish`](Self::publish) does. The receipt
    /// then tells how many of those who are to have the line do.
    ///
    /// At most 256 lines of a room are watched at a time: of more, the oldest is told no further.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub async fn publish_watched(&self, text: &str) -> Result<Receipt, PublishError> {
        let (told, delivered) = watch::channel(None);
        let what = Publication::Watched(Bytes::copy_from_slice(text.as_bytes()), told);
        let seq = self.publish_as(what).await?;
        Ok(Receipt { seq, delivered })
    }

    /// Decides who may read what was said before they came. Only whoever made the room may. Returns
    /// the number of the line that says so.
    ///
    /// # Errors
    ///
    /// If it is somebody else's room ([`Refusal::NotAdmitted`](crate::chat::Refusal::NotAdmitted)),
    /// or the node ended first.
    pub async fn set_policy(&self, policy: HistoryPolicy) -> Result<u64, PublishError> {
        self.publish_as(Publication::Policy(policy)).await
    }

    async fn publish_as(&self, what: Publication) -> Result<u64, PublishError> {
        let (reply, answer) = oneshot::channel();
        let room = self.name.clone();
        let request = Request::Publish { room, what, reply };
        // A node that takes no request is ending, and answers none.
        let _ = self.requests.send(request).await;
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(PublishError::Ended(ended(&self.end).await)),
        }
    }

    /// Asks for `count` earlier lines, at most 1,000: those before line `before`, or before the
    /// first one that the node was sent. It waits for as long as an outage takes.
    ///
    /// # Errors
    ///
    /// If the node is not in the room, or ends before it has the lines.
    pub async fn history(
        &self,
        before: Option<u64>,
        count: u64,
    ) -> Result<HistoryPage, HistoryError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::History {
            room: self.name.clone(),
            before: before.unwrap_or(0),
            count,
            reply,
        };
        // A node that takes no request is ending, and answers none.
        let _ = self.requests.send(request).await;
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(HistoryError::Ended(ended(&self.end).await)),
        }
    }

    /// How the node ended; `None` as long as it has not.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.end.borrow().clone()
    }

    /// What happens next; `None` when the node has ended or left the room, or when 16,384 events
    /// lay untaken while it waited for answers: what followed was not told.
    ///
    /// While 256 events lie untaken, and no answer is awaited, the node reads nothing more. Answers
    /// ([`publish`](Self::publish), [`history`](Self::history)) come all the same.
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

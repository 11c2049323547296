//! The events of a room on their way from the desk to whoever holds the room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};

use super::desk::Shown;
use super::room::RoomEvent;

/// How many events of a room may lie untaken while nobody waits for an answer: then nothing more is
/// taken from the driver, and in the end the broker waits.
pub(super) const WAITING_MAX: usize = 256;
/// How many may lie untaken whatever is waited for. An answer never waits for events to be taken,
/// so that they pile up meanwhile; a room of which so many do is told no further (LIM-19).
const UNTAKEN_MAX: usize = 16_384;

/// An event, and how to note that it was handled.
pub(super) type Telling = (RoomEvent, Option<Shown>);

/// Where the desk puts a room's events. It never waits.
#[derive(Debug)]
pub(super) struct EventsIn {
    sender: mpsc::UnboundedSender<Telling>,
    untaken: Arc<AtomicUsize>,
}

/// Where whoever holds the room takes them.
#[derive(Debug)]
pub(super) struct EventsOut {
    receiver: mpsc::UnboundedReceiver<Telling>,
    untaken: Arc<AtomicUsize>,
    taken: Arc<Notify>,
}

/// Both ends. `taken` is notified when there is space again, or nobody takes events any more.
pub(super) fn channel(taken: &Arc<Notify>) -> (EventsIn, EventsOut) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let untaken = Arc::new(AtomicUsize::new(0));
    let events = EventsIn {
        sender,
        untaken: Arc::clone(&untaken),
    };
    let taken = Arc::clone(taken);
    let room = EventsOut {
        receiver,
        untaken,
        taken,
    };
    (events, room)
}

impl EventsIn {
    pub(super) fn tell(&self, event: Telling) {
        self.untaken.fetch_add(1, Ordering::Relaxed);
        // Nobody may take events any more.
        let _ = self.sender.send(event);
    }

    /// How many lie untaken and may still be taken.
    pub(super) fn untaken(&self) -> usize {
        match self.sender.is_closed() {
            true => 0,
            false => self.untaken.load(Ordering::Relaxed),
        }
    }

    /// Whether whoever holds the room takes so few of them that it is told no further (LIM-19).
    pub(super) fn are_too_many(&self) -> bool {
        self.untaken() >= UNTAKEN_MAX
    }

    pub(super) fn has_space(&self) -> bool {
        self.untaken() < WAITING_MAX
    }
}

impl EventsOut {
    pub(super) async fn recv(&mut self) -> Option<Telling> {
        let event = self.receiver.recv().await?;
        if self.untaken.fetch_sub(1, Ordering::Relaxed) == WAITING_MAX {
            self.taken.notify_one();
        }
        Some(event)
    }
}

impl Drop for EventsOut {
    fn drop(&mut self) {
        self.receiver.close();
        self.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LIM-19: what nobody takes is counted, and so many are too many.
    #[tokio::test]
    async fn so_many_events_lie_untaken_and_no_more() {
        let (events, mut room) = channel(&Arc::new(Notify::new()));
        for told in 0..UNTAKEN_MAX {
            assert!(!events.are_too_many(), "{told}");
            events.tell((RoomEvent::Fork, None));
        }
        assert!(events.are_too_many());
        assert!(room.recv().await.is_some());
        assert!(!events.are_too_many());
        drop(room);
        assert_eq!(events.untaken(), 0);
    }
}

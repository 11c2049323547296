//! The desk of a node that outlives its process: what it keeps, what it tells again, and what it does
//! for the programs beside it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::desk::{Desk, Shown};
use super::error::Ended;
use super::keeper::{Keeper, event_of};
use super::room::RoomEvent;
use super::spool::Spool;
use crate::chat::{Line, LogId, RoomName};
use crate::client::{ClientEvent, EndReason};
use crate::driver::NodeCommand;
use crate::secure::PublicKey;
use crate::store::journal::News;
use crate::store::sqlite::StoreError;

/// How often a spooled line that did not fit into the outbox is tried again.
const OUTBOX_TRIED_EVERY: Duration = Duration::from_millis(20);

/// What outlives the process, if anything does.
pub(super) struct Kept {
    keeper: Option<Keeper>,
    /// What other programs ask of the one with the link (JRN-6, JRN-7).
    spool: Spool,
    /// When what could not be done for them is tried again, however much happens meanwhile.
    tries: Interval,
}

/// What the journal has of a room and was not told yet. As long as there is some, all that comes is
/// told from there.
pub(super) struct Before {
    /// The last item that was told.
    after: u64,
    /// The items after which the room had another history.
    forks: VecDeque<u64>,
}

/// What is to be done for others.
pub(super) enum Work {
    News(News),
    TryAgain,
}

impl Kept {
    pub(super) fn by(keeper: Option<Keeper>) -> Self {
        let mut tries = interval(OUTBOX_TRIED_EVERY);
        tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            keeper,
            spool: Spool::default(),
            tries,
        }
    }

    /// Waits until the journal has failed: nothing can be kept any more, and the node ends.
    pub(super) fn failed(&self) -> impl Future<Output = Ended> + Send + use<> {
        let failed = self.keeper.as_ref().map(Keeper::failed);
        async move {
            match failed {
                Some(failed) => Ended::Journal(failed.await),
                None => std::future::pending().await,
            }
        }
    }

    pub(super) fn note(&self, shown: Shown) {
        if let Some(keeper) = &self.keeper {
            keeper.note(shown);
        }
    }

    pub(super) fn on_asked(&mut self, room: &RoomName) {
        self.spool.on_asked(room);
    }

    pub(super) fn on_event(&mut self, event: &ClientEvent) {
        if self.keeper.is_some() {
            self.spool.on_event(event);
        }
    }

    /// Waits until there is something to be done for others.
    pub(super) async fn next_work(&mut self) -> Work {
        let Some(keeper) = &mut self.keeper else {
            return std::future::pending().await;
        };
        let has_work = self.spool.has_work();
        tokio::select! {
            news = keeper.news() => Work::News(news),
            _ = self.tries.tick(), if has_work => Work::TryAgain,
        }
    }
}

impl Desk {
    /// JRN-6, JRN-7, CLI-12: as `chat-node` does it.
    pub(super) async fn work(&mut self, work: Work) {
        if let Work::News(news) = work
            && let Some(options) = self.kept.spool.on_news(news)
        {
            self.command(NodeCommand::Join(options)).await;
        }
        let Kept { keeper, spool, .. } = &mut self.kept;
        if let Some(journal) = keeper.as_ref().and_then(Keeper::journal) {
            spool.publish(&self.ends.commands, journal).await;
        }
    }

    /// The broker has shown its key: now it is known who the node is there. Returns `false` if
    /// that cannot be used, and has been said.
    pub(super) async fn meet(&mut self, key: PublicKey) -> bool {
        let Some(keeper) = &mut self.kept.keeper else {
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

    // ---- from before

    /// What was received in `room` and never handled comes first.
    pub(super) fn begin_telling(&mut self, room: &RoomName) {
        let shown = self.kept.keeper.as_ref().map(|keeper| keeper.shown(room));
        match (shown, self.rooms.get_mut(room)) {
            (Some(Ok(after)), Some(seat)) => {
                let forks = VecDeque::new();
                seat.before = Some(Before { after, forks });
            }
            (Some(Err(error)), _) => say_unreadable(room, &error),
            _ => {}
        }
    }

    /// Tells what the journal has where there is space for it.
    pub(super) fn tell_from_before(&mut self) {
        let is_due = |seat: &super::desk::Seat| seat.before.is_some() && seat.events.has_space();
        let due = self.rooms.iter().filter(|(_, seat)| is_due(seat));
        let due: Vec<RoomName> = due.map(|(room, _)| room.clone()).collect();
        for room in due {
            if let Err(error) = self.tell_of(&room) {
                say_unreadable(&room, &error);
                if let Some(seat) = self.rooms.get_mut(&room) {
                    seat.before = None;
                }
            }
        }
    }

    fn tell_of(&mut self, room: &RoomName) -> Result<(), StoreError> {
        while let (Some(keeper), Some(seat)) = (&self.kept.keeper, self.rooms.get_mut(room))
            && seat.events.has_space()
            && let Some(Before { after, forks }) = &mut seat.before
        {
            let items = keeper.read(room, *after)?;
            if items.is_empty() {
                let is_fork = forks.pop_front().is_some();
                seat.before = None;
                if is_fork {
                    self.tell_fork(room);
                }
                return Ok(());
            }
            for item in items {
                let Some(seat) = self.rooms.get_mut(room) else {
                    return Ok(());
                };
                let Some(Before { after, forks }) = &mut seat.before else {
                    return Ok(());
                };
                let is_fork = forks.pop_front_if(|last| *last < item.id()).is_some();
                *after = item.id();
                if is_fork {
                    seat.told.on_fork();
                    seat.events.tell((RoomEvent::Fork, None));
                }
                let (event, shown) = event_of(item, room, &mut seat.told);
                self.tell(room, event, Some(shown));
            }
        }
        Ok(())
    }

    pub(super) fn tell_line(&mut self, room: &RoomName, log: LogId, line: Line) {
        let Some(seat) = self.rooms.get_mut(room) else {
            return;
        };
        if self.kept.keeper.is_some()
            && (seat.before.is_some() || !seat.told.is_new_line(log, line.seq))
        {
            return;
        }
        let shown = Shown::Line(room.clone(), line.seq);
        self.tell(room, RoomEvent::Line(line), Some(shown));
    }

    pub(super) fn tell_fork(&mut self, room: &RoomName) {
        let Some(seat) = self.rooms.get_mut(room) else {
            return;
        };
        let newest = self.kept.keeper.as_ref().map(|keeper| keeper.newest(room));
        if let (Some(Ok(newest)), Some(before)) = (newest, &mut seat.before) {
            before.forks.push_back(newest);
            return;
        }
        seat.told.on_fork();
        self.tell(room, RoomEvent::Fork, None);
    }

    pub(super) fn tell_notice(&mut self, room: &RoomName, number: u64, notice: RoomEvent) {
        let Some(seat) = self.rooms.get_mut(room) else {
            return;
        };
        if self.kept.keeper.is_some() && (seat.before.is_some() || !seat.told.is_new_notice(number))
        {
            return;
        }
        let shown = Shown::Notice(room.clone(), number);
        self.tell(room, notice, Some(shown));
    }

    // ---- the end

    /// Writes what is to be written, and lets the profile go. Returns how the node has ended, if
    /// that cannot be done.
    pub(super) async fn close(mut self, ended: Ended) -> Ended {
        let Some(mut keeper) = self.kept.keeper.take() else {
            return ended;
        };
        while let Ok(shown) = self.was_handled.try_recv() {
            keeper.note(shown);
        }
        if let Ended::Node(EndReason::Retired { .. }) = ended
            && let Err(error) = keeper.change_device()
        {
            // The next one is told the same, and tries again.
            tracing::error!(%error, "the device cannot be changed");
        }
        // The driver ends when nobody is left to talk to it, and the journal after it.
        drop(self);
        match keeper.close().await {
            Ok(()) => ended,
            Err(error) => Ended::Journal(error),
        }
    }
}

/// What cannot be read now is told by the next node.
fn say_unreadable(room: &RoomName, error: &StoreError) {
    tracing::error!(%error, %room, "the journal cannot be read");
}

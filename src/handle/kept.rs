//! The desk of a node that outlives its process: what it keeps, and what it tells again.

use super::desk::{Desk, Shown};
use super::keeper::{Keeper, event_of};
use super::room::RoomEvent;
use crate::chat::{Line, LogId, RoomName};
use crate::client::EndReason;
use crate::driver::NodeCommand;
use crate::secure::PublicKey;
use crate::store::sqlite::StoreError;

impl Desk {
    /// The same desk, of a node that outlives its process if there is a keeper.
    pub(super) fn kept_by(mut self, keeper: Option<Keeper>) -> Self {
        self.keeper = keeper;
        self
    }

    /// The broker has shown its key: now it is known who the node is there. Returns `false` if
    /// that cannot be used, and has been said.
    pub(super) async fn meet(&mut self, key: PublicKey) -> bool {
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
    pub(super) fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
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

    pub(super) fn note(&self, shown: Shown) {
        if let Some(keeper) = &self.keeper {
            keeper.note(shown);
        }
    }

    /// What was received in `room` and never handled comes first.
    pub(super) async fn tell_unhandled(&mut self, room: &RoomName) {
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

    pub(super) async fn tell_line(&mut self, room: RoomName, log: LogId, line: Line) {
        let Some(seat) = self.rooms.get_mut(&room) else {
            return;
        };
        if self.keeper.is_some() && !seat.told.is_new_line(log, line.seq) {
            return;
        }
        let shown = Shown::Line(room.clone(), line.seq);
        self.tell(&room, (RoomEvent::Line(line), Some(shown))).await;
    }

    pub(super) async fn tell_fork(&mut self, room: RoomName) {
        if let Some(seat) = self.rooms.get_mut(&room) {
            seat.told.on_fork();
        }
        self.tell(&room, (RoomEvent::Fork, None)).await;
    }

    pub(super) async fn tell_notice(&mut self, room: RoomName, number: u64, notice: RoomEvent) {
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
    pub(super) async fn close(mut self, ended: Option<&EndReason>) {
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
        if let Err(error) = keeper.close().await {
            tracing::error!(%error, "the journal was not written to its end");
        }
    }
}

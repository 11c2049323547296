//! Telling of a line before the store has it: what BRK-1 forbids, for the simulation's checkers to find.

use super::storage::{StorageOp, StoredLine};
use super::{Broker, LinkId};
use crate::bug;
use crate::chat::{Line, RoomFromBroker};

impl Broker {
    /// For nothing: see `bug!(AckBeforeSync)` and `bug!(DeliverBeforeSync)`.
    pub(super) fn tell_early(&mut self, id: LinkId, channel: u8, op: &StorageOp) {
        let StorageOp::Append {
            room,
            account,
            device,
            name,
            publication,
            now_ms,
            ..
        } = op
        else {
            return;
        };
        let Some(known) = self.rooms.get_mut(room) else {
            return;
        };
        let present = known.present.get(account);
        let (Some(present), Some(feed)) = (present, known.feed.as_mut()) else {
            return;
        };
        let seq = feed.tail_seq() + 1;
        if bug!(AckBeforeSync) {
            let session = self.sessions.get_mut(&id);
            if let Some(seat) = session.and_then(|s| s.seats.get_mut(channel)) {
                let n = publication.n;
                seat.reply(&RoomFromBroker::Stored { n, seq });
            }
            return;
        }
        let Some(previous_stored_at_ms) = feed.tail_stored_at_ms else {
            return;
        };
        let line = Line {
            seq,
            stored_at_ms: *now_ms,
            account: *account,
            device: *device,
            name: name.clone(),
            author: present.author.number(),
            n: publication.n,
            typed_at_ms: publication.typed_at_ms,
            kind: publication.kind,
            body: publication.body.clone(),
        };
        let stored = StoredLine {
            line,
            previous_stored_at_ms,
        };
        feed.push_line(&stored, None);
        self.note_news(room);
    }
}

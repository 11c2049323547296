//! How much a store in memory keeps (LIM-25).

use super::MemoryStore;
use super::room::RoomLog;
use crate::broker::storage::StorageOp;
use crate::chat::RoomName;
use crate::secure::AccountKey;

/// How much a store in memory keeps at most, by its own estimate, unless it is told otherwise
/// (LIM-25).
pub const KEPT_MAX: u64 = 1 << 30;

/// What a line costs besides its body: its head, its hash, the record of its publication.
pub(super) const LINE_COST: u64 = 512;
/// What is known of somebody in a room: membership, presence, what they have (LIM-13).
pub(super) const PERSON_COST: u64 = 2 << 10;
/// An account, a device, or a room.
const ENTRY_COST: u64 = 512;

/// Whatever a request may change the size of.
struct Touched {
    room: Option<RoomName>,
    account: Option<AccountKey>,
}

impl Touched {
    fn by(op: &StorageOp) -> Self {
        let (room, account) = match op {
            StorageOp::Register { account, .. } | StorageOp::LinkDevice { account, .. } => {
                (None, Some(*account))
            }
            StorageOp::Enter { room, .. }
            | StorageOp::Leave { room, .. }
            | StorageOp::Append { room, .. }
            | StorageOp::Decide { room, .. }
            | StorageOp::Absent { room, .. }
            | StorageOp::Report { room, .. } => (Some(room.clone()), None),
            _ => (None, None),
        };
        Self { room, account }
    }
}

impl MemoryStore {
    /// The same, with another bound in bytes.
    #[must_use]
    pub const fn with_max(mut self, kept_max: u64) -> Self {
        self.kept_max = kept_max;
        self
    }

    /// How much it keeps, in bytes, by its own estimate.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.kept
    }

    /// Whether what the request asks to keep may be kept. Whoever was here before comes and goes, and
    /// what was stored is found again, however full it is; so is the host obeyed.
    pub(super) fn has_room_for(&self, op: &StorageOp) -> bool {
        let needs = match op {
            StorageOp::Register { account, .. } if !self.accounts.contains_key(account) => {
                3 * ENTRY_COST
            }
            StorageOp::LinkDevice { .. } => ENTRY_COST,
            StorageOp::Enter { room, account, .. } => match self.rooms.get(room) {
                Some(log) if log.is_member(*account) => 0,
                _ => ENTRY_COST + LINE_COST + PERSON_COST,
            },
            StorageOp::Append {
                room,
                device,
                publication,
                ..
            } => match self.rooms.get(room) {
                Some(log) if log.knows(device, publication.n) => 0,
                _ => LINE_COST + publication.body.len() as u64,
            },
            _ => 0,
        };
        needs == 0 || self.kept + needs <= self.kept_max
    }

    /// Does what is asked, and keeps account of it.
    pub(super) fn apply_weighed(&mut self, op: StorageOp) -> crate::broker::StorageOutcome {
        let touched = Touched::by(&op);
        let before = self.weight(&touched);
        let outcome = self.apply(op);
        self.kept = self.kept.saturating_sub(before) + self.weight(&touched);
        outcome
    }

    fn weight(&self, touched: &Touched) -> u64 {
        let room = touched.room.as_ref().and_then(|name| self.rooms.get(name));
        let devices = touched.account.map_or(0, |it| self.devices.count(it));
        let entries = (self.names.len() + self.rooms.len() + devices) as u64;
        entries * ENTRY_COST + room.map_or(0, RoomLog::weight)
    }
}

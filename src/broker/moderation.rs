//! What is decided about members, by those with a role or by the operator (SPEC.md section 9.7).

use core::num::NonZeroU64;
use core::time::Duration;

use super::seating::{Broken, PUBLISHING_MAX};
use super::session::SeatStage;
use super::storage::{Decided, ShownOut, StorageOp, StorageOutcome};
use super::{Broker, BrokerEvent, LinkId, Pending};
use crate::chat::{
    Decision, InviteTerms, InviteWish, MUTED_FOR_EVER, Refusal, RoomFromBroker, RoomName,
};
use crate::time::Timestamp;

impl Broker {
    /// Decides something in the operator's name (ROL-6). `order` is what the store calls it, if it was
    /// left there; one that is done, or was told before, is not done again.
    pub fn decide(
        &mut self,
        order: Option<u64>,
        room: RoomName,
        decision: Decision,
        now: Timestamp,
    ) {
        let now_ms = self.wall_ms(now);
        let op = StorageOp::Decide {
            order,
            room: room.clone(),
            decision,
            now_ms,
        };
        let pending = Pending::Decide { room: room.clone() };
        // LIM-7: an order that was left is told again.
        if self.ask(op, pending).is_some() {
            let room = self.rooms.entry(room).or_insert_with(super::Room::new);
            room.asking += 1;
        }
    }

    pub(super) fn on_operator_decided(
        &mut self,
        room: &RoomName,
        outcome: StorageOutcome,
        now: Timestamp,
    ) {
        if let StorageOutcome::Decided(decided) = outcome {
            self.on_decided(room, *decided, now);
        }
    }

    /// ROL-4: everybody is told, then those whom it is about are shown out.
    pub(super) fn on_decided(&mut self, room: &RoomName, decided: Decided, now: Timestamp) {
        let Decided { line, out } = decided;
        let by = line.line.name.clone();
        if let Some(decision) = Decision::parse(&line.line.body) {
            self.tell(BrokerEvent::Decided {
                by: by.clone(),
                room: room.clone(),
                decision,
            });
        }
        self.on_stored(room, &line);
        let Some(ShownOut {
            account,
            code,
            notice,
        }) = out
        else {
            return;
        };
        self.change_roll(room, |roll| roll.on_departed(account));
        notice.into_iter().for_each(|row| self.on_left(row));
        let goodbye = RoomFromBroker::Removed {
            code,
            reason: format!("{code}, by {by}"),
        };
        self.show_out(room, account, &goodbye, now);
    }
}

impl Broker {
    /// ROL-7
    pub(super) fn on_invite(
        &mut self,
        id: LinkId,
        channel: u8,
        wish: InviteWish,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let now_ms = self.wall_ms(now);
        let session = self.sessions.get_mut(&id).ok_or("an invite from nobody")?;
        let account = session.account;
        let seat = session
            .seats
            .get_mut(channel)
            .ok_or("an invite before joining")?;
        match seat.stage {
            _ if seat.is_leaving => return Ok(()),
            SeatStage::In(_) => {}
            SeatStage::Entering { .. } | SeatStage::Closed => {
                return Err("an invite without being in");
            }
        }
        if seat.publishing >= PUBLISHING_MAX {
            return Err("too many invites at once");
        }
        let room = seat.room.clone();
        let expires = |lasts: NonZeroU64| now_ms.saturating_add(lasts.get());
        let op = StorageOp::Invite {
            by: Some(account),
            mark: wish.mark,
            terms: InviteTerms {
                uses_max: wish.uses,
                expires_at_ms: wish.lasts_ms.map(expires),
                is_revoked: false,
            },
            room: room.clone(),
            now_ms,
        };
        seat.publishing += 1;
        if let Some(room) = self.rooms.get_mut(&room) {
            room.asking += 1;
        }
        let pending = Pending::Invite {
            link: id,
            channel,
            room: room.clone(),
        };
        if self.ask(op, pending).is_none() {
            self.on_invited(id, channel, &StorageOutcome::Failed);
            self.done_asking(&room);
        }
        Ok(())
    }

    pub(super) fn on_invited(&mut self, id: LinkId, channel: u8, outcome: &StorageOutcome) {
        let session = self.sessions.get_mut(&id);
        let Some(seat) = session.and_then(|session| session.seats.get_mut(channel)) else {
            return;
        };
        seat.publishing = seat.publishing.saturating_sub(1);
        let code = match outcome {
            StorageOutcome::Invited(invite) => {
                let invite = *invite;
                return seat.reply(&RoomFromBroker::Invited { invite });
            }
            StorageOutcome::NotInvited(code) => *code,
            _ => Refusal::RetryLater,
        };
        let reason = code.to_string();
        seat.reply(&RoomFromBroker::NotInvited { code, reason });
    }
}

/// Why a line is not heard, and for how long (ROL-5).
pub(super) fn muted(until_ms: u64, now_ms: u64) -> String {
    let why = Refusal::Muted;
    if until_ms == MUTED_FOR_EVER {
        return why.to_string();
    }
    let left = Duration::from_millis(until_ms.saturating_sub(now_ms));
    // Not a second too early.
    let seconds = left.as_millis().div_ceil(1_000);
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    let left = match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    };
    format!("{why} for another {left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ROL-5.
    #[test]
    fn the_time_left_is_told_in_two_units() {
        for (left_ms, words) in [
            (1, "1s"),
            (59_001, "1m 0s"),
            (600_000, "10m 0s"),
            (7_260_000, "2h 1m"),
            (90_000_000, "1d 1h"),
        ] {
            let expected = format!("muted in the room for another {words}");
            assert_eq!(muted(1_000 + left_ms, 1_000), expected);
        }
        assert_eq!(muted(MUTED_FOR_EVER, 1_000), "muted in the room");
    }
}

//! How everybody stands in a room, and what is decided about it (SPEC.md section 9.7).

use super::room::{RoomLog, Whom};
use crate::broker::storage::{Decided, ShownOut, StorageOutcome};
use crate::chat::{
    Decision, Judge, Kind, Name, NoticeEvent, OPERATOR, Publication, Refusal, Standing,
};
use crate::secure::AccountKey;

/// A decision that may be made, and what it comes to.
pub(super) struct Judged {
    decision: Decision,
    about: AccountKey,
    after: Standing,
}

impl RoomLog {
    /// Whether `by` may decide that now about `about`, the account that it names (ROL-3).
    pub(super) fn judge(
        &self,
        by: Judge,
        decision: Decision,
        about: Option<AccountKey>,
        at_ms: u64,
    ) -> Result<Judged, Refusal> {
        let about = about.ok_or(Refusal::NoSuchMember)?;
        let is_member = self.is_member(about);
        let after = self
            .standings
            .decide(by, &decision, &about, is_member, at_ms)?;
        Ok(Judged {
            decision,
            about,
            after,
        })
    }

    /// What follows from a decision whose line was stored (ROL-4).
    pub(super) fn carry_out(&mut self, judged: Judged, presence: u64) -> Option<ShownOut> {
        self.standings.set(judged.about, judged.after);
        let code = judged.decision.shows_out()?;
        self.end_membership(judged.about)?;
        let notice = self.absent(judged.about, NoticeEvent::Left, presence);
        Some(ShownOut {
            account: judged.about,
            code,
            notice,
        })
    }

    /// A decision of the operator (ROL-6).
    pub(super) fn decide(
        &mut self,
        decision: Decision,
        about: Option<AccountKey>,
        now_ms: u64,
    ) -> StorageOutcome {
        if self.lines().next().is_none() {
            return StorageOutcome::NotDecided(Refusal::NoSuchMember);
        }
        let line = Publication {
            n: 0,
            typed_at_ms: now_ms,
            kind: Kind::Decision,
            body: decision.to_string().into(),
        };
        let at_ms = self.stored_at(now_ms);
        let judged = match self.judge(Judge::Operator, decision, about, at_ms) {
            Ok(judged) => judged,
            Err(refusal) => return StorageOutcome::NotDecided(refusal),
        };
        let operator = Whom {
            account: OPERATOR.0,
            device: OPERATOR.1,
            name: &Name::operator(),
        };
        let line = self.append(&operator, line, now_ms);
        let out = self.carry_out(judged, now_ms);
        StorageOutcome::Decided(Box::new(Decided { line, out }))
    }
}

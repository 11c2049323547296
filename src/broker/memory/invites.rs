//! Invites in memory.

use crate::broker::storage::{Entrance, INVITES_MAX, StorageOutcome};
use crate::chat::{InviteMark, InviteTerms, Refusal};

/// All invites, by their numbers from 1 on.
#[derive(Clone, Debug)]
pub(super) struct Invites(Vec<Invite>);

#[derive(Clone, Debug)]
struct Invite {
    mark: InviteMark,
    terms: InviteTerms,
    uses: u64,
}

impl Invites {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// ADM-2, LIM-14.
    pub(super) fn make(
        &mut self,
        mark: InviteMark,
        terms: InviteTerms,
        now_ms: u64,
    ) -> StorageOutcome {
        let lasts = |invite: &&Invite| invite.terms.admit(0, now_ms).is_ok();
        if self.0.iter().filter(lasts).count() as u64 >= INVITES_MAX
            || self.0.iter().any(|invite| invite.mark == mark)
        {
            return StorageOutcome::NotInvited(Refusal::RetryLater);
        }
        self.0.push(Invite {
            mark,
            terms,
            uses: 0,
        });
        StorageOutcome::Invited(self.0.len() as u64)
    }

    pub(super) fn revoke(&mut self, number: u64) -> bool {
        let invite = self.index(number).and_then(|index| self.0.get_mut(index));
        invite.is_some_and(|invite| !core::mem::replace(&mut invite.terms.is_revoked, true))
    }

    /// Whether an account may come in that is not known (ADM-1, ADM-4), and by which invite.
    pub(super) fn admit(&self, entrance: Entrance, now_ms: u64) -> Result<Option<u64>, Refusal> {
        let mark = match entrance {
            Entrance::Open => return Ok(None),
            Entrance::Closed(refusal) => return Err(refusal),
            Entrance::Invited(mark) => mark.ok_or(Refusal::InviteNeeded)?,
        };
        let found = self.0.iter().position(|invite| invite.mark == mark);
        let index = found.ok_or(Refusal::InviteUnknown)?;
        let Invite { terms, uses, .. } = &self.0[index];
        terms.admit(*uses, now_ms)?;
        Ok(Some(index as u64 + 1))
    }

    /// ADM-3.
    pub(super) fn on_used(&mut self, number: Option<u64>) {
        let index = number.and_then(|number| self.index(number));
        if let Some(invite) = index.and_then(|index| self.0.get_mut(index)) {
            invite.uses += 1;
        }
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(1)?).ok()
    }
}

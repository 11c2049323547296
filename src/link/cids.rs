//! Connection ids in store, so that a link that moves is not recognized by whoever watches (CID-1).
//!
//! Each side gives the other a few ids under which it can be reached. Who moves takes the next one,
//! and says that those before are done with; whoever gave them out puts new ones in their place.

use super::report::Violation;
use crate::wire::{Cid, Frame, ResetToken};

/// How many connection ids a side has in store besides the one in use (CID-1, LIM-9).
pub const CIDS_SPARE_MAX: usize = 2;

/// Both sides' connection ids of one link.
#[derive(Debug)]
pub(super) struct Cids {
    /// This side's, by rising sequence: those that the peer may use.
    issued: Vec<Issued>,
    /// The sequence of the next one that is given out.
    next: u64,
    /// The sequence of the peer's that is in use.
    in_use: u64,
    /// What ends a reset that is about that one (RST-4).
    token_in_use: ResetToken,
    /// The peer's that were not used yet, by rising sequence.
    spare: Vec<Spare>,
    /// Whether the peer is to be told that those before `in_use` are done with.
    is_retiring: bool,
}

#[derive(Debug)]
struct Spare {
    sequence: u64,
    cid: Cid,
    token: ResetToken,
}

#[derive(Debug)]
struct Issued {
    sequence: u64,
    cid: Cid,
    token: ResetToken,
    /// Whether the peer is to be told of it.
    is_due: bool,
}

impl Cids {
    /// The ids of the handshake, with sequence 0 on either side, and the token of the peer's.
    pub(super) fn new(local: Cid, remote_token: ResetToken) -> Self {
        let first = Issued {
            sequence: 0,
            cid: local,
            token: ResetToken::default(),
            is_due: false,
        };
        Self {
            issued: vec![first],
            next: 1,
            in_use: 0,
            token_in_use: remote_token,
            spare: Vec::new(),
            is_retiring: false,
        }
    }

    /// Gives out one more id, unless as many are out as may be (CID-1).
    pub(super) fn issue(&mut self, cid: Cid, token: ResetToken) -> bool {
        if self.issued.len() > CIDS_SPARE_MAX {
            return false;
        }
        let sequence = self.next;
        self.next += 1;
        // An exact fit, because every link keeps these for all its life.
        self.issued
            .reserve_exact(CIDS_SPARE_MAX + 1 - self.issued.len());
        self.issued.push(Issued {
            sequence,
            cid,
            token,
            is_due: true,
        });
        true
    }

    /// The peer gives out an id; `len` is the length of its ids (CID-1).
    pub(super) fn on_new(
        &mut self,
        sequence: u64,
        cid: Cid,
        token: ResetToken,
        len: usize,
    ) -> Result<(), Violation> {
        if cid.as_bytes().len() != len {
            return Err(Violation::CidLength);
        }
        if sequence <= self.in_use {
            return Ok(());
        }
        match self
            .spare
            .binary_search_by_key(&sequence, |spare| spare.sequence)
        {
            Ok(at) if (self.spare[at].cid, self.spare[at].token) == (cid, token) => Ok(()),
            Ok(_) => Err(Violation::CidsDisagree),
            Err(_) if self.spare.len() >= CIDS_SPARE_MAX => Err(Violation::TooManyCids),
            Err(at) => {
                self.spare.reserve_exact(CIDS_SPARE_MAX - self.spare.len());
                let spare = Spare {
                    sequence,
                    cid,
                    token,
                };
                self.spare.insert(at, spare);
                Ok(())
            }
        }
    }

    /// The peer is done with this side's ids up to `sequence`, which must not be all of them
    /// (CID-2). Returns them.
    pub(super) fn on_retired(
        &mut self,
        sequence: u64,
    ) -> Result<impl Iterator<Item = Cid> + use<'_>, Violation> {
        if sequence + 1 >= self.next {
            return Err(Violation::RetiredUnissued);
        }
        let count = self
            .issued
            .partition_point(|issued| issued.sequence <= sequence);
        Ok(self.issued.drain(..count).map(|issued| issued.cid))
    }

    /// The id that the peer would get next.
    pub(super) fn next_spare(&self) -> Option<Cid> {
        self.spare.first().map(|spare| spare.cid)
    }

    /// Takes a fresh id of the peer's into use, if there is one; the others are done with (CID-2).
    pub(super) fn take_spare(&mut self) -> Option<Cid> {
        if self.spare.is_empty() {
            return None;
        }
        let spare = self.spare.remove(0);
        self.in_use = spare.sequence;
        self.token_in_use = spare.token;
        self.is_retiring = true;
        Some(spare.cid)
    }

    /// What may end a reset of this link: the tokens of the peer's ids in use and in store. Those of
    /// ids that are done with are worth nothing, as the peer resets those for whoever asks (RST-4).
    pub(super) fn tokens(&self) -> impl Iterator<Item = ResetToken> + use<'_> {
        let spare = self.spare.iter().map(|spare| spare.token);
        core::iter::once(self.token_in_use)
            .chain(spare)
            .filter(|token| *token != ResetToken::default())
    }

    /// RETIRE_CID, if it is due.
    pub(super) fn retirement(&self) -> Option<Frame> {
        let sequence = self.in_use.checked_sub(1)?;
        self.is_retiring.then_some(Frame::RetireCid { sequence })
    }

    /// RETIRE_CID was sent, or was lost.
    pub(super) const fn set_retiring(&mut self, is_due: bool) {
        self.is_retiring = is_due;
    }

    /// The next NEW_CID to send, and its sequence.
    pub(super) fn offer(&self) -> Option<(u64, Frame)> {
        let issued = self.issued.iter().find(|issued| issued.is_due)?;
        let Issued {
            sequence,
            cid,
            token,
            ..
        } = *issued;
        let frame = Frame::NewCid {
            sequence,
            cid,
            token,
        };
        Some((sequence, frame))
    }

    /// A NEW_CID was sent, or was lost.
    pub(super) fn set_offering(&mut self, sequence: u64, is_due: bool) {
        for issued in &mut self.issued {
            if issued.sequence == sequence {
                issued.is_due = is_due;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cid(byte: u8) -> Cid {
        Cid::new(&[byte; 4]).unwrap()
    }

    fn token(byte: u8) -> ResetToken {
        ResetToken([byte; 16])
    }

    fn retire(cids: &mut Cids, sequence: u64) -> Result<Vec<Cid>, Violation> {
        cids.on_retired(sequence).map(Iterator::collect)
    }

    /// CID-1, LIM-9.
    #[test]
    fn two_ids_are_in_store_and_no_more() {
        let mut ours = Cids::new(cid(0), token(0));
        assert!(ours.issue(cid(1), token(1)) && ours.issue(cid(2), token(2)));
        assert!(!ours.issue(cid(3), token(3)));
        let mut theirs = Cids::new(cid(9), token(9));
        assert_eq!(theirs.on_new(2, cid(2), token(2), 4), Ok(()));
        assert_eq!(theirs.on_new(1, cid(1), token(1), 4), Ok(()));
        assert_eq!(theirs.on_new(1, cid(1), token(1), 4), Ok(()), "again");
        assert_eq!(
            theirs.on_new(1, cid(7), token(7), 4),
            Err(Violation::CidsDisagree)
        );
        assert_eq!(
            theirs.on_new(3, cid(3), token(3), 4),
            Err(Violation::TooManyCids)
        );
        assert_eq!(
            theirs.on_new(3, cid(3), token(3), 8),
            Err(Violation::CidLength)
        );
        assert_eq!(theirs.take_spare(), Some(cid(1)));
    }

    /// CID-2: an id that comes after a later one is in use comes too late.
    #[test]
    fn whoever_takes_an_id_is_done_with_all_before_it() {
        let mut theirs = Cids::new(cid(9), token(9));
        assert_eq!(theirs.take_spare(), None);
        assert_eq!(theirs.retirement(), None);
        theirs.on_new(2, cid(2), token(2), 4).unwrap();
        assert_eq!(theirs.take_spare(), Some(cid(2)));
        assert_eq!(theirs.retirement(), Some(Frame::RetireCid { sequence: 1 }));
        theirs.set_retiring(false);
        assert_eq!(theirs.retirement(), None);
        assert_eq!(theirs.on_new(1, cid(1), token(1), 4), Ok(()));
        assert_eq!(theirs.next_spare(), None);
    }

    /// RST-4: who has seen an id that is done with can have the broker say its token.
    #[test]
    fn tokens_go_with_their_ids() {
        let mut theirs = Cids::new(cid(9), token(9));
        theirs.on_new(1, cid(1), token(1), 4).unwrap();
        theirs.on_new(2, cid(2), token(2), 4).unwrap();
        assert!(theirs.tokens().eq([token(9), token(1), token(2)]));
        theirs.take_spare();
        assert!(theirs.tokens().eq([token(1), token(2)]));
    }

    /// CID-2.
    #[test]
    fn retired_ids_make_room_for_new_ones() {
        let mut ours = Cids::new(cid(0), token(0));
        assert_eq!(retire(&mut ours, 0), Err(Violation::RetiredUnissued));
        ours.issue(cid(1), token(1));
        ours.issue(cid(2), token(2));
        assert_eq!(retire(&mut ours, 2), Err(Violation::RetiredUnissued));
        assert_eq!(retire(&mut ours, 1), Ok(vec![cid(0), cid(1)]));
        assert_eq!(retire(&mut ours, 1), Ok(vec![]), "again");
        assert!(ours.issue(cid(3), token(3)) && ours.issue(cid(4), token(4)));
        ours.set_offering(2, false);
        assert_eq!(ours.offer().map(|(sequence, _)| sequence), Some(3));
    }
}

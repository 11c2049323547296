//! Connection ids in store, so that a link that moves is not recognized by whoever watches (CID-1).
//!
//! Each side gives the other a few ids under which it can be reached. Who moves takes the next one,
//! and says that those before are done with; whoever gave them out puts new ones in their place.

use super::report::Violation;
use crate::wire::{Cid, Frame};

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
    /// The peer's that were not used yet, by rising sequence.
    spare: Vec<(u64, Cid)>,
    /// Whether the peer is to be told that those before `in_use` are done with.
    is_retiring: bool,
}

#[derive(Debug)]
struct Issued {
    sequence: u64,
    cid: Cid,
    /// Whether the peer is to be told of it.
    is_due: bool,
}

impl Cids {
    /// The ids of the handshake, with sequence 0 on either side.
    pub(super) fn new(local: Cid) -> Self {
        let first = Issued {
            sequence: 0,
            cid: local,
            is_due: false,
        };
        Self {
            issued: vec![first],
            next: 1,
            in_use: 0,
            spare: Vec::new(),
            is_retiring: false,
        }
    }

    /// Gives out one more id, unless as many are out as may be (CID-1).
    pub(super) fn issue(&mut self, cid: Cid) -> bool {
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
            is_due: true,
        });
        true
    }

    /// The peer gives out an id; `len` is the length of its ids (CID-1).
    pub(super) fn on_new(&mut self, sequence: u64, cid: Cid, len: usize) -> Result<(), Violation> {
        if cid.as_bytes().len() != len {
            return Err(Violation::CidLength);
        }
        if sequence <= self.in_use {
            return Ok(());
        }
        match self
            .spare
            .binary_search_by_key(&sequence, |(other, _)| *other)
        {
            Ok(at) if self.spare[at].1 == cid => Ok(()),
            Ok(_) => Err(Violation::CidsDisagree),
            Err(_) if self.spare.len() >= CIDS_SPARE_MAX => Err(Violation::TooManyCids),
            Err(at) => {
                self.spare.reserve_exact(CIDS_SPARE_MAX - self.spare.len());
                self.spare.insert(at, (sequence, cid));
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
        self.spare.first().map(|(_, cid)| *cid)
    }

    /// Takes a fresh id of the peer's into use, if there is one; the others are done with (CID-2).
    pub(super) fn take_spare(&mut self) -> Option<Cid> {
        if self.spare.is_empty() {
            return None;
        }
        let (sequence, cid) = self.spare.remove(0);
        self.in_use = sequence;
        self.is_retiring = true;
        Some(cid)
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
        let Issued { sequence, cid, .. } = *issued;
        Some((sequence, Frame::NewCid { sequence, cid }))
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

    fn retire(cids: &mut Cids, sequence: u64) -> Result<Vec<Cid>, Violation> {
        cids.on_retired(sequence).map(Iterator::collect)
    }

    /// CID-1, LIM-9.
    #[test]
    fn two_ids_are_in_store_and_no_more() {
        let mut ours = Cids::new(cid(0));
        assert!(ours.issue(cid(1)) && ours.issue(cid(2)));
        assert!(!ours.issue(cid(3)));
        let mut theirs = Cids::new(cid(9));
        assert_eq!(theirs.on_new(2, cid(2), 4), Ok(()));
        assert_eq!(theirs.on_new(1, cid(1), 4), Ok(()));
        assert_eq!(theirs.on_new(1, cid(1), 4), Ok(()), "again");
        assert_eq!(theirs.on_new(1, cid(7), 4), Err(Violation::CidsDisagree));
        assert_eq!(theirs.on_new(3, cid(3), 4), Err(Violation::TooManyCids));
        assert_eq!(theirs.on_new(3, cid(3), 8), Err(Violation::CidLength));
        assert_eq!(theirs.take_spare(), Some(cid(1)));
    }

    /// CID-2: an id that comes after a later one is in use comes too late.
    #[test]
    fn whoever_takes_an_id_is_done_with_all_before_it() {
        let mut theirs = Cids::new(cid(9));
        assert_eq!(theirs.take_spare(), None);
        assert_eq!(theirs.retirement(), None);
        theirs.on_new(2, cid(2), 4).unwrap();
        assert_eq!(theirs.take_spare(), Some(cid(2)));
        assert_eq!(theirs.retirement(), Some(Frame::RetireCid { sequence: 1 }));
        theirs.set_retiring(false);
        assert_eq!(theirs.retirement(), None);
        assert_eq!(theirs.on_new(1, cid(1), 4), Ok(()));
        assert_eq!(theirs.next_spare(), None);
    }

    /// CID-2.
    #[test]
    fn retired_ids_make_room_for_new_ones() {
        let mut ours = Cids::new(cid(0));
        assert_eq!(retire(&mut ours, 0), Err(Violation::RetiredUnissued));
        ours.issue(cid(1));
        ours.issue(cid(2));
        assert_eq!(retire(&mut ours, 2), Err(Violation::RetiredUnissued));
        assert_eq!(retire(&mut ours, 1), Ok(vec![cid(0), cid(1)]));
        assert_eq!(retire(&mut ours, 1), Ok(vec![]), "again");
        assert!(ours.issue(cid(3)) && ours.issue(cid(4)));
        ours.set_offering(2, false);
        assert_eq!(ours.offer().map(|(sequence, _)| sequence), Some(3));
    }
}

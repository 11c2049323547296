//! What goes through a socket many at a time: trains out, receipts in.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;

use crate::transmit::{Ecn, Transmit};

/// How many receipts an [`Inbox`] has room for. A broker's datagrams come from as many nodes: what
/// one call costs is then shared by 32.
pub const RECEIPTS_MAX: usize = 32;

/// Datagrams for one receiver that wait to be sent: bytes of a buffer that many trains share, to be
/// cut into equal pieces, of which the last may be shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Train {
    to: SocketAddr,
    /// Where the bytes are that are not sent yet; never none.
    bytes: Range<usize>,
    /// How long a datagram is; at least 1.
    segment_size: usize,
    ecn: Ecn,
}

impl Train {
    /// What a machine has appended to a buffer, which was `start` bytes long before. `None` if that
    /// is nothing.
    #[must_use]
    pub fn new(transmit: &Transmit, start: usize) -> Option<Self> {
        (transmit.len > 0).then(|| Self {
            to: transmit.path.remote,
            bytes: start..start + transmit.len,
            segment_size: transmit.segment_size.unwrap_or(transmit.len).max(1),
            ecn: transmit.ecn,
        })
    }

    /// The receiver.
    #[must_use]
    pub const fn to(&self) -> SocketAddr {
        self.to
    }

    /// How its datagrams are to be marked.
    #[must_use]
    pub const fn ecn(&self) -> Ecn {
        self.ecn
    }

    /// How many bytes a datagram has, but for the last, which may be shorter.
    #[must_use]
    pub const fn segment_size(&self) -> usize {
        self.segment_size
    }

    /// The bytes of the first datagrams, at most `segments` of them.
    #[must_use]
    pub fn front(&self, segments: usize) -> Range<usize> {
        let len = self.segment_size.saturating_mul(segments);
        self.bytes.start..self.bytes.end.min(self.bytes.start.saturating_add(len))
    }

    /// Where each of the datagrams is.
    pub fn datagrams(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (end, size) = (self.bytes.end, self.segment_size);
        let starts = self.bytes.clone().step_by(size);
        starts.map(move |start| start..end.min(start + size))
    }

    /// The bytes before `end` are done with. Returns whether none are left.
    pub const fn advance(&mut self, end: usize) -> bool {
        self.bytes.start = end;
        self.bytes.start >= self.bytes.end
    }
}

/// The first `count` datagrams of `trains` are done with.
pub(super) fn take_off(trains: &mut VecDeque<Train>, count: usize) {
    for _ in 0..count {
        let Some(train) = trains.front_mut() else {
            return;
        };
        if train.advance(train.front(1).end) {
            trains.pop_front();
        }
    }
}

/// What a socket has brought and nobody has taken yet. Its memory is used again and again.
#[derive(Debug)]
pub struct Inbox {
    /// A slot for each receipt.
    slots: Vec<u8>,
    slot_len: usize,
    receipts: [Receipt; RECEIPTS_MAX],
    /// How many there are.
    len: usize,
    /// The one that is being taken, and how many of its bytes are.
    next: usize,
    taken: usize,
}

/// What one slot of an [`Inbox`] holds: datagrams that came one after the other from the same
/// sender and are equally long, but for the last, which may be shorter. Most often it is one.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// Who sent them.
    pub from: SocketAddr,
    /// How many bytes they have together.
    pub len: usize,
    /// How long each is.
    pub segment_size: usize,
    /// How each is marked.
    pub ecn: Ecn,
}

impl Inbox {
    /// One with nothing in it, and room for `slot_len` bytes in each receipt.
    #[must_use]
    pub fn new(slot_len: usize) -> Self {
        let nothing = Receipt {
            from: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
            len: 0,
            segment_size: 0,
            ecn: Ecn::NotEct,
        };
        Self {
            // The system gives the pages out when they are written for the first time.
            slots: vec![0; slot_len.max(1) * RECEIPTS_MAX],
            slot_len: slot_len.max(1),
            receipts: [nothing; RECEIPTS_MAX],
            len: 0,
            next: 0,
            taken: 0,
        }
    }

    /// Whether nothing waits to be taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.next >= self.len
    }

    /// The next datagram, its sender, and how it is marked.
    pub fn pop(&mut self) -> Option<(SocketAddr, Ecn, &[u8])> {
        if self.is_empty() {
            return None;
        }
        let receipt = self.receipts[self.next];
        let slot = self.next * self.slot_len;
        let len = receipt.len.min(self.slot_len);
        let end = len.min(self.taken + receipt.segment_size.max(1));
        let datagram = &self.slots[slot + self.taken..slot + end];
        if end == len {
            self.next += 1;
            self.taken = 0;
        } else {
            self.taken = end;
        }
        Some((receipt.from, receipt.ecn, datagram))
    }

    /// Fills it, if it is empty: `receive` writes into the slots it is given, says what is in each,
    /// and returns how many it used.
    ///
    /// # Errors
    ///
    /// Those of `receive`.
    pub fn fill(
        &mut self,
        receive: impl FnOnce(&mut [IoSliceMut<'_>], &mut [Receipt]) -> io::Result<usize>,
    ) -> io::Result<()> {
        if !self.is_empty() {
            return Ok(());
        }
        (self.len, self.next, self.taken) = (0, 0, 0);
        let mut slots = self.slots.chunks_exact_mut(self.slot_len);
        let mut slots: [IoSliceMut<'_>; RECEIPTS_MAX] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        self.len = receive(&mut slots, &mut self.receipts)?.min(RECEIPTS_MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transmit::Path;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn train(len: usize, segment_size: Option<usize>) -> Option<Train> {
        let transmit = Transmit {
            path: Path::new(address(1)),
            len,
            segment_size,
            ecn: Ecn::NotEct,
        };
        Train::new(&transmit, 100)
    }

    #[test]
    fn a_train_is_taken_off_datagram_by_datagram() {
        let trains = [train(25, Some(10)), train(0, None), train(7, None)];
        let mut trains: VecDeque<Train> = trains.into_iter().flatten().collect();
        let all = trains[0].datagrams().collect::<Vec<_>>();
        assert_eq!(all, [100..110, 110..120, 120..125]);
        assert_eq!(trains[0].front(2), 100..120);
        take_off(&mut trains, 2);
        assert_eq!(trains[0].bytes, 120..125);
        assert_eq!(trains[0].front(usize::MAX), 120..125);
        take_off(&mut trains, 1);
        assert_eq!(trains[0].bytes, 100..107);
        take_off(&mut trains, 5);
        assert!(trains.is_empty());
    }

    #[test]
    fn receipts_are_split_into_their_datagrams() {
        let mut inbox = Inbox::new(8);
        let filled = inbox.fill(|slots, receipts| {
            let of = |port, len, segment_size| Receipt {
                from: address(port),
                len,
                segment_size,
                ecn: Ecn::NotEct,
            };
            slots[0][..7].copy_from_slice(b"aabbccd");
            slots[1][..3].copy_from_slice(b"eee");
            receipts[0] = of(1, 7, 2);
            receipts[1] = of(2, 3, 3);
            receipts[2] = of(3, 0, 0);
            // What a system never says.
            receipts[3] = of(4, 9, 99);
            Ok(4)
        });
        filled.unwrap();
        let mut taken = Vec::new();
        while let Some((from, _, datagram)) = inbox.pop() {
            taken.push((from.port(), datagram.to_vec()));
        }
        let expected: [(u16, &[u8]); 7] = [
            (1, b"aa"),
            (1, b"bb"),
            (1, b"cc"),
            (1, b"d"),
            (2, b"eee"),
            (3, b""),
            (4, &[0; 8]),
        ];
        assert_eq!(taken, expected.map(|(from, bytes)| (from, bytes.to_vec())));
        assert!(inbox.is_empty());
    }

    #[test]
    fn what_was_not_taken_is_not_overwritten() {
        let mut inbox = Inbox::new(4);
        let one = |slots: &mut [IoSliceMut<'_>], receipts: &mut [Receipt]| {
            slots[0][0] = b'x';
            receipts[0].len = 1;
            Ok(1)
        };
        inbox.fill(one).unwrap();
        inbox.fill(|_, _| unreachable!()).unwrap();
        assert_eq!(inbox.pop().unwrap().2, b"x");
        let failed = inbox.fill(|_, _| Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(inbox.pop().is_none());
    }
}

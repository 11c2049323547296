//! Copies of datagrams for whoever takes them, in memory that is used again.

use bytes::BytesMut;

/// How much is set aside at a time. What is kept of a datagram keeps all that was set aside with it,
/// so that is little; and while nothing is kept, it is the same memory again and again.
const BLOCK_BYTES: usize = 4 << 10;

/// Where datagrams are copied to.
#[derive(Debug, Default)]
pub struct Copies(BytesMut);

impl Copies {
    /// A copy of `datagram`.
    pub fn copy(&mut self, datagram: &[u8]) -> BytesMut {
        if self.0.capacity() < datagram.len() {
            self.0.reserve(datagram.len().max(BLOCK_BYTES));
        }
        self.0.extend_from_slice(datagram);
        self.0.split()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_are_gone_make_room_for_others() {
        let mut copies = Copies::default();
        let first = copies.copy(&[1; 1_000]);
        let place = first.as_ptr();
        assert_eq!(first, [1; 1_000][..]);
        drop(first);
        let places: Vec<_> = (0..8).map(|_| copies.copy(&[2; 1_000]).as_ptr()).collect();
        assert_eq!(places[3], place);
        assert_eq!(places[7], place);
    }

    #[test]
    fn what_is_kept_stays_as_it_is() {
        let mut copies = Copies::default();
        let kept: Vec<_> = (0..100).map(|byte| copies.copy(&[byte; 700])).collect();
        for (byte, datagram) in (0..).zip(kept) {
            assert_eq!(datagram, [byte; 700][..]);
        }
        assert_eq!(copies.copy(&[]).len(), 0);
        assert_eq!(copies.copy(&[3; 9_000]).len(), 9_000);
    }
}

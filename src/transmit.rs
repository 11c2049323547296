//! What goes in and out of a machine besides time: paths, marks, and batches of datagrams.

use std::net::SocketAddr;

/// Where a datagram came from or goes to.
///
/// The core speaks of paths, never of sockets, so that a stream path (TCP, WebSocket) can join
/// later, and so that a reply leaves from the address that was spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The peer's address.
    pub remote: SocketAddr,
    /// Which of the driver's own sockets: an index that the driver gave out.
    pub local: u16,
}

impl Path {
    /// The path from the driver's first socket to `remote`.
    #[must_use]
    pub const fn new(remote: SocketAddr) -> Self {
        Self { remote, local: 0 }
    }
}

/// What the IP header of a datagram says about congestion (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    /// Its sender does not understand marks, or nobody knows.
    #[default]
    NotEct,
    /// Its sender understands marks. Not used here: it asks for another treatment (RFC 9331).
    Ect1,
    /// Its sender understands marks (ECN-1).
    Ect0,
    /// It was marked on its way: a queue is growing (ECN-3).
    Ce,
}

/// How a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// From where.
    pub path: Path,
    /// With which mark.
    pub ecn: Ecn,
}

impl From<Path> for Origin {
    /// From there, with a mark that is not known.
    fn from(path: Path) -> Self {
        Self {
            path,
            ecn: Ecn::NotEct,
        }
    }
}

/// One batch for one path: a train of datagrams whose bytes a `poll_transmit` appended to the
/// caller's buffer.
///
/// A train is sent with one system call where the kernel can (UDP GSO), and as
/// `len / segment_size` separate datagrams elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub path: Path,
    /// How many bytes were appended.
    pub len: usize,
    /// If set, the bytes are several datagrams of this size each, the last one possibly shorter.
    pub segment_size: Option<usize>,
    /// How each of them is to be marked, where the system can.
    pub ecn: Ecn,
}

impl Transmit {
    /// Splits the batch's bytes into its datagrams.
    pub fn datagrams<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let segment = self.segment_size.unwrap_or(self.len).max(1);
        bytes[..self.len.min(bytes.len())].chunks(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_splits_into_equal_datagrams_and_a_shorter_last_one() {
        let transmit = Transmit {
            path: Path::new(([127, 0, 0, 1], 1).into()),
            len: 5,
            segment_size: Some(2),
            ecn: Ecn::NotEct,
        };
        let parts: Vec<_> = transmit.datagrams(b"abcde").collect();
        assert_eq!(parts, [&b"ab"[..], b"cd", b"e"]);
    }
}

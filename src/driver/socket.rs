//! What a driver needs of a datagram socket.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;

use super::batch::{Inbox, Receipt, Train, take_off};
use crate::transmit::Ecn;
use crate::wire::DATAGRAM_MAX;

/// A socket that sends and receives datagrams without waiting, and says when to try again.
///
/// Both `try_` methods fail with [`WouldBlock`](io::ErrorKind::WouldBlock) when the caller has to
/// wait for [`readable`](Self::readable) or [`writable`](Self::writable). Those two can be
/// cancelled without loss.
pub trait DatagramSocket: Send + Sync + 'static {
    /// How many bytes [`try_recv_batch`](Self::try_recv_batch) may need for a receipt. One more
    /// than a datagram may have, so that one that is too long is not taken for another.
    const RECEIPT_LEN_MAX: usize = DATAGRAM_MAX + 1;

    /// The address that peers send to.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Takes a datagram that has arrived, cut to the size of `buffer`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none. Other errors are what earlier sending led to (ICMP), and
    /// do not concern the datagrams that follow.
    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the system's buffer is full. With another error the datagram is lost.
    fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize>;

    /// Takes datagrams that have arrived into an `inbox` that is empty: at least one, and no more
    /// than it has room for.
    ///
    /// # Errors
    ///
    /// As [`try_recv_from`](Self::try_recv_from).
    fn try_recv_batch(&self, inbox: &mut Inbox) -> io::Result<()> {
        inbox.fill(|slots, receipts| {
            let mut filled = 0;
            for (slot, receipt) in slots.iter_mut().zip(receipts) {
                match self.try_recv_from(slot) {
                    Ok((len, from)) => {
                        *receipt = Receipt {
                            from,
                            len,
                            segment_size: len,
                            ecn: Ecn::NotEct,
                        };
                        filled += 1;
                    }
                    // It will be met again, if it lasts.
                    Err(_) if filled > 0 => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        })
    }

    /// Sends `trains`, whose bytes are in `bytes`, in their order, and takes off what is done with:
    /// sent, or lost because the system does not send it. One receiver's trouble is not another's.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the system's buffer is full: what is left waits for its turn.
    fn try_send_batch(&self, bytes: &[u8], trains: &mut VecDeque<Train>) -> io::Result<()> {
        while let Some(train) = trains.front() {
            match self.try_send_to(&bytes[train.front(1)], train.to()) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) => tell_loss(&error, train.to()),
            }
            take_off(trains, 1);
        }
        Ok(())
    }

    /// Waits until a datagram may have arrived.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until a datagram may be sent.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;
}

/// One system call for each datagram.
impl DatagramSocket for UdpSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Self::try_recv_from(self, buffer)
    }

    fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        Self::try_send_to(self, datagram, to)
    }

    async fn readable(&self) -> io::Result<()> {
        Self::readable(self).await
    }

    async fn writable(&self) -> io::Result<()> {
        Self::writable(self).await
    }
}

/// What is told of a datagram or a train that the system does not send: a network that is away, a
/// peer that is gone. For the link it is lost like any other.
pub(super) fn tell_loss(error: &io::Error, to: SocketAddr) {
    tracing::debug!(%error, %to, "sending failed");
}

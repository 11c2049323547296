//! What a driver needs of a datagram socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;

/// A socket that sends and receives datagrams without waiting, and says when to try again.
///
/// Both `try_` methods fail with [`WouldBlock`](io::ErrorKind::WouldBlock) when the caller has to
/// wait for [`readable`](Self::readable) or [`writable`](Self::writable). Those two can be
/// cancelled without loss.
pub trait DatagramSocket: Send + Sync + 'static {
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

    /// Waits until a datagram may have arrived.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until a datagram may be sent.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;
}

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

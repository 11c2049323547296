//! What a driver needs of a datagram socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// How many bytes the system is asked to hold that nobody has read yet: a turn of a busy broker
/// may take a while, and what does not fit is lost. The system may grant less.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// How many bytes the system is asked to hold that are not sent yet.
pub const SEND_BUFFER: usize = 1 << 20;

/// A socket bound to `address`, to be used within a runtime. One for IPv6 takes nothing but that, so
/// that `0.0.0.0` and `[::]` can both be listened on.
///
/// # Errors
///
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let sizes = socket
        .set_recv_buffer_size(RECEIVE_BUFFER)
        .and_then(|()| socket.set_send_buffer_size(SEND_BUFFER));
    if let Err(error) = sizes {
        // Smaller ones will do, with more loss under load.
        tracing::debug!(%error, "the system keeps its own sizes of buffers");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_addresses_of_both_families_can_be_listened_on_under_one_port() {
        // Another program may take the port of the other family in between: then another is tried.
        let mut failures = Vec::new();
        for _ in 0..20 {
            let six = bind("[::]:0".parse().unwrap()).unwrap();
            let port = six.local_addr().unwrap().port();
            match bind(SocketAddr::from(([0, 0, 0, 0], port))) {
                Ok(four) => return assert_eq!(four.local_addr().unwrap().port(), port),
                Err(error) => failures.push(error),
            }
        }
        panic!("{failures:?}");
    }

    #[tokio::test]
    async fn an_address_is_taken_once() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn buffers_are_larger_than_by_default() {
        let plain = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let ours = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let size = |socket: &UdpSocket| socket2::SockRef::from(socket).recv_buffer_size().unwrap();
        assert!(size(&ours) > size(&plain) || size(&plain) >= RECEIVE_BUFFER);
    }
}

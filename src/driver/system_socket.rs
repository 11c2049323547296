//! The system's socket, used as well as the system allows.

#[cfg(target_os = "linux")]
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
#[cfg(target_os = "linux")]
use tokio::io::Interest;
#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;
#[cfg(target_os = "linux")]
use tokio::time::sleep;

use super::DatagramSocket;
#[cfg(target_os = "linux")]
use super::batch::{Inbox, Train};
#[cfg(target_os = "linux")]
use super::offload::{Offload, TRAIN_BYTES_MAX};

/// A UDP socket of the system. On Linux many datagrams go through it with one call; elsewhere it is
/// a call for each.
#[derive(Debug)]
pub struct SystemSocket {
    pub(super) socket: Watched,
    #[cfg(target_os = "linux")]
    pub(super) offload: Offload,
}

/// A socket about which the runtime asks the system only whether something has come: else it were
/// told after each datagram that there is room for more, and woken for it.
#[cfg(target_os = "linux")]
pub(super) type Watched = AsyncFd<std::net::UdpSocket>;
#[cfg(not(target_os = "linux"))]
pub(super) type Watched = tokio::net::UdpSocket;

/// How many bytes the system is asked to hold that nobody has read yet: a turn of a busy broker
/// may take a while, and what does not fit is lost. The system may grant less.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// How many bytes the system is asked to hold that are not sent yet.
pub const SEND_BUFFER: usize = 1 << 20;

/// Has the runtime ask for that about `socket`.
#[cfg(target_os = "linux")]
#[expect(
    deprecated,
    reason = "what replaces it is unsafe because of descriptors that others may close; a socket of \
              the standard library owns its own, and this workspace has no unsafe code"
)]
fn watch(socket: std::net::UdpSocket, interest: Interest) -> io::Result<Watched> {
    AsyncFd::with_interest(socket, interest)
}

/// How long nothing is sent when the system's buffer is full and cannot be watched, because there
/// are too many open files.
#[cfg(target_os = "linux")]
const SENDING_RETRIED_AFTER: Duration = Duration::from_millis(1);

/// A socket bound to `address`, to be used within a runtime. One for IPv6 takes nothing but that, so
/// that `0.0.0.0` and `[::]` can both be listened on.
///
/// # Errors
///
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<SystemSocket> {
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
    SystemSocket::new(socket.into())
}

impl SystemSocket {
    /// Makes the best of `socket`, which does not block and from which nothing has been read yet.
    fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(Self {
            #[cfg(target_os = "linux")]
            offload: Offload::new(&socket)?,
            #[cfg(target_os = "linux")]
            socket: watch(socket, Interest::READABLE)?,
            #[cfg(not(target_os = "linux"))]
            socket: Watched::from_std(socket)?,
        })
    }

    #[cfg(target_os = "linux")]
    fn inner(&self) -> &std::net::UdpSocket {
        self.socket.get_ref()
    }

    #[cfg(not(target_os = "linux"))]
    fn inner(&self) -> &Watched {
        &self.socket
    }

    /// The address that peers send to.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner().local_addr()
    }
}

#[cfg(target_os = "linux")]
impl DatagramSocket for SystemSocket {
    const RECEIPT_LEN_MAX: usize = TRAIN_BYTES_MAX;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner().local_addr()
    }

    /// Not supported: several datagrams may come in one piece, which only an inbox knows how to
    /// split.
    fn try_recv_from(&self, _buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.inner().send_to(datagram, to)
    }

    fn try_recv_batch(&self, inbox: &mut Inbox) -> io::Result<()> {
        self.offload.receive(&self.socket, inbox)
    }

    fn try_send_batch(&self, bytes: &[u8], trains: &mut VecDeque<Train>) -> io::Result<()> {
        self.offload.send(self.inner(), bytes, trains)
    }

    async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await.map(drop)
    }

    async fn writable(&self) -> io::Result<()> {
        // It happens seldom, and the system is asked anew each time.
        let socket = self.inner().try_clone();
        match socket.and_then(|socket| watch(socket, Interest::WRITABLE)) {
            Ok(socket) => socket.writable().await.map(drop),
            // Who waits would try again at once.
            Err(error) => {
                tracing::debug!(%error, "nobody tells when there is room to send");
                sleep(SENDING_RETRIED_AFTER).await;
                Ok(())
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl DatagramSocket for SystemSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.try_recv_from(buffer)
    }

    fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.socket.try_send_to(datagram, to)
    }

    async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

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
        let plain = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let plain = SockRef::from(&plain).recv_buffer_size().unwrap();
        let ours = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let ours = SockRef::from(ours.inner()).recv_buffer_size().unwrap();
        assert!(ours > plain || plain >= RECEIVE_BUFFER);
    }
}

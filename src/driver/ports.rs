//! The sockets of a driver, each with what is on its way in and out.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::BytesMut;

use super::{Copies, DatagramSocket, Inbox, Train};
use crate::transmit::{Origin, Path, Transmit};
use crate::wire::DATAGRAM_MAX;

/// How many datagrams a turn takes from the sockets, all together (BRK-3).
pub const DATAGRAMS_PER_TURN: usize = 64;
/// How many trains of datagrams a turn sends (BRK-3).
pub const TRAINS_PER_TURN: usize = 64;
/// With so many bytes a turn sends no further train (BRK-3). What the system does not take at once
/// was made too early; this is an eighth of what its buffer is asked to hold.
pub const BYTES_PER_TURN: usize = 128 << 10;

/// A path's `local` is an index into these.
pub(super) struct Ports<S> {
    ports: Vec<Port<S>>,
    /// Where datagrams are copied to that have come in.
    copies: Copies,
    /// The bytes of all trains, kept for their allocation.
    out: Vec<u8>,
}

struct Port<S> {
    socket: S,
    inbox: Inbox,
    /// What is to be sent, in its order. The bytes are in `out`.
    trains: VecDeque<Train>,
}

/// What a turn has taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    /// So many datagrams.
    pub(super) datagrams: usize,
    /// So often there was an error instead.
    pub(super) failures: usize,
}

/// How far sending came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Everything that is due is gone.
    All,
    /// There may be more; the turn is over.
    More,
    /// The system takes no more for now.
    Blocked,
}

impl<S: DatagramSocket> Ports<S> {
    pub(super) fn new(sockets: Vec<S>) -> Self {
        let ports = sockets.into_iter().map(|socket| Port {
            socket,
            inbox: Inbox::new(S::RECEIPT_LEN_MAX),
            trains: VecDeque::new(),
        });
        Self {
            ports: ports.collect(),
            copies: Copies::default(),
            out: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn local_addr(&self, local: usize) -> std::net::SocketAddr {
        self.ports[local].socket.local_addr().unwrap()
    }

    // ---- in

    /// Whether there are datagrams that need not be waited for.
    pub(super) fn has_received(&self) -> bool {
        self.ports.iter().any(|port| !port.inbox.is_empty())
    }

    /// Waits until one of the sockets is readable. An error counts: reading will meet it.
    pub(super) async fn readable(&self) {
        if let [port] = &self.ports[..] {
            drop(port.socket.readable().await);
            return;
        }
        first(self.ports.iter().map(|port| port.socket.readable())).await;
    }

    /// Hands what has arrived to `handle`, an equal share of the bound from each socket (BRK-3).
    pub(super) fn take(&mut self, mut handle: impl FnMut(Origin, BytesMut)) -> Taken {
        let share = (DATAGRAMS_PER_TURN / self.ports.len().max(1)).max(1);
        let mut taken = Taken::default();
        for (local, port) in self.ports.iter_mut().enumerate() {
            let local = u16::try_from(local).unwrap_or(u16::MAX);
            let mut left = share;
            while left > 0 {
                if let Some((remote, ecn, datagram)) = port.inbox.pop() {
                    left -= 1;
                    taken.datagrams += 1;
                    // One byte more than a datagram may have, so that one that is too long is not
                    // taken for another that is not.
                    let len = datagram.len().min(DATAGRAM_MAX + 1);
                    let datagram = self.copies.copy(&datagram[..len]);
                    let path = Path { remote, local };
                    handle(Origin { path, ecn }, datagram);
                    continue;
                }
                match port.socket.try_recv_batch(&mut port.inbox) {
                    Ok(()) if !port.inbox.is_empty() => {}
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        // What an ICMP message said of a datagram that was sent before. The link
                        // that sent it will notice by itself.
                        left -= 1;
                        taken.failures += 1;
                        tracing::debug!(%error, local, "receiving failed");
                    }
                }
            }
        }
        taken
    }

    // ---- out

    /// Whether a socket has taken less than it was to send.
    pub(super) fn is_blocked(&self) -> bool {
        self.ports.iter().any(|port| !port.trains.is_empty())
    }

    /// Waits until a socket that was blocked is writable; for ever if none was.
    pub(super) async fn writable(&self) {
        let blocked = self.ports.iter().filter(|port| !port.trains.is_empty());
        first(blocked.map(|port| port.socket.writable())).await;
    }

    /// Sends what is left, or what `poll` appends next: up to [`TRAINS_PER_TURN`] trains, or
    /// [`BYTES_PER_TURN`].
    pub(super) fn send(&mut self, poll: impl FnMut(&mut Vec<u8>) -> Option<Transmit>) -> Sent {
        let sent = if self.is_blocked() {
            Sent::More
        } else {
            self.load(poll)
        };
        for port in &mut self.ports {
            if port.trains.is_empty() {
                continue;
            }
            let result = port.socket.try_send_batch(&self.out, &mut port.trains);
            if let Err(error) = result
                && error.kind() != io::ErrorKind::WouldBlock
            {
                // For the links it is datagrams lost like any other.
                tracing::debug!(%error, "sending failed");
                port.trains.clear();
            }
        }
        if self.is_blocked() {
            Sent::Blocked
        } else {
            sent
        }
    }

    /// Takes the next trains from `poll`.
    fn load(&mut self, mut poll: impl FnMut(&mut Vec<u8>) -> Option<Transmit>) -> Sent {
        self.out.clear();
        for _ in 0..TRAINS_PER_TURN {
            let start = self.out.len();
            if start >= BYTES_PER_TURN {
                break;
            }
            let Some(transmit) = poll(&mut self.out) else {
                return Sent::All;
            };
            if let Some(port) = self.ports.get_mut(usize::from(transmit.path.local)) {
                port.trains.extend(Train::new(&transmit, start));
            }
        }
        Sent::More
    }
}

/// Waits for the first of several; for ever if there is none.
async fn first<F: Future>(futures: impl Iterator<Item = F>) {
    let mut all: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    if all.is_empty() {
        pending::<()>().await;
    }
    poll_fn(|context| {
        let mut polled = all.iter_mut().map(|one| one.as_mut().poll(context));
        if polled.any(|one| one.is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

//! A socket and a timer: what whoever drives a machine has to do with the system.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::BytesMut;
use tertulia::driver::bind;
use tertulia::time::Timestamp;
use tertulia::transmit::{Path, Transmit};
use tertulia::wire::DATAGRAM_MAX;
use tokio::net::UdpSocket;
use tokio::select;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::Result;
use crate::host::now;

/// A sleep that nothing waits for.
const FOREVER: Duration = Duration::from_secs(86_400);

/// A socket, what is on its way to it, and a timer.
pub struct Port {
    socket: UdpSocket,
    out: Vec<u8>,
    /// A batch in `out` of which the first bytes are sent.
    unsent: Option<(Transmit, usize)>,
    timer: Pin<Box<Sleep>>,
    buffer: Box<[u8; DATAGRAM_MAX + 1]>,
}

impl Port {
    /// A port at `address`.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            socket: bind(address)?,
            out: Vec::new(),
            unsent: None,
            timer: Box::pin(sleep_until(Instant::now() + FOREVER)),
            buffer: Box::new([0; DATAGRAM_MAX + 1]),
        })
    }

    /// A datagram that has come, if there is one.
    pub fn receive(&mut self) -> Option<(Path, BytesMut)> {
        // What is not a datagram is an error of one that was sent before, whose link will notice.
        let (len, remote) = self.socket.try_recv_from(&mut self.buffer[..]).ok()?;
        Some((Path::new(remote), BytesMut::from(&self.buffer[..len])))
    }

    /// Sends a datagram that is repeated if it is lost.
    pub fn send(&self, path: Path, datagram: &[u8]) {
        // Whether it was sent makes no difference then.
        let _ = self.socket.try_send_to(datagram, path.remote);
    }

    /// Sends what `poll` appends, at most `trains` times. Says whether there may be more.
    pub fn transmit(
        &mut self,
        trains: usize,
        mut poll: impl FnMut(&mut Vec<u8>) -> Option<Transmit>,
    ) -> bool {
        for _ in 0..trains {
            if self.unsent.is_none() {
                self.out.clear();
                self.unsent = poll(&mut self.out).map(|transmit| (transmit, 0));
            }
            if self.unsent.is_none() || !self.send_batch() {
                return false;
            }
        }
        true
    }

    /// Sends the rest of a batch. Says whether it is done; if not, the system takes nothing more.
    fn send_batch(&mut self) -> bool {
        let Some((transmit, sent)) = &mut self.unsent else {
            return true;
        };
        let rest = Transmit {
            len: transmit.len - *sent,
            ..*transmit
        };
        for datagram in rest.datagrams(&self.out[*sent..]) {
            match self.socket.try_send_to(datagram, transmit.path.remote) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // Lost, like any other.
                Ok(_) | Err(_) => *sent += datagram.len(),
            }
        }
        self.unsent = None;
        true
    }

    /// Waits until something has come, can be sent at last, or is `due`; or for no reason.
    pub async fn wait(&mut self, due: Option<Timestamp>) {
        if let Some(due) = due {
            let due = Instant::now() + due.saturating_since(now());
            // A timer that is early costs a turn; setting it anew each time costs more.
            if due < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(due);
            }
        }
        select! {
            _ = self.socket.readable() => {}
            _ = self.socket.writable(), if self.unsent.is_some() => {}
            () = &mut self.timer, if due.is_some() => {}
        }
    }
}

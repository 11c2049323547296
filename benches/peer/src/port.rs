//! A socket and a timer: what whoever drives a machine has to do with the system.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::BytesMut;
use tertulia::driver::{Copies, DatagramSocket, Inbox, SystemSocket, Train, bind};
use tertulia::time::Timestamp;
use tertulia::transmit::{Origin, Path, Transmit};
use tertulia::wire::DATAGRAM_MAX;
use tokio::select;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::Result;
use crate::host::now;

/// A sleep that nothing waits for.
const FOREVER: Duration = Duration::from_secs(86_400);

/// A socket, what is on its way to it and from it, and a timer.
pub struct Port {
    socket: SystemSocket,
    inbox: Inbox,
    /// What is to be sent, and its bytes.
    trains: VecDeque<Train>,
    out: Vec<u8>,
    copies: Copies,
    timer: Pin<Box<Sleep>>,
}

impl Port {
    /// A port at `address`.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            socket: bind(address)?,
            inbox: Inbox::new(SystemSocket::RECEIPT_LEN_MAX),
            trains: VecDeque::new(),
            out: Vec::new(),
            copies: Copies::default(),
            timer: Box::pin(sleep_until(Instant::now() + FOREVER)),
        })
    }

    /// A datagram that has come, if there is one.
    pub fn receive(&mut self) -> Option<(Origin, BytesMut)> {
        if self.inbox.is_empty() {
            // What is not a datagram is an error of one that was sent before, whose link will
            // notice.
            self.socket.try_recv_batch(&mut self.inbox).ok()?;
        }
        let (remote, ecn, datagram) = self.inbox.pop()?;
        let len = datagram.len().min(DATAGRAM_MAX + 1);
        let path = Path::new(remote);
        Some((Origin { path, ecn }, self.copies.copy(&datagram[..len])))
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
        let mut has_more = true;
        if self.trains.is_empty() {
            self.out.clear();
            for _ in 0..trains {
                let start = self.out.len();
                let Some(transmit) = poll(&mut self.out) else {
                    has_more = false;
                    break;
                };
                self.trains.extend(Train::new(&transmit, start));
            }
        }
        // If the system takes no more, the rest waits.
        let _ = self.socket.try_send_batch(&self.out, &mut self.trains);
        has_more && self.trains.is_empty()
    }

    /// Waits until something has come, can be sent at last, or is `due`; or for no reason.
    pub async fn wait(&mut self, due: Option<Timestamp>) {
        if !self.inbox.is_empty() {
            return yield_now().await;
        }
        if let Some(due) = due {
            let due = Instant::now() + due.saturating_since(now());
            // A timer that is early costs a turn; setting it anew each time costs more.
            if due < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(due);
            }
        }
        select! {
            _ = self.socket.readable() => {}
            _ = self.socket.writable(), if !self.trains.is_empty() => {}
            () = &mut self.timer, if due.is_some() => {}
        }
    }
}

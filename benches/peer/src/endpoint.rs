//! A client's end: a link over a socket of its own.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tertulia::driver::{DATAGRAMS_PER_TURN, bind, system_seed};
use tertulia::link::{Link, LinkConfig, LinkEvent, Side};
use tertulia::rng::SeededRng;
use tertulia::secure::{Accepted, Established, Initiator, NodeIdentity};
use tertulia::time::Timestamp;
use tertulia::transmit::{Path, Transmit};
use tertulia::wire::{DATAGRAM_MAX, Handshake, NodeCid};
use tokio::net::UdpSocket;
use tokio::select;
use tokio::task::consume_budget;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::Result;
use crate::host::now;
use crate::protocol::{CHANNEL, Info, Role, server_identity};

/// How long a client waits for the answer to its first HELLO, and twice as long each time.
const HELLO_AGAIN: Duration = Duration::from_millis(250);
/// How long it tries.
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// A sleep that nothing waits for.
const FOREVER: Duration = Duration::from_secs(86_400);

/// A client's end of a link.
pub struct Endpoint {
    socket: UdpSocket,
    link: Link,
    /// Messages that the link does not take yet.
    waiting: VecDeque<Bytes>,
    out: Vec<u8>,
    /// A batch in `out` of which the first bytes are sent.
    unsent: Option<(Transmit, usize)>,
    timer: Pin<Box<Sleep>>,
    buffer: Box<[u8; DATAGRAM_MAX + 1]>,
}

impl Endpoint {
    /// Shakes hands with the server at `server`, and says what this client is for.
    pub async fn open(server: SocketAddr, role: Role, group: u32) -> Result<(Self, Info)> {
        let socket = bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let link = timeout(CONNECT_MAX, shake_hands(&socket, server)).await??;
        let mut endpoint = Self {
            socket,
            link,
            waiting: VecDeque::new(),
            out: Vec::new(),
            unsent: None,
            timer: Box::pin(sleep_until(Instant::now() + FOREVER)),
            buffer: Box::new([0; DATAGRAM_MAX + 1]),
        };
        endpoint.send(role.hello(group));
        let info = timeout(CONNECT_MAX, endpoint.info()).await??;
        Ok((endpoint, info))
    }

    /// Asks the server how far it is.
    pub async fn query(&mut self) -> Result<Info> {
        self.send(Bytes::from_static(b"?"));
        self.info().await
    }

    async fn info(&mut self) -> Result<Info> {
        let mut got = Vec::new();
        self.recv(&mut got).await?;
        let info = got.pop().and_then(Info::decode);
        info.ok_or_else(|| "the server has said something else".into())
    }

    /// Sends `message` as soon as the link lets it; it leaves at the next [`recv`](Self::recv).
    pub fn send(&mut self, message: Bytes) {
        self.waiting.push_back(message);
    }

    /// How many messages the link has not taken yet.
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// Runs the link until there is a message, and appends all that there are. Can be cancelled
    /// without loss. Fails when the link has ended.
    pub async fn recv(&mut self, got: &mut Vec<Bytes>) -> Result<()> {
        consume_budget().await;
        loop {
            self.turn(got)?;
            if !got.is_empty() {
                return Ok(());
            }
            self.wait().await;
        }
    }

    /// Runs the link until it has taken all messages, and appends those that have come.
    pub async fn drain(&mut self, got: &mut Vec<Bytes>) -> Result<()> {
        consume_budget().await;
        loop {
            self.turn(got)?;
            if self.waiting.is_empty() {
                return Ok(());
            }
            self.wait().await;
        }
    }

    /// Takes what has come, and sends what is due.
    fn turn(&mut self, got: &mut Vec<Bytes>) -> Result<()> {
        self.take_datagrams();
        let now = now();
        if self.link.poll_timeout().is_some_and(|due| due.at <= now) {
            self.link.handle_timeout(now);
        }
        while let Some(event) = self.link.poll_event() {
            match event {
                LinkEvent::Message { data, .. } => got.push(data),
                LinkEvent::Silent | LinkEvent::CidRetired { .. } => {}
                LinkEvent::Reset | LinkEvent::Closed { .. } => {
                    return Err(format!("the link has ended: {event:?}").into());
                }
            }
        }
        self.feed(now);
        self.transmit(now);
        Ok(())
    }

    fn take_datagrams(&mut self) {
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.try_recv_from(&mut self.buffer[..]) {
                Ok((len, remote)) => {
                    let datagram = BytesMut::from(&self.buffer[..len]);
                    // What the link drops shows in its figures.
                    let _ = self
                        .link
                        .handle_datagram(Path::new(remote), datagram, now());
                }
                Err(_) => return,
            }
        }
    }

    /// Gives the link as many messages as it takes.
    fn feed(&mut self, now: Timestamp) {
        while let Some(message) = self.waiting.front()
            && self.link.can_send(CHANNEL, message.len())
            && let Some(message) = self.waiting.pop_front()
        {
            // It can.
            let _ = self.link.send(CHANNEL, message, now);
        }
    }

    fn transmit(&mut self, now: Timestamp) {
        loop {
            if self.unsent.is_none() {
                self.out.clear();
                let Some(transmit) = self.link.poll_transmit(now, &mut self.out) else {
                    return;
                };
                self.unsent = Some((transmit, 0));
            }
            if !send_batch(&self.socket, &self.out, &mut self.unsent) {
                return;
            }
        }
    }

    async fn wait(&mut self) {
        if let Some(due) = self.link.poll_timeout() {
            let due = Instant::now() + due.at.saturating_since(now());
            // A timer that is early costs a turn; setting it anew each time costs more.
            if due < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(due);
            }
        }
        select! {
            _ = self.socket.readable() => {}
            _ = self.socket.writable(), if self.unsent.is_some() => {}
            () = &mut self.timer => {}
        }
    }
}

/// Sends the rest of a batch, whose bytes are `out`. Says whether it is done; if not, the system
/// takes nothing more for now.
pub fn send_batch(socket: &UdpSocket, out: &[u8], unsent: &mut Option<(Transmit, usize)>) -> bool {
    let Some((transmit, sent)) = unsent else {
        return true;
    };
    let rest = Transmit {
        len: transmit.len - *sent,
        ..*transmit
    };
    for datagram in rest.datagrams(&out[*sent..]) {
        match socket.try_send_to(datagram, transmit.path.remote) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // Lost, like any other.
            Ok(_) | Err(_) => *sent += datagram.len(),
        }
    }
    *unsent = None;
    true
}

/// The handshake of a node that knows the broker.
async fn shake_hands(socket: &UdpSocket, server: SocketAddr) -> Result<Link> {
    let mut rng = SeededRng::new(system_seed()?);
    let identity = NodeIdentity::generate(&mut rng);
    let cid = NodeCid::new(&rng.bytes::<4>()).ok_or("a connection id has four bytes")?;
    let key = server_identity().public();
    let initiator = Initiator::known_broker(cid, key, &identity, rng.fork());
    let since = now();
    let mut patience = HELLO_AGAIN;
    let established = loop {
        socket.send_to(initiator.hello(), server).await?;
        match timeout(patience, accepted(socket, &initiator)).await {
            Ok(established) => break established?,
            Err(_) => patience *= 2,
        }
    };
    let config = LinkConfig {
        side: Side::Node,
        local_cid: cid.into(),
        remote_cid: established.broker.cid.into(),
        reset_token: Some(established.broker.reset_token),
        path: Path::new(server),
        secrets: established.secrets,
        seed: rng.fork(),
        idle_timeout: Duration::from_secs(60),
        keepalive: LinkConfig::NODE_KEEPALIVE,
        suspect_after: Some(LinkConfig::NODE_SUSPECT_AFTER),
    };
    let now = now();
    let mut link = Link::new(config, now);
    link.hint_rtt(now.saturating_since(since), now);
    Ok(link)
}

async fn accepted(socket: &UdpSocket, initiator: &Initiator) -> Result<Established> {
    let mut buffer = [0; DATAGRAM_MAX + 1];
    loop {
        let (len, _) = socket.recv_from(&mut buffer).await?;
        let datagram = Bytes::copy_from_slice(&buffer[..len]);
        if let Ok(Handshake::Accept(accept)) = Handshake::decode(&datagram)
            && let Ok(Accepted::Established(established)) = initiator.handle_accept(&accept)
        {
            return Ok(established);
        }
    }
}

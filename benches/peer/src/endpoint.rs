//! A client's end: a link over a socket of its own.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tertulia::driver::{DATAGRAMS_PER_TURN, TRAINS_PER_TURN, system_seed};
use tertulia::link::{CongestionControl, Link, LinkConfig, LinkEvent, Side};
use tertulia::rng::SeededRng;
use tertulia::secure::{Accepted, Established, Initiator, NodeIdentity};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tertulia::wire::{Handshake, NodeCid};
use tokio::task::{consume_budget, yield_now};
use tokio::time::timeout;

use crate::Result;
use crate::host::now;
use crate::port::Port;
use crate::protocol::{CHANNEL, Info, Role, server_identity};

/// How long a client waits for the answer to its first HELLO, and twice as long each time.
const HELLO_AGAIN: Duration = Duration::from_millis(250);
/// How long it tries.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// A client's end of a link.
pub struct Endpoint {
    port: Port,
    link: Link,
    /// Messages that the link does not take yet.
    waiting: VecDeque<Bytes>,
}

impl Endpoint {
    /// Shakes hands with the server at `server`, and says what this client is for.
    pub async fn open(server: SocketAddr, role: Role, group: u32) -> Result<(Self, Info)> {
        let mut port = Port::bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let link = timeout(CONNECT_MAX, shake_hands(&mut port, Path::new(server), role)).await??;
        let waiting = VecDeque::new();
        let mut endpoint = Self {
            port,
            link,
            waiting,
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

    /// What the link says of itself.
    pub fn figures(&self) -> Value {
        let stats = self.link.stats();
        json!({
            "srtt_us": self.link.srtt().map(|srtt| srtt.as_micros() as u64),
            "datagrams_sent": stats.datagrams_sent,
            "packets_lost": stats.packets_lost,
            "packets_lost_wrongly": stats.packets_lost_wrongly,
            "probes_sent": stats.probes_sent,
        })
    }

    /// Runs the link until there is a message, and appends all that there are. Can be cancelled
    /// without loss. Fails when the link has ended.
    pub async fn recv(&mut self, got: &mut Vec<Bytes>) -> Result<()> {
        consume_budget().await;
        loop {
            let has_more = self.turn(got)?;
            if !got.is_empty() {
                return Ok(());
            }
            self.wait(has_more).await;
        }
    }

    /// Runs the link until it has taken all messages, and appends those that have come.
    pub async fn drain(&mut self, got: &mut Vec<Bytes>) -> Result<()> {
        consume_budget().await;
        loop {
            let has_more = self.turn(got)?;
            if self.waiting.is_empty() {
                return Ok(());
            }
            self.wait(has_more).await;
        }
    }

    /// Takes what has come, and sends what is due. Says whether there may be more to send.
    fn turn(&mut self, got: &mut Vec<Bytes>) -> Result<bool> {
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some((origin, datagram)) = self.port.receive() else {
                break;
            };
            // What the link drops shows in its figures.
            let _ = self.link.handle_datagram(origin, datagram, now());
        }
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
        let poll = |out: &mut Vec<u8>| self.link.poll_transmit(now, out);
        Ok(self.port.transmit(TRAINS_PER_TURN, poll))
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

    async fn wait(&mut self, has_more: bool) {
        if has_more {
            yield_now().await;
        } else {
            let due = self.link.poll_timeout().map(|due| due.at);
            self.port.wait(due).await;
        }
    }
}

/// The handshake of a node that knows the broker.
async fn shake_hands(port: &mut Port, server: Path, role: Role) -> Result<Link> {
    let mut rng = SeededRng::new(system_seed()?);
    let identity = NodeIdentity::generate(&mut rng);
    let cid = NodeCid::new(&rng.bytes::<4>()).ok_or("a connection id has four bytes")?;
    let key = server_identity().public();
    let initiator = Initiator::known_broker(cid, key, &identity, rng.fork());
    let since = now();
    let mut patience = HELLO_AGAIN;
    let established = loop {
        port.send(server, initiator.hello());
        match timeout(patience, accepted(port, &initiator)).await {
            Ok(established) => break established,
            Err(_) => patience *= 2,
        }
    };
    let config = LinkConfig {
        side: Side::Node,
        local_cid: cid.into(),
        remote_cid: established.broker.cid.into(),
        reset_token: Some(established.broker.reset_token),
        path: server,
        secrets: established.secrets,
        seed: rng.fork(),
        idle_timeout: Duration::from_secs(60),
        keepalive: LinkConfig::NODE_KEEPALIVE,
        suspect_after: Some(LinkConfig::NODE_SUSPECT_AFTER),
        // A file does not slow down for losses that are no queue's.
        congestion: match role {
            Role::Bulk => CongestionControl::Bbr,
            _ => CongestionControl::default(),
        },
    };
    let now = now();
    let mut link = Link::new(config, now);
    link.hint_rtt(now.saturating_since(since), now);
    Ok(link)
}

async fn accepted(port: &mut Port, initiator: &Initiator) -> Established {
    loop {
        while let Some((_, datagram)) = port.receive() {
            if let Ok(Handshake::Accept(accept)) = Handshake::decode(&datagram.freeze())
                && let Ok(Accepted::Established(established)) = initiator.handle_accept(&accept)
            {
                return established;
            }
        }
        port.wait(None).await;
    }
}

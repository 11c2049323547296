//! A member of one's own making: it says whatever a test wants, by the library's own links.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tertulia::chat::{
    ControlFromBroker, ControlFromNode, Join, Publication, Refusal, RoomFromBroker, RoomFromNode,
    Start,
};
use tertulia::driver::Clock;
use tertulia::link::{CloseCode, CongestionControl, Link, LinkConfig, LinkEvent, Side};
use tertulia::rng::SeededRng;
use tertulia::secure::{Accepted, Initiator, NodeIdentity};
use tertulia::transmit::Path;
use tertulia::wire::{Handshake, NodeCid};

use super::{PATIENCE, Stopwatch};

/// How long one look at the socket waits.
const LOOK: Duration = Duration::from_millis(5);

/// Somebody who has a link and nobody's manners.
pub(crate) struct RawMember {
    socket: UdpSocket,
    path: Path,
    clock: Clock,
    link: Link,
    heard: VecDeque<(u8, Bytes)>,
}

impl RawMember {
    /// Shakes hands with the broker: the account and the device that these bytes stand for.
    pub(crate) fn connect(broker: SocketAddr, account: u8, device: u8) -> Self {
        let socket = UdpSocket::bind((broker.ip(), 0)).expect("a socket");
        socket.connect(broker).expect("the broker's address");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut rng = SeededRng::new([account ^ device.rotate_left(4); 32]);
        let identity = NodeIdentity::from_secrets([account; 32], [device; 32]);
        let cid = NodeCid::new(&rng.bytes::<4>()).expect("it is short");
        let initiator = Initiator::first_contact(cid, rng.fork());
        socket.send(initiator.hello()).expect("a HELLO is sent");
        let mut answer = [0; 1_500];
        let len = socket.recv(&mut answer).expect("the broker answers");
        let accept = match Handshake::decode(&Bytes::copy_from_slice(&answer[..len])) {
            Ok(Handshake::Accept(accept)) => accept,
            other => panic!("not accepted: {other:?}"),
        };
        let Ok(Accepted::FirstContact(finisher)) = initiator.handle_accept(&accept) else {
            panic!("no first contact");
        };
        let (finish, established) = finisher.finish(&identity);
        socket.send(&finish).expect("a FINISH is sent");
        let clock = Clock::system();
        let path = Path::new(broker);
        let config = LinkConfig {
            side: Side::Node,
            local_cid: cid.into(),
            remote_cid: established.broker.cid.into(),
            reset_token: Some(established.broker.reset_token),
            path,
            secrets: established.secrets,
            seed: rng.fork(),
            idle_timeout: PATIENCE,
            keepalive: LinkConfig::NODE_KEEPALIVE,
            suspect_after: None,
            congestion: CongestionControl::default(),
        };
        socket.set_read_timeout(Some(LOOK)).expect("a time-out");
        Self {
            link: Link::new(config, clock.now()),
            socket,
            path,
            clock,
            heard: VecDeque::new(),
        }
    }

    /// Asks for a name, any sequence of characters; `None` if it was given.
    pub(crate) fn sign_in(&mut self, name: &str) -> Option<Refusal> {
        let sign_in = ControlFromNode::SignIn {
            name: name.to_owned(),
            invite: None,
        };
        self.say(0, sign_in.encode());
        self.hear(
            |channel, message| match ControlFromBroker::decode(message) {
                Ok(ControlFromBroker::Welcome { .. }) if channel == 0 => Some(None),
                Ok(ControlFromBroker::SignInRefused { code, .. }) => Some(Some(code)),
                _ => None,
            },
        )
    }

    /// Asks to be let into a room; `None` if it was.
    pub(crate) fn join(&mut self, channel: u8, room: &str) -> Option<Refusal> {
        let join = Join {
            room: room.to_owned(),
            quiet: false,
            history: 0,
            presence: 0,
            start: Start::Tail,
        };
        self.say(channel, RoomFromNode::Join(join).encode());
        self.hear(|on, message| match RoomFromBroker::decode(message) {
            Ok(RoomFromBroker::Joined(_)) if on == channel => Some(None),
            Ok(RoomFromBroker::JoinRefused { code, .. }) if on == channel => Some(Some(code)),
            _ => None,
        })
    }

    /// Publishes a body, whatever is in it; `None` if it was stored.
    pub(crate) fn publish(&mut self, channel: u8, publication: Publication) -> Option<Refusal> {
        let number = publication.n;
        self.say(channel, RoomFromNode::Publish(publication).encode());
        self.hear(|on, message| match RoomFromBroker::decode(message) {
            Ok(RoomFromBroker::Stored { n, .. }) if on == channel && n == number => Some(None),
            Ok(RoomFromBroker::NotStored { n, code, .. }) if on == channel && n == number => {
                Some(Some(code))
            }
            _ => None,
        })
    }

    /// Says goodbye, and waits until the broker has heard it.
    pub(crate) fn bye(&mut self) {
        self.say(0, ControlFromNode::Bye.encode());
        let waited = Stopwatch::start();
        while self.link.is_open() && self.link.unacknowledged() {
            assert!(waited.elapsed() < PATIENCE, "nobody hears it");
            self.turn();
        }
    }

    fn say(&mut self, channel: u8, message: Bytes) {
        let waited = Stopwatch::start();
        while !self.link.can_send(channel, message.len()) {
            assert!(waited.elapsed() < PATIENCE, "no credit");
            self.turn();
        }
        let sent = self.link.send(channel, message, self.clock.now());
        sent.expect("there is room");
    }

    /// Waits for the answer that `is_it` knows.
    fn hear<T>(&mut self, is_it: impl Fn(u8, &Bytes) -> Option<T>) -> T {
        let waited = Stopwatch::start();
        loop {
            while let Some((channel, message)) = self.heard.pop_front() {
                if let Some(answer) = is_it(channel, &message) {
                    return answer;
                }
            }
            assert!(waited.elapsed() < PATIENCE, "no answer");
            self.turn();
        }
    }

    /// Sends what is due, and looks once at the socket.
    fn turn(&mut self) {
        self.drain();
        let mut datagram = [0; 1_500];
        match self.socket.recv(&mut datagram) {
            Ok(len) => {
                let datagram = BytesMut::from(&datagram[..len]);
                // What is none of the link's, as a repeated ACCEPT, is dropped.
                let _ = self
                    .link
                    .handle_datagram(self.path, datagram, self.clock.now());
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("the socket fails: {error}"),
        }
        if self
            .link
            .poll_timeout()
            .is_some_and(|due| due.at <= self.clock.now())
        {
            self.link.handle_timeout(self.clock.now());
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.link.poll_event() {
            match event {
                LinkEvent::Message { channel, data } => self.heard.push_back((channel, data)),
                LinkEvent::Closed {
                    code: CloseCode::Done,
                    ..
                } => {}
                LinkEvent::Closed { code, reason, .. } => panic!("closed: {code:?} {reason}"),
                _ => {}
            }
        }
        let mut out = Vec::new();
        while let Some(transmit) = self.link.poll_transmit(self.clock.now(), &mut out) {
            for datagram in transmit.datagrams(&out) {
                self.socket.send(datagram).expect("a datagram is sent");
            }
            out.clear();
        }
    }
}

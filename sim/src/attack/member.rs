//! A member that keeps to no rule: it has an account, a device and a link like anybody else, signs in
//! properly and joins a room, and from then on does what no node does (SPEC.md section 16, a
//! *member*). When its link is closed for that, it comes back.

use std::time::Duration;

use bytes::Bytes;
use tertulia::chat::{
    CHAT_LINE_MAX, ControlFromBroker, ControlFromNode, Join, Kind, Publication, RoomFromNode,
    RoomName, Start, Stretch,
};
use tertulia::rng::SeededRng;
use tertulia::secure::{Accepted, Initiator, NodeIdentity, PublicKey};
use tertulia::time::Timestamp;
use tertulia::wire::{Frame, Handshake, MESSAGE_MAX, NodeCid, VARINT_MAX, is_data};

use super::session::{Acks, Session};
use crate::fate::{Dice, mix};
use crate::plan::Trick;
use crate::world::seed_of;

/// How often it does something.
const TICK: Duration = Duration::from_millis(100);
/// How often it does each of its tricks when it has a turn, in thousandths.
const TRICKS_PERMILLE: u64 = 200;
/// How long after the end of a link, or a HELLO without an answer, it tries again.
const AGAIN_AFTER: Duration = Duration::from_millis(1_500);
/// So many of its publications may wait for an answer, as the rules say.
const WINDOW: u64 = 64;

/// The member.
pub(crate) struct Member {
    seed: u64,
    /// Under which name; a number that no client has.
    name: String,
    identity: NodeIdentity,
    broker: PublicKey,
    rng: SeededRng,
    dice: Dice,
    room: RoomName,
    acks: Acks,
    tricks: Vec<Trick>,
    state: State,
    links: u64,
    ticks_at: Timestamp,
    ends_at: Timestamp,
    /// The number of the next publication, and of those that were answered.
    next_n: u64,
    answered: u64,
    typed_at_ms: u64,
    /// What it has published and nobody has taken note of.
    pub(crate) typed: Vec<Publication>,
    /// The broker has taken an acknowledgement that is a lie for certain.
    is_found_out: bool,
    recent: Vec<Vec<u8>>,
}

enum State {
    Away(Timestamp),
    Shaking(Box<Initiator>, Bytes, Timestamp),
    Up(Box<Session>, Stage),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    SigningIn,
    SignedIn,
    In,
}

/// A datagram of the member's.
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    /// It acknowledges what it cannot have got: who takes it must close the link.
    pub(crate) is_sure_lie: bool,
    /// It claims to come from this one of the addresses that are not the member's.
    pub(crate) spoofed: Option<u16>,
}

/// What somebody who attacks is made of, and when.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) broker: PublicKey,
    pub(crate) room: RoomName,
    pub(crate) from: Timestamp,
    pub(crate) ends_at: Timestamp,
}

impl Member {
    pub(crate) fn new(setup: Setup, acks: Acks, tricks: Vec<Trick>) -> Self {
        let (seed, number) = (setup.seed, setup.index as u64);
        let mut rng = SeededRng::new(seed_of(seed, "mallory", number));
        Self {
            seed,
            identity: NodeIdentity::generate(&mut rng),
            rng,
            dice: Dice::new(mix(seed, 0x3a11 + number)),
            name: setup.name,
            broker: setup.broker,
            room: setup.room,
            acks,
            tricks,
            state: State::Away(setup.from),
            links: 0,
            ticks_at: setup.from,
            ends_at: setup.ends_at,
            next_n: 1,
            answered: 0,
            typed_at_ms: 0,
            typed: Vec::new(),
            is_found_out: false,
            recent: Vec::new(),
        }
    }

    pub(crate) const fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    pub(crate) const fn room(&self) -> &RoomName {
        &self.room
    }

    /// When it has its next turn, if it has one.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        Some(self.ticks_at).filter(|at| *at < self.ends_at)
    }

    /// Whether the broker has taken what is a lie for certain, before it sent what comes next.
    pub(crate) const fn find_out(&mut self, is_found_out: bool) {
        self.is_found_out = is_found_out;
    }

    // ---- what it hears

    /// Takes a datagram. Returns whether the broker talks to it although it was found out.
    pub(crate) fn hear(&mut self, datagram: &[u8], now: Timestamp) -> bool {
        if !datagram.first().copied().is_some_and(is_data) {
            self.hear_handshake(datagram, now);
            return false;
        }
        let State::Up(session, stage) = &mut self.state else {
            return false;
        };
        let Some(heard) = session.hear(datagram) else {
            return false;
        };
        let is_believed = self.is_found_out && heard.is_more_than_close;
        if heard.is_closed {
            self.state = State::Away(now + AGAIN_AFTER);
            self.is_found_out = false;
            return is_believed;
        }
        for (channel, message) in heard.messages {
            let welcome = matches!(
                ControlFromBroker::decode(&message),
                Ok(ControlFromBroker::Welcome { .. })
            );
            if channel == 0 && welcome {
                *stage = Stage::SignedIn;
            } else if channel == 1 {
                use tertulia::chat::RoomFromBroker as Told;
                match Told::decode(&message) {
                    Ok(Told::Joined(joined)) => {
                        *stage = Stage::In;
                        self.next_n = joined.last.n + 1;
                        self.answered = joined.last.n;
                    }
                    Ok(Told::Stored { n, .. } | Told::NotStored { n, .. }) => {
                        self.answered = self.answered.max(n);
                    }
                    Ok(Told::Gap { last }) => self.next_n = last.saturating_add(1),
                    _ => {}
                }
            }
        }
        is_believed
    }

    fn hear_handshake(&mut self, datagram: &[u8], now: Timestamp) {
        let State::Shaking(initiator, hello, _) = &mut self.state else {
            return;
        };
        let decoded = Handshake::decode(&Bytes::copy_from_slice(datagram));
        match decoded {
            Ok(Handshake::Retry(retry)) => {
                if let Ok(again) = initiator.answer_retry(hello, &retry) {
                    self.recent.push(again.to_vec());
                    *hello = again;
                }
            }
            Ok(Handshake::Accept(accept)) => {
                let Ok(Accepted::Established(established)) = initiator.handle_accept(&accept)
                else {
                    return;
                };
                let cid = initiator.cid();
                let len = cid.as_bytes().len();
                let acks = self.acks;
                let mut session =
                    Session::new(&established.secrets, &established.broker.cid, len, acks);
                let sign_in = ControlFromNode::SignIn {
                    name: self.name.clone(),
                    invite: None,
                };
                session.say(0, &sign_in.encode());
                self.state = State::Up(Box::new(session), Stage::SigningIn);
                self.is_found_out = false;
                self.ticks_at = self.ticks_at.min(now + TICK);
            }
            _ => {}
        }
    }

    // ---- what it does

    /// Has its turn. `is_there`: whether its room is there already.
    pub(crate) fn go_on(&mut self, is_there: bool, now: Timestamp) -> Vec<Sent> {
        self.ticks_at = now + TICK;
        match &mut self.state {
            State::Away(until) if *until <= now => self.greet(now),
            State::Shaking(_, _, since) if *since + AGAIN_AFTER <= now => self.greet(now),
            State::Up(session, stage @ Stage::SignedIn) if is_there => {
                let join = RoomFromNode::Join(Join {
                    room: self.room.as_str().to_owned(),
                    quiet: false,
                    history: VARINT_MAX,
                    presence: 0,
                    start: Start::Tail,
                });
                session.say(1, &join.encode());
                *stage = Stage::SigningIn;
            }
            State::Up(_, Stage::In) => self.play_tricks(),
            _ => {}
        }
        let mut all: Vec<Sent> = core::mem::take(&mut self.recent)
            .into_iter()
            .map(|bytes| Sent {
                bytes,
                is_sure_lie: false,
                spoofed: None,
            })
            .collect();
        let spoofs = self.tricks.contains(&Trick::Addresses);
        if let State::Up(session, stage) = &mut self.state {
            for (bytes, is_sure_lie) in session.datagrams(now) {
                let elsewhere = spoofs && *stage == Stage::In && self.dice.chance(100);
                let spoofed = elsewhere.then(|| self.dice.range(0, 50) as u16);
                all.push(Sent {
                    bytes,
                    is_sure_lie,
                    spoofed,
                });
            }
        }
        all
    }

    fn greet(&mut self, now: Timestamp) {
        self.links += 1;
        let cid = NodeCid::new(&self.rng.bytes::<4>()).expect("four bytes fit");
        let seed = seed_of(self.seed, "mallory's handshake", self.links);
        let initiator = Initiator::known_broker(cid, self.broker, &self.identity, seed);
        let hello = initiator.hello().clone();
        self.recent.push(hello.to_vec());
        self.state = State::Shaking(Box::new(initiator), hello, now);
    }

    fn play_tricks(&mut self) {
        for trick in self.tricks.clone() {
            if self.dice.chance(TRICKS_PERMILLE) {
                self.play(trick);
            }
        }
        // Whatever its tricks, it talks: so there is something to be acknowledged.
        let text = format!("mallory says {}", self.next_n);
        if self.next_n <= self.answered + WINDOW {
            self.publish(self.next_n, Kind::Message, text.into());
            self.next_n += 1;
        }
        self.say_on(1, &RoomFromNode::Who.encode());
    }

    fn play(&mut self, trick: Trick) {
        match trick {
            Trick::Nonsense => self.talk_nonsense(),
            Trick::Credit => self.overdraw(),
            Trick::Rooms => self.ask_for_rooms(),
            Trick::Asks => self.ask(),
            Trick::Lines => self.publish_the_worst(),
            Trick::Holes => {
                let holes = self.dice.range(1, 3_000);
                if let State::Up(session, _) = &mut self.state {
                    session.skip_numbers(holes);
                }
            }
            // Its packets come from anywhere: see `go_on`.
            Trick::Addresses => {}
            Trick::Flood => {
                for _ in 0..self.dice.range(1, 400) {
                    self.publish(self.next_n, Kind::Message, Bytes::from_static(b"flood"));
                    self.next_n += 1;
                }
            }
        }
    }

    fn pick(&mut self, count: u64) -> usize {
        self.dice.range(0, count - 1) as usize
    }

    fn say_on(&mut self, channel: u8, message: &[u8]) {
        if let State::Up(session, _) = &mut self.state {
            session.say(channel, message);
        }
    }

    fn talk_nonsense(&mut self) {
        let (sequence, limit) = (self.dice.range(0, 9), VARINT_MAX);
        let choice = self.dice.range(0, 9);
        let State::Up(session, _) = &mut self.state else {
            return;
        };
        match choice {
            0 => session.say_raw(&[0x3f, 1, 2, 3]),
            1 => session.say_raw(&[0x02, 0xff]),
            2 => session.say_frames(&[Frame::RetireCid { sequence }], false),
            3 => session.say_frames(&[Frame::PathChallenge([9; 8])], false),
            4 => session.say_frames(&[Frame::CreditLink { limit }], false),
            5 => session.say(1, &[0xee; 40]),
            6 => session.say(0, &[]),
            7 => session.say(99, b"a channel that is none"),
            8 => session.say(1, &ControlFromNode::Bye.encode()),
            _ => session.say(0, &ControlFromNode::ListRooms.encode()),
        }
    }

    fn overdraw(&mut self) {
        let ahead = [1, 250, 256, VARINT_MAX - 1][self.pick(4)];
        let State::Up(session, _) = &mut self.state else {
            return;
        };
        for number in 0..4 {
            session.say_numbered(2, (ahead + number).min(VARINT_MAX), &[7; MESSAGE_MAX]);
        }
    }

    fn ask_for_rooms(&mut self) {
        for channel in 2..=63 {
            let join = RoomFromNode::Join(Join {
                room: format!("cave{channel}"),
                quiet: self.dice.chance(500),
                history: VARINT_MAX,
                presence: VARINT_MAX,
                start: Start::Line(1),
            });
            self.say_on(channel, &join.encode());
        }
    }

    fn ask(&mut self) {
        let seq = [0, 1, self.dice.range(1, 300), VARINT_MAX][self.pick(4)];
        let count = [0, 1, VARINT_MAX][self.pick(3)];
        let asked = match self.dice.range(0, 4) {
            0 => RoomFromNode::Who,
            1 => RoomFromNode::Watch { seq },
            2 => RoomFromNode::History { before: seq, count },
            3 => RoomFromNode::Cursor(Stretch {
                after: self.dice.range(0, 50),
                to: seq,
            }),
            _ => {
                for _ in 0..100 {
                    self.say_on(0, &ControlFromNode::ListRooms.encode());
                }
                return;
            }
        };
        for _ in 0..self.dice.range(1, 300) {
            self.say_on(1, &asked.encode());
        }
    }

    fn publish_the_worst(&mut self) {
        let len = [1, CHAT_LINE_MAX, CHAT_LINE_MAX + 1, 60_000][self.pick(4)];
        let fill = [b'x', 0x1b, b'\n', 0xff][self.pick(4)];
        let kind = [Kind::Message, Kind::Message, Kind::Policy, Kind::Decision][self.pick(4)];
        let n = [self.next_n, self.next_n, 0, 1, self.next_n + 7, VARINT_MAX][self.pick(6)];
        let body = match kind {
            Kind::Message => vec![fill; len],
            Kind::Policy => b"history=since-join".to_vec(),
            _ => b"kick node0".to_vec(),
        };
        for _ in 0..self.dice.range(1, 10) {
            self.publish(n, kind, body.clone().into());
        }
        if n == self.next_n {
            self.next_n += 1;
        }
    }

    /// Publishes something; no two of its publications were typed at the same time.
    fn publish(&mut self, n: u64, kind: Kind, body: Bytes) {
        self.typed_at_ms += 1;
        let publication = Publication {
            n,
            typed_at_ms: self.typed_at_ms,
            kind,
            body,
        };
        self.typed.push(publication.clone());
        self.say_on(1, &RoomFromNode::Publish(publication).encode());
    }
}

//! A broker that has turned against a node: it does what a broker does, with a log of its own, and
//! lies now and then (SPEC.md section 16, a *broker*).

use bytes::Bytes;
use tertulia::chat::{
    CHAT_LINE_MAX, ControlFromBroker, ControlFromNode, Delivered, Join, Joined, Kind,
    LastPublication, LineBase, LogId, NoticeEvent, PastLine, Publication, Refusal, ResumeOutcome,
    RoomFromBroker, RoomFromNode, RoomId, RoomName, Start, WireLine,
};
use tertulia::rng::SeededRng;
use tertulia::secure::{
    AccountKey, BrokerIdentity, BrokerPayload, DeviceKey, PublicKey, Response, respond,
};
use tertulia::time::Timestamp;
use tertulia::wire::{Frame, Handshake, MESSAGE_MAX, ResetToken, VARINT_MAX, is_data};

use super::pair::den;
use super::session::{Acks, Session};
use crate::fate::{Dice, mix};
use crate::plan::Lie;
use crate::world::seed_of;

/// How often it lies when it may, in thousandths.
const LIES_PERMILLE: u64 = 150;
/// How often it lies to somebody who comes in.
const LIES_AT_THE_DOOR_PERMILLE: u64 = 500;
/// An author that nobody is.
const EVE: u64 = 2;

/// The broker.
pub(crate) struct Liar {
    identity: BrokerIdentity,
    rng: SeededRng,
    dice: Dice,
    lies: Vec<Lie>,
    log: LogId,
    room: RoomName,
    lines: Vec<Written>,
    /// The line of each publication that it has taken.
    publications: Vec<(Publication, u64)>,
    session: Option<(Session, [u8; 8])>,
    seat: Option<Seat>,
    out: Vec<Vec<u8>>,
    /// How many lies it has told.
    pub(crate) told: u64,
}

/// A line of its log.
struct Written {
    author: u64,
    publication: Publication,
}

/// Where the node sits.
struct Seat {
    channel: u8,
    /// The next line that it gets.
    next: u64,
    account: AccountKey,
    device: DeviceKey,
}

impl Liar {
    /// The broker of a plan's attacker, with what it lies about.
    pub(crate) fn of(seed: u64, index: usize, lies: &[Lie]) -> Self {
        let number = index as u64;
        Self::new(
            SeededRng::new(seed_of(seed, "liar", number)),
            Dice::new(mix(seed, 0x11a6 + number)),
            den(),
            lies.to_vec(),
        )
    }

    fn new(mut rng: SeededRng, dice: Dice, room: RoomName, lies: Vec<Lie>) -> Self {
        Self {
            identity: BrokerIdentity::generate(&mut rng),
            log: LogId(rng.bytes()),
            rng,
            dice,
            lies,
            room,
            lines: Vec::new(),
            publications: Vec::new(),
            session: None,
            seat: None,
            out: Vec::new(),
            told: 0,
        }
    }

    pub(crate) const fn key(&self) -> PublicKey {
        self.identity.public()
    }

    /// Everything that it sends.
    pub(crate) fn datagrams(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let mut all = core::mem::take(&mut self.out);
        if let Some((session, _)) = &mut self.session {
            all.extend(session.datagrams(now).into_iter().map(|(bytes, _)| bytes));
        }
        all
    }

    // ---- what the node says

    pub(crate) fn hear(&mut self, datagram: &[u8]) {
        if datagram.first().copied().is_some_and(is_data) {
            return self.hear_packet(datagram);
        }
        if let Ok(Handshake::Hello(hello)) = Handshake::decode(&Bytes::copy_from_slice(datagram)) {
            let payload = BrokerPayload {
                cid: self.rng.bytes(),
                reset_token: ResetToken(self.rng.bytes()),
                log_id: self.log.0,
            };
            let seed = self.rng.bytes();
            let response = respond(&hello, datagram, &self.identity, payload, seed);
            // The node knows the broker, so it says who it is at once.
            let Ok(Response::Ready {
                accept,
                established,
            }) = response
            else {
                return;
            };
            let acks = match self.lies.contains(&Lie::Acks) {
                true => [Acks::Optimistic, Acks::Unsent, Acks::Skipped, Acks::Storm]
                    [self.dice.range(0, 3) as usize],
                false => Acks::Honest,
            };
            let cid = hello.cid;
            let session = Session::new(&established.secrets, cid.as_bytes(), 8, acks);
            self.session = Some((session, payload.cid));
            self.seat = Some(Seat {
                channel: 0,
                next: 0,
                account: established.account,
                device: established.device,
            });
            self.out.push(accept.to_vec());
        }
    }

    fn hear_packet(&mut self, datagram: &[u8]) {
        let Some((session, own)) = &mut self.session else {
            return;
        };
        if !datagram[1..].starts_with(own) {
            return;
        }
        let Some(heard) = session.hear(datagram) else {
            return;
        };
        if heard.is_closed {
            self.session = None;
            self.seat = None;
            return;
        }
        for (channel, message) in heard.messages {
            match channel {
                0 => self.on_control(&message),
                channel => self.on_room(channel, &message),
            }
        }
    }

    fn on_control(&mut self, message: &Bytes) {
        let answer = match ControlFromNode::decode(message) {
            Ok(ControlFromNode::SignIn { .. }) => ControlFromBroker::Welcome { people: 2 },
            Ok(ControlFromNode::Bye) => ControlFromBroker::ByeOk,
            Ok(ControlFromNode::ListRooms) => ControlFromBroker::Rooms {
                total: 1,
                rooms: vec![(2, self.room.as_str().to_owned())],
            },
            // Its nodes do not go on errands.
            Ok(ControlFromNode::Errand(_)) | Err(_) => return,
        };
        self.say(0, &answer.encode());
    }

    fn on_room(&mut self, channel: u8, message: &Bytes) {
        let Ok(message) = RoomFromNode::decode(message) else {
            return;
        };
        match message {
            RoomFromNode::Join(join) => self.let_in(channel, &join),
            RoomFromNode::Publish(publication) => self.store(publication),
            RoomFromNode::Leave => self.answer(&RoomFromBroker::Left),
            RoomFromNode::Who => self.answer(&RoomFromBroker::Roster {
                total: 2,
                names: vec!["victim".to_owned(), "eve".to_owned()],
            }),
            RoomFromNode::Watch { seq } => {
                let delivered = self.delivered(seq);
                self.answer(&RoomFromBroker::Delivered(delivered));
            }
            RoomFromNode::History { before, count } => self.tell_page(before, count),
            RoomFromNode::Cursor(_) | RoomFromNode::Invite(_) => {}
        }
        self.tell_lines();
    }

    fn let_in(&mut self, channel: u8, join: &Join) {
        let tail = self.lines.len() as u64;
        let mut joined = Joined {
            log: self.log,
            room: RoomId::of(&self.room),
            resume: ResumeOutcome::Fresh,
            last: self.last(),
            base: place(tail.saturating_sub(join.history)),
        };
        if let Start::After(resume) = &join.start {
            joined.resume = match resume.log == self.log && resume.base.seq <= tail {
                true => ResumeOutcome::Resumed,
                false => ResumeOutcome::Fork,
            };
            joined.base = match joined.resume {
                ResumeOutcome::Resumed => resume.base,
                _ => place(tail),
            };
        }
        if self.lies.contains(&Lie::Joined) && self.dice.chance(LIES_AT_THE_DOOR_PERMILLE) {
            self.told += 1;
            self.twist(&mut joined);
        }
        if let Some(seat) = &mut self.seat {
            (seat.channel, seat.next) = (channel, joined.base.seq + 1);
        }
        self.answer(&RoomFromBroker::Joined(joined));
        self.introduce();
    }

    /// Makes an answer to JOIN what it is not.
    fn twist(&mut self, joined: &mut Joined) {
        let some = |dice: &mut Dice| {
            let near = dice.range(0, 40);
            [0, 1, near, VARINT_MAX - 1][dice.range(0, 3) as usize]
        };
        match self.dice.range(0, 6) {
            0 => joined.base = place(some(&mut self.dice)),
            1 => {
                joined.resume = ResumeOutcome::Fresh;
                joined.base = place(some(&mut self.dice));
            }
            2 => {
                let digest = self.rng.bytes();
                let n = some(&mut self.dice).saturating_add(1);
                joined.last = LastPublication { n, digest };
            }
            3 => joined.log = LogId(self.rng.bytes()),
            4 => joined.resume = ResumeOutcome::Resumed,
            5 => joined.resume = ResumeOutcome::Fork,
            _ => joined.room = RoomId(self.rng.bytes()),
        }
    }

    fn introduce(&mut self) {
        let Some(Seat {
            account, device, ..
        }) = self.seat
        else {
            return;
        };
        let (other, others) = (AccountKey([7; 32]), DeviceKey([8; 32]));
        for (author, account, device, name) in
            [(1, account, device, "victim"), (EVE, other, others, "eve")]
        {
            self.answer(&RoomFromBroker::Introduce {
                author,
                account,
                device,
                name: name.to_owned(),
            });
        }
    }

    fn last(&self) -> LastPublication {
        let last = self.publications.last();
        last.map_or(LastPublication::NONE, |(publication, _)| LastPublication {
            n: publication.n,
            digest: publication.digest(),
        })
    }

    fn store(&mut self, publication: Publication) {
        let n = publication.n;
        let last = self.last().n;
        let known = self.publications.iter().find(|(known, _)| known.n == n);
        let seq = match known {
            Some((_, seq)) => *seq,
            None if n == last + 1 => {
                let seq = self.write(1, publication.clone());
                self.publications.push((publication, seq));
                seq
            }
            None => return self.answer(&RoomFromBroker::Gap { last }),
        };
        if self.lies_about(Lie::Answers) {
            return self.lie_about_answers(n);
        }
        self.answer(&RoomFromBroker::Stored { n, seq });
    }

    fn write(&mut self, author: u64, publication: Publication) -> u64 {
        self.lines.push(Written {
            author,
            publication,
        });
        self.lines.len() as u64
    }

    // ---- what it says

    fn say(&mut self, channel: u8, message: &[u8]) {
        if let Some((session, _)) = &mut self.session {
            session.say(channel, message);
        }
    }

    fn answer(&mut self, message: &RoomFromBroker) {
        let channel = self.seat.as_ref().map_or(0, |seat| seat.channel);
        if channel > 0 {
            self.say(channel, &message.encode());
        }
    }

    fn delivered(&self, seq: u64) -> Delivered {
        Delivered {
            seq,
            k: 1,
            n: 1,
            present_k: 1,
            present_n: 1,
        }
    }

    /// The node gets the lines that it has not got yet.
    fn tell_lines(&mut self) {
        loop {
            let Some(seat) = self.seat.as_mut().filter(|seat| seat.channel > 0) else {
                return;
            };
            let seq = seat.next;
            let index = (seq as usize).wrapping_sub(1);
            let Some(line) = self.lines.get(index) else {
                return;
            };
            seat.next += 1;
            let mut wire = wire_line(seq, line);
            if self.lies_about(Lie::Order) {
                wire.seq = match self.dice.range(0, 4) {
                    0 => seq + 1,
                    1 => seq.saturating_sub(1),
                    2 => 0,
                    3 => VARINT_MAX,
                    _ => seq + self.dice.range(0, 50),
                };
            }
            self.answer(&RoomFromBroker::Line(wire));
        }
    }

    fn tell_page(&mut self, before: u64, count: u64) {
        let to = before.min(self.lines.len() as u64 + 1);
        let from = to.saturating_sub(count).max(1);
        let is_lie = self.lies_about(Lie::Pages);
        let (from, to) = match (is_lie, self.dice.range(0, 3)) {
            (false, _) => (from, to),
            // More than was asked for, or what is not there, or not all.
            (true, 0) => (1, to),
            (true, 1) => (from, to + 50),
            (true, 2) => (from, to.saturating_sub(1)),
            (true, _) => (from + 1, to),
        };
        for seq in from..to {
            let seq = match is_lie && self.dice.chance(50) {
                true => seq + 2,
                false => seq,
            };
            let past = PastLine {
                seq,
                author: EVE,
                n: seq,
                kind: Kind::Message,
                stored_at_ms: seq,
                typed_at_ms: seq,
                body: Bytes::from_static(b"of old"),
            };
            self.answer(&RoomFromBroker::Past(past));
        }
        let earlier = is_lie || from > 1;
        let count = to.saturating_sub(from);
        self.answer(&RoomFromBroker::HistoryEnd { count, earlier });
    }

    // ---- lies

    fn lies_about(&mut self, lie: Lie) -> bool {
        let does = self.lies.contains(&lie) && self.dice.chance(LIES_PERMILLE);
        self.told += u64::from(does);
        does
    }

    /// Time passes: somebody says something, and it may lie unasked.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        if self.seat.as_ref().is_none_or(|seat| seat.channel == 0) {
            return;
        }
        let n = self.lines.len() as u64 + 1;
        let said = Publication {
            n,
            typed_at_ms: now.as_nanos() / 1_000_000,
            kind: Kind::Message,
            body: format!("eve says {n}").into(),
        };
        self.write(EVE, said);
        self.tell_lines();
        for lie in self.lies.clone() {
            if self.lies_about(lie) {
                self.lie(lie);
            }
        }
    }

    fn lie(&mut self, lie: Lie) {
        match lie {
            Lie::Order | Lie::Acks => self.repeat_a_line(),
            Lie::Joined => self.join_unasked(),
            Lie::Authors => self.forge_a_name(),
            Lie::Giant => self.say_something_giant(),
            Lie::Answers => {
                let last = self.last().n;
                let n = [0, 1, last, last + 1, last + 9, VARINT_MAX][self.pick(6)];
                self.lie_about_answers(n);
            }
            Lie::Endings => self.end_something(),
            Lie::Pages => self.tell_a_page_unasked(),
            Lie::Reports => self.misreport(),
            Lie::Frames => self.say_bad_frames(),
        }
    }

    fn pick(&mut self, count: u64) -> usize {
        self.dice.range(0, count - 1) as usize
    }

    fn repeat_a_line(&mut self) {
        let seq = self.pick(self.lines.len() as u64) as u64 + 1;
        if let Some(line) = self.lines.get(seq as usize - 1) {
            let wire = wire_line(seq, line);
            self.answer(&RoomFromBroker::Line(wire));
        }
    }

    fn join_unasked(&mut self) {
        let mut joined = Joined {
            log: self.log,
            room: RoomId::of(&self.room),
            resume: ResumeOutcome::Resumed,
            last: self.last(),
            base: place(self.lines.len() as u64),
        };
        self.twist(&mut joined);
        self.answer(&RoomFromBroker::Joined(joined));
    }

    fn forge_a_name(&mut self) {
        let names = ["\x1b[2Jeve", "victim", "e\u{202e}ve", "", "eve\neve", "EVE"];
        let name = names[self.pick(6)].to_owned();
        let author = [0, 1, EVE, 3, VARINT_MAX][self.pick(5)];
        let (account, device) = (AccountKey(self.rng.bytes()), DeviceKey(self.rng.bytes()));
        self.answer(&RoomFromBroker::Introduce {
            author,
            account,
            device,
            name,
        });
    }

    fn say_something_giant(&mut self) {
        let len = [CHAT_LINE_MAX, CHAT_LINE_MAX + 1, MESSAGE_MAX - 64][self.pick(3)];
        let fill = [b'x', b'\n', 0xff, 0x1b][self.pick(4)];
        let said = Publication {
            n: self.lines.len() as u64 + 1,
            typed_at_ms: VARINT_MAX,
            kind: Kind::Message,
            body: vec![fill; len].into(),
        };
        match self.dice.range(0, 3) {
            0 => {
                let names = vec!["x".repeat(50); 1_000];
                self.answer(&RoomFromBroker::Roster { total: 1, names });
            }
            1 => {
                // Endless beginnings of messages that never end.
                let channel = self.seat.as_ref().map_or(1, |seat| seat.channel.into());
                let begun = (0..20).map(|number| Frame::Frag {
                    channel,
                    number: 10_000 + number,
                    total: MESSAGE_MAX as u64,
                    offset: 0,
                    data: Bytes::from_static(&[1; 900]),
                });
                for frame in begun {
                    self.say_frames(&[frame]);
                }
            }
            _ => {
                self.write(EVE, said);
                self.tell_lines();
            }
        }
    }

    fn lie_about_answers(&mut self, n: u64) {
        let seq = [0, 1, self.lines.len() as u64, VARINT_MAX][self.pick(4)];
        let code = [
            Refusal::Conflict,
            Refusal::RetryLater,
            Refusal::TooLong,
            Refusal::Other(VARINT_MAX),
        ][self.pick(4)];
        let reason = "\x1b[31mno\n".repeat(self.pick(30));
        let last = [0, n, n + 5, VARINT_MAX][self.pick(4)].min(VARINT_MAX);
        let answer = match self.dice.range(0, 3) {
            0 => RoomFromBroker::Gap { last },
            1 => RoomFromBroker::NotStored { n, code, reason },
            _ => RoomFromBroker::Stored { n, seq },
        };
        self.answer(&answer);
    }

    fn end_something(&mut self) {
        let code = [
            Refusal::RetryLater,
            Refusal::Kicked,
            Refusal::Banned,
            Refusal::NameTaken,
            Refusal::InviteNeeded,
        ][self.pick(5)];
        let reason = "because".to_owned();
        let control = match self.dice.range(0, 7) {
            0 => ControlFromBroker::ByeOk,
            1 => ControlFromBroker::Welcome { people: VARINT_MAX },
            2 => ControlFromBroker::SignInRefused { code, reason },
            3 => return self.answer(&RoomFromBroker::Left),
            4 => return self.answer(&RoomFromBroker::Removed { code, reason }),
            5 => return self.answer(&RoomFromBroker::JoinRefused { code, reason }),
            6 => {
                let code = self.dice.range(0, 9);
                return self.say_frames(&[Frame::Close { code, reason }]);
            }
            _ => ControlFromBroker::Rooms {
                total: 0,
                rooms: vec![(VARINT_MAX, "\x1b[2J".to_owned()); 900],
            },
        };
        self.say(0, &control.encode());
    }

    fn tell_a_page_unasked(&mut self) {
        match self.dice.range(0, 1) {
            0 => self.tell_page(20, 20),
            _ => self.answer(&RoomFromBroker::HistoryEnd {
                count: VARINT_MAX,
                earlier: true,
            }),
        }
    }

    fn misreport(&mut self) {
        let number = [0, 1, 40, VARINT_MAX];
        let delivered = Delivered {
            seq: [1, self.last().n, self.lines.len() as u64, VARINT_MAX][self.pick(4)],
            k: number[self.pick(4)],
            n: number[self.pick(4)],
            present_k: number[self.pick(4)],
            present_n: number[self.pick(4)],
        };
        let notice = RoomFromBroker::Notice {
            presence: number[self.pick(4)],
            event: NoticeEvent::TimedOut,
            author: [0, 1, EVE, 99][self.pick(4)],
        };
        match self.dice.range(0, 1) {
            0 => self.answer(&RoomFromBroker::Delivered(delivered)),
            _ => self.answer(&notice),
        }
    }

    fn say_bad_frames(&mut self) {
        let (sequence, limit) = (self.dice.range(0, 9), VARINT_MAX);
        let Some((session, _)) = &mut self.session else {
            return;
        };
        match self.dice.range(0, 7) {
            0 => session.say_raw(&[0x3f, 1, 2, 3]),
            1 => session.say_frames(&[Frame::RetireCid { sequence }], false),
            2 => session.say_frames(&[Frame::PathChallenge([9; 8])], false),
            3 => session.say_frames(&[Frame::PathResponse([9; 8])], false),
            4 => session.say_frames(&[Frame::CreditLink { limit }], false),
            5 => session.say_numbered(60, 0, b"a channel that nobody opened"),
            6 => session.say_numbered(1, VARINT_MAX, b"far ahead"),
            _ => session.skip_numbers(1_000),
        }
    }

    fn say_frames(&mut self, frames: &[Frame]) {
        if let Some((session, _)) = &mut self.session {
            session.say_frames(frames, false);
        }
    }
}

/// A place in a log whose hash nobody has.
const fn place(seq: u64) -> LineBase {
    LineBase {
        seq,
        stored_at_ms: 0,
        hash: [0; 32],
    }
}

fn wire_line(seq: u64, line: &Written) -> WireLine {
    let Publication { n, kind, body, .. } = line.publication.clone();
    WireLine {
        seq,
        author: line.author,
        n,
        kind,
        since_previous_ms: 1,
        typed_lag_ms: 0,
        body,
    }
}

//! Two links that have each other's keys, and a network in the fuzzer's hands.
//!
//! What has to hold, with peers that keep to the rules:
//!
//! - Every message is handed over once, in its channel's order, and whole; all of them, once the
//!   network has healed (CHN-1, DLV-8). If one side closes the link, the rest may be missing.
//! - Then both go quiet but for signs of life (ACK-1, LIF-1).
//! - Only a packet that the peer sent is taken, and only once; anything else changes nothing
//!   (KEY-2, KEY-3).
//!
//! In the *hostile* mode further packets are forged with the true keys, as a peer with evil intent
//! would:
//!
//! - What cannot be right closes the link with PROTOCOL (LIF-4), and nothing else does but what the
//!   peer says.
//! - A link that has ended answers ever more rarely (LIF-3).
//!
//! And in both: nothing panics, time never stands still, no more is under way or kept than the
//! limits say (LIM-4).

mod steps;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use arbitrary::{Arbitrary, Unstructured};
use bytes::{Bytes, BytesMut};
use tertulia::link::{
    CHANNEL_MESSAGES_MAX, CHANNELS_MAX, CloseCode, CongestionControl, Deadline, IN_FLIGHT_MAX,
    Link, LinkConfig, LinkEvent, SendError, Side,
};
use tertulia::secure::{LinkSecrets, Sealer};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tertulia::wire::{Cid, DataHeader, Flags, Frame, decode_frames, pad_for_sample};

use steps::{CHANNELS, Forgery, Plan, Step};

use super::network::{Datagram, End, Network};

/// For how long the waits of one input last at most, before the network heals.
const WAITS_MAX: Duration = Duration::from_secs(120);
/// How many bytes are said in one input at most.
const SAID_MAX: usize = 400_000;
/// How soon all has arrived once the network has healed. Waits look like round trips to the links,
/// so that they are patient at first.
const HEALED_WITHIN: Duration = Duration::from_secs(900);
/// For how long both learn the true round trip, from the first signs of life, before they have to
/// be quiet: until then they may ask in vain, having learned a shorter one from the steps.
const LEARNING: Duration = Duration::from_secs(60);
/// How long both are watched for being quiet.
const QUIET: Duration = Duration::from_secs(60);
/// How many datagrams that may take: four PINGs of the node, two of the broker and their answers;
/// and twelve questions to an address from which a copy came, and their answers (PTH-2).
const QUIET_DATAGRAMS_MAX: usize = 12 + 24;
/// For how long a pair is watched whose network has healed in vain, since a peer is hostile.
const AFTERMATH: Duration = Duration::from_secs(30);
/// More turns than these without anything arriving and without time going by are a busy loop.
const TURNS_MAX: usize = 50;

const NODE_SECRET: [u8; 32] = [1; 32];
const BROKER_SECRET: [u8; 32] = [2; 32];
const NODE_CID: [u8; 4] = [0xca; 4];
const BROKER_CID: [u8; 8] = [0xbb; 8];

/// Checks one input. Returns how the two links ended, if they did, in their own words.
///
/// # Panics
///
/// If something that must hold does not.
pub fn check(input: &[u8]) -> Vec<String> {
    let mut input = Unstructured::new(input);
    let Ok(plan) = Plan::arbitrary(&mut input) else {
        return Vec::new();
    };
    let mut world = World::new(&plan);
    for step in plan.steps {
        world.take(step);
    }
    world.heal();
    let ended = [world.node.ended, world.broker.ended];
    let own = ended.into_iter().flatten().filter(|ended| !ended.by_peer);
    own.map(|ended| ended.reason).collect()
}

/// How a link ended.
#[derive(Debug)]
struct Ended {
    by_peer: bool,
    code: CloseCode,
    reason: String,
}

/// One link, and what is known about it from outside.
struct Party {
    link: Link,
    /// What the other party has said and this one not heard yet, by channel.
    awaited: BTreeMap<u8, VecDeque<Bytes>>,
    /// How the link ended.
    ended: Option<Ended>,
    was_told_to_close: bool,
    /// How many datagrams it took and sent since it ended.
    taken_since: u64,
    sent_since: u64,
    /// How many datagrams it has sent, all in all.
    sent: usize,
}

impl Party {
    fn new(end: End, seed: u8, now: Timestamp) -> Self {
        Self {
            link: Link::new(config(end, seed), now),
            awaited: BTreeMap::new(),
            ended: None,
            was_told_to_close: false,
            taken_since: 0,
            sent_since: 0,
            sent: 0,
        }
    }

    /// `is_asked`: whether either end was told to close the link.
    fn drain_events(&mut self, is_asked: bool, is_hostile: bool) {
        while let Some(event) = self.link.poll_event() {
            assert!(self.ended.is_none(), "after the last event: {event:?}");
            if let LinkEvent::Message { channel, data } = &event {
                let next = self.awaited.entry(*channel).or_default().pop_front();
                assert!(is_hostile || next.as_ref() == Some(data), "on {channel}");
            }
            if let LinkEvent::Closed {
                by_peer,
                code,
                reason,
            } = event
            {
                let is_right = match code {
                    CloseCode::Done if is_asked => true,
                    CloseCode::Protocol => is_hostile,
                    _ => is_hostile && by_peer,
                };
                assert!(is_right, "{by_peer} {code:?} {reason}");
                self.ended = Some(Ended {
                    by_peer,
                    code,
                    reason,
                });
            }
        }
    }

    fn drain_datagrams(&mut self, now: Timestamp) -> Vec<(Path, Vec<u8>)> {
        let mut datagrams = Vec::new();
        let mut out = Vec::new();
        while let Some(transmit) = self.link.poll_transmit(now, &mut out) {
            let train = transmit.datagrams(&out).map(<[u8]>::to_vec);
            datagrams.extend(train.map(|datagram| (transmit.path, datagram)));
            out.clear();
        }
        self.sent += datagrams.len();
        assert!(datagrams.len() <= IN_FLIGHT_MAX, "{}", datagrams.len());
        if self.ended.is_some() {
            self.sent_since += datagrams.len() as u64;
            // LIF-3: the CLOSE itself, and once more for each doubling.
            let rounds = 2 + u64::from((self.taken_since + 1).ilog2());
            assert!(self.sent_since <= rounds, "{} answers", self.sent_since);
        }
        for channel in CHANNELS {
            assert!(self.link.unacked_messages(channel) <= CHANNEL_MESSAGES_MAX);
        }
        datagrams
    }

    fn awaits_anything(&self) -> bool {
        self.awaited.values().any(|messages| !messages.is_empty())
    }
}

fn config(end: End, seed: u8) -> LinkConfig {
    let node_cid = Cid::new(&NODE_CID).expect("four bytes fit");
    let (side, secrets, cids) = match end {
        End::Node => (
            Side::Node,
            (NODE_SECRET, BROKER_SECRET),
            (node_cid, BROKER_CID.into()),
        ),
        End::Broker => (
            Side::Broker,
            (BROKER_SECRET, NODE_SECRET),
            (BROKER_CID.into(), node_cid),
        ),
    };
    let (send, receive) = secrets;
    let (local_cid, remote_cid) = cids;
    LinkConfig {
        reset_token: None,
        side,
        local_cid,
        remote_cid,
        path: path_from(end.other()),
        secrets: LinkSecrets { send, receive },
        seed: [seed; 32],
        idle_timeout: Duration::from_secs(86_400),
        keepalive: match end {
            End::Node => LinkConfig::NODE_KEEPALIVE,
            End::Broker => LinkConfig::BROKER_KEEPALIVE,
        },
        suspect_after: (end == End::Node).then_some(LinkConfig::NODE_SUSPECT_AFTER),
        congestion: match seed & 1 {
            0 => CongestionControl::default(),
            _ => CongestionControl::Bbr,
        },
    }
}

fn path_from(end: End) -> Path {
    match end {
        End::Node => Path::new(([192, 0, 2, 1], 1).into()),
        End::Broker => Path::new(([192, 0, 2, 2], 2).into()),
    }
}

/// Where neither of the two is: whoever repeats a packet from there may draw a question (PTH-2).
fn elsewhere() -> Path {
    Path::new(([203, 0, 113, 9], 9).into())
}

/// What can be seen of a link from outside.
type View = (
    Option<Deadline>,
    Timestamp,
    Path,
    bool,
    Option<Duration>,
    Option<Timestamp>,
);

struct World {
    now: Timestamp,
    waited: Duration,
    said: usize,
    is_hostile: bool,
    node: Party,
    broker: Party,
    network: Network,
    /// How many turns went by at this moment.
    turns: usize,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let now = Timestamp::from_millis(1_000);
        Self {
            now,
            waited: Duration::ZERO,
            said: 0,
            is_hostile: plan.is_hostile,
            node: Party::new(End::Node, plan.seed, now),
            broker: Party::new(End::Broker, !plan.seed, now),
            network: Network::default(),
            turns: 0,
        }
    }

    const fn party(&mut self, end: End) -> &mut Party {
        match end {
            End::Node => &mut self.node,
            End::Broker => &mut self.broker,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Wait { duration } => {
                let duration = duration.min(WAITS_MAX.saturating_sub(self.waited));
                self.waited += duration;
                self.run_until(self.now + duration);
            }
            Step::Say { by, channel, len } => self.say(by, channel, len),
            Step::Deliver { pick } => {
                if let Some(datagram) = self.network.take(pick) {
                    self.deliver(&datagram);
                }
            }
            Step::DeliverSome { count } => {
                for _ in 0..usize::from(count).min(self.network.len()) {
                    if let Some(datagram) = self.network.take(0) {
                        self.deliver(&datagram);
                    }
                }
            }
            Step::Fault(fault) => {
                self.network.apply(fault);
            }
            Step::Close { by } => {
                let now = self.now;
                self.party(by).was_told_to_close = true;
                self.party(by).link.close(CloseCode::Done, "enough", now);
                self.drain(by);
            }
            Step::RotateKeys { by } => {
                let now = self.now;
                self.party(by).link.rotate_keys(now);
                self.drain(by);
            }
            Step::Forge(forgery) => {
                if self.is_hostile {
                    self.forge(&forgery);
                }
            }
        }
    }

    fn say(&mut self, by: End, channel: u8, len: usize) {
        if self.said + len > SAID_MAX {
            return;
        }
        let message = vec![(self.said % 251) as u8; len];
        let now = self.now;
        let link = &mut self.party(by).link;
        let can_send = link.can_send(channel, len);
        let said = link.send(channel, message.clone().into(), now);
        assert_eq!(said.is_ok(), can_send, "{said:?}");
        match said {
            Ok(()) => {
                self.said += len + 1;
                let awaited = &mut self.party(by.other()).awaited;
                awaited
                    .entry(channel)
                    .or_default()
                    .push_back(message.into());
            }
            Err(SendError::TooLong) => panic!("{len} bytes are not too long"),
            Err(_) => {}
        }
        self.drain(by);
    }

    /// Seals a packet as the peer of `to` could, and has it arrive.
    fn forge(&mut self, forgery: &Forgery) {
        let to = forgery.to;
        let (secret, cid) = match to {
            End::Node => (BROKER_SECRET, &NODE_CID[..]),
            End::Broker => (NODE_SECRET, &BROKER_CID[..]),
        };
        let number = self.party(to.other()).link.stats().datagrams_sent + u64::from(forgery.ahead);
        let mut out = Vec::new();
        let number_offset = DataHeader::new(cid, number, None).encode(&mut out);
        let start = out.len();
        out[0] |= forgery.flags;
        out.extend_from_slice(&forgery.frames);
        pad_for_sample(&mut out, number_offset);
        let frames = Bytes::copy_from_slice(&out[start..]);
        let mut sealer = Sealer::new(&secret);
        for _ in 0..Flags(forgery.flags).epoch() {
            sealer.advance(number);
        }
        sealer.seal(number, &mut out, 0, number_offset);

        let was_open = self.party(to).link.is_open();
        let is_taken = self.hand_over(to, path_from(to.other()), &out);
        if is_taken && was_open && self.must_close(forgery, frames) {
            let ended = self.party(to).ended.as_ref();
            let is_right =
                ended.is_some_and(|ended| !ended.by_peer && ended.code == CloseCode::Protocol);
            assert!(is_right, "{ended:?} after {forgery:?}");
        }
    }

    /// Whether a packet breaks a rule for certain, as far as can be told from outside.
    fn must_close(&mut self, forgery: &Forgery, frames: Bytes) -> bool {
        if forgery.flags & 0x1c != 0 {
            // PKT-6
            return true;
        }
        // Numbers are left out, but not as many as are sent (ACK-3).
        let sent = 2 * self.party(forgery.to).sent as u64 + 2;
        for frame in decode_frames(frames) {
            match frame {
                // FRM-1
                Err(_) => return true,
                Ok(Frame::Close { .. }) => return false,
                Ok(Frame::Ack(ack)) if ack.largest() > sent => return true,
                Ok(Frame::Msg { channel, .. } | Frame::Frag { channel, .. })
                    if channel >= CHANNELS_MAX.into() =>
                {
                    return true;
                }
                Ok(_) => {}
            }
        }
        false
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let path = match datagram.is_elsewhere {
            true => elsewhere(),
            false => path_from(datagram.to.other()),
        };
        self.hand_over(datagram.to, path, &datagram.bytes);
    }

    /// Hands a datagram to one of the links, and checks what comes of it. Says whether it was taken.
    fn hand_over(&mut self, to: End, path: Path, bytes: &[u8]) -> bool {
        self.turns = 0;
        let now = self.now;
        let before = self.view(to);
        let party = self.party(to);
        // What was due anyway happens now, whatever arrives.
        let is_due = party.link.poll_timeout().is_some_and(|due| due.at <= now);
        let sent = party.sent;
        party.taken_since += u64::from(party.ended.is_some());
        let handled = party.link.handle_datagram(path, BytesMut::from(bytes), now);
        self.drain(to);
        if handled.is_err() && !is_due {
            assert_eq!(
                self.view(to),
                before,
                "a refused datagram changed something"
            );
            assert_eq!(self.party(to).sent, sent);
        }
        if handled.is_ok() && !self.is_hostile {
            assert!(self.network.is_fresh(to, bytes), "taken by {to:?}");
        }
        if handled.is_ok() {
            self.network.on_accepted(to, bytes);
        }
        handled.is_ok()
    }

    fn view(&mut self, end: End) -> View {
        let link = &self.party(end).link;
        (
            link.poll_timeout(),
            link.last_heard(),
            link.path(),
            link.is_open(),
            link.srtt(),
            link.unacked_since(),
        )
    }

    /// Takes everything that a link has to give.
    fn drain(&mut self, end: End) {
        let (now, is_hostile) = (self.now, self.is_hostile);
        let is_asked = self.node.was_told_to_close || self.broker.was_told_to_close;
        let party = self.party(end);
        party.drain_events(is_asked, is_hostile);
        for (path, datagram) in party.drain_datagrams(now) {
            let is_elsewhere = path == elsewhere();
            self.network
                .carry(end.other(), &datagram, is_elsewhere, now);
        }
    }

    /// Time goes by, and whoever asked to be woken is.
    fn run_until(&mut self, end: Timestamp) {
        while let Some(next) = self.next_at().filter(|next| *next <= end) {
            if next > self.now {
                self.now = next;
                self.turns = 0;
            }
            if let Some(datagram) = self.network.arrived(self.now) {
                self.deliver(&datagram);
                continue;
            }
            self.turns += 1;
            let deadlines = End::BOTH.map(|end| self.party(end).link.poll_timeout());
            assert!(self.turns < TURNS_MAX, "busy: {deadlines:?}");
            for (end, deadline) in End::BOTH.into_iter().zip(deadlines) {
                if deadline.is_some_and(|deadline| deadline.at <= self.now) {
                    let now = self.now;
                    self.party(end).link.handle_timeout(now);
                    self.drain(end);
                }
            }
        }
        self.now = self.now.max(end);
    }

    fn next_at(&self) -> Option<Timestamp> {
        let timeout = |party: &Party| party.link.poll_timeout().map(|deadline| deadline.at);
        [
            self.network.next_at(),
            timeout(&self.node),
            timeout(&self.broker),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The network heals; what must come true has to.
    fn heal(&mut self) {
        self.network.heal(self.now);
        let has_ended = End::BOTH.iter().any(|end| self.party(*end).ended.is_some());
        if self.is_hostile || has_ended {
            return self.run_until(self.now + AFTERMATH);
        }
        let start = self.now;
        while self.is_busy() {
            self.run_until(self.now + Duration::from_millis(100));
            let state = (&self.node.link, &self.broker.link);
            assert!(self.now <= start + HEALED_WITHIN, "still busy: {state:?}");
        }
        self.run_until(self.now + LEARNING);
        let sent = self.node.sent + self.broker.sent;
        self.run_until(self.now + QUIET);
        let sent = self.node.sent + self.broker.sent - sent;
        assert!(sent <= QUIET_DATAGRAMS_MAX, "{sent} datagrams for nothing");
    }

    fn is_busy(&self) -> bool {
        let is_busy = |party: &Party| party.awaits_anything() || party.link.unacknowledged();
        is_busy(&self.node) || is_busy(&self.broker) || self.network.len() > 0
    }
}

//! A link while messages flow: what comes in, and what time does. What goes out is in
//! `transmit`, what is sent again in `recovery`.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;

use super::channel::{CHANNELS_MAX, CONTROL, Fragment, Novelty, ReceiveChannels, SendChannels};
use super::cids::Cids;
use super::congestion::{CongestionControl, Controller};
use super::copies::Copies;
use super::ecn::EcnPath;
use super::envelope::Envelope;
use super::flight::FlightMeter;
use super::ladder::Ladder;
use super::mtu::PathMtu;
use super::pacer::Pacer;
use super::path::Paths;
use super::received::ReceivedPackets;
use super::recovery::requeue;
use super::redundancy::Redundancy;
use super::reordering::Reordering;
use super::report::{CloseCode, LinkEvent, SendError, Stats, Violation};
use super::rtt::{ACK_DELAY_MAX, Rtt};
use super::sent::SentPackets;
use super::timer::{Deadline, Reason, Timers};
use super::transmit::Grease;
use super::{LinkConfig, Side};
use crate::bug;
use crate::rng::SparseRng;
use crate::secure::Opened;
use crate::time::Timestamp;
use crate::transmit::{Ecn, Path};
use crate::wire::{Frame, decode_frames};

/// With fewer events than this waiting, a message may stay in the datagram that it came in.
const EVENTS_FEW: usize = 16;

/// A link whose owner had nothing to say for so long rests: it keeps no memory for what it can make
/// again, nor for more than it has.
const RESTS_AFTER: Duration = Duration::from_secs(5);
/// So much later than the last packet came: the answer to a PING has gone by then.
const RESTS_AFTER_HEARING: Duration = Duration::from_secs(1);

/// How many T of hearing nothing an owner bears who waits for an answer (LIF-5).
const EXPECT_TIMEOUTS: u32 = 3;
/// And at least so long: a store may take a moment (LIF-5).
const EXPECT_MIN: Duration = Duration::from_millis(250);

/// A probe that has fired and is not sent yet (PROBE-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// It goes, whatever the window says.
    Free,
    /// It goes if a copy may.
    Charged,
}

/// What a packet means for the link as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    GoesOn,
    /// It goes on, over another path (PTH-3).
    Moved(Path),
    /// The peer has ended it.
    Closed { code: CloseCode, reason: String },
}

/// How a packet came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) path: Path,
    /// The datagram's length, in bytes.
    pub(super) len: usize,
    /// Whether its number is the highest so far.
    pub(super) is_newest: bool,
    /// How it was marked.
    pub(super) ecn: Ecn,
}

/// The state of a link that is neither closing nor closed.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) side: Side,
    pub(super) senders: SendChannels,
    pub(super) receivers: ReceiveChannels,
    pub(super) sent: SentPackets,
    pub(super) received: ReceivedPackets,
    pub(super) rtt: Rtt,
    pub(super) ecn: EcnPath,
    /// How the train that is being made is marked.
    pub(super) mark: Ecn,
    pub(super) reordering: Reordering,
    /// How large a datagram the path takes (MTU-1).
    pub(super) mtu: PathMtu,
    pub(super) ladder: Ladder,
    pub(super) copies: Copies,
    pub(super) redundancy: Redundancy,
    /// Whether the owner has anything left for copies (LAD-8).
    pub(super) may_copy: bool,
    pub(super) congestion: Controller,
    /// What a new path's controller is made from.
    control: (CongestionControl, u8),
    pub(super) pacer: Pacer,
    /// The packets sent that elicit acknowledgements.
    pub(super) flight: FlightMeter,
    /// How long the peer held back the last acknowledgement although the flight was thin (PROBE-1).
    pub(super) held_back: Duration,
    pub(super) grease: Grease,
    pub(super) paths: Paths,
    pub(super) cids: Cids,
    /// What a PATH_CHALLENGE wants to have sent back (PTH-3).
    pub(super) path_response: Option<[u8; 8]>,
    /// When the link came to the path that it is on.
    pub(super) moved_at: Timestamp,
    /// The probe that is to be sent.
    pub(super) probe: Option<Probe>,
    /// Whether a PING is to be sent if nothing else is (LIF-1).
    pub(super) ping_due: bool,
    /// Whether the window is larger than what there is to send (CC-1).
    pub(super) is_app_limited: bool,
    /// Whether the last train took along all that there was to send.
    pub(super) is_drained: bool,
    /// Until when the pacer holds back what waits to be sent (CC-2).
    pub(super) paced_until: Option<Timestamp>,
    /// When the last packet went that elicits an acknowledgement, or the link was made.
    pub(super) last_eliciting: Timestamp,
    last_heard: Timestamp,
    /// When the owner last sent anything, or the link was made.
    spoke_at: Timestamp,
    unacked_since: Option<Timestamp>,
    /// Whether the present silence was reported (LIF-2).
    silence_told: bool,
    timers: Timers,
    idle_timeout: Duration,
    keepalive: Duration,
    suspect_after: Option<Duration>,
    /// Whether the owner waits for something that the peer owes (LIF-5).
    is_expecting: bool,
    /// Whether nothing has happened since its memory was given up.
    is_resting: bool,
}

impl Open {
    pub(super) fn new(config: &LinkConfig, rng: &mut SparseRng, now: Timestamp) -> Self {
        let mut open = Self {
            side: config.side,
            senders: SendChannels::default(),
            receivers: ReceiveChannels::default(),
            sent: SentPackets::default(),
            received: ReceivedPackets::default(),
            rtt: Rtt::new(),
            ecn: EcnPath::default(),
            mark: Ecn::NotEct,
            reordering: Reordering::default(),
            mtu: PathMtu::default(),
            ladder: Ladder::default(),
            copies: Copies::default(),
            redundancy: Redundancy::new(),
            may_copy: true,
            congestion: Controller::new(config.congestion, config.seed[0]),
            control: (config.congestion, config.seed[0]),
            pacer: Pacer::default(),
            flight: FlightMeter::default(),
            held_back: Duration::ZERO,
            grease: Grease::new(rng),
            paths: Paths::new(config.path),
            cids: Cids::new(config.local_cid, config.reset_token.unwrap_or_default()),
            path_response: None,
            moved_at: now,
            probe: None,
            ping_due: false,
            is_app_limited: true,
            is_drained: true,
            paced_until: None,
            last_eliciting: now,
            last_heard: now,
            spoke_at: now,
            unacked_since: None,
            silence_told: false,
            timers: Timers::default(),
            idle_timeout: config.idle_timeout,
            keepalive: config.keepalive,
            suspect_after: config.suspect_after,
            is_expecting: false,
            is_resting: false,
        };
        open.rearm(now);
        open
    }

    pub(super) fn srtt(&self) -> Option<Duration> {
        self.rtt.first_sample_at().map(|_| self.rtt.smoothed())
    }

    pub(super) const fn largest_acked(&self) -> Option<u64> {
        self.sent.largest_acked()
    }

    pub(super) fn unacknowledged(&self) -> bool {
        self.sent.in_flight() > 0 || self.senders.has_unacked()
    }

    pub(super) const fn unacked_since(&self) -> Option<Timestamp> {
        self.unacked_since
    }

    pub(super) fn unacked_messages(&self, channel: u8) -> usize {
        self.senders.unacked(channel)
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.timers.earliest()
    }

    /// T (PROBE-1): with the peer's delay, unless it acknowledges at once because the last flight
    /// was thin. A peer that has learned longer round trips may see a thick one in it all the same.
    pub(super) fn probe_timeout(&self) -> Duration {
        let delay = match self.is_flight_thin() {
            true => self.held_back,
            false => ACK_DELAY_MAX,
        };
        self.rtt.probe_timeout() + delay
    }

    /// Whether the peer should acknowledge at once (ACK-2).
    pub(super) fn is_flight_thin(&self) -> bool {
        self.flight.is_thin(self.rtt.smoothed())
    }

    /// Whether a message may be queued; a broker uses the channels that the node has opened (CHN-2).
    pub(super) fn check_send(&self, channel: u8, len: usize) -> Result<(), SendError> {
        let is_allowed = match self.side {
            Side::Node => channel < CHANNELS_MAX,
            Side::Broker => channel == CONTROL || self.receivers.is_used(channel),
        };
        if !is_allowed {
            return Err(SendError::NoChannel);
        }
        self.senders.check(channel, len)
    }

    pub(super) fn send(
        &mut self,
        channel: u8,
        data: Bytes,
        now: Timestamp,
    ) -> Result<(), SendError> {
        self.check_send(channel, data.len())?;
        self.senders.push(channel, data);
        self.spoke_at = now;
        self.is_resting = false;
        // No timer depends on what was not sent yet, but for the one of silence.
        self.unacked_since.get_or_insert(now);
        Ok(())
    }

    /// Takes in a packet that has decrypted.
    pub(super) fn handle_packet(
        &mut self,
        opened: Opened,
        arrival: Arrival,
        envelope: &mut Envelope,
        events: &mut VecDeque<LinkEvent>,
        stats: &mut Stats,
        now: Timestamp,
    ) -> Result<Verdict, Violation> {
        if opened.reserved_bits {
            return Err(Violation::ReservedBits);
        }
        self.last_heard = now;
        self.is_resting = false;
        self.silence_told = false;
        if self.side == Side::Broker {
            let Arrival {
                path,
                len,
                is_newest,
                ..
            } = arrival;
            let timeout = self.probe_timeout();
            self.paths.on_packet(path, len, is_newest, timeout, now);
        }
        self.sent.forget_settled(now);
        let mut is_eliciting = false;
        let mut has_news = false;
        let mut moved_to = None;
        if bug!(NoPathCheck) {
            moved_to = self.paths.follow();
        }
        for frame in decode_frames(opened.payload) {
            let frame = frame?;
            is_eliciting |= frame.is_ack_eliciting();
            let is_message = matches!(frame, Frame::Msg { .. } | Frame::Frag { .. });
            has_news |= frame.is_ack_eliciting() && !is_message;
            match frame {
                Frame::Ack(ack) => self.on_ack(&ack, envelope, stats, now)?,
                Frame::Msg {
                    channel,
                    number,
                    data,
                } => {
                    let novelty = self.on_message(channel, number, data, events)?;
                    has_news |= note_novelty(novelty, stats);
                }
                Frame::Frag {
                    channel,
                    number,
                    total,
                    offset,
                    data,
                } => {
                    let fragment = Fragment {
                        total: total as usize,
                        offset: offset as usize,
                        data,
                    };
                    let novelty = self.on_fragment(channel, number, fragment, events)?;
                    has_news |= note_novelty(novelty, stats);
                }
                Frame::PathChallenge(data) => self.on_path_challenge(data)?,
                Frame::PathResponse(data) => {
                    moved_to = self.paths.on_response(arrival.path, data).or(moved_to);
                }
                Frame::Close { code, reason } => {
                    let code = code.into();
                    return Ok(Verdict::Closed { code, reason });
                }
                other => self.on_control(&other, envelope, events)?,
            }
        }
        self.received.ecn.on_packet(arrival.ecn);
        self.received
            .on_packet(opened.number, is_eliciting, has_news, &self.rtt, now);
        if moved_to.is_some() {
            self.on_moved(envelope, stats, now);
        }
        self.rearm(now);
        Ok(moved_to.map_or(Verdict::GoesOn, Verdict::Moved))
    }

    /// A frame about the link itself came: credit, or connection ids.
    fn on_control(
        &mut self,
        frame: &Frame,
        envelope: &Envelope,
        events: &mut VecDeque<LinkEvent>,
    ) -> Result<(), Violation> {
        match *frame {
            Frame::CreditLink { limit } => self.senders.on_link_credit(limit),
            Frame::CreditChannel { channel, limit } => {
                let channel = in_range(channel)?;
                self.senders.on_channel_credit(channel, limit);
            }
            Frame::NewCid {
                sequence,
                cid,
                token,
            } => {
                let len = envelope.remote_cid_len();
                self.cids.on_new(sequence, cid, token, len)?;
            }
            Frame::RetireCid { sequence } => {
                let retired = self.cids.on_retired(sequence)?;
                events.extend(retired.map(|cid| LinkEvent::CidRetired { cid }));
            }
            _ => {}
        }
        Ok(())
    }

    /// A whole message came.
    fn on_message(
        &mut self,
        channel: u64,
        number: u64,
        data: Bytes,
        events: &mut VecDeque<LinkEvent>,
    ) -> Result<Novelty, Violation> {
        let channel = self.check_channel(channel)?;
        let deliver = deliver_to(events, channel);
        self.receivers.on_message(channel, number, data, deliver)
    }

    /// A part of a message came.
    fn on_fragment(
        &mut self,
        channel: u64,
        number: u64,
        fragment: Fragment,
        events: &mut VecDeque<LinkEvent>,
    ) -> Result<Novelty, Violation> {
        let channel = self.check_channel(channel)?;
        let deliver = deliver_to(events, channel);
        self.receivers
            .on_fragment(channel, number, fragment, deliver)
    }

    /// The owner took a message (CRD-3).
    pub(super) fn on_taken(&mut self, channel: u8, len: usize) {
        self.receivers.on_taken(channel, len);
    }

    /// The broker asks whether this node is where its packets come from (PTH-3).
    fn on_path_challenge(&mut self, data: [u8; 8]) -> Result<(), Violation> {
        match self.side {
            Side::Node => {
                self.path_response = Some(data);
                Ok(())
            }
            Side::Broker => Err(Violation::ChallengeByNode),
        }
    }

    /// This side has a new address (PTH-6).
    pub(super) fn handle_address_change(
        &mut self,
        envelope: &mut Envelope,
        stats: &mut Stats,
        now: Timestamp,
    ) {
        self.on_moved(envelope, stats, now);
        self.ping_due = true;
        self.rearm(now);
    }

    /// The link is on a new path: nothing is known about it, nothing is in flight there, and nobody
    /// who saw the link before is to recognize it (PTH-3, CID-2, MTU-3).
    fn on_moved(&mut self, envelope: &mut Envelope, stats: &mut Stats, now: Timestamp) {
        let Self {
            sent,
            senders,
            receivers,
            cids,
            copies,
            ..
        } = self;
        stats.packets_lost +=
            sent.abandon(|packet| requeue(senders, receivers, cids, copies, packet));
        if let Some(cid) = self.cids.take_spare() {
            envelope.set_remote_cid(cid);
        }
        self.rtt = Rtt::new();
        self.ecn.on_moved();
        self.reordering = Reordering::default();
        self.mtu = PathMtu::default();
        self.senders.cut_anew();
        self.congestion = Controller::new(self.control.0, self.control.1);
        self.pacer = Pacer::default();
        self.paced_until = None;
        self.ladder.on_ack(None);
        self.redundancy.on_moved();
        self.probe = None;
        self.moved_at = now;
        stats.moves += 1;
    }

    /// Acts on the timers that have gone off. Says whether the link is over (LIF-2).
    pub(super) fn handle_timeout(
        &mut self,
        envelope: &mut Envelope,
        events: &mut VecDeque<LinkEvent>,
        stats: &mut Stats,
        now: Timestamp,
    ) -> bool {
        for reason in self.timers.expired(now) {
            match reason {
                // `transmit` sees for itself that it is due.
                Reason::Ack => {}
                Reason::Loss => self.on_loss_due(stats, now),
                Reason::Probe => self.on_probe_due(stats, now),
                // `transmit` sees for itself that it is due.
                Reason::Copy => {}
                Reason::Pacing => self.paced_until = None,
                Reason::Keepalive => self.ping_due = true,
                Reason::Silence => {
                    self.silence_told = true;
                    events.push_back(LinkEvent::Silent);
                }
                Reason::Idle => return true,
                Reason::Path => self.paths.handle_timeout(now),
                Reason::Rest => self.rest(envelope, events, now),
                Reason::Closing => {}
            }
        }
        self.rearm(now);
        false
    }

    /// Keeps no memory for what can be made again, nor for more than there is.
    fn rest(&mut self, envelope: &mut Envelope, events: &mut VecDeque<LinkEvent>, now: Timestamp) {
        self.is_resting = true;
        self.sent.forget_settled(now);
        self.sent.release();
        self.received.release();
        self.senders.release();
        self.receivers.release();
        self.copies.release();
        envelope.rest();
        events.shrink_to_fit();
    }

    /// Whether nothing has happened since its memory was given up.
    pub(super) const fn is_resting(&self) -> bool {
        self.is_resting
    }

    /// When nothing will have happened for so long that it rests.
    fn rest_due(&self) -> Option<Timestamp> {
        let due = (self.spoke_at + RESTS_AFTER).max(self.last_heard + RESTS_AFTER_HEARING);
        (!self.is_resting && self.unacked_since.is_none()).then_some(due)
    }

    /// Sets every timer from the state, so that the earliest is always the true one.
    pub(super) fn rearm(&mut self, now: Timestamp) {
        self.unacked_since = match (self.unacknowledged(), self.unacked_since) {
            (true, since) => Some(since.unwrap_or(now)),
            // A lone PING that was given up for lost still waits for a sign of life (LIF-2).
            (false, Some(since)) if self.last_heard < since => Some(since),
            (false, _) => None,
        };
        let probe = match self.probe {
            None => self.ladder.next(self.probe_timeout(), self.rtt.smoothed()),
            Some(_) => None,
        };
        let copy = self.copies.due(self.rtt.smoothed());
        let silence = match (self.suspect_after, self.unacked_since) {
            (Some(after), Some(since)) if !self.silence_told => {
                Some(since.max(self.last_heard) + after)
            }
            _ => None,
        };
        let timers = &mut self.timers;
        timers.set(Reason::Ack, self.received.due());
        timers.set(Reason::Loss, self.sent.loss_due());
        timers.set(Reason::Probe, probe);
        timers.set(Reason::Copy, copy);
        timers.set(Reason::Pacing, self.paced_until);
        timers.set(Reason::Silence, silence);
        timers.set(Reason::Path, self.paths.due());
        timers.set(Reason::Idle, Some(self.last_heard + self.idle_timeout));
        let rest = self.rest_due();
        self.timers.set(Reason::Rest, rest);
        let keepalive = self.keepalive_due();
        self.timers.set(Reason::Keepalive, keepalive);
    }

    /// When a PING is due (LIF-1). What is in flight asks for a sign of life already.
    fn keepalive_due(&self) -> Option<Timestamp> {
        if self.ping_due || self.sent.in_flight() > 0 {
            return None;
        }
        let since = match self.side {
            Side::Node => self.last_eliciting,
            Side::Broker => self.last_heard.max(self.last_eliciting),
        };
        let keepalive = since + self.keepalive;
        if !self.is_expecting {
            return Some(keepalive);
        }
        let patience = (self.probe_timeout() * EXPECT_TIMEOUTS).max(EXPECT_MIN);
        let last = self.last_heard.max(self.last_eliciting);
        Some(keepalive.min(last + patience))
    }

    /// The owner waits for something that the peer owes, or does not any more (LIF-5).
    pub(super) fn set_expecting(&mut self, is_expecting: bool, now: Timestamp) {
        if self.is_expecting != is_expecting {
            self.is_expecting = is_expecting;
            self.rearm(now);
        }
    }

    /// What the handshake has shown of the round trip (RTT-1).
    pub(super) fn hint_rtt(&mut self, at_most: Duration, now: Timestamp) {
        self.rtt.hint(at_most);
        self.rearm(now);
    }

    /// Something is to be sent that the peer acknowledges, unless it is on its way already (KEY-8).
    pub(super) fn ask_for_acknowledgement(&mut self) {
        if self.sent.in_flight() == 0 {
            self.ping_due = true;
        }
    }

    /// This machine has slept (LIF-6).
    pub(super) fn handle_resume(&mut self, now: Timestamp) {
        self.rtt.forget_variance();
        self.ladder.restart(now);
        self.probe = None;
        self.ping_due = true;
        self.rearm(now);
    }

    /// A channel that the peer may send on (CHN-2).
    fn check_channel(&self, channel: u64) -> Result<u8, Violation> {
        let channel = in_range(channel)?;
        let is_open = match self.side {
            Side::Node => channel == CONTROL || self.senders.is_used(channel),
            Side::Broker => true,
        };
        match is_open {
            true => Ok(channel),
            false => Err(Violation::ChannelNotOpened),
        }
    }
}

/// Counts a piece that has come. Says whether it was new.
fn note_novelty(novelty: Novelty, stats: &mut Stats) -> bool {
    if novelty == Novelty::Duplicate {
        crate::sometimes!(DuplicatePiece);
        stats.duplicate_pieces += 1;
    }
    novelty != Novelty::Duplicate
}

/// A channel that there is (CHN-2).
fn in_range(channel: u64) -> Result<u8, Violation> {
    u8::try_from(channel)
        .ok()
        .filter(|channel| *channel < CHANNELS_MAX)
        .ok_or(Violation::ChannelOutOfRange)
}

/// Puts messages where the owner will take them. Those of an owner that is slow to do so are copied
/// out of their datagrams, so that a byte never keeps a kilobyte alive (CRD-2).
fn deliver_to(events: &mut VecDeque<LinkEvent>, channel: u8) -> impl FnMut(Bytes) {
    move |data| {
        let data = match events.len() < EVENTS_FEW {
            true => data,
            false => Bytes::copy_from_slice(&data),
        };
        events.push_back(LinkEvent::Message { channel, data });
    }
}

//! One encrypted connection between a node and a broker: SPEC.md section 8.
//!
//! A link turns an unreliable datagram path into up to 64 independent, ordered, reliable channels
//! of messages, and does so quickly for what chat is made of: few and small messages.
//!
//! *A message goes in.* [`Link::send`] puts it at the end of its channel (`channel::send`), which
//! cuts it into pieces if it does not fit one packet. Nothing leaves yet.
//!
//! *A packet goes out.* [`Link::poll_transmit`] packs what is due into datagrams (`transmit`): an
//! acknowledgement, pieces that were lost, new pieces; as many as the window (`congestion`) and the
//! `pacer` let through. Each packet gets a number that is never used twice and is sealed in place
//! (`envelope`). The packet remembers which pieces it held (`sent`); the message stays in its
//! channel until all its pieces are settled.
//!
//! *A packet comes in.* [`Link::handle_datagram`] decrypts first and believes afterwards (KEY-3).
//! Messages go through reassembly and reordering (`channel::receive`) to [`Link::poll_event`]. The
//! packet's number goes into the ranges that the next acknowledgement reports (`received`), at once
//! while traffic is thin.
//!
//! *An acknowledgement comes in.* It settles pieces, feeds the round-trip time (`rtt`) and the
//! window, and shows by what it leaves out which packets were lost. What is sent again is messages,
//! never packets (LOSS-2).
//!
//! *A packet comes in from elsewhere.* The node has a new address, or somebody has copied its
//! packet: the `path` there is asked before the link moves, under a fresh connection id (`cids`).
//!
//! *Nothing comes in.* The `ladder` says when to probe, and a probe carries the oldest messages
//! that nobody has acknowledged, so that one probe that gets through repairs what was missing
//! (PROBE-2). QUIC and TCP wait longer here, and QUIC's probes are often empty.
//!
//! *It ends.* By a CLOSE from either side, by a broken rule (LIF-4), or in silence (`close`).

mod channel;
mod cids;
mod close;
mod congestion;
mod copies;
mod ecn;
mod envelope;
mod flight;
mod ladder;
mod loss;
mod mtu;
mod open;
mod pacer;
mod path;
mod received;
mod recovery;
mod redundancy;
mod reordering;
mod report;
mod reset;
mod rtt;
mod sent;
#[cfg(test)]
mod tests;
mod timer;
mod transmit;

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::rng::{Seed, SparseRng};
use crate::secure::{LinkSecrets, OpenError, Opener, Sealer, is_token};
use crate::time::Timestamp;
use crate::transmit::{Ecn, Origin, Path, Transmit};
use crate::wire::{Cid, RESET_TOKEN_LEN, ResetToken};

pub use channel::{
    CHANNEL_BYTES_MAX, CHANNEL_BYTES_MIN, CHANNEL_MESSAGES_MAX, CHANNELS_MAX, CREDIT_CHANNEL,
    CREDIT_LINK, CREDIT_MAX, MESSAGE_COST,
};
pub use cids::CIDS_SPARE_MAX;
use close::Closing;
pub use congestion::CongestionControl;
use envelope::Envelope;
pub use loss::LossEstimate;
use open::{Arrival, Open, Verdict};
pub use redundancy::Care;
pub use report::{CloseCode, DropReason, LinkEvent, SendError, Stats, Violation};
pub use reset::ResetWatch;
pub use sent::IN_FLIGHT_MAX;
pub use timer::{Deadline, Reason};

/// Which end of a link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that opens channels and keeps the link alive.
    Node,
    /// The end that answers on the channels that the node opened.
    Broker,
}

/// What a link starts from: the outcome of a handshake, and the local policy.
#[derive(Debug)]
pub struct LinkConfig {
    /// Which end this is.
    pub side: Side,
    /// This side's own connection id (PKT-1); all that follow it are as long.
    pub local_cid: Cid,
    /// The peer's connection id, which every datagram carries.
    pub remote_cid: Cid,
    /// What ends a reset of this link (RST-4); `None` for a broker's, which no node can reset.
    pub reset_token: Option<ResetToken>,
    /// Where datagrams go.
    pub path: Path,
    /// The keys (KEY-1).
    pub secrets: LinkSecrets,
    /// For the packet numbers that are left out, and for grease.
    pub seed: Seed,
    /// After this long without a datagram that decrypts, the link is over (TIMED_OUT): a broker's
    /// grace (LIF-2).
    pub idle_timeout: Duration,
    /// A node sends a PING after this long without sending anything that elicits an
    /// acknowledgement, a broker after this long without hearing anything (LIF-1).
    pub keepalive: Duration,
    /// After this long without a datagram that decrypts while something is unacknowledged, the link
    /// reports [`LinkEvent::Silent`] (LIF-2); `None`: never.
    pub suspect_after: Option<Duration>,
    /// By which rules this end decides how much it sends (CC-4).
    pub congestion: CongestionControl,
}

impl LinkConfig {
    /// A node's default for [`keepalive`](Self::keepalive) (LIF-1).
    pub const NODE_KEEPALIVE: Duration = Duration::from_secs(15);
    /// A broker's default for [`keepalive`](Self::keepalive) (LIF-1).
    pub const BROKER_KEEPALIVE: Duration = Duration::from_secs(25);
    /// A node's default for [`suspect_after`](Self::suspect_after) (LIF-2).
    pub const NODE_SUSPECT_AFTER: Duration = Duration::from_secs(5);
}

/// One end of an encrypted connection: a state machine without a clock or a socket.
///
/// Its methods come in four kinds:
///
/// - *getters* change nothing: [`path`](Self::path), [`is_open`](Self::is_open),
///   [`is_closed`](Self::is_closed), [`last_heard`](Self::last_heard),
///   [`has_heard`](Self::has_heard), [`srtt`](Self::srtt),
///   [`unacknowledged`](Self::unacknowledged), [`unacked_since`](Self::unacked_since),
///   [`unacked_messages`](Self::unacked_messages), [`can_send`](Self::can_send),
///   [`reset_watch`](Self::reset_watch), [`stats`](Self::stats);
/// - *inputs* tell it what happened: [`handle_datagram`](Self::handle_datagram),
///   [`handle_timeout`](Self::handle_timeout);
/// - *commands* tell it what to do: [`send`](Self::send), [`close`](Self::close),
///   [`issue_cid`](Self::issue_cid), [`rotate_keys`](Self::rotate_keys),
///   [`handle_address_change`](Self::handle_address_change),
///   [`handle_resume`](Self::handle_resume), [`set_expecting`](Self::set_expecting),
///   [`hint_rtt`](Self::hint_rtt);
/// - *polls* take its output: [`poll_transmit`](Self::poll_transmit),
///   [`poll_event`](Self::poll_event), [`poll_timeout`](Self::poll_timeout).
///
/// After any input or command, and in this order: drain `poll_event` until `None` (what it yields
/// often leads to commands), then `poll_transmit` until `None`, then ask `poll_timeout` once for
/// when to call `handle_timeout`. An input that is a datagram goes in before a time-out of the same
/// moment, so that acknowledgements that have arrived are processed before probes fire (PROBE-3).
pub struct Link {
    path: Path,
    local_cid_len: usize,
    opener: Opener,
    envelope: Envelope,
    last_heard: Timestamp,
    has_heard: bool,
    events: VecDeque<LinkEvent>,
    stats: Stats,
    /// By what resets are known, once the link is not open any more (RST-4).
    watch: Option<Box<ResetWatch>>,
    /// What it had learnt when it ended (LAD-9).
    loss: LossEstimate,
    state: State,
}

/// What a link may still do. Each state owns what exists only in it.
#[derive(Debug)]
enum State {
    /// Messages flow. Boxed, because a closed link is small.
    Open(Box<Open>),
    /// A CLOSE was sent, and is repeated to a peer that goes on sending (LIF-3).
    Closing(Closing),
    /// Nothing will happen any more.
    Closed,
}

/// What a link keeps of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkHolding {
    /// How many messages are unacknowledged.
    pub messages: usize,
    /// Their bytes, which they may share with others.
    pub to_send: usize,
    /// The bytes that wait for what comes before them.
    pub received: usize,
}

impl Link {
    /// A link right after its handshake.
    #[must_use]
    pub fn new(config: LinkConfig, now: Timestamp) -> Self {
        let mut rng = SparseRng::new(config.seed);
        let open = Open::new(&config, &mut rng, now);
        Self {
            path: config.path,
            local_cid_len: config.local_cid.as_bytes().len(),
            opener: Opener::new(&config.secrets.receive),
            envelope: Envelope::new(
                Sealer::new(&config.secrets.send),
                config.remote_cid,
                rng,
                now,
            ),
            last_heard: now,
            has_heard: false,
            events: VecDeque::new(),
            stats: Stats::default(),
            watch: None,
            loss: LossEstimate::default(),
            state: State::Open(Box::new(open)),
        }
    }

    /// Where datagrams go (PTH-1).
    #[must_use]
    pub const fn path(&self) -> Path {
        self.path
    }

    /// Whether messages can still be exchanged.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the link is over for good: it sends nothing more and can be dropped. After a local
    /// [`close`](Self::close) this takes a while (LIF-3).
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When the last datagram came that decrypted; before the first one, when the link was made.
    #[must_use]
    pub const fn last_heard(&self) -> Timestamp {
        self.last_heard
    }

    /// Whether any datagram has decrypted yet: only then does the handshake take effect (SEC-7).
    #[must_use]
    pub const fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// The smoothed round-trip time (RTT-1), as far as anything was measured.
    #[must_use]
    pub fn srtt(&self) -> Option<Duration> {
        self.open().and_then(Open::srtt)
    }

    /// Whether the peer has yet to acknowledge anything.
    #[must_use]
    pub fn unacknowledged(&self) -> bool {
        self.open().is_some_and(Open::unacknowledged)
    }

    /// Since when, without interruption, something has been unacknowledged (LIF-2).
    #[must_use]
    pub fn unacked_since(&self) -> Option<Timestamp> {
        self.open().and_then(Open::unacked_since)
    }

    /// How many messages of `channel` wait for acknowledgement, counted from the oldest that does.
    #[must_use]
    pub fn unacked_messages(&self, channel: u8) -> usize {
        self.open().map_or(0, |open| open.unacked_messages(channel))
    }

    /// Whether [`send`](Self::send) would take a message of `len` bytes on `channel` (CHN-4,
    /// CRD-2).
    #[must_use]
    pub fn can_send(&self, channel: u8, len: usize) -> bool {
        self.open()
            .is_some_and(|open| open.check_send(channel, len).is_ok())
    }

    /// What it keeps of messages: to be sent or acknowledged, and to be put in order. Nothing once it
    /// has ended.
    #[must_use]
    pub fn holding(&self) -> LinkHolding {
        self.open().map_or_else(LinkHolding::default, |open| {
            let (messages, to_send) = open.senders.holds();
            let received = open.receivers.holds();
            LinkHolding {
                messages,
                to_send,
                received,
            }
        })
    }

    /// By what resets of this link are known after it was given up (RST-4); `None` if one has ended
    /// it.
    #[must_use]
    pub fn reset_watch(&self) -> Option<ResetWatch> {
        let Some(open) = self.open() else {
            return self.watch.as_deref().cloned();
        };
        let tokens = open.cids.tokens().collect();
        let path = self.path;
        Some(ResetWatch { path, tokens })
    }

    /// Whether nothing was said or heard for a while, so that it keeps as little memory as it can; its
    /// owner may do the same.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.open().is_some_and(Open::is_resting)
    }

    /// What has happened so far, in numbers.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Takes a datagram that was addressed to this link's connection id.
    ///
    /// One that comes from elsewhere than the link's path is as good as any other if it decrypts,
    /// but does not move the link by itself: whoever copies a packet and is faster than its sender
    /// would otherwise draw the answers to itself. A broker's link asks first (PTH-1).
    ///
    /// # Errors
    ///
    /// Why it was dropped, for the caller to count. A peer that breaks the rules closes the link
    /// instead, which [`poll_event`](Self::poll_event) reports (LIF-4).
    pub fn handle_datagram(
        &mut self,
        origin: impl Into<Origin>,
        datagram: BytesMut,
        now: Timestamp,
    ) -> Result<(), DropReason> {
        let Origin { path, ecn } = origin.into();
        if self.is_closed() {
            return Err(DropReason::Closed);
        }
        let len = datagram.len();
        let tail = datagram.last_chunk().copied();
        let newest = self.opener.largest();
        let opened = match self.opener.open(datagram, self.local_cid_len) {
            Ok(opened) => opened,
            Err(_) if tail.is_some_and(|tail| self.is_reset(path, &tail)) => {
                crate::sometimes!(LinkReset);
                self.state = State::Closed;
                self.events.push_back(LinkEvent::Reset);
                return Ok(());
            }
            Err(error) => return Err(self.refuse(error, now)),
        };
        self.stats.packets_received += 1;
        self.last_heard = now;
        self.has_heard = true;
        let arrival = Arrival {
            path,
            len,
            is_newest: newest.is_none_or(|newest| newest < opened.number),
            ecn,
        };
        let received = match &mut self.state {
            State::Open(open) => open.handle_packet(
                opened,
                arrival,
                &mut self.envelope,
                &mut self.events,
                &mut self.stats,
                now,
            ),
            State::Closing(closing) => closing.handle_packet(opened),
            State::Closed => return Err(DropReason::Closed),
        };
        match received {
            Ok(Verdict::GoesOn) => {}
            Ok(Verdict::Moved(path)) => self.path = path,
            Ok(Verdict::Closed { code, reason }) => self.end(true, code, reason),
            Err(violation) => self.close(CloseCode::Protocol, &violation.to_string(), now),
        }
        Ok(())
    }

    /// Acts on what is due by `now`. Calling it early or late is harmless.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Open(open) => {
                let (envelope, events) = (&mut self.envelope, &mut self.events);
                let is_over = open.handle_timeout(envelope, events, &mut self.stats, now);
                if open.is_resting() {
                    self.opener.rest();
                }
                if is_over {
                    self.end(false, CloseCode::TimedOut, String::new());
                }
            }
            State::Closing(closing) => {
                if closing.is_over(now) {
                    self.state = State::Closed;
                }
            }
            State::Closed => {}
        }
    }

    /// Queues `message` on `channel`; it is delivered once and in order as long as the link lives
    /// (CHN-1).
    ///
    /// # Errors
    ///
    /// If the link is closed, the message too long, or the channel full, without credit, or not
    /// the broker's to use.
    /// Then nothing was queued.
    pub fn send(&mut self, channel: u8, message: Bytes, now: Timestamp) -> Result<(), SendError> {
        match &mut self.state {
            State::Open(open) => open.send(channel, message, now),
            State::Closing(_) | State::Closed => Err(SendError::Closed),
        }
    }

    /// Gives the peer one more connection id under which this side can be reached, as long as the
    /// one of the handshake (CID-1), and the token of that id, which for a node's is zeros. It is told when something else is sent. Says whether the link
    /// took it: at most [`CIDS_SPARE_MAX`] are in store. [`LinkEvent::CidRetired`] says when the
    /// peer is done with one, and that there is room for another.
    pub fn issue_cid(&mut self, cid: Cid, token: ResetToken) -> bool {
        match &mut self.state {
            State::Open(open) => open.cids.issue(cid, token),
            State::Closing(_) | State::Closed => false,
        }
    }

    /// Seals with new keys from the next packet on (KEY-7), before a link does so by itself (KEY-8).
    /// Says whether it does: not before the peer has acknowledged a packet under the present ones.
    pub fn rotate_keys(&mut self, now: Timestamp) -> bool {
        match &self.state {
            State::Open(open) => self.envelope.rotate(open.largest_acked(), now),
            State::Closing(_) | State::Closed => false,
        }
    }

    /// This side has a new address, or may have one: a node tells its broker at once, and is not to
    /// be recognized by its old connection id (PTH-6).
    pub fn handle_address_change(&mut self, now: Timestamp) {
        if let State::Open(open) = &mut self.state {
            open.handle_address_change(&mut self.envelope, &mut self.stats, now);
        }
    }

    /// The owner waits for something that the peer owes, or does not any more: while it does, a
    /// PING asks for a sign of life after a few T of silence, because what the peer has said may
    /// have gone to an address where this side is no longer (LIF-5).
    pub fn set_expecting(&mut self, is_expecting: bool, now: Timestamp) {
        if let State::Open(open) = &mut self.state {
            open.set_expecting(is_expecting, now);
        }
    }

    /// The handshake took `at_most` so long from the first of its datagrams that this side has sent
    /// to the peer's answer. Counts until there is a sample (RTT-1).
    pub fn hint_rtt(&mut self, at_most: Duration, now: Timestamp) {
        if let State::Open(open) = &mut self.state {
            open.hint_rtt(at_most, now);
        }
    }

    /// How much of what this side sends is lost, as far as it can tell (LAD-3), or could when the
    /// link ended.
    #[must_use]
    pub fn loss(&self) -> LossEstimate {
        self.open().map_or(self.loss, |open| open.redundancy.loss())
    }

    /// How much of what was sent is lost on this path, as another link has found out (LAD-9).
    pub fn hint_loss(&mut self, loss: LossEstimate) {
        if let State::Open(open) = &mut self.state {
            open.redundancy.hint(loss);
        }
    }

    /// How much the messages of `channel` are worth copying from now on (LAD-4).
    pub fn set_care(&mut self, channel: u8, care: Care) {
        if let State::Open(open) = &mut self.state
            && channel < CHANNELS_MAX
        {
            open.redundancy.set_care(channel, care);
        }
    }

    /// Whether the owner of many links has anything left for copies, until it says otherwise
    /// (LAD-8).
    pub fn allow_copies(&mut self, may_copy: bool) {
        if let State::Open(open) = &mut self.state {
            open.may_copy = may_copy;
        }
    }

    /// Whether the peer may be given more credit than it began with, until the owner says otherwise:
    /// of what was given nothing is taken back (CRD-4, MEM-3).
    pub fn allow_more_credit(&mut self, may_grow: bool) {
        if let State::Open(open) = &mut self.state {
            open.receivers.allow_more_credit(may_grow);
        }
    }

    /// This machine has slept for a while that its clock does not show: the link asks at once whether
    /// the peer is still there, and stops backing off (LIF-6).
    pub fn handle_resume(&mut self, now: Timestamp) {
        if let State::Open(open) = &mut self.state {
            open.handle_resume(now);
        }
    }

    /// Ends the link at once: what is not acknowledged by now may never arrive (LIF-3). `reason` is
    /// cut to 128 bytes. Reported as an event like any other end. Harmless on a link that has ended.
    pub fn close(&mut self, code: CloseCode, reason: &str, now: Timestamp) {
        self.watch = self.reset_watch().map(Box::new);
        self.loss = self.loss();
        let State::Open(open) = &mut self.state else {
            return;
        };
        let closing = Closing::new(code, reason, open, &mut self.envelope, now);
        self.state = State::Closing(closing);
        self.report_end(false, code, reason.to_owned());
    }

    /// Appends what is to be sent now to `out`: one datagram or a train of them, for the link's
    /// path or for one that is to prove itself (PTH-2). `None` when there is nothing more to send at `now`.
    pub fn poll_transmit(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Option<Transmit> {
        let start = out.len();
        let mut path = self.path;
        self.renew_keys(now);
        let mut ecn = Ecn::NotEct;
        let segment_size = match &mut self.state {
            State::Open(open) => {
                if let Some(candidate) = open.transmit_challenge(&mut self.envelope, now, out) {
                    path = candidate;
                    open.is_drained = false;
                    None
                } else if open.transmit_mtu_probe(&mut self.envelope, now, out) {
                    open.is_drained = false;
                    self.stats.mtu_probes_sent += 1;
                    None
                } else {
                    let train = open.transmit(&mut self.envelope, &mut self.stats, now, out);
                    ecn = train.ecn;
                    train.segment_size
                }
            }
            State::Closing(closing) => {
                closing.transmit(out);
                None
            }
            State::Closed => None,
        };
        let len = out.len() - start;
        if self.envelope.is_exhausted() {
            self.close(CloseCode::Keys, "key used up", now);
        }
        if len == 0 {
            return None;
        }
        let transmit = Transmit {
            path,
            len,
            segment_size,
            ecn,
        };
        self.stats.datagrams_sent += len.div_ceil(segment_size.unwrap_or(len)) as u64;
        self.stats.bytes_sent += len as u64;
        Some(transmit)
    }

    /// Whether [`poll_transmit`](Self::poll_transmit), which has just appended something, would
    /// append nothing more at the same time: whoever has many links saves a call.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.open().is_some_and(|open| open.is_drained)
    }

    /// The next thing that happened, oldest first. Taking a message gives its sender credit for
    /// another one (CRD-3): an owner that has no room just stops asking.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        let event = self.events.pop_front();
        if let State::Open(open) = &mut self.state
            && let Some(LinkEvent::Message { channel, data }) = &event
        {
            open.on_taken(*channel, data.len());
        }
        event
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, and why; `None` once the link is
    /// closed. Always the earliest of all timers; it may lie in the past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        match &self.state {
            State::Open(open) => open.deadline(),
            State::Closing(closing) => Some(closing.deadline()),
            State::Closed => None,
        }
    }

    /// Goes on to the next epoch when the present one is over (KEY-8).
    fn renew_keys(&mut self, now: Timestamp) {
        if let State::Open(open) = &mut self.state
            && self.envelope.is_epoch_over(now)
            && !self.envelope.rotate(open.largest_acked(), now)
        {
            open.ask_for_acknowledgement();
        }
    }

    const fn open(&self) -> Option<&Open> {
        match &self.state {
            State::Open(open) => Some(open),
            State::Closing(_) | State::Closed => None,
        }
    }

    /// Whether a datagram from `path` that ends in `tail`, and does not open, says that the broker
    /// has no such link any more (RST-4).
    fn is_reset(&self, path: Path, tail: &[u8; RESET_TOKEN_LEN]) -> bool {
        self.open()
            .filter(|open| open.side == Side::Node && path == self.path)
            .is_some_and(|open| open.cids.tokens().any(|token| is_token(tail, &token)))
    }

    /// Counts a datagram that did not open; too many forgeries end the keys' life (KEY-4).
    fn refuse(&mut self, error: OpenError, now: Timestamp) -> DropReason {
        let reason = DropReason::from(error);
        if reason == DropReason::Authentication {
            self.stats.authentication_failures += 1;
        }
        if self.opener.exhausted() {
            self.close(CloseCode::Keys, "too many forgeries", now);
        }
        reason
    }

    /// Ends the link without a word to the peer.
    fn end(&mut self, by_peer: bool, code: CloseCode, reason: String) {
        if self.is_open() {
            self.watch = self.reset_watch().map(Box::new);
            self.loss = self.loss();
            self.report_end(by_peer, code, reason);
        }
        self.state = State::Closed;
    }

    fn report_end(&mut self, by_peer: bool, code: CloseCode, reason: String) {
        self.events.push_back(LinkEvent::Closed {
            by_peer,
            code,
            reason,
        });
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("path", &self.path)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

//! What goes out: packing what is due into as few datagrams as possible.
//!
//! One call makes a *train*: equal-sized datagrams and a last one that may be shorter, which the
//! driver can hand to the kernel in one call. Each datagram is one packet, and a packet is filled
//! in this order: an acknowledgement if there is news, what a probe repeats, pieces that were lost
//! and new ones, a PING if one is due and nothing else would be answered, and now and then grease.

use super::channel::{PIECE_HEADER_MAX, Piece, Which, piece_max};
use super::congestion::Congestion as _;
use super::copies::{SMALL_MAX, WATCHED_MAX};
use super::envelope::{Envelope, OpenPacket};
use super::open::{Open, Probe};
use super::report::Stats;
use super::sent::{Control, Fate, Pieces, SentPacket};
use crate::bug;
use crate::rng::SparseRng;
use crate::time::Timestamp;
use crate::transmit::{Ecn, Path};
use crate::wire::{Frame, TAG_LEN, put_unknown};

/// A datagram of a train that has at least this part of the size of the others is padded up to it.
const PADDED_FROM: (usize, usize) = (7, 8);

/// The most bytes of a train: what a kernel takes in one call.
const TRAIN_BYTES_MAX: usize = 65_507;

/// With less of the window left than this, in bytes, nothing is worth sending.
const BUDGET_MIN: usize = 128;

/// One packet in so many gets grease (FRM-2).
const GREASE_EVERY: (u64, u64) = (16, 64);
/// The longest content of grease, in bytes.
const GREASE_MAX: u64 = 8;

/// What a call made.
pub(super) struct Made {
    /// The size of each datagram, if there are several.
    pub(super) segment_size: Option<usize>,
    /// How all of them are marked.
    pub(super) ecn: Ecn,
}

/// A packet's outcome, for the train that it is in.
struct Built {
    /// The datagram's length, in bytes.
    len: usize,
    /// Whether more waits that may go now.
    has_more: bool,
    /// How many of its bytes are copies (LAD-5).
    copied: usize,
}

/// What goes into the packet that is being built.
#[derive(Default)]
struct Content {
    reported: Option<u64>,
    pieces: Pieces,
    controls: Vec<Control>,
    is_eliciting: bool,
    /// Whether the peer needs it: it is not all copies of what is in flight.
    is_needed: bool,
    /// The bytes of copies that others take along.
    copied: usize,
    /// The first few pieces that go for the first time.
    fresh: [Option<Piece>; WATCHED_MAX],
}

impl Open {
    /// Appends a train of datagrams.
    pub(super) fn transmit(
        &mut self,
        envelope: &mut Envelope,
        stats: &mut Stats,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Made {
        let mut size = self.mtu.size();
        let train_max = TRAIN_BYTES_MAX / size;
        let mut datagrams = 0;
        self.mark = self.ecn.mark(self.probe.is_some());
        while datagrams < train_max
            && let Some(built) = self.build_packet(size, datagrams == 0, envelope, stats, now, out)
        {
            datagrams += 1;
            let is_last = datagrams > 1 && built.len < size;
            size = if datagrams == 1 { built.len } else { size };
            if is_last || !built.has_more {
                break;
            }
        }
        self.is_drained = datagrams == 0 || !self.wants_to_send(now);
        if datagrams > 0 && self.is_drained {
            self.note_app_limited();
        }
        self.rearm(now);
        Made {
            segment_size: (datagrams > 1).then_some(size),
            ecn: self.mark,
        }
    }

    /// Appends one datagram of at most `limit` bytes; padded up to that if it is almost as long and
    /// more follows. `None` if nothing is due, allowed, or fits.
    fn build_packet(
        &mut self,
        limit: usize,
        is_first: bool,
        envelope: &mut Envelope,
        stats: &mut Stats,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Option<Built> {
        let is_ack_due = self.received.due().is_some_and(|due| due <= now);
        let is_free = self.probe == Some(Probe::Free) || self.path_response.is_some();
        let is_needed = is_free || self.ping_due || self.has_pending();
        self.weigh_copies(is_needed, now);
        let is_probe = self.probe.is_some();
        let wants = is_needed || is_probe || self.are_copies_due(now);
        let budget = match (wants, is_free) {
            (false, _) => {
                self.note_app_limited();
                0
            }
            // One probe per firing may exceed the window, and an answer about a path (CC-3).
            (true, true) => limit,
            (true, false) => self.budget(now).min(limit),
        };
        if budget == 0 {
            self.leave_out_copies(now);
        }
        if !is_ack_due && budget == 0 {
            return None;
        }
        // An acknowledgement that nobody waits for must not keep out what somebody does.
        for with_ack in [true, false] {
            let packet = envelope.begin(self.largest_acked(), out);
            let mut content = Content::default();
            if with_ack && self.received.is_worth_telling() {
                self.put_ack(packet.start + limit - TAG_LEN, &mut content, now, out);
            }
            if budget > 0 {
                let end = packet.start + budget - TAG_LEN;
                self.put_eliciting(end, &mut content, envelope, now, out);
            }
            if content.is_eliciting || (is_ack_due && content.reported.is_some()) {
                let probes = u64::from(is_probe && content.is_eliciting);
                let bounds = (limit, budget);
                let built = self.finish(packet, content, bounds, envelope, now, out);
                stats.bytes_copied += built.copied as u64;
                stats.probes_sent += probes;
                return Some(built);
            }
            Envelope::abandon(packet, out);
        }
        // What waits is larger than what the window leaves, or than the others of the train.
        self.is_app_limited &= !is_first;
        if is_first {
            self.leave_out_copies(now);
        }
        None
    }

    /// Whether another call at `now` might send something.
    fn wants_to_send(&self, now: Timestamp) -> bool {
        self.probe.is_some()
            || self.path_response.is_some()
            || self.ping_due
            || self.has_pending()
            || self.received.due().is_some_and(|due| due <= now)
            || self.are_copies_due(now)
            || self.mtu_probe_due(now).is_some()
    }

    /// There is less to send than the window would take (CC-1).
    fn note_app_limited(&mut self) {
        self.is_app_limited = true;
        self.congestion.on_app_limited(self.sent.in_flight());
    }

    fn are_copies_due(&self, now: Timestamp) -> bool {
        let due = self.copies.due(self.rtt.smoothed());
        due.is_some_and(|due| due <= now)
    }

    /// Leaves out what is due of copies and charged probes, unless it costs no packet of its own or
    /// may have one (LAD-5, LAD-8, PROBE-4).
    fn weigh_copies(&mut self, is_needed: bool, now: Timestamp) {
        let is_charged = self.probe == Some(Probe::Charged);
        if !is_charged && (is_needed || !self.are_copies_due(now)) {
            return;
        }
        let window = self.congestion.window();
        let srtt = self.rtt.smoothed();
        let may_copy = self.may_copy
            && self.redundancy.may_copy(is_charged, srtt, now)
            && self.sent.in_flight() + BUDGET_MIN as u64 <= window
            && !self.sent.is_full()
            && self
                .pacer
                .check(self.congestion.pacing_rate(srtt), now)
                .is_ok();
        if !may_copy {
            self.leave_out_copies(now);
        }
    }

    /// A copy that cannot go when it is due never goes (LAD-5).
    fn leave_out_copies(&mut self, now: Timestamp) {
        self.copies.skip_due(self.rtt.smoothed(), now);
        if self.probe == Some(Probe::Charged) {
            self.probe = None;
        }
    }

    /// Whether anything waits that does not go out only when something else does.
    fn has_pending(&self) -> bool {
        self.senders.has_pending()
            || self.cids.retirement().is_some()
            || self.receivers.credit_due().is_some()
    }

    /// Appends a datagram for a path that is to prove itself, and returns that path. It holds a
    /// PATH_CHALLENGE and nothing else, and does not count as in flight: there is no window yet for
    /// where it goes (PTH-2).
    pub(super) fn transmit_challenge(
        &mut self,
        envelope: &mut Envelope,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Option<Path> {
        let path = self.paths.challenge_due(now)?;
        let data = envelope.rng().bytes();
        let packet = match self.cids.next_spare() {
            Some(cid) => envelope.begin_to(cid, self.largest_acked(), out),
            None => envelope.begin(self.largest_acked(), out),
        };
        Frame::PathChallenge(data).encode(out);
        let len = envelope.finish(packet, 0, out);
        let timeout = self.probe_timeout();
        self.paths.on_challenge_sent(data, len, timeout, now);
        self.rearm(now);
        Some(path)
    }

    /// The size that a probe is to try now, if the window and the pacer let it (MTU-2).
    fn mtu_probe_due(&self, now: Timestamp) -> Option<usize> {
        let srtt = self.srtt()?;
        self.mtu.due(self.congestion.window(), srtt, now)
    }

    /// Appends a datagram that only tries its size, if one is due. It may exceed what is left of the
    /// window (CC-3). Says whether it did.
    pub(super) fn transmit_mtu_probe(
        &mut self,
        envelope: &mut Envelope,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(size) = self.mtu_probe_due(now).filter(|_| self.budget(now) > 0) else {
            return false;
        };
        let packet = envelope.begin(self.largest_acked(), out);
        let number = packet.number;
        Frame::Ping.encode(out);
        let len = envelope.finish(packet, size, out);
        let rate = self.congestion.pacing_rate(self.rtt.smoothed());
        self.pacer.on_sent(len, rate, now);
        let stamp = self.congestion.on_sent(self.sent.in_flight(), now);
        self.flight.record(now);
        self.ladder.on_sent(now);
        self.sent.push(SentPacket {
            number,
            sent_at: now,
            len: len as u16,
            fate: Fate::InFlight,
            settled_run: 0,
            stamp,
            copies: 0,
            is_counted: true,
            is_marked: false,
            is_mtu_probe: true,
            reported: None,
            pieces: Pieces::default(),
            controls: Vec::new(),
        });
        self.mtu.on_probe_sent();
        self.last_eliciting = now;
        self.rearm(now);
        true
    }

    /// How many bytes the window and the pacer let go now, for what elicits acknowledgements.
    fn budget(&mut self, now: Timestamp) -> usize {
        let window = self.congestion.window();
        let left = window.saturating_sub(self.sent.in_flight());
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        if left < BUDGET_MIN || self.sent.is_full() {
            self.is_app_limited = false;
            return 0;
        }
        let rate = self.congestion.pacing_rate(self.rtt.smoothed());
        match self.pacer.check(rate, now) {
            Ok(()) => left,
            Err(later) => {
                self.is_app_limited = false;
                self.paced_until = Some(later);
                0
            }
        }
    }

    fn put_ack(&mut self, end: usize, content: &mut Content, now: Timestamp, out: &mut Vec<u8>) {
        let room = end.saturating_sub(out.len());
        if let Some(ack) = self.received.ack(room, now) {
            content.reported = Some(ack.largest());
            Frame::Ack(ack).encode(out);
        }
    }

    fn put_eliciting(
        &mut self,
        end: usize,
        content: &mut Content,
        envelope: &mut Envelope,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) {
        let is_probe = self.probe.is_some();
        if is_probe {
            self.repeat_controls();
        }
        self.put_controls(end, content, now, out);
        content.is_needed |= content.is_eliciting;
        if is_probe && !bug!(GiveUpRetransmitting) {
            let pieces = &mut content.pieces;
            self.senders
                .fill(&[Which::Lost], out, end, |piece, _| pieces.push(piece));
            self.put_unacknowledged(end, pieces, out);
        }
        if self.are_copies_due(now) {
            self.put_riders(end, content, now, out);
        }
        if !is_probe || !bug!(GiveUpRetransmitting) {
            self.put_pending(end, content, now, out);
        }
        let has_room = out.len() < end;
        content.is_eliciting |= !content.pieces.is_empty();
        if !content.is_eliciting && (is_probe || self.ping_due) && has_room {
            Frame::Ping.encode(out);
            content.is_eliciting = true;
            content.is_needed = true;
        }
        if content.is_eliciting {
            self.put_offers(end, content, out);
            self.grease.put(end, envelope.rng(), out);
        }
    }

    /// Appends what is to be said about the link itself, as far as it fits.
    fn put_controls(
        &mut self,
        end: usize,
        content: &mut Content,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) {
        if let Some(data) = self.path_response
            && put_if_fits(&Frame::PathResponse(data), end, out)
        {
            self.path_response = None;
            content.is_eliciting = true;
        }
        if let Some(frame) = self.cids.retirement()
            && put_if_fits(&frame, end, out)
        {
            self.cids.set_retiring(false);
            content.controls.push(Control::RetireCid);
            content.is_eliciting = true;
        }
        while let Some((channel, frame)) = self.receivers.credit_due()
            && put_if_fits(&frame, end, out)
        {
            let srtt = self.rtt.smoothed();
            self.receivers.on_credit_sent(channel, srtt, now);
            content.controls.push(Control::Credit(channel));
            content.is_eliciting = true;
        }
    }

    /// Appends fresh connection ids, for which a packet that goes out anyway is early enough
    /// (CID-1).
    fn put_offers(&mut self, end: usize, content: &mut Content, out: &mut Vec<u8>) {
        while let Some((sequence, frame)) = self.cids.offer()
            && put_if_fits(&frame, end, out)
        {
            self.cids.set_offering(sequence, false);
            content.controls.push(Control::NewCid(sequence));
        }
    }

    /// Appends pieces that were lost and new ones. A small message that goes for the first time
    /// takes along others, and is watched from now on (LAD-1, LAD-2).
    fn put_pending(
        &mut self,
        end: usize,
        content: &mut Content,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) {
        let Content {
            pieces,
            is_needed,
            fresh,
            ..
        } = content;
        let mut places = fresh.iter_mut();
        self.senders
            .fill(&[Which::Lost, Which::New], out, end, |piece, which| {
                pieces.push(piece);
                *is_needed = true;
                if which == Which::New
                    && let Some(place) = places.next()
                {
                    *place = Some(piece);
                }
            });
        if content
            .fresh
            .iter()
            .flatten()
            .any(|piece| self.is_small(*piece))
        {
            self.put_riders(end, content, now, out);
        }
    }

    /// Whether a piece is a message that is worth copying (LAD-1).
    fn is_small(&self, piece: Piece) -> bool {
        let len = self.senders.whole_len(piece);
        len.is_some_and(|len| len <= SMALL_MAX)
    }

    /// Keeps the books of copies: what was sent again, and what may have to be (LAD-1, LAD-6).
    fn watch(&mut self, content: &Content, now: Timestamp) {
        for piece in content.pieces.iter() {
            self.copies.on_sent_again(piece, now);
        }
        for piece in content.fresh.into_iter().flatten() {
            if self.is_small(piece) {
                let (copies, rides) = self.redundancy.plan(piece.channel, now);
                self.copies.watch(piece, copies, rides, now);
            }
        }
    }

    /// Appends copies of messages that were not sent just now (LAD-2).
    fn put_riders(&mut self, end: usize, content: &mut Content, now: Timestamp, out: &mut Vec<u8>) {
        if !self.may_copy || self.redundancy.is_held(now) {
            return;
        }
        let srtt = self.rtt.smoothed();
        let room = end.saturating_sub(out.len());
        if !self.redundancy.may_ride(room.min(SMALL_MAX), srtt, now) {
            return;
        }
        let start = out.len();
        for piece in self.copies.riders(srtt, now) {
            if !content.pieces.contains(piece) && self.senders.repeat(piece, out, end) {
                content.pieces.push(piece);
            }
        }
        content.copied += out.len() - start;
    }

    /// Appends the oldest unacknowledged pieces, as many as fit (PROBE-2).
    fn put_unacknowledged(&mut self, end: usize, pieces: &mut Pieces, out: &mut Vec<u8>) {
        for packet in self.sent.iter_in_flight() {
            for piece in packet.pieces.iter() {
                if pieces.contains(piece) {
                    continue;
                }
                if self.senders.repeat(piece, out, end) {
                    pieces.push(piece);
                } else if end.saturating_sub(out.len()) < BUDGET_MIN {
                    return;
                }
            }
        }
    }

    /// Seals a packet, and enters it into the books if it elicits an acknowledgement.
    fn finish(
        &mut self,
        packet: OpenPacket,
        content: Content,
        (limit, budget): (usize, usize),
        envelope: &mut Envelope,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Built {
        let number = packet.number;
        let len = out.len() + TAG_LEN - packet.start;
        let has_more = content.is_eliciting && self.has_pending();
        // A full piece is a few bytes longer or shorter by what its header says.
        let piece = piece_max(self.mtu.size()) + PIECE_HEADER_MAX;
        let full = (envelope.overhead() + piece).max(len).min(limit);
        let (part, whole) = PADDED_FROM;
        let is_full = has_more && len * whole >= full * part;
        if is_full {
            self.mtu.on_full(now);
        }
        let is_padded = is_full && full <= budget;
        let len = envelope.finish(packet, if is_padded { full } else { 0 }, out);
        let is_marked = self.mark != Ecn::NotEct;
        if is_marked {
            self.ecn.on_sent();
        }
        if content.reported.is_some() {
            self.received.on_ack_sent(now);
        }
        let mut copied = 0;
        if content.is_eliciting {
            let window = self.congestion.window();
            let srtt = self.rtt.smoothed();
            let rate = self.congestion.pacing_rate(srtt);
            self.pacer.on_sent(len, rate, now);
            let stamp = self.congestion.on_sent(self.sent.in_flight(), now);
            if content.is_needed {
                self.flight.record(now);
            }
            if self.sent.needed_in_flight() * 2 > window {
                self.redundancy.hold(srtt, now);
            }
            copied = self.charge(&content, len, now);
            let copies = if content.is_needed {
                content.copied
            } else {
                len
            };
            self.watch(&content, now);
            self.ladder.on_sent(now);
            self.sent.push(SentPacket {
                number,
                sent_at: now,
                len: len as u16,
                fate: Fate::InFlight,
                settled_run: 0,
                stamp,
                copies: copies as u16,
                is_counted: false,
                is_marked,
                is_mtu_probe: false,
                reported: content.reported,
                pieces: content.pieces,
                controls: content.controls,
            });
            self.last_eliciting = now;
            self.ping_due = false;
            self.probe = None;
        }
        Built {
            len,
            has_more,
            copied,
        }
    }

    /// Charges what a packet of `len` bytes holds of copies, and returns how much that is (LAD-5). A
    /// free probe costs nothing (PROBE-4).
    fn charge(&mut self, content: &Content, len: usize, now: Timestamp) -> usize {
        let is_copy = !content.is_needed && self.probe != Some(Probe::Free);
        let copied = if is_copy { len } else { content.copied };
        if copied > 0 {
            let srtt = self.rtt.smoothed();
            self.redundancy.on_copied(copied, is_copy, srtt, now);
        }
        copied
    }
}

/// Appends a frame, if `out` stays within `end` bytes. Says whether it did.
fn put_if_fits(frame: &Frame, end: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    frame.encode(out);
    let fits = out.len() <= end;
    if !fits {
        out.truncate(start);
    }
    fits
}

/// Now and then a frame of a type that does not exist, lest peers forget that such frames are to be
/// skipped (FRM-2).
#[derive(Debug)]
pub(super) struct Grease {
    /// How many packets go without.
    wait: u64,
}

impl Grease {
    pub(super) fn new(rng: &mut SparseRng) -> Self {
        let wait = rng.range(0, GREASE_EVERY.1);
        Self { wait }
    }

    /// Appends grease, if it is time and there is room up to `end`.
    fn put(&mut self, end: usize, rng: &mut SparseRng, out: &mut Vec<u8>) {
        self.wait = self.wait.saturating_sub(1);
        let room = end.saturating_sub(out.len());
        if self.wait > 0 || room < 2 + GREASE_MAX as usize {
            return;
        }
        self.wait = rng.range(GREASE_EVERY.0, GREASE_EVERY.1);
        let mut content = [0; GREASE_MAX as usize];
        let content = &mut content[..rng.range(0, GREASE_MAX) as usize];
        rng.fill(content);
        put_unknown(out, rng.range(0x40, 0xff) as u8, content);
    }
}

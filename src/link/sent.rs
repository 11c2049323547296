//! What was sent and may still be in flight.
//!
//! The packets stand in the order of their numbers. An acknowledgement is worked off by looking up
//! its ranges here, never by counting through them: a peer may claim 2^62 numbers in ten bytes, and
//! it costs us what we have in flight (ACK-4).

use core::ops::RangeInclusive;
use core::time::Duration;
use std::collections::VecDeque;

use smallvec::SmallVec;

use super::channel::Piece;
use super::congestion::{LostPackets, Stamp};
use super::mtu::Resolved;
use super::reordering::Reordering;
use super::rtt::Rtt;
use crate::time::Timestamp;

/// The most packets that a link remembers having sent (LIM-4).
pub const IN_FLIGHT_MAX: usize = 4096;

/// After this part of the smoothed round trip, a packet that a later one has overtaken will not
/// come (LAD-3).
const PROVED_AFTER: (u32, u32) = (3, 2);

/// For how long a packet is remembered whose fate only a later acknowledgement can tell (LOSS-4).
const SETTLED_KEPT: Duration = Duration::from_secs(10);

/// For how many probe time-outs a lost packet is remembered, lest it was only late (LOSS-2).
const LOST_KEPT: u32 = 3;

/// So many runs of pieces take no memory of their own.
const RUNS_FEW: usize = 2;

/// A packet that elicits an acknowledgement.
#[derive(Clone, Debug)]
pub(super) struct SentPacket {
    pub(super) number: u64,
    pub(super) sent_at: Timestamp,
    /// The datagram's length, in bytes.
    pub(super) len: u16,
    pub(super) fate: Fate,
    /// How many packets from this one on are acknowledged, at least, if this one is: so that nobody
    /// looks at them again.
    pub(super) settled_run: u32,
    /// What the congestion controller wants to know again.
    pub(super) stamp: Stamp,
    /// How many of its bytes are copies of what was in flight already: all, if it holds nothing else.
    pub(super) copies: u16,
    /// Whether the estimate of loss has counted it (LAD-3).
    pub(super) is_counted: bool,
    /// Whether it said that marks are understood (ECN-1).
    pub(super) is_marked: bool,
    /// Whether it only tried its size (MTU-2).
    pub(super) is_mtu_probe: bool,
    /// The largest number that its ACK frame reported, if it had one.
    pub(super) reported: Option<u64>,
    pub(super) pieces: Pieces,
    /// What else it held that is to arrive.
    pub(super) controls: Vec<Control>,
}

impl SentPacket {
    /// What the path's size has to know of it when its fate is known.
    pub(super) fn resolved(&self) -> Resolved {
        Resolved {
            number: self.number,
            len: self.len.into(),
            is_probe: self.is_mtu_probe,
        }
    }
}

/// A frame about the link itself that is sent again if it is lost; not the same bytes, but what is
/// true by then (LOSS-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// NEW_CID with this sequence.
    NewCid(u64),
    RetireCid,
    /// Credit of this channel, or of the link.
    Credit(Option<u8>),
}

/// What has become of a packet, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    InFlight,
    /// All that it held has arrived by other copies; whether it did itself, only a later
    /// acknowledgement can tell (LOSS-4).
    Settled,
    /// Taken for lost; its pieces were queued again.
    Lost,
    Acked,
}

/// The pieces of messages in one packet, as runs: the messages of a channel that go out for the
/// first time are one, however many. Two runs, by far the most common case, take no memory beside
/// this.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces(SmallVec<[Run; RUNS_FEW]>);

/// The same piece of messages that follow each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Piece,
    /// How many; at least one.
    count: u16,
}

impl Run {
    /// Whether `piece` is the same piece of a message, perhaps of another one.
    fn is_alike(self, piece: Piece) -> bool {
        let number = piece.number;
        Piece {
            number,
            ..self.first
        } == piece
    }

    /// Whether `piece` is the one after its last.
    fn goes_on_with(self, piece: Piece) -> bool {
        self.is_alike(piece)
            && self.first.number.checked_add(self.count.into()) == Some(piece.number)
            && self.count < u16::MAX
    }

    fn contains(self, piece: Piece) -> bool {
        let place = piece.number.checked_sub(self.first.number);
        self.is_alike(piece) && place.is_some_and(|place| place < u64::from(self.count))
    }

    fn iter(self) -> impl Iterator<Item = Piece> {
        (0..u64::from(self.count)).map(move |place| Piece {
            number: self.first.number + place,
            ..self.first
        })
    }
}

impl Pieces {
    pub(super) fn push(&mut self, piece: Piece) {
        match self.0.last_mut() {
            Some(run) if run.goes_on_with(piece) => run.count += 1,
            _ => self.0.push(Run {
                first: piece,
                count: 1,
            }),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Piece> {
        self.0.iter().flat_map(|run| run.iter())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, piece: Piece) -> bool {
        self.0.iter().any(|run| run.contains(piece))
    }
}

/// What losses were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// The packets, if there are any.
    pub(super) packets: Option<LostPackets>,
    /// Whether they amount to persistent congestion (CC-1).
    pub(super) persistent: bool,
    /// How many are certain by now, of these and earlier ones (LAD-3).
    pub(super) proved: u32,
}

impl Losses {
    /// One more packet is lost, which was sent at `sent_at` and of which `len` bytes were in flight.
    fn add(&mut self, len: u16, sent_at: Timestamp) {
        let packets = self.packets.get_or_insert(LostPackets {
            count: 0,
            bytes: 0,
            newest: sent_at,
        });
        packets.count += 1;
        packets.bytes += u64::from(len);
        packets.newest = packets.newest.max(sent_at);
    }
}

/// Every packet that elicits an acknowledgement, from the oldest whose fate is open.
#[derive(Debug, Default)]
pub(super) struct SentPackets {
    ring: VecDeque<SentPacket>,
    /// The place of a packet before which none is in flight.
    open_from: usize,
    /// The place of a packet before which the estimate of loss has judged all (LAD-3).
    judged_from: usize,
    in_flight: u64,
    /// So many bytes of these are copies.
    copies_in_flight: u64,
    largest_acked: Option<u64>,
    loss_due: Option<Timestamp>,
}

impl SentPackets {
    /// The bytes in flight (CC-3).
    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The bytes in flight that are no copies (LAD-6).
    pub(super) const fn needed_in_flight(&self) -> u64 {
        self.in_flight - self.copies_in_flight
    }

    /// Whether no further packet may be sent (LIM-4). What is only remembered keeps nothing out: no
    /// acknowledgement might come any more that makes it forgotten.
    pub(super) fn is_full(&self) -> bool {
        self.ring.len() >= IN_FLIGHT_MAX
            && self
                .ring
                .front()
                .is_some_and(|front| front.fate == Fate::InFlight)
    }

    pub(super) const fn largest_acked(&self) -> Option<u64> {
        self.largest_acked
    }

    /// When the next packet will count as lost (LOSS-1).
    pub(super) const fn loss_due(&self) -> Option<Timestamp> {
        self.loss_due
    }

    /// When the oldest packet in flight was sent, among those after which nothing was acknowledged:
    /// for the others, the loss timer runs (PROBE-1).
    pub(super) fn oldest_since_ack(&self) -> Option<Timestamp> {
        let from = match self.largest_acked {
            Some(largest) => self.ring.partition_point(|packet| packet.number <= largest),
            None => 0,
        };
        self.in_flight_from(from)
            .next()
            .map(|packet| packet.sent_at)
    }

    /// The packets in flight, oldest first.
    pub(super) fn iter_in_flight(&self) -> impl Iterator<Item = &SentPacket> {
        self.in_flight_from(self.open_from)
    }

    pub(super) fn push(&mut self, packet: SentPacket) {
        self.in_flight += u64::from(packet.len);
        self.copies_in_flight += u64::from(packet.copies);
        while self.ring.len() >= IN_FLIGHT_MAX && !self.is_full() {
            self.pop_front();
        }
        self.ring.push_back(packet);
    }

    /// Marks the packets in `range` as acknowledged, and shows each that was not before to `each`,
    /// with its fate until now. The work is bounded by what is in the ring (ACK-4).
    pub(super) fn acknowledge(
        &mut self,
        range: &RangeInclusive<u64>,
        mut each: impl FnMut(&SentPacket),
    ) {
        self.largest_acked = self.largest_acked.max(Some(*range.end()));
        if self
            .ring
            .front()
            .is_none_or(|oldest| oldest.number > *range.end())
        {
            return;
        }
        let from = self
            .ring
            .partition_point(|packet| packet.number < *range.start());
        let mut at = from;
        while let Some(packet) = self.ring.get_mut(at)
            && packet.number <= *range.end()
        {
            if packet.fate == Fate::Acked {
                at += packet.settled_run.max(1) as usize;
                continue;
            }
            if packet.fate == Fate::InFlight {
                self.in_flight -= u64::from(packet.len);
                self.copies_in_flight -= u64::from(packet.copies);
            }
            each(packet);
            packet.fate = Fate::Acked;
            packet.is_counted = true;
            packet.pieces = Pieces::default();
            packet.controls = Vec::new();
            at += 1;
        }
        // The next acknowledgement will most likely begin this range with the same number.
        if let Some(first) = self.ring.get_mut(from).filter(|_| at > from) {
            first.settled_run = (at - from) as u32;
        }
    }

    /// Finds the packets that are lost by now (LOSS-1), shows them to `each`, and sets the time for
    /// the next look.
    pub(super) fn detect_losses(
        &mut self,
        rtt: &Rtt,
        reordering: &Reordering,
        now: Timestamp,
        mut each: impl FnMut(&SentPacket),
    ) -> Losses {
        let mut losses = Losses::default();
        self.loss_due = None;
        let Some(largest) = self.largest_acked else {
            return losses;
        };
        let delay = reordering.loss_delay(rtt);
        let threshold = reordering.packet_threshold();
        let certain = rtt.smoothed() * PROVED_AFTER.0 / PROVED_AFTER.1;
        let mut run_since = None;
        while let Some(packet) = self.ring.get_mut(self.judged_from)
            && packet.number <= largest
            && packet.sent_at + certain <= now
        {
            if packet.fate != Fate::Acked && !packet.is_counted {
                packet.is_counted = true;
                losses.proved += 1;
            }
            self.judged_from += 1;
        }
        while let Some(packet) = self.ring.get_mut(self.open_from)
            && packet.number <= largest
        {
            match packet.fate {
                Fate::Acked => run_since = None,
                Fate::Lost => {}
                Fate::Settled => {
                    packet.fate = Fate::Lost;
                    losses.add(0, packet.sent_at);
                }
                Fate::InFlight => {
                    let due = packet.sent_at + delay;
                    let is_far_behind = largest - packet.number >= threshold;
                    if !is_far_behind && due > now {
                        // Those after it were sent later: they are not lost either.
                        self.loss_due = Some(due);
                        break;
                    }
                    packet.fate = Fate::Lost;
                    self.in_flight -= u64::from(packet.len);
                    self.copies_in_flight -= u64::from(packet.copies);
                    if !packet.is_mtu_probe {
                        losses.add(packet.len, packet.sent_at);
                        losses.persistent |= is_persistent(rtt, &mut run_since, packet.sent_at);
                    }
                    each(packet);
                }
            }
            self.open_from += 1;
        }
        self.forget(rtt, now);
        losses
    }

    /// Takes everything that was sent more than `age` ago for lost, and shows it to `each` (LOSS-3).
    pub(super) fn give_up(
        &mut self,
        age: Duration,
        rtt: &Rtt,
        now: Timestamp,
        mut each: impl FnMut(&SentPacket),
    ) -> Losses {
        let mut losses = Losses::default();
        for packet in &mut self.ring {
            if packet.sent_at + age >= now {
                break;
            }
            if packet.fate == Fate::InFlight {
                packet.fate = Fate::Lost;
                self.in_flight -= u64::from(packet.len);
                self.copies_in_flight -= u64::from(packet.copies);
                if !packet.is_mtu_probe {
                    losses.add(packet.len, packet.sent_at);
                    losses.persistent = true;
                }
                each(packet);
            }
        }
        self.forget(rtt, now);
        losses
    }

    /// Takes everything for lost that is in flight, because it went elsewhere, and shows it to
    /// `each` (PTH-3). Returns how many packets that were.
    pub(super) fn abandon(&mut self, mut each: impl FnMut(&SentPacket)) -> u64 {
        let mut count = 0;
        for packet in &mut self.ring {
            packet.is_counted = true;
            match packet.fate {
                Fate::InFlight => {
                    packet.fate = Fate::Lost;
                    count += 1;
                    each(packet);
                }
                // Whatever is acknowledged of it later says nothing about the new path.
                Fate::Settled => packet.fate = Fate::Lost,
                Fate::Lost | Fate::Acked => {}
            }
        }
        self.in_flight = 0;
        self.copies_in_flight = 0;
        self.loss_due = None;
        count
    }

    /// Takes out of flight what was sent by `until` and holds nothing that the peer does not have by
    /// another copy: nobody waits for it (LOSS-4). Says whether there was anything.
    pub(super) fn settle(
        &mut self,
        until: Timestamp,
        mut has_arrived: impl FnMut(Piece) -> bool,
    ) -> bool {
        let mut did = false;
        for packet in &mut self.ring {
            if packet.sent_at > until {
                break;
            }
            let is_settled = packet.fate == Fate::InFlight
                && !packet.pieces.is_empty()
                && packet.controls.is_empty()
                && packet.pieces.iter().all(&mut has_arrived);
            if is_settled {
                packet.fate = Fate::Settled;
                packet.pieces = Pieces::default();
                self.in_flight -= u64::from(packet.len);
                self.copies_in_flight -= u64::from(packet.copies);
                did = true;
            }
        }
        did
    }

    /// Drops what a link would otherwise remember while it is idle (LOSS-4).
    pub(super) fn forget_settled(&mut self, now: Timestamp) {
        let is_old = |packet: &SentPacket| {
            packet.fate == Fate::Settled && packet.sent_at + SETTLED_KEPT <= now
        };
        while self.ring.front().is_some_and(is_old) {
            self.pop_front();
        }
    }

    /// Keeps no memory for what was once in flight: the link rests.
    pub(super) fn release(&mut self) {
        self.ring.shrink_to_fit();
    }

    /// Drops from the front what is acknowledged, or has been lost for so long that no
    /// acknowledgement will come.
    fn forget(&mut self, rtt: &Rtt, now: Timestamp) {
        let kept = rtt.probe_timeout() * LOST_KEPT;
        while let Some(front) = self.ring.front() {
            let is_settled = match front.fate {
                Fate::InFlight => false,
                Fate::Lost => front.sent_at + kept <= now,
                Fate::Settled => front.sent_at + SETTLED_KEPT <= now,
                Fate::Acked => true,
            };
            if !is_settled {
                break;
            }
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        self.ring.pop_front();
        self.open_from = self.open_from.saturating_sub(1);
        self.judged_from = self.judged_from.saturating_sub(1);
    }

    fn in_flight_from(&self, from: usize) -> impl Iterator<Item = &SentPacket> {
        self.ring
            .range(from..)
            .filter(|packet| packet.fate == Fate::InFlight)
    }
}

/// Whether a loss makes the run of losses that it belongs to persistent congestion: longer than
/// several probe time-outs, and all since the first sample (RFC 9002 section 7.6).
fn is_persistent(rtt: &Rtt, run_since: &mut Option<Timestamp>, sent_at: Timestamp) -> bool {
    if rtt.first_sample_at().is_none_or(|first| sent_at < first) {
        return false;
    }
    let since = *run_since.get_or_insert(sent_at);
    sent_at.saturating_since(since) > rtt.persistent_congestion()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A round trip of 100 ms, measured at the beginning.
    fn rtt() -> Rtt {
        let mut rtt = Rtt::new();
        rtt.on_sample(Duration::from_millis(100), Duration::ZERO, at(0));
        rtt
    }

    /// Packets sent 10 ms apart, with these numbers.
    fn sent(numbers: &[u64]) -> SentPackets {
        let mut sent = SentPackets::default();
        for number in numbers {
            sent.push(SentPacket {
                number: *number,
                sent_at: at(10 * number),
                len: 100,
                fate: Fate::InFlight,
                settled_run: 0,
                stamp: Stamp::default(),
                copies: 0,
                is_counted: false,
                is_marked: false,
                is_mtu_probe: false,
                reported: None,
                pieces: Pieces::default(),
                controls: Vec::new(),
            });
        }
        sent
    }

    fn acknowledge(sent: &mut SentPackets, range: RangeInclusive<u64>) -> Vec<u64> {
        let mut acked = Vec::new();
        sent.acknowledge(&range, |packet| acked.push(packet.number));
        acked
    }

    fn detect(sent: &mut SentPackets, now: Timestamp) -> (Vec<u64>, Losses) {
        let mut lost = Vec::new();
        let reordering = Reordering::default();
        let losses =
            sent.detect_losses(&rtt(), &reordering, now, |packet| lost.push(packet.number));
        (lost, losses)
    }

    /// ACK-4: the range is from zero to the largest number there is; the work is two packets.
    #[test]
    fn an_ack_for_all_numbers_touches_only_what_was_sent() {
        let mut sent = sent(&[3, 900]);
        assert_eq!(
            acknowledge(&mut sent, 0..=crate::wire::VARINT_MAX),
            [3, 900]
        );
        assert_eq!(
            acknowledge(&mut sent, 0..=crate::wire::VARINT_MAX),
            [0_u64; 0]
        );
        assert_eq!(sent.in_flight(), 0);
    }

    /// LOSS-1.
    #[test]
    fn a_packet_three_older_than_an_acknowledged_one_is_lost() {
        let mut sent = sent(&[0, 1, 2, 3]);
        acknowledge(&mut sent, 3..=3);
        let (lost, losses) = detect(&mut sent, at(31));
        assert_eq!(lost, [0]);
        let expected = LostPackets {
            count: 1,
            bytes: 100,
            newest: at(0),
        };
        assert_eq!(losses.packets, Some(expected));
        assert_eq!(sent.in_flight(), 200);
    }

    /// LOSS-1: 9/8 of 100 ms.
    #[test]
    fn a_packet_is_lost_112_ms_after_its_sending_if_a_later_one_was_acknowledged() {
        let mut sent = sent(&[0, 1]);
        assert_eq!(
            detect(&mut sent, at(500)).0,
            [0_u64; 0],
            "nothing later was acknowledged"
        );
        acknowledge(&mut sent, 1..=1);
        assert_eq!(detect(&mut sent, at(110)).0, [0_u64; 0]);
        assert_eq!(sent.loss_due(), Some(Timestamp::from_nanos(112_500_000)));
        assert_eq!(detect(&mut sent, at(113)).0, [0]);
        assert_eq!(sent.loss_due(), None);
    }

    /// LOSS-2: a lost packet that was only late still settles what it held.
    #[test]
    fn a_late_acknowledgement_of_a_lost_packet_counts() {
        let mut sent = sent(&[0, 1, 2, 3]);
        acknowledge(&mut sent, 3..=3);
        assert_eq!(detect(&mut sent, at(140)).0, [0, 1, 2]);
        assert_eq!(acknowledge(&mut sent, 0..=2), [0, 1, 2]);
    }

    /// CC-1.
    #[test]
    fn losses_without_a_break_for_three_time_outs_are_persistent_congestion() {
        // srtt 100, variance 50: 3 x (100 + 200 + 25) = 975 ms.
        let numbers: Vec<u64> = (0..=100).collect();
        let mut all = sent(&numbers);
        acknowledge(&mut all, 100..=100);
        assert!(detect(&mut all, at(1100)).1.persistent);
        let mut broken = sent(&numbers);
        acknowledge(&mut broken, 50..=50);
        acknowledge(&mut broken, 100..=100);
        assert!(!detect(&mut broken, at(1100)).1.persistent);
    }

    /// LOSS-3, LIM-4: what was given up is forgotten, also if the peer never acknowledges anything.
    #[test]
    fn what_was_given_up_does_not_stay_for_ever() {
        let mut sent = sent(&[0, 1, 50]);
        let mut given_up = Vec::new();
        let age = Duration::from_millis(300);
        let losses = sent.give_up(age, &rtt(), at(501), |packet| given_up.push(packet.number));
        assert_eq!(given_up, [0, 1]);
        assert!(losses.persistent);
        assert_eq!(
            (sent.in_flight(), sent.ring.len()),
            (100, 3),
            "they may only be late"
        );
        let _ = sent.give_up(age, &rtt(), at(2_000), |_| {});
        assert_eq!((sent.in_flight(), sent.ring.len()), (0, 0));
    }

    /// LIM-4: a sender whose acknowledgements are lost for long comes to no stop.
    #[test]
    fn what_is_only_remembered_keeps_nothing_out() {
        let mut sent = sent(&(0..IN_FLIGHT_MAX as u64).collect::<Vec<_>>());
        let _ = sent.abandon(|_| {});
        assert!(!sent.is_full());
        let packet = sent.ring[0].clone();
        for number in 5_000..5_000 + IN_FLIGHT_MAX as u64 {
            assert!(!sent.is_full());
            sent.push(SentPacket {
                number,
                fate: Fate::InFlight,
                ..packet.clone()
            });
        }
        assert!(sent.is_full());
        assert_eq!(sent.ring.len(), IN_FLIGHT_MAX);
    }

    /// ACK-4: an acknowledgement that repeats what is known looks at what is new only.
    #[test]
    fn a_range_that_grows_is_not_looked_at_again() {
        let mut sent = sent(&(0..1_000).collect::<Vec<_>>());
        for end in 1..1_000 {
            assert_eq!(acknowledge(&mut sent, 1..=end), [end]);
            let run = sent.ring[1].settled_run;
            assert_eq!(u64::from(run), end, "from 1 to the end");
        }
        assert_eq!(acknowledge(&mut sent, 0..=999), [0]);
        assert_eq!(sent.ring[0].settled_run, 1_000);
    }

    /// LOSS-4.
    #[test]
    fn what_arrived_by_another_copy_leaves_the_flight_and_is_judged_later() {
        let piece = Piece {
            channel: 1,
            index: 0,
            cut: 0,
            number: 0,
        };
        let mut sent = sent(&[0, 1, 20]);
        for packet in &mut sent.ring {
            packet.pieces.push(piece);
        }
        assert!(!sent.settle(at(10), |_| false));
        assert!(sent.settle(at(10), |_| true));
        assert_eq!(sent.in_flight(), 100, "the one that was sent later");
        assert_eq!(sent.oldest_since_ack(), Some(at(200)));
        acknowledge(&mut sent, 1..=1);
        acknowledge(&mut sent, 20..=20);
        let (_, losses) = detect(&mut sent, at(300));
        let count = losses.packets.map(|packets| packets.count);
        assert_eq!((count, losses.proved), (Some(1), 1), "0 was lost");
    }

    /// LOSS-4: an idle link forgets it in the end.
    #[test]
    fn what_nobody_can_judge_is_forgotten() {
        let piece = Piece {
            channel: 1,
            index: 0,
            cut: 0,
            number: 0,
        };
        let mut sent = sent(&[0]);
        sent.ring[0].pieces.push(piece);
        sent.settle(at(200), |_| true);
        sent.forget_settled(at(9_999));
        assert_eq!(sent.ring.len(), 1);
        sent.forget_settled(at(10_000));
        assert_eq!(sent.ring.len(), 0);
        sent.release();
        assert_eq!(sent.ring.capacity(), 0);
    }

    /// LAD-3: the estimate counts a loss when it is certain, and once.
    #[test]
    fn a_loss_is_proved_after_one_and_a_half_round_trips() {
        let mut sent = sent(&[0, 1]);
        acknowledge(&mut sent, 1..=1);
        let proved = [113, 149, 150, 200].map(|now| detect(&mut sent, at(now)).1.proved);
        assert_eq!(proved, [0, 0, 1, 0]);
    }

    /// LIM-4.
    #[test]
    fn no_more_than_4096_packets_are_in_flight() {
        let mut sent = sent(&(0..IN_FLIGHT_MAX as u64).collect::<Vec<_>>());
        assert!(sent.is_full());
        acknowledge(&mut sent, 0..=0);
        let _ = detect(&mut sent, at(1));
        assert!(!sent.is_full());
    }
}

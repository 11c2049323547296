//! Which packets have arrived, and when to say so.

use core::ops::RangeInclusive;
use std::collections::VecDeque;

use super::ecn::EcnSeen;
use super::flight::FlightMeter;
use super::rtt::{ACK_DELAY_MAX, Rtt};
use crate::bug;
use crate::time::Timestamp;
use crate::wire::{ACK_RANGES_MAX, Ack, AckRanges, EcnCounts, VARINT_MAX, varint_len};

/// Every second packet is acknowledged while traffic is not thin (ACK-2).
const ACK_EVERY: u32 = 2;

/// With more ranges than this, every packet that elicits an acknowledgement reports them (ACK-5).
const RANGES_FEW: usize = 8;

/// For this part of a round trip after an acknowledgement, what comes was sent without knowing it
/// (ACK-2).
const CROSSING: (u32, u32) = (5, 8);

/// So many packets may have crossed an acknowledgement; one more asks for another (ACK-2). A peer
/// whose round trips are far shorter than this side has learned them would probe in vain otherwise.
const CROSSING_MAX: u32 = 3;

/// An acknowledgement reports so many ranges, the highest (ACK-5): what is below was reported in
/// several before it. The gaps of a lossy path would otherwise make acknowledgements as long as lines,
/// on the side that says nothing else and so never learns what the peer has seen of them.
const RANGES_TOLD: usize = 4;

/// Of the lower ranges it reports those that were in fewer acknowledgements than this since they last
/// grew, because something came late (ACK-5).
const TOLD_TIMES: u8 = 4;

/// What this side owes the peer in acknowledgements.
#[derive(Debug, Default)]
pub(super) struct ReceivedPackets {
    ranges: Ranges,
    /// When the packet with the largest number came.
    largest_at: Timestamp,
    /// Packets since the last acknowledgement that elicited one.
    eliciting: u32,
    /// When the next acknowledgement is due.
    due: Option<Timestamp>,
    /// Whether anything came since the last acknowledgement.
    has_news: bool,
    /// The lowest number that the last acknowledgement reports.
    told_from: u64,
    /// What has come with which mark (ECN-2).
    pub(super) ecn: EcnSeen,
    /// When the last acknowledgement was sent.
    told_at: Option<Timestamp>,
    /// How many packets have crossed it.
    crossed: u32,
    meter: FlightMeter,
}

impl ReceivedPackets {
    /// Keeps no more memory than what has come takes: the link rests.
    pub(super) fn release(&mut self) {
        self.ranges.0.shrink_to_fit();
    }

    /// When an acknowledgement is due.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// The largest number that has arrived.
    pub(super) fn largest(&self) -> Option<u64> {
        self.ranges.largest()
    }

    /// Whether a packet that goes out anyway should carry an acknowledgement: it tells the peer
    /// something new, or is so long that once it is acknowledged itself, much can be forgotten
    /// (ACK-5).
    pub(super) fn is_worth_telling(&self) -> bool {
        self.has_news || self.ranges.0.len() > RANGES_FEW
    }

    /// A packet came. One that does not elicit an acknowledgement never causes one (ACK-1).
    /// `has_news`: it held something that had not come before.
    pub(super) fn on_packet(
        &mut self,
        number: u64,
        eliciting: bool,
        has_news: bool,
        rtt: &Rtt,
        now: Timestamp,
    ) {
        let expected = self.largest().map_or(0, |largest| largest + 1);
        self.ranges.insert(number);
        self.has_news = true;
        if number >= expected {
            self.largest_at = now;
        }
        if !eliciting {
            return;
        }
        if has_news {
            self.meter.record(now);
        } else if number == expected && self.is_just_told(rtt, now) {
            self.crossed += 1;
            return;
        }
        self.eliciting += 1;
        let at_once =
            number != expected || self.eliciting >= ACK_EVERY || self.meter.is_thin(rtt.smoothed());
        let due = match at_once {
            true => now,
            false => now + ACK_DELAY_MAX.min(rtt.smoothed() / 4),
        };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Whether the last acknowledgement is so recent that the peer cannot have had it when it sent
    /// what comes now: a copy that crossed it (ACK-2).
    fn is_just_told(&self, rtt: &Rtt, now: Timestamp) -> bool {
        let crossing = rtt.smoothed() * CROSSING.0 / CROSSING.1;
        let is_recent = self.told_at.is_some_and(|told_at| now < told_at + crossing);
        is_recent && self.crossed < CROSSING_MAX
    }

    /// The acknowledgement to send now, in at most `room` bytes; the highest ranges first.
    pub(super) fn ack(&mut self, room: usize, now: Timestamp) -> Option<Ack> {
        let mut descending = self.ranges.worth_telling();
        let mut highest = descending.next()?;
        if bug!(StaleAck) {
            highest = self.ranges.0.front()?.low..=*highest.end();
            descending.by_ref().for_each(drop);
        }
        let delay = now.saturating_since(self.largest_at);
        let delay_us = (delay.as_micros() as u64).min(VARINT_MAX);
        // Type and count take a byte each: the count is below 64.
        let span = highest.end() - highest.start();
        let mut len = 2 + varint_len(*highest.end()) + varint_len(delay_us) + varint_len(span);
        let ecn = self.ecn.counts();
        if let Some(EcnCounts { ect0, ect1, ce }) = ecn {
            len += varint_len(ect0) + varint_len(ect1) + varint_len(ce);
        }
        if len > room {
            return None;
        }
        let mut above = *highest.start();
        let mut ranges = AckRanges::new(highest)?;
        for range in descending {
            let gap = above.saturating_sub(range.end() + 2);
            len += varint_len(gap) + varint_len(range.end() - range.start());
            if len > room || !ranges.push(range.clone()) {
                break;
            }
            above = *range.start();
        }
        self.told_from = above;
        Some(Ack {
            delay_us,
            ranges,
            ecn,
        })
    }

    /// The last [`ack`](Self::ack) was sent.
    pub(super) fn on_ack_sent(&mut self, now: Timestamp) {
        self.ranges.on_told(self.told_from);
        self.ecn.on_told();
        self.told_at = Some(now);
        self.crossed = 0;
        self.eliciting = 0;
        self.due = None;
        self.has_news = false;
    }

    /// The peer has seen an acknowledgement that reported everything up to `reported`: it need not
    /// be told again (ACK-5).
    pub(super) fn on_ack_seen(&mut self, reported: u64) {
        self.ranges.forget_up_to(reported);
    }
}

/// Disjoint ranges of numbers in rising order, at most [`ACK_RANGES_MAX`] (ACK-5).
#[derive(Debug, Default)]
struct Ranges(VecDeque<Range>);

/// Numbers that have all come.
#[derive(Clone, Copy, Debug)]
struct Range {
    low: u64,
    high: u64,
    /// In how many acknowledgements it is to be still, wherever it stands.
    untold: u8,
}

impl Range {
    const fn numbers(self) -> RangeInclusive<u64> {
        self.low..=self.high
    }
}

impl Ranges {
    fn largest(&self) -> Option<u64> {
        self.0.back().map(|range| range.high)
    }

    /// What an acknowledgement reports, highest first (ACK-5).
    fn worth_telling(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let places = self.0.iter().rev().enumerate();
        let worth_it = places.filter(|(place, range)| *place < RANGES_TOLD || range.untold > 0);
        worth_it.map(|(_, range)| range.numbers())
    }

    /// An acknowledgement has reported what is worth it from `low` on.
    fn on_told(&mut self, low: u64) {
        for range in self.0.iter_mut().rev().take_while(|range| range.low >= low) {
            range.untold = range.untold.saturating_sub(1);
        }
    }

    fn insert(&mut self, number: u64) {
        // The first range that `number` is not wholly above.
        let at = self.0.partition_point(|range| range.high + 1 < number);
        match self.0.get(at).copied() {
            Some(range) if (range.low..=range.high).contains(&number) => {}
            Some(Range { low, high, .. }) if number + 1 >= low => {
                let next = self.0.get(at + 1).filter(|next| next.low <= number + 1);
                let end = next.map(|next| next.high);
                self.0[at] = Range {
                    low: low.min(number),
                    high: end.unwrap_or(high.max(number)),
                    untold: TOLD_TIMES,
                };
                if end.is_some() {
                    self.0.remove(at + 1);
                }
            }
            _ => {
                let alone = Range {
                    low: number,
                    high: number,
                    untold: TOLD_TIMES,
                };
                self.0.insert(at, alone);
                if self.0.len() > ACK_RANGES_MAX {
                    self.0.pop_front();
                }
            }
        }
    }

    /// Keeps the largest number even so: every acknowledgement reports it.
    fn forget_up_to(&mut self, number: u64) {
        while let Some(Range { low, high, .. }) = self.0.front().copied() {
            if high > number || self.0.len() == 1 {
                let kept = if high > number { number + 1 } else { high };
                self.0[0].low = low.max(kept);
                return;
            }
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::Frame;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn rtt() -> Rtt {
        let mut rtt = Rtt::new();
        rtt.on_sample(Duration::from_millis(40), Duration::ZERO, at(0));
        rtt
    }

    /// ACK-1.
    #[test]
    fn a_packet_that_elicits_nothing_makes_no_acknowledgement_due() {
        let mut received = ReceivedPackets::default();
        received.on_packet(5, false, false, &rtt(), at(0));
        assert_eq!(received.due(), None);
    }

    /// ACK-2.
    #[test]
    fn thin_traffic_is_acknowledged_at_once() {
        let mut received = ReceivedPackets::default();
        for number in 0..20 {
            let now = at(100 * number);
            received.on_packet(number, true, true, &rtt(), now);
            assert_eq!(received.due(), Some(now));
            received.on_ack_sent(at(0));
        }
    }

    /// ACK-2: a copy that crossed the acknowledgement is none the wiser, and one that came later asks
    /// for it.
    #[test]
    fn a_copy_that_crossed_the_acknowledgement_of_its_original_causes_none() {
        let mut received = ReceivedPackets::default();
        received.on_packet(0, true, true, &rtt(), at(0));
        received.on_ack_sent(at(0));
        received.on_packet(1, true, false, &rtt(), at(24));
        assert_eq!(received.due(), None);
        assert!(received.is_worth_telling(), "if something goes anyway");
        received.on_packet(2, true, false, &rtt(), at(25));
        assert_eq!(received.due(), Some(at(25)), "5/8 of 40 ms");
        received.on_ack_sent(at(25));
        received.on_packet(3, true, true, &rtt(), at(26));
        assert_eq!(received.due(), Some(at(26)), "something new");
        received.on_ack_sent(at(26));
        received.on_packet(5, true, false, &rtt(), at(27));
        assert_eq!(received.due(), Some(at(27)), "something is missing");
    }

    /// ACK-2: a round trip of 20 s was learned, and the peer asks every 50 ms.
    #[test]
    fn of_those_that_may_have_crossed_the_fourth_is_answered() {
        let mut rtt = Rtt::new();
        rtt.on_sample(Duration::from_secs(20), Duration::ZERO, at(0));
        let mut received = ReceivedPackets::default();
        received.on_packet(0, true, true, &rtt, at(0));
        for round in 0..10 {
            let start = 1 + 200 * round;
            received.on_ack_sent(at(start));
            for crossing in 1..=3 {
                received.on_packet(
                    4 * round + crossing,
                    true,
                    false,
                    &rtt,
                    at(start + crossing),
                );
                assert_eq!(received.due(), None);
            }
            received.on_packet(4 * round + 4, true, false, &rtt, at(start + 50));
            assert_eq!(received.due(), Some(at(start + 50)));
        }
    }

    /// ACK-5.
    #[test]
    fn an_acknowledgement_reports_the_four_highest_ranges() {
        let mut received = ReceivedPackets::default();
        for number in [0, 2, 4, 6, 8, 10] {
            received.on_packet(number, true, true, &rtt(), at(0));
        }
        for _ in 0..TOLD_TIMES {
            received.ack(1_000, at(0)).unwrap();
            received.on_ack_sent(at(0));
        }
        let ack = received.ack(1_000, at(0)).unwrap();
        let told: Vec<_> = ack.ranges.iter().map(|range| *range.start()).collect();
        assert_eq!(told, [10, 8, 6, 4]);
    }

    /// ACK-5: what came late is told four times, wherever it stands.
    #[test]
    fn a_range_that_has_grown_is_reported_in_four_acknowledgements() {
        let mut received = ReceivedPackets::default();
        let tell = |received: &mut ReceivedPackets| {
            let ack = received.ack(1_000, at(0)).unwrap();
            received.on_ack_sent(at(0));
            let told = ack.ranges.iter().map(|range| *range.start());
            told.collect::<Vec<_>>()
        };
        for number in [0, 2, 4, 6, 8, 10, 12] {
            received.on_packet(number, true, true, &rtt(), at(0));
            tell(&mut received);
        }
        for _ in 0..3 {
            tell(&mut received);
        }
        assert_eq!(tell(&mut received), [12, 10, 8, 6]);
        received.on_packet(3, true, true, &rtt(), at(0));
        for _ in 0..4 {
            assert_eq!(tell(&mut received), [12, 10, 8, 6, 2], "2 to 4");
        }
        assert_eq!(tell(&mut received), [12, 10, 8, 6]);
        received.on_packet(3, true, false, &rtt(), at(0));
        assert_eq!(tell(&mut received), [12, 10, 8, 6], "nothing has grown");
    }

    /// ACK-2: a quarter of 40 ms.
    #[test]
    fn thick_traffic_is_acknowledged_every_second_packet_or_a_little_later() {
        let mut received = ReceivedPackets::default();
        for number in 0..4 {
            received.on_packet(number, true, true, &rtt(), at(0));
        }
        received.on_ack_sent(at(0));
        received.on_packet(4, true, true, &rtt(), at(1));
        assert_eq!(received.due(), Some(at(11)));
        received.on_packet(5, true, true, &rtt(), at(2));
        assert_eq!(received.due(), Some(at(2)));
    }

    /// ACK-2.
    #[test]
    fn a_packet_out_of_order_is_acknowledged_at_once() {
        let mut received = ReceivedPackets::default();
        for number in 0..4 {
            received.on_packet(number, true, true, &rtt(), at(0));
        }
        received.on_ack_sent(at(0));
        received.on_packet(6, true, true, &rtt(), at(1));
        assert_eq!(received.due(), Some(at(1)), "two are missing");
        received.on_ack_sent(at(0));
        received.on_packet(5, true, true, &rtt(), at(2));
        assert_eq!(received.due(), Some(at(2)), "one was late");
    }

    /// ACK-5.
    #[test]
    fn what_the_peer_has_seen_reported_is_forgotten() {
        let mut received = ReceivedPackets::default();
        for number in [1, 3, 5, 6, 9] {
            received.on_packet(number, true, true, &rtt(), at(0));
        }
        received.on_ack_seen(5);
        let ack = received.ack(100, at(0)).unwrap();
        assert_eq!(ack.ranges.iter().collect::<Vec<_>>(), [9..=9, 6..=6]);
        received.on_ack_seen(20);
        let ack = received.ack(100, at(0)).unwrap();
        assert_eq!(ack.ranges.iter().collect::<Vec<_>>(), [9..=9]);
    }

    /// The simplest thing that does the same as [`Ranges`]: all numbers, and their runs counted
    /// anew each time.
    fn remember(model: &mut Vec<u64>, number: u64) {
        if !model.contains(&number) {
            model.push(number);
            model.sort_unstable();
        }
        let ends = model.windows(2).filter(|pair| pair[0] + 1 < pair[1]);
        if ends.clone().count() == ACK_RANGES_MAX {
            let lowest_end = ends.map(|pair| pair[0]).min().unwrap();
            model.retain(|number| *number > lowest_end);
        }
    }

    proptest! {
        /// ACK-5: whatever arrives, the 64 highest ranges are kept, and an ACK takes no more room
        /// than there is.
        #[test]
        fn the_highest_64_ranges_are_remembered(
            numbers in prop::collection::vec(0_u64..400, 1..400),
            room in 8_usize..200,
        ) {
            let mut received = ReceivedPackets::default();
            let mut model = Vec::new();
            for number in numbers {
                received.on_packet(number, true, true, &rtt(), at(0));
                remember(&mut model, number);
                let descending = received.ranges.0.iter().rev();
                let reported: Vec<u64> = descending.flat_map(|range| range.numbers().rev()).collect();
                prop_assert!(reported.iter().eq(model.iter().rev()));
            }
            if let Some(ack) = received.ack(room, at(0)) {
                let mut out = Vec::new();
                Frame::Ack(ack).encode(&mut out);
                prop_assert!(out.len() <= room);
            }
        }
    }
}

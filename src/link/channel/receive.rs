//! The receiving half of the channels: reassembly and reordering.
//!
//! Everything here is bounded before it is kept: how far ahead a message may be, how many bytes a
//! channel holds (CHN-4), how much all channels hold that their owner has not taken (CRD-2), and in
//! how many parts a message is (CHN-5). What waits is copied out of
//! the datagram that it came in, so that a byte never keeps a kilobyte alive.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::credit::Grant;
use super::{
    CHANNEL_BYTES_MAX, CHANNEL_MESSAGES_MAX, CONTROL, CREDIT_CHANNEL, CREDIT_LINK, FRAGMENTS_MAX,
};
use crate::bug;
use crate::link::report::Violation;
use crate::time::Timestamp;
use crate::wire::Frame;

/// All channels that anything ever came on, by their numbers.
#[derive(Debug)]
pub(in crate::link) struct ReceiveChannels {
    channels: Vec<ReceiveChannel>,
    /// For all but the control channel (CRD-1).
    credit: Grant,
    /// Whether there may come to be more of it (MEM-3).
    may_grow: bool,
}

impl Default for ReceiveChannels {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            credit: Grant::new(CREDIT_LINK),
            may_grow: true,
        }
    }
}

/// Whether a piece told anything new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Novelty {
    New,
    Duplicate,
}

impl ReceiveChannels {
    /// Whether anything ever came on `channel` (CHN-2).
    pub(in crate::link) fn is_used(&self, channel: u8) -> bool {
        self.find(channel).is_ok()
    }

    /// A whole message came. `deliver` gets every message whose turn that makes it (CHN-1).
    pub(in crate::link) fn on_message(
        &mut self,
        channel: u8,
        number: u64,
        data: Bytes,
        deliver: impl FnMut(Bytes),
    ) -> Result<Novelty, Violation> {
        let at = self.begin(channel, number, data.len())?;
        self.channels[at].on_message(number, data, deliver)
    }

    /// A fragment came (CHN-5); otherwise like [`on_message`](Self::on_message).
    pub(in crate::link) fn on_fragment(
        &mut self,
        channel: u8,
        number: u64,
        fragment: Fragment,
        deliver: impl FnMut(Bytes),
    ) -> Result<Novelty, Violation> {
        let at = self.begin(channel, number, fragment.total)?;
        self.channels[at].on_fragment(number, &fragment, deliver)
    }

    /// The owner took a message of `len` bytes (CRD-3).
    pub(in crate::link) fn on_taken(&mut self, channel: u8, len: usize) {
        if let Ok(at) = self.find(channel) {
            self.channels[at].credit.on_taken(len);
        }
        if channel != CONTROL {
            self.credit.on_taken(len);
        }
    }

    /// How many bytes wait for what comes before them, on all channels.
    pub(in crate::link) fn holds(&self) -> usize {
        self.channels.iter().map(|channel| channel.bytes).sum()
    }

    /// Whether there may come to be more credit than at the beginning.
    pub(in crate::link) const fn allow_more_credit(&mut self, may_grow: bool) {
        self.may_grow = may_grow;
    }

    /// Keeps no memory for what once waited for its turn: the link rests. An empty map has a node still.
    pub(in crate::link) fn release(&mut self) {
        for channel in &mut self.channels {
            if channel.waiting.is_empty() {
                channel.waiting = BTreeMap::new();
            }
        }
    }

    /// The next credit that the peer is to be told of, and its channel, if it is a channel's (CRD-3).
    pub(in crate::link) fn credit_due(&self) -> Option<(Option<u8>, Frame)> {
        if let Some(limit) = self.credit.due() {
            return Some((None, Frame::CreditLink { limit }));
        }
        self.channels.iter().find_map(|channel| {
            let (limit, channel) = (channel.credit.due()?, channel.id);
            let frame = Frame::CreditChannel {
                channel: channel.into(),
                limit,
            };
            Some((Some(channel), frame))
        })
    }

    /// Credit was told.
    pub(in crate::link) fn on_credit_sent(
        &mut self,
        channel: Option<u8>,
        srtt: Duration,
        now: Timestamp,
    ) {
        let may_grow = self.may_grow;
        if let Some(grant) = self.grant(channel) {
            grant.on_sent(srtt, may_grow, now);
        }
    }

    /// Credit that was told was lost.
    pub(in crate::link) fn on_credit_lost(&mut self, channel: Option<u8>) {
        if let Some(grant) = self.grant(channel) {
            grant.on_lost();
        }
    }

    fn grant(&mut self, channel: Option<u8>) -> Option<&mut Grant> {
        match channel {
            None => Some(&mut self.credit),
            Some(channel) => {
                let at = self.find(channel).ok()?;
                Some(&mut self.channels[at].credit)
            }
        }
    }

    /// The place of a channel on which a piece of message `number` came. The message of `len` bytes
    /// counts from its first piece on (CRD-2).
    fn begin(&mut self, channel: u8, number: u64, len: usize) -> Result<usize, Violation> {
        let at = self.open(channel);
        if self.channels[at].is_new(number) {
            self.channels[at].credit.on_begun(len)?;
            if channel != CONTROL {
                self.credit.on_begun(len)?;
            }
        }
        Ok(at)
    }

    fn find(&self, channel: u8) -> Result<usize, usize> {
        self.channels
            .binary_search_by_key(&channel, |other| other.id)
    }

    fn open(&mut self, channel: u8) -> usize {
        match self.find(channel) {
            Ok(at) => at,
            Err(at) => {
                // Few links use many.
                self.channels.reserve_exact(1);
                self.channels.insert(at, ReceiveChannel::new(channel));
                at
            }
        }
    }
}

/// A part of a message of `total` bytes. The decoder has seen to it that it lies within (FRM-4).
#[derive(Clone, Debug)]
pub(in crate::link) struct Fragment {
    pub(in crate::link) total: usize,
    pub(in crate::link) offset: usize,
    pub(in crate::link) data: Bytes,
}

#[derive(Debug)]
struct ReceiveChannel {
    id: u8,
    /// The number of the next message to hand over.
    next: u64,
    /// What came ahead of its turn, or in part.
    waiting: BTreeMap<u64, Incoming>,
    /// The bytes in `waiting` (CHN-4).
    bytes: usize,
    credit: Grant,
}

/// A message that waits.
#[derive(Debug)]
enum Incoming {
    /// For its turn.
    Whole(Bytes),
    /// For its missing parts.
    Partial(Partial),
    /// For nothing: it was handed over out of its turn (`bug!(NoReorderBuffer)`).
    HandedOver,
}

impl ReceiveChannel {
    const fn new(id: u8) -> Self {
        Self {
            id,
            next: 0,
            waiting: BTreeMap::new(),
            bytes: 0,
            credit: Grant::new(CREDIT_CHANNEL),
        }
    }

    /// Whether no piece of a message has come yet.
    fn is_new(&self, number: u64) -> bool {
        self.next <= number && !self.waiting.contains_key(&number)
    }

    fn on_message(
        &mut self,
        number: u64,
        data: Bytes,
        mut deliver: impl FnMut(Bytes),
    ) -> Result<Novelty, Violation> {
        if self.check_turn(number)? == Novelty::Duplicate {
            return Ok(Novelty::Duplicate);
        }
        match self.waiting.get(&number) {
            Some(Incoming::Whole(_) | Incoming::HandedOver) => return Ok(Novelty::Duplicate),
            Some(Incoming::Partial(_)) => return Err(Violation::FragmentsDisagree),
            None => {}
        }
        if number == self.next {
            self.next += 1;
            deliver(data);
        } else {
            self.reserve(data.len())?;
            let copy = Bytes::copy_from_slice(&data);
            self.keep_whole(number, copy, &mut deliver);
        }
        self.hand_over(deliver);
        Ok(Novelty::New)
    }

    fn on_fragment(
        &mut self,
        number: u64,
        fragment: &Fragment,
        mut deliver: impl FnMut(Bytes),
    ) -> Result<Novelty, Violation> {
        if self.check_turn(number)? == Novelty::Duplicate {
            return Ok(Novelty::Duplicate);
        }
        let partial = self
            .waiting
            .entry(number)
            .or_insert_with(|| Incoming::Partial(Partial::new(fragment.total)));
        let added = match partial {
            Incoming::Partial(partial) => partial.add(fragment)?,
            Incoming::Whole(whole) if whole.len() != fragment.total => {
                return Err(Violation::FragmentsDisagree);
            }
            Incoming::Whole(_) | Incoming::HandedOver => return Ok(Novelty::Duplicate),
        };
        let whole = match partial {
            Incoming::Partial(partial) => partial.take_whole(),
            Incoming::Whole(_) | Incoming::HandedOver => None,
        };
        self.reserve(added)?;
        if let Some(whole) = whole {
            self.keep_whole(number, whole, &mut deliver);
            self.hand_over(deliver);
        }
        Ok(match added {
            0 => Novelty::Duplicate,
            _ => Novelty::New,
        })
    }

    /// Whether a message is still awaited, and not too far ahead (CHN-4).
    fn check_turn(&self, number: u64) -> Result<Novelty, Violation> {
        match number.checked_sub(self.next) {
            None => Ok(Novelty::Duplicate),
            Some(ahead) if ahead >= CHANNEL_MESSAGES_MAX as u64 => Err(Violation::TooFarAhead),
            Some(_) => Ok(Novelty::New),
        }
    }

    /// Counts bytes that are kept. A sender that keeps to its limit never exceeds this (CHN-4).
    fn reserve(&mut self, len: usize) -> Result<(), Violation> {
        self.bytes += len;
        match self.bytes <= CHANNEL_BYTES_MAX {
            true => Ok(()),
            false => Err(Violation::TooManyBytes),
        }
    }

    fn keep_whole(&mut self, number: u64, data: Bytes, deliver: &mut impl FnMut(Bytes)) {
        let incoming = if bug!(NoReorderBuffer) {
            self.bytes -= data.len();
            deliver(data);
            Incoming::HandedOver
        } else {
            Incoming::Whole(data)
        };
        self.waiting.insert(number, incoming);
    }

    /// Hands over everything whose turn it is (CHN-1).
    fn hand_over(&mut self, mut deliver: impl FnMut(Bytes)) {
        while let Some(next) = self.waiting.first_entry()
            && *next.key() == self.next
        {
            if matches!(next.get(), Incoming::Partial(_)) {
                break;
            }
            if let Incoming::Whole(data) = next.remove() {
                self.bytes -= data.len();
                deliver(data);
            }
            self.next += 1;
        }
    }
}

/// A message of which parts have come: disjoint runs of bytes, by where they begin. They take what
/// memory the bytes take that have come, not what the message claims to have (CHN-5).
#[derive(Debug)]
struct Partial {
    total: usize,
    runs: BTreeMap<usize, Vec<u8>>,
}

impl Partial {
    const fn new(total: usize) -> Self {
        Self {
            total,
            runs: BTreeMap::new(),
        }
    }

    /// Adds what of a fragment is new, and returns how many bytes that were.
    fn add(&mut self, fragment: &Fragment) -> Result<usize, Violation> {
        if fragment.total != self.total {
            return Err(Violation::FragmentsDisagree);
        }
        let (mut at, end) = (fragment.offset, fragment.offset + fragment.data.len());
        let mut added = 0;
        while at < end {
            let before = self.runs.range(..=at).next_back();
            let covered = before.map_or(0, |(start, run)| start + run.len());
            if covered > at {
                at = covered;
                continue;
            }
            let gap_end = self
                .runs
                .range(at..)
                .next()
                .map_or(end, |(next, _)| end.min(*next));
            let new = &fragment.data[at - fragment.offset..gap_end - fragment.offset];
            self.insert(at, new);
            added += new.len();
            at = gap_end;
        }
        match self.runs.len() <= FRAGMENTS_MAX {
            true => Ok(added),
            false => Err(Violation::TooManyFragments),
        }
    }

    /// Puts bytes into a gap, joining them with the runs that they touch.
    fn insert(&mut self, at: usize, new: &[u8]) {
        let start = match self.runs.range_mut(..at).next_back() {
            Some((start, run)) if start + run.len() == at => {
                run.extend_from_slice(new);
                *start
            }
            _ => {
                self.runs.insert(at, new.to_vec());
                at
            }
        };
        if let Some(next) = self.runs.remove(&(at + new.len()))
            && let Some(run) = self.runs.get_mut(&start)
        {
            run.extend_from_slice(&next);
        }
    }

    /// The message, once all of it is there.
    fn take_whole(&mut self) -> Option<Bytes> {
        let is_whole = self.runs.get(&0).is_some_and(|run| run.len() == self.total);
        if !is_whole {
            return None;
        }
        self.runs.remove(&0).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A channel, and what it handed over.
    struct Reader(ReceiveChannels, Vec<Bytes>);

    impl Reader {
        fn new() -> Self {
            Self(ReceiveChannels::default(), Vec::new())
        }

        fn message(&mut self, number: u64, data: &'static [u8]) -> Result<Novelty, Violation> {
            let data = Bytes::from_static(data);
            self.0.on_message(1, number, data, |data| self.1.push(data))
        }

        fn fragment(
            &mut self,
            number: u64,
            total: usize,
            offset: usize,
            data: &[u8],
        ) -> Result<Novelty, Violation> {
            let fragment = Fragment {
                total,
                offset,
                data: Bytes::copy_from_slice(data),
            };
            self.0
                .on_fragment(1, number, fragment, |data| self.1.push(data))
        }
    }

    /// CHN-1.
    #[test]
    fn messages_are_handed_over_in_order_and_each_once() {
        let mut reader = Reader::new();
        assert_eq!(reader.message(1, b"b"), Ok(Novelty::New));
        assert_eq!(reader.message(1, b"b"), Ok(Novelty::Duplicate));
        assert!(reader.1.is_empty());
        assert_eq!(reader.message(0, b"a"), Ok(Novelty::New));
        assert_eq!(reader.message(0, b"a"), Ok(Novelty::Duplicate));
        assert_eq!(reader.1, [&b"a"[..], b"b"]);
    }

    /// CHN-4.
    #[test]
    fn a_message_256_past_the_next_closes_the_link() {
        let mut reader = Reader::new();
        assert_eq!(reader.message(255, b""), Ok(Novelty::New));
        assert_eq!(reader.message(256, b""), Err(Violation::TooFarAhead));
        assert_eq!(
            reader.fragment(256, 2, 0, b"x"),
            Err(Violation::TooFarAhead)
        );
        assert_eq!(reader.message(0, b""), Ok(Novelty::New));
        assert_eq!(reader.message(256, b""), Ok(Novelty::New));
    }

    /// CHN-4: what waits in a channel is bounded in bytes too.
    #[test]
    fn more_waiting_bytes_than_a_sender_may_send_close_the_link() {
        let mut reader = Reader::new();
        let part = vec![0; 60_000];
        let channel = reader.0.open(1);
        reader.0.channels[channel].credit = Grant::new(CHANNEL_BYTES_MAX as u64 * 2);
        reader.0.credit = Grant::new(CHANNEL_BYTES_MAX as u64 * 2);
        for number in 1..=69 {
            assert_eq!(reader.fragment(number, 60_001, 0, &part), Ok(Novelty::New));
        }
        assert_eq!(
            reader.fragment(70, 60_001, 0, &part),
            Err(Violation::TooManyBytes)
        );
    }

    /// CHN-5.
    #[test]
    fn fragments_that_disagree_close_the_link() {
        let mut reader = Reader::new();
        assert_eq!(reader.fragment(0, 10, 0, b"abc"), Ok(Novelty::New));
        assert_eq!(
            reader.fragment(0, 11, 3, b"def"),
            Err(Violation::FragmentsDisagree)
        );
        assert_eq!(reader.message(0, b"abc"), Err(Violation::FragmentsDisagree));
    }

    /// CHN-5.
    #[test]
    fn a_message_in_more_than_64_separate_parts_closes_the_link() {
        let mut reader = Reader::new();
        for part in 0..FRAGMENTS_MAX {
            assert_eq!(reader.fragment(0, 60_000, part * 2, b"x"), Ok(Novelty::New));
        }
        assert_eq!(
            reader.fragment(0, 60_000, 30_000, b"x"),
            Err(Violation::TooManyFragments)
        );
    }

    proptest! {
        /// CHN-5: in whatever order and with whatever overlap parts come, the message is put
        /// together once, and before that takes no more memory than its distinct bytes.
        #[test]
        fn a_message_is_put_together_from_any_parts(
            cuts in prop::collection::vec((0_usize..3_000, 1_usize..900), 0..40),
        ) {
            let message: Vec<u8> = (0..3_000_u32).map(|i| (i * i % 251) as u8).collect();
            let mut reader = Reader::new();
            let in_order = (0..3_000).step_by(700).map(|at| (at, 700));
            for (at, len) in cuts.into_iter().chain(in_order) {
                let end = 3_000.min(at + len);
                reader.fragment(0, 3_000, at, &message[at..end]).unwrap();
                prop_assert!(reader.0.channels[0].bytes <= 3_000);
            }
            prop_assert_eq!(&reader.1, &[Bytes::from(message)]);
            prop_assert_eq!(reader.0.channels[0].bytes, 0);
        }
    }
}

//! From frames to datagrams: packet numbers, headers, sealing.

use std::collections::VecDeque;

use crate::rng::SparseRng;
use crate::secure::{KEY_LIFETIME, KEY_PACKETS, Sealer};
use crate::time::Timestamp;
use crate::wire::{Cid, DataHeader, TAG_LEN, pad_for_sample};

/// One packet number in so many, drawn afresh each time, is left out (ACK-3).
const SKIP_EVERY: (u64, u64) = (64, 256);

/// How many numbers that were left out are remembered: more than lie among the packets in flight.
const SKIPPED_MAX: usize = 128;

/// What every packet of this side has in common, whatever it holds.
pub(super) struct Envelope {
    sealer: Sealer,
    /// When its epoch began.
    epoch_began: Timestamp,
    remote_cid: Cid,
    /// The next packet's number (PKT-2).
    next: u64,
    /// The number after which the next one is left out.
    skip_at: u64,
    /// The latest numbers that were left out, in rising order.
    skipped: VecDeque<u64>,
    rng: SparseRng,
}

/// A packet that is being written into a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenPacket {
    /// Where its header begins.
    pub(super) start: usize,
    /// Its number.
    pub(super) number: u64,
    number_offset: usize,
}

impl Envelope {
    pub(super) fn new(sealer: Sealer, remote_cid: Cid, mut rng: SparseRng, now: Timestamp) -> Self {
        let skip_at = rng.range(0, SKIP_EVERY.1);
        Self {
            sealer,
            epoch_began: now,
            remote_cid,
            next: 0,
            skip_at,
            skipped: VecDeque::new(),
            rng,
        }
    }

    /// The number that the next packet will have; all below were sent or left out.
    pub(super) const fn next_number(&self) -> u64 {
        self.next
    }

    /// Whether the key may not seal much more (KEY-4).
    pub(super) const fn is_exhausted(&self) -> bool {
        self.sealer.exhausted(self.next)
    }

    /// Whether the present epoch has lasted as long, or sealed as much, as one is to (KEY-8).
    pub(super) fn is_epoch_over(&self, now: Timestamp) -> bool {
        let sealed = self.next.saturating_sub(self.sealer.epoch_since());
        sealed >= KEY_PACKETS
            || (sealed > 0 && now.saturating_since(self.epoch_began) >= KEY_LIFETIME)
    }

    /// Begins the next epoch with the next packet, if the peer has acknowledged one of the present
    /// one: so it is never more than an epoch behind (KEY-7).
    pub(super) fn rotate(&mut self, largest_acked: Option<u64>, now: Timestamp) -> bool {
        let is_followed = largest_acked.is_some_and(|acked| acked >= self.sealer.epoch_since());
        if is_followed {
            self.sealer.advance(self.next);
            self.epoch_began = now;
        }
        is_followed
    }

    /// Whether a number from `low` to `high` was left out on purpose (ACK-3), among the latest.
    pub(super) fn was_skipped(&self, low: u64, high: u64) -> bool {
        let at = self.skipped.partition_point(|skipped| *skipped < low);
        self.skipped.get(at).is_some_and(|skipped| *skipped <= high)
    }

    /// The length of the peer's connection ids, in bytes (PKT-1).
    pub(super) fn remote_cid_len(&self) -> usize {
        self.remote_cid.as_bytes().len()
    }

    /// What a packet's header and tag take while its number takes two bytes (PKT-7).
    pub(super) fn overhead(&self) -> usize {
        1 + self.remote_cid_len() + 2 + TAG_LEN
    }

    /// From now on packets carry another connection id of the peer's (CID-2).
    pub(super) const fn set_remote_cid(&mut self, cid: Cid) {
        self.remote_cid = cid;
    }

    /// All randomness of the link.
    pub(super) const fn rng(&mut self) -> &mut SparseRng {
        &mut self.rng
    }

    /// Begins a packet at the end of `out`. It takes no number until it is finished.
    pub(super) fn begin(&self, largest_acked: Option<u64>, out: &mut Vec<u8>) -> OpenPacket {
        self.begin_to(self.remote_cid, largest_acked, out)
    }

    /// Begins a packet to another connection id of the peer's than the one in use.
    pub(super) fn begin_to(
        &self,
        cid: Cid,
        largest_acked: Option<u64>,
        out: &mut Vec<u8>,
    ) -> OpenPacket {
        let start = out.len();
        let header = DataHeader::new(cid.as_bytes(), self.next, largest_acked);
        let header = header.in_epoch(self.sealer.epoch());
        let number_offset = header.encode(out);
        OpenPacket {
            start,
            number: self.next,
            number_offset,
        }
    }

    /// Forgets a packet that turned out to hold nothing.
    pub(super) fn abandon(packet: OpenPacket, out: &mut Vec<u8>) {
        out.truncate(packet.start);
    }

    /// Seals a packet after padding the datagram to `padded_to` bytes (PAD frames are zeros), and
    /// returns the datagram's length.
    pub(super) fn finish(
        &mut self,
        packet: OpenPacket,
        padded_to: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let len = (packet.start + padded_to).saturating_sub(TAG_LEN);
        out.resize(out.len().max(len), 0);
        pad_for_sample(out, packet.number_offset);
        self.sealer
            .seal(packet.number, out, packet.start, packet.number_offset);
        self.advance();
        out.len() - packet.start
    }

    /// Keeps as little as it can until something is to be sealed.
    pub(super) fn rest(&mut self) {
        self.sealer.rest();
        self.skipped.shrink_to_fit();
    }

    /// The epoch of the packets that are sealed now (KEY-7).
    #[cfg(test)]
    pub(super) const fn epoch(&self) -> u64 {
        self.sealer.epoch()
    }

    /// Leaps to a packet number, for a test that cannot wait for it.
    #[cfg(test)]
    pub(super) const fn pretend_sent(&mut self, next: u64) {
        self.next = next;
        self.skip_at = next;
    }

    fn advance(&mut self) {
        self.next += 1;
        if self.next > self.skip_at {
            if self.skipped.len() == SKIPPED_MAX {
                self.skipped.pop_front();
            }
            self.skipped.push_back(self.next);
            self.next += 1;
            self.skip_at = self.next + self.rng.range(SKIP_EVERY.0, SKIP_EVERY.1) - 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(seed: u8) -> Envelope {
        let sealer = Sealer::new(&[1; 32]);
        Envelope::new(
            sealer,
            Cid::from([7; 8]),
            SparseRng::new([seed; 32]),
            Timestamp::ZERO,
        )
    }

    /// ACK-3, PKT-2: numbers rise, and each 64 to 256 of them hold one that is never sent.
    #[test]
    fn one_number_in_64_to_256_is_left_out() {
        let mut envelope = envelope(3);
        let mut missing = Vec::new();
        let mut last = None;
        for _ in 0..10_000 {
            let number = envelope.next_number();
            if let Some(last) = last {
                missing.extend(last + 1..number);
            }
            last = Some(number);
            envelope.advance();
        }
        assert!(missing[0] <= 257);
        let gaps: Vec<u64> = missing.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (64..=256).contains(gap)), "{gaps:?}");
        let newest = *missing.last().unwrap();
        assert!(envelope.was_skipped(newest, newest));
        assert!(envelope.was_skipped(newest - 5, newest + 5));
        assert!(!envelope.was_skipped(newest + 1, newest + 5));
        assert!(envelope.skipped.len() <= SKIPPED_MAX);
    }

    #[test]
    fn an_abandoned_packet_leaves_no_trace() {
        let envelope = envelope(0);
        let mut out = vec![1, 2, 3];
        let packet = envelope.begin(None, &mut out);
        assert_eq!(out.len(), 3 + 1 + 8 + 2);
        Envelope::abandon(packet, &mut out);
        assert_eq!((out, envelope.next_number()), (vec![1, 2, 3], 0));
    }
}

//! How large a datagram the path takes (section 8.12 of SPEC.md): RFC 8899, for links that have much
//! to send.
//!
//! A chat never asks: its lines are small, and what it would learn costs more than it would save. A
//! file does, one size after the other, with packets of nothing but padding, whose loss means nothing
//! else.

use core::time::Duration;

use crate::time::Timestamp;
use crate::wire::{DATAGRAM_BASE, DATAGRAM_MAX};

/// What is tried, in rising order: what tunnels leave, Ethernet with IPv6, with IPv4, and jumbo frames
/// (MTU-1).
const SIZES: [usize; 4] = [1_372, 1_452, 1_472, DATAGRAM_MAX];
const _: () = assert!(DATAGRAM_BASE < SIZES[0] && SIZES[3] <= u16::MAX as usize);

/// A size of which so many probes are lost is too large (MTU-2; `MAX_PROBES` of RFC 8899).
const PROBES_MAX: u8 = 3;
/// A size that was too large is tried again after this (MTU-2; `PMTU_RAISE_TIMER` of RFC 8899).
const RAISED_AFTER: Duration = Duration::from_secs(600);
/// There is much to send when so many datagrams were full, while more waited (MTU-2),
const FULL_MIN: u8 = 16;
/// none of them longer ago than this before the next, or now (MTU-2).
const SOON: Duration = Duration::from_secs(1);
/// What is larger than this is tried only if the window has room for so many of it, or the peer is
/// near: on a slow path it would hold others up for long (MTU-2).
const LARGE: (usize, u64) = (1_500, 10);
/// A peer with at most this round trip is near: jumbo frames are for networks of one's own (MTU-2).
const NEAR: Duration = Duration::from_millis(5);
/// A path takes large datagrams no more when so many in a row are lost (MTU-4).
const HOLE: u8 = 16;
/// So long after it took them no more, larger ones are tried again for the first time (MTU-4).
const HOLE_AVOIDED: Duration = Duration::from_secs(10);

/// What is known of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathMtu {
    /// The largest size that has arrived, in bytes.
    size: u16,
    /// Which of [`SIZES`] is tried next.
    next: u8,
    /// How many probes of that size were lost.
    probes_lost: u8,
    /// Whether a probe is on its way.
    is_out: bool,
    /// When a datagram was last full, and more waited; and how many were, one soon after the other.
    full_at: Timestamp,
    full: u8,
    /// When the next probe may go.
    not_before: Timestamp,
    /// The highest number of a packet of more than [`DATAGRAM_BASE`] bytes that has arrived.
    newest_large: u64,
    /// How many such packets were lost that were sent after it.
    large_lost: u8,
    /// How often large datagrams came to be lost on this path.
    holes: u8,
}

/// A packet of which the fate is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolved {
    pub(super) number: u64,
    /// The datagram's length, in bytes.
    pub(super) len: usize,
    /// Whether it only tried its size.
    pub(super) is_probe: bool,
}

impl Default for PathMtu {
    fn default() -> Self {
        Self {
            size: DATAGRAM_BASE as u16,
            next: 0,
            probes_lost: 0,
            is_out: false,
            full_at: Timestamp::ZERO,
            full: 0,
            not_before: Timestamp::ZERO,
            newest_large: 0,
            large_lost: 0,
            holes: 0,
        }
    }
}

impl PathMtu {
    /// The most bytes that a datagram may have.
    pub(super) const fn size(&self) -> usize {
        self.size as usize
    }

    /// A datagram is full, and more waits.
    pub(super) fn on_full(&mut self, now: Timestamp) {
        let is_soon = now < self.full_at + SOON;
        self.full = if is_soon {
            self.full.saturating_add(1)
        } else {
            1
        };
        self.full_at = now;
    }

    /// The size that is to be tried now, with this window and smoothed round trip.
    pub(super) fn due(&self, window: u64, srtt: Duration, now: Timestamp) -> Option<usize> {
        let size = *SIZES.get(usize::from(self.next))?;
        let is_wanted = self.full >= FULL_MIN && now < self.full_at + SOON;
        let is_due = is_wanted && !self.is_out && self.not_before <= now;
        let (large, part) = LARGE;
        let is_bearable = size <= large || size as u64 * part <= window || srtt <= NEAR;
        (is_due && is_bearable).then_some(size)
    }

    /// A probe has gone out.
    pub(super) const fn on_probe_sent(&mut self) {
        self.is_out = true;
    }

    /// A packet has arrived.
    pub(super) fn on_acked(&mut self, packet: Resolved) {
        let Resolved {
            number,
            len,
            is_probe,
        } = packet;
        if len > DATAGRAM_BASE && number >= self.newest_large {
            self.newest_large = number;
            self.large_lost = 0;
        }
        if is_probe {
            self.is_out = false;
        }
        if is_probe && self.is_next(len) {
            self.size = len as u16;
            self.next += 1;
            self.probes_lost = 0;
        }
    }

    /// A packet was lost.
    pub(super) fn on_lost(&mut self, packet: Resolved, now: Timestamp) {
        let Resolved {
            number,
            len,
            is_probe,
        } = packet;
        if is_probe {
            self.is_out = false;
            if self.is_next(len) {
                self.probes_lost += 1;
            }
            if self.probes_lost >= PROBES_MAX {
                self.probes_lost = 0;
                self.not_before = now + RAISED_AFTER;
            }
        } else if len > DATAGRAM_BASE && number >= self.newest_large {
            self.large_lost = self.large_lost.saturating_add(1);
            if self.large_lost == HOLE {
                self.fall(now);
            }
        }
    }

    /// Large datagrams do not arrive any more, or perhaps none does (LOSS-3, MTU-4).
    pub(super) fn fall(&mut self, now: Timestamp) {
        if self.size() == DATAGRAM_BASE {
            return;
        }
        let wait = HOLE_AVOIDED * (1 << self.holes.min(6));
        *self = Self {
            not_before: now + wait.min(RAISED_AFTER),
            holes: self.holes.saturating_add(1),
            ..Self::default()
        };
    }

    /// Whether `len` is the size that is tried.
    fn is_next(&self, len: usize) -> bool {
        SIZES.get(usize::from(self.next)) == Some(&len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: u64 = 1_000_000;
    const FAR: Duration = Duration::from_millis(100);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn packet(number: u64, len: usize) -> Resolved {
        Resolved {
            number,
            len,
            is_probe: false,
        }
    }

    fn probe(number: u64, len: usize) -> Resolved {
        Resolved {
            is_probe: true,
            ..packet(number, len)
        }
    }

    fn fill(mtu: &mut PathMtu, now: Timestamp) {
        for _ in 0..FULL_MIN {
            mtu.on_full(now);
        }
    }

    /// Sends a probe if one is due, and returns its size.
    fn send(mtu: &mut PathMtu, now: Timestamp) -> Option<usize> {
        fill(mtu, now);
        let size = mtu.due(WIDE, FAR, now)?;
        mtu.on_probe_sent();
        Some(size)
    }

    /// A path that has shown that it takes all but jumbo frames.
    fn ethernet() -> PathMtu {
        let mut mtu = PathMtu::default();
        for number in 0..3 {
            let size = send(&mut mtu, at(0)).unwrap();
            mtu.on_acked(probe(number, size));
        }
        mtu
    }

    /// MTU-1, MTU-2.
    #[test]
    fn sizes_are_tried_one_after_the_other_while_there_is_much_to_send() {
        let mut mtu = PathMtu::default();
        for millis in (0..100).map(|second| second * 1_000) {
            mtu.on_full(Timestamp::from_millis(millis));
        }
        assert_eq!(mtu.due(WIDE, FAR, at(100)), None, "nobody needs it");
        let mut seen = Vec::new();
        while let Some(size) = send(&mut mtu, at(200)) {
            assert_eq!(send(&mut mtu, at(200)), None, "one at a time");
            mtu.on_acked(probe(seen.len() as u64, size));
            seen.push(mtu.size());
        }
        assert_eq!(seen, [1_372, 1_452, 1_472, 8_952]);
    }

    /// MTU-2: a jumbo frame takes a slow path too long.
    #[test]
    fn jumbo_frames_are_tried_when_ten_of_them_fit_the_window_or_the_peer_is_near() {
        let mut mtu = ethernet();
        fill(&mut mtu, at(0));
        assert_eq!(mtu.due(89_519, FAR, at(0)), None);
        assert_eq!(mtu.due(89_520, FAR, at(0)), Some(8_952));
        assert_eq!(mtu.due(1_000, NEAR, at(0)), Some(8_952));
    }

    /// MTU-2.
    #[test]
    fn a_size_of_which_three_probes_are_lost_is_tried_again_after_ten_minutes() {
        let mut mtu = ethernet();
        for number in 3..6 {
            let size = send(&mut mtu, at(1)).unwrap();
            assert_eq!(size, 8_952);
            mtu.on_lost(probe(number, size), at(1));
        }
        assert_eq!(send(&mut mtu, at(600)), None);
        assert_eq!(mtu.size(), 1_472);
        assert_eq!(send(&mut mtu, at(601)), Some(8_952));
    }

    /// MTU-4: what is lost between what arrives is a queue's doing, or chance.
    #[test]
    fn only_large_datagrams_lost_in_a_row_make_them_smaller() {
        let mut mtu = ethernet();
        mtu.on_acked(packet(200, 1_472));
        for number in 100..200 {
            mtu.on_lost(packet(number, 1_472), at(1));
            assert_eq!(mtu.size(), 1_472);
        }
        for number in 201..250 {
            mtu.on_lost(packet(number, 1_200), at(1));
        }
        for number in 300..316 {
            assert_eq!(mtu.size(), 1_472);
            mtu.on_lost(packet(number, 1_472), at(1));
        }
        assert_eq!(mtu.size(), 1_200);
    }

    /// MTU-4.
    #[test]
    fn after_each_hole_larger_ones_wait_twice_as_long() {
        let mut mtu = PathMtu::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for number in 0..9 {
            let size = send(&mut mtu, now).unwrap();
            mtu.on_acked(probe(number, size));
            mtu.fall(now);
            let until = mtu.not_before;
            waits.push(until.saturating_since(now).as_secs());
            assert_eq!(send(&mut mtu, until - Duration::from_millis(1)), None);
            now = until;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    }
}

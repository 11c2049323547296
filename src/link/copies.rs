//! Which messages are copied before anybody can miss them: LAD-1, LAD-2.
//!
//! A message of sparse traffic that is lost is missed only after a round trip, when its time-out
//! has passed. A copy that was sent ahead of that, while nobody could know yet whether it is needed,
//! costs a few bytes and saves the round trip:
//!
//! ```text
//! 1 copy in all    t = 0
//! 2                t = 0         0.4 srtt
//! 3                t = 0   0.15 srtt   0.5 srtt
//! ```
//!
//! Not all at once, because losses come in bursts; and not later, because a copy at 0.4 of a round
//! trip arrives while its message is hardly late. A message that is sent in the meantime takes the
//! earlier ones along, which is cheaper than a packet of their own.

use core::time::Duration;
use std::collections::VecDeque;

use super::channel::Piece;
use crate::time::Timestamp;

/// The most bytes of a message that is copied: what people type, not what they attach (LAD-1).
pub(super) const SMALL_MAX: usize = 512;
/// How many messages are copied at a time. Of more in a round trip, later ones show what is missing
/// (LAD-1).
pub(super) const WATCHED_MAX: usize = 8;
/// How often a message is sent at most before its time-out (LAD-1).
pub(super) const COPIES_MAX: u8 = 3;

/// Copies are at least so far apart: a router that drops a burst drops all that is in it (LAD-1).
const APART_MIN: Duration = Duration::from_millis(8);
/// When the second of two is sent, in percent of the srtt (LAD-1): late enough to outlast a short
/// burst of losses.
const SECOND_OF_TWO: u32 = 40;
/// When the second and the third of three are sent, in percent of the srtt (LAD-1): where two are not
/// enough, most repairs are the second's, and the third outlasts the burst.
const SECOND_OF_THREE: u32 = 15;
const THIRD_OF_THREE: u32 = 50;

/// A message that is not settled.
#[derive(Clone, Copy, Debug)]
struct Watched {
    piece: Piece,
    first: Timestamp,
    last: Timestamp,
    /// How often it was sent, or was to be sent and was not allowed to.
    sent: u8,
    /// How often it is to be sent ahead of its time-out.
    copies: u8,
    /// Whether it may be taken along by others once more than that (LAD-2).
    rides: bool,
}

impl Watched {
    /// When the next copy is due.
    fn due(&self, srtt: Duration) -> Option<Timestamp> {
        (self.sent < self.copies).then(|| self.first + offset(self.copies, self.sent, srtt))
    }

    /// Whether a packet that goes anyway takes it along: as long as there were not too many copies
    /// yet, or once it should have been acknowledged (LAD-2).
    fn may_ride(&self, srtt: Duration, now: Timestamp) -> bool {
        let is_late = self.first + srtt < now;
        (is_late || self.sent < self.copies + u8::from(self.rides))
            && self.last + spacing(self.copies, srtt) / 2 <= now
    }
}

/// The messages that are copied, oldest first.
#[derive(Debug, Default)]
pub(super) struct Copies {
    watched: VecDeque<Watched>,
}

impl Copies {
    /// A small message was sent for the first time, and is to be sent `copies` times.
    pub(super) fn watch(&mut self, piece: Piece, copies: u8, rides: bool, now: Timestamp) {
        if self.watched.len() < WATCHED_MAX {
            self.watched.push_back(Watched {
                piece,
                first: now,
                last: now,
                sent: 1,
                copies,
                rides,
            });
        }
    }

    /// A piece was sent again, for whatever reason.
    pub(super) fn on_sent_again(&mut self, piece: Piece, now: Timestamp) {
        if let Some(watched) = self.watched.iter_mut().find(|other| other.piece == piece) {
            watched.last = now;
            watched.sent = watched.sent.saturating_add(1);
        }
    }

    /// A piece is settled: what is left of its copies is not sent (LAD-1).
    pub(super) fn on_settled(&mut self, piece: Piece) {
        self.watched.retain(|watched| watched.piece != piece);
    }

    /// Keeps no memory for what was once copied: the link rests.
    pub(super) fn release(&mut self) {
        self.watched.shrink_to_fit();
    }

    /// Whether a copy of the piece was sent after `sent_at`: then what was sent at that time need
    /// not be sent again if it is lost, because the copy will be missed in its turn (LOSS-2).
    pub(super) fn was_sent_after(&self, piece: Piece, sent_at: Timestamp) -> bool {
        self.watched
            .iter()
            .any(|watched| watched.piece == piece && watched.last > sent_at)
    }

    /// When the oldest of them was sent for the first time.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.watched.front().map(|watched| watched.first)
    }

    /// When the next copy is due.
    pub(super) fn due(&self, srtt: Duration) -> Option<Timestamp> {
        self.watched
            .iter()
            .filter_map(|watched| watched.due(srtt))
            .min()
    }

    /// The copies that are due are not sent (LAD-5).
    pub(super) fn skip_due(&mut self, srtt: Duration, now: Timestamp) {
        for watched in &mut self.watched {
            while watched.due(srtt).is_some_and(|due| due <= now) {
                watched.sent += 1;
            }
        }
    }

    /// What a packet takes along that goes at `now`, oldest first (LAD-2).
    pub(super) fn riders(&self, srtt: Duration, now: Timestamp) -> impl Iterator<Item = Piece> {
        self.watched
            .iter()
            .filter(move |watched| watched.may_ride(srtt, now))
            .map(|watched| watched.piece)
    }
}

/// How long after the first of `copies` the one follows of which `sent` went before.
fn offset(copies: u8, sent: u8, srtt: Duration) -> Duration {
    let second = match copies {
        2 => SECOND_OF_TWO,
        _ => SECOND_OF_THREE,
    };
    let second = (srtt * second / 100).max(APART_MIN);
    match sent {
        0 => Duration::ZERO,
        1 => second,
        _ => (srtt * THIRD_OF_THREE / 100).max(second + APART_MIN),
    }
}

/// How far the copies of a message are apart, about.
fn spacing(copies: u8, srtt: Duration) -> Duration {
    offset(copies.max(2), 1, srtt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRTT: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1000 + millis)
    }

    fn piece(number: u64) -> Piece {
        Piece {
            channel: 1,
            index: 0,
            cut: 0,
            number,
        }
    }

    fn schedule(copies: u8, srtt: Duration) -> Vec<u64> {
        let mut ladder = Copies::default();
        ladder.watch(piece(0), copies, true, at(0));
        let mut times = Vec::new();
        while let Some(due) = ladder.due(srtt) {
            times.push(due.as_millis() - 1000);
            ladder.on_sent_again(piece(0), due);
        }
        times
    }

    /// LAD-1.
    #[test]
    fn copies_follow_within_the_round_trip() {
        assert_eq!(schedule(1, SRTT), [0_u64; 0]);
        assert_eq!(schedule(2, SRTT), [40]);
        assert_eq!(schedule(3, SRTT), [15, 50]);
    }

    /// LAD-1.
    #[test]
    fn copies_are_at_least_8_ms_apart() {
        let short = Duration::from_millis(10);
        assert_eq!(schedule(2, short), [8]);
        assert_eq!(schedule(3, short), [8, 16]);
    }

    /// LAD-1: any copy that gets through ends it, and nothing is kept.
    #[test]
    fn what_is_settled_is_not_copied_any_more() {
        let mut copies = Copies::default();
        copies.watch(piece(0), 3, true, at(0));
        copies.watch(piece(1), 2, true, at(10));
        copies.on_settled(piece(0));
        assert_eq!(copies.due(SRTT), Some(at(50)));
        copies.on_settled(piece(1));
        assert_eq!(copies.due(SRTT), None);
        copies.release();
        assert_eq!(copies.watched.capacity(), 0);
    }

    /// LAD-2: and what was taken along is a copy less to send.
    #[test]
    fn a_message_takes_along_the_earlier_ones_that_were_not_sent_just_now() {
        let mut copies = Copies::default();
        copies.watch(piece(0), 2, true, at(0));
        copies.watch(piece(1), 2, true, at(15));
        let riders = |copies: &Copies, now| copies.riders(SRTT, now).collect::<Vec<_>>();
        assert_eq!(riders(&copies, at(19)), []);
        assert_eq!(riders(&copies, at(20)), [piece(0)]);
        copies.on_sent_again(piece(0), at(20));
        assert_eq!(copies.due(SRTT), Some(at(55)), "the other one's");
        assert_eq!(riders(&copies, at(41)), [piece(0), piece(1)]);
        copies.on_sent_again(piece(0), at(41));
        assert_eq!(riders(&copies, at(90)), [piece(1)], "three times is enough");
        assert_eq!(
            riders(&copies, at(101)),
            [piece(0), piece(1)],
            "for a round trip"
        );
    }

    /// LAD-1, LAD-4: one copy and no more, where a message is worth no more.
    #[test]
    fn what_is_sent_once_is_taken_along_only_when_it_is_late() {
        let mut copies = Copies::default();
        copies.watch(piece(0), 1, false, at(0));
        assert_eq!(copies.due(SRTT), None);
        assert_eq!(copies.riders(SRTT, at(100)).count(), 0);
        assert_eq!(copies.riders(SRTT, at(101)).count(), 1);
    }

    /// LAD-1.
    #[test]
    fn no_more_than_eight_messages_are_copied_at_a_time() {
        let mut copies = Copies::default();
        for number in 0..20 {
            copies.watch(piece(number), 3, true, at(0));
        }
        assert_eq!(copies.riders(SRTT, at(50)).count(), WATCHED_MAX);
    }

    /// LAD-5: and a copy is not made up for later.
    #[test]
    fn a_copy_that_may_not_go_when_it_is_due_is_left_out() {
        let mut copies = Copies::default();
        copies.watch(piece(0), 3, true, at(0));
        copies.skip_due(SRTT, at(20));
        assert_eq!(copies.due(SRTT), Some(at(50)));
        copies.skip_due(SRTT, at(90));
        assert_eq!(copies.due(SRTT), None);
    }

    /// LOSS-2.
    #[test]
    fn a_lost_packet_is_made_up_for_by_a_later_copy() {
        let mut copies = Copies::default();
        copies.watch(piece(0), 2, true, at(0));
        assert!(!copies.was_sent_after(piece(0), at(0)));
        copies.on_sent_again(piece(0), at(40));
        assert!(copies.was_sent_after(piece(0), at(0)));
        assert!(!copies.was_sent_after(piece(0), at(40)));
    }
}

//! What the network says without losing anything: ECN-1 to ECN-5 (RFC 3168; RFC 9000 section 13.4).
//!
//! A router whose queue grows can mark a packet instead of dropping it, if the packet says that its
//! sender understands marks. The receiver counts what came marked how, and tells; the sender slows
//! down as for a loss, and has nothing to send again. Some networks wipe marks off, or drop what has
//! any. So a path is *tried* first, and believed as long as its counts add up.

use crate::transmit::Ecn;
use crate::wire::EcnCounts;

/// With so many marked packets lost and none arrived, a path drops what is marked (ECN-4).
const TRIED: u64 = 10;
/// So many marked packets in a row may be acknowledged without counts on a path that is tried, where a
/// receiver tells at once, and on one that is proven (ECN-4).
const SILENT_TRIED_MAX: u16 = 16;
const SILENT_PROVEN_MAX: u16 = 600;

/// A receiver tells its counts for each of the first so many marked packets (ECN-2).
const TOLD_FIRST: u64 = 4;
/// And then for each so many (ECN-2): to tell always would cost a chat one byte in a hundred.
const TOLD_EVERY: u64 = 128;
/// It tells them in so many acknowledgements, lest they are lost (ECN-2); the usual ones in fewer.
const TOLD_TIMES: u8 = 4;
const USUAL_TOLD_TIMES: u8 = 2;

/// Whether the present path is to be trusted with marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    /// Nothing is known yet.
    #[default]
    Tried,
    /// It hands on marked packets, and marks.
    Proven,
    /// It does not, or the peer does not tell.
    Refused,
}

/// What a sender knows about marks on its path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EcnPath {
    trust: Trust,
    /// How many packets that elicit acknowledgements went marked on this path and were acknowledged,
    /// and lost.
    acked: u64,
    lost: u8,
    /// How many of them were acknowledged since the peer last told its counts.
    silent: u16,
    /// How many datagrams went marked, in all.
    sent: u64,
    /// What the peer told last.
    told: EcnCounts,
    /// How many packets had come with ECT(0) or CE when the link came to this path.
    base: u64,
}

impl EcnPath {
    /// How the next packet is marked. A probe repairs what may have been lost for its mark.
    pub(super) fn mark(&self, is_probe: bool) -> Ecn {
        match self.trust {
            Trust::Proven => Ecn::Ect0,
            Trust::Tried if !is_probe && self.sent < TRIED + self.acked => Ecn::Ect0,
            Trust::Tried | Trust::Refused => Ecn::NotEct,
        }
    }

    /// A marked datagram goes out.
    pub(super) const fn on_sent(&mut self) {
        self.sent += 1;
    }

    /// A marked packet of this path is lost.
    pub(super) fn on_lost(&mut self) {
        self.lost = self.lost.saturating_add(1);
        if self.trust == Trust::Tried && self.acked == 0 && u64::from(self.lost) >= TRIED {
            self.trust = Trust::Refused;
        }
    }

    /// An acknowledgement came that covers so many marked packets of this path which none before did,
    /// and tells counts or not. Says whether more packets were marked on their way (ECN-3, ECN-4).
    pub(super) fn on_ack(&mut self, newly_acked: u64, counts: Option<EcnCounts>) -> bool {
        self.acked += newly_acked;
        let newly_acked = u16::try_from(newly_acked).unwrap_or(u16::MAX);
        self.silent = self.silent.saturating_add(newly_acked);
        let Some(counts) = counts else {
            let most = match self.trust {
                Trust::Proven => SILENT_PROVEN_MAX,
                Trust::Tried | Trust::Refused => SILENT_TRIED_MAX,
            };
            if self.silent > most {
                self.trust = Trust::Refused;
            }
            return false;
        };
        // One that was overtaken by a later one says nothing new.
        if counts.total() < self.told.total() {
            return false;
        }
        self.silent = 0;
        let marked = counts.ce > self.told.ce;
        self.told = counts;
        if self.trust == Trust::Refused {
            return false;
        }
        let arrived = understood(counts).saturating_sub(self.base);
        let adds_up = counts.ect1 == 0 && counts.total() <= self.sent && arrived >= self.acked;
        self.trust = match adds_up {
            true if self.acked > 0 => Trust::Proven,
            true => self.trust,
            false => Trust::Refused,
        };
        marked && adds_up
    }

    /// The link is on another path, of which nothing is known (ECN-5).
    pub(super) const fn on_moved(&mut self) {
        *self = Self {
            trust: Trust::Tried,
            acked: 0,
            lost: 0,
            silent: 0,
            sent: self.sent,
            told: self.told,
            base: understood(self.told),
        };
    }
}

/// How many packets came with marks that are used here.
const fn understood(counts: EcnCounts) -> u64 {
    counts.ect0.saturating_add(counts.ce)
}

/// What a receiver has seen, and has to tell (ECN-2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EcnSeen {
    counts: EcnCounts,
    /// In how many more acknowledgements it is to be told.
    untold: u8,
}

impl EcnSeen {
    /// A packet came that had not come before.
    pub(super) fn on_packet(&mut self, ecn: Ecn) {
        let count = match ecn {
            Ecn::NotEct => return,
            Ecn::Ect0 => &mut self.counts.ect0,
            Ecn::Ect1 => &mut self.counts.ect1,
            Ecn::Ce => &mut self.counts.ce,
        };
        *count += 1;
        let total = self.counts.total();
        if ecn == Ecn::Ce || total <= TOLD_FIRST {
            self.untold = TOLD_TIMES;
        } else if total.is_multiple_of(TOLD_EVERY) {
            self.untold = self.untold.max(USUAL_TOLD_TIMES);
        }
    }

    /// What the next acknowledgement tells, if anything.
    pub(super) fn counts(&self) -> Option<EcnCounts> {
        (self.untold > 0).then_some(self.counts)
    }

    /// An acknowledgement was sent.
    pub(super) const fn on_told(&mut self) {
        self.untold = self.untold.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ect0: u64, ce: u64) -> Option<EcnCounts> {
        Some(EcnCounts { ect0, ect1: 0, ce })
    }

    /// A path that was sent so many marked packets.
    fn sent(packets: u64) -> EcnPath {
        let mut path = EcnPath::default();
        for _ in 0..packets {
            assert_eq!(path.mark(false), Ecn::Ect0);
            path.on_sent();
        }
        path
    }

    /// ECN-1, ECN-4.
    #[test]
    fn a_path_whose_counts_add_up_is_proven_and_one_that_was_sent_ten_waits_for_that() {
        let mut path = sent(10);
        assert_eq!(path.mark(false), Ecn::NotEct);
        assert!(
            !path.on_ack(2, counts(3, 0)),
            "one more came, and its ack did not"
        );
        assert_eq!(path.trust, Trust::Proven);
        assert_eq!(path.mark(true), Ecn::Ect0);
    }

    /// ECN-1: what repairs a loss is not lost for the same reason.
    #[test]
    fn a_probe_is_not_marked_on_a_path_that_is_being_tried() {
        assert_eq!(EcnPath::default().mark(true), Ecn::NotEct);
    }

    /// ECN-3.
    #[test]
    fn a_mark_is_told_once() {
        let mut path = sent(4);
        assert!(path.on_ack(2, counts(1, 1)));
        assert!(!path.on_ack(0, counts(1, 1)));
        assert!(!path.on_ack(0, None));
        assert!(!path.on_ack(0, counts(0, 1)), "an older one");
        assert!(path.on_ack(2, counts(2, 2)));
    }

    /// ECN-4: the ways in which a path may fail (RFC 9000 section 13.4.2.1).
    #[test]
    fn a_path_whose_counts_do_not_add_up_is_refused_for_good() {
        let ect1 = Some(EcnCounts {
            ect0: 1,
            ect1: 1,
            ce: 0,
        });
        for (newly_acked, counts) in [
            (3, counts(2, 0)), // wiped off
            (1, counts(0, 0)),
            (1, counts(9, 0)), // made up
            (1, ect1),         // changed
        ] {
            let mut path = sent(4);
            assert!(!path.on_ack(newly_acked, counts));
            assert_eq!(path.trust, Trust::Refused, "{counts:?}");
            assert!(!path.on_ack(1, self::counts(4, 0)));
            assert!(
                !path.on_ack(0, self::counts(3, 1)),
                "it is believed no more"
            );
            assert_eq!(path.mark(false), Ecn::NotEct);
        }
    }

    /// ECN-4.
    #[test]
    fn a_path_that_drops_what_is_marked_is_refused() {
        let mut path = sent(10);
        (0..9).for_each(|_| path.on_lost());
        assert_eq!(path.trust, Trust::Tried);
        path.on_lost();
        assert_eq!(path.trust, Trust::Refused);
        let mut lossy = sent(10);
        lossy.on_ack(1, None);
        (0..9).for_each(|_| lossy.on_lost());
        lossy.on_lost();
        assert_eq!(lossy.trust, Trust::Tried, "one came through");
    }

    /// ECN-4.
    #[test]
    fn a_peer_that_tells_no_counts_is_sent_no_marks() {
        let mut path = EcnPath::default();
        for _ in 0..SILENT_TRIED_MAX {
            assert_eq!(path.mark(false), Ecn::Ect0);
            path.on_sent();
            path.on_ack(1, None);
        }
        path.on_ack(1, None);
        assert_eq!(path.mark(false), Ecn::NotEct);
        let mut path = sent(2);
        path.on_ack(1, counts(1, 0));
        path.on_ack(SILENT_PROVEN_MAX.into(), None);
        assert_eq!(path.trust, Trust::Proven);
        path.on_ack(1, None);
        assert_eq!(path.trust, Trust::Refused);
    }

    /// ECN-5.
    #[test]
    fn another_path_is_tried_anew() {
        let mut path = sent(4);
        path.on_ack(4, counts(2, 0));
        assert_eq!(path.trust, Trust::Refused);
        path.on_moved();
        assert_eq!(path.mark(false), Ecn::Ect0);
        path.on_sent();
        path.on_ack(1, counts(3, 0));
        assert_eq!(path.trust, Trust::Proven);
    }

    /// ECN-2.
    #[test]
    fn counts_are_told_at_first_then_now_and_then_and_whenever_something_was_marked() {
        let mut seen = EcnSeen::default();
        seen.on_packet(Ecn::NotEct);
        assert_eq!(seen.counts(), None);
        let mut told = Vec::new();
        for number in 1..=150 {
            seen.on_packet(if number == 50 { Ecn::Ce } else { Ecn::Ect0 });
            if seen.counts().is_some() {
                told.push(number);
            }
            seen.on_told();
        }
        let expected: Vec<u64> = [1..=7, 50..=53, 128..=129].into_iter().flatten().collect();
        assert_eq!(told, expected);
        assert_eq!(
            seen.counts,
            EcnCounts {
                ect0: 149,
                ect1: 0,
                ce: 1
            }
        );
    }
}

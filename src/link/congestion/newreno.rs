//! NewReno, as RFC 9002 section 7 and appendix B have it (CC-1).

use core::time::Duration;

use super::{AckedPacket, Congestion, LostPackets, Reduction, Stamp, rate_of};
use crate::link::sent::IN_FLIGHT_MAX;
use crate::time::Timestamp;
use crate::wire::DATAGRAM_BASE;

/// How large datagrams are at first, in bytes.
const DATAGRAM: u64 = DATAGRAM_BASE as u64;
/// The window of a new link (CC-1).
const WINDOW_INITIAL: u64 = 10 * DATAGRAM;
/// The least that the window shrinks to, in datagrams (CC-1).
const DATAGRAMS_MIN: u64 = 2;
/// Pacing at so many percent of the window per round trip (CC-2).
const GAIN_PACING: u64 = 125;
/// More could not be in flight anyway (LIM-4).
const WINDOW_MAX: u64 = IN_FLIGHT_MAX as u64 * DATAGRAM;

/// The controller.
#[derive(Clone, Copy, Debug)]
pub(in crate::link) struct NewReno {
    window: u64,
    /// How large datagrams are (MTU-1).
    datagram: u64,
    /// Below it the window grows by what is acknowledged, above it by a datagram per round trip.
    slow_start_until: u64,
    /// When the window was last halved: losses of what was sent before change nothing.
    recovery_since: Option<Timestamp>,
    /// What was acknowledged since the window last grew, above the threshold.
    acked: u64,
    /// The last halving: the window and the threshold before it.
    halving: Option<Reduction<(u64, u64)>>,
}

impl NewReno {
    pub(in crate::link) const fn new() -> Self {
        Self {
            window: WINDOW_INITIAL,
            datagram: DATAGRAM,
            slow_start_until: u64::MAX,
            recovery_since: None,
            acked: 0,
            halving: None,
        }
    }

    const fn halve(&mut self, now: Timestamp) {
        self.recovery_since = Some(now);
        let (half, least) = (self.window / 2, self.window_min());
        self.window = if half < least { least } else { half };
        self.slow_start_until = self.window;
        self.acked = 0;
    }

    const fn window_min(&self) -> u64 {
        DATAGRAMS_MIN * self.datagram
    }

    fn is_in_recovery(&self, sent_at: Timestamp) -> bool {
        self.recovery_since.is_some_and(|since| sent_at <= since)
    }
}

impl Congestion for NewReno {
    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self, srtt: Duration) -> u64 {
        rate_of(self.window, srtt, GAIN_PACING)
    }

    fn on_sent(&mut self, _: u64, _: Timestamp) -> Stamp {
        Stamp::default()
    }

    fn on_app_limited(&mut self, _: u64) {}

    fn on_ack(&mut self, packet: &AckedPacket, _: Timestamp) {
        let AckedPacket { len, sent_at, .. } = *packet;
        if packet.is_app_limited || self.is_in_recovery(sent_at) {
            return;
        }
        if self.window < self.slow_start_until {
            self.window += len;
        } else {
            self.acked += len;
            if self.acked >= self.window {
                self.acked -= self.window;
                self.window += self.datagram;
            }
        }
        self.window = self.window.min(WINDOW_MAX);
    }

    fn on_loss(&mut self, lost: LostPackets, now: Timestamp) {
        if self.is_in_recovery(lost.newest) {
            if let Some(halving) = &mut self.halving {
                halving.lost += lost.count;
            }
            return;
        }
        let before = (self.window, self.slow_start_until);
        self.halve(now);
        self.halving = Some(Reduction::new(before, lost.count, now));
    }

    fn on_marked(&mut self, sent_at: Timestamp, now: Timestamp) {
        if !self.is_in_recovery(sent_at) {
            self.halve(now);
        }
        // Whatever becomes of what seems lost, there is a queue.
        self.halving = None;
    }

    fn on_late(&mut self, packet: &AckedPacket, _: Timestamp) {
        let halving = self.halving.as_mut();
        let before = halving.and_then(|halving| halving.on_late(packet.sent_at));
        if let Some((window, slow_start_until)) = before {
            self.window = self.window.max(window);
            self.slow_start_until = slow_start_until;
            self.recovery_since = None;
            self.halving = None;
        }
    }

    fn on_ack_end(&mut self, _: Option<Duration>, _: u64, _: Timestamp) {}

    fn on_persistent_congestion(&mut self) {
        self.window = self.window_min();
        self.recovery_since = None;
        self.halving = None;
    }

    fn set_datagram(&mut self, datagram: u64) {
        self.datagram = datagram;
        self.window = self.window.max(self.window_min());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn acked(sent_at: u64, is_app_limited: bool) -> AckedPacket {
        AckedPacket {
            len: DATAGRAM,
            sent_at: at(sent_at),
            stamp: Stamp::default(),
            is_app_limited,
        }
    }

    fn lost(count: u64, newest: u64) -> LostPackets {
        LostPackets {
            count,
            bytes: count * DATAGRAM,
            newest: at(newest),
        }
    }

    /// CC-1.
    #[test]
    fn slow_start_doubles_the_window_in_a_round_trip() {
        let mut newreno = NewReno::new();
        for _ in 0..10 {
            newreno.on_ack(&acked(1, false), at(1_000));
        }
        assert_eq!(newreno.window(), 20 * DATAGRAM);
    }

    /// CC-1.
    #[test]
    fn the_window_halves_at_most_once_per_round_trip() {
        let mut newreno = NewReno::new();
        newreno.on_loss(lost(1, 10), at(100));
        assert_eq!(newreno.window(), 5 * DATAGRAM);
        newreno.on_loss(lost(1, 100), at(110));
        assert_eq!(newreno.window(), 5 * DATAGRAM, "sent before the halving");
        newreno.on_loss(lost(1, 101), at(210));
        assert_eq!(newreno.window(), 5 * DATAGRAM / 2);
        newreno.on_loss(lost(1, 300), at(310));
        assert_eq!(newreno.window(), 2 * DATAGRAM);
    }

    /// ECN-3: as for a loss, once in a round trip, and whatever seemed lost was there.
    #[test]
    fn a_mark_halves_the_window_for_good() {
        let mut newreno = NewReno::new();
        newreno.on_loss(lost(1, 50), at(100));
        newreno.on_marked(at(60), at(110));
        assert_eq!(newreno.window(), 5 * DATAGRAM, "sent before the halving");
        newreno.on_late(&acked(50, false), at(120));
        assert_eq!(newreno.window(), 5 * DATAGRAM, "there was a queue");
        newreno.on_marked(at(130), at(220));
        assert_eq!(newreno.window(), 5 * DATAGRAM / 2);
    }

    /// CC-7.
    #[test]
    fn a_halving_for_nothing_is_undone() {
        let mut newreno = NewReno::new();
        newreno.on_loss(lost(2, 50), at(100));
        newreno.on_loss(lost(1, 99), at(110));
        newreno.on_late(&acked(10, false), at(120));
        newreno.on_late(&acked(101, false), at(121));
        newreno.on_late(&acked(50, false), at(122));
        assert_eq!(newreno.window(), 5 * DATAGRAM, "one may be lost");
        newreno.on_late(&acked(99, false), at(123));
        assert_eq!(newreno.window(), WINDOW_INITIAL);
        newreno.on_ack(&acked(60, false), at(130));
        assert_eq!(newreno.window(), WINDOW_INITIAL + DATAGRAM, "slow start");
        newreno.on_late(&acked(99, false), at(140));
        assert_eq!(newreno.window(), WINDOW_INITIAL + DATAGRAM, "undone once");
    }

    /// CC-7.
    #[test]
    fn of_losses_that_were_true_nothing_is_undone() {
        let mut newreno = NewReno::new();
        newreno.on_loss(lost(2, 50), at(100));
        newreno.on_loss(lost(1, 150), at(200));
        newreno.on_persistent_congestion();
        for _ in 0..9 {
            newreno.on_late(&acked(150, false), at(220));
        }
        assert_eq!(newreno.window(), 2 * DATAGRAM);
    }

    /// CC-1.
    #[test]
    fn after_a_loss_the_window_grows_by_a_datagram_per_round_trip() {
        let mut newreno = NewReno::new();
        newreno.on_loss(lost(1, 10), at(100));
        for _ in 0..5 {
            newreno.on_ack(&acked(90, false), at(1_000));
        }
        assert_eq!(newreno.window(), 5 * DATAGRAM, "sent before the halving");
        for _ in 0..5 {
            newreno.on_ack(&acked(101, false), at(1_000));
        }
        assert_eq!(newreno.window(), 6 * DATAGRAM);
    }

    /// CC-1.
    #[test]
    fn an_app_limited_window_does_not_grow() {
        let mut newreno = NewReno::new();
        newreno.on_ack(&acked(1, true), at(1_000));
        assert_eq!(newreno.window(), WINDOW_INITIAL);
    }

    /// CC-1.
    #[test]
    fn persistent_congestion_shrinks_the_window_to_its_minimum() {
        let mut newreno = NewReno::new();
        newreno.on_persistent_congestion();
        assert_eq!(newreno.window(), 2 * DATAGRAM);
    }
}

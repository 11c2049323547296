//! How much may be in flight, and how fast it goes (CC-1, CC-4).

mod bbr;
mod newreno;
mod rate;

use core::time::Duration;

use crate::time::Timestamp;

use bbr::Bbr;
use newreno::NewReno;
pub(super) use rate::Stamp;

/// By which rules a link decides how much it sends (CC-4). Each end decides for what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CongestionControl {
    /// By what the path delivers: BBR. Losses that are not a queue's do not slow it down, and it
    /// keeps queues short. For whoever sends much: it leaves a chat on a narrow path more copies
    /// than fit there (LAD-6).
    Bbr,
    /// By what is lost: NewReno.
    #[default]
    NewReno,
}

/// A packet that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct AckedPacket {
    /// The datagram's length, in bytes.
    pub(super) len: u64,
    pub(super) sent_at: Timestamp,
    /// What [`Congestion::on_sent`] said.
    pub(super) stamp: Stamp,
    /// Whether the window was not what held the sender back.
    pub(super) is_app_limited: bool,
}

/// Packets that were found to be lost at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LostPackets {
    /// How many; at least one.
    pub(super) count: u64,
    /// How many bytes of theirs were in flight.
    pub(super) bytes: u64,
    /// When the newest of them was sent.
    pub(super) newest: Timestamp,
}

/// What was done about losses, as long as they may turn out to be none (CC-7).
#[derive(Clone, Copy, Debug)]
struct Reduction<T> {
    /// What was before.
    before: T,
    /// Packets that were sent until then belong to it.
    at: Timestamp,
    /// How many packets were lost, less those that have arrived after all.
    lost: u64,
}

impl<T: Copy> Reduction<T> {
    /// Done at `now`, because `count` packets were lost.
    const fn new(before: T, count: u64, now: Timestamp) -> Self {
        Self {
            before,
            at: now,
            lost: count,
        }
    }

    /// A packet that was sent at `sent_at` and taken for lost has arrived. Returns what was before,
    /// if none of all those is lost.
    fn on_late(&mut self, sent_at: Timestamp) -> Option<T> {
        if sent_at > self.at {
            return None;
        }
        self.lost = self.lost.saturating_sub(1);
        (self.lost == 0).then_some(self.before)
    }
}

/// A congestion controller. It is told what happens to packets that elicit acknowledgements, all of
/// which count as in flight (CC-3), and answers with a window and a rate.
pub(super) trait Congestion {
    /// The most bytes that may be in flight.
    fn window(&self) -> u64;

    /// How many bytes a second are sent at most (CC-2); at least 1.
    fn pacing_rate(&self, srtt: Duration) -> u64;

    /// A packet is being sent while `in_flight` bytes are in flight. The packet keeps what this
    /// returns.
    fn on_sent(&mut self, in_flight: u64, now: Timestamp) -> Stamp;

    /// There is nothing more to send, while `in_flight` bytes are in flight.
    fn on_app_limited(&mut self, in_flight: u64);

    /// A packet in flight was acknowledged.
    fn on_ack(&mut self, packet: &AckedPacket, now: Timestamp);

    /// Packets were lost.
    fn on_loss(&mut self, lost: LostPackets, now: Timestamp);

    /// A queue has marked packets instead of dropping them, the newest of which was sent at `sent_at` or
    /// before (ECN-3).
    fn on_marked(&mut self, sent_at: Timestamp, now: Timestamp);

    /// A packet that was said to be lost was acknowledged after all (CC-7).
    fn on_late(&mut self, packet: &AckedPacket, now: Timestamp);

    /// An acknowledgement has been worked off, which took `rtt` if it was a sample, and leaves
    /// `in_flight` bytes in flight.
    fn on_ack_end(&mut self, rtt: Option<Duration>, in_flight: u64, now: Timestamp);

    /// For several probe time-outs nothing got through.
    fn on_persistent_congestion(&mut self);

    /// Datagrams have up to `datagram` bytes from now on (MTU-1): of so many are the least windows, and
    /// the steps in which they grow.
    fn set_datagram(&mut self, datagram: u64);
}

/// The controller of a link.
#[derive(Clone, Debug)]
pub(super) enum Controller {
    Bbr(Box<Bbr>),
    NewReno(NewReno),
}

impl Controller {
    /// A controller that knows nothing. `variety` makes links differ in when they probe.
    pub(super) fn new(control: CongestionControl, variety: u8) -> Self {
        match control {
            CongestionControl::Bbr => Self::Bbr(Box::new(Bbr::new(variety))),
            CongestionControl::NewReno => Self::NewReno(NewReno::new()),
        }
    }

    fn get(&self) -> &dyn Congestion {
        match self {
            Self::Bbr(bbr) => &**bbr,
            Self::NewReno(newreno) => newreno,
        }
    }

    fn get_mut(&mut self) -> &mut dyn Congestion {
        match self {
            Self::Bbr(bbr) => &mut **bbr,
            Self::NewReno(newreno) => newreno,
        }
    }
}

impl Congestion for Controller {
    fn window(&self) -> u64 {
        self.get().window()
    }

    fn pacing_rate(&self, srtt: Duration) -> u64 {
        self.get().pacing_rate(srtt)
    }

    fn on_sent(&mut self, in_flight: u64, now: Timestamp) -> Stamp {
        self.get_mut().on_sent(in_flight, now)
    }

    fn on_app_limited(&mut self, in_flight: u64) {
        self.get_mut().on_app_limited(in_flight);
    }

    fn on_ack(&mut self, packet: &AckedPacket, now: Timestamp) {
        self.get_mut().on_ack(packet, now);
    }

    fn on_loss(&mut self, lost: LostPackets, now: Timestamp) {
        self.get_mut().on_loss(lost, now);
    }

    fn on_marked(&mut self, sent_at: Timestamp, now: Timestamp) {
        self.get_mut().on_marked(sent_at, now);
    }

    fn on_late(&mut self, packet: &AckedPacket, now: Timestamp) {
        self.get_mut().on_late(packet, now);
    }

    fn on_ack_end(&mut self, rtt: Option<Duration>, in_flight: u64, now: Timestamp) {
        self.get_mut().on_ack_end(rtt, in_flight, now);
    }

    fn on_persistent_congestion(&mut self) {
        self.get_mut().on_persistent_congestion();
    }

    fn set_datagram(&mut self, datagram: u64) {
        self.get_mut().set_datagram(datagram);
    }
}

/// The rate that spreads `window` over `srtt`, `percent` of it, in bytes a second.
fn rate_of(window: u64, srtt: Duration, percent: u64) -> u64 {
    let rate = u128::from(window) * u128::from(percent) * 10_000_000 / srtt.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX).max(1)
}

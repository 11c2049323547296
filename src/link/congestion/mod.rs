//! How much may be in flight (CC-1).

mod newreno;

use crate::time::Timestamp;

pub(super) use newreno::NewReno;

/// A congestion controller. It is told what happens to packets that elicit acknowledgements, all of
/// which count as in flight (CC-3), and answers with a window.
pub(super) trait Congestion {
    /// The most bytes that may be in flight.
    fn window(&self) -> u64;

    /// A packet of `len` bytes, sent at `sent_at`, was acknowledged. `app_limited`: the window was
    /// not what held the sender back.
    fn on_ack(&mut self, len: u64, sent_at: Timestamp, app_limited: bool);

    /// Packets were lost, the newest of which was sent at `sent_at`.
    fn on_loss(&mut self, sent_at: Timestamp, now: Timestamp);

    /// For several probe time-outs nothing got through.
    fn on_persistent_congestion(&mut self);
}

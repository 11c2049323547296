//! Stateless resets: telling nodes that their links are gone (SPEC.md section 8.9).

use core::time::Duration;

use super::Broker;
use crate::bucket::Bucket;
use crate::secure::{ResetSecret, encode_reset};
use crate::time::Timestamp;
use crate::transmit::Path;
use crate::wire::BrokerCid;

/// How many resets a second answer datagrams that lead nowhere (RST-3).
pub const RESETS_PER_SECOND: u32 = 1_000;
/// How many of those may go at once after a quiet while (RST-3).
pub const RESETS_BURST: u32 = 100;

/// What one of them costs.
const INTERVAL: Duration = Duration::from_micros(1_000_000 / RESETS_PER_SECOND as u64);

/// What a broker needs for its resets.
pub(super) struct Resets {
    pub(super) secret: ResetSecret,
    /// How many more may go now (RST-3).
    left: Bucket,
}

impl Resets {
    pub(super) fn new(secret: ResetSecret) -> Self {
        Self {
            secret,
            left: Bucket::default(),
        }
    }

    /// Whether one more may go now (RST-3).
    fn may_go(&self, now: Timestamp) -> bool {
        self.left.holds(INTERVAL, INTERVAL * RESETS_BURST, now)
    }

    /// One goes.
    fn on_sent(&mut self, now: Timestamp) {
        self.left.take(INTERVAL, now);
    }
}

impl Broker {
    /// Answers a data packet of `cause` bytes whose connection id leads nowhere (RST-2).
    pub(super) fn reset(&mut self, path: Path, cid: &BrokerCid, cause: usize, now: Timestamp) {
        // A token costs more than all that came before.
        if self.replies.len() >= super::REPLIES_WAITING_MAX || !self.resets.may_go(now) {
            return;
        }
        let token = self.resets.secret.token(cid);
        let Some(reset) = encode_reset(&token, cause, &mut self.rng) else {
            return;
        };
        tracing::debug!(?path, "reset a link that is gone");
        self.resets.on_sent(now);
        self.replies.push_back((path, reset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RST-3.
    #[test]
    fn resets_are_a_thousand_a_second_after_a_burst() {
        let mut resets = Resets::new(ResetSecret::new([1; 32]));
        let mut take = |now| {
            let may_go = resets.may_go(now);
            if may_go {
                resets.on_sent(now);
            }
            may_go
        };
        let start = Timestamp::from_millis(50);
        let burst = (0..5_000).filter(|_| take(start)).count();
        assert_eq!(burst as u32, RESETS_BURST);
        let steps = (1..=10_000).map(|step| start + Duration::from_micros(step * 100));
        let later = steps.filter(|now| take(*now)).count();
        assert_eq!(later as u32, RESETS_PER_SECOND);
    }
}

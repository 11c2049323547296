//! Whether there is so much to do that nodes have to prove their addresses (ADR-3, ADR-6).

use core::time::Duration;

use crate::bucket::Bucket;
use crate::time::Timestamp;

/// With so many handshakes half-open a broker is loaded (ADR-3).
pub const HALF_OPEN_CALM: usize = 128;
/// When it has begun so many handshakes in one turn it is loaded (ADR-3).
pub const HANDSHAKES_PER_TURN: usize = 8;
/// When handshakes take more than this part of the time, one in so many, it is loaded (ADR-3).
pub const HANDSHAKE_SHARE_CALM: u32 = 10;
/// When they take more than this part of the time, one in so many, none begins (ADR-6).
pub const HANDSHAKE_SHARE_MAX: u32 = 2;
/// By how much they may exceed those parts (ADR-3, ADR-6).
pub const HANDSHAKE_BURST: Duration = Duration::from_millis(100);
/// How long a broker counts as loaded after it was (ADR-3).
pub const LOAD_LASTS: Duration = Duration::from_secs(5);

/// What tells of load. All who drive a machine give the same time to all that they take in one turn.
#[derive(Debug, Default)]
pub(super) struct Load {
    turn: Timestamp,
    begun_in_turn: usize,
    /// What handshakes take beyond [`HANDSHAKE_SHARE_CALM`], and beyond [`HANDSHAKE_SHARE_MAX`].
    beyond_calm: Bucket,
    beyond_max: Bucket,
    /// Until when first contacts, and all others, have to prove their address.
    wary_until: Timestamp,
    loaded_until: Timestamp,
}

impl Load {
    /// Whether the sender of such a HELLO has to prove its address (ADR-3). First contacts have to
    /// when there is half as much to do: nothing is known of them, and they cost more.
    pub(super) fn asks(
        &mut self,
        is_first_contact: bool,
        half_open: usize,
        now: Timestamp,
    ) -> bool {
        self.begin_turn(now);
        let (half_open, begun) = (half_open as u128, self.begun_in_turn as u128);
        let behind = self.beyond_calm.debt(now).as_nanos();
        let behind_max = (HANDSHAKE_BURST * HANDSHAKE_SHARE_CALM).as_nanos();
        self.feel(percent(half_open, HALF_OPEN_CALM as u128), now);
        self.feel(percent(begun, HANDSHAKES_PER_TURN as u128), now);
        self.feel(percent(behind, behind_max), now);
        match is_first_contact {
            true => now < self.wary_until,
            false => now < self.loaded_until,
        }
    }

    /// There is so much of what it takes to be loaded, in percent.
    fn feel(&mut self, percent: u128, now: Timestamp) {
        if percent >= 50 {
            self.wary_until = now + LOAD_LASTS;
        }
        if percent >= 100 {
            if self.loaded_until <= now {
                tracing::info!("loaded: nodes have to prove their addresses");
            }
            self.loaded_until = now + LOAD_LASTS;
        }
    }

    /// Whether handshakes have taken too much of the time (ADR-6).
    pub(super) fn is_busy(&self, now: Timestamp) -> bool {
        self.beyond_max.debt(now) > HANDSHAKE_BURST * HANDSHAKE_SHARE_MAX
    }

    /// One begins.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.begin_turn(now);
        self.begun_in_turn += 1;
        let begun = self.begun_in_turn as u128;
        self.feel(percent(begun, HANDSHAKES_PER_TURN as u128), now);
    }

    /// One took so long.
    pub(super) fn on_time_taken(&mut self, taken: Duration, now: Timestamp) {
        // One that took very long, because others had the processor, is not to count for ever.
        let taken = taken.min(HANDSHAKE_BURST);
        self.beyond_calm.take(taken * HANDSHAKE_SHARE_CALM, now);
        self.beyond_max.take(taken * HANDSHAKE_SHARE_MAX, now);
    }

    fn begin_turn(&mut self, now: Timestamp) {
        if self.turn != now {
            self.turn = now;
            self.begun_in_turn = 0;
        }
    }
}

const fn percent(is: u128, of: u128) -> u128 {
    is * 100 / of
}

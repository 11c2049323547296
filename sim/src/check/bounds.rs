//! Invariant 11: what the broker keeps for anybody is bounded (BRK-9, CHN-4, LIM-5, LIM-7), and a device
//! has one session (SGN-4).

use tertulia::broker::{HALF_OPEN_MAX, READ_LINES_MAX, STORAGE_PENDING_MAX, Tables};
use tertulia::link::CHANNEL_MESSAGES_MAX;

use super::Checker;
use crate::history::{History, Observation};

/// Nothing is fuller than it may be.
pub(super) struct Bounds;

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn on(&mut self, observation: &Observation, _: &History) -> Result<(), String> {
        let Observation::Fuller(tables) = observation else {
            return Ok(());
        };
        let Tables {
            half_open,
            pending,
            shared_devices,
            queued,
            fetched,
            ..
        } = *tables;
        let bounded = [
            ("half-open handshakes", half_open, HALF_OPEN_MAX),
            ("storage requests", pending, STORAGE_PENDING_MAX),
            ("sessions too many for their devices", shared_devices, 0),
            ("messages queued on a channel", queued, CHANNEL_MESSAGES_MAX),
            ("lines read for a seat", fetched, READ_LINES_MAX),
        ];
        match bounded.iter().find(|(_, count, max)| count > max) {
            Some((what, count, max)) => Err(format!("{count} {what}, and {max} are allowed")),
            None => Ok(()),
        }
    }
}

//! Two machines that keep the rules never accuse each other (LIF-4), and a node never stops by
//! itself (DLV-8, NOD-3).

use tertulia::chat::Refusal;
use tertulia::client::EndReason;

use super::Checker;
use crate::history::{History, Observation};

/// No node ends but by its own leave.
pub(super) struct NoBrokenRules;

impl Checker for NoBrokenRules {
    fn name(&self) -> &'static str {
        "no_broken_rules"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Ended(_, EndReason::Left | EndReason::Abandoned { .. }) => Ok(()),
            // JRN-4: only if a journal was restored, or the broker was so often that a device may meet
            // what it did in a history before the last.
            Observation::Ended(life, EndReason::Retired { .. })
                if history.restored.contains(&life.client) || history.restores > 1 =>
            {
                Ok(())
            }
            // DEV-8
            Observation::Ended(
                life,
                EndReason::NotAdmitted {
                    code: Refusal::DeviceRevoked,
                    ..
                },
            ) if history.revoked.contains(&history.device(life.client)) => Ok(()),
            // SGN-4: only if the device is in two places.
            Observation::Ended(life, EndReason::Replaced)
                if history
                    .keys
                    .iter()
                    .filter(|(_, device)| *device == history.device(life.client))
                    .count()
                    > 1 =>
            {
                Ok(())
            }
            Observation::Ended(life, reason) => {
                Err(format!("client {} ends: {reason:?}", life.client))
            }
            _ => Ok(()),
        }
    }
}

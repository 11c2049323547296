//! Damage is noticed before anything else is looked at (HSD-1). That of packets is no_phantom's business.

use super::Checker;
use crate::history::{History, Observation};

/// No handshake datagram is taken that was damaged on the way.
pub(super) struct NoDamage;

impl Checker for NoDamage {
    fn name(&self) -> &'static str {
        "no_damage"
    }

    fn on(&mut self, observation: &Observation, _: &History) -> Result<(), String> {
        match observation {
            Observation::DamageTaken(None) => Err("the broker takes what is damaged".to_owned()),
            Observation::DamageTaken(Some(client)) => {
                Err(format!("client {client} takes what is damaged"))
            }
            _ => Ok(()),
        }
    }
}

//! The invariants, a file each: what the delivery contract (SPEC.md section 2) means for a run.
//!
//! A checker sees everything that happens, at once, and says which rule was broken at the first
//! chance; at the end of a run it says what is missing.

mod bounds;
mod durability;
mod exactly_once_in_the_application;
mod exactly_once_in_the_log;
mod fifo;
mod honest_outcomes;
mod honest_pages;
mod honest_states;
mod liars_are_cut_off;
mod liveness;
mod membership;
mod memory;
mod no_broken_rules;
mod no_damage;
mod no_noise;
mod no_phantom;
mod no_waste;
mod nobody_is_delayed;
mod not_fooled;
mod one_total_order;
mod revoked_devices;
mod strangers_get_little;

use tertulia::time::Timestamp;

use crate::history::{History, Observation, Violation};

/// One invariant.
pub trait Checker: Send {
    /// Its name, as in reports and in the table of mutants.
    fn name(&self) -> &'static str;

    /// Looks at something that has just happened; `history` knows of it already.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String>;

    /// Looks at what a run has come to, once everything is over.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    fn at_end(&mut self, _history: &History) -> Result<(), String> {
        Ok(())
    }
}

/// All checkers of one run.
pub struct Checkers(Vec<Box<dyn Checker>>);

impl Default for Checkers {
    fn default() -> Self {
        Self(vec![
            Box::new(no_phantom::NoPhantom),
            Box::new(exactly_once_in_the_log::ExactlyOnceInTheLog::default()),
            Box::new(fifo::Fifo::default()),
            Box::new(exactly_once_in_the_application::ExactlyOnceInTheApplication::default()),
            Box::new(one_total_order::OneTotalOrder::default()),
            Box::new(durability::Durability),
            Box::new(liveness::Liveness::default()),
            Box::new(honest_outcomes::HonestOutcomes::default()),
            Box::new(no_broken_rules::NoBrokenRules),
            Box::new(revoked_devices::RevokedDevices::default()),
            Box::new(no_noise::NoNoise::default()),
            Box::new(no_damage::NoDamage),
            Box::new(bounds::Bounds),
            Box::new(memory::Memory),
            Box::new(no_waste::NoWaste),
            Box::new(not_fooled::NotFooled::default()),
            Box::new(liars_are_cut_off::LiarsAreCutOff),
            Box::new(strangers_get_little::StrangersGetLittle::default()),
            Box::new(nobody_is_delayed::NobodyIsDelayed::default()),
            Box::new(membership::Membership::default()),
            Box::new(honest_states::HonestStates::default()),
            Box::new(honest_pages::HonestPages::default()),
        ])
    }
}

impl Checkers {
    /// Shows an observation to all.
    ///
    /// # Errors
    ///
    /// The first checker's complaint.
    pub fn on(
        &mut self,
        observation: &Observation,
        history: &History,
        at: Timestamp,
    ) -> Result<(), Violation> {
        self.ask(at, |checker| checker.on(observation, history))
    }

    /// Asks all at the end.
    ///
    /// # Errors
    ///
    /// The first checker's complaint.
    pub fn at_end(&mut self, history: &History, at: Timestamp) -> Result<(), Violation> {
        self.ask(at, |checker| checker.at_end(history))
    }

    fn ask(
        &mut self,
        at: Timestamp,
        mut ask: impl FnMut(&mut dyn Checker) -> Result<(), String>,
    ) -> Result<(), Violation> {
        for checker in &mut self.0 {
            ask(checker.as_mut()).map_err(|detail| Violation {
                checker: checker.name(),
                detail,
                at,
            })?;
        }
        Ok(())
    }
}

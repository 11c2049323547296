//! What goes wrong in a world.

use std::time::Duration;

use tertulia::time::Timestamp;

use super::{Event, World};
use crate::history::Observation;
use crate::plan::Fault;

impl World {
    /// Begins or ends the plan's fault with this index.
    pub(super) fn fault(&mut self, index: usize, begins: bool) {
        let (at_ms, fault) = self.plan.faults[index].clone();
        if begins && (fault.lasts_ms() > 0 || matches!(fault, Fault::NewAddress { .. })) {
            let ends = Timestamp::from_millis(at_ms + fault.lasts_ms());
            self.schedule(ends, Event::FaultEnds(index));
        }
        self.apply(&fault, begins);
    }

    /// Begins or ends a fault.
    pub fn apply(&mut self, fault: &Fault, begins: bool) {
        if self.record.is_printed() {
            let what = if begins { "begins" } else { "ends" };
            eprintln!("{} {fault:?} {what}", self.now);
        }
        self.net.apply(fault, begins);
        match *fault {
            Fault::Die {
                client,
                back_after_ms,
            } => {
                if begins {
                    self.stop_node(client);
                } else if back_after_ms.is_some() {
                    self.start_node(client);
                }
            }
            Fault::SlowStore { by_ms, .. } => {
                self.store.slow(Duration::from_millis(by_ms), begins);
            }
            Fault::FailingStore { permille, .. } => self.store.fail(permille, begins),
            Fault::NewLog => {
                if begins {
                    self.restart_broker();
                }
            }
            Fault::Rebind { client, announced } => {
                if begins && self.nodes[client].running.is_some() {
                    self.observe(Observation::Moved(client));
                }
                if begins && announced {
                    // PTH-6
                    self.with_client(client, |client, now| client.handle_address_change(now));
                }
            }
            Fault::Cut { .. }
            | Fault::Burst { .. }
            | Fault::NewAddress { .. }
            | Fault::Racer { .. } => {}
        }
    }
}

//! What goes wrong in a world.

use std::time::Duration;

use tertulia::time::Timestamp;

use super::{Event, World};
use crate::fate::Direction;
use crate::plan::{Fault, Way};

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
        if self.is_traced {
            let what = if begins { "begins" } else { "ends" };
            eprintln!("{} {fault:?} {what}", self.now);
        }
        match *fault {
            Fault::Cut { client, way, .. } => {
                if way != Way::Down {
                    self.net.cut(client, Direction::Up, begins);
                }
                if way != Way::Up {
                    self.net.cut(client, Direction::Down, begins);
                }
            }
            Fault::Burst {
                client,
                loss_permille,
                ..
            } => self.net.burst(client, loss_permille, begins),
            Fault::NewAddress { client, .. } => {
                self.net.cut(client, Direction::Up, begins);
                self.net.cut(client, Direction::Down, begins);
                if !begins {
                    self.net.move_client(client);
                }
            }
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
        }
    }
}

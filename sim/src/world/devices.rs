//! What is done about the devices of accounts, in their world.

use tertulia::secure::PublicKey;
use tertulia::time::Timestamp;
use tertulia::transmit::Path;

use super::outputs::waiting;
use super::{Event, World, broker_address};
use crate::errands::{self, Change, Errands, Parties};
use crate::fate::Direction;
use crate::history::Observation;
use crate::plan::Plan;
use crate::record::Trace;

/// Those of a plan, and when each goes on, as far as that is an event.
pub(super) fn errands_of(plan: &Plan, broker: PublicKey) -> Vec<(Errands, Option<Timestamp>)> {
    let all = errands::errands(plan, broker, |_| Path::new(broker_address()));
    all.into_iter().map(|errands| (errands, None)).collect()
}

impl World {
    /// Has it go on when something is due.
    pub(super) fn schedule_errand(&mut self, index: usize) {
        let (errands, scheduled) = &mut self.errands[index];
        let Some(next) = errands.next() else {
            return;
        };
        let next = next.max(self.now);
        if scheduled.is_none_or(|at| next < at) {
            *scheduled = Some(next);
            self.schedule(next, Event::Errand(index));
        }
    }

    pub(super) fn go_on_errand(&mut self, index: usize) {
        let now = self.now;
        let (errands, scheduled) = &mut self.errands[index];
        if scheduled.is_some_and(|at| at <= now) {
            *scheduled = None;
        }
        let parties = Parties {
            owner: self.nodes[errands.owner].identity.clone(),
            device: self.nodes[errands.client].identity.device(),
        };
        errands.go_on(&parties, now);
        self.drain_errand(index);
    }

    /// Something has come on a way that is an errand's.
    pub(super) fn hear_errand(&mut self, way: usize, datagram: &[u8]) {
        if let Some((index, end)) = errands::at_way(&self.plan, way) {
            let now = self.now;
            self.errands[index].0.hear(end, datagram, now);
            self.drain_errand(index);
        }
    }

    fn drain_errand(&mut self, index: usize) {
        let errands = &mut self.errands[index].0;
        let client = errands.client;
        let sent = core::mem::take(&mut errands.sent);
        let changes = core::mem::take(&mut errands.changes);
        for (end, datagram) in sent {
            let way = errands::way(&self.plan, index, end);
            self.trace_event(Trace::Send, way as u64, &datagram);
            let to = broker_address();
            let arrivals = self.net.send(way, Direction::Up, to, &datagram, self.now);
            for (at, datagram) in arrivals {
                self.schedule(at, Event::Arrive(datagram));
            }
        }
        for change in changes {
            match change {
                Change::Revoking(device) => self.observe(Observation::Revoking(client, device)),
                // Whose node runs all the same has got itself another device meanwhile.
                Change::Linked(_) if self.nodes[client].running.is_some() => {}
                Change::Linked(identity) => {
                    let history = &mut self.record.history;
                    if history.device(client) != identity.device() {
                        let waiting = waiting(&self.nodes[client].journal);
                        let device = self.nodes[client].link_again(*identity);
                        history.leave_behind(client, waiting);
                        history.succeed_device(client, device);
                    }
                    self.start_node(client);
                }
            }
        }
        self.schedule_errand(index);
    }
}

//! Clocks, and hosts that stand still.

use std::collections::VecDeque;
use std::time::Duration;

use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;

use super::{Event, World, broker_address};
use crate::clock::HostClock;

/// How many datagrams a socket holds for a program that stands still: as many long ones as Linux
/// keeps by default.
const SOCKET_HOLDS: usize = 128;
/// A node is told of a suspension that was longer (LIF-6).
pub(super) const SUSPENDED_MIN: Duration = Duration::from_secs(5);

impl World {
    /// The clocks of a client's host, or of the broker's if it is none.
    pub(super) fn clock(&self, host: Option<usize>) -> &HostClock {
        &self.clocks[host.unwrap_or(self.nodes.len())]
    }

    /// What a host's monotonic clock shows.
    pub(super) fn time_at(&self, host: Option<usize>) -> Timestamp {
        self.clock(host).local(self.now)
    }

    /// Until when a host stands still, if it does.
    pub(super) fn stopped_until(&self, host: Option<usize>) -> Option<Timestamp> {
        self.clock(host).stopped_until(self.now)
    }

    /// Tells the broker what its wall clock says, as a driver does in every turn. Returns what its
    /// other clock shows.
    pub(super) fn set_wall_clock(&mut self) -> Timestamp {
        let now = self.time_at(None);
        let wall_ms = self.clock(None).wall_ms(self.now);
        self.broker.set_wall_clock(wall_ms, now);
        now
    }

    /// Keeps what is for a host that stands still, until it goes on.
    pub(super) fn hold(&mut self, event: Event) -> Option<Event> {
        let host = match &event {
            Event::Arrive(datagram) if datagram.to == broker_address() => None,
            Event::Arrive(datagram) => match self.net.client_at(datagram.to) {
                Some(client) if client < self.nodes.len() => Some(client),
                _ => return Some(event),
            },
            Event::Stored(_) => None,
            Event::Journaled(life, _) | Event::Back(life, _) => Some(life.client),
            Event::Say(talk, _) => Some(self.plan.workload[*talk].client),
            Event::Act(index) => Some(self.plan.acts[*index].client),
            Event::Absence(index) => Some(self.plan.absences[*index].client),
            Event::Backup(_)
            | Event::Fault(_)
            | Event::FaultEnds(_)
            | Event::Start(_)
            | Event::Errand(_)
            | Event::Attack(_) => return Some(event),
        };
        if self.stopped_until(host).is_none() {
            return Some(event);
        }
        let held = self.held.entry(host).or_default();
        let is_datagram = |event: &Event| matches!(event, Event::Arrive(_));
        let datagrams = held.iter().filter(|event| is_datagram(event)).count();
        if !is_datagram(&event) || datagrams < SOCKET_HOLDS {
            held.push_back(event);
        }
        None
    }

    /// A program ends: what its socket holds is gone.
    pub(super) fn drop_held_datagrams(&mut self, host: Option<usize>) {
        if let Some(held) = self.held.get_mut(&host) {
            held.retain(|event| !matches!(event, Event::Arrive(_)));
        }
    }

    /// A host has stood still, for so long, and goes on, as its driver would.
    pub(super) fn go_on(&mut self, host: Option<usize>, stood: Duration, with_machine: bool) {
        match host {
            None => situation::meet(Situation::BrokerStopped),
            Some(_) if !with_machine => situation::meet(Situation::NodeStopped),
            Some(_) => {}
        }
        if self.stopped_until(host).is_some() {
            return;
        }
        if let Some(client) = host
            && with_machine
            && stood > SUSPENDED_MIN
            && self.nodes[client].running.is_some()
        {
            situation::meet(Situation::NodeResumed);
            self.with_client(client, |client, now| client.handle_resume(now));
        }
        let held: VecDeque<Event> = self.held.remove(&host).unwrap_or_default();
        for event in held {
            self.on_event(event);
        }
    }
}

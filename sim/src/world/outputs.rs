//! What the machines ask for, done.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use tertulia::broker::BrokerEvent;
use tertulia::chat::RoomName;
use tertulia::client::{Client, ClientEvent, EndReason, JournalState};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tertulia::transmit::Transmit;
use tertulia::wire::is_data;

use super::{Event, World, is_strangers};
use crate::fate::Direction;
use crate::history::Observation;
use crate::memory::{self, of_broker};
use crate::record::Trace;
use crate::told::told;

/// How long after an account was taken out of a room by another of its devices one comes back.
pub(crate) const JOINED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a journal has that waits: in which room, and when it was typed.
pub(crate) fn waiting(journal: &JournalState) -> BTreeSet<(RoomName, u64)> {
    let rooms = journal.rooms.iter();
    let waiting = rooms.flat_map(|(room, state)| {
        let waiting = state.waiting.values();
        waiting.map(|publication| (room.clone(), publication.typed_at_ms))
    });
    waiting.collect()
}

impl World {
    pub(super) fn drain_broker(&mut self) {
        let mut out = Vec::new();
        let now = self.time_at(None);
        while let Some(transmit) = of_broker(|| self.broker.poll_transmit(now, &mut out)) {
            self.transmit(None, transmit, &out);
            out.clear();
        }
        while let Some(request) = of_broker(|| self.broker.poll_storage()) {
            let request = memory::asked(request);
            self.record.history.note_giving_up(&request.op, self.now);
            let at = self.store.submit(request, self.now);
            self.schedule(at, Event::Stored(self.broker_life));
        }
        while let Some(event) = of_broker(|| self.broker.poll_event()) {
            match &event {
                BrokerEvent::Joined { name, room } => {
                    self.observe(Observation::Came(room.clone(), name.to_string()));
                }
                BrokerEvent::Left {
                    name,
                    room,
                    timed_out,
                } => {
                    let name = name.to_string();
                    self.observe(Observation::Gone(room.clone(), name, *timed_out));
                }
                BrokerEvent::Stored { .. }
                | BrokerEvent::Decided { .. }
                | BrokerEvent::People(_) => {}
            }
            self.broker_events.push((self.now, event));
        }
        self.measure();
    }

    /// Looks how much memory the broker holds, if that is counted, and now and then how full it is.
    fn measure(&mut self) {
        if let Some(held) = memory::held().filter(|held| *held > self.most_held) {
            self.most_held = held;
            self.observe(Observation::Holds(held));
        }
        const EVERY: u32 = 16;
        let (most, since) = &mut self.tables;
        *since = (*since + 1) % EVERY;
        if *since == 0 {
            let now = most.max(self.broker.tables());
            if now != *most {
                *most = now;
                self.observe(Observation::Fuller(now));
            }
        }
    }

    /// Does something with a client that lives, and drains it.
    pub(super) fn with_client<T: Default>(
        &mut self,
        client: usize,
        what: impl FnOnce(&mut Client, Timestamp) -> T,
    ) -> T {
        let now = self.time_at(Some(client));
        let Some(running) = &mut self.nodes[client].running else {
            return T::default();
        };
        let result = what(&mut running.client, now);
        while self.drain_client(client) {}
        result
    }

    /// Drains a client once. Returns whether that led to more input.
    pub(super) fn drain_client(&mut self, index: usize) -> bool {
        let mut out = Vec::new();
        let mut went_on = false;
        let now = self.time_at(Some(index));
        while let Some(running) = &mut self.nodes[index].running {
            let Some(transmit) = running.client.poll_transmit(now, &mut out) else {
                break;
            };
            self.transmit(Some(index), transmit, &out);
            out.clear();
        }
        let journal_time = Duration::from_millis(self.plan.journal_ms);
        let full_until = self.plan.journal_full_until(index, self.now);
        while let Some(running) = &mut self.nodes[index].running {
            let Some(request) = running.client.poll_journal() else {
                break;
            };
            running.note(&request);
            let is_free = running.journaling.len() <= 1;
            if journal_time.is_zero() && full_until.is_none() && is_free {
                let life = running.life;
                self.nodes[index].journaled(life, &mut self.record.history);
                if let Some(running) = &mut self.nodes[index].running {
                    running.client.handle_journaled(request.id, now);
                }
                went_on = true;
            } else {
                let mut at = running.journal_busy_until.max(self.now + journal_time);
                if let Some(until) = full_until {
                    situation::meet(Situation::JournalFull);
                    at = at.max(until);
                }
                running.journal_busy_until = at;
                let life = running.life;
                self.schedule(at, Event::Journaled(life, request.id));
            }
        }
        while let Some(running) = &mut self.nodes[index].running {
            let Some(event) = running.client.poll_event() else {
                break;
            };
            went_on |= self.on_client_event(index, event);
        }
        went_on
    }

    pub(super) fn transmit(&mut self, client: Option<usize>, transmit: Transmit, bytes: &[u8]) {
        let to = transmit.path.remote;
        for datagram in transmit.datagrams(bytes) {
            if client.is_none() && !datagram.first().copied().is_some_and(is_data) {
                self.observe(Observation::ShookTo(to, datagram.len()));
            }
            let (client, direction) = match client {
                Some(client) => (client, Direction::Up),
                None => match self.net.client_at(to) {
                    Some(client) => (client, Direction::Down),
                    None if self.tell_attacker(to, datagram) => continue,
                    None => {
                        self.net.fates.sent += 1;
                        self.net.fates.astray += 1;
                        if is_strangers(to) {
                            let is_of_a_link = datagram.first().copied().is_some_and(is_data);
                            self.observe(Observation::ToStranger(to, datagram.len(), is_of_a_link));
                            self.tell_stranger(to, datagram);
                        }
                        continue;
                    }
                },
            };
            self.trace_event(Trace::Send, client as u64, datagram);
            let arrivals = self.net.send(client, direction, to, datagram, self.now);
            for (at, datagram) in arrivals {
                self.schedule(at, Event::Arrive(datagram));
            }
        }
    }

    /// Takes what a client tells. Returns whether that led to an answer.
    pub(super) fn on_client_event(&mut self, index: usize, event: ClientEvent) -> bool {
        let now = self.time_at(Some(index));
        let node = &mut self.nodes[index];
        let Some(running) = &mut node.running else {
            return false;
        };
        let life = running.life;
        let observation = match told(life, event) {
            ControlFlow::Break(observation) => observation,
            ControlFlow::Continue(ClientEvent::FirstContact(key)) => {
                node.known = Some(key);
                running.client.set_identity(node.identity.clone(), now);
                return true;
            }
            ControlFlow::Continue(ClientEvent::RoomLeft { room, .. }) => {
                running.shown.remove(&room);
                // Another device of the account may have left, for all of them (DEV-9).
                let soon = self.now + JOINED_AGAIN_AFTER;
                let back_at = *running.away.entry(room.clone()).or_insert(soon);
                self.schedule(back_at.max(self.now), Event::Back(life, room.clone()));
                Observation::RoomLeft(life, room)
            }
            ControlFlow::Continue(ClientEvent::JoinRefused { room, code, .. }) => {
                self.violate(
                    "no_broken_rules",
                    format!("client {index} is not let into {}: {code}", room.as_str()),
                );
                return false;
            }
            ControlFlow::Continue(ClientEvent::Fork { room }) => {
                running.shown.remove(&room);
                Observation::Fork(life, room)
            }
            ControlFlow::Continue(ClientEvent::Line { room, line, .. }) => {
                let log = running
                    .received
                    .get_mut(&room)
                    .and_then(VecDeque::pop_front);
                let log = log.unwrap_or_else(|| self.store.memory().log_id());
                running.shown.insert(room.clone(), line.seq);
                self.lines_shown += 1;
                Observation::Shown {
                    life,
                    room,
                    log,
                    line,
                }
            }
            ControlFlow::Continue(ClientEvent::Ended(reason)) => {
                // A program that ends by itself writes its journal to the end.
                while node.journaled(life, &mut self.record.history) {
                    if node
                        .running
                        .as_ref()
                        .is_none_or(|r| r.journaling.is_empty())
                    {
                        break;
                    }
                }
                node.running = None;
                if let EndReason::Retired { .. } = reason {
                    self.observe(Observation::Ended(life, reason));
                    self.change_device(index);
                    return false;
                }
                self.observe(Observation::Ended(life, reason));
                let waiting = waiting(&self.nodes[index].journal);
                Observation::LeftBehind(life, waiting)
            }
            // The journal has told of what waits, and nobody asks for rooms in these plans.
            ControlFlow::Continue(_) => return false,
        };
        self.observe(observation);
        false
    }
}

//! What goes wrong in a world.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tertulia::chat::Name;
use tertulia::client::{Client, ClientConfig, JournalState};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;

use super::net::stranger_address;
use super::{Backup, Datagram, Event, Profile, REPLAYED_EVERY, World, broker_address, seed_of};
use crate::fate::Direction;
use crate::history::Observation;
use crate::plan::Fault;

impl World {
    /// Begins or ends the plan's fault with this index.
    pub(super) fn fault(&mut self, index: usize, begins: bool) {
        let (at_ms, fault) = self.plan.faults[index].clone();
        let always_ends = matches!(
            fault,
            Fault::NewAddress { .. }
                | Fault::Kill { .. }
                | Fault::Crash { .. }
                | Fault::RestoreBroker { .. }
                | Fault::RestoreNode { .. }
        );
        if begins && (fault.lasts_ms() > 0 || always_ends) {
            let ends = Timestamp::from_millis(at_ms + fault.lasts_ms());
            self.schedule(ends, Event::FaultEnds(index));
        }
        self.apply(&fault, begins);
        if let Fault::Replay { client, .. } = fault {
            self.replay(index, client);
        }
        if !begins {
            match self.backups.remove(&index) {
                Some(Backup::Store(backup)) => self.restore_broker(*backup),
                Some(Backup::Profile(backup)) => {
                    if let Some(client) = fault.client() {
                        self.restore_profile(client, *backup);
                        self.start_node(client);
                    }
                }
                None => {}
            }
        }
    }

    /// Makes the backup from which the plan's fault with this index will restore.
    pub(super) fn back_up(&mut self, index: usize) {
        let backup = match &self.plan.faults[index].1 {
            Fault::RestoreBroker { .. } => Backup::Store(Box::new(self.store.memory().clone())),
            Fault::RestoreNode { client, .. } => {
                let node = &self.nodes[*client];
                Backup::Profile(Box::new(Profile {
                    made_at: self.now,
                    journal: node.journal.clone(),
                    identity: node.identity.clone(),
                }))
            }
            _ => return,
        };
        self.backups.insert(index, backup);
    }

    /// Begins or ends a fault.
    pub fn apply(&mut self, fault: &Fault, begins: bool) {
        if self.record.is_printed() {
            let what = if begins { "begins" } else { "ends" };
            eprintln!("{} {fault:?} {what}", self.now);
        }
        self.net.apply(fault, begins);
        if begins && let Fault::Rebind { client, .. } | Fault::NewAddress { client, .. } = *fault {
            let running = &self.nodes[client].running;
            if running.as_ref().is_some_and(|r| r.client.waiting() > 0) {
                situation::meet(Situation::RoamedWhileUnacked);
            }
        }
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
            Fault::Kill { client, .. } => {
                if begins {
                    self.kill_node(client);
                } else {
                    self.start_node(client);
                }
            }
            Fault::Crash {
                commits_permille, ..
            } => {
                if begins {
                    self.crash_broker(commits_permille);
                } else {
                    self.reopen_broker();
                }
            }
            Fault::RestoreNode { client, .. } if begins => self.kill_node(client),
            Fault::RestoreBroker { .. } if begins => self.crash_broker(0),
            Fault::SlowStore { by_ms, .. } => {
                self.store.slow(Duration::from_millis(by_ms), begins);
            }
            Fault::FailingStore { permille, .. } => self.store.fail(permille, begins),
            Fault::FullStore { .. } => self.store.fill(begins),
            Fault::Stop {
                client,
                for_ms,
                with_machine,
            } => {
                if !begins {
                    self.go_on(client, Duration::from_millis(for_ms), with_machine);
                }
            }
            Fault::WallClock { .. } => situation::meet(Situation::WallClockJumped),
            Fault::Drift { .. } => situation::meet(Situation::ClockDrifted),
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
            Fault::Strangers { hellos, is_there } => {
                if begins {
                    self.greet(hellos, is_there);
                }
            }
            Fault::RestoreNode { .. }
            | Fault::RestoreBroker { .. }
            | Fault::FullJournal { .. }
            | Fault::Replay { .. }
            | Fault::Revoke { .. }
            | Fault::Cut { .. }
            | Fault::Burst { .. }
            | Fault::NewAddress { .. }
            | Fault::Racer { .. } => {}
        }
    }

    /// What was recorded on a client's way is sent again, both ways.
    fn replay(&mut self, index: usize, client: usize) {
        let recorded = self.net.take_recorded(index);
        let node = self.net.address(client);
        let history = &self.record.history;
        for (number, (sent_at, direction, bytes)) in recorded.into_iter().enumerate() {
            history.note_replay(client, sent_at);
            let (from, to) = match direction {
                Direction::Up => (node, broker_address()),
                Direction::Down => (broker_address(), node),
            };
            let again = Datagram {
                from,
                to,
                bytes,
                is_damaged: false,
                sure_lie_of: None,
            };
            let at = self.now + REPLAYED_EVERY * number as u32;
            self.queue
                .insert((at, self.next_event), Event::Arrive(again));
            self.next_event += 1;
        }
    }

    /// So many strangers send a HELLO each, as a node does that has never met the broker. Those who
    /// are there are told what the broker answers.
    fn greet(&mut self, hellos: u64, is_there: bool) {
        for number in 0..hellos {
            let config = ClientConfig {
                paths: vec![Path::new(broker_address())],
                name: Name::new("stranger").expect("a valid name"),
                known: None,
                restored: JournalState::default(),
            };
            let seed = seed_of(self.plan.seed, "stranger", number);
            let mut stranger = Client::new(config, seed, self.now);
            stranger.handle_timeout(self.now);
            let address = stranger_address(number);
            self.let_stranger_speak(address, &mut stranger);
            if is_there {
                self.strangers.insert(address, stranger);
            }
        }
    }

    /// What the broker sends to a stranger arrives at once; once is enough to prove an address.
    pub(super) fn tell_stranger(&mut self, address: SocketAddr, datagram: &[u8]) {
        if let Some(mut stranger) = self.strangers.remove(&address) {
            let data = BytesMut::from(datagram);
            stranger.handle_datagram(Path::new(broker_address()), data, self.now);
            self.let_stranger_speak(address, &mut stranger);
        }
    }

    fn let_stranger_speak(&mut self, from: SocketAddr, stranger: &mut Client) {
        let mut bytes = Vec::new();
        if stranger.poll_transmit(self.now, &mut bytes).is_some() {
            let hello = Datagram {
                from,
                to: broker_address(),
                bytes,
                is_damaged: false,
                sure_lie_of: None,
            };
            self.schedule(self.now, Event::Arrive(hello));
        }
    }
}

//! What people do with their nodes, and what befalls the broker.

use std::time::Duration;

use bytes::Bytes;
use tertulia::broker::MemoryStore;
use tertulia::chat::{HistoryPolicy, Kind, RoomName};
use tertulia::client::{Asker, Client, JournalState, PublishError};
use tertulia::rng::SeededRng;
use tertulia::secure::BrokerIdentity;
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;

use super::{Event, Profile, World, beginning, empty_store, new_broker, room_name, seed_of};
use crate::history::{Life, Observation, Typed};
use crate::plan::{Absence, Act, What};

impl World {
    /// Starts a client's node, if it does not run.
    pub fn start_node(&mut self, client: usize) {
        if self.nodes[client].running.is_some() {
            return;
        }
        let now = self.time_at(Some(client));
        let life = self.nodes[client].start(&self.plan, now);
        self.observe(Observation::Born(life));
        let rooms = self.nodes[client].rooms.clone();
        self.record.history.alive.insert(client, (life, rooms));
        for observation in beginning(life, &self.nodes[client].journal) {
            self.observe(observation);
        }
        self.with_client(client, |_, _| ());
    }

    /// Stops a client's node, without a word. Its journal is gone, and so is its device (JRN-10).
    pub fn stop_node(&mut self, client: usize) {
        self.kill_node(client);
        self.nodes[client].journal = JournalState::default();
        let device = self.nodes[client].change_device(&self.plan);
        self.record.history.change_device(client, device);
    }

    /// Stops a client's node, without a word. What is in its journal stays.
    pub fn kill_node(&mut self, client: usize) {
        if let Some(running) = self.nodes[client].running.take() {
            self.drop_held_datagrams(Some(client));
            self.observe(Observation::Died(running.life));
        }
    }

    /// Tells a client's node to leave.
    pub fn leave(&mut self, client: usize) {
        let node = &self.nodes[client];
        if let Some(running) = &node.running {
            let life = running.life;
            for room in node.rooms.clone() {
                self.observe(Observation::Leaving(life, room));
            }
        }
        self.with_client(client, |client, now| client.leave(now));
    }

    /// Begins one of the plan's absences, if the node lives and is not away already.
    pub(super) fn leave_room(&mut self, index: usize) {
        let Absence {
            client,
            room,
            for_ms,
            ..
        } = self.plan.absences[index];
        let room = room_name(room);
        let back_at = self.now + Duration::from_millis(for_ms);
        let Some(running) = &mut self.nodes[client].running else {
            return;
        };
        if running.away.contains_key(&room) {
            return;
        }
        running.away.insert(room.clone(), back_at);
        let life = running.life;
        self.observe(Observation::Leaving(life, room.clone()));
        self.with_client(client, |client, now| client.leave_room(&room, now));
    }

    /// Ends an absence, if the node still has the life in which it left.
    pub(super) fn join_again(&mut self, life: Life, room: &RoomName) {
        let options = self.plan.join_options(life.client, room.clone());
        let Some(running) = &mut self.nodes[life.client].running else {
            return;
        };
        if running.life == life {
            running.away.remove(room);
            self.with_client(life.client, |client, now| client.join(options, now));
        }
    }

    pub(super) fn say_next(&mut self, index: usize, line: u64) {
        let talk = self.plan.workload[index].clone();
        if line + 1 < talk.lines {
            // What could not be typed while the machine stood still is typed at once.
            let at = Timestamp::from_millis(talk.from_ms + (line + 1) * talk.every_ms);
            self.schedule(at.max(self.now), Event::Say(index, line + 1));
        }
        let text = talk.text(index, line);
        self.say(talk.client, &room_name(talk.room), &text);
    }

    /// A client types a line, if its node lives. Returns its handle.
    pub fn say(&mut self, client: usize, room: &RoomName, text: &[u8]) -> Option<u64> {
        let is_watched = self.plan.watchers.contains(&client);
        let typed = (Kind::Message, Bytes::copy_from_slice(text), is_watched);
        self.put_out(client, room, typed, |node, at_ms, now| {
            let handle = node.publish(room, text, at_ms, now)?;
            if is_watched {
                node.watch(handle);
            }
            Ok(handle)
        })
    }

    /// A client decides who may read what was said before they came, if its node lives.
    pub fn set_policy(&mut self, client: usize, room: &RoomName, policy: HistoryPolicy) {
        let typed = (Kind::Policy, policy.as_str().into(), false);
        self.put_out(client, room, typed, |node, at_ms, now| {
            node.set_policy(room, policy, at_ms, now)
        });
    }

    fn put_out(
        &mut self,
        client: usize,
        room: &RoomName,
        (kind, body, is_watched): (Kind, Bytes, bool),
        publish: impl FnOnce(&mut Client, u64, Timestamp) -> Result<u64, PublishError>,
    ) -> Option<u64> {
        let (wall_ms, now) = (
            self.clock(Some(client)).wall_ms(self.now),
            self.time_at(Some(client)),
        );
        let node = &mut self.nodes[client];
        let life = node.running.as_ref()?.life;
        let typed_at_ms = node.typed_at_ms(&self.plan, wall_ms);
        let running = node.running.as_mut()?;
        let handle = publish(&mut running.client, typed_at_ms, now).ok()?;
        self.lines_typed += 1;
        let typed = Typed {
            life,
            room: room.clone(),
            handle,
            typed_at_ms,
            body,
            kind,
            is_watched,
            index: node.next_index(room),
        };
        self.observe(Observation::Typed(typed));
        self.with_client(client, |_, _| ());
        Some(handle)
    }

    /// Does one of the plan's acts, if the node lives.
    pub(super) fn act(&mut self, index: usize) {
        let Act {
            client, room, what, ..
        } = self.plan.acts[index];
        let room = room_name(room);
        let now = self.time_at(Some(client));
        let Some(running) = &mut self.nodes[client].running else {
            return;
        };
        let life = running.life;
        let observation = match what {
            What::SetPolicy { since_join } => {
                let policy = policy_of(since_join);
                return self.set_policy(client, &room, policy);
            }
            What::AskHistory { before, count } => {
                let asker = Asker::Node;
                if !running.client.ask_history(&room, before, count, asker, now) {
                    return;
                }
                Observation::AskedHistory(life, room, before, count)
            }
            What::AskWho => {
                if !running.client.ask_who(&room, now) {
                    return;
                }
                Observation::AskedWho(life, room)
            }
        };
        self.observe(observation);
        self.with_client(client, |_, _| ());
    }

    /// Stops the broker, and starts it again with an empty store and a new log.
    pub fn restart_broker(&mut self) {
        self.broker_life += 1;
        self.store = empty_store(&self.plan, self.broker_life);
        self.start_broker();
        self.record.history.current = Some(self.store.memory().log_id());
        self.observe(Observation::NewLog);
    }

    /// Stops the broker, without a word. Of what its store was asked, so many thousandths are done.
    pub fn crash_broker(&mut self, commits_permille: u64) {
        if self.is_broker_down {
            return;
        }
        self.broker_life += 1;
        self.is_broker_down = true;
        self.drop_held_datagrams(None);
        for observation in self.store.crash(commits_permille) {
            self.observe(observation);
        }
    }

    /// Starts the broker again, from its store, if it does not run.
    pub fn reopen_broker(&mut self) {
        if self.is_broker_down {
            let recovered = self.store.recovered(false);
            self.observe(recovered);
            self.start_broker();
        }
    }

    /// Starts the broker again from a backup of its store, if it does not run.
    pub fn restore_broker(&mut self, backup: MemoryStore) {
        if self.is_broker_down && backup.log_id() == self.store.memory().log_id() {
            self.store.restore(backup);
            let recovered = self.store.recovered(true);
            self.observe(recovered);
            for node in &mut self.nodes {
                if let Some(running) = &mut node.running {
                    running.shown.clear();
                }
            }
            self.start_broker();
        } else {
            // Somebody has begun a new history since, which is not to be lost for an old one.
            self.reopen_broker();
        }
    }

    /// What a client has on its disk from here on, whose node does not run, is what it had before.
    pub fn restore_profile(&mut self, client: usize, backup: Profile) {
        let Profile {
            made_at,
            journal,
            identity,
        } = backup;
        if self.nodes[client].running.is_none() {
            let history = &mut self.record.history;
            history.restore_journal(client, &journal, made_at);
            history.change_device(client, identity.device());
            self.nodes[client].identity = identity;
            self.nodes[client].journal = journal;
        }
    }

    /// The device is given up: the account goes on with a new one, and what the journal holds
    /// (JRN-4).
    pub(super) fn change_device(&mut self, client: usize) {
        situation::meet(Situation::DeviceRetired);
        let device = self.nodes[client].change_device(&self.plan);
        self.record.history.succeed_device(client, device);
        self.schedule(self.now, Event::Start(client));
    }

    fn start_broker(&mut self) {
        let log = self.store.memory().log_id();
        let life = self.broker_life;
        self.broker = new_broker(&self.plan, &self.identity, log, life);
        self.set_wall_clock();
        self.is_broker_down = false;
        self.drain_broker();
    }

    /// Gives `client`, whose node does not run, another client's name, keys and rooms: the same
    /// device in a second place.
    pub fn share_device(&mut self, client: usize, of: usize) {
        let (name, identity) = (self.nodes[of].name.clone(), self.nodes[of].identity.clone());
        self.record.history.keys[client] = (identity.account(), identity.device());
        let rooms = self.nodes[of].rooms.clone();
        let node = &mut self.nodes[client];
        (node.name, node.identity, node.rooms) = (name, identity, rooms);
    }

    /// Makes the broker's key another one, from its next start on.
    pub fn change_broker_key(&mut self) {
        let number = self.broker_life + 1;
        let mut rng = SeededRng::new(seed_of(self.plan.seed, "broker identity", number));
        self.identity = BrokerIdentity::generate(&mut rng);
    }
}

/// The policy of an act.
pub(crate) const fn policy_of(since_join: bool) -> HistoryPolicy {
    if since_join {
        HistoryPolicy::SinceJoin
    } else {
        HistoryPolicy::All
    }
}

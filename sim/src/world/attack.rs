//! The plan's attackers in their world.

use std::net::SocketAddr;
use std::time::Duration;

use tertulia::secure::PublicKey;
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;

use super::net::{attacker_address, attacker_at, spoofed_address};
use super::{Datagram, Event, World, broker_address, room_name};
use crate::attack::{Member, Pair, Sent, Setup};
use crate::history::{History, Life, Observation, Typed};
use crate::plan::{Attacker, Plan, Who};

/// How long a member's datagram is under way. What the broker sends it comes at once.
pub(crate) const LATENCY: Duration = Duration::from_millis(30);

/// An attacker, and what it needs.
pub(crate) enum Attacking {
    /// A member.
    Member(Box<Member>),
    /// A malicious broker and its victim.
    Broker(Box<Pair>),
}

/// Those of a plan.
pub(crate) fn attackers(plan: &Plan, broker: PublicKey) -> Vec<Attacking> {
    let all = plan.attackers.iter().enumerate();
    let all = all.map(
        |(
            index,
            Attacker {
                from_ms,
                for_ms,
                who,
            },
        )| {
            let from = Timestamp::from_millis(*from_ms);
            let ends_at = from + Duration::from_millis(*for_ms);
            match who {
                Who::Broker { lies } => {
                    let pair = Pair::new(plan.seed, index, lies, from, ends_at);
                    Attacking::Broker(Box::new(pair))
                }
                Who::Member { room, acks, tricks } => {
                    let setup = Setup {
                        seed: plan.seed,
                        index,
                        name: format!("node{}", plan.topology.clients.len() + index),
                        broker,
                        room: room_name(*room),
                        from,
                        ends_at,
                    };
                    let member = Member::new(setup, *acks, tricks.clone());
                    Attacking::Member(Box::new(member))
                }
            }
        },
    );
    all.collect()
}

/// The attackers have keys after those of the clients.
pub(crate) fn introduce(attackers: &[Attacking], history: &mut History) {
    for attacking in attackers {
        let keys = match attacking {
            Attacking::Member(member) => {
                let identity = member.identity();
                (identity.account(), identity.device())
            }
            // Its victim is never here.
            Attacking::Broker(pair) => pair.keys(),
        };
        history.attackers.insert(keys.0);
        history.keys.push(keys);
    }
}

/// What a member, who is that `client`, publishes may be stored like anybody's, as it was published.
pub(crate) fn note_typed(member: &mut Member, client: usize, history: &mut History) {
    let (room, account) = (member.room().clone(), member.identity().account());
    for publication in core::mem::take(&mut member.typed) {
        let typed = Typed {
            life: Life { client, life: 0 },
            room: room.clone(),
            handle: publication.typed_at_ms,
            typed_at_ms: publication.typed_at_ms,
            body: publication.body,
            kind: publication.kind,
            is_watched: false,
            index: publication.typed_at_ms as usize,
        };
        let key = (account, room.clone(), typed.typed_at_ms);
        history.typed.insert(key, typed);
    }
}

impl World {
    /// An attacker does what is due.
    pub(super) fn attack(&mut self, index: usize) {
        let now = self.now;
        match &mut self.attackers[index] {
            Attacking::Broker(pair) => {
                let seen = pair.go_on(now);
                let next = pair.next();
                for observation in seen {
                    self.observe(observation);
                }
                if let Some(next) = next {
                    self.schedule(next.max(now), Event::Attack(index));
                }
            }
            Attacking::Member(member) => {
                let room = member.room();
                let is_there = self.store.memory().rooms().any(|known| known == room);
                let sent = member.go_on(is_there, now);
                let next = member.next();
                note_typed(member, self.nodes.len() + index, &mut self.record.history);
                for sent in sent {
                    self.send_attack(index, sent);
                }
                if let Some(next) = next {
                    self.schedule(next, Event::Attack(index));
                }
            }
        }
    }

    fn send_attack(&mut self, index: usize, sent: Sent) {
        situation::meet(Situation::MemberAttacked);
        let from = match sent.spoofed {
            Some(number) => spoofed_address(number),
            None => attacker_address(index),
        };
        let datagram = Datagram {
            from,
            to: broker_address(),
            bytes: sent.bytes,
            is_damaged: false,
            sure_lie_of: sent.is_sure_lie.then_some(index),
        };
        self.schedule(self.now + LATENCY, Event::Arrive(datagram));
    }

    /// The broker has taken a datagram of somebody's who acknowledges in it what cannot have come.
    pub(super) fn find_out(&mut self, index: usize) {
        situation::meet(Situation::SureLieTaken);
        if let Attacking::Member(member) = &mut self.attackers[index] {
            member.find_out(true);
        }
    }

    /// What the broker sends to an attacker arrives at once. Returns whether anybody is there.
    pub(super) fn tell_attacker(&mut self, to: SocketAddr, datagram: &[u8]) -> bool {
        let Some(index) = attacker_at(to) else {
            return false;
        };
        let now = self.now;
        if let Some(Attacking::Member(member)) = self.attackers.get_mut(index)
            && member.hear(datagram, now)
        {
            self.observe(Observation::Believed(index));
        }
        true
    }

    /// What is left of the attacks in the end.
    pub(super) fn finish_attacks(&mut self) {
        let all = self
            .attackers
            .iter_mut()
            .filter_map(|attacking| match attacking {
                Attacking::Broker(pair) => Some(pair.finish()),
                Attacking::Member(_) => None,
            });
        let all: Vec<_> = all.collect();
        for observation in all {
            self.observe(observation);
        }
    }
}

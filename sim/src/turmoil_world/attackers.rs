//! The attackers' host: members that keep to no rule, and brokers that have turned against a node.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io;
use std::net::SocketAddr;

use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tertulia::wire::DATAGRAM_MAX;
use tokio::select;
use turmoil::net::UdpSocket;

use super::{BROKER_PORT, State, bind, now, sleep_until, victim};
use crate::attack::{Member, Sent};
use crate::history::Observation;
use crate::plan::{Attacker, Plan, Who};
use crate::world::attack::{Attacking, LATENCY, attackers, note_typed};
use crate::world::broker_identity;

/// Attacks until the run is over.
pub(super) async fn run(plan: Plan, state: State) -> Result<(), Box<dyn Error>> {
    let all = attackers(&plan, broker_identity(&plan).public());
    let mut tasks = Vec::new();
    for (index, attacking) in all.into_iter().enumerate() {
        let attacker = &plan.attackers[index];
        match (attacking, &attacker.who) {
            (Attacking::Member(member), _) => {
                let hostile = Hostile::new(index, member, &plan, state.clone()).await?;
                tasks.push(tokio::spawn(hostile.run()));
            }
            (Attacking::Broker(_), Who::Broker { lies }) => {
                let pair = victim::run(plan.seed, index, attacker, lies, state.clone()).await?;
                tasks.extend(pair);
            }
            (Attacking::Broker(_), Who::Member { .. }) => {}
        }
    }
    for task in tasks {
        task.await??;
    }
    std::future::pending().await
}

/// An address that is this host's, as others see it.
pub(super) fn own_address(socket: &UdpSocket) -> io::Result<SocketAddr> {
    let port = socket.local_addr()?.port();
    Ok(SocketAddr::new(turmoil::lookup("attackers"), port))
}

/// From when until when somebody attacks.
pub(super) fn stretch(attacker: &Attacker) -> (Timestamp, Timestamp) {
    let from = Timestamp::from_millis(attacker.from_ms);
    let ends_at = Timestamp::from_millis(attacker.from_ms + attacker.for_ms);
    (from, ends_at)
}

/// A member, with its sockets.
struct Hostile {
    index: usize,
    /// Which client it is: its keys are after those of the plan's.
    client: usize,
    member: Box<Member>,
    socket: UdpSocket,
    /// Those from which it sends what is not to come from its own address. Nobody reads them.
    elsewhere: BTreeMap<u16, UdpSocket>,
    broker: SocketAddr,
    turn: Option<Timestamp>,
    /// In the order of arrival.
    under_way: VecDeque<(Timestamp, Sent)>,
    state: State,
}

impl Hostile {
    async fn new(index: usize, member: Box<Member>, plan: &Plan, state: State) -> io::Result<Self> {
        let client = plan.topology.clients.len() + index;
        let socket = bind(0).await?;
        let address = own_address(&socket)?;
        state.lock().senders.insert(address, client);
        Ok(Self {
            index,
            client,
            member,
            socket,
            elsewhere: BTreeMap::new(),
            broker: SocketAddr::new(turmoil::lookup("broker"), BROKER_PORT),
            turn: Some(stretch(&plan.attackers[index]).0),
            under_way: VecDeque::new(),
            state,
        })
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            let delivery = self.under_way.front().map(|(at, _)| *at);
            let next = delivery.into_iter().chain(self.turn).min();
            select! {
                biased;
                result = self.socket.readable() => result?,
                () = sleep_until(next) => {}
            }
            self.hear();
            if self.turn.is_some_and(|at| at <= now()) {
                self.take_turn();
            }
            self.deliver().await?;
        }
    }

    fn hear(&mut self) {
        let mut buffer = [0; DATAGRAM_MAX + 1];
        while let Ok((len, _)) = self.socket.try_recv_from(&mut buffer) {
            let datagram = &buffer[..len];
            let mut shared = self.state.lock();
            // What was under way when the broker took the lie is no sign that it is believed.
            self.member.find_out(shared.to_liars.remove(datagram));
            if self.member.hear(datagram, now()) {
                shared.observe(Observation::Believed(self.index));
            }
        }
    }

    fn take_turn(&mut self) {
        let mut shared = self.state.lock();
        let history = &mut shared.record.history;
        let room = self.member.room();
        let is_there = (history.current).is_some_and(|log| !history.log(log, room).is_empty());
        let sent = self.member.go_on(is_there, now());
        self.turn = self.member.next();
        note_typed(&mut self.member, self.client, history);
        for sent in sent {
            situation::meet(Situation::MemberAttacked);
            if sent.is_sure_lie {
                shared.lies.insert(sent.bytes.clone(), self.client);
            }
            self.under_way.push_back((now() + LATENCY, sent));
        }
    }

    /// Lets arrive what is due.
    async fn deliver(&mut self) -> io::Result<()> {
        while let Some((_, sent)) = self.under_way.pop_front_if(|(at, _)| *at <= now()) {
            let broker = self.broker;
            let socket = match sent.spoofed {
                Some(number) => self.socket_elsewhere(number).await?,
                None => &self.socket,
            };
            // Sending fails for nobody but a broker that is gone.
            let _ = socket.try_send_to(&sent.bytes, broker);
        }
        Ok(())
    }

    async fn socket_elsewhere(&mut self, number: u16) -> io::Result<&UdpSocket> {
        if !self.elsewhere.contains_key(&number) {
            let socket = bind(0).await?;
            let address = own_address(&socket)?;
            self.state.lock().strangers.insert(address);
            self.elsewhere.insert(number, socket);
        }
        Ok(&self.elsewhere[&number])
    }
}

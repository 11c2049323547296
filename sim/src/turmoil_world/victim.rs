//! A broker that has turned against a node, behind a socket, and that node with its driver.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tertulia::chat::Name;
use tertulia::client::{
    Asker, Client, ClientConfig, ClientEvent, EndReason, JournalEntry, JournalRequest, JournalState,
};
use tertulia::driver::{Clock, Driver, Ends, NodeCommand};
use tertulia::secure::{NodeIdentity, PublicKey};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tertulia::wire::DATAGRAM_MAX;
use tokio::select;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use turmoil::net::UdpSocket;

use super::attackers::{own_address, stretch};
use super::program::lock;
use super::{Delayed, SimSocket, State, bind, now, sleep_until};
use crate::attack::Liar;
use crate::attack::pair::{
    AGAIN_AFTER, LATENCY, TICK, Whim, begins, den, keeps, next_victim, seed_of_victim, victim,
    whims,
};
use crate::fate::Dice;
use crate::history::{Life, Observation, Victim};
use crate::plan::{Attacker, Lie};
use crate::world::WALL_START_MS;

/// Sets the two on each other.
pub(super) async fn run(
    seed: u64,
    index: usize,
    attacker: &Attacker,
    lies: &[Lie],
    state: State,
) -> io::Result<[JoinHandle<io::Result<()>>; 2]> {
    let (from, ends_at) = stretch(attacker);
    let liar = Liar::of(seed, index, lies);
    let socket = bind(0).await?;
    let person = Person {
        seed,
        index,
        broker: own_address(&socket)?,
        key: liar.key(),
        identity: victim(seed, index),
        journal: Arc::default(),
        begun: Arc::default(),
        life: Life {
            client: index,
            life: 0,
        },
        dice: whims(seed, index),
        typed: 0,
        ticks_at: from,
        ends_at,
        state,
    };
    let lying = Lying {
        liar,
        socket,
        node: None,
        to_liar: VecDeque::new(),
        to_node: VecDeque::new(),
        ticks_at: from,
        ends_at,
    };
    Ok([tokio::spawn(lying.run()), tokio::spawn(person.run(from))])
}

/// The broker, and what is under way to and from it.
struct Lying {
    liar: Liar,
    socket: UdpSocket,
    /// The node's address, once heard.
    node: Option<SocketAddr>,
    to_liar: VecDeque<(Timestamp, Vec<u8>)>,
    to_node: VecDeque<(Timestamp, Vec<u8>)>,
    ticks_at: Timestamp,
    ends_at: Timestamp,
}

impl Lying {
    async fn run(mut self) -> io::Result<()> {
        while now() < self.ends_at {
            let first = |queue: &VecDeque<(Timestamp, Vec<u8>)>| Some(queue.front()?.0);
            let due = [first(&self.to_liar), first(&self.to_node)];
            let next = due.into_iter().flatten().chain([self.ticks_at]).min();
            select! {
                biased;
                result = self.socket.readable() => result?,
                () = sleep_until(next) => {}
            }
            let mut buffer = [0; DATAGRAM_MAX + 1];
            while let Ok((len, from)) = self.socket.try_recv_from(&mut buffer) {
                self.node = Some(from);
                self.to_liar
                    .push_back((now() + LATENCY, buffer[..len].to_vec()));
            }
            self.take_turn();
            while let Some((_, datagram)) = self.to_node.pop_front_if(|(at, _)| *at <= now()) {
                if let Some(node) = self.node {
                    // Sending fails for nobody but a node that is gone.
                    let _ = self.socket.try_send_to(&datagram, node);
                }
            }
        }
        Ok(())
    }

    fn take_turn(&mut self) {
        while let Some((_, datagram)) = self.to_liar.pop_front_if(|(at, _)| *at <= now()) {
            self.liar.hear(&datagram);
        }
        if self.ticks_at <= now() {
            self.ticks_at = now() + TICK;
            self.liar.tick(now());
        }
        for datagram in self.liar.datagrams(now()) {
            self.to_node.push_back((now() + LATENCY, datagram));
        }
        if core::mem::take(&mut self.liar.told) > 0 {
            situation::meet(Situation::BrokerLied);
        }
    }
}

/// The node, and whoever starts it again when it has ended.
struct Person {
    seed: u64,
    index: usize,
    broker: SocketAddr,
    key: PublicKey,
    identity: NodeIdentity,
    journal: Arc<Mutex<JournalState>>,
    /// What the journal was asked for and has not done.
    begun: Arc<Mutex<VecDeque<JournalEntry>>>,
    life: Life,
    dice: Dice,
    typed: u64,
    ticks_at: Timestamp,
    ends_at: Timestamp,
    state: State,
}

impl Person {
    async fn run(mut self, from: Timestamp) -> io::Result<()> {
        sleep_until(Some(from)).await;
        while now() < self.ends_at {
            let (mut ends, task) = self.start().await?;
            let reason = self.live(&mut ends).await;
            if reason.is_none() {
                task.abort();
            }
            // A panic is reported by the run itself.
            let _ = task.await;
            // A program that ends writes its journal to the end.
            for entry in lock(&self.begun).drain(..) {
                lock(&self.journal).apply(entry);
            }
            if let Some(reason) = reason {
                situation::meet(Situation::VictimEnded);
                self.life.life += 1;
                if let EndReason::Retired { .. } = reason {
                    self.identity = next_victim(&self.identity, self.seed, self.life.life);
                    lock(&self.journal).change_device();
                }
                sleep_until(Some(self.ends_at.min(now() + AGAIN_AFTER))).await;
            }
        }
        let kept = keeps(&lock(&self.journal));
        self.see(kept);
        Ok(())
    }

    fn see(&self, what: Victim) {
        self.state.observe(Observation::Victim(self.life, what));
    }

    async fn start(&self) -> io::Result<(Ends<Client>, JoinHandle<Client>)> {
        let restored = lock(&self.journal).clone();
        self.see(begins(&restored));
        self.see(keeps(&restored));
        let config = ClientConfig {
            paths: vec![Path::new(self.broker)],
            name: Name::new("victim").expect("a valid name"),
            known: Some((self.key, self.identity.clone())),
            restored,
        };
        let clock = Clock::with_wall(|| WALL_START_MS + now().as_nanos() / 1_000_000);
        let seed = seed_of_victim(self.seed, self.index, self.life.life);
        let machine = Client::new(config, seed, clock.now());
        let (begun, done) = (self.begun.clone(), self.begun.clone());
        let begin = move |request: &JournalRequest| {
            lock(&begun).push_back(request.entry.clone());
            Duration::ZERO
        };
        let kept = self.journal.clone();
        let end = move |request: JournalRequest| {
            let _done = lock(&done).pop_front();
            lock(&kept).apply(request.entry);
            request.id
        };
        let sockets = vec![SimSocket(bind(0).await?)];
        let store = Delayed::new(begin, end);
        let (driver, ends) = Driver::new(machine, sockets, store, clock);
        let task = tokio::spawn(driver.run());
        command(&ends, NodeCommand::Join(den().into())).await;
        Ok((ends, task))
    }

    /// Reads and types until the program ends, or the attack does: then there is no reason.
    async fn live(&mut self, ends: &mut Ends<Client>) -> Option<EndReason> {
        loop {
            select! {
                biased;
                event = ends.events.recv() => {
                    let event = event?;
                    let ended = match &event {
                        ClientEvent::Ended(reason) => Some(reason.clone()),
                        _ => None,
                    };
                    self.see(Victim::Told(Box::new(event)));
                    if ended.is_some() {
                        return ended;
                    }
                }
                () = sleep_until(Some(self.ticks_at.min(self.ends_at))) => {
                    if now() >= self.ends_at {
                        return None;
                    }
                    self.ticks_at = now() + TICK;
                    self.do_something(ends).await;
                }
            }
        }
    }

    async fn do_something(&mut self, ends: &Ends<Client>) {
        let room = den();
        match Whim::draw(&mut self.dice) {
            Whim::Say => {
                self.typed += 1;
                let text = format!("victim says {}", self.typed).into();
                let (reply, answer) = oneshot::channel();
                command(ends, NodeCommand::PublishWatched { room, text, reply }).await;
                if let Ok(Ok(handle)) = answer.await {
                    self.see(Victim::Typed(handle));
                }
            }
            Whim::AskHistory(count) => {
                let (before, asker) = (0, Asker::Node);
                let (reply, answer) = oneshot::channel();
                let asked = NodeCommand::AskHistory {
                    room,
                    before,
                    count,
                    asker,
                    reply,
                };
                command(ends, asked).await;
                if answer.await == Ok(true) {
                    self.see(Victim::AskedHistory(count));
                }
            }
            Whim::AskWho => {
                let (reply, answer) = oneshot::channel();
                command(ends, NodeCommand::AskWho { room, reply }).await;
                let _was_asked = answer.await;
            }
            Whim::Join => command(ends, NodeCommand::Join(room.into())).await,
            Whim::Nothing => {}
        }
    }
}

/// Tells the program, if it runs. One that has ended says so by an event.
async fn command(ends: &Ends<Client>, command: NodeCommand) {
    let _ = ends.commands.send(command).await;
}

//! The broker's host: its driver, its disk, and what befalls them.

use std::collections::VecDeque;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tertulia::broker::{Broker, BrokerConfig, BrokerEvent, StorageCompletion, StorageRequest};
use tertulia::chat::LogId;
use tertulia::driver::{BrokerCommand, Clock, Driver, Ends, Machine};
use tertulia::rng::SeededRng;
use tertulia::secure::ResetSecret;
use tertulia::time::Timestamp;
use tertulia::transmit::{Origin, Transmit};
use tertulia::wire::is_data;
use tokio::select;
use tokio::task::JoinHandle;

use super::stops::{OnHost, with_stops};
use super::{BROKER_PORT, Delayed, SimSocket, State, bind, now, sleep_until};
use crate::clock::HostClock;
use crate::history::Observation;
use crate::memory::{self, of_broker};
use crate::plan::{Fault, Plan};
use crate::world::{SimStore, broker_identity, seed_of};

/// The broker's host. It does not end by itself.
pub(super) async fn run(plan: Plan, state: State) -> Result<(), Box<dyn Error>> {
    let mut faults = faults_of_the_broker(&plan);
    let mut backups = VecDeque::new();
    let mut life = 0;
    let mut disk = empty_disk(&plan, life);
    let mut process = Some(Process::start(&plan, life, &disk, &state).await?);
    loop {
        let next = faults.front().map(|(at, ..)| *at);
        select! {
            biased;
            event = next_event(&mut process) => match event {
                Some(event) => state.observe_broker(event),
                None => return Ok(()),
            },
            () = sleep_until(next) => {
                let Some((_, fault, edge)) = faults.pop_front() else {
                    continue;
                };
                let begins = edge == Edge::Begins;
                match fault {
                    Fault::RestoreBroker { .. } if edge == Edge::BacksUp => {
                        backups.push_back(lock(&disk).memory().clone());
                    }
                    Fault::SlowStore { by_ms, .. } => {
                        lock(&disk).slow(Duration::from_millis(by_ms), begins);
                    }
                    Fault::FailingStore { permille, .. } => lock(&disk).fail(permille, begins),
                    Fault::FullStore { .. } => lock(&disk).fill(begins),
                    Fault::NewLog if begins => {
                        if let Some(process) = process.take() {
                            process.kill().await;
                        }
                        life += 1;
                        disk = empty_disk(&plan, life);
                        process = Some(Process::start(&plan, life, &disk, &state).await?);
                        state.observe(Observation::NewLog);
                    }
                    Fault::Crash { .. } | Fault::RestoreBroker { .. } if begins => {
                        let Some(running) = process.take() else {
                            continue;
                        };
                        running.kill().await;
                        let commits_permille = match fault {
                            Fault::Crash { commits_permille, .. } => commits_permille,
                            _ => 0,
                        };
                        let done = lock(&disk).crash(commits_permille);
                        for observation in done {
                            state.observe(observation);
                        }
                    }
                    Fault::RestoreBroker { .. } | Fault::Crash { .. } if edge == Edge::Ends => {
                        let backup = match fault {
                            Fault::RestoreBroker { .. } => backups.pop_front(),
                            _ => None,
                        };
                        if process.is_some() {
                            continue;
                        }
                        life += 1;
                        let log = lock(&disk).memory().log_id();
                        let backup = backup.filter(|backup| backup.log_id() == log);
                        let is_backup = backup.is_some();
                        if let Some(backup) = backup {
                            lock(&disk).restore(backup);
                        }
                        let recovered = lock(&disk).recovered(is_backup);
                        state.observe(recovered);
                        process = Some(Process::start(&plan, life, &disk, &state).await?);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A moment of something that befalls the broker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// The backup is made that it will need.
    BacksUp,
    Begins,
    Ends,
}

/// When what befalls the broker begins and ends.
fn faults_of_the_broker(plan: &Plan) -> VecDeque<(Timestamp, Fault, Edge)> {
    let faults = plan.faults.iter().filter(|(_, f)| f.client().is_none());
    let mut edges: Vec<_> = faults
        .flat_map(|(at_ms, fault)| {
            let ends = Timestamp::from_millis(at_ms + fault.lasts_ms());
            let backs_up = fault.backup_age_ms().map(|age_ms| {
                let at = Timestamp::from_millis(at_ms.saturating_sub(age_ms));
                (at, fault.clone(), Edge::BacksUp)
            });
            let begins = Timestamp::from_millis(*at_ms);
            let edges = [
                (begins, fault.clone(), Edge::Begins),
                (ends, fault.clone(), Edge::Ends),
            ];
            backs_up.into_iter().chain(edges)
        })
        .collect();
    edges.sort_by_key(|(at, ..)| *at);
    edges.into()
}

/// A broker's program, while it runs.
struct Process {
    ends: Ends<OnHost<Watched>>,
    task: JoinHandle<OnHost<Watched>>,
}

type Disk = Arc<Mutex<SimStore>>;

fn lock(disk: &Disk) -> MutexGuard<'_, SimStore> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disk for one of the broker's histories.
fn empty_disk(plan: &Plan, number: u64) -> Disk {
    let log = LogId(SeededRng::new(seed_of(plan.seed, "log", number)).bytes());
    let latency = Duration::from_millis(plan.store_ms);
    Arc::new(Mutex::new(SimStore::new(log, latency, plan.seed)))
}

/// What the broker tells; `None` if it has ended. For ever if none runs.
async fn next_event(process: &mut Option<Process>) -> Option<BrokerEvent> {
    match process {
        Some(process) => process.ends.events.recv().await,
        None => std::future::pending().await,
    }
}

impl Process {
    async fn start(
        plan: &Plan,
        life: u64,
        disk: &Disk,
        state: &State,
    ) -> Result<Self, Box<dyn Error>> {
        let identity = broker_identity(plan);
        let log = lock(disk).memory().log_id();
        state.lock().record.history.current = Some(log);
        let config = BrokerConfig {
            grace: Duration::from_millis(plan.grace_ms),
            // One for all lives of the broker (RST-1).
            reset_secret: Some(ResetSecret::new(seed_of(plan.seed, "reset secret", 0))),
            ..BrokerConfig::default()
        };
        let seed = seed_of(plan.seed, "broker", life);
        let broker = Watched {
            broker: of_broker(|| Broker::new(config, identity, log, seed)),
            state: state.clone(),
            most_held: 0,
        };
        let store = store_on(disk.clone(), state.clone());
        let sockets = vec![SimSocket(bind(BROKER_PORT).await?)];
        let host = HostClock::new(plan, None);
        let of_wall = host.clone();
        let clock = Clock::with_wall(move || of_wall.wall_ms(now()));
        let broker = OnHost::new(broker, host.clone());
        let (driver, ends) = Driver::new(broker, sockets, store, clock);
        let task = tokio::spawn(with_stops(host, driver.run()));
        Ok(Self { ends, task })
    }

    /// Kills the program: from here on nothing of it is left but the disk.
    async fn kill(self) {
        self.task.abort();
        // It ends by being cancelled, or a panic that the run reports by itself.
        let _ = self.task.await;
    }
}

fn store_on(disk: Disk, state: State) -> Delayed<StorageRequest, StorageCompletion> {
    let of_begin = disk.clone();
    let begin = move |request: &StorageRequest| {
        let done_at = lock(&of_begin).submit(request.clone(), now());
        done_at.saturating_since(now())
    };
    let end = move |_| {
        let (completion, observations) = lock(&disk).complete().expect("a request was submitted");
        for observation in observations {
            state.observe(observation);
        }
        completion
    };
    Delayed::new(begin, end)
}

/// A broker whose datagrams are watched: who was heard, and what goes to strangers.
struct Watched {
    broker: Broker,
    state: State,
    /// The most memory that it was seen to hold.
    most_held: u64,
}

/// How much more memory is worth saying.
const WEIGHED_BY: u64 = 32_768;

impl Watched {
    /// Says how much memory the broker holds, if it is much more than before.
    fn weigh(&mut self) {
        if let Some(held) = memory::held()
            && held > self.most_held + WEIGHED_BY
        {
            self.most_held = held;
            self.state.observe(Observation::Holds(held));
        }
    }

    fn dropped(&self) -> u64 {
        self.broker.drops().iter().map(|(_, count)| count).sum()
    }
}

impl Machine for Watched {
    type Command = BrokerCommand;
    type Event = BrokerEvent;
    type Request = StorageRequest;
    type Completion = StorageCompletion;

    fn handle_datagram(&mut self, origin: Origin, datagram: BytesMut, at: Timestamp) {
        let path = origin.path;
        let is_of_a_link = datagram.first().copied().is_some_and(is_data);
        let lied = self.state.observe_from(path.remote, &datagram);
        let dropped = self.dropped();
        of_broker(|| {
            let own = BytesMut::from(&datagram[..]);
            self.broker.handle_datagram(origin, own, at);
        });
        if is_of_a_link && self.dropped() == dropped {
            self.state.note_heard(path.remote);
            if let Some(liar) = lied {
                self.state.find_out(liar);
            }
        }
    }

    fn handle_timeout(&mut self, at: Timestamp) {
        of_broker(|| self.broker.handle_timeout(at));
        self.weigh();
    }

    fn handle_completion(&mut self, completion: StorageCompletion, at: Timestamp) {
        of_broker(|| self.broker.handle_storage(memory::told(completion), at));
        self.weigh();
    }

    fn set_wall_clock(&mut self, unix_ms: u64, at: Timestamp) {
        self.broker.set_wall_clock(unix_ms, at);
    }

    fn handle_command(
        &mut self,
        command: BrokerCommand,
        unix_ms: u64,
        at: Timestamp,
    ) -> ControlFlow<()> {
        self.broker.handle_command(command, unix_ms, at)
    }

    fn shut_down(&mut self, at: Timestamp) {
        self.broker.shut_down(at);
    }

    fn poll_transmit(&mut self, at: Timestamp, out: &mut Vec<u8>) -> Option<Transmit> {
        let begin = out.len();
        let transmit = of_broker(|| self.broker.poll_transmit(at, out))?;
        for datagram in transmit.datagrams(&out[begin..]) {
            self.state.observe_to(transmit.path.remote, datagram);
        }
        Some(transmit)
    }

    fn poll_request(&mut self) -> Option<StorageRequest> {
        let request = of_broker(|| self.broker.poll_storage())?;
        let request = memory::asked(request);
        self.state.note_giving_up(&request.op);
        Some(request)
    }

    fn poll_event(&mut self) -> Option<BrokerEvent> {
        of_broker(|| self.broker.poll_event())
    }

    fn is_last(event: &BrokerEvent) -> bool {
        Broker::is_last(event)
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        Machine::poll_timeout(&self.broker)
    }
}

//! The loop: wait, take, drain.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::select;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::clock::Alarm;
use super::ports::{Ports, Sent};
use super::{Clock, DatagramSocket, Machine, Store};
use crate::bug;
use crate::time::Timestamp;

/// How many commands wait for the driver; who sends one more waits (LIM-19).
pub const COMMANDS_WAITING_MAX: usize = 64;
/// How many events wait for their consumer; while there is no room for another, no socket is read
/// (LIM-19).
pub const EVENTS_WAITING_MAX: usize = 1_024;
/// How many commands, and how many completions, a turn takes.
const TAKEN_PER_TURN: usize = 64;
/// How long no socket is read after one had nothing but errors: they might not end.
const PAUSE_AFTER_ERRORS: Duration = Duration::from_millis(10);
/// A gap that is longer is worth telling the machine (LIF-6).
const SUSPENDED_MIN: Duration = Duration::from_secs(5);
/// How often a machine that heeds it is looked after: no timer fires earlier because this machine
/// was suspended.
const SUSPENSION_CHECKED_EVERY: Duration = Duration::from_secs(2);
/// How long the last datagrams may wait for room in the system's buffer.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// How others talk to a driver. Dropping `commands` ends it in an orderly way; dropping `events`
/// only says that nobody listens.
#[derive(Debug)]
pub struct Ends<M: Machine> {
    /// What the machine is to do.
    pub commands: mpsc::Sender<M::Command>,
    /// What it tells.
    pub events: mpsc::Receiver<M::Event>,
}

/// A task that owns a machine and does what it asks.
pub struct Driver<M: Machine, S, T> {
    machine: M,
    ports: Ports<S>,
    store: T,
    clock: Clock,
    alarm: Alarm,
    /// When the last turn began.
    turned_at: Timestamp,
    commands: mpsc::Receiver<M::Command>,
    events: mpsc::Sender<M::Event>,
    reading: Reading,
    /// For how long this machine was suspended in all when that was looked at last.
    suspended: Option<Duration>,
    /// Whether the last turn left something undone that waits for nobody.
    has_more: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Sockets are read.
    On,
    /// Not until there is room for events.
    Stalled,
    /// Not for a moment: there was nothing but errors.
    Paused,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// The machine was told to end: what it still has to say is said.
    Ending,
}

/// What ended the waiting.
enum Woken<C> {
    Command(Option<C>),
    Other,
}

impl<M, S, T> Driver<M, S, T>
where
    M: Machine,
    S: DatagramSocket,
    T: Store<Request = M::Request, Completion = M::Completion>,
{
    /// A driver of `machine`, to be [`run`](Self::run), and the ends by which to talk to it.
    ///
    /// The path of a datagram names its socket by the index in `sockets`.
    pub fn new(machine: M, sockets: Vec<S>, store: T, clock: Clock) -> (Self, Ends<M>) {
        let (command_sender, commands) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (events, event_receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let clock_suspended = clock.suspended().filter(|_| M::HEEDS_SUSPENSION);
        let driver = Self {
            machine,
            ports: Ports::new(sockets),
            store,
            turned_at: clock.now(),
            clock,
            alarm: Alarm::default(),
            commands,
            events,
            reading: Reading::On,
            suspended: clock_suspended,
            has_more: true,
            stage: Stage::Running,
        };
        let ends = Ends {
            commands: command_sender,
            events: event_receiver,
        };
        (driver, ends)
    }

    /// Runs until the machine is done, and hands it back for its counters.
    pub async fn run(mut self) -> M {
        while self.stage == Stage::Running {
            let woken = self.wait().await;
            self.take(woken);
            self.drain();
        }
        // Nothing else will be taken, and who waits for an answer to a command is not kept waiting;
        // what is due to be sent and told still is.
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        if timeout(FAREWELL_MAX, self.send_farewell()).await.is_err() {
            tracing::debug!("the system took no more datagrams");
        }
        while let Some(event) = self.machine.poll_event() {
            if self.events.send(event).await.is_err() {
                break;
            }
        }
        self.machine
    }

    // ---- wait

    /// Waits until there is something to do.
    async fn wait(&mut self) -> Woken<M::Command> {
        let is_reading = self.reading == Reading::On;
        if self.has_more || (is_reading && self.ports.has_received()) {
            // Lets the runtime look at the sockets, and others have their turn.
            yield_now().await;
            return Woken::Other;
        }
        let deadline = self.machine.poll_timeout().into_iter();
        let deadline = deadline.chain(self.suspension_check_at()).min();
        let woken = select! {
            biased;
            () = self.ports.readable(), if is_reading => Woken::Other,
            () = self.ports.writable(), if self.ports.is_blocked() => Woken::Other,
            _ = self.events.reserve(), if self.reading == Reading::Stalled => Woken::Other,
            () = sleep(PAUSE_AFTER_ERRORS), if self.reading == Reading::Paused => Woken::Other,
            () = self.alarm.wait(&self.clock, deadline) => Woken::Other,
            () = self.store.ready() => Woken::Other,
            command = self.commands.recv() => Woken::Command(command),
        };
        if self.reading == Reading::Paused {
            self.reading = Reading::On;
        }
        woken
    }

    // ---- take

    /// Takes a bounded share from every source.
    fn take(&mut self, woken: Woken<M::Command>) {
        // One time for all that is taken: none of it came later.
        let now = self.clock.now();
        self.turned_at = now;
        let unix_ms = self.clock.unix_ms();
        self.machine.set_wall_clock(unix_ms, now);
        self.has_more = false;
        self.feel_suspension(now);
        // Datagrams before deadlines: an acknowledgement that has arrived disarms a probe.
        if self.reading == Reading::On {
            self.take_datagrams(now);
        }
        for _ in 0..TAKEN_PER_TURN {
            let Some(completion) = self.store.take() else {
                break;
            };
            self.machine.handle_completion(completion, now);
        }
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
        let mut next = match woken {
            Woken::Command(Some(command)) => Ok(command),
            Woken::Command(None) => Err(TryRecvError::Disconnected),
            Woken::Other => self.commands.try_recv(),
        };
        for _ in 0..TAKEN_PER_TURN {
            let flow = match next {
                Ok(command) => self.machine.handle_command(command, unix_ms, now),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.machine.shut_down(now);
                    ControlFlow::Break(())
                }
            };
            if flow.is_break() {
                self.stage = Stage::Ending;
                break;
            }
            next = self.commands.try_recv();
        }
    }

    /// When it is to be looked whether this machine was suspended, if the other one heeds that.
    fn suspension_check_at(&self) -> Option<Timestamp> {
        let is_heeded = self.suspended.is_some();
        is_heeded.then(|| self.turned_at + SUSPENSION_CHECKED_EVERY)
    }

    /// Tells the machine if this one was suspended.
    fn feel_suspension(&mut self, now: Timestamp) {
        if let Some(before) = self.suspended
            && let Some(in_all) = self.clock.suspended()
        {
            if in_all.saturating_sub(before) > SUSPENDED_MIN {
                tracing::debug!("this machine was suspended");
                self.machine.handle_resume(now);
            }
            self.suspended = Some(in_all);
        }
    }

    /// Takes what the sockets have, a bounded share of it.
    fn take_datagrams(&mut self, now: Timestamp) {
        let (machine, clock) = (&mut self.machine, &self.clock);
        let mut count = 0;
        let taken = self.ports.take(|origin, datagram| {
            count += 1;
            if count % 2 == 0 && bug!(DropSecondDatagram) {
                return;
            }
            if !M::is_timed(&datagram) {
                machine.handle_datagram(origin, datagram, now);
                return;
            }
            let before = clock.worked();
            machine.handle_datagram(origin, datagram, now);
            machine.handle_time_taken(clock.worked().saturating_sub(before), now);
        });
        if taken.failures > 0 && taken.datagrams == 0 {
            self.reading = Reading::Paused;
        }
    }

    // ---- drain

    /// Does what the machine asks for, a bounded share of it.
    fn drain(&mut self) {
        // The store first: it works beside this task, and what is sent waits for nobody.
        self.submit_requests();
        let now = self.clock.now();
        self.has_more |= self.send_trains(now) == Sent::More;
        // What was sent may have made room for what the store is to read next.
        self.submit_requests();
        self.tell();
    }

    fn submit_requests(&mut self) {
        while let Some(request) = self.machine.poll_request() {
            self.store.submit(request);
        }
    }

    /// Sends a bounded share of what is due.
    fn send_trains(&mut self, now: Timestamp) -> Sent {
        let machine = &mut self.machine;
        self.ports.send(|out| machine.poll_transmit(now, out))
    }

    /// Hands over events, as many as there is room for.
    fn tell(&mut self) {
        let mut told = 0;
        loop {
            match self.events.try_reserve() {
                Ok(permit) => {
                    let Some(event) = self.machine.poll_event() else {
                        break;
                    };
                    let is_last = M::is_last(&event);
                    told += 1;
                    if told == 1 || is_last || !bug!(DropSecondEvent) {
                        permit.send(event);
                    }
                    if is_last {
                        self.stage = Stage::Ending;
                    }
                }
                Err(TrySendError::Full(())) => {
                    self.reading = Reading::Stalled;
                    return;
                }
                // Nobody listens; the machine goes on.
                Err(TrySendError::Closed(())) => {
                    let Some(event) = self.machine.poll_event() else {
                        break;
                    };
                    if M::is_last(&event) {
                        self.stage = Stage::Ending;
                    }
                }
            }
        }
        if self.reading == Reading::Stalled {
            self.reading = Reading::On;
        }
    }

    /// Sends everything that is due, waiting for the system where it must.
    async fn send_farewell(&mut self) {
        loop {
            let now = self.clock.now();
            match self.send_trains(now) {
                Sent::All => return,
                Sent::More => yield_now().await,
                Sent::Blocked => self.ports.writable().await,
            }
        }
    }
}

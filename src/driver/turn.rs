//! The loop: wait, take, drain.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::select;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::{Clock, DatagramSocket, Machine, Store};
use crate::bug;
use crate::time::Timestamp;
use crate::transmit::{Path, Transmit};
use crate::wire::DATAGRAM_MAX;

/// How many datagrams a turn takes from the sockets, all together (BRK-3).
pub const DATAGRAMS_PER_TURN: usize = 64;
/// How many batches of datagrams a turn sends (BRK-3).
pub const TRAINS_PER_TURN: usize = 64;
/// How many commands wait for the driver; who sends one more waits.
pub const COMMANDS_WAITING_MAX: usize = 64;
/// How many events wait for their consumer; while there is no room for another, no socket is read.
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
    /// A path's `local` is an index into these.
    sockets: Vec<S>,
    store: T,
    clock: Clock,
    commands: mpsc::Receiver<M::Command>,
    events: mpsc::Sender<M::Event>,
    /// A batch of datagrams that is being sent.
    outgoing: Option<Outgoing>,
    /// The bytes of `outgoing`, kept for their allocation.
    out: Vec<u8>,
    reading: Reading,
    /// For how long this machine was suspended in all when that was looked at last.
    suspended: Option<Duration>,
    /// Whether the last turn left something undone that waits for nobody.
    has_more: bool,
    stage: Stage,
}

/// A batch of which the first `sent` bytes are gone.
struct Outgoing {
    transmit: Transmit,
    sent: usize,
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
            sockets,
            store,
            clock,
            commands,
            events,
            outgoing: None,
            out: Vec::new(),
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
        if self.has_more {
            // Lets the runtime look at the sockets, and others have their turn.
            yield_now().await;
            return Woken::Other;
        }
        let deadline = self.machine.poll_timeout();
        let blocked = self.outgoing.as_ref().map(|out| out.transmit.path.local);
        let blocked = blocked.and_then(|local| self.sockets.get(usize::from(local)));
        let woken = select! {
            biased;
            () = any_readable(&self.sockets), if self.reading == Reading::On => Woken::Other,
            () = writable(blocked), if blocked.is_some() => Woken::Other,
            _ = self.events.reserve(), if self.reading == Reading::Stalled => Woken::Other,
            () = sleep(PAUSE_AFTER_ERRORS), if self.reading == Reading::Paused => Woken::Other,
            () = self.clock.sleep_until(deadline) => Woken::Other,
            () = sleep(SUSPENSION_CHECKED_EVERY), if self.suspended.is_some() => Woken::Other,
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
        let unix_ms = self.clock.unix_ms();
        self.machine.set_wall_clock(unix_ms, self.clock.now());
        self.has_more = false;
        self.feel_suspension();
        // Datagrams before deadlines: an acknowledgement that has arrived disarms a probe.
        if self.reading == Reading::On {
            self.take_datagrams();
        }
        for _ in 0..TAKEN_PER_TURN {
            let Some(completion) = self.store.take() else {
                break;
            };
            self.machine.handle_completion(completion, self.clock.now());
        }
        let now = self.clock.now();
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
        let mut next = match woken {
            Woken::Command(Some(command)) => Ok(command),
            Woken::Command(None) => Err(TryRecvError::Disconnected),
            Woken::Other => self.commands.try_recv(),
        };
        for _ in 0..TAKEN_PER_TURN {
            let now = self.clock.now();
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

    /// Tells the machine if this one was suspended.
    fn feel_suspension(&mut self) {
        if let Some(before) = self.suspended
            && let Some(in_all) = self.clock.suspended()
        {
            if in_all.saturating_sub(before) > SUSPENDED_MIN {
                tracing::debug!("this machine was suspended");
                self.machine.handle_resume(self.clock.now());
            }
            self.suspended = Some(in_all);
        }
    }

    /// Takes what the sockets have, an equal share of the bound from each.
    fn take_datagrams(&mut self) {
        let share = (DATAGRAMS_PER_TURN / self.sockets.len().max(1)).max(1);
        // One byte more than a datagram may have, so that one that is too long is not taken for
        // another that is not.
        let mut buffer = [0; DATAGRAM_MAX + 1];
        let (mut taken, mut failed) = (0, 0);
        for (local, socket) in self.sockets.iter().enumerate() {
            let local = u16::try_from(local).unwrap_or(u16::MAX);
            for _ in 0..share {
                match socket.try_recv_from(&mut buffer) {
                    Ok((len, remote)) => {
                        taken += 1;
                        if taken % 2 == 0 && bug!(DropSecondDatagram) {
                            continue;
                        }
                        let path = Path { remote, local };
                        let datagram = BytesMut::from(&buffer[..len]);
                        self.machine
                            .handle_datagram(path, datagram, self.clock.now());
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        // What an ICMP message said of a datagram that was sent before. The link
                        // that sent it will notice by itself.
                        failed += 1;
                        tracing::debug!(%error, local, "receiving failed");
                    }
                }
            }
        }
        if failed > 0 && taken == 0 {
            self.reading = Reading::Paused;
        }
    }

    // ---- drain

    /// Does what the machine asks for, a bounded share of it.
    fn drain(&mut self) {
        let now = self.clock.now();
        self.has_more |= self.send_trains(now) == Sent::More;
        while let Some(request) = self.machine.poll_request() {
            self.store.submit(request);
        }
        self.tell();
    }

    /// Sends up to [`TRAINS_PER_TURN`] batches.
    fn send_trains(&mut self, now: Timestamp) -> Sent {
        for _ in 0..TRAINS_PER_TURN {
            if self.outgoing.is_none() {
                self.out.clear();
                let Some(transmit) = self.machine.poll_transmit(now, &mut self.out) else {
                    return Sent::All;
                };
                self.outgoing = Some(Outgoing { transmit, sent: 0 });
            }
            if !self.send_outgoing() {
                return Sent::Blocked;
            }
        }
        Sent::More
    }

    /// Sends what is left of the current batch. Returns whether nothing is.
    fn send_outgoing(&mut self) -> bool {
        let Some(Outgoing { transmit, sent }) = &mut self.outgoing else {
            return true;
        };
        let path = transmit.path;
        if let Some(socket) = self.sockets.get(usize::from(path.local)) {
            let rest = Transmit {
                len: transmit.len - *sent,
                ..*transmit
            };
            for datagram in rest.datagrams(&self.out[*sent..]) {
                match socket.try_send_to(datagram, path.remote) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    // A network that is away, a peer that is gone: for the link it is a datagram
                    // lost like any other.
                    Err(error) => tracing::debug!(%error, ?path, "sending failed"),
                }
                *sent += datagram.len();
            }
        }
        self.outgoing = None;
        true
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
                Sent::Blocked => {
                    let local = self.outgoing.as_ref().map(|out| out.transmit.path.local);
                    writable(local.and_then(|local| self.sockets.get(usize::from(local)))).await;
                }
            }
        }
    }
}

/// How far sending came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// Everything that is due is gone.
    All,
    /// There may be more; the turn is over.
    More,
    /// The system takes no more for now.
    Blocked,
}

/// Waits until one of the sockets is readable. An error counts: reading will meet it.
async fn any_readable<S: DatagramSocket>(sockets: &[S]) {
    if let [socket] = sockets {
        drop(socket.readable().await);
        return;
    }
    type Readable<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;
    let mut all: Vec<Readable<'_>> = Vec::with_capacity(sockets.len());
    for socket in sockets {
        all.push(Box::pin(socket.readable()));
    }
    poll_fn(|context| {
        let is_any = all
            .iter_mut()
            .any(|readable| readable.as_mut().poll(context).is_ready());
        if is_any {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Waits until the socket is writable; for ever if there is none.
async fn writable<S: DatagramSocket>(socket: Option<&S>) {
    match socket {
        Some(socket) => drop(socket.writable().await),
        None => std::future::pending().await,
    }
}

//! Clocks that are wrong, and programs that stand still.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;

use bytes::BytesMut;
use tertulia::driver::Machine;
use tertulia::time::Timestamp;
use tertulia::transmit::{Origin, Transmit};
use tokio::select;

use super::{now, sleep_until};
use crate::clock::HostClock;

/// Runs a program that stands still whenever its host does.
pub(super) async fn with_stops<T>(clock: HostClock, program: impl Future<Output = T>) -> T {
    let mut program = pin!(program);
    loop {
        if let Some(until) = clock.stopped_until(now()) {
            sleep_until(Some(until)).await;
            continue;
        }
        let next_stop = clock.next_stop(now());
        select! {
            biased;
            () = sleep_until(next_stop) => {}
            output = &mut program => return output,
        }
    }
}

/// A machine whose monotonic clock is its host's, and not its driver's, which is always right.
pub(super) struct OnHost<M> {
    pub(super) machine: M,
    clock: HostClock,
    /// When the driver's clock showed zero.
    origin: Timestamp,
}

impl<M> OnHost<M> {
    pub(super) fn new(machine: M, clock: HostClock) -> Self {
        let origin = now();
        Self {
            machine,
            clock,
            origin,
        }
    }

    /// What the host's clock shows when the driver's shows `at`.
    fn local(&self, at: Timestamp) -> Timestamp {
        let world = self.origin + at.saturating_since(Timestamp::ZERO);
        self.clock.local(world)
    }
}

impl<M: Machine> Machine for OnHost<M> {
    type Command = M::Command;
    type Event = M::Event;
    type Request = M::Request;
    type Completion = M::Completion;
    const HEEDS_SUSPENSION: bool = M::HEEDS_SUSPENSION;

    fn handle_datagram(&mut self, origin: Origin, datagram: BytesMut, at: Timestamp) {
        let at = self.local(at);
        self.machine.handle_datagram(origin, datagram, at);
    }

    fn handle_timeout(&mut self, at: Timestamp) {
        let at = self.local(at);
        self.machine.handle_timeout(at);
    }

    fn handle_resume(&mut self, at: Timestamp) {
        let at = self.local(at);
        self.machine.handle_resume(at);
    }

    fn handle_completion(&mut self, completion: M::Completion, at: Timestamp) {
        let at = self.local(at);
        self.machine.handle_completion(completion, at);
    }

    fn set_wall_clock(&mut self, unix_ms: u64, at: Timestamp) {
        let at = self.local(at);
        self.machine.set_wall_clock(unix_ms, at);
    }

    fn handle_command(
        &mut self,
        command: M::Command,
        unix_ms: u64,
        at: Timestamp,
    ) -> ControlFlow<()> {
        let at = self.local(at);
        self.machine.handle_command(command, unix_ms, at)
    }

    fn shut_down(&mut self, at: Timestamp) {
        let at = self.local(at);
        self.machine.shut_down(at);
    }

    fn poll_transmit(&mut self, at: Timestamp, out: &mut Vec<u8>) -> Option<Transmit> {
        let at = self.local(at);
        self.machine.poll_transmit(at, out)
    }

    fn poll_request(&mut self) -> Option<M::Request> {
        self.machine.poll_request()
    }

    fn poll_event(&mut self) -> Option<M::Event> {
        self.machine.poll_event()
    }

    fn is_last(event: &M::Event) -> bool {
        M::is_last(event)
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        let deadline = self.machine.poll_timeout()?;
        let world = self.clock.world(deadline);
        Some(Timestamp::ZERO + world.saturating_since(self.origin))
    }
}

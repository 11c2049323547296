//! A machine whose computer was suspended (LIF-6).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use super::{Clock, Driver, Immediate, Machine};
use crate::time::Timestamp;
use crate::transmit::{Origin, Transmit};

/// Does nothing but tell when it is told.
struct Sleeper {
    resumed: Vec<Timestamp>,
}

impl Machine for Sleeper {
    type Command = ();
    type Event = Timestamp;
    type Request = ();
    type Completion = ();
    const HEEDS_SUSPENSION: bool = true;

    fn handle_resume(&mut self, now: Timestamp) {
        self.resumed.push(now);
    }

    fn handle_datagram(&mut self, _: Origin, _: BytesMut, _: Timestamp) {}
    fn handle_timeout(&mut self, _: Timestamp) {}
    fn handle_completion(&mut self, (): (), _: Timestamp) {}
    fn set_wall_clock(&mut self, _: u64, _: Timestamp) {}
    fn handle_command(&mut self, (): (), _: u64, _: Timestamp) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn shut_down(&mut self, _: Timestamp) {}
    fn poll_transmit(&mut self, _: Timestamp, _: &mut Vec<u8>) -> Option<Transmit> {
        None
    }
    fn poll_request(&mut self) -> Option<()> {
        None
    }
    fn poll_event(&mut self) -> Option<Timestamp> {
        self.resumed.pop()
    }
    fn is_last(_: &Timestamp) -> bool {
        false
    }
    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_told_of_each_suspension_that_was_long() {
    let seconds = Arc::new(AtomicU64::new(1_000));
    let of_clock = seconds.clone();
    let clock = Clock::with_wall(|| 0)
        .with_suspensions(move || Duration::from_secs(of_clock.load(Ordering::SeqCst)));
    let machine = Sleeper {
        resumed: Vec::new(),
    };
    let store = Immediate::new(|()| ());
    let (driver, mut ends) = Driver::new(machine, Vec::<UdpSocket>::new(), store, clock);
    let task = tokio::spawn(driver.run());
    sleep(Duration::from_secs(60)).await;

    seconds.fetch_add(4, Ordering::SeqCst);
    sleep(Duration::from_secs(60)).await;
    assert!(ends.events.try_recv().is_err(), "a nap");

    for _ in 0..2 {
        seconds.fetch_add(3_600, Ordering::SeqCst);
        let told = timeout(Duration::from_secs(3), ends.events.recv()).await;
        assert!(told.unwrap().is_some());
        sleep(Duration::from_secs(60)).await;
        assert!(ends.events.try_recv().is_err(), "once");
    }
    drop(ends);
    task.await.unwrap();
}

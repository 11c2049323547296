//! A machine that wants to know how long it took (ADR-3).

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::UdpSocket;

use super::{Clock, Driver, Immediate, Machine};
use crate::time::Timestamp;
use crate::transmit::{Origin, Transmit};

/// How long it takes for whatever it is handed.
const WORK: Duration = Duration::from_millis(2);

/// Tells what it is told, and which datagram it had been handed then.
#[derive(Default)]
struct Worker {
    handled: u8,
    told: Vec<(u8, Duration)>,
}

impl Machine for Worker {
    type Command = ();
    type Event = (u8, Duration);
    type Request = ();
    type Completion = ();

    fn is_timed(datagram: &[u8]) -> bool {
        datagram[0] % 2 == 1
    }

    fn handle_time_taken(&mut self, taken: Duration, _: Timestamp) {
        self.told.push((self.handled, taken));
    }

    fn handle_datagram(&mut self, _: Origin, datagram: BytesMut, _: Timestamp) {
        self.handled = datagram[0];
        thread::sleep(WORK);
    }

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
    fn poll_event(&mut self) -> Option<(u8, Duration)> {
        self.told.pop()
    }
    fn is_last(_: &(u8, Duration)) -> bool {
        false
    }
    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}

/// ADR-3: of every datagram that it wants to know it of, and of no other.
#[tokio::test]
async fn a_machine_is_told_how_long_a_datagram_took_it() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let store = Immediate::new(|()| ());
    let (driver, mut ends) = Driver::new(
        Worker::default(),
        vec![socket],
        store,
        Clock::with_wall(|| 0),
    );
    let task = tokio::spawn(driver.run());
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    for number in 2..=5 {
        peer.send_to(&[number], address).await.unwrap();
        if number % 2 == 1 {
            let (of, taken) = ends.events.recv().await.unwrap();
            assert_eq!(of, number);
            assert!(taken >= WORK, "{taken:?}");
        }
    }
    drop(ends.commands);
    assert!(ends.events.recv().await.is_none());
    task.await.unwrap();
}

//! Trains and receipts over real sockets, on loopback.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::ports::{Ports, Sent};
use super::*;
use crate::transmit::{Ecn, Path, Transmit};
use crate::wire::{DATAGRAM_BASE, DATAGRAM_MAX};

/// Longer than anything here takes; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A socket that is used call by call.
async fn plain() -> UdpSocket {
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    let settings = socket2::SockRef::from(&socket);
    settings.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    socket
}

/// What is to be sent, as machines say it.
#[derive(Default)]
struct Load {
    bytes: Vec<u8>,
    trains: VecDeque<Transmit>,
    /// Datagrams are told apart by these.
    count: u32,
}

impl Load {
    /// Appends `count` datagrams of `len` bytes each, and returns them.
    fn train(&mut self, to: SocketAddr, count: usize, len: usize) -> Vec<Vec<u8>> {
        self.train_and(to, count, len, len)
    }

    /// The same with another length of the last one.
    fn train_and(&mut self, to: SocketAddr, count: usize, len: usize, last: usize) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        for n in 1..=count {
            self.count += 1;
            let len = if n == count { last } else { len };
            let mut datagram = self.count.to_be_bytes().to_vec();
            datagram.resize(len, n as u8);
            self.bytes.extend(&datagram);
            datagrams.push(datagram);
        }
        self.trains.push_back(Transmit {
            path: Path::new(to),
            len: len * (count - 1) + last,
            segment_size: (count > 1).then_some(len),
            ecn: Ecn::Ect0,
        });
        datagrams
    }

    /// The trains, as a socket is handed them.
    fn queue(&self) -> VecDeque<Train> {
        let mut start = 0;
        let trains = self.trains.iter().filter_map(|transmit| {
            start += transmit.len;
            Train::new(transmit, start - transmit.len)
        });
        trains.collect()
    }

    async fn send(&self, socket: &impl DatagramSocket) {
        let mut trains = self.queue();
        socket.writable().await.unwrap();
        socket.try_send_batch(&self.bytes, &mut trains).unwrap();
        assert!(trains.is_empty());
    }
}

/// The next `count` datagrams that `socket` brings.
async fn received<S: DatagramSocket>(socket: &S, count: usize) -> Vec<Vec<u8>> {
    let mut inbox = Inbox::new(S::RECEIPT_LEN_MAX);
    let mut datagrams = Vec::new();
    let all = async {
        while datagrams.len() < count {
            socket.readable().await.unwrap();
            match socket.try_recv_batch(&mut inbox) {
                Ok(()) => assert!(!inbox.is_empty()),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            while let Some((_, _, datagram)) = inbox.pop() {
                datagrams.push(datagram.to_vec());
            }
        }
    };
    timeout(PATIENCE, all).await.expect("all of them in time");
    datagrams
}

/// Trains of every kind for `to`, and the datagrams that they are.
fn all_kinds(to: SocketAddr) -> (Load, Vec<Vec<u8>>) {
    let mut load = Load::default();
    let mut datagrams = Vec::new();
    datagrams.extend(load.train(to, 1, 100));
    datagrams.extend(load.train(to, 1, 20));
    datagrams.extend(load.train_and(to, 10, DATAGRAM_BASE, 77));
    datagrams.extend(load.train(to, 1, 4));
    datagrams.extend(load.train(to, 7, 30));
    // More segments than a message may have, and more bytes.
    datagrams.extend(load.train_and(to, 150, 40, 39));
    datagrams.extend(load.train(to, 60, DATAGRAM_BASE));
    for _ in 0..70 {
        datagrams.extend(load.train(to, 1, 50));
    }
    (load, datagrams)
}

#[tokio::test]
async fn trains_arrive_as_their_datagrams_in_order() {
    let (from, to) = (bind(loopback()).unwrap(), plain().await);
    let (load, datagrams) = all_kinds(to.local_addr().unwrap());
    load.send(&from).await;
    assert_eq!(received(&to, datagrams.len()).await, datagrams);
}

/// ECN-1, ECN-2: of single datagrams and of trains, over both families.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[tokio::test]
async fn each_datagram_arrives_with_the_mark_that_it_was_sent_with() {
    let marks = [
        (1, Ecn::Ect0),
        (1, Ecn::NotEct),
        (5, Ecn::NotEct),
        (5, Ecn::Ect0),
        (1, Ecn::Ce),
        (1, Ecn::Ect0),
        (1, Ecn::Ect0),
    ];
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let address = address.parse().unwrap();
        // Not every machine has IPv6.
        let (Ok(from), Ok(to)) = (bind(address), bind(address)) else {
            assert!(address.is_ipv6());
            continue;
        };
        let mut load = Load::default();
        let mut expected = Vec::new();
        for (count, ecn) in marks {
            load.train(to.local_addr().unwrap(), count, 50);
            load.trains.back_mut().unwrap().ecn = ecn;
            expected.extend(vec![ecn; count]);
        }
        load.send(&from).await;
        let mut inbox = Inbox::new(SystemSocket::RECEIPT_LEN_MAX);
        let mut arrived = Vec::new();
        let all = async {
            while arrived.len() < expected.len() {
                to.readable().await.unwrap();
                let _nothing_yet = to.try_recv_batch(&mut inbox);
                while let Some((_, ecn, _)) = inbox.pop() {
                    arrived.push(ecn);
                }
            }
        };
        timeout(PATIENCE, all).await.expect("all of them in time");
        assert_eq!(arrived, expected, "{address}");
    }
}

#[tokio::test]
async fn what_arrives_in_one_piece_is_split_again() {
    let (from, to) = (bind(loopback()).unwrap(), bind(loopback()).unwrap());
    let (load, datagrams) = all_kinds(to.local_addr().unwrap());
    load.send(&from).await;
    assert_eq!(received(&to, datagrams.len()).await, datagrams);
}

#[tokio::test]
async fn a_call_for_each_datagram_does_the_same() {
    let (from, to) = (plain().await, bind(loopback()).unwrap());
    let (load, datagrams) = all_kinds(to.local_addr().unwrap());
    load.send(&from).await;
    assert_eq!(received(&to, datagrams.len()).await, datagrams);
}

#[tokio::test]
async fn trains_go_over_ipv6_too() {
    let any = "[::1]:0".parse().unwrap();
    let (from, to) = (bind(any).unwrap(), bind(any).unwrap());
    let (load, datagrams) = all_kinds(to.local_addr().unwrap());
    load.send(&from).await;
    assert_eq!(received(&to, datagrams.len()).await, datagrams);
}

/// A message with more segments than the kernel takes is an error of the kind that one without the
/// facility gives.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_kernel_that_refuses_a_train_gets_its_datagrams() {
    let (from, to) = (bind(loopback()).unwrap(), plain().await);
    let offload = &from.offload;
    if offload.segments_max() == 1 {
        return eprintln!("this kernel cuts up no trains anyway");
    }
    offload.segments_max.store(usize::MAX, Ordering::Relaxed);
    let (load, datagrams) = all_kinds(to.local_addr().unwrap());
    load.send(&from).await;
    assert_eq!(received(&to, datagrams.len()).await, datagrams);
    assert_eq!(offload.segments_max(), 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_trains_and_sendmmsg_the_same_arrives() {
    let (from, to) = (bind(loopback()).unwrap(), plain().await);
    let offload = &from.offload;
    offload.segments_max.store(1, Ordering::Relaxed);
    offload.has_sendmmsg.store(false, Ordering::Relaxed);
    let (load, datagrams) = all_kinds(to.local_addr().unwrap());
    load.send(&from).await;
    assert_eq!(received(&to, datagrams.len()).await, datagrams);
}

/// Nobody can be sent to at a broadcast address, nor at one of the other family.
async fn one_dead_receiver(from: &impl DatagramSocket) {
    let to = plain().await;
    let alive = to.local_addr().unwrap();
    let mut load = Load::default();
    let mut datagrams = Vec::new();
    for dead in ["255.255.255.255:9", "[::1]:9"] {
        let dead = dead.parse().unwrap();
        datagrams.extend(load.train(alive, 1, 10));
        load.train(dead, 1, 10);
        datagrams.extend(load.train(alive, 3, 10));
        load.train(dead, 3, 10);
        load.train(dead, 1, 10);
        datagrams.extend(load.train(alive, 3, 10));
        datagrams.extend(load.train(alive, 1, 10));
    }
    load.send(from).await;
    assert_eq!(received(&to, datagrams.len()).await, datagrams);
}

#[tokio::test]
async fn one_dead_receiver_does_not_hold_up_others() {
    one_dead_receiver(&bind(loopback()).unwrap()).await;
    one_dead_receiver(&plain().await).await;
}

/// A socket that takes so many more datagrams before it has to be waited for.
struct Reluctant {
    socket: UdpSocket,
    takes: AtomicUsize,
}

impl DatagramSocket for Reluctant {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.try_recv_from(buffer)
    }

    fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        let takes = self.takes.load(Ordering::Relaxed);
        if takes == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.takes.store(takes - 1, Ordering::Relaxed);
        self.socket.try_send_to(datagram, to)
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.socket.readable()
    }

    async fn writable(&self) -> io::Result<()> {
        self.takes.fetch_add(3, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test]
async fn a_blocked_socket_goes_on_where_it_was_and_holds_up_no_other() {
    let mut sockets = Vec::new();
    for takes in [3, usize::MAX] {
        let (socket, takes) = (plain().await, AtomicUsize::new(takes));
        socket.writable().await.unwrap();
        sockets.push(Reluctant { socket, takes });
    }
    let mut ports = Ports::new(sockets);
    let to = [plain().await, plain().await];
    let mut load = Load::default();
    let mut datagrams = [Vec::new(), Vec::new()];
    for n in 0..6_u16 {
        let local = n % 2;
        let to = to[usize::from(local)].local_addr().unwrap();
        datagrams[usize::from(local)].extend(load.train(to, 5, 10));
        load.trains.back_mut().unwrap().path.local = local;
    }
    let mut trains = load.trains.clone();
    let mut start = 0;
    let mut poll = |out: &mut Vec<u8>| {
        let transmit = trains.pop_front()?;
        out.extend(&load.bytes[start..start + transmit.len]);
        start += transmit.len;
        Some(transmit)
    };
    assert_eq!(ports.send(&mut poll), Sent::Blocked);
    assert_eq!(received(&to[1], 15).await, datagrams[1]);
    let mut waits = 0;
    loop {
        assert!(ports.is_blocked());
        timeout(PATIENCE, ports.writable()).await.unwrap();
        waits += 1;
        if ports.send(&mut poll) != Sent::Blocked {
            break;
        }
    }
    assert_eq!(waits, 4, "12 datagrams in threes");
    assert_eq!(received(&to[0], 15).await, datagrams[0]);
    assert_eq!(ports.send(&mut poll), Sent::All);
}

/// BRK-3.
#[tokio::test]
async fn a_turn_takes_no_more_than_its_share_of_what_came_in_one_piece() {
    let from = bind(loopback()).unwrap();
    let mut ports = Ports::new(vec![bind(loopback()).unwrap(), bind(loopback()).unwrap()]);
    let mut datagrams = [Vec::new(), Vec::new()];
    for (local, expected) in datagrams.iter_mut().enumerate() {
        let mut load = Load::default();
        for _ in 0..3 {
            expected.extend(load.train(ports.local_addr(local), 50, 10));
        }
        load.send(&from).await;
    }
    let mut taken = [Vec::new(), Vec::new()];
    let all = async {
        while taken[0].len() + taken[1].len() < 300 {
            // As the driver does: the runtime looks at all sockets between two turns.
            match ports.has_received() {
                true => yield_now().await,
                false => ports.readable().await,
            }
            let turn = ports.take(|origin, datagram| {
                taken[usize::from(origin.path.local)].push(datagram.to_vec());
            });
            assert!(turn.datagrams <= DATAGRAMS_PER_TURN);
            assert_eq!(turn.failures, 0);
            assert!(taken[0].len().abs_diff(taken[1].len()) <= DATAGRAMS_PER_TURN);
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    assert_eq!(taken, datagrams);
}

/// BRK-3.
#[tokio::test]
async fn a_turn_sends_no_more_than_its_bounds() {
    let sink = plain().await;
    let path = Path::new(sink.local_addr().unwrap());
    let socket = bind(loopback()).unwrap();
    socket.writable().await.unwrap();
    let mut ports = Ports::new(vec![socket]);
    let mut count = |len: usize, segment_size| {
        let mut count = 0;
        let sent = ports.send(|out| {
            count += 1;
            out.resize(out.len() + len, 0);
            Some(Transmit {
                path,
                len,
                segment_size,
                ecn: Ecn::Ect0,
            })
        });
        assert_eq!(sent, Sent::More);
        count
    };
    assert_eq!(count(100, None), TRAINS_PER_TURN);
    let train = 10 * DATAGRAM_BASE;
    let trains = count(train, Some(DATAGRAM_BASE));
    assert_eq!(trains, BYTES_PER_TURN.div_ceil(train));
}

/// A datagram that is too long is still seen to be, however long it is.
#[tokio::test]
async fn a_datagram_that_is_too_long_is_cut_to_one_byte_more_than_allowed() {
    let from = plain().await;
    let mut ports = Ports::new(vec![bind(loopback()).unwrap()]);
    let to = ports.local_addr(0);
    for len in [0, DATAGRAM_MAX, DATAGRAM_MAX + 1, 60_000] {
        from.send_to(&vec![7; len], to).await.unwrap();
    }
    let mut lens = Vec::new();
    let all = async {
        while lens.len() < 4 {
            ports.readable().await;
            ports.take(|_, datagram| lens.push(datagram.len()));
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    assert_eq!(lens, [0, DATAGRAM_MAX, DATAGRAM_MAX + 1, DATAGRAM_MAX + 1]);
}

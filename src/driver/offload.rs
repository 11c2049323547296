//! Many datagrams with one call of the system: what Linux has for it.
//!
//! - A train goes out as one message that the kernel cuts up (`UDP_SEGMENT`).
//! - Datagrams that are no train, as those for the many members of a room are when there is one
//!   line for each, go out in one `sendmmsg`.
//! - Input comes with `recvmmsg`, and what one sender sent in a row comes in one piece (`UDP_GRO`).
//!
//! A kernel that has one of these not, or not on some way, is noticed when it is used, and then the
//! socket goes on without it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{set_ip_tos, set_ipv6_tclass};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::batch::{Inbox, RECEIPTS_MAX, Receipt, Train, take_off};
use super::socket::tell_loss;
use crate::transmit::Ecn;
use crate::wire::DATAGRAM_BASE;

/// The most bytes that the kernel takes for one train, or hands over as one: what fits a packet of
/// IPv4.
pub(super) const TRAIN_BYTES_MAX: usize = 65_507;
/// How many datagrams a `sendmmsg` is given.
const MESSAGES_MAX: usize = 32;

/// How one socket sends and receives many datagrams at once.
#[derive(Debug)]
pub(super) struct Offload {
    state: UdpSocketState,
    /// How many datagrams the kernel cuts a message into; 1 if it does not.
    pub(super) segments_max: AtomicUsize,
    pub(super) has_sendmmsg: AtomicBool,
    /// How the system marks what it is told nothing about.
    usual: Ecn,
}

impl Offload {
    /// Prepares `socket`.
    pub(super) fn new(socket: &UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(socket.into())?;
        Ok(Self {
            segments_max: AtomicUsize::new(state.max_gso_segments()),
            has_sendmmsg: AtomicBool::new(true),
            usual: usual_mark(socket),
            state,
        })
    }

    pub(super) fn segments_max(&self) -> usize {
        self.segments_max.load(Ordering::Relaxed)
    }

    /// What [`try_recv_batch`](super::DatagramSocket::try_recv_batch) does.
    pub(super) fn receive(&self, socket: &AsyncFd<UdpSocket>, inbox: &mut Inbox) -> io::Result<()> {
        inbox.fill(|slots, receipts| {
            let mut metas = [RecvMeta::default(); RECEIPTS_MAX];
            let mut filled = 0;
            let received = socket.try_io(Interest::READABLE, |socket| {
                filled = self.state.recv(socket.into(), slots, &mut metas)?;
                // The system gives all it has. Where that is less than it was asked for, the
                // runtime is to wait for more, rather than be told so by another call.
                match filled < RECEIPTS_MAX.min(BATCH_SIZE) {
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                }
            });
            if filled == 0 {
                received?;
            }
            for (receipt, meta) in receipts.iter_mut().zip(&metas[..filled]) {
                *receipt = Receipt {
                    from: meta.addr,
                    len: meta.len,
                    segment_size: meta.stride,
                    ecn: ecn_of(meta.ecn),
                };
            }
            Ok(filled)
        })
    }

    /// What [`try_send_batch`](super::DatagramSocket::try_send_batch) does.
    pub(super) fn send(
        &self,
        socket: &UdpSocket,
        bytes: &[u8],
        trains: &mut VecDeque<Train>,
    ) -> io::Result<()> {
        while let Some(train) = trains.front() {
            let piece = self.piece(train);
            if piece.len() > train.segment_size() || train.ecn() != self.usual {
                self.send_piece(socket, bytes, piece, trains)?;
            } else {
                self.send_singles(socket, bytes, trains)?;
            }
        }
        Ok(())
    }

    /// As many of a train's bytes as the kernel takes with one call.
    fn piece(&self, train: &Train) -> Range<usize> {
        let fit = TRAIN_BYTES_MAX / train.segment_size();
        train.front(self.segments_max().min(fit).max(1))
    }

    /// Sends the first bytes of the first train as one message.
    fn send_piece(
        &self,
        socket: &UdpSocket,
        bytes: &[u8],
        piece: Range<usize>,
        trains: &mut VecDeque<Train>,
    ) -> io::Result<()> {
        let Some(train) = trains.front_mut() else {
            return Ok(());
        };
        let transmit = Transmit {
            destination: train.to(),
            ecn: code_point(train.ecn()),
            contents: &bytes[piece.clone()],
            segment_size: Some(train.segment_size()),
            src_ip: None,
        };
        match self.state.try_send(socket.into(), &transmit) {
            Ok(()) => {
                if train.advance(piece.end) {
                    trains.pop_front();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            // Of larger datagrams it may mean that the device does not take them (MTU-4).
            Err(error)
                if is_lacking(&error)
                    && self.segments_max() > 1
                    && train.segment_size() <= DATAGRAM_BASE =>
            {
                tracing::info!(%error, "the kernel cuts up no trains; datagrams go one by one");
                self.segments_max.store(1, Ordering::Relaxed);
            }
            Err(error) => {
                tell_loss(&error, train.to());
                trains.pop_front();
            }
        }
        Ok(())
    }

    /// Sends the first datagrams, up to the next train that goes as one message.
    fn send_singles(
        &self,
        socket: &UdpSocket,
        bytes: &[u8],
        trains: &mut VecDeque<Train>,
    ) -> io::Result<()> {
        let mut singles = trains
            .iter()
            .take_while(|train| {
                self.piece(train).len() <= train.segment_size() && train.ecn() == self.usual
            })
            .flat_map(|train| train.datagrams().map(|datagram| (train.to(), datagram)));
        let Some(first) = singles.next() else {
            return Ok(());
        };
        let second = singles.next().filter(|_| self.has_sendmmsg());
        let sent = match second {
            Some(second) => {
                let all = [first.clone(), second].into_iter().chain(singles);
                self.send_many(socket, bytes, all)
            }
            None => socket.send_to(&bytes[first.1], first.0).map(|_| 1),
        };
        match sent {
            Ok(count) => take_off(trains, count.max(1)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => {
                tracing::info!(%error, "the kernel has no sendmmsg");
                self.has_sendmmsg.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                tell_loss(&error, first.0);
                take_off(trains, 1);
            }
        }
        Ok(())
    }

    fn has_sendmmsg(&self) -> bool {
        self.has_sendmmsg.load(Ordering::Relaxed)
    }

    /// Sends the first of `datagrams` with one call, and returns how many the system took. An error
    /// is about the first one.
    fn send_many(
        &self,
        socket: &UdpSocket,
        bytes: &[u8],
        datagrams: impl Iterator<Item = (SocketAddr, Range<usize>)>,
    ) -> io::Result<usize> {
        let parts = datagrams.take(MESSAGES_MAX).map(|(to, datagram)| Part {
            to: to.into(),
            bytes: [IoSlice::new(&bytes[datagram])],
            control: SendAncillaryBuffer::default(),
        });
        let mut parts: SmallVec<[Part<'_>; MESSAGES_MAX]> = parts.collect();
        let messages = parts
            .iter_mut()
            .map(|part| MMsgHdr::new_with_addr(&part.to, &part.bytes, &mut part.control));
        let mut messages: SmallVec<[MMsgHdr<'_>; MESSAGES_MAX]> = messages.collect();
        let sent = retry_on_intr(|| sendmmsg(socket, &mut messages, SendFlags::empty()));
        Ok(sent?)
    }
}

/// What the header of a message points to.
struct Part<'a> {
    to: SocketAddrAny,
    bytes: [IoSlice<'a>; 1],
    control: SendAncillaryBuffer<'a, 'a, 'a>,
}

/// Has the system mark as ECT(0) what it is told nothing about: most of what is sent (ECN-1). A call
/// for many datagrams cannot say it of each.
fn usual_mark(socket: &UdpSocket) -> Ecn {
    const ECT0: u8 = EcnCodepoint::Ect0 as u8;
    let done = match socket.local_addr() {
        Ok(SocketAddr::V4(_)) => set_ip_tos(socket, ECT0).map_err(io::Error::from),
        Ok(SocketAddr::V6(_)) => set_ipv6_tclass(socket, ECT0.into()).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => Ecn::Ect0,
        Err(error) => {
            tracing::debug!(%error, "the system marks datagrams one by one only");
            Ecn::NotEct
        }
    }
}

fn ecn_of(code_point: Option<EcnCodepoint>) -> Ecn {
    match code_point {
        None => Ecn::NotEct,
        Some(EcnCodepoint::Ect0) => Ecn::Ect0,
        Some(EcnCodepoint::Ect1) => Ecn::Ect1,
        Some(EcnCodepoint::Ce) => Ecn::Ce,
    }
}

const fn code_point(ecn: Ecn) -> Option<EcnCodepoint> {
    match ecn {
        Ecn::NotEct => None,
        Ecn::Ect0 => Some(EcnCodepoint::Ect0),
        Ecn::Ect1 => Some(EcnCodepoint::Ect1),
        Ecn::Ce => Some(EcnCodepoint::Ce),
    }
}

/// Whether a kernel says with this error that it does not cut up trains, or not on this way:
/// devices that do not sum up, tunnels, old kernels.
fn is_lacking(error: &io::Error) -> bool {
    let lacking = [Errno::IO, Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
    let code = error.raw_os_error();
    lacking
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

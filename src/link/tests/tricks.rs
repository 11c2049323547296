//! A peer that plays tricks with its acknowledgements: each closes the link, or wins nothing and
//! costs a constant (THR-12).

use super::*;
use crate::secure::Opener;
use crate::wire::{ACK_RANGES_MAX, Ack, AckRanges, put_varint};

/// Among so many packets there is one whose number was left out (ACK-3).
const SURELY_SKIPPED: u64 = 257;

/// A node's link that has more to say than any window lets through, and its broker's hand.
struct Sender {
    link: Link,
    peer: Forger,
    opener: Opener,
    now: Timestamp,
    /// The packets that came, in the order of their numbers.
    sent: Vec<u64>,
    bytes: usize,
}

impl Sender {
    fn new() -> Self {
        let now = Timestamp::from_millis(1);
        let mut sender = Self {
            link: Link::new(config(Side::Node, 5), now),
            peer: Forger::new(Side::Broker),
            opener: Opener::new(&SEND),
            now,
            sent: Vec::new(),
            bytes: 0,
        };
        sender.go_on();
        sender
    }

    /// Lets the link say what it may.
    fn go_on(&mut self) {
        let message = Bytes::from_static(&[7; 20_000]);
        while self.link.send(1, message.clone(), self.now).is_ok() {}
        let due = self.link.poll_timeout();
        if due.is_some_and(|deadline| deadline.at <= self.now) {
            self.link.handle_timeout(self.now);
        }
        for datagram in datagrams(&mut self.link, self.now) {
            self.bytes += datagram.len();
            let datagram = BytesMut::from(&datagram[..]);
            let opened = self.opener.open(datagram, BROKER_CID.len()).unwrap();
            self.sent.push(opened.number);
        }
        while let Some(event) = self.link.poll_event() {
            assert!(matches!(event, LinkEvent::Closed { by_peer: false, .. }));
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += MS;
            self.go_on();
        }
    }

    fn hear(&mut self, frames: &[Frame]) {
        let datagram = self.peer.frames(frames);
        let _ = self
            .link
            .handle_datagram(self.link.path(), datagram, self.now);
    }

    /// Has the link hear that these have come.
    fn acknowledge(&mut self, ranges: &[(u64, u64)], delay_us: u64) {
        let ack = ack(ranges, delay_us);
        self.hear(&[ack]);
    }
}

/// An ACK frame for these ranges, from high to low.
fn ack(ranges: &[(u64, u64)], delay_us: u64) -> Frame {
    let mut all = ranges.iter().map(|(low, high)| *low..=*high);
    let mut ranges = AckRanges::new(all.next().unwrap()).unwrap();
    assert!(all.all(|range| ranges.push(range)));
    Frame::Ack(Ack {
        delay_us,
        ranges,
        ecn: None,
    })
}

/// ACK-3: whoever acknowledges everything as soon as it is sent, as if there were no way to go, has to
/// guess which numbers there are, and is found out before it has won much.
#[test]
fn optimistic_acknowledgements_end_the_link_before_they_win_much() {
    let mut sender = Sender::new();
    let mut turns = 0;
    while sender.link.is_open() {
        turns += 1;
        assert!(turns < 10_000, "believed for ever");
        let newest = sender.link.envelope.next_number() - 1;
        sender.acknowledge(&[(0, newest)], 0);
        sender.wait(MS);
    }
    let packets = sender.sent.len() as u64;
    // One window more may be under way when it is found out.
    assert!(packets < 4 * SURELY_SKIPPED, "{packets} packets");
    assert!(sender.bytes < 4 * SURELY_SKIPPED as usize * DATAGRAM_BASE);
}

/// ACK-3: guessing a little ahead of what has come is no better.
#[test]
fn an_acknowledgement_a_little_ahead_of_what_was_sent_closes_the_link() {
    for ahead in [0, 1, 7] {
        let mut sender = Sender::new();
        let unsent = sender.link.envelope.next_number() + ahead;
        sender.acknowledge(&[(unsent, unsent)], 0);
        assert!(!sender.link.is_open(), "{ahead}");
    }
}

/// FRM-3, LIM-4, LIF-4: ranges that overlap, rise or go below zero, and more of them than there may be,
/// are no ACK.
#[test]
fn ranges_in_disorder_close_the_link() {
    let fields = |fields: &[u64]| {
        let mut payload = vec![0x02];
        fields
            .iter()
            .for_each(|field| put_varint(&mut payload, *field));
        let now = Timestamp::from_millis(1);
        let mut link = Link::new(config(Side::Node, 5), now);
        let datagram = Forger::new(Side::Broker).payload(&payload);
        link.handle_datagram(link.path(), datagram, now).unwrap();
        link.is_open()
    };
    let many = |count: u64| {
        let mut ack = vec![4_000, 0, count, 0];
        ack.resize(4 + 2 * count as usize, 0);
        ack
    };
    // Below zero: the first range, the gap, the second one; then too many.
    assert!(!fields(&[5, 0, 0, 6]));
    assert!(!fields(&[5, 0, 1, 4, 0, 0]));
    assert!(!fields(&[5, 0, 1, 2, 0, 2]));
    assert!(!fields(&many(ACK_RANGES_MAX as u64)));
}

/// ACK-4: as many ranges as there may be, ten thousand times, cost no packet, no event and no window.
#[test]
fn a_storm_of_acknowledgements_says_no_more_than_the_first() {
    let mut sender = Sender::new();
    let mut quiet = Sender::new();
    // Every second packet of the first ones has come.
    let some: Vec<(u64, u64)> = sender.sent.iter().map(|n| (*n, *n)).step_by(2).collect();
    let some: Vec<_> = some.into_iter().rev().take(ACK_RANGES_MAX).collect();
    sender.acknowledge(&some, 0);
    quiet.acknowledge(&some, 0);
    sender.go_on();
    quiet.go_on();
    let before = sender.sent.len();
    for _ in 0..10_000 {
        sender.acknowledge(&some, 0);
        sender.go_on();
    }
    assert!(sender.link.is_open());
    assert_eq!(sender.sent.len(), before, "no packet is caused");
    assert_eq!(sender.link.srtt(), quiet.link.srtt());
    for _ in 0..20 {
        sender.wait(MS * 50);
        quiet.wait(MS * 50);
    }
    assert_eq!(sender.sent.len(), quiet.sent.len());
}

/// ACK-4: what is told again later, lower, or of packets that nobody remembers, changes nothing.
#[test]
fn old_news_in_any_order_changes_nothing() {
    let mut sender = Sender::new();
    let all = sender.sent.clone();
    let (low, high) = (all[0], *all.last().unwrap());
    sender.acknowledge(
        &all.iter().rev().map(|n| (*n, *n)).collect::<Vec<_>>()[..1],
        0,
    );
    let srtt = sender.link.srtt();
    for number in all.iter().rev() {
        sender.acknowledge(&[(*number, *number)], 0);
        sender.acknowledge(&[(low, low)], 0);
    }
    assert!(sender.link.is_open());
    assert_eq!(sender.link.srtt(), srtt, "only the first is a sample");
    assert!(high > low);
}

/// CC-3, ACK-4: acknowledging packet by packet wins nothing over doing so at once: it is bytes that
/// count, and the time that they took.
#[test]
fn acknowledgements_cut_in_pieces_win_nothing() {
    let run = |is_cut: bool| {
        let mut sender = Sender::new();
        let mut told = 0;
        for _ in 0..20 {
            // What was sent until now comes in half a round trip, and the news of it in another.
            let sent = sender.sent.len();
            sender.wait(MS * 100);
            let fresh: Vec<_> = sender.sent[told..sent].iter().map(|n| (*n, *n)).collect();
            told = sent;
            match is_cut {
                true => fresh.iter().for_each(|one| sender.acknowledge(&[*one], 0)),
                false => {
                    let fresh: Vec<_> = fresh.into_iter().rev().collect();
                    let all = runs(&fresh);
                    all.chunks(ACK_RANGES_MAX)
                        .rev()
                        .for_each(|part| sender.acknowledge(part, 0));
                }
            }
            sender.go_on();
        }
        assert!(sender.link.is_open());
        sender.bytes
    };
    let (cut, whole) = (run(true), run(false));
    assert!(cut <= whole * 21 / 20, "{cut} bytes against {whole}");
}

/// Numbers from high to low as ranges.
fn runs(numbers: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (number, _) in numbers {
        match runs.last_mut() {
            Some((low, _)) if *low == number + 1 => *low = *number,
            _ => runs.push((*number, *number)),
        }
    }
    runs
}

/// RTT-1: however long a peer claims to have waited, the round trip is not shorter for it than the
/// shortest that was seen; and a claim beyond all reason is no sample.
#[test]
fn a_wait_that_is_made_up_makes_no_round_trip_shorter() {
    let srtt_for = |delay_us| {
        let mut sender = Sender::new();
        for _ in 0..20 {
            let fresh = *sender.sent.last().unwrap();
            sender.wait(MS * 80);
            sender.acknowledge(&[(fresh, fresh)], delay_us);
            sender.go_on();
        }
        assert!(sender.link.is_open());
        sender.link.srtt()
    };
    assert!(srtt_for(25_000).is_some_and(|srtt| srtt >= MS * 80));
    assert_eq!(srtt_for((1 << 62) - 1), None);
}

/// LOSS-1, CC-1: whoever acknowledges only the newest packet has all others taken for lost, and said
/// again to it, by a window that does not grow for it.
#[test]
fn whoever_calls_all_but_the_newest_lost_is_sent_no_more_for_it() {
    let run = |is_honest: bool| {
        let mut sender = Sender::new();
        let mut told = 0;
        for _ in 0..20 {
            sender.wait(MS * 50);
            let fresh = sender.sent[told..].to_vec();
            told = sender.sent.len();
            let newest = fresh.last().copied();
            for number in fresh {
                if is_honest || Some(number) == newest {
                    sender.acknowledge(&[(number, number)], 0);
                }
            }
            sender.go_on();
        }
        sender.bytes
    };
    let (honest, liar) = (run(true), run(false));
    assert!(liar <= honest, "{liar} bytes against {honest}");
}

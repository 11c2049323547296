//! Paths on which packets overtake each other: what ACK-5, LOSS-5 and CC-7 are for.

use core::fmt::Write as _;

use super::bottleneck::{Bottleneck, LinkFlow, Road, Source};
use super::*;
use crate::link::Stats;

/// What the table below holds, from the last time that it was written.
const TABLE: &str = include_str!("reordering.txt");
/// Names a file to write the table to, instead of comparing it.
const WRITE_TO: &str = "REORDERING_TABLE";

/// What became of a file in its first seconds.
struct Outcome {
    /// Bytes a second that the other owner takes.
    goodput: u64,
    stats: Stats,
    /// How many packets the queue had no room for.
    dropped: u64,
}

impl Outcome {
    /// Of each thousand packets, how many were taken for lost that were not.
    fn doubled_permille(&self) -> u64 {
        let doubled = self.stats.packets_lost.saturating_sub(self.dropped);
        doubled * 1_000 / self.stats.datagrams_sent
    }
}

/// Sends a file on `road`, on which each packet is late by up to `percent` of the way's length.
fn file(road: Road, percent: u32, control: CongestionControl) -> Outcome {
    const SECONDS: u32 = 12;
    let road = road.jittering(road.one_way * percent / 100);
    let mut bottleneck = Bottleneck::new(road, 7);
    let now = bottleneck.now;
    let source = Source::bulk(Side::Node, 1, now);
    let mut file = LinkFlow::new(1, &[source], now, |config| config.congestion = control);
    bottleneck.run_for(&mut [&mut file], SECOND * SECONDS);
    Outcome {
        goodput: file.heard(Side::Node, 1).bytes / u64::from(SECONDS),
        stats: *file.link(Side::Node).stats(),
        dropped: bottleneck.passed(0, Side::Node).dropped,
    }
}

/// ACK-5, LOSS-5, CC-7: the goodput of each controller by how much later than others a packet may
/// come. Whatever changes it has to say so, and to be looked at:
/// `REORDERING_TABLE=$PWD/src/link/tests/reordering.txt cargo test --lib reordering`.
#[test]
fn goodput_by_jitter_is_what_it_was() {
    let mut table =
        String::from("Mbit/s  RTT ms  jitter %  controller   MB/s  sent twice permille\n");
    for (mbit, rtt) in [(50, 50), (50, 250), (2, 50)] {
        for percent in [0, 10, 50, 100] {
            for control in [CongestionControl::Bbr, CongestionControl::NewReno] {
                let outcome = file(Road::new(mbit, rtt, 100), percent, control);
                writeln!(
                    table,
                    "{mbit:6}  {rtt:6}  {percent:8}  {:10}  {:5.2}  {:19}",
                    format!("{control:?}"),
                    outcome.goodput as f64 / 1e6,
                    outcome.doubled_permille(),
                )
                .unwrap();
            }
        }
    }
    println!("{table}");
    if let Ok(path) = std::env::var(WRITE_TO) {
        std::fs::write(path, table).unwrap();
    } else {
        assert!(table == TABLE, "the table in the repository says:\n{TABLE}");
    }
}

/// ACK-5, LOSS-5, CC-7: a file is hardly slower where packets are late by up to as much again as they
/// take, and hardly anything of it is sent twice.
#[test]
fn packets_that_overtake_each_other_do_not_slow_bulk_down() {
    for control in [CongestionControl::Bbr, CongestionControl::NewReno] {
        let road = Road::new(50, 50, 100);
        let calm = file(road, 0, control);
        for percent in [10, 50, 100] {
            let outcome = file(road, percent, control);
            let (least, is) = (calm.goodput / 100 * 95, outcome.goodput);
            assert!(is > least, "{control:?}, {percent} %: {is} of {least}");
            assert!(outcome.doubled_permille() <= 5, "{control:?}, {percent} %");
        }
    }
}

/// PTH-3, LOSS-5: what a link knows of the order on a path, it does not believe of another.
#[test]
fn a_link_that_moves_takes_packets_to_come_in_order_again() {
    let network = Network {
        jitter: MS * 50,
        ..FINE
    };
    let mut pair = Pair::warmed_up(network, 3);
    for _ in 0..200 {
        pair.send(Side::Node, 1, &[1; 1_000]);
        pair.run_for(MS);
    }
    pair.run_for(SECOND);
    let threshold = |pair: &mut Pair| pair.node.link.open().unwrap().reordering.packet_threshold();
    assert!(pair.node.link.stats().packets_lost_wrongly > 0);
    assert_eq!(threshold(&mut pair), u64::MAX);
    let now = pair.now;
    pair.node.link.handle_address_change(now);
    assert_eq!(threshold(&mut pair), 3);
}

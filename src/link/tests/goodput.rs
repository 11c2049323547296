//! How much bulk gets through, and what it does to those beside it: what CC-4 and CC-6 are for.

use core::fmt::Write as _;

use super::bottleneck::{Bottleneck, Cubic, Flow, LinkFlow, Road, Source};
use super::*;

/// What the table below holds, from the last time that it was written.
const TABLE: &str = include_str!("goodput.txt");
/// Names a file to write the table to, instead of comparing it.
const WRITE_TO: &str = "GOODPUT_TABLE";

/// What a file of 16 KiB messages gets through a road that it has for itself.
struct Goodput {
    /// Bytes a second that the other owner takes, the link's beginning included.
    bytes: u64,
    /// How long packets wait in the queue on average.
    waited: Duration,
    /// Packets of each thousand that the queue drops.
    dropped: u64,
}

/// The goodput of a new link in its first `seconds`, with at most `unacked` messages on their way.
fn goodput(road: Road, control: CongestionControl, unacked: usize, seconds: u32) -> Goodput {
    let mut bottleneck = Bottleneck::new(road, 7);
    let now = bottleneck.now;
    let source = Source {
        unacked,
        ..Source::bulk(Side::Node, 1, now)
    };
    let mut file = LinkFlow::new(1, &[source], now, |config| config.congestion = control);
    bottleneck.run_for(&mut [&mut file], SECOND * seconds);
    let passed = bottleneck.passed(0, Side::Node);
    Goodput {
        bytes: file.heard(Side::Node, 1).bytes / u64::from(seconds),
        waited: passed.waited_on_average(),
        dropped: passed.dropped * 1_000 / (passed.packets + passed.dropped),
    }
}

/// CC-4, CHN-4, CRD-4: the goodput of each controller by loss, round trip, and how many messages an
/// owner leaves unacknowledged. Whatever changes it has to say so, and to be looked at:
/// `GOODPUT_TABLE=$PWD/src/link/tests/goodput.txt cargo test --lib goodput`.
#[test]
fn goodput_by_loss_and_window_is_what_it_was() {
    let mut table = String::from(
        "Mbit/s  RTT ms  loss %  window KiB  controller   MB/s  queue ms  dropped permille\n",
    );
    let mut row = |mbit, rtt, percent: u64, unacked: usize, control| {
        let road = Road::new(mbit, rtt, 100).losing(percent * 10_000);
        let goodput = goodput(road, control, unacked, 12);
        let window = match unacked {
            usize::MAX => String::from("any"),
            unacked => format!("{}", unacked * 16),
        };
        writeln!(
            table,
            "{mbit:6}  {rtt:6}  {percent:6}  {window:>10}  {:10}  {:5.2}  {:8}  {:16}",
            format!("{control:?}"),
            goodput.bytes as f64 / 1e6,
            goodput.waited.as_millis(),
            goodput.dropped,
        )
        .unwrap();
    };
    let (bbr, newreno) = (CongestionControl::Bbr, CongestionControl::NewReno);
    for (mbit, rtt) in [(50, 50), (50, 300), (2, 50)] {
        for percent in [0, 1, 5, 10] {
            row(mbit, rtt, percent, usize::MAX, bbr);
        }
    }
    for percent in [0, 5] {
        for unacked in [4, 16, 64] {
            row(50, 50, percent, unacked, bbr);
        }
    }
    for percent in [0, 1, 5] {
        row(50, 50, percent, usize::MAX, newreno);
    }
    println!("{table}");
    if let Ok(path) = std::env::var(WRITE_TO) {
        std::fs::write(path, table).unwrap();
    } else {
        assert!(table == TABLE, "the table in the repository says:\n{TABLE}");
    }
}

/// CC-4: what is lost at random is lost, and no more. Losses of 5 % cost NewReno nearly everything.
#[test]
fn random_loss_does_not_slow_bulk_down() {
    let bytes = |percent: u64, control| {
        let road = Road::new(50, 50, 100).losing(percent * 10_000);
        goodput(road, control, usize::MAX, 12).bytes
    };
    // At most 5.88 MB/s of content fit into 50 Mbit/s.
    assert!(bytes(0, CongestionControl::Bbr) > 5_650_000);
    assert!(bytes(1, CongestionControl::Bbr) > 5_500_000);
    assert!(bytes(5, CongestionControl::Bbr) > 5_000_000);
    assert!(bytes(5, CongestionControl::NewReno) < 500_000);
}

/// CC-4: the queue that a file leaves standing is short; NewReno fills it.
#[test]
fn bulk_leaves_the_queue_to_others() {
    let waited = |control| goodput(Road::new(2, 50, 100), control, usize::MAX, 30).waited;
    assert!(waited(CongestionControl::Bbr) < MS * 20);
    assert!(waited(CongestionControl::NewReno) > MS * 40);
}

/// CHN-6, CC-4: beside a file that takes all there is, a line takes at most a round trip and 120 ms,
/// whether it goes by the file's own link, or by another.
#[test]
fn chat_beside_a_file_is_in_time() {
    // file, chat, chat === 2 Mbit/s, 50 ms round trip, a queue of 100 ms
    let mut bottleneck = Bottleneck::new(Road::new(2, 50, 100), 7);
    let now = bottleneck.now;
    let file = Source::bulk(Side::Node, 1, now);
    let line = Source::chat(Side::Node, 2, MS * 500, now);
    let mut both = LinkFlow::new(1, &[file, line], now, |config| {
        config.congestion = CongestionControl::Bbr;
    });
    let mut chat = LinkFlow::new(2, &[line], now, |_| {});
    bottleneck.run_for(&mut [&mut both, &mut chat], SECOND * 10);
    both.forget();
    chat.forget();
    bottleneck.forget();
    bottleneck.run_for(&mut [&mut both, &mut chat], SECOND * 200);
    assert!(bottleneck.passed(0, Side::Node).bytes > 200 * 230_000);
    for (name, flow) in [("the same link", &both), ("another link", &chat)] {
        let heard = flow.heard(Side::Node, 2);
        let (median, most) = (heard.permille(500), heard.permille(990));
        println!("by {name}: {median} ms, 99 % within {most} ms");
        assert!(heard.took.len() > 300);
        assert!(most < 25 + 120 && median < 60, "{name}: {median} {most}");
    }
}

/// The shares of the road that a file and a CUBIC flow have, in percent.
fn shares(road: Road, control: CongestionControl) -> [u64; 2] {
    let mut bottleneck = Bottleneck::new(road, 7);
    let now = bottleneck.now;
    let file = Source::bulk(Side::Node, 1, now);
    let mut file = LinkFlow::new(1, &[file], now, |config| config.congestion = control);
    let mut cubic = Cubic::new(Side::Node, now + SECOND * 5);
    let flows: &mut [&mut dyn Flow] = &mut [&mut file, &mut cubic];
    bottleneck.run_for(flows, SECOND * 20);
    bottleneck.forget();
    bottleneck.run_for(flows, SECOND * 120);
    [0, 1].map(|flow| bottleneck.passed(flow, Side::Node).bytes * 100 / (road.rate * 120))
}

/// CC-6: neither of a file and a TCP download starves the other, whatever the queue holds; and what
/// is there is used.
#[test]
fn a_file_and_a_tcp_download_share_a_road() {
    for (mbit, rtt, queue) in [
        (2, 50, 100),
        (2, 100, 100),
        (10, 50, 25),
        (10, 50, 100),
        (10, 20, 200),
        (50, 50, 50),
    ] {
        let road = Road::new(mbit, rtt, queue);
        let [file, cubic] = shares(road, CongestionControl::Bbr);
        println!("{mbit} Mbit/s, {rtt} ms, queue {queue} ms: file {file} %, CUBIC {cubic} %");
        assert!((25..75).contains(&file) && (25..75).contains(&cubic));
        assert!(file + cubic >= 95);
    }
}

/// CC-6: two files come to share, too, though one was there first.
#[test]
fn two_files_share_a_road() {
    let mut bottleneck = Bottleneck::new(Road::new(10, 50, 100), 7);
    let now = bottleneck.now;
    let file = |seed, from| {
        let source = Source::bulk(Side::Node, 1, from);
        LinkFlow::new(seed, &[source], now, |_| {})
    };
    let (mut first, mut second) = (file(1, now), file(2, now + SECOND * 5));
    let flows: &mut [&mut dyn Flow] = &mut [&mut first, &mut second];
    bottleneck.run_for(flows, SECOND * 30);
    bottleneck.forget();
    bottleneck.run_for(flows, SECOND * 60);
    let bytes = [0, 1].map(|flow| bottleneck.passed(flow, Side::Node).bytes);
    let percent = bytes[0] * 100 / (bytes[0] + bytes[1]);
    let stats = first.link(Side::Node).stats();
    println!(
        "the first file has {percent} %, and lost {} of {} packets",
        stats.packets_lost, stats.datagrams_sent,
    );
    assert!((30..70).contains(&percent));
    assert!(stats.packets_lost * 50 < stats.datagrams_sent);
}

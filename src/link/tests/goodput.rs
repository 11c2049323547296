//! How much bulk gets through, and what it does to those beside it.

use super::bottleneck::{Bottleneck, Cubic, LinkFlow, Road, Source};
use super::*;

/// CC-1: neither starves the other, and chat of a third gets through.
#[test]
fn a_file_and_a_tcp_download_share_a_narrow_road() {
    // file, chat, cubic === 2 Mbit/s, 50 ms round trip, a queue of 100 ms
    let mut bottleneck = Bottleneck::new(Road::new(2, 50, 100), 7);
    let now = bottleneck.now;
    let file = Source::bulk(Side::Node, 1, now);
    let chat = Source::chat(Side::Node, 1, SECOND, now);
    let mut file = LinkFlow::new(1, &[file], now, |_| {});
    let mut chat = LinkFlow::new(2, &[chat], now, |_| {});
    let mut cubic = Cubic::new(Side::Node, now + SECOND * 5);
    bottleneck.run_for(&mut [&mut file, &mut chat, &mut cubic], SECOND * 20);
    bottleneck.forget();
    chat.forget();
    bottleneck.run_for(&mut [&mut file, &mut chat, &mut cubic], SECOND * 60);
    let bytes = |flow| bottleneck.passed(flow, Side::Node).bytes;
    let percent = bytes(0) * 100 / (bytes(0) + bytes(2));
    let heard = chat.heard(Side::Node, 1);
    println!(
        "the file has {percent} % of both; chat {} / {} ms; {} packets of the file lost",
        heard.permille(500),
        heard.permille(990),
        file.link(Side::Node).stats().packets_lost,
    );
    assert!((20..80).contains(&percent), "{percent} %");
    assert!(heard.took.len() > 30 && heard.permille(500) < 130);
}

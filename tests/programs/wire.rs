//! What real datagrams weigh.

use crate::support::Scene;
use crate::support::relay::{Captured, Direction, Faults, Relay};

/// PKT-7: flags, connection id, packet number and tag, toward a broker and toward a node.
const PACKET_OVERHEAD: [usize; 2] = [27, 23];
/// FRM-5.
const FRAME_OVERHEAD: usize = 8;
/// PUB-9.
const CHAT_OVERHEAD: usize = 16;
const TEXT: usize = 100;

fn smallest_that_holds_the_text(capture: &[Captured], direction: Direction) -> usize {
    capture
        .iter()
        .filter(|captured| captured.direction == direction)
        .map(|captured| captured.bytes.len())
        .filter(|len| *len >= TEXT)
        .min()
        .expect("the line has travelled")
}

/// PKT-7, FRM-5, PUB-9: a datagram of at least the text's length, sent between typing the line and
/// everybody's showing it, is one that carries it: nothing else that is due then is so long. The
/// smallest of them carries it alone, or with an ACK, which only makes the bound stricter. Now and
/// then a line has to share its datagrams with more, so what counts is what most lines cost.
#[test]
fn the_headers_around_a_line_are_as_small_as_promised() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let relay = Relay::start(broker.address, Faults::default(), 3);
    let mut ada = scene.join(relay.address, "ada");
    let bob = scene.join(relay.address, "bob");
    ada.shows("SERVER: bob Joined!");
    let mut lengths = [const { Vec::new() }; 2];
    for number in 0..40 {
        let text = format!("{number:0TEXT$}");
        let before = relay.capture().len();
        ada.type_line(&text);
        for node in [&ada, &bob] {
            node.shows(&format!("ada: {text}"));
        }
        let capture = &relay.capture()[before..];
        // The first lines are those in which the link finds its pace.
        if number >= 10 {
            for (index, direction) in [Direction::ToBroker, Direction::ToNode]
                .into_iter()
                .enumerate()
            {
                lengths[index].push(smallest_that_holds_the_text(capture, direction));
            }
        }
    }
    let usual = lengths.map(|mut lengths| {
        lengths.sort_unstable();
        lengths[lengths.len() / 2]
    });
    println!(
        "datagrams around {TEXT} bytes: {} to the broker, {} to a node",
        usual[0], usual[1]
    );
    for (len, packet) in usual.into_iter().zip(PACKET_OVERHEAD) {
        assert!(len > TEXT + packet, "{len} bytes cannot carry the text");
        assert!(
            len <= TEXT + packet + FRAME_OVERHEAD + CHAT_OVERHEAD,
            "{len} bytes"
        );
    }
}

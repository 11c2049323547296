//! The broker and its clients, as people would use them.

use super::*;
use crate::client::{ClientEvent, EndReason};
use crate::pump::{Pump, lobby};

/// DLV-1, DLV-3, PRS-1, RUM-7: the conversation that everything grew from.
#[test]
fn three_people_chat() {
    let mut pump = Pump::with(&["ada", "bob", "cleo"]);
    pump.say(0, "hello");
    pump.run_ms(200);
    pump.say(1, "hi ada");
    pump.run_ms(200);
    let expected = ["ada: hello", "bob: hi ada"];
    for node in 0..3 {
        assert_eq!(pump.heard(node), expected);
    }
    assert_eq!(
        pump.nodes[0].notices(),
        ["ada Joined", "bob Joined", "cleo Joined"]
    );
    assert_eq!(pump.nodes[2].notices(), ["cleo Joined"]);
    assert_eq!(pump.broker.people(), 3);

    pump.nodes[1].client.leave(pump.now);
    pump.run_ms(200);
    assert_eq!(
        pump.nodes[1].events.last(),
        Some(&ClientEvent::Ended(EndReason::Left))
    );
    assert_eq!(
        pump.nodes[0].notices().last().map(String::as_str),
        Some("bob Left")
    );
    assert_eq!(pump.broker.people(), 2);
    assert_eq!(pump.store.lines(&lobby()).count(), 5);
}

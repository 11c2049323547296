//! The deliberate faults of this layer do what their names say: so a checker has something to catch.

use super::*;
use crate::mutant::{Mutant, activate};

/// What a broker is handed when the node's first message is lost.
fn heard_after_a_loss(mutant: Mutant) -> Vec<Vec<u8>> {
    let mut pair = Pair::warmed_up(FINE, 1);
    activate(Some(mutant));
    pair.muted = Some(Side::Node);
    pair.send(Side::Node, 1, b"first");
    pair.muted = None;
    pair.send(Side::Node, 1, b"second");
    pair.run_for(SECOND * 60);
    activate(None);
    pair.heard(Side::Broker, 1)
        .iter()
        .map(|data| data.to_vec())
        .collect()
}

#[test]
fn without_a_reorder_buffer_messages_come_in_the_order_of_arrival() {
    assert_eq!(
        heard_after_a_loss(Mutant::NoReorderBuffer),
        [&b"second"[..], b"first"]
    );
}

#[test]
fn without_retransmission_a_lost_message_never_comes() {
    assert!(heard_after_a_loss(Mutant::GiveUpRetransmitting).is_empty());
}

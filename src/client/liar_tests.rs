//! A broker that says what it may not: what the simulation's liars say at random, one by one.

use super::*;
use crate::chat::{ControlFromBroker, Refusal, RoomFromBroker};
use crate::pump::{Pump, lobby};

/// A node that is online and in the lobby.
fn in_the_lobby() -> Pump {
    let mut pump = Pump::with(&["ada"]);
    pump.nodes[0].client.join(lobby().into(), pump.now);
    pump.run_ms(2_000);
    pump
}

/// What comes of it if the broker says this on a channel.
fn end_after(mut pump: Pump, channel: u8, message: &Bytes) -> Option<EndReason> {
    let now = pump.now;
    pump.nodes[0].client.on_message(channel, message, now);
    pump.run_ms(1_000);
    pump.nodes[0].end().cloned()
}

/// SGN-9: a node that was not told to leave does not end as if it had.
#[test]
fn answers_to_what_was_not_said_close_the_link() {
    for control in [
        ControlFromBroker::ByeOk,
        ControlFromBroker::Welcome { people: 1 },
        ControlFromBroker::SignInRefused {
            code: Refusal::NameTaken,
            reason: String::new(),
        },
    ] {
        let end = end_after(in_the_lobby(), 0, &control.encode());
        assert!(matches!(end, Some(EndReason::Protocol { .. })), "{end:?}");
    }
}

/// PUB-10, RUM-17.
#[test]
fn answers_to_what_was_not_published_or_asked_close_the_link() {
    let (n, code, reason) = (7, Refusal::TooLong, String::new());
    for message in [
        RoomFromBroker::Stored { n, seq: 1 },
        RoomFromBroker::NotStored { n, code, reason },
        RoomFromBroker::JoinRefused {
            code: Refusal::Banned,
            reason: String::new(),
        },
    ] {
        let end = end_after(in_the_lobby(), 1, &message.encode());
        assert!(matches!(end, Some(EndReason::Protocol { .. })), "{end:?}");
    }
}

/// PUB-10, NOD-2: what waits when the account is out of the room has its outcome.
#[test]
fn what_waits_in_a_room_that_was_left_elsewhere_is_said_not_to_be_stored() {
    let mut pump = in_the_lobby();
    pump.nodes[0].connected = false;
    pump.say(0, "to nobody any more");
    let now = pump.now;
    let left = RoomFromBroker::Left.encode();
    pump.nodes[0].client.on_message(1, &left, now);
    pump.run_ms(100);
    let is_told = |event: &ClientEvent| matches!(event, ClientEvent::NotStored { .. });
    let told = pump.nodes[0].events.iter().filter(|event| is_told(event));
    assert_eq!(told.count(), 1);
    assert_eq!(pump.nodes[0].client.waiting(), 0);
}

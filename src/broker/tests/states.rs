//! Who has which line.

use super::*;
use crate::chat::{Coverage, Stretch};
use crate::client::CURSOR_INTERVAL;

/// Has `node` say something that is watched.
fn say_watched(pump: &mut Pump, node: usize, text: &str) -> u64 {
    let typed_at_ms = EPOCH_MS + pump.now.as_millis();
    let client = &mut pump.nodes[node].client;
    let handle = client
        .publish(&lobby(), text.as_bytes(), typed_at_ms, pump.now)
        .unwrap();
    assert!(client.watch(handle));
    handle
}

/// What `node` was told of the publication: k, n, present k, present n.
fn told(pump: &Pump, node: usize, wanted: u64) -> Vec<[u64; 4]> {
    let events = pump.nodes[node].events.iter();
    let told = events.filter_map(|event| match event {
        ClientEvent::Delivered {
            handle, delivered, ..
        } if *handle == wanted => Some([
            delivered.k,
            delivered.n,
            delivered.present_k,
            delivered.present_n,
        ]),
        _ => None,
    });
    told.collect()
}

/// STA-1, STA-2, STA-3: from nobody to everybody, and then no more.
#[test]
fn who_watches_a_line_is_told_until_all_have_it() {
    let mut pump = Pump::with(&["ada", "bob", "cleo", "dora"]);
    pump.nodes[3].connected = false;
    pump.nodes[2].journal_stalled = true;
    let handle = say_watched(&mut pump, 0, "hello");
    pump.run_ms(3_000);
    assert_eq!(told(&pump, 0, handle).last(), Some(&[1, 3, 1, 3]));
    pump.nodes[2].journal_stalled = false;
    pump.run_ms(3_000);
    assert_eq!(told(&pump, 0, handle).last(), Some(&[2, 3, 2, 3]));
    pump.nodes[3].connected = true;
    pump.run_ms(60_000);
    assert_eq!(told(&pump, 0, handle).last(), Some(&[3, 3, 3, 3]));
    let all = told(&pump, 0, handle).len();
    assert!(all <= 5, "{all} times");
    pump.say(1, "more");
    pump.run_ms(5_000);
    assert_eq!(told(&pump, 0, handle).len(), all);
}

/// STA-3: a watch outlives the link, and the broker.
#[test]
fn a_watch_survives_a_crash_of_the_broker() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[1].connected = false;
    let handle = say_watched(&mut pump, 0, "are you there?");
    pump.run_ms(1_000);
    assert_eq!(told(&pump, 0, handle), [[0, 1, 0, 1]]);
    pump.crash_broker();
    pump.run_ms(60_000);
    pump.nodes[1].connected = true;
    pump.run_ms(60_000);
    assert_eq!(told(&pump, 0, handle).last(), Some(&[1, 1, 1, 1]));
    assert_eq!(pump.heard(1), ["ada: are you there?"]);
}

/// STA-3: nobody is waited for who was no member, or is none any more.
#[test]
fn who_comes_later_or_leaves_does_not_count() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[1].journal_stalled = true;
    let handle = say_watched(&mut pump, 0, "hello");
    pump.run_ms(500);
    let cleo = pump.add("cleo");
    pump.nodes[cleo].client.join(lobby().into(), pump.now);
    pump.run_ms(2_000);
    assert_eq!(told(&pump, 0, handle), [[0, 1, 0, 1]]);
    pump.nodes[1].client.leave_room(&lobby(), pump.now);
    pump.run_ms(2_000);
    assert_eq!(told(&pump, 0, handle), [[0, 1, 0, 1], [0, 0, 0, 0]]);
}

/// STA-1, STA-3: who has lost its journal goes on after a hole, and does not have what lies in it,
/// also as the store tells a broker that starts anew. What it had before stays counted.
#[test]
fn who_goes_on_after_a_hole_does_not_have_what_lies_in_it() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let before = say_watched(&mut pump, 0, "before");
    pump.run_ms(3_000);
    pump.nodes[1].connected = false;
    let missed = say_watched(&mut pump, 0, "missed");
    pump.run_ms(1_000);
    let (identity, key) = (pump.nodes[1].identity.clone(), pump.broker.public_key());
    let again = pump.add_known("bob", identity, Some(key));
    pump.nodes[again].client.join(lobby().into(), pump.now);
    pump.run_ms(1_000);
    let after = say_watched(&mut pump, 0, "after");
    pump.run_ms(3_000);
    assert_eq!(pump.heard(again), ["ada: after"]);
    let last = |pump: &Pump, handle| told(pump, 0, handle).last().copied();
    assert_eq!(last(&pump, before), Some([1, 1, 1, 1]));
    assert_eq!(last(&pump, missed), Some([0, 1, 0, 1]));
    assert_eq!(last(&pump, after), Some([1, 1, 1, 1]));

    pump.crash_broker();
    pump.run_ms(60_000);
    assert_eq!(last(&pump, missed), Some([0, 1, 0, 1]));
    // The journal was not lost after all.
    pump.nodes[again].connected = false;
    pump.nodes[1].connected = true;
    pump.run_ms(60_000);
    assert_eq!(pump.heard(1), ["ada: before", "ada: missed", "ada: after"]);
    assert_eq!(last(&pump, missed), Some([1, 1, 1, 1]));
}

/// STA-3: the roll is called for those who ask; a store that cannot is asked again (BRK-5).
#[test]
fn nobody_pays_for_what_nobody_asks() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "hello");
    pump.run_ms(3_000);
    let is_called = |pump: &Pump| {
        matches!(
            pump.broker.rooms[&lobby()].roster,
            crate::broker::states::Roster::Called(_)
        )
    };
    assert!(!is_called(&pump));
    let handle = say_watched(&mut pump, 0, "hello?");
    pump.run_ms(LATENCY_MS * 2 + 1);
    pump.store_stalled = true;
    pump.run_ms(500);
    pump.fail_stalled();
    pump.store_stalled = false;
    pump.run_ms(3_000);
    assert!(is_called(&pump));
    assert_eq!(told(&pump, 0, handle).last(), Some(&[1, 1, 1, 1]));
}

/// STA-2: a crowd of lines makes few reports.
#[test]
fn reports_are_made_once_a_second_at_most() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.run_ms(2_000);
    let before = pump.asked;
    for turn in 0..50 {
        pump.say(0, &turn.to_string());
        pump.run_ms(100);
    }
    pump.run_ms(2_000);
    let reports = pump.asked - before - 50;
    let seconds = 7_000 / CURSOR_INTERVAL.as_millis() as u64;
    assert!((5..=2 * seconds).contains(&reports), "{reports} reports");
    let op = StorageOp::Members { room: lobby() };
    let members = pump.store.handle(StorageRequest { id: 0, op });
    let StorageOutcome::Members(rows) = members.outcome else {
        panic!("the members");
    };
    // Each has what it got: from its own joined line on.
    for (row, after) in rows.iter().zip(0..) {
        assert_eq!(row.joined_seq, after + 1);
        assert_eq!(row.has, Coverage::from_iter([Stretch { after, to: 52 }]));
    }
}

/// LIM-11: the oldest watch makes place for the newest.
#[test]
fn a_seat_watches_so_many_lines_and_no_more() {
    let mut pump = Pump::with(&["bob"]);
    for turn in 0..=WATCHES_MAX {
        pump.say(0, &turn.to_string());
    }
    pump.run_ms(5_000);
    let mut raw = pump.raw_link();
    pump.enter_raw(&mut raw, "ada");
    for seq in 1..=WATCHES_MAX as u64 + 1 {
        let watch = RoomFromNode::Watch { seq };
        raw.link.send(1, watch.encode(), pump.now).unwrap();
        pump.run_raw(&mut raw, 2);
    }
    let seats = pump.broker.sessions.values().flat_map(|s| s.seats.values());
    let watched = seats.map(|seat| seat.watched.len()).max();
    assert!(watched <= Some(WATCHES_MAX));
}

//! A node that is killed at any moment, and goes on from its journal.

use proptest::prelude::*;

use super::*;
use crate::broker::MemoryStore;
use crate::chat::Kind;
use crate::pump::{EPOCH_MS, LATENCY_MS, Pump, lobby};

/// The texts that are stored in the lobby, in order.
fn stored(pump: &Pump) -> Vec<String> {
    let room = lobby();
    let messages = pump
        .store
        .lines(&room)
        .filter(|line| line.kind == Kind::Message);
    messages.map(|line| line.text().into_owned()).collect()
}

/// The texts in the node's journal, in order.
fn received(pump: &Pump, node: usize) -> Vec<String> {
    let lines = pump.nodes[node].journaled_lines.iter();
    let messages = lines.filter(|line| line.kind == Kind::Message);
    messages.map(|line| line.text().into_owned()).collect()
}

/// The node is killed and started again from its journal, in the lobby.
fn restart(pump: &mut Pump, node: usize) {
    let journal = pump.nodes[node].journal.clone();
    pump.restart_node(node, journal);
    let now = pump.now;
    pump.nodes[node].client.join(lobby().into(), now);
}

fn forks(pump: &Pump, node: usize) -> usize {
    let is_fork = |event: &&ClientEvent| matches!(event, ClientEvent::Fork { .. });
    pump.nodes[node].events.iter().filter(is_fork).count()
}

/// A broker whose data directory was restored from a backup: same key, same log, an older state.
fn restore_broker(pump: &mut Pump, backup: MemoryStore) {
    pump.restart_broker(backup.log_id());
    pump.store = backup;
}

/// PUB-2, DLV-2: for ever, not for a time: a publication whose answer was lost is asked for again a
/// day and a crash of the broker later, and gets its old number.
#[test]
fn a_publication_repeated_a_day_later_is_not_stored_again() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "precious");
    // The node dies before it is told the outcome: to its journal the line waits.
    pump.run_ms(1);
    let journal = pump.nodes[0].journal.clone();
    assert_eq!(journal.waiting(), 1);
    pump.run_ms(500);
    assert_eq!(stored(&pump), ["precious"]);
    let seq = pump.store.lines(&lobby()).last().map(|line| line.seq);
    pump.nodes[0].connected = false;
    pump.restart_node(0, journal);
    pump.nodes[0].events.clear();
    pump.say(1, "the next morning");
    pump.run_ms(24 * 60 * 60 * 1_000);
    pump.crash_broker();
    pump.nodes[0].connected = true;
    pump.run_ms(20_000);
    assert_eq!(stored(&pump), ["precious", "the next morning"]);
    let outcome = |event: &ClientEvent| match event {
        ClientEvent::Stored { seq, .. } => Some(*seq),
        _ => None,
    };
    assert_eq!(pump.nodes[0].events.iter().find_map(outcome), seq);
    assert_eq!(pump.nodes[0].journal.waiting(), 0);
}

/// JRN-1, PUB-1, PUB-6, NOD-2: what was typed before the kill is sent after it, once, under the
/// same number; what was received before it is not received again.
#[test]
fn a_killed_node_goes_on_where_its_journal_ends() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(1, "before");
    pump.run_ms(500);
    pump.nodes[0].connected = false;
    pump.say(0, "one");
    pump.say(0, "two");
    pump.say(1, "meanwhile");
    pump.run_ms(500);
    let numbers = |pump: &Pump| -> Vec<u64> {
        let room = &pump.nodes[0].journal.rooms[&lobby()];
        room.waiting
            .values()
            .map(|publication| publication.n)
            .collect()
    };
    assert_eq!(numbers(&pump), [1, 2]);
    restart(&mut pump, 0);
    assert_eq!(pump.nodes[0].client.waiting(), 2);
    assert_eq!(numbers(&pump), [1, 2]);
    pump.nodes[0].connected = true;
    pump.run_ms(5_000);
    assert_eq!(stored(&pump), ["before", "meanwhile", "one", "two"]);
    assert_eq!(received(&pump, 0), stored(&pump));
    assert_eq!(pump.nodes[0].journal.waiting(), 0);
}

/// PUB-6, DLV-2: stored, but killed before it was known.
#[test]
fn a_line_that_was_stored_as_its_node_was_killed_is_not_stored_again() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "did you get this?");
    pump.run_ms(LATENCY_MS + 1);
    restart(&mut pump, 0);
    pump.run_ms(5_000);
    assert_eq!(stored(&pump), ["did you get this?"]);
    assert_eq!(received(&pump, 0), stored(&pump));
    assert_eq!(pump.nodes[0].client.waiting(), 0);
}

/// JRN-2: nobody has to ask for the room in which something waits.
#[test]
fn a_room_in_which_something_waits_is_joined_unasked() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[0].connected = false;
    pump.say(0, "left behind");
    pump.run_ms(100);
    let journal = pump.nodes[0].journal.clone();
    pump.restart_node(0, journal);
    pump.nodes[0].connected = true;
    pump.run_ms(5_000);
    assert_eq!(pump.heard(1), ["ada: left behind"]);
}

/// PRS-3, NOD-1: a notice is journaled before it is told, and its number is kept.
#[test]
fn a_notice_is_not_told_again_after_a_kill() {
    let mut pump = Pump::with(&["ada", "bob"]);
    assert_eq!(pump.nodes[0].notices(), ["ada Joined", "bob Joined"]);
    restart(&mut pump, 0);
    pump.run_ms(5_000);
    assert_eq!(pump.nodes[0].notices(), ["ada Joined", "bob Joined"]);
}

/// JRN-3: a broker restored from a backup has lost what it confirmed. What still waits gets its
/// numbers from there on; what the backup has is not stored again.
#[test]
fn a_broker_restored_from_a_backup_gets_what_waits_once() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "one");
    pump.run_ms(500);
    // In the backup, but ada does not know that.
    pump.say(0, "two");
    pump.run_ms(LATENCY_MS + 1);
    let backup = pump.store.clone();
    pump.nodes[0].connected = false;
    pump.say(0, "three");
    pump.say(1, "lost with the disk");
    pump.run_ms(500);
    restore_broker(&mut pump, backup);
    pump.nodes[0].connected = true;
    pump.run_ms(40_000);
    assert_eq!(stored(&pump), ["one", "two", "three"]);
    assert_eq!(pump.nodes[0].client.waiting(), 0);
    assert_eq!((forks(&pump, 0), forks(&pump, 1)), (0, 1));
}

/// JRN-3: the backup is older than what the node has seen, and than what was confirmed to it.
#[test]
fn a_broker_that_forgot_what_it_confirmed_is_caught_up_with() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let backup = pump.store.clone();
    pump.say(0, "one");
    pump.say(0, "two");
    pump.run_ms(500);
    pump.nodes[0].connected = false;
    pump.say(0, "three");
    pump.run_ms(100);
    restore_broker(&mut pump, backup);
    restart(&mut pump, 0);
    pump.nodes[0].connected = true;
    pump.run_ms(40_000);
    assert_eq!(stored(&pump), ["three"]);
    assert_eq!(forks(&pump, 0), 1);
    pump.say(0, "four");
    pump.run_ms(500);
    assert_eq!(stored(&pump), ["three", "four"]);
}

/// JRN-4: a journal restored from a backup knows less than the broker. What waits in it is stored
/// already, and is not stored again; the device is given up.
#[test]
fn a_journal_restored_from_a_backup_gives_its_device_up() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[0].connected = false;
    pump.say(0, "one");
    pump.say(0, "two");
    pump.run_ms(100);
    let backup = pump.nodes[0].journal.clone();
    pump.nodes[0].connected = true;
    pump.run_ms(5_000);
    pump.say(0, "three");
    pump.run_ms(500);
    pump.restart_node(0, backup);
    pump.nodes[0].journaled_lines.clear();
    let now = pump.now;
    pump.nodes[0].client.join(lobby().into(), now);
    pump.say(0, "four");
    pump.run_ms(5_000);
    assert_eq!(stored(&pump), ["one", "two", "three"]);
    assert_eq!(
        pump.nodes[0].end(),
        Some(&EndReason::Retired { waiting: 1 })
    );

    let mut journal = pump.nodes[0].journal.clone();
    journal.change_device();
    let (account, device) = (pump.nodes[0].account_secret, pump.rng.bytes());
    pump.nodes[0].identity = NodeIdentity::from_secrets(account, device);
    pump.restart_node(0, journal);
    pump.nodes[0].events.clear();
    pump.nodes[0].client.join(lobby().into(), now);
    pump.run_ms(5_000);
    assert_eq!(pump.nodes[0].end(), None);
    assert_eq!(stored(&pump), ["one", "two", "three", "four"]);
    assert_eq!(received(&pump, 0), stored(&pump));
}

/// JRN-9: the place in a room that was left is forgotten.
#[test]
fn a_room_that_was_left_is_entered_anew() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "one");
    pump.nodes[0].client.leave_room(&lobby(), pump.now);
    pump.run_ms(1_000);
    let left = &pump.nodes[0].journal.rooms[&lobby()];
    assert_eq!((left.cursor, left.presence), (None, 0));
    pump.say(1, "behind your back");
    pump.run_ms(500);
    restart(&mut pump, 0);
    pump.say(0, "two");
    pump.run_ms(5_000);
    assert_eq!(received(&pump, 0), ["one", "two"]);
    assert_eq!(stored(&pump), ["one", "behind your back", "two"]);
}

/// JRN-9, DLV-2: numbers of a room that was left are not used again, so that a journal restored
/// from a backup made after that knows what it has published.
#[test]
fn what_was_typed_into_a_room_that_was_left_is_stored_once_after_a_restoration() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "one");
    pump.nodes[0].client.leave_room(&lobby(), pump.now);
    pump.run_ms(1_000);
    let now = pump.now;
    pump.nodes[0].connected = false;
    pump.nodes[0].client.join(lobby().into(), now);
    pump.say(0, "two");
    pump.run_ms(100);
    let backup = pump.nodes[0].journal.clone();
    let room = &backup.rooms[&lobby()];
    assert_eq!((room.is_numbered, room.last_n), (true, 2));
    pump.nodes[0].connected = true;
    pump.run_ms(40_000);
    assert_eq!(stored(&pump), ["one", "two"]);
    pump.restart_node(0, backup);
    pump.run_ms(40_000);
    assert_eq!(stored(&pump), ["one", "two"]);
    assert_eq!(pump.nodes[0].client.waiting(), 0);
    assert_eq!(pump.nodes[0].end(), None);
}

/// JRN-4, DLV-2: a new device's numbers are final, so that a backup of its journal knows them.
#[test]
fn a_journal_restored_to_just_after_its_device_was_new_repeats_nothing() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "one");
    pump.run_ms(500);
    pump.nodes[0].connected = false;
    pump.say(0, "two");
    pump.say(0, "three");
    pump.run_ms(100);
    let mut backup = pump.nodes[0].journal.clone();
    backup.change_device();
    let (account, device) = (pump.nodes[0].account_secret, pump.rng.bytes());
    pump.nodes[0].identity = NodeIdentity::from_secrets(account, device);
    pump.nodes[0].connected = true;
    for _ in 0..2 {
        pump.restart_node(0, backup.clone());
        pump.run_ms(40_000);
        assert_eq!(stored(&pump), ["one", "two", "three"]);
        assert_eq!(pump.nodes[0].end(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// JRN-1, DLV-1, DLV-2, DLV-3: killed at every k-th entry of its journal, again and again, in
    /// and out of contact, a node has everything typed stored once and every line received once.
    #[test]
    fn killed_at_any_entry_nothing_is_lost_or_doubled(
        lives in prop::collection::vec((0_usize..9, 0_u64..120, any::<bool>()), 1..12),
    ) {
        let mut pump = Pump::with(&["ada", "bob"]);
        let mut typed: Vec<String> = Vec::new();
        for (life, (entries, pause_ms, is_connected)) in lives.into_iter().enumerate() {
            pump.nodes[0].connected = is_connected;
            pump.nodes[0].entries_left = Some(entries);
            for line in 0..3 {
                pump.say(1, &format!("bob {life}.{line}"));
                let text = format!("ada {life}.{line}");
                let at = EPOCH_MS + pump.now.as_millis();
                let now = pump.now;
                let _ = pump.nodes[0].client.publish(&lobby(), text.as_bytes(), at, now);
                pump.run_ms(pause_ms);
            }
            // What the journal has was typed; the rest never was.
            let journal = &pump.nodes[0].journal;
            let waiting = journal.rooms.get(&lobby()).map(|room| room.waiting.values());
            let is_new = |text: &String| text.starts_with(&format!("ada {life}."));
            let kept = waiting.into_iter().flatten();
            let kept = kept.map(|p| String::from_utf8_lossy(&p.body).into_owned());
            let known: Vec<String> = stored(&pump).into_iter().chain(kept).collect();
            for line in 0..3 {
                let text = format!("ada {life}.{line}");
                if known.contains(&text) && is_new(&text) {
                    typed.push(text);
                }
            }
            restart(&mut pump, 0);
            pump.run_ms(pause_ms);
        }
        pump.nodes[0].connected = true;
        pump.run_ms(30_000);
        let all = stored(&pump);
        let of_ada: Vec<String> = all.iter().filter(|t| t.starts_with("ada")).cloned().collect();
        prop_assert_eq!(&of_ada, &typed);
        prop_assert_eq!(received(&pump, 0), all.clone());
        prop_assert_eq!(received(&pump, 1), all);
        prop_assert_eq!(pump.nodes[0].client.waiting(), 0);
    }
}

//! The client in the cases that a conversation alone does not show.

use super::*;
use crate::broker::MemoryStore;
use crate::chat::{CHAT_LINE_MAX, LogId};
use crate::drops::Dropped;
use crate::pump::{EPOCH_MS, LATENCY_MS, Pump, lobby};
use crate::rng::SeededRng;
use crate::wire::{Handshake, VersionReply};

fn count(pump: &Pump, node: usize, wanted: impl Fn(&ClientEvent) -> bool) -> usize {
    pump.nodes[node]
        .events
        .iter()
        .filter(|event| wanted(event))
        .count()
}

fn is_fork(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::Fork { .. })
}

fn is_stored(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::Stored { .. })
}

/// SEC-9: the first contact teaches the key, and all later ones insist on it.
#[test]
fn a_node_learns_the_key_once_and_insists_on_it_from_then_on() {
    let mut pump = Pump::with(&["ada"]);
    assert_eq!(pump.nodes[0].learned, Some(pump.broker.public_key()));
    pump.nodes[0].connected = false;
    pump.run_ms(30_000);
    pump.nodes[0].connected = true;
    pump.run_ms(5_000);
    assert!(pump.nodes[0].client.is_online());
    assert_eq!(
        count(&pump, 0, |e| matches!(e, ClientEvent::FirstContact(_))),
        1
    );
}

/// SEC-8: another key is a hard stop, and nothing is said to its owner.
#[test]
fn a_changed_broker_key_is_a_hard_stop() {
    let mut pump = Pump::new();
    let identity = NodeIdentity::generate(&mut pump.rng);
    let known = PublicKey([42; 32]);
    let node = pump.add_known("ada", identity, Some(known));
    pump.nodes[node].client.join(lobby().into(), pump.now);
    pump.say(node, "for the old broker's eyes");
    pump.run_ms(10_000);
    let shown = pump.broker.public_key();
    assert_eq!(
        pump.nodes[node].end(),
        Some(&EndReason::KeyChanged { known, shown })
    );
    assert_eq!(pump.broker.people(), 0);
    assert_eq!(pump.broker.link_counts().0, 0);
    assert!(pump.broker.drops().count(Dropped::Mac1) > 0);
}

/// SEC-8, NOD-3: a known broker that is only away is waited for.
#[test]
fn a_broker_that_is_only_away_is_waited_for() {
    let mut pump = Pump::new();
    let identity = NodeIdentity::generate(&mut pump.rng);
    let key = pump.broker.public_key();
    let node = pump.add_known("ada", identity, Some(key));
    pump.nodes[node].connected = false;
    pump.nodes[node].client.join(lobby().into(), pump.now);
    pump.run_ms(3_600_000);
    assert!(!pump.nodes[node].client.is_online());
    pump.nodes[node].connected = true;
    pump.run_ms(7_000);
    assert!(pump.nodes[node].client.is_online());
    assert_eq!(pump.nodes[node].end(), None);
}

/// RUM-10, PUB-7, DLV-2: a broker that has lost its history gets what was not stored, once, under
/// new numbers; and the node says what happened.
#[test]
fn a_broker_that_lost_its_history_gets_what_still_waits_once() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "before");
    pump.run_ms(500);
    for node in 0..2 {
        pump.nodes[node].connected = false;
    }
    pump.say(0, "one");
    pump.say(0, "two");
    pump.run_ms(1_000);
    pump.restart_broker(LogId([2; 16]));
    for node in 0..2 {
        pump.nodes[node].connected = true;
    }
    // A listener with nothing to say finds out by its keepalive.
    pump.run_ms(30_000);
    assert_eq!((count(&pump, 0, is_fork), count(&pump, 1, is_fork)), (1, 1));
    assert_eq!(pump.heard(0), ["ada: before", "ada: one", "ada: two"]);
    let texts: Vec<_> = pump
        .store
        .lines(&lobby())
        .map(|l| l.text().into_owned())
        .collect();
    assert_eq!(
        texts.iter().filter(|t| *t == "one" || *t == "two").count(),
        2
    );
    assert_eq!(count(&pump, 0, is_stored), 3);
    // Bob came back later than the lines did, and has them all the same.
    assert_eq!(pump.heard(1), ["ada: before", "ada: one", "ada: two"]);
    pump.say(0, "three");
    pump.run_ms(500);
    assert_eq!(pump.heard(1).last().map(String::as_str), Some("ada: three"));
}

/// PUB-7: a node that starts without an outbox goes on from the device's last number.
#[test]
fn a_node_without_an_outbox_goes_on_from_the_last_number() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "one");
    pump.run_ms(500);
    let identity = pump.nodes[0].identity.clone();
    let key = pump.broker.public_key();
    let again = pump.add_known("ada", identity, Some(key));
    pump.nodes[again].client.join(lobby().into(), pump.now);
    pump.say(again, "two");
    pump.run_ms(1_000);
    assert_eq!(pump.heard(1), ["ada: one", "ada: two"]);
}

/// PUB-6, DLV-2: what was sent and not answered is sent again on the next link, and stored once.
#[test]
fn what_was_stored_without_the_node_knowing_is_not_stored_again() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "did you get this?");
    // The publication arrives; every answer is lost.
    pump.run_ms(LATENCY_MS + 1);
    pump.nodes[0].connected = false;
    pump.run_ms(30_000);
    assert_eq!(pump.heard(1), ["ada: did you get this?"]);
    assert_eq!(count(&pump, 0, is_stored), 0);
    pump.nodes[0].connected = true;
    pump.run_ms(10_000);
    assert_eq!(count(&pump, 0, is_stored), 1);
    assert_eq!(pump.heard(0), ["ada: did you get this?"]);
    assert_eq!(pump.heard(1), ["ada: did you get this?"]);
}

/// The node says the numbers up to [`OUTBOX_MAX`], as fast as its journal takes them.
fn say_many(pump: &mut Pump, node: usize, prefix: &str) {
    for n in 0..OUTBOX_MAX {
        if n % 1_000 == 0 {
            pump.run_ms(1);
        }
        pump.say(node, &format!("{prefix}{n}"));
    }
}

/// PUB-1, PUB-8, DLV-4, LIM-6: many lines at once keep their order, a window at a time.
#[test]
fn many_lines_typed_at_once_keep_their_order() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[0].connected = false;
    say_many(&mut pump, 0, "");
    let client = &mut pump.nodes[0].client;
    let one_more = client.publish(&lobby(), b"x", EPOCH_MS, pump.now);
    assert_eq!(one_more, Err(PublishError::OutboxFull));
    pump.nodes[0].connected = true;
    pump.run_ms(240_000);
    let expected: Vec<_> = (0..OUTBOX_MAX).map(|n| format!("ada: {n}")).collect();
    assert_eq!(pump.heard(1), expected);
}

/// JRN-12, LIM-12, CRD-2: a journal that is stuck costs a bounded number of requests, whatever is
/// typed and said; a full outbox of requests is said, and all goes on when the journal does.
#[test]
fn a_journal_that_is_stuck_bounds_what_waits_for_it_and_loses_nothing() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[0].journal_stalled = true;
    let room = lobby();
    let mut typed = Vec::new();
    let refused = loop {
        let text = format!("typed {}", typed.len());
        let client = &mut pump.nodes[0].client;
        match client.publish(&room, text.as_bytes(), EPOCH_MS, pump.now) {
            Ok(_) => typed.push(format!("ada: {text}")),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, PublishError::JournalBehind);
    assert_eq!(typed.len() as u64, JOURNAL_PENDING_MAX);
    say_many(&mut pump, 1, "said ");
    pump.run_ms(20_000);
    let pending = pump.nodes[0].client.journal.len() as u64;
    assert_eq!(pending, JOURNAL_PENDING_MAX, "not one more was taken");
    assert_eq!(pump.heard(0), [""; 0]);

    pump.nodes[0].journal_stalled = false;
    pump.run_ms(1);
    pump.say(0, "again");
    pump.run_ms(240_000);
    let said: Vec<_> = (0..OUTBOX_MAX).map(|n| format!("bob: said {n}")).collect();
    let heard = pump.heard(0);
    assert_eq!(heard.len(), typed.len() + said.len() + 1);
    assert_eq!(pump.heard(1), heard);
    let of = |name: &str| -> Vec<String> {
        let lines = heard.iter().filter(|line| line.starts_with(name));
        lines.cloned().collect()
    };
    typed.push("ada: again".to_owned());
    assert_eq!((of("ada"), of("bob")), (typed, said));
}

/// DLV-2: saying the same again is not a repetition.
#[test]
fn the_same_text_three_times_is_shown_three_times() {
    let mut pump = Pump::with(&["ada", "bob"]);
    for _ in 0..3 {
        pump.say(0, "knock");
    }
    pump.run_ms(500);
    assert_eq!(pump.heard(1), ["ada: knock"; 3]);
}

/// NOD-1, NOD-2: nothing leaves before it is journaled, and nothing is shown before it is.
#[test]
fn the_journal_comes_before_the_network_and_the_screen() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let mut out = Vec::new();
    let now = pump.now;
    let client = &mut pump.nodes[0].client;
    client.publish(&lobby(), b"hi", EPOCH_MS, now).unwrap();
    assert_eq!(client.poll_transmit(now, &mut out), None);
    let request = client.poll_journal().unwrap();
    assert!(matches!(request.entry, JournalEntry::Waiting { .. }));
    client.handle_journaled(request.id, now);
    assert!(client.poll_transmit(now, &mut out).is_some());

    pump.nodes[1].journal_stalled = true;
    pump.say(0, "are you there?");
    pump.run_ms(500);
    assert_eq!(pump.heard(1), [""; 0]);
    pump.nodes[1].journal_stalled = false;
    pump.run_ms(500);
    assert_eq!(
        pump.heard(1).last().map(String::as_str),
        Some("ada: are you there?")
    );
}

/// PUB-5: what is no line never gets a number.
#[test]
fn what_is_no_line_is_refused_before_it_is_numbered() {
    let mut pump = Pump::with(&["ada"]);
    let now = pump.now;
    let client = &mut pump.nodes[0].client;
    let mut publish = |text: &[u8]| client.publish(&lobby(), text, EPOCH_MS, now);
    assert_eq!(publish(b""), Err(PublishError::Text(TextError::Empty)));
    assert_eq!(
        publish(b"\xff"),
        Err(PublishError::Text(TextError::NotUtf8))
    );
    let long = vec![b'x'; CHAT_LINE_MAX + 1];
    assert_eq!(publish(&long), Err(PublishError::Text(TextError::TooLong)));
    let elsewhere = RoomName::new("elsewhere").unwrap();
    let other = client.publish(&elsewhere, b"x", EPOCH_MS, now);
    assert_eq!(other, Err(PublishError::NotInRoom));
    pump.say(0, "fine");
    pump.run_ms(500);
    assert_eq!(pump.heard(0), ["ada: fine"]);
}

/// NOD-4: leaving waits for what was typed, one's own last line included.
#[test]
fn leaving_waits_for_the_last_line() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "goodbye");
    pump.nodes[0].client.leave(pump.now);
    let now = pump.now;
    let late = pump.nodes[0].client.publish(&lobby(), b"x", EPOCH_MS, now);
    assert_eq!(late, Err(PublishError::Leaving));
    pump.run_ms(1_000);
    assert_eq!(pump.heard(0), ["ada: goodbye"]);
    assert_eq!(pump.heard(1), ["ada: goodbye"]);
    assert_eq!(pump.nodes[0].end(), Some(&EndReason::Left));
    assert_eq!(pump.nodes[1].notices(), ["bob Joined", "ada Left"]);
}

/// NOD-4: whoever gives up is told what was given up.
#[test]
fn giving_up_tells_how_much_was_waiting() {
    let mut pump = Pump::with(&["ada"]);
    pump.nodes[0].connected = false;
    pump.say(0, "one");
    pump.say(0, "two");
    pump.nodes[0].client.leave(pump.now);
    pump.run_ms(20_000);
    assert_eq!(pump.nodes[0].end(), None);
    pump.nodes[0].client.abandon(pump.now);
    pump.run_ms(1);
    assert_eq!(
        pump.nodes[0].end(),
        Some(&EndReason::Abandoned { waiting: 2 })
    );
}

/// RUM-11: a client wants no more rooms than a link has channels.
#[test]
fn a_client_joins_as_many_rooms_as_a_link_carries() {
    let mut pump = Pump::with(&["ada"]);
    for n in 1..ROOMS_PER_LINK_MAX {
        let room = RoomName::new(&format!("room {n}")).unwrap();
        assert!(pump.nodes[0].client.join(room.clone().into(), pump.now));
    }
    let one_more = RoomName::new("one more").unwrap();
    assert!(!pump.nodes[0].client.join(one_more.clone().into(), pump.now));
    pump.run_ms(2_000);
    let joined = |e: &ClientEvent| matches!(e, ClientEvent::Joined { .. });
    assert_eq!(count(&pump, 0, joined), ROOMS_PER_LINK_MAX);
}

/// HSD-7: a broker that speaks only other versions is told apart from one that is away, but not
/// on the word of one unauthenticated datagram alone.
#[test]
fn a_version_reply_is_believed_only_if_nothing_better_comes() {
    let mut rng = SeededRng::new([1; 32]);
    let path = Path::new(([10, 0, 0, 1], 1).into());
    let name = Name::new("ada").unwrap();
    let config = ClientConfig {
        paths: vec![path],
        name,
        known: None,
        restored: JournalState::default(),
    };
    let start = Timestamp::from_millis(5);
    let mut client = Client::new(config, rng.fork(), start);
    let mut out = Vec::new();
    client.handle_timeout(start);
    client.poll_transmit(start, &mut out).unwrap();
    let Ok(Handshake::Hello(hello)) = Handshake::decode(&out.into()) else {
        panic!("no HELLO")
    };
    let reply = VersionReply {
        version: hello.version,
        cid: hello.cid,
        versions: vec![7],
    };
    let mut datagram = Vec::new();
    Handshake::Version(reply).encode(&mut datagram);
    client.handle_datagram(path, BytesMut::from(&datagram[..]), start);
    client.handle_timeout(start + Duration::from_secs(4));
    assert_eq!(client.poll_event(), None);
    client.handle_timeout(start + Duration::from_secs(6));
    let ended = ClientEvent::Ended(EndReason::Version { spoken: vec![7] });
    assert_eq!(client.poll_event(), Some(ended));
}

/// RUM-10: the room hash tells a history that was rewritten, even under the same log id.
#[test]
fn a_history_that_was_rewritten_is_told_apart_by_its_hash() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "one");
    pump.run_ms(500);
    pump.nodes[1].connected = false;
    pump.run_ms(40_000);
    pump.store = MemoryStore::new(pump.store.log_id());
    pump.nodes[1].connected = true;
    pump.run_ms(10_000);
    assert_eq!(count(&pump, 1, is_fork), 1);
    assert_eq!(pump.heard(1), ["ada: one"]);
}

/// RUM-12, RUM-7: leaving a room is for good, is a line, and can be undone by joining anew.
#[test]
fn a_room_is_left_when_what_was_typed_there_is_stored() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.say(0, "my last words");
    assert!(pump.nodes[0].client.leave_room(&lobby(), pump.now));
    let now = pump.now;
    let late = pump.nodes[0].client.publish(&lobby(), b"x", EPOCH_MS, now);
    assert_eq!(late, Err(PublishError::NotInRoom));
    pump.run_ms(1_000);
    let left = |e: &ClientEvent| matches!(e, ClientEvent::RoomLeft { .. });
    assert_eq!(count(&pump, 0, left), 1);
    assert_eq!(pump.heard(0), ["ada: my last words"]);
    assert_eq!(pump.nodes[1].notices(), ["bob Joined", "ada Left"]);
    assert_eq!(pump.broker.people(), 1);
    pump.say(1, "behind your back");
    pump.run_ms(500);
    assert_eq!(pump.heard(0).len(), 1);

    pump.nodes[0].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    pump.say(0, "back");
    pump.run_ms(500);
    assert_eq!(pump.heard(0), ["ada: my last words", "ada: back"]);
    let kinds: Vec<_> = pump
        .store
        .lines(&lobby())
        .map(|line| line.kind.code())
        .collect();
    assert_eq!(kinds, [2, 2, 1, 3, 1, 2, 1]);
    assert!(
        !pump.nodes[0]
            .client
            .leave_room(&RoomName::new("elsewhere").unwrap(), now)
    );
}

/// RUM-12, DLV-8: a link that dies in the middle of leaving does not undo it.
#[test]
fn leaving_a_room_survives_an_outage() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[0].connected = false;
    pump.nodes[0].client.leave_room(&lobby(), pump.now);
    pump.run_ms(30_000);
    pump.nodes[0].connected = true;
    pump.run_ms(10_000);
    assert_eq!(pump.nodes[1].notices(), ["bob Joined", "ada Left"]);
    assert!(pump.nodes[0].client.is_online());
}

/// SGN-5, PRS-1: goodbye on a new link, on which no room was joined again, is a goodbye too.
#[test]
fn goodbye_after_an_outage_is_heard_at_once() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.nodes[0].connected = false;
    pump.run_ms(30_000);
    let identity = pump.nodes[0].identity.clone();
    let mut raw = pump.raw_link_of(identity);
    pump.bye_raw(&mut raw, "ada");
    assert_eq!(pump.nodes[1].notices(), ["bob Joined", "ada Left"]);
    assert_eq!(pump.broker.people(), 1);
}

/// RUM-13, SGN-6.
#[test]
fn one_can_ask_who_is_here_and_which_rooms_there_are() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let garden = RoomName::new("garden").unwrap();
    pump.nodes[1].client.join(garden.clone().into(), pump.now);
    assert!(!pump.nodes[0].client.ask_who(&garden, pump.now));
    pump.run_ms(500);
    assert!(pump.nodes[0].client.ask_who(&lobby(), pump.now));
    assert!(pump.nodes[0].client.ask_rooms(pump.now));
    pump.run_ms(500);
    let names: Vec<Name> = ["ada", "bob"].map(|name| Name::new(name).unwrap()).into();
    let roster = |e: &ClientEvent| match e {
        ClientEvent::Roster {
            total: 2,
            names: listed,
            ..
        } => names.iter().all(|name| listed.contains(name)),
        _ => false,
    };
    assert_eq!(count(&pump, 0, roster), 1);
    let rooms = ClientEvent::Rooms {
        total: 2,
        rooms: vec![(garden, 1), (lobby(), 2)],
    };
    assert_eq!(count(&pump, 0, |e| *e == rooms), 1);
}

/// LIF-1, LIF-2: nodes with nothing to say stay in contact for hours, at next to no cost.
#[test]
fn idle_nodes_stay_in_contact_for_hours() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let sent = pump.sent();
    pump.run_ms(3 * 3_600_000);
    let offline = |e: &ClientEvent| matches!(e, ClientEvent::Offline);
    assert_eq!((count(&pump, 0, offline), count(&pump, 1, offline)), (0, 0));
    let per_minute = (pump.sent() - sent) / (3 * 60);
    assert!(per_minute <= 2 * 2 * 5, "{per_minute} datagrams a minute");
    pump.say(0, "still here");
    pump.run_ms(LATENCY_MS * 3);
    assert_eq!(pump.heard(1), ["ada: still here"]);
}

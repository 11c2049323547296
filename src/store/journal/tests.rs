//! The journal's file against the fold that it stands for.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::chat::{Kind, LastPublication, LineBase, Publication, Recorded, Refusal};
use crate::client::{JournalEntry, JournalRequest, JournalState};
use crate::driver::{Clock, Store as _};
use crate::secure::{AccountKey, DeviceKey};
use crate::store::journal::schema::SCHEMA;
use crate::store::sqlite::{self, Schema};

fn file() -> (tempfile::TempDir, JournalFile) {
    let dir = tempfile::tempdir().unwrap();
    let file = JournalFile::open(&dir.path().join("journal")).unwrap();
    (dir, file)
}

fn room(number: u8) -> RoomName {
    RoomName::new(&format!("Room {number}")).unwrap()
}

fn line(seq: u64) -> Line {
    Line {
        seq,
        stored_at_ms: u64::MAX - 7,
        account: AccountKey([1; 32]),
        device: DeviceKey([2; 32]),
        name: Name::new("ada").unwrap(),
        author: 3,
        n: seq,
        typed_at_ms: 5,
        kind: Kind::Other(77),
        body: Bytes::from_static(b"\xff\0"),
    }
}

fn received(number: u8, seq: u64) -> JournalEntry {
    JournalEntry::Received {
        room: room(number),
        log: LogId([4; 16]),
        cursor: LineBase {
            seq,
            stored_at_ms: u64::MAX - 7,
            hash: [seq.to_le_bytes()[0]; 32],
        },
        line: Box::new(line(seq)),
    }
}

fn waiting(handle: u64, number: u8, n: u64) -> JournalEntry {
    JournalEntry::Waiting {
        handle,
        spooled: None,
        room: room(number),
        publication: Publication {
            n,
            typed_at_ms: handle,
            kind: Kind::Message,
            body: Bytes::from(format!("line {handle}")),
        },
    }
}

/// Entries as a client makes them: handles rise, and so do the numbers of what waits in a room.
fn entries(steps: &[(u8, u8, u64)]) -> Vec<JournalEntry> {
    let mut state = JournalState::default();
    let mut entries = Vec::new();
    let mut handle = 0;
    for (what, number, value) in steps {
        let known = state.rooms.get(&room(*number)).cloned();
        let known = known.unwrap_or(crate::client::RoomState::NEW);
        let seq = known.cursor.map_or(0, |(_, base)| base.seq) + 1;
        let place = LineBase {
            seq: *value,
            ..LineBase::START
        };
        let entry = match what {
            0 | 1 => {
                handle += 1;
                waiting(handle, *number, known.last_n + 1)
            }
            2 | 3 => match known.waiting.keys().next() {
                Some(first) => JournalEntry::Settled {
                    handle: *first,
                    room: room(*number),
                    outcome: Recorded::Stored(*value),
                },
                None => continue,
            },
            4 => JournalEntry::Entered {
                room: room(*number),
                log: LogId([what + number; 16]),
                place,
                is_fork: value % 2 == 0,
            },
            5 => JournalEntry::Numbered {
                room: room(*number),
                last: LastPublication {
                    n: *value,
                    digest: [9; 32],
                },
            },
            6 => JournalEntry::Noticed {
                room: room(*number),
                number: known.presence + 1 + value,
                event: NoticeEvent::TimedOut,
                name: Name::new("Bob").unwrap(),
            },
            7 => JournalEntry::Left {
                room: room(*number),
            },
            _ => received(*number, seq),
        };
        state.apply(entry.clone());
        entries.push(entry);
    }
    entries
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// JRN-1: the file holds what the fold of its entries does, however they were batched.
    #[test]
    fn the_file_is_the_fold_of_its_entries(
        steps in prop::collection::vec((0_u8..10, 0_u8..3, 0_u64..40), 0..60),
        batch in 1_usize..9,
    ) {
        let (dir, mut file) = file();
        let mut state = JournalState::default();
        for batch in entries(&steps).chunks(batch) {
            file.write(batch, []).unwrap();
            batch.iter().cloned().for_each(|entry| state.apply(entry));
            state.rooms.retain(|_, room| *room != crate::client::RoomState::NEW);
        }
        let again = JournalFile::open(&dir.path().join("journal")).unwrap();
        prop_assert_eq!(&again.state().unwrap().rooms, &state.rooms);
        prop_assert!(again.state().unwrap().next_handle <= state.next_handle);
        let mut file = again;
        file.adopt(DeviceKey([1; 32])).unwrap();
        prop_assert!(file.adopt(DeviceKey([2; 32])).unwrap());
        state.change_device();
        state.rooms.retain(|_, room| *room != crate::client::RoomState::NEW);
        prop_assert_eq!(file.state().unwrap().rooms, state.rooms);
    }
}

/// JRN-5, CLI-11: lines and notices come back as they were received, from the last one printed on.
#[test]
fn what_was_received_and_not_printed_comes_back_in_order() {
    let (_dir, mut file) = file();
    let notice = JournalEntry::Noticed {
        room: room(1),
        number: 70,
        event: NoticeEvent::Joined,
        name: Name::new("Bob").unwrap(),
    };
    let entries = [
        received(1, 1),
        notice,
        received(2, 1),
        received(1, 2),
        received(1, 3),
    ];
    file.write(&entries, []).unwrap();
    assert_eq!(file.shown(&room(1)).unwrap(), 0);
    file.write([], &[Shown::Line(room(1), 1)]).unwrap();
    let after = |file: &JournalFile| -> Vec<u64> {
        let items = file
            .items_after(&room(1), file.shown(&room(1)).unwrap(), 99)
            .unwrap();
        items
            .iter()
            .map(|item| match item {
                Item::Line {
                    line: found, log, ..
                } => {
                    assert_eq!((&**found, *log), (&line(found.seq), LogId([4; 16])));
                    found.seq
                }
                Item::Notice {
                    number,
                    event,
                    name,
                    ..
                } => {
                    assert_eq!((*event, name.as_str()), (NoticeEvent::Joined, "Bob"));
                    *number
                }
            })
            .collect()
    };
    assert_eq!(after(&file), [70, 2, 3]);
    file.write([], &[Shown::Notice(room(1), 70)]).unwrap();
    assert_eq!(after(&file), [2, 3]);
    // What was printed stays printed.
    file.write([], &[Shown::Line(room(1), 3), Shown::Line(room(1), 1)])
        .unwrap();
    assert_eq!(after(&file), [0_u64; 0]);
}

/// JRN-5: the cursor stays when the oldest lines go.
#[test]
fn a_journal_keeps_the_newest_lines_only() {
    let (_dir, mut file) = file();
    let all = JOURNAL_LINES_MAX + 2_000;
    let lines: Vec<_> = (1..=all).map(|seq| received(1, seq)).collect();
    for batch in lines.chunks(1_000) {
        file.write(batch, []).unwrap();
    }
    let first = file.items_after(&room(1), 0, 1).unwrap();
    let Some(Item::Line { line, .. }) = first.first() else {
        panic!("{first:?}");
    };
    assert!(line.seq > all - JOURNAL_LINES_MAX - 1_001, "{}", line.seq);
    assert!(line.seq <= all - JOURNAL_LINES_MAX + 1, "{}", line.seq);
    let state = file.state().unwrap();
    assert_eq!(state.rooms[&room(1)].cursor.unwrap().1.seq, all);
}

/// JRN-6: a line in the spool is numbered once, and its outcome is kept for who asked.
#[test]
fn what_is_spooled_gets_a_number_and_then_an_outcome() {
    let (_dir, mut file) = file();
    let texts = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let ids = file.spool(&room(1), &texts, 8, false).unwrap();
    let spooled = file.spooled_after(0, 9).unwrap();
    assert_eq!(spooled.iter().map(|s| s.id).collect::<Vec<_>>(), ids);
    assert_eq!(
        (&spooled[1].text[..], spooled[1].typed_at_ms),
        (&b"two"[..], 8)
    );
    assert_eq!(file.state().unwrap().waiting(), 0);

    let mut entry = waiting(5, 1, 1);
    if let JournalEntry::Waiting { spooled, .. } = &mut entry {
        *spooled = Some(ids[0]);
    }
    file.write(&[entry], []).unwrap();
    assert_eq!(file.state().unwrap().waiting(), 1);
    assert_eq!(file.spooled_after(0, 9).unwrap().len(), 1);
    assert_eq!(file.kept().unwrap(), 2);
    let settled = JournalEntry::Settled {
        handle: 5,
        room: room(1),
        outcome: Recorded::Stored(44),
    };
    file.write(&[settled], []).unwrap();
    file.refuse(ids[1], Refusal::NotAdmitted).unwrap();
    let outcome = |id| file.outcome(id).unwrap().map(|outcome| outcome.recorded);
    assert_eq!(outcome(ids[0]), Some(Recorded::Stored(44)));
    assert_eq!(
        outcome(ids[1]),
        Some(Recorded::Refused(Refusal::NotAdmitted))
    );
    assert_eq!(outcome(99), None);
    assert_eq!(file.kept().unwrap(), 0);
}

/// STO-2, JRN-1, JRN-6, JRN-7: what the version before kept is still there, under the same names.
#[test]
fn a_journal_of_the_version_before_keeps_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let before = Schema {
        migrations: &SCHEMA.migrations[..3],
        ..SCHEMA
    };
    let older = sqlite::open(&path, &before).unwrap();
    older
        .execute_batch(
            "INSERT INTO rooms (id, folded, name, is_numbered, last_n, shown)
                 VALUES (1, 'room 1', 'Room 1', 1, 3, 8);
             INSERT INTO outbox (id, room, handle, n, typed_at, kind, body, is_spooled, is_watched)
                 VALUES (1, 1, 5, 2, 5, 1, x'6c696e652035', 0, 0),
                        (2, 1, 6, 3, 6, 1, x'6c696e652036', 1, 1),
                        (3, 1, NULL, NULL, 7, 1, x'37', 1, 0),
                        (4, 1, NULL, NULL, 8, 1, x'38', 1, 0);
             DELETE FROM outbox WHERE id = 4;
             INSERT INTO items (id, room, seq, number, kind, name)
                 VALUES (8, 1, 0, 1, 1, 'ada'), (9, 1, 0, 2, 2, 'ada');",
        )
        .unwrap();
    drop(older);

    let mut file = JournalFile::open(&path).unwrap();
    let room_state = file.state().unwrap().rooms[&room(1)].clone();
    assert_eq!(room_state.last_n, 3);
    let mut expected = JournalState::default();
    for entry in [waiting(5, 1, 2), waiting(6, 1, 3)] {
        expected.apply(entry);
    }
    assert_eq!(room_state.waiting, expected.rooms[&room(1)].waiting);
    let spooled = file.spooled_after(0, 9).unwrap();
    assert_eq!(spooled.iter().map(|s| s.id).collect::<Vec<_>>(), [3]);
    let settled = JournalEntry::Settled {
        handle: 6,
        room: room(1),
        outcome: Recorded::Stored(44),
    };
    file.write(&[settled], []).unwrap();
    let outcome = file.outcome(2).unwrap().unwrap().recorded;
    assert_eq!(outcome, Recorded::Stored(44));
    // Neither the names of the spool nor those of items are used again.
    let texts = [Bytes::from_static(b"nine")];
    assert_eq!(file.spool(&room(1), &texts, 9, false).unwrap(), [5]);
    file.write(&[received(1, 1)], []).unwrap();
    let (shown, items) = (file.shown(&room(1)), file.items_after(&room(1), 8, 9));
    assert_eq!(shown.unwrap(), 8);
    assert_eq!(
        items.unwrap().iter().map(Item::id).collect::<Vec<_>>(),
        [9, 10]
    );
}

/// JRN-7: a reader's cursor only goes forward.
#[test]
fn a_cursor_is_kept_under_its_name() {
    let (_dir, mut file) = file();
    assert_eq!(file.cursor("bot", &room(1)).unwrap(), None);
    file.move_cursor("bot", &room(1), 7).unwrap();
    file.move_cursor("bot", &room(1), 3).unwrap();
    assert_eq!(file.cursor("bot", &room(1)).unwrap(), Some(7));
    assert_eq!(file.cursor("other", &room(1)).unwrap(), None);
    file.want(&room(2), Some(9), 1_000).unwrap();
    assert_eq!(file.wanted(1_000).unwrap(), [(room(2), Some(9))]);
    assert!(file.wanted(1_001).unwrap().is_empty());
}

/// STO-2, STA-1: what an older node had is not reported as if it were without a hole.
#[test]
fn a_journal_of_an_older_node_claims_nothing_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let first = Schema {
        migrations: &SCHEMA.migrations[..4],
        ..SCHEMA
    };
    let old = sqlite::open(&path, &first).unwrap();
    old.execute_batch(
        "INSERT INTO rooms (name, folded, log, seq, stored_at, hash)
             VALUES ('Room 1', 'room 1', zeroblob(16), 9, 50, zeroblob(32));
         INSERT INTO rooms (name, folded) VALUES ('Room 2', 'room 2')",
    )
    .unwrap();
    drop(old);
    let mut file = JournalFile::open(&path).unwrap();
    let state = file.state().unwrap();
    assert_eq!(state.rooms[&room(1)].entered_after, 9);
    file.write(&[received(1, 10)], []).unwrap();
    assert_eq!(file.state().unwrap().rooms[&room(1)].entered_after, 9);
}

/// JRN-13: what is asked for is answered once, to who asked, and forgotten when nobody waits.
#[test]
fn earlier_lines_are_for_the_reader_who_asked() {
    let (_dir, mut file) = file();
    let id = file.ask_earlier(&room(1), 3, 6, 100_000).unwrap();
    let other = file.ask_earlier(&room(1), 3, 6, 100_000).unwrap();
    let asked = file.asked_after(0, 100_000, 9).unwrap();
    assert_eq!(asked.iter().map(|a| a.id).collect::<Vec<_>>(), [id, other]);
    let Asked { first, before, .. } = asked[0];
    assert_eq!((first, before), (3, 6));
    assert_eq!(file.take_answer(id).unwrap(), None);
    let log = LogId([4; 16]);
    let lines = vec![(log, line(3)), (log, line(5))];
    file.answer(id, &lines).unwrap();
    assert_eq!(file.asked_after(0, 100_000, 9).unwrap().len(), 1);
    assert_eq!(file.take_answer(id).unwrap(), Some(lines.clone()));
    assert_eq!(file.take_answer(id).unwrap(), None);

    assert!(file.still_asks(other, 110_000).unwrap());
    assert!(file.asked_after(0, 125_001, 9).unwrap().is_empty());
    file.ask_earlier(&room(2), 1, 2, 125_001).unwrap();
    assert!(!file.still_asks(other, 125_001).unwrap(), "forgotten");
    file.answer(other, &lines).unwrap();
    assert_eq!(file.take_answer(other).unwrap(), None);
}

/// NOD-1, NOD-2: what the thread completes is in the file, and what was left elsewhere is told.
#[tokio::test]
async fn the_thread_completes_what_is_durable_and_tells_what_others_leave() {
    let (dir, mut other) = file();
    let path = dir.path().join("journal");
    let (unopened, mut store) = Unopened::new();
    let clock = Clock::with_wall(|| 10_000);
    let mut journal = unopened.open(&path, clock).unwrap();
    let entry = received(1, 1);
    store.submit(JournalRequest { id: 6, entry });
    store.ready().await;
    assert_eq!(store.take(), Some(6));
    assert_eq!(other.items_after(&room(1), 0, 9).unwrap().len(), 1);

    let ids = other
        .spool(&room(1), &[Bytes::from_static(b"one")], 8, false)
        .unwrap();
    let News::Spooled(line) = journal.news().await else {
        panic!("no line");
    };
    assert_eq!(line.id, ids[0]);
    other.want(&room(2), None, 9_000).unwrap();
    assert_eq!(journal.news().await, News::Wanted(room(2), None));

    journal.note_shown(3, Shown::Line(room(1), 1));
    let mut shown = journal.shown();
    shown.wait_for(|count| *count == 3).await.unwrap();
    assert_eq!(other.shown(&room(1)).unwrap(), 1);
    journal.refuse(ids[0], Refusal::NotAdmitted);
    drop(store);
    journal.close().await.unwrap();
    assert!(other.outcome(ids[0]).unwrap().is_some());
}

/// JRN-8.
#[test]
fn only_what_can_be_had_again_is_committed_without_waiting_for_the_disk() {
    let (_dir, mut file) = file();
    file.write([&waiting(1, 1, 1)], []).unwrap();
    assert!(file.waited());
    file.write([&received(1, 1)], []).unwrap();
    assert!(!file.waited());
    file.write([&received(1, 2), &waiting(2, 1, 2)], [])
        .unwrap();
    assert!(file.waited());
    let settled = JournalEntry::Settled {
        handle: 1,
        room: room(1),
        outcome: Recorded::Stored(1),
    };
    file.write([&settled], []).unwrap();
    assert!(!file.waited());
    file.sync().unwrap();
    assert!(file.waited());
    let mut not_waited = 0;
    for seq in 3..103 {
        file.write([&received(1, seq)], []).unwrap();
        not_waited = if file.waited() { 0 } else { not_waited + 1 };
        assert!(not_waited < 32);
    }
}

/// JRN-8, JRN-1: what a power cut takes back is the last, and nothing that was waited for.
#[test]
fn a_power_cut_leaves_what_was_waited_for_and_a_beginning_of_the_rest() {
    let (dir, mut file) = file();
    file.write([&waiting(1, 1, 1), &received(1, 1)], [])
        .unwrap();
    let log = |dir: &std::path::Path| std::fs::read(dir.join("journal-wal")).unwrap();
    let on_disk = log(dir.path()).len();
    file.write([&received(1, 2)], []).unwrap();
    let between = log(dir.path()).len();
    file.write([&received(1, 3)], []).unwrap();
    let after = log(dir.path());
    for (kept, seq) in [
        (on_disk, 1),
        ((on_disk + between) / 2, 1),
        (between, 2),
        (after.len(), 3),
    ] {
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("journal");
        std::fs::copy(dir.path().join("journal"), &path).unwrap();
        std::fs::write(copy.path().join("journal-wal"), &after[..kept]).unwrap();
        let state = JournalFile::open(&path).unwrap().state().unwrap();
        let room = &state.rooms[&room(1)];
        let cursor = room.cursor.as_ref().map(|(_, place)| place.seq);
        assert_eq!((room.waiting.len(), cursor), (1, Some(seq)), "{kept} bytes");
    }
}

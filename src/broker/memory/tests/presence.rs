//! Who is present, and who is told (PRS-1 to PRS-5).

use super::*;

fn present(store: &mut MemoryStore) -> Vec<u64> {
    match run(store, StorageOp::Open) {
        StorageOutcome::Opened(opened) => opened.presence.iter().map(|row| row.number).collect(),
        other => panic!("{other:?}"),
    }
}

fn absent(
    store: &mut MemoryStore,
    byte: u8,
    event: NoticeEvent,
    presence: u64,
) -> Option<PresenceRow> {
    let op = StorageOp::Absent {
        room: lobby(),
        account: who(byte).0,
        event,
        presence,
    };
    match run(store, op) {
        StorageOutcome::Absented(row) => row.map(|row| *row),
        other => panic!("{other:?}"),
    }
}

/// Where a node is that has everything, to resume from.
fn up_to_date(store: &mut MemoryStore, byte: u8) -> Start {
    let base = enter(store, byte, None, 0).base;
    Start::After(Resume { log: LOG, base })
}

/// PRS-1, RUM-14: the first entry that is not quiet makes present, and says so.
#[test]
fn presence_begins_once_and_a_quiet_entry_does_not_begin_it() {
    let mut store = MemoryStore::new(LOG);
    assert_eq!(
        enter_at(&mut store, 1, Start::Tail, 0, 0, None).notice,
        None
    );
    assert_eq!(present(&mut store), [0_u64; 0]);
    let entered = enter_at(&mut store, 1, Start::Tail, 0, 0, Some(500));
    let notice = entered.notice.unwrap();
    assert_eq!(
        (notice.event, notice.number, notice.after_seq),
        (NoticeEvent::Joined, 500, 1)
    );
    assert_eq!((notice.author, entered.presence), (entered.author, 500));
    let again = enter_at(&mut store, 1, Start::Tail, 0, 0, Some(600));
    assert_eq!((again.notice, again.presence), (None, 500));
    assert_eq!(present(&mut store), [500]);
}

/// PRS-1, RUM-12.
#[test]
fn presence_ends_once_by_time_by_goodbye_or_with_the_membership() {
    let mut store = MemoryStore::new(LOG);
    for (byte, event) in [(1, NoticeEvent::TimedOut), (2, NoticeEvent::Left)] {
        enter_at(&mut store, byte, Start::Tail, 0, 0, Some(1));
        assert_eq!(
            absent(&mut store, byte, event, 900).map(|row| row.event),
            Some(event)
        );
        assert_eq!(absent(&mut store, byte, event, 901), None);
        assert_eq!(leave(&mut store, byte, 950).unwrap().notice, None);
    }
    enter_at(&mut store, 3, Start::Tail, 0, 0, Some(1));
    let departed = leave(&mut store, 3, 2_000).unwrap();
    let notice = departed.notice.unwrap();
    assert_eq!(
        (notice.event, notice.after_seq),
        (NoticeEvent::Left, departed.line.line.seq)
    );
    assert_eq!(leave(&mut store, 3, 2_001), None);
    assert_eq!(present(&mut store), [0_u64; 0]);
}

/// PRS-3: the clock may fall, numbers do not.
#[test]
fn presence_numbers_rise_whatever_is_asked_for() {
    let mut store = MemoryStore::new(LOG);
    let mut numbers = Vec::new();
    for (byte, asked) in [(1, 500), (2, 400), (3, 501), (4, 900)] {
        numbers.push(enter_at(&mut store, byte, Start::Tail, 0, 0, Some(asked)).presence);
    }
    assert_eq!(numbers, [500, 501, 502, 900]);
    assert_eq!(
        absent(&mut store, 1, NoticeEvent::Left, 7).unwrap().number,
        901
    );
}

/// PRS-3: what a node was not told while it was away is told when it goes on.
#[test]
fn who_resumes_is_told_the_last_notice_about_each_account_that_it_has_not_seen() {
    let mut store = MemoryStore::new(LOG);
    for byte in [1, 2, 3] {
        enter_at(
            &mut store,
            byte,
            Start::Tail,
            0,
            0,
            Some(u64::from(byte) * 10),
        );
    }
    absent(&mut store, 2, NoticeEvent::TimedOut, 40);
    let start = up_to_date(&mut store, 1);
    let missed = |store: &mut MemoryStore, start, seen| {
        let entered = enter_at(store, 1, start, 0, seen, Some(99));
        let rows = entered.missed.into_iter();
        rows.map(|row| (row.number, row.event)).collect::<Vec<_>>()
    };
    assert_eq!(
        missed(&mut store, start, 10),
        [(30, NoticeEvent::Joined), (40, NoticeEvent::TimedOut)]
    );
    assert_eq!(missed(&mut store, start, 40), []);
    assert_eq!(missed(&mut store, Start::Tail, 0), []);
}

/// PRS-3: so many notices are told, and no more.
#[test]
fn the_notices_that_were_missed_are_bounded_and_the_newest_of_them() {
    let mut store = MemoryStore::new(LOG);
    let start = up_to_date(&mut store, 1);
    for number in 1..=MISSED_MAX as u64 + 5 {
        let name = Name::new(&format!("guest{number}")).unwrap();
        let mut key = [9; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        run(
            &mut store,
            StorageOp::Enter {
                room: lobby(),
                account: AccountKey(key),
                device: DeviceKey(key),
                name,
                start: Start::Tail,
                history: 0,
                seen: 0,
                presence: Some(number),
                now_ms: 50,
            },
        );
    }
    let missed = enter_at(&mut store, 1, start, 0, 0, None).missed;
    assert_eq!(missed.len(), MISSED_MAX);
    assert_eq!(missed.last().unwrap().number, MISSED_MAX as u64 + 5);
}

// ---- where to begin, and what is withheld

use super::*;
use crate::broker::storage::{Departed, Entered, MISSED_MAX, MemberRow, PresenceRow};
use crate::chat::{
    HistoryPolicy, Kind, LineBase, NoticeEvent, Publication, Recorded, Resume, ResumeOutcome,
    Start, Stretch,
};
use crate::secure::DeviceKey;

mod history;
mod presence;

const LOG: LogId = LogId([7; 16]);

fn who(byte: u8) -> (AccountKey, DeviceKey, Name) {
    let name = Name::new(&format!("user{byte}")).unwrap();
    (AccountKey([byte; 32]), DeviceKey([byte + 100; 32]), name)
}

fn lobby() -> RoomName {
    RoomName::new("lobby").unwrap()
}

fn run(store: &mut MemoryStore, op: StorageOp) -> StorageOutcome {
    let completion = store.handle(StorageRequest { id: 9, op });
    assert_eq!(completion.id, 9);
    completion.outcome
}

fn enter(store: &mut MemoryStore, byte: u8, resume: Option<Resume>, history: u64) -> Entered {
    let start = resume.map_or(Start::Tail, Start::After);
    enter_at(store, byte, start, history, 0, None)
}

fn enter_at(
    store: &mut MemoryStore,
    byte: u8,
    start: Start,
    history: u64,
    seen: u64,
    presence: Option<u64>,
) -> Entered {
    match run(store, entering(byte, start, history, seen, presence)) {
        StorageOutcome::Entered(entered) => *entered,
        other => panic!("{other:?}"),
    }
}

fn entering(byte: u8, start: Start, history: u64, seen: u64, presence: Option<u64>) -> StorageOp {
    let (account, device, name) = who(byte);
    StorageOp::Enter {
        room: lobby(),
        account,
        device,
        name,
        start,
        history,
        seen,
        presence,
        now_ms: 50,
    }
}

fn registering(byte: u8, name: Name) -> StorageOp {
    let (account, device, _) = who(byte);
    StorageOp::Register {
        account,
        device,
        name,
        entrance: Entrance::Open,
        now_ms: 0,
    }
}

fn publish(store: &mut MemoryStore, byte: u8, n: u64, text: &'static str) -> StorageOutcome {
    publish_at(store, byte, n, text, 60, None)
}

fn publish_at(
    store: &mut MemoryStore,
    byte: u8,
    n: u64,
    text: &'static str,
    now_ms: u64,
    refuse: Option<Refusal>,
) -> StorageOutcome {
    let (account, device, name) = who(byte);
    let publication = Publication {
        n,
        typed_at_ms: 55,
        kind: Kind::Message,
        body: text.into(),
    };
    let room = lobby();
    run(
        store,
        StorageOp::Append {
            room,
            account,
            device,
            name,
            publication,
            refuse,
            now_ms,
        },
    )
}

fn leave(store: &mut MemoryStore, byte: u8, presence: u64) -> Option<Departed> {
    let (account, device, name) = who(byte);
    let op = StorageOp::Leave {
        room: lobby(),
        account,
        device,
        name,
        presence,
        now_ms: 70,
    };
    match run(store, op) {
        StorageOutcome::Departed(departed) => departed.map(|departed| *departed),
        other => panic!("{other:?}"),
    }
}

fn seq_of(outcome: &StorageOutcome) -> u64 {
    match outcome {
        StorageOutcome::Appended(stored) => stored.line.seq,
        other => panic!("not appended: {other:?}"),
    }
}

/// LIM-25: a store that is full takes no line and nobody new, as a full disk; those who are there come
/// and go, and what was stored is found again.
#[test]
fn what_is_kept_is_bounded() {
    let max = 64 << 10;
    let mut store = MemoryStore::new(LOG).with_max(max);
    for byte in [1, 2] {
        enter(&mut store, byte, None, 0);
    }
    let mut n = 0;
    let last = loop {
        match publish(&mut store, 1, n + 1, "0123456789") {
            StorageOutcome::Appended(stored) => n = stored.line.n,
            other => break other,
        }
        assert!(store.kept() <= max && n < 1_000);
    };
    assert_eq!(last, StorageOutcome::Failed);
    // What a line and its records take, and its body.
    assert!((100..130).contains(&n), "{n}");
    let again = publish(&mut store, 1, n, "0123456789");
    assert_eq!(again, StorageOutcome::Known(Recorded::Stored(n + 2)));
    let op = entering(3, Start::Tail, 0, 0, None);
    assert_eq!(run(&mut store, op), StorageOutcome::Failed);
    let op = registering(3, who(3).2);
    assert_eq!(run(&mut store, op), StorageOutcome::Failed);
    enter(&mut store, 2, None, 0);
    assert!(leave(&mut store, 2, 1).is_some());
    assert_eq!(store.lines(&lobby()).count() as u64, n + 3);
}

/// SGN-2.
#[test]
fn the_first_account_to_ask_for_a_name_keeps_it() {
    let mut store = MemoryStore::new(LOG);
    let mut register = |byte: u8, name: &str| {
        let (account, device, _) = who(byte);
        let name = Name::new(name).unwrap();
        run(
            &mut store,
            StorageOp::Register {
                account,
                device,
                name,
                entrance: Entrance::Open,
                now_ms: 0,
            },
        )
    };
    let registered = |name: &str, is_new| StorageOutcome::Registered {
        name: Name::new(name).unwrap(),
        is_new,
    };
    assert_eq!(register(1, "Ada"), registered("Ada", true));
    assert_eq!(register(1, "ada"), registered("Ada", false));
    assert_eq!(
        register(2, "ADA"),
        StorageOutcome::NotRegistered(Refusal::NameTaken)
    );
    assert_eq!(
        register(1, "bob"),
        StorageOutcome::NotRegistered(Refusal::NameFixed)
    );
    assert_eq!(register(2, "bob"), registered("bob", true));
}

/// SGN-8.
#[test]
fn a_name_that_looks_like_another_is_refused() {
    let mut store = MemoryStore::new(LOG);
    let mut register =
        |byte: u8, name: &str| run(&mut store, registering(byte, Name::new(name).unwrap()));
    let alike = StorageOutcome::NotRegistered(Refusal::NameAlike);
    let registered = |name: &str, is_new| StorageOutcome::Registered {
        name: Name::new(name).unwrap(),
        is_new,
    };
    assert_eq!(register(1, "Ace"), registered("Ace", true));
    for cyrillic in ["асе", "АСЕ"] {
        assert_eq!(register(2, cyrillic), alike);
    }
    assert_eq!(register(2, "ace2"), registered("ace2", true));
    assert_eq!(register(1, "ace"), registered("Ace", false));
}

/// RUM-7, RUM-6.
#[test]
fn only_the_first_entry_makes_a_line_and_an_author() {
    let mut store = MemoryStore::new(LOG);
    let first = enter(&mut store, 1, None, 0);
    assert_eq!(first.joined.as_ref().map(|stored| stored.line.seq), Some(1));
    assert_eq!((first.author.number, first.tail_seq), (1, 1));
    let again = enter(&mut store, 1, None, 0);
    assert_eq!((again.joined, again.tail_seq), (None, 1));
    assert_eq!(enter(&mut store, 2, None, 0).author.number, 2);
}

/// RUM-9, RUM-10.
#[test]
fn a_resume_goes_on_where_it_was_and_a_fork_is_told() {
    let mut store = MemoryStore::new(LOG);
    enter(&mut store, 1, None, 0);
    publish(&mut store, 1, 1, "one");
    let place = enter(&mut store, 1, None, 0).base;
    assert_eq!(place.seq, 2);
    publish(&mut store, 1, 2, "two");

    let right = Resume {
        log: LOG,
        base: place,
    };
    let resumed = enter(&mut store, 1, Some(right), 0);
    assert_eq!(
        (resumed.resume, resumed.base),
        (ResumeOutcome::Resumed, place)
    );
    for wrong in [
        Resume {
            log: LogId([8; 16]),
            ..right
        },
        Resume {
            base: LineBase {
                hash: [1; 32],
                ..place
            },
            ..right
        },
        Resume {
            base: LineBase { seq: 99, ..place },
            ..right
        },
    ] {
        let forked = enter(&mut store, 1, Some(wrong), 1);
        assert_eq!(forked.resume, ResumeOutcome::Fork);
    }
}

/// RUM-10: in another history a node gets what was said since the last line that it has.
#[test]
fn a_fork_goes_on_by_the_clock() {
    let mut store = MemoryStore::new(LOG);
    for (n, now_ms) in [(1, 100), (2, 200), (3, 300)] {
        publish_at(&mut store, 1, n, "x", now_ms, None);
    }
    let mut base_after_fork = |stored_at_ms| {
        let base = LineBase {
            seq: 77,
            stored_at_ms,
            hash: [1; 32],
        };
        enter(
            &mut store,
            1,
            Some(Resume {
                log: LogId([8; 16]),
                base,
            }),
            0,
        )
        .base
        .seq
    };
    assert_eq!(base_after_fork(0), 0);
    assert_eq!(base_after_fork(199), 1);
    assert_eq!(base_after_fork(200), 2);
    assert_eq!(
        base_after_fork(9_999),
        4,
        "the line that made it a member is not news to it"
    );
}

/// PUB-2: the outcome of a publication is the same for ever.
#[test]
fn a_publication_is_stored_once_whatever_is_asked_again() {
    let mut store = MemoryStore::new(LOG);
    enter(&mut store, 1, None, 0);
    assert_eq!(seq_of(&publish(&mut store, 1, 1, "one")), 2);
    assert_eq!(publish(&mut store, 1, 3, "three"), StorageOutcome::Gap(1));
    assert_eq!(seq_of(&publish(&mut store, 1, 2, "two")), 3);
    assert_eq!(
        publish(&mut store, 1, 1, "one"),
        StorageOutcome::Known(Recorded::Stored(2))
    );
    assert_eq!(publish(&mut store, 1, 1, "else"), StorageOutcome::Conflict);
    assert_eq!(store.lines(&lobby()).count(), 3);
}

/// PUB-4.
#[test]
fn a_refusal_for_ever_uses_its_number_up() {
    let mut store = MemoryStore::new(LOG);
    let refused = StorageOutcome::Known(Recorded::Refused(Refusal::TooLong));
    assert_eq!(
        publish_at(&mut store, 1, 1, "long", 60, Some(Refusal::TooLong)),
        refused
    );
    assert_eq!(publish(&mut store, 1, 1, "long"), refused);
    assert_eq!(seq_of(&publish(&mut store, 1, 2, "two")), 1);
}

/// RUM-4, RUM-3.
#[test]
fn time_never_falls_and_the_hash_chain_holds() {
    let mut store = MemoryStore::new(LOG);
    for (n, now_ms) in [(1, 100), (2, 90), (3, 110)] {
        publish_at(&mut store, 1, n, "x", now_ms, None);
    }
    let times: Vec<u64> = store
        .lines(&lobby())
        .map(|line| line.stored_at_ms)
        .collect();
    assert_eq!(times, [100, 100, 110]);
    let room = RoomId::of(&lobby());
    let base = store
        .lines(&lobby())
        .fold(LineBase::START, |base, line| line.base_after(room, &base));
    assert_eq!(base, enter(&mut store, 1, None, 0).base);
}

/// BRK-2: reads are short.
#[test]
fn a_read_is_bounded_in_lines_and_bytes() {
    let mut store = MemoryStore::new(LOG);
    for n in 1..=10 {
        publish(&mut store, 1, n, "12345");
    }
    let mut read = |from, lines_max, bytes_max| match run(
        &mut store,
        StorageOp::Read {
            room: lobby(),
            from,
            lines_max,
            bytes_max,
        },
    ) {
        StorageOutcome::Lines(lines) => lines.iter().map(|l| l.line.seq).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(4, 3, 1000), [4, 5, 6]);
    assert_eq!(read(1, 10, 6), [1, 2]);
    assert_eq!(read(11, 3, 1000), [0_u64; 0]);
    assert_eq!(read(0, 3, 1000), [0_u64; 0]);
}

// ---- presence

/// STA-1.
#[test]
fn what_is_reported_is_added_and_never_passes_the_tail() {
    let mut store = MemoryStore::new(LOG);
    enter(&mut store, 1, None, 0);
    enter(&mut store, 2, None, 0);
    for (n, text) in [(1, "three"), (2, "four"), (3, "five")] {
        publish(&mut store, 1, n, text);
    }
    let report = |store: &mut MemoryStore, after, to| {
        let op = StorageOp::Report {
            room: lobby(),
            account: who(1).0,
            lines: Stretch { after, to },
        };
        assert_eq!(run(store, op), StorageOutcome::Reported);
    };
    for (after, to) in [(0, 2), (0, 1), (3, 99), (9, 20), (4, 2)] {
        report(&mut store, after, to);
    }
    let members = |store: &mut MemoryStore| match run(store, StorageOp::Members { room: lobby() }) {
        StorageOutcome::Members(members) => members,
        other => panic!("{other:?}"),
    };
    let row = |byte, joined_seq, has: &[(u64, u64)]| MemberRow {
        account: who(byte).0,
        joined_seq,
        has: has
            .iter()
            .map(|&(after, to)| Stretch { after, to })
            .collect(),
    };
    let with_a_hole = row(1, 1, &[(0, 2), (3, 5)]);
    assert_eq!(members(&mut store), [with_a_hole, row(2, 2, &[])]);
    report(&mut store, 2, 3);
    assert_eq!(members(&mut store), [row(1, 1, &[(0, 5)]), row(2, 2, &[])]);
    leave(&mut store, 1, 1);
    assert_eq!(members(&mut store), [row(2, 2, &[])]);
}

#[test]
fn links_are_remembered_until_they_are_forgotten() {
    let mut store = MemoryStore::new(LOG);
    let row = |id: u8, port| LinkRow {
        cid: [id; 8],
        path: Path::new(([127, 0, 0, 1], port).into()),
    };
    for (remember, forget) in [
        (vec![row(1, 1), row(2, 2), row(3, 3)], vec![]),
        (vec![row(1, 9)], vec![row(2, 2).cid]),
    ] {
        let outcome = run(&mut store, StorageOp::Links { remember, forget });
        assert_eq!(outcome, StorageOutcome::Remembered);
    }
    match run(&mut store, StorageOp::Open) {
        StorageOutcome::Opened(opened) => assert_eq!(opened.links, [row(1, 9), row(3, 3)]),
        other => panic!("{other:?}"),
    }
}

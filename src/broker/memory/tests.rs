use super::*;
use crate::broker::storage::{Departed, Entered, MISSED_MAX, MemberRow, PresenceRow};
use crate::chat::{
    HistoryPolicy, Kind, LineBase, NoticeEvent, Publication, Recorded, Resume, ResumeOutcome, Start,
};
use crate::secure::DeviceKey;

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
    let (account, device, name) = who(byte);
    let op = StorageOp::Enter {
        room: lobby(),
        account,
        device,
        name,
        start,
        history,
        seen,
        presence,
        now_ms: 50,
    };
    match run(store, op) {
        StorageOutcome::Entered(entered) => *entered,
        other => panic!("{other:?}"),
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

fn seq_of(outcome: &StorageOutcome) -> u64 {
    match outcome {
        StorageOutcome::Appended(stored) => stored.line.seq,
        other => panic!("not appended: {other:?}"),
    }
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
            },
        )
    };
    let registered = StorageOutcome::Registered(Name::new("Ada").unwrap());
    assert_eq!(register(1, "Ada"), registered);
    assert_eq!(register(1, "ada"), registered);
    assert_eq!(
        register(2, "ADA"),
        StorageOutcome::NotRegistered(Refusal::NameTaken)
    );
    assert_eq!(
        register(1, "bob"),
        StorageOutcome::NotRegistered(Refusal::NameFixed)
    );
    assert_eq!(
        register(2, "bob"),
        StorageOutcome::Registered(Name::new("bob").unwrap())
    );
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

fn set_policy(store: &mut MemoryStore, byte: u8, n: u64, policy: HistoryPolicy) -> StorageOutcome {
    let (account, device, name) = who(byte);
    let publication = Publication {
        n,
        typed_at_ms: 55,
        kind: Kind::Policy,
        body: policy.as_str().into(),
    };
    let op = StorageOp::Append {
        room: lobby(),
        account,
        device,
        name,
        publication,
        refuse: None,
        now_ms: 60,
    };
    run(store, op)
}

/// RUM-15.
#[test]
fn who_names_a_line_begins_there_or_at_the_tail() {
    let mut store = MemoryStore::new(LOG);
    enter(&mut store, 1, None, 0);
    publish(&mut store, 1, 1, "two");
    publish(&mut store, 1, 2, "three");
    let mut base = |seq| {
        enter_at(&mut store, 1, Start::Line(seq), 0, 0, None)
            .base
            .seq
    };
    assert_eq!(
        [base(0), base(1), base(3), base(4), base(99)],
        [0, 0, 2, 3, 3]
    );
}

/// RUM-16.
#[test]
fn only_who_made_the_room_sets_its_policy() {
    let mut store = MemoryStore::new(LOG);
    enter(&mut store, 1, None, 0);
    enter(&mut store, 2, None, 0);
    let refused = StorageOutcome::Known(Recorded::Refused(Refusal::NotAdmitted));
    assert_eq!(
        set_policy(&mut store, 2, 1, HistoryPolicy::SinceJoin),
        refused
    );
    let StorageOutcome::Appended(line) = set_policy(&mut store, 1, 1, HistoryPolicy::SinceJoin)
    else {
        panic!("it is its room");
    };
    assert_eq!(line.line.kind, Kind::Policy);
}

/// What `byte` gets when it asks for lines 1 to 9, and the first one that it may have.
fn history(store: &mut MemoryStore, byte: u8) -> (u64, Vec<u64>) {
    let op = StorageOp::History {
        room: lobby(),
        account: who(byte).0,
        from: 1,
        before: 10,
        lines_max: 100,
        bytes_max: 10_000,
    };
    match run(store, op) {
        StorageOutcome::Past { first, lines } => {
            (first, lines.iter().map(|stored| stored.line.seq).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// RUM-16: however a newcomer asks, it gets nothing from before it came.
#[test]
fn a_newcomer_never_gets_what_the_policy_withholds() {
    let mut store = MemoryStore::new(LOG);
    enter(&mut store, 1, None, 0);
    publish(&mut store, 1, 1, "secret");
    set_policy(&mut store, 1, 2, HistoryPolicy::SinceJoin);
    assert_eq!(history(&mut store, 2), (4, vec![]), "no member, no line");
    let beginning = Resume {
        log: LOG,
        base: LineBase::START,
    };
    let other_log = Resume {
        log: LogId([8; 16]),
        ..beginning
    };
    for start in [
        Start::Tail,
        Start::Line(1),
        Start::After(beginning),
        Start::After(other_log),
    ] {
        let entered = enter_at(&mut store, 2, start, 100, 0, None);
        assert_eq!(entered.base.seq, 3, "{start:?}");
        assert_ne!(entered.resume, ResumeOutcome::Resumed);
    }
    assert_eq!(history(&mut store, 2), (4, vec![4]));
    assert_eq!(history(&mut store, 1), (1, vec![1, 2, 3, 4]));
    set_policy(&mut store, 1, 3, HistoryPolicy::All);
    assert_eq!(history(&mut store, 2), (1, vec![1, 2, 3, 4, 5]));
}

/// HST-1: a page ends before the line named, whatever its limits.
#[test]
fn a_page_of_history_ends_where_it_was_asked_to() {
    let mut store = MemoryStore::new(LOG);
    enter(&mut store, 1, None, 0);
    for n in 1..=9 {
        publish(&mut store, 1, n, "12345");
    }
    let mut page = |from, before, lines_max, bytes_max| {
        let op = StorageOp::History {
            room: lobby(),
            account: who(1).0,
            from,
            before,
            lines_max,
            bytes_max,
        };
        match run(&mut store, op) {
            StorageOutcome::Past { lines, .. } => lines
                .iter()
                .map(|stored| stored.line.seq)
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(page(3, 6, 100, 10_000), [3, 4, 5]);
    assert_eq!(page(3, 6, 2, 10_000), [3, 4]);
    assert_eq!(page(3, 6, 100, 6), [3, 4]);
    assert_eq!(page(0, 3, 100, 10_000), [1, 2]);
    assert_eq!(page(9, 9, 100, 10_000), [0_u64; 0]);
}

// ---- states, links

/// STA-1.
#[test]
fn a_reported_cursor_never_falls_and_never_passes_the_tail() {
    let mut store = MemoryStore::new(LOG);
    enter(&mut store, 1, None, 0);
    enter(&mut store, 2, None, 0);
    publish(&mut store, 1, 1, "three");
    let (account, own, _) = who(1);
    for (device, seq) in [(own, 2), (own, 1), (DeviceKey([7; 32]), 99)] {
        let room = lobby();
        let op = StorageOp::Report {
            room,
            account,
            device,
            seq,
        };
        assert_eq!(run(&mut store, op), StorageOutcome::Reported);
    }
    let members = |store: &mut MemoryStore| match run(store, StorageOp::Members { room: lobby() }) {
        StorageOutcome::Members(members) => members,
        other => panic!("{other:?}"),
    };
    let row = |byte, joined_seq, cursor| MemberRow {
        account: who(byte).0,
        joined_seq,
        cursor,
    };
    assert_eq!(members(&mut store), [row(1, 1, 3), row(2, 2, 0)]);
    leave(&mut store, 1, 1);
    assert_eq!(members(&mut store), [row(2, 2, 0)]);
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

//! Where a member begins, and what it may read (RUM-15, RUM-16, HST-1).

use super::*;

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
        has_begun: false,
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
            has_begun: false,
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

//! Order, company, and a disk that is full.

use super::*;

/// BRK-5.
#[test]
fn a_read_sees_every_change_asked_for_before_it_and_none_after() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    // The second time the reader is asked, which does not wait for the writer.
    for round in 0..2 {
        let mut ops = vec![enter(1)];
        for i in 1..=100 {
            ops.push(publish(1, round * 100 + i, "text"));
            ops.push(read(1, usize::MAX));
        }
        let answers = disk.ask(&mut store, ops);
        let ids: Vec<_> = answers.iter().map(|answer| answer.id).collect();
        assert!(ids.is_sorted());
        let reads = answers.into_iter().skip(2).step_by(2);
        for (i, answer) in (1..).zip(reads) {
            assert_eq!(lines(answer.outcome).len(), round as usize * 100 + 1 + i);
        }
    }
    disk.close(store, running);
}

/// STO-5: what waits shares a transaction, up to a bound.
#[test]
fn what_waits_is_committed_together() {
    let disk = Disk::new();
    let connection = sqlite::open(&disk.path(), &schema::SCHEMA).unwrap();
    let tables = Tables::open(&connection, LOG).unwrap();
    let (failed, _failures) = async_mpsc::unbounded_channel();
    let keeper = writer::Keeper::start(&disk.path(), &failed).unwrap();
    let (answered, mut answers) = async_mpsc::unbounded_channel();
    let writer = writer::Writer::new(connection, tables, answered, keeper).unwrap();
    // All of it waits before the writer first looks.
    let (sender, jobs) = mpsc::channel();
    let mut lanes = Lanes::default();
    for id in 0..=COMMIT_REQUESTS_MAX as u64 {
        let op = publish(1, id + 1, "text");
        match lanes.asked(StorageRequest { id, op }) {
            Some(Way::Writer(ticket, request)) => sender.send((ticket, request)).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    drop(sender);
    writer
        .start(jobs, std::thread::spawn(|| ()), &failed)
        .unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = answers.blocking_recv() {
        batches.push(batch.len());
    }
    assert_eq!(batches, [COMMIT_REQUESTS_MAX, 1]);
}

/// STO-8: a disk that is full undoes the batch, and no more; when there is room again, it goes on.
#[test]
fn a_full_disk_changes_nothing_and_passes() {
    let disk = Disk::new();
    let connection = sqlite::open(&disk.path(), &schema::SCHEMA).unwrap();
    let mut tables = Tables::open(&connection, LOG).unwrap();
    let stored = tables.apply(&connection, publish(1, 1, "before")).unwrap();
    let pages: u32 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    connection
        .pragma_update(None, "max_page_count", pages)
        .unwrap();
    assert!(matches!(stored, StorageOutcome::Appended(_)));

    let long = "x".repeat(16_000);
    let transaction = connection.unchecked_transaction().unwrap();
    tables.apply(&transaction, publish(1, 2, "short")).unwrap();
    let full = tables
        .apply(&transaction, publish(1, 3, &long))
        .unwrap_err();
    assert_eq!(full.blame, Blame::Full);
    assert!(may_pass(full.blame));
    drop(transaction);
    tables.forget();

    connection
        .pragma_update(None, "max_page_count", pages * 100)
        .unwrap();
    let again = tables.apply(&connection, publish(1, 3, &long)).unwrap();
    assert_eq!(again, StorageOutcome::Gap(1));
    let next = tables.apply(&connection, publish(1, 2, "short")).unwrap();
    assert!(matches!(next, StorageOutcome::Appended(stored) if stored.line.seq == 2));
}

/// STO-9: SQLite's log is emptied while commits go on, and does not outgrow its bound by more than
/// one commit.
#[test]
fn the_write_ahead_log_stays_short_under_load() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    let text = "x".repeat(16_000);
    let per_batch = COMMIT_REQUESTS_MAX as u64;
    let (mut written, mut longest) = (0, 0);
    for batch in 0..14 {
        let ops = (1..=per_batch).map(|i| publish(1, batch * per_batch + i, &text));
        let answers = disk.ask(&mut store, ops.collect());
        written += answers.len() * text.len();
        let wal = disk.dir.path().join(format!("{FILE_NAME}-wal"));
        longest = longest.max(std::fs::metadata(wal).unwrap().len());
    }
    let bound = (u64::from(WAL_PAGES_MAX) + 3 * per_batch * 5) * 4_200;
    assert!(longest < bound, "{longest} bytes, not {bound}");
    assert!(written as u64 > bound, "so much would fit without any care");
    disk.close(store, running);
    assert_eq!(std::fs::read_dir(disk.dir.path()).unwrap().count(), 1);
}

/// STO-9: where commits follow each other without a pause, SQLite's log begins anew all the same.
#[test]
fn the_write_ahead_log_begins_anew_between_commits() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    let text = "x".repeat(16_000);
    let pages_in_all = WAL_PAGES_MAX - 1_000;
    for n in 1..=u64::from(pages_in_all / 5) {
        disk.ask(&mut store, vec![publish(1, n, &text)]);
    }
    let wal = disk.dir.path().join(format!("{FILE_NAME}-wal"));
    let longest = std::fs::metadata(wal).unwrap().len();
    let bound = u64::from(pages_in_all / 2) * 4_120;
    assert!(longest < bound, "{longest} bytes, not {bound}");
    disk.close(store, running);
}

/// LIM-18: of rooms without end, the store remembers so many ends, and forgets what it knows of rooms
/// when that is too much.
#[test]
fn what_is_remembered_of_rooms_is_bounded() {
    let mut lanes = Lanes::default();
    let mut memory = crate::broker::MemoryStore::new(LOG);
    for id in 0..lanes::TAILS_MAX as u64 + 50 {
        let op = enter_room(&format!("room{id}"));
        let Some(Way::Writer(ticket, request)) = lanes.asked(StorageRequest { id, op }) else {
            panic!("it changes something");
        };
        lanes.answered(vec![(ticket, memory.handle(request))]);
        lanes.take().unwrap();
    }
    assert_eq!(lanes.tails(), lanes::TAILS_MAX);

    let disk = Disk::new();
    let connection = sqlite::open(&disk.path(), &schema::SCHEMA).unwrap();
    let mut tables = Tables::open(&connection, LOG).unwrap();
    tables.apply(&connection, enter(1)).unwrap();
    tables.trim(ROOMS_CACHED_MAX);
    assert!(tables.remembers_rooms());
    tables.trim(1);
    assert!(!tables.remembers_rooms());
}

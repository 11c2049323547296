//! What members have, in the file.

use super::*;
use crate::broker::{MemberRow, MemoryStore};
use crate::chat::{Coverage, STRETCHES_MAX, Stretch};
use crate::store::log::schema::{SCHEMA, VERSION_1};
use crate::store::sqlite::{self, Schema};

fn report(byte: u8, after: u64, to: u64) -> StorageOp {
    StorageOp::Report {
        room: room("lobby"),
        account: who(byte).0,
        lines: Stretch { after, to },
    }
}

fn members(outcome: StorageOutcome) -> Vec<MemberRow> {
    match outcome {
        StorageOutcome::Members(rows) => rows,
        other => panic!("no members: {other:?}"),
    }
}

fn ask_members() -> StorageOp {
    let room = room("lobby");
    StorageOp::Members { room }
}

/// STA-1, LIM-13: a hole stays a hole, across a restart too, and so many are kept as in memory.
#[test]
fn what_a_member_has_is_kept_with_its_holes() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    let mut reference = MemoryStore::new(LOG);
    let most = STRETCHES_MAX as u64;
    let lines = 2 * most + 10;
    let mut ops = vec![enter(1), enter(2)];
    ops.extend((1..=lines).map(|n| publish(1, n, "text")));
    // Far more holes than are kept, one that is filled, and lines that are not there.
    ops.extend((1..=most + 3).rev().map(|i| report(1, 2 * i, 2 * i + 1)));
    ops.extend([report(1, 100, 102), report(2, 4, 7), report(2, 10, 9_999)]);
    for op in &ops {
        let request = StorageRequest {
            id: 0,
            op: op.clone(),
        };
        reference.handle(request);
    }
    let request = StorageRequest {
        id: 0,
        op: ask_members(),
    };
    let expected = members(reference.handle(request).outcome);
    let stretch = |after, to| Stretch { after, to };
    let of_the_second = Coverage::from_iter([stretch(4, 7), stretch(10, lines + 2)]);
    assert_eq!(expected[1].has, of_the_second);
    assert!(!expected[0].has.has(3) && expected[0].has.has(102));

    disk.ask(&mut store, ops);
    assert_eq!(members(disk.ask_one(&mut store, ask_members())), expected);
    disk.close(store, running);
    let (mut store, running) = disk.open();
    assert_eq!(members(disk.ask_one(&mut store, ask_members())), expected);
    disk.close(store, running);
    assert_eq!(check(&disk.path()).unwrap().faults, [""; 0]);
}

/// STO-2, STA-1: what a log of the first version counted stays counted, and so much and no more.
#[test]
fn what_an_older_log_counted_stays_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let first = Schema {
        migrations: &[VERSION_1],
        ..SCHEMA
    };
    let old = sqlite::open(&path, &first).unwrap();
    old.execute_batch(
        "INSERT INTO rooms (id, name, folded) VALUES (3, 'lobby', 'lobby');
         INSERT INTO cursors (room, account, device, seq) VALUES
             (3, x'01', x'0a', 5), (3, x'01', x'0b', 9), (3, x'02', x'0c', 0);",
    )
    .unwrap();
    drop(old);
    let new = sqlite::open(&path, &SCHEMA).unwrap();
    let mut query = new
        .prepare("SELECT room, hex(account), after_seq, seq FROM covered")
        .unwrap();
    let rows = query.query_map((), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    let rows: Vec<(i64, String, i64, i64)> =
        rows.unwrap().collect::<rusqlite::Result<_>>().unwrap();
    assert_eq!(rows, [(3, "01".to_owned(), 0, 9)]);
}

/// STO-10: the full check notices who is said to have what is not there, or the same twice.
#[test]
fn the_full_check_looks_at_what_members_have() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    disk.ask(&mut store, vec![enter(1), publish(1, 1, "text")]);
    disk.close(store, running);
    for (rows, fault) in [
        ("(1, x'01', 0, 1), (1, x'01', 1, 2)", "told twice"),
        ("(1, x'01', 1, 3)", "beyond the last one"),
    ] {
        let file = sqlite::open(&disk.path(), &SCHEMA).unwrap();
        let insert = format!(
            "DELETE FROM covered; INSERT INTO covered (room, account, after_seq, seq) VALUES {rows}"
        );
        file.execute_batch(&insert).unwrap();
        drop(file);
        let faults = check(&disk.path()).unwrap().faults;
        assert!(faults.len() == 1 && faults[0].contains(fault), "{faults:?}");
    }
}

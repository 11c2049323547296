//! What crashes and failing disks leave.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use super::*;

/// A log of `count` lines, each of them committed by itself, as a crash would leave it: copied while
/// it is open. Returns the lines.
fn crashed(count: u64) -> (Disk, Vec<StoredLine>) {
    let (live, disk) = (Disk::new(), Disk::new());
    let (mut store, running) = live.open();
    for n in 1..=count {
        live.ask_one(&mut store, publish(1, n, &format!("line {n}")));
    }
    let stored = lines(live.ask_one(&mut store, read(1, usize::MAX)));
    copy_dir(live.dir.path(), disk.dir.path());
    live.close(store, running);
    (disk, stored)
}

/// STO-5: what is left of a log that was cut off is what was committed before the cut: a prefix,
/// whole and without a hole.
#[test]
fn a_log_that_was_cut_off_anywhere_holds_a_prefix_of_what_was_committed() {
    let (crashed, stored) = crashed(24);
    let wal = format!("{FILE_NAME}-wal");
    let len = fs::metadata(crashed.dir.path().join(&wal)).unwrap().len();
    let mut found = std::collections::BTreeSet::new();
    let (mut before, steps) = (0, 97);
    for step in 0..=steps {
        let disk = Disk::new();
        copy_dir(crashed.dir.path(), disk.dir.path());
        // The index of the log is rebuilt after a crash of the machine.
        fs::remove_file(disk.dir.path().join(format!("{FILE_NAME}-shm"))).unwrap();
        let file = OpenOptions::new()
            .write(true)
            .open(disk.dir.path().join(&wal))
            .unwrap();
        file.set_len(len * step / steps).unwrap();
        let (mut store, running) = disk.open();
        let left = lines(disk.ask_one(&mut store, read(1, usize::MAX)));
        assert_eq!(left, stored[..left.len()]);
        assert!(left.len() >= before, "less is left of more");
        before = left.len();
        found.insert(left.len());
        // It goes on behind the last line that is left, once.
        let next = left.len() as u64 + 1;
        let again = disk.ask_one(&mut store, publish(1, next, "after"));
        assert!(matches!(again, StorageOutcome::Appended(line) if line.line.seq == next));
        disk.close(store, running);
        assert_eq!(check(&disk.path()).unwrap().faults, [""; 0]);
    }
    assert_eq!(found.last(), Some(&stored.len()));
    assert!(found.len() > 20, "{found:?}");
}

/// STO-6, STO-7, STO-10: a byte that changed on the disk is noticed, or was of no importance; no
/// line is ever handed out that is not what was stored.
#[test]
fn a_byte_that_changed_is_noticed_or_does_no_harm() {
    let (crashed, stored) = crashed(400);
    // Everything into the file.
    let (store, running) = crashed.open();
    crashed.close(store, running);
    let len = fs::metadata(crashed.path()).unwrap().len();
    let (mut refused, mut told, mut harmless) = (0, 0, 0);
    for step in 0..200 {
        let disk = Disk::new();
        fs::copy(crashed.path(), disk.path()).unwrap();
        flip(&disk.path(), len * step / 200 + step % 64);
        let report = check(&disk.path());
        let is_sound = report.as_ref().is_ok_and(|report| report.faults.is_empty());
        let Ok((mut store, running)) = SqliteStore::open(&disk.path(), LOG) else {
            refused += 1;
            continue;
        };
        store.submit(StorageRequest {
            id: 0,
            op: read(1, usize::MAX),
        });
        match disk.answer_or_end(store, running) {
            Ok(outcome) => {
                let left = lines(outcome);
                if left == stored {
                    harmless += u32::from(is_sound);
                    told += u32::from(!is_sound);
                } else {
                    // Where the list of rooms is damaged, none is found.
                    assert!(left.is_empty() && !is_sound, "{report:?}");
                    told += 1;
                }
            }
            Err(error) => {
                assert_eq!(error.blame, Blame::Damaged, "{error}");
                assert!(!is_sound, "{error}");
                refused += 1;
            }
        }
    }
    // Space that is not used, and what else does no harm, is a part of every file.
    assert!(
        refused > 15 && told > 0 && harmless > 20,
        "{refused} {told} {harmless}"
    );
}

fn flip(path: &Path, at: u64) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 0x41]).unwrap();
}

impl Disk {
    /// The answer to what was asked, or why there will be none.
    fn answer_or_end(
        &self,
        mut store: SqliteStore,
        mut running: Running,
    ) -> Result<StorageOutcome> {
        let first = async {
            tokio::select! {
                () = store.ready() => Ok(()),
                ended = running.ended() => Err(ended.expect_err("it was not told to end")),
            }
        };
        let first = self
            .runtime
            .block_on(async { timeout(PATIENCE, first).await });
        first.expect("an answer in time")?;
        let answer = store.take().map(|completion| completion.outcome);
        self.close(store, running);
        Ok(answer.expect("it is ready"))
    }
}

/// STO-8: a line that is not what was stored ends the store, and nothing is answered.
#[test]
fn a_line_that_was_changed_is_never_handed_out() {
    for (change, at) in [
        (
            "UPDATE lines SET body = x'6c696e6520342e' WHERE seq = 40",
            40,
        ),
        ("UPDATE lines SET author = 2 WHERE seq = 7", 7),
        ("DELETE FROM lines WHERE seq = 30", 30),
    ] {
        let (disk, _) = crashed(60);
        let (mut store, running) = disk.open();
        disk.ask_one(&mut store, enter(2));
        disk.close(store, running);
        let connection = sqlite::open(&disk.path(), &schema::SCHEMA).unwrap();
        assert_eq!(connection.execute(change, ()).unwrap(), 1);
        drop(connection);

        let (mut store, running) = disk.open();
        store.submit(StorageRequest {
            id: 0,
            op: enter(1),
        });
        let error = disk.answer_or_end(store, running).unwrap_err();
        assert_eq!(error.blame, Blame::Damaged);
        assert!(
            error
                .to_string()
                .contains(&format!("line {at} of the room lobby")),
            "{error}"
        );
        let report = check(&disk.path()).unwrap();
        assert!(
            report.faults[0].contains(&format!("line {at} of")),
            "{report:?}"
        );
    }
}

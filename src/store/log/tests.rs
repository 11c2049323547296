//! The log beside its reference, `MemoryStore`, and beside what crashes leave of it.

mod admitted;
mod alike;
mod covered;
mod damage;
mod devices;
mod order;
mod same;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::*;
use crate::broker::{StorageOp, StorageOutcome, StoredLine};
use crate::chat::{Kind, Name, Publication, RoomName, Start};
use crate::secure::{AccountKey, DeviceKey};

/// Longer than anything here takes; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const LOG: LogId = LogId([7; 16]);

/// A log in a directory of its own, and who waits for it.
struct Disk {
    dir: TempDir,
    runtime: Runtime,
}

impl Disk {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        Self {
            dir: tempfile::tempdir().unwrap(),
            runtime: runtime.unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(FILE_NAME)
    }

    fn open(&self) -> (SqliteStore, Running) {
        SqliteStore::open(&self.path(), LOG).unwrap()
    }

    /// Asks for everything at once, and returns the answers in the order in which they came.
    fn ask(&self, store: &mut SqliteStore, ops: Vec<StorageOp>) -> Vec<StorageCompletion> {
        let asked = ops.len();
        for (id, op) in (0..).zip(ops) {
            store.submit(StorageRequest { id, op });
        }
        (0..asked).map(|_| self.next(store)).collect()
    }

    fn next(&self, store: &mut SqliteStore) -> StorageCompletion {
        let answer = async {
            loop {
                if let Some(completion) = store.take() {
                    return completion;
                }
                store.ready().await;
            }
        };
        let answer = self
            .runtime
            .block_on(async { timeout(PATIENCE, answer).await });
        answer.expect("an answer in time")
    }

    fn ask_one(&self, store: &mut SqliteStore, op: StorageOp) -> StorageOutcome {
        self.ask(store, vec![op]).remove(0).outcome
    }

    /// How the log ended.
    fn end(&self, mut running: Running) -> Result<()> {
        let ended = self
            .runtime
            .block_on(async { timeout(PATIENCE, running.ended()).await });
        ended.expect("an end in time")
    }

    /// Closes the log in an orderly way.
    fn close(&self, store: SqliteStore, running: Running) {
        drop(store);
        self.end(running).unwrap();
    }
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn who(byte: u8) -> (AccountKey, DeviceKey, Name) {
    let name = Name::new(&format!("user{byte}")).unwrap();
    (
        AccountKey([byte + 1; 32]),
        DeviceKey([byte + 100; 32]),
        name,
    )
}

fn enter(byte: u8) -> StorageOp {
    let (account, device, name) = who(byte);
    StorageOp::Enter {
        room: room("lobby"),
        account,
        device,
        name,
        start: Start::Tail,
        history: 0,
        seen: 0,
        presence: None,
        now_ms: 50,
    }
}

fn enter_room(room: &str) -> StorageOp {
    let mut op = enter(9);
    if let StorageOp::Enter { room: which, .. } = &mut op {
        *which = self::room(room);
    }
    op
}

fn publish(byte: u8, n: u64, text: &str) -> StorageOp {
    let (account, device, name) = who(byte);
    StorageOp::Append {
        room: room("lobby"),
        account,
        device,
        name,
        publication: Publication {
            n,
            typed_at_ms: 55,
            kind: Kind::Message,
            body: text.to_owned().into(),
        },
        refuse: None,
        now_ms: 60,
    }
}

fn read(from: u64, lines_max: usize) -> StorageOp {
    StorageOp::Read {
        room: room("lobby"),
        from,
        lines_max,
        bytes_max: usize::MAX,
    }
}

fn lines(outcome: StorageOutcome) -> Vec<StoredLine> {
    match outcome {
        StorageOutcome::Lines(lines) => lines,
        other => panic!("no lines: {other:?}"),
    }
}

/// A copy of what a crash would leave at this moment, made by nobody who knows what it is.
fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

//! The log on the disk: lines appended and synced, from the request to the completion. This is
//! mostly the disk's time; `peer fsync` says how much.

use divan::Bencher;
use divan::counter::ItemsCount;
use tempfile::TempDir;
use tertulia::broker::{StorageOp, StorageRequest};
use tertulia::chat::{Kind, LogId, Name, Publication, RoomName};
use tertulia::driver::Store as _;
use tertulia::secure::{AccountKey, DeviceKey};
use tertulia::store::log::{FILE_NAME, SqliteStore};

const BODY: &[u8] = &[b'x'; 100];

#[divan::bench(args = [1, 64], sample_size = 1, sample_count = 200)]
fn append_lines(bencher: Bencher<'_, '_>, lines: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    // Not in memory, as temporary directories may be.
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let opened = SqliteStore::open(&dir.path().join(FILE_NAME), LogId([1; 16]));
    let (mut store, _running) = opened.expect("a log");
    let mut n = 0;
    bencher.counter(ItemsCount::new(lines)).bench_local(|| {
        for _ in 0..lines {
            n += 1;
            store.submit(append(n));
        }
        runtime.block_on(async {
            for _ in 0..lines {
                while store.take().is_none() {
                    store.ready().await;
                }
            }
        });
    });
}

fn append(n: u64) -> StorageRequest {
    let op = StorageOp::Append {
        room: RoomName::default(),
        account: AccountKey([1; 32]),
        device: DeviceKey([2; 32]),
        name: Name::new("ada").expect("a name"),
        publication: Publication {
            n,
            typed_at_ms: n,
            kind: Kind::Message,
            body: BODY.into(),
        },
        refuse: None,
        now_ms: n,
    };
    StorageRequest { id: n, op }
}

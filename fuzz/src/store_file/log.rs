//! A broker's log.

use core::time::Duration;
use std::path::Path;
use std::sync::LazyLock;

use tertulia::broker::{Entrance, StorageOp, StorageOutcome, StorageRequest, StoredLine};
use tertulia::chat::{Kind, LogId, Name, Publication, RoomName, Start};
use tertulia::driver::Store as _;
use tertulia::secure::{AccountKey, DeviceKey};
use tertulia::store::log::{FILE_NAME, LogView, Running, SqliteStore, check as check_fully};
use tertulia::store::sqlite::StoreError;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Damage, Fate, Files, assert_blames_the_file, directory};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const LOG: LogId = LogId([7; 16]);
const ROOMS: [&str; 2] = ["lobby", "tea"];
/// How many lines each of two people says in each room before the log is closed once, and after.
const SAID_BEFORE: u64 = 12;
const SAID_AFTER: u64 = 6;

/// A log that was in use when it crashed.
struct Crashed {
    files: Files,
    /// The lines of each room, as they were stored.
    stored: Vec<Vec<StoredLine>>,
}

static CRASHED: LazyLock<Crashed> = LazyLock::new(|| {
    let directory = directory();
    let path = directory.path().join(FILE_NAME);
    let mut open = Open::new(&path).expect("nothing is damaged");
    say(&mut open, 1..=SAID_BEFORE);
    open.close();
    let mut open = Open::new(&path).expect("nothing is damaged");
    say(&mut open, SAID_BEFORE + 1..=SAID_BEFORE + SAID_AFTER);
    let stored = ROOMS.map(|room| open.lines(room).expect("nothing is damaged"));
    let files = Files::copy(&path);
    open.close();
    Crashed {
        files,
        stored: stored.into(),
    }
});

fn say(open: &mut Open, numbers: core::ops::RangeInclusive<u64>) {
    for n in numbers {
        for room in ROOMS {
            for person in [1, 2] {
                if n == 1 {
                    open.ask(register(person)).expect("nothing is damaged");
                    open.ask(enter(room, person)).expect("nothing is damaged");
                }
                let said = open.ask(publish(room, person, n));
                assert!(matches!(said, Ok(StorageOutcome::Appended(_))), "{said:?}");
            }
        }
    }
}

pub(super) fn check(damages: &[Damage]) -> Fate {
    let directory = CRASHED.files.damaged(damages).lay_out(FILE_NAME);
    let path = directory.path().join(FILE_NAME);
    let is_main_whole = damages.iter().all(|damage| damage.is_in_wal);
    let is_wal_whole = damages.iter().all(|damage| !damage.is_in_wal);

    // Whoever looks at it sees nothing but what was stored.
    let report = check_fully(&path);
    let is_sound = report.as_ref().is_ok_and(|report| report.faults.is_empty());
    match LogView::open(&path) {
        Ok(view) => {
            for (room, stored) in ROOMS.iter().zip(&CRASHED.stored) {
                look(&view, room, stored, is_sound);
            }
        }
        Err(error) => {
            assert_blames_the_file(&error);
            assert!(!is_sound, "{error}");
        }
    }
    let mut open = match Open::new(&path) {
        Ok(open) => open,
        Err(error) => {
            assert_blames_the_file(&error);
            // (Who only reads does not look at all of the schema, so the full check may say less.)
            assert!(!is_main_whole, "{error}");
            return Fate::Refused;
        }
    };
    match use_it(&mut open, is_sound) {
        Ok(is_whole) => {
            open.close();
            // The lines are the room's own; that there is no such room, only the full check tells.
            assert!(is_whole || !is_sound || !is_wal_whole, "{report:?}");
            if is_sound {
                let again = check_fully(&path).expect("it was sound");
                assert_eq!(again.faults, [""; 0]);
            }
            if is_whole { Fate::Whole } else { Fate::Shorter }
        }
        Err(error) => {
            assert_blames_the_file(&error);
            assert!(!is_main_whole, "{error}");
            Fate::Stopped
        }
    }
}

/// What a reader beside the broker gets of a room is a beginning of what was stored.
fn look(view: &LogView, room: &str, stored: &[StoredLine], is_sound: bool) {
    let mut seen = Vec::new();
    let looked = view.each_line(&room_name(room), |line| {
        seen.push(line);
        Ok::<_, StoreError>(())
    });
    assert_stored(&seen, stored, is_sound);
    if let Err(error) = looked {
        assert_blames_the_file(&error);
    }
}

/// Whether these are the first lines of what was stored. The name beside a line is the account's,
/// and no part of the line's record (RUM-2): that it was changed, only the full check tells.
fn assert_stored(lines: &[StoredLine], stored: &[StoredLine], is_sound: bool) {
    assert!(lines.len() <= stored.len(), "more than was stored");
    for (line, stored) in lines.iter().zip(stored) {
        let mut line = line.clone();
        if !is_sound {
            line.line.name = stored.line.name.clone();
        }
        assert_eq!(line, *stored, "a line that was not stored");
    }
}

/// Reads and writes as a broker does. Returns whether nothing was missing.
fn use_it(open: &mut Open, is_sound: bool) -> Result<bool, StoreError> {
    let mut is_whole = true;
    open.ask(StorageOp::Open)?;
    for (room, stored) in ROOMS.iter().zip(&CRASHED.stored) {
        let left = open.lines(room)?;
        assert_stored(&left, stored, is_sound);
        is_whole &= left.len() == stored.len();
        open.ask(enter(room, 1))?;
        open.ask(register(3))?;
        let appended = match open.ask(publish(room, 3, 1))? {
            StorageOutcome::Appended(line) => Some(line),
            _ => None,
        };
        let now = open.lines(room)?;
        assert_eq!(now[..left.len()], left);
        let new = &now[left.len()..];
        // Who is no member any more becomes one by a line.
        assert!(new.len() <= 1 + usize::from(appended.is_some()));
        if let Some(line) = appended {
            assert_eq!(new.last(), Some(&*line));
        }
        open.ask(StorageOp::Members {
            room: room_name(room),
        })?;
    }
    Ok(is_whole)
}

/// A log that is open, and who waits for it.
struct Open {
    runtime: Runtime,
    store: SqliteStore,
    running: Running,
}

impl Open {
    fn new(path: &Path) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_time().build();
        let (store, running) = SqliteStore::open(path, LOG)?;
        Ok(Self {
            runtime: runtime.expect("a runtime"),
            store,
            running,
        })
    }

    /// The answer, or why there will be none.
    fn ask(&mut self, op: StorageOp) -> Result<StorageOutcome, StoreError> {
        self.store.submit(StorageRequest { id: 0, op });
        let answer = async {
            tokio::select! {
                biased;
                () = self.store.ready() => Ok(()),
                ended = self.running.ended() => {
                    Err(ended.expect_err("it was not told to end"))
                }
            }
        };
        let waited = self
            .runtime
            .block_on(async { timeout(PATIENCE, answer).await });
        waited.expect("an answer in time")?;
        let completion = self.store.take().expect("it is ready");
        Ok(completion.outcome)
    }

    fn lines(&mut self, room: &str) -> Result<Vec<StoredLine>, StoreError> {
        let read = StorageOp::Read {
            room: room_name(room),
            from: 1,
            lines_max: usize::MAX,
            bytes_max: usize::MAX,
        };
        match self.ask(read)? {
            StorageOutcome::Lines(lines) => Ok(lines),
            other => panic!("no lines: {other:?}"),
        }
    }

    fn close(mut self) {
        drop(self.store);
        let ended = async { timeout(PATIENCE, self.running.ended()).await };
        let ended = self.runtime.block_on(ended).expect("an end in time");
        ended.expect("all was done");
    }
}

fn room_name(room: &str) -> RoomName {
    RoomName::new(room).expect("a name")
}

fn who(person: u8) -> (AccountKey, DeviceKey, Name) {
    let name = Name::new(&format!("user{person}")).expect("a name");
    (
        AccountKey([person; 32]),
        DeviceKey([person + 100; 32]),
        name,
    )
}

fn register(person: u8) -> StorageOp {
    let (account, device, name) = who(person);
    StorageOp::Register {
        account,
        device,
        name,
        entrance: Entrance::Open,
        now_ms: 40,
    }
}

fn enter(room: &str, person: u8) -> StorageOp {
    let (account, device, name) = who(person);
    StorageOp::Enter {
        room: room_name(room),
        account,
        device,
        name,
        start: Start::Tail,
        history: 3,
        seen: 0,
        presence: Some(1),
        now_ms: 50,
    }
}

fn publish(room: &str, person: u8, n: u64) -> StorageOp {
    let (account, device, name) = who(person);
    StorageOp::Append {
        room: room_name(room),
        account,
        device,
        name,
        publication: Publication {
            n,
            typed_at_ms: 55,
            kind: Kind::Message,
            body: format!("user{person} says {n} in {room}").into(),
        },
        refuse: None,
        now_ms: 60,
    }
}

//! A node's journal.

use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use tertulia::chat::{Kind, Line, LineBase, LogId, Name, NoticeEvent, Publication, RoomName};
use tertulia::client::{JournalEntry, JournalState};
use tertulia::secure::{AccountKey, DeviceKey};
use tertulia::store::journal::{Item, JournalFile};
use tertulia::store::sqlite::StoreError;

use super::{Damage, Fate, Files, assert_blames_the_file, directory};

const FILE_NAME: &str = "journal.db";
/// How many lines are received before the journal is closed once, and after.
const RECEIVED_BEFORE: u64 = 20;
const RECEIVED_AFTER: u64 = 12;

/// A journal that was in use when it crashed.
struct Crashed {
    files: Files,
    /// What it held after each of the commits that are in the write-ahead log, and before them.
    states: Vec<Contents>,
}

/// All that a journal hands out.
#[derive(Clone, Debug, PartialEq)]
struct Contents {
    state: JournalState,
    items: Vec<Item>,
}

static CRASHED: LazyLock<Crashed> = LazyLock::new(|| {
    let directory = directory();
    let path = directory.path().join(FILE_NAME);
    make(&path).expect("nothing is damaged")
});

fn make(path: &Path) -> Result<Crashed, StoreError> {
    let mut journal = JournalFile::open(path)?;
    journal.adopt(DeviceKey([2; 32]))?;
    journal.write(&[entered(), waiting(1), waiting(2)], [])?;
    for seq in 1..=RECEIVED_BEFORE {
        journal.write(&[received(seq)], [])?;
    }
    journal.sync()?;
    drop(journal);

    let mut journal = JournalFile::open(path)?;
    let mut states = vec![contents(&journal)?];
    for seq in RECEIVED_BEFORE + 1..=RECEIVED_BEFORE + RECEIVED_AFTER {
        journal.write(&[received(seq), noticed(seq)], [])?;
        states.push(contents(&journal)?);
        journal.write(&[waiting(seq)], [])?;
        states.push(contents(&journal)?);
    }
    journal.sync()?;
    let files = Files::copy(path);
    Ok(Crashed { files, states })
}

pub(super) fn check(damages: &[Damage]) -> Fate {
    let directory = CRASHED.files.damaged(damages).lay_out(FILE_NAME);
    let path = directory.path().join(FILE_NAME);
    let is_main_whole = damages.iter().all(|damage| damage.is_in_wal);
    let opened = JournalFile::open(&path).and_then(|journal| {
        let contents = contents(&journal)?;
        Ok((journal, contents))
    });
    let (mut journal, left) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            assert_blames_the_file(&error);
            assert!(!is_main_whole, "{error}");
            return Fate::Refused;
        }
    };
    if is_main_whole {
        assert!(CRASHED.states.contains(&left), "no commit led to {left:?}");
    }
    match go_on(&mut journal, &path, &left) {
        Ok(is_there) => assert!(is_there || !is_main_whole, "what was written is not there"),
        Err(error) => {
            assert_blames_the_file(&error);
            assert!(!is_main_whole, "{error}");
            return Fate::Stopped;
        }
    }
    match CRASHED.states.last() == Some(&left) {
        true => Fate::Whole,
        false => Fate::Shorter,
    }
}

/// Writes what comes next. Returns whether it is there then, here and for who opens the journal anew.
fn go_on(journal: &mut JournalFile, path: &Path, left: &Contents) -> Result<bool, StoreError> {
    let next = RECEIVED_BEFORE + RECEIVED_AFTER + 1;
    journal.adopt(DeviceKey([2; 32]))?;
    journal.write(&[received(next)], [])?;
    journal.sync()?;
    let now = contents(journal)?;
    let again = contents(&JournalFile::open(path)?)?;
    let new = now.items.get(left.items.len());
    let is_there = new.is_some_and(|item| match item {
        Item::Line { line, .. } => **line == line_of(next),
        Item::Notice { .. } => false,
    });
    Ok(is_there && again == now)
}

fn contents(journal: &JournalFile) -> Result<Contents, StoreError> {
    Ok(Contents {
        state: journal.state()?,
        items: journal.items_after(&RoomName::default(), 0, usize::MAX >> 1)?,
    })
}

fn entered() -> JournalEntry {
    JournalEntry::Entered {
        room: RoomName::default(),
        log: LogId([4; 16]),
        place: LineBase::START,
        is_fork: false,
    }
}

fn received(seq: u64) -> JournalEntry {
    JournalEntry::Received {
        room: RoomName::default(),
        log: LogId([4; 16]),
        cursor: LineBase {
            seq,
            stored_at_ms: 1_000 + seq,
            hash: [seq.to_le_bytes()[0]; 32],
        },
        line: Box::new(line_of(seq)),
    }
}

fn line_of(seq: u64) -> Line {
    Line {
        seq,
        stored_at_ms: 1_000 + seq,
        account: AccountKey([1; 32]),
        device: DeviceKey([3; 32]),
        name: Name::new("ada").expect("a name"),
        author: 3,
        n: seq,
        typed_at_ms: 5,
        kind: Kind::Message,
        body: Bytes::from(format!("ada says {seq}")),
    }
}

fn noticed(number: u64) -> JournalEntry {
    JournalEntry::Noticed {
        room: RoomName::default(),
        number,
        event: NoticeEvent::TimedOut,
        name: Name::new("bob").expect("a name"),
    }
}

fn waiting(n: u64) -> JournalEntry {
    JournalEntry::Waiting {
        handle: n,
        spooled: None,
        room: RoomName::default(),
        publication: Publication {
            n,
            typed_at_ms: n,
            kind: Kind::Message,
            body: Bytes::from(format!("line {n}")),
        },
    }
}

//! The files of a broker and of a node are not what was written to them any more.
//!
//! A log and a journal are made once, each as a crash leaves it: a part in the file, the rest in
//! SQLite's write-ahead log beside it. The input says how a copy is [damaged](Damage). What has to
//! hold:
//!
//! - Nothing panics, whatever is asked of what is left.
//! - Every line that a log hands out is the one that was stored (STO-7), and what it hands out of a
//!   room has no hole and begins with the first line (STO-5); or it says that it is damaged (STO-8).
//! - A log of which the full check has nothing to say (STO-10) and that opens has lost nothing,
//!   unless its write-ahead log is damaged.
//! - One whose write-ahead log alone is damaged opens, and works.
//! - What is appended to what is left comes behind it, and once.
//! - Of a journal whose write-ahead log alone is damaged a prefix of its commits is left (JRN-8).
//!   (In the file itself a text or an index may change unnoticed: a journal's lines are a copy, its
//!   hashes are for the resume, and its structure is not looked at when it is opened.)
//! - An error says who has to do something (STO-3): with files like these it is never the disk.

mod journal;
mod log;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use arbitrary::{Arbitrary, Result, Unstructured};
use tempfile::TempDir;
use tertulia::store::sqlite::{Blame, StoreError, beside};

/// More damages than these are not done.
const DAMAGES_MAX: usize = 16;
/// What is in every line.
const SAID: &[u8] = b" says ";
/// The length of SQLite's pages.
const PAGE: usize = 4096;
/// Where the first page is in a write-ahead log, and how far it is from one to the next.
const WAL_HEADER: usize = 32;
const WAL_FRAME: usize = PAGE + 24;

/// What became of a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It does not open.
    Refused,
    /// It opens, and stops where the damage shows.
    Stopped,
    /// It works, with less in it than was written.
    Shorter,
    /// It works, with all that was written.
    Whole,
}

/// Checks one input. Returns what became of the file.
///
/// # Panics
///
/// If something that must hold does not.
pub fn check(input: &[u8]) -> Option<Fate> {
    let mut input = Unstructured::new(input);
    let is_journal = u8::arbitrary(&mut input).ok()? & 1 != 0;
    let mut damages = Vec::new();
    while !input.is_empty() && damages.len() < DAMAGES_MAX {
        damages.push(Damage::arbitrary(&mut input).ok()?);
    }
    Some(match is_journal {
        true => journal::check(&damages),
        false => log::check(&damages),
    })
}

/// What happens to a file, or to the write-ahead log beside it.
#[derive(Debug)]
struct Damage {
    is_in_wal: bool,
    /// Which page.
    page: u8,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A byte changes.
    Flip { at: u16, with: u8 },
    /// What somebody said changes, wherever it is.
    Misquote { which: u16, with: u8 },
    /// Several bytes become the same.
    Fill { at: u16, len: u16, with: u8 },
    /// The file ends there.
    Cut { at: u16 },
    /// All from there on becomes zero, and the file stays as long as it was.
    Tear { at: u16 },
    /// The page and another one are exchanged.
    Swap { other: u8 },
    /// The page becomes what another one is.
    Copy { other: u8 },
}

impl<'a> Arbitrary<'a> for Damage {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        let page = input.arbitrary()?;
        let what = match kind % 8 {
            0 | 1 => What::Flip {
                at: input.arbitrary()?,
                with: input.arbitrary()?,
            },
            2 => What::Misquote {
                which: input.arbitrary()?,
                with: input.arbitrary()?,
            },
            3 => What::Fill {
                at: input.arbitrary()?,
                len: input.arbitrary()?,
                with: input.arbitrary()?,
            },
            4 => What::Cut {
                at: input.arbitrary()?,
            },
            5 => What::Tear {
                at: input.arbitrary()?,
            },
            6 => What::Swap {
                other: input.arbitrary()?,
            },
            _ => What::Copy {
                other: input.arbitrary()?,
            },
        };
        Ok(Self {
            is_in_wal: kind & 0x80 != 0,
            page,
            what,
        })
    }
}

impl Damage {
    fn apply(&self, files: &mut Files) {
        let (bytes, header, frame) = match self.is_in_wal {
            true => (&mut files.wal, WAL_HEADER, WAL_FRAME),
            false => (&mut files.main, 0, PAGE),
        };
        let pages = bytes.len().saturating_sub(header) / frame;
        let start = |page: u8| Some(header + usize::from(page).checked_rem(pages)? * frame);
        let Some(page) = start(self.page) else {
            return;
        };
        // The first page of a write-ahead log is met together with what is before it.
        let begin = if page == header { 0 } else { page };
        let at = |at: u16| begin + usize::from(at) % (page + frame - begin);
        match self.what {
            What::Flip { at: byte, with } => bytes[at(byte)] ^= with,
            What::Misquote { which, with } => {
                let said: Vec<usize> = positions(bytes, SAID).collect();
                if let Some(which) = usize::from(which).checked_rem(said.len()) {
                    bytes[said[which]] ^= with;
                }
            }
            What::Fill {
                at: first,
                len,
                with,
            } => {
                let first = at(first);
                let end = bytes.len().min(first + usize::from(len));
                bytes[first..end].fill(with);
            }
            What::Cut { at: end } => bytes.truncate(at(end)),
            What::Tear { at: first } => bytes[at(first)..].fill(0),
            What::Swap { other } => {
                if let Some(other) = start(other).filter(|other| *other != page) {
                    let (low, high) = (page.min(other), page.max(other));
                    let (before, after) = bytes.split_at_mut(high);
                    before[low..low + frame].swap_with_slice(&mut after[..frame]);
                }
            }
            What::Copy { other } => {
                if let Some(other) = start(other) {
                    bytes.copy_within(other..other + frame, page);
                }
            }
        }
    }
}

/// Where that stands.
fn positions(bytes: &[u8], wanted: &[u8]) -> impl Iterator<Item = usize> {
    let windows = bytes.windows(wanted.len()).enumerate();
    windows.filter_map(move |(at, window)| (window == wanted).then_some(at))
}

/// A file of SQLite, and the write-ahead log beside it.
#[derive(Clone, Debug)]
struct Files {
    main: Vec<u8>,
    wal: Vec<u8>,
}

impl Files {
    /// What a crash would leave at this moment.
    fn copy(path: &Path) -> Self {
        Self {
            main: fs::read(path).expect("it was made"),
            wal: fs::read(beside(path, "-wal")).expect("it is open"),
        }
    }

    fn damaged(&self, damages: &[Damage]) -> Self {
        let mut files = self.clone();
        for damage in damages {
            damage.apply(&mut files);
        }
        files
    }

    /// Puts the files into a new directory.
    fn lay_out(&self, name: &str) -> TempDir {
        let directory = directory();
        let path = directory.path().join(name);
        write_private(&path, &self.main);
        write_private(&beside(&path, "-wal"), &self.wal);
        directory
    }
}

/// Writes a file that only its owner can read, as these have to be (STO-1).
fn write_private(path: &Path, bytes: &[u8]) {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(bytes));
    written.expect("there is room");
}

/// A new directory, in memory where that is to be had: nobody here asks what a power cut leaves.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.expect("there is room")
}

/// STO-3: what a damaged file is refused for.
fn assert_blames_the_file(error: &StoreError) {
    // A header may come to say that the file is of a later version, or of an older one, which a
    // reader leaves to a writer.
    let is_right = matches!(error.blame, Blame::Damaged | Blame::Newer | Blame::InUse);
    assert!(is_right, "{:?}: {error}", error.blame);
}

//! Opening a file of SQLite so that what it confirms is durable, and sorting its errors.
//!
//! Every file that this crate writes is opened here: in WAL mode with `synchronous=FULL`, so that
//! a commit has returned only when the system says that it is on the disk (STO-1); with a mark that
//! says which kind of file it is, and the version of its schema (STO-2).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

/// How long a statement waits for another process that holds the file's lock: one that looks at it,
/// as no other writes.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a file is tried that another process is about to share.
const SHARE_TRIES_MAX: u32 = 250;
/// And how long it is left alone in between.
const SHARE_PAUSE: Duration = Duration::from_millis(20);
/// How much is written to find out whether that meets a limit: more than a page of SQLite's.
const PROBE_LENGTH: usize = 8_192;
/// How many prepared statements a connection keeps.
const STATEMENTS_CACHED: usize = 64;

/// What a kind of file holds, and how it came to hold that.
#[derive(Debug)]
pub struct Schema {
    /// What the file is, for people: "a broker's log".
    pub what: &'static str,
    /// The mark in the file's header that tells this kind from all others.
    pub application_id: i32,
    /// Migration `i` makes version `i + 1` of version `i`; version 0 is an empty file. One that was
    /// ever released is never changed.
    pub migrations: &'static [&'static str],
}

/// Who or what has to change before a store works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The disk is full, or a limit is reached (of a file's length, or of what a user may store):
    /// nothing was changed, and it works again when there is room.
    Full,
    /// The file or its directory cannot be written to.
    ReadOnly,
    /// Another process holds the file.
    InUse,
    /// A later version of this program has written the file.
    Newer,
    /// The file is not what was written to it, or never was such a file.
    Damaged,
    /// The disk or the system fails.
    Io,
}

/// Why a store cannot do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct StoreError {
    /// Whose fault it is.
    pub blame: Blame,
    why: String,
}

impl StoreError {
    /// An error in words.
    pub(crate) fn new(blame: Blame, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { blame, why }
    }

    /// The file is not what was written to it, and that is where it shows.
    pub(crate) fn damaged(where_it_shows: impl Into<String>) -> Self {
        Self::new(Blame::Damaged, where_it_shows)
    }
}

/// STO-3.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error_code() else {
            // A value of another type than the schema promises, a row that has to be there.
            return Self::damaged(format!("the file holds what it cannot hold: {error}"));
        };
        let (blame, words) = match code {
            ErrorCode::DiskFull => (Blame::Full, "the disk is full"),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                (Blame::ReadOnly, "it cannot be opened or written to")
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                (Blame::InUse, "another process holds it")
            }
            ErrorCode::NotADatabase => (Blame::Damaged, "it is damaged, or is no such file"),
            // A rule of the schema that is broken: the rows contradict each other. Or a statement
            // means nothing in this file (plain SQLITE_ERROR): it has not the schema that its header
            // says.
            ErrorCode::DatabaseCorrupt
            | ErrorCode::ConstraintViolation
            | ErrorCode::Unknown
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig => (Blame::Damaged, "it is damaged"),
            _ => (Blame::Io, "the disk or the system fails"),
        };
        Self::new(blame, format!("{words} ({error})"))
    }
}

/// STO-3.
impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        let blame = match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Blame::Full,
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory => Blame::ReadOnly,
            _ => Blame::Io,
        };
        Self::new(blame, error.to_string())
    }
}

/// What stores return.
pub type Result<T> = core::result::Result<T, StoreError>;

/// The same error, or that it is a limit which `connection` has met (STO-3).
///
/// SQLite keeps to itself why the system did not write: it says the same of a limit, which may be
/// raised, and of a disk that fails. A write to another file, beyond where the longest of
/// SQLite's ends, meets the same limit, and is told.
#[must_use]
pub fn or_limit(error: StoreError, connection: &Connection) -> StoreError {
    let path = connection.path().filter(|_| error.blame == Blame::Io);
    match path.map(|path| try_writing_beside(Path::new(path))) {
        Some(Err(limit)) if limit.blame == Blame::Full => StoreError::new(
            Blame::Full,
            format!("a limit is reached ({limit}; {error})"),
        ),
        _ => error,
    }
}

/// The file that SQLite calls like the one at `path`, with a suffix.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

fn try_writing_beside(path: &Path) -> Result<()> {
    let length = |path: PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let end = length(path.to_owned()).max(length(beside(path, "-wal")));
    let probe = beside(path, "-probe");
    let write = || {
        let mut file = File::create(&probe)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(&[0; PROBE_LENGTH])
    };
    let written = write();
    fs::remove_file(&probe)?;
    Ok(written?)
}

/// Opens the file at `path` for reading and writing, makes it if there is none, and brings it to
/// the latest version of `schema`. That one process at a time does this is the caller's to see to.
///
/// # Errors
///
/// As [`Blame`] tells; [`Blame::Newer`] and [`Blame::Damaged`] leave the file as it is.
pub fn open(path: &Path, schema: &Schema) -> Result<Connection> {
    make_private(path)?;
    check_format(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Before anything is written: a file of another kind stays as it is.
    version_now(&connection, schema)?;
    let mode = share(&connection)?;
    if mode != "wal" {
        let why = format!("the file system does not let it be shared (journal mode {mode})");
        return Err(StoreError::new(Blame::Io, why));
    }
    migrate(&mut connection, schema)?;
    Ok(connection)
}

/// STO-3: what the header says of the file's format. Of a write version that there is not, SQLite
/// would only say that it cannot write to the file.
fn check_format(path: &Path) -> Result<()> {
    const FORMATS: core::ops::Range<usize> = 18..20;
    const FORMAT_MAX: u8 = 2;
    let mut header = Vec::new();
    File::open(path)?
        .take(FORMATS.end as u64)
        .read_to_end(&mut header)?;
    match header.get(FORMATS) {
        Some(formats) if formats.iter().any(|format| *format > FORMAT_MAX) => {
            let why = format!("its header says format {formats:?}, and there are two");
            Err(StoreError::damaged(why))
        }
        _ => Ok(()),
    }
}

/// Lets others read the file while this process writes to it. Returns the journal mode. SQLite does
/// not wait for another process that is about to do the same.
fn share(connection: &Connection) -> Result<String> {
    let mut tries = 1;
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", (), |row| {
            row.get("journal_mode")
        });
        match mode.map_err(StoreError::from) {
            Err(error) if error.blame == Blame::InUse && tries < SHARE_TRIES_MAX => {
                tries += 1;
                std::thread::sleep(SHARE_PAUSE);
            }
            decided => return decided,
        }
    }
}

/// Opens a further connection to a file that [`open`] has made, for reading only. Other processes
/// may write to the file meanwhile, and what this one does is no hindrance to them as long as its
/// transactions are short.
///
/// # Errors
///
/// As [`Blame`] tells; [`Blame::ReadOnly`] if there is no such file.
pub fn open_to_read(path: &Path, schema: &Schema) -> Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let (version, latest) = (version_now(&connection, schema)?, schema.migrations.len());
    if version < latest {
        let why = format!(
            "it is from an older version of this program (schema {version}, not {latest}), which \
             the next start brings up to date"
        );
        return Err(StoreError::new(Blame::InUse, why));
    }
    Ok(connection)
}

/// Makes an empty file that only its owner can read, if there is none, and its name durable. The
/// files that SQLite makes beside it have the same mode.
fn make_private(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return check_private(path),
        Err(error) => return Err(error.into()),
    }
    sync_dir(path)
}

/// STO-1: whoever opened it to others by mistake is to know.
fn check_private(path: &Path) -> Result<()> {
    let Some(mode) = mode_for_others(path)? else {
        return Ok(());
    };
    let path = path.display();
    let why = format!(
        "others on this machine have access to it (mode {mode:04o}): if that does no harm, run  \
         chmod 600 '{path}'  and start again"
    );
    Err(StoreError::new(Blame::ReadOnly, why))
}

/// The mode of a file to which others than its owner have access.
#[cfg(unix)]
pub(crate) fn mode_for_others(path: &Path) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// Elsewhere a file has the rights of the user's own directory.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps)]
pub(crate) fn mode_for_others(_path: &Path) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Elsewhere directories cannot be opened as files; the system sees to their names.
#[cfg_attr(not(unix), expect(clippy::unnecessary_wraps))]
fn sync_dir(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What others may have put into the file is data, never a program; a page is looked at before
    // it is believed.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// As [`version`], of one moment: another process may be about to make the file.
fn version_now(connection: &Connection, schema: &Schema) -> Result<usize> {
    let moment = connection.unchecked_transaction()?;
    let version = version(&moment, schema)?;
    moment.commit()?;
    Ok(version)
}

/// The version of the file's schema, if it is a file of this kind and not from later (STO-2). To be
/// asked inside a transaction.
fn version(connection: &Connection, schema: &Schema) -> Result<usize> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get(0));
    let (id, version): (i32, i32) = (number("application_id")?, number("user_version")?);
    let is_empty = || {
        connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", (), |row| {
            row.get(0)
        })
    };
    let is_ours = id == schema.application_id || (id == 0 && version == 0 && is_empty()?);
    let latest = schema.migrations.len();
    match usize::try_from(version) {
        Ok(version) if is_ours && version <= latest => Ok(version),
        Ok(version) if is_ours => {
            let why = format!(
                "it was written by a newer version of this program (schema {version}, and this one \
                 knows {latest}): use that one"
            );
            Err(StoreError::new(Blame::Newer, why))
        }
        _ => {
            let why = format!("it is not {}", schema.what);
            Err(StoreError::new(Blame::Damaged, why))
        }
    }
}

/// Does the migrations that are missing, all of them or none.
fn migrate(connection: &mut Connection, schema: &Schema) -> Result<()> {
    if version_now(connection, schema)? == schema.migrations.len() {
        return Ok(());
    }
    let migration = Transaction::new(connection, TransactionBehavior::Immediate)?;
    // Again, now that nobody else can be about to do the same.
    let from = version(&migration, schema)?;
    for statements in &schema.migrations[from..] {
        migration.execute_batch(statements)?;
    }
    migration.pragma_update(None, "application_id", schema.application_id)?;
    let latest = i32::try_from(schema.migrations.len()).unwrap_or(i32::MAX);
    migration.pragma_update(None, "user_version", latest)?;
    migration.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE one (a INTEGER NOT NULL) STRICT; INSERT INTO one VALUES (7)";
    const SECOND: &str = "ALTER TABLE one ADD COLUMN b INTEGER NOT NULL DEFAULT 8";

    const OLD: Schema = Schema {
        what: "a file of the tests",
        application_id: 0x7465_7374,
        migrations: &[FIRST],
    };
    const NEW: Schema = Schema {
        migrations: &[FIRST, SECOND],
        ..OLD
    };

    fn pragma(connection: &Connection, name: &str) -> String {
        let value = connection.pragma_query_value(None, name, |row| row.get(0));
        match value.unwrap() {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// STO-1.
    #[test]
    fn a_connection_waits_for_the_disk_before_it_says_that_it_has_committed() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open(&dir.path().join("file"), &OLD).unwrap();
        assert_eq!(pragma(&connection, "journal_mode"), "wal");
        assert_eq!(pragma(&connection, "synchronous"), "2");
        assert_eq!(pragma(&connection, "foreign_keys"), "1");
    }

    /// STO-1, KEY-5.
    #[cfg(unix)]
    #[test]
    fn the_file_and_those_beside_it_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let _connection = open(&dir.path().join("file"), &OLD).unwrap();
        let mut files = 0;
        for entry in fs::read_dir(dir.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            files += 1;
        }
        assert_eq!(files, 3, "the file, its log and the log's index");
    }

    /// STO-1.
    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused_with_what_to_do() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        drop(open(&path, &NEW).unwrap());
        for mode in [0o644, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = open(&path, &NEW).unwrap_err();
            assert_eq!(refused.blame, Blame::ReadOnly);
            let words = refused.to_string();
            assert!(words.contains("chmod 600") && words.contains(&format!("{mode:04o}")));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        open(&path, &NEW).unwrap();
    }

    /// STO-2.
    #[test]
    fn an_older_file_is_brought_up_to_date_and_keeps_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        drop(open(&path, &OLD).unwrap());
        assert_eq!(open_to_read(&path, &NEW).unwrap_err().blame, Blame::InUse);
        for _ in 0..2 {
            let connection = open(&path, &NEW).unwrap();
            let sum = "SELECT sum(a + b) FROM one";
            let sum: i64 = connection.query_row(sum, (), |row| row.get(0)).unwrap();
            assert_eq!(
                (sum, pragma(&connection, "user_version")),
                (15, "2".to_owned())
            );
        }
        open_to_read(&path, &NEW).unwrap();
    }

    /// STO-3: a header that has lost a bit sends the migrations into a schema that has them already.
    #[test]
    fn a_file_that_has_not_the_schema_that_it_claims_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let connection = open(&path, &NEW).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        drop(connection);
        assert_eq!(open(&path, &NEW).unwrap_err().blame, Blame::Damaged);
    }

    /// STO-2.
    #[test]
    fn a_file_of_a_newer_version_or_of_another_kind_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        drop(open(&path, &NEW).unwrap());
        let content = fs::read(&path).unwrap();
        for (schema, blame) in [
            (&OLD, Blame::Newer),
            (
                &Schema {
                    application_id: 1,
                    ..NEW
                },
                Blame::Damaged,
            ),
        ] {
            assert_eq!(open(&path, schema).unwrap_err().blame, blame);
            assert_eq!(open_to_read(&path, schema).unwrap_err().blame, blame);
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        fs::write(
            &path,
            "This is a text, and quite a long one for what it has to say. ".repeat(9),
        )
        .unwrap();
        assert_eq!(open(&path, &NEW).unwrap_err().blame, Blame::Damaged);
    }

    /// STO-3.
    #[test]
    fn errors_are_sorted_by_who_has_to_do_something() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert_eq!(
            open_to_read(&missing, &OLD).unwrap_err().blame,
            Blame::ReadOnly
        );
        assert_eq!(
            open(&missing.join("file"), &OLD).unwrap_err().blame,
            Blame::ReadOnly
        );

        let path = dir.path().join("file");
        let connection = open(&path, &OLD).unwrap();
        let pages = pragma(&connection, "page_count");
        connection
            .pragma_update(None, "max_page_count", pages)
            .unwrap();
        let fill = "INSERT INTO one WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n \
                    LIMIT 10000) SELECT i FROM n";
        let full = StoreError::from(connection.execute(fill, ()).unwrap_err());
        assert_eq!(full.blame, Blame::Full);

        let reader = open_to_read(&path, &OLD).unwrap();
        let refused = StoreError::from(reader.execute("DELETE FROM one", ()).unwrap_err());
        assert_eq!(refused.blame, Blame::ReadOnly);

        let other = open(&path, &OLD).unwrap();
        other.busy_timeout(Duration::ZERO).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let busy = StoreError::from(other.execute_batch("BEGIN IMMEDIATE").unwrap_err());
        assert_eq!(busy.blame, Blame::InUse);

        for kind in [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ] {
            assert_eq!(StoreError::from(io::Error::from(kind)).blame, Blame::Full);
        }
        // Nothing is in the way here: it is the disk.
        let failing = StoreError::new(Blame::Io, "it fails");
        assert_eq!(or_limit(failing.clone(), &connection), failing);
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 3, "the file, its log and the log's index");
    }
}

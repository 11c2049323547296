//! What is asked of the file system: private files that appear whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use super::{ProfileError, Trouble};
use crate::store::sqlite::mode_for_others;

/// Makes a directory that only its owner can enter, and those above it.
pub(crate) fn make_private_dir(dir: &Path) -> Result<(), ProfileError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|error| ProfileError::file(dir, &error))
}

/// Writes a file that only its owner can read (KEY-5). Whatever happens meanwhile, there is the
/// old file or the new one, whole.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), ProfileError> {
    try_write_private(path, content).map_err(|error| ProfileError::file(path, &error))
}

fn try_write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_dir(dir)
}

/// Makes the names in a directory durable.
#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Elsewhere directories cannot be opened as files; the system sees to their names.
#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Reads a private file, if it exists. One that others can read is refused (KEY-5).
pub(crate) fn read_private(path: &Path) -> Result<Option<Vec<u8>>, ProfileError> {
    match fs::read(path) {
        Ok(content) => {
            check_private(path)?;
            Ok(Some(content))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ProfileError::file(path, &error)),
    }
}

fn check_private(path: &Path) -> Result<(), ProfileError> {
    let mode = mode_for_others(path).map_err(|error| ProfileError::file(path, &error))?;
    let Some(mode) = mode else {
        return Ok(());
    };
    let path = path.display();
    let message = format!(
        "others on this machine have access to the private key {path} (mode {mode:04o}): \
         if nobody has read it, run  chmod 600 '{path}'  and start again"
    );
    Err(ProfileError::new(Trouble::Directory, message))
}

/// Takes the lock that `path` stands for, until the file returned is dropped or the process ends,
/// however it ends. `None` if somebody else has it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>, ProfileError> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(ProfileError::file(path, &error)),
    }
}

/// Whether another process has the lock that `path` stands for. While this looks, nobody else gets
/// it.
pub(crate) fn is_locked(path: &Path) -> Result<bool, ProfileError> {
    match lock_file(path)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(ProfileError::file(path, &error)),
    }
}

/// The same, waiting for whoever has it.
pub(crate) fn lock(path: &Path) -> Result<File, ProfileError> {
    let file = lock_file(path)?;
    file.lock()
        .map_err(|error| ProfileError::file(path, &error))?;
    Ok(file)
}

fn lock_file(path: &Path) -> Result<File, ProfileError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map_err(|error| ProfileError::file(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_again_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(read_private(&path).unwrap(), None);
        write_private(&path, b"a long first content").unwrap();
        write_private(&path, b"second").unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// KEY-5.
    #[cfg(unix)]
    #[test]
    fn a_private_file_has_mode_0600_and_is_refused_with_another() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_private(&path, b"secret").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read_private(&path).unwrap_err();
        assert_eq!(refused.trouble, Trouble::Directory);
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }

    /// CLI-8.
    #[test]
    fn a_lock_is_had_by_one_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = try_lock(&path).unwrap();
        assert!(first.is_some());
        assert!(try_lock(&path).unwrap().is_none());
        drop(first);
        assert!(try_lock(&path).unwrap().is_some());
    }

    /// CLI-6.
    #[test]
    fn a_data_directory_that_is_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_private(&path, b"").unwrap();
        let refused = make_private_dir(&path.join("dir")).unwrap_err();
        assert_eq!(refused.trouble, Trouble::Directory);
    }
}

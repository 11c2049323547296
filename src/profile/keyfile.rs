//! Private keys in files (KEY-5).

use std::path::Path;

use zeroize::Zeroizing;

use super::{ProfileError, Trouble, files};
use crate::driver::system_seed;
use crate::secure::KEY_LEN;

/// A private key. Erased when dropped.
pub(crate) type Secret = Zeroizing<[u8; KEY_LEN]>;

/// The key in the file at `path`: exactly its bytes. If there is no such file, a new key, which is
/// in the file before anybody can use it (KEY-5).
///
/// Whoever calls this holds a lock on the directory.
pub(crate) fn read_or_make(path: &Path) -> Result<Secret, ProfileError> {
    read(path)?.map_or_else(|| make(path), Ok)
}

/// The key in the file at `path`, if there is one.
pub(crate) fn read(path: &Path) -> Result<Option<Secret>, ProfileError> {
    let Some(content) = files::read_private(path)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    let key = content.as_slice().try_into().map_err(|_| {
        let (len, path) = (content.len(), path.display());
        let message = format!("{path} holds no key: it has {len} bytes instead of {KEY_LEN}");
        ProfileError::new(Trouble::Directory, message)
    })?;
    Ok(Some(Zeroizing::new(key)))
}

/// A new key, which is in the file before anybody can use it, whatever was there (KEY-5).
pub(crate) fn make(path: &Path) -> Result<Secret, ProfileError> {
    let key = system_seed().map_err(|error| {
        let message = format!("the system has no randomness for a key: {error}");
        ProfileError::new(Trouble::Unavailable, message)
    })?;
    let key = Zeroizing::new(key);
    files::write_private(path, key.as_slice())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KEY-5, BRK-7.
    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = read_or_make(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), made.as_slice());
        assert_eq!(read_or_make(&path).unwrap(), made);
        let other = read_or_make(&dir.path().join("other")).unwrap();
        assert_ne!(other, made);
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        files::write_private(&path, b"short").unwrap();
        let refused = read_or_make(&path).unwrap_err();
        assert_eq!(refused.trouble, Trouble::Directory);
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }
}

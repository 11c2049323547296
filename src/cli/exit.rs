//! How a program ends (CLI-6).

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::profile::{ProfileError, Trouble};
use crate::store::sqlite::{Blame, StoreError};

/// Exit codes; those from 64 on have the meaning that `sysexits.h` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    /// Done.
    Done = 0,
    /// A demonstration has shown the delivery contract broken.
    Broken = 1,
    /// The arguments make no sense.
    Usage = 64,
    /// The other side cannot be reached, or the address cannot be listened on.
    Unavailable = 69,
    /// The data directory is unusable or in use.
    Directory = 73,
    /// The disk is full or broken, or what it holds is damaged.
    Disk = 74,
    /// Lines were not confirmed by the broker.
    Unconfirmed = 75,
    /// Refused: name taken, changed key, profile open already.
    Refused = 77,
    /// A second Ctrl-C.
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a program cannot go on: a code for scripts, and words for people.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub(super) code: Code,
    message: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A file or directory that cannot be used.
    pub(super) fn file(path: &Path, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::Disk,
            _ => Code::Directory,
        };
        Self::new(code, format!("cannot use {}: {error}", path.display()))
    }

    /// A broker's log that cannot be used (STO-3), and what to do about it.
    pub(super) fn log(path: &Path, error: &StoreError) -> Self {
        let code = match error.blame {
            Blame::Full | Blame::Damaged | Blame::Io => Code::Disk,
            Blame::ReadOnly | Blame::InUse | Blame::Newer => Code::Directory,
        };
        let mut message = format!("cannot use {}: {error}", path.display());
        if error.blame == Blame::Damaged {
            let dir = path.parent().unwrap_or(path).display();
            message += &format!(
                "\n  chat-broker doctor --data-dir '{dir}'  tells more; bring that directory back \
                 from a backup,\n  or move log.db* out of it to begin a new log"
            );
        }
        Self::new(code, message)
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        let code = match error.trouble {
            Trouble::Directory => Code::Directory,
            Trouble::Disk => Code::Disk,
            Trouble::Refused => Code::Refused,
            Trouble::Unavailable => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// STO-3: a store that cannot do what it is for, by whose fault it is.
pub(super) fn of_store(path: &Path, error: &StoreError) -> Failure {
    ProfileError::store(path, error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLI-6.
    #[test]
    fn a_full_disk_is_told_from_a_directory_that_cannot_be_used() {
        let failure = |kind| Failure::file(Path::new("key"), &io::Error::from(kind));
        assert_eq!(failure(io::ErrorKind::StorageFull).code, Code::Disk);
        let denied = failure(io::ErrorKind::PermissionDenied);
        assert_eq!(denied.code, Code::Directory);
        assert_eq!(denied.to_string(), "cannot use key: permission denied");
    }
}

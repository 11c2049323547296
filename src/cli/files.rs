//! Where the programs keep what is theirs.

use std::path::PathBuf;

use super::exit::{Code, Failure};
use crate::profile::files::make_private_dir;
pub(super) use crate::profile::files::try_lock;

/// The directory of `program`'s data, made if need be: `given`, or the one in the user's data
/// directory.
pub(super) fn data_dir(given: Option<PathBuf>, program: &str) -> Result<PathBuf, Failure> {
    let dir = find_data_dir(given, program)?;
    make_private_dir(&dir)?;
    Ok(dir)
}

/// The same directory, whether it exists or not.
pub(super) fn find_data_dir(given: Option<PathBuf>, program: &str) -> Result<PathBuf, Failure> {
    if let Some(dir) = given {
        return Ok(dir);
    }
    let dirs = directories::ProjectDirs::from("", "", "tertulia").ok_or_else(|| {
        let message = "this user has no home directory: say --data-dir";
        Failure::new(Code::Directory, message)
    })?;
    Ok(dirs.data_dir().join(program))
}

//! The brokers that a node knows by their keys (SEC-9): a text file, `host:port key` a line.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::{ProfileError, Trouble, files};
use crate::secure::PublicKey;

/// The file of known hosts. It is read whenever it is asked, since other nodes write it, too.
#[derive(Debug)]
pub(crate) struct KnownHosts {
    path: PathBuf,
    lock: PathBuf,
}

/// A broker's key, and the line that remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) key: PublicKey,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl KnownHosts {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("known_hosts"),
            lock: data_dir.join("known_hosts.lock"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is known of `host`.
    pub(crate) fn find(&self, host: &impl Display) -> Result<Option<Remembered>, ProfileError> {
        let text = self.read()?;
        let host = host.to_string();
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            if words.next() != Some(&host) {
                continue;
            }
            let key = words.next().and_then(|word| word.parse().ok());
            let Some(key) = key else {
                let (path, line) = (self.path.display(), index + 1);
                let message = format!("line {line} of {path} holds no key");
                return Err(ProfileError::new(Trouble::Directory, message));
            };
            let line = index + 1;
            return Ok(Some(Remembered { key, line }));
        }
        Ok(None)
    }

    /// Remembers the key of `host`, if nothing is known of it. Returns what is known then: another
    /// node may have been faster.
    pub(crate) fn remember(
        &self,
        host: &impl Display,
        key: PublicKey,
    ) -> Result<Remembered, ProfileError> {
        let _lock = files::lock(&self.lock)?;
        if let Some(known) = self.find(host)? {
            return Ok(known);
        }
        let mut text = self.read()?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{host} {key}\n"));
        files::write_private(&self.path, text.as_bytes())?;
        let line = text.lines().count();
        Ok(Remembered { key, line })
    }

    fn read(&self) -> Result<String, ProfileError> {
        let content = files::read_private(&self.path)?.unwrap_or_default();
        String::from_utf8(content).map_err(|_| {
            let message = format!("{} is no text", self.path.display());
            ProfileError::new(Trouble::Directory, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-9.
    #[test]
    fn the_first_key_of_a_host_is_remembered_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = KnownHosts::new(dir.path());
        let (first, second) = (PublicKey([1; 32]), PublicKey([2; 32]));
        assert_eq!(hosts.find(&"a:1").unwrap(), None);
        hosts.remember(&"a:1", first).unwrap();
        hosts.remember(&"[::1]:2", second).unwrap();
        let known = hosts.remember(&"a:1", second).unwrap();
        assert_eq!((known.key, known.line), (first, 1));
        let known = hosts.find(&"[::1]:2").unwrap().unwrap();
        assert_eq!((known.key, known.line), (second, 2));
        assert_eq!(hosts.find(&"a:2").unwrap(), None);
    }

    #[test]
    fn a_line_without_a_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = KnownHosts::new(dir.path());
        files::write_private(hosts.path(), b"# mine\na:1 nonsense\n").unwrap();
        let refused = hosts.find(&"a:1").unwrap_err();
        assert!(refused.to_string().contains("line 2 of"), "{refused}");
        assert_eq!(hosts.find(&"b:1").unwrap(), None);
    }
}

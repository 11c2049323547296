//! Who somebody is on one broker: an account and a device, kept in a directory of their own, with
//! the journal of what was said and heard under them.
//!
//! Several processes may use a profile at a time. `lock` belongs to the one that people look at
//! (CLI-8). `link.lock` belongs to the one with the link, which is that one, or else a program for
//! scripts. `wanted.lock` is how the former tells the latter to let go.

pub(crate) mod files;
pub(crate) mod keyfile;
pub(crate) mod known_hosts;
mod linked;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::chat::Name;
use crate::client::JournalState;
use crate::driver::Clock;
use crate::secure::{KEY_LEN, NodeIdentity, PublicKey};
use crate::store::journal::{Journal, JournalFile, Unopened};
use crate::store::sqlite::{Blame, StoreError};

/// The journal's name in the profile's directory.
const JOURNAL: &str = "journal.db";
/// What a name becomes in the name of a directory: letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// How long a node waits for the link of a program for scripts.
const LINK_WAITED_FOR: Duration = Duration::from_secs(30);
/// How often it tries to take it.
const LINK_TRIED_EVERY: Duration = Duration::from_millis(20);

/// Who or what has to change before a profile can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The directory, or a file in it, cannot be used.
    Directory,
    /// The disk is full or fails.
    Disk,
    /// Somebody else uses the profile.
    Refused,
    /// The system has no randomness for a key.
    Unavailable,
}

/// Why a profile cannot be used, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProfileError {
    /// Who or what has to change.
    pub trouble: Trouble,
    message: String,
}

impl ProfileError {
    pub(crate) fn new(trouble: Trouble, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { trouble, message }
    }

    /// A file or directory that cannot be used.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        let trouble = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::Disk,
            _ => Trouble::Directory,
        };
        Self::new(trouble, format!("cannot use {}: {error}", path.display()))
    }

    /// A store that cannot do what it is for (STO-3).
    pub(crate) fn store(path: &Path, error: &StoreError) -> Self {
        let trouble = match error.blame {
            Blame::Full | Blame::Io => Trouble::Disk,
            Blame::ReadOnly | Blame::InUse | Blame::Newer | Blame::Damaged => Trouble::Directory,
        };
        Self::new(trouble, format!("cannot use {}: {error}", path.display()))
    }
}

/// A profile, with the locks on it that this process has. They die with the process.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) identity: NodeIdentity,
    dir: PathBuf,
    locks: Vec<File>,
}

impl Profile {
    /// Opens the profile of `name` on the broker with this key for people to look at, and makes it
    /// if there is none (CLI-8).
    pub(crate) fn open(
        data_dir: &Path,
        broker: &PublicKey,
        name: &Name,
    ) -> Result<Self, ProfileError> {
        let dir = Self::dir(data_dir, broker, name)?;
        let locks = Self::locks(&dir, name)?;
        Self::with(dir, locks)
    }

    /// The locks of the one process that people look at.
    fn locks(dir: &Path, name: &Name) -> Result<Vec<File>, ProfileError> {
        let Some(lock) = files::try_lock(&dir.join("lock"))? else {
            let message = format!("{name} is already open here");
            return Err(ProfileError::new(Trouble::Refused, message));
        };
        // Others have it for an instant only.
        let wanted = files::lock(&dir.join("wanted.lock"))?;
        Ok(vec![lock, wanted])
    }

    /// The same for a program beside the one that people look at (JRN-6).
    pub(crate) fn attach(
        data_dir: &Path,
        broker: &PublicKey,
        name: &Name,
    ) -> Result<Self, ProfileError> {
        Self::with(Self::dir(data_dir, broker, name)?, Vec::new())
    }

    fn dir(data_dir: &Path, broker: &PublicKey, name: &Name) -> Result<PathBuf, ProfileError> {
        let dir = Self::path(data_dir, broker, name);
        files::make_private_dir(&dir)?;
        Ok(dir)
    }

    fn path(data_dir: &Path, broker: &PublicKey, name: &Name) -> PathBuf {
        // Names that differ only in case are one, and so are their directories (SGN-3).
        let folder = utf8_percent_encode(name.folded(), ESCAPED).to_string();
        data_dir
            .join("profiles")
            .join(broker.to_string())
            .join(folder)
    }

    fn with(dir: PathBuf, locks: Vec<File>) -> Result<Self, ProfileError> {
        let identity = identity(&dir)?;
        Ok(Self {
            identity,
            dir,
            locks,
        })
    }

    /// Where the journal is.
    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join(JOURNAL)
    }

    /// Opens the journal, with a thread that writes to it for `unopened`, and tells what it holds.
    /// Whoever calls this has the link.
    pub(crate) fn open_journal(
        &self,
        unopened: Unopened,
        clock: Clock,
    ) -> Result<(JournalFile, Journal, JournalState), ProfileError> {
        let path = self.journal();
        let open = || {
            let mut file = JournalFile::open(&path)?;
            file.adopt(self.identity.device())?;
            let state = file.state()?;
            let journal = unopened.open(&path, clock)?;
            Ok((file, journal, state))
        };
        open().map_err(|error: StoreError| ProfileError::store(&path, &error))
    }

    /// The names of those who have a profile on this broker, as the names of directories.
    pub(crate) fn names(data_dir: &Path, broker: &PublicKey) -> Vec<String> {
        let dir = data_dir.join("profiles").join(broker.to_string());
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter_map(|name| {
                let decoded = percent_encoding::percent_decode_str(&name).decode_utf8();
                decoded.ok().map(std::borrow::Cow::into_owned)
            })
            .collect()
    }

    /// Who `name` is on this broker, if there is such a profile and it has been used. Nothing is made.
    pub(crate) fn find(
        data_dir: &Path,
        broker: &PublicKey,
        name: &Name,
    ) -> Result<Option<NodeIdentity>, ProfileError> {
        stored(&Self::path(data_dir, broker, name))
    }

    /// Makes the profile of `name` that of a device that was linked (DEV-6). What waits in its journal
    /// is for the new device to send.
    pub(crate) async fn link(
        data_dir: &Path,
        broker: &PublicKey,
        name: &Name,
        identity: NodeIdentity,
    ) -> Result<(), ProfileError> {
        let dir = Self::dir(data_dir, broker, name)?;
        let locks = Self::locks(&dir, name)?;
        let mut profile = Self {
            identity,
            dir,
            locks,
        };
        profile.take_link().await?;
        let dir = &profile.dir;
        let _making = files::lock(&dir.join("keys.lock"))?;
        let is_own = keyfile::read(&dir.join("account.key"))?.is_some_and(|account| {
            let first = NodeIdentity::from_secrets(*account, [0; KEY_LEN]);
            first.account() == profile.identity.account()
        });
        if is_own {
            let message = format!("{name} has the account's own key here: nothing is to be linked");
            return Err(ProfileError::new(Trouble::Refused, message));
        }
        // First, so that a linked device without a journal is one that has lost it (JRN-10).
        let journal = profile.journal();
        JournalFile::open(&journal).map_err(|error| ProfileError::store(&journal, &error))?;
        linked::write(dir, &profile.identity)
    }

    /// All profiles that there are, and their keys: of those that have been used. Nothing is made.
    pub(crate) fn all(
        data_dir: &Path,
    ) -> Result<Vec<(PublicKey, String, NodeIdentity)>, ProfileError> {
        let mut all = Vec::new();
        let brokers = std::fs::read_dir(data_dir.join("profiles"));
        for entry in brokers.into_iter().flatten().flatten() {
            let Some(broker) = entry.file_name().to_str().and_then(|key| key.parse().ok()) else {
                continue;
            };
            for name in Self::names(data_dir, &broker) {
                let dir = entry
                    .path()
                    .join(utf8_percent_encode(&name, ESCAPED).to_string());
                if let Some(identity) = stored(&dir)? {
                    all.push((broker, name, identity));
                }
            }
        }
        all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(all)
    }

    // ---- the link

    /// Takes the link, if nobody has it and nobody looks at the profile (JRN-6). It is had until
    /// the file is dropped.
    pub(crate) fn try_link(&self) -> Result<Option<File>, ProfileError> {
        if self.is_looked_at()? {
            return Ok(None);
        }
        files::try_lock(&self.dir.join("link.lock"))
    }

    /// Whether another process has the profile open for people to look at.
    pub(crate) fn is_looked_at(&self) -> Result<bool, ProfileError> {
        files::is_locked(&self.dir.join("wanted.lock"))
    }

    /// Takes the link for the process that people look at, as soon as whoever has it lets go.
    pub(crate) async fn take_link(&mut self) -> Result<(), ProfileError> {
        let taken = async {
            loop {
                if let Some(link) = files::try_lock(&self.dir.join("link.lock"))? {
                    return Ok(link);
                }
                sleep(LINK_TRIED_EVERY).await;
            }
        };
        let link = timeout(LINK_WAITED_FOR, taken).await.unwrap_or_else(|_| {
            let message = "another program has this name's link and does not let go";
            Err(ProfileError::new(Trouble::Refused, message))
        })?;
        self.locks.push(link);
        Ok(())
    }

    /// The account goes on with another device (JRN-4). Whoever calls this has the link. The error may
    /// be that the device was linked, and cannot do that by itself (DEV-6).
    pub(crate) fn change_device(&mut self) -> Result<(), ProfileError> {
        if self.identity.is_linked() {
            let why = "the broker knows more lines from here than this profile does: it was restored \
                       from a backup, or copied";
            return Err(linked::link_again(Trouble::Refused, why));
        }
        keyfile::make(&self.dir.join("device.key"))?;
        self.identity = identity(&self.dir)?;
        Ok(())
    }
}

/// The keys in `dir`, made if need be, and the journal.
fn identity(dir: &Path) -> Result<NodeIdentity, ProfileError> {
    let _making = files::lock(&dir.join("keys.lock"))?;
    let (journal, device) = (dir.join(JOURNAL), dir.join("device.key"));
    let exists = journal.try_exists();
    let exists = exists.map_err(|error| ProfileError::file(&journal, &error))?;
    if let Some(linked) = linked::read(dir)? {
        if exists {
            return Ok(linked);
        }
        let why = format!("the journal {} is gone", journal.display());
        return Err(linked::link_again(Trouble::Directory, &why));
    }
    let account = keyfile::read_or_make(&dir.join("account.key"))?;
    if !exists {
        // JRN-10: nobody knows any more which numbers the device has used.
        keyfile::make(&device)?;
        JournalFile::open(&journal).map_err(|error| ProfileError::store(&journal, &error))?;
    }
    let device = keyfile::read_or_make(&device)?;
    Ok(NodeIdentity::from_secrets(*account, *device))
}

/// The keys that are in `dir`, as far as there are any.
fn stored(dir: &Path) -> Result<Option<NodeIdentity>, ProfileError> {
    if let Some(linked) = linked::read(dir)? {
        return Ok(Some(linked));
    }
    let account = keyfile::read(&dir.join("account.key"))?;
    let device = keyfile::read(&dir.join("device.key"))?;
    let both = account.zip(device);
    Ok(both.map(|(account, device)| NodeIdentity::from_secrets(*account, *device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: PublicKey = PublicKey([1; 32]);

    fn open(dir: &Path, broker: &PublicKey, name: &str) -> Result<Profile, ProfileError> {
        Profile::open(dir, broker, &Name::new(name).unwrap())
    }

    #[test]
    fn a_name_is_the_same_person_each_time_and_another_on_each_broker() {
        let dir = tempfile::tempdir().unwrap();
        let account = |broker, name| {
            let profile = open(dir.path(), broker, name).unwrap();
            (profile.identity.account(), profile.identity.device())
        };
        let ada = account(&BROKER, "ada");
        assert_eq!(account(&BROKER, "Ada"), ada);
        assert_ne!(account(&BROKER, "bob"), ada);
        assert_ne!(account(&PublicKey([2; 32]), "ada"), ada);
    }

    /// CLI-8.
    #[test]
    fn a_profile_is_open_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), &BROKER, "ada").unwrap();
        let refused = open(dir.path(), &BROKER, "ada").unwrap_err();
        assert_eq!(refused.trouble, Trouble::Refused);
        assert_eq!(refused.to_string(), "ada is already open here");
        open(dir.path(), &BROKER, "bob").unwrap();
        drop(first);
        open(dir.path(), &BROKER, "ada").unwrap();
    }

    /// JRN-6: a program for scripts has the link as long as nobody looks at the profile.
    #[tokio::test]
    async fn the_link_is_had_by_one_and_given_to_who_looks() {
        let dir = tempfile::tempdir().unwrap();
        let ada = Name::new("ada").unwrap();
        let script = Profile::attach(dir.path(), &BROKER, &ada).unwrap();
        let link = script.try_link().unwrap();
        assert!(link.is_some());
        assert!(script.try_link().unwrap().is_none());
        assert!(!script.is_looked_at().unwrap());
        let mut looked_at = open(dir.path(), &BROKER, "ada").unwrap();
        assert_eq!(looked_at.identity.device(), script.identity.device());
        assert!(script.is_looked_at().unwrap());
        drop(link);
        assert!(script.try_link().unwrap().is_none());
        looked_at.take_link().await.unwrap();
        drop(looked_at);
        assert!(script.try_link().unwrap().is_some());
        assert_eq!(Profile::names(dir.path(), &BROKER), ["ada"]);
    }

    /// JRN-4.
    #[test]
    fn a_new_device_is_of_the_same_account() {
        let dir = tempfile::tempdir().unwrap();
        let mut profile = open(dir.path(), &BROKER, "ada").unwrap();
        let before = profile.identity.clone();
        profile.change_device().unwrap();
        assert_eq!(profile.identity.account(), before.account());
        assert_ne!(profile.identity.device(), before.device());
    }

    /// JRN-10.
    #[test]
    fn a_device_is_given_up_with_its_journal() {
        let dir = tempfile::tempdir().unwrap();
        let profile = open(dir.path(), &BROKER, "ada").unwrap();
        let (before, journal) = (profile.identity.clone(), profile.journal());
        drop(profile);
        let again = open(dir.path(), &BROKER, "ada").unwrap();
        assert_eq!(again.identity.device(), before.device());
        drop(again);
        std::fs::remove_file(journal).unwrap();
        let profile = open(dir.path(), &BROKER, "ada").unwrap();
        assert_eq!(profile.identity.account(), before.account());
        assert_ne!(profile.identity.device(), before.device());
    }

    /// DEV-6, JRN-4, JRN-10: a linked device is what it was made, and makes itself nothing else.
    #[tokio::test]
    async fn a_linked_device_is_given_up_with_its_journal_until_it_is_linked_again() {
        let dir = tempfile::tempdir().unwrap();
        let ada = Name::new("ada").unwrap();
        let first = NodeIdentity::from_secrets([1; 32], [2; 32]);
        let link = async |secret| {
            let device = NodeIdentity::from_secrets([9; 32], secret).device();
            let certificate = first.certify(&device).unwrap();
            let linked = NodeIdentity::linked(first.account(), certificate, secret).unwrap();
            Profile::link(dir.path(), &BROKER, &ada, linked)
                .await
                .unwrap();
            device
        };
        // Somebody has tried the name here before, and was not let in.
        let before = open(dir.path(), &BROKER, "ada").unwrap();
        let refused = Profile::link(dir.path(), &BROKER, &ada, first.clone()).await;
        assert_eq!(refused.unwrap_err().trouble, Trouble::Refused);
        drop(before);

        let device = link([3; 32]).await;
        let mut profile = open(dir.path(), &BROKER, "ada").unwrap();
        assert!(profile.identity.is_linked());
        assert_eq!(profile.identity.account(), first.account());
        assert_eq!(profile.identity.device(), device);
        let retired = profile.change_device().unwrap_err();
        assert_eq!(retired.trouble, Trouble::Refused);
        assert!(retired.to_string().contains("chat-node link CODE"));
        let journal = profile.journal();
        drop(profile);

        std::fs::remove_file(journal).unwrap();
        let gone = open(dir.path(), &BROKER, "ada").unwrap_err();
        assert_eq!(gone.trouble, Trouble::Directory);
        let device = link([4; 32]).await;
        let profile = open(dir.path(), &BROKER, "ada").unwrap();
        assert_eq!(profile.identity.device(), device);
        let found = Profile::find(dir.path(), &BROKER, &ada).unwrap();
        assert_eq!(found.unwrap().device(), device);
    }

    /// DEV-6: where the account's own key is, nothing is to be linked.
    #[tokio::test]
    async fn the_first_device_is_not_linked_to_its_own_account() {
        let dir = tempfile::tempdir().unwrap();
        let ada = Name::new("ada").unwrap();
        let own = open(dir.path(), &BROKER, "ada").unwrap().identity;
        let linked = Profile::link(dir.path(), &BROKER, &ada, own.clone()).await;
        assert_eq!(linked.unwrap_err().trouble, Trouble::Refused);
        let again = open(dir.path(), &BROKER, "ada").unwrap().identity;
        assert!(!again.is_linked());
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), &BROKER, "../../ada").unwrap();
        open(dir.path(), &BROKER, "..").unwrap();
        let profiles = dir.path().join("profiles").join(BROKER.to_string());
        let mut names: Vec<_> = std::fs::read_dir(profiles)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["%2E%2E", "%2E%2E%2F%2E%2E%2Fada"]);
    }
}

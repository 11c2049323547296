//! Who somebody is on one broker: an account and a device, kept in a directory of their own.

use std::fs::File;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::exit::{Code, Failure};
use super::{files, keyfile};
use crate::chat::Name;
use crate::secure::{NodeIdentity, PublicKey};

/// What a name becomes in the name of a directory: letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A profile that is open in this process, and in no other (CLI-8).
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) identity: NodeIdentity,
    /// Dies with the process.
    _lock: File,
}

impl Profile {
    /// Opens the profile of `name` on the broker with this key, and makes it if there is none.
    pub(super) fn open(data_dir: &Path, broker: &PublicKey, name: &Name) -> Result<Self, Failure> {
        // Names that differ only in case are one, and so are their directories (SGN-3).
        let folder = utf8_percent_encode(name.folded(), ESCAPED).to_string();
        let dir = data_dir
            .join("profiles")
            .join(broker.to_string())
            .join(folder);
        files::make_private_dir(&dir)?;
        let Some(lock) = files::try_lock(&dir.join("lock"))? else {
            let message = format!("{name} is already open here");
            return Err(Failure::new(Code::Refused, message));
        };
        let account = keyfile::read_or_make(&dir.join("account.key"))?;
        let device = keyfile::read_or_make(&dir.join("device.key"))?;
        Ok(Self {
            identity: NodeIdentity::from_secrets(*account, *device),
            _lock: lock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: PublicKey = PublicKey([1; 32]);

    fn open(dir: &Path, broker: &PublicKey, name: &str) -> Result<Profile, Failure> {
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
        assert_eq!(refused.code, Code::Refused);
        assert_eq!(refused.to_string(), "ada is already open here");
        open(dir.path(), &BROKER, "bob").unwrap();
        drop(first);
        open(dir.path(), &BROKER, "ada").unwrap();
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

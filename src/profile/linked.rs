//! Who a linked device is, in one file (DEV-6).

use std::path::Path;

use zeroize::Zeroizing;

use super::{ProfileError, Trouble, files};
use crate::secure::{AccountKey, CERTIFICATE_LEN, KEY_LEN, NodeIdentity};

/// The file in the profile's directory: account, its word for the device, the device's private key.
const FILE: &str = "linked.key";
const LEN: usize = KEY_LEN + CERTIFICATE_LEN + KEY_LEN;

/// The linked device whose profile this is, if it is one.
pub(super) fn read(dir: &Path) -> Result<Option<NodeIdentity>, ProfileError> {
    let path = dir.join(FILE);
    let Some(content) = files::read_private(&path)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    parse(&content).map(Some).ok_or_else(|| {
        let message = format!("{} holds no linked device: link it again", path.display());
        ProfileError::new(Trouble::Directory, message)
    })
}

fn parse(content: &[u8]) -> Option<NodeIdentity> {
    let (account, rest) = content.split_first_chunk::<KEY_LEN>()?;
    let (certificate, secret) = rest.split_first_chunk::<CERTIFICATE_LEN>()?;
    NodeIdentity::linked(AccountKey(*account), *certificate, secret.try_into().ok()?)
}

/// Makes the profile in `dir` that of this linked device, whatever it was before.
pub(super) fn write(dir: &Path, identity: &NodeIdentity) -> Result<(), ProfileError> {
    let mut content = Zeroizing::new(Vec::with_capacity(LEN));
    content.extend_from_slice(identity.account().as_bytes());
    content.extend_from_slice(identity.certificate());
    content.extend_from_slice(identity.device_secret());
    files::write_private(&dir.join(FILE), &content)
}

/// Why a linked device cannot go on, and what to do about it (CLI-26).
pub(super) fn link_again(trouble: Trouble, why: &str) -> ProfileError {
    let message = format!(
        "{why}, and this device cannot make itself another key: it was linked to its account, whose \
         private key is elsewhere.\n  chat-node link  on the device that has it makes a code;  \
         chat-node link CODE  here links this one again.\nWhat waits here to be sent is kept for that"
    );
    ProfileError::new(trouble, message)
}

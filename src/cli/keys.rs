//! The keys of this machine, by their fingerprints (CLI-23).

use std::io::{self, Write as _};
use std::path::Path;

use super::exit::{Code, Failure};
use crate::chat::visible;
use crate::profile::{Profile, keyfile};
use crate::secure::BrokerIdentity;

/// The file with a broker's key, in its data directory.
pub(super) const BROKER_KEY: &str = "key";

/// `chat-broker keys`: of the broker whose data directory this is.
pub(super) fn of_broker(dir: &Path) -> Result<Code, Failure> {
    let Some(secret) = keyfile::read(&dir.join(BROKER_KEY))? else {
        let message = format!("no broker has a key in {}", dir.display());
        return Err(Failure::new(Code::Directory, message));
    };
    let key = BrokerIdentity::from_secret(*secret).public();
    print(&format!("broker {}\n", key.fingerprint()))
}

/// `chat-node keys`: of everybody who has a profile in this data directory.
pub(super) fn of_nodes(dir: &Path) -> Result<Code, Failure> {
    let all = Profile::all(dir)?;
    if all.is_empty() {
        let message = format!("nobody has keys in {}", dir.display());
        return Err(Failure::new(Code::Directory, message));
    }
    let mut text = String::new();
    let mut last = None;
    for (broker, name, node) in all {
        if last.replace(broker) != Some(broker) {
            text += &format!("broker {}\n", broker.fingerprint());
        }
        text += &format!(
            "  {}\n    account {}\n    device  {}{}\n",
            visible(&name),
            node.account().fingerprint(),
            node.device().fingerprint(),
            if node.is_linked() { " (linked)" } else { "" }
        );
    }
    print(&text)
}

fn print(text: &str) -> Result<Code, Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Code::Done),
        // Whoever read it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Code::Done),
        Err(error) => Err(Failure::file(Path::new("stdout"), &error)),
    }
}

//! What `send` and `tail` have in common: whose profile it is, and who has its link.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::carrier::Carrier;
use crate::chat::{InviteSecret, Name};
use crate::cli::address::HostPort;
use crate::cli::args::NodeArgs;
use crate::cli::exit::{self, Code, Failure};
use crate::cli::files;
use crate::client::{Client, ClientConfig, ClientEvent, EndReason, JournalState};
use crate::driver::{Clock, Driver, Ways, find_ways, memory_journal, system_seed};
use crate::profile::Profile;
use crate::profile::known_hosts::KnownHosts;
use crate::secure::PublicKey;
use crate::store::journal::JournalFile;

/// Whose profile a program for scripts works with.
pub(super) struct Scripted {
    pub(super) data_dir: PathBuf,
    pub(super) host: HostPort,
    pub(super) key: PublicKey,
    pub(super) name: Name,
    pub(super) invite: Option<InviteSecret>,
}

impl Scripted {
    /// Finds the profile; at a broker that is not known yet, waits for that to show its key.
    pub(super) async fn find(args: &NodeArgs, patience: Duration) -> Result<Self, Failure> {
        let data_dir = files::data_dir(args.data_dir.clone(), "node")?;
        let hosts = KnownHosts::new(&data_dir);
        let host = args.broker();
        let remembered = hosts.find(&host)?;
        let given = args.url.as_ref().and_then(|url| url.key);
        let key = match (remembered, given) {
            (Some(remembered), Some(given)) if remembered.key != given => {
                let text = super::words::contradicting_url(&host, given, hosts.path(), remembered);
                return Err(Failure::new(Code::Refused, text));
            }
            (Some(remembered), _) => remembered.key,
            (None, Some(given)) => given,
            (None, None) => {
                let shown = timeout(patience, first_contact(args, &host)).await;
                let key = shown.unwrap_or_else(|_| {
                    let message = format!("no contact with {host}, and nothing can be kept for it");
                    Err(Failure::new(Code::Unavailable, message))
                })?;
                hosts.remember(&host, key)?.key
            }
        };
        let name = match &args.name {
            Some(name) => name.clone(),
            None => only_name(&data_dir, &key, &host)?,
        };
        Ok(Self {
            data_dir,
            host,
            key,
            name,
            invite: args.invite(),
        })
    }

    /// The profile's journal.
    pub(super) fn journal(&self) -> Result<JournalFile, Failure> {
        let profile = Profile::attach(&self.data_dir, &self.key, &self.name)?;
        let path = profile.journal();
        JournalFile::open(&path).map_err(|error| exit::of_store(&path, &error))
    }

    /// Keeps `carrier` running if the link is to be had: another process may have it.
    pub(super) async fn carry(&self, carrier: &mut Option<Carrier>) -> Result<(), Failure> {
        if let Some(over) = carrier.take_if(|carrier| carrier.is_over()) {
            over.end().await?;
        }
        if carrier.is_none() {
            *carrier = Carrier::try_start(self).await?;
        }
        Ok(())
    }
}

/// Without a name, the only one that there is.
pub(super) fn only_name(
    data_dir: &std::path::Path,
    key: &PublicKey,
    host: &HostPort,
) -> Result<Name, Failure> {
    let names = Profile::names(data_dir, key);
    let usage = |message: String| Failure::new(Code::Usage, message);
    match names.as_slice() {
        [name] => Name::new(name).map_err(|error| usage(error.to_string())),
        [] => Err(usage("who is it? say --name".to_owned())),
        _ => Err(usage(format!(
            "there are several names at {host}: say --name"
        ))),
    }
}

/// Asks the broker for its key, and says nothing more.
async fn first_contact(args: &NodeArgs, host: &HostPort) -> Result<PublicKey, Failure> {
    let unavailable = |message: String| Failure::new(Code::Unavailable, message);
    let Ways { sockets, paths } = find_ways(&host.host, host.port)
        .await
        .map_err(|error| unavailable(format!("cannot reach {host}: {error}")))?;
    let seed = system_seed()
        .map_err(|error| unavailable(format!("the system has no randomness: {error}")))?;
    // Nobody is told it: it is not signed in under.
    let name = args.name.clone();
    let name = name.map_or_else(|| Name::new("nobody"), Ok);
    let name = name.map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
    let config = ClientConfig {
        paths,
        name,
        known: None,
        restored: JournalState::default(),
    };
    let clock = Clock::system();
    let client = Client::new(config, seed, clock.now());
    let (driver, mut ends) = Driver::new(client, sockets, memory_journal(), clock);
    tokio::spawn(driver.run());
    loop {
        match ends.events.recv().await {
            Some(ClientEvent::FirstContact(key)) => return Ok(key),
            Some(ClientEvent::Ended(EndReason::Version { spoken })) => {
                return Err(unavailable(super::words::versions(&spoken)));
            }
            Some(_) => {}
            None => return Err(unavailable(format!("no contact with {host}"))),
        }
    }
}

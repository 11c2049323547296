//! What `link` and `devices` have in common: whose profile it is, and a link that does not sign in,
//! beside a node that does (DEV-1).

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::script::only_name;
use super::words;
use crate::chat::{Name, visible};
use crate::cli::address::HostPort;
use crate::cli::args::NodeArgs;
use crate::cli::exit::{Code, Failure};
use crate::cli::files;
use crate::client::{
    Client, ClientConfig, ClientEvent, EndReason, Errand, ErrandEvent, JournalState,
};
use crate::driver::{
    Clock, Driver, Ends, NodeCommand, Ways, find_ways, memory_journal, system_seed,
};
use crate::profile::Profile;
use crate::profile::known_hosts::KnownHosts;
use crate::rng::SeededRng;
use crate::secure::{NodeIdentity, PublicKey};

/// How long the broker may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// A profile that has been used.
pub(super) struct Whose {
    pub(super) host: HostPort,
    pub(super) key: PublicKey,
    pub(super) name: Name,
    pub(super) identity: NodeIdentity,
}

impl Whose {
    /// Finds the profile that `args` name. None is made.
    pub(super) fn find(args: &NodeArgs) -> Result<Self, Failure> {
        let missing = |message: String| Failure::new(Code::Directory, message);
        let data_dir: PathBuf = files::find_data_dir(args.data_dir.clone(), "node")?;
        let host = args.broker();
        let known = KnownHosts::new(&data_dir).find(&host)?;
        let known = known.ok_or_else(|| missing(format!("nobody here has been at {host}")))?;
        let name = match &args.name {
            Some(name) => name.clone(),
            None => only_name(&data_dir, &known.key, &host)?,
        };
        let identity = Profile::find(&data_dir, &known.key, &name)?;
        let identity = identity.ok_or_else(|| {
            missing(format!(
                "{} has no keys for {host} here",
                visible(name.as_str())
            ))
        })?;
        Ok(Self {
            host,
            key: known.key,
            name,
            identity,
        })
    }

    /// Sets out.
    pub(super) async fn go(&self, errand: Errand) -> Result<Going, Failure> {
        let who = (self.key, self.identity.clone());
        Going::start(&self.host, who, self.name.clone(), errand).await
    }

    /// What has to be done where the account's private key is.
    pub(super) fn check_own(&self) -> Result<(), Failure> {
        if self.identity.is_linked() {
            let message = format!(
                "this device was linked to the account of {}: \
                 that is for the one which has the account's private key",
                visible(self.name.as_str())
            );
            return Err(Failure::new(Code::Refused, message));
        }
        Ok(())
    }
}

/// An errand that is being run.
pub(super) struct Going {
    host: HostPort,
    ends: Ends<Client>,
    task: JoinHandle<Client>,
    /// Whether it waits for another device too.
    is_asking: bool,
}

impl Going {
    /// Finds the broker, which has to be known, and begins to shake hands.
    pub(super) async fn start(
        host: &HostPort,
        known: (PublicKey, NodeIdentity),
        name: Name,
        errand: Errand,
    ) -> Result<Self, Failure> {
        let ways = find_ways(&host.host, host.port).await;
        let Ways { sockets, paths } = ways.map_err(|error| {
            Failure::new(Code::Unavailable, format!("cannot reach {host}: {error}"))
        })?;
        let config = ClientConfig {
            paths,
            name,
            known: Some(known),
            restored: JournalState::default(),
        };
        let is_asking = matches!(errand, Errand::Ask { .. });
        let clock = Clock::system();
        let mut client = Client::new(config, rng()?.fork(), clock.now());
        client.set_errand(errand);
        let (driver, ends) = Driver::new(client, sockets, memory_journal(), clock);
        Ok(Self {
            host: host.clone(),
            ends,
            task: tokio::spawn(driver.run()),
            is_asking,
        })
    }

    /// What comes of it next; `None` when it is done.
    pub(super) async fn next(&mut self) -> Result<Option<ErrandEvent>, Failure> {
        loop {
            match self.ends.events.recv().await {
                Some(ClientEvent::Errand(event)) => return Ok(Some(event)),
                Some(ClientEvent::Ended(reason)) => {
                    // The last datagrams are sent before the program ends.
                    if let Err(error) = (&mut self.task).await
                        && error.is_panic()
                    {
                        std::panic::resume_unwind(error.into_panic());
                    }
                    return ended(reason).map(|()| None);
                }
                Some(_) => {}
                None => return Err(self.no_contact()),
            }
        }
    }

    /// The same, if it comes soon: the broker owes it.
    pub(super) async fn owed(&mut self) -> Result<Option<ErrandEvent>, Failure> {
        match timeout(PATIENCE, self.next()).await {
            Ok(next) => next,
            Err(_) => Err(self.no_answer()),
        }
    }

    /// Gives it up, in a way that the broker hears of.
    pub(super) async fn give_up(self) {
        // One that has ended needs no word, and a broker that is away is not waited for.
        let _ = self.ends.commands.send(NodeCommand::Abandon).await;
        let _ = timeout(GOODBYE_WITHIN, self.task).await;
    }

    /// To its end, by which the other side knows that it is done.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        while self.owed().await?.is_some() {}
        Ok(())
    }

    fn no_answer(&self) -> Failure {
        let message = if self.is_asking {
            let host = &self.host;
            format!("no answer: {host} is out of reach, or the device that made the code is")
        } else {
            format!("there was no contact with {}", self.host)
        };
        Failure::new(Code::Unavailable, message)
    }

    fn no_contact(&self) -> Failure {
        Failure::new(
            Code::Unavailable,
            format!("there was no contact with {}", self.host),
        )
    }
}

/// Randomness for keys and codes.
pub(super) fn rng() -> Result<SeededRng, Failure> {
    let seed = system_seed().map_err(|error| {
        let message = format!("the system has no randomness: {error}");
        Failure::new(Code::Unavailable, message)
    })?;
    Ok(SeededRng::new(seed))
}

fn ended(reason: EndReason) -> Result<(), Failure> {
    let refused = |message: String| Err(Failure::new(Code::Refused, message));
    match reason {
        EndReason::Left | EndReason::Abandoned { .. } => Ok(()),
        EndReason::KeyChanged { shown, known } => refused(format!(
            "the broker's key has changed: {} is known, {} was shown; chat-node tells more",
            known.fingerprint(),
            shown.fingerprint()
        )),
        EndReason::NotAdmitted { reason, .. } | EndReason::NameRefused { reason, .. } => {
            refused(visible(&reason).into_owned())
        }
        EndReason::Replaced | EndReason::Retired { .. } => {
            refused("the device has signed in from somewhere else".to_owned())
        }
        EndReason::Version { spoken } => {
            Err(Failure::new(Code::Unavailable, words::versions(&spoken)))
        }
        EndReason::Protocol { reason } => Err(Failure::new(
            Code::Unavailable,
            words::misunderstanding(&reason),
        )),
    }
}

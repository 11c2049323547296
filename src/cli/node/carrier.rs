//! The link of a profile that nobody looks at, for as long as a program for scripts needs it
//! (JRN-6): it sends what is spooled, receives what is read, and lets go when somebody looks.

use std::pin::pin;
use std::time::Duration;

use tokio::select;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use super::Scripted;
use super::record::Record;
use super::session::patience::Patience;
use super::words;
use crate::chat::visible;
use crate::cli::exit::{Code, Failure};
use crate::client::{Client, ClientConfig, ClientEvent, EndReason};
use crate::driver::{Clock, Driver, Ends, NodeCommand, Ways, find_ways, system_seed};
use crate::handle::spool::Spool;
use crate::profile::Profile;
use crate::rng::SeededRng;
use crate::secure::PublicKey;
use crate::store::journal::Unopened;

/// How often it looks whether somebody else wants the link.
const LOOKED_EVERY: Duration = Duration::from_millis(50);
/// How long a goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// A link that is had, in a task of its own.
pub(super) struct Carrier {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Failure>>,
}

impl Carrier {
    /// Takes the link of the profile, if it is to be had.
    pub(super) async fn try_start(script: &Scripted) -> Result<Option<Self>, Failure> {
        let profile = Profile::attach(&script.data_dir, &script.key, &script.name)?;
        let Some(link) = profile.try_link()? else {
            return Ok(None);
        };
        let (unopened, store) = Unopened::new();
        let clock = Clock::system();
        let (record, restored) = Record::open(profile, unopened, clock.clone())?;
        let config = ClientConfig {
            paths: Vec::new(),
            name: script.name.clone(),
            known: Some((script.key, record.profile.identity.clone())),
            restored,
        };
        let ends = start_driver(script, config, store, clock).await?;
        let (stop, stopped) = oneshot::channel();
        let key = script.key;
        let task = tokio::spawn(async move {
            let _link = link;
            run(record, ends, key, stopped).await
        });
        Ok(Some(Self {
            stop: Some(stop),
            task,
        }))
    }

    /// Whether it has let go.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Says goodbye, and lets the link go. The error is why there was nothing to be had from it.
    pub(super) async fn end(mut self) -> Result<(), Failure> {
        // One that is over has no use for this.
        drop(self.stop.take());
        match self.task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }
}

/// Finds the broker and begins to shake hands. The task of the driver ends with its last event.
async fn start_driver<S>(
    script: &Scripted,
    config: ClientConfig,
    store: S,
    clock: Clock,
) -> Result<Ends<Client>, Failure>
where
    S: crate::driver::Store<Request = crate::client::JournalRequest, Completion = u64>,
{
    let host = &script.host;
    let ways = find_ways(&host.host, host.port).await;
    let Ways { sockets, paths } = ways.map_err(|error| {
        Failure::new(Code::Unavailable, format!("cannot reach {host}: {error}"))
    })?;
    let seed = system_seed().map_err(|error| {
        let message = format!("the system has no randomness: {error}");
        Failure::new(Code::Unavailable, message)
    })?;
    let config = ClientConfig { paths, ..config };
    let mut client = Client::new(config, SeededRng::new(seed).fork(), clock.now());
    if let Some(invite) = &script.invite {
        client.set_invite(invite.clone());
    }
    let (driver, ends) = Driver::new(client, sockets, store, clock);
    tokio::spawn(driver.run());
    Ok(ends)
}

/// Until it is told to stop, somebody looks at the profile, or the broker does not want it.
async fn run(
    mut record: Record,
    mut ends: Ends<Client>,
    key: PublicKey,
    mut stopped: oneshot::Receiver<()>,
) -> Result<(), Failure> {
    let mut spool = Spool::default();
    let (mut patience, clock) = (Patience::default(), Clock::system());
    let mut looking = interval(LOOKED_EVERY);
    let mut failed = pin!(record.journal.failed());
    let outcome = loop {
        select! {
            biased;
            _ = &mut stopped => break say_goodbye(&mut ends).await,
            error = failed.as_mut() => break Err(record.failure(&error)),
            _ = looking.tick() => {
                if record.profile.is_looked_at()? {
                    break say_goodbye(&mut ends).await;
                }
            }
            event = ends.events.recv() => match event {
                Some(ClientEvent::Ended(reason)) => break on_ended(&mut record, reason, &key),
                Some(event) => {
                    spool.on_event(&event);
                    if let ClientEvent::PutOff { what, room, wait, reason, .. } = &event
                        && patience.is_news(*what, clock.now())
                    {
                        let why = (*wait, &**reason);
                        eprintln!("{}", words::put_off(*what, room.as_ref(), why, 0));
                    }
                }
                None => break Ok(()),
            },
            news = record.journal.news() => {
                if let Some(options) = spool.on_news(news) {
                    // A driver that has ended says so by its last event.
                    let _ = ends.commands.send(NodeCommand::Join(options)).await;
                }
            }
        }
        if spool.has_work() {
            spool.publish(&ends.commands, &record.journal).await;
        }
    };
    drop(ends);
    let closed = record.close().await;
    outcome.and(closed)
}

/// The account is not away for this: it never was there. What waits stays in the journal.
async fn say_goodbye(ends: &mut Ends<Client>) -> Result<(), Failure> {
    let _ = ends.commands.send(NodeCommand::Abandon).await;
    let ended = async {
        while let Some(event) = ends.events.recv().await {
            if matches!(event, ClientEvent::Ended(_)) {
                return;
            }
        }
    };
    // A broker that is away is not waited for.
    let _ = timeout(GOODBYE_WITHIN, ended).await;
    Ok(())
}

fn on_ended(record: &mut Record, reason: EndReason, key: &PublicKey) -> Result<(), Failure> {
    let refused = |message: String| Err(Failure::new(Code::Refused, message));
    match reason {
        EndReason::Left | EndReason::Abandoned { .. } => Ok(()),
        // The next one begins with the new device (JRN-4).
        EndReason::Retired { .. } => record.profile.change_device().map_err(|error| {
            // DEV-6: a linked device keeps what waits until it is linked again.
            Failure::new(Code::Unconfirmed, error.to_string())
        }),
        EndReason::KeyChanged { shown, .. } => refused(format!(
            "the broker's key has changed: {} is known, {} was shown; chat-node tells more",
            key.fingerprint(),
            shown.fingerprint()
        )),
        EndReason::NameRefused { reason, .. } => refused(format!(
            "the broker does not accept the name: {}",
            visible(&reason)
        )),
        EndReason::NotAdmitted { reason, .. } => refused(format!(
            "the broker does not let this account in: {}",
            visible(&reason)
        )),
        EndReason::Replaced => refused("the device has signed in from somewhere else".to_owned()),
        EndReason::Version { spoken } => {
            Err(Failure::new(Code::Unavailable, words::versions(&spoken)))
        }
        EndReason::Protocol { reason } => Err(Failure::new(
            Code::Unavailable,
            words::misunderstanding(&reason),
        )),
    }
}

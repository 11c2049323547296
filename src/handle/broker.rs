//! A broker to hold.

use std::io;
use std::net::SocketAddr;
#[cfg(feature = "sqlite")]
use std::path::Path;

use tokio::task::JoinHandle;

use crate::broker::{
    Broker as Machine, BrokerConfig, MemoryStore, StorageCompletion, StorageRequest,
};
use crate::chat::LogId;
use crate::driver::{
    self, BrokerCommand, Clock, Driver, Ends, Store, SystemSocket, memory_store, system_seed,
};
use crate::drops::Drops;
use crate::rng::SeededRng;
use crate::secure::{BrokerIdentity, PublicKey};
#[cfg(feature = "sqlite")]
use crate::store::log::{Running, SqliteStore};
#[cfg(feature = "sqlite")]
use crate::store::sqlite::StoreError;

/// A broker that runs for as long as this handle is held. It keeps its lines in memory, or with the
/// feature `sqlite` in a file.
#[derive(Debug)]
pub struct Broker {
    key: PublicKey,
    addresses: Vec<SocketAddr>,
    commands: tokio::sync::mpsc::Sender<BrokerCommand>,
    task: JoinHandle<Drops>,
    #[cfg(feature = "sqlite")]
    log: Option<Running>,
}

/// Why a broker that keeps its lines in a file does not start.
#[cfg(feature = "sqlite")]
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on, or the system has no randomness.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The file cannot be used.
    #[error(transparent)]
    Log(#[from] StoreError),
}

impl Broker {
    /// A broker with a new key, listening on `listen`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// If an address cannot be listened on, or the system has no randomness.
    pub fn bind(listen: impl IntoIterator<Item = SocketAddr>) -> io::Result<Self> {
        let identity = BrokerIdentity::generate(&mut SeededRng::new(system_seed()?));
        Self::bind_as(identity, BrokerConfig::default(), listen)
    }

    /// A broker with this key.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_as(
        identity: BrokerIdentity,
        config: BrokerConfig,
        listen: impl IntoIterator<Item = SocketAddr>,
    ) -> io::Result<Self> {
        let sockets = bind(listen)?;
        let mut rng = SeededRng::new(system_seed()?);
        let log = LogId(rng.bytes());
        let machine = Machine::new(config, identity, log, rng.fork());
        Self::start(machine, sockets, memory_store(MemoryStore::new(log)))
    }

    /// A broker with this key that keeps its lines, and all else that it has to remember, in the
    /// file at `path`. One process at a time may do so; that is the caller's to see to.
    ///
    /// # Errors
    ///
    /// If an address cannot be listened on, the system has no randomness, or the file cannot be
    /// used.
    #[cfg(feature = "sqlite")]
    pub fn bind_on_disk(
        identity: BrokerIdentity,
        config: BrokerConfig,
        path: &Path,
        listen: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Self, StartError> {
        let sockets = bind(listen)?;
        let mut rng = SeededRng::new(system_seed()?);
        let (store, running) = SqliteStore::open(path, LogId(rng.bytes()))?;
        let machine = Machine::new(config, identity, store.log_id(), rng.fork());
        let mut broker = Self::start(machine, sockets, store)?;
        broker.log = Some(running);
        Ok(broker)
    }

    fn start<T>(machine: Machine, sockets: Vec<SystemSocket>, store: T) -> io::Result<Self>
    where
        T: Store<Request = StorageRequest, Completion = StorageCompletion>,
    {
        let addresses = sockets
            .iter()
            .map(SystemSocket::local_addr)
            .collect::<io::Result<_>>()?;
        let key = machine.public_key();
        let (driver, ends) = Driver::new(machine, sockets, store, Clock::system());
        let Ends { commands, events } = ends;
        // Nobody listens; a driver whose events nobody takes would wait.
        drop(events);
        let task = tokio::spawn(async move { driver.run().await.drops().clone() });
        Ok(Self {
            key,
            addresses,
            commands,
            task,
            #[cfg(feature = "sqlite")]
            log: None,
        })
    }

    /// The public key, by which nodes know the broker.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// The addresses that it listens on.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits until the file with the lines fails; for ever if it does not, or there is none. A
    /// broker whose file has failed confirms nothing any more, and should be dropped. Can be
    /// cancelled without loss.
    #[cfg(feature = "sqlite")]
    pub async fn log_failure(&mut self) -> StoreError {
        if let Some(log) = &mut self.log
            && let Err(error) = log.ended().await
        {
            return error;
        }
        std::future::pending().await
    }

    /// Closes every link in an orderly way, and the file with the lines if there is one, and tells
    /// which datagrams were dropped meanwhile.
    ///
    /// # Panics
    ///
    /// If the broker's task did.
    pub async fn shut_down(self) -> Drops {
        // If the task is gone it has shut down.
        let _ = self.commands.send(BrokerCommand::ShutDown).await;
        let drops = match self.task.await {
            Ok(drops) => drops,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        #[cfg(feature = "sqlite")]
        if let Some(mut log) = self.log
            && let Err(error) = log.ended().await
        {
            tracing::warn!(%error, "the file with the lines was not closed");
        }
        drops
    }
}

fn bind(listen: impl IntoIterator<Item = SocketAddr>) -> io::Result<Vec<SystemSocket>> {
    let mut sockets = Vec::new();
    for address in listen {
        sockets.push(driver::bind(address)?);
    }
    Ok(sockets)
}

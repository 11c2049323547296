//! A broker to hold.

use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::broker::{Broker as Machine, BrokerConfig, MemoryStore};
use crate::chat::LogId;
use crate::driver::{self, BrokerCommand, Clock, Driver, Ends, memory_store, system_seed};
use crate::drops::Drops;
use crate::rng::SeededRng;
use crate::secure::{BrokerIdentity, PublicKey};

/// A broker that runs for as long as this handle is held. It keeps its lines in memory.
#[derive(Debug)]
pub struct Broker {
    key: PublicKey,
    addresses: Vec<SocketAddr>,
    commands: tokio::sync::mpsc::Sender<BrokerCommand>,
    task: JoinHandle<Drops>,
}

impl Broker {
    /// A broker with a new key, listening on `listen`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// If an address cannot be listened on, or the system has no randomness.
    pub async fn bind(listen: impl IntoIterator<Item = SocketAddr>) -> io::Result<Self> {
        let identity = BrokerIdentity::generate(&mut SeededRng::new(system_seed()?));
        Self::bind_as(identity, BrokerConfig::default(), listen).await
    }

    /// A broker with this key.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub async fn bind_as(
        identity: BrokerIdentity,
        config: BrokerConfig,
        listen: impl IntoIterator<Item = SocketAddr>,
    ) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for address in listen {
            sockets.push(driver::bind(address)?);
        }
        let addresses = sockets
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<io::Result<_>>()?;
        let mut rng = SeededRng::new(system_seed()?);
        let log = LogId(rng.bytes());
        let key = identity.public();
        let machine = Machine::new(config, identity, log, rng.fork());
        let store = memory_store(MemoryStore::new(log));
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

    /// Closes every link in an orderly way, and tells which datagrams were dropped meanwhile.
    ///
    /// # Panics
    ///
    /// If the broker's task did.
    pub async fn shut_down(self) -> Drops {
        // If the task is gone it has shut down.
        let _ = self.commands.send(BrokerCommand::ShutDown).await;
        match self.task.await {
            Ok(drops) => drops,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

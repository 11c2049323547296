//! A broker inside the node's process: one command, a working chat (CLI-10).

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::broker::BrokerConfig;
use crate::cli::address::HostPort;
use crate::cli::args::NodeArgs;
use crate::cli::exit::{Code, Failure};
use crate::cli::screen::Screen;
use crate::cli::{broker, files};
use crate::handle::{Broker, StartError};

/// The broker, its log, and the lock on its data directory.
pub(super) struct Hosted {
    broker: Broker,
    log: PathBuf,
    _lock: File,
}

impl Hosted {
    /// Starts a broker at the address that `args` name, with the key and the log that `chat-broker`
    /// has on this machine (below `--data-dir`, if that is given), and points `args` to it.
    pub(super) async fn start(args: &mut NodeArgs, screen: &Screen) -> Result<Self, Failure> {
        let own_dir = args.data_dir.as_ref().map(|dir| dir.join("broker"));
        let data_dir = files::data_dir(own_dir, "broker")?;
        let lock = broker::lock(&data_dir)?;
        let identity = broker::identity(&data_dir)?;
        let HostPort { host, port } = args.broker();
        let cannot = |why: &dyn std::fmt::Display| {
            let message = format!("cannot host at {host}:{port}: {why}");
            Failure::new(Code::Unavailable, message)
        };
        let ip = host.parse().map_err(|error| cannot(&error))?;
        let listen = [SocketAddr::new(ip, port)];
        let log = broker::log_path(&data_dir);
        let config = BrokerConfig {
            reset_secret: Some(broker::reset_secret(&data_dir)?),
            ..BrokerConfig::default()
        };
        let bound = Broker::bind_on_disk(identity, config, &log, listen);
        let broker = bound.map_err(|error| match error {
            StartError::System(error) => cannot(&error),
            StartError::Log(error) => Failure::log(&log, &error),
        })?;
        let address = broker.addresses()[0];
        let note = format!(
            "hosting on {address}, key {}; others here join with: chat-node --broker {address}",
            broker.key().fingerprint()
        );
        screen.note(note).await;
        args.broker = Some(HostPort {
            host: address.ip().to_string(),
            port: address.port(),
        });
        Ok(Self {
            broker,
            log,
            _lock: lock,
        })
    }

    /// Waits until the broker can store nothing any more (STO-8).
    pub(super) async fn failure(hosted: Option<&mut Self>) -> Failure {
        match hosted {
            Some(hosted) => Failure::log(&hosted.log, &hosted.broker.log_failure().await),
            None => std::future::pending().await,
        }
    }

    /// Closes all links in an orderly way.
    pub(super) async fn end(self) {
        self.broker.shut_down().await;
    }
}

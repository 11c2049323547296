//! A member of a room: the library's client machine over a socket of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tertulia::chat::{Name, RoomName};
use tertulia::client::{Client, ClientConfig, ClientEvent, JoinOptions, JournalState};
use tertulia::driver::{DATAGRAMS_PER_TURN, TRAINS_PER_TURN, system_seed};
use tertulia::rng::SeededRng;
use tertulia::secure::{NodeIdentity, PublicKey};
use tertulia::transmit::Path;
use tokio::task::{consume_budget, yield_now};
use tokio::time::timeout;

use crate::Result;
use crate::host::now;
use crate::port::Port;

/// An address of this machine in a network of its own, as people have: how many come from one at a
/// time is limited (ADR-5).
fn somewhere() -> Ipv4Addr {
    static NETWORKS: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NETWORKS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    match cfg!(target_os = "linux") {
        true => Ipv4Addr::new(127, high, low, 1),
        // Elsewhere the one address is all that there is.
        false => Ipv4Addr::LOCALHOST,
    }
}

/// How long a member may take to get into its room.
const JOIN_MAX: Duration = Duration::from_secs(60);

/// What makes a member the one that it was before.
#[derive(Clone)]
pub struct Kept {
    identity: NodeIdentity,
    broker: Option<PublicKey>,
    /// What its journal holds.
    journal: JournalState,
}

impl Kept {
    /// Somebody new.
    pub fn fresh() -> Result<Self> {
        let mut rng = SeededRng::new(system_seed()?);
        Ok(Self {
            identity: NodeIdentity::generate(&mut rng),
            broker: None,
            journal: JournalState::default(),
        })
    }
}

/// A member of one room.
pub struct Member {
    port: Port,
    client: Client,
    room: RoomName,
    kept: Kept,
    /// Whether the journal is kept up to date, so that the member can come again.
    is_journaling: bool,
    online: u64,
}

impl Member {
    /// One that is called `name` and goes to `room`, with the journal of the one before it.
    pub fn new(broker: SocketAddr, name: &str, room: &str, kept: Kept) -> Result<Self> {
        let room = RoomName::new(room)?;
        let known = kept.broker.map(|key| (key, kept.identity.clone()));
        let config = ClientConfig {
            paths: vec![Path::new(broker)],
            name: Name::new(name)?,
            known,
            restored: kept.journal.clone(),
        };
        let now = now();
        let mut client = Client::new(config, system_seed()?, now);
        client.join(JoinOptions::from(room.clone()), now);
        Ok(Self {
            port: Port::bind((somewhere(), 0).into())?,
            client,
            room,
            kept,
            is_journaling: false,
            online: 0,
        })
    }

    /// The same with a journal from which it can come again.
    pub fn journaling(mut self) -> Self {
        self.is_journaling = true;
        self
    }

    /// A new member, once it is in its room.
    pub async fn joined(broker: SocketAddr, name: String, room: String) -> Result<Self> {
        let mut member = Self::new(broker, &name, &room, Kept::fresh()?)?;
        timeout(JOIN_MAX, member.join())
            .await
            .map_err(|_| format!("{name} did not get into {room}"))??;
        Ok(member)
    }

    /// Waits until it is in its room.
    pub async fn join(&mut self) -> Result<()> {
        let mut events = Vec::new();
        loop {
            self.next(&mut events).await?;
            for event in events.drain(..) {
                if matches!(event, ClientEvent::Joined { .. }) {
                    return Ok(());
                }
            }
        }
    }

    /// How often it has signed in.
    pub const fn times_online(&self) -> u64 {
        self.online
    }

    /// Says something, as soon as the next turn comes. Returns what its outcome will be called.
    pub fn publish(&mut self, text: &[u8]) -> Result<u64> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let typed_at = u64::try_from(unix.as_millis())?;
        Ok(self.client.publish(&self.room, text, typed_at, now())?)
    }

    /// Says good-bye, for now.
    pub fn part(mut self) -> Kept {
        let now = now();
        self.client.abandon(now);
        let client = &mut self.client;
        self.port
            .transmit(TRAINS_PER_TURN, |out| client.poll_transmit(now, out));
        self.kept
    }

    /// Runs the machine until something has happened, and appends what. Can be cancelled without
    /// loss. Fails when the client has ended.
    pub async fn next(&mut self, events: &mut Vec<ClientEvent>) -> Result<()> {
        consume_budget().await;
        loop {
            let has_more = self.turn(events)?;
            if !events.is_empty() {
                return Ok(());
            }
            if has_more {
                yield_now().await;
            } else {
                let due = self.client.poll_timeout().map(|due| due.at);
                self.port.wait(due).await;
            }
        }
    }

    /// Takes what has come, and sends what is due. Says whether there may be more to send.
    fn turn(&mut self, events: &mut Vec<ClientEvent>) -> Result<bool> {
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some((origin, datagram)) = self.port.receive() else {
                break;
            };
            self.client.handle_datagram(origin, datagram, now());
        }
        let now = now();
        if self.client.poll_timeout().is_some_and(|due| due.at <= now) {
            self.client.handle_timeout(now);
        }
        // Memory answers at once.
        while let Some(request) = self.client.poll_journal() {
            if self.is_journaling {
                self.kept.journal.apply(request.entry);
            }
            self.client.handle_journaled(request.id, now);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::FirstContact(key) => {
                    self.kept.broker = Some(key);
                    self.client.set_identity(self.kept.identity.clone(), now);
                }
                ClientEvent::Ended(reason) => {
                    return Err(format!("a member has ended: {reason:?}").into());
                }
                ClientEvent::JoinRefused { reason, .. } => {
                    return Err(format!("a member was not let in: {reason}").into());
                }
                event => {
                    self.online += u64::from(event == ClientEvent::Online);
                    events.push(event);
                }
            }
        }
        let client = &mut self.client;
        let poll = |out: &mut Vec<u8>| client.poll_transmit(now, out);
        Ok(self.port.transmit(TRAINS_PER_TURN, poll))
    }
}

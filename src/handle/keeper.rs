//! What a node that outlives its process keeps, as `chat-node` does: who it is, whom it met, what
//! it said and heard.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::RoomEvent;
use crate::chat::{Name, RoomName};
use crate::client::JournalState;
use crate::driver::Clock;
use crate::profile::known_hosts::KnownHosts;
use crate::profile::{Profile, ProfileError, Trouble, files};
use crate::secure::{NodeIdentity, PublicKey};
use crate::store::journal::{
    Item, Journal, JournalFile, JournalStore, News, Shown, Told, Unopened,
};
use crate::store::sqlite::StoreError;

/// How long a node waits for the one before it, which may still be on its way out.
const PROFILE_WAITED_FOR: Duration = Duration::from_secs(5);
/// How often it looks whether that has gone.
const PROFILE_TRIED_EVERY: Duration = Duration::from_millis(20);
/// How many items are read from the journal at a time.
const READ_AT_A_TIME: usize = 64;

/// A data directory, and what of it is open.
pub(super) struct Keeper {
    dir: PathBuf,
    hosts: KnownHosts,
    /// `host:port`, as it is remembered.
    broker: String,
    name: Name,
    clock: Clock,
    unopened: Option<Unopened>,
    open: Option<Open>,
}

struct Open {
    profile: Profile,
    file: JournalFile,
    journal: Journal,
}

impl Keeper {
    /// Keeps what belongs to `name` at `broker` below `dir`, made if need be.
    pub(super) fn new(
        dir: PathBuf,
        broker: &str,
        name: &Name,
        clock: Clock,
    ) -> Result<(Self, JournalStore), ProfileError> {
        files::make_private_dir(&dir)?;
        let (unopened, store) = Unopened::new();
        let keeper = Self {
            hosts: KnownHosts::new(&dir),
            dir,
            broker: broker.to_owned(),
            name: name.clone(),
            clock,
            unopened: Some(unopened),
            open: None,
        };
        Ok((keeper, store))
    }

    /// The broker's key, if it was met before.
    pub(super) fn known_key(&self) -> Result<Option<PublicKey>, ProfileError> {
        let known = self.hosts.find(&self.broker)?;
        Ok(known.map(|known| known.key))
    }

    /// SEC-9: the key is remembered before anything is said to its owner.
    pub(super) async fn meet(
        &mut self,
        key: PublicKey,
    ) -> Result<(NodeIdentity, JournalState), ProfileError> {
        let known = self.hosts.remember(&self.broker, key)?;
        if known.key != key {
            // Another node was faster, and met another key.
            let message = format!("{} has shown two keys at a time", self.broker);
            return Err(ProfileError::new(Trouble::Refused, message));
        }
        self.open(&key).await
    }

    /// Opens the profile at the broker with this key, and tells what its journal holds.
    pub(super) async fn open(
        &mut self,
        key: &PublicKey,
    ) -> Result<(NodeIdentity, JournalState), ProfileError> {
        let mut profile = self.profile(key).await?;
        profile.take_link().await?;
        let Some(unopened) = self.unopened.take() else {
            let message = "the profile is open already";
            return Err(ProfileError::new(Trouble::Refused, message));
        };
        let (file, journal, state) = profile.open_journal(unopened, self.clock.clone())?;
        let identity = profile.identity.clone();
        self.open = Some(Open {
            profile,
            file,
            journal,
        });
        Ok((identity, state))
    }

    async fn profile(&mut self, key: &PublicKey) -> Result<Profile, ProfileError> {
        let open = || Profile::open(&self.dir, key, &self.name);
        let patient = async {
            loop {
                match open() {
                    Err(error) if error.trouble == Trouble::Refused => {
                        sleep(PROFILE_TRIED_EVERY).await;
                    }
                    opened => return opened,
                }
            }
        };
        timeout(PROFILE_WAITED_FOR, patient)
            .await
            .unwrap_or_else(|_| open())
    }

    /// Waits until the disk has failed, and tells how.
    pub(super) fn failed(&self) -> impl Future<Output = StoreError> + Send + use<> {
        let failed = self.open.as_ref().map(|open| open.journal.failed());
        async move {
            match failed {
                Some(failed) => failed.await,
                None => std::future::pending().await,
            }
        }
    }

    /// `shown` was handled.
    pub(super) fn note(&self, shown: Shown) {
        if let Some(open) = &self.open {
            open.journal.note_shown(0, shown);
        }
    }

    /// The last item of `room` that was handled.
    pub(super) fn shown(&self, room: &RoomName) -> Result<u64, StoreError> {
        self.open
            .as_ref()
            .map_or(Ok(0), |open| open.file.shown(room))
    }

    /// The newest item of `room`.
    pub(super) fn newest(&self, room: &RoomName) -> Result<u64, StoreError> {
        self.open
            .as_ref()
            .map_or(Ok(0), |open| open.file.newest(room))
    }

    /// Some of what was received in `room` after item `after`.
    pub(super) fn read(&self, room: &RoomName, after: u64) -> Result<Vec<Item>, StoreError> {
        match &self.open {
            Some(open) => open.file.items_after(room, after, READ_AT_A_TIME),
            None => Ok(Vec::new()),
        }
    }

    /// What other programs leave, or nothing for ever; and the journal that it is left in.
    pub(super) async fn news(&mut self) -> News {
        match &mut self.open {
            Some(open) => open.journal.news().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn journal(&self) -> Option<&Journal> {
        self.open.as_ref().map(|open| &open.journal)
    }

    /// JRN-4: the next one begins with another device.
    pub(super) fn change_device(&mut self) -> Result<(), ProfileError> {
        match &mut self.open {
            Some(open) => open.profile.change_device(),
            None => Ok(()),
        }
    }

    /// Writes what is to be written, and lets the profile go. The driver has ended before.
    pub(super) async fn close(self) -> Result<(), StoreError> {
        match self.open {
            Some(open) => open.journal.close().await,
            None => Ok(()),
        }
    }
}

/// An item as an event, and how it is noted.
pub(super) fn event_of(item: Item, room: &RoomName, told: &mut Told) -> (RoomEvent, Shown) {
    let shown = Shown::Item(room.clone(), item.id());
    let event = match item {
        Item::Line { log, line, .. } => {
            told.is_new_line(log, line.seq);
            RoomEvent::Line(*line)
        }
        Item::Notice {
            number,
            event,
            name,
            ..
        } => {
            told.is_new_notice(number);
            RoomEvent::Notice { event, name }
        }
    };
    (event, shown)
}

//! Handshakes that have been answered but not yet confirmed (SEC-6, SEC-7).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::link::Link;
use crate::secure::{NodeEstablished, PendingFinish};
use crate::time::Timestamp;
use crate::transmit::Path;
use crate::wire::{BrokerCid, NodeCid};

/// The most handshakes that wait for their confirmation (LIM-3, SEC-6).
pub const HALF_OPEN_MAX: usize = 1_024;
/// How long a handshake waits for its confirmation (SEC-6).
pub const HALF_OPEN_LIFETIME: Duration = Duration::from_secs(10);

/// Tells a repeated HELLO from a new one: its path, and all that the node chose in it.
type HelloKey = (Path, NodeCid, [u8; 32]);

/// How far a handshake has come.
pub(super) enum Stage {
    /// XX: the node's last message is still to come.
    AwaitFinish(Box<PendingFinish>),
    /// Both sides have their keys; the first data packet is still to come (SEC-7).
    AwaitData(Box<Unconfirmed>),
}

/// A link whose keys exist, and who is at its other end if its first packet decrypts.
pub(super) struct Unconfirmed {
    pub(super) link: Link,
    pub(super) peer: NodeEstablished,
}

/// One answered handshake.
pub(super) struct HalfOpen {
    pub(super) path: Path,
    pub(super) node_cid: NodeCid,
    pub(super) stage: Stage,
    accept: Bytes,
    key: HelloKey,
    /// When the first ACCEPT was due.
    pub(super) since: Timestamp,
}

/// The bounded table of half-open handshakes, by the connection id that each was given.
#[derive(Default)]
pub(super) struct HalfOpenTable {
    by_cid: BTreeMap<BrokerCid, HalfOpen>,
    by_hello: BTreeMap<HelloKey, BrokerCid>,
    /// In order of age; entries that have gone meanwhile are skipped.
    ages: VecDeque<(Timestamp, BrokerCid)>,
}

impl HalfOpenTable {
    /// The identical ACCEPT for a repeated HELLO (SEC-6).
    pub(super) fn cached_accept(
        &self,
        path: Path,
        cid: NodeCid,
        hello: &[u8; 32],
    ) -> Option<Bytes> {
        let cid = self.by_hello.get(&(path, cid, *hello))?;
        self.by_cid.get(cid).map(|entry| entry.accept.clone())
    }

    /// Adds a handshake; the oldest one makes room if there is none. Returns how many made room.
    pub(super) fn insert(
        &mut self,
        cid: BrokerCid,
        key: (Path, NodeCid, [u8; 32]),
        accept: Bytes,
        stage: Stage,
        now: Timestamp,
    ) -> usize {
        let mut evicted = 0;
        while self.by_cid.len() >= HALF_OPEN_MAX {
            let Some((_, oldest)) = self.ages.pop_front() else {
                break;
            };
            evicted += usize::from(self.remove(&oldest).is_some());
        }
        // Confirmed handshakes leave their age behind; do not let those pile up.
        if self.ages.len() >= 4 * HALF_OPEN_MAX {
            let by_cid = &self.by_cid;
            self.ages.retain(|(_, cid)| by_cid.contains_key(cid));
        }
        self.by_hello.insert(key, cid);
        self.ages.push_back((now, cid));
        let (path, node_cid, _) = key;
        self.by_cid.insert(
            cid,
            HalfOpen {
                path,
                node_cid,
                stage,
                accept,
                key,
                since: now,
            },
        );
        evicted
    }

    pub(super) fn get_mut(&mut self, cid: &BrokerCid) -> Option<&mut HalfOpen> {
        self.by_cid.get_mut(cid)
    }

    pub(super) fn contains(&self, cid: &BrokerCid) -> bool {
        self.by_cid.contains_key(cid)
    }

    pub(super) fn remove(&mut self, cid: &BrokerCid) -> Option<HalfOpen> {
        let entry = self.by_cid.remove(cid)?;
        self.by_hello.remove(&entry.key);
        Some(entry)
    }

    /// When the oldest handshake expires.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.ages
            .front()
            .map(|(since, _)| *since + HALF_OPEN_LIFETIME)
    }

    /// Drops what has expired (SEC-6). Returns how many.
    pub(super) fn expire(&mut self, now: Timestamp) -> usize {
        let mut expired = 0;
        while let Some(&(since, cid)) = self.ages.front() {
            if since + HALF_OPEN_LIFETIME > now {
                break;
            }
            self.ages.pop_front();
            // An id is never given out twice, so this is the entry that `since` belongs to.
            debug_assert!(
                self.by_cid
                    .get(&cid)
                    .is_none_or(|entry| entry.since == since)
            );
            expired += usize::from(self.remove(&cid).is_some());
        }
        expired
    }

    #[cfg(test)]
    pub(super) fn cids(&self) -> Vec<BrokerCid> {
        self.by_cid.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_cid.len()
    }
}

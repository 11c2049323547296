//! Remembering which links there are, so that the broker's next life can tell their nodes that they
//! are gone (RST-5).
//!
//! A node that talks finds out by itself: what it sends is answered by a reset. One that listens
//! sends nothing for a while, and would miss all that is said meanwhile.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::storage::{LinkRow, StorageOp, StorageOutcome};
use super::{Broker, LinkId, Opening, Pending};
use crate::secure::{RESET_LEN_MAX, encode_reset};
use crate::time::Timestamp;
use crate::transmit::Path;
use crate::wire::BrokerCid;

/// How often the store is told at most what has changed (RST-5).
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How many changes it is told at a time (BRK-3).
const TOLD_MAX: usize = 1_024;

/// How many links that have ended wait to be forgotten, while the store cannot: beyond that they are
/// left to it, and their nodes get a reset that means nothing to them (LIM-22).
const FORGOTTEN_WAITING_MAX: usize = 65_536;

/// How many resets a remembered link gets: a datagram may be lost (RST-5).
const RECALLS: u8 = 3;
/// How far these are apart (RST-5).
const RECALLED_EVERY: Duration = Duration::from_secs(1);
/// How far resets of different links are apart: a thousand handshakes a second is what a broker
/// that has just started is to bear (RST-5).
const RECALL_INTERVAL: Duration = Duration::from_millis(1);
/// By how much a late turn may catch up.
const RECALL_CATCH_UP: Duration = Duration::from_millis(20);

/// What has changed since the store was told last.
#[derive(Default)]
pub(super) struct LinkMemory {
    remember: BTreeMap<BrokerCid, Path>,
    forget: BTreeSet<BrokerCid>,
    told_at: Option<Timestamp>,
    is_asking: bool,
}

impl LinkMemory {
    fn remember(&mut self, row: LinkRow) {
        self.remember.insert(row.cid, row.path);
    }

    pub(super) fn forget(&mut self, cid: BrokerCid) {
        self.remember.remove(&cid);
        self.forget.insert(cid);
        self.bound();
    }

    fn bound(&mut self) {
        while self.forget.len() > FORGOTTEN_WAITING_MAX {
            self.forget.pop_first();
        }
    }

    /// When the store is to be told.
    fn due(&self) -> Option<Timestamp> {
        let has_news = !self.remember.is_empty() || !self.forget.is_empty();
        (has_news && !self.is_asking)
            .then(|| self.told_at.map_or(Timestamp::ZERO, |at| at + TOLD_EVERY))
    }

    /// The oldest news, as many as the store is told at a time.
    fn take(&mut self) -> (Vec<LinkRow>, Vec<BrokerCid>) {
        let mut remember = Vec::new();
        while remember.len() < TOLD_MAX
            && let Some((cid, path)) = self.remember.pop_first()
        {
            remember.push(LinkRow { cid, path });
        }
        let mut forget = Vec::new();
        while remember.len() + forget.len() < TOLD_MAX
            && let Some(cid) = self.forget.pop_first()
        {
            forget.push(cid);
        }
        (remember, forget)
    }

    /// The store could not: what has not changed again is told again.
    fn put_back(&mut self, remember: &[LinkRow], forget: &[BrokerCid]) {
        for row in remember {
            if !self.forget.contains(&row.cid) {
                self.remember.entry(row.cid).or_insert(row.path);
            }
        }
        self.forget.extend(forget);
        self.bound();
    }
}

/// The links of the broker's life before, and when each gets its next reset.
#[derive(Default)]
pub(super) struct Recalls {
    /// In the order of their turns.
    waiting: VecDeque<Recall>,
    /// When the next one may go, whichever it is.
    pace: Timestamp,
}

struct Recall {
    row: LinkRow,
    left: u8,
    not_before: Timestamp,
}

impl Recalls {
    /// When the next reset is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let next = self.waiting.front()?;
        Some(next.not_before.max(self.pace))
    }
}

impl Broker {
    /// A link has begun, or may have moved.
    pub(super) fn note_link(&mut self, id: LinkId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(&cid) = session.cids.first().filter(|_| session.link.is_open()) else {
            return;
        };
        let row = LinkRow {
            cid,
            path: session.link.path(),
        };
        if session.remembered == Some(row) {
            return;
        }
        if let Some(before) = session.remembered.replace(row)
            && before.cid != cid
        {
            self.links.forget(before.cid);
        }
        self.links.remember(row);
    }

    /// When the store is to be told what has changed: not before it has opened.
    pub(super) fn links_due(&self) -> Option<Timestamp> {
        self.links.due().filter(|_| self.opening == Opening::Done)
    }

    /// Tells the store what has changed, if it is time to.
    pub(super) fn tell_links(&mut self, now: Timestamp) {
        if self.links_due().is_none_or(|at| at > now) {
            return;
        }
        self.links.told_at = Some(now);
        let (remember, forget) = self.links.take();
        let op = StorageOp::Links {
            remember: remember.clone(),
            forget: forget.clone(),
        };
        if self.pending.len() >= super::STORAGE_PENDING_MAX {
            // LIM-7: people first.
            self.links.put_back(&remember, &forget);
            return;
        }
        self.links.is_asking = true;
        self.ask(op, Pending::Links { remember, forget });
    }

    /// The store has been told, or not.
    pub(super) fn on_links_told(
        &mut self,
        remember: &[LinkRow],
        forget: &[BrokerCid],
        outcome: &StorageOutcome,
    ) {
        self.links.is_asking = false;
        if *outcome == StorageOutcome::Failed {
            self.links.put_back(remember, forget);
        }
    }

    /// Takes the links of the life before.
    pub(super) fn recall_links(&mut self, links: Vec<LinkRow>, now: Timestamp) {
        let recall = |row| Recall {
            row,
            left: RECALLS,
            not_before: now,
        };
        self.recalls.waiting = links.into_iter().map(recall).collect();
        self.recalls.pace = now;
    }

    /// Sends the resets whose turn it is.
    pub(super) fn send_recalls(&mut self, now: Timestamp) {
        while self.recalls.due().is_some_and(|at| at <= now)
            && self.replies.len() < super::REPLIES_WAITING_MAX
        {
            let earliest = now - RECALL_CATCH_UP;
            self.recalls.pace = self.recalls.pace.max(earliest) + RECALL_INTERVAL;
            let Some(mut recall) = self.recalls.waiting.pop_front() else {
                return;
            };
            let LinkRow { cid, path } = recall.row;
            let token = self.resets.secret.token(&cid);
            if let Some(reset) = encode_reset(&token, RESET_LEN_MAX + 1, &mut self.rng) {
                self.replies.push_back((path, reset));
            }
            recall.left -= 1;
            recall.not_before = now + RECALLED_EVERY;
            if recall.left > 0 {
                self.recalls.waiting.push_back(recall);
            } else {
                self.links.forget(cid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u8, port: u16) -> LinkRow {
        LinkRow {
            cid: [number; 8],
            path: Path::new(([10, 0, 0, 1], port).into()),
        }
    }

    /// RST-5.
    #[test]
    fn news_that_the_store_could_not_take_is_told_again_unless_it_is_old() {
        let mut links = LinkMemory::default();
        assert_eq!(links.due(), None);
        links.remember(row(1, 1));
        links.remember(row(2, 1));
        links.remember(row(3, 1));
        let (remember, forget) = links.take();
        assert_eq!((remember.len(), forget.len()), (3, 0));
        links.remember(row(1, 2));
        links.forget([2; 8]);
        links.put_back(&remember, &forget);
        let (remember, forget) = links.take();
        assert_eq!(remember, [row(1, 2), row(3, 1)]);
        assert_eq!(forget, [[2; 8]]);
        assert_eq!(links.due(), None);
    }

    /// LIM-22: a store that cannot be told anything does not make the broker grow.
    #[test]
    fn news_that_nobody_takes_do_not_grow_without_end() {
        let mut links = LinkMemory::default();
        for number in 0..FORGOTTEN_WAITING_MAX as u64 + 1_000 {
            let cid = number.to_be_bytes();
            links.remember(LinkRow {
                cid,
                path: row(1, 1).path,
            });
            links.forget(cid);
        }
        assert_eq!(links.remember.len(), 0);
        assert_eq!(links.forget.len(), FORGOTTEN_WAITING_MAX);
    }

    /// RST-5, BRK-3.
    #[test]
    fn many_news_are_told_in_batches() {
        let mut links = LinkMemory::default();
        for number in 0..3_000_u64 {
            links.remember.insert(number.to_be_bytes(), row(1, 1).path);
            links.forget(u64::MAX.wrapping_sub(number).to_be_bytes());
        }
        let mut batches = Vec::new();
        while links.due().is_some() {
            let (remember, forget) = links.take();
            batches.push(remember.len() + forget.len());
        }
        assert_eq!(batches, [1_024, 1_024, 1_024, 1_024, 1_024, 880]);
    }
}

//! What waits to be stored in a room: its numbers, and what has become of it (NOD-2, PUB-1 to
//! PUB-8, JRN-3, JRN-4).

use std::collections::VecDeque;

use bytes::Bytes;

use super::journal::RoomState;
use crate::bug;
use crate::chat::{Kind, LastPublication, Line, Publication};

/// The most publications that wait in a room's outbox (LIM-6, PUB-8).
pub const OUTBOX_MAX: usize = 10_000;
/// The most publications of a room that are sent and not answered (LIM-6, PUB-8).
pub const PUBLISH_WINDOW: usize = 64;

/// The publications of a room that have no outcome yet.
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    /// What was sent on this link and is not answered, in the order of sending (PUB-8).
    unanswered: VecDeque<Unanswered>,
    /// How often publications were put off or found a gap on this link. What was sent before that
    /// happened is answered in the same way, and this must not be taken for news.
    round: u64,
    /// Whether numbers follow those that the broker knows; until then they are provisional.
    is_numbered: bool,
    /// Until they do: what is asked for its outcome, because the broker knows its number.
    asking: Option<LastPublication>,
    /// How many requests to journal new numbers are under way: nothing is sent under them before.
    numbering: usize,
    /// The last number given to a publication.
    last_n: u64,
    /// The last publication whose outcome is known.
    confirmed: LastPublication,
}

/// A publication in the outbox.
struct Waiting {
    handle: u64,
    publication: Publication,
    journaled: bool,
    sent: bool,
    /// The broker knows something else under its number (JRN-3).
    is_denied: bool,
    /// It may have been stored by way of an earlier link (PUB-10).
    may_be_stored: bool,
}

/// A publication on its way to its answer.
struct Unanswered {
    n: u64,
    round: u64,
}

/// What the broker said of a publication that the outbox holds, or nothing if it holds it no more.
pub(super) type Settled = Option<u64>;

impl From<RoomState> for Outbox {
    /// What waits as the journal knows it (JRN-1).
    fn from(state: RoomState) -> Self {
        let waiting = |(handle, publication)| Waiting {
            handle,
            publication,
            journaled: true,
            sent: false,
            is_denied: false,
            // Whether it was sent before the node ended, nobody has written down.
            may_be_stored: true,
        };
        Self {
            waiting: state.waiting.into_iter().map(waiting).collect(),
            unanswered: VecDeque::new(),
            round: 0,
            is_numbered: state.is_numbered,
            asking: None,
            numbering: 0,
            last_n: state.last_n,
            confirmed: state.confirmed,
        }
    }
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The handles of what waits, and whether it may have been stored all the same.
    pub(super) fn handles(&self) -> Vec<(u64, bool)> {
        let waiting = self.waiting.iter();
        waiting.map(|w| (w.handle, w.may_be_stored)).collect()
    }

    /// What stays of the room when it is left (JRN-9).
    pub(super) fn left(&self) -> RoomState {
        let is_known = self.is_numbered && self.is_empty();
        RoomState::left(is_known, self.last_n, self.confirmed)
    }

    // ---- the link

    /// The link is gone: everything is to be sent again (PUB-6).
    pub(super) fn on_link_lost(&mut self) {
        for waiting in &mut self.waiting {
            waiting.may_be_stored |= waiting.sent;
        }
        self.unsend_after(0);
        for waiting in &mut self.waiting {
            waiting.is_denied = false;
        }
        self.unanswered.clear();
        self.asking = None;
    }

    /// The broker says which publication of the device is the last that it knows. Returns whether
    /// it knows one that this node never made (JRN-4).
    pub(super) fn on_joined(&mut self, last: LastPublication, is_fork: bool) -> bool {
        // JRN-3: a broker that has lost what it confirmed was restored from an older state.
        if is_fork || last.n < self.confirmed.n {
            self.is_numbered = false;
        }
        let is_outrun = self.is_numbered && self.is_outrun_by(&last);
        if self.is_numbered && !is_outrun {
            for waiting in self.waiting.iter_mut().filter(|w| w.publication.n > last.n) {
                waiting.may_be_stored = false;
            }
        }
        self.asking = (!self.is_numbered || is_outrun).then_some(last);
        is_outrun
    }

    fn is_outrun_by(&self, last: &LastPublication) -> bool {
        let own = if last.n == self.confirmed.n {
            Some(self.confirmed.digest)
        } else {
            let same = self.waiting.iter().find(|w| w.publication.n == last.n);
            same.map(|waiting| waiting.publication.digest())
        };
        let is_other = own.is_some_and(|digest| digest != last.digest);
        (last.n > self.last_n || is_other) && !bug!(KeepDevice)
    }

    /// Once everything that the broker may know has its outcome, numbers what is left (JRN-3).
    /// Returns after which publication.
    pub(super) fn number_if_answered(&mut self) -> Option<LastPublication> {
        if self.is_numbered || !self.has_answers() {
            return None;
        }
        let last = self.asking.take()?;
        self.is_numbered = true;
        self.confirmed = last;
        self.last_n = last.n;
        for waiting in &mut self.waiting {
            self.last_n += 1;
            waiting.publication.n = self.last_n;
            waiting.sent = false;
            waiting.is_denied = false;
            waiting.may_be_stored = false;
        }
        self.numbering += 1;
        Some(last)
    }

    /// Whether the broker has said of everything that it may know whether it does.
    fn has_answers(&self) -> bool {
        self.asking.is_some_and(|last| {
            let is_answered = |w: &Waiting| w.is_denied || w.publication.n > last.n;
            self.waiting.iter().all(is_answered)
        })
    }

    /// Whether nothing that waits can have been stored without the node's knowing (JRN-4).
    pub(super) fn is_done_with_device(&self) -> bool {
        self.is_numbered && self.has_answers()
    }

    // ---- publications

    /// Whether another publication fits.
    pub(super) fn has_space(&self) -> bool {
        self.waiting.len() < OUTBOX_MAX
    }

    /// Whether a publication waits under this handle.
    pub(super) fn has(&self, handle: u64) -> bool {
        self.waiting.iter().any(|waiting| waiting.handle == handle)
    }

    /// Puts something into the outbox, under the next number (PUB-1).
    pub(super) fn push(
        &mut self,
        handle: u64,
        typed_at_ms: u64,
        kind: Kind,
        body: Bytes,
    ) -> Publication {
        self.last_n += 1;
        let n = self.last_n;
        let publication = Publication {
            n,
            typed_at_ms,
            kind,
            body,
        };
        let waiting = Waiting {
            handle,
            publication: publication.clone(),
            journaled: false,
            sent: false,
            is_denied: false,
            may_be_stored: false,
        };
        self.waiting.push_back(waiting);
        publication
    }

    /// The new numbers are journaled.
    pub(super) const fn on_numbers_journaled(&mut self) {
        self.numbering = self.numbering.saturating_sub(1);
    }

    pub(super) fn on_journaled(&mut self, handle: u64) {
        if let Some(waiting) = self
            .waiting
            .iter_mut()
            .find(|waiting| waiting.handle == handle)
        {
            waiting.journaled = true;
        }
    }

    /// The next publication to be sent, if the window allows one (PUB-8).
    pub(super) fn next_to_send(&self) -> Option<&Publication> {
        if self.unanswered.len() >= PUBLISH_WINDOW {
            return None;
        }
        let next = match &self.asking {
            Some(last) => self
                .waiting
                .iter()
                .filter(|waiting| waiting.publication.n <= last.n)
                .find(|waiting| !waiting.sent && !waiting.is_denied)?,
            None if !self.is_numbered || self.numbering > 0 => return None,
            None => self
                .waiting
                .iter()
                .take(PUBLISH_WINDOW)
                .find(|waiting| !waiting.sent)?,
        };
        next.journaled.then_some(&next.publication)
    }

    pub(super) fn mark_sent(&mut self, n: u64) {
        if let Some(waiting) = self.waiting.iter_mut().find(|w| w.publication.n == n) {
            waiting.sent = true;
            let round = self.round;
            self.unanswered.push_back(Unanswered { n, round });
        }
    }

    /// Whether the broker owes an answer (LIF-5).
    pub(super) fn is_expecting(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Publication `n` was answered, in whatever way. The error is that none was sent to which that
    /// is the answer (PUB-10).
    pub(super) fn on_answer(&mut self, n: u64) -> Result<u64, &'static str> {
        let round = self.take_unanswered(|sent| sent == n);
        round.ok_or("an answer to what was not published")
    }

    /// Publication `n` is to be sent again later (PUB-4). Returns whether that is news.
    pub(super) fn on_retry_later(&mut self, n: u64) -> Result<bool, &'static str> {
        let round = self.on_answer(n)?;
        Ok(self.begin_round(Some(round), n.saturating_sub(1)))
    }

    /// A publication came before its predecessors (PUB-2): after `last`, all are to be sent again.
    pub(super) fn on_gap(&mut self, last: u64) {
        let round = self.take_unanswered(|sent| sent > last.saturating_add(1));
        let _is_news = self.begin_round(round, last);
    }

    /// The round of the oldest unanswered publication whose number is `wanted`.
    fn take_unanswered(&mut self, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let index = self.unanswered.iter().position(|sent| wanted(sent.n))?;
        self.unanswered.remove(index).map(|sent| sent.round)
    }

    /// Has everything after `n` sent again, unless that was begun since `round`.
    fn begin_round(&mut self, round: Option<u64>, n: u64) -> bool {
        let is_news = round.is_none_or(|round| round == self.round);
        if is_news {
            self.round += 1;
            self.unsend_after(n);
        }
        is_news
    }

    /// Everything after `n` is to be sent again.
    fn unsend_after(&mut self, n: u64) {
        for waiting in self.waiting.iter_mut().filter(|w| w.publication.n > n) {
            waiting.sent = false;
        }
    }

    /// Publication `n` has an outcome: it leaves the outbox (NOD-2).
    pub(super) fn settle(&mut self, n: u64) -> Settled {
        let index = self.waiting.iter().position(|w| w.publication.n == n)?;
        let waiting = self.waiting.remove(index)?;
        if n > self.confirmed.n {
            let digest = waiting.publication.digest();
            self.confirmed = LastPublication { n, digest };
        }
        Some(waiting.handle)
    }

    /// Whether this line of the own device is what waits under its number, and not something that
    /// had the number before (JRN-3).
    pub(super) fn waits_for(&self, line: &Line) -> bool {
        let same = self.waiting.iter().find(|w| w.publication.n == line.n);
        same.is_some_and(|Waiting { publication, .. }| {
            publication.kind == line.kind
                && publication.typed_at_ms == line.typed_at_ms
                && publication.body == line.body
        })
    }

    /// The broker knows something else under the number `n` (JRN-3). Returns whether that tells
    /// that the device is used elsewhere too (JRN-4).
    pub(super) fn on_conflict(&mut self, n: u64) -> bool {
        let Some(waiting) = self.waiting.iter_mut().find(|w| w.publication.n == n) else {
            return false;
        };
        waiting.is_denied = true;
        if self.is_numbered && self.asking.is_none() {
            // What was sent behind it will be answered; nothing more is sent.
            let sent = self.waiting.iter().filter(|waiting| waiting.sent);
            let n = sent.map(|waiting| waiting.publication.n).max().unwrap_or(n);
            let digest = [0; 32];
            self.asking = Some(LastPublication { n, digest });
        }
        self.is_numbered && !bug!(KeepDevice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outbox of a device that has published nothing, at a broker that knows nothing.
    fn numbered() -> Outbox {
        let mut outbox = Outbox::from(RoomState::NEW);
        assert!(!outbox.on_joined(LastPublication::NONE, false));
        assert_eq!(outbox.number_if_answered(), Some(LastPublication::NONE));
        outbox.on_numbers_journaled();
        outbox
    }

    /// PUB-8.
    #[test]
    fn no_more_than_a_window_is_sent_unanswered() {
        let mut outbox = numbered();
        for handle in 0..100 {
            outbox.push(handle, 0, Kind::Message, Bytes::from_static(b"x"));
            outbox.on_journaled(handle);
        }
        let mut sent = 0;
        while let Some(next) = outbox.next_to_send() {
            let n = next.n;
            outbox.mark_sent(n);
            sent += 1;
        }
        assert_eq!(sent, PUBLISH_WINDOW);
        // One's own line may be the first to tell; what frees the window is the answer.
        assert_eq!(outbox.settle(1), Some(0));
        assert_eq!(outbox.next_to_send(), None);
        assert!(outbox.on_answer(1).is_ok());
        assert_eq!(
            outbox.next_to_send().map(|next| next.n),
            Some(PUBLISH_WINDOW as u64 + 1)
        );
    }

    /// PUB-8, PUB-2: what was sent before a repetition began is answered as it was sent, and that
    /// is no reason to begin another one.
    #[test]
    fn a_gap_behind_a_gap_does_not_repeat_the_window_again() {
        let mut outbox = numbered();
        for handle in 0..10 {
            outbox.push(handle, 0, Kind::Message, Bytes::from_static(b"x"));
            outbox.on_journaled(handle);
        }
        let send_all = |outbox: &mut Outbox| {
            let mut sent = Vec::new();
            while let Some(next) = outbox.next_to_send() {
                let n = next.n;
                outbox.mark_sent(n);
                sent.push(n);
            }
            sent
        };
        assert_eq!(send_all(&mut outbox), (1..=10).collect::<Vec<u64>>());
        assert_eq!(outbox.on_retry_later(1), Ok(true));
        assert_eq!(send_all(&mut outbox), (1..=10).collect::<Vec<u64>>());
        for _ in 2..=10 {
            outbox.on_gap(0);
            assert_eq!(send_all(&mut outbox), [0_u64; 0]);
        }
        // The repetition has a gap of its own: that one is news.
        assert!(outbox.on_answer(1).is_ok());
        outbox.on_gap(1);
        assert_eq!(send_all(&mut outbox), (2..=10).collect::<Vec<u64>>());
    }
}

//! Where a link's datagrams go, and how it follows a node that has got a new address.
//!
//! Addresses prove nothing: anybody can copy a packet and send it from elsewhere, ahead of the
//! original. So a broker's link treats the address of the newest packet as a rumour. It asks there,
//! with random bytes in a sealed frame; only who has the keys *and* hears what is sent to that
//! address can answer from there. Until then everything but the question stays on the old path, and
//! the new one gets little, so that a rumour about an innocent address does it no harm.

use core::time::Duration;

use crate::time::Timestamp;
use crate::transmit::Path;

/// So many times what came from a path is sent there before it is proved (PTH-4).
const AMPLIFICATION_MAX: u64 = 3;
/// How often a path is asked: at 30 % loss in both directions every second question or its answer
/// is lost, and all of so many are once in three thousand times (PTH-2).
const TRIES_MAX: usize = 12;
/// A new path may be slower than the old one: it has this to answer, at least (PTH-2).
const ANSWER_MIN: Duration = Duration::from_millis(1_800);
/// The longest datagram that holds a PATH_CHALLENGE and nothing else: flags, connection id, number,
/// frame, tag.
const CHALLENGE_LEN_MAX: u64 = 1 + 8 + 4 + 9 + 16;

/// The path in use, and the one that may follow it.
#[derive(Debug)]
pub(super) struct Paths {
    current: Path,
    /// Boxed, because few links have one and few for long.
    candidate: Option<Box<Candidate>>,
}

/// A path from which the newest packet came, and that has not proved itself yet.
#[derive(Debug)]
struct Candidate {
    path: Path,
    /// Bytes that came from there (PTH-4).
    heard: u64,
    /// Bytes that went there (PTH-4).
    sent: u64,
    /// What was asked so far; any answer will do.
    asked: Vec<[u8; 8]>,
    /// When to ask next.
    next: Option<Timestamp>,
    /// Until when an answer counts.
    until: Timestamp,
}

impl Paths {
    pub(super) const fn new(path: Path) -> Self {
        Self {
            current: path,
            candidate: None,
        }
    }

    /// A packet of `len` bytes decrypted. The newest one tells where the peer is, or so it seems:
    /// elsewhere, which makes a candidate (PTH-1), or where it always was, which ends one (PTH-5).
    /// `timeout` is the probe time-out T.
    pub(super) fn on_packet(
        &mut self,
        path: Path,
        len: usize,
        is_newest: bool,
        timeout: Duration,
        now: Timestamp,
    ) {
        match &mut self.candidate {
            Some(candidate) if candidate.path == path => candidate.heard += len as u64,
            _ if !is_newest => {}
            _ if path == self.current => {
                if self.candidate.take().is_some() {
                    crate::sometimes!(PathRumourEnded);
                }
            }
            _ => {
                let candidate = Candidate {
                    path,
                    heard: len as u64,
                    sent: 0,
                    asked: Vec::new(),
                    next: Some(now),
                    until: now + (timeout * (TRIES_MAX + 1) as u32).max(ANSWER_MIN),
                };
                self.candidate = Some(Box::new(candidate));
            }
        }
    }

    /// Where a PATH_CHALLENGE is to be sent now, if anywhere (PTH-2).
    pub(super) fn challenge_due(&self, now: Timestamp) -> Option<Path> {
        let candidate = self.candidate.as_ref()?;
        let is_due = candidate.next_allowed().is_some_and(|at| at <= now);
        is_due.then_some(candidate.path)
    }

    /// A PATH_CHALLENGE with these bytes was sent, in a datagram of `len` bytes.
    pub(super) fn on_challenge_sent(
        &mut self,
        data: [u8; 8],
        len: usize,
        timeout: Duration,
        now: Timestamp,
    ) {
        if let Some(candidate) = &mut self.candidate {
            candidate.sent += len as u64;
            candidate.asked.push(data);
            candidate.next = (candidate.asked.len() < TRIES_MAX).then(|| now + timeout);
        }
    }

    /// A PATH_RESPONSE came over `path`. Returns that path if the link moves there now (PTH-3).
    pub(super) fn on_response(&mut self, path: Path, data: [u8; 8]) -> Option<Path> {
        let candidate = self.candidate.as_ref()?;
        if candidate.path != path || !candidate.asked.contains(&data) {
            return None;
        }
        crate::sometimes!(PathProved);
        self.follow()
    }

    /// Makes the candidate the path in use, if there is one.
    pub(super) fn follow(&mut self) -> Option<Path> {
        self.current = self.candidate.take()?.path;
        Some(self.current)
    }

    /// Forgets a candidate that has not answered in time: nothing has changed (PTH-5).
    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        let late = self.candidate.take_if(|candidate| candidate.until <= now);
        if late.is_some() {
            crate::sometimes!(PathGivenUp);
        }
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let candidate = self.candidate.as_ref()?;
        let next = candidate.next_allowed();
        Some(next.map_or(candidate.until, |next| next.min(candidate.until)))
    }
}

impl Candidate {
    /// When to ask next, unless that would be more than may go there (PTH-4).
    fn next_allowed(&self) -> Option<Timestamp> {
        let allowed = self.heard.saturating_mul(AMPLIFICATION_MAX);
        self.next
            .filter(|_| self.sent + CHALLENGE_LEN_MAX <= allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_millis(100);
    const OLD: Path = path(1);
    const NEW: Path = path(2);
    const THIRD: Path = path(3);

    const fn path(port: u16) -> Path {
        use core::net::{IpAddr, Ipv4Addr, SocketAddr};
        Path::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Paths with a candidate from which `len` bytes came.
    fn rumour(len: usize) -> Paths {
        let mut paths = Paths::new(OLD);
        paths.on_packet(NEW, len, true, T, at(0));
        paths
    }

    /// When the candidate is asked, and when it is given up.
    fn tries(paths: &mut Paths) -> (Vec<u64>, u64) {
        let mut tries = Vec::new();
        while let Some(now) = paths.due() {
            paths.handle_timeout(now);
            if paths.challenge_due(now) == Some(NEW) {
                tries.push(now.as_millis());
                paths.on_challenge_sent([tries.len() as u8; 8], 32, T, now);
            } else if paths.candidate.is_none() {
                return (tries, now.as_millis());
            }
        }
        panic!("a candidate without an end");
    }

    /// PTH-2, PTH-5.
    #[test]
    fn a_path_is_asked_twelve_times_and_then_forgotten() {
        let mut paths = rumour(1_200);
        let every_t = (0..12).map(|index| index * 100).collect();
        assert_eq!(tries(&mut paths), (every_t, 1_800));
        assert_eq!((paths.current, paths.due()), (OLD, None));
    }

    /// PTH-4.
    #[test]
    fn a_path_from_which_little_came_is_asked_less() {
        assert_eq!(tries(&mut rumour(12)), (vec![], 1_800));
        assert_eq!(tries(&mut rumour(28)), (vec![0, 100], 1_800));
        let mut paths = rumour(12);
        paths.on_packet(NEW, 1, false, T, at(50));
        assert_eq!(paths.challenge_due(at(50)), Some(NEW), "39 bytes may go");
    }

    /// PTH-3.
    #[test]
    fn any_of_the_answers_counts_and_only_from_the_path_that_was_asked() {
        let mut paths = rumour(1_200);
        paths.on_challenge_sent([1; 8], 32, T, at(0));
        paths.on_challenge_sent([2; 8], 32, T, at(100));
        assert_eq!(paths.on_response(OLD, [1; 8]), None);
        assert_eq!(paths.on_response(THIRD, [1; 8]), None);
        assert_eq!(paths.on_response(NEW, [3; 8]), None);
        assert_eq!(paths.on_response(NEW, [1; 8]), Some(NEW));
        assert_eq!(paths.on_response(NEW, [2; 8]), None, "there already");
    }

    /// PTH-1, PTH-5.
    #[test]
    fn only_the_newest_packet_says_where_the_peer_is() {
        let mut paths = Paths::new(OLD);
        paths.on_packet(NEW, 100, false, T, at(0));
        assert_eq!(paths.due(), None, "an old packet that took a detour");
        paths.on_packet(NEW, 100, true, T, at(0));
        paths.on_packet(OLD, 100, false, T, at(1));
        assert_eq!(paths.challenge_due(at(1)), Some(NEW));
        paths.on_packet(THIRD, 100, true, T, at(2));
        assert_eq!(paths.challenge_due(at(2)), Some(THIRD));
        paths.on_packet(OLD, 100, true, T, at(3));
        assert_eq!(paths.due(), None, "it never went away");
    }
}

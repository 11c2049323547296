//! From HELLO to a link, again and again if need be (SPEC.md section 6.1).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::schedule::Schedule;
use super::up::{Finishing, Up};
use super::{Client, ClientEvent, EndReason, State};
use crate::drops::Dropped;
use crate::link::{CIDS_SPARE_MAX, CongestionControl, Link, LinkConfig, ResetWatch, Side};
use crate::rng::SeededRng;
use crate::secure::{Accepted, Established, Finisher, Initiator, NodeIdentity, PublicKey};
use crate::time::Timestamp;
use crate::transmit::Path;
use crate::wire::{Accept, Handshake, NodeCid, ResetToken, Retry, VERSION, VersionReply};

/// Without an answer to IK for this long, the node asks for the broker's key (SEC-8).
const PROBE_AFTER: Duration = Duration::from_secs(2);
/// A broker that has only said that it speaks other versions is believed after this long: the
/// reply is not authenticated, so a real answer has to have its chance first (HSD-7).
const VERSION_AFTER: Duration = Duration::from_secs(5);
/// How long a node's link may hear nothing at all before it is over; LIF-2 ends it long before.
const NODE_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A handshake that waits for its ACCEPT.
pub(super) struct Shaking {
    greeting: Greeting,
    /// When its first HELLO was due.
    since: Timestamp,
    probe: Probe,
    version: Option<VersionReply>,
    /// By what the broker may say that it is back: with nothing left of the link before (RST-4).
    watch: Option<ResetWatch>,
}

/// Asking for the broker's key, because a known broker does not answer (SEC-8).
enum Probe {
    /// Not yet; or never, if the broker is not known.
    NotBefore(Option<Timestamp>),
    Asking(Box<Greeting>),
    /// The broker still has its key.
    Same,
}

/// A first contact that waits to be told who one is (SEC-9).
pub(super) struct Choosing {
    finisher: Box<Finisher>,
    cid: NodeCid,
    path: Path,
    /// A round trip takes no longer (RTT-1).
    rtt: Duration,
}

/// A HELLO that is repeated until it is answered (SEC-5).
struct Greeting {
    initiator: Initiator,
    schedule: Schedule,
    /// What is sent in its place where a cookie was asked for (ADR-4).
    retried: BTreeMap<Path, Retried>,
}

/// A HELLO with a cookie.
struct Retried {
    hello: Bytes,
    /// Whether a RETRY has been answered since the schedule sent a HELLO.
    is_spent: bool,
}

impl Greeting {
    fn new(initiator: Initiator, now: Timestamp) -> Self {
        Self {
            initiator,
            schedule: Schedule::new(now),
            retried: BTreeMap::new(),
        }
    }

    /// The HELLO for this path, whose turn it is.
    fn hello(&mut self, path: Path) -> Bytes {
        match self.retried.get_mut(&path) {
            Some(retried) => {
                retried.is_spent = false;
                retried.hello.clone()
            }
            None => self.initiator.hello().clone(),
        }
    }

    /// The HELLO that a RETRY over this path asks for (ADR-4).
    fn answer_retry(&mut self, path: Path, retry: &Retry) -> Result<Bytes, Dropped> {
        let sent = match self.retried.get(&path) {
            Some(Retried { is_spent: true, .. }) => return Err(Dropped::Unexpected),
            Some(Retried { hello, .. }) => hello,
            None => self.initiator.hello(),
        };
        let hello = self.initiator.answer_retry(sent, retry)?;
        let retried = Retried {
            hello: hello.clone(),
            is_spent: true,
        };
        self.retried.insert(path, retried);
        Ok(hello)
    }
}

impl Shaking {
    pub(super) fn new(
        known: Option<&(PublicKey, NodeIdentity)>,
        rng: &mut SeededRng,
        now: Timestamp,
    ) -> Self {
        let cid = fresh_cid(rng);
        let (initiator, probe_at) = match known {
            Some((broker, identity)) => {
                let initiator = Initiator::known_broker(cid, *broker, identity, rng.fork());
                (initiator, Some(now + PROBE_AFTER))
            }
            None => (Initiator::first_contact(cid, rng.fork()), None),
        };
        let probe = Probe::NotBefore(probe_at);
        Self {
            greeting: Greeting::new(initiator, now),
            since: now,
            probe,
            version: None,
            watch: None,
        }
    }

    /// When a HELLO is due.
    pub(super) fn next(&self) -> Timestamp {
        let probe = match &self.probe {
            Probe::NotBefore(at) => *at,
            Probe::Asking(greeting) => Some(greeting.schedule.next()),
            Probe::Same => None,
        };
        let next = self.greeting.schedule.next();
        probe.map_or(next, |at| at.min(next))
    }

    /// Whose answers bear this connection id.
    fn greeting_of(&mut self, cid: NodeCid) -> Option<&mut Greeting> {
        if self.greeting.initiator.cid() == cid {
            return Some(&mut self.greeting);
        }
        match &mut self.probe {
            Probe::Asking(greeting) if greeting.initiator.cid() == cid => Some(greeting),
            Probe::Asking(_) | Probe::NotBefore(_) | Probe::Same => None,
        }
    }
}

/// Four random bytes: a late datagram of an older link is told apart, and a stranger who wants to
/// answer has to have seen the HELLO.
pub(super) fn fresh_cid(rng: &mut SeededRng) -> NodeCid {
    NodeCid::new(&rng.bytes::<4>()).expect("four bytes are a connection id")
}

impl Client {
    /// Begins anew, with everything that is not settled still waiting.
    pub(super) fn shake_hands(&mut self, now: Timestamp) {
        let watch = match &self.state {
            State::Up(up) => up.link.reset_watch(),
            State::Shaking(_) | State::Choosing(_) | State::Ended => None,
        };
        self.send_last_words(now);
        for room in self.rooms.values_mut() {
            room.on_link_lost();
        }
        if self.online {
            self.online = false;
            self.events.push_back(ClientEvent::Offline);
        }
        let mut shaking = Shaking::new(self.known.as_ref(), &mut self.rng, now);
        shaking.watch = watch;
        self.state = State::Shaking(Box::new(shaking));
        self.repeat_hello(now);
    }

    /// Sends the HELLOs that are due (SEC-5, SEC-8), on every address that the broker may have.
    pub(super) fn repeat_hello(&mut self, now: Timestamp) {
        let State::Shaking(shaking) = &mut self.state else {
            return;
        };
        if let Some(version) = &shaking.version
            && now.saturating_since(shaking.greeting.schedule.start()) >= VERSION_AFTER
        {
            let spoken = version.versions.clone();
            return self.end(EndReason::Version { spoken }, now);
        }
        if let Probe::NotBefore(Some(at)) = shaking.probe
            && at <= now
        {
            let initiator = Initiator::first_contact(fresh_cid(&mut self.rng), self.rng.fork());
            shaking.probe = Probe::Asking(Box::new(Greeting::new(initiator, now)));
        }
        let probe = match &mut shaking.probe {
            Probe::Asking(greeting) => Some(greeting.as_mut()),
            Probe::NotBefore(_) | Probe::Same => None,
        };
        for greeting in [Some(&mut shaking.greeting), probe].into_iter().flatten() {
            if greeting.schedule.take_due(&mut self.rng, now) {
                for path in &self.paths {
                    self.outgoing.push_back((*path, greeting.hello(*path)));
                }
            }
        }
    }

    /// Sends the HELLO from a new address without waiting for its turn.
    pub(super) fn restart_schedule(&mut self, now: Timestamp) {
        if let State::Shaking(shaking) = &mut self.state {
            shaking.greeting.schedule = Schedule::new(now);
        }
        self.repeat_hello(now);
    }

    /// A data packet without a link: a reset of the link before says that the broker is there again
    /// (RST-4). It counts once, because whoever knows the old connection id can have it repeated.
    pub(super) fn on_stray_data(
        &mut self,
        path: Path,
        datagram: &[u8],
        now: Timestamp,
    ) -> Result<(), Dropped> {
        let State::Shaking(shaking) = &mut self.state else {
            return Err(Dropped::UnknownLink);
        };
        let watch = shaking
            .watch
            .take_if(|watch| watch.recognizes(path, datagram));
        if watch.is_none() {
            return Err(Dropped::UnknownLink);
        }
        self.forget_earlier_hellos(now);
        self.restart_schedule(now);
        Ok(())
    }

    /// A broker that has just said that it is back has answered nothing that was sent before.
    fn forget_earlier_hellos(&mut self, now: Timestamp) {
        if let State::Shaking(shaking) = &mut self.state {
            shaking.since = now;
        }
    }

    /// Handshake datagrams. The error is why one is dropped.
    pub(super) fn on_handshake(
        &mut self,
        path: Path,
        datagram: &Bytes,
        now: Timestamp,
    ) -> Result<(), Dropped> {
        match Handshake::decode(datagram) {
            Ok(Handshake::Accept(accept)) => self.on_accept(path, &accept, now),
            Ok(Handshake::Version(reply)) => self.on_version(reply),
            Ok(Handshake::Retry(retry)) => self.on_retry(path, &retry),
            Ok(Handshake::Hello(_) | Handshake::Finish(_)) => Err(Dropped::Unexpected),
            Err(error) => Err(error.into()),
        }
    }

    /// ADR-4: the HELLO goes back at once with the cookie.
    fn on_retry(&mut self, path: Path, retry: &Retry) -> Result<(), Dropped> {
        let State::Shaking(shaking) = &mut self.state else {
            return Err(Dropped::Unexpected);
        };
        // Only there was a HELLO sent.
        if !self.paths.contains(&path) {
            return Err(Dropped::Unexpected);
        }
        let greeting = shaking.greeting_of(retry.cid).ok_or(Dropped::Unexpected)?;
        let hello = greeting.answer_retry(path, retry)?;
        crate::sometimes!(CookieSent);
        self.outgoing.push_back((path, hello));
        Ok(())
    }

    /// HSD-7: noted, and believed only if nothing better comes.
    fn on_version(&mut self, reply: VersionReply) -> Result<(), Dropped> {
        let State::Shaking(shaking) = &mut self.state else {
            return Err(Dropped::Unexpected);
        };
        if reply.cid != shaking.greeting.initiator.cid() || reply.versions.contains(&VERSION) {
            return Err(Dropped::Unexpected);
        }
        shaking.version = Some(reply);
        Ok(())
    }

    fn on_accept(&mut self, path: Path, accept: &Accept, now: Timestamp) -> Result<(), Dropped> {
        let State::Shaking(shaking) = &mut self.state else {
            return Err(Dropped::Unexpected);
        };
        if let Probe::Asking(probe) = &shaking.probe
            && probe.initiator.cid() == accept.cid
        {
            let accepted = probe.initiator.handle_accept(accept)?;
            return self.on_probe_answer(&accepted, now);
        }
        let initiator = &shaking.greeting.initiator;
        if initiator.cid() != accept.cid {
            return Err(Dropped::Unexpected);
        }
        let cid = accept.cid;
        let rtt = now.saturating_since(shaking.since);
        match initiator.handle_accept(accept)? {
            Accepted::Established(established) => {
                self.go_up(path, cid, established, rtt, None, now);
            }
            Accepted::FirstContact(finisher) => {
                // SEC-9: the owner remembers the key, and then says who we are.
                self.events
                    .push_back(ClientEvent::FirstContact(finisher.broker_key()));
                self.state = State::Choosing(Box::new(Choosing {
                    finisher,
                    cid,
                    path,
                    rtt,
                }));
            }
        }
        Ok(())
    }

    /// SEC-8: a broker with another key is not the one that we know.
    fn on_probe_answer(&mut self, accepted: &Accepted, now: Timestamp) -> Result<(), Dropped> {
        let Accepted::FirstContact(finisher) = accepted else {
            return Err(Dropped::Unexpected);
        };
        let shown = finisher.broker_key();
        let Some((known, _)) = &self.known else {
            return Err(Dropped::Unexpected);
        };
        if *known == shown {
            if let State::Shaking(shaking) = &mut self.state {
                shaking.probe = Probe::Same;
            }
        } else {
            let known = *known;
            self.end(EndReason::KeyChanged { known, shown }, now);
        }
        Ok(())
    }

    /// The third message of XX.
    pub(super) fn finish_first_contact(
        &mut self,
        choosing: Choosing,
        identity: NodeIdentity,
        now: Timestamp,
    ) {
        let Choosing {
            finisher,
            cid,
            path,
            rtt,
        } = choosing;
        let broker = finisher.broker_key();
        let (finish, established) = finisher.finish(&identity);
        self.known = Some((broker, identity));
        let finishing = Finishing {
            datagram: finish,
            schedule: Schedule::new(now),
            path,
        };
        self.go_up(path, cid, established, rtt, Some(finishing), now);
        self.repeat_finish(now);
    }

    /// The keys exist: signs in and publishes over a new link.
    fn go_up(
        &mut self,
        path: Path,
        cid: NodeCid,
        established: Established,
        rtt: Duration,
        finishing: Option<Finishing>,
        now: Timestamp,
    ) {
        let config = LinkConfig {
            side: Side::Node,
            local_cid: cid.into(),
            remote_cid: established.broker.cid.into(),
            reset_token: Some(established.broker.reset_token),
            path,
            secrets: established.secrets,
            seed: self.rng.fork(),
            idle_timeout: NODE_IDLE_TIMEOUT,
            keepalive: LinkConfig::NODE_KEEPALIVE,
            suspect_after: Some(LinkConfig::NODE_SUSPECT_AFTER),
            congestion: CongestionControl::default(),
        };
        let mut link = Link::new(config, now);
        link.hint_rtt(rtt, now);
        for _ in 0..CIDS_SPARE_MAX {
            link.issue_cid(fresh_cid(&mut self.rng).into(), ResetToken::default());
        }
        self.state = State::Up(Box::new(Up::new(link, finishing)));
        self.sign_in(now);
    }
}

//! From the first HELLO to a confirmed link (SPEC.md section 6.1), and the way of data packets.

use bytes::{Bytes, BytesMut};
use ring::digest::{SHA256, digest};

use super::gate::Verdict;
use super::half_open::{Stage as HalfOpenStage, Unconfirmed};
use super::session::{Session, Stage};
use super::{Broker, FirstContacts, LINKS_MAX, LinkId, Pressure, REPLIES_WAITING_MAX};
use crate::bug;
use crate::drops::Dropped;
use crate::link::{CIDS_SPARE_MAX, CongestionControl, Link, LinkConfig, Side};
use crate::secure::{BrokerPayload, NodeEstablished, Response, knows_key, screen};
use crate::time::Timestamp;
use crate::transmit::{Origin, Path};
use crate::wire::{
    BrokerCid, Cid, DecodeError, Finish, Handshake, Hello, NodeCid, Retry, UnknownHello, VERSION,
    VersionReply,
};

impl Broker {
    /// Handshake datagrams. The error is why one is dropped.
    pub(super) fn on_handshake(
        &mut self,
        path: Path,
        datagram: &Bytes,
        now: Timestamp,
    ) -> Result<(), Dropped> {
        match Handshake::decode(datagram) {
            Ok(Handshake::Hello(hello)) => self.on_hello(path, &hello, datagram, now),
            Ok(Handshake::Finish(finish)) => self.on_finish(&finish, now),
            Ok(Handshake::Accept(_) | Handshake::Retry(_) | Handshake::Version(_)) => {
                Err(Dropped::Unexpected)
            }
            Err(DecodeError::UnknownVersion(_)) => self.on_unknown_version(path, datagram),
            Err(error) => Err(error.into()),
        }
    }

    /// HSD-7: says which versions are spoken here.
    fn on_unknown_version(&mut self, path: Path, datagram: &Bytes) -> Result<(), Dropped> {
        let hello = UnknownHello::decode(datagram)?;
        if self.config.first_contacts == FirstContacts::Closed
            && !knows_key(&self.identity.public(), datagram)
        {
            return Err(Dropped::FirstContact);
        }
        let reply = VersionReply {
            version: hello.version,
            cid: hello.cid,
            versions: vec![VERSION],
        };
        let mut out = Vec::new();
        Handshake::Version(reply).encode(&mut out);
        self.reply(path, out.into(), datagram.len())
    }

    /// ADR-1: what costs least comes first.
    fn on_hello(
        &mut self,
        path: Path,
        hello: &Hello,
        datagram: &Bytes,
        now: Timestamp,
    ) -> Result<(), Dropped> {
        let screened = screen(hello, datagram, &self.identity.public())?;
        let is_first_contact = screened.is_first_contact();
        if is_first_contact && self.config.first_contacts == FirstContacts::Closed {
            return Err(Dropped::FirstContact);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, datagram).as_ref());
        if let Some(accept) = self.half_open.cached_accept(path, hello.cid, &hash) {
            return self.reply(path, accept, datagram.len());
        }
        if self.sessions.len() >= LINKS_MAX {
            return Err(Dropped::Limit);
        }
        if self.pressure() >= Pressure::Closed {
            // MEM-4
            return Err(Dropped::Memory);
        }
        let half_open = self.half_open.len();
        let verdict = self
            .gate
            .judge(path.remote, hello, is_first_contact, half_open, now);
        match verdict {
            Verdict::Begin => {}
            Verdict::Ask(cookie, reason) => {
                self.reply(path, retry(hello, &cookie), datagram.len())?;
                return Err(reason);
            }
            Verdict::Refuse(reason) => return Err(reason),
        }
        let cid = self.fresh_cid();
        let payload = BrokerPayload {
            cid,
            reset_token: self.resets.secret.token(&cid),
            log_id: self.log.0,
        };
        let response = screened.respond(&self.identity, payload, self.rng.fork())?;
        let (accept, stage) = match response {
            Response::AwaitFinish { accept, pending } => {
                (accept, HalfOpenStage::AwaitFinish(pending))
            }
            Response::Ready {
                accept,
                established,
            } => {
                let unconfirmed = self.unconfirmed(path, cid, hello.cid, established, now);
                (accept, HalfOpenStage::AwaitData(Box::new(unconfirmed)))
            }
        };
        let key = (path, hello.cid, hash);
        let evicted = self.half_open.insert(cid, key, accept.clone(), stage, now);
        if evicted > 0 {
            crate::sometimes!(HalfOpenMadeRoom);
            tracing::debug!(evicted, "half-open handshakes made room");
        }
        self.drops.add(Dropped::MadeRoom, evicted as u64);
        self.reply(path, accept, datagram.len())
    }

    fn on_finish(&mut self, finish: &Finish, now: Timestamp) -> Result<(), Dropped> {
        let entry = self
            .half_open
            .get_mut(&finish.cid)
            .ok_or(Dropped::UnknownLink)?;
        let HalfOpenStage::AwaitFinish(pending) = &mut entry.stage else {
            return Err(Dropped::Unexpected);
        };
        let (path, node_cid) = (entry.path, entry.node_cid);
        self.gate.judge_finish(path.remote, now)?;
        let established = match pending.handle_finish(finish) {
            Ok(established) => established,
            Err(error) => {
                self.gate.on_wrong_finish(path.remote, now);
                return Err(error.into());
            }
        };
        let unconfirmed = self.unconfirmed(path, finish.cid, node_cid, established, now);
        if let Some(entry) = self.half_open.get_mut(&finish.cid) {
            entry.stage = HalfOpenStage::AwaitData(Box::new(unconfirmed));
        }
        Ok(())
    }

    /// A link that exists as far as keys go; nothing is done for it before its first packet
    /// decrypts (SEC-7).
    fn unconfirmed(
        &mut self,
        path: Path,
        local_cid: BrokerCid,
        node_cid: NodeCid,
        peer: NodeEstablished,
        now: Timestamp,
    ) -> Unconfirmed {
        let config = LinkConfig {
            side: Side::Broker,
            local_cid: local_cid.into(),
            remote_cid: node_cid.into(),
            reset_token: None,
            path,
            secrets: peer.secrets.clone(),
            seed: self.rng.fork(),
            idle_timeout: self.config.grace,
            // Under a short grace a quiet node has to be asked more often, or it would be taken for
            // dead (LIF-1).
            keepalive: LinkConfig::BROKER_KEEPALIVE.min(self.config.grace / 4),
            suspect_after: None,
            congestion: CongestionControl::default(),
        };
        Unconfirmed {
            link: Link::new(config, now),
            peer,
        }
    }

    /// Data packets.
    pub(super) fn on_data(
        &mut self,
        origin: Origin,
        datagram: BytesMut,
        now: Timestamp,
    ) -> Result<(), Dropped> {
        let cid: BrokerCid = datagram
            .get(1..9)
            .and_then(|cid| cid.try_into().ok())
            .ok_or(Dropped::TooShort)?;
        if let Some(&id) = self.routes.get(&cid) {
            let session = self.sessions.get_mut(&id).ok_or(Dropped::UnknownLink)?;
            let handled = session.link.handle_datagram(origin, datagram, now);
            self.after_input(id, now);
            return Ok(handled?);
        }
        let Some(entry) = self.half_open.get_mut(&cid) else {
            self.reset(origin.path, &cid, datagram.len(), now);
            return Err(Dropped::UnknownLink);
        };
        let HalfOpenStage::AwaitData(unconfirmed) = &mut entry.stage else {
            return Err(Dropped::UnknownLink);
        };
        unconfirmed.link.handle_datagram(origin, datagram, now)?;
        self.confirm(cid, now);
        Ok(())
    }

    /// SEC-7: the first packet has decrypted, so the node has the keys: now there is a session.
    fn confirm(&mut self, cid: BrokerCid, now: Timestamp) {
        let Some(entry) = self.half_open.remove(&cid) else {
            return;
        };
        let HalfOpenStage::AwaitData(unconfirmed) = entry.stage else {
            return;
        };
        let Unconfirmed { mut link, peer } = *unconfirmed;
        link.hint_rtt(now.saturating_since(entry.since), now);
        if let Some(loss) = self.losses.recall(link.path().remote.ip()) {
            link.hint_loss(loss);
        }
        let id = self.next_link;
        self.next_link += 1;
        self.routes.insert(cid, id);
        self.accounts.insert((peer.account, id));
        let session = Session {
            link,
            cids: vec![cid],
            remembered: None,
            begun_at: entry.since,
            account: peer.account,
            device: peer.device,
            stage: Stage::Unnamed,
            was_hung_up: false,
            control: Default::default(),
            seats: Default::default(),
            deadline: None,
            has_turn: false,
            held: 0,
        };
        self.sessions.insert(id, Box::new(session));
        for _ in 0..CIDS_SPARE_MAX {
            self.issue_cid(id);
        }
        self.after_input(id, now);
    }

    /// Gives a node one more connection id to send to, for when it moves (CID-1).
    fn issue_cid(&mut self, id: LinkId) {
        let cid = self.fresh_cid();
        let token = self.resets.secret.token(&cid);
        if let Some(session) = self.sessions.get_mut(&id)
            && session.link.issue_cid(cid.into(), token)
        {
            session.cids.push(cid);
            self.routes.insert(cid, id);
        }
    }

    /// A node is done with a connection id, and gets another one (CID-2).
    pub(super) fn on_cid_retired(&mut self, id: LinkId, cid: Cid) {
        if let Some(session) = self.sessions.get_mut(&id)
            && let Some(cid) = cid.as_broker()
        {
            session.cids.retain(|other| *other != cid);
            self.routes.remove(&cid);
            self.issue_cid(id);
        }
    }

    /// Connection ids are never given out twice (PKT-1); 64 random bits make a clash a matter of
    /// ages, but a clash would mix two links up.
    fn fresh_cid(&mut self) -> BrokerCid {
        loop {
            let cid = self.rng.bytes();
            if !self.routes.contains_key(&cid) && !self.half_open.contains(&cid) {
                return cid;
            }
        }
    }

    /// Queues a handshake reply, which is never longer than its cause (HSD-8).
    fn reply(&mut self, path: Path, reply: Bytes, cause: usize) -> Result<(), Dropped> {
        if reply.len() > cause {
            return Err(Dropped::Limit);
        }
        if self.replies.len() >= REPLIES_WAITING_MAX {
            return Err(Dropped::Limit);
        }
        if bug!(Amplify) {
            self.replies
                .extend([(path, reply.clone()), (path, reply.clone())]);
        }
        self.replies.push_back((path, reply));
        Ok(())
    }
}

/// Asks the sender of a HELLO to send it again with that cookie (HSD-6).
fn retry(hello: &Hello, cookie: &[u8]) -> Bytes {
    let retry = Handshake::Retry(Retry {
        version: VERSION,
        cid: hello.cid,
        mark: hello.mark(),
        cookie: Bytes::copy_from_slice(cookie),
    });
    let mut out = Vec::new();
    retry.encode(&mut out);
    out.into()
}

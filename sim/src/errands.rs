//! What people do with the devices of their accounts: a device is linked with a code, revoked, linked
//! again (SPEC.md section 9.8). Each takes a program of its own, beside the node of the same device, on
//! a way of its own to the broker; what fails is tried again. At both levels.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use tertulia::chat::{LinkSecret, Name};
use tertulia::client::{Client, ClientConfig, ClientEvent, Errand, ErrandEvent, JournalState};
use tertulia::rng::{Seed, SeededRng};
use tertulia::secure::{DeviceKey, NodeIdentity, PublicKey};
use tertulia::situation::{self, Situation};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;

use crate::plan::{Fault, Plan};
use crate::world::{name_of, seed_of};

/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long somebody waits before trying again.
const PATIENCE: Duration = Duration::from_secs(8);
/// A code is good for this long, in ms: longer than anybody waits.
const CODE_LASTS_MS: u64 = 60_000;

/// One end of what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The device with the account's private key.
    Owner,
    /// The device that is to be linked.
    Device,
}

/// What has come of it.
pub(crate) enum Change {
    /// The account's key is about to revoke a device.
    Revoking(DeviceKey),
    /// It is one of the account now.
    Linked(Box<NodeIdentity>),
}

/// Who it is about, when something is to be done.
pub(crate) struct Parties {
    /// Who has the account's private key.
    pub(crate) owner: NodeIdentity,
    /// The present device of the other one.
    pub(crate) device: DeviceKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Link,
    Revoke,
}

/// What is done about one device, from its beginning to its end.
pub(crate) struct Errands {
    /// Whose device it is about.
    pub(crate) client: usize,
    /// Who has the account's private key.
    pub(crate) owner: usize,
    seed: u64,
    number: u64,
    name: Name,
    broker: PublicKey,
    /// Where the owner's end and the device's take the broker to be.
    paths: [Path; 2],
    /// The private key of the device that is to be linked.
    secret: Seed,
    steps: VecDeque<(Timestamp, Step)>,
    /// Which device is revoked: the one that was there when it was tried first.
    revoked: Option<DeviceKey>,
    attempts: u64,
    again_at: Timestamp,
    gives_up_at: Option<Timestamp>,
    ends_at: Timestamp,
    owners: Option<Client>,
    devices: Option<Client>,
    code: LinkSecret,
    /// What was sent, and nobody has taken.
    pub(crate) sent: Vec<(End, Vec<u8>)>,
    /// What has come of it, and nobody has taken.
    pub(crate) changes: Vec<Change>,
}

/// How many ways of their own a plan's errands have.
pub(crate) fn ways(plan: &Plan) -> usize {
    steps(plan).len() * 2
}

/// On which way of the network an end of the plan's errands with this index is.
pub(crate) fn way(plan: &Plan, index: usize, end: End) -> usize {
    plan.topology.clients.len() + 2 * index + end as usize
}

/// The errands of a way, and which end of them it is.
pub(crate) fn at_way(plan: &Plan, way: usize) -> Option<(usize, End)> {
    let number = way.checked_sub(plan.topology.clients.len())?;
    let end = match number % 2 {
        0 => End::Owner,
        _ => End::Device,
    };
    Some((number / 2, end))
}

/// Whose device, and what is done about it when.
type Steps = (usize, VecDeque<(Timestamp, Step)>);

/// What a plan wants to be done.
fn steps(plan: &Plan) -> Vec<Steps> {
    let linked = plan.linked.iter().map(|linked| {
        let at = linked.at_ms.map(Timestamp::from_millis);
        let link = at.into_iter().map(|at| (at, Step::Link));
        (linked.client, link.collect())
    });
    let revoked = plan
        .faults
        .iter()
        .filter_map(|(at_ms, fault)| match *fault {
            Fault::Revoke {
                client,
                back_after_ms,
            } => {
                let at = Timestamp::from_millis(*at_ms);
                let back_at = back_after_ms.map(|after| at + Duration::from_millis(after));
                let back = back_at.map(|at| (at, Step::Link));
                let steps = [(at, Step::Revoke)].into_iter().chain(back);
                Some((client, steps.collect()))
            }
            _ => None,
        });
    linked.chain(revoked).collect()
}

/// Those of a plan, over ways whose addresses are these.
pub(crate) fn errands(
    plan: &Plan,
    broker: PublicKey,
    path: impl Fn(usize) -> Path,
) -> Vec<Errands> {
    let all = steps(plan).into_iter().enumerate();
    let all = all.map(|(index, (client, mut steps))| {
        let owner = plan.owner(client);
        // A device cannot be linked to its own account, nor one that is nowhere (shrinking does that).
        if owner == client || plan.topology.clients[client].is_empty() {
            steps.clear();
        }
        let secret = match index < plan.linked.len() {
            true => linked_device(plan, client),
            false => seed_of(plan.seed, "device linked again", index as u64),
        };
        let paths = [End::Owner, End::Device].map(|end| path(way(plan, index, end)));
        let mut rng = SeededRng::new(seed_of(plan.seed, "code", index as u64));
        Errands {
            client,
            owner,
            seed: plan.seed,
            number: index as u64,
            name: name_of(plan, client),
            broker,
            paths,
            secret,
            steps,
            revoked: None,
            attempts: 0,
            again_at: Timestamp::ZERO,
            gives_up_at: None,
            ends_at: Timestamp::from_millis(plan.heals_at_ms()),
            owners: None,
            devices: None,
            code: LinkSecret::new(rng.bytes()),
            sent: Vec::new(),
            changes: Vec::new(),
        }
    });
    all.collect()
}

/// The private key of a device that is linked before anything else happens to it.
pub(crate) fn linked_device(plan: &Plan, client: usize) -> Seed {
    seed_of(plan.seed, "linked device", client as u64)
}

impl Errands {
    /// When something is to be done next, if anything is.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let (at, _) = self.steps.front()?;
        let Some(gives_up_at) = self.gives_up_at else {
            let begins_at = self.again_at.max(*at);
            return Some(begins_at).filter(|at| *at < self.ends_at);
        };
        let ends = [&self.owners, &self.devices].into_iter().flatten();
        let deadlines = ends.filter_map(|client| client.poll_timeout());
        let deadlines = deadlines.map(|deadline| deadline.at);
        deadlines.chain([gives_up_at.min(self.ends_at)]).min()
    }

    /// Does what is due.
    pub(crate) fn go_on(&mut self, parties: &Parties, now: Timestamp) {
        let Some((at, step)) = self.steps.front().copied() else {
            return;
        };
        match self.gives_up_at {
            None if at.max(self.again_at) <= now && now < self.ends_at => {
                self.begin(step, parties, now);
            }
            Some(at) if at.min(self.ends_at) <= now => self.give_up(now),
            _ => {}
        }
        for end in [End::Owner, End::Device] {
            self.with(end, now, |client| {
                if client.poll_timeout().is_some_and(|it| it.at <= now) {
                    client.handle_timeout(now);
                }
            });
        }
    }

    /// Takes a datagram.
    pub(crate) fn hear(&mut self, end: End, datagram: &[u8], now: Timestamp) {
        let path = self.paths[end as usize];
        let datagram = BytesMut::from(datagram);
        self.with(end, now, |client| {
            client.handle_datagram(path, datagram, now);
        });
    }

    fn begin(&mut self, step: Step, parties: &Parties, now: Timestamp) {
        self.attempts += 1;
        self.gives_up_at = Some(now + PATIENCE);
        let errand = match step {
            Step::Revoke => {
                let device = *self.revoked.get_or_insert(parties.device);
                if self.attempts == 1 {
                    self.changes.push(Change::Revoking(device));
                }
                Errand::Revoke { device }
            }
            Step::Link => {
                let number = self.number * 1_000 + self.attempts;
                let mut rng = SeededRng::new(seed_of(self.seed, "code", number));
                self.code = LinkSecret::new(rng.bytes());
                Errand::Offer {
                    secret: self.code.clone(),
                    lasts_ms: CODE_LASTS_MS,
                }
            }
        };
        self.owners = Some(self.client(End::Owner, parties.owner.clone(), errand, now));
        self.with(End::Owner, now, |_| ());
    }

    fn client(&self, end: End, identity: NodeIdentity, errand: Errand, now: Timestamp) -> Client {
        let config = ClientConfig {
            paths: vec![self.paths[end as usize]],
            name: self.name.clone(),
            known: Some((self.broker, identity)),
            restored: JournalState::default(),
        };
        let number = (self.number * 1_000 + self.attempts) * 2 + end as u64;
        let mut client = Client::new(config, seed_of(self.seed, "errand", number), now);
        client.set_errand(errand);
        client
    }

    /// Nobody waits for ever: both ends say that they give up, and it is tried again.
    fn give_up(&mut self, now: Timestamp) {
        for end in [End::Owner, End::Device] {
            self.with(end, now, |client| client.abandon(now));
        }
        self.fail(now);
    }

    fn fail(&mut self, now: Timestamp) {
        (self.owners, self.devices) = (None, None);
        self.gives_up_at = None;
        self.again_at = now + AGAIN_AFTER;
    }

    fn done(&mut self) {
        self.steps.pop_front();
        self.gives_up_at = None;
        (self.owners, self.devices) = (None, None);
    }

    /// Does something with the program at an end, and takes what it says.
    fn with(&mut self, end: End, now: Timestamp, what: impl FnOnce(&mut Client)) {
        let client = match end {
            End::Owner => &mut self.owners,
            End::Device => &mut self.devices,
        };
        let Some(client) = client else {
            return;
        };
        what(client);
        let mut out = Vec::new();
        while let Some(transmit) = client.poll_transmit(now, &mut out) {
            let datagrams = transmit.datagrams(&out);
            self.sent
                .extend(datagrams.map(|datagram| (end, datagram.to_vec())));
            out.clear();
        }
        let mut events = Vec::new();
        while let Some(event) = client.poll_event() {
            events.push(event);
        }
        for event in events {
            self.on_event(end, event, now);
        }
    }

    fn on_event(&mut self, end: End, event: ClientEvent, now: Timestamp) {
        match event {
            ClientEvent::Errand(ErrandEvent::Offered) if self.devices.is_none() => {
                // An account for this alone (DEV-4).
                let number = self.number * 1_000 + self.attempts;
                let account = seed_of(self.seed, "account of an errand", number);
                let asker = NodeIdentity::from_secrets(account, self.secret);
                let secret = self.code.clone();
                let asking = self.client(End::Device, asker, Errand::Ask { secret }, now);
                self.devices = Some(asking);
                self.with(End::Device, now, |_| ());
            }
            ClientEvent::Errand(ErrandEvent::Granted {
                account,
                certificate,
                ..
            }) => {
                situation::meet(Situation::DeviceLinked);
                let linked = NodeIdentity::linked(account, certificate, self.secret);
                let linked = linked.expect("the client has looked at the certificate");
                self.changes.push(Change::Linked(Box::new(linked)));
                self.done();
            }
            ClientEvent::Errand(ErrandEvent::Revoked(_)) => {
                situation::meet(Situation::DeviceRevoked);
                self.done();
            }
            ClientEvent::Ended(_) => {
                let is_over = match end {
                    // Whoever has granted it hears of it before the device does, or after.
                    End::Owner => {
                        self.owners = None;
                        self.devices.is_none()
                    }
                    End::Device => true,
                };
                if is_over && self.gives_up_at.is_some() {
                    self.fail(now);
                }
            }
            _ => {}
        }
    }
}

//! A broker and the members of a room in one process, without sockets, clocks or tasks: what a
//! line costs the broker is what its machine does, and nothing else.

use core::time::Duration;

use bytes::BytesMut;
use tertulia::broker::{Broker, BrokerConfig, Budgets, MemoryStore};
use tertulia::chat::{LogId, Name, RoomName};
use tertulia::client::{Client, ClientConfig, ClientEvent, JournalState};
use tertulia::driver::Copies;
use tertulia::rng::SeededRng;
use tertulia::secure::{BrokerIdentity, NodeIdentity};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;

/// What the wall clock says at the beginning, in ms.
const EPOCH_MS: u64 = 1_790_000_000_000;
/// How long a datagram is on its way.
const STEP: Duration = Duration::from_millis(1);
/// How many members join at a time.
const JOINING: usize = 50;
/// How many steps everybody may take to come in.
const JOINED_WITHIN: usize = 10_000;

/// Datagrams for the broker, in the order in which they come.
pub(crate) type Arrivals = Vec<(Path, BytesMut)>;

struct Member {
    client: Client,
    path: Path,
    identity: NodeIdentity,
    lines: usize,
    is_in: bool,
}

/// A broker and its members. The first of them is the one who speaks.
pub(crate) struct Crowd {
    now: Timestamp,
    broker: Broker,
    store: MemoryStore,
    members: Vec<Member>,
    /// What the broker sends; kept for its allocation.
    out: Vec<u8>,
    sent: Vec<(Path, usize, usize)>,
    /// Where datagrams are copied to, as the driver does it.
    copies: Copies,
    body: Vec<u8>,
}

impl Crowd {
    /// `count` members in one room, who have all heard of each other.
    pub(crate) fn new(count: usize, body: usize) -> Self {
        let log = LogId([1; 16]);
        let identity = BrokerIdentity::from_secret([9; 32]);
        let mut config = BrokerConfig::default();
        // They come from afar, and say more than a host grants to who does.
        for budget in Budgets::SETTABLE {
            config.budgets.set(budget, None);
        }
        let mut crowd = Self {
            now: Timestamp::from_millis(1_000),
            broker: Broker::new(config, identity, log, [2; 32]),
            store: MemoryStore::new(log),
            members: Vec::new(),
            out: Vec::new(),
            sent: Vec::new(),
            copies: Copies::default(),
            body: vec![b'x'; body],
        };
        let mut rng = SeededRng::new([3; 32]);
        while crowd.members.len() < count {
            for _ in 0..JOINING.min(count - crowd.members.len()) {
                crowd.add(&mut rng);
            }
            crowd.settle();
        }
        crowd
    }

    /// The speaker says something. What is on its way to the broker then: the line, and what the
    /// others answered to those before.
    pub(crate) fn say(&mut self) -> Arrivals {
        self.now += STEP;
        let at_ms = EPOCH_MS + self.now.as_millis();
        let said =
            self.members[0]
                .client
                .publish(&RoomName::default(), &self.body, at_ms, self.now);
        said.expect("the room takes the line");
        self.collect()
    }

    /// The broker's part: it takes what has come, stores it, and makes every datagram that is due.
    pub(crate) fn serve(&mut self, arrivals: Arrivals) {
        for (path, datagram) in arrivals {
            self.broker.handle_datagram(path, datagram, self.now);
        }
        if self
            .broker
            .poll_timeout()
            .is_some_and(|due| due.at <= self.now)
        {
            self.broker.handle_timeout(self.now);
        }
        while let Some(request) = self.broker.poll_storage() {
            let completion = self.store.handle(request);
            self.broker.handle_storage(completion, self.now);
        }
        while self.broker.poll_event().is_some() {}
        while let Some(transmit) = self.broker.poll_transmit(self.now, &mut self.out) {
            let size = transmit.segment_size.unwrap_or(transmit.len);
            self.sent.push((transmit.path, transmit.len, size));
        }
    }

    /// The members' part: they take what the broker has sent. Returns how many lines they were
    /// handed.
    pub(crate) fn deliver(&mut self) -> usize {
        self.now += STEP;
        let mut start = 0;
        for (path, len, size) in self.sent.drain(..) {
            let place = usize::from(path.remote.port()) - 1;
            let member = &mut self.members[place];
            for datagram in self.out[start..start + len].chunks(size) {
                member
                    .client
                    .handle_datagram(member.path, BytesMut::from(datagram), self.now);
            }
            start += len;
        }
        self.out.clear();
        let before: usize = self.members.iter().map(|member| member.lines).sum();
        for member in &mut self.members {
            member.go_on(self.now);
        }
        let after: usize = self.members.iter().map(|member| member.lines).sum();
        after - before
    }

    fn add(&mut self, rng: &mut SeededRng) {
        let place = self.members.len();
        let port = u16::try_from(place + 1).expect("so many members have ports");
        // No network comes in faster than it may (ADR-5).
        let [high, low] = port.to_be_bytes();
        let path = Path::new(([10, 0, high, low], port).into());
        let config = ClientConfig {
            paths: vec![path],
            name: Name::new(&format!("member{place}")).expect("a name"),
            known: None,
            restored: JournalState::default(),
        };
        let mut client = Client::new(config, rng.fork(), self.now);
        client.join(RoomName::default().into(), self.now);
        self.members.push(Member {
            client,
            path,
            identity: NodeIdentity::generate(rng),
            lines: 0,
            is_in: false,
        });
    }

    /// Goes on until everybody is in.
    fn settle(&mut self) {
        for _ in 0..JOINED_WITHIN {
            let at_ms = EPOCH_MS + self.now.as_millis();
            self.broker.set_wall_clock(at_ms, self.now);
            let arrivals = self.collect();
            let is_quiet = arrivals.is_empty();
            self.serve(arrivals);
            self.deliver();
            if is_quiet && self.members.iter().all(|member| member.is_in) {
                return;
            }
        }
        panic!("not everybody came in");
    }

    /// What the members have to send.
    fn collect(&mut self) -> Arrivals {
        let mut arrivals = Arrivals::new();
        let mut out = Vec::new();
        for member in &mut self.members {
            while let Some(transmit) = member.client.poll_transmit(self.now, &mut out) {
                let datagrams = transmit.datagrams(&out);
                arrivals.extend(datagrams.map(|bytes| (member.path, self.copies.copy(bytes))));
                out.clear();
            }
        }
        arrivals
    }
}

impl Member {
    /// Does what is due, with a journal that is there at once.
    fn go_on(&mut self, now: Timestamp) {
        if self.client.poll_timeout().is_some_and(|due| due.at <= now) {
            self.client.handle_timeout(now);
        }
        loop {
            while let Some(request) = self.client.poll_journal() {
                self.client.handle_journaled(request.id, now);
            }
            let Some(event) = self.client.poll_event() else {
                return;
            };
            match event {
                ClientEvent::FirstContact(_) => {
                    self.client.set_identity(self.identity.clone(), now);
                }
                ClientEvent::Joined { .. } => self.is_in = true,
                ClientEvent::Line { .. } => self.lines += 1,
                _ => {}
            }
        }
    }
}

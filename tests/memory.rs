//! What a broker says that it holds, beside what the allocator says: without sockets, clocks or
//! tasks. One test, because one thread is counted.

use core::time::Duration;

use bytes::BytesMut;
use tertulia::broker::{Broker, BrokerConfig, Budgets, MemoryStore};
use tertulia::chat::{LogId, Name, RoomName};
use tertulia::client::{Client, ClientConfig, ClientEvent, JournalState};
use tertulia::rng::SeededRng;
use tertulia::secure::{BrokerIdentity, Initiator, NodeIdentity};
use tertulia::time::Timestamp;
use tertulia::transmit::Path;
use tertulia::wire::NodeCid;

/// How long a datagram is on its way.
const STEP: Duration = Duration::from_millis(5);
/// What the wall clock says at the beginning, in ms.
const EPOCH_MS: u64 = 1_790_000_000_000;
/// What a broker takes that holds nothing for anybody, and what is bounded by LIM-* alone.
const BESIDE: i64 = 256 << 10;
/// What the broker sends at a time: never more, so that it is not counted.
const OUT: usize = 16 << 20;

struct Member {
    client: Client,
    path: Path,
    identity: NodeIdentity,
    is_in: bool,
    is_deaf: bool,
}

/// A broker whose allocations are counted, its store, and those who use it.
struct World {
    now: Timestamp,
    broker: Broker,
    store: MemoryStore,
    members: Vec<Member>,
    out: Vec<u8>,
    sent: Vec<(Path, usize, usize)>,
    rng: SeededRng,
    /// What the broker and its store hold, as the allocator has it.
    held: i64,
}

impl World {
    fn new() -> Self {
        let log = LogId([1; 16]);
        let mut config = BrokerConfig::default();
        for budget in Budgets::SETTABLE {
            config.budgets.set(budget, None);
        }
        let mut made = None;
        let counted = allocation_counter::measure(|| {
            let identity = BrokerIdentity::from_secret([9; 32]);
            let broker = Broker::new(config, identity, log, [2; 32]);
            made = Some((broker, MemoryStore::new(log)));
        });
        let (broker, store) = made.expect("it was made");
        Self {
            now: Timestamp::from_millis(1_000),
            broker,
            store,
            members: Vec::new(),
            out: Vec::with_capacity(OUT),
            sent: Vec::with_capacity(1 << 16),
            rng: SeededRng::new([3; 32]),
            held: counted.bytes_current,
        }
    }

    fn add(&mut self, room: &str) {
        let place = self.members.len();
        let port = u16::try_from(place + 1).expect("so many members have ports");
        let [high, low] = port.to_be_bytes();
        // No network comes in faster than it may (ADR-5).
        let path = Path::new(([10, high, low, 1], port).into());
        let config = ClientConfig {
            paths: vec![path],
            name: Name::new(&format!("member{place}")).expect("a name"),
            known: None,
            restored: JournalState::default(),
        };
        let mut client = Client::new(config, self.rng.fork(), self.now);
        let room = RoomName::new(room).expect("a room");
        client.join(room.into(), self.now);
        self.members.push(Member {
            client,
            path,
            identity: NodeIdentity::generate(&mut self.rng),
            is_in: false,
            is_deaf: false,
        });
    }

    /// Somebody begins a handshake and is not heard of again.
    fn begin(&mut self, place: usize) {
        let [.., a, b] = place.to_be_bytes();
        let path = Path::new(([11, a, b, 1], 9).into());
        let cid = NodeCid::new(&self.rng.bytes::<4>()).expect("it is short");
        let initiator = Initiator::first_contact(cid, self.rng.fork());
        self.serve(&[(path, initiator.hello().to_vec())]);
        self.sent.clear();
        self.out.clear();
    }

    fn say(&mut self, len: usize) {
        let at_ms = EPOCH_MS + self.now.as_millis();
        let body = vec![b'x'; len];
        let room = RoomName::new("lobby").expect("a room");
        let said = self.members[0]
            .client
            .publish(&room, &body, at_ms, self.now);
        said.expect("the room takes the line");
    }

    /// The broker's part, which is counted.
    fn serve(&mut self, arrivals: &[(Path, Vec<u8>)]) {
        let (broker, store, now) = (&mut self.broker, &mut self.store, self.now);
        let (out, sent) = (&mut self.out, &mut self.sent);
        let counted = allocation_counter::measure(|| {
            broker.set_wall_clock(EPOCH_MS + now.as_millis(), now);
            for (path, datagram) in arrivals {
                broker.handle_datagram(*path, BytesMut::from(&datagram[..]), now);
            }
            if broker.poll_timeout().is_some_and(|due| due.at <= now) {
                broker.handle_timeout(now);
            }
            while let Some(request) = broker.poll_storage() {
                let completion = store.handle(request);
                broker.handle_storage(completion, now);
            }
            while broker.poll_event().is_some() {}
            while let Some(transmit) = broker.poll_transmit(now, out) {
                let size = transmit.segment_size.unwrap_or(transmit.len);
                sent.push((transmit.path, transmit.len, size));
            }
        });
        assert!(self.out.len() <= OUT, "that is counted, too");
        self.held += counted.bytes_current;
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            let mut arrivals = Vec::new();
            let mut out = Vec::new();
            for member in &mut self.members {
                while let Some(transmit) = member.client.poll_transmit(self.now, &mut out) {
                    let datagrams = transmit.datagrams(&out);
                    arrivals.extend(datagrams.map(|bytes| (member.path, bytes.to_vec())));
                    out.clear();
                }
            }
            self.serve(&arrivals);
            let mut start = 0;
            for (path, len, size) in self.sent.drain(..) {
                let member = &mut self.members[usize::from(path.remote.port()) - 1];
                for datagram in self.out[start..start + len].chunks(size) {
                    if !member.is_deaf {
                        let datagram = BytesMut::from(datagram);
                        member.client.handle_datagram(path, datagram, self.now);
                    }
                }
                start += len;
            }
            self.out.clear();
            for member in &mut self.members {
                member.go_on(self.now);
            }
        }
    }

    /// Holds the broker's account of itself to what the allocator says: it is never below by more
    /// than a fifth, and what is beside it.
    fn is_told_as_it_is(&self, what: &str) {
        let told = (self.broker.held().0 + self.store.kept()) as i64;
        println!(
            "{what}: {} bytes held, {told} by its own estimate",
            self.held
        );
        assert!(self.held <= told + told / 5 + BESIDE, "{what}");
        assert!(told <= self.held * 6, "{what}");
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
            match self.client.poll_event() {
                Some(ClientEvent::FirstContact(_)) => {
                    self.client.set_identity(self.identity.clone(), now);
                }
                Some(ClientEvent::Joined { .. }) => self.is_in = true,
                Some(_) => {}
                None => return,
            }
        }
    }
}

/// MEM-1, LIM-25: idle members, rooms, half-open handshakes, lines, and lines that wait for those who
/// do not take them.
#[test]
fn a_broker_holds_about_as_much_as_it_says() {
    let mut world = World::new();
    for _ in 0..5 {
        (0..30).for_each(|_| world.add("lobby"));
        world.run_for(Duration::from_secs(5));
    }
    assert!(world.members.iter().all(|member| member.is_in));
    world.is_told_as_it_is("150 members that have just come");
    world.run_for(Duration::from_secs(60));
    world.is_told_as_it_is("150 members that are idle");
    for n in 0..150 {
        world.add(&format!("room{n}"));
        if n % 30 == 29 {
            world.run_for(Duration::from_secs(5));
        }
    }
    assert!(world.members.iter().all(|member| member.is_in));
    world.run_for(Duration::from_secs(30));
    world.is_told_as_it_is("150 rooms more, with one in each");
    for len in [10, 8_000] {
        for _ in 0..200 {
            world.say(len);
            world.run_for(Duration::from_millis(50));
        }
        world.is_told_as_it_is(&format!("200 lines of {len} bytes"));
    }
    (1..100).for_each(|place| world.members[place].is_deaf = true);
    for line in 0..200 {
        world.say(if line % 2 == 0 { 2_000 } else { 10 });
        world.run_for(Duration::from_millis(20));
        if line % 50 == 20 {
            world.is_told_as_it_is(&format!("{line} lines that 99 do not take"));
        }
    }
    for place in 0..500 {
        world.now += STEP * 8;
        world.begin(place);
    }
    let begun = world.broker.link_counts().1;
    assert!(begun >= 16, "{begun}");
    world.is_told_as_it_is(&format!("{begun} handshakes that have begun"));
}

//! The adversarial network: real bytes, and a fate for each datagram.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tertulia::time::Timestamp;
use tertulia::wire::is_data;

use crate::errands;
use crate::fate::{Dice, Direction, fate, mix};
use crate::plan::{Fault, Plan, Rates, Way};

/// Where the broker listens.
#[must_use]
pub fn broker_address() -> SocketAddr {
    ([10, 0, 0, 1], 7000).into()
}

/// The `index`th address of a client.
fn client_address(client: usize, index: u16) -> SocketAddr {
    let [.., high, low] = client.to_be_bytes();
    ([10, 1, high, low], 40_000 + index).into()
}

/// Where the copies of what a client sends come from.
fn racer_address(client: usize) -> SocketAddr {
    let [.., high, low] = client.to_be_bytes();
    ([10, 2, high, low], 6_666).into()
}

/// The address of a stranger, who has no way to the broker of this network's own.
pub(super) fn stranger_address(number: u64) -> SocketAddr {
    let [.., high, low] = number.to_be_bytes();
    ([10, 3, high, low], 9_999).into()
}

/// The address of one of the plan's attackers.
pub(super) fn attacker_address(index: usize) -> SocketAddr {
    let [.., high, low] = index.to_be_bytes();
    ([10, 4, high, low], 6_666).into()
}

/// The attacker that has an address.
pub(super) fn attacker_at(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(ip) => match ip.octets() {
            [10, 4, high, low] => Some(usize::from(u16::from_be_bytes([high, low]))),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

/// An address that is not an attacker's, and from which its datagrams claim to come.
pub(super) fn spoofed_address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    ([10, 6, high, low], 7_777).into()
}

/// Whether an address is a stranger's, a copier's, or a forged one: nobody there can ever prove to be a
/// node.
#[must_use]
pub fn is_strangers(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(ip) if matches!(ip.octets(), [10, 2 | 3 | 6, ..]))
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// From whom.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// What arrives.
    pub bytes: Vec<u8>,
    /// Whether that is a handshake datagram, and not as it was sent.
    pub is_damaged: bool,
    /// The attacker that acknowledges in it what cannot have come.
    pub sure_lie_of: Option<usize>,
}

/// A datagram as somebody on the way saw it, before anything befell it.
#[derive(Clone, Debug)]
pub struct Captured {
    /// When it was sent.
    pub at: Timestamp,
    /// The client at one end.
    pub client: usize,
    /// Which way it went.
    pub direction: Direction,
    /// The datagram.
    pub datagram: Datagram,
}

/// What befell the datagrams of a run, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Sent.
    pub sent: u64,
    /// Of those, lost because the way was cut.
    pub cut: u64,
    /// Lost in a burst.
    pub burst: u64,
    /// Lost by the plan's rate.
    pub lost: u64,
    /// Sent to an address that nobody has any more.
    pub astray: u64,
    /// Copied by somebody on the way, from whom the copy came first.
    pub raced: u64,
    /// Of those that arrived: twice.
    pub duplicated: u64,
    /// Of those that arrived: corrupted.
    pub corrupted: u64,
    /// Of those that arrived: cut short.
    pub truncated: u64,
}

impl Fates {
    /// Adds another run's numbers.
    pub const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.cut += other.cut;
        self.burst += other.burst;
        self.lost += other.lost;
        self.astray += other.astray;
        self.raced += other.raced;
        self.duplicated += other.duplicated;
        self.corrupted += other.corrupted;
        self.truncated += other.truncated;
    }

    /// The datagrams that were exposed to the plan's loss.
    #[must_use]
    pub const fn exposed(&self) -> u64 {
        self.sent - self.cut - self.burst - self.astray
    }

    /// The share of those exposed to the plan's loss that were lost by it, in thousandths.
    #[must_use]
    pub fn loss_permille(&self) -> f64 {
        self.lost as f64 * 1000.0 / self.exposed().max(1) as f64
    }
}

/// One client's way to the broker.
struct Passage {
    address_index: u16,
    /// How many faults cut the way up, and down.
    cuts: [u32; 2],
    /// How many faults copy what the client sends.
    racers: u32,
    /// The loss of the bursts under way, in thousandths.
    bursts: Vec<u64>,
    /// How many datagrams went up, and down.
    numbers: [u64; 2],
}

/// What somebody on a client's way has recorded.
struct Recording {
    client: usize,
    from: Timestamp,
    to: Timestamp,
    datagrams: Vec<Recorded>,
}

/// A datagram that was recorded: when, and which way it went.
pub(crate) type Recorded = (Timestamp, Direction, Vec<u8>);

/// At most so many datagrams are recorded at a time.
const RECORDED_MAX: usize = 300;
/// How long after one of them the next one comes again.
pub(crate) const REPLAYED_EVERY: Duration = Duration::from_millis(1);

/// The network between all clients and the broker; after the clients' ways there are those of errands.
pub struct Net {
    seed: u64,
    rates: Rates,
    ways: Vec<Passage>,
    /// What befell the datagrams so far.
    pub fates: Fates,
    /// What the plan's replays need.
    recordings: BTreeMap<usize, Recording>,
    /// Every datagram sent, if somebody listens.
    pub captured: Option<Vec<Captured>>,
}

impl Net {
    /// The plan's network, on which nothing has been sent.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let ways = 0..plan.topology.clients.len() + errands::ways(plan);
        let ways = ways.map(|_| Passage {
            address_index: 0,
            cuts: [0; 2],
            racers: 0,
            bursts: Vec::new(),
            numbers: [0; 2],
        });
        Self {
            seed: plan.seed,
            rates: plan.rates,
            ways: ways.collect(),
            fates: Fates::default(),
            recordings: recordings(plan),
            captured: None,
        }
    }

    /// A client's present address.
    #[must_use]
    pub fn address(&self, client: usize) -> SocketAddr {
        client_address(client, self.ways[client].address_index)
    }

    /// The client that has an address.
    #[must_use]
    pub fn client_at(&self, address: SocketAddr) -> Option<usize> {
        (0..self.ways.len()).find(|client| self.address(*client) == address)
    }

    /// The client whose datagrams come from an address, now, before, or as somebody's copies.
    #[must_use]
    pub fn sender_at(&self, address: SocketAddr) -> Option<usize> {
        let is_its = |client: &usize| {
            let present = self.ways[*client].address_index;
            address == racer_address(*client)
                || (0..=present).any(|index| client_address(*client, index) == address)
        };
        (0..self.ways.len()).find(is_its)
    }

    /// Begins or ends a fault, as far as it is one of the network.
    pub fn apply(&mut self, fault: &Fault, begins: bool) {
        match *fault {
            Fault::Cut { client, way, .. } => {
                if way != Way::Down {
                    self.cut(client, Direction::Up, begins);
                }
                if way != Way::Up {
                    self.cut(client, Direction::Down, begins);
                }
            }
            Fault::Burst {
                client,
                loss_permille,
                ..
            } => self.burst(client, loss_permille, begins),
            Fault::NewAddress { client, .. } => {
                self.cut(client, Direction::Up, begins);
                self.cut(client, Direction::Down, begins);
                if !begins {
                    self.ways[client].address_index += 1;
                }
            }
            Fault::Rebind { client, .. } => {
                if begins {
                    self.ways[client].address_index += 1;
                }
            }
            Fault::Racer { client, .. } => {
                let racers = &mut self.ways[client].racers;
                *racers = if begins { *racers + 1 } else { *racers - 1 };
            }
            Fault::Die { .. }
            | Fault::Kill { .. }
            | Fault::Crash { .. }
            | Fault::RestoreBroker { .. }
            | Fault::RestoreNode { .. }
            | Fault::SlowStore { .. }
            | Fault::FailingStore { .. }
            | Fault::FullStore { .. }
            | Fault::FullJournal { .. }
            | Fault::Stop { .. }
            | Fault::WallClock { .. }
            | Fault::Drift { .. }
            | Fault::Replay { .. }
            | Fault::Revoke { .. }
            | Fault::NewLog
            | Fault::Strangers { .. } => {}
        }
    }

    /// What was recorded for the plan's fault with this index.
    pub(crate) fn take_recorded(&mut self, index: usize) -> Vec<Recorded> {
        let recording = self.recordings.remove(&index);
        recording.map_or_else(Vec::new, |recording| recording.datagrams)
    }

    /// Cuts a direction, or lifts one cut.
    fn cut(&mut self, client: usize, direction: Direction, on: bool) {
        let cuts = &mut self.ways[client].cuts[direction as usize];
        if on {
            *cuts += 1;
        } else {
            *cuts -= 1;
        }
    }

    /// Begins a burst of losses, or ends it.
    fn burst(&mut self, client: usize, loss_permille: u64, on: bool) {
        let bursts = &mut self.ways[client].bursts;
        if on {
            bursts.push(loss_permille);
        } else if let Some(index) = bursts.iter().position(|loss| *loss == loss_permille) {
            bursts.remove(index);
        }
    }

    /// Sends a datagram from or to a client. Returns what arrives, and when.
    pub fn send(
        &mut self,
        client: usize,
        direction: Direction,
        to: SocketAddr,
        bytes: &[u8],
        now: Timestamp,
    ) -> Vec<(Timestamp, Datagram)> {
        let from = match direction {
            Direction::Up => self.address(client),
            Direction::Down => broker_address(),
        };
        if let Some(captured) = &mut self.captured {
            captured.push(Captured {
                at: now,
                client,
                direction,
                datagram: Datagram {
                    from,
                    to,
                    bytes: bytes.to_vec(),
                    is_damaged: false,
                    sure_lie_of: None,
                },
            });
        }
        for recording in self.recordings.values_mut() {
            recording.hear(client, direction, bytes, now);
        }
        let way = &mut self.ways[client];
        let number = way.numbers[direction as usize];
        way.numbers[direction as usize] += 1;
        self.fates.sent += 1;
        if way.cuts[direction as usize] > 0 {
            self.fates.cut += 1;
            return Vec::new();
        }
        let mut dice = Dice::new(mix(self.seed ^ 0xb0257, mix(client as u64 * 2, number)));
        if way.bursts.iter().any(|loss| dice.chance(*loss)) {
            self.fates.burst += 1;
            return Vec::new();
        }
        let fate = fate(self.seed, client, direction, number, &self.rates);
        if fate.is_lost {
            self.fates.lost += 1;
            return Vec::new();
        }
        self.fates.duplicated += u64::from(fate.delays.len() > 1);
        self.fates.corrupted += u64::from(!fate.flips.is_empty());
        self.fates.truncated += u64::from(fate.cut_to_permille.is_some());
        let is_of_a_link = bytes.first().copied().is_some_and(is_data);
        let arrives = |(copy, delay): (usize, &Duration)| {
            // Only the first copy is damaged: a duplicate is another chance.
            let arrives = if copy == 0 {
                fate.apply(bytes)
            } else {
                bytes.to_vec()
            };
            let is_damaged = arrives != bytes && !is_of_a_link;
            let datagram = Datagram {
                from,
                to,
                bytes: arrives,
                is_damaged,
                sure_lie_of: None,
            };
            (now + *delay, datagram)
        };
        let mut all: Vec<_> = fate.delays.iter().enumerate().map(arrives).collect();
        if way.racers > 0 && direction == Direction::Up {
            self.fates.raced += 1;
            let copy = Datagram {
                from: racer_address(client),
                to,
                bytes: bytes.to_vec(),
                is_damaged: false,
                sure_lie_of: None,
            };
            all.push((now + fate.delays[0] / 2, copy));
        }
        all
    }
}

impl Recording {
    fn hear(&mut self, client: usize, direction: Direction, bytes: &[u8], now: Timestamp) {
        let is_on = client == self.client && self.from <= now && now < self.to;
        if is_on && self.datagrams.len() < RECORDED_MAX {
            self.datagrams.push((now, direction, bytes.to_vec()));
        }
    }
}

/// The recordings that a plan needs.
fn recordings(plan: &Plan) -> BTreeMap<usize, Recording> {
    let faults = plan.faults.iter().enumerate();
    let replays = faults.filter_map(|(index, (at_ms, fault))| match *fault {
        Fault::Replay {
            client,
            age_ms,
            span_ms,
        } => {
            let from_ms = at_ms.saturating_sub(age_ms);
            let recording = Recording {
                client,
                from: Timestamp::from_millis(from_ms),
                to: Timestamp::from_millis((from_ms + span_ms).min(*at_ms)),
                datagrams: Vec::new(),
            };
            Some((index, recording))
        }
        _ => None,
    });
    replays.collect()
}

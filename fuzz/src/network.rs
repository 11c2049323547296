//! A network that does as it is told: it holds what is sent until a step says what becomes of it,
//! and delivers by itself only once it has healed.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use arbitrary::{Arbitrary, Result, Unstructured};
use tertulia::time::Timestamp;
use tertulia::wire::is_data;

/// How long a datagram takes through the healed network.
const LATENCY: Duration = Duration::from_millis(20);
/// How many datagrams are under way at most before it has healed; the oldest are lost.
const FLYING_MAX: usize = 128;
/// How many of the first datagrams can come again later.
const PAST_MAX: usize = 256;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Node,
    Broker,
}

impl End {
    pub(crate) const BOTH: [Self; 2] = [Self::Node, Self::Broker];

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Node => Self::Broker,
            Self::Broker => Self::Node,
        }
    }

    /// The end that a bit names.
    pub(crate) const fn from_bit(is_set: bool) -> Self {
        if is_set { Self::Broker } else { Self::Node }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) to: End,
    /// Whether it goes from or to an address that is not the node's.
    pub(crate) is_elsewhere: bool,
    pub(crate) bytes: Vec<u8>,
    /// When it arrives, if the network has healed by then.
    at: Timestamp,
}

/// What can become of a datagram, besides arriving. `pick` says which one, modulo how many there
/// are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Drop {
        pick: u8,
    },
    Duplicate {
        pick: u8,
    },
    /// One that was sent before comes again, perhaps from another address, perhaps to its sender.
    Repeat {
        pick: u8,
        is_elsewhere: bool,
        is_reflected: bool,
    },
    Damage {
        pick: u8,
        at: u16,
        with: u8,
    },
    Cut {
        pick: u8,
        len: u16,
    },
}

impl<'a> Arbitrary<'a> for Fault {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        let pick = input.arbitrary()?;
        Ok(match kind % 5 {
            0 => Self::Drop { pick },
            1 => Self::Duplicate { pick },
            2 => Self::Repeat {
                pick,
                is_elsewhere: kind & 0x40 != 0,
                is_reflected: kind & 0x80 != 0,
            },
            3 => Self::Damage {
                pick,
                at: input.arbitrary()?,
                with: input.arbitrary()?,
            },
            _ => Self::Cut {
                pick,
                len: input.arbitrary()?,
            },
        })
    }
}

#[derive(Default)]
pub(crate) struct Network {
    flying: VecDeque<Datagram>,
    past: Vec<Datagram>,
    is_healed: bool,
    /// Every sealed packet that its end may still accept: sent to it, and not accepted yet.
    fresh: BTreeSet<(End, Vec<u8>)>,
}

impl Network {
    /// Takes what one of the ends sends.
    pub(crate) fn carry(&mut self, to: End, bytes: &[u8], is_elsewhere: bool, now: Timestamp) {
        let datagram = Datagram {
            to,
            is_elsewhere,
            bytes: bytes.to_vec(),
            at: now + LATENCY,
        };
        if is_sealed(bytes) {
            self.fresh.insert((to, bytes.to_vec()));
        }
        if self.is_healed {
            // Nobody at a wrong address passes anything on.
            if !is_elsewhere {
                self.flying.push_back(datagram);
            }
            return;
        }
        if self.past.len() < PAST_MAX {
            self.past.push(datagram.clone());
        }
        self.flying.push_back(datagram);
        if self.flying.len() > FLYING_MAX {
            self.flying.pop_front();
        }
    }

    /// Does what `fault` says. Returns the bytes that it changed, for their CRC to be put right.
    pub(crate) fn apply(&mut self, fault: Fault) -> Option<&mut Vec<u8>> {
        match fault {
            Fault::Drop { pick } => {
                self.take(pick);
                None
            }
            Fault::Duplicate { pick } => {
                let copy = self.picked(pick)?.clone();
                self.flying.push_back(copy);
                None
            }
            Fault::Repeat {
                pick,
                is_elsewhere,
                is_reflected,
            } => {
                let index = usize::from(pick).checked_rem(self.past.len())?;
                let mut copy = self.past[index].clone();
                copy.is_elsewhere |= is_elsewhere;
                if is_reflected {
                    copy.to = copy.to.other();
                }
                self.flying.push_back(copy);
                None
            }
            Fault::Damage { pick, at, with } => {
                let bytes = &mut self.picked(pick)?.bytes;
                let at = usize::from(at).checked_rem(bytes.len())?;
                bytes[at] ^= with;
                Some(bytes)
            }
            Fault::Cut { pick, len } => {
                let bytes = &mut self.picked(pick)?.bytes;
                bytes.truncate(usize::from(len).checked_rem(bytes.len())?);
                Some(bytes)
            }
        }
    }

    fn picked(&mut self, pick: u8) -> Option<&mut Datagram> {
        let index = usize::from(pick).checked_rem(self.flying.len())?;
        self.flying.get_mut(index)
    }

    /// Takes a datagram out of the network.
    pub(crate) fn take(&mut self, pick: u8) -> Option<Datagram> {
        let index = usize::from(pick).checked_rem(self.flying.len())?;
        self.flying.remove(index)
    }

    /// How many datagrams are under way.
    pub(crate) fn len(&self) -> usize {
        self.flying.len()
    }

    /// From now on everything arrives, what is under way included, save at a wrong address.
    pub(crate) fn heal(&mut self, now: Timestamp) {
        self.is_healed = true;
        self.flying
            .retain(|d| d.to == End::Broker || !d.is_elsewhere);
        for datagram in &mut self.flying {
            datagram.at = now + LATENCY;
        }
    }

    /// When the next datagram arrives by itself.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        let next = self.flying.front().filter(|_| self.is_healed);
        next.map(|datagram| datagram.at)
    }

    /// The next datagram that has arrived by itself.
    pub(crate) fn arrived(&mut self, now: Timestamp) -> Option<Datagram> {
        let is_due = self.next_at().is_some_and(|at| at <= now);
        is_due.then(|| self.flying.pop_front())?
    }

    /// Whether a sealed packet is one that `to` has been sent and has not accepted yet: all others
    /// have to be refused (KEY-2, KEY-4).
    pub(crate) fn is_fresh(&self, to: End, bytes: &[u8]) -> bool {
        self.fresh.contains(&(to, bytes.to_vec()))
    }

    /// `to` has accepted a sealed packet.
    pub(crate) fn on_accepted(&mut self, to: End, bytes: &[u8]) {
        self.fresh.remove(&(to, bytes.to_vec()));
    }
}

/// Whether these bytes are of the data class.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| is_data(*first))
}

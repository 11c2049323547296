//! The networks that addresses belong to.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::bucket::Bucket;
use crate::time::Timestamp;

/// The first bits of an address: of an IPv4 one behind a 4, of an IPv6 one behind a 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix(u8, u128);

impl Prefix {
    /// The first `ipv4_bits` or `ipv6_bits` of `address`; at least one, and no more than it has.
    pub(super) fn of(address: IpAddr, ipv4_bits: u32, ipv6_bits: u32) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(4, u128::from(address.to_bits() >> (32 - ipv4_bits))),
            IpAddr::V6(address) => Self(6, address.to_bits() >> (128 - ipv6_bits)),
        }
    }
}

/// The bits by which one subscriber is known (ADR-5, BUD-3).
const ADDRESS_BITS: (u32, u32) = (32, 64);
/// The bits by which a network is known (ADR-5, BUD-3).
const NETWORK_BITS: (u32, u32) = (24, 48);

/// A bucket for each prefix that is not full. What one holds, its owner says.
#[derive(Debug)]
pub(super) struct PrefixBuckets {
    bits: (u32, u32),
    /// How many there may be.
    len_max: usize,
    buckets: BTreeMap<Prefix, Bucket>,
    /// By when each is full, which is as good as forgotten.
    by_full: BTreeSet<(Timestamp, Prefix)>,
}

impl PrefixBuckets {
    /// One for each subscriber: an IPv4 address, a /64 of IPv6.
    pub(super) const fn of_addresses(len_max: usize) -> Self {
        Self::new(ADDRESS_BITS, len_max)
    }

    /// One for each network: an IPv4 /24, a /48 of IPv6.
    pub(super) const fn of_networks(len_max: usize) -> Self {
        Self::new(NETWORK_BITS, len_max)
    }

    const fn new(bits: (u32, u32), len_max: usize) -> Self {
        Self {
            bits,
            len_max,
            buckets: BTreeMap::new(),
            by_full: BTreeSet::new(),
        }
    }

    /// The bucket of an address.
    pub(super) fn get(&self, ip: IpAddr) -> Bucket {
        let bucket = self.buckets.get(&self.prefix(ip));
        bucket.copied().unwrap_or_default()
    }

    /// Takes `cost` out of it, also if it does not hold that much. If there are too many, the one of
    /// which least is missing makes room: who has least to wait for loses least by being forgotten.
    pub(super) fn take(&mut self, ip: IpAddr, cost: Duration, now: Timestamp) {
        let prefix = self.prefix(ip);
        let bucket = self.buckets.entry(prefix).or_default();
        self.by_full.remove(&(bucket.full_at(), prefix));
        bucket.take(cost, now);
        self.by_full.insert((bucket.full_at(), prefix));
        while let Some((full_at, prefix)) = self.by_full.first().copied()
            && (full_at <= now || self.buckets.len() > self.len_max)
        {
            self.by_full.pop_first();
            self.buckets.remove(&prefix);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.buckets.len(), self.by_full.len());
        self.buckets.len()
    }

    fn prefix(&self, ip: IpAddr) -> Prefix {
        let (ipv4, ipv6) = self.bits;
        Prefix::of(ip, ipv4, ipv6)
    }
}

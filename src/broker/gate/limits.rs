//! How many handshakes an address, and a network, may begin (ADR-5).

use core::time::Duration;
use std::net::IpAddr;

use crate::broker::prefix::PrefixBuckets;
use crate::time::Timestamp;

/// How many handshakes a second an address may begin (ADR-5).
pub const ADDRESS_RATE: u32 = 100;
/// How many at once after a quiet while (ADR-5).
pub const ADDRESS_BURST: u32 = 400;
/// How many a second a network may begin (ADR-5).
pub const NETWORK_RATE: u32 = 400;
/// How many at once after a quiet while (ADR-5).
pub const NETWORK_BURST: u32 = 1_600;
/// As how many handshakes a first contact counts (ADR-5).
pub const FIRST_CONTACT_COST: u32 = 2;
/// How many addresses, and how many networks, are remembered (ADR-5).
pub const PREFIXES_MAX: usize = 4_096;

/// What addresses and networks have left.
#[derive(Debug)]
pub(super) struct Limits {
    addresses: PrefixBuckets,
    networks: PrefixBuckets,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            addresses: PrefixBuckets::of_addresses(PREFIXES_MAX),
            networks: PrefixBuckets::of_networks(PREFIXES_MAX),
        }
    }
}

/// How long handshakes take to come, where so many come in a second.
const fn time_of(handshakes: u32, rate: u32) -> Duration {
    Duration::from_nanos(handshakes as u64 * 1_000_000_000 / rate as u64)
}

impl Limits {
    /// Whether one more handshake may begin from there.
    pub(super) fn allow(&self, ip: IpAddr, is_first_contact: bool, now: Timestamp) -> bool {
        let cost = cost(is_first_contact);
        let address = (
            time_of(cost, ADDRESS_RATE),
            time_of(ADDRESS_BURST, ADDRESS_RATE),
        );
        let network = (
            time_of(cost, NETWORK_RATE),
            time_of(NETWORK_BURST, NETWORK_RATE),
        );
        self.addresses.get(ip).holds(address.0, address.1, now)
            && self.networks.get(ip).holds(network.0, network.1, now)
    }

    /// Counts one, also where there is nothing left.
    pub(super) fn charge(&mut self, ip: IpAddr, is_first_contact: bool, now: Timestamp) {
        let cost = cost(is_first_contact);
        self.addresses.take(ip, time_of(cost, ADDRESS_RATE), now);
        self.networks.take(ip, time_of(cost, NETWORK_RATE), now);
    }
}

const fn cost(is_first_contact: bool) -> u32 {
    match is_first_contact {
        true => FIRST_CONTACT_COST,
        false => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(5_000);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of so many at once may begin.
    fn begun(limits: &mut Limits, from: &str, is_first_contact: bool, tries: u32) -> u32 {
        let begins = |_: &u32| {
            let is_allowed = limits.allow(ip(from), is_first_contact, START);
            if is_allowed {
                limits.charge(ip(from), is_first_contact, START);
            }
            is_allowed
        };
        (0..tries).filter(begins).count() as u32
    }

    /// ADR-5.
    #[test]
    fn an_address_begins_a_burst_and_then_so_many_a_second() {
        let mut limits = Limits::default();
        let burst = begun(&mut limits, "192.0.2.7", false, 2_000);
        assert_eq!(burst, ADDRESS_BURST);
        let mut later = 0;
        for step in 1..=1_000 {
            let now = START + Duration::from_millis(10 * step);
            if limits.allow(ip("192.0.2.7"), false, now) {
                limits.charge(ip("192.0.2.7"), false, now);
                later += 1;
            }
        }
        assert_eq!(later, 10 * ADDRESS_RATE);
    }

    /// ADR-5: a first contact is dearer.
    #[test]
    fn first_contacts_count_twice() {
        let mut limits = Limits::default();
        let first = begun(&mut limits, "2001:db8::1", true, 2_000);
        assert_eq!(first, ADDRESS_BURST / FIRST_CONTACT_COST);
        // A subscriber of IPv6 has a network of addresses.
        assert_eq!(begun(&mut limits, "2001:db8::2", false, 10), 0);
        assert_eq!(begun(&mut limits, "2001:db8:0:1::2", false, 10), 10);
    }

    /// ADR-5.
    #[test]
    fn a_network_has_a_limit_too() {
        for network in ["192.0.2.", "2001:db8:7:"] {
            let mut limits = Limits::default();
            let mut total = 0;
            for host in 1..=9 {
                let from = match network.contains('.') {
                    true => format!("{network}{host}"),
                    false => format!("{network}{host}::1"),
                };
                total += begun(&mut limits, &from, false, 2_000);
            }
            assert_eq!(total, NETWORK_BURST, "{network}");
            assert_eq!(begun(&mut limits, "198.51.100.1", false, 10), 10);
        }
    }

    /// ADR-5: nothing grows, and who has used most is not the one who is forgotten.
    #[test]
    fn only_so_many_are_remembered() {
        let mut limits = Limits::default();
        assert_eq!(begun(&mut limits, "192.0.2.7", false, 2_000), ADDRESS_BURST);
        for network in 0..3 * PREFIXES_MAX as u32 {
            limits.charge(
                IpAddr::V4((0x0a00_0001 + (network << 8)).into()),
                false,
                START,
            );
        }
        for table in [&limits.addresses, &limits.networks] {
            assert_eq!(table.len(), PREFIXES_MAX);
        }
        assert!(!limits.allow(ip("192.0.2.7"), false, START));
        // What is full again is not kept.
        limits.charge(ip("192.0.2.9"), false, START + Duration::from_secs(60));
        assert_eq!(limits.addresses.len(), 1);
        assert_eq!(limits.networks.len(), 1);
    }
}

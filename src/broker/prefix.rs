//! The networks that addresses belong to.

use std::net::IpAddr;

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

//! What links have learnt of the paths that they were on, for those that come next (LAD-9).
//!
//! Who sits behind a lossy access sits there with others, and comes back: the first lines of a new
//! link are not to pay for what an earlier one has found out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::prefix::Prefix;
use crate::link::LossEstimate;

/// How many prefixes are remembered (LAD-9).
const PREFIXES_MAX: usize = 1_024;

/// The bits of an address that its network is known by (LAD-9).
const IPV4_BITS: u32 = 24;
const IPV6_BITS: u32 = 56;

/// What is known of each prefix.
#[derive(Debug, Default)]
pub(super) struct Losses {
    known: BTreeMap<Prefix, (u64, LossEstimate)>,
    /// By when each was used last.
    ages: BTreeSet<(u64, Prefix)>,
    uses: u64,
}

impl Losses {
    /// A link from `address` has ended, and has found out so much.
    pub(super) fn learn(&mut self, address: IpAddr, loss: LossEstimate) {
        if loss == LossEstimate::default() {
            return;
        }
        let prefix = prefix(address);
        let loss = match self.known.get(&prefix) {
            Some((_, before)) => before.mixed(loss),
            None => loss.as_prior(),
        };
        self.touch(prefix, loss);
        if self.known.len() > PREFIXES_MAX
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.known.remove(&oldest);
        }
    }

    /// What a link from `address` may begin with.
    pub(super) fn recall(&mut self, address: IpAddr) -> Option<LossEstimate> {
        let prefix = prefix(address);
        let (_, loss) = *self.known.get(&prefix)?;
        self.touch(prefix, loss);
        Some(loss)
    }

    fn touch(&mut self, prefix: Prefix, loss: LossEstimate) {
        self.uses += 1;
        if let Some((age, _)) = self.known.insert(prefix, (self.uses, loss)) {
            self.ages.remove(&(age, prefix));
        }
        self.ages.insert((self.uses, prefix));
    }
}

fn prefix(address: IpAddr) -> Prefix {
    Prefix::of(address, IPV4_BITS, IPV6_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// LAD-9.
    #[test]
    fn a_network_is_known_by_its_prefix() {
        let mut losses = Losses::default();
        let clean = LossEstimate::none();
        losses.learn(address("192.0.2.7"), clean);
        losses.learn(address("2001:db8:0:1200::1"), clean);
        for (other, is_known) in [
            ("192.0.2.200", true),
            ("::ffff:192.0.2.200", true),
            ("192.0.3.7", false),
            ("2001:db8:0:12ff::9", true),
            ("2001:db8:0:1300::1", false),
        ] {
            let recalled = losses.recall(address(other));
            assert_eq!(recalled.is_some(), is_known, "{other}");
        }
    }

    /// LAD-9: half of what was known, half of what is new; and nothing from who knows nothing.
    #[test]
    fn links_of_one_prefix_learn_from_each_other() {
        let mut losses = Losses::default();
        let here = address("192.0.2.7");
        losses.learn(here, LossEstimate::default());
        assert_eq!(losses.recall(here), None);
        losses.learn(here, LossEstimate::none());
        losses.learn(here, LossEstimate::none().mixed(LossEstimate::default()));
        let quarter = LossEstimate::default().per_million() / 4;
        let known = losses.recall(here).unwrap().per_million();
        assert!(known.abs_diff(quarter) < 10, "{known}");
    }

    /// LAD-9.
    #[test]
    fn the_least_recently_used_prefix_makes_place() {
        let mut losses = Losses::default();
        let number = |n: u32| IpAddr::V4((n << 8).into());
        for n in 0..PREFIXES_MAX as u32 {
            losses.learn(number(n), LossEstimate::none());
        }
        assert!(losses.recall(number(0)).is_some());
        losses.learn(number(5_000), LossEstimate::none());
        assert_eq!(losses.known.len(), PREFIXES_MAX);
        assert_eq!(losses.ages.len(), PREFIXES_MAX);
        assert!(losses.recall(number(0)).is_some());
        assert!(losses.recall(number(1)).is_none());
    }
}

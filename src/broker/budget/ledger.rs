//! Who has used how much.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Allowance, over};
use crate::broker::prefix::PrefixBuckets;
use crate::bucket::Bucket;
use crate::chat::{Budget, Refusal};
use crate::secure::AccountKey;
use crate::time::Timestamp;

/// Of how many accounts is remembered what they have used (BUD-7, LIM-20).
pub const ACCOUNTS_REMEMBERED_MAX: usize = 65_536;
/// Of how many addresses, and of how many networks (BUD-7).
pub const NETWORKS_REMEMBERED_MAX: usize = 4_096;

/// What is missing in the buckets of accounts and networks.
#[derive(Debug)]
pub(in crate::broker) struct Ledger {
    accounts: BTreeMap<AccountKey, Account>,
    addresses: PrefixBuckets,
    networks: PrefixBuckets,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    changes: Bucket,
    lines: Bucket,
    bytes: Bucket,
    history: Bucket,
}

impl Account {
    /// When nothing of it is worth remembering.
    fn full_at(&self) -> Timestamp {
        let Self {
            changes,
            lines,
            bytes,
            history,
        } = self;
        let all = [changes, lines, bytes, history];
        all.map(|bucket| bucket.full_at())
            .into_iter()
            .max()
            .unwrap_or_default()
    }

    const fn bucket_mut(&mut self, budget: Budget) -> Option<&mut Bucket> {
        match budget {
            Budget::Changes => Some(&mut self.changes),
            Budget::Lines => Some(&mut self.lines),
            Budget::Bytes => Some(&mut self.bytes),
            Budget::History => Some(&mut self.history),
            // A network's, and everybody's.
            Budget::Registrations | Budget::Memory => None,
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            addresses: PrefixBuckets::of_addresses(NETWORKS_REMEMBERED_MAX),
            networks: PrefixBuckets::of_networks(NETWORKS_REMEMBERED_MAX),
        }
    }
}

impl Ledger {
    /// Of how many accounts anything is remembered.
    pub(in crate::broker) fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Why the account has to wait, if it has to.
    pub(in crate::broker) fn refuses(
        &self,
        account: &AccountKey,
        budget: Budget,
        allowance: Allowance,
        now: Timestamp,
    ) -> Option<Refusal> {
        let mut used = *self.accounts.get(account)?;
        let wait = allowance.wait(*used.bucket_mut(budget)?, now)?;
        Some(over(budget, wait))
    }

    /// The account has used so much.
    pub(in crate::broker) fn charge(
        &mut self,
        account: AccountKey,
        budget: Budget,
        allowance: Allowance,
        units: u64,
        now: Timestamp,
    ) {
        if self.accounts.len() >= ACCOUNTS_REMEMBERED_MAX && !self.accounts.contains_key(&account) {
            self.make_room(now);
        }
        let used = self.accounts.entry(account).or_default();
        if let Some(bucket) = used.bucket_mut(budget) {
            bucket.take(allowance.time_of(units), now);
        }
    }

    /// BUD-7: forgets those whose buckets are full, and of the others, until an eighth is free, those
    /// that will be full first: they lose least by being forgotten.
    fn make_room(&mut self, now: Timestamp) {
        self.accounts.retain(|_, used| used.full_at() > now);
        let excess = self
            .accounts
            .len()
            .saturating_sub(ACCOUNTS_REMEMBERED_MAX / 8 * 7);
        if excess == 0 {
            return;
        }
        let mut ends: Vec<_> = self
            .accounts
            .iter()
            .map(|(key, used)| (used.full_at(), *key))
            .collect();
        ends.select_nth_unstable(excess - 1);
        for (_, account) in &ends[..excess] {
            self.accounts.remove(account);
        }
    }

    // ---- registrations

    /// Why nobody may come in from there now who is not known, if so (BUD-3).
    pub(in crate::broker) fn refuses_newcomer(
        &self,
        ip: IpAddr,
        allowance: Allowance,
        now: Timestamp,
    ) -> Option<Refusal> {
        let address = allowance.wait(self.addresses.get(ip), now);
        let network = allowance.times_four().wait(self.networks.get(ip), now);
        address
            .max(network)
            .map(|wait| over(Budget::Registrations, wait))
    }

    /// Somebody has come in from there who was not known.
    pub(in crate::broker) fn charge_newcomer(
        &mut self,
        ip: IpAddr,
        allowance: Allowance,
        now: Timestamp,
    ) {
        self.addresses.take(ip, allowance.time_of(1), now);
        self.networks
            .take(ip, allowance.times_four().time_of(1), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const START: Timestamp = Timestamp::from_millis(9_000);
    const FEW: Allowance = Allowance::per_second(1, 10);

    fn account(number: u32) -> AccountKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        AccountKey(key)
    }

    fn lines(ledger: &mut Ledger, number: u32, count: u64, now: Timestamp) {
        ledger.charge(account(number), Budget::Lines, FEW, count, now);
    }

    /// BUD-7, LIM-20: nothing grows, and who has used most is remembered longest.
    #[test]
    fn only_so_many_accounts_are_remembered_and_not_those_that_used_least() {
        let mut ledger = Ledger::default();
        let refuses = |ledger: &Ledger, number| {
            ledger
                .refuses(&account(number), Budget::Lines, FEW, START)
                .is_some()
        };
        lines(&mut ledger, 0, 500, START);
        for number in 1..=3 * ACCOUNTS_REMEMBERED_MAX as u32 {
            lines(&mut ledger, number, 11, START);
            assert!(ledger.accounts.len() <= ACCOUNTS_REMEMBERED_MAX);
            if number % 10_000 == 0 {
                assert!(refuses(&ledger, 0) && refuses(&ledger, number));
            }
        }
        // What is full again makes room for all.
        let later = START + Duration::from_secs(1_000);
        for number in 0..ACCOUNTS_REMEMBERED_MAX as u32 {
            lines(&mut ledger, number, 1, later);
        }
        assert_eq!(ledger.accounts.len(), ACCOUNTS_REMEMBERED_MAX);
    }

    /// BUD-1: what is used of one budget is not missing in another, nor for somebody else.
    #[test]
    fn budgets_are_apart() {
        let mut ledger = Ledger::default();
        lines(&mut ledger, 1, 10, START);
        let refused = |number, budget| ledger.refuses(&account(number), budget, FEW, START);
        assert!(refused(1, Budget::Lines).is_some());
        for budget in [Budget::Bytes, Budget::Changes, Budget::History] {
            assert_eq!(refused(1, budget), None);
        }
        assert_eq!(refused(2, Budget::Lines), None);
    }

    /// BUD-3.
    #[test]
    fn a_network_has_four_times_what_an_address_has() {
        for (network, other) in [
            ("192.0.2.", "198.51.100.1"),
            ("2001:db8:7:", "2001:db8:8::1"),
        ] {
            let mut ledger = Ledger::default();
            let mut total = 0;
            for host in 1..=6 {
                let text = match network.contains('.') {
                    true => format!("{network}{host}"),
                    false => format!("{network}{host}::1"),
                };
                let ip: IpAddr = text.parse().unwrap();
                let mut here = 0;
                while ledger.refuses_newcomer(ip, FEW, START).is_none() {
                    ledger.charge_newcomer(ip, FEW, START);
                    here += 1;
                }
                assert_eq!(here, if host <= 4 { 10 } else { 0 }, "{ip}");
                total += here;
            }
            assert_eq!(total, 40);
            let elsewhere = other.parse().unwrap();
            assert_eq!(ledger.refuses_newcomer(elsewhere, FEW, START), None);
        }
    }
}

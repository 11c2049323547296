//! The devices of accounts.

use std::collections::BTreeMap;

use crate::broker::{DeviceRow, StorageOutcome};
use crate::chat::{DEVICES_MAX, Refusal};
use crate::secure::{AccountKey, DeviceKey};

/// By account and device.
#[derive(Clone, Debug, Default)]
pub(super) struct Devices(BTreeMap<AccountKey, BTreeMap<DeviceKey, DeviceRow>>);

impl Devices {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// How many devices of the account are kept.
    pub(super) fn count(&self, account: AccountKey) -> usize {
        self.0.get(&account).map_or(0, BTreeMap::len)
    }

    /// Whether the device may speak for the account, as far as is known.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn check(&self, account: AccountKey, device: DeviceKey) -> Result<(), Refusal> {
        match self.row(account, device) {
            Some(row) if row.revoked_at_ms.is_some() => Err(Refusal::DeviceRevoked),
            _ => Ok(()),
        }
    }

    /// The same of one that has spoken for it before.
    fn check_known(&self, account: AccountKey, device: DeviceKey) -> Result<(), Refusal> {
        self.check(account, device)?;
        let known = self.row(account, device);
        known.map(|_| ()).ok_or(Refusal::NotAdmitted)
    }

    fn row(&self, account: AccountKey, device: DeviceKey) -> Option<&DeviceRow> {
        self.0.get(&account)?.get(&device)
    }

    /// The device has signed in, or was linked. `check` has let it.
    ///
    /// # Errors
    ///
    /// Why it is not kept.
    pub(super) fn note(
        &mut self,
        account: AccountKey,
        device: DeviceKey,
        is_linked: bool,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let row = self.place(account, device, now_ms)?;
        row.is_linked |= is_linked;
        row.last_seen_ms = now_ms;
        Ok(())
    }

    pub(super) fn list(&self, account: AccountKey, device: DeviceKey) -> StorageOutcome {
        if let Err(refusal) = self.check_known(account, device) {
            return StorageOutcome::NotAllowed(refusal);
        }
        let rows = self.0.get(&account).into_iter().flat_map(BTreeMap::values);
        let mut rows: Vec<DeviceRow> = rows.copied().collect();
        rows.sort_by_key(|row| (row.first_seen_ms, row.device));
        StorageOutcome::Devices(rows)
    }

    pub(super) fn link(
        &mut self,
        account: AccountKey,
        by: DeviceKey,
        device: DeviceKey,
        now_ms: u64,
    ) -> StorageOutcome {
        let linked = self
            .check_known(account, by)
            .and_then(|()| self.check(account, device))
            .and_then(|()| self.note(account, device, true, now_ms));
        match linked {
            Ok(()) => StorageOutcome::DeviceLinked,
            Err(refusal) => StorageOutcome::NotAllowed(refusal),
        }
    }

    /// DEV-8
    pub(super) fn revoke(
        &mut self,
        account: AccountKey,
        device: DeviceKey,
        now_ms: u64,
    ) -> StorageOutcome {
        // Nobody is kept who never came in.
        if !self.0.contains_key(&account) {
            return StorageOutcome::NotAllowed(Refusal::NotAdmitted);
        }
        match self.place(account, device, now_ms) {
            Ok(row) => {
                row.revoked_at_ms.get_or_insert(now_ms);
                StorageOutcome::DeviceRevoked
            }
            Err(refusal) => StorageOutcome::NotAllowed(refusal),
        }
    }

    /// The device's row, which is made if there is none; another makes place if need be (LIM-15).
    fn place(
        &mut self,
        account: AccountKey,
        device: DeviceKey,
        now_ms: u64,
    ) -> Result<&mut DeviceRow, Refusal> {
        let rows = self.0.entry(account).or_default();
        if !rows.contains_key(&device) && rows.len() >= DEVICES_MAX {
            let lasting = rows.values().filter(|row| row.revoked_at_ms.is_none());
            let oldest = lasting.min_by_key(|row| (row.last_seen_ms, row.device));
            let oldest = oldest.map(|row| row.device);
            rows.remove(&oldest.ok_or(Refusal::TooManyDevices)?);
        }
        Ok(rows.entry(device).or_insert(DeviceRow {
            device,
            is_linked: false,
            first_seen_ms: now_ms,
            last_seen_ms: now_ms,
            revoked_at_ms: None,
        }))
    }
}

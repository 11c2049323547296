//! The devices of accounts (SPEC.md section 9.8).

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use super::moderation::account_of;
use super::rows::{number, sql};
use super::schema;
use crate::broker::{DeviceRow, StorageOp, StorageOutcome};
use crate::chat::{DEVICES_MAX, Name, Refusal};
use crate::secure::{AccountKey, DeviceKey};
use crate::store::sqlite::{self, Result};

type Allowed = core::result::Result<(), Refusal>;

/// Does what is asked about devices.
pub(super) fn apply(connection: &Connection, op: StorageOp) -> Result<StorageOutcome> {
    match op {
        StorageOp::Devices { account, device } => list(connection, account, device),
        StorageOp::LinkDevice {
            account,
            by,
            device,
            now_ms,
        } => {
            for allowed in [
                check_known(connection, account, by)?,
                check(connection, account, device)?,
            ] {
                if let Err(refusal) = allowed {
                    return Ok(StorageOutcome::NotAllowed(refusal));
                }
            }
            let noted = note(connection, account, device, true, now_ms)?;
            Ok(noted.map_or_else(StorageOutcome::NotAllowed, |()| {
                StorageOutcome::DeviceLinked
            }))
        }
        StorageOp::RevokeDevice {
            account,
            device,
            now_ms,
        } => {
            let revoked = revoke(connection, account, device, now_ms)?;
            Ok(revoked.map_or_else(StorageOutcome::NotAllowed, |()| {
                StorageOutcome::DeviceRevoked
            }))
        }
        _ => Ok(StorageOutcome::Failed),
    }
}

/// Whether the device may speak for the account, as far as is known.
pub(super) fn check(
    connection: &Connection,
    account: AccountKey,
    device: DeviceKey,
) -> Result<Allowed> {
    let revoked = is_revoked(connection, account, device)?;
    Ok(if revoked == Some(true) {
        Err(Refusal::DeviceRevoked)
    } else {
        Ok(())
    })
}

/// The same of one that has spoken for it before.
fn check_known(connection: &Connection, account: AccountKey, device: DeviceKey) -> Result<Allowed> {
    Ok(match is_revoked(connection, account, device)? {
        Some(true) => Err(Refusal::DeviceRevoked),
        Some(false) => Ok(()),
        None => Err(Refusal::NotAdmitted),
    })
}

/// `None` if the device is not known.
fn is_revoked(
    connection: &Connection,
    account: AccountKey,
    device: DeviceKey,
) -> Result<Option<bool>> {
    let mut query = connection.prepare_cached(
        "SELECT revoked_at IS NOT NULL FROM account_devices WHERE account = ?1 AND device = ?2",
    )?;
    let row = query.query_row((account.as_bytes(), device.as_bytes()), |row| row.get(0));
    Ok(row.optional()?)
}

/// The device has signed in, or was linked. [`check`] has let it.
pub(super) fn note(
    connection: &Connection,
    account: AccountKey,
    device: DeviceKey,
    is_linked: bool,
    now_ms: u64,
) -> Result<Allowed> {
    if let Err(refusal) = make_place(connection, account, device)? {
        return Ok(Err(refusal));
    }
    let mut upsert = connection.prepare_cached(
        "INSERT INTO account_devices (account, device, is_linked, first_seen, last_seen)
         VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT DO UPDATE SET is_linked = is_linked | ?3, last_seen = ?4",
    )?;
    upsert.execute((
        account.as_bytes(),
        device.as_bytes(),
        is_linked,
        sql(now_ms),
    ))?;
    Ok(Ok(()))
}

fn list(connection: &Connection, account: AccountKey, device: DeviceKey) -> Result<StorageOutcome> {
    if let Err(refusal) = check_known(connection, account, device)? {
        return Ok(StorageOutcome::NotAllowed(refusal));
    }
    rows(connection, account).map(StorageOutcome::Devices)
}

/// All devices of an account, in the order in which the broker learned of them.
fn rows(connection: &Connection, account: AccountKey) -> Result<Vec<DeviceRow>> {
    let mut query = connection.prepare_cached(
        "SELECT device, is_linked, first_seen, last_seen, revoked_at FROM account_devices
         WHERE account = ?1 ORDER BY first_seen, device",
    )?;
    let rows = query.query_map((account.as_bytes(),), |row| {
        Ok(DeviceRow {
            device: DeviceKey(row.get(0)?),
            is_linked: row.get(1)?,
            first_seen_ms: number(row, 2)?,
            last_seen_ms: number(row, 3)?,
            revoked_at_ms: row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// DEV-8
fn revoke(
    connection: &Connection,
    account: AccountKey,
    device: DeviceKey,
    now_ms: u64,
) -> Result<Allowed> {
    // Nobody is kept who never came in.
    if count(connection, account)? == 0 {
        return Ok(Err(Refusal::NotAdmitted));
    }
    if let Err(refusal) = make_place(connection, account, device)? {
        return Ok(Err(refusal));
    }
    let mut upsert = connection.prepare_cached(
        "INSERT INTO account_devices (account, device, is_linked, first_seen, last_seen, revoked_at)
         VALUES (?1, ?2, 0, ?3, ?3, ?3)
         ON CONFLICT DO UPDATE SET revoked_at = coalesce(revoked_at, ?3)",
    )?;
    upsert.execute((account.as_bytes(), device.as_bytes(), sql(now_ms)))?;
    Ok(Ok(()))
}

/// Sees to it that there is a place for the device, which it may have already (LIM-15).
fn make_place(connection: &Connection, account: AccountKey, device: DeviceKey) -> Result<Allowed> {
    if is_revoked(connection, account, device)?.is_some() {
        return Ok(Ok(()));
    }
    if count(connection, account)? < DEVICES_MAX as u64 {
        return Ok(Ok(()));
    }
    let mut forget = connection.prepare_cached(
        "DELETE FROM account_devices WHERE account = ?1 AND device = (
             SELECT device FROM account_devices WHERE account = ?1 AND revoked_at IS NULL
             ORDER BY last_seen, device LIMIT 1)",
    )?;
    Ok(match forget.execute((account.as_bytes(),))? {
        0 => Err(Refusal::TooManyDevices),
        _ => Ok(()),
    })
}

fn count(connection: &Connection, account: AccountKey) -> Result<u64> {
    let mut query =
        connection.prepare_cached("SELECT count(*) FROM account_devices WHERE account = ?1")?;
    Ok(query.query_row((account.as_bytes(),), |row| number(row, 0))?)
}

/// The devices of a broker's accounts, for its host; the broker may be running.
#[derive(Debug)]
pub struct DeviceDesk {
    connection: Connection,
}

impl DeviceDesk {
    /// Opens the log at `path`, which a broker may be using.
    ///
    /// # Errors
    ///
    /// As [`sqlite::open`].
    pub fn open(path: &Path) -> Result<Self> {
        let connection = sqlite::open(path, &schema::SCHEMA)?;
        Ok(Self { connection })
    }

    /// The account that has this name, if one has, and its devices.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn list(&self, name: &Name) -> Result<Option<(AccountKey, Vec<DeviceRow>)>> {
        let Some(account) = account_of(&self.connection, name)? else {
            return Ok(None);
        };
        Ok(Some((account, rows(&self.connection, account)?)))
    }

    /// Lets a device speak for its account no more (DEV-8).
    ///
    /// # Errors
    ///
    /// If the log cannot be written to; within, why not.
    pub fn revoke(
        &mut self,
        account: AccountKey,
        device: DeviceKey,
        now_ms: u64,
    ) -> Result<core::result::Result<(), Refusal>> {
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let revoked = revoke(&transaction, account, device, now_ms)?;
        transaction.commit()?;
        Ok(revoked)
    }

    /// Which devices were revoked since then, in milliseconds of Unix time.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn revoked_since(&self, at_ms: u64) -> Result<Vec<(AccountKey, DeviceKey)>> {
        let mut query = self
            .connection
            .prepare_cached("SELECT account, device FROM account_devices WHERE revoked_at >= ?1")?;
        let rows = query.query_map((sql(at_ms),), |row| {
            Ok((AccountKey(row.get(0)?), DeviceKey(row.get(1)?)))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

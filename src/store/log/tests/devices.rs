//! Devices of an account: both stores, and a log from before.

use super::*;
use crate::broker::{DeviceRow, Entrance, MemoryStore};
use crate::chat::{DEVICES_MAX, Refusal};

fn sign_in(device: u16, now_ms: u64) -> StorageOp {
    let (account, _, name) = who(1);
    StorageOp::Register {
        account,
        device: key(device),
        name,
        entrance: Entrance::Open,
        now_ms,
    }
}

fn revoke(device: u16) -> StorageOp {
    StorageOp::RevokeDevice {
        account: who(1).0,
        device: key(device),
        now_ms: 7_000,
    }
}

fn list(device: u16) -> StorageOp {
    StorageOp::Devices {
        account: who(1).0,
        device: key(device),
    }
}

fn key(number: u16) -> DeviceKey {
    let mut key = DeviceKey([0; 32]);
    key.0[..2].copy_from_slice(&number.to_be_bytes());
    key
}

/// LIM-15: who was seen the longest ago makes place, and who is revoked never does.
#[test]
fn an_account_has_so_many_devices_and_none_is_forgotten_that_was_revoked() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    let mut reference = MemoryStore::new(LOG);
    let mut both = |op: StorageOp| {
        let request = StorageRequest {
            id: 0,
            op: op.clone(),
        };
        let expected = reference.handle(request).outcome;
        assert_eq!(disk.ask_one(&mut store, op), expected);
        expected
    };
    let most = u16::try_from(DEVICES_MAX).unwrap();
    for device in 0..most {
        both(sign_in(device, 1_000 + u64::from(device)));
    }
    both(revoke(0));
    both(sign_in(most, 5_000));
    let StorageOutcome::Devices(rows) = both(list(most)) else {
        panic!("devices are listed");
    };
    let devices: Vec<DeviceKey> = rows.iter().map(|row| row.device).collect();
    let expected: Vec<DeviceKey> = (0..=most).filter(|n| *n != 1).map(key).collect();
    assert_eq!(devices, expected, "the one with number 1 made place");

    for device in 0..=most {
        both(revoke(device));
    }
    let refused = StorageOutcome::NotRegistered(Refusal::TooManyDevices);
    assert_eq!(both(sign_in(most + 1, 9_000)), refused);
    let revoked = StorageOutcome::NotRegistered(Refusal::DeviceRevoked);
    assert_eq!(both(sign_in(0, 9_000)), revoked);
    disk.close(store, running);
}

/// DEV-7, STO-2: of a log from before devices were kept, those are known that have left lines.
#[test]
fn devices_of_a_log_from_before_are_found_in_its_lines() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    let (account, device, name) = who(1);
    let register = StorageOp::Register {
        account,
        device,
        name,
        entrance: Entrance::Open,
        now_ms: 40,
    };
    disk.ask(&mut store, vec![register, enter(1), publish(1, 1, "hi")]);
    disk.close(store, running);
    let before = rusqlite::Connection::open(disk.path()).unwrap();
    before
        .execute_batch("DROP TABLE account_devices; PRAGMA user_version = 5;")
        .unwrap();
    drop(before);
    let (mut store, running) = disk.open();
    let listed = disk.ask_one(&mut store, StorageOp::Devices { account, device });
    let row = DeviceRow {
        device,
        is_linked: false,
        first_seen_ms: 50,
        last_seen_ms: 60,
        revoked_at_ms: None,
    };
    assert_eq!(listed, StorageOutcome::Devices(vec![row]));
    disk.close(store, running);
}

//! Names that look like others (SGN-8).

use super::*;
use crate::broker::Entrance;
use crate::chat::Refusal;
use crate::store::log::schema::SCHEMA;
use crate::store::sqlite::{self, Schema};

fn register(byte: u8, name: &str) -> StorageOp {
    StorageOp::Register {
        account: AccountKey([byte; 32]),
        device: DeviceKey([byte; 32]),
        name: Name::new(name).unwrap(),
        entrance: Entrance::Open,
        now_ms: 0,
    }
}

/// SGN-8, RUM-1: people and rooms are compared among themselves, whatever was closed in between.
#[test]
fn a_name_that_looks_like_another_is_refused() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    let ace = |is_new| StorageOutcome::Registered {
        name: Name::new("Ace").unwrap(),
        is_new,
    };
    assert_eq!(disk.ask_one(&mut store, register(1, "Ace")), ace(true));
    let entered = disk.ask_one(&mut store, enter_room("ops"));
    assert!(matches!(entered, StorageOutcome::Entered(_)));
    disk.close(store, running);

    let (mut store, running) = disk.open();
    let mut ask = |op| disk.ask_one(&mut store, op);
    let alike = StorageOutcome::NotRegistered(Refusal::NameAlike);
    assert_eq!(ask(register(2, "асе")), alike);
    let taken = StorageOutcome::NotRegistered(Refusal::NameTaken);
    assert_eq!(ask(register(2, "ACE")), taken);
    assert_eq!(ask(register(1, "ace")), ace(false));
    let no_room = StorageOutcome::NotEntered(Refusal::NameAlike);
    assert_eq!(ask(enter_room("орѕ")), no_room);
    assert!(matches!(ask(enter_room("OPS")), StorageOutcome::Entered(_)));
    assert!(matches!(ask(enter_room("ace")), StorageOutcome::Entered(_)));
    disk.close(store, running);
    assert_eq!(check(&disk.path()).unwrap().faults, [""; 0]);
}

/// STO-2, SGN-8: names of older rules stay, and what looks like them is refused from now on.
#[test]
fn the_names_of_an_older_log_are_kept_and_compared() {
    let disk = Disk::new();
    let older = Schema {
        migrations: &SCHEMA.migrations[..2],
        ..SCHEMA
    };
    let old = sqlite::open(&disk.path(), &older).unwrap();
    old.execute_batch(
        "INSERT INTO accounts (account, name, folded) VALUES
             (x'0101010101010101010101010101010101010101010101010101010101010101', 'ace', 'ace'),
             (x'0202020202020202020202020202020202020202020202020202020202020202', 'асе', 'асе'),
             (x'0303030303030303030303030303030303030303030303030303030303030303', 'pаl', 'pаl');",
    )
    .unwrap();
    drop(old);
    let (mut store, running) = disk.open();
    let ask_again = |store: &mut SqliteStore, byte, name| {
        let name = Name::recorded(name).unwrap();
        let op = StorageOp::Register {
            account: AccountKey([byte; 32]),
            device: DeviceKey([byte; 32]),
            name: name.clone(),
            entrance: Entrance::Open,
            now_ms: 0,
        };
        let is_new = false;
        let known = StorageOutcome::Registered { name, is_new };
        assert_eq!(disk.ask_one(store, op), known);
    };
    ask_again(&mut store, 1, "ace");
    ask_again(&mut store, 2, "асе");
    ask_again(&mut store, 3, "pаl");
    let alike = StorageOutcome::NotRegistered(Refusal::NameAlike);
    assert_eq!(disk.ask_one(&mut store, register(4, "pal")), alike);
    disk.close(store, running);
}

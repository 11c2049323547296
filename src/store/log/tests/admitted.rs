//! Invites and orders, which others leave beside the store.

use super::*;
use crate::broker::{INVITES_MAX, MemoryStore};
use crate::chat::{Decision, InviteMark, InviteTerms, OPERATOR, Refusal};

fn invite(number: u64) -> StorageOp {
    let mut mark = InviteMark([0; 32]);
    mark.0[..8].copy_from_slice(&number.to_be_bytes());
    StorageOp::Invite {
        by: None,
        mark,
        terms: InviteTerms::default(),
        room: room("lobby"),
        now_ms: 50,
    }
}

/// LIM-14: one that is called back makes place.
#[test]
fn there_are_no_more_invites_than_so_many() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    let others = rusqlite::Connection::open(disk.path()).unwrap();
    let many = "INSERT INTO invites (mark, room, made_at)
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                SELECT CAST(i AS BLOB), 'lobby', 7 FROM n";
    others.execute(many, (INVITES_MAX.cast_signed(),)).unwrap();
    let mut reference = MemoryStore::new(LOG);
    for id in 0..INVITES_MAX {
        let op = invite(id);
        let made = reference.handle(StorageRequest { id, op }).outcome;
        assert_eq!(made, StorageOutcome::Invited(id + 1));
    }
    let full = StorageOutcome::NotInvited(Refusal::RetryLater);
    let expected = [
        (invite(INVITES_MAX), full),
        (
            StorageOp::Revoke { invite: 9 },
            StorageOutcome::Revoked(true),
        ),
        (
            invite(INVITES_MAX),
            StorageOutcome::Invited(INVITES_MAX + 1),
        ),
    ];
    for (op, outcome) in expected {
        let request = StorageRequest {
            id: 0,
            op: op.clone(),
        };
        assert_eq!(reference.handle(request).outcome, outcome);
        assert_eq!(disk.ask_one(&mut store, op), outcome);
    }
    disk.close(store, running);
}

/// ROL-6: an order is carried out once, however often the broker is told of it.
#[test]
fn an_order_is_carried_out_once_and_its_outcome_is_kept() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    for byte in [1, 2] {
        let (account, device, name) = who(byte);
        let register = StorageOp::Register {
            account,
            device,
            name,
            entrance: crate::broker::Entrance::Open,
            now_ms: 0,
        };
        disk.ask(&mut store, vec![register, enter(byte)]);
    }
    let mut desk = OrderDesk::open(&disk.path(), LOG).unwrap();
    let kick = Decision::parse(b"kick user2").unwrap();
    let orders = [(); 2].map(|()| desk.leave(&room("lobby"), &kick, 60).unwrap());
    assert_eq!(desk.waiting().unwrap().len(), 2);
    let decide = |order| StorageOp::Decide {
        order: Some(order),
        room: room("lobby"),
        decision: kick.clone(),
        now_ms: 70,
    };
    let [first, second] = orders;
    let StorageOutcome::Decided(decided) = disk.ask_one(&mut store, decide(first)) else {
        panic!("not decided");
    };
    assert_eq!(decided.line.line.account, OPERATOR.0);
    let again = disk.ask_one(&mut store, decide(first));
    assert_eq!(again, StorageOutcome::NotDecided(Refusal::NoEffect));
    disk.ask_one(&mut store, decide(second));
    disk.close(store, running);

    assert_eq!(desk.outcome(first).unwrap(), Some(Ok(())));
    let refused = Some(Err(Refusal::NoSuchMember));
    assert_eq!(desk.outcome(second).unwrap(), refused);
    assert!(!desk.withdraw(second).unwrap());
    assert_eq!(check(&disk.path()).unwrap().lines, 3);
}

//! Who gets in (SPEC.md section 10.2).

use core::num::NonZeroU64;

use super::*;
use crate::broker::Access;
use crate::chat::{InviteSecret, InviteTerms, InviteWish};

const SECRET: [u8; 16] = [7; 16];

/// A broker that lets in who was invited, and one invite for `uses` accounts.
fn by_invite(uses: u64) -> Pump {
    let mut pump = Pump::new();
    pump.broker.config.access = Access::Invite;
    let request = StorageRequest {
        id: 0,
        op: StorageOp::Invite {
            by: None,
            mark: InviteSecret::new(SECRET).mark(),
            terms: InviteTerms {
                uses_max: NonZeroU64::new(uses),
                ..InviteTerms::default()
            },
            room: lobby(),
            now_ms: 0,
        },
    };
    let made = pump.store.handle(request);
    assert_eq!(made.outcome, StorageOutcome::Invited(1));
    pump
}

/// A node that knows the broker, with the invite's secret if it has one.
fn come(pump: &mut Pump, name: &str, secret: Option<[u8; 16]>) -> usize {
    let (account, device) = (pump.rng.bytes(), pump.rng.bytes());
    let identity = NodeIdentity::from_secrets(account, device);
    let key = pump.broker.public_key();
    let node = pump.add_known(name, identity, Some(key));
    if let Some(secret) = secret {
        let client = &mut pump.nodes[node].client;
        client.set_invite(InviteSecret::new(secret));
    }
    pump.nodes[node].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    node
}

fn refusal(pump: &Pump, node: usize) -> Option<Refusal> {
    match pump.nodes[node].end() {
        Some(EndReason::NotAdmitted { code, .. }) => Some(*code),
        _ => None,
    }
}

/// ADM-1, ADM-3, ADM-4.
#[test]
fn who_was_not_invited_does_not_get_in_and_an_invite_lets_in_so_many() {
    let mut pump = by_invite(1);
    let uninvited = come(&mut pump, "eve", None);
    assert_eq!(refusal(&pump, uninvited), Some(Refusal::InviteNeeded));
    let guessing = come(&mut pump, "eve", Some([8; 16]));
    assert_eq!(refusal(&pump, guessing), Some(Refusal::InviteUnknown));
    let ada = come(&mut pump, "ada", Some(SECRET));
    assert_eq!(pump.nodes[ada].notices(), ["ada Joined"]);
    let late = come(&mut pump, "bob", Some(SECRET));
    assert_eq!(refusal(&pump, late), Some(Refusal::InviteUsedUp));
    assert_eq!(pump.broker.people(), 1);

    // The one who is known needs none, and shows a used one without harm.
    for secret in [None, Some(SECRET)] {
        let identity = pump.nodes[ada].identity.clone();
        let key = pump.broker.public_key();
        let again = pump.add_known("ada", identity, Some(key));
        if let Some(secret) = secret {
            let client = &mut pump.nodes[again].client;
            client.set_invite(InviteSecret::new(secret));
        }
        pump.nodes[again].client.join(lobby().into(), pump.now);
        pump.run_ms(500);
        assert!(pump.nodes[again].client.is_online());
    }
}

/// ADM-3: the answer to a sign-in is lost with the broker, and the node signs in again.
#[test]
fn a_sign_in_that_is_repeated_is_no_second_use() {
    let mut pump = by_invite(2);
    pump.store_stalled = true;
    let ada = come(&mut pump, "ada", Some(SECRET));
    // The store has done it, and nobody is told.
    for request in core::mem::take(&mut pump.stalled) {
        pump.store.handle(request);
    }
    pump.store_stalled = false;
    pump.crash_broker();
    pump.broker.config.access = Access::Invite;
    pump.run_ms(10_000);
    assert!(pump.nodes[ada].client.is_online());
    let bob = come(&mut pump, "bob", Some(SECRET));
    assert!(pump.nodes[bob].client.is_online());
    let late = come(&mut pump, "cy", Some(SECRET));
    assert_eq!(refusal(&pump, late), Some(Refusal::InviteUsedUp));
}

/// ADM-3: a name that is taken is asked for again, and has cost nothing.
#[test]
fn a_refused_name_uses_no_invite_up() {
    let mut pump = by_invite(2);
    come(&mut pump, "ada", Some(SECRET));
    let thief = come(&mut pump, "Ada", Some(SECRET));
    assert!(matches!(
        pump.nodes[thief].end(),
        Some(EndReason::NameRefused {
            code: Refusal::NameTaken,
            ..
        })
    ));
    let bob = come(&mut pump, "bob", Some(SECRET));
    assert!(pump.nodes[bob].client.is_online());
}

/// ADM-2: a secret is for the broker whose key came with it.
#[test]
fn an_invite_is_not_shown_to_a_broker_at_first_sight() {
    let mut pump = by_invite(1);
    let ada = pump.add("ada");
    let client = &mut pump.nodes[ada].client;
    client.set_invite(InviteSecret::new(SECRET));
    pump.nodes[ada].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    assert_eq!(refusal(&pump, ada), Some(Refusal::InviteNeeded));
}

/// ROL-7: who keeps order in a room lets others in, without the broker's knowing the secret before.
#[test]
fn those_with_a_role_have_invites_made() {
    let mut pump = by_invite(2);
    let ada = come(&mut pump, "ada", Some(SECRET));
    let bob = come(&mut pump, "bob", Some(SECRET));
    let wish = |secret: [u8; 16]| InviteWish {
        mark: InviteSecret::new(secret).mark(),
        uses: NonZeroU64::new(1),
        lasts_ms: NonZeroU64::new(60_000),
    };
    let mut ask = |node: usize, secret| {
        let client = &mut pump.nodes[node].client;
        assert!(client.ask_invite(&lobby(), wish(secret), pump.now));
        pump.run_ms(200);
        let told = pump.nodes[node].events.iter().rev();
        let told = told.filter_map(|event| match event {
            ClientEvent::Invited { outcome, .. } => Some(outcome.clone()),
            _ => None,
        });
        told.take(1).next()
    };
    let refused = ask(bob, [8; 16]).unwrap().unwrap_err();
    assert_eq!(refused.0, Refusal::NotAllowed);
    assert_eq!(ask(ada, [9; 16]), Some(Ok(2)));
    let cy = come(&mut pump, "cy", Some([9; 16]));
    assert!(pump.nodes[cy].client.is_online());
    let late = come(&mut pump, "dan", Some([9; 16]));
    assert_eq!(refusal(&pump, late), Some(Refusal::InviteUsedUp));
}

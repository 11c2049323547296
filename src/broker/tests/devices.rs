//! Devices of an account (SPEC.md section 9.8), and two of them in a room at once.

use super::*;
use crate::broker::Access;
use crate::broker::devices::{Offer, Offers};
use crate::broker::session::Stage;
use crate::chat::{
    ControlFromBroker, DeviceEntry, ErrandFromBroker, ErrandFromNode, Grant, LINK_LASTS_MAX_MS,
    LINK_SECRET_LEN, LinkMark, LinkSecret,
};
use crate::client::{Errand, ErrandEvent};

fn code() -> LinkSecret {
    LinkSecret::new([7; LINK_SECRET_LEN])
}

fn offer() -> Errand {
    Errand::Offer {
        secret: code(),
        lasts_ms: LINK_LASTS_MAX_MS,
    }
}

fn ask() -> Errand {
    Errand::Ask { secret: code() }
}

/// A node on an errand, as `identity`.
fn send(pump: &mut Pump, identity: NodeIdentity, errand: Errand) -> usize {
    let key = pump.broker.public_key();
    let nodes = pump.nodes.iter();
    let mut same = nodes.filter(|node| node.identity.account() == identity.account());
    let name = same
        .next()
        .map_or_else(|| "nobody".to_owned(), |node| node.name.to_string());
    let node = pump.add_known(&name, identity, Some(key));
    pump.nodes[node].client.set_errand(errand);
    node
}

/// The same, to its end or until it waits for somebody.
fn run(pump: &mut Pump, identity: NodeIdentity, errand: Errand) -> usize {
    let node = send(pump, identity, errand);
    pump.run_ms(1_000);
    node
}

fn came_of(pump: &Pump, node: usize) -> Vec<&ErrandEvent> {
    let events = pump.nodes[node].events.iter();
    let errand = events.filter_map(|event| match event {
        ClientEvent::Errand(event) => Some(event),
        _ => None,
    });
    errand.collect()
}

fn refusal(pump: &Pump, node: usize) -> Option<Refusal> {
    match pump.nodes[node].end() {
        Some(EndReason::NotAdmitted { code, .. }) => Some(*code),
        _ => None,
    }
}

/// A new device of nobody's.
fn stranger(pump: &mut Pump) -> (NodeIdentity, [u8; 32]) {
    let (account, device) = (pump.rng.bytes(), pump.rng.bytes());
    (NodeIdentity::from_secrets(account, device), device)
}

/// Links another device to the account of node `first`.
fn link(pump: &mut Pump, first: usize) -> NodeIdentity {
    let identity = pump.nodes[first].identity.clone();
    let offering = run(pump, identity, offer());
    let (asker, secret) = stranger(pump);
    let device = asker.device();
    let asking = run(pump, asker, ask());
    assert_eq!(
        came_of(pump, offering),
        [&ErrandEvent::Offered, &ErrandEvent::Linked(device)]
    );
    assert_eq!(pump.nodes[offering].end(), Some(&EndReason::Left));
    assert_eq!(pump.nodes[asking].end(), Some(&EndReason::Left));
    let [
        ErrandEvent::Granted {
            account,
            certificate,
            name,
        },
    ] = came_of(pump, asking)[..]
    else {
        panic!("granted");
    };
    assert_eq!(*name, pump.nodes[first].name);
    NodeIdentity::linked(*account, *certificate, secret).unwrap()
}

/// A linked device that chats.
fn come(pump: &mut Pump, name: &str, identity: NodeIdentity) -> usize {
    let key = pump.broker.public_key();
    let node = pump.add_known(name, identity, Some(key));
    pump.nodes[node].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    node
}

fn devices(pump: &mut Pump, identity: NodeIdentity) -> Vec<DeviceEntry> {
    let node = run(pump, identity, Errand::List);
    match came_of(pump, node)[..] {
        [ErrandEvent::Devices(devices)] => devices.clone(),
        _ => panic!("{:?}", pump.nodes[node].events),
    }
}

/// DEV-1, DEV-3 to DEV-6: under `invite` too, where the account is vouched for.
#[test]
fn a_device_joins_an_account_by_a_code_that_is_good_once() {
    let mut pump = Pump::with(&["ada", "bob"]);
    pump.broker.config.access = Access::Invite;
    let linked = link(&mut pump, 0);
    let (late, _) = stranger(&mut pump);
    let late = run(&mut pump, late, ask());
    assert_eq!(refusal(&pump, late), Some(Refusal::LinkUnknown));

    assert!(pump.nodes[0].client.is_online(), "nobody was replaced");
    let second = come(&mut pump, "ada", linked);
    assert!(pump.nodes[second].client.is_online());
    pump.say(second, "from the other one");
    pump.run_ms(300);
    assert_eq!(pump.heard(1), ["ada: from the other one"]);
}

/// DEV-4: nobody without the code gets an answer, and none that comes too late.
#[test]
fn a_code_is_of_no_use_when_it_is_wrong_or_has_expired() {
    let mut pump = Pump::with(&["ada"]);
    let identity = pump.nodes[0].identity.clone();
    let (asker, _) = stranger(&mut pump);
    let early = run(&mut pump, asker.clone(), ask());
    assert_eq!(refusal(&pump, early), Some(Refusal::LinkUnknown));

    let offering = run(&mut pump, identity, offer());
    let secret = LinkSecret::new([8; LINK_SECRET_LEN]);
    let wrong = run(&mut pump, asker.clone(), Errand::Ask { secret });
    assert_eq!(refusal(&pump, wrong), Some(Refusal::LinkUnknown));
    assert_eq!(came_of(&pump, offering), [&ErrandEvent::Offered]);

    pump.run_ms(LINK_LASTS_MAX_MS);
    let late = run(&mut pump, asker, ask());
    assert_eq!(refusal(&pump, late), Some(Refusal::LinkUnknown));
    assert_eq!(came_of(&pump, offering), [&ErrandEvent::Offered]);
}

/// DEV-3: of an account there is one offer, and it goes with the link that made it.
#[test]
fn an_offer_ends_with_the_next_one_or_with_its_link() {
    let mut pump = Pump::with(&["ada"]);
    let identity = pump.nodes[0].identity.clone();
    let first = run(&mut pump, identity.clone(), offer());
    let secret = LinkSecret::new([8; LINK_SECRET_LEN]);
    let next = Errand::Offer {
        secret: secret.clone(),
        lasts_ms: 1_000_000,
    };
    let second = run(&mut pump, identity, next);
    assert_eq!(refusal(&pump, first), Some(Refusal::LinkUnknown));
    assert_eq!(pump.broker.offers.held(), 1);
    pump.nodes[second].client.abandon(pump.now);
    pump.run_ms(300);
    assert_eq!(pump.broker.offers.held(), 0);
    let (asker, _) = stranger(&mut pump);
    let asking = run(&mut pump, asker, Errand::Ask { secret });
    assert_eq!(refusal(&pump, asking), Some(Refusal::LinkUnknown));
}

/// DEV-4: whoever waits is told when the other one goes.
#[test]
fn whoever_waits_for_a_device_that_goes_away_is_told() {
    let mut pump = Pump::with(&["ada"]);
    let identity = pump.nodes[0].identity.clone();
    let offering = run(&mut pump, identity.clone(), offer());
    let (asker, _) = stranger(&mut pump);
    pump.store_stalled = true;
    let asking = run(&mut pump, asker.clone(), ask());
    pump.nodes[asking].client.abandon(pump.now);
    pump.run_ms(300);
    pump.resume_store();
    pump.run_ms(300);
    assert_eq!(refusal(&pump, offering), Some(Refusal::LinkUnknown));

    let offering = run(&mut pump, identity, offer());
    pump.store_stalled = true;
    let asking = run(&mut pump, asker, ask());
    pump.nodes[offering].client.abandon(pump.now);
    pump.run_ms(300);
    pump.resume_store();
    pump.run_ms(300);
    assert_eq!(refusal(&pump, asking), Some(Refusal::LinkUnknown));
}

/// DEV-1, DEV-6: only a device that is known offers, and only one with the account's key links.
#[test]
fn who_is_not_known_or_was_linked_links_nobody() {
    let mut pump = Pump::with(&["ada"]);
    let (nobody, _) = stranger(&mut pump);
    let offering = run(&mut pump, nobody.clone(), offer());
    assert_eq!(refusal(&pump, offering), Some(Refusal::NotAdmitted));
    let listing = run(&mut pump, nobody, Errand::List);
    assert_eq!(refusal(&pump, listing), Some(Refusal::NotAdmitted));

    let linked = link(&mut pump, 0);
    let device = pump.nodes[0].identity.device();
    let revoking = run(&mut pump, linked, Errand::Revoke { device });
    assert_eq!(refusal(&pump, revoking), Some(Refusal::NotAllowed));
    assert!(pump.nodes[0].client.is_online());
}

/// DEV-7.
#[test]
fn an_account_sees_its_devices_and_nobody_elses() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let linked = link(&mut pump, 0);
    let first = pump.nodes[0].identity.clone();
    let listed = devices(&mut pump, linked.clone());
    let seen: Vec<_> = listed
        .iter()
        .map(|entry| (entry.device, entry.is_linked, entry.is_here))
        .collect();
    assert_eq!(
        seen,
        [
            (first.device(), false, true),
            (linked.device(), true, false)
        ]
    );
    let second = come(&mut pump, "ada", linked.clone());
    pump.nodes[0].client.leave(pump.now);
    pump.run_ms(300);
    let listed = devices(&mut pump, first);
    assert_eq!(
        listed.iter().map(|e| e.is_here).collect::<Vec<_>>(),
        [false, true]
    );
    assert!(listed[1].last_seen_ms > listed[1].first_seen_ms);
    assert!(pump.nodes[second].client.is_online());
}

/// DEV-8: it is out at once and for ever, what it said stays, and the account goes on.
#[test]
fn a_revoked_device_is_out_at_once_and_does_not_come_back() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let linked = link(&mut pump, 0);
    let device = linked.device();
    let second = come(&mut pump, "ada", linked.clone());
    pump.say(second, "still here");
    pump.run_ms(300);
    let first = pump.nodes[0].identity.clone();
    let revoking = run(&mut pump, first.clone(), Errand::Revoke { device });
    assert_eq!(came_of(&pump, revoking), [&ErrandEvent::Revoked(device)]);
    assert_eq!(refusal(&pump, second), Some(Refusal::DeviceRevoked));
    pump.say(0, "gone");
    pump.run_ms(300);
    assert_eq!(pump.heard(1), ["ada: still here", "ada: gone"]);

    let back = come(&mut pump, "ada", linked.clone());
    assert_eq!(refusal(&pump, back), Some(Refusal::DeviceRevoked));
    for errand in [offer(), Errand::List] {
        let node = run(&mut pump, linked.clone(), errand);
        assert_eq!(refusal(&pump, node), Some(Refusal::DeviceRevoked));
    }
    let listed = devices(&mut pump, first);
    assert!(listed[1].revoked_at_ms.is_some() && listed[0].revoked_at_ms.is_none());
    assert_eq!(pump.nodes[1].notices(), ["bob Joined"], "ada never left");
}

/// DEV-8, BRK-1: a sign-in that is with the store when the device is revoked is none.
#[test]
fn a_device_that_signs_in_while_it_is_revoked_is_out() {
    let mut pump = Pump::with(&["ada"]);
    let linked = link(&mut pump, 0);
    let first = pump.nodes[0].identity.clone();
    let device = linked.device();
    pump.store_stalled = true;
    let key = pump.broker.public_key();
    let second = pump.add_known("ada", linked, Some(key));
    pump.run_ms(300);
    let revoking = send(&mut pump, first, Errand::Revoke { device });
    pump.run_ms(300);
    assert!(came_of(&pump, revoking).is_empty(), "not before it is kept");
    pump.resume_store();
    pump.run_ms(1_000);
    assert_eq!(came_of(&pump, revoking), [&ErrandEvent::Revoked(device)]);
    assert_eq!(refusal(&pump, second), Some(Refusal::DeviceRevoked));
}

/// DEV-9, PRS-1, RUM-6, RUM-7, RUM-13, DLV-1, DLV-3: one member, one presence, all lines at both.
#[test]
fn two_devices_of_an_account_are_one_member_and_each_has_every_line() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let linked = link(&mut pump, 0);
    let second = come(&mut pump, "ada", linked);
    pump.say(0, "one");
    pump.run_ms(300);
    pump.say(second, "two");
    pump.run_ms(300);
    pump.say(1, "three");
    pump.run_ms(300);
    let all = ["ada: one", "ada: two", "bob: three"];
    for node in [0, 1, second] {
        assert_eq!(pump.heard(node), all, "{node}");
    }
    assert_eq!(
        pump.nodes[1].notices(),
        ["bob Joined"],
        "ada was there already"
    );
    assert_eq!(pump.broker.people(), 2);
    pump.nodes[1].client.ask_who(&lobby(), pump.now);
    pump.run_ms(200);
    let roster = pump.nodes[1].events.iter().find_map(|event| match event {
        ClientEvent::Roster { total, .. } => Some(*total),
        _ => None,
    });
    assert_eq!(roster, Some(2));
    let room = lobby();
    let lines = pump.store.lines(&room);
    let kinds = lines.filter(|line| line.kind == Kind::Joined);
    assert_eq!(kinds.count(), 2, "ada became a member once");

    // One leaves, and ada is still there.
    pump.nodes[0].client.leave(pump.now);
    pump.run_ms(500);
    assert_eq!(pump.nodes[0].end(), Some(&EndReason::Left));
    pump.say(second, "four");
    pump.run_ms(300);
    assert_eq!(pump.nodes[1].notices(), ["bob Joined"]);
    pump.nodes[second].client.leave(pump.now);
    pump.run_ms(500);
    assert_eq!(pump.nodes[1].notices(), ["bob Joined", "ada Left"]);
}

/// DEV-9, STA-1, STA-3: a line counts as had when one of the two has it, and never twice.
#[test]
fn two_devices_count_once_among_those_who_have_a_line() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let linked = link(&mut pump, 0);
    let second = come(&mut pump, "ada", linked);
    pump.nodes[second].journal_stalled = true;
    let typed_at_ms = EPOCH_MS + pump.now.as_millis();
    let client = &mut pump.nodes[1].client;
    let handle = client
        .publish(&lobby(), b"hi", typed_at_ms, pump.now)
        .unwrap();
    client.watch(handle);
    pump.run_ms(3_000);
    pump.nodes[second].journal_stalled = false;
    pump.run_ms(3_000);
    let counts = pump.nodes[1].events.iter().filter_map(|event| match event {
        ClientEvent::Delivered { delivered, .. } => Some((delivered.k, delivered.n)),
        _ => None,
    });
    let counts: Vec<_> = counts.collect();
    assert_eq!(counts.last(), Some(&(1, 1)), "{counts:?}");
    assert!(counts.iter().all(|(_, n)| *n == 1), "{counts:?}");

    // The author's own other device is nobody who is to have it.
    let client = &mut pump.nodes[0].client;
    let handle = client
        .publish(&lobby(), b"mine", typed_at_ms, pump.now)
        .unwrap();
    client.watch(handle);
    pump.run_ms(3_000);
    let last = pump.nodes[0]
        .events
        .iter()
        .rev()
        .find_map(|event| match event {
            ClientEvent::Delivered { delivered, .. } => Some((delivered.k, delivered.n)),
            _ => None,
        });
    assert_eq!(last, Some((1, 1)));
}

/// DEV-9, RUM-12, ROL-4: a membership ends for both.
#[test]
fn leaving_and_being_shown_out_is_of_the_account() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let linked = link(&mut pump, 1);
    let second = come(&mut pump, "bob", linked);
    pump.nodes[1].client.leave_room(&lobby(), pump.now);
    pump.run_ms(500);
    let left = |event: &ClientEvent| matches!(event, ClientEvent::RoomLeft { .. });
    for node in [1, second] {
        assert!(pump.nodes[node].events.iter().any(left), "{node}");
        assert!(pump.nodes[node].client.is_online(), "{node}");
    }
}

/// DEV-9, PRS-1: an account is timed out when the last of its devices is.
#[test]
fn an_account_is_out_of_contact_when_all_its_devices_are() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let linked = link(&mut pump, 1);
    let second = come(&mut pump, "bob", linked);
    pump.nodes[1].connected = false;
    pump.run_ms(700_000);
    assert_eq!(pump.nodes[0].notices(), ["ada Joined", "bob Joined"]);
    pump.nodes[second].connected = false;
    pump.run_ms(700_000);
    let notices = pump.nodes[0].notices();
    assert_eq!(notices, ["ada Joined", "bob Joined", "bob TimedOut"]);
}

/// DEV-9, DLV-7, SGN-5: who is out of contact has not left because another device says goodbye.
#[test]
fn a_goodbye_is_not_that_of_a_device_that_roams() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let linked = link(&mut pump, 1);
    let second = come(&mut pump, "bob", linked);
    pump.nodes[second].connected = false;
    pump.run_ms(70_000);
    pump.nodes[1].client.leave(pump.now);
    pump.run_ms(10_000);
    assert_eq!(pump.nodes[1].end(), Some(&EndReason::Left));
    assert_eq!(pump.nodes[0].notices(), ["ada Joined", "bob Joined"]);
    pump.nodes[second].connected = true;
    pump.run_ms(30_000);
    assert!(pump.nodes[second].client.is_online());
    assert_eq!(pump.nodes[0].notices(), ["ada Joined", "bob Joined"]);
    assert_eq!(pump.broker.people(), 2);
    pump.nodes[second].client.leave(pump.now);
    pump.run_ms(500);
    let notices = pump.nodes[0].notices();
    assert_eq!(notices, ["ada Joined", "bob Joined", "bob Left"]);
}

/// DEV-2, PRS-1: an errand is no sign of life, neither while it lasts nor when it ends.
#[test]
fn an_errand_does_not_prolong_a_presence() {
    for errand in [offer(), Errand::List] {
        let mut pump = Pump::with(&["ada"]);
        // The link of one goes silent, that of the other is closed.
        let bob = pump.add("bob");
        pump.nodes[bob].client.join(lobby().into(), pump.now);
        let identity = NodeIdentity::generate(&mut pump.rng);
        let mut cleo = pump.raw_link_of(identity.clone());
        pump.enter_raw(&mut cleo, "cleo");
        pump.nodes[bob].connected = false;
        cleo.link.close(CloseCode::Done, "", pump.now);
        pump.run_raw(&mut cleo, 100);
        pump.run_ms(300_000);
        for identity in [pump.nodes[bob].identity.clone(), identity] {
            run(&mut pump, identity, errand.clone());
        }
        pump.run_ms(350_000);
        let notices = pump.nodes[0].notices();
        assert_eq!(
            notices[1..],
            ["bob Joined", "cleo Joined", "bob TimedOut", "cleo TimedOut"]
        );
    }
}

/// DEV-1, SGN-5: who has had an answer says goodbye, and nothing after that.
#[test]
fn an_errand_ends_with_a_goodbye() {
    let mut pump = Pump::with(&["ada"]);
    let goodbye = ControlFromNode::Bye.encode();
    let list = ControlFromNode::Errand(ErrandFromNode::ListDevices).encode();
    for said in [
        vec![goodbye.clone()],
        vec![list.clone(), goodbye.clone()],
        vec![goodbye.clone(), list],
        vec![goodbye.clone(), goodbye],
    ] {
        let mut raw = pump.raw_link_of(pump.nodes[0].identity.clone());
        for message in said {
            raw.link.send(0, message, pump.now).unwrap();
            pump.run_raw(&mut raw, 100);
        }
        let last = raw.control().last().cloned();
        assert_eq!(last, Some(ControlFromBroker::ByeOk));
        assert!(!raw.closed_with(CloseCode::Protocol));
        raw.link.close(CloseCode::Done, "", pump.now);
        pump.run_raw(&mut raw, 100);
    }
    assert!(pump.nodes[0].client.is_online());
}

/// DEV-1, DEV-5: a device that asks may go before it is granted anything; who grants breaks no rule by
/// that. One that offers, and was not asked, does.
#[test]
fn a_grant_to_a_device_that_has_gone_is_refused() {
    let mut pump = Pump::with(&["ada"]);
    let grant = ControlFromNode::Errand(ErrandFromNode::LinkGrant(Grant {
        certificate: [0; 64],
        proof: code().prove_asking(&pump.broker.public_key(), &pump.nodes[0].identity.device()),
        name: "ada".into(),
    }));
    let identity = pump.nodes[0].identity.clone();
    let mut raw = pump.raw_link_of(identity.clone());
    raw.link.send(0, grant.encode(), pump.now).unwrap();
    pump.run_raw(&mut raw, 100);
    let refused = |said: &ControlFromBroker| {
        matches!(
            said,
            ControlFromBroker::Errand(ErrandFromBroker::Refused {
                code: Refusal::LinkUnknown,
                ..
            })
        )
    };
    assert!(raw.control().iter().all(refused));
    assert_eq!(raw.control().len(), 1);
    let offer = ControlFromNode::Errand(ErrandFromNode::LinkOffer {
        mark: code().mark(),
        lasts_ms: LINK_LASTS_MAX_MS,
    });
    for message in [offer, grant] {
        raw.link.send(0, message.encode(), pump.now).unwrap();
        pump.run_raw(&mut raw, 100);
    }
    assert!(raw.closed_with(CloseCode::Protocol));
}

/// LIM-15: nobody takes the place of another's offer, and there are so many.
#[test]
fn there_are_so_many_offers_and_one_of_an_account() {
    let mut offers = Offers::default();
    let now = Timestamp::from_millis(1_000);
    let offer = |account: u32, link| {
        let mut key = AccountKey([0; 32]);
        key.0[..4].copy_from_slice(&account.to_be_bytes());
        let until = now + Duration::from_secs(1);
        Offer {
            link,
            account: key,
            until,
        }
    };
    let mark = |number: u32| {
        let mut mark = LinkMark([0; 32]);
        mark.0[..4].copy_from_slice(&number.to_be_bytes());
        mark
    };
    let most = u32::try_from(LINK_OFFERS_MAX).unwrap();
    for number in 0..most {
        let held = offers.hold(mark(number), offer(number, number.into()), now);
        assert_eq!(held, Ok(None));
    }
    assert_eq!(offers.hold(mark(most), offer(most, 0), now), Err(()));
    assert_eq!(offers.hold(mark(1), offer(0, 0), now), Err(()));
    assert_eq!(offers.hold(mark(most), offer(7, 99), now), Ok(Some(7)));
    assert_eq!(offers.take(&mark(7), now), None);
    assert_eq!(offers.take(&mark(8), now), Some(8));
    assert_eq!(offers.take(&mark(8), now), None);
    let later = now + Duration::from_secs(2);
    assert_eq!(offers.hold(mark(8), offer(8, 1), later), Ok(None));
    assert_eq!(offers.held(), 1, "the others have expired");
}

/// DEV-4, DEV-5: a broker that answers in the place of a device, or puts another one in, does not
/// have the code, and both devices see that.
#[test]
fn a_broker_that_puts_in_keys_of_its_own_is_found_out() {
    let mut pump = Pump::with(&["ada"]);
    let identity = pump.nodes[0].identity.clone();
    let (asker, _) = stranger(&mut pump);
    let distrusts = |pump: &Pump, node: usize| {
        matches!(
            pump.nodes[node].end(),
            Some(EndReason::Protocol { reason }) if reason.contains("not to be trusted")
        )
    };
    // It holds the mark, and may tell of a device that has never asked, or of another one than has.
    let offering = run(&mut pump, identity.clone(), offer());
    let (own, _) = stranger(&mut pump);
    let proof = code().prove_asking(&pump.broker.public_key(), &asker.device());
    let device = own.device();
    let link = link_of(&pump, &identity, offering);
    pump.broker
        .answer_errand(link, ErrandFromBroker::LinkAsked { device, proof });
    pump.run_ms(300);
    assert!(distrusts(&pump, offering));

    // It may answer with an account of its own.
    run(&mut pump, identity, offer());
    let asking = send(&mut pump, asker.clone(), ask());
    pump.store_stalled = true;
    pump.run_ms(70);
    let account = own.account();
    let key = pump.broker.public_key();
    let guess = LinkSecret::new([1; LINK_SECRET_LEN]);
    let grant = Grant {
        certificate: own.certify(&asker.device()).unwrap(),
        proof: guess.prove_granting(&key, &asker.device(), &account, "ada"),
        name: "ada".into(),
    };
    let link = link_of(&pump, &asker, asking);
    let granted = ErrandFromBroker::LinkGranted { account, grant };
    pump.broker.answer_errand(link, granted);
    pump.run_ms(300);
    assert!(distrusts(&pump, asking), "{:?}", pump.nodes[asking].events);
}

/// The link of a node on an errand.
fn link_of(pump: &Pump, identity: &NodeIdentity, node: usize) -> LinkId {
    let sessions = pump.broker.sessions.iter();
    let mut on_errand = sessions.filter(|(_, session)| {
        session.account == identity.account() && matches!(session.stage, Stage::Errand(_))
    });
    let found = on_errand.next().map(|(id, _)| *id);
    found.unwrap_or_else(|| panic!("{:?}", pump.nodes[node].events))
}

//! Nodes that are asked to prove their addresses, and others who ask them to (ADR-4).

use super::*;
use crate::pump::{End, LATENCY_MS, Pump, lobby};
use crate::secure::NodeIdentity;
use crate::wire::{Handshake, Hello, Retry, VERSION};

/// A client on its first contact, or one that knows its broker, and the path to that.
fn client(known: bool) -> (Client, Path) {
    let mut rng = SeededRng::new([1; 32]);
    let path = Path::new(([10, 0, 0, 1], 1).into());
    let identity = NodeIdentity::generate(&mut rng);
    let config = ClientConfig {
        paths: vec![path],
        name: Name::new("ada").unwrap(),
        known: known.then_some((PublicKey([9; 32]), identity)),
        restored: JournalState::default(),
    };
    (Client::new(config, rng.fork(), Timestamp::ZERO), path)
}

/// The HELLOs that it has to send.
fn hellos(client: &mut Client, now: Timestamp) -> Vec<Hello> {
    client.handle_timeout(now);
    let mut hellos = Vec::new();
    let mut out = Vec::new();
    while client.poll_transmit(now, &mut out).is_some() {
        let datagram = core::mem::take(&mut out).into();
        match Handshake::decode(&datagram) {
            Ok(Handshake::Hello(hello)) => hellos.push(hello),
            other => panic!("{other:?}"),
        }
    }
    hellos
}

fn retry(hello: &Hello, cookie: u8) -> Retry {
    Retry {
        version: VERSION,
        cid: hello.cid,
        mark: hello.mark(),
        cookie: Bytes::copy_from_slice(&[cookie; 16]),
    }
}

fn tell(client: &mut Client, path: Path, retry: Retry, now: Timestamp) {
    let mut datagram = Vec::new();
    Handshake::Retry(retry).encode(&mut datagram);
    client.handle_datagram(path, BytesMut::from(&datagram[..]), now);
}

/// ADR-4: the same HELLO, at once, and from then on.
#[test]
fn a_retry_is_answered_by_the_same_hello_with_the_cookie() {
    for known in [false, true] {
        let (mut client, path) = client(known);
        let now = Timestamp::from_millis(1);
        let first = hellos(&mut client, now).remove(0);
        tell(&mut client, path, retry(&first, 7), now);
        let second = hellos(&mut client, now).remove(0);
        assert_eq!(second.cookie[..], [7; 16]);
        assert_eq!(second.prologue(), first.prologue());
        assert_eq!(second.noise, first.noise);
        assert_eq!(second.mac1 != first.mac1, known);
        let later = now + Duration::from_millis(60);
        assert_eq!(hellos(&mut client, later), [second]);
        assert_eq!(client.drops().count(Dropped::Unexpected), 0);
    }
}

/// ADR-4: however often it is asked, it says no more than twice what it would have said.
#[test]
fn one_retry_is_answered_for_each_hello_that_was_due() {
    let (mut client, path) = client(false);
    let mut now = Timestamp::from_millis(1);
    let first = hellos(&mut client, now).remove(0);
    for round in 0..20 {
        for cookie in 0..10 {
            let again = retry(&first, 100 + (round * 10 + cookie) % 100);
            tell(&mut client, path, again, now);
        }
        assert_eq!(hellos(&mut client, now).len(), 1);
        now += Duration::from_millis(70);
        assert_eq!(hellos(&mut client, now).len(), 1);
    }
    assert_eq!(client.drops().count(Dropped::Unexpected), 20 * 9);
}

/// ADR-4, HSD-6: who has not seen the HELLO cannot ask for anything.
#[test]
fn a_retry_for_something_else_is_dropped() {
    for known in [false, true] {
        let (mut client, path) = client(known);
        let now = Timestamp::from_millis(1);
        let first = hellos(&mut client, now).remove(0);
        let elsewhere = Path::new(([10, 0, 0, 2], 1).into());
        tell(&mut client, elsewhere, retry(&first, 7), now);
        let wrongs: [fn(&mut Retry); 4] = [
            |retry| retry.mark[15] ^= 1,
            |retry| retry.mark = [0; 16],
            |retry| retry.cookie = Bytes::new(),
            |retry| retry.cid = Default::default(),
        ];
        for wrong in wrongs {
            let mut forged = retry(&first, 7);
            wrong(&mut forged);
            tell(&mut client, path, forged, now);
        }
        assert_eq!(hellos(&mut client, now), []);
        assert_eq!(client.drops().count(Dropped::Unexpected), 5);
        // The right one comes late, and then once more.
        tell(&mut client, path, retry(&first, 7), now);
        let second = hellos(&mut client, now).remove(0);
        let later = now + Duration::from_millis(60);
        assert_eq!(hellos(&mut client, later), std::slice::from_ref(&second));
        tell(&mut client, path, retry(&second, 7), later);
        assert_eq!(hellos(&mut client, later), []);
    }
}

/// ADR-3, ADR-4, SEC-8: a broker that asks everybody costs a round trip and nothing else, on a first
/// contact, with a broker that one knows, and for what one asks about its key.
#[test]
fn a_loaded_broker_costs_one_round_trip_more() {
    let mut pump = Pump::with(&["ada"]);
    for number in 0..crate::broker::HANDSHAKES_PER_TURN {
        let hello = pump.hello([number as u8; 32], true);
        pump.answer(Path::new(([10, 8, 8, 8], 8).into()), &hello);
    }
    let identity = NodeIdentity::generate(&mut pump.rng);
    let key = pump.broker.public_key();
    let new = pump.add("bob");
    let known = pump.add_known("cleo", identity, Some(key));
    for node in [new, known] {
        pump.nodes[node].client.join(lobby().into(), pump.now);
    }
    pump.seen.clear();
    // RETRY, ACCEPT, signing in, joining.
    pump.run_ms(2 * LATENCY_MS * 4 + 10);
    assert!(pump.nodes.iter().all(|node| node.client.is_online()));
    let retries = pump.seen.iter().filter(|(_, datagram)| datagram[0] == 4);
    let to: Vec<End> = retries.map(|(to, _)| *to).collect();
    assert!(to.contains(&End::Client(new)) && to.contains(&End::Client(known)));
    assert!(!to.contains(&End::Client(0)));
    assert_eq!(
        pump.nodes[0].notices(),
        ["ada Joined", "bob Joined", "cleo Joined"]
    );
}

use proptest::prelude::*;

use super::*;
use crate::rng::SeededRng;
use crate::secure::keys::BrokerIdentity;
use crate::secure::vectors::vector;
use crate::wire::{HELLO_MIN, PROTOCOL_ID, ResetToken};

const NODE_SEED: Seed = [4; 32];
const BROKER_SEED: Seed = [5; 32];
const PAYLOAD: BrokerPayload = BrokerPayload {
    cid: [6; 8],
    reset_token: ResetToken([7; 16]),
    log_id: [8; 16],
};

fn node() -> NodeIdentity {
    NodeIdentity::from_secrets([1; KEY_LEN], [2; KEY_LEN])
}

fn broker() -> BrokerIdentity {
    BrokerIdentity::from_secret([3; KEY_LEN])
}

fn cid() -> NodeCid {
    NodeCid::new(&[0xc1, 0xc2, 0xc3]).unwrap()
}

fn known_broker() -> Initiator {
    Initiator::known_broker(cid(), broker().public(), &node(), NODE_SEED)
}

fn first_contact() -> Initiator {
    Initiator::first_contact(cid(), NODE_SEED)
}

fn hello_in(datagram: &Bytes) -> Hello {
    match Handshake::decode(datagram) {
        Ok(Handshake::Hello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

fn accept_in(datagram: &Bytes) -> Accept {
    match Handshake::decode(datagram) {
        Ok(Handshake::Accept(accept)) => accept,
        other => panic!("{other:?}"),
    }
}

fn finish_in(datagram: &Bytes) -> Finish {
    match Handshake::decode(datagram) {
        Ok(Handshake::Finish(finish)) => finish,
        other => panic!("{other:?}"),
    }
}

/// What `broker` answers to a HELLO that may have been changed on the way: padding and CRC are made
/// right, and so is mac1 if the HELLO had one.
fn answer(mut hello: Hello, broker: &BrokerIdentity) -> Result<Response, HandshakeError> {
    hello.pad();
    if hello.mac1 != [0; MAC1_LEN] {
        let datagram = encode(&Handshake::Hello(hello.clone()));
        hello.mac1 = mac1::compute(&broker.public(), &datagram);
    }
    let datagram = encode(&Handshake::Hello(hello.clone()));
    respond(&hello, &datagram, broker, PAYLOAD, BROKER_SEED)
}

fn ready(response: Result<Response, HandshakeError>) -> (Bytes, NodeEstablished) {
    match response {
        Ok(Response::Ready {
            accept,
            established,
        }) => (accept, established),
        other => panic!("{other:?}"),
    }
}

fn await_finish(response: Result<Response, HandshakeError>) -> (Bytes, Box<PendingFinish>) {
    match response {
        Ok(Response::AwaitFinish { accept, pending }) => (accept, pending),
        other => panic!("{other:?}"),
    }
}

fn established(accepted: Result<Accepted, HandshakeError>) -> Established {
    match accepted {
        Ok(Accepted::Established(established)) => established,
        other => panic!("{other:?}"),
    }
}

fn finisher(accepted: Result<Accepted, HandshakeError>) -> Finisher {
    match accepted {
        Ok(Accepted::FirstContact(finisher)) => *finisher,
        other => panic!("{other:?}"),
    }
}

/// A first contact up to the node's FINISH.
fn first_contact_up_to_finish(node: &NodeIdentity) -> (Box<PendingFinish>, Finish, Established) {
    let initiator = first_contact();
    let (accept, pending) = await_finish(answer(hello_in(initiator.hello()), &broker()));
    let finisher = finisher(initiator.handle_accept(&accept_in(&accept)));
    let (finish, at_node) = finisher.finish(node);
    (pending, finish_in(&finish), at_node)
}

/// Noise messages that are almost `message`: with each byte changed, cut at each length, and longer.
fn corrupted(message: &Bytes) -> impl Iterator<Item = Bytes> {
    let changed = (0..message.len()).map(|at| {
        let mut changed = message.to_vec();
        changed[at] ^= 1;
        changed.into()
    });
    let cut = (0..message.len()).map(|len| message.slice(..len));
    changed
        .chain(cut)
        .chain([[&message[..], b"!"].concat().into()])
}

/// SEC-1, SEC-2, SEC-3, SEC-4, KEY-1: byte for byte as another implementation does it.
#[test]
fn a_handshake_with_a_known_broker_agrees_with_the_vectors() {
    let initiator = known_broker();
    assert_eq!(initiator.hello()[..], vector("ik_hello"));
    let (accept, at_broker) = ready(answer(hello_in(initiator.hello()), &broker()));
    assert_eq!(accept[..], vector("ik_accept"));
    let at_node = established(initiator.handle_accept(&accept_in(&accept)));
    assert_eq!(at_node.secrets.send[..], vector("ik_from_node"));
    assert_eq!(at_node.secrets.receive[..], vector("ik_from_broker"));
    assert_eq!(at_node.broker, PAYLOAD);
    assert_eq!(at_broker.secrets, at_node.secrets.mirrored());
    assert_eq!(at_broker.account, node().account());
    assert_eq!(at_broker.device, node().device());
}

/// SEC-1, SEC-2, SEC-3, KEY-1: byte for byte as another implementation does it.
#[test]
fn a_first_contact_agrees_with_the_vectors() {
    let initiator = first_contact();
    assert_eq!(initiator.hello()[..], vector("xx_hello"));
    let (accept, pending) = await_finish(answer(hello_in(initiator.hello()), &broker()));
    assert_eq!(accept[..], vector("xx_accept"));
    let finisher = finisher(initiator.handle_accept(&accept_in(&accept)));
    assert_eq!(finisher.broker_key(), broker().public());
    let (finish, at_node) = finisher.finish(&node());
    assert_eq!(finish[..], vector("xx_finish"));
    assert_eq!(at_node.secrets.send[..], vector("xx_from_node"));
    assert_eq!(at_node.secrets.receive[..], vector("xx_from_broker"));
    assert_eq!(at_node.broker, PAYLOAD);
    let at_broker = pending.handle_finish(&finish_in(&finish)).unwrap();
    assert_eq!(at_broker.secrets, at_node.secrets.mirrored());
    assert_eq!(at_broker.account, node().account());
    assert_eq!(at_broker.device, node().device());
}

/// HSD-3, HSD-8.
#[test]
fn no_accept_is_longer_than_its_hello() {
    for cid_len in 0..=4 {
        let cid = NodeCid::new(&[9; 4][..cid_len]).unwrap();
        let known = Initiator::known_broker(cid, broker().public(), &node(), NODE_SEED);
        let (accept, _) = ready(answer(hello_in(known.hello()), &broker()));
        assert_eq!(known.hello().len(), HELLO_MIN);
        assert!(accept.len() <= known.hello().len());

        let first = Initiator::first_contact(cid, NODE_SEED);
        let (accept, _) = await_finish(answer(hello_in(first.hello()), &broker()));
        assert_eq!(first.hello().len(), HELLO_MIN);
        assert!(accept.len() <= first.hello().len());
    }
}

/// SEC-2.
#[test]
fn a_changed_offer_fails_the_handshake() {
    type Change = fn(&mut Hello);
    let changes: [Change; 3] = [
        |hello| hello.versions.push(2),
        |hello| hello.suites.insert(0, 2),
        |hello| hello.cid = NodeCid::new(&[0xc1, 0xc2]).unwrap(),
    ];
    for change in changes {
        let mut hello = hello_in(known_broker().hello());
        change(&mut hello);
        let result = answer(hello, &broker());
        assert_eq!(result.unwrap_err(), HandshakeError::Noise);

        let initiator = first_contact();
        let mut hello = hello_in(initiator.hello());
        change(&mut hello);
        // Nothing in an XX HELLO is sealed yet: it is the node that finds out.
        let (accept, _) = await_finish(answer(hello, &broker()));
        let mut accept = accept_in(&accept);
        accept.cid = cid();
        let result = initiator.handle_accept(&accept);
        assert_eq!(result.unwrap_err(), HandshakeError::Noise);
    }
}

/// SEC-2: the pattern is part of the offer, so nobody turns one into the other.
#[test]
fn a_hello_of_one_pattern_is_none_of_the_other() {
    let mut hello = hello_in(known_broker().hello());
    (hello.pattern, hello.mac1) = (0, [0; MAC1_LEN]);
    assert_eq!(
        answer(hello, &broker()).unwrap_err(),
        HandshakeError::Payload
    );
    let mut hello = hello_in(first_contact().hello());
    (hello.pattern, hello.mac1) = (1, [1; MAC1_LEN]);
    assert_eq!(answer(hello, &broker()).unwrap_err(), HandshakeError::Noise);
}

/// SEC-1.
#[test]
fn other_patterns_and_suites_are_not_spoken() {
    for (pattern, suite) in [(2, SUITE), (3, SUITE), (0, 2), (1, 0)] {
        let mut hello = hello_in(first_contact().hello());
        (hello.pattern, hello.suite, hello.suites) = (pattern, suite, vec![suite]);
        let result = answer(hello, &broker());
        assert_eq!(result.unwrap_err(), HandshakeError::Unsupported);
    }
}

/// SEC-3.
#[test]
fn a_device_that_its_account_does_not_vouch_for_is_refused() {
    let victim = NodeIdentity::generate(&mut SeededRng::new([9; 32]));
    let impostor = node().claiming(victim.account());
    let known = Initiator::known_broker(cid(), broker().public(), &impostor, NODE_SEED);
    let result = answer(hello_in(known.hello()), &broker());
    assert_eq!(result.unwrap_err(), HandshakeError::Certificate);

    let (pending, finish, _) = first_contact_up_to_finish(&impostor);
    let result = pending.handle_finish(&finish);
    assert_eq!(result.unwrap_err(), HandshakeError::Certificate);
}

/// SEC-3.
#[test]
fn payloads_of_another_length_are_refused() {
    let payload = PAYLOAD.encode();
    assert_eq!(payload.len(), 40);
    assert_eq!(BrokerPayload::decode(&payload), Ok(PAYLOAD));
    for wrong in [&payload[..39], &[&payload[..], b"!"].concat(), b""] {
        let result = BrokerPayload::decode(wrong);
        assert_eq!(result, Err(HandshakeError::Payload));
    }

    let payload = node_payload(&node());
    assert_eq!(payload.len(), 96);
    for wrong in [
        &payload[..95],
        &[&payload[..], b"!"].concat(),
        b"",
        &[0; 31],
    ] {
        let result = answer(ik_hello_with(wrong), &broker());
        assert_eq!(result.unwrap_err(), HandshakeError::Payload);
    }

    let mut hello = hello_in(first_contact().hello());
    hello.noise = [&hello.noise[..], b"!"].concat().into();
    assert_eq!(
        answer(hello, &broker()).unwrap_err(),
        HandshakeError::Payload
    );
}

/// The HELLO of a known broker with another payload.
fn ik_hello_with(payload: &[u8]) -> Hello {
    let mut hello = hello_in(known_broker().hello());
    let mut noise = noise_builder(Pattern::Ik, &Zeroizing::new(NODE_SEED))
        .prologue(&hello.prologue())
        .unwrap()
        .local_private_key(node().device_secret())
        .unwrap()
        .remote_public_key(broker().public().as_bytes())
        .unwrap()
        .build_initiator()
        .unwrap();
    hello.noise = write(&mut noise, payload);
    hello
}

/// SEC-4: with a Noise message that no Diffie-Hellman would get through, it is still mac1 that is
/// complained about.
#[test]
fn a_wrong_mac1_is_dropped_before_any_diffie_hellman() {
    let mut hello = hello_in(known_broker().hello());
    hello.noise = Bytes::from_static(b"too short");
    hello.pad();
    for bit in 0..8 * MAC1_LEN {
        let mut wrong = hello.clone();
        let datagram = encode(&Handshake::Hello(hello.clone()));
        wrong.mac1 = mac1::compute(&broker().public(), &datagram);
        wrong.mac1[bit / 8] ^= 1 << (bit % 8);
        let datagram = encode(&Handshake::Hello(wrong.clone()));
        let result = respond(&wrong, &datagram, &broker(), PAYLOAD, BROKER_SEED);
        assert_eq!(result.unwrap_err(), HandshakeError::Mac1);
    }
    assert_eq!(answer(hello, &broker()).unwrap_err(), HandshakeError::Noise);
}

/// SEC-4.
#[test]
fn in_a_first_contact_mac1_is_zero() {
    let mut hello = hello_in(first_contact().hello());
    assert_eq!(hello.mac1, [0; MAC1_LEN]);
    hello.mac1[3] = 1;
    let datagram = encode(&Handshake::Hello(hello.clone()));
    let result = respond(&hello, &datagram, &broker(), PAYLOAD, BROKER_SEED);
    assert_eq!(result.unwrap_err(), HandshakeError::Mac1);
}

/// SEC-8.
#[test]
fn a_node_that_knows_a_broker_completes_with_no_other() {
    let other = BrokerIdentity::from_secret([0x33; KEY_LEN]);
    let initiator = known_broker();
    let hello = hello_in(initiator.hello());
    let result = respond(&hello, initiator.hello(), &other, PAYLOAD, BROKER_SEED);
    assert_eq!(result.unwrap_err(), HandshakeError::Mac1);
    // Even if it overlooks mac1 it cannot read the HELLO,
    assert_eq!(answer(hello, &other).unwrap_err(), HandshakeError::Noise);
    // and no ACCEPT of its own making is taken, from whatever HELLO.
    let to_other = Initiator::known_broker(cid(), other.public(), &node(), NODE_SEED);
    let (accept, _) = ready(answer(hello_in(to_other.hello()), &other));
    let result = initiator.handle_accept(&accept_in(&accept));
    assert_eq!(result.unwrap_err(), HandshakeError::Noise);
    let (accept, _) = await_finish(answer(hello_in(first_contact().hello()), &other));
    let result = initiator.handle_accept(&accept_in(&accept));
    assert_eq!(result.unwrap_err(), HandshakeError::Noise);
}

/// SEC-8: a first contact tells the broker's key before the node has shown anything of its own.
#[test]
fn a_first_contact_shows_which_key_a_broker_has() {
    let other = BrokerIdentity::from_secret([0x33; KEY_LEN]);
    let initiator = first_contact();
    let (accept, _) = await_finish(answer(hello_in(initiator.hello()), &other));
    let finisher = finisher(initiator.handle_accept(&accept_in(&accept)));
    assert_eq!(finisher.broker_key(), other.public());
}

/// SEC-11: otherwise anybody on the way could lock a node out.
#[test]
fn a_corrupted_accept_does_not_spoil_the_right_one() {
    let initiator = known_broker();
    let (accept, at_broker) = ready(answer(hello_in(initiator.hello()), &broker()));
    let right = accept_in(&accept);
    for noise in corrupted(&right.noise) {
        let wrong = Accept { noise, ..right };
        let result = initiator.handle_accept(&wrong);
        assert_eq!(result.unwrap_err(), HandshakeError::Noise);
    }
    let at_node = established(initiator.handle_accept(&right));
    assert_eq!(at_broker.secrets, at_node.secrets.mirrored());
}

/// SEC-11.
#[test]
fn a_corrupted_accept_does_not_spoil_a_first_contact() {
    let initiator = first_contact();
    let (accept, pending) = await_finish(answer(hello_in(initiator.hello()), &broker()));
    let right = accept_in(&accept);
    for noise in corrupted(&right.noise) {
        let wrong = Accept { noise, ..right };
        let result = initiator.handle_accept(&wrong);
        assert_eq!(result.unwrap_err(), HandshakeError::Noise);
    }
    let (finish, at_node) = finisher(initiator.handle_accept(&right)).finish(&node());
    let at_broker = pending.handle_finish(&finish_in(&finish)).unwrap();
    assert_eq!(at_broker.secrets, at_node.secrets.mirrored());
}

/// SEC-11: among the corrupted ones are those whose static key decrypts and whose payload does not,
/// which `snow` alone cannot take back.
#[test]
fn a_corrupted_finish_does_not_spoil_the_right_one() {
    let (pending, right, at_node) = first_contact_up_to_finish(&node());
    for noise in corrupted(&right.noise) {
        let wrong = Finish { noise, ..right };
        let result = pending.handle_finish(&wrong);
        assert_eq!(result.unwrap_err(), HandshakeError::Noise);
    }
    let at_broker = pending.handle_finish(&right).unwrap();
    assert_eq!(at_broker.secrets, at_node.secrets.mirrored());
    let again = pending.handle_finish(&right).unwrap();
    assert_eq!(again.secrets, at_broker.secrets, "a FINISH is repeated");
}

/// HSD-4, HSD-5.
#[test]
fn datagrams_for_another_connection_id_are_refused() {
    let initiator = known_broker();
    let (accept, _) = ready(answer(hello_in(initiator.hello()), &broker()));
    let mut accept = accept_in(&accept);
    accept.cid = NodeCid::new(&[]).unwrap();
    let result = initiator.handle_accept(&accept);
    assert_eq!(result.unwrap_err(), HandshakeError::WrongCid);

    let (pending, mut finish, _) = first_contact_up_to_finish(&node());
    finish.cid = [0; 8];
    let result = pending.handle_finish(&finish);
    assert_eq!(result.unwrap_err(), HandshakeError::WrongCid);
}

/// SEC-1: other seeds, other keys; the same seeds, the same handshake.
#[test]
fn all_randomness_comes_from_the_seeds() {
    let secrets = |node_seed, broker_seed| {
        let initiator = Initiator::known_broker(cid(), broker().public(), &node(), node_seed);
        let hello = hello_in(initiator.hello());
        let response = respond(&hello, initiator.hello(), &broker(), PAYLOAD, broker_seed);
        ready(response).1.secrets
    };
    assert_eq!(secrets([1; 32], [2; 32]), secrets([1; 32], [2; 32]));
    assert_ne!(secrets([1; 32], [2; 32]), secrets([1; 32], [3; 32]));
    assert_ne!(secrets([1; 32], [2; 32]), secrets([4; 32], [2; 32]));
}

/// KEY-5, of which this is the part that a test can see: no secret reaches a log.
#[test]
fn debug_output_shows_no_seed_and_no_token() {
    let initiator = known_broker();
    let (pending, _, at_node) = first_contact_up_to_finish(&node());
    let text = format!("{initiator:?} {pending:?} {at_node:?}");
    for leak in ["[4, 4", "[5, 5", "[7, 7", "[2, 2", "[3, 3"] {
        assert!(!text.contains(leak), "{text}");
    }
}

/// A public key of low order makes no handshake fail in a way of its own, let alone panic.
#[test]
fn keys_of_low_order_do_no_harm() {
    let nobody = PublicKey([0; KEY_LEN]);
    let initiator = Initiator::known_broker(cid(), nobody, &node(), NODE_SEED);
    assert!(answer(hello_in(initiator.hello()), &broker()).is_err());

    let mut hello = hello_in(first_contact().hello());
    hello.noise = Bytes::from_static(&[0; KEY_LEN]);
    let (accept, _) = await_finish(answer(hello, &broker()));
    assert!(first_contact().handle_accept(&accept_in(&accept)).is_err());
}

proptest! {
    /// Whatever a stranger puts into the Noise fields, nothing panics and nothing is established.
    #[test]
    fn arbitrary_noise_messages_are_refused(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        is_known in any::<bool>(),
    ) {
        let noise = Bytes::from(noise);
        let initiator = if is_known { known_broker() } else { first_contact() };
        let accept = Accept { version: VERSION, cid: cid(), noise: noise.clone() };
        prop_assert!(initiator.handle_accept(&accept).is_err());

        let (pending, mut finish, _) = first_contact_up_to_finish(&node());
        finish.noise = noise.clone();
        prop_assert!(pending.handle_finish(&finish).is_err());

        let mut hello = hello_in(known_broker().hello());
        hello.noise = noise;
        prop_assert!(answer(hello, &broker()).is_err());
    }

    /// SEC-2, SEC-4: an IK HELLO with any byte changed is dropped, even if its CRC is made right.
    #[test]
    fn a_changed_hello_is_refused(at in 0..HELLO_MIN - 4, mask in 1..=255_u8) {
        let mut datagram = known_broker().hello().to_vec();
        datagram[at] ^= mask;
        let datagram = with_right_crc(&datagram);
        if let Ok(Handshake::Hello(hello)) = Handshake::decode(&datagram) {
            prop_assert!(respond(&hello, &datagram, &broker(), PAYLOAD, BROKER_SEED).is_err());
        }
    }
}

fn with_right_crc(datagram: &[u8]) -> Bytes {
    let body = &datagram[..datagram.len() - 4];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(PROTOCOL_ID);
    hasher.update(body);
    [body, &hasher.finalize().to_be_bytes()].concat().into()
}

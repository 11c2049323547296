//! The published vectors of the cacophony project for the two patterns (SEC-1), through the very
//! functions that begin, write, read and split every handshake here, over our primitives.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use crate::secure::handshake::{Pattern, Role, noise_builder, read, split, write};
use crate::secure::vectors::hex;

const PROLOGUE: &str = "4a6f686e2047616c74";
const INITIATOR_STATIC: &str = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
const INITIATOR_EPHEMERAL: &str =
    "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
const RESPONDER_STATIC: &str = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
const RESPONDER_PUBLIC: &str = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
const RESPONDER_EPHEMERAL: &str =
    "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";

/// A pattern's messages, in turns: payload and ciphertext. After the handshake come two transport
/// messages, one from each side.
struct Vector {
    name: &'static str,
    handshake_messages: usize,
    messages: [(&'static str, &'static str); 5],
    handshake_hash: &'static str,
}

const XX: Vector = Vector {
    name: "Noise_XX_25519_AESGCM_SHA256",
    handshake_messages: 3,
    messages: [
        (
            "4c756477696720766f6e204d69736573",
            concat!(
                "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944",
                "4c756477696720766f6e204d69736573"
            ),
        ),
        (
            "4d757272617920526f746862617264",
            concat!(
                "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843",
                "757117acceb05bd7a45733bc22015c97a9d0cbaf41b80446d5988ff5127235d7",
                "6b79eade70f473d6a4ef521fdcbeda5340d01e028ba793fc059f2724a83af05f",
                "12dda0448a7621a926b379a92477fd"
            ),
        ),
        (
            "462e20412e20486179656b",
            concat!(
                "c90f1cf77eba4e50edb038991565e36c9758943a989229b6051244dc4fbecb69",
                "46744b401af2ee1a5881b65fbb87fd07cb6a328ececc9ce6ce84c399dc332d4f",
                "d521fa4bb7f467ce909395"
            ),
        ),
        (
            "4361726c204d656e676572",
            "bc3fa77f6aca3e8466d7dc6bea10013e88a6a29add5132b461806c",
        ),
        (
            "4a65616e2d426170746973746520536179",
            concat!(
                "250b01074cdfe0df2ecf8ccbf1737b15a2ddb5b52fd9a396604e9c793cee3b3b",
                "b9"
            ),
        ),
    ],
    handshake_hash: "1b7aefb1125762aa21a252890d00af54519638b76437444538f9a52f21e2e0dc",
};

const IK: Vector = Vector {
    name: "Noise_IK_25519_AESGCM_SHA256",
    handshake_messages: 2,
    messages: [
        (
            "4c756477696720766f6e204d69736573",
            concat!(
                "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944",
                "4e417bc55c7a8166c993356c1be41ef67818a292426f301556c7f26b21d25ddb",
                "097153891a9a956cff47b83e63ad8d701c1342c209cff1ca5ecd43402762ac24",
                "9e3bd3a4c0a145fe07cb5dae28ea13a3"
            ),
        ),
        (
            "4d757272617920526f746862617264",
            concat!(
                "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843",
                "af2ccf9972e22afc67aeafcd25162f7f98c363b7762e3e4cb7d272e39f27a5"
            ),
        ),
        (
            "462e20412e20486179656b",
            "66acfc92e3197de166809e6d4d5d003dcc819a84bc3522ca53c9d9",
        ),
        (
            "4361726c204d656e676572",
            "71f89aa6533a6de70b0826864dd75f60806ee40170c16290189eb3",
        ),
        (
            "4a65616e2d426170746973746520536179",
            concat!(
                "4795a3423550c8bf00386bd496a3e2c76c10669d2a75ab8f79b5094c5412a257",
                "05"
            ),
        ),
    ],
    handshake_hash: "669c8640d9e42a3cda2f232f78597ceefb01daa6e3df81181ccce6fc6b5026bf",
};

/// SEC-1.
#[test]
fn first_contact_agrees_with_the_published_vectors() {
    check(&XX);
}

/// SEC-1.
#[test]
fn a_handshake_with_a_known_broker_agrees_with_the_published_vectors() {
    check(&IK);
}

fn check(vector: &Vector) {
    let mut sides = [initiator(vector), responder(vector)];
    let (handshake, transport) = vector.messages.split_at(vector.handshake_messages);
    for (turn, (payload, ciphertext)) in handshake.iter().enumerate() {
        let message = write(&mut sides[turn % 2], &hex(payload));
        assert_eq!(message, hex(ciphertext), "message {turn}");
        let read = read(&mut sides[1 - turn % 2], &message).unwrap();
        assert_eq!(read, hex(payload), "message {turn}");
    }
    let [node, broker] = sides;
    for (side, role) in [(node, Role::Node), (broker, Role::Broker)] {
        assert_eq!(side.get_handshake_hash(), hex(vector.handshake_hash));
        let secrets = split(side, role);
        let (from_node, from_broker) = match role {
            Role::Node => (secrets.send, secrets.receive),
            Role::Broker => (secrets.receive, secrets.send),
        };
        check_keys(
            &from_node,
            &from_broker,
            vector.handshake_messages,
            transport,
        );
    }
}

/// KEY-1: the first of the split keys is the initiator's.
fn check_keys(
    initiator: &[u8; 32],
    responder: &[u8; 32],
    first_turn: usize,
    transport: &[(&str, &str)],
) {
    for (turn, (payload, ciphertext)) in (first_turn..).zip(transport.iter().take(2)) {
        let key = if turn % 2 == 0 { initiator } else { responder };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        let mut message = hex(payload);
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut message)
            .unwrap();
        assert_eq!(message, hex(ciphertext), "message {turn}");
    }
}

fn initiator(vector: &Vector) -> HandshakeState {
    let (key, ephemeral) = (hex(INITIATOR_STATIC), hex(INITIATOR_EPHEMERAL));
    let (broker, prologue) = (hex(RESPONDER_PUBLIC), hex(PROLOGUE));
    let mut builder = builder(vector)
        .local_private_key(&key)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&ephemeral)
        .prologue(&prologue)
        .unwrap();
    if vector.name == IK.name {
        builder = builder.remote_public_key(&broker).unwrap();
    }
    builder.build_initiator().unwrap()
}

fn responder(vector: &Vector) -> HandshakeState {
    let (key, ephemeral) = (hex(RESPONDER_STATIC), hex(RESPONDER_EPHEMERAL));
    builder(vector)
        .local_private_key(&key)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&ephemeral)
        .prologue(&hex(PROLOGUE))
        .unwrap()
        .build_responder()
        .unwrap()
}

/// What every handshake here begins with.
fn builder<'a>(vector: &Vector) -> Builder<'a> {
    let pattern = [Pattern::Xx, Pattern::Ik]
        .into_iter()
        .find(|pattern| pattern.name() == vector.name);
    noise_builder(pattern.unwrap(), &Zeroizing::new([0; 32]))
}

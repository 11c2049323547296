//! The handles, over real sockets.

use super::*;
use crate::secure::PublicKey;

async fn broker() -> (Broker, String) {
    let broker = Broker::bind(["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = broker.addresses()[0].to_string();
    (broker, address)
}

async fn next_text(room: &mut Room) -> String {
    loop {
        match room.next().await.expect("a line") {
            RoomEvent::Line(line) if line.n > 0 => {
                return format!("{}: {}", line.name, line.text());
            }
            _ => {}
        }
    }
}

/// DLV-3, DLV-6.
#[tokio::test]
async fn two_nodes_chat_through_a_broker_in_the_same_process() {
    let (broker, address) = broker().await;
    let mut ada = Node::connect("ada", &address).await.unwrap();
    assert_eq!(ada.broker_key(), broker.key());
    let mut bob = Node::connect("bob", &address).await.unwrap();
    let mut at_ada = ada.join("lobby").await.unwrap();
    let mut at_bob = bob.join("lobby").await.unwrap();
    let first = at_ada.publish("hello").await.unwrap();
    let second = at_bob.publish("hi ada").await.unwrap();
    assert!(second > first);
    for room in [&mut at_ada, &mut at_bob] {
        assert_eq!(next_text(room).await, "ada: hello");
        assert_eq!(next_text(room).await, "bob: hi ada");
    }
    at_bob.leave().await;
    ada.leave().await.unwrap();
    bob.leave().await.unwrap();
    assert_eq!(broker.shut_down().await.to_string(), "");
}

/// SGN-2, SEC-8.
#[tokio::test]
async fn what_the_broker_refuses_is_an_error_with_its_reason() {
    let (broker, address) = broker().await;
    let mut ada = Node::connect("ada", &address).await.unwrap();
    let taken = Node::connect("ADA", &address).await.unwrap_err();
    assert!(taken.to_string().contains("this name is taken"), "{taken}");
    let room = ada.join("lobby").await.unwrap();
    assert!(matches!(
        ada.join("LOBBY").await,
        Err(JoinError::NotPossible)
    ));
    assert!(matches!(
        room.publish("two\nlines").await,
        Err(PublishError::Refused(_))
    ));
    assert!(matches!(
        Node::connect("x", "nowhere").await,
        Err(ConnectError::Address(_))
    ));
    let wrong = PublicKey([7; 32]);
    let builder = Node::builder("eve", &address).unwrap().broker_key(wrong);
    let changed = builder.connect().await.unwrap_err();
    assert!(
        changed.to_string().contains(&broker.key().fingerprint()),
        "{changed}"
    );
}

/// SGN-4, PRS-1.
#[tokio::test]
async fn the_same_keys_are_the_same_person() {
    let (_broker, address) = broker().await;
    let ada = Node::connect("ada", &address).await.unwrap();
    let (identity, key) = (ada.identity().clone(), ada.broker_key());
    ada.leave().await.unwrap();
    let again = Node::builder("ada", &address)
        .unwrap()
        .identity(identity)
        .broker_key(key);
    again.connect().await.unwrap().leave().await.unwrap();
}

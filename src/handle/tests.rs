//! The handles, over real sockets.

use super::*;
use crate::chat::{HistoryPolicy, Refusal};
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

/// HST-1, HST-2: earlier lines come in pages, without a hole, up to the beginning.
#[tokio::test]
async fn a_newcomer_reads_back_to_the_beginning() {
    let (_broker, address) = broker().await;
    let mut ada = Node::connect("ada", &address).await.unwrap();
    let at_ada = ada.join("lobby").await.unwrap();
    for text in ["one", "two", "three"] {
        at_ada.publish(text).await.unwrap();
    }
    let mut bob = Node::connect("bob", &address).await.unwrap();
    let at_bob = bob.join("lobby").await.unwrap();
    let newest = at_bob.history(None, 2).await.unwrap();
    let texts: Vec<String> = newest.lines.iter().map(|l| l.text().into_owned()).collect();
    assert_eq!(
        (texts, newest.earlier),
        (vec!["two".into(), "three".into()], true)
    );
    let before = newest.lines[0].seq;
    let oldest = at_bob.history(Some(before), 100).await.unwrap();
    let seqs: Vec<u64> = oldest.lines.iter().map(|line| line.seq).collect();
    assert_eq!((seqs, oldest.earlier), ((1..before).collect(), false));
    let nothing = at_bob.history(None, 0).await.unwrap_err();
    assert!(matches!(nothing, HistoryError::NotPossible), "{nothing}");
}

/// RUM-16.
#[tokio::test]
async fn only_whoever_made_the_room_says_who_may_read_back() {
    let (_broker, address) = broker().await;
    let mut ada = Node::connect("ada", &address).await.unwrap();
    let at_ada = ada.join("lobby").await.unwrap();
    at_ada.publish("a secret").await.unwrap();
    at_ada.set_policy(HistoryPolicy::SinceJoin).await.unwrap();
    let mut bob = Node::connect("bob", &address).await.unwrap();
    let at_bob = bob.join_with_history("lobby", 100).await.unwrap();
    let page = at_bob.history(None, 100).await.unwrap();
    assert_eq!((page.lines, page.earlier), (Vec::new(), false));
    let refused = at_bob.set_policy(HistoryPolicy::All).await.unwrap_err();
    let code = Refusal::NotAdmitted;
    assert!(matches!(refused, PublishError::NotStored { code: c, .. } if c == code));
}

/// STA-3: those who are away count, and are counted when they come back.
#[tokio::test]
async fn a_receipt_counts_those_who_have_the_line() {
    let (_broker, address) = broker().await;
    let mut ada = Node::connect("ada", &address).await.unwrap();
    let at_ada = ada.join("lobby").await.unwrap();
    let mut alone = at_ada.publish_watched("anybody?").await.unwrap();
    let told = alone.next().await.unwrap();
    assert_eq!((told.seq, told.k, told.n), (alone.seq(), 0, 0));
    assert_eq!(alone.next().await, None, "there is no more to be told");

    let mut bob = Node::connect("bob", &address).await.unwrap();
    let identity = bob.identity().clone();
    let _at_bob = bob.join("lobby").await.unwrap();
    bob.leave().await.unwrap();
    let mut receipt = at_ada.publish_watched("bob?").await.unwrap();
    let told = receipt.next().await.unwrap();
    assert_eq!((told.k, told.n), (0, 1));
    let again = Node::builder("bob", &address).unwrap().identity(identity);
    let mut bob = again.connect().await.unwrap();
    let _at_bob = bob.join_with_history("lobby", 100).await.unwrap();
    let told = receipt.next().await.unwrap();
    assert_eq!((told.k, told.n), (1, 1));
    assert_eq!(receipt.next().await, None);
}

/// NOD-1, DLV-6: answers come while events lie untaken, in this room or in another one, and nothing
/// of what lies there is lost.
#[tokio::test]
async fn answers_do_not_wait_for_events_to_be_taken() {
    let (_broker, address) = broker().await;
    let mut ada = Node::connect("ada", &address).await.unwrap();
    let mut at_ada = ada.join("lobby").await.unwrap();
    let mut bob = Node::connect("bob", &address).await.unwrap();
    let at_bob = bob.join("lobby").await.unwrap();
    // Neither of them takes an event meanwhile.
    let lines = 4 * events::WAITING_MAX;
    for line in 0..lines {
        at_bob.publish(&line.to_string()).await.unwrap();
    }
    let elsewhere = ada.join("elsewhere").await.unwrap();
    elsewhere.publish("hello?").await.unwrap();
    at_ada.publish("the end").await.unwrap();
    let page = at_ada.history(None, 10).await.unwrap();
    assert!(!page.earlier);
    for line in 0..lines {
        assert_eq!(next_text(&mut at_ada).await, format!("bob: {line}"));
    }
    assert_eq!(next_text(&mut at_ada).await, "ada: the end");
    assert_eq!(at_ada.ended(), None);
    ada.leave().await.unwrap();
}

#[cfg(feature = "sqlite")]
mod durable {
    use std::net::SocketAddr;
    use std::path::Path;

    use tokio::time::{Duration, sleep, timeout};

    use super::*;
    use crate::broker::BrokerConfig;
    use crate::chat::RoomName;
    use crate::rng::SeededRng;
    use crate::secure::BrokerIdentity;
    use crate::store::journal::JournalFile;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn broker_on(dir: &Path, at: SocketAddr) -> Broker {
        let identity = BrokerIdentity::generate(&mut SeededRng::new([7; 32]));
        let log = dir.join("log.db");
        Broker::bind_on_disk(identity, BrokerConfig::default(), &log, [at]).unwrap()
    }

    async fn ada(dir: &Path, at: SocketAddr) -> Node {
        let builder = Node::builder("ada", &at.to_string()).unwrap();
        builder.data_dir(dir.join("ada")).connect().await.unwrap()
    }

    fn texts(events: &[RoomEvent]) -> Vec<String> {
        let texts = events.iter().filter_map(|event| match event {
            RoomEvent::Line(line) if line.kind == crate::chat::Kind::Message => Some(line.text()),
            _ => None,
        });
        texts.map(|text| text.to_string()).collect()
    }

    async fn until(room: &mut Room, text: &str) -> Vec<RoomEvent> {
        let mut events = Vec::new();
        while !texts(&events).iter().any(|found| found == text) {
            let event = timeout(PATIENCE, room.next()).await.expect("it comes");
            events.push(event.expect("the node lives"));
        }
        events
    }

    /// JRN-1, NOD-1, NOD-2, SEC-9: whatever ends a node, the next one goes on.
    #[test]
    fn a_node_with_a_data_directory_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (at, device) = life(async {
            let broker = broker_on(dir, "127.0.0.1:0".parse().unwrap());
            let at = broker.addresses()[0];
            let mut node = ada(dir, at).await;
            let mut room = node.join("lobby").await.unwrap();
            room.publish("one").await.unwrap();
            room.publish("two").await.unwrap();
            // "one" is handled when the next one is asked for, and that one is not.
            assert_eq!(texts(&until(&mut room, "two").await), ["one", "two"]);
            let device = node.identity().device();
            drop(room);
            node.leave().await.unwrap();
            broker.shut_down().await;
            (at, device)
        });

        // The broker goes away, and the process ends with a line that has no outcome.
        life(async {
            let broker = broker_on(dir, at);
            let mut node = ada(dir, at).await;
            assert_eq!(node.identity().device(), device);
            let mut room = node.join("lobby").await.unwrap();
            assert_eq!(texts(&until(&mut room, "two").await), ["two"]);
            broker.shut_down().await;
            tokio::spawn(async move { room.publish("three").await });
            wait_for_one_kept(dir).await;
        });

        life(async {
            let _broker = broker_on(dir, at);
            let mut node = ada(dir, at).await;
            let mut room = node.join("lobby").await.unwrap();
            room.publish("four").await.unwrap();
            let events = until(&mut room, "four").await;
            assert_eq!(texts(&events), ["two", "three", "four"]);
            drop(room);
            drop(node);
            // The next one waits for the one that is on its way out.
            let mut node = ada(dir, at).await;
            let mut room = node.join("lobby").await.unwrap();
            assert_eq!(texts(&until(&mut room, "four").await), ["four"]);
        });
    }

    /// A process: what still runs at its end is killed.
    fn life<T>(what: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(what)
    }

    /// Waits until the journal holds a line without an outcome.
    async fn wait_for_one_kept(dir: &Path) {
        let file = JournalFile::open(&journal(dir)).unwrap();
        let kept = async {
            while file.kept().unwrap() == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, kept).await.expect("it is kept");
    }

    /// Where ada's journal is.
    fn journal(dir: &Path) -> std::path::PathBuf {
        let profiles = dir.join("ada").join("profiles");
        let broker = std::fs::read_dir(profiles).unwrap().next().unwrap();
        broker.unwrap().path().join("ada").join("journal.db")
    }

    /// JRN-6, JRN-7: a node in a library serves the programs beside it as `chat-node` does.
    #[tokio::test]
    async fn what_is_spooled_beside_a_node_is_sent_by_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let broker = broker_on(dir, "127.0.0.1:0".parse().unwrap());
        let at = broker.addresses()[0];
        let mut node = ada(dir, at).await;
        let mut room = node.join("lobby").await.unwrap();
        let mut bob = Node::connect("bob", &at.to_string()).await.unwrap();
        let mut at_bob = bob.join("elsewhere").await.unwrap();
        let mut file = JournalFile::open(&journal(dir)).unwrap();
        for name in ["lobby", "elsewhere"] {
            let name = RoomName::new(name).unwrap();
            let text = bytes::Bytes::from_static(b"from beside");
            file.spool(&name, &[text], 7, false).unwrap();
        }
        let lobby = until(&mut room, "from beside").await;
        assert_eq!(texts(&lobby), ["from beside"]);
        let elsewhere = until(&mut at_bob, "from beside").await;
        assert_eq!(texts(&elsewhere), ["from beside"]);
    }

    /// JRN-5: a journal that fails ends the node, and every handle tells so.
    #[tokio::test]
    async fn a_journal_that_fails_is_the_reason_that_everybody_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let broker = broker_on(dir, "127.0.0.1:0".parse().unwrap());
        let mut node = ada(dir, broker.addresses()[0]).await;
        let mut room = node.join("lobby").await.unwrap();
        let other = rusqlite::Connection::open(journal(dir)).unwrap();
        other.execute("DROP TABLE sending", ()).unwrap();
        let failed = room.publish("into nothing").await.unwrap_err();
        let is_journal = |ended: &Ended| matches!(ended, Ended::Journal(_));
        assert!(
            matches!(&failed, PublishError::Ended(ended) if is_journal(ended)),
            "{failed}"
        );
        while room.next().await.is_some() {}
        assert!(room.ended().as_ref().is_some_and(is_journal));
        let joined = node.join("elsewhere").await.unwrap_err();
        assert!(matches!(&joined, JoinError::Ended(ended) if is_journal(ended)));
        let LeaveError(left) = node.leave().await.unwrap_err();
        assert!(is_journal(&left), "{left}");
    }

    /// JRN-5: a directory that cannot be used is an error in words.
    #[tokio::test]
    async fn a_data_directory_that_is_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_broker, address) = broker().await;
        let path = dir.path().join("file");
        std::fs::write(&path, "").unwrap();
        let builder = Node::builder("ada", &address).unwrap();
        let refused = builder.data_dir(&path).connect().await.unwrap_err();
        assert!(matches!(refused, ConnectError::Profile(_)), "{refused}");
        assert!(refused.to_string().contains("cannot use"), "{refused}");
    }
}

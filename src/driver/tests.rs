//! The drivers over real sockets, on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::broker::{Broker, BrokerConfig, BrokerEvent, MemoryStore};
use crate::chat::{Kind, LogId, Name, RoomName};
use crate::client::{Client, ClientConfig, ClientEvent, EndReason, JournalState};
use crate::rng::SeededRng;
use crate::secure::{BrokerIdentity, NodeIdentity};
use crate::transmit::Path;

/// Longer than anything here takes; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker, whose events whoever has it must take, or close: nobody listens then.
struct RunningBroker {
    addresses: Vec<SocketAddr>,
    ends: Ends<Broker>,
    task: JoinHandle<Broker>,
}

async fn start_broker(listen: &[&str]) -> RunningBroker {
    let mut rng = SeededRng::new([1; 32]);
    let identity = BrokerIdentity::generate(&mut rng);
    let log = LogId(rng.bytes());
    let broker = Broker::new(BrokerConfig::default(), identity, log, rng.fork());
    let mut sockets = Vec::new();
    for address in listen {
        sockets.push(bind(address.parse().unwrap()).unwrap());
    }
    let addresses = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
    let store = memory_store(MemoryStore::new(log));
    let (driver, ends) = Driver::new(broker, sockets, store, Clock::system());
    let task = tokio::spawn(driver.run());
    RunningBroker {
        addresses,
        ends,
        task,
    }
}

struct RunningNode {
    ends: Ends<Client>,
    task: JoinHandle<Client>,
    identity: NodeIdentity,
}

async fn start_node(name: &str, broker: SocketAddr) -> RunningNode {
    let mut rng = SeededRng::new(system_seed().unwrap());
    let identity = NodeIdentity::generate(&mut rng);
    let clock = Clock::system();
    let config = ClientConfig {
        paths: vec![Path::new(broker)],
        name: Name::new(name).unwrap(),
        known: None,
        restored: JournalState::default(),
    };
    let client = Client::new(config, rng.fork(), clock.now());
    let local = if broker.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(local).await.unwrap();
    let (driver, ends) = Driver::new(client, vec![socket], memory_journal(), clock);
    let task = tokio::spawn(driver.run());
    let node = RunningNode {
        ends,
        task,
        identity,
    };
    let room = RoomName::default();
    node.command(NodeCommand::Join(room.into())).await;
    node
}

impl RunningNode {
    async fn command(&self, command: NodeCommand) {
        self.ends.commands.send(command).await.unwrap();
    }

    async fn publish(&self, text: &str) {
        let (reply, answer) = oneshot::channel();
        let text = text.to_owned().into();
        let room = RoomName::default();
        self.command(NodeCommand::Publish { room, text, reply })
            .await;
        answer.await.unwrap().unwrap();
    }

    /// The next event, with first contacts answered.
    async fn event(&mut self) -> ClientEvent {
        let event = next(&mut self.ends.events).await;
        if matches!(event, ClientEvent::FirstContact(_)) {
            let identity = Box::new(self.identity.clone());
            self.command(NodeCommand::SetIdentity(identity)).await;
        }
        event
    }

    async fn until(&mut self, wanted: impl Fn(&ClientEvent) -> bool) -> ClientEvent {
        loop {
            let event = self.event().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    async fn until_joined(&mut self) {
        self.until(|event| matches!(event, ClientEvent::Joined { .. }))
            .await;
    }

    /// The texts of the next `count` messages.
    async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            if let ClientEvent::Line { line, .. } = self.event().await
                && line.kind == Kind::Message
            {
                texts.push(format!("{}: {}", line.name, line.text()));
            }
        }
        texts
    }
}

async fn next<T>(events: &mut mpsc::Receiver<T>) -> T {
    let event = timeout(PATIENCE, events.recv()).await;
    event
        .expect("an event in time")
        .expect("a driver that runs")
}

async fn next_matching<T>(events: &mut mpsc::Receiver<T>, wanted: impl Fn(&T) -> bool) -> T {
    loop {
        let event = next(events).await;
        if wanted(&event) {
            return event;
        }
    }
}

/// DLV-1, DLV-3.
#[tokio::test]
async fn two_nodes_chat_over_loopback() {
    let broker = start_broker(&["127.0.0.1:0"]).await;
    let mut ada = start_node("ada", broker.addresses[0]).await;
    let mut bob = start_node("bob", broker.addresses[0]).await;
    ada.until_joined().await;
    bob.until_joined().await;
    let mut expected = Vec::new();
    for n in 0..200 {
        ada.publish(&format!("line {n}")).await;
        expected.push(format!("ada: line {n}"));
    }
    assert_eq!(bob.messages(200).await, expected);
    assert_eq!(ada.messages(200).await, expected);
}

/// A reply leaves from the socket that was spoken to, so nodes of both families are served.
#[tokio::test]
async fn a_broker_listens_on_several_sockets() {
    let broker = start_broker(&["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"]).await;
    let mut nodes = Vec::new();
    for (name, address) in ["ada", "bob", "eve"].iter().zip(&broker.addresses) {
        let mut node = start_node(name, *address).await;
        node.until_joined().await;
        nodes.push(node);
    }
    nodes[2].publish("over IPv6").await;
    for node in &mut nodes {
        assert_eq!(node.messages(1).await, ["eve: over IPv6"]);
    }
}

/// NOD-4, SGN-5.
#[tokio::test]
async fn leaving_is_announced_and_ends_the_task() {
    let mut broker = start_broker(&["127.0.0.1:0"]).await;
    let mut ada = start_node("ada", broker.addresses[0]).await;
    ada.publish("bye").await;
    ada.command(NodeCommand::Leave).await;
    let ended = ada.until(|e| matches!(e, ClientEvent::Ended(_))).await;
    assert_eq!(ended, ClientEvent::Ended(EndReason::Left));
    timeout(PATIENCE, ada.task).await.unwrap().unwrap();
    let left = next_matching(&mut broker.ends.events, |event| {
        matches!(event, BrokerEvent::Left { .. })
    });
    let BrokerEvent::Left { timed_out, .. } = left.await else {
        unreachable!()
    };
    assert!(!timed_out);
}

/// LIF-3: the CLOSE goes out, so that the node is told at once and need not find out.
#[tokio::test]
async fn a_broker_that_shuts_down_tells_its_nodes() {
    let broker = start_broker(&["127.0.0.1:0"]).await;
    let mut ada = start_node("ada", broker.addresses[0]).await;
    ada.until_joined().await;
    let command = BrokerCommand::ShutDown;
    broker.ends.commands.send(command).await.unwrap();
    timeout(PATIENCE, broker.task).await.unwrap().unwrap();
    let offline = ada.until(|event| *event == ClientEvent::Offline);
    // Without the CLOSE it would take LIF-2's five seconds.
    timeout(Duration::from_secs(3), offline).await.unwrap();
}

/// Dropping the commands is an orderly end, too.
#[tokio::test]
async fn a_node_that_nobody_commands_any_more_ends() {
    let broker = start_broker(&["127.0.0.1:0"]).await;
    let mut ada = start_node("ada", broker.addresses[0]).await;
    ada.until_joined().await;
    drop(ada.ends);
    timeout(PATIENCE, ada.task).await.unwrap().unwrap();
}

/// LIM-19: a consumer that does not take its events stops the reading, not the program; when it comes
/// back nothing is missing.
#[tokio::test]
async fn a_slow_consumer_stalls_the_socket_and_loses_nothing() {
    let mut broker = start_broker(&["127.0.0.1:0"]).await;
    broker.ends.events.close();
    let mut ada = start_node("ada", broker.addresses[0]).await;
    let mut bob = start_node("bob", broker.addresses[0]).await;
    bob.until_joined().await;
    ada.until_joined().await;
    let count = 2 * EVENTS_WAITING_MAX;
    let writer = tokio::spawn(async move {
        for n in 0..count {
            ada.publish(&n.to_string()).await;
        }
        ada.messages(count).await;
    });
    timeout(PATIENCE, writer).await.unwrap().unwrap();
    assert_eq!(bob.ends.events.len(), EVENTS_WAITING_MAX);
    let expected: Vec<String> = (0..count).map(|n| format!("ada: {n}")).collect();
    assert_eq!(bob.messages(count).await, expected);
}

/// BRK-4.
#[tokio::test]
async fn what_a_broker_drops_can_be_asked_for() {
    let broker = start_broker(&["127.0.0.1:0"]).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let datagrams = [&b""[..], b"nonsense", &[0x80; 1500]];
    for datagram in datagrams {
        let sent = stranger.send_to(datagram, broker.addresses[0]).await;
        sent.unwrap();
    }
    let total = async {
        loop {
            let (reply, answer) = oneshot::channel();
            let command = BrokerCommand::Drops(reply);
            broker.ends.commands.send(command).await.unwrap();
            let drops = answer.await.unwrap();
            let total: u64 = drops.iter().map(|(_, count)| count).sum();
            if total == datagrams.len() as u64 {
                return drops.to_string();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let drops = timeout(PATIENCE, total).await.unwrap();
    assert_eq!(drops, "empty 1, crc 1, unknown_link 1");
}

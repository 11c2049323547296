//! How many lines a second are confirmed once they are on the disk, beside how often the disk can
//! be waited for at all.
//!
//! `cargo run --release --example durable_rate -- DIR` measures on the disk that DIR is on (default:
//! the working directory's), in rounds that take turns, and prints the median of each:
//!
//! - *bare*: append a line to a file, `fdatasync`, and so on: one line at a time.
//! - *store*: the broker's store alone, asked for 1 line at a time, or for 64.
//! - *publisher*: a node without a durable outbox that publishes to a broker over loopback, 1 line
//!   at a time, or 64. Everything is in it: encryption, datagrams, acknowledgements.
//! - *durable publisher*: the same with an outbox on the same disk: each line is on the disk twice
//!   before it is confirmed, in the node's journal before it is sent, and in the broker's log.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tertulia::broker::{BrokerConfig, StorageOp, StorageRequest};
use tertulia::chat::{Kind, LogId, Name, Publication, RoomName};
use tertulia::driver::Store as _;
use tertulia::rng::SeededRng;
use tertulia::secure::{AccountKey, BrokerIdentity, DeviceKey};
use tertulia::store::log::{FILE_NAME, Running, SqliteStore};
use tertulia::{Broker, Node, Room};
use tokio::task::JoinSet;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(700);
const LINE: &str = "a line as people write it, neither long nor short, which comes to about a hundred \
                    bytes of text .....";
const MANY: u64 = 64;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let dir = TempDir::with_prefix_in("durable-rate-", dir)?;
    let mut bare = Bare::new(dir.path())?;
    let mut store = Alone::new(&dir.path().join("alone.db"))?;
    let mut publisher = Publisher::new(&dir.path().join(FILE_NAME), None).await?;
    let outbox = dir.path().join("node");
    let mut durable = Publisher::new(&dir.path().join("second.db"), Some(&outbox)).await?;
    let mut rates = [const { Vec::new() }; 7];
    for _ in 0..ROUNDS {
        rates[0].push(measure(async || bare.append()).await?);
        rates[1].push(measure(async || store.publish(1).await).await?);
        rates[2].push(measure(async || store.publish(MANY).await).await?);
        rates[3].push(measure(async || publisher.publish(1).await).await?);
        rates[4].push(measure(async || publisher.publish(MANY).await).await?);
        rates[5].push(measure(async || durable.publish(1).await).await?);
        rates[6].push(measure(async || durable.publish(MANY).await).await?);
    }
    let [bare, rates @ ..] = rates.map(median);
    let [store_rates, publisher_rates, durable_rates] = [
        [rates[0], rates[1]],
        [rates[2], rates[3]],
        [rates[4], rates[5]],
    ];
    println!(
        "lines a second, {} bytes each, median of {ROUNDS} rounds",
        LINE.len()
    );
    println!("bare append + fdatasync         {bare:8.0}");
    for (what, [one, many]) in [
        ("store", store_rates),
        ("publisher", publisher_rates),
        ("durable publisher", durable_rates),
    ] {
        println!(
            "{what:17}  1 outstanding {one:7.0}  {:6.2} x bare",
            one / bare
        );
        println!(
            "{what:17} {MANY:2} outstanding {many:7.0}  {:6.2} x its rate with 1",
            many / one
        );
    }
    publisher.end().await?;
    durable.end().await?;
    store.end().await?;
    Ok(())
}

/// Lines a second, where each call makes as many lines durable as it returns.
#[expect(
    clippy::disallowed_methods,
    reason = "real disks are measured in real time"
)]
async fn measure(mut store: impl AsyncFnMut() -> Result<u64, Failure>) -> Result<f64, Failure> {
    let begin = Instant::now();
    let mut lines = 0;
    while begin.elapsed() < ROUND {
        lines += store().await?;
    }
    Ok(lines as f64 / begin.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

struct Bare(File);

impl Bare {
    fn new(dir: &Path) -> Result<Self, Failure> {
        Ok(Self(File::create(dir.join("bare"))?))
    }

    fn append(&mut self) -> Result<u64, Failure> {
        self.0.write_all(LINE.as_bytes())?;
        self.0.sync_data()?;
        Ok(1)
    }
}

/// The store, without a broker.
struct Alone {
    store: SqliteStore,
    running: Running,
    n: u64,
}

impl Alone {
    fn new(path: &Path) -> Result<Self, Failure> {
        let (store, running) = SqliteStore::open(path, LogId([1; 16]))?;
        Ok(Self {
            store,
            running,
            n: 0,
        })
    }

    async fn publish(&mut self, count: u64) -> Result<u64, Failure> {
        for _ in 0..count {
            self.n += 1;
            let op = StorageOp::Append {
                room: RoomName::default(),
                account: AccountKey([1; 32]),
                device: DeviceKey([2; 32]),
                name: Name::new("ada")?,
                publication: Publication {
                    n: self.n,
                    typed_at_ms: self.n,
                    kind: Kind::Message,
                    body: LINE.into(),
                },
                refuse: None,
                now_ms: self.n,
            };
            self.store.submit(StorageRequest { id: self.n, op });
        }
        for _ in 0..count {
            while self.store.take().is_none() {
                self.store.ready().await;
            }
        }
        Ok(count)
    }

    async fn end(mut self) -> Result<(), Failure> {
        drop(self.store);
        Ok(self.running.ended().await?)
    }
}

/// A node and a broker.
struct Publisher {
    broker: Broker,
    node: Node,
    room: Arc<Room>,
    /// How many lines were stored and not read.
    unread: u64,
}

impl Publisher {
    async fn new(path: &Path, outbox: Option<&Path>) -> Result<Self, Failure> {
        let seed = tertulia::driver::system_seed()?;
        let identity = BrokerIdentity::generate(&mut SeededRng::new(seed));
        let listen = ["127.0.0.1:0".parse()?];
        let config = BrokerConfig::default();
        let broker = Broker::bind_on_disk(identity, config, path, listen)?;
        let address = broker.addresses()[0].to_string();
        let mut node = match outbox {
            Some(outbox) => {
                let builder = Node::builder("ada", &address)?;
                builder.data_dir(outbox).connect().await?
            }
            None => Node::connect("ada", &address).await?,
        };
        let room = Arc::new(node.join("lobby").await?);
        Ok(Self {
            broker,
            node,
            room,
            unread: 0,
        })
    }

    async fn publish(&mut self, count: u64) -> Result<u64, Failure> {
        let mut publishing = JoinSet::new();
        for _ in 0..count {
            let room = Arc::clone(&self.room);
            publishing.spawn(async move { room.publish(LINE).await });
        }
        while let Some(published) = publishing.join_next().await {
            published??;
        }
        // What comes back is read, as by everybody in the room, but no line waits for that.
        self.unread += count;
        if self.unread >= MANY {
            let room = Arc::get_mut(&mut self.room).ok_or("the room is still in use")?;
            for _ in 0..core::mem::take(&mut self.unread) {
                room.next().await.ok_or("the node has ended")?;
            }
        }
        Ok(count)
    }

    async fn end(self) -> Result<(), Failure> {
        drop(self.room);
        self.node.leave().await?;
        self.broker.shut_down().await;
        Ok(())
    }
}

//! The workloads of brokers, through a real `chat-broker` that runs as a child of this process.
//!
//! The members are the library's client machines, all of them in this one thread, each with a
//! socket of its own; the broker is another process.

mod broker;
mod crash;
mod disk;
mod durable;
mod fanout;
mod idle;
mod member;
mod sink;

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Result;
use crate::opts::Opts;
use broker::Broker;

/// How long a broker that has ended is left alone before the next one starts.
const SETTLE: Duration = Duration::from_millis(300);
/// The bytes of a message; it begins with its number, in so many hex digits.
const PAYLOAD: usize = 100;
const NUMBER_DIGITS: usize = 16;

/// A broker and how it keeps its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// On the disk, synced before it confirms: the default.
    Durable,
    /// In memory.
    Memory,
}

impl Target {
    fn parse(name: &str) -> Result<Self> {
        match name {
            "ours" => Ok(Self::Durable),
            "ours-memory" => Ok(Self::Memory),
            _ => Err(format!("--targets: {name} is neither `ours` nor `ours-memory`").into()),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Durable => "ours",
            Self::Memory => "ours-memory",
        }
    }
}

/// Whether `role` is one of this module.
pub fn knows(role: &str) -> bool {
    ["fanout", "latency", "idle", "durable", "fsync", "crash"].contains(&role)
}

/// Runs a workload as often as `opts` say, and prints a line of figures for each run.
pub async fn run(role: &str, opts: &Opts) -> Result<()> {
    let dir = env::temp_dir().join("peer-lab");
    let dir = PathBuf::from(opts.text("dir", &dir.to_string_lossy()));
    if role == "fsync" {
        return disk::measure(&dir, opts.number("secs", 3.0)?);
    }
    let reps: usize = opts.number("reps", 1)?;
    // What the workload is repeated for.
    let sizes: Vec<usize> = match role {
        "fanout" | "latency" => opts.numbers("m", "100")?,
        "idle" => opts.numbers("n", "1000")?,
        "durable" => opts.numbers("windows", "1,64")?,
        _ => vec![0],
    };
    for target in opts.text("targets", "ours").split(',') {
        let target = Target::parse(target)?;
        for &size in &sizes {
            for rep in 0..reps {
                let mut broker = Broker::prepare(target, &dir, opts)?;
                let figures = match role {
                    "fanout" => fanout::run(&mut broker, size, fanout::Pace::window(opts)?).await,
                    "latency" => fanout::run(&mut broker, size, fanout::Pace::rate(opts)?).await,
                    "idle" => idle::run(&mut broker, size, opts).await,
                    "durable" => durable::run(&mut broker, size, opts).await,
                    _ => crash::run(&mut broker, rep, opts).await,
                };
                match figures {
                    Ok(figures) => println!("{role} target={} {figures}", target.name()),
                    Err(error) => println!("{role} target={} FAILED {error}", target.name()),
                }
                broker.stop().await;
                sleep(SETTLE).await;
            }
        }
    }
    Ok(())
}

/// Message `number`.
fn payload(number: u64) -> Vec<u8> {
    let mut payload = format!("{number:0NUMBER_DIGITS$x}").into_bytes();
    payload.resize(PAYLOAD, b'x');
    payload
}

/// Which message this is.
fn number_of(payload: &[u8]) -> Option<u64> {
    let digits = payload.get(..NUMBER_DIGITS)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Seconds since `then`.
fn seconds(then: Instant) -> f64 {
    then.elapsed().as_secs_f64()
}

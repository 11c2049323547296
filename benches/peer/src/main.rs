//! The workloads by which tertulia is compared with its peers; see README.md.

mod bulk;
mod endpoint;
mod fan;
mod figures;
mod host;
mod lab;
mod opts;
mod port;
mod protocol;
mod relay;
mod thin;

use std::process::ExitCode;

use serde_json::Value;
use tokio::task::LocalSet;

use crate::opts::Opts;

/// What can go wrong, in words.
type Error = Box<dyn std::error::Error + Send + Sync>;
/// The outcome of whatever can go wrong.
type Result<T> = std::result::Result<T, Error>;

const USAGE: &str = "\
usage: peer server --proto ours [--listen 127.0.0.1:7000]
       peer client --proto ours [--connect 127.0.0.1:7000] --workload thin|fan|bulk [...]

thin: --pairs 20 --interval-ms 200 --size 100 --warm-s 2 --seconds 20 --drain-s 60 --seed 1
fan:  --receivers 50 --size 100 --window 64 --warm-s 1 --seconds 5 --rate R --rate-s 5
bulk: --mib 64 --chunk 16384 --limit-s 15
The client prints one line of JSON.

       peer fanout|latency|idle|durable|crash --broker PATH-TO-chat-broker [...]
       peer fsync [--dir DIR] [--secs 3]

all:     --targets ours,ours-memory --reps 1 --dir DIR
fanout:  --m 10,100,1000 --window 100 --warm 2 --secs 6
latency: --m 100 --rate 20 --warm 2 --secs 6
idle:    --n 1000,10000 --per-room 100 --secs 60
durable: --windows 1,64 --warm 1 --secs 5 [--strace PREFIX]
crash:   --rate 200 --pre 3 --down 0.5 --back 3 --total 9 --drain 4 [--power 1]
Each run prints one line of figures.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((role, options)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match Opts::parse(options).and_then(|opts| run(role, &opts)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread for everything: on two cores, the two ends have one each.
fn run(role: &str, opts: &Opts) -> Result<()> {
    host::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        match role {
            "server" => {
                speaks(opts)?;
                let address = opts.address("listen", "127.0.0.1:7000")?;
                relay::Relay::bind(address)?.run().await;
                Ok(())
            }
            "client" => client(opts).await,
            role if lab::knows(role) => lab::run(role, opts).await,
            role => Err(format!("{role}: no such role\n{USAGE}").into()),
        }
    })
}

/// Who runs several programs side by side has to say which is meant.
fn speaks(opts: &Opts) -> Result<()> {
    match opts.text("proto", "") {
        "ours" => Ok(()),
        proto => Err(format!("--proto {proto}: only `ours` is spoken here").into()),
    }
}

async fn client(opts: &Opts) -> Result<()> {
    speaks(opts)?;
    let server = opts.address("connect", "127.0.0.1:7000")?;
    let workload = opts.text("workload", "thin");
    let mut figures = match workload {
        "thin" => thin::run(opts, server).await?,
        "fan" => fan::run(opts, server).await?,
        "bulk" => bulk::run(opts, server).await?,
        _ => return Err(format!("--workload {workload}: no such workload").into()),
    };
    figures["proto"] = Value::from("ours");
    figures["workload"] = Value::from(workload);
    println!("{figures}");
    Ok(())
}

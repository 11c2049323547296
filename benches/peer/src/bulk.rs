//! `bulk`: one upload of `--mib` MiB, or of what gets there in `--limit-s` seconds.
//!
//! Goodput is what the server's application has, over the time from the first send to the last
//! message that it got; both by the same clock.

use std::net::SocketAddr;
use std::process;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::Result;
use crate::endpoint::Endpoint;
use crate::figures::{round3, wire, wire_counters};
use crate::host::{cpu_s, now_ns};
use crate::opts::Opts;
use crate::protocol::Role;

/// How many messages are handed over at a time.
const BATCH: usize = 4;

/// Runs the workload.
pub async fn run(opts: &Opts, server: SocketAddr) -> Result<Value> {
    let total = (opts.number("mib", 64.0)? * 1_048_576.0) as u64;
    let chunk: usize = opts.number("chunk", 16_384)?;
    let limit = Duration::from_secs_f64(opts.number("limit-s", 15.0)?);
    let (mut asking, _) = Endpoint::open(server, Role::Query, 0).await?;
    let (uploading, info) = Endpoint::open(server, Role::Bulk, 0).await?;
    let wire_before = wire_counters();
    let (server_before, client_before) = (cpu_s(info.pid), cpu_s(process::id()));
    let (since_ns, start) = (now_ns(), Instant::now());
    let upload = spawn_local(upload(uploading, total, chunk));
    let info = loop {
        sleep(Duration::from_millis(100).min(limit / 20)).await;
        let info = timeout(Duration::from_secs(20), asking.query()).await??;
        if info.bulk_bytes >= total || start.elapsed() >= limit {
            break info;
        }
    };
    let (server_cpu_s, client_cpu_s) = (
        cpu_s(info.pid) - server_before,
        cpu_s(process::id()) - client_before,
    );
    let wire_after = wire_counters();
    upload.abort();
    let seconds = info.bulk_last_ns.saturating_sub(since_ns) as f64 / 1e9;
    Ok(json!({
        "bytes": info.bulk_bytes,
        "complete": info.bulk_bytes >= total,
        "seconds": round3(seconds),
        "goodput_mb_s": round3(info.bulk_bytes as f64 / 1e6 / seconds),
        "server_cpu_s": round3(server_cpu_s),
        "client_cpu_s": round3(client_cpu_s),
        "wire": wire(wire_before, wire_after),
    }))
}

async fn upload(mut link: Endpoint, total: u64, chunk: usize) {
    let body = Bytes::from(vec![b'x'; chunk]);
    let mut left = total;
    let mut answers = Vec::new();
    while left > 0 {
        for _ in 0..BATCH {
            let len = left.min(chunk as u64);
            if len > 0 {
                link.send(body.slice(..len as usize));
            }
            left -= len;
        }
        if let Err(error) = link.drain(&mut answers).await {
            return eprintln!("peer: {error}");
        }
    }
    // Nobody answers an upload, so this only ever ends by a failure; the end of the run ends it.
    if let Err(error) = link.recv(&mut answers).await {
        eprintln!("peer: {error}");
    }
}

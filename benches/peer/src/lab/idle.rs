//! `idle`: what members cost who say nothing, with keepalives on.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::broker::Broker;
use super::fanout::{Shared, members};
use super::seconds;
use crate::Result;
use crate::host::usage;
use crate::opts::Opts;

/// How many members join at a time.
const JOINING_MAX: usize = 16;
/// How long the broker may still be busy with who came.
const SETTLE: Duration = Duration::from_secs(5);

/// Runs the workload with `count` members.
pub async fn run(broker: &mut Broker, count: usize, opts: &Opts) -> Result<String> {
    let per_room: usize = opts.number("per-room", 100)?;
    // A node's keepalive is due every 15 s, a broker's every 25 s: several rounds of both.
    let idle_s: f64 = opts.number("secs", 60.0)?;
    broker.start().await?;
    sleep(Duration::from_secs(1)).await;
    let before = usage(broker.pid());
    let shared = Shared::new(count);
    let joining = Instant::now();
    members(broker, count, per_room, JOINING_MAX, &shared).await?;
    let connect_s = seconds(joining);
    let connect_cpu_s = usage(broker.pid()).cpu_s - before.cpu_s;
    sleep(SETTLE).await;
    let joined = usage(broker.pid());
    sleep(Duration::from_secs_f64(idle_s)).await;
    let after = usage(broker.pid());
    let mib = |kib: u64| kib as f64 / 1024.0;
    let idle_cpu_s = after.cpu_s - joined.cpu_s;
    let sink = shared.sink.borrow();
    Ok(format!(
        "n={count} per_room={per_room} connect_s={connect_s:.2} connect_cpu_s={connect_cpu_s:.2} \
         rss0_MB={:.1} rss1_MB={:.1} rss_end_MB={:.1} peak_MB={:.1} KiB_per_client={:.2} \
         idle_secs={idle_s} idle_cpu_ms_per_s={:.2} idle_cpu_pct={:.3} closed={} {}",
        mib(before.rss_kib),
        mib(joined.rss_kib),
        mib(after.rss_kib),
        mib(after.peak_kib),
        joined.rss_kib.saturating_sub(before.rss_kib) as f64 / count as f64,
        idle_cpu_s / idle_s * 1e3,
        idle_cpu_s / idle_s * 100.0,
        u8::from(sink.failure.is_some()),
        sink.failure.as_deref().unwrap_or_default(),
    ))
}

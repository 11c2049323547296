//! `durable`: confirmed publications a second, of one publisher.

use std::time::Duration;

use tertulia::client::ClientEvent;
use tokio::time::{Instant, timeout};

use super::broker::Broker;
use super::member::Member;
use super::{payload, seconds};
use crate::Result;
use crate::host::usage;
use crate::opts::Opts;

/// Runs the workload with at most `window` publications under way.
pub async fn run(broker: &mut Broker, window: usize, opts: &Opts) -> Result<String> {
    let warm_s: f64 = opts.number("warm", 1.0)?;
    let measured_s: f64 = opts.number("secs", 5.0)?;
    broker.start().await?;
    let mut member = Member::joined(broker.address, "sender".into(), "room0".into()).await?;
    let (mut sent, mut confirmed, mut refused) = (0, 0, 0);
    let mut events = Vec::new();
    let start = Instant::now();
    let mut from = None;
    while seconds(start) < warm_s + measured_s {
        if from.is_none() && seconds(start) >= warm_s {
            from = Some((Instant::now(), confirmed, usage(broker.pid()).cpu_s));
        }
        while sent < confirmed + window as u64 {
            member.publish(&payload(sent))?;
            sent += 1;
        }
        let next = member.next(&mut events);
        timeout(Duration::from_millis(200), next)
            .await
            .unwrap_or(Ok(()))?;
        for event in events.drain(..) {
            confirmed += u64::from(matches!(event, ClientEvent::Stored { .. }));
            refused += u64::from(matches!(event, ClientEvent::NotStored { .. }));
        }
    }
    let (since, before, cpu_s) = from.ok_or("it did not run long enough")?;
    let elapsed = seconds(since);
    let confirmed = confirmed - before;
    Ok(format!(
        "window={window} secs={elapsed:.2} confirmed={confirmed} confirmed_per_s={:.0} \
         broker_cores={:.2} errors={refused}",
        confirmed as f64 / elapsed,
        (usage(broker.pid()).cpu_s - cpu_s) / elapsed,
    ))
}

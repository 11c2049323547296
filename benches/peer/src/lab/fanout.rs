//! `fanout` and `latency`: one sender and M receivers in one room.
//!
//! `fanout`: the sender is never more than `--window` messages ahead of the slowest receiver.
//! `latency`: it sends `--rate` messages a second, and what counts is when the last receiver has
//! each.

use std::cell::RefCell;
use std::process;
use std::rc::Rc;
use std::time::Duration;

use tertulia::client::ClientEvent;
use tokio::select;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::broker::Broker;
use super::member::Member;
use super::sink::Sink;
use super::{payload, seconds};
use crate::Result;
use crate::host::{Usage, machine_busy_s, reset_peak, usage};
use crate::opts::Opts;

/// How many members join at a time.
const JOINING_MAX: usize = 32;
/// Without progress for so long, there will be none.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// Until when who came in last is old news.
const QUIET: Duration = Duration::from_millis(500);

/// How fast the sender sends.
#[derive(Clone, Copy)]
pub struct Pace {
    window: u64,
    /// Messages a second, instead of by the window.
    rate: Option<f64>,
    warm_s: f64,
    measured_s: f64,
}

impl Pace {
    /// By the window.
    pub fn window(opts: &Opts) -> Result<Self> {
        Ok(Self {
            window: opts.number("window", 100)?,
            rate: None,
            warm_s: opts.number("warm", 2.0)?,
            measured_s: opts.number("secs", 6.0)?,
        })
    }

    /// At a rate.
    pub fn rate(opts: &Opts) -> Result<Self> {
        Ok(Self {
            window: 8192,
            rate: Some(opts.number("rate", 20.0)?),
            ..Self::window(opts)?
        })
    }
}

/// What the receivers have, and the sign that it is more.
#[derive(Clone)]
pub struct Shared {
    pub sink: Rc<RefCell<Sink>>,
    pub progress: Rc<Notify>,
}

impl Shared {
    /// For so many receivers.
    pub fn new(receivers: usize) -> Self {
        Self {
            sink: Rc::new(RefCell::new(Sink::new(receivers))),
            progress: Rc::default(),
        }
    }
}

/// The state of everything at one moment.
struct Mark {
    at: Instant,
    deliveries: u64,
    broker: Usage,
    generator: Usage,
    machine_s: f64,
}

impl Mark {
    fn now(broker: u32, deliveries: u64) -> Self {
        Self {
            at: Instant::now(),
            deliveries,
            broker: usage(broker),
            generator: usage(process::id()),
            machine_s: machine_busy_s(),
        }
    }
}

/// The sender.
struct Sender {
    member: Member,
    shared: Shared,
    events: Vec<ClientEvent>,
    sent: u64,
    confirmed: u64,
    refused: u64,
}

/// Runs the workload.
pub async fn run(broker: &mut Broker, receivers: usize, pace: Pace) -> Result<String> {
    let start = broker.start().await?;
    let shared = Shared::new(receivers);
    let member = Member::joined(broker.address, "sender".into(), "room0".into()).await?;
    let mut sender = Sender {
        member,
        shared: shared.clone(),
        events: Vec::new(),
        sent: 0,
        confirmed: 0,
        refused: 0,
    };
    let joining = Instant::now();
    let join = members(broker, receivers, receivers, JOINING_MAX, &shared);
    select! {
        joined = join => joined?,
        ended = sender.listen() => ended?,
    }
    let join_s = seconds(joining);
    timeout(QUIET, sender.listen()).await.unwrap_or(Ok(()))?;
    let joined = usage(broker.pid());
    let (from, is_stalled) = sender.run(pace, broker.pid()).await?;
    let sink = shared.sink.borrow();
    let to = Mark::now(broker.pid(), sink.deliveries);
    let elapsed = (to.at - from.at).as_secs_f64();
    let deliveries = (to.deliveries - from.deliveries) as f64;
    let broker_s = to.broker.cpu_s - from.broker.cpu_s;
    let generator_s = to.generator.cpu_s - from.generator.cpu_s;
    let others_s = to.machine_s - from.machine_s - broker_s - generator_s;
    let mut figures = format!(
        "m={receivers} w={} rate={} start_ms={:.0} join_s={join_s:.2} secs={elapsed:.2} \
         msgs_s={:.0} deliv_s={:.0} broker_cpu_s_per_M={:.2} broker_cores={:.2} gen_cores={:.2} \
         other_cores={:.2} rss_joined_MB={:.1} peak_rss_MB={:.1} lost={} dup={} acked={} \
         ack_errors={} stall={is_stalled}",
        if pace.rate.is_some() { 0 } else { pace.window },
        pace.rate.unwrap_or_default(),
        start.as_secs_f64() * 1e3,
        deliveries / receivers as f64 / elapsed,
        deliveries / elapsed,
        broker_s / deliveries * 1e6,
        broker_s / elapsed,
        generator_s / elapsed,
        others_s / elapsed,
        joined.rss_kib as f64 / 1024.0,
        to.broker.peak_kib as f64 / 1024.0,
        sink.lost,
        sink.duplicates,
        sender.confirmed,
        sender.refused,
    );
    if let Some(latencies) = &sink.latencies {
        figures += &percentiles(latencies.clone());
    }
    Ok(figures)
}

/// Lets `count` members join, in rooms of `per_room`, so many at a time, and has what they get
/// entered into `shared`.
pub async fn members(
    broker: &Broker,
    count: usize,
    per_room: usize,
    at_a_time: usize,
    shared: &Shared,
) -> Result<()> {
    let mut joining = JoinSet::new();
    let mut begun = 0;
    loop {
        while begun < count && joining.len() < at_a_time {
            let (address, place) = (broker.address, begun);
            let (name, room) = (format!("r{place}"), format!("room{}", place / per_room));
            joining.spawn_local(async move { (place, Member::joined(address, name, room).await) });
            begun += 1;
        }
        let Some(joined) = joining.join_next().await else {
            return Ok(());
        };
        let (place, member) = joined?;
        spawn_local(receive(member?, place, shared.clone()));
    }
}

async fn receive(mut member: Member, place: usize, shared: Shared) {
    let mut events = Vec::new();
    loop {
        if let Err(error) = member.next(&mut events).await {
            let mut sink = shared.sink.borrow_mut();
            sink.failure.get_or_insert(error.to_string());
            return shared.progress.notify_one();
        }
        let mut sink = shared.sink.borrow_mut();
        for event in events.drain(..) {
            if let ClientEvent::Line { line, .. } = event {
                sink.on_received(place, &line.body, &shared.progress);
            }
        }
    }
}

impl Sender {
    /// Sends, and returns where the measurement began, and whether it went on to the end.
    async fn run(&mut self, pace: Pace, broker: u32) -> Result<(Mark, bool)> {
        let start = Instant::now();
        let mut from = None;
        let mut moved = (0, start);
        loop {
            let now_s = seconds(start);
            if from.is_none() && now_s >= pace.warm_s {
                reset_peak(broker);
                let mut sink = self.shared.sink.borrow_mut();
                sink.latencies = pace.rate.map(|_| Vec::new());
                from = Some(Mark::now(broker, sink.deliveries));
            }
            let base = {
                let sink = self.shared.sink.borrow();
                if let Some(failure) = &sink.failure {
                    return Err(failure.clone().into());
                }
                sink.base
            };
            if base != moved.0 {
                moved = (base, Instant::now());
            }
            let is_stalled = pace.rate.is_none() && moved.1.elapsed() > STALLED_AFTER;
            if now_s >= pace.warm_s + pace.measured_s || is_stalled {
                let from = from.ok_or("stalled while it warmed up")?;
                return Ok((from, is_stalled));
            }
            let mut patience = Duration::from_millis(200);
            let mut may_send = base + pace.window;
            if let Some(rate) = pace.rate {
                may_send = may_send.min((now_s * rate) as u64 + 1);
                let due_s = may_send as f64 / rate;
                patience = Duration::from_secs_f64((due_s - now_s).max(0.0002));
            }
            while self.sent < may_send {
                self.shared.sink.borrow_mut().on_sent();
                self.member.publish(&payload(self.sent))?;
                self.sent += 1;
            }
            self.turn(patience).await?;
        }
    }

    /// Runs the member until there is news, or `at_most` so long.
    async fn turn(&mut self, at_most: Duration) -> Result<()> {
        let progress = self.shared.progress.clone();
        select! {
            biased;
            result = self.member.next(&mut self.events) => result?,
            () = progress.notified() => {}
            () = sleep(at_most) => {}
        }
        for event in self.events.drain(..) {
            self.confirmed += u64::from(matches!(event, ClientEvent::Stored { .. }));
            self.refused += u64::from(matches!(event, ClientEvent::NotStored { .. }));
        }
        Ok(())
    }

    /// Runs the member until it fails.
    async fn listen(&mut self) -> Result<()> {
        loop {
            self.turn(Duration::from_secs(1)).await?;
        }
    }
}

fn percentiles(mut nanos: Vec<u64>) -> String {
    nanos.sort_unstable();
    let at = |part: f64| {
        let place = ((nanos.len().max(1) - 1) as f64 * part) as usize;
        nanos.get(place).map_or(f64::NAN, |&ns| ns as f64 / 1e6)
    };
    format!(
        " samples={} p50_ms={:.3} p90_ms={:.3} p99_ms={:.3} max_ms={:.3}",
        nanos.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    )
}

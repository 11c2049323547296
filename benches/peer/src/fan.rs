//! `fan`: one sender and `--receivers` receivers.
//!
//! First at full speed, with at most `--window` messages under way: a message is done when, on
//! average, all receivers have it. Then at `--rate` messages a second, for the latency of every
//! delivery and for the server's cost when it is not busy.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::process;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::select;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::Result;
use crate::endpoint::Endpoint;
use crate::figures::{latencies, round3};
use crate::host::{cpu_s, now_ns};
use crate::opts::Opts;
use crate::protocol::Role;

/// How many receivers shake hands at a time, lest anything overflows before it has begun.
const OPENING_MAX: u64 = 16;
/// Without a delivery for so long, full speed is none.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// What the receivers have got.
#[derive(Default)]
struct Got {
    deliveries: Cell<u64>,
    progress: Notify,
    is_timing: Cell<bool>,
    latencies: RefCell<Vec<u64>>,
}

/// The sender, and what it needs to know.
struct Fan {
    sender: Endpoint,
    got: Rc<Got>,
    receivers: u64,
    size: usize,
    sent: u64,
    server_pid: u32,
}

/// Full speed, in figures.
struct FullSpeed {
    deliveries: u64,
    seconds: f64,
    server_cpu_s: f64,
    client_cpu_s: f64,
    is_stalled: bool,
    /// The sender's link.
    sender: Value,
}

/// Runs the workload.
pub async fn run(opts: &Opts, server: SocketAddr) -> Result<Value> {
    let receivers: u64 = opts.number("receivers", 50)?;
    let window: u64 = opts.number("window", 64)?;
    let rate: f64 = opts.number("rate", 5000.0 / receivers as f64)?;
    let rate_s: f64 = opts.number("rate-s", 5.0)?;
    let warm = Duration::from_secs_f64(opts.number("warm-s", 1.0)?);
    let measured = Duration::from_secs_f64(opts.number("seconds", 5.0)?);
    let got = open_receivers(server, receivers).await?;
    let (sender, info) = Endpoint::open(server, Role::Sender, 0).await?;
    let mut fan = Fan {
        sender,
        got,
        receivers,
        size: opts.number("size", 100)?,
        sent: 0,
        server_pid: info.pid,
    };
    let full = fan.full_speed(window, warm, measured).await?;
    fan.settle(Duration::from_secs(10)).await?;
    let missing = fan.sent * receivers - fan.got.deliveries.get();
    sleep(Duration::from_millis(200)).await;
    let count = (rate * rate_s) as u64;
    let before = cpu_s(fan.server_pid);
    fan.steady(rate, count).await?;
    let rate_cpu_s = cpu_s(fan.server_pid) - before;
    let mut samples = fan.got.latencies.borrow_mut();
    let rate_deliveries = samples.len() as u64;
    Ok(json!({
        "receivers": receivers,
        "size": fan.size,
        "window": window,
        "deliveries": full.deliveries,
        "seconds": round3(full.seconds),
        "deliveries_per_s": (full.deliveries as f64 / full.seconds).round() as u64,
        "server_cpu_s": round3(full.server_cpu_s),
        "client_cpu_s": round3(full.client_cpu_s),
        "server_cpu_s_per_million": round3(full.server_cpu_s / full.deliveries as f64 * 1e6),
        "missing": missing,
        "stalled": full.is_stalled,
        "sender": full.sender,
        "rate": rate,
        "rate_deliveries": rate_deliveries,
        "rate_missing": (count * receivers).saturating_sub(rate_deliveries),
        "rate_server_cpu_s_per_million": round3(rate_cpu_s / rate_deliveries.max(1) as f64 * 1e6),
        "latency_ms": latencies(&mut samples),
    }))
}

async fn open_receivers(server: SocketAddr, receivers: u64) -> Result<Rc<Got>> {
    let got = Rc::new(Got::default());
    let mut opening = JoinSet::new();
    for opened in 0..receivers + OPENING_MAX {
        if opened < receivers {
            opening.spawn_local(Endpoint::open(server, Role::Receiver, 0));
        }
        if opened >= OPENING_MAX
            && let Some(receiver) = opening.join_next().await
        {
            let (receiver, _) = receiver??;
            spawn_local(receive(receiver, got.clone()));
        }
    }
    while let Some(receiver) = opening.join_next().await {
        let (receiver, _) = receiver??;
        spawn_local(receive(receiver, got.clone()));
    }
    Ok(got)
}

async fn receive(mut link: Endpoint, got: Rc<Got>) {
    let mut messages = Vec::new();
    loop {
        if let Err(error) = link.recv(&mut messages).await {
            // What it should have got is missing.
            return eprintln!("peer: {error}");
        }
        if got.is_timing.get() {
            let now = now_ns();
            let stamps = messages.iter().map(|message| message.clone().get_u64());
            got.latencies
                .borrow_mut()
                .extend(stamps.map(|stamp| now - stamp));
        }
        let deliveries = got.deliveries.get() + messages.len() as u64;
        got.deliveries.set(deliveries);
        messages.clear();
        got.progress.notify_one();
    }
}

impl Fan {
    async fn full_speed(
        &mut self,
        window: u64,
        warm: Duration,
        measured: Duration,
    ) -> Result<FullSpeed> {
        let me = process::id();
        let start = Instant::now();
        let mut from = None;
        let mut moved = (0, start);
        let mut is_stalled = false;
        while start.elapsed() < warm + measured && !is_stalled {
            if from.is_none() && start.elapsed() >= warm {
                let deliveries = self.got.deliveries.get();
                from = Some((
                    Instant::now(),
                    deliveries,
                    cpu_s(self.server_pid),
                    cpu_s(me),
                ));
            }
            let done = self.got.deliveries.get() / self.receivers;
            if done != moved.0 {
                moved = (done, Instant::now());
            }
            is_stalled = moved.1.elapsed() > STALLED_AFTER;
            let room = (done + window).saturating_sub(self.sent);
            for _ in 0..room {
                self.say();
            }
            self.run_sender(Duration::from_millis(200)).await?;
        }
        let (since, deliveries, server, client) = from.ok_or("stalled while it warmed up")?;
        Ok(FullSpeed {
            deliveries: self.got.deliveries.get() - deliveries,
            seconds: since.elapsed().as_secs_f64(),
            server_cpu_s: cpu_s(self.server_pid) - server,
            client_cpu_s: cpu_s(me) - client,
            is_stalled,
            sender: self.sender.figures(),
        })
    }

    async fn steady(&mut self, rate: f64, count: u64) -> Result<()> {
        self.got.is_timing.set(true);
        let begin = Instant::now();
        for message in 0..count {
            let due = begin + Duration::from_secs_f64(message as f64 / rate);
            self.run_sender_until(due).await?;
            self.say();
        }
        self.settle(Duration::from_secs(5)).await
    }

    /// Waits until everything that was sent is delivered, or `at_most` so long.
    async fn settle(&mut self, at_most: Duration) -> Result<()> {
        let until = Instant::now() + at_most;
        while self.got.deliveries.get() < self.sent * self.receivers && Instant::now() < until {
            self.run_sender(Duration::from_millis(10)).await?;
        }
        Ok(())
    }

    fn say(&mut self) {
        let mut message = BytesMut::with_capacity(self.size);
        message.put_u64(now_ns());
        message.resize(self.size.max(8), b'x');
        self.sender.send(message.freeze());
        self.sent += 1;
    }

    /// Runs the sender's link until somebody has got something, or `at_most` so long.
    async fn run_sender(&mut self, at_most: Duration) -> Result<()> {
        let mut answers: Vec<Bytes> = Vec::new();
        let got = self.got.clone();
        let progress = async {
            select! {
                () = got.progress.notified() => Ok(()),
                // Nobody answers a sender, so this only ever ends by a failure.
                result = self.sender.recv(&mut answers) => result,
            }
        };
        // Nothing has happened: the caller looks again.
        timeout(at_most, progress).await.unwrap_or(Ok(()))
    }

    async fn run_sender_until(&mut self, due: Instant) -> Result<()> {
        let mut answers = Vec::new();
        select! {
            result = self.sender.recv(&mut answers) => result,
            () = sleep_until(due) => Ok(()),
        }
    }
}

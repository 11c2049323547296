//! `thin`: independent, sparse streams of small messages, as chat is.
//!
//! Each of `--pairs` pairs has a sending and a receiving link. The sender sends messages of
//! `--size` bytes at Poisson times; the server hands them to the receiver. The latency of a message
//! is from when the sender's application hands it over to when the receiver's has it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::process;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::select;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use crate::Result;
use crate::endpoint::Endpoint;
use crate::figures::{Schedule, latencies, round3, wire, wire_counters};
use crate::host::{cpu_s, now_ns};
use crate::opts::Opts;
use crate::protocol::Role;

/// How long after the last message its acknowledgements, which belong to the cost, may take.
const LAST_ACKS: Duration = Duration::from_millis(300);

#[derive(Clone, Copy)]
struct Plan {
    size: usize,
    mean_s: f64,
    begin: Instant,
    warm_s: f64,
    end_s: f64,
    seed: u64,
}

/// What all pairs together have seen; of the warm-up only what went wrong.
#[derive(Default)]
struct Seen {
    sent: usize,
    latencies: Vec<u64>,
    duplicates: u64,
    reordered: u64,
}

/// Runs the workload.
pub async fn run(opts: &Opts, server: SocketAddr) -> Result<Value> {
    let pairs: u32 = opts.number("pairs", 20)?;
    let warm_s: f64 = opts.number("warm-s", 2.0)?;
    let drain = Duration::from_secs_f64(opts.number("drain-s", 60.0)?);
    let since = Instant::now();
    let seen = Rc::new(RefCell::new(Seen::default()));
    let (begin, begins) = watch::channel(None);
    let mut opening = JoinSet::new();
    for pair in 0..pairs {
        let (begins, seen) = (begins.clone(), Rc::clone(&seen));
        opening.spawn_local(async move {
            // Each link runs from its first moment on, as a program's do: what comes for one that
            // nobody drives seems to take as long as the others take to open.
            let (receiver, _) = Endpoint::open(server, Role::Receiver, pair).await?;
            spawn_local(receive(receiver, Rc::clone(&seen)));
            let (sender, info) = Endpoint::open(server, Role::Sender, pair).await?;
            spawn_local(send(sender, u64::from(pair), begins, seen));
            Ok::<_, crate::Error>(info.pid)
        });
    }
    let mut server_pid = 0;
    while let Some(opened) = opening.join_next().await {
        server_pid = opened??;
    }
    let setup_s = since.elapsed().as_secs_f64();
    let plan = Plan {
        size: opts.number("size", 100)?,
        mean_s: opts.number("interval-ms", 200.0)? / 1e3,
        begin: Instant::now() + Duration::from_millis(50),
        warm_s,
        end_s: warm_s + opts.number("seconds", 20.0)?,
        seed: opts.number("seed", 1)?,
    };
    begin.send_replace(Some(plan));
    sleep_until(plan.begin + Duration::from_secs_f64(plan.warm_s)).await;
    let (wire_before, server_before) = (wire_counters(), cpu_s(server_pid));
    let client_before = cpu_s(process::id());
    sleep_until(plan.begin + Duration::from_secs_f64(plan.end_s)).await;
    let over = Instant::now();
    let has_all = || seen.borrow().latencies.len() >= seen.borrow().sent;
    while !has_all() && over.elapsed() < drain {
        sleep(Duration::from_millis(10)).await;
    }
    let drain_s = over.elapsed().as_secs_f64();
    sleep(LAST_ACKS).await;
    let wire_after = wire_counters();
    let mut seen = seen.borrow_mut();
    Ok(json!({
        "pairs": pairs,
        "size": plan.size,
        "interval_ms": plan.mean_s * 1e3,
        "sent": seen.sent,
        "received": seen.latencies.len(),
        "lost": seen.sent - seen.latencies.len(),
        "duplicates": seen.duplicates,
        "reordered": seen.reordered,
        "setup_s": round3(setup_s),
        "drain_s": round3(drain_s),
        "server_cpu_s": round3(cpu_s(server_pid) - server_before),
        "client_cpu_s": round3(cpu_s(process::id()) - client_before),
        "latency_ms": latencies(&mut seen.latencies),
        "wire": wire(wire_before, wire_after),
    }))
}

async fn send(
    mut link: Endpoint,
    pair: u64,
    mut begins: watch::Receiver<Option<Plan>>,
    seen: Rc<RefCell<Seen>>,
) {
    let mut got = Vec::new();
    let plan = select! {
        result = link.recv(&mut got) => return told(result),
        plan = begins.wait_for(Option::is_some) => match plan.map(|plan| *plan) {
            Ok(Some(plan)) => plan,
            Ok(None) | Err(_) => return,
        },
    };
    let mut schedule = Schedule::new(plan.seed, pair);
    let mut at = schedule.interval(plan.mean_s);
    let mut number = 0;
    loop {
        let due = plan.begin + Duration::from_secs_f64(at);
        select! {
            // Nobody answers a sender, so this only ever ends by a failure.
            result = link.recv(&mut got) => return told(result),
            () = sleep_until(due), if at < plan.end_s => {}
        }
        let is_measured = at >= plan.warm_s;
        seen.borrow_mut().sent += usize::from(is_measured);
        link.send(message(plan.size, number, is_measured));
        number += 1;
        at += schedule.interval(plan.mean_s);
    }
}

async fn receive(mut link: Endpoint, seen: Rc<RefCell<Seen>>) {
    let mut got = Vec::new();
    let mut have = Vec::new();
    loop {
        if let Err(error) = link.recv(&mut got).await {
            return told(Err(error));
        }
        let now = now_ns();
        for mut message in got.drain(..) {
            let number = message.get_u64() as usize;
            let is_measured = message.get_u8() == 1;
            let mut seen = seen.borrow_mut();
            if have.get(number) == Some(&true) {
                seen.duplicates += 1;
                continue;
            }
            if number < have.len() {
                seen.reordered += 1;
            } else {
                have.resize(number + 1, false);
            }
            have[number] = true;
            if is_measured {
                seen.latencies.push(now - message.get_u64());
            }
        }
    }
}

/// A message's number, whether it is measured, and when it was handed over; and the rest.
fn message(size: usize, number: u64, is_measured: bool) -> Bytes {
    let mut message = BytesMut::with_capacity(size);
    message.put_u64(number);
    message.put_u8(u8::from(is_measured));
    message.put_u64(now_ns());
    message.resize(size.max(17), b'x');
    message.freeze()
}

/// A link that fails in the middle of a run is told; what it should have carried is lost.
fn told(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("peer: {error}");
    }
}

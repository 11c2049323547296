//! `crash`: the broker is killed in the middle of a stream, or its power is cut; what does each
//! subscriber have in the end?
//!
//! A publisher says `--rate` messages a second. Three subscribers stay; a fourth leaves at 2 s. The
//! broker is killed between 3 and 4 s, at another moment in each run, and started again `--down`
//! seconds later; the fourth subscriber returns `--back` seconds after that. The run is over when
//! everything has arrived, or nothing has for `--drain` seconds.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Signal;
use tertulia::client::ClientEvent;
use tokio::select;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use super::broker::Broker;
use super::disk::Disk;
use super::member::{Kept, Member};
use super::{number_of, payload, seconds};
use crate::Result;
use crate::host::now_ns;
use crate::opts::Opts;

/// Subscriber 3 is away during the crash.
const SUBSCRIBERS: usize = 4;
const AWAY: usize = 3;
/// How long the rest may take to arrive, at most.
const END_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Copy)]
struct Plan {
    rate: f64,
    messages: u64,
    /// When the crash is, but for up to a second more.
    crash_s: f64,
    down: Duration,
    back: Duration,
    drain: Duration,
    is_power_cut: bool,
}

impl Plan {
    fn new(opts: &Opts) -> Result<Self> {
        let rate: f64 = opts.number("rate", 200.0)?;
        let total_s: f64 = opts.number("total", 9.0)?;
        let duration = |name: &str, default: f64| -> Result<Duration> {
            Ok(Duration::from_secs_f64(opts.number(name, default)?))
        };
        Ok(Self {
            rate,
            messages: (rate * total_s) as u64,
            crash_s: opts.number("pre", 3.0)?,
            down: duration("down", 0.5)?,
            back: duration("back", 3.0)?,
            drain: duration("drain", 4.0)?,
            is_power_cut: opts.number("power", 0)? == 1,
        })
    }
}

/// What a subscriber has got.
#[derive(Default)]
struct Got {
    /// How often each message.
    times: Vec<u16>,
    highest: Option<u64>,
    duplicates: u64,
    reordered: u64,
    /// How far back the worst of the reordered ones was.
    back: u64,
    /// The first message after the broker was started again.
    first_new: Option<Instant>,
    last_new: Option<Instant>,
    times_online: u64,
}

/// What the tasks of a run have in common.
struct Shared {
    plan: Plan,
    start: Cell<Option<Instant>>,
    restarted: Cell<Option<Instant>>,
    got: RefCell<Vec<Got>>,
    confirmed: RefCell<Vec<bool>>,
    sent: Cell<u64>,
    failure: RefCell<Option<String>>,
}

impl Shared {
    /// How many messages are to be sent by now.
    fn due(&self) -> u64 {
        let due = |start| (seconds(start) * self.plan.rate) as u64 + 1;
        let due = self.start.get().map_or(0, due);
        due.min(self.plan.messages)
    }

    fn on_received(&self, subscriber: usize, payload: &[u8]) {
        let number = number_of(payload).filter(|number| *number < self.plan.messages);
        let Some(number) = number else {
            return;
        };
        let got = &mut self.got.borrow_mut()[subscriber];
        got.times[number as usize] += 1;
        if got.times[number as usize] > 1 {
            got.duplicates += 1;
            return;
        }
        if let Some(highest) = got.highest.filter(|highest| number < *highest) {
            got.reordered += 1;
            got.back = got.back.max(highest - number);
        }
        got.highest = got.highest.max(Some(number));
        let now = Instant::now();
        got.last_new = Some(now);
        if self.restarted.get().is_some() {
            got.first_new.get_or_insert(now);
        }
    }

    fn confirmed(&self) -> usize {
        self.confirmed.borrow().iter().filter(|is| **is).count()
    }

    fn has_all(&self) -> bool {
        let has_all = |got: &Got| got.times.iter().all(|times| *times > 0);
        self.got.borrow().iter().all(has_all)
    }

    fn is_quiet(&self) -> bool {
        let quiet = |got: &Got| {
            got.last_new
                .is_none_or(|at| at.elapsed() >= self.plan.drain)
        };
        self.got.borrow().iter().all(quiet)
    }

    /// A value of each subscriber.
    fn each(&self, value: impl Fn(&Got) -> String) -> String {
        let got = self.got.borrow();
        got.iter().map(value).collect::<Vec<_>>().join("/")
    }
}

/// How the broker's second life began.
struct Restart {
    sent_at_kill: u64,
    confirmed_at_kill: usize,
    due_at_restart: u64,
    listening: Duration,
}

/// Tasks that end with the run.
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Runs the workload.
pub async fn run(broker: &mut Broker, rep: usize, opts: &Opts) -> Result<String> {
    let plan = Plan::new(opts)?;
    let data = broker.data_dir();
    let disk = match data.parent() {
        Some(dir) if plan.is_power_cut => Some(Disk::mount(data.clone(), dir)?),
        _ => None,
    };
    let figures = run_on(broker, plan, rep, disk.as_ref()).await;
    // Or its disk stays mounted.
    broker.stop().await;
    figures
}

async fn run_on(
    broker: &mut Broker,
    plan: Plan,
    rep: usize,
    disk: Option<&Disk>,
) -> Result<String> {
    broker.start().await?;
    let messages = plan.messages as usize;
    let got = || Got {
        times: vec![0; messages],
        ..Got::default()
    };
    let shared = Rc::new(Shared {
        plan,
        start: Cell::new(None),
        restarted: Cell::new(None),
        got: RefCell::new((0..SUBSCRIBERS).map(|_| got()).collect()),
        confirmed: RefCell::new(vec![false; messages]),
        sent: Cell::new(0),
        failure: RefCell::new(None),
    });
    let (present, presence) = watch::channel(true);
    let mut tasks = Tasks(Vec::new());
    for place in 0..SUBSCRIBERS {
        let mut member = subscriber(broker, place, Kept::fresh()?)?;
        member.join().await?;
        let presence = (place == AWAY).then(|| presence.clone());
        let (shared, address) = (shared.clone(), broker.address);
        let again = move |kept| new_subscriber(address, place, kept);
        tasks.0.push(spawn_local(async move {
            let ended = subscribe(&shared, place, member, again, presence).await;
            shared.failure.replace(ended.err().map(|e| e.to_string()));
        }));
    }
    let publisher = Member::joined(broker.address, "pub".into(), "room0".into()).await?;
    if let Some(disk) = disk {
        // That they are members is old enough to be on the disk.
        disk.sync()?;
    }
    let publishing = shared.clone();
    tasks.0.push(spawn_local(async move {
        let ended = publish(&publishing, publisher).await;
        publishing
            .failure
            .replace(ended.err().map(|e| e.to_string()));
    }));
    sleep(Duration::from_millis(300)).await;
    shared.start.set(Some(Instant::now()));
    let restart = crash(broker, &shared, rep, disk, &present).await?;
    settle(&shared).await;
    drop(tasks);
    if let Some(failure) = shared.failure.take() {
        return Err(failure.into());
    }
    Ok(figures(&shared, &restart))
}

fn subscriber(broker: &Broker, place: usize, kept: Kept) -> Result<Member> {
    new_subscriber(broker.address, place, kept)
}

fn new_subscriber(broker: std::net::SocketAddr, place: usize, kept: Kept) -> Result<Member> {
    let member = Member::new(broker, &format!("sub{place}"), "room0", kept)?;
    Ok(member.journaling())
}

/// Takes what comes, for ever; away while `presence` says so.
async fn subscribe(
    shared: &Shared,
    place: usize,
    mut member: Member,
    again: impl Fn(Kept) -> Result<Member>,
    mut presence: Option<watch::Receiver<bool>>,
) -> Result<()> {
    let mut events = Vec::new();
    loop {
        let has_left = async {
            match &mut presence {
                Some(presence) => presence.wait_for(|is_here| !is_here).await.is_ok(),
                None => pending().await,
            }
        };
        select! {
            result = member.next(&mut events) => result?,
            true = has_left => {
                let kept = member.part();
                if let Some(presence) = &mut presence {
                    presence.wait_for(|is_here| *is_here).await?;
                }
                member = again(kept)?;
            }
        }
        for event in events.drain(..) {
            if let ClientEvent::Line { line, .. } = event {
                shared.on_received(place, &line.body);
            }
        }
        shared.got.borrow_mut()[place].times_online = member.times_online();
    }
}

/// Says what is due, for ever.
async fn publish(shared: &Shared, mut member: Member) -> Result<()> {
    let mut events = Vec::new();
    let mut first = None;
    let mut clock = interval(Duration::from_millis(1));
    loop {
        while shared.sent.get() < shared.due() {
            let handle = member.publish(&payload(shared.sent.get()))?;
            first.get_or_insert(handle);
            shared.sent.set(shared.sent.get() + 1);
        }
        select! {
            result = member.next(&mut events) => result?,
            _ = clock.tick() => {}
        }
        for event in events.drain(..) {
            if let ClientEvent::Stored { handle, .. } = event
                && let Some(number) = first.map(|first| handle - first)
                && let Some(is_confirmed) = shared.confirmed.borrow_mut().get_mut(number as usize)
            {
                *is_confirmed = true;
            }
        }
    }
}

async fn crash(
    broker: &mut Broker,
    shared: &Shared,
    rep: usize,
    disk: Option<&Disk>,
    present: &watch::Sender<bool>,
) -> Result<Restart> {
    let plan = shared.plan;
    sleep(Duration::from_secs_f64(plan.crash_s - 1.0)).await;
    present.send_replace(false);
    let jitter_ms = (now_ns() / 1_000 + rep as u64 * 104_729) % 1_000;
    sleep(Duration::from_millis(1_000 + jitter_ms)).await;
    if let Some(disk) = disk {
        broker.signal(Signal::STOP)?;
        disk.cut_power()?;
    }
    let (sent_at_kill, confirmed_at_kill) = (shared.sent.get(), shared.confirmed());
    broker.kill().await;
    let killed = Instant::now();
    if let Some(disk) = disk {
        disk.restore_power()?;
    }
    sleep_until(killed + plan.down).await;
    let restarted = broker.spawn()?;
    shared.restarted.set(Some(restarted));
    let due_at_restart = shared.due();
    let listening = broker.listens().await?;
    sleep_until(restarted + plan.back).await;
    present.send_replace(true);
    Ok(Restart {
        sent_at_kill,
        confirmed_at_kill,
        due_at_restart,
        listening,
    })
}

/// Waits until everything has arrived, or nothing does any more.
async fn settle(shared: &Shared) {
    let plan = shared.plan;
    let everything_sent = async {
        while shared.due() < plan.messages || shared.confirmed() < plan.messages as usize {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let rest = Duration::from_secs_f64(plan.messages as f64 / plan.rate) + END_MAX;
    // What is not confirmed by then shows in the figures.
    let _ = timeout(rest, everything_sent).await;
    let since = Instant::now();
    while since.elapsed() < END_MAX {
        sleep(Duration::from_millis(100)).await;
        let is_over = shared.has_all() || shared.is_quiet();
        if since.elapsed() >= plan.drain && is_over {
            return;
        }
    }
}

fn figures(shared: &Shared, restart: &Restart) -> String {
    let plan = shared.plan;
    let confirmed = shared.confirmed.borrow();
    let lost_confirmed = |got: &Got| {
        let both = got.times.iter().zip(confirmed.iter());
        both.filter(|(times, is)| **times == 0 && **is).count()
    };
    let restarted = shared.restarted.get();
    let first_new = |got: &Got| match (got.first_new, restarted) {
        (Some(first), Some(restarted)) => {
            format!("{:.0}", (first - restarted).as_secs_f64() * 1e3)
        }
        _ => "none".to_owned(),
    };
    let all_first = shared.each(first_new);
    let (online, away) = all_first.rsplit_once('/').unwrap_or_default();
    format!(
        "power={} js_window=0 no_queue=false n={} restarted_at_msg={} sent_at_kill={} \
         conf_at_kill={} confirmed={} retries=0 pub_sessions_lost=0 lost={} lost_confirmed={} \
         dup={} reordered={} back={} sessions_lost=0 reconnects={} port_open_ms={:.0} \
         first_new_ms={online} offline_first_new_ms={away}",
        plan.is_power_cut,
        plan.messages,
        restart.due_at_restart,
        restart.sent_at_kill,
        restart.confirmed_at_kill,
        shared.confirmed(),
        shared.each(|got| got
            .times
            .iter()
            .filter(|times| **times == 0)
            .count()
            .to_string()),
        shared.each(|got| lost_confirmed(got).to_string()),
        shared.each(|got| got.duplicates.to_string()),
        shared.each(|got| got.reordered.to_string()),
        shared.each(|got| got.back.to_string()),
        shared.each(|got| got.times_online.saturating_sub(1).to_string()),
        restart.listening.as_secs_f64() * 1e3,
    )
}

//! What the machine says: clocks, CPU time, memory.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use tertulia::time::Timestamp;

/// Nanoseconds of the monotonic clock, which is the same one for all processes of the machine.
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanos
}

/// The same, as the machines of the library take it.
pub fn now() -> Timestamp {
    Timestamp::from_nanos(now_ns())
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU seconds, user and system, of all its threads; counted in ticks, usually of 10 ms.
    pub cpu_s: f64,
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// The most resident memory that there ever was, or was since [`reset_peak`], in KiB.
    pub peak_kib: u64,
}

/// What the process `pid` has used; nothing if there is no such process.
pub fn usage(pid: u32) -> Usage {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_default()
    };
    Usage {
        cpu_s: cpu_s(pid),
        rss_kib: kib("VmRSS:"),
        peak_kib: kib("VmHWM:"),
    }
}

/// The CPU seconds of the process `pid`.
pub fn cpu_s(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold spaces.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// The busy CPU seconds of the whole machine.
pub fn machine_busy_s() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = first
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let busy = [0, 1, 2, 5, 6, 7].map(|at| fields.get(at).copied().unwrap_or_default());
    busy.iter().sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// From now on, the peak of the memory of `pid` is that of what follows.
pub fn reset_peak(pid: u32) {
    // Where it cannot be reset, the peak is that of the whole run: still true, only less telling.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// As many sockets as the system lets this process have.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it stays low, opening the sockets says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

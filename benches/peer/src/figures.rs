//! Figures: percentiles, what went over the wire, and the times at which messages are sent.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use std::{env, fs, process};

use serde_json::{Value, json};

/// `x` with three digits after the point.
pub fn round3(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}

/// Latencies, in nanoseconds, as percentiles in milliseconds: all samples, nearest rank.
pub fn latencies(samples: &mut [u64]) -> Value {
    samples.sort_unstable();
    let at = |part: f64| {
        let rank = (samples.len() as f64 * part).ceil() as usize;
        let sample = samples.get(rank.clamp(1, samples.len().max(1)) - 1);
        sample.map(|&ns| round3(ns as f64 / 1e6))
    };
    let sum: f64 = samples.iter().map(|&ns| ns as f64).sum();
    json!({
        "mean": round3(sum / samples.len().max(1) as f64 / 1e6),
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p999": at(0.999),
        "max": at(1.0),
    })
}

/// What netlab has counted so far, if this runs under it.
pub fn wire_counters() -> Option<Value> {
    let netlab = env::var_os("NETLAB_CTL")?;
    let mine = env::temp_dir().join(format!("peer-{}.sock", process::id()));
    let ask = || -> std::io::Result<Value> {
        let socket = UnixDatagram::bind(&mine)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.send_to(b"counters", netlab)?;
        let mut answer = [0; 4096];
        let len = socket.recv(&mut answer)?;
        Ok(serde_json::from_slice(&answer[..len])?)
    };
    let counters = ask();
    // It is gone already if it could not be bound.
    let _ = fs::remove_file(&mine);
    counters.ok()
}

/// The counters before and after.
pub fn wire(before: Option<Value>, after: Option<Value>) -> Value {
    match (before, after) {
        (Some(before), Some(after)) => json!({ "before": before, "after": after }),
        _ => Value::Null,
    }
}

/// Random times that are the same for every program that is measured: splitmix64.
pub struct Schedule(u64);

impl Schedule {
    /// That of sender `sender` in the run `seed`.
    pub fn new(seed: u64, sender: u64) -> Self {
        Self(seed.wrapping_mul(1_000_003).wrapping_add(sender))
    }

    /// An exponentially distributed interval of this mean: what is sent is a Poisson process.
    pub fn interval(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

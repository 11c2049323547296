//! What all receivers together have got.

use std::collections::VecDeque;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::number_of;

/// What all receivers have got.
#[derive(Default)]
pub struct Sink {
    /// The next message that each receiver is to get.
    next: Vec<u64>,
    /// How many receivers have each message from `base` on, and when it was sent.
    under_way: VecDeque<(usize, Option<Instant>)>,
    /// All receivers have all messages before this one.
    pub base: u64,
    pub deliveries: u64,
    /// Messages that a receiver did not get before a later one.
    pub lost: u64,
    pub duplicates: u64,
    /// Why the first receiver that has ended did.
    pub failure: Option<String>,
    /// If wanted: how long each message took to its last receiver, in nanoseconds.
    pub latencies: Option<Vec<u64>>,
}

impl Sink {
    /// For `receivers` of them.
    pub fn new(receivers: usize) -> Self {
        Self {
            next: vec![0; receivers],
            ..Self::default()
        }
    }

    /// The next message is sent now.
    pub fn on_sent(&mut self) {
        self.under_way.push_back((0, Some(Instant::now())));
    }

    /// Receiver `receiver` has got a message. `progress` is told when all have one more.
    pub fn on_received(&mut self, receiver: usize, payload: &[u8], progress: &Notify) {
        let Some(number) = number_of(payload) else {
            return;
        };
        let next = self.next[receiver];
        if number < next {
            self.duplicates += 1;
            return;
        }
        self.deliveries += 1;
        self.lost += number - next;
        self.next[receiver] = number + 1;
        for message in next..=number {
            let at = (message - self.base) as usize;
            if let Some((receivers, _)) = self.under_way.get_mut(at) {
                *receivers += 1;
            }
        }
        let before = self.base;
        while let Some((receivers, sent)) = self.under_way.front()
            && *receivers == self.next.len()
        {
            if let (Some(latencies), Some(sent)) = (&mut self.latencies, sent) {
                latencies.push(sent.elapsed().as_nanos() as u64);
            }
            self.under_way.pop_front();
            self.base += 1;
        }
        if self.base > before {
            progress.notify_one();
        }
    }
}

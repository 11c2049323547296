//! A store of the turmoil level, which takes its time.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use tertulia::driver::Store;
use tertulia::time::Timestamp;

use super::{now, sleep_until};

/// Does one request after another, each when its time has come.
pub(super) struct Delayed<R, C> {
    /// Told of a request at once; says how long it takes.
    begin: Box<dyn FnMut(&R) -> Duration + Send>,
    /// Does it.
    end: Box<dyn FnMut(R) -> C + Send>,
    under_way: VecDeque<(Timestamp, R)>,
    busy_until: Timestamp,
}

impl<R, C> Delayed<R, C> {
    pub(super) fn new(
        begin: impl FnMut(&R) -> Duration + Send + 'static,
        end: impl FnMut(R) -> C + Send + 'static,
    ) -> Self {
        Self {
            begin: Box::new(begin),
            end: Box::new(end),
            under_way: VecDeque::new(),
            busy_until: Timestamp::ZERO,
        }
    }
}

impl<R: Send + 'static, C: Send + 'static> Store for Delayed<R, C> {
    type Request = R;
    type Completion = C;

    fn submit(&mut self, request: R) {
        let takes = (self.begin)(&request);
        self.busy_until = self.busy_until.max(now() + takes);
        self.under_way.push_back((self.busy_until, request));
    }

    fn take(&mut self) -> Option<C> {
        let (at, _) = self.under_way.front()?;
        if *at > now() {
            return None;
        }
        let (_, request) = self.under_way.pop_front()?;
        Some((self.end)(request))
    }

    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        sleep_until(self.under_way.front().map(|(at, _)| *at))
    }
}

//! BBR, after draft-cardwell-iccrg-bbr-congestion-control-00, with what is said below (CC-4).
//!
//! A path is described by two numbers: how fast it delivers (the highest rate of the last ten round
//! trips) and how long a round trip takes while no queue stands (the shortest of the last ten
//! seconds). Their product is what belongs in flight. So a loss says nothing by itself, and a queue
//! is not filled up to find out where it ends.
//!
//! The link begins in [`Mode::Startup`], doubling its rate each round trip until three of them bring
//! less than a quarter more; [`Mode::Drain`] takes away the queue which that has made. From then on,
//! in [`Mode::ProbeBw`], it sends a quarter more than the path delivers for one round trip in eight,
//! to see whether there is more to be had, and a quarter less in the next. When no round trip was
//! the shortest for ten seconds, the queue may be what makes them long: [`Mode::ProbeRtt`] keeps
//! half as much in flight for a moment.
//!
//! Beside flows that fill every queue until it overflows, as TCP's do, this would take too much of a
//! short queue and too little of a long one. A loss while round trips are long, though this link
//! does not push, tells of them: then [`SharedQueue`] bounds the window as theirs are (CC-6).

use core::time::Duration;

use super::rate::{RateEstimator, RateSample, Stamp};
use super::{AckedPacket, Congestion, LostPackets, rate_of};
use crate::link::sent::IN_FLIGHT_MAX;
use crate::time::Timestamp;
use crate::wire::DATAGRAM_BASE;

/// How large datagrams are at first, in bytes.
const DATAGRAM: u64 = DATAGRAM_BASE as u64;
/// The window of a new link (CC-1).
const WINDOW_INITIAL: u64 = 10 * DATAGRAM;
/// The least window, in datagrams: with fewer than four, delayed acknowledgements stop the flow (CC-4).
const DATAGRAMS_MIN: u64 = 4;
/// More could not be in flight anyway (LIM-4).
const WINDOW_MAX: u64 = IN_FLIGHT_MAX as u64 * DATAGRAM;

/// Gains, in percent. 2 / ln 2 doubles the rate in each round trip.
const GAIN_STARTUP: u64 = 289;
const GAIN_DRAIN: u64 = 35;
const GAIN_WINDOW: u64 = 200;
const GAIN_PROBE_RTT: u64 = 50;
/// With so much in flight, a path is full whatever the application does.
const GAIN_FULL: u64 = 150;
/// The phases of [`Mode::ProbeBw`], each as long as the shortest round trip.
const CYCLE: [u64; 8] = [125, 75, 100, 100, 100, 100, 100, 100];

/// The highest rate of so many round trips counts.
const RATE_ROUNDS: usize = 10;
/// The shortest round trip counts for so long.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
/// A round trip of at most so many percent of the shortest confirms it.
const MIN_RTT_PERCENT: u128 = 103;
/// How long less is in flight, to see how short a round trip can be.
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
/// The path is full once so many round trips in a row bring less than a quarter more.
const FULL_ROUNDS: u8 = 3;

/// Startup ends when it loses more than this of a thousand bytes in a round, in a long queue.
const OVERSHOT_PERMILLE: u64 = 100;
/// No more than this of a thousand bytes is sent in addition to what the path delivers.
const LOSS_MAX: u64 = 100;

/// What may go at once, given a fast path: as much as it takes in this time.
const QUANTUM_TIME: Duration = Duration::from_millis(1);
const QUANTUM_MAX: u64 = 65_536;

/// A round trip of more than so many percent of the shortest tells that a queue stands.
const QUEUE_FULL_PERCENT: u128 = 130;
/// One of at most so many tells that none does.
const QUEUE_EMPTY_PERCENT: u128 = 110;
/// By this part of it the bound rises in a round trip without a queue.
const EMPTY_PART: u64 = 8;
/// What is left of the window when a queue of others overflows.
const BACK_OFF: (u64, u64) = (7, 10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Startup,
    Drain,
    ProbeBw {
        phase: u8,
        since: Timestamp,
    },
    ProbeRtt {
        /// When enough time has passed with little in flight, once that is so.
        until: Option<Timestamp>,
        /// What must have been delivered besides.
        round: u64,
    },
}

/// The controller.
#[derive(Clone, Debug)]
pub(in crate::link) struct Bbr {
    mode: Mode,
    window: u64,
    /// How large datagrams are (MTU-1).
    datagram: u64,
    estimator: RateEstimator,
    rates: MaxRate,
    rounds: Rounds,
    full: FullPath,
    min_rtt: Option<(Duration, Timestamp)>,
    /// What was acknowledged since the last [`Congestion::on_ack_end`], in bytes; and whether it
    /// made the window worth having.
    acked: u64,
    is_window_used: bool,
    /// Whether anything was lost since the phase began.
    has_lost: bool,
    queue: SharedQueue,
    losses: Losses,
    variety: u8,
}

/// The highest rate of the last ten round trips, in bytes a second.
#[derive(Clone, Debug, Default)]
struct MaxRate {
    /// The highest of each, as a ring.
    rounds: [u64; RATE_ROUNDS],
    at: u8,
}

impl MaxRate {
    fn get(&self) -> u64 {
        self.rounds.iter().copied().max().unwrap_or_default()
    }

    fn begin_round(&mut self) {
        self.at = (self.at + 1) % RATE_ROUNDS as u8;
        self.rounds[usize::from(self.at)] = 0;
    }

    fn on_sample(&mut self, rate: u64) {
        let round = &mut self.rounds[usize::from(self.at)];
        *round = rate.max(*round);
    }
}

/// Counts round trips: one ends when something is acknowledged that was sent after it began.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    /// With so much delivered, the present one began.
    began: u64,
    /// The most that had been delivered when any packet was sent that is acknowledged now.
    newest: u64,
}

impl Rounds {
    fn on_ack(&mut self, stamp: &Stamp) {
        self.newest = self.newest.max(stamp.delivered());
    }

    /// Whether a new round has begun, with `delivered` bytes delivered by now.
    fn has_begun(&mut self, delivered: u64) -> bool {
        let has_begun = self.newest >= self.began;
        if has_begun {
            self.began = delivered;
        }
        has_begun
    }
}

/// What the path loses whatever is sent: the least of the last ten round trips. So much is sent in
/// addition, or what arrives would be less than what the path delivers.
#[derive(Clone, Debug, Default)]
struct Losses {
    /// Of a thousand bytes in each round, as a ring.
    rounds: [u16; RATE_ROUNDS],
    at: u8,
    /// In this round, in bytes.
    lost: u64,
    acked: u64,
}

impl Losses {
    fn begin_round(&mut self) {
        let all = self.lost + self.acked;
        let permille = (self.lost * 1_000).checked_div(all).unwrap_or_default();
        self.rounds[usize::from(self.at)] = permille as u16;
        self.at = (self.at + 1) % RATE_ROUNDS as u8;
        (self.lost, self.acked) = (0, 0);
    }

    /// At most [`LOSS_MAX`].
    fn permille(&self) -> u64 {
        let least = self.rounds.iter().copied().min().unwrap_or_default();
        u64::from(least).min(LOSS_MAX)
    }
}

/// Whether the path is full: three rounds brought less than a quarter more.
#[derive(Clone, Copy, Debug, Default)]
struct FullPath {
    rate: u64,
    rounds: u8,
}

impl FullPath {
    const fn is_full(&self) -> bool {
        self.rounds >= FULL_ROUNDS
    }

    const fn set(&mut self) {
        self.rounds = FULL_ROUNDS;
    }

    fn on_round(&mut self, rate: u64) {
        if self.is_full() {
            return;
        }
        if rate * 4 >= self.rate * 5 {
            *self = Self { rate, rounds: 0 };
        } else {
            self.rounds += 1;
        }
    }
}

/// What is learned from a queue that overflows though this link sends no more than it gets through:
/// others fill it. Then the window is what theirs is made of: less by three tenths at a loss (RFC
/// 9438), and more by a datagram for each round trip without one (RFC 5681).
#[derive(Clone, Copy, Debug, Default)]
struct SharedQueue {
    /// The most that may be in flight.
    bound: Option<u64>,
    /// The shortest round trip that ended in the last round, and in this one. The shortest, because
    /// a single one may be long for any reason.
    last_rtt: Duration,
    rtt: Option<Duration>,
    latest_rtt: Duration,
    /// Whether the bound was lowered in this round.
    is_lowered: bool,
}

impl SharedQueue {
    fn on_rtt(&mut self, rtt: Duration) {
        self.latest_rtt = rtt;
        self.rtt = Some(self.rtt.map_or(rtt, |other| other.min(rtt)));
    }

    fn is_full(&self, min_rtt: Duration) -> bool {
        is_longer(self.last_rtt, min_rtt, QUEUE_FULL_PERCENT)
    }

    /// Something was lost in a full queue, and was sent no faster than the path delivers.
    fn on_overflow(&mut self, window: u64, window_min: u64) {
        if !self.is_lowered {
            let (part, whole) = BACK_OFF;
            self.bound = Some((window * part / whole).max(window_min));
            self.is_lowered = true;
        }
    }

    fn on_round(&mut self, window: u64, datagram: u64, min_rtt: Duration) {
        let was_lowered = core::mem::take(&mut self.is_lowered);
        self.last_rtt = self.rtt.take().unwrap_or(self.last_rtt);
        let Some(bound) = self.bound.filter(|_| !was_lowered) else {
            return;
        };
        let more = match is_longer(self.last_rtt, min_rtt, QUEUE_EMPTY_PERCENT) {
            true => datagram,
            false => bound / EMPTY_PART,
        };
        self.bound = Some(bound + more).filter(|bound| *bound < window);
    }
}

/// Whether a round trip takes more than so many percent of the shortest.
fn is_longer(rtt: Duration, min_rtt: Duration, percent: u128) -> bool {
    rtt.as_nanos() * 100 > min_rtt.as_nanos() * percent
}

impl Bbr {
    pub(super) fn new(variety: u8) -> Self {
        Self {
            mode: Mode::Startup,
            window: WINDOW_INITIAL,
            datagram: DATAGRAM,
            estimator: RateEstimator::default(),
            rates: MaxRate::default(),
            rounds: Rounds::default(),
            full: FullPath::default(),
            min_rtt: None,
            acked: 0,
            is_window_used: false,
            has_lost: false,
            queue: SharedQueue::default(),
            losses: Losses::default(),
            variety,
        }
    }

    const fn window_min(&self) -> u64 {
        DATAGRAMS_MIN * self.datagram
    }

    /// What belongs in flight, times `gain` percent; `None` before anything was measured.
    fn in_flight_for(&self, gain: u64) -> Option<u64> {
        let (min_rtt, _) = self.min_rtt?;
        let bytes = u128::from(self.rates.get()) * min_rtt.as_nanos() * u128::from(gain);
        let bytes = u64::try_from(bytes / 100_000_000_000).unwrap_or(u64::MAX);
        (bytes > 0).then_some(bytes)
    }

    fn pacing_gain(&self) -> u64 {
        match self.mode {
            Mode::Startup => GAIN_STARTUP,
            Mode::Drain => GAIN_DRAIN,
            Mode::ProbeBw { phase, .. } => CYCLE[usize::from(phase)],
            Mode::ProbeRtt { .. } => 100,
        }
    }

    /// Whether Startup has filled the queue, and loses much of what it sends: there is nothing more
    /// to be had.
    fn has_overshot(&self, min_rtt: Duration) -> bool {
        let Losses { lost, acked, .. } = self.losses;
        lost > self.window_min()
            && lost * 1_000 > (lost + acked) * OVERSHOT_PERMILLE
            && is_longer(self.queue.latest_rtt, min_rtt, QUEUE_FULL_PERCENT)
            && !self.estimator.is_app_limited()
    }

    /// A queue has lost or marked something: if it is long, others fill it (CC-6).
    fn mind_overflow(&mut self, min_rtt: Duration) {
        let is_probing = matches!(self.mode, Mode::ProbeBw { .. });
        if is_probing && self.queue.is_full(min_rtt) && self.is_not_pushing() {
            self.queue.on_overflow(self.window(), self.window_min());
        }
    }

    /// Whether a full queue cannot be this link's own: it sends no more than the path delivers, or
    /// has no more in flight than its bound.
    fn is_not_pushing(&self) -> bool {
        self.pacing_gain() == 100 || self.queue.bound.is_some()
    }

    fn on_sample(&mut self, sample: RateSample, is_new_round: bool) {
        if !sample.is_app_limited {
            if is_new_round {
                self.rates.begin_round();
            }
            self.rates.on_sample(sample.rate);
            if is_new_round {
                self.full.on_round(self.rates.get());
            }
        } else if sample.rate >= self.rates.get() {
            // The application could not have asked for more, and the path gave it.
            self.rates.on_sample(sample.rate);
        }
    }

    fn begin_cycle(&mut self, now: Timestamp) {
        // Any phase but that which drains what the first has put into the queue.
        let phase = match self.variety % 7 {
            0 => 0,
            other => other + 1,
        };
        self.mode = Mode::ProbeBw { phase, since: now };
        self.has_lost = false;
    }

    /// Moves on from what is done: from Startup to Drain, from there and from phase to phase.
    fn advance(&mut self, in_flight: u64, now: Timestamp) {
        if self.mode == Mode::Startup && self.full.is_full() {
            self.mode = Mode::Drain;
        }
        let holds = |bbr: &Self, gain| bbr.in_flight_for(gain).is_none_or(|most| in_flight <= most);
        if self.mode == Mode::Drain && holds(self, 100) {
            self.begin_cycle(now);
        }
        let (Mode::ProbeBw { phase, since }, Some((min_rtt, _))) = (self.mode, self.min_rtt) else {
            return;
        };
        let is_over = now.saturating_since(since) > min_rtt;
        let is_done = match CYCLE[usize::from(phase)] {
            gain if gain > 100 => is_over && (self.has_lost || !holds(self, gain)),
            gain if gain < 100 => is_over || holds(self, 100),
            _ => is_over,
        };
        if is_done {
            let phase = (phase + 1) % CYCLE.len() as u8;
            self.mode = Mode::ProbeBw { phase, since: now };
            self.has_lost = false;
        }
    }

    /// Takes a sample of the round trip, and goes to look for a shorter one if it is time.
    fn on_rtt(&mut self, rtt: Option<Duration>, in_flight: u64, now: Timestamp) {
        let Some((min, at)) = self.min_rtt else {
            self.min_rtt = rtt.map(|rtt| (rtt, now));
            return;
        };
        let has_expired = now.saturating_since(at) > MIN_RTT_WINDOW;
        let is_thin = self.estimator.is_app_limited();
        match rtt {
            Some(rtt) if rtt <= min || has_expired => self.min_rtt = Some((rtt, now)),
            Some(rtt) if !is_longer(rtt, min, MIN_RTT_PERCENT) => self.min_rtt = Some((min, now)),
            _ => {}
        }
        // An application that sends little leaves no queue behind: any sample is as good.
        if has_expired && !is_thin && !matches!(self.mode, Mode::ProbeRtt { .. }) {
            self.mode = Mode::ProbeRtt {
                until: None,
                round: 0,
            };
        }
        let Mode::ProbeRtt { until, round } = self.mode else {
            return;
        };
        match until {
            None if in_flight <= self.window_in_probe() => {
                self.mode = Mode::ProbeRtt {
                    until: Some(now + PROBE_RTT_TIME),
                    round: self.estimator.delivered(),
                };
            }
            Some(until) if until <= now && self.rounds.newest >= round => {
                self.min_rtt = self.min_rtt.map(|(min, _)| (min, now));
                match self.full.is_full() {
                    true => self.begin_cycle(now),
                    false => self.mode = Mode::Startup,
                }
            }
            _ => {}
        }
    }

    fn window_in_probe(&self) -> u64 {
        self.in_flight_for(GAIN_PROBE_RTT)
            .unwrap_or_default()
            .max(self.window_min())
    }

    /// How much may go at once, in bytes.
    fn quantum(&self) -> u64 {
        let rate = u128::from(self.rates.get());
        let bytes = rate * QUANTUM_TIME.as_nanos() / 1_000_000_000;
        u64::try_from(bytes)
            .unwrap_or(QUANTUM_MAX)
            .clamp(2 * self.datagram, QUANTUM_MAX)
    }

    /// Lets the window grow by what was acknowledged, up to what belongs in flight.
    fn fit_window(&mut self, acked: u64) {
        let gain = match self.mode {
            Mode::Startup | Mode::Drain => GAIN_STARTUP,
            Mode::ProbeBw { .. } | Mode::ProbeRtt { .. } => GAIN_WINDOW,
        };
        let Some(target) = self.in_flight_for(gain) else {
            return;
        };
        // Some more for what waits to go at once, and for acknowledgements that are held back.
        let target = target + 3 * self.quantum();
        if self.full.is_full() {
            self.window = (self.window + acked).min(target);
        } else if self.window < target {
            self.window += acked;
        }
        self.window = self.window.clamp(self.window_min(), WINDOW_MAX);
    }
}

impl Congestion for Bbr {
    fn window(&self) -> u64 {
        let window = self.queue.bound.unwrap_or(u64::MAX).min(self.window);
        match self.mode {
            Mode::ProbeRtt { .. } => window.min(self.window_in_probe()),
            _ => window,
        }
    }

    fn pacing_rate(&self, srtt: Duration) -> u64 {
        let gain = self.pacing_gain();
        let rate = self.rates.get();
        let sent = u128::from(rate) * u128::from(gain) * 10;
        let rate = sent / u128::from(1_000 - self.losses.permille());
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        match self.full.is_full() {
            true => rate.max(1),
            false => rate.max(rate_of(WINDOW_INITIAL, srtt, gain)),
        }
    }

    fn on_sent(&mut self, in_flight: u64, now: Timestamp) -> Stamp {
        self.estimator.on_sent(in_flight, now)
    }

    fn on_app_limited(&mut self, in_flight: u64) {
        // An application that waits for its messages to be acknowledged, with more in flight than
        // the path holds, does show what it can do.
        let is_full = in_flight > WINDOW_INITIAL
            && self
                .in_flight_for(GAIN_FULL)
                .is_some_and(|full| in_flight >= full);
        if !is_full {
            self.estimator.on_app_limited(in_flight);
        }
    }

    fn on_ack(&mut self, packet: &AckedPacket, now: Timestamp) {
        self.estimator
            .on_acked(packet.len, &packet.stamp, packet.sent_at, now);
        self.rounds.on_ack(&packet.stamp);
        self.acked += packet.len;
        self.is_window_used |= !packet.is_app_limited;
    }

    fn on_loss(&mut self, lost: LostPackets, _: Timestamp) {
        self.has_lost = true;
        self.losses.lost += lost.bytes;
        let Some((min_rtt, _)) = self.min_rtt else {
            return;
        };
        if self.mode == Mode::Startup && self.has_overshot(min_rtt) {
            self.full.set();
        }
        self.mind_overflow(min_rtt);
    }

    fn on_marked(&mut self, _: Timestamp, _: Timestamp) {
        self.has_lost = true;
        let Some((min_rtt, _)) = self.min_rtt else {
            return;
        };
        // In Startup a queue that says so need not be seen to lose a tenth as well.
        let is_long = is_longer(self.queue.latest_rtt, min_rtt, QUEUE_FULL_PERCENT);
        if self.mode == Mode::Startup && is_long && !self.estimator.is_app_limited() {
            self.full.set();
        }
        self.mind_overflow(min_rtt);
    }

    fn on_late(&mut self, packet: &AckedPacket, now: Timestamp) {
        // The path has delivered it all the same.
        self.losses.lost = self.losses.lost.saturating_sub(packet.len);
        self.on_ack(packet, now);
    }

    fn on_ack_end(&mut self, rtt: Option<Duration>, in_flight: u64, now: Timestamp) {
        let acked = core::mem::take(&mut self.acked);
        if acked == 0 {
            return;
        }
        let is_new_round = self.rounds.has_begun(self.estimator.delivered());
        let min_rtt = self.min_rtt.map_or(Duration::ZERO, |(min, _)| min);
        if is_new_round {
            self.queue.on_round(self.window, self.datagram, min_rtt);
            self.losses.begin_round();
        }
        self.losses.acked += acked;
        if let Some(rtt) = rtt {
            self.queue.on_rtt(rtt);
        }
        if let Some(sample) = self.estimator.sample(min_rtt) {
            self.on_sample(sample, is_new_round);
        }
        self.advance(in_flight, now);
        self.on_rtt(rtt, in_flight, now);
        if core::mem::take(&mut self.is_window_used) {
            self.fit_window(acked);
        }
    }

    fn on_persistent_congestion(&mut self) {
        self.window = self.window_min();
    }

    fn set_datagram(&mut self, datagram: u64) {
        self.datagram = datagram;
        self.window = self.window.max(self.window_min());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// One packet goes, and is acknowledged 100 ms later.
    fn pass(bbr: &mut Bbr, sent_at: u64, is_app_limited: bool) {
        let acked = AckedPacket {
            len: DATAGRAM,
            sent_at: at(sent_at),
            stamp: bbr.on_sent(0, at(sent_at)),
            is_app_limited,
        };
        if is_app_limited {
            bbr.on_app_limited(DATAGRAM);
        }
        bbr.on_ack(&acked, at(sent_at + 100));
        bbr.on_ack_end(Some(MS * 100), 0, at(sent_at + 100));
    }

    /// CC-1, CC-4: chat shows nothing of the path, and keeps its window, through losses and pauses.
    #[test]
    fn a_window_that_is_not_used_stays_as_it_is() {
        let mut bbr = Bbr::new(0);
        for turn in 0..1_000 {
            pass(&mut bbr, 150 * turn, true);
            if turn % 3 == 0 {
                let lost = LostPackets {
                    count: 1,
                    bytes: DATAGRAM,
                    newest: at(150 * turn),
                };
                bbr.on_loss(lost, at(150 * turn + 110));
            }
        }
        assert_eq!((bbr.mode, bbr.window()), (Mode::Startup, WINDOW_INITIAL));
        assert!(bbr.pacing_rate(MS * 100) >= WINDOW_INITIAL * 10);
    }

    /// CC-4: three rounds without growth end Startup; the path is then taken at its word.
    #[test]
    fn a_path_that_gives_no_more_is_full() {
        let mut bbr = Bbr::new(0);
        for turn in 0..10 {
            pass(&mut bbr, 100 * turn, false);
        }
        assert!(matches!(bbr.mode, Mode::ProbeBw { .. }));
        // A datagram in 100 ms, twice, and three quanta of two datagrams.
        assert_eq!(bbr.window(), 8 * DATAGRAM);
        assert_eq!(bbr.rates.get(), DATAGRAM * 10);
    }

    /// CC-4, CC-1.
    #[test]
    fn persistent_congestion_leaves_four_datagrams() {
        let mut bbr = Bbr::new(0);
        bbr.on_persistent_congestion();
        assert_eq!(bbr.window(), 4 * DATAGRAM);
        pass(&mut bbr, 0, false);
        assert!(bbr.window() > 4 * DATAGRAM, "and it comes back");
    }

    /// CC-4: once in ten seconds the shortest round trip is looked for, unless one confirmed it.
    #[test]
    fn round_trips_that_stay_long_make_it_probe() {
        let mut bbr = Bbr::new(0);
        for turn in 0..10 {
            pass(&mut bbr, 100 * turn, false);
        }
        bbr.on_rtt(Some(MS * 102), 0, at(10_000));
        bbr.on_rtt(Some(MS * 150), 0, at(20_000));
        assert_eq!(bbr.min_rtt, Some((MS * 100, at(10_000))));
        bbr.on_rtt(Some(MS * 150), 50_000, at(20_001));
        assert!(matches!(bbr.mode, Mode::ProbeRtt { until: None, .. }));
        assert_eq!(bbr.window(), 4 * DATAGRAM);
        bbr.on_rtt(Some(MS * 120), 0, at(20_100));
        bbr.rounds.newest = u64::MAX;
        bbr.on_rtt(Some(MS * 110), 0, at(20_299));
        assert!(matches!(bbr.mode, Mode::ProbeRtt { .. }));
        bbr.on_rtt(Some(MS * 115), 0, at(20_300));
        assert!(matches!(bbr.mode, Mode::ProbeBw { .. }));
        assert_eq!(bbr.min_rtt, Some((MS * 110, at(20_300))));
    }

    /// CC-4: what the path loses in every round is sent in addition; what it loses now and then is
    /// not, and nor is more than a tenth.
    #[test]
    fn what_is_always_lost_is_sent_in_addition() {
        let mut losses = Losses::default();
        for lost in [50, 20, 300, 20, 50, 50, 50, 50, 50, 50] {
            assert_eq!(losses.permille(), 0);
            (losses.lost, losses.acked) = (lost, 1_000 - lost);
            losses.begin_round();
        }
        assert_eq!(losses.permille(), 20);
        for _ in 0..10 {
            (losses.lost, losses.acked) = (300, 700);
            losses.begin_round();
        }
        assert_eq!(losses.permille(), 100);
        losses.begin_round();
        assert_eq!(losses.permille(), 0);
        let mut bbr = Bbr::new(0);
        for turn in 0..10 {
            pass(&mut bbr, 100 * turn, false);
        }
        bbr.mode = Mode::ProbeBw {
            phase: 3,
            since: at(1_000),
        };
        assert_eq!(bbr.pacing_rate(MS * 100), 10 * DATAGRAM);
        bbr.losses.rounds = [40; RATE_ROUNDS];
        assert_eq!(bbr.pacing_rate(MS * 100), 10 * DATAGRAM * 1_000 / 960);
    }

    /// CC-6.
    #[test]
    fn in_a_queue_of_others_the_window_is_bounded_as_theirs_are() {
        let mut queue = SharedQueue::default();
        let window = 100 * DATAGRAM;
        for (rtts, is_full) in [([130, 150], false), ([131, 150], true)] {
            for rtt in rtts {
                queue.on_rtt(MS * rtt);
            }
            queue.on_round(window, DATAGRAM, MS * 100);
            assert_eq!(queue.is_full(MS * 100), is_full);
        }
        queue.on_overflow(window, 4 * DATAGRAM);
        queue.on_overflow(70 * DATAGRAM, 4 * DATAGRAM);
        assert_eq!(queue.bound, Some(70 * DATAGRAM), "once in a round");
        queue.on_round(window, DATAGRAM, MS * 100);
        assert_eq!(queue.bound, Some(70 * DATAGRAM), "that was this round");
        queue.on_rtt(MS * 111);
        queue.on_round(window, DATAGRAM, MS * 100);
        assert_eq!(queue.bound, Some(71 * DATAGRAM));
        queue.on_rtt(MS * 110);
        queue.on_round(window, DATAGRAM, MS * 100);
        assert_eq!(queue.bound, Some(71 * DATAGRAM * 9 / 8), "nobody is there");
        queue.on_round(79 * DATAGRAM, DATAGRAM, MS * 100);
        assert_eq!(queue.bound, None, "the window is less");
    }
}

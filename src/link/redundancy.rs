//! How many copies a message gets, and what they may cost: LAD-3 to LAD-7.
//!
//! Copies are traffic that nobody asked for. On a path that loses packets at random they repair
//! what is lost; where packets are lost because there are too many, each copy makes it worse. So
//! they are few, they are the first to go, and they stop at any sign of a queue.

use core::time::Duration;

use super::copies::COPIES_MAX;
use super::loss::LossEstimate;
use super::rtt::Rtt;
use crate::bucket::Bucket;
use crate::time::Timestamp;
use crate::wire::DATAGRAM_BASE;

/// A message is to be lost in all its copies at most so often, in millionths (LAD-3). That makes one
/// copy do up to 0.35 % loss, and two up to 5.9 %: with less, a path that loses a twentieth would get
/// a third copy that it does not need; with more, one that loses a tenth would not get it in time.
const MISSED_MAX: u64 = 3_500;
/// The same where a message is one of many copies of a line (LAD-4).
const MISSED_MAX_THRIFTY: u64 = 35_000;

/// With so many people in a room, the way up is worth more than each way down (LAD-4).
const CROWD: usize = 4;

/// How many packets with nothing but copies may follow each other; one more may each srtt (LAD-5).
const BUCKET_DEPTH: u32 = 8;
/// So many of them only probes may have: what is missing goes before what may be (LAD-5).
const RESERVED: u32 = 2;
/// On a path that is faster, packets with copies may go so often (LAD-5).
const BUCKET_STEP_MIN: Duration = Duration::from_millis(8);

/// For how many smoothed round trips nothing is copied after a sign of congestion (LAD-6).
const HOLD_ROUND_TRIPS: u32 = 10;
/// The round trip takes so much longer than its minimum that there is a queue: a quarter, and at
/// least this (LAD-6).
const QUEUE_MIN: Duration = Duration::from_millis(10);
const QUEUE_PART: u32 = 4;
/// And so many times as much as two round trips in a row differ (LAD-6). Where delays are drawn anew
/// for each packet, evenly up to some most, the average is 1.5 to 2.2 such differences above the least;
/// a queue that a download fills and drains changes slowly, and is 3 and more.
const QUEUE_JITTERS: (u32, u32) = (5, 2);
/// Each difference weighs so much (LAD-6): RFC 3550 section 6.4.1.
const JITTER_WEIGHT: u32 = 16;
/// A minimum is forgotten after this long, or twice that: paths change (LAD-6).
const FLOOR_KEPT: Duration = Duration::from_secs(30);

/// After how many packets it shows whether more copies made more losses (LAD-7).
const TRIAL: u8 = 64;
/// Losses beyond twice as many as before that may be chance (LAD-7).
const TRIAL_CHANCE: u32 = 4;
/// For how long there are no more copies than before, if they did (LAD-7).
const REVERTED: Duration = Duration::from_secs(10);

/// How much the messages of a channel are worth copying (LAD-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Care {
    /// As much as the path makes necessary.
    #[default]
    Normal,
    /// As often as possible: many wait for each.
    Generous,
    /// Seldom: each is one of many copies of a line.
    Thrifty,
}

impl Care {
    /// For what a node says to a room with so many people (LAD-4).
    #[must_use]
    pub const fn of_one_for(people: usize) -> Self {
        match people < CROWD {
            true => Self::Normal,
            false => Self::Generous,
        }
    }

    /// For what a broker sends to one of so many people in a room (LAD-4).
    #[must_use]
    pub const fn of_one_in(people: usize) -> Self {
        match people < CROWD {
            true => Self::Normal,
            false => Self::Thrifty,
        }
    }
}

/// More copies are being made than before: is it that which loses packets (LAD-7)?
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// What was lost before, in millionths.
    before: u32,
    resolved: u8,
    lost: u8,
}

/// The smallest round trip of late, in two spans of time.
#[derive(Clone, Copy, Debug)]
struct Floor {
    since: Timestamp,
    earlier: Duration,
    current: Duration,
}

/// By how much two round trips in a row differ, on average. What each packet meets by itself counts
/// in it, and what stays for longer than that, such as a queue, hardly does.
#[derive(Clone, Copy, Debug, Default)]
struct Jitter {
    average: Option<Duration>,
    last: Option<Duration>,
}

impl Jitter {
    fn on_sample(&mut self, sample: Duration) {
        if let Some(last) = self.last.replace(sample) {
            let difference = last.abs_diff(sample);
            let average = self.average.unwrap_or(difference);
            self.average = Some((average * (JITTER_WEIGHT - 1) + difference) / JITTER_WEIGHT);
        }
    }

    fn average(self) -> Duration {
        self.average.unwrap_or_default()
    }
}

/// What a link knows about the path that it sends on, as far as it concerns copies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redundancy {
    loss: LossEstimate,
    packets: Bucket,
    bytes: Bucket,
    /// Until when nothing is copied (LAD-6).
    held_until: Timestamp,
    floor: Floor,
    jitter: Jitter,
    /// How many copies the loss made necessary when it was last looked at.
    level: u8,
    /// For how many packets that has not changed, up to a trial's worth.
    steady: u8,
    trial: Option<Trial>,
    /// No more copies than this until then (LAD-7).
    capped: Option<(u8, Timestamp)>,
    /// The channels that are worth more, and those that are worth less, as bits (LAD-4).
    generous: u64,
    thrifty: u64,
}

impl Redundancy {
    pub(super) fn new() -> Self {
        let loss = LossEstimate::default();
        Self {
            loss,
            packets: Bucket::default(),
            bytes: Bucket::default(),
            held_until: Timestamp::ZERO,
            floor: Floor {
                since: Timestamp::ZERO,
                earlier: Duration::MAX,
                current: Duration::MAX,
            },
            jitter: Jitter::default(),
            level: copies_for(loss, MISSED_MAX),
            steady: 0,
            trial: None,
            capped: None,
            generous: 0,
            thrifty: 0,
        }
    }

    /// The link is on another path, about which nothing is known (PTH-3).
    pub(super) fn on_moved(&mut self) {
        *self = Self {
            generous: self.generous,
            thrifty: self.thrifty,
            ..Self::new()
        };
    }

    pub(super) const fn loss(&self) -> LossEstimate {
        self.loss
    }

    /// Another link on this path has learnt something (LAD-9).
    pub(super) fn hint(&mut self, loss: LossEstimate) {
        self.loss = loss.as_prior();
        self.level = copies_for(self.loss, MISSED_MAX);
    }

    pub(super) const fn set_care(&mut self, channel: u8, care: Care) {
        let bit = 1 << channel;
        self.generous &= !bit;
        self.thrifty &= !bit;
        match care {
            Care::Normal => {}
            Care::Generous => self.generous |= bit,
            Care::Thrifty => self.thrifty |= bit,
        }
    }

    const fn care(&self, channel: u8) -> Care {
        let bit = 1 << channel;
        match (self.generous & bit, self.thrifty & bit) {
            (0, 0) => Care::Normal,
            (0, _) => Care::Thrifty,
            (_, _) => Care::Generous,
        }
    }

    /// How often a message of `channel` that is sent at `now` is to be sent before its time-out, and
    /// whether others may take it along besides (LAD-2, LAD-3, LAD-4).
    pub(super) fn plan(&self, channel: u8, now: Timestamp) -> (u8, bool) {
        if now < self.held_until {
            return (1, false);
        }
        let care = self.care(channel);
        let copies = match care {
            Care::Normal => copies_for(self.loss, MISSED_MAX),
            Care::Thrifty => copies_for(self.loss, MISSED_MAX_THRIFTY),
            Care::Generous => COPIES_MAX,
        };
        let cap = match self.capped {
            Some((cap, until)) if now < until => cap,
            _ => COPIES_MAX,
        };
        let copies = copies.min(cap);
        (copies, care != Care::Thrifty || copies > 1)
    }

    /// What became of one more packet is known (LAD-3).
    pub(super) fn on_resolved(&mut self, is_lost: bool, now: Timestamp) {
        let before = self.loss;
        let was_steady = self.steady == TRIAL;
        self.loss.on_resolved(is_lost);
        let level = copies_for(self.loss, MISSED_MAX);
        self.steady = match level == self.level {
            true => self.steady.saturating_add(1).min(TRIAL),
            false => 0,
        };
        if level > self.level {
            // Only where it is known what was lost before can anybody tell that more is now.
            if was_steady {
                let before = self.loss.per_million().max(before.per_million());
                self.trial = Some(Trial {
                    before,
                    resolved: 0,
                    lost: 0,
                });
            }
        } else if let Some(trial) = &mut self.trial {
            trial.resolved += 1;
            trial.lost += u8::from(is_lost);
            if trial.resolved == TRIAL {
                if trial.is_worse() {
                    self.capped = Some((level.max(2) - 1, now + REVERTED));
                }
                self.trial = None;
            }
        }
        self.level = level;
    }

    /// A packet that was counted as lost has come after all.
    pub(super) const fn take_back(&mut self) {
        self.loss.take_back();
    }

    /// There is a sign of congestion: nothing is copied for a while (LAD-6).
    pub(super) fn hold(&mut self, srtt: Duration, now: Timestamp) {
        self.held_until = self.held_until.max(now + srtt * HOLD_ROUND_TRIPS);
    }

    /// Whether there was a sign of congestion of late (LAD-6).
    pub(super) fn is_held(&self, now: Timestamp) -> bool {
        now < self.held_until
    }

    /// A round trip was measured (LAD-6).
    pub(super) fn on_sample(&mut self, rtt: &Rtt, now: Timestamp) {
        let srtt = rtt.smoothed();
        let floor = &mut self.floor;
        if now >= floor.since + FLOOR_KEPT {
            floor.earlier = floor.current;
            floor.current = Duration::MAX;
            floor.since = now;
        }
        floor.current = floor.current.min(rtt.latest());
        let least = floor.earlier.min(floor.current);
        self.jitter.on_sample(rtt.latest());
        let (times, part) = QUEUE_JITTERS;
        let tolerated = (least / QUEUE_PART)
            .max(QUEUE_MIN)
            .max(self.jitter.average() * times / part);
        if srtt > least + tolerated {
            self.hold(srtt, now);
        }
    }

    /// Whether a packet with nothing but copies may go (LAD-5).
    pub(super) fn may_copy(&self, is_probe: bool, srtt: Duration, now: Timestamp) -> bool {
        let step = srtt.max(BUCKET_STEP_MIN);
        let depth = step * BUCKET_DEPTH;
        let price = match is_probe {
            true => step,
            false => step * (1 + RESERVED),
        };
        self.packets.holds(price, depth, now) && self.bytes.holds(Duration::ZERO, depth, now)
    }

    /// Whether `len` bytes may be taken along (LAD-5).
    pub(super) fn may_ride(&self, len: usize, srtt: Duration, now: Timestamp) -> bool {
        let step = srtt.max(BUCKET_STEP_MIN);
        self.bytes.holds(cost(len, step), step * BUCKET_DEPTH, now)
    }

    /// `len` bytes of copies were sent; `is_packet`: in a packet with nothing else.
    pub(super) fn on_copied(
        &mut self,
        len: usize,
        is_packet: bool,
        srtt: Duration,
        now: Timestamp,
    ) {
        let step = srtt.max(BUCKET_STEP_MIN);
        self.bytes.take(cost(len, step), now);
        if is_packet {
            self.packets.take(step, now);
        }
    }
}

impl Trial {
    const fn is_worse(&self) -> bool {
        // The losses that there would be as often as before, rounded up.
        let expected = (self.before * self.resolved as u32).div_ceil(1_000_000);
        self.lost as u32 > 2 * expected + TRIAL_CHANCE
    }
}

/// What `len` bytes cost, at one datagram's worth per `step` (LAD-5).
fn cost(len: usize, step: Duration) -> Duration {
    let nanos = step.as_nanos() * len as u128 / DATAGRAM_BASE as u128;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The least number of copies that are all lost at most so often: ln q / ln p, rounded up, from 1 to
/// 3 (LAD-3).
fn copies_for(loss: LossEstimate, missed_max: u64) -> u8 {
    let loss = u64::from(loss.per_million());
    if loss <= missed_max {
        1
    } else if loss * loss <= missed_max * 1_000_000 {
        2
    } else {
        COPIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRTT: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(100_000 + millis)
    }

    fn losing(permille: u32) -> Redundancy {
        let mut redundancy = Redundancy::new();
        redundancy.hint(LossEstimate::known(permille));
        redundancy
    }

    /// LAD-3: the first number whose power is below 0.35 %.
    #[test]
    fn the_more_is_lost_the_more_copies_are_made() {
        let copies = [0, 10, 40, 80, 200, 500].map(|permille| losing(permille).plan(1, at(0)).0);
        assert_eq!(copies, [1, 2, 2, 3, 3, 3]);
        assert_eq!(Redundancy::new().plan(1, at(0)), (2, true), "a new link");
    }

    /// LAD-4.
    #[test]
    fn what_many_wait_for_gets_three_copies_and_what_is_one_of_many_gets_few() {
        for (permille, generous, thrifty) in [(0, 3, 1), (30, 3, 1), (100, 3, 2), (400, 3, 3)] {
            let mut redundancy = losing(permille);
            redundancy.set_care(1, Care::Generous);
            redundancy.set_care(2, Care::Thrifty);
            assert_eq!(redundancy.plan(1, at(0)), (generous, true));
            assert_eq!(redundancy.plan(2, at(0)), (thrifty, thrifty > 1));
            redundancy.set_care(1, Care::Normal);
            assert_eq!(redundancy.plan(1, at(0)), redundancy.plan(3, at(0)));
        }
        assert_eq!([3, 4].map(Care::of_one_for), [Care::Normal, Care::Generous]);
        assert_eq!([3, 4].map(Care::of_one_in), [Care::Normal, Care::Thrifty]);
    }

    /// LAD-5: eight, of which two are for probes, and one more each round trip.
    #[test]
    fn packets_of_copies_are_bounded_by_a_bucket() {
        let mut redundancy = Redundancy::new();
        let mut send = |is_probe, now| {
            let may = redundancy.may_copy(is_probe, SRTT, now);
            if may {
                redundancy.on_copied(150, true, SRTT, now);
            }
            may
        };
        assert_eq!((0..20).filter(|_| send(false, at(0))).count(), 6);
        assert_eq!((0..20).filter(|_| send(true, at(0))).count(), 2);
        assert!(!send(true, at(99)));
        assert!(send(true, at(100)));
        assert_eq!((0..20).filter(|_| send(false, at(100_000))).count(), 6);
    }

    /// LAD-5: a datagram's worth each round trip, eight at most.
    #[test]
    fn bytes_of_copies_are_bounded_by_a_bucket() {
        let mut redundancy = Redundancy::new();
        let mut ride = |now| {
            let may = redundancy.may_ride(400, SRTT, now);
            if may {
                redundancy.on_copied(400, false, SRTT, now);
            }
            may
        };
        assert_eq!((0..100).filter(|_| ride(at(0))).count(), 24);
        assert_eq!((0..100).filter(|_| ride(at(100))).count(), 3);
    }

    /// LAD-6.
    #[test]
    fn a_round_trip_that_grows_ends_the_copies_for_ten_round_trips() {
        let mut redundancy = losing(100);
        redundancy.set_care(1, Care::Generous);
        let mut rtt = Rtt::new();
        for sample in 0..20 {
            rtt.on_sample(SRTT, Duration::ZERO, at(sample));
            redundancy.on_sample(&rtt, at(sample));
        }
        assert_eq!(redundancy.plan(1, at(20)).0, 3);
        while rtt.smoothed() <= SRTT * 5 / 4 {
            rtt.on_sample(SRTT * 2, Duration::ZERO, at(30));
            redundancy.on_sample(&rtt, at(30));
        }
        assert_eq!(redundancy.plan(1, at(30)), (1, false));
        assert_eq!(redundancy.plan(1, at(30) + rtt.smoothed() * 10).0, 3);
    }

    /// LAD-6: a detour that stays is no queue.
    #[test]
    fn a_longer_way_is_taken_for_a_queue_for_a_minute_at_most() {
        let mut redundancy = losing(100);
        let mut rtt = Rtt::new();
        for second in 0..120 {
            let sample = if second < 10 { SRTT } else { SRTT * 2 };
            rtt.on_sample(sample, Duration::ZERO, at(second * 1_000));
            redundancy.on_sample(&rtt, at(second * 1_000));
        }
        assert_eq!(redundancy.plan(1, at(120_000)).0, 3);
    }

    /// LAD-7.
    #[test]
    fn copies_that_make_losses_are_taken_back_for_a_while() {
        let run = |after: u32| {
            let mut redundancy = losing(40);
            for packet in 1..=200 {
                redundancy.on_resolved(packet % 25 == 0, at(0));
            }
            let mut resolved = 0;
            while redundancy.plan(1, at(0)).0 < 3 {
                redundancy.on_resolved(true, at(0));
            }
            while resolved < 64 {
                resolved += 1;
                redundancy.on_resolved(
                    resolved * after / 100 != (resolved - 1) * after / 100,
                    at(0),
                );
            }
            redundancy
        };
        let worse = run(40);
        assert_eq!(worse.plan(1, at(9_999)).0, 2);
        assert_eq!(worse.plan(1, at(10_000)).0, 3);
        assert_eq!(run(8).plan(1, at(1)).0, 3, "not worse than before");
        let mut unknown = Redundancy::new();
        (0..200).for_each(|packet| unknown.on_resolved(packet % 3 == 0, at(0)));
        assert_eq!(unknown.plan(1, at(1)).0, 3, "nobody knows what was before");
    }
}

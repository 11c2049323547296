//! What a broker holds of the process's memory, as the allocator counts it.
//!
//! A test that wants to know makes [`ALLOCATOR`](Allocator) its global allocator, and calls
//! [`count`]. From then on all that is allocated while the broker's machine has its turn is the
//! broker's, whoever frees it. What it is handed is copied for it, and so is what it hands over.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use tertulia::broker::{
    PAGES_WAITING_MAX, READ_LINES_MAX, RECENT_BYTES_MAX, RECENT_LINES_MAX, StorageCompletion,
    StorageOp, StorageOutcome, StorageRequest, StoredLine,
};
use tertulia::chat::CHAT_LINE_MAX;
use tertulia::client::{PUBLISH_WINDOW, ROOMS_PER_LINK_MAX};
use tertulia::link::{
    CHANNEL_BYTES_MAX, CHANNEL_MESSAGES_MAX, CREDIT_LINK, IN_FLIGHT_MAX, MESSAGE_COST,
};
use tertulia::wire::MESSAGE_MAX;
use tracking_allocator::{
    AllocationGroupId, AllocationGroupToken, AllocationRegistry, AllocationTracker,
};

pub use tracking_allocator::Allocator;

use bytes::Bytes;

use crate::errands;
use crate::plan::{Attacker, Plan, Who};

/// What a record about something costs besides the bytes that it is about: a packet in flight, a
/// line, a message.
const RECORD: usize = 512;
/// What there is even if nobody is.
const BASE: usize = 256 * 1024;
/// A device that comes back has two links for a moment (SGN-4).
const LINKS_PER_CLIENT: usize = 2;

/// Whose memory is counted: that of brokers, and of nodes whose broker has turned against them.
static GROUPS: [OnceLock<AllocationGroupId>; 2] = [const { OnceLock::new() }; 2];
static HELD: [AtomicI64; 2] = [const { AtomicI64::new(0) }; 2];
const BROKERS: usize = 0;
const NODES: usize = 1;

thread_local! {
    static TOKENS: RefCell<[Option<AllocationGroupToken>; 2]> = const { RefCell::new([None, None]) };
}

struct Tracker;

impl AllocationTracker for Tracker {
    fn allocated(&self, _: usize, size: usize, _: usize, group: AllocationGroupId) {
        for (counted, held) in GROUPS.iter().zip(&HELD) {
            if counted.get() == Some(&group) {
                held.fetch_add(size as i64, Ordering::Relaxed);
            }
        }
    }

    fn deallocated(
        &self,
        _: usize,
        size: usize,
        _: usize,
        group: AllocationGroupId,
        _: AllocationGroupId,
    ) {
        for (counted, held) in GROUPS.iter().zip(&HELD) {
            if counted.get() == Some(&group) {
                held.fetch_sub(size as i64, Ordering::Relaxed);
            }
        }
    }
}

/// Counts what brokers and victims hold that run on this thread, from now on: for one thread of a
/// process.
///
/// # Panics
///
/// If it is called twice, or the process has another allocator.
pub fn count() {
    let register = |group: &OnceLock<AllocationGroupId>| {
        let token = AllocationGroupToken::register().expect("a group of allocations");
        group.set(token.id()).expect("counted once");
        Some(token)
    };
    let tokens = [register(&GROUPS[BROKERS]), register(&GROUPS[NODES])];
    AllocationRegistry::set_global_tracker(Tracker).expect("no other tracker");
    AllocationRegistry::enable_tracking();
    TOKENS.set(tokens);
    let probe = of_broker(|| vec![0_u8; RECORD]);
    assert_eq!(held(), Some(RECORD as u64), "another allocator");
    drop(probe);
}

/// How much brokers hold now, in bytes, if it is counted.
#[must_use]
pub fn held() -> Option<u64> {
    held_by(BROKERS)
}

/// How much the victims of malicious brokers hold now, in bytes, if it is counted.
#[must_use]
pub fn held_by_nodes() -> Option<u64> {
    held_by(NODES)
}

fn held_by(group: usize) -> Option<u64> {
    let _counted = GROUPS[group].get()?;
    Some(u64::try_from(HELD[group].load(Ordering::Relaxed)).unwrap_or(0))
}

/// Lets a broker do something: what is allocated is its own.
pub(crate) fn of_broker<T>(what: impl FnOnce() -> T) -> T {
    of(BROKERS, what)
}

/// Lets a victim do something: what is allocated is its own.
pub(crate) fn of_node<T>(what: impl FnOnce() -> T) -> T {
    of(NODES, what)
}

fn of<T>(group: usize, what: impl FnOnce() -> T) -> T {
    TOKENS.with_borrow_mut(|tokens| match &mut tokens[group] {
        Some(token) => {
            let _guard = token.enter();
            what()
        }
        None => what(),
    })
}

/// What a broker is told by its store, in memory of its own.
pub(crate) fn told(mut completion: StorageCompletion) -> StorageCompletion {
    let copy = |stored: &mut StoredLine| copy(&mut stored.line.body);
    match &mut completion.outcome {
        StorageOutcome::Appended(stored) => copy(stored),
        StorageOutcome::Entered(entered) => entered.joined.iter_mut().for_each(copy),
        StorageOutcome::Decided(decided) => copy(&mut decided.line),
        StorageOutcome::Departed(Some(departed)) => copy(&mut departed.line),
        StorageOutcome::Lines(lines) | StorageOutcome::Past { lines, .. } => {
            lines.iter_mut().for_each(copy);
        }
        _ => {}
    }
    completion
}

/// What a store is asked, in memory of its own.
pub(crate) fn asked(mut request: StorageRequest) -> StorageRequest {
    if let StorageOp::Append { publication, .. } = &mut request.op {
        copy(&mut publication.body);
    }
    request
}

fn copy(body: &mut Bytes) {
    *body = Bytes::copy_from_slice(body);
}

/// The most that a broker may hold for a plan's people, in bytes: what the limits of SPEC.md section 13
/// allow each link, seat and room of theirs (LIM-2, LIM-4 to LIM-6, LIM-10, BRK-9, HST-2).
#[must_use]
pub fn bound(plan: &Plan) -> u64 {
    let is_member = |attacker: &&Attacker| matches!(attacker.who, Who::Member { .. });
    let members = plan.attackers.iter().filter(is_member).count();
    let rooms = plan.topology.clients.iter().flatten().max();
    let rooms = rooms.map_or(0, |last| last + 1) + members * ROOMS_PER_LINK_MAX;
    let seats: usize = plan.topology.clients.iter().map(Vec::len).sum();
    let seats = seats + members * ROOMS_PER_LINK_MAX;
    let link = IN_FLIGHT_MAX * RECORD / 2
        + CREDIT_LINK as usize * (1 + RECORD / 8 / MESSAGE_COST as usize)
        + MESSAGE_MAX;
    let queued = CHANNEL_BYTES_MAX + MESSAGE_MAX + CHANNEL_MESSAGES_MAX * RECORD;
    let read = READ_LINES_MAX * (RECORD + 1_024) + CHAT_LINE_MAX;
    let publishing = PUBLISH_WINDOW * (CHAT_LINE_MAX + RECORD);
    let seat = queued + publishing + (1 + PAGES_WAITING_MAX) * read;
    let room = RECENT_BYTES_MAX + CHAT_LINE_MAX + RECENT_LINES_MAX * RECORD;
    let links = plan.topology.clients.len() + members + errands::ways(plan);
    let links = links * LINKS_PER_CLIENT;
    (BASE + links * link + seats * seat + rooms * room) as u64
}

/// The most that the victim of a malicious broker may hold, in bytes: what its link may have in
/// flight, and received, half of messages included (LIM-4, LIM-10), for a few lines that wait.
pub const VICTIM_HOLDS_MAX: u64 =
    (BASE + IN_FLIGHT_MAX * RECORD / 2 + CREDIT_LINK as usize * 2 + CHANNEL_BYTES_MAX) as u64;

//! Who is to have a room's lines, and who has them (SPEC.md section 9.5).
//!
//! The roll is called when somebody first watches a line; from then on it is kept up by what
//! happens. A watched line's counts are changed by what changes them, never counted anew, so that a
//! report costs as many steps as there are watched lines among those that it is the first to tell.

use std::collections::{BTreeMap, BTreeSet};

use super::LinkId;
use super::storage::MemberRow;
use crate::chat::{Coverage, Delivered, Stretch};
use crate::secure::AccountKey;

/// A session's place in a room.
pub(super) type SeatId = (LinkId, u8);
/// Seats that have to be told, each with the line that it is about.
pub(super) type Told = Vec<(SeatId, u64)>;

/// Of how many spans of presence of an account a room knows, before only those are kept in which a
/// watched line lies, and the last one (LIM-24).
const SPANS_MAX: usize = 64;

/// The members of a room, and the lines that are watched.
#[derive(Debug, Default)]
pub(super) struct Roll {
    members: BTreeMap<AccountKey, Member>,
    /// By line and author.
    watched: BTreeMap<(u64, AccountKey), Watched>,
}

#[derive(Debug, Default)]
struct Member {
    joined_seq: u64,
    /// What its devices have reported to have.
    has: Coverage,
    /// After which lines it became present, and ceased to be: as long as a watched line may lie
    /// between, and the last one.
    present: Vec<(u64, Option<u64>)>,
}

#[derive(Debug)]
struct Watched {
    counts: Delivered,
    seats: BTreeSet<SeatId>,
}

impl Member {
    fn was_present_at(&self, seq: u64) -> bool {
        let covers = |&(from, to): &(u64, Option<u64>)| from < seq && to.is_none_or(|to| seq <= to);
        self.present.iter().any(covers)
    }
}

impl Roll {
    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The roll of these members, of whom some are present since after a line.
    pub(super) fn new(
        rows: Vec<MemberRow>,
        present: impl Iterator<Item = (AccountKey, u64)>,
    ) -> Self {
        let mut roll = Self::default();
        for row in rows {
            let member = Member {
                joined_seq: row.joined_seq,
                has: row.has,
                present: Vec::new(),
            };
            roll.members.insert(row.account, member);
        }
        for (account, after_seq) in present {
            roll.on_came(account, after_seq);
        }
        roll
    }

    /// How far a watched line has come.
    pub(super) fn counts(&self, seq: u64, author: AccountKey) -> Option<Delivered> {
        self.watched
            .get(&(seq, author))
            .map(|watched| watched.counts)
    }

    /// A seat of the line's author watches it.
    pub(super) fn watch(&mut self, seq: u64, author: AccountKey, seat: SeatId) {
        let members = &self.members;
        let watched = self.watched.entry((seq, author)).or_insert_with(|| {
            let mut counts = Delivered {
                seq,
                ..Delivered::default()
            };
            for (_, member) in members.iter().filter(|(account, _)| **account != author) {
                count(&mut counts, member, 1);
            }
            let seats = BTreeSet::new();
            Watched { counts, seats }
        });
        watched.seats.insert(seat);
    }

    /// A seat does not watch the line any more.
    pub(super) fn unwatch(&mut self, seq: u64, author: AccountKey, seat: SeatId) {
        if let Some(watched) = self.watched.get_mut(&(seq, author)) {
            watched.seats.remove(&seat);
            if watched.seats.is_empty() {
                self.watched.remove(&(seq, author));
            }
        }
    }

    /// STA-1: a device of the account has reported to have all of these lines.
    pub(super) fn on_report(&mut self, account: AccountKey, lines: Stretch) -> Told {
        let Some(member) = self.members.get_mut(&account) else {
            return Told::new();
        };
        let grown = member.has.add(lines);
        let mut told = Told::new();
        for gained in grown.gained {
            told.extend(self.recount(account, gained, 1));
        }
        if let Some(lost) = grown.lost {
            told.extend(self.recount(account, lost, -1));
        }
        told
    }

    /// The account has these lines now, or counts as having them no more.
    fn recount(&mut self, account: AccountKey, lines: Stretch, by: i64) -> Told {
        let Some(member) = self.members.get(&account) else {
            return Told::new();
        };
        let mut told = Told::new();
        let first = (lines.after + 1, AccountKey([0; 32]));
        let last = (lines.to, AccountKey([0xff; 32]));
        for (&(seq, author), watched) in self.watched.range_mut(first..=last) {
            if author == account || member.joined_seq > seq {
                continue;
            }
            let counts = &mut watched.counts;
            counts.k = counts.k.saturating_add_signed(by);
            if member.was_present_at(seq) {
                counts.present_k = counts.present_k.saturating_add_signed(by);
            }
            told.extend(watched.seats.iter().map(|seat| (*seat, seq)));
        }
        told
    }

    /// The account is a member since line `seq`.
    pub(super) fn on_joined(&mut self, account: AccountKey, seq: u64) {
        let member = Member {
            joined_seq: seq,
            ..Member::default()
        };
        self.members.insert(account, member);
    }

    /// The account is no member any more: nobody waits for it.
    pub(super) fn on_departed(&mut self, account: AccountKey) -> Told {
        let Some(member) = self.members.remove(&account) else {
            return Told::new();
        };
        let mut told = Told::new();
        for (&(seq, author), watched) in &mut self.watched {
            if author != account && count(&mut watched.counts, &member, -1) {
                told.extend(watched.seats.iter().map(|seat| (*seat, seq)));
            }
        }
        told
    }

    /// The account is present after line `after_seq`.
    pub(super) fn on_came(&mut self, account: AccountKey, after_seq: u64) {
        if let Some(member) = self.members.get_mut(&account) {
            member.present.push((after_seq, None));
        }
    }

    /// The account is not present after line `after_seq`.
    pub(super) fn on_gone(&mut self, account: AccountKey, after_seq: u64) {
        let oldest = self.watched.keys().next().map_or(u64::MAX, |(seq, _)| *seq);
        let Some(member) = self.members.get_mut(&account) else {
            return;
        };
        if let Some((_, to @ None)) = member.present.last_mut() {
            *to = Some(after_seq);
        }
        // Of those that end before every watched line, the last one may still be asked for.
        let ended = |&(_, to): &(u64, Option<u64>)| to.is_some_and(|to| to < oldest);
        let keep_from = member.present.len().saturating_sub(1);
        let past = member.present.iter().take_while(|span| ended(span)).count();
        member.present.drain(..past.min(keep_from));
        if member.present.len() > SPANS_MAX {
            let last = member.present.pop();
            let watched = &self.watched;
            member.present.retain(|&(from, to)| {
                let after = (from.saturating_add(1), AccountKey([0; 32]));
                let next = watched.range(after..).next();
                next.is_some_and(|((seq, _), _)| to.is_none_or(|to| *seq <= to))
            });
            member.present.extend(last);
        }
    }
}

/// Adds a member to the counts of a line, or takes it away. Returns whether it is among them.
fn count(counts: &mut Delivered, member: &Member, by: i64) -> bool {
    let seq = counts.seq;
    if member.joined_seq > seq {
        return false;
    }
    let has = member.has.has(seq);
    let present = member.was_present_at(seq);
    for (field, counted) in [
        (&mut counts.n, true),
        (&mut counts.k, has),
        (&mut counts.present_n, present),
        (&mut counts.present_k, present && has),
    ] {
        if counted {
            *field = field.saturating_add_signed(by);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADA: AccountKey = AccountKey([1; 32]);
    const BOB: AccountKey = AccountKey([2; 32]);
    const CLEO: AccountKey = AccountKey([3; 32]);
    const SEAT: SeatId = (7, 1);

    fn up_to(to: u64) -> Stretch {
        Stretch { after: 0, to }
    }

    fn roll() -> Roll {
        let row = |account, joined_seq, to| MemberRow {
            account,
            joined_seq,
            has: Coverage::from_iter([up_to(to)]),
        };
        let rows = vec![row(ADA, 1, 9), row(BOB, 2, 4), row(CLEO, 6, 0)];
        Roll::new(rows, [(ADA, 0), (BOB, 3)].into_iter())
    }

    fn numbers(roll: &Roll, seq: u64) -> [u64; 4] {
        let counts = roll.counts(seq, ADA).unwrap();
        [counts.k, counts.n, counts.present_k, counts.present_n]
    }

    /// STA-3: members then, without the author; of those, who reported; of those, who was there.
    #[test]
    fn a_line_counts_those_who_were_members_when_it_was_stored() {
        let mut roll = roll();
        for seq in [3, 5, 8] {
            roll.watch(seq, ADA, SEAT);
        }
        assert_eq!(numbers(&roll, 3), [1, 1, 0, 0]);
        assert_eq!(numbers(&roll, 5), [0, 1, 0, 1]);
        assert_eq!(numbers(&roll, 8), [0, 2, 0, 1]);
        assert_eq!(roll.on_report(BOB, up_to(5)), [(SEAT, 5)]);
        assert_eq!(roll.on_report(BOB, up_to(5)), []);
        assert_eq!(
            roll.on_report(ADA, up_to(20)),
            [],
            "nobody waits for the author"
        );
        assert_eq!(roll.on_report(CLEO, up_to(8)), [(SEAT, 8)]);
        assert_eq!(numbers(&roll, 5), [1, 1, 1, 1]);
        assert_eq!(numbers(&roll, 8), [1, 2, 0, 1]);
    }

    /// STA-1, STA-3: who goes on after a hole does not have what lies in it.
    #[test]
    fn a_line_in_a_hole_is_not_counted_until_a_device_has_it() {
        let mut roll = roll();
        for seq in [3, 5, 8] {
            roll.watch(seq, ADA, SEAT);
        }
        let behind_a_hole = Stretch { after: 6, to: 9 };
        assert_eq!(roll.on_report(BOB, behind_a_hole), [(SEAT, 8)]);
        assert_eq!(numbers(&roll, 3), [1, 1, 0, 0], "it stays counted");
        assert_eq!(numbers(&roll, 5), [0, 1, 0, 1]);
        assert_eq!(numbers(&roll, 8), [1, 2, 1, 1]);
        assert_eq!(roll.on_report(BOB, up_to(9)), [(SEAT, 5)], "another device");
        assert_eq!(numbers(&roll, 5), [1, 1, 1, 1]);
    }

    /// STA-3.
    #[test]
    fn who_leaves_is_waited_for_no_more() {
        let mut roll = roll();
        roll.watch(8, ADA, SEAT);
        assert_eq!(roll.on_departed(BOB), [(SEAT, 8)]);
        assert_eq!(numbers(&roll, 8), [0, 1, 0, 0]);
        assert_eq!(roll.on_departed(BOB), []);
        roll.on_joined(BOB, 12);
        assert_eq!(roll.on_report(BOB, up_to(12)), []);
        roll.unwatch(8, ADA, SEAT);
        assert_eq!(roll.counts(8, ADA), None);
    }

    /// STA-3: the presence that counts is that of the moment when the line was stored.
    #[test]
    fn coming_and_going_afterwards_changes_nothing() {
        let mut roll = roll();
        roll.watch(8, ADA, SEAT);
        roll.on_gone(BOB, 9);
        roll.on_came(CLEO, 10);
        assert_eq!(numbers(&roll, 8), [0, 2, 0, 1]);
        for _ in 0..1_000 {
            roll.on_came(BOB, 11);
            roll.on_gone(BOB, 11);
        }
        roll.unwatch(8, ADA, SEAT);
        roll.on_came(BOB, 12);
        roll.on_gone(BOB, 12);
        assert!(roll.members[&BOB].present.len() <= 2);
    }

    /// LIM-24: whoever comes and goes while an old line is watched costs so much and no more.
    #[test]
    fn of_presence_so_much_is_known_as_matters_to_watched_lines() {
        let mut roll = roll();
        roll.watch(2, ADA, SEAT);
        roll.watch(8, ADA, SEAT);
        roll.on_gone(BOB, 9);
        for after in 10..10_000 {
            roll.on_came(BOB, after);
            roll.on_gone(BOB, after + 1);
            assert!(roll.members[&BOB].present.len() <= SPANS_MAX + 1);
        }
        assert_eq!(numbers(&roll, 8), [0, 2, 0, 1], "he was there");
    }

    proptest! {
        /// STA-3: kept up step by step, the counts are what counting anew gives.
        #[test]
        fn counts_that_are_kept_up_are_right(
            steps in prop::collection::vec((0_u8..5, 1_u8..6, 1_u64..20, 1_u64..12), 0..60),
        ) {
            let (mut roll, mut tail) = (roll(), 9);
            for seq in [2, 5, 8] {
                roll.watch(seq, ADA, SEAT);
            }
            for (step, account, to, length) in steps {
                let account = AccountKey([account; 32]);
                match step {
                    0 | 1 => {
                        let after = to.saturating_sub(length);
                        drop(roll.on_report(account, Stretch { after, to }));
                    }
                    2 => drop(roll.on_departed(account)),
                    3 if !roll.members.contains_key(&account) => {
                        tail += 1;
                        roll.on_joined(account, tail);
                    }
                    3 => roll.on_came(account, tail),
                    _ => roll.on_gone(account, tail),
                }
            }
            for seq in [2, 5, 8] {
                let kept = roll.counts(seq, ADA);
                roll.unwatch(seq, ADA, SEAT);
                roll.watch(seq, ADA, SEAT);
                prop_assert_eq!(kept, roll.counts(seq, ADA));
            }
        }
    }
}

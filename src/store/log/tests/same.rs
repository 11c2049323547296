//! The two stores answer the same.

use proptest::prelude::*;

use super::*;
use crate::broker::{Entered, Entrance, LinkRow, MemoryStore};
use crate::chat::{
    Decision, InviteMark, InviteTerms, LineBase, NoticeEvent, Recorded, Refusal, Resume, Role,
    Stretch, Verb,
};
use crate::transmit;

/// What a step does, in numbers that mean something only when it is done.
#[derive(Clone, Debug)]
enum Step {
    /// Asks for all of these before any answer is taken.
    Ask(Vec<Ask>),
    /// Closes the file and opens it again.
    Reopen,
}

#[derive(Clone, Debug)]
struct Ask {
    what: u8,
    who: u8,
    /// Whether it is from the account's second device.
    second: bool,
    room: u8,
    a: u64,
    b: u64,
    now_ms: u64,
}

fn asks() -> impl Strategy<Value = Ask> {
    let small = 0..12_u64;
    (
        0..40_u8,
        0..4_u8,
        proptest::bool::weighted(0.2),
        0..3_u8,
        small.clone(),
        small,
        0..300_u64,
    )
        .prop_map(|(what, who, second, room, a, b, now_ms)| Ask {
            what,
            who,
            second,
            room,
            a,
            b,
            now_ms,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = proptest::collection::vec(asks(), 1..24).prop_map(Step::Ask);
    let step = prop_oneof![8 => ask, 1 => Just(Step::Reopen)];
    proptest::collection::vec(step, 1..16)
}

/// What was learned from answers, for later questions to be about.
#[derive(Default)]
struct Known {
    bases: Vec<LineBase>,
    last_n: std::collections::BTreeMap<(DeviceKey, RoomName), u64>,
}

impl Known {
    fn learn(&mut self, op: &StorageOp, outcome: &StorageOutcome) {
        if let StorageOutcome::Entered(entered) = outcome {
            let Entered { base, .. } = **entered;
            self.bases.push(base);
        }
        if let StorageOp::Append {
            room,
            device,
            publication,
            ..
        } = op
        {
            let key = (*device, room.clone());
            self.last_n.insert(key, publication.n);
        }
    }

    fn op(&self, ask: &Ask) -> StorageOp {
        // Names that differ only in case are one room.
        let room = room(["lobby", "Lobby", "den"][usize::from(ask.room)]);
        let (account, mut device, name) = who(ask.who);
        if ask.second {
            device = DeviceKey([ask.who + 200; 32]);
        }
        let now_ms = ask.now_ms;
        match ask.what {
            0 => StorageOp::Open,
            1 if ask.a == 0 => register(50, ask.who),
            1 => register(ask.who, ask.who ^ u8::from(ask.second)),
            2..=5 => StorageOp::Enter {
                room,
                account,
                device,
                name,
                start: self.start(ask),
                history: ask.a,
                seen: ask.b * 50,
                presence: (ask.a > 3).then_some(now_ms),
                now_ms,
            },
            6 => StorageOp::Leave {
                room,
                account,
                device,
                name,
                presence: now_ms,
                now_ms,
            },
            7 => StorageOp::Absent {
                room,
                account,
                event: [NoticeEvent::Left, NoticeEvent::TimedOut][usize::from(ask.second)],
                presence: now_ms,
            },
            8..=15 => {
                let last = self.last_n.get(&(device, room.clone())).copied();
                let body = ["text", "other", "history=since-join", "history=all"];
                StorageOp::Append {
                    publication: Publication {
                        // Mostly the next one; sometimes one that is known, or too far ahead.
                        n: (last.unwrap_or(0) + 1 + u64::from(ask.b == 1))
                            .saturating_sub(ask.a / 9),
                        typed_at_ms: 55,
                        kind: [Kind::Message, Kind::Policy, Kind::Other(70)][(ask.b % 3) as usize],
                        body: body[(ask.a % 4) as usize].into(),
                    },
                    refuse: (ask.b == 11).then_some(Refusal::BadText),
                    room,
                    account,
                    device,
                    name,
                    now_ms,
                }
            }
            16..=18 => StorageOp::Read {
                room,
                from: ask.a,
                lines_max: 4 * ask.b as usize,
                bytes_max: ask.now_ms as usize,
            },
            19 => StorageOp::History {
                room,
                account,
                has_begun: ask.now_ms.is_multiple_of(4),
                from: ask.a,
                before: ask.a + ask.b,
                lines_max: 5,
                bytes_max: ask.now_ms as usize,
            },
            20 | 21 => StorageOp::Report {
                room,
                account,
                lines: Stretch {
                    after: ask.a,
                    to: ask.a + ask.b / 2,
                },
            },
            22 => StorageOp::Members { room },
            23 | 24 => StorageOp::Invite {
                by: (ask.b < 4).then_some(account),
                mark: mark(ask.a),
                terms: InviteTerms {
                    uses_max: core::num::NonZeroU64::new(ask.b % 4),
                    expires_at_ms: ask.a.is_multiple_of(2).then_some(ask.b * 30),
                    is_revoked: ask.b == 11,
                },
                room,
                now_ms,
            },
            25 => StorageOp::Revoke { invite: ask.a },
            29..=32 => {
                let last = self.last_n.get(&(device, room.clone())).copied();
                StorageOp::Append {
                    publication: Publication {
                        n: last.unwrap_or(0) + 1,
                        typed_at_ms: 55,
                        kind: Kind::Decision,
                        body: decision(ask).to_string().into(),
                    },
                    refuse: None,
                    room,
                    account,
                    device,
                    name,
                    now_ms,
                }
            }
            33 => StorageOp::Decide {
                order: None,
                room,
                decision: decision(ask),
                now_ms,
            },
            26..=28 => {
                let (account, device, name) = who(60 + ask.b as u8);
                StorageOp::Register {
                    account,
                    device,
                    // Sometimes one that is taken, which uses no invite up (ADM-3).
                    name: if ask.second { who(ask.who).2 } else { name },
                    entrance: match ask.a {
                        0 => Entrance::Open,
                        1 => Entrance::Invited(None),
                        2 if ask.second => Entrance::Closed(Refusal::RetryLater),
                        number => Entrance::Invited(Some(mark(number))),
                    },
                    now_ms,
                }
            }
            36 => StorageOp::Devices { account, device },
            37 => StorageOp::LinkDevice {
                account,
                by: device,
                device: DeviceKey([ask.a as u8; 32]),
                now_ms,
            },
            38 => StorageOp::RevokeDevice {
                account,
                device: [DeviceKey([ask.a as u8; 32]), device][usize::from(ask.b == 0)],
                now_ms,
            },
            39 => StorageOp::Register {
                account,
                device: [DeviceKey([ask.a as u8; 32]), device][usize::from(ask.b < 3)],
                name,
                entrance: Entrance::Open,
                now_ms,
            },
            _ => self.links(ask),
        }
    }

    fn start(&self, ask: &Ask) -> Start {
        let base = self
            .bases
            .get((ask.b * 7 + ask.a) as usize % self.bases.len().max(1));
        match (ask.b % 6, base) {
            (0, _) | (_, None) => Start::Tail,
            (1, _) => Start::Line(ask.a),
            (2, Some(base)) => Start::After(Resume {
                log: LogId([8; 16]),
                base: *base,
            }),
            (3, Some(base)) => Start::After(Resume {
                log: LOG,
                base: LineBase {
                    stored_at_ms: ask.now_ms,
                    ..*base
                },
            }),
            (_, Some(base)) => Start::After(Resume {
                log: LOG,
                base: *base,
            }),
        }
    }

    fn links(&self, ask: &Ask) -> StorageOp {
        let row = |id: u64, remote: &str| LinkRow {
            cid: [id as u8; 8],
            path: transmit::Path {
                remote: remote.parse().unwrap(),
                local: ask.who.into(),
            },
        };
        StorageOp::Links {
            remember: vec![row(ask.a, "192.0.2.1:7"), row(ask.b, "[2001:db8::1]:9")],
            forget: vec![[ask.who; 8]],
        }
    }
}

fn register(account: u8, name: u8) -> StorageOp {
    let (account, device, _) = who(account);
    StorageOp::Register {
        account,
        device,
        name: who(name).2,
        entrance: Entrance::Open,
        now_ms: 0,
    }
}

/// About one of those who are there, or about nobody.
fn decision(ask: &Ask) -> Decision {
    let verbs = [
        Verb::Kick,
        Verb::Ban,
        Verb::Unban,
        Verb::Unban,
        Verb::Mute(None),
        Verb::Mute(core::num::NonZeroU64::new(1)),
        Verb::Unmute,
        Verb::Role(Role::Owner),
        Verb::Role(Role::Moderator),
        Verb::Role(Role::Member),
    ];
    Decision {
        verb: verbs[ask.a as usize % verbs.len()],
        about: who((ask.b % 5) as u8).2,
    }
}

/// There are few, so that some are made twice.
fn mark(number: u64) -> InviteMark {
    InviteMark([number as u8 % 6; 32])
}

fn agree(steps: &[Step]) {
    let disk = Disk::new();
    let (mut store, mut running) = disk.open();
    let mut reference = MemoryStore::new(LOG);
    let mut known = Known::default();
    // Nobody enters without a name.
    for byte in 0..4 {
        let id = byte.into();
        let op = register(byte, byte);
        let expected = reference.handle(StorageRequest { id, op: op.clone() });
        assert_eq!(disk.ask_one(&mut store, op), expected.outcome);
    }
    for step in steps {
        let Step::Ask(asks) = step else {
            disk.close(store, running);
            (store, running) = disk.open();
            continue;
        };
        let mut ops = Vec::new();
        let mut expected = Vec::new();
        for (id, ask) in (0..).zip(asks) {
            let op = known.op(ask);
            let request = StorageRequest { id, op: op.clone() };
            let completion = reference.handle(request);
            known.learn(&op, &completion.outcome);
            ops.push(op);
            expected.push(completion);
        }
        let mut answers = disk.ask(&mut store, ops.clone());
        for name in ["lobby", "den"] {
            let name = room(name);
            let of_room = answers.iter().map(|answer| answer.id as usize);
            let of_room = of_room.filter(|id| ops[*id].room() == Some(&name));
            assert!(of_room.is_sorted(), "{name}: {answers:?}");
        }
        answers.sort_by_key(|answer| answer.id);
        for (op, (answer, expected)) in ops.iter().zip(answers.iter().zip(&expected)) {
            assert_eq!(answer, expected, "{op:?}");
        }
    }
    disk.close(store, running);
    let report = check(&disk.path()).unwrap();
    assert_eq!(report.faults, [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// BRK-5, STO-4, ADM-1, ADM-3, ADM-4, ROL-3, ROL-4, ROL-5, ROL-7: whatever is asked, in whatever company, also after the file was opened again.
    #[test]
    fn the_file_answers_as_the_reference_does(steps in steps()) {
        agree(&steps);
    }
}

/// PUB-2, PUB-4, STO-4: what became of a publication is known after 100,000 other lines and a
/// restart; it is not stored again, and what was refused stays refused.
#[test]
fn a_publication_keeps_its_outcome_for_ever() {
    let disk = Disk::new();
    let (mut store, running) = disk.open();
    let refused = || match publish(1, 2, "refused") {
        StorageOp::Append {
            room,
            account,
            device,
            name,
            publication,
            now_ms,
            ..
        } => StorageOp::Append {
            room,
            account,
            device,
            name,
            publication,
            refuse: Some(Refusal::BadText),
            now_ms,
        },
        other => other,
    };
    disk.ask(&mut store, vec![publish(1, 1, "stored"), refused()]);
    let others = 100_000;
    for first in (1..=others).step_by(COMMIT_REQUESTS_MAX) {
        let batch = first..(first + COMMIT_REQUESTS_MAX as u64).min(others + 1);
        disk.ask(&mut store, batch.map(|n| publish(2, n, "other")).collect());
    }
    disk.close(store, running);

    let (mut store, running) = disk.open();
    let again = [
        publish(1, 1, "stored"),
        publish(1, 2, "refused"),
        publish(1, 1, "another"),
    ];
    let outcomes: Vec<_> = disk
        .ask(&mut store, again.into())
        .into_iter()
        .map(|answer| answer.outcome)
        .collect();
    let known = |recorded| StorageOutcome::Known(recorded);
    assert_eq!(
        outcomes,
        [
            known(Recorded::Stored(1)),
            known(Recorded::Refused(Refusal::BadText)),
            StorageOutcome::Conflict,
        ]
    );
    let rest = lines(disk.ask_one(&mut store, read(others + 1, 10)));
    assert_eq!(
        rest.len(),
        1,
        "the last of the others, and nothing after it"
    );
    disk.close(store, running);
}

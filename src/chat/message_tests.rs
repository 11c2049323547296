use core::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::chat::NUMBER_MAX;
use crate::chat::{
    Budget, ControlFromBroker, ControlFromNode, Join, Joined, LastPublication, LineBase, LogId,
    Resume, ResumeOutcome, RoomId, Start,
};
use crate::chat::{INVITE_LEN, InviteSecret};

fn line(seq: u64, body: &'static [u8]) -> RoomFromBroker {
    RoomFromBroker::Line(WireLine {
        seq,
        author: 3,
        n: 900,
        kind: Kind::Message,
        since_previous_ms: 15_000,
        typed_lag_ms: 250,
        body: Bytes::from_static(body),
    })
}

/// RUM-19: a broker cannot use up the numbers that come after its own.
#[test]
fn no_joined_leads_to_numbers_that_do_not_fit_the_wire() {
    let joined = |n, seq| {
        let joined = Joined {
            log: LogId([1; 16]),
            room: RoomId([2; 16]),
            resume: ResumeOutcome::Fresh,
            last: LastPublication { n, digest: [3; 32] },
            base: LineBase {
                seq,
                stored_at_ms: 0,
                hash: [4; 32],
            },
        };
        RoomFromBroker::decode(&RoomFromBroker::Joined(joined).encode()).is_ok()
    };
    assert!(joined(NUMBER_MAX, NUMBER_MAX - 1));
    assert!(!joined(NUMBER_MAX + 1, 0));
    assert!(!joined(0, NUMBER_MAX));
}

/// STA-3: counts that do not add up are not told.
#[test]
fn more_than_all_do_not_have_a_line() {
    let told = |k, n, present_k, present_n| {
        let delivered = RoomFromBroker::Delivered(Delivered {
            seq: 1,
            k,
            n,
            present_k,
            present_n,
        });
        RoomFromBroker::decode(&delivered.encode()).is_ok()
    };
    assert!(told(3, 5, 1, 2));
    assert!(!told(6, 5, 1, 2));
    assert!(!told(3, 5, 1, 6));
    assert!(!told(3, 5, 3, 2));
    assert!(!told(3, 5, 4, 5));
}

#[test]
fn messages_survive_the_wire() {
    let joined = RoomFromBroker::Joined(Joined {
        log: LogId([1; 16]),
        room: RoomId([2; 16]),
        resume: ResumeOutcome::Fork,
        last: LastPublication {
            n: 7,
            digest: [3; 32],
        },
        base: LineBase {
            seq: 41,
            stored_at_ms: 1_700_000_000_000,
            hash: [4; 32],
        },
    });
    let introduce = RoomFromBroker::Introduce {
        author: 1,
        account: AccountKey([1; 32]),
        device: DeviceKey([2; 32]),
        name: "ada".into(),
    };
    let refused = RoomFromBroker::JoinRefused {
        code: Refusal::TooManyRooms,
        reason: "no".into(),
    };
    let not = RoomFromBroker::NotStored {
        n: 1,
        code: Refusal::TooLong,
        reason: "no".into(),
    };
    // BUD-1: how long to wait comes through.
    let budget = Budget::Lines;
    let put_off = Refusal::OverBudget {
        budget,
        wait_ms: 70_000,
    };
    let later = RoomFromBroker::NotStored {
        n: 1,
        code: put_off,
        reason: put_off.to_string(),
    };
    assert_eq!(RoomFromBroker::decode(&later.encode()), Ok(later));
    let history = RoomFromBroker::PutOff {
        code: put_off,
        reason: "slow".into(),
    };
    assert_eq!(RoomFromBroker::decode(&history.encode()), Ok(history));
    let notice = RoomFromBroker::Notice {
        presence: 9,
        event: NoticeEvent::TimedOut,
        author: 1,
    };
    let stored = RoomFromBroker::Stored { n: 1, seq: 2 };
    let roster = RoomFromBroker::Roster {
        total: 9,
        names: vec!["ada".into(), "bob".into()],
    };
    assert_eq!(RoomFromBroker::decode(&roster.encode()), Ok(roster));
    assert_eq!(
        RoomFromBroker::decode(&RoomFromBroker::Left.encode()),
        Ok(RoomFromBroker::Left)
    );
    for message in [RoomFromNode::Leave, RoomFromNode::Who] {
        assert_eq!(RoomFromNode::decode(&message.encode()), Ok(message));
    }
    let rooms = ControlFromBroker::Rooms {
        total: 1,
        rooms: vec![(3, "lobby".into())],
    };
    assert_eq!(ControlFromBroker::decode(&rooms.encode()), Ok(rooms));
    let list = ControlFromNode::ListRooms;
    assert_eq!(ControlFromNode::decode(&list.encode()), Ok(list));
    for message in [
        joined,
        introduce,
        refused,
        not,
        notice,
        stored,
        RoomFromBroker::Gap { last: 3 },
        line(5, b"hi"),
    ] {
        assert_eq!(RoomFromBroker::decode(&message.encode()), Ok(message));
    }
    let base = LineBase {
        seq: 40,
        stored_at_ms: 1_700_000_000_000,
        hash: [5; 32],
    };
    let resume = Start::After(Resume {
        log: LogId([1; 16]),
        base,
    });
    for (quiet, start) in [
        (false, Start::Tail),
        (true, resume),
        (true, Start::Line(300)),
    ] {
        let join = RoomFromNode::Join(Join {
            room: "lobby".into(),
            quiet,
            history: 20,
            presence: 4,
            start,
        });
        assert_eq!(RoomFromNode::decode(&join.encode()), Ok(join));
    }
    for message in [
        RoomFromNode::Cursor(Stretch { after: 1, to: 3 }),
        RoomFromNode::Watch { seq: 1 << 40 },
        RoomFromNode::History {
            before: 77,
            count: 1_000,
        },
    ] {
        assert_eq!(RoomFromNode::decode(&message.encode()), Ok(message));
    }
    for message in [
        RoomFromBroker::Delivered(Delivered {
            seq: 9,
            k: 1,
            n: 300,
            present_k: 0,
            present_n: 7,
        }),
        RoomFromBroker::Past(PastLine {
            seq: 5,
            author: 2,
            n: 4,
            kind: Kind::Message,
            stored_at_ms: 1 << 41,
            typed_at_ms: 3,
            body: Bytes::from_static(b"once"),
        }),
        RoomFromBroker::HistoryEnd {
            count: 1,
            earlier: true,
        },
    ] {
        assert_eq!(RoomFromBroker::decode(&message.encode()), Ok(message));
    }
    for message in [
        ControlFromNode::SignIn {
            name: "ada".into(),
            invite: None,
        },
        ControlFromNode::Bye,
    ] {
        assert_eq!(ControlFromNode::decode(&message.encode()), Ok(message));
    }
    let refused = ControlFromBroker::SignInRefused {
        code: Refusal::NameTaken,
        reason: "no".into(),
    };
    for message in [
        ControlFromBroker::Welcome { people: 3 },
        refused,
        ControlFromBroker::ByeOk,
    ] {
        assert_eq!(ControlFromBroker::decode(&message.encode()), Ok(message));
    }
}

/// LIM-8.
#[test]
fn a_list_longer_than_one_may_be_is_malformed() {
    let roster = |len| {
        let names = vec!["x".to_owned(); len];
        RoomFromBroker::decode(&RoomFromBroker::Roster { total: 1, names }.encode())
    };
    assert!(roster(LISTED_MAX).is_ok());
    assert_eq!(
        roster(LISTED_MAX + 1),
        Err(DecodeError::Invalid("length of a list"))
    );
}

/// ENC-3.
#[test]
fn messages_with_trailing_bytes_are_malformed() {
    let mut stored = RoomFromBroker::Stored { n: 1, seq: 2 }.encode().to_vec();
    stored.push(0);
    assert_eq!(
        RoomFromBroker::decode(&stored.into()),
        Err(DecodeError::TrailingBytes)
    );
}

/// PUB-9: a room with ten thousand lines, an author with ten thousand publications, and a line
/// every quarter of a minute.
#[test]
fn the_chat_header_around_a_hundred_bytes_is_at_most_sixteen() {
    let text = &[b'x'; 100];
    let received = line(10_000, text).encode();
    assert!(received.len() <= 116, "LINE takes {}", received.len());
    let published = RoomFromNode::Publish(Publication {
        n: 10_000,
        typed_at_ms: 1_790_000_000_000,
        kind: Kind::Message,
        body: Bytes::from_static(text),
    });
    let sent = published.encode();
    assert!(sent.len() <= 116, "PUBLISH takes {}", sent.len());
    assert_eq!(RoomFromNode::decode(&sent), Ok(published));
}

proptest! {
    /// ENC-3, ENC-4, ENC-5: what decodes is what was encoded, and nothing panics.
    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![1u8, 2, 3, 4, 5, 6, 7, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d]),
    ) {
        let mut message = vec![kind];
        message.extend(bytes);
        let message = Bytes::from(message);
        if let Ok(decoded) = RoomFromBroker::decode(&message) {
            prop_assert_eq!(decoded.encode(), &message);
        }
        if let Ok(decoded) = RoomFromNode::decode(&message) {
            prop_assert_eq!(decoded.encode(), &message);
        }
        if let Ok(decoded) = ControlFromBroker::decode(&message) {
            prop_assert_eq!(decoded.encode(), &message);
        }
        if let Ok(decoded) = ControlFromNode::decode(&message) {
            prop_assert_eq!(decoded.encode(), &message);
        }
    }

    #[test]
    fn zigzag_is_its_own_inverse(value in any::<i64>()) {
        prop_assert_eq!(unzigzag(zigzag(value)), value);
    }
}

/// ADM-2, ROL-4, ROL-7: what lets in and what shows out has the layout that SPEC.md gives it.
#[test]
fn what_is_said_about_admission_survives_the_wire() {
    let secret = InviteSecret::new([7; INVITE_LEN]);
    let sign_in = ControlFromNode::SignIn {
        name: "ada".into(),
        invite: Some(secret.clone()),
    };
    let bytes = sign_in.encode();
    assert_eq!(bytes[..], [&[0x08][..], &[7; 16], b"ada"].concat());
    assert_eq!(ControlFromNode::decode(&bytes), Ok(sign_in));
    assert!(ControlFromNode::decode(&bytes.slice(..16)).is_err());

    let limits = [(None, None), (NonZeroU64::new(3), NonZeroU64::new(1 << 61))];
    for (uses, lasts_ms) in limits {
        let wish = RoomFromNode::Invite(InviteWish {
            mark: secret.mark(),
            uses,
            lasts_ms,
        });
        assert_eq!(RoomFromNode::decode(&wish.encode()), Ok(wish));
    }
    let (code, reason) = (Refusal::Kicked, "out".to_owned());
    let removed = RoomFromBroker::Removed { code, reason };
    assert_eq!(removed.encode()[..], *b"\x1e\x18out");
    let (code, reason) = (Refusal::NotAllowed, "no".to_owned());
    let not_invited = RoomFromBroker::NotInvited { code, reason };
    for message in [
        removed,
        not_invited,
        RoomFromBroker::Invited { invite: 300 },
    ] {
        assert_eq!(RoomFromBroker::decode(&message.encode()), Ok(message));
    }
}

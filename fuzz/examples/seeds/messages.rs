//! A valid encoding of each kind of message that links carry.

use core::num::NonZeroU64;

use bytes::Bytes;
use tertulia::chat::{
    Budget, ControlFromBroker, ControlFromNode, Delivered, DeviceEntry, ErrandFromBroker,
    ErrandFromNode, Grant, InviteMark, InviteSecret, InviteWish, Kind, LinkMark, NoticeEvent,
    Proof, Publication, Refusal, RoomFromBroker, RoomFromNode, Stretch, WireLine,
};
use tertulia::secure::{AccountKey, CERTIFICATE_LEN, DeviceKey, SIGNATURE_LEN};

/// All of them but those with which a link begins, which `noise_payload` starts from.
pub(crate) fn all() -> impl Iterator<Item = Bytes> {
    errands().into_iter().chain(on_control()).chain(in_rooms())
}

/// What is said in place of signing in, and the answers.
fn errands() -> Vec<Bytes> {
    let (mark, proof) = (LinkMark([1; 32]), Proof([2; 32]));
    let device = DeviceKey([3; 32]);
    let grant = || Grant {
        certificate: [4; CERTIFICATE_LEN],
        proof,
        name: "ada".to_owned(),
    };
    let entry = DeviceEntry {
        device,
        is_linked: true,
        is_here: false,
        first_seen_ms: 7,
        last_seen_ms: 8,
        revoked_at_ms: Some(9),
    };
    let asked = [
        ErrandFromNode::LinkOffer { mark, lasts_ms: 9 },
        ErrandFromNode::LinkAsk { mark, proof },
        ErrandFromNode::LinkGrant(grant()),
        ErrandFromNode::ListDevices,
        ErrandFromNode::RevokeDevice {
            device,
            signature: [5; SIGNATURE_LEN],
        },
    ];
    let answered = [
        ErrandFromBroker::LinkAsked { device, proof },
        ErrandFromBroker::LinkGranted {
            account: AccountKey([6; 32]),
            grant: grant(),
        },
        ErrandFromBroker::LinkDone,
        ErrandFromBroker::Devices(vec![entry, entry]),
        ErrandFromBroker::DeviceRevoked,
        ErrandFromBroker::Refused {
            code: Refusal::LinkUnknown,
            reason: "no".to_owned(),
        },
    ];
    let asked = asked.map(|errand| ControlFromNode::Errand(errand).encode());
    let answered = answered.map(|errand| ControlFromBroker::Errand(errand).encode());
    asked.into_iter().chain(answered).collect()
}

/// What else is said on the control channel.
fn on_control() -> Vec<Bytes> {
    let sign_in = |invite| ControlFromNode::SignIn {
        name: "ada".to_owned(),
        invite,
    };
    let over = Refusal::OverBudget {
        budget: Budget::Memory,
        wait_ms: 10_000,
    };
    vec![
        sign_in(None).encode(),
        sign_in(Some(InviteSecret::new([7; 16]))).encode(),
        ControlFromNode::Bye.encode(),
        ControlFromNode::ListRooms.encode(),
        ControlFromBroker::Welcome { people: 3 }.encode(),
        ControlFromBroker::SignInRefused {
            code: over,
            reason: "later".to_owned(),
        }
        .encode(),
        ControlFromBroker::Rooms {
            total: 2,
            rooms: vec![(1, "lobby".to_owned())],
        }
        .encode(),
    ]
}

/// What is said on a room's channel.
fn in_rooms() -> Vec<Bytes> {
    let over = |budget| Refusal::OverBudget {
        budget,
        wait_ms: 1_000,
    };
    let reason = || "later".to_owned();
    let body = Bytes::from_static(b"hello");
    let publication = Publication {
        n: 1,
        typed_at_ms: 2,
        kind: Kind::Message,
        body: body.clone(),
    };
    let wish = InviteWish {
        mark: InviteMark([8; 32]),
        uses: NonZeroU64::new(3),
        lasts_ms: None,
    };
    let line = WireLine {
        seq: 4,
        author: 1,
        n: 1,
        kind: Kind::Message,
        since_previous_ms: 5,
        typed_lag_ms: 6,
        body,
    };
    let from_node = [
        RoomFromNode::Publish(publication),
        RoomFromNode::Leave,
        RoomFromNode::Who,
        RoomFromNode::Invite(wish),
        RoomFromNode::Cursor(Stretch { after: 1, to: 9 }),
        RoomFromNode::Watch { seq: 3 },
        RoomFromNode::History {
            before: 9,
            count: 5,
        },
    ];
    let from_broker = [
        RoomFromBroker::JoinRefused {
            code: over(Budget::Changes),
            reason: reason(),
        },
        RoomFromBroker::Introduce {
            author: 1,
            account: AccountKey([1; 32]),
            device: DeviceKey([2; 32]),
            name: "ada".to_owned(),
        },
        RoomFromBroker::Line(line),
        RoomFromBroker::Notice {
            presence: 1,
            event: NoticeEvent::Joined,
            author: 1,
        },
        RoomFromBroker::NotStored {
            n: 1,
            code: over(Budget::Lines),
            reason: reason(),
        },
        RoomFromBroker::Gap { last: 3 },
        RoomFromBroker::Removed {
            code: Refusal::NotAllowed,
            reason: reason(),
        },
        RoomFromBroker::Invited { invite: 4 },
        RoomFromBroker::NotInvited {
            code: Refusal::RetryLater,
            reason: reason(),
        },
        RoomFromBroker::Roster {
            total: 2,
            names: vec!["ada".to_owned()],
        },
        RoomFromBroker::Delivered(Delivered::default()),
        RoomFromBroker::HistoryEnd {
            count: 3,
            earlier: true,
        },
        RoomFromBroker::PutOff {
            code: over(Budget::History),
            reason: reason(),
        },
    ];
    let from_node = from_node.map(|message| message.encode());
    let from_broker = from_broker.map(|message| message.encode());
    from_node.into_iter().chain(from_broker).collect()
}

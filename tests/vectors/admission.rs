//! Section 17.7, what a broker may answer, and section 17.10, who comes in, and who has to go.

use core::num::NonZeroU64;

use tertulia::chat::{
    Budget, ControlFromBroker, ControlFromNode, Decision, InviteMark, InviteSecret, InviteWish,
    Kind, Publication, Refusal, RoomFromBroker, RoomFromNode,
};

use super::{BEGINNING_MS, array, assert_from_broker, assert_from_node, vector};

/// PUB-2, BUD-1, RUM-13, SGN-6.
#[test]
fn answers_agree() {
    let not_stored = |code, reason: &str| RoomFromBroker::NotStored {
        n: 3,
        code,
        reason: reason.to_owned(),
    };
    assert_from_broker("not_stored", &not_stored(Refusal::BadText, "no"));
    let later = Refusal::OverBudget {
        budget: Budget::Lines,
        wait_ms: 594,
    };
    assert_from_broker("put_off_line", &not_stored(later, "wait"));
    assert_from_broker("gap", &RoomFromBroker::Gap { last: 2 });
    let roster = RoomFromBroker::Roster {
        total: 2,
        names: vec!["ada".to_owned(), "bob".to_owned()],
    };
    assert_from_broker("roster", &roster);
    let rooms = ControlFromBroker::Rooms {
        total: 1,
        rooms: vec![(2, "lobby".to_owned())],
    };
    assert_eq!(rooms.encode(), vector("rooms"));
    assert_eq!(ControlFromBroker::decode(&vector("rooms")), Ok(rooms));
}

/// ADM-2, ROL-2, ROL-4, ROL-7.
#[test]
fn invites_and_decisions_agree() {
    let secret = InviteSecret::new(array("invite_secret"));
    let mark = InviteMark(array("invite_mark"));
    assert_eq!(secret.mark(), mark);
    let wish = InviteWish {
        mark,
        uses: NonZeroU64::new(1),
        lasts_ms: NonZeroU64::new(604_800_000),
    };
    assert_from_node("invite", &RoomFromNode::Invite(wish));
    assert_from_broker("invited", &RoomFromBroker::Invited { invite: 7 });
    let not_invited = RoomFromBroker::NotInvited {
        code: Refusal::NotAllowed,
        reason: "no".to_owned(),
    };
    assert_from_broker("not_invited", &not_invited);
    let sign_in = ControlFromNode::SignIn {
        name: "bob".to_owned(),
        invite: Some(secret),
    };
    assert_eq!(sign_in.encode(), vector("sign_in_invited"));
    let decoded = ControlFromNode::decode(&vector("sign_in_invited"));
    assert_eq!(decoded, Ok(sign_in));

    let mute = "mute 600 bob";
    assert!(Decision::parse(mute.as_bytes()).is_some());
    let publication = Publication {
        n: 3,
        typed_at_ms: BEGINNING_MS + 15_000,
        kind: Kind::Decision,
        body: mute.into(),
    };
    assert_from_node("publish_decision", &RoomFromNode::Publish(publication));
    let removed = RoomFromBroker::Removed {
        code: Refusal::Kicked,
        reason: "out".to_owned(),
    };
    assert_from_broker("removed", &removed);
}

//! The vocabulary of chat: names, lines, publications, and the messages that carry them.
//!
//! A **room** is a log. What a person types becomes a [`Publication`], numbered by the device that
//! typed it; the broker's store gives it the room's next number, and from then on it is a
//! [`Line`]. Everybody in the room is handed the same lines in the same order; the running
//! [`RoomHash`] lets a node prove that its copy is a prefix of the broker's.
//!
//! Nothing here has state: these are values, their rules, and their encodings. The machines that
//! exchange them are [`broker`](crate::broker) and [`client`](crate::client).

mod budget;
mod control;
mod coverage;
mod errand;
mod invite;
mod join;
mod line;
mod linking;
mod message;
mod name;
mod past;
mod policy;
mod precis;
mod publication;
mod refusal;
mod standing;
mod text;

pub use budget::Budget;
pub use control::{ControlFromBroker, ControlFromNode};
pub use coverage::{Coverage, Grown, STRETCHES_MAX, Stretch};
pub use errand::{DEVICES_MAX, DeviceEntry, ErrandFromBroker, ErrandFromNode, Grant};
pub use invite::{INVITE_LEN, InviteMark, InviteSecret, InviteTerms, ParseInviteError};
pub use join::{Join, Joined, NUMBER_MAX, Resume, ResumeOutcome, Start};
pub use line::{Kind, Line, LineBase, LogId, ROOM_HASH_START, RoomHash, RoomId};
pub use linking::{
    LINK_LASTS_MAX_MS, LINK_SECRET_LEN, LinkMark, LinkSecret, PROOF_LEN, ParseLinkError, Proof,
};
pub use message::{
    Delivered, InviteWish, LISTED_BYTES_MAX, LISTED_MAX, NoticeEvent, RoomFromBroker, RoomFromNode,
    WireLine,
};
pub use name::{
    NAME_BYTES_MAX, NAME_CHARS_MAX, NAME_MARKS_MAX, Name, NameError, RoomName, UNICODE_VERSION,
};
pub use past::PastLine;
pub use policy::HistoryPolicy;
pub use publication::{
    CHAT_LINE_MAX, Digest, LastPublication, Publication, Recorded, TextError, Verdict, check_body,
    judge,
};
pub use refusal::Refusal;
pub use standing::{Decision, Judge, MUTED_FOR_EVER, OPERATOR, Role, Standing, Standings, Verb};
/// The most authors that a broker introduces on a channel (LIM-17).
pub const AUTHORS_MAX: usize = 65_536;

pub use text::{is_unprintable, visible, visible_lines};

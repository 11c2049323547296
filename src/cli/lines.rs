//! A line as a JSON object: the same one in everything that the programs write (JSN-2).

use core::num::NonZeroU64;

use serde_json::{Value, json};

use crate::chat::{Decision, Kind, Line, LogId, RoomName, Verb};

/// The object of a line of `room`, in the history `log`.
pub(super) fn object(room: &RoomName, log: LogId, line: &Line) -> Value {
    let mut object = json!({
        "type": kind(line.kind),
        "log": log.to_string(),
        "room": room.as_str(),
        "seq": line.seq,
        "from": line.name.as_str(),
        "account": line.account.to_string(),
        "device": line.device.to_string(),
        "n": line.n,
        "text": line.text(),
        "typed_at_ms": line.typed_at_ms,
        "stored_at_ms": line.stored_at_ms,
    });
    if line.kind == Kind::Decision
        && let Some(decision) = Decision::parse(&line.body)
    {
        object["about"] = decision.about.as_str().into();
        let verb = match decision.verb {
            Verb::Kick => "kick",
            Verb::Ban => "ban",
            Verb::Unban => "unban",
            Verb::Mute(seconds) => {
                object["seconds"] = seconds.map(NonZeroU64::get).into();
                "mute"
            }
            Verb::Unmute => "unmute",
            Verb::Role(role) => {
                object["role"] = role.as_str().into();
                "role"
            }
        };
        object["decision"] = verb.into();
    }
    object
}

/// What a line of this kind is called.
const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Message => "line",
        Kind::Joined => "member_joined",
        Kind::Left => "member_left",
        Kind::Removed => "member_removed",
        Kind::Policy => "policy",
        Kind::Decision => "decision",
        Kind::Other(_) => "other",
    }
}

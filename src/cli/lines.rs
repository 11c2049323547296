//! A line as a JSON object: the same one in everything that the programs write (JSN-2).

use serde_json::{Value, json};

use crate::chat::{Kind, Line, LogId, RoomName};

/// The object of a line of `room`, in the history `log`.
pub(super) fn object(room: &RoomName, log: LogId, line: &Line) -> Value {
    json!({
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
    })
}

/// What a line of this kind is called.
const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Message => "line",
        Kind::Joined => "member_joined",
        Kind::Left => "member_left",
        Kind::Removed => "member_removed",
        Kind::Policy => "policy",
        Kind::Other(_) => "other",
    }
}

//! One JSON object a line, both ways (SPEC.md section 12.1).

use serde_json::{Value, json};

use crate::chat::{Kind, Line, LogId, Name, NoticeEvent, RoomName};

/// A line of a room (JSN-2).
pub(super) fn line(room: &RoomName, log: LogId, line: &Line) -> String {
    let kind = match line.kind {
        Kind::Message => "line",
        Kind::Joined => "member_joined",
        Kind::Left => "member_left",
        Kind::Removed => "member_removed",
        Kind::Policy => "policy",
        Kind::Other(_) => "other",
    };
    json!({
        "type": kind,
        "log": log.to_string(),
        "room": room.as_str(),
        "seq": line.seq,
        "from": line.name.as_str(),
        "account": line.account.to_string(),
        "n": line.n,
        "text": line.text(),
        "typed_at_ms": line.typed_at_ms,
        "stored_at_ms": line.stored_at_ms,
    })
    .to_string()
}

/// Somebody came or went (JSN-2).
pub(super) fn notice(room: &RoomName, number: u64, event: NoticeEvent, name: &Name) -> String {
    let event = match event {
        NoticeEvent::Joined => "joined",
        NoticeEvent::Left => "left",
        NoticeEvent::TimedOut => "timed_out",
    };
    json!({
        "type": "notice",
        "room": room.as_str(),
        "number": number,
        "event": event,
        "name": name.as_str(),
    })
    .to_string()
}

/// Anything else that happened in a room (JSN-2).
pub(super) fn happened(what: &str, room: Option<&RoomName>, more: Value) -> String {
    let mut object = json!({ "type": what });
    if let Some(room) = room {
        object["room"] = room.as_str().into();
    }
    if let Value::Object(fields) = more {
        for (name, value) in fields {
            object[name] = value;
        }
    }
    object.to_string()
}

/// The line number of `{"ack":SEQ}` (JSN-4).
pub(super) fn ack(line: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(line).ok()?;
    value.get("ack")?.as_u64()
}

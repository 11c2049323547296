//! A line as a JSON object: the same one in everything that the programs write (JSN-2).

use core::fmt::Write as _;
use core::num::NonZeroU64;

use serde_json::{Value, json};

use crate::chat::{Decision, Kind, Line, LogId, RoomName, Verb, is_unprintable};

/// An object as it is written: in one line, and safe to print (JSN-6). In what JSON leaves as it is,
/// invisible characters stand in strings only, where an escape means the same.
pub(super) fn written(object: &Value) -> String {
    let plain = object.to_string();
    if !plain.contains(is_unprintable) {
        return plain;
    }
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if is_unprintable(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

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

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// JSN-6: what is written reads back exactly, and no terminal acts on it.
        #[test]
        fn any_text_is_written_safely_and_reads_back(text in ".*|[\\\\\"\u{1b}\u{7f}\u{9b}\u{202e}\u{e0067}a]*") {
            let object = json!({ "text": text, (text.as_str()): 1 });
            let written = written(&object);
            proptest::prop_assert!(!written.contains(is_unprintable), "{}", written);
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), object);
        }
    }
}

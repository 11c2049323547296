//! One JSON object a line, both ways (JSN-1 to JSN-3).

use core::num::NonZeroU64;

use serde_json::{Value, json};

use super::Typed;
use super::command::Command;
use crate::chat::{Decision, HistoryPolicy, Line, LogId, Name, NoticeEvent, Role, RoomName, Verb};
use crate::cli::lines;
use crate::client::{Asker, ClientEvent, PutOff};

/// A line of a room (JSN-2).
pub(super) fn line(room: &RoomName, log: LogId, line: &Line) -> String {
    lines::written(&lines::object(room, log, line))
}

/// Somebody came or went (JSN-2).
pub(super) fn notice(room: &RoomName, number: u64, event: NoticeEvent, name: &Name) -> String {
    let event = match event {
        NoticeEvent::Joined => "joined",
        NoticeEvent::Left => "left",
        NoticeEvent::TimedOut => "timed_out",
    };
    lines::written(&json!({
        "type": "notice",
        "room": room.as_str(),
        "number": number,
        "event": event,
        "name": name.as_str(),
    }))
}

/// What else a program is told (JSN-2); `None` for what is no news to it.
pub(super) fn event(event: &ClientEvent) -> Option<String> {
    let object = match event {
        ClientEvent::Online => json!({ "type": "online" }),
        ClientEvent::Offline => json!({ "type": "offline" }),
        ClientEvent::Joined { room } => json!({ "type": "joined", "room": room.as_str() }),
        ClientEvent::RoomLeft {
            room,
            removed: None,
        } => json!({ "type": "left", "room": room.as_str() }),
        ClientEvent::RoomLeft {
            room,
            removed: Some((code, reason)),
        } => json!({
            "type": "removed",
            "room": room.as_str(),
            "code": code.code(),
            "reason": reason,
        }),
        ClientEvent::Fork { room } => json!({ "type": "fork", "room": room.as_str() }),
        ClientEvent::Skipped { room, first } => json!({
            "type": "skipped",
            "room": room.as_str(),
            "first": first,
        }),
        ClientEvent::JoinRefused { room, code, reason } => json!({
            "type": "join_refused",
            "room": room.as_str(),
            "code": code.code(),
            "reason": reason,
        }),
        ClientEvent::Waiting { handle, room } => json!({
            "type": "waiting", "room": room.as_str(), "handle": handle,
        }),
        ClientEvent::Stored { handle, room, seq } => json!({
            "type": "stored",
            "room": room.as_str(),
            "handle": handle,
            "seq": seq,
        }),
        ClientEvent::NotStored {
            handle,
            room,
            code,
            reason,
            may_be_stored,
        } => json!({
            "type": "not_stored",
            "room": room.as_str(),
            "handle": handle,
            "code": code.code(),
            "reason": reason,
            "may_be_stored": may_be_stored,
        }),
        ClientEvent::Delivered {
            handle,
            room,
            delivered,
        } => json!({
            "type": "delivered",
            "room": room.as_str(),
            "handle": handle,
            "seq": delivered.seq,
            "k": delivered.k,
            "n": delivered.n,
            "present_k": delivered.present_k,
            "present_n": delivered.present_n,
        }),
        ClientEvent::Unwatched { handle, room } => json!({
            "type": "unwatched",
            "room": room.as_str(),
            "handle": handle,
        }),
        // JSN-8
        ClientEvent::PutOff {
            what,
            room,
            wait,
            code,
            reason,
        } => {
            let what = match what {
                PutOff::SignIn => "sign_in",
                PutOff::Join => "join",
                PutOff::Lines => "lines",
                PutOff::History => "history",
            };
            json!({
                "type": "put_off",
                "what": what,
                "room": room.as_ref().map(RoomName::as_str),
                "wait_ms": u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "code": code.code(),
                "reason": reason,
            })
        }
        ClientEvent::Past {
            room,
            asker: Asker::Node,
            log,
            line,
        } => {
            let mut object = lines::object(room, *log, line);
            object["kind"] = object["type"].take();
            object["type"] = "past".into();
            object
        }
        ClientEvent::HistoryEnd {
            room,
            asker: Asker::Node,
            count,
            earlier,
        } => json!({
            "type": "history_end",
            "room": room.as_str(),
            "count": count,
            "earlier": earlier,
        }),
        _ => return None,
    };
    Some(lines::written(&object))
}

/// What an object on stdin asks for (JSN-3).
pub(super) fn typed(line: &[u8]) -> Typed {
    if line.is_empty() {
        return Typed::Nothing;
    }
    let mistake = |why: &str| Typed::Mistake(why.to_owned());
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return mistake("not a JSON object");
    };
    let room = match value
        .get("room")
        .map(|room| room.as_str().map(RoomName::new))
    {
        None => None,
        Some(Some(Ok(room))) => Some(room),
        Some(_) => return mistake("\"room\" is no room's name"),
    };
    match (value.get("type").and_then(Value::as_str), room) {
        (Some("say"), room) => match (value.get("text").and_then(Value::as_str), room) {
            (Some(text), Some(room)) => Typed::TextIn(room, text.to_owned().into()),
            (Some(text), None) => Typed::Text(text.to_owned().into()),
            (None, _) => mistake("\"say\" needs a \"text\""),
        },
        (Some("join"), Some(room)) => Typed::Command(Command::Join(room)),
        (Some("leave"), room) => Typed::Command(Command::Leave(room)),
        (Some("history"), room) => history(room, &value),
        (Some("policy"), room) => policy(room, &value),
        (Some("quit"), _) => Typed::Leave,
        (Some("invite"), room) => {
            let uses = value.get("uses").map_or(Some(1), Value::as_u64);
            match uses.and_then(NonZeroU64::new) {
                Some(uses) => Typed::Command(Command::Invite(room, uses)),
                None => mistake("\"invite\" may have \"uses\", a number from 1 on"),
            }
        }
        (Some(word @ ("kick" | "ban" | "unban" | "mute" | "unmute" | "role")), room) => {
            match decision(word, &value) {
                Some(decision) => Typed::Command(Command::Decide(room, decision)),
                None => mistake(
                    "a decision needs a \"name\", \"mute\" may have \"seconds\", and \"role\" needs a \
                     \"role\": owner, moderator or member",
                ),
            }
        }
        _ => mistake(
            "\"type\" is one of say, join (with a room), leave, history, policy, kick, ban, unban, \
             mute, unmute, role, invite, quit",
        ),
    }
}

/// JSN-5.
fn decision(word: &str, value: &Value) -> Option<Decision> {
    let verb = match word {
        "kick" => Verb::Kick,
        "ban" => Verb::Ban,
        "unban" => Verb::Unban,
        "unmute" => Verb::Unmute,
        "mute" => Verb::Mute(match value.get("seconds") {
            None | Some(Value::Null) => None,
            Some(seconds) => Some(NonZeroU64::new(seconds.as_u64()?)?),
        }),
        _ => Verb::Role(Role::parse(value.get("role")?.as_str()?)?),
    };
    let about = Name::new(value.get("name")?.as_str()?).ok()?;
    Some(Decision { verb, about })
}

fn history(room: Option<RoomName>, value: &Value) -> Typed {
    let number = |key| value.get(key).map(Value::as_u64);
    match (number("count"), number("before")) {
        (Some(Some(count @ 1..)), before @ (None | Some(Some(_)))) => {
            Typed::Command(Command::History {
                room,
                count,
                before: before.flatten(),
            })
        }
        _ => Typed::Mistake(
            "\"history\" needs a \"count\", and takes a line's number \"before\"".to_owned(),
        ),
    }
}

fn policy(room: Option<RoomName>, value: &Value) -> Typed {
    match value.get("history").and_then(Value::as_str) {
        Some("all") => Typed::Command(Command::Policy(room, HistoryPolicy::All)),
        Some("since-join") => Typed::Command(Command::Policy(room, HistoryPolicy::SinceJoin)),
        _ => Typed::Mistake("\"policy\" needs a \"history\": all or since-join".to_owned()),
    }
}

/// The line number of `{"ack":SEQ}` (JSN-4).
pub(super) fn ack(line: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(line).ok()?;
    value.get("ack")?.as_u64()
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::chat::Refusal;

    fn of(text: &str) -> Typed {
        typed(text.as_bytes())
    }

    /// JSN-3.
    #[test]
    fn an_object_says_joins_leaves_and_quits() {
        let den = RoomName::new("den").unwrap();
        let said = of(r#"{"type":"say","room":"den","text":"q!\u0007"}"#);
        assert_eq!(said, Typed::TextIn(den.clone(), "q!\u{7}".into()));
        assert_eq!(
            of(r#"{"type":"say","text":"/who"}"#),
            Typed::Text("/who".into())
        );
        let join = Typed::Command(Command::Join(den));
        assert_eq!(of(r#"{"type":"join","room":"den","more":1}"#), join);
        assert_eq!(
            of(r#"{"type":"leave"}"#),
            Typed::Command(Command::Leave(None))
        );
        let history = |room, before| {
            Typed::Command(Command::History {
                room,
                count: 5,
                before,
            })
        };
        let asked = of(r#"{"type":"history","room":"den","count":5,"before":9}"#);
        assert_eq!(asked, history(RoomName::new("den").ok(), Some(9)));
        assert_eq!(of(r#"{"type":"history","count":5}"#), history(None, None));
        assert_eq!(
            of(r#"{"type":"policy","history":"since-join"}"#),
            Typed::Command(Command::Policy(None, HistoryPolicy::SinceJoin))
        );
        assert_eq!(of(r#"{"type":"quit"}"#), Typed::Leave);
        assert_eq!(of(""), Typed::Nothing);
        for wrong in [
            "hello",
            "[]",
            "{}",
            r#"{"type":"say"}"#,
            r#"{"type":"say","text":7}"#,
            r#"{"type":"join"}"#,
            r#"{"type":"say","room":"a:b","text":"x"}"#,
            r#"{"type":"say","room":7,"text":"x"}"#,
            r#"{"type":"shout","text":"x"}"#,
            r#"{"type":"history"}"#,
            r#"{"type":"history","count":0}"#,
            r#"{"type":"history","count":5,"before":"x"}"#,
            r#"{"type":"policy","history":"some"}"#,
            r#"{"type":"kick"}"#,
            r#"{"type":"mute","name":"bob","seconds":0}"#,
            r#"{"type":"role","name":"bob","role":"king"}"#,
        ] {
            assert!(matches!(of(wrong), Typed::Mistake(_)), "{wrong}");
        }
    }

    /// JSN-2, JSN-4: the text is exactly the line's, whatever is in it.
    #[test]
    fn a_line_keeps_its_text_exactly() {
        let room = RoomName::default();
        let object = event(&ClientEvent::Waiting { handle: 7, room });
        let expected = r#"{"handle":7,"room":"lobby","type":"waiting"}"#;
        assert_eq!(object.as_deref(), Some(expected));
        let notice = notice(
            &RoomName::default(),
            9,
            NoticeEvent::TimedOut,
            &Name::new("ada").unwrap(),
        );
        assert!(notice.contains(r#""event":"timed_out""#), "{notice}");
        let put_off = event(&ClientEvent::PutOff {
            what: PutOff::Lines,
            room: Some(RoomName::default()),
            wait: Duration::from_millis(2_500),
            code: Refusal::from_code(58),
            reason: "slower".to_owned(),
        });
        let expected = r#"{"code":58,"reason":"slower","room":"lobby","type":"put_off","wait_ms":2500,"what":"lines"}"#;
        assert_eq!(put_off.as_deref(), Some(expected));
        assert_eq!(ack(br#"{"ack":12}"#), Some(12));
        assert_eq!(ack(br#"{"ack":"12"}"#), None);
        assert_eq!(ack(b"12"), None);
    }
}

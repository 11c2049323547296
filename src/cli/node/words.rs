//! What a node says, in words.

use std::ops::RangeInclusive;
use std::time::{Duration, UNIX_EPOCH};

use super::session::past::PageEnd;
use crate::chat::{
    Decision, Delivered, HistoryPolicy, Kind, Line, Name, NoticeEvent, OPERATOR, Refusal, RoomName,
    Verb, visible,
};
use crate::cli::address::HostPort;
use crate::client::PutOff;
use crate::profile::known_hosts::Remembered;
use crate::secure::PublicKey;
use crate::store::journal::SHOWN_LAG_MAX;

/// 9999-12-31 23:59:59, in milliseconds of Unix time: later times have no name.
const LAST_TIME_MS: u64 = 253_402_300_799_000;

/// A line as it is printed (CLI-1); `None` if a notice says it already, or a later version will
/// know what it is. `room` is given where it is not the one that is typed to.
pub(super) fn line(room: Option<&RoomName>, line: &Line) -> Option<String> {
    let prefix = prefix(room);
    if line.kind == Kind::Message {
        let (name, text) = (visible(line.name.as_str()), line.text());
        return Some(format!("{prefix}{name}: {}", visible(&text)));
    }
    decided(line).map(|what| format!("{prefix}SERVER: {what}"))
}

/// A notice as it is printed (CLI-1).
pub(super) fn notice(room: Option<&RoomName>, event: NoticeEvent, name: &Name) -> String {
    let what = match event {
        NoticeEvent::Joined => "Joined!",
        NoticeEvent::Left => "Left!",
        NoticeEvent::TimedOut => "Left! (timed out)",
    };
    format!("{}SERVER: {} {what}", prefix(room), visible(name.as_str()))
}

fn prefix(room: Option<&RoomName>) -> String {
    room.map(|room| format!("[{}] ", visible(room.as_str())))
        .unwrap_or_default()
}

/// An earlier line, as `/history` shows it (CLI-17).
pub(super) fn past(line: &Line) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(line.stored_at_ms.min(LAST_TIME_MS));
    let at = humantime::format_rfc3339_seconds(at);
    let (name, text) = (visible(line.name.as_str()), line.text());
    let what = match line.kind {
        Kind::Message => format!("{name}: {}", visible(&text)),
        Kind::Joined => format!("-- {name} became a member --"),
        Kind::Left => format!("-- {name} is no member any more --"),
        Kind::Removed => format!("-- {name}: a member was removed --"),
        Kind::Policy => format!("-- {name}: {} --", visible(&text)),
        Kind::Decision => match decided(line) {
            Some(what) => format!("-- {what} --"),
            None => format!("-- {name}: {} --", visible(&text)),
        },
        Kind::Other(_) => format!("-- {name}: of a kind that this version does not know --"),
    };
    format!("| {} {at} {what}", line.seq)
}

/// The last line of a page (CLI-17).
pub(super) fn page_end(room: &RoomName, end: &PageEnd) -> String {
    let room = visible(room.as_str());
    let before = match end.earliest {
        _ if end.has_more => "/history shows those before".to_owned(),
        0 => "that is all that you may read".to_owned(),
        1 => "that is its beginning".to_owned(),
        first => format!("{} are not for you to read", spell(&(1..=first - 1))),
    };
    match &end.lines {
        Some(lines) => format!("-- earlier in {room}: {}; {before} --", spell(lines)),
        None => format!("-- nothing earlier in {room}: {before} --"),
    }
}

/// Lines of the room that were never received (CLI-18).
pub(super) fn hole(room: &RoomName, missing: &RangeInclusive<u64>) -> String {
    let (room, missing) = (visible(room.as_str()), spell(missing));
    format!("-- {missing} of {room} did not come here: /history shows what you may read --")
}

/// A line of one's own makes place for those after it (CLI-14, LIM-11).
pub(super) fn unwatched(room: &RoomName) -> String {
    let room = visible(room.as_str());
    format!(
        "-- too many lines of {room} are still to come to all: the oldest is told no further --"
    )
}

/// `line 7`, `lines 7 to 9`.
fn spell(lines: &RangeInclusive<u64>) -> String {
    let (first, last) = (lines.start(), lines.end());
    if first == last {
        format!("line {first}")
    } else {
        format!("lines {first} to {last}")
    }
}

/// Who may read earlier lines from this line on, if it says so (RUM-16).
pub(super) fn policy(room: &RoomName, line: &Line) -> Option<String> {
    if line.kind != Kind::Policy {
        return None;
    }
    let who = match HistoryPolicy::parse(&line.body)? {
        HistoryPolicy::All => "every member may read everything",
        HistoryPolicy::SinceJoin => "a member may read what was said since it became one",
    };
    let (room, name) = (visible(room.as_str()), visible(line.name.as_str()));
    Some(format!("-- {name} has decided for {room}: {who} --"))
}

/// No invite is made (CLI-22).
pub(super) fn not_invited(reason: &str) -> String {
    format!("-- the broker makes no invite: {} --", visible(reason))
}

/// The room is left; why, if others have decided so (ROL-4).
pub(super) fn left(room: &RoomName, removed: Option<(Refusal, String)>) -> String {
    let room = visible(room.as_str());
    match removed {
        None => format!("-- you have left {room} --"),
        Some((_, reason)) => format!("-- you are not in {room} any more: {} --", visible(&reason)),
    }
}

/// What was decided about somebody, and by whom (CLI-20).
fn decided(line: &Line) -> Option<String> {
    if line.kind != Kind::Decision {
        return None;
    }
    let Decision { verb, about } = Decision::parse(&line.body)?;
    let (by, about) = (visible(line.name.as_str()), visible(about.as_str()));
    let (did, to) = match verb {
        Verb::Kick => ("kicked", String::new()),
        Verb::Ban => ("banned", String::new()),
        Verb::Unban => ("unbanned", String::new()),
        Verb::Mute(None) => ("muted", String::new()),
        Verb::Mute(Some(seconds)) => {
            let duration = Duration::from_secs(seconds.get());
            (
                "muted",
                format!(" for {}", humantime::format_duration(duration)),
            )
        }
        Verb::Unmute => ("unmuted", String::new()),
        Verb::Role(role) => ("made", format!(" {}", role.as_str())),
    };
    Some(if line.account == OPERATOR.0 {
        format!("{about} was {did}{to}")
    } else {
        format!("{by} {did} {about}{to}")
    })
}

/// The answer to `/who`.
pub(super) fn roster(room: &RoomName, total: u64, names: &[Name]) -> String {
    let listed: Vec<_> = names.iter().map(|name| visible(name.as_str())).collect();
    format!(
        "-- in {}: {} --",
        visible(room.as_str()),
        and_more(total, &listed)
    )
}

/// The answer to `/rooms`.
pub(super) fn rooms(total: u64, rooms: &[(RoomName, u64)]) -> String {
    let entry = |(room, people): &(RoomName, u64)| format!("{} ({people})", visible(room.as_str()));
    let listed: Vec<_> = rooms.iter().map(entry).collect();
    format!("-- rooms: {} --", and_more(total, &listed))
}

fn and_more<T: AsRef<str>>(total: u64, listed: &[T]) -> String {
    let joined = listed
        .iter()
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(", ");
    match total.saturating_sub(listed.len() as u64) {
        0 if listed.is_empty() => "nobody".to_owned(),
        0 => joined,
        more => format!("{joined} and {more} more"),
    }
}

/// `1 line`, `2 lines`.
pub(super) fn lines(count: usize) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} line{s}")
}

/// While the broker is away (NOD-3).
pub(super) fn no_contact(waiting: usize) -> String {
    match waiting {
        0 => "-- no contact, still trying --".to_owned(),
        1 => "-- no contact, 1 line waiting, it will send itself --".to_owned(),
        _ => format!(
            "-- no contact, {} waiting, they will send themselves --",
            lines(waiting)
        ),
    }
}

/// The broker has put something off (CLI-27).
pub(super) fn put_off(
    what: PutOff,
    room: Option<&RoomName>,
    (wait, reason): (Duration, &str),
    waiting: usize,
) -> String {
    let what = match what {
        PutOff::SignIn => "to sign in".to_owned(),
        PutOff::Join => "to come in".to_owned(),
        PutOff::Lines => match waiting {
            0 => "lines".to_owned(),
            _ => lines(waiting),
        },
        PutOff::History => "what was said before".to_owned(),
    };
    let place = room.map_or_else(String::new, |room| {
        format!(" in {}", visible(room.as_str()))
    });
    let wait = Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    let wait = humantime::format_duration(wait);
    let reason = visible(reason);
    format!("-- {what}{place} waiting for {wait}, then it goes on by itself: {reason} --")
}

/// While leaving waits (NOD-4).
pub(super) fn draining(waiting: usize, drain: Duration) -> String {
    let (lines, drain) = (lines(waiting), humantime::format_duration(drain));
    format!("-- waiting up to {drain} for {lines}; Ctrl-C leaves at once --")
}

/// What leaving gave up on (NOD-4).
pub(super) fn unconfirmed(count: usize) -> String {
    let were = if count == 1 { "was" } else { "were" };
    format!("{} {were} not confirmed by the broker", lines(count))
}

/// What leaving has kept for the next time (NOD-4).
pub(super) fn kept(count: usize) -> String {
    let them = if count == 1 { "it" } else { "them" };
    format!("{} kept: the next start sends {them}", lines(count))
}

/// When the time is over, of what is stored and not delivered (CLI-12).
pub(super) fn undelivered(count: usize) -> String {
    let them = if count == 1 { "it" } else { "them" };
    format!(
        "{} stored, but not everybody who was present has {them} yet",
        lines(count)
    )
}

/// At the start, what was kept (JRN-2).
pub(super) fn still_waiting(count: usize) -> String {
    match count {
        1 => "-- 1 line from before is still waiting, it will send itself --".to_owned(),
        _ => format!(
            "-- {} from before are still waiting, they will send themselves --",
            lines(count)
        ),
    }
}

/// At the start, when it is not known how much was shown (CLI-11).
pub(super) fn from_before() -> String {
    format!("-- going on where the last time ended; up to {SHOWN_LAG_MAX} lines may be repeated --")
}

/// With `--states` (CLI-14).
pub(super) fn stored(room: &RoomName, seq: u64) -> String {
    format!("-- stored in {} as line {seq} --", visible(room.as_str()))
}

/// With `--states` (CLI-14).
pub(super) fn delivered(room: &RoomName, delivered: &Delivered) -> String {
    let Delivered { seq, k, n, .. } = delivered;
    let room = visible(room.as_str());
    match n {
        0 => format!("-- line {seq} of {room}: nobody else is to have it --"),
        _ => format!("-- line {seq} of {room}: delivered to {k} of {n} --"),
    }
}

/// HSD-7.
pub(super) fn versions(spoken: &[u8]) -> String {
    format!(
        "the broker speaks other versions of the protocol ({spoken:?}): this program, or the \
         broker, is too old"
    )
}

/// A peer that breaks the rules, and says or is told how.
pub(super) fn misunderstanding(reason: &str) -> String {
    let reason = visible(reason);
    format!("the broker and this node misunderstand each other: {reason}")
}

/// JRN-4.
pub(super) fn retired(name: &Name, waiting: usize) -> String {
    let left = match waiting {
        0 => "nothing was lost or doubled by that".to_owned(),
        _ => format!(
            "{} still to be sent go out under the new one",
            lines(waiting)
        ),
    };
    format!(
        "-- the broker knows more lines from here than this profile of {name} does: it was \
         restored from a backup, or copied. It goes on as a new device; {left} --"
    )
}

/// CLI-7. `file` is that of the known hosts, `remembered` what it knew; without it the key came
/// with the address.
pub(super) fn changed_key(
    host: &HostPort,
    (known, shown): (PublicKey, PublicKey),
    file: &std::path::Path,
    remembered: Option<Remembered>,
) -> String {
    let (source, remedy) = match remembered {
        Some(Remembered { line, .. }) => (
            format!("line {line} of {}", file.display()),
            "If it is the new one, delete that line and start again".to_owned(),
        ),
        None => (
            "the URL that was given".to_owned(),
            "If it is the new one, start again with the new URL".to_owned(),
        ),
    };
    format!(
        "THE KEY OF {host} HAS CHANGED\n\
         \x20 known  {}  ({source})\n\
         \x20 shown  {}\n\
         Either the broker was set up anew, or somebody else answers in its place.\n\
         Ask whoever runs the broker which key it has: it says so when it starts.\n\
         {remedy}; if not, do not connect.",
        known.fingerprint(),
        shown.fingerprint(),
    )
}

/// CLI-7, before anybody was asked: the URL has another key than the file of known hosts.
pub(super) fn contradicting_url(
    host: &HostPort,
    given: PublicKey,
    file: &std::path::Path,
    Remembered { key, line }: Remembered,
) -> String {
    format!(
        "THE URL HAS ANOTHER KEY FOR {host} THAN THE ONE THAT IS KNOWN\n\
         \x20 known   {}  (line {line} of {})\n\
         \x20 in URL  {}\n\
         Either the broker was set up anew, or one of the two is a forgery.\n\
         Ask whoever runs the broker which key it has: it says so when it starts.\n\
         If it is the one of the URL, delete that line and start again; if not, do not use the URL.",
        key.fingerprint(),
        file.display(),
        given.fingerprint(),
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::secure::{AccountKey, DeviceKey};

    fn message(name: &str, body: &'static str) -> Line {
        Line {
            seq: 1,
            stored_at_ms: 0,
            account: AccountKey([1; 32]),
            device: DeviceKey([2; 32]),
            name: Name::new(name).unwrap(),
            author: 1,
            n: 1,
            typed_at_ms: 0,
            kind: Kind::Message,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    /// CLI-1, CLI-5.
    #[test]
    fn lines_and_notices_read_as_they_always_did() {
        let ada = Name::new("ada").unwrap();
        let den = RoomName::new("den").unwrap();
        let said = |room, body| line(room, &message("ada", body)).unwrap();
        assert_eq!(said(None, "hi: there"), "ada: hi: there");
        assert_eq!(said(Some(&den), "hi"), "[den] ada: hi");
        assert_eq!(said(None, "\x1b[2J\u{202e}"), "ada: ␛[2J<U+202E>");
        for (event, text) in [
            (NoticeEvent::Joined, "SERVER: ada Joined!"),
            (NoticeEvent::Left, "SERVER: ada Left!"),
            (NoticeEvent::TimedOut, "SERVER: ada Left! (timed out)"),
        ] {
            assert_eq!(notice(None, event, &ada), text);
        }
        let mut joined = message("ada", "ada");
        joined.kind = Kind::Joined;
        assert_eq!(line(None, &joined), None);
    }

    /// CLI-17, CLI-5.
    #[test]
    fn an_earlier_line_is_told_with_its_number_and_time() {
        let mut line = message("ada", "hi\x07");
        (line.seq, line.stored_at_ms) = (12, 1_700_000_000_000);
        assert_eq!(past(&line), "| 12 2023-11-14T22:13:20Z ada: hi␇");
        line.kind = Kind::Joined;
        line.stored_at_ms = u64::MAX;
        let told = "| 12 9999-12-31T23:59:59Z -- ada became a member --";
        assert_eq!(past(&line), told);
    }

    /// CLI-17, CLI-18.
    #[test]
    fn what_is_not_shown_is_said() {
        let room = RoomName::default();
        let end = |lines, earliest, has_more| {
            let end = PageEnd {
                lines,
                earliest,
                has_more,
            };
            page_end(&room, &end)
        };
        for (told, expected) in [
            (
                end(Some(7..=9), 7, true),
                "-- earlier in lobby: lines 7 to 9; /history shows those before --",
            ),
            (
                end(Some(1..=1), 1, false),
                "-- earlier in lobby: line 1; that is its beginning --",
            ),
            (
                end(None, 7, false),
                "-- nothing earlier in lobby: lines 1 to 6 are not for you to read --",
            ),
            (
                end(None, 0, false),
                "-- nothing earlier in lobby: that is all that you may read --",
            ),
        ] {
            assert_eq!(told, expected);
        }
        let told = hole(&room, &(3..=3));
        assert!(
            told.starts_with("-- line 3 of lobby did not come here"),
            "{told}"
        );
    }

    /// CLI-7, KEY-6.
    #[test]
    fn a_changed_key_is_told_with_all_that_is_needed_to_act() {
        let (known, shown) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let host = HostPort::default();
        let file = std::path::Path::new("/data/known_hosts");
        let remembered = Some(Remembered {
            key: known,
            line: 3,
        });
        let text = changed_key(&host, (known, shown), file, remembered);
        for part in [
            "127.0.0.1:20001",
            &known.fingerprint(),
            &shown.fingerprint(),
            "line 3 of /data/known_hosts",
            "delete that line",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(changed_key(&host, (known, shown), file, None).contains("the URL"));
        let remembered = Remembered {
            key: known,
            line: 3,
        };
        let text = contradicting_url(&host, shown, file, remembered);
        assert!(text.contains("line 3 of /data/known_hosts"), "{text}");
        assert!(text.contains(&shown.fingerprint()), "{text}");
    }

    /// RUM-13, SGN-6.
    #[test]
    fn lists_say_how_much_they_leave_out() {
        let name = |name: &str| Name::new(name).unwrap();
        let lobby = RoomName::default();
        let names = [name("ada"), name("bob")];
        assert_eq!(roster(&lobby, 2, &names), "-- in lobby: ada, bob --");
        assert_eq!(
            roster(&lobby, 9, &names),
            "-- in lobby: ada, bob and 7 more --"
        );
        assert_eq!(roster(&lobby, 0, &[]), "-- in lobby: nobody --");
        assert_eq!(rooms(1, &[(lobby, 3)]), "-- rooms: lobby (3) --");
    }

    /// NOD-3, NOD-4.
    #[test]
    fn one_line_is_not_two_lines() {
        assert_eq!(unconfirmed(1), "1 line was not confirmed by the broker");
        assert_eq!(unconfirmed(2), "2 lines were not confirmed by the broker");
        assert_eq!(
            draining(1, Duration::from_secs(10)),
            "-- waiting up to 10s for 1 line; Ctrl-C leaves at once --"
        );
        assert_eq!(
            no_contact(2),
            "-- no contact, 2 lines waiting, they will send themselves --"
        );
    }
}

//! What can be typed besides lines: `/join`, `/leave`, `/who`, `/rooms`, `/history`, `/policy`,
//! `/help` (CLI-3), and what those with a role decide (CLI-20).

use core::num::NonZeroU64;

use crate::chat::{Decision, HistoryPolicy, Name, Role, RoomName, Verb};

/// How many earlier lines `/history` alone asks for.
const HISTORY_DEFAULT: u64 = 20;

/// What `/help` says.
pub(super) const HELP: &str = "\
/join ROOM     be in ROOM too, and type to it from now on
/leave [ROOM]  leave the room for good
/who [ROOM]    who is there
/rooms         which rooms there are
/history [N]   N earlier lines, and again: those before them
/policy all|since-join
               whether newcomers may read what was said before they came
/kick NAME, /ban NAME, /unban NAME, /mute NAME [DURATION], /unmute NAME,
/role NAME owner|moderator|member
               keep order, as far as your role in the room lets you
/invite [N]    a URL that lets N people in (1), for 7 days
q!             leave the chat
//text         say /text";

/// A command that was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Be in the room, and type to it.
    Join(RoomName),
    /// Leave a room; without a name, the one that is typed to.
    Leave(Option<RoomName>),
    /// Ask who is present; without a name, in the one that is typed to.
    Who(Option<RoomName>),
    /// Ask which rooms there are.
    Rooms,
    /// Ask for earlier lines; without a name, of the room that is typed to.
    History {
        room: Option<RoomName>,
        /// How many.
        count: u64,
        /// Before which line; otherwise before those that were told.
        before: Option<u64>,
    },
    /// Decide who may read what was said before they came; without a name, in the room that is
    /// typed to.
    Policy(Option<RoomName>, HistoryPolicy),
    /// Decide something about somebody; without a name, in the room that is typed to.
    Decide(Option<RoomName>, Decision),
    /// Make an invite for so many; without a name, to the room that is typed to.
    Invite(Option<RoomName>, NonZeroU64),
    /// Say what there is to be typed.
    Help,
}

impl Command {
    /// The command that `line` is; `None` if it is none, and so a line like any other. A command
    /// that is meant but wrong is answered with what is wrong.
    pub(super) fn of(line: &[u8]) -> Option<Result<Self, String>> {
        let line = core::str::from_utf8(line).ok()?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let argument = rest.trim();
        let room = || match argument {
            "" => Ok(None),
            name => RoomName::new(name)
                .map(Some)
                .map_err(|error| error.to_string()),
        };
        let alone = |command: Self| match argument {
            "" => Ok(command),
            _ => Err(format!("{word} takes no argument")),
        };
        Some(match word {
            "/join" => room().and_then(|room| room.map(Self::Join).ok_or("/join ROOM".to_owned())),
            "/leave" => room().map(Self::Leave),
            "/who" => room().map(Self::Who),
            "/rooms" => alone(Self::Rooms),
            "/history" => history(argument),
            "/policy" => policy(argument),
            "/help" => alone(Self::Help),
            "/kick" => decide(Some(Verb::Kick), argument, "/kick NAME"),
            "/ban" => decide(Some(Verb::Ban), argument, "/ban NAME"),
            "/unban" => decide(Some(Verb::Unban), argument, "/unban NAME"),
            "/unmute" => decide(Some(Verb::Unmute), argument, "/unmute NAME"),
            "/mute" => mute(argument),
            "/invite" => invite(argument),
            "/role" => role(argument),
            _ => return None,
        })
    }
}

fn history(argument: &str) -> Result<Command, String> {
    let count = match argument {
        "" => Some(HISTORY_DEFAULT),
        number => number.parse().ok().filter(|count| *count > 0),
    };
    let asked = count.map(|count| Command::History {
        room: None,
        count,
        before: None,
    });
    asked.ok_or_else(|| "/history [N]: N is a number of lines".to_owned())
}

fn policy(argument: &str) -> Result<Command, String> {
    match argument {
        "all" => Ok(Command::Policy(None, HistoryPolicy::All)),
        "since-join" => Ok(Command::Policy(None, HistoryPolicy::SinceJoin)),
        _ => Err("/policy all, or /policy since-join".to_owned()),
    }
}

/// CLI-20.
fn decide(verb: Option<Verb>, name: &str, usage: &str) -> Result<Command, String> {
    let verb = verb.ok_or_else(|| usage.to_owned())?;
    if name.is_empty() {
        return Err(usage.to_owned());
    }
    let about = Name::new(name).map_err(|error| error.to_string())?;
    Ok(Command::Decide(None, Decision { verb, about }))
}

/// A last word that is a duration is one, and no part of the name.
fn mute(argument: &str) -> Result<Command, String> {
    let timed = argument.rsplit_once(' ').and_then(|(name, duration)| {
        let duration = humantime::parse_duration(duration).ok()?;
        Some((name.trim_end(), duration))
    });
    let usage = "/mute NAME [DURATION]: at least a second, as 30s, 10m, 2h";
    match timed {
        None => decide(Some(Verb::Mute(None)), argument, usage),
        Some((name, duration)) => {
            let seconds = NonZeroU64::new(duration.as_secs());
            decide(
                seconds.map(|seconds| Verb::Mute(Some(seconds))),
                name,
                usage,
            )
        }
    }
}

/// CLI-22.
fn invite(argument: &str) -> Result<Command, String> {
    let uses = match argument {
        "" => Some(NonZeroU64::MIN),
        number => number.parse().ok(),
    };
    let invite = uses.map(|uses| Command::Invite(None, uses));
    invite.ok_or_else(|| "/invite [N]: N is a number of people".to_owned())
}

fn role(argument: &str) -> Result<Command, String> {
    let (name, role) = argument.rsplit_once(' ').unwrap_or_default();
    let verb = Role::parse(role).map(Verb::Role);
    decide(verb, name.trim_end(), "/role NAME owner|moderator|member")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    /// CLI-3.
    #[test]
    fn known_commands_are_told_from_lines() {
        let of = |line: &str| Command::of(line.as_bytes());
        assert_eq!(of("/join garden"), Some(Ok(Command::Join(room("garden")))));
        assert_eq!(of("/leave"), Some(Ok(Command::Leave(None))));
        assert_eq!(
            of("/who  the garden "),
            Some(Ok(Command::Who(Some(room("the garden")))))
        );
        assert_eq!(of("/rooms"), Some(Ok(Command::Rooms)));
        assert_eq!(of("/help"), Some(Ok(Command::Help)));
        let history = |count| {
            Some(Ok(Command::History {
                room: None,
                count,
                before: None,
            }))
        };
        assert_eq!(of("/history"), history(HISTORY_DEFAULT));
        assert_eq!(of("/history 5"), history(5));
        let invite = |uses| Some(Ok(Command::Invite(None, NonZeroU64::new(uses).unwrap())));
        assert_eq!(of("/invite"), invite(1));
        assert_eq!(of("/invite 12"), invite(12));
        let policy = |policy| Some(Ok(Command::Policy(None, policy)));
        assert_eq!(of("/policy all"), policy(HistoryPolicy::All));
        assert_eq!(of("/policy since-join"), policy(HistoryPolicy::SinceJoin));
        for (line, decision) in [
            ("/kick bob", "kick bob"),
            ("/ban  the other bob ", "ban the other bob"),
            ("/unban bob", "unban bob"),
            ("/mute bob", "mute always bob"),
            ("/mute the other bob 10m", "mute 600 the other bob"),
            ("/unmute bob", "unmute bob"),
            (
                "/role the other bob moderator",
                "role moderator the other bob",
            ),
        ] {
            let decision = Decision::parse(decision.as_bytes()).unwrap();
            assert_eq!(of(line), Some(Ok(Command::Decide(None, decision))));
        }
        for line in [
            "/joined",
            "join garden",
            " /join x",
            "/",
            "/bin/true",
            "//join x",
            "/JOIN x",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }

    #[test]
    fn a_wrong_command_is_answered_and_not_said_aloud() {
        for line in [
            "/join",
            "/join a:b",
            "/leave \u{202e}",
            "/rooms x",
            "/history 0",
            "/history -1",
            "/history all",
            "/policy",
            "/policy nobody",
            "/help me",
            "/kick",
            "/kick a:b",
            "/mute bob 10ms",
            "/role bob",
            "/invite 0",
            "/invite bob",
            "/role bob king",
        ] {
            assert!(
                matches!(Command::of(line.as_bytes()), Some(Err(_))),
                "{line}"
            );
        }
    }
}

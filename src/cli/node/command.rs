//! What can be typed besides lines: `/join`, `/leave`, `/who`, `/rooms`, `/help` (CLI-3).

use crate::chat::RoomName;

/// What `/help` says.
pub(super) const HELP: &str = "\
/join ROOM     be in ROOM too, and type to it from now on
/leave [ROOM]  leave the room for good
/who [ROOM]    who is there
/rooms         which rooms there are
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
            "/help" => alone(Self::Help),
            _ => return None,
        })
    }
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
            "/help me",
        ] {
            assert!(
                matches!(Command::of(line.as_bytes()), Some(Err(_))),
                "{line}"
            );
        }
    }
}

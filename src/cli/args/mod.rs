//! What the programs can be told, on the command line or by `CHAT_*` in the environment.

mod broker;
mod node;
mod values;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use self::broker::check_broker;
pub(super) use self::broker::*;
use self::node::check_node;
pub(super) use self::node::*;
pub(super) use self::values::Limit;
use super::exit::Code;

/// The arguments of this process. The error is how it is to end, when it has been said why.
pub(super) fn broker() -> Result<BrokerArgs, Code> {
    parse(BrokerArgs::command().try_get_matches(), check_broker).map_err(print)
}

/// The arguments of this process. The error is how it is to end, when it has been said why.
pub(super) fn node() -> Result<NodeArgs, Code> {
    parse(NodeArgs::command().try_get_matches(), check_node).map_err(print)
}

fn parse<A: FromArgMatches + CommandFactory>(
    matches: Result<ArgMatches, clap::Error>,
    check: impl FnOnce(&A, &ArgMatches) -> Result<(), String>,
) -> Result<A, clap::Error> {
    let matches = matches?;
    let args = A::from_arg_matches(&matches)?;
    check(&args, &matches)
        .map_err(|message| A::command().error(ErrorKind::ArgumentConflict, message))?;
    Ok(args)
}

fn print(error: clap::Error) -> Code {
    // Help that nobody reads is no failure.
    let _ = error.print();
    code(&error)
}

/// clap itself would end with 2 (CLI-6).
fn code(error: &clap::Error) -> Code {
    if error.use_stderr() {
        Code::Usage
    } else {
        Code::Done
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU64;
    use std::time::Duration;

    use super::*;
    use crate::chat::RoomName;

    fn broker(args: &[&str]) -> Result<BrokerArgs, Code> {
        let args = ["chat-broker"].iter().chain(args);
        let matches = BrokerArgs::command().try_get_matches_from(args);
        parse(matches, check_broker).map_err(|error| code(&error))
    }

    fn node(args: &[&str]) -> Result<NodeArgs, Code> {
        let args = ["chat-node"].iter().chain(args);
        let matches = NodeArgs::command().try_get_matches_from(args);
        parse(matches, check_node).map_err(|error| code(&error))
    }

    #[test]
    fn the_definitions_are_sound() {
        BrokerArgs::command().debug_assert();
        NodeArgs::command().debug_assert();
    }

    /// BRK-6.
    #[test]
    fn who_reaches_a_public_address_has_to_be_invited_unless_told_otherwise() {
        let access = |args: &[&str]| broker(args).map(|args| args.access());
        assert_eq!(access(&[]), Ok(Access::Open));
        let loopback = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0"];
        assert_eq!(access(&loopback), Ok(Access::Open));
        assert_eq!(access(&["--access", "invite"]), Ok(Access::Invite));
        for public in ["0.0.0.0:20001", "[::]:20001", "192.0.2.1:20001"] {
            assert_eq!(
                access(&["--listen", public]),
                Ok(Access::Invite),
                "{public}"
            );
            let open = ["--listen", public, "--access", "open", "--memory"];
            assert_eq!(access(&open), Ok(Access::Open));
            // There would be nowhere to keep who was invited.
            let forgetful = ["--listen", public, "--memory"];
            assert_eq!(access(&forgetful), Err(Code::Usage));
        }
    }

    /// CLI-19.
    #[test]
    fn an_invite_has_limits_unless_told_otherwise() {
        let invite = |args: &[&str]| {
            let all = ["invite"].iter().chain(args).copied().collect::<Vec<_>>();
            broker(&all).map(|args| match args.task {
                Some(BrokerTask::Invite(invite)) => invite,
                other => panic!("{other:?}"),
            })
        };
        let default = invite(&[]).unwrap();
        assert_eq!(default.uses, Limit::At(NonZeroU64::MIN));
        assert_eq!(default.expires, Limit::At(Duration::from_secs(7 * 86_400)));
        let endless = invite(&["--uses", "any", "--expires", "never"]).unwrap();
        assert_eq!((endless.uses, endless.expires), (Limit::None, Limit::None));
        for bad in [["--uses", "0"], ["--expires", "0s"], ["--at", ":1"]] {
            assert_eq!(invite(&bad).unwrap_err(), Code::Usage, "{bad:?}");
        }
        let revoke = invite(&["revoke", "3"]).unwrap();
        assert!(matches!(revoke.task, Some(InviteTask::Revoke { id: 3 })));
    }

    /// CLI-16.
    #[test]
    fn global_flags_stand_before_and_after_a_task() {
        for args in [
            ["--data-dir", "x", "export", "--room", "den"],
            ["export", "--room", "den", "--data-dir", "x"],
        ] {
            let args = broker(&args).unwrap();
            assert_eq!(args.data_dir, Some("x".into()));
            let Some(BrokerTask::Look(LookTask::Export { room: Some(room) })) = args.task else {
                panic!("{args:?}");
            };
            assert_eq!(room.as_str(), "den");
        }
    }

    /// BRK-7.
    #[test]
    fn only_a_broker_that_keeps_nothing_has_a_key_that_nobody_knows_again() {
        broker(&["--memory", "--ephemeral-key"]).unwrap();
        assert_eq!(broker(&["--ephemeral-key"]).unwrap_err(), Code::Usage);
    }

    /// CLI-6.
    #[test]
    fn usage_errors_end_with_64_and_help_with_0() {
        assert_eq!(broker(&["--nonsense"]).unwrap_err(), Code::Usage);
        assert_eq!(broker(&["--grace", "0s"]).unwrap_err(), Code::Usage);
        assert_eq!(broker(&["--help"]).unwrap_err(), Code::Done);
        assert_eq!(node(&["--version"]).unwrap_err(), Code::Done);
        assert_eq!(node(&["--name", "SERVER"]).unwrap_err(), Code::Usage);
    }

    #[test]
    fn a_broker_is_named_once() {
        let both = ["chat://a:1", "--broker", "b:2"];
        assert_eq!(node(&both).unwrap_err(), Code::Usage);
        let by_url = node(&["chat://a:1/den", "--room", "Den", "--room", "attic"]).unwrap();
        assert_eq!(by_url.broker().to_string(), "a:1");
        let rooms: Vec<_> = by_url.rooms().iter().map(ToString::to_string).collect();
        assert_eq!(rooms, ["den", "attic"]);
        let by_default = node(&[]).unwrap();
        assert_eq!(by_default.broker().to_string(), "127.0.0.1:20001");
        assert_eq!(by_default.rooms(), [RoomName::default()]);
    }
}

//! What the programs can be told, on the command line or by `CHAT_*` in the environment.

use core::num::NonZeroU64;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::VERSION;
use super::address::{ChatUrl, HostPort};
use super::demo::{BROKER_COMMAND, DemoArgs};
use super::exit::Code;
use super::limits::{self, BudgetSetting};
use crate::chat::{InviteSecret, Name, Role, RoomName};
use crate::client::ROOMS_PER_LINK_MAX;

/// Who may enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Access {
    /// Everybody who reaches the broker.
    Open,
    /// Those who were invited (chat-broker invite), or have come in before.
    Invite,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// A line of text for each event.
    Text,
    /// A JSON object for each event.
    Json,
}

/// A broker: the place where nodes meet.
///
/// It orders what is said in each room, and sees to it that everybody there gets every line, once
/// and in the same order.
///
/// Lines, names and the broker's key are kept in the data directory. A line that was confirmed is
/// on the disk.
#[derive(Debug, Parser)]
#[command(name = "chat-broker", version = VERSION, max_term_width = 80)]
pub(super) struct BrokerArgs {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub(super) task: Option<BrokerTask>,

    /// Address and port to listen on, IPv4 or IPv6; repeatable. Port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "CHAT_LISTEN",
        value_delimiter = ','
    )]
    #[arg(default_value = "127.0.0.1:20001")]
    pub(super) listen: Vec<SocketAddr>,

    /// Where lines and the key are kept [default: tertulia/broker in the user's data directory]
    #[arg(long, value_name = "DIR", env = "CHAT_DATA_DIR", global = true)]
    pub(super) data_dir: Option<PathBuf>,

    /// Keep no lines: they last as long as the broker runs
    ///
    /// They take memory, as much as --memory-max beside what that is about. When that is used up, new
    /// lines and newcomers wait, as on a full disk; who is there can read on, and comes back.
    #[arg(long, env = "CHAT_MEMORY", value_parser = FalseyValueParser::new())]
    pub(super) memory: bool,

    /// Keep nothing at all: with --memory, a new key at each start
    #[arg(long, env = "CHAT_EPHEMERAL_KEY", value_parser = FalseyValueParser::new())]
    pub(super) ephemeral_key: bool,

    /// Who may enter [default: open on loopback, invite elsewhere]
    #[arg(long, value_enum, env = "CHAT_ACCESS")]
    pub(super) access: Option<Access>,

    /// How long somebody who is out of contact stays in the room: 90s, 10m, 1h
    #[arg(
        long,
        value_name = "DURATION",
        env = "CHAT_GRACE",
        default_value = "10m"
    )]
    #[arg(value_parser = positive_duration)]
    pub(super) grace: Duration,

    /// How much of something one account may cause: lines=100/s:1000 is 100 a second, and 1000 at
    /// once after a quiet while; repeatable
    ///
    /// WHAT is `lines`; `bytes` (those of lines, for each who is present); `changes` (coming into
    /// rooms and leaving them); `history` (bytes read of what was said before); `registrations` (new
    /// accounts, of an address; four times that of its network). TIME is s, m, h or d; numbers may
    /// have KiB, MiB or GiB; `none` is as much as may be. Who is over it is told when to come again,
    /// and loses nothing. What you set holds for everybody; without it, who is not on this machine
    /// has [default: lines=500/s:5000 bytes=8MiB/s:128MiB changes=1/s:256 history=4MiB/s:128MiB
    /// registrations=360/h:100].
    #[arg(
        long = "budget",
        value_name = "WHAT=AMOUNT/TIME:BURST",
        env = "CHAT_BUDGET"
    )]
    #[arg(value_delimiter = ',', value_parser = limits::budget)]
    pub(super) budgets: Vec<BudgetSetting>,

    /// How much memory the broker may use for what it holds for others: 256MiB, 4GiB
    ///
    /// As it comes near, rooms keep fewer lines beside the disk, then those who do not keep up are
    /// given less, then newcomers are told to come again, and then new lines; at last the links that
    /// hold most are closed. No line is lost by it.
    #[arg(
        long,
        value_name = "SIZE",
        env = "CHAT_MEMORY_MAX",
        default_value = "1GiB"
    )]
    #[arg(value_parser = limits::memory)]
    pub(super) memory_max: u64,

    /// Tell there by HTTP how the broker is: /metrics (Prometheus), /healthz, /readyz [default: nowhere]
    ///
    /// Counts only: no name, room, address or text. Whoever reaches the address may ask.
    #[arg(long, value_name = "ADDR:PORT", env = "CHAT_METRICS")]
    pub(super) metrics: Option<SocketAddr>,

    /// Log warnings and errors only
    #[arg(long, env = "CHAT_QUIET", value_parser = FalseyValueParser::new(), global = true)]
    pub(super) quiet: bool,

    /// How the log on stderr is written
    #[arg(
        long,
        value_enum,
        env = "CHAT_LOG_FORMAT",
        default_value = "text",
        global = true
    )]
    pub(super) log_format: LogFormat,
}

/// What a broker's data directory is for besides serving. All of it can be done while a broker uses
/// the directory.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum BrokerTask {
    #[command(flatten)]
    Look(LookTask),
    Invite(InviteArgs),
    Devices(HostDevicesArgs),
    /// Say the fingerprint of the broker's key
    Keys,
    #[command(flatten)]
    Decide(DecideTask),
}

/// Looking at what is stored.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum LookTask {
    /// Check everything that is stored
    Doctor,
    /// Write what is stored to stdout: a JSON object for each line
    Export {
        /// Only this room
        #[arg(long, value_parser = room)]
        room: Option<RoomName>,
    },
    /// Say how much is stored, and how the broker is that runs there
    Status,
}

/// Make an invite, and print its URL.
///
/// Who has the URL can come in: chat-node URL. It holds the broker's address and key, and a secret of
/// which the broker keeps the hash only. A broker that runs knows it at once.
#[derive(Clone, Debug, Args)]
pub(super) struct InviteArgs {
    #[command(subcommand)]
    pub(super) task: Option<InviteTask>,

    /// How many people it lets in: a number, or `any`
    #[arg(long, value_name = "N", default_value = "1", value_parser = uses)]
    pub(super) uses: Limit<NonZeroU64>,

    /// For how long: 30m, 7d, or `never`
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = expiry)]
    pub(super) expires: Limit<Duration>,

    /// The room that it leads to [default: lobby]
    #[arg(long, value_parser = room)]
    pub(super) room: Option<RoomName>,

    /// Where others reach the broker [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", env = "CHAT_PUBLIC_ADDRESS")]
    pub(super) at: Option<HostPort>,
}

/// What the operator can decide about somebody in a room, while the broker runs or not.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum DecideTask {
    /// Show somebody out of a room
    Kick(About),
    /// Show somebody out of a room, and let them in no more
    Ban(About),
    /// Let somebody in again
    Unban(About),
    /// Take no lines of somebody in a room, for so long or until told otherwise
    Mute {
        #[command(flatten)]
        about: About,
        /// For how long: 30s, 10m, 2h
        #[arg(value_name = "DURATION", value_parser = seconds)]
        seconds: Option<NonZeroU64>,
    },
    /// Take somebody's lines again
    Unmute(About),
    /// Say what somebody is in a room: owner, moderator or member
    Role {
        #[command(flatten)]
        about: About,
        /// owner, moderator or member
        #[arg(value_parser = role)]
        role: Role,
    },
}

/// Whom it is about.
#[derive(Clone, Debug, Args)]
pub(super) struct About {
    /// The room [default: lobby]
    #[arg(long, value_parser = room)]
    pub(super) room: Option<RoomName>,

    /// Whom it is about
    #[arg(value_name = "NAME", value_parser = name)]
    pub(super) name: Name,
}

/// What can be done with invites that are there.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum InviteTask {
    /// Say which invites there are, and who has come in by them
    List,
    /// Call an invite back; who has come in by it stays
    Revoke {
        /// The number that `list` says
        id: u64,
    },
}

/// Something that may be without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit<T> {
    At(T),
    None,
}

/// Chat, line by line.
///
/// What you type is shown to everybody in the room, you included, when the broker has it. `q!`
/// leaves. When the network goes away, lines wait and send themselves when it is back.
///
/// What was typed and received is kept in a journal, and survives this program's death.
#[derive(Debug, Parser)]
#[command(name = "chat-node", version = VERSION, max_term_width = 80)]
pub(super) struct NodeArgs {
    /// What to do instead of chatting
    #[command(subcommand)]
    pub(super) command: Option<NodeCommand>,

    /// The broker and a room there: chat://host:port/room, or the URL of an invite
    #[arg(value_name = "URL")]
    pub(super) url: Option<ChatUrl>,

    /// The broker [default: 127.0.0.1:20001]
    #[arg(long, global = true, value_name = "HOST:PORT", env = "CHAT_BROKER")]
    pub(super) broker: Option<HostPort>,

    /// Host the chat too, in this process, at the broker's address
    ///
    /// One command, a working chat: others on this machine join with `chat-node`. It is there for
    /// as long as this program runs, and goes on where it ended; to let others in from elsewhere,
    /// run chat-broker.
    #[arg(long, env = "CHAT_HOST", value_parser = FalseyValueParser::new())]
    pub(super) host: bool,

    /// Your name; without it you are asked, or the first line of the input is the name
    #[arg(long, global = true, env = "CHAT_NAME", value_parser = name)]
    pub(super) name: Option<Name>,

    /// The room; repeatable: what you type goes to the first one [default: lobby]
    #[arg(long, global = true, env = "CHAT_ROOM", value_delimiter = ',', value_parser = room)]
    room: Vec<RoomName>,

    /// Where keys, known brokers and journals are kept
    ///
    /// [default: tertulia/node in the user's data directory]
    #[arg(long, global = true, value_name = "DIR", env = "CHAT_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,

    /// How many earlier lines to show
    #[arg(long, value_name = "N", env = "CHAT_HISTORY", default_value_t = 0)]
    pub(super) history: u64,

    /// Line by line; the one interface there is in this version
    #[arg(long, env = "CHAT_PLAIN", value_parser = FalseyValueParser::new())]
    pub(super) plain: bool,

    /// Say on stderr when a line of yours is stored, and who has it
    #[arg(long, env = "CHAT_STATES", value_parser = FalseyValueParser::new())]
    pub(super) states: bool,

    /// One JSON object a line, both ways (SPEC.md section 12.1)
    #[arg(long, global = true, env = "CHAT_JSON", value_parser = FalseyValueParser::new())]
    pub(super) json: bool,

    /// How long leaving waits for lines that the broker has not confirmed
    #[arg(
        long,
        value_name = "DURATION",
        env = "CHAT_DRAIN",
        default_value = "10s"
    )]
    #[arg(value_parser = humantime::parse_duration)]
    pub(super) drain: Duration,
}

/// What a node can do besides chatting.
#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    Demo(DemoArgs),
    Send(SendArgs),
    Tail(TailArgs),
    Link(LinkArgs),
    Devices(DevicesArgs),
    /// Say the fingerprints of the keys that are here
    Keys,
    /// `chat-broker`, for a demonstration that has this program only
    #[command(name = BROKER_COMMAND, hide = true)]
    Broker(Box<BrokerArgs>),
}

/// Link another device to your account.
///
/// On a device that has the account, `chat-node link` prints a code, which is good once and for ten
/// minutes. On the new device, `chat-node link CODE` makes it one of the account: it has the same name
/// there. Whoever has the code is let in; keep it to yourself.
#[derive(Debug, Args)]
pub(super) struct LinkArgs {
    /// The code that the other device shows; without it, one is made here
    #[arg(value_name = "CODE")]
    pub(super) code: Option<ChatUrl>,

    /// Where the new device reaches the broker [default: where this one does]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "code")]
    pub(super) at: Option<HostPort>,
}

/// Say which devices your account has, or revoke one.
#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    #[command(subcommand)]
    pub(super) task: Option<DevicesTask>,
}

/// Say which devices somebody has, or revoke one in their place.
#[derive(Clone, Debug, Args)]
pub(super) struct HostDevicesArgs {
    /// Whose
    #[arg(value_name = "NAME", value_parser = name)]
    pub(super) name: Name,

    #[command(subcommand)]
    pub(super) task: Option<DevicesTask>,
}

/// What can be done with devices that are there.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum DevicesTask {
    /// Let a device speak for its account no more, for ever; what it said stays
    Revoke {
        /// Its fingerprint, or the beginning of it
        fingerprint: String,
    },
}

/// Send lines, and tell by the exit code what became of them.
///
/// 0: stored. 75: kept, and not confirmed in time; the next start of a node under this name sends
/// them, once. 69: nothing could be kept. 77: refused.
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The text; without it, every line of the standard input
    pub(super) text: Option<String>,

    /// What to wait for
    #[arg(long, value_enum, default_value = "stored")]
    pub(super) wait: Wait,

    /// How long to wait for it
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = positive_duration)]
    pub(super) timeout: Duration,
}

/// What `send` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Wait {
    /// Until the broker has stored it.
    Stored,
    /// Until all members who were present when it was stored have it, the author excepted.
    Delivered,
}

/// Write out the lines of a room, and follow it.
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Begin with this line
    #[arg(long, value_name = "N")]
    pub(super) from: Option<u64>,

    /// Go on where the cursor of this name is; it is kept
    #[arg(long, value_name = "NAME")]
    pub(super) cursor: Option<String>,

    /// Move the cursor on {"ack":SEQ} from the standard input, not when a line was written out
    #[arg(long, requires = "cursor", conflicts_with = "exec")]
    pub(super) ack: bool,

    /// Run this for each line, which it gets as JSON on its standard input; the cursor moves when
    /// it ends with 0, and otherwise tail ends with 75
    #[arg(long, value_name = "COMMAND")]
    pub(super) exec: Option<String>,

    /// How long to wait for a broker that is not known yet
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = positive_duration)]
    pub(super) timeout: Duration,
}

impl NodeArgs {
    /// Which broker.
    pub(super) fn broker(&self) -> HostPort {
        let url = self.url.as_ref().map(|url| &url.broker);
        url.or(self.broker.as_ref()).cloned().unwrap_or_default()
    }

    /// What lets it in there, if it was invited.
    pub(super) fn invite(&self) -> Option<InviteSecret> {
        self.url.as_ref().and_then(|url| url.invite.clone())
    }

    /// Which rooms, the one for what is typed first; none of them twice.
    pub(super) fn rooms(&self) -> Vec<RoomName> {
        let of_url = self.url.iter().filter_map(|url| url.room.as_ref());
        let mut rooms: Vec<RoomName> = Vec::new();
        for room in of_url.chain(&self.room) {
            if !rooms.contains(room) {
                rooms.push(room.clone());
            }
        }
        if rooms.is_empty() {
            rooms.push(RoomName::default());
        }
        rooms
    }
}

fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}

fn room(text: &str) -> Result<RoomName, String> {
    RoomName::new(text).map_err(|error| error.to_string())
}

fn uses(text: &str) -> Result<Limit<NonZeroU64>, String> {
    match text {
        "any" => Ok(Limit::None),
        _ => text
            .parse()
            .map(Limit::At)
            .map_err(|_| "a number from 1 on, or any".to_owned()),
    }
}

fn seconds(text: &str) -> Result<NonZeroU64, String> {
    let seconds = positive_duration(text)?.as_secs();
    NonZeroU64::new(seconds).ok_or_else(|| "must be a second or more".to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "owner, moderator or member".to_owned())
}

fn expiry(text: &str) -> Result<Limit<Duration>, String> {
    match text {
        "never" => Ok(Limit::None),
        _ => positive_duration(text).map(Limit::At),
    }
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        Err("must be longer than nothing".to_owned())
    } else {
        Ok(duration)
    }
}

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

/// BRK-6, BRK-7.
fn check_broker(args: &BrokerArgs, _matches: &ArgMatches) -> Result<(), String> {
    if args.ephemeral_key && !args.memory {
        return Err("--ephemeral-key is for --memory: \
             nodes must know the broker again that keeps their lines"
            .to_owned());
    }
    if args.memory && args.access() == Access::Invite {
        return Err(
            "who was invited is kept with the lines, which --memory does not keep: \
             say --access open if everybody who reaches the broker may enter"
                .to_owned(),
        );
    }
    Ok(())
}

impl BrokerArgs {
    /// Who may enter (BRK-6).
    pub(super) fn access(&self) -> Access {
        let default = match self.public() {
            Some(_) => Access::Invite,
            None => Access::Open,
        };
        self.access.unwrap_or(default)
    }

    /// An address that can be reached from other machines, if it listens on one.
    pub(super) fn public(&self) -> Option<&SocketAddr> {
        self.listen.iter().find(|addr| !addr.ip().is_loopback())
    }
}

/// A broker named twice is a contradiction, but a flag stands above the environment.
fn check_node(args: &NodeArgs, matches: &ArgMatches) -> Result<(), String> {
    if let Some(NodeCommand::Broker(args)) = &args.command {
        return check_broker(args, matches);
    }
    let is_flag = matches.value_source("broker") == Some(ValueSource::CommandLine);
    if args.url.is_some() && is_flag {
        return Err("the URL and --broker both name a broker: give one of them".to_owned());
    }
    if args.host {
        if args.url.is_some() {
            return Err("a URL names a broker that is there; --host makes one".to_owned());
        }
        match args.broker().host.parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() => {}
            _ => {
                return Err("--host listens on a loopback address only: \
                     to let others in from elsewhere, run chat-broker"
                    .to_owned());
            }
        }
    }
    if args.url.as_ref().is_some_and(|url| url.link.is_some()) {
        return Err("this is a code that links a device: chat-node link CODE".to_owned());
    }
    if let Some(NodeCommand::Link(LinkArgs {
        code: Some(code), ..
    })) = &args.command
        && code.link.is_none()
    {
        return Err("this is no code that links a device: chat-node link makes one".to_owned());
    }
    if args.json && args.name.is_none() && args.command.is_none() {
        return Err("--json has no line to ask for a name: say --name".to_owned());
    }
    if args.rooms().len() > ROOMS_PER_LINK_MAX {
        return Err(format!("at most {ROOMS_PER_LINK_MAX} rooms at a time"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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

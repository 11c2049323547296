//! What `chat-node` can be told.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Parser, Subcommand, ValueEnum};

use super::broker::{BrokerArgs, DevicesTask, check_broker};
use super::values::{name, positive_duration, room};
use crate::chat::{InviteSecret, Name, RoomName};
use crate::cli::VERSION;
use crate::cli::address::{ChatUrl, HostPort};
use crate::cli::demo::{BROKER_COMMAND, DemoArgs};
use crate::client::ROOMS_PER_LINK_MAX;

/// Chat, line by line.
///
/// What you type is shown to everybody in the room, you included, when the broker has it. `q!`
/// leaves. When the network goes away, lines wait and send themselves when it is back.
///
/// What was typed and received is kept in a journal, and survives this program's death.
#[derive(Debug, Parser)]
#[command(name = "chat-node", version = VERSION, max_term_width = 80)]
pub(in crate::cli) struct NodeArgs {
    /// What to do instead of chatting
    #[command(subcommand)]
    pub(in crate::cli) command: Option<NodeCommand>,

    /// The broker and a room there: chat://host:port/room, or the URL of an invite
    #[arg(value_name = "URL")]
    pub(in crate::cli) url: Option<ChatUrl>,

    /// The broker [default: 127.0.0.1:20001]
    #[arg(long, global = true, value_name = "HOST:PORT", env = "CHAT_BROKER")]
    pub(in crate::cli) broker: Option<HostPort>,

    /// Host the chat too, in this process, at the broker's address
    ///
    /// One command, a working chat: others on this machine join with `chat-node`. It is there for
    /// as long as this program runs, and goes on where it ended; to let others in from elsewhere,
    /// run chat-broker.
    #[arg(long, env = "CHAT_HOST", value_parser = FalseyValueParser::new())]
    pub(in crate::cli) host: bool,

    /// Your name; without it you are asked, or the first line of the input is the name
    #[arg(long, global = true, env = "CHAT_NAME", value_parser = name)]
    pub(in crate::cli) name: Option<Name>,

    /// The room; repeatable: what you type goes to the first one [default: lobby]
    #[arg(long, global = true, env = "CHAT_ROOM", value_delimiter = ',', value_parser = room)]
    room: Vec<RoomName>,

    /// Where keys, known brokers and journals are kept
    ///
    /// [default: tertulia/node in the user's data directory]
    #[arg(long, global = true, value_name = "DIR", env = "CHAT_DATA_DIR")]
    pub(in crate::cli) data_dir: Option<PathBuf>,

    /// How many earlier lines to show
    #[arg(long, value_name = "N", env = "CHAT_HISTORY", default_value_t = 0)]
    pub(in crate::cli) history: u64,

    /// Line by line; the one interface there is in this version
    #[arg(long, env = "CHAT_PLAIN", value_parser = FalseyValueParser::new())]
    pub(in crate::cli) plain: bool,

    /// Say on stderr when a line of yours is stored, and who has it
    #[arg(long, env = "CHAT_STATES", value_parser = FalseyValueParser::new())]
    pub(in crate::cli) states: bool,

    /// One JSON object a line, both ways (SPEC.md section 12.1)
    #[arg(long, global = true, env = "CHAT_JSON", value_parser = FalseyValueParser::new())]
    pub(in crate::cli) json: bool,

    /// How long leaving waits for lines that the broker has not confirmed
    #[arg(
        long,
        value_name = "DURATION",
        env = "CHAT_DRAIN",
        default_value = "10s"
    )]
    #[arg(value_parser = humantime::parse_duration)]
    pub(in crate::cli) drain: Duration,
}

/// What a node can do besides chatting.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum NodeCommand {
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
pub(in crate::cli) struct LinkArgs {
    /// The code that the other device shows; without it, one is made here
    #[arg(value_name = "CODE")]
    pub(in crate::cli) code: Option<ChatUrl>,

    /// Where the new device reaches the broker [default: where this one does]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "code")]
    pub(in crate::cli) at: Option<HostPort>,
}

/// Say which devices your account has, or revoke one.
#[derive(Debug, Args)]
pub(in crate::cli) struct DevicesArgs {
    #[command(subcommand)]
    pub(in crate::cli) task: Option<DevicesTask>,
}

/// Send lines, and tell by the exit code what became of them.
///
/// 0: stored. 75: kept, and not confirmed in time; the next start of a node under this name sends
/// them, once. 69: nothing could be kept. 77: refused.
#[derive(Debug, Args)]
pub(in crate::cli) struct SendArgs {
    /// The text; without it, every line of the standard input
    pub(in crate::cli) text: Option<String>,

    /// What to wait for
    #[arg(long, value_enum, default_value = "stored")]
    pub(in crate::cli) wait: Wait,

    /// How long to wait for it
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = positive_duration)]
    pub(in crate::cli) timeout: Duration,
}

/// What `send` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Wait {
    /// Until the broker has stored it.
    Stored,
    /// Until all members who were present when it was stored have it, the author excepted.
    Delivered,
}

/// Write out the lines of a room, and follow it.
#[derive(Debug, Args)]
pub(in crate::cli) struct TailArgs {
    /// Begin with this line
    #[arg(long, value_name = "N")]
    pub(in crate::cli) from: Option<u64>,

    /// Go on where the cursor of this name is; it is kept
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) cursor: Option<String>,

    /// Move the cursor on {"ack":SEQ} from the standard input, not when a line was written out
    #[arg(long, requires = "cursor", conflicts_with = "exec")]
    pub(in crate::cli) ack: bool,

    /// Run this for each line, which it gets as JSON on its standard input; the cursor moves when
    /// it ends with 0, and otherwise tail ends with 75
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) exec: Option<String>,

    /// How long to wait for a broker that is not known yet
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = positive_duration)]
    pub(in crate::cli) timeout: Duration,
}

impl NodeArgs {
    /// Which broker.
    pub(in crate::cli) fn broker(&self) -> HostPort {
        let url = self.url.as_ref().map(|url| &url.broker);
        url.or(self.broker.as_ref()).cloned().unwrap_or_default()
    }

    /// What lets it in there, if it was invited.
    pub(in crate::cli) fn invite(&self) -> Option<InviteSecret> {
        self.url.as_ref().and_then(|url| url.invite.clone())
    }

    /// Which rooms, the one for what is typed first; none of them twice.
    pub(in crate::cli) fn rooms(&self) -> Vec<RoomName> {
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

/// A broker named twice is a contradiction, but a flag stands above the environment.
pub(super) fn check_node(args: &NodeArgs, matches: &ArgMatches) -> Result<(), String> {
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

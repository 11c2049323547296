//! What `chat-broker` can be told.

use core::num::NonZeroU64;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgMatches, Args, Parser, Subcommand, ValueEnum};

use super::values::{Limit, expiry, name, positive_duration, role, room, seconds, uses};
use crate::chat::{Name, Role, RoomName};
use crate::cli::VERSION;
use crate::cli::address::HostPort;
use crate::cli::limits::{self, BudgetSetting};

/// Who may enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Access {
    /// Everybody who reaches the broker.
    Open,
    /// Those who were invited (chat-broker invite), or have come in before.
    Invite,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogFormat {
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
pub(in crate::cli) struct BrokerArgs {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub(in crate::cli) task: Option<BrokerTask>,

    /// Address and port to listen on, IPv4 or IPv6; repeatable. Port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "CHAT_LISTEN",
        value_delimiter = ','
    )]
    #[arg(default_value = "127.0.0.1:20001")]
    pub(in crate::cli) listen: Vec<SocketAddr>,

    /// Where lines and the key are kept [default: tertulia/broker in the user's data directory]
    #[arg(long, value_name = "DIR", env = "CHAT_DATA_DIR", global = true)]
    pub(in crate::cli) data_dir: Option<PathBuf>,

    /// Keep no lines: they last as long as the broker runs
    ///
    /// They take memory, as much as --memory-max beside what that is about. When that is used up, new
    /// lines and newcomers wait, as on a full disk; who is there can read on, and comes back.
    #[arg(long, env = "CHAT_MEMORY", value_parser = FalseyValueParser::new())]
    pub(in crate::cli) memory: bool,

    /// Keep nothing at all: with --memory, a new key at each start
    #[arg(long, env = "CHAT_EPHEMERAL_KEY", value_parser = FalseyValueParser::new())]
    pub(in crate::cli) ephemeral_key: bool,

    /// Who may enter [default: open on loopback, invite elsewhere]
    #[arg(long, value_enum, env = "CHAT_ACCESS")]
    pub(in crate::cli) access: Option<Access>,

    /// How long somebody who is out of contact stays in the room: 90s, 10m, 1h
    #[arg(
        long,
        value_name = "DURATION",
        env = "CHAT_GRACE",
        default_value = "10m"
    )]
    #[arg(value_parser = positive_duration)]
    pub(in crate::cli) grace: Duration,

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
    pub(in crate::cli) budgets: Vec<BudgetSetting>,

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
    pub(in crate::cli) memory_max: u64,

    /// Tell there by HTTP how the broker is: /metrics (Prometheus), /healthz, /readyz [default: nowhere]
    ///
    /// Counts only: no name, room, address or text. Whoever reaches the address may ask.
    #[arg(long, value_name = "ADDR:PORT", env = "CHAT_METRICS")]
    pub(in crate::cli) metrics: Option<SocketAddr>,

    /// Log warnings and errors only
    #[arg(long, env = "CHAT_QUIET", value_parser = FalseyValueParser::new(), global = true)]
    pub(in crate::cli) quiet: bool,

    /// How the log on stderr is written
    #[arg(
        long,
        value_enum,
        env = "CHAT_LOG_FORMAT",
        default_value = "text",
        global = true
    )]
    pub(in crate::cli) log_format: LogFormat,
}

/// What a broker's data directory is for besides serving. All of it can be done while a broker uses
/// the directory.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum BrokerTask {
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
pub(in crate::cli) enum LookTask {
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
pub(in crate::cli) struct InviteArgs {
    #[command(subcommand)]
    pub(in crate::cli) task: Option<InviteTask>,

    /// How many people it lets in: a number, or `any`
    #[arg(long, value_name = "N", default_value = "1", value_parser = uses)]
    pub(in crate::cli) uses: Limit<NonZeroU64>,

    /// For how long: 30m, 7d, or `never`
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = expiry)]
    pub(in crate::cli) expires: Limit<Duration>,

    /// The room that it leads to [default: lobby]
    #[arg(long, value_parser = room)]
    pub(in crate::cli) room: Option<RoomName>,

    /// Where others reach the broker [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", env = "CHAT_PUBLIC_ADDRESS")]
    pub(in crate::cli) at: Option<HostPort>,
}

/// What the operator can decide about somebody in a room, while the broker runs or not.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum DecideTask {
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
pub(in crate::cli) struct About {
    /// The room [default: lobby]
    #[arg(long, value_parser = room)]
    pub(in crate::cli) room: Option<RoomName>,

    /// Whom it is about
    #[arg(value_name = "NAME", value_parser = name)]
    pub(in crate::cli) name: Name,
}

/// What can be done with invites that are there.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum InviteTask {
    /// Say which invites there are, and who has come in by them
    List,
    /// Call an invite back; who has come in by it stays
    Revoke {
        /// The number that `list` says
        id: u64,
    },
}

/// Say which devices somebody has, or revoke one in their place.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct HostDevicesArgs {
    /// Whose
    #[arg(value_name = "NAME", value_parser = name)]
    pub(in crate::cli) name: Name,

    #[command(subcommand)]
    pub(in crate::cli) task: Option<DevicesTask>,
}

/// What can be done with devices that are there.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum DevicesTask {
    /// Let a device speak for its account no more, for ever; what it said stays
    Revoke {
        /// Its fingerprint, or the beginning of it
        fingerprint: String,
    },
}

/// BRK-6, BRK-7.
pub(super) fn check_broker(args: &BrokerArgs, _matches: &ArgMatches) -> Result<(), String> {
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
    pub(in crate::cli) fn access(&self) -> Access {
        let default = match self.public() {
            Some(_) => Access::Invite,
            None => Access::Open,
        };
        self.access.unwrap_or(default)
    }

    /// An address that can be reached from other machines, if it listens on one.
    pub(in crate::cli) fn public(&self) -> Option<&SocketAddr> {
        self.listen.iter().find(|addr| !addr.ip().is_loopback())
    }
}

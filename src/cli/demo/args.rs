//! What the demonstration can be told.

use std::time::Duration;

use clap::Parser;

/// The most nodes that a demonstration has: they all write to one screen.
pub(in crate::cli) const NODES_MAX: u16 = 8;

/// See for yourself that nothing is lost, repeated or reordered.
///
/// Starts a broker and nodes, all real processes on this machine, and between them a relay that
/// does to their datagrams what bad networks do. Lets every node type, and compares what each was
/// shown with what was typed. Everything happens in a temporary directory, and ends with it.
///
/// The exit code is 0 if the delivery contract held, and 1 if it did not.
#[derive(Clone, Debug, Parser)]
pub(in crate::cli) struct DemoArgs {
    /// How many datagrams in a hundred are lost, in each direction
    #[arg(long, value_name = "PERCENT", default_value = "30%", value_parser = percent)]
    pub(in crate::cli) loss: u64,

    /// How many datagrams in a hundred come twice
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    pub(in crate::cli) duplicate: u64,

    /// How long each datagram is under way
    #[arg(long, value_name = "DURATION", default_value = "10ms")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(in crate::cli) delay: Duration,

    /// Delay each datagram by up to 40 ms more, so that they overtake each other
    #[arg(long)]
    pub(in crate::cli) reorder: bool,

    /// Kill the broker (kill -9) in the middle of it, so often, and start it again
    #[arg(long, value_name = "TIMES", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "3", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=20), hide_default_value = true)]
    pub(in crate::cli) kill_broker: u32,

    /// Give every node a new address so often, as a router does that has forgotten them
    #[arg(long, value_name = "TIMES", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=50))]
    pub(in crate::cli) moves: u32,

    /// How many people talk
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=i64::from(NODES_MAX)))]
    pub(in crate::cli) nodes: u16,

    /// How many lines they type, all together
    #[arg(long, value_name = "N", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(in crate::cli) lines: u32,

    /// How much time is between two lines
    #[arg(long, value_name = "DURATION", default_value = "75ms")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(in crate::cli) every: Duration,
}

/// `30` or `30%`; not all of them, or nothing would ever arrive.
fn percent(text: &str) -> Result<u64, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    match digits.parse() {
        Ok(percent @ 0..=80) => Ok(percent),
        _ => Err("must be a percentage from 0% to 80%".to_owned()),
    }
}

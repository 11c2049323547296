//! The programs: `chat-broker` and `chat-node` (SPEC.md section 12).
//!
//! Everything that a person or a script meets is here: arguments and exit codes (`args`,
//! `exit`), where things are kept (`files`), what is read and shown (`input`, `screen`, `status`, `logging`, `lines`), and the two programs that put it
//! together around a [driver](crate::driver) (`broker`, `node`).
//!
//! This module is no interface for others: it is a part of the library only so that the two
//! binaries share it.

mod address;
mod args;
mod broker;
pub mod demo;
mod devices;
mod exit;
mod files;
mod input;
mod inspect;
mod invite;
mod keys;
mod limits;
mod lines;
mod logging;
mod metrics;
mod node;
mod order;
mod running;
mod screen;
mod signals;
mod status;

use std::future::Future;
use std::process::ExitCode;

use crate::chat::visible_lines;
use args::NodeCommand;
use exit::{Code, Failure};

/// The version, and the commit that it was built from.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("TERTULIA_COMMIT"),
    ")"
);

/// The program `chat-broker`.
#[must_use]
pub fn chat_broker() -> ExitCode {
    match args::broker() {
        Ok(args) => run("chat-broker", broker::run(args)),
        Err(code) => code.into(),
    }
}

/// The program `chat-node`.
#[must_use]
pub fn chat_node() -> ExitCode {
    match args::node() {
        Ok(mut args) => match args.command.take() {
            None => run("chat-node", node::run(args)),
            Some(NodeCommand::Send(send)) => run("chat-node", node::send(args, send)),
            Some(NodeCommand::Tail(tail)) => run("chat-node", node::tail(args, tail)),
            Some(NodeCommand::Link(link)) => run("chat-node", node::link(args, link)),
            Some(NodeCommand::Devices(devices)) => run("chat-node", node::devices(args, devices)),
            Some(NodeCommand::Keys) => run("chat-node", node::keys(args)),
            Some(NodeCommand::Demo(args)) => run("chat-node demo", demo::run(args)),
            Some(NodeCommand::Broker(args)) => run("chat-broker", broker::run(*args)),
        },
        Err(code) => code.into(),
    }
}

/// Runs a program to its end, and says why it failed if it did.
fn run(program: &str, task: impl Future<Output = Result<Code, Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(task);
            // A name that is still being looked up must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => {
            let message = format!("the system does not let it run: {error}");
            Err(Failure::new(Code::Unavailable, message))
        }
    };
    let code = outcome.unwrap_or_else(|failure| {
        eprintln!("{program}: {}", visible_lines(&failure.to_string()));
        failure.code
    });
    code.into()
}

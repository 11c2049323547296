//! The two programs as people and scripts run them: real processes, sockets, files and terminals.
//!
//! One test program for all of it, so that tests that mostly wait do so at the same time.

#[path = "../support/mod.rs"]
mod support;

mod arguments;
mod bad_network;
mod budgets;
mod conversation;
mod crashes;
mod deaths;
mod demonstration;
mod devices;
mod durability;
mod flood;
#[cfg(target_os = "linux")]
mod forged;
mod history;
mod hostile;
mod hosting;
mod input;
mod invites;
mod keys;
mod leaving;
mod metrics;
mod moderation;
mod outbox;
mod pauses;
mod presence;
mod restart;
mod restored;
mod roaming;
mod scripts;
mod strangers;
mod terminal;
mod wire;

//! `chat-broker kick`, `ban`, `mute` and the like: what the operator decides (CLI-21).

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::args::{About, DecideTask};
use super::broker::log_path;
use super::exit::{Code, Failure};
use crate::chat::{Decision, LogId, Refusal, RoomName, Verb};
use crate::driver::{BrokerCommand, Clock, system_seed};
use crate::profile::files::try_lock;
use crate::rng::SeededRng;
use crate::store::log::{DeviceDesk, ORDERS_LOOKED_FOR_EVERY, Order, OrderDesk};
use crate::store::sqlite::StoreError;

/// How often the outcome of an order is looked for.
const LOOKED_EVERY: Duration = Duration::from_millis(20);
/// How long a running broker may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long a running broker is told of a device that was revoked, in milliseconds: its links are
/// closed once, and it signs in no more whether the broker was told or not.
const REVOKED_TOLD_MS: u64 = 10_000;

/// Has it done by the broker that uses `dir`, or does it where none runs.
pub(super) async fn run(task: &DecideTask, dir: &Path) -> Result<Code, Failure> {
    let path = log_path(dir);
    if !path.exists() {
        let message = format!("no broker has stored anything in {}", dir.display());
        return Err(Failure::new(Code::Directory, message));
    }
    let unusable = |error: &StoreError| Failure::log(&path, error);
    let mut desk = open(&path)?;
    let (room, decision) = of(task);
    let now_ms = || Clock::system().unix_ms();
    let order = desk.leave(&room, &decision, now_ms());
    let order = order.map_err(|error| unusable(&error))?;
    let outcome = async {
        loop {
            if let Some(outcome) = desk.outcome(order).map_err(|error| unusable(&error))? {
                return Ok::<_, Failure>(outcome);
            }
            if let Some(_alone) = try_lock(&dir.join("lock"))? {
                desk.carry_out(now_ms()).map_err(|error| unusable(&error))?;
            }
            sleep(LOOKED_EVERY).await;
        }
    };
    match tokio::time::timeout(PATIENCE, outcome).await {
        Ok(outcome) => told(outcome?),
        Err(_) => {
            let withdrawn = desk.withdraw(order).map_err(|error| unusable(&error))?;
            if withdrawn {
                let message = "the broker does not answer: nothing was done";
                return Err(Failure::new(Code::Unavailable, message));
            }
            let outcome = desk.outcome(order).map_err(|error| unusable(&error))?;
            told(outcome.unwrap_or(Ok(())))
        }
    }
}

fn told(outcome: Result<(), Refusal>) -> Result<Code, Failure> {
    match outcome {
        Ok(()) => Ok(Code::Done),
        Err(why) => Err(Failure::new(Code::Refused, format!("not done: {why}"))),
    }
}

fn open(path: &Path) -> Result<OrderDesk, Failure> {
    let seed = system_seed().map_err(|error| {
        let message = format!("the system has no randomness: {error}");
        Failure::new(Code::Unavailable, message)
    })?;
    let fresh = LogId(SeededRng::new(seed).bytes());
    OrderDesk::open(path, fresh).map_err(|error| Failure::log(path, &error))
}

fn of(task: &DecideTask) -> (RoomName, Decision) {
    let (about, verb) = match task {
        DecideTask::Kick(about) => (about, Verb::Kick),
        DecideTask::Ban(about) => (about, Verb::Ban),
        DecideTask::Unban(about) => (about, Verb::Unban),
        DecideTask::Mute { about, seconds } => (about, Verb::Mute(*seconds)),
        DecideTask::Unmute(about) => (about, Verb::Unmute),
        DecideTask::Role { about, role } => (about, Verb::Role(*role)),
    };
    let About { room, name } = about;
    let decision = Decision {
        verb,
        about: name.clone(),
    };
    (room.clone().unwrap_or_default(), decision)
}

/// What others leave in the log for a running broker, looked for every now and then.
pub(super) struct Orders(Option<Desks>);

struct Desks {
    orders: OrderDesk,
    devices: DeviceDesk,
}

impl Orders {
    /// Those in the log in `dir`; none where nothing is kept.
    pub(super) fn of(dir: Option<&Path>) -> Result<Self, Failure> {
        let path = dir.map(log_path).filter(|path| path.exists());
        let open_both = |path: PathBuf| {
            Ok::<_, Failure>(Desks {
                orders: open(&path)?,
                devices: DeviceDesk::open(&path).map_err(|error| Failure::log(&path, &error))?,
            })
        };
        Ok(Self(path.map(open_both).transpose()?))
    }

    /// Waits until it is time to look again, and says what waits. An order is told again until the
    /// store has it (ROL-6), and a device that was revoked for a while (DEV-8). What cannot be read now
    /// is read later.
    pub(super) async fn next(&self) -> Vec<BrokerCommand> {
        let Some(Desks { orders, devices }) = &self.0 else {
            return std::future::pending().await;
        };
        sleep(ORDERS_LOOKED_FOR_EVERY).await;
        let waiting = orders.waiting().unwrap_or_else(|error| {
            tracing::warn!(%error, "orders cannot be read");
            Vec::new()
        });
        let command = |order: Order| BrokerCommand::Decide {
            order: Some(order.order),
            room: order.room,
            decision: order.decision,
        };
        let since = Clock::system().unix_ms().saturating_sub(REVOKED_TOLD_MS);
        let revoked = devices.revoked_since(since).unwrap_or_else(|error| {
            tracing::warn!(%error, "revoked devices cannot be read");
            Vec::new()
        });
        let close = |(account, device)| BrokerCommand::CloseRevoked { account, device };
        let revoked = revoked.into_iter().map(close);
        waiting.into_iter().map(command).chain(revoked).collect()
    }
}

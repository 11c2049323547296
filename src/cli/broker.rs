//! The program `chat-broker` (CLI-9).

use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::select;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::args::{Access, BrokerArgs, BrokerTask};
use super::exit::{Code, Failure};
use super::order::Orders;
use super::running::{self, RunningFile};
use super::signals::Signals;
use super::status::Status;
use super::{VERSION, devices, files, inspect, invite, keys, limits, logging, metrics, order};
use crate::broker::{
    self, Broker, BrokerConfig, BrokerEvent, FirstContacts, MemoryStore, StorageCompletion,
    StorageRequest,
};
use crate::chat::{LogId, visible};
use crate::driver::{
    self, BrokerCommand, Clock, Driver, Ends, Store, SystemSocket, memory_store, system_seed,
};
use crate::drops::Drops;
use crate::profile::keyfile;
use crate::rng::SeededRng;
use crate::secure::{BrokerIdentity, ResetSecret};
use crate::store;
use crate::store::log::{InviteDesk, Running, SqliteStore};

/// How often the counters of dropped datagrams are logged, if they changed (BRK-4).
const DROPS_LOGGED_EVERY: Duration = Duration::from_secs(60);

/// Does what `args` say: mostly, runs a broker until it is told to end.
pub(super) async fn run(args: BrokerArgs) -> Result<Code, Failure> {
    let Some(task) = args.task else {
        return serve(args).await;
    };
    logging::start("warn", args.log_format, io::stderr);
    match task {
        BrokerTask::Invite(task) => invite::run(&task, &files::data_dir(args.data_dir, "broker")?),
        BrokerTask::Keys => keys::of_broker(&files::find_data_dir(args.data_dir, "broker")?),
        BrokerTask::Devices(task) => {
            devices::of_broker(&task, &files::find_data_dir(args.data_dir, "broker")?)
        }
        BrokerTask::Decide(task) => {
            order::run(&task, &files::find_data_dir(args.data_dir, "broker")?).await
        }
        BrokerTask::Look(task) => {
            inspect::run(&task, &files::find_data_dir(args.data_dir, "broker")?)
        }
    }
}

async fn serve(args: BrokerArgs) -> Result<Code, Failure> {
    let (status, _writers) = Status::new();
    let level = if args.quiet { "warn" } else { "info" };
    logging::start(level, args.log_format, status.clone());
    let mut signals = Signals::new().map_err(system_failure)?;

    let mut rng = SeededRng::new(system_seed().map_err(system_failure)?);
    let data = Data::open(&args, &mut rng)?;
    let sockets = bind(&args.listen)?;
    let listening: Vec<String> = sockets
        .iter()
        .map(|socket| Ok(socket.local_addr()?.to_string()))
        .collect::<io::Result<_>>()
        .map_err(system_failure)?;
    let listener = match args.metrics {
        Some(address) => Some(metrics::bind(address).await?),
        None => None,
    };
    if let Some(dir) = &data.dir {
        invite::note_listening(dir, &listening)?;
    }
    status.line(&format!(
        "chat-broker {VERSION}  listening on {}  key {}  store {}",
        listening.join(", "),
        data.identity.public().fingerprint(),
        data.kept,
    ));
    status.people(0);

    let Data {
        identity,
        reset_secret,
        kept,
        dir,
        _lock,
    } = data;
    let config = BrokerConfig {
        grace: args.grace,
        reset_secret,
        budgets: limits::budgets(&args.budgets),
        memory_max: args.memory_max,
        ..admission(args.access())
    };
    let log = kept.log_id();
    let orders = Orders::of(dir.as_deref().filter(|_| !args.memory))?;
    let broker = Broker::new(config, identity, log, rng.fork());
    let (mut driving, mut log_file) = match kept {
        Kept::InMemory(log) => {
            let store = memory_store(MemoryStore::new(log).with_max(args.memory_max));
            (Driving::start(broker, sockets, store), None)
        }
        Kept::OnDisk(file, store) => {
            let driving = Driving::start(broker, sockets, *store);
            (driving, Some(file))
        }
    };
    let commands = driving.ends.commands.clone();
    // Dropped, and so aborted, with this function.
    let mut telling = JoinSet::new();
    if let Some(listener) = listener {
        telling.spawn(metrics::serve(listener, commands.clone()));
    }
    if let Some(dir) = &dir {
        telling.spawn(running::keep(RunningFile::new(dir), commands));
    }
    tokio::select! {
        biased;
        // Nothing that was not confirmed is answered, and nobody is told good-bye: for the nodes
        // it is a broker that was killed (STO-8).
        failure = LogFile::failure(&mut log_file) => return Err(failure),
        () = driving.watch(&status, &mut signals, &orders) => {}
    }
    let broker = driving.end().await;
    telling.shutdown().await;
    if let Some(file) = log_file {
        file.closed().await?;
    }
    status.end();
    log_drops(broker.drops());
    let received = broker.received();
    tracing::info!(received, "datagrams received in all");
    tracing::info!("the broker has shut down");
    Ok(Code::Done)
}

/// What outlives the broker, as far as anything does.
struct Data {
    identity: BrokerIdentity,
    reset_secret: Option<ResetSecret>,
    kept: Kept,
    /// Where all that is.
    dir: Option<PathBuf>,
    /// On the directory; dies with the process.
    _lock: Option<File>,
}

/// Where the lines are.
enum Kept {
    InMemory(LogId),
    OnDisk(LogFile, Box<SqliteStore>),
}

/// A log on the disk that is in use.
pub(super) struct LogFile {
    path: PathBuf,
    running: Running,
}

impl Data {
    fn open(args: &BrokerArgs, rng: &mut SeededRng) -> Result<Self, Failure> {
        let fresh = LogId(rng.bytes());
        if args.ephemeral_key {
            return Ok(Self {
                identity: BrokerIdentity::generate(rng),
                reset_secret: None,
                kept: Kept::InMemory(fresh),
                dir: None,
                _lock: None,
            });
        }
        let dir = files::data_dir(args.data_dir.clone(), "broker")?;
        let lock = lock(&dir)?;
        if args.access.is_none()
            && let Some(public) = args.public()
        {
            check_that_somebody_may_enter(&dir, *public, fresh)?;
        }
        let identity = identity(&dir)?;
        let reset_secret = Some(reset_secret(&dir)?);
        let kept = if args.memory {
            Kept::InMemory(fresh)
        } else {
            let (file, store) = LogFile::open(&dir, fresh)?;
            Kept::OnDisk(file, Box::new(store))
        };
        Ok(Self {
            identity,
            reset_secret,
            kept,
            dir: Some(dir),
            _lock: Some(lock),
        })
    }
}

impl Kept {
    const fn log_id(&self) -> LogId {
        match self {
            Self::InMemory(log) => *log,
            Self::OnDisk(_, store) => store.log_id(),
        }
    }
}

/// As the banner has it (CLI-9).
impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InMemory(_) => f.write_str("memory"),
            Self::OnDisk(file, _) => file.path.display().fmt(f),
        }
    }
}

impl LogFile {
    /// Opens the log in `dir`, or makes one that is called `fresh`.
    fn open(dir: &Path, fresh: LogId) -> Result<(Self, SqliteStore), Failure> {
        let path = log_path(dir);
        let opened = SqliteStore::open(&path, fresh);
        let (store, running) = opened.map_err(|error| Failure::log(&path, &error))?;
        Ok((Self { path, running }, store))
    }

    /// Waits until it fails; for ever if there is none, or it ends in an orderly way.
    async fn failure(file: &mut Option<Self>) -> Failure {
        if let Some(file) = file
            && let Err(error) = file.running.ended().await
        {
            return Failure::log(&file.path, &error);
        }
        std::future::pending().await
    }

    /// Waits until it is closed, when nobody can ask anything of it any more.
    async fn closed(mut self) -> Result<(), Failure> {
        let ended = self.running.ended().await;
        ended.map_err(|error| Failure::log(&self.path, &error))
    }
}

/// Where the log of the broker with this data directory is.
pub(super) fn log_path(dir: &Path) -> PathBuf {
    dir.join(store::log::FILE_NAME)
}

/// A broker's task, and how to talk to it.
struct Driving {
    ends: Ends<Broker>,
    task: JoinHandle<Broker>,
}

impl Driving {
    fn start<T>(broker: Broker, sockets: Vec<SystemSocket>, store: T) -> Self
    where
        T: Store<Request = StorageRequest, Completion = StorageCompletion>,
    {
        let (driver, ends) = Driver::new(broker, sockets, store, Clock::system());
        let task = tokio::spawn(driver.run());
        Self { ends, task }
    }

    /// The broker, when its task is done.
    async fn end(self) -> Broker {
        match self.task.await {
            Ok(broker) => broker,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// What follows from who may enter: where one must be invited, nobody is told the key (ADM-5).
fn admission(access: Access) -> BrokerConfig {
    match access {
        Access::Open => BrokerConfig::default(),
        Access::Invite => BrokerConfig {
            access: broker::Access::Invite,
            first_contacts: FirstContacts::Closed,
            ..BrokerConfig::default()
        },
    }
}

/// BRK-6: nobody means to run a broker that nobody can enter.
fn check_that_somebody_may_enter(
    dir: &Path,
    public: SocketAddr,
    fresh: LogId,
) -> Result<(), Failure> {
    let path = log_path(dir);
    let desk = InviteDesk::open(&path, fresh).map_err(|error| Failure::log(&path, &error))?;
    let now_ms = Clock::system().unix_ms();
    let somebody = desk.lets_anybody_in(now_ms);
    if somebody.map_err(|error| Failure::log(&path, &error))? {
        return Ok(());
    }
    let message = format!(
        "{public} can be reached from outside, where one has to be invited, and nobody is yet:\n  \
         chat-broker invite --data-dir '{}'  lets somebody in;\n  \
         --access open lets everybody in who reaches it",
        dir.display()
    );
    Err(Failure::new(Code::Usage, message))
}

/// One broker at a time uses a data directory.
pub(super) fn lock(data_dir: &Path) -> Result<File, Failure> {
    files::try_lock(&data_dir.join("lock"))?.ok_or_else(|| {
        let message = format!("another broker uses {}", data_dir.display());
        Failure::new(Code::Directory, message)
    })
}

/// The key that outlives the broker (BRK-7, KEY-5).
pub(super) fn identity(data_dir: &Path) -> Result<BrokerIdentity, Failure> {
    let secret = keyfile::read_or_make(&data_dir.join(keys::BROKER_KEY))?;
    Ok(BrokerIdentity::from_secret(*secret))
}

/// What reset tokens are made of, which outlives the broker too (RST-1, KEY-5).
pub(super) fn reset_secret(data_dir: &Path) -> Result<ResetSecret, Failure> {
    let secret = keyfile::read_or_make(&data_dir.join("reset-secret"))?;
    Ok(ResetSecret::new(*secret))
}

fn bind(listen: &[SocketAddr]) -> Result<Vec<SystemSocket>, Failure> {
    let mut sockets = Vec::new();
    for address in listen {
        let socket = driver::bind(*address).map_err(|error| {
            let message = if error.kind() == io::ErrorKind::AddrInUse {
                format!("cannot listen on {address}: another program, perhaps a broker, does")
            } else {
                format!("cannot listen on {address}: {error}")
            };
            Failure::new(Code::Unavailable, message)
        })?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn system_failure(error: io::Error) -> Failure {
    let message = format!("the system does not let it run: {error}");
    Failure::new(Code::Unavailable, message)
}

impl Driving {
    /// Tells what happens, until the driver is done. The first signal makes it shut down.
    async fn watch(&mut self, status: &Status, signals: &mut Signals, orders: &Orders) {
        let ends = &mut self.ends;
        let mut ticks = interval(DROPS_LOGGED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut logged = Drops::default();
        let mut ordered = Box::pin(orders.next());
        loop {
            select! {
                biased;
                () = signals.next() => {
                    // If the driver is gone it has shut down.
                    let _ = ends.commands.send(BrokerCommand::ShutDown).await;
                }
                _ = ticks.tick() => {
                    let (reply, answer) = oneshot::channel();
                    let asked = ends.commands.send(BrokerCommand::Drops(reply)).await;
                    if asked.is_ok() && let Ok(drops) = answer.await && drops != logged {
                        log_drops(&drops);
                        logged = drops;
                    }
                }
                waiting = &mut ordered => {
                    for command in waiting {
                        let _ = ends.commands.send(command).await;
                    }
                    ordered = Box::pin(orders.next());
                }
                event = ends.events.recv() => match event {
                    Some(event) => tell(&event, status),
                    None => return,
                }
            }
        }
    }
}

/// Never the text of a line, and names as a terminal may show them (CLI-5, CLI-9).
fn tell(event: &BrokerEvent, status: &Status) {
    match event {
        BrokerEvent::Joined { name, room } => {
            let (name, room) = (visible(name.as_str()), visible(room.as_str()));
            tracing::info!(%name, %room, "joined");
        }
        BrokerEvent::Left {
            name,
            room,
            timed_out,
        } => {
            let (name, room) = (visible(name.as_str()), visible(room.as_str()));
            tracing::info!(%name, %room, timed_out, "left");
        }
        BrokerEvent::Decided { by, room, decision } => {
            let (by, room) = (visible(by.as_str()), visible(room.as_str()));
            let decision = decision.to_string();
            tracing::info!(%by, %room, decision = %visible(&decision), "decided");
        }
        BrokerEvent::Stored { room, seq, len } => {
            let room = visible(room.as_str());
            tracing::info!(%room, seq, len, "broadcast");
        }
        BrokerEvent::People(count) => status.people(*count),
    }
}

/// BRK-4.
fn log_drops(drops: &Drops) {
    if *drops != Drops::default() {
        tracing::info!(%drops, "datagrams dropped so far, by reason");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BRK-7.
    #[test]
    fn a_broker_that_starts_again_has_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let key = identity(dir.path()).unwrap().public();
        assert_eq!(identity(dir.path()).unwrap().public(), key);
    }

    /// RST-1.
    #[test]
    fn a_broker_that_starts_again_makes_the_same_reset_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let token = |secret: ResetSecret| secret.token(&[1; 8]);
        let before = token(reset_secret(dir.path()).unwrap());
        assert_eq!(token(reset_secret(dir.path()).unwrap()), before);
    }

    /// CLI-6.
    #[tokio::test]
    async fn a_port_in_use_is_said_in_words() {
        let taken = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = taken[0].local_addr().unwrap();
        let refused = bind(&[address]).unwrap_err();
        assert_eq!(refused.code, Code::Unavailable);
        assert!(refused.to_string().contains("another program"), "{refused}");
    }
}

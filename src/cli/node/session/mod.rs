//! A node under one name, from its start to its end.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::select;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use super::record::Record;
use super::{LINE_PROMPT, Outcome, Terminal, words};
use crate::chat::{InviteSecret, Name, RoomName, visible};
use crate::cli::address::HostPort;
use crate::cli::args::NodeArgs;
use crate::cli::exit::{Code, Failure};
use crate::cli::input::Input;
use crate::client::{Client, ClientConfig, ClientEvent, JoinOptions, JournalState};
use crate::driver::{Clock, Driver, Ends, NodeCommand, Ways, find_ways, system_seed};
use crate::handle::spool::Spool;
use crate::profile::Profile;
use crate::profile::known_hosts::{KnownHosts, Remembered};
use crate::rng::SeededRng;
use crate::secure::PublicKey;
use crate::store::journal::{News, Unopened};
use crate::store::sqlite::StoreError;

mod ending;
mod inviting;
pub(super) mod past;
pub(super) mod patience;
mod shown;
mod typed;

use past::Past;
use patience::Patience;

/// After this long without a first contact, the node says so.
const NO_CONTACT_SAID_AFTER: Duration = Duration::from_secs(3);
/// How often a line that did not fit into the outbox is tried again.
const OUTBOX_TRIED_EVERY: Duration = Duration::from_millis(20);

/// One name at one broker.
pub(super) struct Session<'a> {
    args: &'a NodeArgs,
    name: &'a Name,
    host: HostPort,
    data_dir: &'a Path,
    hosts: &'a KnownHosts,
    terminal: &'a mut Terminal,
    /// The first one is typed to; there may be none left.
    rooms: Vec<RoomName>,
    /// What the file of known hosts had when the session began.
    remembered: Option<Remembered>,
    clock: Clock,
    /// Until the broker's key is known, there is no profile, and no file to journal to.
    unopened: Option<Unopened>,
    record: Option<Record>,
    /// What was typed before there was a journal, and where.
    early: VecDeque<(RoomName, Bytes)>,
    spool: Spool,
    past: Past,
    /// The secret of an invite that the broker is asked to make (CLI-22).
    inviting: Option<InviteSecret>,
    /// Publications that are no text, but decide something, and what is said when they do not.
    decisions: BTreeMap<u64, &'static str>,
    ends: Ends<Client>,
    task: Option<JoinHandle<Client>>,
    contact: Contact,
    /// Whether the first room was entered, or never will be.
    is_seated: bool,
    /// Whether what comes from before may have been shown then, and nobody was told so.
    may_repeat: bool,
    /// How many lines the screen had printed when that was last looked at.
    last_printed: u64,
    /// How many lines have no outcome yet.
    waiting: usize,
    /// A line that outbox or journal had no room for; nothing more is read meanwhile.
    held: Option<(RoomName, Bytes)>,
    leaving: Option<Leaving>,
    patience: Patience,
}

/// Whether the broker is in reach.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contact {
    /// It never was.
    NotYet {
        said: bool,
    },
    Online,
    Lost,
}

/// The node is on its way out (NOD-4).
struct Leaving {
    drained: Pin<Box<Sleep>>,
    gave_up: bool,
}

/// What a turn of the loop is about.
enum Happened {
    Signal,
    Closed,
    Drained,
    Event(Option<ClientEvent>),
    Silence,
    TryHeld,
    /// The screen has printed so many lines.
    Printed(u64),
    /// The journal knows of more that was printed.
    Noted,
    FromBefore,
    News(News),
    Failed(StoreError),
    Input(Option<Input>),
}

impl<'a> Session<'a> {
    /// Finds the broker and what is known of it, and begins to shake hands.
    pub(super) async fn start(
        args: &'a NodeArgs,
        name: &'a Name,
        data_dir: &'a Path,
        hosts: &'a KnownHosts,
        terminal: &'a mut Terminal,
    ) -> Result<Self, Failure> {
        let host = args.broker();
        let remembered = hosts.find(&host)?;
        let given = args.url.as_ref().and_then(|url| url.key);
        if let (Some(remembered), Some(given)) = (remembered, given)
            && remembered.key != given
        {
            let text = words::contradicting_url(&host, given, hosts.path(), remembered);
            return Err(Failure::new(Code::Refused, text));
        }
        let key = remembered.map(|remembered| remembered.key).or(given);
        let clock = Clock::system();
        let (unopened, store) = Unopened::new();
        let (mut unopened, mut record) = (Some(unopened), None);
        let mut restored = JournalState::default();
        if let Some(key) = &key {
            let mut profile = Profile::open(data_dir, key, name)?;
            profile.take_link().await?;
            if let Some(unopened) = unopened.take() {
                let (opened, state) = Record::open(profile, unopened, clock.clone())?;
                (record, restored) = (Some(opened), state);
            }
        }
        let identity = record
            .as_ref()
            .map(|record| record.profile.identity.clone());
        let known = key.zip(identity);
        let waiting = restored.waiting();
        let watched = handles_to_watch(args, &restored);

        let ways = find_ways(&host.host, host.port).await;
        let Ways { sockets, paths } = ways.map_err(|error| {
            Failure::new(Code::Unavailable, format!("cannot reach {host}: {error}"))
        })?;
        let mut rng = SeededRng::new(system_seed().map_err(|error| {
            let message = format!("the system has no randomness: {error}");
            Failure::new(Code::Unavailable, message)
        })?);
        let config = ClientConfig {
            paths,
            name: name.clone(),
            known,
            restored,
        };
        let mut client = Client::new(config, rng.fork(), clock.now());
        if let Some(invite) = args.invite() {
            client.set_invite(invite);
        }
        let rooms = args.rooms();
        for room in &rooms {
            // There are not too many: the arguments were checked.
            let options = JoinOptions {
                history: args.history,
                ..room.clone().into()
            };
            client.join(options, clock.now());
        }
        for handle in watched {
            client.watch(handle);
        }
        let (driver, ends) = Driver::new(client, sockets, store, clock.clone());
        let mut session = Self {
            args,
            name,
            host,
            data_dir,
            hosts,
            terminal,
            rooms,
            remembered,
            clock,
            unopened,
            record,
            early: VecDeque::new(),
            spool: Spool::default(),
            past: Past::default(),
            inviting: None,
            decisions: BTreeMap::new(),
            ends,
            task: Some(tokio::spawn(driver.run())),
            contact: Contact::NotYet { said: false },
            is_seated: false,
            may_repeat: false,
            last_printed: 0,
            waiting,
            held: None,
            leaving: None,
            patience: Patience::default(),
        };
        session.pick_up().await?;
        Ok(session)
    }

    /// Says what the journal holds from before, and prepares to show it.
    async fn pick_up(&mut self) -> Result<(), Failure> {
        let rooms = self.rooms.clone();
        rooms.iter().for_each(|room| self.spool.on_asked(room));
        let Some(record) = &mut self.record else {
            return Ok(());
        };
        for room in &rooms {
            self.may_repeat |= record.begin(room)?;
        }
        if self.waiting > 0 {
            self.note(words::still_waiting(self.waiting)).await;
        }
        Ok(())
    }

    /// Chats until the end.
    pub(super) async fn run(&mut self) -> Result<Outcome, Failure> {
        self.terminal.screen.prompt(LINE_PROMPT).await;
        let mut silence = Box::pin(sleep(NO_CONTACT_SAID_AFTER));
        loop {
            match self.next(silence.as_mut()).await {
                // The second one does not wait for anything.
                Happened::Signal if self.leaving.is_some() => {
                    return Ok(Outcome::Exit(Code::Interrupted));
                }
                Happened::Signal | Happened::Closed => self.leave().await,
                Happened::Drained => self.give_up().await,
                Happened::Silence => self.say_no_contact_yet().await,
                Happened::TryHeld => {
                    if let Some((room, text)) = self.held.take() {
                        self.publish_in(room, text).await;
                    }
                    self.publish_spooled().await;
                }
                Happened::Printed(count) => {
                    if let Some(record) = &mut self.record {
                        record.on_printed(count);
                    }
                }
                Happened::Noted => {}
                Happened::FromBefore => self.show_from_before().await?,
                Happened::News(news) => self.on_news(news).await,
                Happened::Failed(error) => {
                    return Err(match &self.record {
                        Some(record) => record.failure(&error),
                        None => Failure::new(Code::Disk, error.to_string()),
                    });
                }
                Happened::Input(None) => self.leave().await,
                Happened::Input(Some(input)) => self.on_input(input).await,
                Happened::Event(Some(ClientEvent::Ended(reason))) => {
                    // The last datagrams are sent before the program ends.
                    self.join_driver().await;
                    return self.on_ended(reason).await;
                }
                Happened::Event(Some(event)) => self.on_event(event).await?,
                Happened::Event(None) => {
                    self.join_driver().await;
                    return Ok(Outcome::Exit(Code::Unavailable));
                }
            }
        }
    }

    /// Waits for the driver's end. Its panic is ours.
    async fn join_driver(&mut self) {
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    async fn next(&mut self, silence: Pin<&mut Sleep>) -> Happened {
        let Self {
            terminal,
            ends,
            leaving,
            record,
            spool,
            last_printed,
            ..
        } = self;
        let Terminal {
            screen,
            input,
            signals,
            ..
        } = &mut **terminal;
        let is_silent = self.contact == Contact::NotYet { said: false };
        let may_read = leaving.is_none() && self.held.is_none();
        let is_leaving = leaving.is_some();
        let drained = async {
            match leaving {
                Some(Leaving {
                    drained,
                    gave_up: false,
                }) => drained.as_mut().await,
                _ => std::future::pending().await,
            }
        };
        let may_print = record.as_ref().is_none_or(Record::may_print);
        let is_behind = record.as_ref().is_some_and(Record::is_behind);
        let noted = record.as_ref().map(Record::noted);
        let noted = async {
            match noted {
                Some(noted) => noted.await,
                None => std::future::pending().await,
            }
        };
        let (mut seen, has_spooled) = (screen.printed(), spool.has_work());
        let printed_before = *last_printed;
        let printed = async {
            // If nobody prints any more the session ends for another reason.
            let count = seen
                .wait_for(|count| *count > printed_before)
                .await
                .map(|count| *count);
            match count {
                Ok(count) => count,
                Err(_) => std::future::pending().await,
            }
        };
        let (failed, news) = match record {
            Some(Record { journal, .. }) => {
                let failed = journal.failed();
                (Some(failed), Some(journal))
            }
            None => (None, None),
        };
        let failed = async {
            match failed {
                Some(failed) => failed.await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            match news {
                Some(journal) => journal.news().await,
                None => std::future::pending().await,
            }
        };
        let event = async {
            screen.room().await;
            ends.events.recv().await
        };
        let line = async {
            screen.room().await;
            input.recv().await
        };
        select! {
            biased;
            () = signals.next() => Happened::Signal,
            () = screen.closed(), if !is_leaving => Happened::Closed,
            () = drained => Happened::Drained,
            error = failed => Happened::Failed(error),
            count = printed => {
                *last_printed = count;
                Happened::Printed(count)
            }
            () = noted, if !may_print => Happened::Noted,
            () = screen.room(), if is_behind && may_print => Happened::FromBefore,
            event = event, if may_print && !is_behind => Happened::Event(event),
            news = news => Happened::News(news),
            () = silence, if is_silent => Happened::Silence,
            () = sleep(OUTBOX_TRIED_EVERY), if self.held.is_some() || has_spooled => Happened::TryHeld,
            line = line, if may_read => Happened::Input(line),
        }
    }

    // ---- what happens

    async fn on_event(&mut self, event: ClientEvent) -> Result<(), Failure> {
        self.spool.on_event(&event);
        self.tell_program(&event).await;
        self.on_history(&event).await;
        match event {
            ClientEvent::FirstContact(key) => self.on_first_contact(key).await?,
            ClientEvent::Online => self.on_online().await?,
            // Taken above.
            ClientEvent::Past { .. } | ClientEvent::HistoryEnd { .. } => {}
            ClientEvent::Delivered {
                room, delivered, ..
            } if self.args.states => self.note(words::delivered(&room, &delivered)).await,
            ClientEvent::Unwatched { room, .. } if self.args.states => {
                self.note(words::unwatched(&room)).await;
            }
            // Another program waits for that (CLI-12).
            ClientEvent::Delivered { .. } | ClientEvent::Unwatched { .. } => {}
            ClientEvent::Invited { room, outcome } => self.on_invited(room, outcome).await?,
            ClientEvent::Offline => {
                self.forget_invite().await;
                self.contact = Contact::Lost;
                self.note(words::no_contact(self.waiting)).await;
            }
            ClientEvent::Joined { room } if self.types_to(&room) => self.on_seated().await,
            ClientEvent::Joined { .. } => self.publish_spooled().await,
            ClientEvent::JoinRefused { room, reason, .. } => {
                let reason = visible(&reason);
                if !self.is_seated && self.types_to(&room) {
                    let message = format!("the broker does not let you into {room}: {reason}");
                    return Err(Failure::new(Code::Refused, message));
                }
                self.note(format!("-- not let into {room}: {reason} --"))
                    .await;
                self.forget(&room).await;
            }
            ClientEvent::PutOff {
                what,
                room,
                wait,
                reason,
                ..
            } => {
                if self.patience.is_news(what, self.clock.now()) {
                    let why = (wait, &*reason);
                    let note = words::put_off(what, room.as_ref(), why, self.waiting);
                    self.note(note).await;
                }
            }
            ClientEvent::RoomLeft { room, removed } => {
                self.note(words::left(&room, removed)).await;
                self.forget(&room).await;
            }
            ClientEvent::Roster { room, total, names } => {
                self.note(words::roster(&room, total, &names)).await;
            }
            ClientEvent::Rooms { total, rooms } => self.note(words::rooms(total, &rooms)).await,
            ClientEvent::Fork { room } => {
                if let Some(record) = &mut self.record {
                    record.on_fork(&room);
                }
                let note = format!(
                    "-- the broker has another history of {room} than before (lost, or restored \
                     from a backup): earlier lines may be gone there --"
                );
                self.note(note).await;
            }
            ClientEvent::Skipped { room, first } => {
                let note = format!(
                    "-- what was said in {room} since the last line here and before line {first} \
                     may not be read by this account --"
                );
                self.note(note).await;
            }
            ClientEvent::Line { room, log, line } => self.show_line(&room, log, &line).await,
            ClientEvent::Notice {
                room,
                number,
                event,
                name,
            } => self.show_notice(&room, number, event, &name).await,
            ClientEvent::Stored { handle, room, seq } => {
                self.waiting = self.waiting.saturating_sub(1);
                self.decisions.remove(&handle);
                if self.args.states {
                    self.note(words::stored(&room, seq)).await;
                }
            }
            ClientEvent::NotStored {
                handle,
                reason,
                may_be_stored,
                ..
            } => {
                self.waiting = self.waiting.saturating_sub(1);
                let what = self.decisions.remove(&handle).unwrap_or("refused a line");
                let reason = visible(&reason);
                let doubt = match may_be_stored {
                    true => "; it may have been stored before that",
                    false => "",
                };
                self.note(format!("-- the broker {what}: {reason}{doubt} --"))
                    .await;
            }
            // Said in objects only.
            ClientEvent::Waiting { .. }
            // Nobody who chats is on one.
            | ClientEvent::Errand(_)
            // Taken by the caller.
            | ClientEvent::Ended(_) => {}
        }
        Ok(())
    }

    /// The room, if it is not the one that is typed to.
    fn further<'r>(&self, room: &'r RoomName) -> Option<&'r RoomName> {
        (!self.types_to(room)).then_some(room)
    }

    fn types_to(&self, room: &RoomName) -> bool {
        self.rooms.first() == Some(room)
    }

    /// The client is not, or no longer, in `room`.
    async fn forget(&mut self, room: &RoomName) {
        let was_typed_to = self.types_to(room);
        self.rooms.retain(|other| other != room);
        if was_typed_to {
            self.say_where().await;
        }
    }

    async fn say_where(&self) {
        let note = match self.rooms.first() {
            Some(room) => format!("-- what you type goes to {room} --"),
            None => "-- you are in no room: /join ROOM --".to_owned(),
        };
        self.note(note).await;
    }

    /// SEC-9: the key is remembered before anything is said to its owner.
    async fn on_first_contact(&mut self, key: PublicKey) -> Result<(), Failure> {
        let known = self.hosts.remember(&self.host, key)?;
        if known.key != key {
            // Another node was faster, and met another key.
            return Err(self.changed_key((known.key, key), Some(known)));
        }
        let mut profile = Profile::open(self.data_dir, &key, self.name)?;
        profile.take_link().await?;
        let identity = Box::new(profile.identity.clone());
        if let Some(unopened) = self.unopened.take() {
            let (record, state) = Record::open(profile, unopened, self.clock.clone())?;
            self.record = Some(record);
            self.waiting += state.waiting();
            let watched = handles_to_watch(self.args, &state);
            self.command(NodeCommand::Restore(Box::new(state))).await;
            for handle in watched {
                self.command(NodeCommand::Watch { handle }).await;
            }
            self.pick_up().await?;
        }
        let note = format!(
            "first contact with {}: remembering its key {}",
            self.host,
            key.fingerprint()
        );
        self.note(note).await;
        self.command(NodeCommand::SetIdentity(identity)).await;
        for (room, text) in core::mem::take(&mut self.early) {
            self.waiting -= 1;
            self.publish_in(room, text).await;
        }
        Ok(())
    }

    async fn on_online(&mut self) -> Result<(), Failure> {
        let given = self.args.url.as_ref().and_then(|url| url.key);
        if let (None, Some(key)) = (self.remembered, given) {
            // Only now it is certain that it is the key of this host.
            self.remembered = Some(self.hosts.remember(&self.host, key)?);
        }
        if matches!(self.contact, Contact::Lost | Contact::NotYet { said: true }) {
            self.note("-- back in contact --".to_owned()).await;
        }
        self.contact = Contact::Online;
        Ok(())
    }

    async fn on_seated(&mut self) {
        let is_first = !self.is_seated;
        self.is_seated = true;
        self.publish_spooled().await;
        if is_first && self.leaving.is_some() {
            self.command(NodeCommand::Leave).await;
        }
    }

    async fn say_no_contact_yet(&mut self) {
        self.contact = Contact::NotYet { said: true };
        let host = &self.host;
        let mut note = format!("no contact with {host} yet, still trying");
        if self.record.is_none() {
            note +=
                " (where one has to be invited, there is an answer only to the URL of an invite)";
        }
        self.note(note).await;
    }

    // ---- helpers

    /// A driver that has ended says why by its last event.
    async fn command(&self, command: NodeCommand) {
        let _ = self.ends.commands.send(command).await;
    }

    async fn note(&self, text: String) {
        self.terminal.screen.note(text).await;
    }
}

/// CLI-14: what waits from before is watched too.
fn handles_to_watch(args: &NodeArgs, state: &JournalState) -> Vec<u64> {
    let rooms = state.rooms.values().filter(|_| args.states);
    let waiting = rooms.flat_map(|room| &room.waiting);
    waiting.map(|(handle, _)| *handle).collect()
}

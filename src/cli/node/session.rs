//! A node under one name, from its start to its end.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::select;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use super::command::{Command, HELP};
use super::{FAREWELL, LINE_PROMPT, Outcome, Terminal, Typed, words};
use crate::chat::{Name, NoticeEvent, RoomName, check_body};
use crate::cli::address::HostPort;
use crate::cli::args::NodeArgs;
use crate::cli::exit::{Code, Failure};
use crate::cli::input::Input;
use crate::cli::known_hosts::{KnownHosts, Remembered};
use crate::cli::profile::Profile;
use crate::client::{
    Client, ClientConfig, ClientEvent, EndReason, JoinOptions, JournalState, PublishError,
};
use crate::driver::{
    Clock, Driver, Ends, NodeCommand, Ways, find_ways, memory_journal, system_seed,
};
use crate::rng::SeededRng;
use crate::secure::PublicKey;

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
    /// Open once the broker's key is known.
    profile: Option<Profile>,
    ends: Ends<Client>,
    task: Option<JoinHandle<Client>>,
    contact: Contact,
    /// Whether the first room was entered, or never will be.
    is_seated: bool,
    /// How many lines have no outcome yet.
    waiting: usize,
    /// A line that the outbox had no room for; nothing more is read meanwhile.
    held: Option<Bytes>,
    leaving: Option<Leaving>,
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
        let profile = key
            .map(|key| Profile::open(data_dir, &key, name))
            .transpose()?;
        let known = key.zip(profile.as_ref().map(|profile| profile.identity.clone()));

        let ways = find_ways(&host.host, host.port).await;
        let Ways { sockets, paths } = ways.map_err(|error| {
            Failure::new(Code::Unavailable, format!("cannot reach {host}: {error}"))
        })?;
        let clock = Clock::system();
        let mut rng = SeededRng::new(system_seed().map_err(|error| {
            let message = format!("the system has no randomness: {error}");
            Failure::new(Code::Unavailable, message)
        })?);
        let config = ClientConfig {
            paths,
            name: name.clone(),
            known,
            restored: JournalState::default(),
        };
        let mut client = Client::new(config, rng.fork(), clock.now());
        let rooms = args.rooms();
        for room in &rooms {
            // There are not too many: the arguments were checked.
            let options = JoinOptions {
                history: args.history,
                ..room.clone().into()
            };
            client.join(options, clock.now());
        }
        let (driver, ends) = Driver::new(client, sockets, memory_journal(), clock);
        Ok(Self {
            args,
            name,
            host,
            data_dir,
            hosts,
            terminal,
            rooms,
            remembered,
            profile,
            ends,
            task: Some(tokio::spawn(driver.run())),
            contact: Contact::NotYet { said: false },
            is_seated: false,
            waiting: 0,
            held: None,
            leaving: None,
        })
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
                    if let Some(text) = self.held.take() {
                        self.publish(text).await;
                    }
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
            event = event => Happened::Event(event),
            () = silence, if is_silent => Happened::Silence,
            () = sleep(OUTBOX_TRIED_EVERY), if self.held.is_some() => Happened::TryHeld,
            line = line, if may_read => Happened::Input(line),
        }
    }

    // ---- what is typed

    async fn on_input(&mut self, input: Input) {
        self.terminal.lines_taken += 1;
        self.terminal.screen.answered().await;
        match input {
            // CLI-4
            Input::TooLong => self.refuse("the line is longer than 16384 bytes").await,
            Input::Line(line) => match Typed::of(line) {
                Typed::Nothing => {}
                Typed::Leave => return self.leave().await,
                Typed::Command(command) => self.on_command(command).await,
                Typed::Mistake(why) => self.note(why).await,
                Typed::Text(text) => match check_body(&text) {
                    Ok(()) => self.publish(text).await,
                    // CLI-4
                    Err(error) => self.refuse(&error.to_string()).await,
                },
            },
        }
        self.terminal.screen.prompt(LINE_PROMPT).await;
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Join(room) => {
                let was_in = self.rooms.contains(&room);
                self.rooms.retain(|other| *other != room);
                self.rooms.insert(0, room.clone());
                if !was_in {
                    let options = JoinOptions {
                        history: self.args.history,
                        ..room.into()
                    };
                    self.command(NodeCommand::Join(options)).await;
                }
                self.say_where().await;
            }
            Command::Leave(room) => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) if self.rooms.contains(&room) => {
                    self.command(NodeCommand::LeaveRoom { room }).await;
                }
                Some(room) => self.note(format!("you are not in {room}")).await,
                None => self.say_where().await,
            },
            Command::Who(room) => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) => {
                    let (reply, asked) = oneshot::channel();
                    self.command(NodeCommand::AskWho {
                        room: room.clone(),
                        reply,
                    })
                    .await;
                    if asked.await == Ok(false) {
                        let note =
                            format!("-- {room} cannot be asked now: not there, or no contact --");
                        self.note(note).await;
                    }
                }
                None => self.say_where().await,
            },
            Command::Rooms => {
                let (reply, asked) = oneshot::channel();
                self.command(NodeCommand::AskRooms { reply }).await;
                if asked.await == Ok(false) {
                    self.note("-- the broker cannot be asked now: no contact --".to_owned())
                        .await;
                }
            }
            Command::Help => self.note(HELP.to_owned()).await,
        }
    }

    async fn refuse(&self, why: &str) {
        let n = self.terminal.lines_taken;
        let note = if self.terminal.screen.is_interactive() {
            format!("not sent: {why}")
        } else {
            format!("line {n} of the input was not sent: {why}")
        };
        self.terminal.screen.note(note).await;
    }

    async fn publish(&mut self, text: Bytes) {
        let Some(room) = self.rooms.first().cloned() else {
            return self.refuse("you are in no room: /join ROOM").await;
        };
        let (reply, answer) = oneshot::channel();
        let command = NodeCommand::Publish {
            room,
            text: text.clone(),
            reply,
        };
        self.command(command).await;
        match answer.await {
            Ok(Ok(_handle)) => self.waiting += 1,
            Ok(Err(PublishError::OutboxFull)) => {
                self.held = Some(text);
                return;
            }
            Ok(Err(error)) => return self.refuse(&error.to_string()).await,
            // The driver has ended, and its last event says why.
            Err(_) => return,
        }
        if self.terminal.screen.is_interactive() && self.contact == Contact::Lost {
            self.note(words::no_contact(self.waiting)).await;
        }
    }

    // ---- what happens

    async fn on_event(&mut self, event: ClientEvent) -> Result<(), Failure> {
        match event {
            ClientEvent::FirstContact(key) => self.on_first_contact(key).await?,
            ClientEvent::Online => self.on_online().await?,
            ClientEvent::Offline => {
                self.contact = Contact::Lost;
                self.note(words::no_contact(self.waiting)).await;
            }
            ClientEvent::Joined { room } if self.types_to(&room) => self.on_seated().await,
            ClientEvent::Joined { .. } => {}
            ClientEvent::JoinRefused { room, reason, .. } => {
                if !self.is_seated && self.types_to(&room) {
                    let message = format!("the broker does not let you into {room}: {reason}");
                    return Err(Failure::new(Code::Refused, message));
                }
                self.note(format!("-- not let into {room}: {reason} --"))
                    .await;
                self.forget(&room).await;
            }
            ClientEvent::RoomLeft { room } => {
                self.note(format!("-- you have left {room} --")).await;
                self.forget(&room).await;
            }
            ClientEvent::Roster { room, total, names } => {
                self.note(words::roster(&room, total, &names)).await;
            }
            ClientEvent::Rooms { total, rooms } => self.note(words::rooms(total, &rooms)).await,
            ClientEvent::Fork { room } => {
                let note = format!(
                    "-- the broker has another history of {room} than before (lost, or restored \
                     from a backup): earlier lines may be gone there --"
                );
                self.note(note).await;
            }
            ClientEvent::Line { room, line, .. } => {
                if let Some(text) = words::line(self.further(&room), &line) {
                    self.terminal.screen.line(text).await;
                }
            }
            ClientEvent::Notice {
                room, event, name, ..
            } => {
                // One's own Left may or may not come before the end: it is never shown.
                let is_own_left = event == NoticeEvent::Left && name == *self.name;
                if !(is_own_left && self.leaving.is_some()) {
                    let text = words::notice(self.further(&room), event, &name);
                    self.terminal.screen.line(text).await;
                }
            }
            ClientEvent::Stored { .. } => self.waiting = self.waiting.saturating_sub(1),
            ClientEvent::NotStored { reason, .. } => {
                self.waiting = self.waiting.saturating_sub(1);
                self.note(format!("-- the broker refused a line: {reason} --"))
                    .await;
            }
            // Taken by the caller.
            ClientEvent::Ended(_) => {}
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
        let profile = Profile::open(self.data_dir, &key, self.name)?;
        let identity = Box::new(profile.identity.clone());
        self.profile = Some(profile);
        let note = format!(
            "first contact with {}: remembering its key {}",
            self.host,
            key.fingerprint()
        );
        self.note(note).await;
        self.command(NodeCommand::SetIdentity(identity)).await;
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
        if is_first && self.leaving.is_some() {
            self.command(NodeCommand::Leave).await;
        }
    }

    async fn say_no_contact_yet(&mut self) {
        self.contact = Contact::NotYet { said: true };
        let host = &self.host;
        self.note(format!("no contact with {host} yet, still trying"))
            .await;
    }

    // ---- the end

    /// Leaves when everything is settled, for which there is the drain time (NOD-4). Whoever has
    /// not entered yet enters first: it is the way to find out whether the broker is there.
    async fn leave(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Leaving {
            drained: Box::pin(sleep(self.args.drain)),
            gave_up: false,
        });
        self.terminal.screen.end_prompt().await;
        if self.waiting > 0 && self.terminal.screen.is_interactive() {
            let note = words::draining(self.waiting, self.args.drain);
            self.note(note).await;
        }
        if self.is_seated {
            self.command(NodeCommand::Leave).await;
        }
    }

    /// The drain time is over.
    async fn give_up(&mut self) {
        if let Some(leaving) = &mut self.leaving {
            leaving.gave_up = true;
        }
        self.command(NodeCommand::Abandon).await;
    }

    async fn on_ended(&mut self, reason: EndReason) -> Result<Outcome, Failure> {
        let refused = |message: String| Err(Failure::new(Code::Refused, message));
        match reason {
            EndReason::Left => {
                self.say_farewell().await;
                Ok(Outcome::Exit(Code::Done))
            }
            EndReason::Abandoned { waiting } => self.on_abandoned(waiting).await,
            EndReason::KeyChanged { known, shown } => {
                Err(self.changed_key((known, shown), self.remembered))
            }
            EndReason::NameRefused { reason, .. } => Ok(Outcome::NameRefused(reason)),
            EndReason::Replaced => {
                refused(format!("{} has signed in from somewhere else", self.name))
            }
            EndReason::Retired { .. } => {
                refused(format!("the device of {} is given up", self.name))
            }
            EndReason::Version { spoken } => {
                let message = format!(
                    "the broker speaks other versions of the protocol ({spoken:?}): \
                     this program, or the broker, is too old"
                );
                Err(Failure::new(Code::Unavailable, message))
            }
            EndReason::Protocol { reason } => {
                let message =
                    format!("the broker and this node misunderstand each other: {reason}");
                Err(Failure::new(Code::Unavailable, message))
            }
        }
    }

    /// CLI-6.
    async fn on_abandoned(&mut self, in_outbox: usize) -> Result<Outcome, Failure> {
        let waiting = in_outbox + usize::from(self.held.is_some());
        self.say_farewell().await;
        if waiting > 0 {
            self.note(words::unconfirmed(waiting)).await;
        }
        if matches!(self.contact, Contact::NotYet { .. }) {
            self.note(format!("there was no contact with {}", self.host))
                .await;
            return Ok(Outcome::Exit(Code::Unavailable));
        }
        Ok(Outcome::Exit(if waiting > 0 {
            Code::Unconfirmed
        } else {
            Code::Done
        }))
    }

    async fn say_farewell(&mut self) {
        self.terminal.screen.end_prompt().await;
        self.terminal.screen.line(FAREWELL.to_owned()).await;
    }

    fn changed_key(&self, keys: (PublicKey, PublicKey), remembered: Option<Remembered>) -> Failure {
        let text = words::changed_key(&self.host, keys, self.hosts.path(), remembered);
        Failure::new(Code::Refused, text)
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

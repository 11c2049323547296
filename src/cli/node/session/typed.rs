//! What is typed: lines and commands (CLI-3, CLI-4).

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Contact, Session};
use crate::chat::{Decision, HistoryPolicy, RoomName, check_body};
use crate::cli::input::Input;
use crate::cli::node::command::{Command, HELP};
use crate::cli::node::{LINE_PROMPT, Typed, json, words};
use crate::client::{JoinOptions, OUTBOX_MAX, PublishError};
use crate::driver::NodeCommand;

impl Session<'_> {
    pub(super) async fn on_input(&mut self, input: Input) {
        self.terminal.lines_taken += 1;
        self.terminal.screen.answered().await;
        match input {
            // CLI-4
            Input::TooLong => self.refuse("the line is longer than 16384 bytes").await,
            Input::Line(line) => match self.meaning_of(line) {
                Typed::TextIn(room, text) => match check_body(&text) {
                    Ok(()) => self.publish_in(room, text).await,
                    // CLI-4
                    Err(error) => self.refuse(&error.to_string()).await,
                },
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

    /// CLI-3, JSN-3.
    fn meaning_of(&self, line: Vec<u8>) -> Typed {
        if self.args.json {
            json::typed(&line)
        } else {
            Typed::of(line)
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Join(room) => {
                let was_in = self.rooms.contains(&room);
                self.rooms.retain(|other| *other != room);
                self.rooms.insert(0, room.clone());
                if !was_in {
                    self.begin(&room).await;
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
            Command::History {
                room,
                count,
                before,
            } => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) => self.ask_history(room, count, before).await,
                None => self.say_where().await,
            },
            Command::Policy(room, policy) => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) => self.set_policy(room, policy).await,
                None => self.say_where().await,
            },
            Command::Decide(room, decision) => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) => self.decide(room, decision).await,
                None => self.say_where().await,
            },
            Command::Invite(room, uses) => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) => self.ask_invite(room, uses).await,
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

    /// RUM-16. The line itself tells, when it is stored.
    async fn set_policy(&mut self, room: RoomName, policy: HistoryPolicy) {
        let (reply, answer) = oneshot::channel();
        let command = NodeCommand::SetPolicy {
            room,
            policy,
            reply,
        };
        let refused = "does not change who may read earlier lines";
        self.settle(command, answer, refused).await;
    }

    /// ROL-2. The line itself tells, when it is stored.
    async fn decide(&mut self, room: RoomName, decision: Decision) {
        let (reply, answer) = oneshot::channel();
        let command = NodeCommand::Decide {
            room,
            decision,
            reply,
        };
        self.settle(command, answer, "does not do that").await;
    }

    /// Has something settled that is no text; `refused` says what the broker does not do otherwise.
    async fn settle(
        &mut self,
        command: NodeCommand,
        answer: oneshot::Receiver<Result<u64, PublishError>>,
        refused: &'static str,
    ) {
        // NOD-2: without a journal nothing is taken that has to last.
        if self.record.is_none() {
            return self.note("-- not yet: no contact --".to_owned()).await;
        }
        self.command(command).await;
        match answer.await {
            Ok(Ok(handle)) => {
                self.waiting += 1;
                self.decisions.insert(handle, refused);
            }
            Ok(Err(error)) => self.refuse(&error.to_string()).await,
            // The driver has ended, and its last event says why.
            Err(_) => {}
        }
    }

    pub(super) async fn refuse(&self, why: &str) {
        let n = self.terminal.lines_taken;
        let note = if self.terminal.screen.is_interactive() {
            format!("not sent: {why}")
        } else {
            format!("line {n} of the input was not sent: {why}")
        };
        self.terminal.screen.note(note).await;
    }

    pub(super) async fn publish(&mut self, text: Bytes) {
        match self.rooms.first().cloned() {
            Some(room) => self.publish_in(room, text).await,
            None => self.refuse("you are in no room: /join ROOM").await,
        }
    }

    /// NOD-2: a line is in the journal before it is anything else. Until there is one, it waits.
    pub(super) async fn publish_in(&mut self, room: RoomName, text: Bytes) {
        if self.record.is_none() && self.early.len() < OUTBOX_MAX {
            self.early.push_back((room, text));
            self.waiting += 1;
            return;
        }
        let (reply, answer) = oneshot::channel();
        let kept = (room.clone(), text.clone());
        let command = if self.args.states {
            NodeCommand::PublishWatched { room, text, reply }
        } else {
            NodeCommand::Publish { room, text, reply }
        };
        self.command(command).await;
        match answer.await {
            Ok(Ok(_)) => self.waiting += 1,
            Ok(Err(PublishError::OutboxFull | PublishError::JournalBehind)) => {
                self.held = Some(kept);
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

    /// The room is shown from now on, beginning with what was received there for others.
    async fn begin(&mut self, room: &RoomName) {
        self.spool.on_asked(room);
        let begun = self.record.as_mut().map(|record| record.begin(room));
        if let Some(Err(error)) = begun {
            self.note(error.to_string()).await;
        }
    }
}

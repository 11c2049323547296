//! The end of a session (NOD-4, CLI-6).

use std::time::Duration;

use tokio::time::sleep;

use super::{Contact, Leaving, Session};
use crate::chat::visible;
use crate::cli::exit::{Code, Failure};
use crate::cli::node::{FAREWELL, Outcome, words};
use crate::client::EndReason;
use crate::driver::NodeCommand;
use crate::profile::known_hosts::Remembered;
use crate::secure::PublicKey;

/// How long the end waits for whoever reads stdout; what is not printed then comes the next time.
const PRINTED_WITHIN: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Leaves when everything is settled, for which there is the drain time (NOD-4). Whoever has
    /// not entered yet enters first: it is the way to find out whether the broker is there.
    pub(super) async fn leave(&mut self) {
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
    pub(super) async fn give_up(&mut self) {
        if let Some(leaving) = &mut self.leaving {
            leaving.gave_up = true;
        }
        self.command(NodeCommand::Abandon).await;
    }

    pub(super) async fn on_ended(&mut self, reason: EndReason) -> Result<Outcome, Failure> {
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
            EndReason::NameRefused { reason, .. } => {
                Ok(Outcome::NameRefused(visible(&reason).into_owned()))
            }
            EndReason::NotAdmitted { reason, .. } => refused(format!(
                "the broker does not let {} in: {}",
                self.name,
                visible(&reason)
            )),
            EndReason::Replaced => {
                refused(format!("{} has signed in from somewhere else", self.name))
            }
            EndReason::Retired { waiting } => self.on_retired(waiting).await,
            EndReason::Version { spoken } => {
                let message = format!(
                    "the broker speaks other versions of the protocol ({spoken:?}): \
                     this program, or the broker, is too old"
                );
                Err(Failure::new(Code::Unavailable, message))
            }
            EndReason::Protocol { reason } => Err(Failure::new(
                Code::Unavailable,
                words::misunderstanding(&reason),
            )),
        }
    }

    /// CLI-6.
    async fn on_abandoned(&mut self, in_outbox: usize) -> Result<Outcome, Failure> {
        self.keep_held().await;
        let waiting = in_outbox + self.early.len() + usize::from(self.held.is_some());
        self.say_farewell().await;
        if waiting > 0 && self.record.is_some() {
            self.note(words::kept(waiting)).await;
            return Ok(Outcome::Exit(Code::Unconfirmed));
        }
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
        let farewell = if self.args.json {
            r#"{"type":"ended"}"#
        } else {
            FAREWELL
        };
        self.terminal.screen.line(farewell.to_owned()).await;
    }

    pub(super) fn changed_key(
        &self,
        keys: (PublicKey, PublicKey),
        remembered: Option<Remembered>,
    ) -> Failure {
        let text = words::changed_key(&self.host, keys, self.hosts.path(), remembered);
        Failure::new(Code::Refused, text)
    }

    /// What the outbox had no room for is spooled, to be sent the next time.
    async fn keep_held(&mut self) {
        if let (Some(record), Some((room, text))) = (&mut self.record, &self.held)
            && let Err(error) = record.file.spool(
                room,
                std::slice::from_ref(text),
                self.clock.unix_ms(),
                false,
            )
        {
            self.note(error.to_string()).await;
        }
    }

    /// JRN-4: the account goes on with another device.
    async fn on_retired(&mut self, waiting: usize) -> Result<Outcome, Failure> {
        self.keep_held().await;
        if let Some(record) = &mut self.record
            && let Err(error) = record.profile.change_device()
        {
            // DEV-6: a linked device keeps what waits until it is linked again.
            let mut failure = Failure::from(error);
            if waiting > 0 && failure.code == Code::Refused {
                failure.code = Code::Unconfirmed;
                self.note(words::kept(waiting)).await;
            }
            return Err(failure);
        }
        self.note(words::retired(self.name, waiting)).await;
        Ok(Outcome::Again)
    }

    /// Waits until the journal is written to its end. The error is why it is not.
    pub(in crate::cli::node) async fn close(&mut self) -> Result<(), Failure> {
        // A driver that has not ended holds the journal open.
        if self.task.is_none()
            && let Some(mut record) = self.record.take()
        {
            let count = self.terminal.screen.all_printed(PRINTED_WITHIN).await;
            record.on_printed(count);
            return record.close().await;
        }
        Ok(())
    }
}

//! `/invite`: letting people in from within a room (CLI-22).

use core::num::NonZeroU64;

use tokio::sync::oneshot;

use super::Session;
use crate::chat::{InviteSecret, InviteWish, Refusal, RoomName};
use crate::cli::address::ChatUrl;
use crate::cli::exit::{Code, Failure};
use crate::cli::node::words;
use crate::driver::{NodeCommand, system_seed};
use crate::rng::SeededRng;

/// For how long an invite lets in, in milliseconds: 7 days (CLI-22).
const LASTS_MS: Option<NonZeroU64> = NonZeroU64::new(7 * 86_400_000);

impl Session<'_> {
    /// The broker is told by what it will know the secret, and never the secret itself (ROL-7).
    pub(super) async fn ask_invite(&mut self, room: RoomName, uses: NonZeroU64) {
        if self.inviting.is_some() {
            return self.note("-- one invite at a time --".to_owned()).await;
        }
        let seed = match system_seed() {
            Ok(seed) => seed,
            Err(error) => {
                let why = format!("the system has no randomness: {error}");
                return self.refuse(&why).await;
            }
        };
        let secret = InviteSecret::new(SeededRng::new(seed).bytes());
        let wish = InviteWish {
            mark: secret.mark(),
            uses: Some(uses),
            lasts_ms: LASTS_MS,
        };
        let (reply, asked) = oneshot::channel();
        let command = NodeCommand::AskInvite {
            room: room.clone(),
            wish,
            reply,
        };
        self.command(command).await;
        match asked.await {
            Ok(true) => self.inviting = Some(secret),
            _ => {
                let note = format!("-- {room} cannot be asked now: not there, or no contact --");
                self.note(note).await;
            }
        }
    }

    pub(super) async fn on_invited(
        &mut self,
        room: RoomName,
        outcome: Result<u64, (Refusal, String)>,
    ) -> Result<(), Failure> {
        let Some(secret) = self.inviting.take() else {
            return Ok(());
        };
        let invite = match outcome {
            Ok(invite) => invite,
            Err((_, reason)) => {
                self.note(words::not_invited(&reason)).await;
                return Ok(());
            }
        };
        let remembered = self.hosts.find(&self.host)?;
        let given = self.args.url.as_ref().and_then(|url| url.key);
        let Some(key) = remembered.map(|known| known.key).or(given) else {
            let message = format!("nothing is known of {} any more", self.host);
            return Err(Failure::new(Code::Directory, message));
        };
        let url = ChatUrl {
            broker: self.host.clone(),
            room: Some(room.clone()),
            key: Some(key),
            invite: Some(secret),
            link: None,
        };
        if self.args.json {
            let object = serde_json::json!({
                "type": "invited",
                "room": room.as_str(),
                "invite": invite,
                "url": url.to_string(),
            });
            self.terminal.screen.line(object.to_string()).await;
        } else {
            let note = format!("-- invite {invite}, for 7 days: {url} --");
            self.note(note).await;
        }
        Ok(())
    }

    /// Whether it was made is not known: nobody has its secret, so it lets nobody in.
    pub(super) async fn forget_invite(&mut self) {
        if self.inviting.take().is_some() {
            let note = "-- no invite was made: the contact was lost --";
            self.note(note.to_owned()).await;
        }
    }
}

//! What other programs ask of the one with the link (JRN-6, JRN-7).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::sync::{mpsc, oneshot};

use crate::chat::{Refusal, RoomName};
use crate::client::{ClientEvent, JoinOptions, PublishError};
use crate::driver::NodeCommand;
use crate::store::journal::{Journal, News, Spooled, Watched};

/// How many lines of a room are watched for others at a time: half of what a seat may watch, as the
/// node itself may want to know, too.
const WATCHED_MAX: usize = crate::broker::WATCHES_MAX / 2;

/// Lines from the spool that wait to be published, and how the rooms stand.
#[derive(Default)]
pub(crate) struct Spool {
    lines: VecDeque<Spooled>,
    rooms: BTreeMap<RoomName, Standing>,
    /// Stored lines that are to be watched, and those that are: what they are called in the spool.
    to_watch: VecDeque<Watched>,
    watched: BTreeMap<(RoomName, u64), u64>,
    /// Those that all who were present have, until the journal is told.
    delivered: Vec<u64>,
}

enum Standing {
    Asked,
    In,
    Refused(Refusal),
}

impl Spool {
    /// The node asks for `room`.
    pub(crate) fn on_asked(&mut self, room: &RoomName) {
        self.rooms.insert(room.clone(), Standing::Asked);
    }

    /// Takes what another program has left. Returns how to ask for its room, if
    /// that is to be done: without being there for anybody (RUM-14).
    pub(crate) fn on_news(&mut self, news: News) -> Option<JoinOptions> {
        let (room, from) = match news {
            News::Spooled(line) => {
                let room = line.room.clone();
                self.lines.push_back(line);
                (room, None)
            }
            News::Wanted(room, from) => (room, from),
            News::Watched(line) => {
                let room = line.room.clone();
                self.to_watch.push_back(line);
                (room, None)
            }
        };
        let is_unknown = !self.rooms.contains_key(&room);
        is_unknown.then(|| {
            self.on_asked(&room);
            JoinOptions {
                quiet: true,
                from,
                ..room.into()
            }
        })
    }

    /// Learns how rooms stand.
    pub(crate) fn on_event(&mut self, event: &ClientEvent) {
        match event {
            ClientEvent::Joined { room } => {
                self.rooms.insert(room.clone(), Standing::In);
            }
            ClientEvent::JoinRefused { room, code, .. } => {
                self.rooms.insert(room.clone(), Standing::Refused(*code));
            }
            ClientEvent::RoomLeft { room } => drop(self.rooms.remove(room)),
            ClientEvent::Delivered {
                room, delivered, ..
            } if delivered.present_k >= delivered.present_n => {
                let line = (room.clone(), delivered.seq);
                self.delivered.extend(self.watched.remove(&line));
            }
            _ => {}
        }
    }

    /// Whether something may be published now.
    pub(crate) fn has_work(&self) -> bool {
        self.lines.iter().any(|line| self.is_decided(line))
            || !self.delivered.is_empty()
            || self.may_watch()
    }

    /// Whether the next line that is to be watched can be.
    fn may_watch(&self) -> bool {
        let next = self.to_watch.front();
        let is_in =
            next.is_some_and(|line| matches!(self.rooms.get(&line.room), Some(Standing::In)));
        is_in && self.watched.len() < WATCHED_MAX
    }

    fn is_decided(&self, line: &Spooled) -> bool {
        matches!(
            self.rooms.get(&line.room),
            Some(Standing::In | Standing::Refused(_))
        )
    }

    /// Publishes what can be published, each room's lines in their order. Returns how many were.
    pub(crate) async fn publish(
        &mut self,
        commands: &mpsc::Sender<NodeCommand>,
        journal: &Journal,
    ) -> usize {
        let mut published = 0;
        let mut full = BTreeSet::new();
        let mut kept = VecDeque::new();
        while let Some(line) = self.lines.pop_front() {
            match self.rooms.get(&line.room) {
                Some(Standing::In) if !full.contains(&line.room) => {
                    match publish(commands, &line).await {
                        Ok(_) => published += 1,
                        // Later; and those behind it not before it.
                        Err(
                            PublishError::OutboxFull
                            | PublishError::JournalBehind
                            | PublishError::Leaving,
                        ) => {
                            full.insert(line.room.clone());
                            kept.push_back(line);
                        }
                        Err(PublishError::NotInRoom) => {
                            journal.refuse(line.id, Refusal::NotAdmitted)
                        }
                        Err(PublishError::Text(error)) => journal.refuse(line.id, error.into()),
                    }
                }
                Some(Standing::Refused(code)) => journal.refuse(line.id, *code),
                _ => kept.push_back(line),
            }
        }
        self.lines = kept;
        self.watch(commands, journal).await;
        published
    }
}

impl Spool {
    /// Has lines watched, and notes which were delivered (CLI-12).
    async fn watch(&mut self, commands: &mpsc::Sender<NodeCommand>, journal: &Journal) {
        self.delivered
            .drain(..)
            .for_each(|id| journal.note_delivered(id));
        while self.may_watch()
            && let Some(Watched { id, room, seq }) = self.to_watch.pop_front()
        {
            self.watched.insert((room.clone(), seq), id);
            // A driver that has ended says why by its last event.
            let _ = commands.send(NodeCommand::WatchLine { room, seq }).await;
        }
    }
}

async fn publish(
    commands: &mpsc::Sender<NodeCommand>,
    line: &Spooled,
) -> Result<u64, PublishError> {
    let (reply, answer) = oneshot::channel();
    let command = NodeCommand::PublishSpooled {
        id: line.id,
        room: line.room.clone(),
        text: line.text.clone(),
        typed_at_ms: line.typed_at_ms,
        reply,
    };
    // A driver that has ended says why by its last event; the line stays in the spool.
    let _ = commands.send(command).await;
    answer.await.unwrap_or(Err(PublishError::Leaving))
}

//! What other programs ask of the one with the link (JRN-6, JRN-7).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::sync::{mpsc, oneshot};

use crate::chat::{Line, LogId, Refusal, RoomName};
use crate::client::{Asker, ClientEvent, JoinOptions, PublishError};
use crate::driver::NodeCommand;
use crate::store::journal::{Asked, Journal, News, Spooled, Watched};

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
    /// Earlier lines that are to be asked for, and that are, with what has come; one at a time.
    asks: VecDeque<Asked>,
    asking: Option<(Asked, Past)>,
    /// What came, until the journal is told.
    answers: Vec<(u64, Past)>,
}

/// Earlier lines, each of which history.
type Past = Vec<(LogId, Line)>;

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
            News::Asked(asked) => {
                let room = asked.room.clone();
                self.asks.push_back(asked);
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
            ClientEvent::RoomLeft { room, removed } => {
                match removed {
                    Some((code, _)) => self.rooms.insert(room.clone(), Standing::Refused(*code)),
                    None => self.rooms.remove(room),
                };
                self.end_page(room);
            }
            ClientEvent::Past {
                asker: Asker::Other,
                log,
                line,
                ..
            } => {
                if let Some((asked, lines)) = &mut self.asking
                    && line.seq >= asked.first
                {
                    lines.push((*log, line.clone()));
                }
            }
            ClientEvent::HistoryEnd {
                room,
                asker: Asker::Other,
                ..
            } => self.end_page(room),
            ClientEvent::Delivered {
                room, delivered, ..
            } if delivered.present_k >= delivered.present_n => {
                let line = (room.clone(), delivered.seq);
                self.delivered.extend(self.watched.remove(&line));
            }
            _ => {}
        }
    }

    /// No more comes of what is asked for in `room`.
    fn end_page(&mut self, room: &RoomName) {
        let ended = self.asking.take_if(|(asked, _)| asked.room == *room);
        self.answers
            .extend(ended.map(|(asked, lines)| (asked.id, lines)));
    }

    /// Whether something may be published, asked or told now.
    pub(crate) fn has_work(&self) -> bool {
        self.lines.iter().any(|line| self.is_decided(&line.room))
            || !self.answers.is_empty()
            || self.may_ask()
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

    fn is_decided(&self, room: &RoomName) -> bool {
        matches!(
            self.rooms.get(room),
            Some(Standing::In | Standing::Refused(_))
        )
    }

    /// Whether the next of the earlier lines can be asked for.
    fn may_ask(&self) -> bool {
        let next = self.asks.front();
        self.asking.is_none() && next.is_some_and(|asked| self.is_decided(&asked.room))
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
        self.ask(commands, journal).await;
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

impl Spool {
    /// Asks for earlier lines, and leaves what came of them (JRN-13).
    async fn ask(&mut self, commands: &mpsc::Sender<NodeCommand>, journal: &Journal) {
        for (id, lines) in self.answers.drain(..) {
            journal.answer(id, lines);
        }
        if !self.may_ask() {
            return;
        }
        let Some(asked) = self.asks.pop_front() else {
            return;
        };
        if !matches!(self.rooms.get(&asked.room), Some(Standing::In)) {
            journal.answer(asked.id, Past::new());
            return;
        }
        let (reply, answer) = oneshot::channel();
        let command = NodeCommand::AskHistory {
            room: asked.room.clone(),
            before: asked.before,
            count: asked.before.saturating_sub(asked.first),
            asker: Asker::Other,
            reply,
        };
        // A driver that has ended says why by its last event.
        let _ = commands.send(command).await;
        if answer.await == Ok(true) {
            self.asking = Some((asked, Past::new()));
        } else {
            // Too much is asked now: later.
            self.asks.push_front(asked);
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

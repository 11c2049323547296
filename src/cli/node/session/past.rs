//! Earlier lines, as `/history` asks for them, and holes in what is shown (CLI-17, CLI-18).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use tokio::sync::oneshot;

use super::Session;
use crate::chat::{Line, LogId, RoomName};
use crate::cli::node::{json, words};
use crate::client::{Asker, ClientEvent};
use crate::driver::NodeCommand;

/// How far back each room is told.
#[derive(Debug, Default)]
pub(super) struct Past {
    rooms: BTreeMap<RoomName, Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The earliest line that was told without a hole up to the newest one; 0 before the first.
    earliest: u64,
    /// The page that is under way.
    page: Option<Page>,
}

/// What has come of a page.
#[derive(Debug, Default)]
struct Page {
    first: u64,
    last: u64,
}

/// What a page turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::node) struct PageEnd {
    /// Its lines, if it had any.
    pub(in crate::cli::node) lines: Option<RangeInclusive<u64>>,
    /// The earliest line that is told now; 0 if none is.
    pub(in crate::cli::node) earliest: u64,
    /// Whether there are earlier ones to be asked for.
    pub(in crate::cli::node) has_more: bool,
}

impl Past {
    /// Before which line a page is to end that is asked for now; `None` if one is under way.
    fn begin(&mut self, room: &RoomName) -> Option<u64> {
        let told = self.rooms.entry(room.clone()).or_default();
        if told.page.is_some() {
            return None;
        }
        told.page = Some(Page::default());
        Some(told.earliest)
    }

    /// The page was not asked for after all.
    fn cancel(&mut self, room: &RoomName) {
        if let Some(told) = self.rooms.get_mut(room) {
            told.page = None;
        }
    }

    /// The next line of the room has come; `goes_on` if nothing is missing before it.
    fn on_line(&mut self, room: &RoomName, seq: u64, goes_on: bool) {
        let told = self.rooms.entry(room.clone()).or_default();
        if told.earliest == 0 || !goes_on {
            told.earliest = seq;
        }
    }

    fn on_past(&mut self, room: &RoomName, seq: u64) {
        let told = self.rooms.get_mut(room);
        if let Some(page) = told.and_then(|told| told.page.as_mut()) {
            page.first = if page.first == 0 { seq } else { page.first };
            page.last = seq;
        }
    }

    fn on_end(&mut self, room: &RoomName, has_more: bool) -> Option<PageEnd> {
        let told = self.rooms.get_mut(room)?;
        let Page { first, last } = told.page.take()?;
        let lines = (first > 0).then_some(first..=last);
        if first > 0 {
            told.earliest = first;
        }
        Some(PageEnd {
            lines,
            earliest: told.earliest,
            has_more,
        })
    }

    /// The room is left, or has another history: what was told of it does not count.
    fn forget(&mut self, room: &RoomName) {
        self.rooms.remove(room);
    }
}

impl Session<'_> {
    /// CLI-17. A program names the line before which; a person goes on where the last page began.
    pub(super) async fn ask_history(&mut self, room: RoomName, count: u64, before: Option<u64>) {
        let before = match (before, self.args.json) {
            (Some(before), _) => before,
            (None, true) => 0,
            (None, false) => match self.past.begin(&room) {
                Some(before) => before,
                None => {
                    let note = "-- one page at a time: the last one is still to come --";
                    return self.note(note.to_owned()).await;
                }
            },
        };
        let (reply, asked) = oneshot::channel();
        let command = NodeCommand::AskHistory {
            room: room.clone(),
            before,
            count,
            asker: Asker::Node,
            reply,
        };
        self.command(command).await;
        if asked.await == Ok(false) {
            self.past.cancel(&room);
            let note = format!("-- {room} cannot be asked for earlier lines now --");
            self.note(note).await;
        }
    }

    /// Shows what was asked for, and learns how far back the rooms are told. Programs are told
    /// elsewhere.
    pub(super) async fn on_history(&mut self, event: &ClientEvent) {
        match event {
            ClientEvent::Fork { room } | ClientEvent::RoomLeft { room, .. } => {
                self.past.forget(room)
            }
            // The program beside the node is told elsewhere.
            ClientEvent::Past {
                asker: Asker::Other,
                ..
            }
            | ClientEvent::HistoryEnd {
                asker: Asker::Other,
                ..
            } => {}
            ClientEvent::Past { room, line, .. } => {
                self.past.on_past(room, line.seq);
                if !self.args.json {
                    self.note(words::past(line)).await;
                }
            }
            ClientEvent::HistoryEnd { room, earlier, .. } => {
                if let Some(end) = self.past.on_end(room, *earlier) {
                    self.note(words::page_end(room, &end)).await;
                }
            }
            _ => {}
        }
    }

    /// CLI-18: says which lines of the room are missing before this one.
    pub(super) async fn say_hole(&mut self, room: &RoomName, log: LogId, line: &Line) {
        let hole = self
            .record
            .as_ref()
            .and_then(|record| record.hole_before(room, log, line.seq));
        self.past.on_line(room, line.seq, hole.is_none());
        if let Some(missing) = hole {
            self.note(words::hole(room, &missing)).await;
        }
    }

    /// JSN-2: what a program is told besides lines and notices.
    pub(super) async fn tell_program(&mut self, event: &ClientEvent) {
        let is_state = matches!(
            event,
            ClientEvent::Delivered { .. } | ClientEvent::Unwatched { .. }
        );
        let is_wanted = self.args.states || !is_state;
        if self.args.json
            && is_wanted
            && let Some(object) = json::event(event)
        {
            self.terminal.screen.line(object).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLI-17: each page ends where the one before began.
    #[test]
    fn pages_go_back_one_after_the_other() {
        let room = RoomName::default();
        let mut past = Past::default();
        past.on_line(&room, 9, true);
        past.on_line(&room, 10, true);
        assert_eq!(past.begin(&room), Some(9));
        assert_eq!(past.begin(&room), None, "one at a time");
        past.on_past(&room, 7);
        past.on_past(&room, 8);
        let end = past.on_end(&room, true);
        let expected = PageEnd {
            lines: Some(7..=8),
            earliest: 7,
            has_more: true,
        };
        assert_eq!(end, Some(expected));
        assert_eq!(past.begin(&room), Some(7));
        past.cancel(&room);
        assert_eq!(past.begin(&room), Some(7));
        let end = past.on_end(&room, false).unwrap();
        assert_eq!((end.lines, end.earliest), (None, 7));
    }

    /// CLI-17, CLI-18: what lies in a hole can be asked for.
    #[test]
    fn after_a_hole_pages_begin_at_its_end() {
        let room = RoomName::default();
        let mut past = Past::default();
        assert_eq!(past.begin(&room), Some(0), "before whatever was sent");
        past.cancel(&room);
        past.on_line(&room, 3, true);
        past.on_line(&room, 9, false);
        past.on_line(&room, 10, true);
        assert_eq!(past.begin(&room), Some(9));
    }
}

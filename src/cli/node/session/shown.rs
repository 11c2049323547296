//! What a session shows, now and from before (CLI-1, CLI-11), and what others ask of it.

use super::Session;
use crate::chat::{Line, LogId, Name, NoticeEvent, RoomName};
use crate::cli::exit::Failure;
use crate::cli::node::{json, words};
use crate::driver::NodeCommand;
use crate::store::journal::{Item, News, Shown};

impl Session<'_> {
    /// CLI-1. Rooms that were joined for others are not shown.
    pub(super) async fn show_line(&mut self, room: &RoomName, log: LogId, line: &Line) {
        if self.record.is_none() || !self.rooms.contains(room) {
            return;
        }
        self.say_hole(room, log, line).await;
        let record = self.record.as_mut();
        if record.is_some_and(|record| record.is_new_line(room, log, line.seq)) {
            // RUM-16: who may read what concerns everybody, and is nothing that was said.
            if let Some(note) = words::policy(room, line) {
                self.note(note).await;
            }
            let text = if self.args.json {
                Some(json::line(room, log, line))
            } else {
                words::line(self.further(room), line)
            };
            self.show(text, Shown::Line(room.clone(), line.seq)).await;
        }
    }

    pub(super) async fn show_notice(
        &mut self,
        room: &RoomName,
        number: u64,
        event: NoticeEvent,
        name: &Name,
    ) {
        let Some(record) = self.record.as_mut().filter(|_| self.rooms.contains(room)) else {
            return;
        };
        if record.is_new_notice(room, number) {
            // One's own Left may or may not come before the end: it is never shown.
            let is_own_left = event == NoticeEvent::Left && *name == *self.name;
            let is_shown = !(is_own_left && self.leaving.is_some());
            let text = is_shown.then(|| match self.args.json {
                true => json::notice(room, number, event, name),
                false => words::notice(self.further(room), event, name),
            });
            self.show(text, Shown::Notice(room.clone(), number)).await;
        }
    }

    async fn show(&mut self, text: Option<String>, shown: Shown) {
        let count = self.terminal.screen.line_or_nothing(text).await;
        if let Some(record) = &mut self.record {
            record.mark(count, shown);
        }
    }

    pub(super) async fn show_from_before(&mut self) -> Result<(), Failure> {
        let Some(record) = &mut self.record else {
            return Ok(());
        };
        let Some((room, item)) = record.next_from_before()? else {
            return Ok(());
        };
        // One's own Left was never to be shown.
        let is_told = match &item {
            Item::Line { line, .. } => words::line(None, line).is_some(),
            Item::Notice { event, name, .. } => *event != NoticeEvent::Left || name != self.name,
        };
        if is_told && core::mem::take(&mut self.may_repeat) {
            self.note(words::from_before()).await;
        }
        match item {
            Item::Line { log, line, .. } => self.show_line(&room, log, &line).await,
            Item::Notice { number, .. } if !is_told => {
                self.show(None, Shown::Notice(room, number)).await;
            }
            Item::Notice {
                number,
                event,
                name,
                ..
            } => self.show_notice(&room, number, event, &name).await,
        }
        Ok(())
    }

    // ---- what others ask for

    pub(super) async fn on_news(&mut self, news: News) {
        if let Some(options) = self.spool.on_news(news) {
            self.command(NodeCommand::Join(options)).await;
        }
        self.publish_spooled().await;
    }

    pub(super) async fn publish_spooled(&mut self) {
        if let Some(record) = &self.record {
            let published = self.spool.publish(&self.ends.commands, &record.journal);
            self.waiting += published.await;
        }
    }
}

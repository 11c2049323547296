//! A page of earlier lines is what was asked for: no hole, nothing twice, nothing after it, and told to
//! its end, over every outage (HST-1, HST-2, HST-3).

use std::collections::{BTreeMap, VecDeque};

use tertulia::chat::RoomName;
use tertulia::situation::{self, Situation};

use super::Checker;
use crate::history::{History, Life, Observation};

/// The pages that were asked for, and have no end yet.
#[derive(Default)]
pub(super) struct HonestPages {
    pages: BTreeMap<(Life, RoomName), VecDeque<Page>>,
}

struct Page {
    before: u64,
    count: u64,
    first: Option<u64>,
    last: u64,
    lines: u64,
}

impl Checker for HonestPages {
    fn name(&self) -> &'static str {
        "honest_pages"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::AskedHistory(life, room, before, count) => {
                let pages = self.pages.entry((*life, room.clone())).or_default();
                pages.push_back(Page {
                    before: *before,
                    count: *count,
                    first: None,
                    last: 0,
                    lines: 0,
                });
                Ok(())
            }
            Observation::RoomLeft(life, room) => {
                self.pages.remove(&(*life, room.clone()));
                Ok(())
            }
            Observation::Past {
                life, room, line, ..
            } => {
                let pages = self.pages.get_mut(&(*life, room.clone()));
                let Some(page) = pages.and_then(VecDeque::front_mut) else {
                    return Err(format!("client {} asked for no history", life.client));
                };
                page.lines += 1;
                let follows = page.first.is_none() || line.seq == page.last + 1;
                let is_before = page.before == 0 || line.seq < page.before;
                page.first.get_or_insert(line.seq);
                page.last = line.seq;
                if follows && is_before && page.lines <= page.count {
                    return Ok(());
                }
                Err(format!(
                    "client {} is shown line {} of {} as number {} of {} before {}",
                    life.client,
                    line.seq,
                    room.as_str(),
                    page.lines,
                    page.count,
                    page.before
                ))
            }
            Observation::PageEnd(life, room, count, earlier) => {
                let pages = self.pages.get_mut(&(*life, room.clone()));
                let Some(page) = pages.and_then(VecDeque::pop_front) else {
                    return Err(format!("client {} asked for no history", life.client));
                };
                situation::meet(Situation::PageEnded);
                // A page that a fork cuts off says nothing about what else there is.
                let is_whole = history.forked_at.is_none();
                if *count == page.lines && !(is_whole && *earlier && page.first == Some(1)) {
                    return Ok(());
                }
                Err(format!(
                    "client {} is told of {count} earlier lines of {}, more: {earlier}, and got {}",
                    life.client,
                    room.as_str(),
                    page.lines
                ))
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, history: &History) -> Result<(), String> {
        for ((life, room), pages) in &self.pages {
            let is_in = history.joined.contains(&(*life, room.clone()));
            let lives = history.alive.values().any(|(of, _)| of == life);
            if lives && is_in && !pages.is_empty() {
                return Err(format!(
                    "client {} still waits for {} pages of {}",
                    life.client,
                    pages.len(),
                    room.as_str()
                ));
            }
        }
        Ok(())
    }
}

//! The order of answers (BRK-5).
//!
//! A room's requests stand in a lane until they are answered. Changes go to the writer at once, in
//! their order. A read goes to the reader, past all commits that do not concern it, as soon as the
//! changes of its room that came before it are answered; it is held to the lines that there were
//! then, whatever is stored meanwhile. (Before any answer has told where the room ends, a read goes to
//! the writer like everything else.) Answers leave a lane in its order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::reader::Read;
use super::rows::Span;
use crate::broker::{StorageCompletion, StorageOp, StorageOutcome, StorageRequest};
use crate::chat::RoomName;

/// Of how many rooms the last line is remembered; a read of another goes to the writer
/// (LIM-18).
pub(super) const TAILS_MAX: usize = 4_096;

/// Where an answer belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    room: Option<RoomName>,
    number: u64,
}

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Way {
    Writer(Ticket, StorageRequest),
    Reader(Read),
}

/// All lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<RoomName, VecDeque<Slot>>,
    /// The last line of rooms before what is in their lanes, as far as answers have told it.
    tails: BTreeMap<RoomName, u64>,
    ready: VecDeque<StorageCompletion>,
    next: u64,
}

/// A request's place in its lane; their numbers rise.
#[derive(Debug)]
struct Slot {
    number: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// With the writer.
    Changing,
    /// With the reader.
    Reading,
    /// A read that waits for changes before it; where the room ends is known.
    Held(StorageRequest),
    Answered(StorageCompletion),
}

impl Lanes {
    /// Takes a request. Returns where it is to go now, if anywhere.
    pub(super) fn asked(&mut self, request: StorageRequest) -> Option<Way> {
        let number = self.next;
        self.next += 1;
        let Some(room) = request.op.room().cloned() else {
            return Some(Way::Writer(Ticket { room: None, number }, request));
        };
        let tail = self.tails.get(&room).copied();
        let lane = self.lanes.entry(room.clone()).or_default();
        let is_held = matches!(request.op, StorageOp::Read { .. })
            && tail.is_some()
            && lane.iter().any(|slot| slot.state.is_before_a_read());
        let (state, way) = if is_held {
            (State::Held(request), None)
        } else {
            let tail = lane
                .iter()
                .fold(tail, |tail, slot| slot.state.tail_after(tail));
            let ticket = Ticket {
                room: Some(room),
                number,
            };
            let (state, way) = way(ticket, request, tail);
            (state, Some(way))
        };
        lane.push_back(Slot { number, state });
        way
    }

    /// Takes answers. Returns where reads are to go that waited for them.
    pub(super) fn answered(&mut self, answers: Vec<(Ticket, StorageCompletion)>) -> Vec<Way> {
        let mut rooms = BTreeSet::new();
        for (Ticket { room, number }, completion) in answers {
            let Some(room) = room else {
                self.ready.push_back(completion);
                continue;
            };
            let lane = self.lanes.entry(room.clone()).or_default();
            let place = lane.binary_search_by_key(&number, |slot| slot.number);
            if let Some(slot) = place.ok().and_then(|place| lane.get_mut(place)) {
                slot.state = State::Answered(completion);
            }
            rooms.insert(room);
        }
        let mut ways = Vec::new();
        for room in rooms {
            self.advance(room, &mut ways);
        }
        while self.tails.len() > TAILS_MAX {
            self.tails.pop_first();
        }
        ways
    }

    /// Lets out of a lane what can leave it, and lets reads go whose turn it is.
    fn advance(&mut self, room: RoomName, ways: &mut Vec<Way>) {
        let Some(lane) = self.lanes.get_mut(&room) else {
            return;
        };
        let mut tail = self.tails.get(&room).copied();
        while let Some(slot) = lane.pop_front_if(|slot| matches!(slot.state, State::Answered(_))) {
            tail = slot.state.tail_after(tail);
            if let State::Answered(completion) = slot.state {
                self.ready.push_back(completion);
            }
        }
        if let Some(tail) = tail {
            self.tails.insert(room.clone(), tail);
        }
        for slot in lane.iter_mut() {
            if let State::Held(request) = &slot.state {
                let ticket = Ticket {
                    room: Some(room.clone()),
                    number: slot.number,
                };
                let (state, way) = way(ticket, request.clone(), tail);
                slot.state = state;
                ways.push(way);
            }
            if slot.state.is_before_a_read() {
                break;
            }
            tail = slot.state.tail_after(tail);
        }
        if lane.is_empty() {
            self.lanes.remove(&room);
        }
    }

    /// The next answer.
    pub(super) fn take(&mut self) -> Option<StorageCompletion> {
        self.ready.pop_front()
    }

    /// Of how many rooms the last line is remembered.
    #[cfg(test)]
    pub(super) fn tails(&self) -> usize {
        self.tails.len()
    }

    pub(super) fn has_answers(&self) -> bool {
        !self.ready.is_empty()
    }
}

impl State {
    /// Whether a read that comes later has to wait for it.
    const fn is_before_a_read(&self) -> bool {
        matches!(self, Self::Changing | Self::Held(_))
    }

    /// Where the room ends after it, given where it ended before, as far as that is known.
    fn tail_after(&self, tail: Option<u64>) -> Option<u64> {
        match self {
            Self::Answered(completion) => match &completion.outcome {
                StorageOutcome::Entered(entered) => Some(entered.tail_seq),
                StorageOutcome::Departed(Some(departed)) => Some(departed.line.line.seq),
                StorageOutcome::Appended(stored) => Some(stored.line.seq),
                StorageOutcome::Decided(decided) => Some(decided.line.line.seq),
                _ => tail,
            },
            Self::Changing | Self::Reading | Self::Held(_) => tail,
        }
    }
}

/// A read goes past the writer if it is known where the room ends at its place.
fn way(ticket: Ticket, request: StorageRequest, tail: Option<u64>) -> (State, Way) {
    match (request, tail) {
        (
            StorageRequest {
                id,
                op:
                    StorageOp::Read {
                        room,
                        from,
                        lines_max,
                        bytes_max,
                    },
            },
            Some(tail),
        ) => {
            let span = Span {
                from,
                before: tail + 1,
                lines_max,
                bytes_max,
            };
            let read = Read {
                ticket,
                id,
                room,
                span,
            };
            (State::Reading, Way::Reader(read))
        }
        (request, _) => (State::Changing, Way::Writer(ticket, request)),
    }
}

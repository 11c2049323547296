//! What a node tells, as it is observed at both levels.

use std::ops::ControlFlow;

use tertulia::client::ClientEvent;

use crate::history::{Life, Observation};

/// What is observed when a life of a node tells something; or the event, if more is to be done about
/// it than to take it down.
pub(crate) fn told(life: Life, event: ClientEvent) -> ControlFlow<Observation, ClientEvent> {
    ControlFlow::Break(match event {
        ClientEvent::Online => Observation::Online(life),
        ClientEvent::Offline => Observation::Offline(life),
        ClientEvent::Joined { room } => Observation::Joined(life, room),
        ClientEvent::Roster { room, total, names } => {
            let names = names.iter().map(ToString::to_string).collect();
            Observation::Roster(life, room, total, names)
        }
        ClientEvent::Delivered {
            handle,
            room,
            delivered,
        } => Observation::Delivered(life, room, handle, delivered),
        ClientEvent::Past {
            room, log, line, ..
        } => Observation::Past {
            life,
            room,
            log,
            line,
        },
        ClientEvent::HistoryEnd {
            room,
            count,
            earlier,
            ..
        } => Observation::PageEnd(life, room, count, earlier),
        ClientEvent::Notice {
            room, event, name, ..
        } => Observation::Noticed(life, room, event, name.as_str().to_owned()),
        ClientEvent::Stored { handle, room, seq } => Observation::Stored(life, room, handle, seq),
        ClientEvent::NotStored {
            handle,
            room,
            code,
            may_be_stored,
            ..
        } => Observation::NotStored(life, room, handle, (code, may_be_stored)),
        event => return ControlFlow::Continue(event),
    })
}

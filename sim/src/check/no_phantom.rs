//! Invariant 1: no phantoms, no corruption (DLV-5).

use tertulia::chat::{Kind, Line, RoomName};

use super::Checker;
use crate::history::{History, Observation};

/// What is stored or shown was typed, byte for byte, by the account named, into that room.
pub(super) struct NoPhantom;

impl Checker for NoPhantom {
    fn name(&self) -> &'static str {
        "no_phantom"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Appended { room, line, .. } => check("stored", room, line, history),
            Observation::Shown { room, line, .. } | Observation::Past { room, line, .. } => {
                check("shown", room, line, history)
            }
            _ => Ok(()),
        }
    }
}

fn check(what: &str, room: &RoomName, line: &Line, history: &History) -> Result<(), String> {
    let Some(owner) = history.owner(line.device) else {
        return Err(format!("line {} {what}, by a device of nobody", line.seq));
    };
    let client = history.keys.iter().position(|(a, _)| *a == owner);
    let client = client.unwrap_or_default();
    if owner != line.account {
        return Err(format!(
            "line {} {what} under another's account than client {client}'s",
            line.seq
        ));
    }
    match line.kind {
        Kind::Joined if line.n == 0 && line.body == line.name.as_str() => Ok(()),
        // RUM-12
        Kind::Left if line.n == 0 && line.body == line.name.as_str() => {
            if history.leaving.contains(&(line.account, room.clone())) {
                return Ok(());
            }
            Err(format!(
                "line {} {what}: client {client} never left",
                line.seq
            ))
        }
        Kind::Message | Kind::Policy | Kind::Decision => match history.source(room, line) {
            None => Err(format!(
                "line {} {what}: client {client} never typed it: {:?}",
                line.seq,
                line.text().chars().take(60).collect::<String>()
            )),
            Some(typed) if typed.body != line.body || typed.kind != line.kind => Err(format!(
                "line {} {what}, but client {client} typed something else",
                line.seq
            )),
            Some(_) => Ok(()),
        },
        kind => Err(format!("line {} {what}, of the kind {kind:?}", line.seq)),
    }
}

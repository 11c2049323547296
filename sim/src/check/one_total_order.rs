//! Invariant 4: all nodes see slices of one log, which never changes (DLV-3), and see nothing
//! before it is durable (DLV-6, BRK-1).

use std::collections::BTreeMap;

use tertulia::chat::{LogId, RoomName};

use super::Checker;
use crate::history::{History, Observation};

/// What is stored gets the next number, and what is shown is what the log has at that number.
#[derive(Default)]
pub(super) struct OneTotalOrder {
    tails: BTreeMap<(LogId, RoomName), (u64, u64)>,
}

impl Checker for OneTotalOrder {
    fn name(&self) -> &'static str {
        "one_total_order"
    }

    fn on(&mut self, observation: &Observation, history: &History) -> Result<(), String> {
        match observation {
            Observation::Appended { log, room, line } => {
                let tail = self.tails.entry((*log, room.clone())).or_default();
                let (seq, stored_at_ms) = core::mem::replace(tail, (line.seq, line.stored_at_ms));
                if line.seq != seq + 1 {
                    return Err(format!("line {} stored after {seq}", line.seq));
                }
                // RUM-4
                if line.stored_at_ms < stored_at_ms {
                    return Err(format!("line {} stored before its predecessor", line.seq));
                }
                Ok(())
            }
            Observation::Shown {
                life,
                room,
                log,
                line,
            } => {
                let index = line.seq.checked_sub(1).map(|index| index as usize);
                let stored = index.and_then(|index| history.log(*log, room).get(index));
                match stored {
                    None => Err(format!(
                        "client {} is shown line {} of {}, which is not stored",
                        life.client,
                        line.seq,
                        room.as_str()
                    )),
                    Some(stored) if stored != line => Err(format!(
                        "client {} is shown another line {} of {} than the log has",
                        life.client,
                        line.seq,
                        room.as_str()
                    )),
                    Some(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

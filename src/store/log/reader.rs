//! The thread that reads lines, beside the commits.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::mpsc as async_mpsc;

use super::lanes::Ticket;
use super::rows::{self, Span};
use super::{Answer, may_pass, schema, spawn};
use crate::broker::{RequestId, StorageCompletion, StorageOutcome};
use crate::chat::RoomName;
use crate::store::sqlite::{self, Result, StoreError};

/// Lines that are wanted.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) ticket: Ticket,
    pub(super) id: RequestId,
    pub(super) room: RoomName,
    pub(super) span: Span,
}

/// Starts to answer `reads`, until nobody can ask any more.
pub(super) fn start(
    path: &Path,
    reads: mpsc::Receiver<Read>,
    answered: async_mpsc::UnboundedSender<Vec<Answer>>,
    failed: &async_mpsc::UnboundedSender<StoreError>,
) -> Result<JoinHandle<()>> {
    let connection = sqlite::open_to_read(path, &schema::SCHEMA)?;
    let run = move || {
        for read in reads {
            let outcome = match lines(&connection, &read) {
                Ok(lines) => StorageOutcome::Lines(lines),
                Err(error) if may_pass(error.blame) => StorageOutcome::Failed,
                Err(error) => return Err(error),
            };
            let completion = StorageCompletion {
                id: read.id,
                outcome,
            };
            // Whoever asked may be gone.
            let _ = answered.send(vec![(read.ticket, completion)]);
        }
        Ok(())
    };
    spawn("store-reader", run, failed)
}

/// One short transaction: what a slow member reads never keeps SQLite's log from being emptied.
fn lines(connection: &Connection, read: &Read) -> Result<Vec<crate::broker::StoredLine>> {
    let snapshot = connection.unchecked_transaction()?;
    match rows::find_room(&snapshot, &read.room)? {
        Some(room) => rows::read(&snapshot, &room, read.span),
        None => Ok(Vec::new()),
    }
}

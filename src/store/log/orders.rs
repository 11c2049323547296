//! What the operator orders beside the broker, and what became of it (ROL-6).

use core::time::Duration;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use super::rows::{number, sql};
use super::tables::Tables;
use super::{schema, tables};
use crate::broker::StorageOp;
use crate::chat::{Decision, LogId, Refusal, RoomName};
use crate::store::sqlite::{self, Result, StoreError};

/// What was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub order: u64,
    /// In which room.
    pub room: RoomName,
    /// What.
    pub decision: Decision,
}

/// What the table says of an order that is done.
const DONE: u64 = 0;

/// Whether an order still waits: it is done once, whoever is told of it how often.
pub(super) fn waits(connection: &Connection, order: u64) -> Result<bool> {
    let mut query =
        connection.prepare_cached("SELECT 1 FROM orders WHERE id = ?1 AND outcome IS NULL")?;
    Ok(query.exists((sql(order),))?)
}

/// Notes what became of an order.
pub(super) fn settle(
    connection: &Connection,
    order: u64,
    outcome: core::result::Result<(), Refusal>,
) -> Result<()> {
    let code = outcome.map_or_else(Refusal::code, |()| DONE);
    let mut update = connection.prepare_cached("UPDATE orders SET outcome = ?2 WHERE id = ?1")?;
    update.execute((sql(order), sql(code)))?;
    Ok(())
}

/// The orders of a broker, which may be running.
#[derive(Debug)]
pub struct OrderDesk {
    connection: Connection,
    log: LogId,
}

impl OrderDesk {
    /// Opens the log at `path`, which a broker may be using.
    ///
    /// # Errors
    ///
    /// As [`sqlite::open`].
    pub fn open(path: &Path, fresh: LogId) -> Result<Self> {
        let connection = sqlite::open(path, &schema::SCHEMA)?;
        let log = tables::log_id_or(&connection, fresh)?;
        Ok(Self { connection, log })
    }

    /// Leaves an order, and returns its number.
    ///
    /// # Errors
    ///
    /// If the log cannot be written to.
    pub fn leave(&mut self, room: &RoomName, decision: &Decision, now_ms: u64) -> Result<u64> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO orders (room, decision, made_at) VALUES (?1, ?2, ?3)")?;
        let order = insert.insert((room.as_str(), decision.to_string(), sql(now_ms)))?;
        Ok(order.cast_unsigned())
    }

    /// What became of an order; `None` while it waits.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn outcome(&self, order: u64) -> Result<Option<core::result::Result<(), Refusal>>> {
        let mut query = self
            .connection
            .prepare_cached("SELECT outcome FROM orders WHERE id = ?1")?;
        let outcome: Option<Option<i64>> = query
            .query_row((sql(order),), |row| row.get(0))
            .optional()?;
        Ok(outcome.flatten().map(|code| match code.cast_unsigned() {
            DONE => Ok(()),
            code => Err(Refusal::from_code(code)),
        }))
    }

    /// The orders that wait, the oldest first.
    ///
    /// # Errors
    ///
    /// If the log cannot be read, or an order is none.
    pub fn waiting(&self) -> Result<Vec<Order>> {
        let mut query = self.connection.prepare_cached(
            "SELECT id, room, decision FROM orders WHERE outcome IS NULL ORDER BY id",
        )?;
        let mut rows = query.query(())?;
        let mut orders = Vec::new();
        while let Some(row) = rows.next()? {
            let (room, decision): (String, String) = (row.get(1)?, row.get(2)?);
            let damaged = || StoreError::damaged(format!("{decision:?} in {room:?} is no order"));
            orders.push(Order {
                order: number(row, 0)?,
                room: RoomName::new(&room).map_err(|_| damaged())?,
                decision: Decision::parse(decision.as_bytes()).ok_or_else(damaged)?,
            });
        }
        Ok(orders)
    }

    /// Does what waits, where no broker does. That none is running is the caller's to see to.
    ///
    /// # Errors
    ///
    /// If the log cannot be read or written to.
    pub fn carry_out(&mut self, now_ms: u64) -> Result<()> {
        for Order {
            order,
            room,
            decision,
        } in self.waiting()?
        {
            let mut tables = Tables::open(&self.connection, self.log)?;
            let transaction =
                Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
            let op = StorageOp::Decide {
                order: Some(order),
                room,
                decision,
                now_ms,
            };
            tables.apply(&transaction, op)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// Gives up an order that nobody has taken. Returns whether it still waited.
    ///
    /// # Errors
    ///
    /// If the log cannot be written to.
    pub fn withdraw(&mut self, order: u64) -> Result<bool> {
        let delete = "DELETE FROM orders WHERE id = ?1 AND outcome IS NULL";
        Ok(self.connection.execute(delete, (sql(order),))? == 1)
    }
}

/// How often a running broker looks for orders (ROL-6).
pub const ORDERS_LOOKED_FOR_EVERY: Duration = Duration::from_millis(250);

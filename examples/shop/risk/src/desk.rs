//! The database: how far each store was read, what customers did lately, and what was flagged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use shop_common::order::{Event, Events, Order};

use crate::rules::{BURST_WINDOW_MS, Reason, assess};

const BUSY_WITHIN: Duration = Duration::from_secs(5);
/// The newest flags are kept; someone who has not looked at so many will not look at older ones.
const FLAGGED_MAX: u32 = 100_000;

// A cursor belongs to a store and not to an address: a store may move to another host, and
// another store may listen where this one did.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS cursors (store TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS recent (customer TEXT NOT NULL, at_ms INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS recent_of_customer ON recent (customer, at_ms);
    CREATE INDEX IF NOT EXISTS recent_by_time ON recent (at_ms);
    CREATE TABLE IF NOT EXISTS flagged (
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT UNIQUE NOT NULL,
        flagged TEXT NOT NULL
    );";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DeskError {
    #[error("cannot make the folder `{}`: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the database of the risk desk: {0}")]
    Sql(#[from] rusqlite::Error),
}

/// An order that someone should look at.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Flagged {
    pub(crate) order: Order,
    pub(crate) reason: Reason,
}

/// What reading a page came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Taken {
    pub(crate) events_n: u64,
    pub(crate) flagged_n: u64,
    /// Events that the store no longer had when it was asked for them.
    pub(crate) missed_n: u64,
}

pub(crate) struct Desk {
    connection: Connection,
}

impl Desk {
    pub(crate) fn open(folder: &Path) -> Result<Self, DeskError> {
        fs::create_dir_all(folder)
            .map_err(|source| DeskError::Folder { path: folder.to_owned(), source })?;
        let connection = Connection::open(folder.join("risk.db"))?;
        connection.busy_timeout(BUSY_WITHIN)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // NORMAL: a loss of power may take the last pages back, cursor and flags together, and
        // they are read again. Nothing is confirmed to anyone here.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Desk { connection })
    }

    /// The number of the last event of `store` that was taken.
    pub(crate) fn cursor(&self, store: &str) -> Result<i64, DeskError> {
        let mut select =
            self.connection.prepare_cached("SELECT seq FROM cursors WHERE store = ?1")?;
        Ok(select.query_row([store], |row| row.get(0)).optional()?.unwrap_or(0))
    }

    /// Judges the events beyond the cursor and moves it, in one transaction: whenever this process
    /// dies, each event has been judged once or will be.
    pub(crate) fn take(&mut self, page: &Events) -> Result<Taken, DeskError> {
        let cursor = self.cursor(&page.store)?;
        let fresh = || page.events.iter().filter(|event| event.seq > cursor);
        let (Some(first), Some(last)) = (fresh().next(), fresh().next_back()) else {
            return Ok(Taken::default());
        };
        let missed = first.seq - cursor - 1;
        let mut taken = Taken { missed_n: u64::try_from(missed).unwrap_or(0), ..Taken::default() };
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for Event { order, .. } in fresh() {
            taken.events_n += 1;
            taken.flagged_n += u64::from(judge(&transaction, order)?);
        }
        transaction
            .prepare_cached("DELETE FROM recent WHERE at_ms < ?1")?
            // Twice the window, since stores are read one after the other.
            .execute([last.order.at_ms - 2 * BURST_WINDOW_MS])?;
        transaction
            .prepare_cached("DELETE FROM flagged WHERE n <= (SELECT max(n) FROM flagged) - ?1")?
            .execute([FLAGGED_MAX])?;
        transaction
            .prepare_cached(
                "INSERT INTO cursors VALUES (?1, ?2) ON CONFLICT (store) DO UPDATE SET seq = ?2",
            )?
            .execute(params![page.store, last.seq])?;
        transaction.commit()?;
        Ok(taken)
    }

    /// The newest flags, newest first.
    pub(crate) fn flagged(&self, limit: u32) -> Result<Vec<Flagged>, DeskError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT flagged FROM flagged ORDER BY n DESC LIMIT ?1")?;
        let flagged = select.query_map([limit], |row| {
            let text: String = row.get(0)?;
            serde_json::from_str(&text)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
        })?;
        Ok(flagged.collect::<Result<_, _>>()?)
    }
}

/// Returns whether the order was flagged.
fn judge(transaction: &Transaction<'_>, order: &Order) -> Result<bool, DeskError> {
    transaction
        .prepare_cached("INSERT INTO recent VALUES (?1, ?2)")?
        .execute(params![order.customer, order.at_ms])?;
    let window = [order.at_ms - BURST_WINDOW_MS, order.at_ms];
    let orders_n = transaction
        .prepare_cached(
            "SELECT count(*) FROM recent WHERE customer = ?1 AND at_ms > ?2 AND at_ms <= ?3",
        )?
        .query_row(params![order.customer, window[0], window[1]], |row| row.get(0))?;
    let Some(reason) = assess(order, orders_n) else { return Ok(false) };
    let id = order.id.clone();
    let flagged = Flagged { order: order.clone(), reason };
    let flagged = serde_json::to_string(&flagged).expect("a flag is plain texts and numbers");
    transaction
        .prepare_cached("INSERT INTO flagged (id, flagged) VALUES (?1, ?2)")?
        .execute([id, flagged])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use shop_common::testing::Folder;

    use super::*;
    use crate::rules::{BURST_ORDERS, LARGE_CENTS};

    fn event(seq: i64, cents: u32, at_ms: i64) -> Event {
        let order = Order {
            id: format!("s-{seq}"),
            customer: "ada".into(),
            item: "tea".into(),
            quantity: 1,
            cents,
            at_ms,
        };
        Event { seq, order }
    }

    fn page(events: impl IntoIterator<Item = Event>) -> Events {
        Events { store: "s".into(), events: events.into_iter().collect() }
    }

    #[test]
    fn a_page_taken_twice_counts_once() {
        let folder = Folder::new();
        let mut desk = Desk::open(folder.path()).unwrap();
        let page = page([event(1, LARGE_CENTS, 0), event(2, 1, 0)]);
        let taken = Taken { events_n: 2, flagged_n: 1, missed_n: 0 };
        assert_eq!(desk.take(&page).unwrap(), taken);
        assert_eq!(desk.take(&page).unwrap(), Taken::default());
        assert_eq!(desk.cursor("s").unwrap(), 2);
        assert_eq!(desk.cursor("another").unwrap(), 0);
    }

    #[test]
    fn orders_beyond_the_burst_are_flagged_until_the_window_has_passed() {
        let folder = Folder::new();
        let mut desk = Desk::open(folder.path()).unwrap();
        let burst = i64::from(BURST_ORDERS);
        desk.take(&page((1..=burst + 1).map(|seq| event(seq, 1, seq)))).unwrap();
        let flagged = desk.flagged(10).unwrap();
        assert_eq!(flagged.len(), 1);
        assert_eq!(flagged[0].reason, Reason::Burst { orders_n: BURST_ORDERS + 1 });
        let later = event(burst + 2, 1, burst + 2 + BURST_WINDOW_MS);
        assert_eq!(desk.take(&page([later])).unwrap().flagged_n, 0);
    }

    #[test]
    fn a_burst_is_seen_across_a_restart() {
        let folder = Folder::new();
        let burst = i64::from(BURST_ORDERS);
        let mut desk = Desk::open(folder.path()).unwrap();
        desk.take(&page((1..=burst).map(|seq| event(seq, 1, seq)))).unwrap();
        drop(desk);
        let mut desk = Desk::open(folder.path()).unwrap();
        assert_eq!(desk.take(&page([event(burst + 1, 1, burst + 1)])).unwrap().flagged_n, 1);
    }

    #[test]
    fn events_that_are_gone_are_counted() {
        let folder = Folder::new();
        let mut desk = Desk::open(folder.path()).unwrap();
        desk.take(&page([event(1, 1, 0)])).unwrap();
        assert_eq!(desk.take(&page([event(5, 1, 0)])).unwrap().missed_n, 3);
    }
}

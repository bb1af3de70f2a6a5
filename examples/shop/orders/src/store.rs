//! The database: orders, and an outbox with one event for each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use shop_common::order::{Event, Events, IdempotencyKey, NewOrder, Order};

/// How long to wait for another process on the same folder, as while one release follows another.
const BUSY_WITHIN: Duration = Duration::from_secs(5);
/// The least rows removed at once when more than the kept ones are there, so that lowering
/// `--keep` does not make one enormous transaction.
const PRUNE_MIN: u32 = 512;

// `seq` of the outbox counts without gaps: AUTOINCREMENT never gives a number twice, and a
// transaction that is rolled back takes its numbers with it.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS orders (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT UNIQUE,
        customer TEXT NOT NULL,
        item TEXT NOT NULL,
        quantity INTEGER NOT NULL,
        cents INTEGER NOT NULL,
        at_ms INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        event TEXT NOT NULL
    );";

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot make the folder `{}`: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the database of orders: {0}")]
    Sql(#[from] rusqlite::Error),
}

/// What became of an order that was handed in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Placed {
    /// Its key is known and it is the same order: nothing was stored.
    Again(Order),
    /// Its key is known for another order: nothing was stored.
    KeyTaken,
    New(Order),
}

/// One connection to `orders.db`.
pub(crate) struct Store {
    connection: Connection,
    id: String,
}

impl Store {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder)
            .map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        let mut connection = Connection::open(folder.join("orders.db"))?;
        connection.busy_timeout(BUSY_WITHIN)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // FULL: an order that was confirmed outlives a loss of power. Group commit pays for it.
        connection.pragma_update(None, "synchronous", "full")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        // Named once and for all: ids stay unique when stores move from host to host.
        transaction.execute(
            "INSERT INTO meta VALUES ('store', ?1) ON CONFLICT DO NOTHING",
            [shop_common::unique_text()],
        )?;
        let id =
            transaction
                .query_row("SELECT value FROM meta WHERE name = 'store'", [], |row| row.get(0))?;
        transaction.commit()?;
        Ok(Store { connection, id })
    }

    /// Stores all of `orders` with their events, or none of them; forgets those beyond `keep`.
    pub(crate) fn place<'a>(
        &mut self,
        orders: impl Iterator<Item = (Option<&'a IdempotencyKey>, &'a NewOrder)>,
        keep: u32,
    ) -> Result<Vec<Placed>, StoreError> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let at_ms = now_ms();
        let mut placed = Vec::with_capacity(orders.size_hint().0);
        for (key, order) in orders {
            placed.push(place_one(&transaction, &self.id, key, order, at_ms)?);
        }
        let added_n = u32::try_from(placed.len()).expect("a batch is small");
        prune(&transaction, keep, added_n.saturating_mul(2).max(PRUNE_MIN))?;
        transaction.commit()?;
        Ok(placed)
    }

    pub(crate) fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let Some((store, seq)) = id.split_once('-') else { return Ok(None) };
        let Ok(seq) = seq.parse::<i64>() else { return Ok(None) };
        if store != self.id {
            return Ok(None);
        }
        let mut select = self.connection.prepare_cached(
            "SELECT seq, customer, item, quantity, cents, at_ms FROM orders WHERE seq = ?1",
        )?;
        Ok(select.query_row([seq], |row| order_of(&self.id, row)).optional()?)
    }

    /// The events that follow number `after`, oldest first.
    pub(crate) fn events(&self, after: i64, limit: u32) -> Result<Events, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT seq, event FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        let events = select
            .query_map(params![after, limit], |row| {
                let event: String = row.get(1)?;
                let order = serde_json::from_str(&event)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
                Ok(Event { seq: row.get(0)?, order })
            })?
            .collect::<Result<_, _>>()?;
        Ok(Events { store: self.id.clone(), events })
    }

    /// Moves everything from the write-ahead log into the database file.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

fn place_one(
    transaction: &Transaction<'_>,
    store: &str,
    key: Option<&IdempotencyKey>,
    order: &NewOrder,
    at_ms: i64,
) -> Result<Placed, StoreError> {
    let key = key.map(IdempotencyKey::as_str);
    let NewOrder { customer, item, quantity, cents } = order;
    let inserted_n = transaction
        .prepare_cached(
            "INSERT INTO orders (key, customer, item, quantity, cents, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key) DO NOTHING",
        )?
        .execute(params![key, customer, item, quantity, cents, at_ms])?;
    if inserted_n == 0 {
        let known = transaction
            .prepare_cached(
                "SELECT seq, customer, item, quantity, cents, at_ms FROM orders WHERE key = ?1",
            )?
            .query_row([key], |row| order_of(store, row))?;
        let same = known.customer == *customer
            && known.item == *item
            && known.quantity == *quantity
            && known.cents == *cents;
        return Ok(if same { Placed::Again(known) } else { Placed::KeyTaken });
    }
    let order = Order {
        id: format!("{store}-{}", transaction.last_insert_rowid()),
        customer: customer.clone(),
        item: item.clone(),
        quantity: *quantity,
        cents: *cents,
        at_ms,
    };
    let event = serde_json::to_string(&order).expect("an order is plain texts and numbers");
    transaction.prepare_cached("INSERT INTO outbox (event) VALUES (?1)")?.execute([event])?;
    Ok(Placed::New(order))
}

/// Removes the oldest rows beyond the newest `keep`, at most `rows_max` of each table.
fn prune(transaction: &Transaction<'_>, keep: u32, rows_max: u32) -> Result<(), StoreError> {
    for table in ["orders", "outbox"] {
        transaction
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE seq IN (SELECT seq FROM {table}
                 WHERE seq <= (SELECT max(seq) FROM {table}) - ?1 ORDER BY seq LIMIT ?2)"
            ))?
            .execute([keep, rows_max])?;
    }
    Ok(())
}

fn order_of(store: &str, row: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order {
        id: format!("{store}-{}", row.get::<_, i64>(0)?),
        customer: row.get(1)?,
        item: row.get(2)?,
        quantity: row.get(3)?,
        cents: row.get(4)?,
        at_ms: row.get(5)?,
    })
}

fn now_ms() -> i64 {
    // A clock before 1970 is wrong anyway; the order matters more than its time.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use shop_common::testing::Folder;

    use super::*;

    const KEEP: u32 = 1_000;

    fn tea(cents: u32) -> NewOrder {
        NewOrder { customer: "ada".into(), item: "tea".into(), quantity: 1, cents }
    }

    fn place(store: &mut Store, key: Option<&str>, order: &NewOrder, keep: u32) -> Placed {
        let key = key.map(|key| IdempotencyKey::parse(key).unwrap());
        store.place([(key.as_ref(), order)].into_iter(), keep).unwrap().remove(0)
    }

    #[test]
    fn a_known_key_stores_nothing_again() {
        let folder = Folder::new();
        let mut store = Store::open(folder.path()).unwrap();
        let Placed::New(first) = place(&mut store, Some("k1"), &tea(5), KEEP) else { panic!() };
        assert_eq!(place(&mut store, Some("k1"), &tea(5), KEEP), Placed::Again(first.clone()));
        assert_eq!(place(&mut store, Some("k1"), &tea(6), KEEP), Placed::KeyTaken);
        let events = store.events(0, 10).unwrap().events;
        assert_eq!(events, [Event { seq: 1, order: first.clone() }]);
        assert_eq!(store.order(&first.id).unwrap(), Some(first));
    }

    #[test]
    fn orders_without_a_key_are_all_different() {
        let folder = Folder::new();
        let mut store = Store::open(folder.path()).unwrap();
        for _ in 0..2 {
            assert!(matches!(place(&mut store, None, &tea(5), KEEP), Placed::New(_)));
        }
    }

    #[test]
    fn a_batch_that_repeats_a_key_stores_it_once() {
        let folder = Folder::new();
        let mut store = Store::open(folder.path()).unwrap();
        let key = IdempotencyKey::parse("k1").unwrap();
        let order = tea(5);
        let batch = [(Some(&key), &order), (Some(&key), &order)];
        let placed = store.place(batch.into_iter(), KEEP).unwrap();
        assert!(matches!(&placed[..], [Placed::New(_), Placed::Again(_)]), "{placed:?}");
    }

    #[test]
    fn a_store_keeps_its_name_and_its_numbers_when_reopened() {
        let folder = Folder::new();
        let mut store = Store::open(folder.path()).unwrap();
        let Placed::New(first) = place(&mut store, None, &tea(1), KEEP) else { panic!() };
        drop(store);
        let mut store = Store::open(folder.path()).unwrap();
        let Placed::New(second) = place(&mut store, None, &tea(2), KEEP) else { panic!() };
        assert_eq!(first.id, format!("{}-1", store.id));
        assert_eq!(second.id, format!("{}-2", store.id));
    }

    #[test]
    fn only_the_newest_are_kept_and_numbers_go_on() {
        let folder = Folder::new();
        let mut store = Store::open(folder.path()).unwrap();
        let ids: Vec<_> = (1..=5)
            .map(|cents| {
                let placed = place(&mut store, None, &tea(cents), 3);
                let Placed::New(order) = placed else { panic!("{placed:?}") };
                order.id
            })
            .collect();
        let seqs: Vec<_> = store.events(0, 10).unwrap().events.iter().map(|e| e.seq).collect();
        assert_eq!(seqs, [3, 4, 5]);
        assert_eq!(store.order(&ids[1]).unwrap(), None);
        assert!(store.order(&ids[2]).unwrap().is_some());
    }

    #[test]
    fn an_id_of_another_store_is_not_found() {
        let folder = Folder::new();
        let mut store = Store::open(folder.path()).unwrap();
        place(&mut store, None, &tea(1), KEEP);
        for id in ["", "1", "other-1", &format!("{}-x", store.id), &format!("{}-2", store.id)] {
            assert_eq!(store.order(id).unwrap(), None, "{id}");
        }
    }
}

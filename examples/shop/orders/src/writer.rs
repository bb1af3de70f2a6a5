//! The one thread that writes. It commits all that waits at once, so the slower the disk, the
//! larger the group, and the cost of a sync is shared.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use shop_common::order::{IdempotencyKey, NewOrder};
use shop_common::{Metrics, Value, log};
use tokio::sync::{mpsc, oneshot};

use crate::store::{Placed, Store, StoreError};

/// Orders that may wait for the disk; more are refused, which tells the sender at once.
const WAITING_MAX: usize = 1_024;
/// Orders in one commit.
const GROUP_MAX: usize = 256;

/// Why an order was not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Refused before anything was written.
    #[error("too many orders wait for the disk")]
    Full,
    #[error("the order could not be stored")]
    Storage,
}

struct Job {
    key: Option<IdempotencyKey>,
    order: NewOrder,
    reply: oneshot::Sender<Result<Placed, PlaceError>>,
}

/// The way to the writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Door(mpsc::Sender<Job>);

impl Door {
    /// Returns once the order is on the disk.
    pub(crate) async fn place(
        &self,
        key: Option<IdempotencyKey>,
        order: NewOrder,
    ) -> Result<Placed, PlaceError> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Job { key, order, reply }).map_err(|_| PlaceError::Full)?;
        answer.await.unwrap_or(Err(PlaceError::Storage))
    }
}

/// What the writer counts.
struct Counts {
    commits: Value,
    orders: Value,
    repeats: Value,
}

/// The writing thread.
pub(crate) struct Writer {
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Writer {
    pub(crate) fn start(store: Store, keep: u32, metrics: &Arc<Metrics>) -> (Writer, Door) {
        let counts = Counts {
            commits: metrics.counter("shop_commits_total", "Groups of orders committed."),
            orders: metrics.counter("shop_orders_total", "Orders stored."),
            repeats: metrics.counter("shop_repeats_total", "Orders handed in again."),
        };
        let (tx, jobs) = mpsc::channel(WAITING_MAX);
        let thread = thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write(store, jobs, keep, &counts))
            .expect("a process that just started can start a thread");
        (Writer { thread }, Door(tx))
    }

    /// Waits until all is written. Without a clean drain there may be doors left open, and
    /// waiting for them would have no end.
    pub(crate) fn finish(self, drained: bool) -> Result<(), StoreError> {
        if !drained {
            return Ok(());
        }
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn write(
    mut store: Store,
    mut jobs: mpsc::Receiver<Job>,
    keep: u32,
    counts: &Counts,
) -> Result<(), StoreError> {
    let mut group = Vec::with_capacity(GROUP_MAX);
    // While one group is committed the next gathers in the channel.
    while jobs.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let orders = group.iter().map(|job| (job.key.as_ref(), &job.order));
        match store.place(orders, keep) {
            Ok(placed) => {
                counts.commits.add(1);
                for (job, placed) in group.drain(..).zip(placed) {
                    match placed {
                        Placed::Again(_) => counts.repeats.add(1),
                        Placed::KeyTaken => {}
                        Placed::New(_) => counts.orders.add(1),
                    }
                    // A client that went away has its order all the same; its key finds it.
                    let _ = job.reply.send(Ok(placed));
                }
            }
            Err(error) => {
                log::error(format_args!("{} orders not stored: {error}", group.len()));
                for job in group.drain(..) {
                    let _ = job.reply.send(Err(PlaceError::Storage));
                }
            }
        }
    }
    store.checkpoint()
}

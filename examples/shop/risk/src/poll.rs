//! Reads one instance's events for as long as the process runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shop_common::client::{AskError, Client};
use shop_common::order::Events;
use shop_common::{Metrics, Value, log};
use tokio::time::sleep;

use crate::desk::{Desk, DeskError, Taken};

const PAGE_MAX: usize = 500;
/// The pause after a page that was not full.
const IDLE: Duration = Duration::from_millis(200);
/// The pause after a failure.
const FAILED: Duration = Duration::from_secs(1);

/// Why a page was not taken.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error("orders at {0} answered something else than events")]
    Nonsense(SocketAddr),
}

/// What all polls together count.
#[derive(Clone)]
pub(crate) struct Counts {
    events: Value,
    failures: Value,
    flagged: Value,
    missed: Value,
}

impl Counts {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Counts {
            events: metrics.counter("shop_events_total", "Events read."),
            failures: metrics.counter("shop_poll_failures_total", "Pages that were not read."),
            flagged: metrics.counter("shop_flagged_total", "Orders flagged."),
            missed: metrics.counter("shop_events_missed_total", "Events gone before being read."),
        }
    }
}

/// Takes page after page from the instance at `address`. Ends only by being cut off.
pub(crate) async fn poll(
    client: Client,
    address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    counts: Counts,
) {
    // Which store is there is not known before the first answer.
    let mut store = None;
    let mut failing = false;
    loop {
        let pause = match take_page(&client, address, &desk, &mut store).await {
            Ok((taken, full)) => {
                if failing {
                    log::info(format_args!("orders at {address} can be read again"));
                }
                failing = false;
                counts.note(address, taken);
                if full { Duration::ZERO } else { IDLE }
            }
            Err(error) => {
                counts.failures.add(1);
                // One line for each outage, however long.
                if !failing {
                    log::warn(format_args!("no events: {error}"));
                }
                failing = true;
                FAILED
            }
        };
        sleep(pause).await;
    }
}

impl Counts {
    fn note(&self, address: SocketAddr, taken: Taken) {
        self.events.add(taken.events_n);
        self.flagged.add(taken.flagged_n);
        self.missed.add(taken.missed_n);
        if taken.missed_n > 0 {
            let n = taken.missed_n;
            log::error(format_args!("orders at {address} no longer had {n} events: missed"));
        }
    }
}

/// Asks for the page after the cursor and takes it; says whether there is likely more.
async fn take_page(
    client: &Client,
    address: SocketAddr,
    desk: &Arc<Mutex<Desk>>,
    store: &mut Option<String>,
) -> Result<(Taken, bool), PollError> {
    let Some(known) = store else {
        *store = Some(ask(client, address, 0, 0).await?.store);
        return Ok((Taken::default(), true));
    };
    let cursor = {
        let known = known.clone();
        with_desk(desk, move |desk| desk.cursor(&known)).await?
    };
    let page = ask(client, address, cursor, PAGE_MAX).await?;
    if page.store != *known {
        // Another store listens there now: its events count from its own cursor.
        *store = Some(page.store);
        return Ok((Taken::default(), true));
    }
    let full = page.events.len() == PAGE_MAX;
    let taken = with_desk(desk, move |desk| desk.take(&page)).await?;
    Ok((taken, full))
}

async fn ask(
    client: &Client,
    address: SocketAddr,
    after: i64,
    limit: usize,
) -> Result<Events, PollError> {
    let answer = client.get(address, &format!("/events?after={after}&limit={limit}")).await?;
    if !answer.status.is_success() {
        return Err(PollError::Nonsense(address));
    }
    serde_json::from_slice(&answer.body).map_err(|_| PollError::Nonsense(address))
}

/// Asks the database off the threads that serve.
pub(crate) async fn with_desk<T: Send + 'static>(
    desk: &Arc<Mutex<Desk>>,
    ask: impl FnOnce(&mut Desk) -> Result<T, DeskError> + Send + 'static,
) -> Result<T, DeskError> {
    let desk = Arc::clone(desk);
    let asked = move || ask(&mut desk.lock().unwrap_or_else(PoisonError::into_inner));
    tokio::task::spawn_blocking(asked).await.expect("the desk does not panic")
}

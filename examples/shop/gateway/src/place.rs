//! Asks the orders service, and asks again where that cannot order twice.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::StatusCode;
use shop_common::client::{Answer, AskError, Client};
use shop_common::order::IdempotencyKey;
use shop_common::{Metrics, Refusal, Value, log};
use tokio::time::sleep;

use crate::spread::{Index, Millis, Spread};

/// How long an order is tried for: long enough for an instance that is restarted meanwhile.
const PLACE_WITHIN: Duration = Duration::from_secs(3);
/// The pause after all that may be asked were asked in vain.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes what customers ask to the instances of the orders service.
pub(crate) struct Desk {
    client: Client,
    began: Instant,
    spread: Mutex<Spread>,
    retries: Value,
    set_aside: Value,
}

/// Where an order may go.
enum Course {
    /// Only there: it may have been stored there already, and only there the key is known.
    Bound(Index),
    /// Anywhere, since nobody has it: tried in this order, from the given place on.
    Free(Vec<Index>, usize),
}

impl Desk {
    pub(crate) fn new(orders: Vec<SocketAddr>, metrics: &Metrics) -> Self {
        Desk {
            client: Client::new(),
            began: Instant::now(),
            spread: Mutex::new(Spread::new(orders)),
            retries: metrics.counter("shop_retries_total", "Requests asked again."),
            set_aside: metrics.counter("shop_set_aside_total", "Times an instance was set aside."),
        }
    }

    /// Places an order, at most once.
    ///
    /// What was not reached or refused to store can go to another instance. What was reached and
    /// did not answer may have stored the order, so only that instance is asked again, under a key.
    pub(crate) async fn place(
        &self,
        key: Option<IdempotencyKey>,
        order: Bytes,
    ) -> Result<Answer, Refusal> {
        let until = Instant::now() + PLACE_WITHIN;
        let mut course = match &key {
            Some(key) => Course::Bound(self.spread().home(key.as_str())),
            None => Course::Free(self.spread().in_turn(self.now()), 0),
        };
        let key = key.unwrap_or_else(IdempotencyKey::make);
        let mut maybe_stored = false;
        loop {
            let index = course.index();
            let address = self.spread().address(index);
            match self.client.post(address, "/orders", Some(&key), order.clone()).await {
                Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE => {
                    self.judge(index, answer.status);
                    return Ok(answer);
                }
                Ok(_) => self.failed(index, "takes no orders"),
                Err(AskError::NotReached { .. }) => self.failed(index, "was not reached"),
                Err(AskError::Unanswered { .. }) => {
                    self.failed(index, "did not answer");
                    maybe_stored = true;
                    course = Course::Bound(index);
                }
            }
            if course.next_is_new() {
                self.retries.add(1);
                continue;
            }
            if Instant::now() + PAUSE >= until {
                return Err(given_up(maybe_stored));
            }
            sleep(PAUSE).await;
            self.retries.add(1);
        }
    }

    /// Looks for an order. The id says which store has it, not where that store runs, so all are
    /// asked; reading twice does no harm.
    pub(crate) async fn find(&self, id: &str) -> Result<Answer, Refusal> {
        let path = format!("/orders/{id}");
        let mut silent_n = 0;
        let indexes = self.spread().in_turn(self.now());
        for index in indexes {
            let address = self.spread().address(index);
            match self.client.get(address, &path).await {
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
                    self.spread().answered(index)
                }
                Ok(answer) if answer.status.is_success() => {
                    self.spread().answered(index);
                    return Ok(answer);
                }
                Ok(_) | Err(_) => {
                    self.failed(index, "could not be read");
                    silent_n += 1;
                }
            }
        }
        if silent_n == 0 {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "no such order"));
        }
        let message = format!("not found, but {silent_n} instances of orders do not answer");
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
    }

    fn judge(&self, index: Index, status: StatusCode) {
        if status.is_server_error() {
            self.failed(index, "failed");
        } else {
            self.spread().answered(index);
        }
    }

    fn failed(&self, index: Index, what: &str) {
        let now = self.now();
        let mut spread = self.spread();
        if spread.failed(index, now) {
            let address = spread.address(index);
            drop(spread);
            self.set_aside.add(1);
            log::warn(format_args!("orders at {address} {what}: set aside"));
        }
    }

    fn spread(&self) -> MutexGuard<'_, Spread> {
        self.spread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl Course {
    fn index(&self) -> Index {
        match self {
            Course::Bound(index) => *index,
            Course::Free(indexes, at) => indexes[*at],
        }
    }

    /// Goes on to the next instance; false when this ends a round and a pause is due.
    fn next_is_new(&mut self) -> bool {
        match self {
            Course::Bound(_) => false,
            Course::Free(indexes, at) => {
                *at = (*at + 1) % indexes.len();
                *at != 0
            }
        }
    }
}

fn given_up(maybe_stored: bool) -> Refusal {
    if maybe_stored {
        let message = "the order may or may not be stored; only with an Idempotency-Key of your \
                       own is it safe to ask again";
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, message)
    } else {
        let message = "the order was not stored: the orders service takes none now";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

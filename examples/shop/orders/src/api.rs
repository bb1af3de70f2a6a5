//! What can be asked of the orders over HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use shop_common::order::{Events, IdempotencyKey, NewOrder, Order};
use shop_common::{Refusal, log};

use crate::store::{Placed, Store, StoreError};
use crate::writer::{Door, PlaceError};

const EVENTS_DEFAULT: u32 = 100;
const EVENTS_MAX: u32 = 1_000;

#[derive(Clone)]
struct Orders {
    door: Door,
    /// Reads go past the writer: a write-ahead log lets both go on at once.
    reader: Arc<Mutex<Store>>,
}

pub(crate) fn routes(door: Door, reader: Store) -> Router {
    Router::new()
        .route("/orders", post(post_order))
        .route("/orders/{id}", get(get_order))
        .route("/events", get(get_events))
        .with_state(Orders { door, reader: Arc::new(Mutex::new(reader)) })
}

/// Answers 201 for a stored order and 200 for one that was stored before under the same key.
async fn post_order(
    State(orders): State<Orders>,
    headers: HeaderMap,
    Json(order): Json<NewOrder>,
) -> Result<(StatusCode, Json<Order>), Refusal> {
    let key = IdempotencyKey::from_headers(&headers)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    match orders.door.place(key, order).await {
        Ok(Placed::Again(order)) => Ok((StatusCode::OK, Json(order))),
        Ok(Placed::KeyTaken) => {
            let message = "this idempotency key belongs to another order";
            Err(Refusal::new(StatusCode::CONFLICT, message))
        }
        Ok(Placed::New(order)) => Ok((StatusCode::CREATED, Json(order))),
        Err(error @ PlaceError::Full) => {
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
        }
        Err(error @ PlaceError::Storage) => {
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        }
    }
}

async fn get_order(
    State(orders): State<Orders>,
    Path(id): Path<String>,
) -> Result<Json<Order>, Refusal> {
    let order = orders.read(move |store| store.order(&id)).await?;
    order.map(Json).ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "no such order here"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

async fn get_events(
    State(orders): State<Orders>,
    Query(page): Query<Page>,
) -> Result<Json<Events>, Refusal> {
    let limit = page.limit.unwrap_or(EVENTS_DEFAULT).min(EVENTS_MAX);
    orders.read(move |store| store.events(page.after, limit)).await.map(Json)
}

impl Orders {
    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let reader = Arc::clone(&self.reader);
        let read = move || ask(&reader.lock().unwrap_or_else(PoisonError::into_inner));
        let read = tokio::task::spawn_blocking(read).await.expect("reading does not panic");
        read.map_err(|error| {
            log::error(&error);
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the orders could not be read")
        })
    }
}

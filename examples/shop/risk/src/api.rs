//! What can be asked of the risk desk over HTTP.

use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use shop_common::{Refusal, log};

use crate::desk::{Desk, Flagged};
use crate::poll::with_desk;

const FLAGGED_DEFAULT: u32 = 100;
const FLAGGED_MAX: u32 = 1_000;

pub(crate) fn routes(desk: Arc<Mutex<Desk>>) -> Router {
    Router::new().route("/flagged", get(get_flagged)).with_state(desk)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u32>,
}

async fn get_flagged(
    State(desk): State<Arc<Mutex<Desk>>>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Flagged>>, Refusal> {
    let limit = page.limit.unwrap_or(FLAGGED_DEFAULT).min(FLAGGED_MAX);
    with_desk(&desk, move |desk| desk.flagged(limit)).await.map(Json).map_err(|error| {
        log::error(&error);
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the flags could not be read")
    })
}

//! What customers can ask over HTTP.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use shop_common::Refusal;
use shop_common::client::Answer;
use shop_common::order::{IdempotencyKey, NewOrder};

use crate::place::Desk;

pub(crate) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/orders", post(post_order))
        .route("/orders/{id}", get(get_order))
        .with_state(Arc::new(desk))
}

async fn post_order(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Json(order): Json<NewOrder>,
) -> Result<Response, Refusal> {
    let key = IdempotencyKey::from_headers(&headers)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let order = serde_json::to_vec(&order).expect("an order is plain texts and numbers");
    desk.place(key, Bytes::from(order)).await.map(passed_on)
}

async fn get_order(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    // Anything else cannot be an id, and would have to be escaped to be asked for.
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no such order"));
    }
    desk.find(&id).await.map(passed_on)
}

fn passed_on(answer: Answer) -> Response {
    (answer.status, [(header::CONTENT_TYPE, "application/json")], answer.body).into_response()
}

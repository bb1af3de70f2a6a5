//! What is said to who asked for something they cannot have.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use stead_wire::api::Refusal;

/// A refusal with its HTTP status.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    refusal: Refusal,
}

impl Refused {
    pub(super) fn new(status: StatusCode, refusal: Refusal) -> Self {
        Self { status, refusal }
    }

    /// The request itself is no good.
    pub(super) fn bad(because: impl Into<String>, try_this: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, "the request was not understood", because, try_this)
    }

    pub(super) fn of(
        status: StatusCode,
        what: &str,
        because: impl Into<String>,
        try_this: impl Into<String>,
    ) -> Self {
        let (because, try_this) = (because.into(), try_this.into());
        Self { status, refusal: Refusal { what: what.into(), because, try_this } }
    }

    /// The agent ends while it is asked.
    pub(super) fn ending() -> Self {
        Self::of(
            StatusCode::SERVICE_UNAVAILABLE,
            "the agent did not answer",
            "it is just ending",
            "ask again once it runs",
        )
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.refusal)).into_response()
    }
}

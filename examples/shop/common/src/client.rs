//! A pooled HTTP client that tells "never got there" apart from "no answer".
//!
//! The difference decides what may be tried again: what never arrived has done nothing.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::order::{IdempotencyKey, KEY_HEADER};

/// How long connecting may take. Services of a shop are near each other.
pub const CONNECT_WITHIN: Duration = Duration::from_millis(300);
/// How long one request may take, connecting and reading the answer included.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long an idle connection is kept. Shorter than what a server or firewall would keep it.
const IDLE_MAX: Duration = Duration::from_secs(20);
const IDLE_CONNECTIONS_MAX: usize = 64;
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{address} was not reached")]
    NotReached { address: SocketAddr },
    #[error("{address} was asked and did not answer")]
    Unanswered { address: SocketAddr },
}

/// What was answered, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Holds connections open between requests. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    answer_within: Duration,
    pool: legacy::Client<HttpConnector, Body>,
}

impl Client {
    #[expect(clippy::new_without_default, reason = "a pool of connections is no default value")]
    pub fn new() -> Self {
        Client::waiting(ANSWER_WITHIN)
    }

    /// One that waits so long for an answer.
    pub fn waiting(answer_within: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        connector.set_nodelay(true);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Client { answer_within, pool }
    }

    pub async fn get(&self, address: SocketAddr, path: &str) -> Result<Answer, AskError> {
        self.ask(address, request(Method::GET, address, path, Body::empty())).await
    }

    pub async fn post(
        &self,
        address: SocketAddr,
        path: &str,
        key: Option<&IdempotencyKey>,
        body: impl Into<Body>,
    ) -> Result<Answer, AskError> {
        let mut request = request(Method::POST, address, path, body.into());
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        if let Some(key) = key {
            let value = key.as_str().parse().expect("a key is visible ASCII, so it is a header");
            headers.insert(KEY_HEADER, value);
        }
        self.ask(address, request).await
    }

    async fn ask(&self, address: SocketAddr, request: Request<Body>) -> Result<Answer, AskError> {
        let unanswered = || AskError::Unanswered { address };
        let asked = async {
            let response = self.pool.request(request).await.map_err(|error| {
                if error.is_connect() { AskError::NotReached { address } } else { unanswered() }
            })?;
            let (head, body) = response.into_parts();
            let body = to_bytes(Body::new(body), ANSWER_BYTES_MAX).await;
            let body = body.map_err(|_| unanswered())?;
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(self.answer_within, asked).await.unwrap_or_else(|_| Err(unanswered()))
    }
}

fn request(method: Method, address: SocketAddr, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .body(body)
        .expect("paths are written by the caller, and ids in them are checked before")
}

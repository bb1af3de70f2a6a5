//! Serves a router until the system asks for the end, then drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::faults::{Faults, post_fault, post_fault_closed};
use crate::{Metrics, Refusal, ServeArgs, Stop, VERSION, log};

/// How long requests that are under way get to finish. Below the 10 s after which a supervisor
/// kills, so that the process ends by its own hand and says what was left.
pub(crate) const DRAIN_WITHIN: Duration = Duration::from_secs(8);
const BODY_BYTES_MAX: usize = 64 << 10;

/// Why serving ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("requests were still under way {} s after the stop", DRAIN_WITHIN.as_secs())]
    Undrained,
}

/// What every request passes through.
#[derive(Clone)]
struct Frame {
    faults: Arc<Faults>,
    log_requests: bool,
    metrics: Arc<Metrics>,
}

/// Serves `routes` until `stop` is asked; then accepts nothing more, finishes what is under way
/// and returns.
pub async fn serve(
    args: &ServeArgs,
    metrics: Arc<Metrics>,
    routes: Router,
    mut stop: Stop,
) -> Result<(), ServeError> {
    let listen_error = |source| ServeError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let listener = listener.tap_io(|stream| {
        // Answers are small and written at once; waiting for more only delays them.
        let _ = stream.set_nodelay(true);
    });

    let (drain, drained) = oneshot::channel::<()>();
    let routes = framed(args, Arc::clone(&metrics), routes);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async {
        let _ = drained.await;
    });
    let serving = tokio::spawn(serving.into_future());
    log::info(format_args!("{} {VERSION} listening on {address}", metrics.service()));

    let signal = stop.asked().await;
    log::info(format_args!("{signal}: draining"));
    drop(drain);
    // Accepting never fails for good (axum tries again), so only the drain can end `serving`.
    match tokio::time::timeout(DRAIN_WITHIN, serving).await {
        Ok(_) => {
            log::info(format_args!("drained after {} requests", metrics.answered_n()));
            Ok(())
        }
        Err(_) => Err(ServeError::Undrained),
    }
}

/// The routes of the service and those that every service has.
fn framed(args: &ServeArgs, metrics: Arc<Metrics>, routes: Router) -> Router {
    let faults = Faults::new();
    let frame = Frame { faults: Arc::clone(&faults), log_requests: args.log_requests, metrics };
    let fault = if args.faults { post(post_fault) } else { post(post_fault_closed) };
    let faults_routes = Router::new().route("/fault/{name}", fault).with_state(faults);
    // Probes and scrapes are not counted, or they would water down the figures; they hang
    // with the rest, or no probe would ever see a hang.
    let own_routes = Router::new()
        .route("/healthz", get(get_healthz))
        .route("/metrics", get(get_metrics))
        .with_state(frame.clone())
        .layer(from_fn_with_state(frame.clone(), hang));
    routes
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(frame, observe))
        .merge(own_routes)
        .merge(faults_routes)
}

async fn get_healthz() -> String {
    format!("ok {VERSION}\n")
}

async fn get_metrics(State(frame): State<Frame>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], frame.metrics.render())
}

async fn hang(State(frame): State<Frame>, request: Request, next: Next) -> Response {
    frame.faults.wait_while_hanging().await;
    next.run(request).await
}

/// Counts a request, lets faults have it, logs it.
async fn observe(State(frame): State<Frame>, request: Request, next: Next) -> Response {
    let in_flight = frame.metrics.begin();
    let what = frame.log_requests.then(|| (request.method().clone(), request.uri().clone()));
    frame.faults.wait_while_hanging().await;
    let response = if frame.faults.request_fails() {
        log::error(format_args!("fault: {} {} fails", request.method(), request.uri().path()));
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "fault").into_response()
    } else {
        next.run(request).await
    };
    let status = response.status();
    let took = in_flight.answered(status);
    if let Some((method, uri)) = what {
        let took_us = took.as_micros();
        log::info(format_args!("{method} {uri} {} in {took_us} us", status.as_u16()));
    }
    response
}

//! Taking connections, a bounded number of them, from whoever the kernel says they are from.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use stead_local::{Listener, Stream};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answers::Refreshed;
use super::peer::Peer;
use super::refused::Refused;
use super::routes;
use super::stream::STREAMS_MAX;
use crate::layout::Layout;
use crate::message::{Ask, Message};
use crate::meter::Meter;
use crate::status::Own;

/// The most connections at a time; more wait in the socket's queue.
const CONNECTIONS_MAX: usize = 64;

/// The longest request body, in bytes: a plan of the most instances fits many times.
const BODY_LEN_MAX: usize = 8 << 20;

/// A client must have sent the head of a request within this.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// A request must be read and answered within this; going down has its own deadline.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What is being answered when the agent ends may take this much longer.
const FINISH_WITHIN: Duration = Duration::from_millis(500);

/// The wait after a connection could not be taken, as when all descriptors are in use.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

const SOCKET_MODE: u32 = 0o660;

/// What the routes work with.
#[derive(Clone)]
pub(crate) struct Api(pub(super) Arc<Shared>);

pub(super) struct Shared {
    agent: Sender<Message>,
    pub(super) layout: Layout,
    pub(super) own: Own,
    pub(super) meter: Mutex<Meter>,
    pub(super) refreshed: tokio::sync::Mutex<Refreshed>,
    pub(super) streams: Arc<Semaphore>,
}

impl Api {
    pub(crate) fn new(agent: Sender<Message>, layout: Layout, own: Own) -> Self {
        Self(Arc::new(Shared {
            agent,
            layout,
            own,
            meter: Mutex::default(),
            refreshed: tokio::sync::Mutex::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }))
    }

    /// Asks the agent's task and waits for its answer.
    pub(super) async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, Refused> {
        let (to, answer) = oneshot::channel();
        self.0.agent.send(Message::Ask(ask(to))).await.map_err(|_| Refused::ending())?;
        answer.await.map_err(|_| Refused::ending())
    }
}

/// Makes the socket. Only the agent that holds the root's lock may: it takes an old one's place.
pub(crate) fn bind(path: &Path) -> io::Result<Listener> {
    Listener::bind(path, SOCKET_MODE)
}

/// Serves until `ending` changes, then lets what is being answered finish.
pub(crate) async fn serve(mut listener: Listener, api: Api, mut ending: watch::Receiver<()>) {
    let socket = std::fs::metadata(api.0.layout.socket());
    let group = socket.ok().as_ref().and_then(stead_proc::group_of);
    let router = routes::router(api)
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .layer(middleware::from_fn(bounded));
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await.expect("it is never closed");
            (slot, listener.accept().await)
        };
        tokio::select! {
            _ = ending.changed() => break,
            Some(_) = open.join_next() => (),
            (slot, accepted) = next => match accepted {
                Ok(stream) => {
                    let peer = Peer::of(&stream, group);
                    let connection = connection(stream, peer, router.clone(), ending.clone());
                    open.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(_) => sleep(ACCEPT_AGAIN_AFTER).await,
            },
        }
    }
    drop(listener);
    // What is not finished by then is cut off.
    let _ = timeout(FINISH_WITHIN, async { while open.join_next().await.is_some() {} }).await;
}

async fn connection(stream: Stream, peer: Peer, router: Router, mut ending: watch::Receiver<()>) {
    let who_may = middleware::from_fn(move |request: Request, next: Next| async move {
        if peer.may(request.method()) { next.run(request).await } else { forbidden(peer) }
    });
    let service = TowerToHyperService::new(router.layer(who_may));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(64 << 10);
    let serving = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // Errors are the client's: it went away or spoke no HTTP.
    tokio::select! {
        _ = serving.as_mut() => (),
        _ = ending.changed() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

fn forbidden(peer: Peer) -> Response {
    let because = match peer {
        Peer::Owner => "nobody may".to_owned(),
        Peer::Reader => "members of the socket's group may look and not change".to_owned(),
        Peer::Stranger { uid: Some(uid) } => format!("user {uid} is no member of its group"),
        Peer::Stranger { uid: None } => "the system does not tell who asks".to_owned(),
    };
    let try_this = "ask as root or as the user that the agent runs as";
    Refused::of(StatusCode::FORBIDDEN, "this is not for you to do", because, try_this)
        .into_response()
}

async fn bounded(request: Request<Body>, next: Next) -> Response {
    if request.uri().path() == routes::DOWN {
        return next.run(request).await;
    }
    match timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refused::of(
            StatusCode::REQUEST_TIMEOUT,
            "the request was given up",
            format!("it was not read and answered within {} s", ANSWER_WITHIN.as_secs()),
            "ask again; if it happens again, look at the disk of the host",
        )
        .into_response(),
    }
}

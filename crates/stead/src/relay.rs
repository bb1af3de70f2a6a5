//! `stead relay`: the far end of the way to a host. It speaks HTTP over its standard streams,
//! passes on what is for the agent, and answers itself what is about the host's disk: programs
//! and releases. So an agent's memory never depends on what is shipped.

mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use stead_local::Stream;
use stead_wire::api::Refusal;
use stead_wire::ship::{self, AgentMade};
use tokio::io::{AsyncWriteExt as _, join, stdin, stdout};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::failure::Failure;
use crate::install;

use store::HostStore;

/// What is asked of a host for a rollout: from its answer on, the agent knows what is needed.
const ROLLOUT: &str = "/v1/rollout";

const LOOK_EVERY: Duration = Duration::from_secs(30);

type Answer = Response<Either<Full<Bytes>, Incoming>>;

/// Answers until the other end closes the stream.
pub(crate) async fn relay(client: Client) -> Result<(), Failure> {
    let store = Mutex::new(HostStore::new(client.root()));
    let shared = Arc::new(Shared { socket: client.root().join("agent.sock"), client, store });
    greet(shared.client.root()).await;
    let looked_after = look_at_the_time(Arc::clone(&shared));
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, std::convert::Infallible>(shared.answer(request).await) }
    });
    let stream = TokioIo::new(join(stdin(), stdout()));
    let serving = http1::Builder::new().serve_connection(stream, service);
    tokio::select! {
        // An error is that of the stream: whoever was at its other end is gone.
        _ = serving => (),
        () = looked_after => (),
    }
    Ok(())
}

/// Says that from here on it is HTTP, and about which root. Where nobody hears, the stream ends.
async fn greet(root: &Path) {
    let line = format!("stead-ready {}\n", root.display());
    let mut to = stdout();
    let _ = to.write_all(line.as_bytes()).await;
    let _ = to.flush().await;
}

/// Whoever is at the other end may be asleep, with the connection open.
async fn look_at_the_time(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        shared.store.lock().await.look_at_the_time(Instant::now());
    }
}

struct Shared {
    client: Client,
    socket: PathBuf,
    /// Only one request at a time comes over a stream; the lock says so.
    store: Mutex<HostStore>,
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if (&method, &*path) == (&Method::POST, ship::AGENT) {
            return match install::make_current(&self.client).await {
                Ok(installed) => json(StatusCode::OK, &AgentMade { installed }),
                Err(failure) => refused(StatusCode::INTERNAL_SERVER_ERROR, &refusal_of(&failure)),
            };
        }
        if !path.starts_with(ship::STORE) {
            let answer = pass_on(&self.socket, request).await;
            if (&method, &*path) == (&Method::POST, ROLLOUT) {
                self.store.lock().await.was_asked_for();
            }
            return match answer {
                Ok(answer) => answer.map(Either::Right),
                Err(refusal) => refused(StatusCode::BAD_GATEWAY, &refusal),
            };
        }
        let body = Limited::new(request.into_body(), ship::BODY_LEN_MAX).collect().await;
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                let because = error.to_string();
                // It broke off on the way: nothing is wrong with what was asked.
                return refused(
                    StatusCode::REQUEST_TIMEOUT,
                    &refusal("read it to its end", because),
                );
            }
        };
        let mut store = self.store.lock().await;
        match store.answer(&method, &path, &body) {
            Ok(value) => json(StatusCode::OK, &value),
            Err((status, refusal)) => refused(status, &refusal),
        }
    }
}

/// Hands a request to the agent as it is, and its answer back as it comes.
async fn pass_on(socket: &Path, request: Request<Incoming>) -> Result<Response<Incoming>, Refusal> {
    let lost = |error: String| refusal("ask the agent", error);
    let stream = Stream::connect(socket).await.map_err(|error| {
        let because = format!("nothing answers at `{}`: {error}", socket.display());
        Refusal {
            what: "there is no agent".into(),
            because,
            try_this: "`stead deploy` starts one".into(),
        }
    })?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| lost(error.to_string()))?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| lost(error.to_string()))
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let bytes = serde_json::to_vec(value).expect("API types always serialize");
    let mut answer = Response::new(Either::Left(Full::new(bytes.into())));
    *answer.status_mut() = status;
    answer
}

fn refused(status: StatusCode, refusal: &Refusal) -> Answer {
    json(status, refusal)
}

fn refusal(what: &str, because: String) -> Refusal {
    Refusal { what: format!("could not {what}"), because, try_this: String::new() }
}

fn refusal_of(failure: &Failure) -> Refusal {
    Refusal {
        what: failure.to_string(),
        because: failure.because().join(": "),
        try_this: failure.try_this().unwrap_or_default(),
    }
}

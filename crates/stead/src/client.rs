//! The agent's API from this side: HTTP over its local socket, one connection per request, or over
//! the one connection that leads to another host.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stead_core::plan::Plan;
use stead_local::Stream;
use stead_wire::api::{Refusal, UNKNOWN_PATH};
use stead_wire::rollout::History;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;

use crate::failure::Failure;

/// How long the agent may take to begin an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// The longest answer that is taken as a whole, in bytes.
const ANSWER_LEN_MAX: usize = 64 << 20;
/// The longest line of a stream, in bytes: a line of output in JSON is at most six times as long.
const LINE_LEN_MAX: usize = 16 << 20;

/// One agent, by its socket or by the way to its host.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    root: PathBuf,
    /// The connection that every request goes over, one after the other; else each has its own.
    kept: Option<Arc<Mutex<SendRequest<Full<Bytes>>>>>,
}

impl Client {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.into(), kept: None }
    }

    /// An agent that is reached by a stream alone; `root` is its root on that host.
    pub(crate) async fn over<S>(stream: S, root: &Path) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let lost = |error: hyper::Error| Failure::AgentLost { source: error.into() };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // It ends with the stream.
        tokio::spawn(connection);
        Ok(Self { root: root.into(), kept: Some(Arc::new(Mutex::new(sender))) })
    }

    /// Whether requests can still go over the connection that all go over.
    pub(crate) fn is_open(&self) -> bool {
        let is_closed = |kept: &Arc<Mutex<SendRequest<_>>>| {
            // One that is in use is there.
            kept.try_lock().is_ok_and(|sender| sender.is_closed())
        };
        !self.kept.as_ref().is_some_and(is_closed)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Asks for a value.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.send(Method::GET, path, Bytes::new(), ANSWER_WAIT).await?;
        whole(answer).await
    }

    /// Sends a value and takes one back.
    pub(crate) async fn put<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        whole(self.send(Method::PUT, path, to_json(body), ANSWER_WAIT).await?).await
    }

    /// Sends a value and takes one back.
    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        self.post_within(path, body, ANSWER_WAIT).await
    }

    /// As [`Client::post`], for what may take longer than an answer usually does.
    pub(crate) async fn post_within<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        time: Duration,
    ) -> Result<T, Failure> {
        whole(self.send(Method::POST, path, to_json(body), time).await?).await
    }

    /// Sends bytes and takes a value back, within a time that grows with their number.
    pub(crate) async fn put_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Bytes,
        time: Duration,
    ) -> Result<T, Failure> {
        whole(self.send(Method::PUT, path, body, time).await?).await
    }

    /// The plan of an entry of the host's history, if it is still there.
    pub(crate) async fn past_plan(&self, n: u64) -> Result<Option<Plan>, Failure> {
        let history: History = self.get(&format!("/v1/history?n={n}")).await?;
        Ok(history.entries.into_iter().find(|entry| entry.n == n).and_then(|entry| entry.plan))
    }

    /// Asks for newline-delimited values, which may go on for ever.
    pub(crate) async fn lines(&self, path: &str) -> Result<Lines, Failure> {
        let answer = self.send(Method::GET, path, Bytes::new(), ANSWER_WAIT).await?;
        Ok(Lines { body: answer.into_body(), read: Vec::new(), taken: 0 })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        time: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let silent = |_| Failure::AgentSilent { waited_s: time.as_secs() };
        let method_told = method.to_string();
        let request = request(method, path, body);
        let answer = tokio::time::timeout(time, self.exchange(request));
        let answer = answer.await.map_err(silent)??;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refused(answer, &method_told, path).await)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let lost = |error: hyper::Error| Failure::AgentLost { source: error.into() };
        if let Some(kept) = &self.kept {
            let mut sender = kept.lock().await;
            sender.ready().await.map_err(lost)?;
            return sender.send_request(request).await.map_err(lost);
        }
        let socket = self.root.join("agent.sock");
        let stream = Stream::connect(&socket).await.map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // It ends by itself once the answer is read or let go.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(lost)
    }

    fn unreachable(&self, source: io::Error) -> Failure {
        let root = self.root.clone();
        let is_denied = source.kind() == io::ErrorKind::PermissionDenied;
        if is_denied {
            Failure::AgentDenied { root, source }
        } else {
            Failure::AgentMissing { root, source }
        }
    }
}

/// Values that come one per line.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    /// Bytes that came; those before `taken` were handed out.
    read: Vec<u8>,
    taken: usize,
}

impl Lines {
    /// Whether the next value is here already.
    pub(crate) fn is_ready(&self) -> bool {
        self.read[self.taken..].contains(&b'\n')
    }

    /// The next value; `None` once there are no more.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let mut searched = self.taken;
        loop {
            let end = self.read[searched..].iter().position(|b| *b == b'\n');
            if let Some(end) = end.map(|end| searched + end) {
                let line = &self.read[self.taken..end];
                let value = serde_json::from_slice(line).map_err(nonsense)?;
                self.taken = end + 1;
                return Ok(Some(value));
            }
            self.read.drain(..self.taken);
            self.taken = 0;
            searched = self.read.len();
            if self.read.len() > LINE_LEN_MAX {
                let error = format!("a line is longer than {LINE_LEN_MAX} bytes");
                return Err(Failure::AgentAnswer { source: error.into() });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.read.extend_from_slice(&bytes);
                    }
                }
                // A line without its end was cut off with the connection: it is no value.
                Some(Err(error)) => return Err(Failure::AgentLost { source: error.into() }),
                None => return Ok(None),
            }
        }
    }
}

/// A text as it may stand in a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "stead")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .expect("paths are made of names and encoded texts")
}

fn to_json<B: Serialize>(body: &B) -> Bytes {
    serde_json::to_vec(body).expect("API types always serialize").into()
}

async fn bytes_of(answer: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = Limited::new(answer.into_body(), ANSWER_LEN_MAX);
    let body = body.collect().await.map_err(|source| Failure::AgentLost { source })?;
    Ok(body.to_bytes())
}

async fn whole<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, Failure> {
    let body = bytes_of(answer).await?;
    // An answer without content says that it is done.
    let json: &[u8] = if body.is_empty() { b"null" } else { &body };
    serde_json::from_slice(json).map_err(nonsense)
}

async fn refused(answer: Response<Incoming>, method: &str, path: &str) -> Failure {
    let status = answer.status();
    let body = match bytes_of(answer).await {
        Ok(body) => body,
        Err(failure) => return failure,
    };
    let refusal = serde_json::from_slice::<Refusal>(&body).map(Box::new).unwrap_or_else(|_| {
        refusal_without_words(status.as_u16(), &String::from_utf8_lossy(&body))
    });
    let refusal = Box::new(of_another_version(*refusal, method, path));
    Failure::AgentRefused { status: status.as_u16(), refusal }
}

/// A refusal as it is told. This stead asks for nothing but what an agent of its own version
/// knows, so that one which does not know it is of another.
fn of_another_version(refusal: Refusal, method: &str, path: &str) -> Refusal {
    if refusal.because != UNKNOWN_PATH {
        return refusal;
    }
    let path = path.split('?').next().unwrap_or(path);
    let own = env!("CARGO_PKG_VERSION");
    Refusal {
        what: format!("it does not know `{method} {path}`"),
        because: format!("it is of an earlier version than this stead, which is {own}"),
        try_this: "`stead agent install` on its host, or a deploy, brings it to this version; \
                   services run on"
            .into(),
    }
}

/// What is told of a refusal that does not say itself what, because and try.
pub(crate) fn refusal_without_words(status: u16, body: &str) -> Box<Refusal> {
    let what = format!("HTTP status {status}");
    Box::new(Refusal { what, because: body.trim().into(), try_this: String::new() })
}

fn nonsense(error: serde_json::Error) -> Failure {
    Failure::AgentAnswer { source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_of_another_version_does_not_know_is_told_as_such() {
        let refusal = |because: &str| Refusal {
            what: "there is no such thing".into(),
            because: because.into(),
            try_this: "look".into(),
        };
        let told = of_another_version(refusal("the path is unknown"), "POST", "/v1/x?wait=true");
        assert_eq!(told.what, "it does not know `POST /v1/x`");
        assert!(told.because.starts_with("it is of an earlier version than this stead"));
        assert!(told.try_this.starts_with("`stead agent install`"));
        // What it knows and refuses is told in its own words.
        let told = of_another_version(refusal("no instance is called `web`"), "GET", "/v1/why/web");
        assert_eq!((&*told.what, &*told.try_this), ("there is no such thing", "look"));
    }

    #[test]
    fn a_text_in_a_query_is_nothing_but_that_text() {
        assert_eq!(encode("orders.0"), "orders.0");
        assert_eq!(encode("a&b=c d+é%\n"), "a%26b%3Dc%20d%2B%C3%A9%25%0A");
    }
}

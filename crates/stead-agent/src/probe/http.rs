//! A request for a path over a connection that is kept.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest head of an answer.
const HEAD_LEN_MAX: usize = 16 << 10;
/// The most of a body that is read to keep the connection; past that it is closed.
const BODY_LEN_MAX: usize = 64 << 10;
/// The most of a body that is shown.
const SHOWN_LEN_MAX: usize = 200;
const HEADERS_MAX: usize = 64;
/// Bytes read at once: most answers fit.
const READ_LEN: usize = 1024;

/// Answers below this are good.
const STATUS_BAD_FROM: u16 = 400;

/// One client for one path.
pub(super) struct Http {
    address: SocketAddr,
    request: Box<[u8]>,
    kept: Option<TcpStream>,
    /// The main process of the run that must have answered, where another one could have: until it
    /// has, once.
    owner: Option<u32>,
}

/// How often a request is sent again whose answer was another run's. Who takes a connection that
/// two wait for is up to chance.
const OTHERS_MAX: usize = 16;

/// What is known of an answer once its head is there.
struct Head {
    status: u16,
    len: usize,
    /// `None`: the body goes on until the connection ends, or comes in pieces.
    body_len: Option<usize>,
    closes: bool,
}

impl Http {
    pub(super) fn new(address: SocketAddr, path: &str, owner: Option<u32>) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: stead/{version}\r\n\
             Accept: */*\r\n\r\n"
        );
        Self { address, request: request.into_bytes().into(), kept: None, owner }
    }

    pub(super) fn close(&mut self) {
        self.kept = None;
    }

    pub(super) async fn ask(&mut self) -> Result<String, String> {
        let address = self.address;
        let tell = |error: io::Error| format!("{address}: {error}");
        if let Some(stream) = self.kept.take() {
            match self.ask_on(stream).await {
                // The server may close a kept connection at any time: that says nothing of it.
                Err(Bad::Closed) => (),
                Err(Bad::Io(error)) => return Err(tell(error)),
                Err(Bad::Answer(why)) => return Err(why),
                Err(Bad::Another) => (),
                Ok(said) => return Ok(said),
            }
        }
        for _ in 0..OTHERS_MAX {
            let stream = TcpStream::connect(self.address).await.map_err(tell)?;
            stream.set_nodelay(true).map_err(tell)?;
            match self.ask_on(stream).await {
                Ok(said) => return Ok(said),
                Err(Bad::Another) => (),
                Err(Bad::Answer(why)) => return Err(why),
                Err(Bad::Closed) => return Err(format!("{address}: it closed the connection")),
                Err(Bad::Io(error)) => return Err(tell(error)),
            }
        }
        Err("the run whose place it is to take answers, and it does not".to_owned())
    }

    /// Whether the answer that is coming over this connection is the right run's.
    async fn is_owners(&self, stream: &TcpStream) -> Result<bool, Bad> {
        let Some(owner) = self.owner else { return Ok(true) };
        let client = stream.local_addr().map_err(Bad::Io)?;
        let server = self.address;
        let held = move || stead_proc::holds_connection(owner, server, client);
        let held = tokio::task::spawn_blocking(held).await;
        Ok(held.is_ok_and(|held| held.unwrap_or(false)))
    }

    async fn ask_on(&mut self, mut stream: TcpStream) -> Result<String, Bad> {
        stream.write_all(&self.request).await.map_err(closed)?;
        let mut bytes = Vec::with_capacity(READ_LEN);
        let head = loop {
            if stream.read_buf(&mut bytes).await.map_err(closed)? == 0 {
                return Err(if bytes.is_empty() { Bad::Closed } else { cut_off() });
            }
            match head_of(&bytes)? {
                Some(head) => break head,
                None if bytes.len() > HEAD_LEN_MAX => {
                    return Err(Bad::Answer("its answer has no end of headers".into()));
                }
                None => (),
            }
        };
        if !self.is_owners(&stream).await? {
            return Err(Bad::Another);
        }
        let wanted = head.body_len.filter(|len| *len <= BODY_LEN_MAX);
        let whole = head.len + wanted.unwrap_or(0);
        while bytes.len() < whole {
            if stream.read_buf(&mut bytes).await.map_err(Bad::Io)? == 0 {
                return Err(cut_off());
            }
        }
        // With anything left over, what comes next would be taken for the next answer.
        if wanted.is_some() && !head.closes && bytes.len() == whole {
            self.kept = Some(stream);
        }
        let said = judge(&head, &bytes[head.len..])?;
        self.owner = None;
        Ok(said)
    }
}

enum Bad {
    /// Another run has answered.
    Another,
    /// What was answered is no good answer.
    Answer(String),
    /// The connection ended before any of an answer came.
    Closed,
    Io(io::Error),
}

fn cut_off() -> Bad {
    Bad::Answer("its answer was cut off".into())
}

fn closed(error: io::Error) -> Bad {
    if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
        Bad::Closed
    } else {
        Bad::Io(error)
    }
}

fn head_of(bytes: &[u8]) -> Result<Option<Head>, Bad> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Bad::Answer(format!("its answer is no HTTP: {error}"))),
    };
    let find = |name: &str| {
        let header = response.headers.iter().find(|it| it.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let status = response.code.unwrap_or(0);
    let says = |word: &str| find("connection").is_some_and(|it| it.eq_ignore_ascii_case(word));
    let old = response.version == Some(0);
    Ok(Some(Head {
        status,
        len,
        body_len: match status {
            204 | 304 => Some(0),
            _ => find("content-length").and_then(|len| len.trim().parse().ok()),
        },
        closes: says("close") || (old && !says("keep-alive")),
    }))
}

fn judge(head: &Head, body: &[u8]) -> Result<String, Bad> {
    let shown = &body[..body.len().min(SHOWN_LEN_MAX)];
    let text = String::from_utf8_lossy(shown);
    let text = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
    let said = match text {
        "" => format!("status {}", head.status),
        text => format!("status {}: {text}", head.status),
    };
    if head.status < STATUS_BAD_FROM { Ok(said) } else { Err(Bad::Answer(said)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// What is said to so many questions in a row, and over how many connections they came. The
    /// server answers each question with `answer` and ends a connection after `per_connection`.
    fn asked(n: usize, answer: &'static str, per_connection: usize) -> (Vec<String>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream.unwrap();
                let mut question = [0; 4096];
                for _ in 0..per_connection {
                    // The client may have had enough.
                    let Ok(1..) = stream.read(&mut question) else { break };
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let said = runtime.block_on(async {
            let mut http = Http::new(address, "/healthz", None);
            let mut said = Vec::new();
            for _ in 0..n {
                said.push(http.ask().await.unwrap_or_else(|why| why));
            }
            said
        });
        (said, connections.load(Ordering::SeqCst))
    }

    #[test]
    fn a_connection_is_kept_for_as_long_as_it_may_be_and_an_answer_is_an_answer_either_way() {
        let keep = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let late = "HTTP/1.1 503 Later\r\nContent-Length: 3\r\n\r\nno\n";
        let close = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        let old = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let pieces = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let more = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more";
        let none = "HTTP/1.1 204 None\r\n\r\n";
        for (answer, per_connection, connections, said) in [
            (keep, 100, 1, "status 200: ok"),
            (late, 100, 1, "status 503: no"),
            (none, 100, 1, "status 204"),
            // One that ends without a word between two questions has done nothing wrong.
            (keep, 2, 5, "status 200: ok"),
            (close, 1, 10, "status 200: ok"),
            (old, 1, 10, "status 200: ok"),
            (pieces, 1, 10, "status 200"),
            (more, 1, 10, "status 200: ok"),
            ("", 1, 10, "it closed the connection"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", 1, 10, "its answer was cut off"),
            ("SSH-2.0-OpenSSH\r\n", 1, 10, "its answer is no HTTP"),
        ] {
            let (all, seen) = asked(10, answer, per_connection);
            assert!(all.iter().all(|it| it.contains(said)), "{answer:?}: {all:?}");
            assert_eq!(seen, connections, "{answer:?}");
        }
    }
}

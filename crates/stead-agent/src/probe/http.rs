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

//! The control socket: who talks over it, and their lines in order.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use stead_proc::{LocalListener, LocalStream};
use stead_wire::front::{LINE_LEN_MAX, Reply, Request};

/// More connections than this and the oldest is closed: whoever has crashed must not keep others
/// out.
const CONNECTIONS_MAX: usize = 16;

pub(crate) struct Control {
    /// Gone once this front ends: its successor has the name.
    listener: Option<(LocalListener, PathBuf)>,
    connections: Vec<Connection>,
    number_next: u64,
}

/// Who asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Asker(u64);

struct Connection {
    asker: Asker,
    stream: LocalStream,
    unread: Vec<u8>,
    /// A request is being carried out; the next is looked at after that.
    is_served: bool,
    is_over: bool,
}

impl Control {
    /// Listens in place of a socket that nobody serves.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another front answers there"));
        }
        let listener = Some((LocalListener::bind(path)?, path.to_owned()));
        Ok(Self { listener, connections: Vec::new(), number_next: 0 })
    }

    /// What to wait for.
    pub(crate) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = self.listener.iter().map(|(listener, _)| listener.as_fd());
        let free = self.connections.iter().filter(|connection| !connection.is_served);
        listener.chain(free.map(|connection| connection.stream.as_fd()))
    }

    /// Makes room for a successor; who is connected stays.
    pub(crate) fn close(&mut self) {
        if let Some((_, path)) = self.listener.take() {
            // A name without a socket behind it does no harm.
            let _ = std::fs::remove_file(path);
        }
    }

    pub(crate) fn accept(&mut self) {
        let Some((listener, _)) = &self.listener else { return };
        // Who could not be taken comes again.
        while let Ok(Some(stream)) = listener.accept() {
            if self.connections.len() >= CONNECTIONS_MAX {
                self.connections.remove(0);
            }
            let asker = Asker(self.number_next);
            self.number_next += 1;
            let unread = Vec::new();
            let connection = Connection { asker, stream, unread, is_served: false, is_over: false };
            self.connections.push(connection);
        }
    }

    /// The next request that can be looked at; lines that are none are refused. Answer with
    /// [`Self::reply`] before the same asker is heard again.
    pub(crate) fn next_request(&mut self) -> Option<(Asker, Request)> {
        for connection in &mut self.connections {
            while !connection.is_served && !connection.is_over {
                match connection.next_line() {
                    Line::Request(request) => {
                        connection.is_served = true;
                        return Some((connection.asker, request));
                    }
                    Line::Wrong { why } => connection.send(&Reply::Refused { why }),
                    Line::NotYet => break,
                }
            }
        }
        self.connections.retain(|connection| !connection.is_over);
        None
    }

    pub(crate) fn reply(&mut self, asker: Asker, reply: &Reply) {
        let to = self.connections.iter_mut().find(|connection| connection.asker == asker);
        if let Some(connection) = to {
            connection.is_served = false;
            connection.send(reply);
        }
    }
}

enum Line {
    Request(Request),
    NotYet,
    Wrong { why: String },
}

impl Connection {
    fn next_line(&mut self) -> Line {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return match serde_json::from_slice(&line) {
                    Ok(request) => Line::Request(request),
                    Err(error) => Line::Wrong { why: format!("not a request: {error}") },
                };
            }
            if self.unread.len() > LINE_LEN_MAX {
                self.is_over = true;
                let why = format!("a line has at most {LINE_LEN_MAX} bytes");
                return Line::Wrong { why };
            }
            let mut chunk = [0; 1024];
            match self.stream.read(&mut chunk) {
                Ok(Some(len)) if len > 0 => self.unread.extend_from_slice(&chunk[..len]),
                Ok(None) => return Line::NotYet,
                Ok(Some(_)) | Err(_) => {
                    self.is_over = true;
                    return Line::NotYet;
                }
            }
        }
    }

    /// Whoever does not read what they asked for is let go.
    fn send(&mut self, reply: &Reply) {
        let mut bytes = serde_json::to_vec(reply).expect("replies always serialize");
        bytes.push(b'\n');
        self.is_over |= self.stream.send(&bytes).is_err();
    }
}

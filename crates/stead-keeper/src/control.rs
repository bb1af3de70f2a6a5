//! The keeper's end of `keeper.sock`.

use std::io;
use std::path::Path;

use stead_proc::{AsHandle, Handle, LocalListener, LocalStream};
use stead_wire::keeper::{LINE_LEN_MAX, Reply, Report, Request};

/// More connections than this and the oldest is closed: agents come and go, one at a time.
const CONNECTIONS_MAX: usize = 8;

/// Everyone who talks to this keeper.
#[derive(Debug)]
pub(crate) struct Control {
    listener: LocalListener,
    connections: Vec<Connection>,
    /// Numbers connections, to answer the right one.
    next: u64,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    stream: LocalStream,
    unread: Vec<u8>,
}

/// Who asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Asker(u64);

impl Control {
    /// Listens in the instance's folder.
    pub(crate) fn listen(folder: &Path) -> io::Result<Self> {
        let listener = LocalListener::bind(&folder.join("keeper.sock"))?;
        Ok(Self { listener, connections: Vec::new(), next: 0 })
    }

    /// What to wait for.
    pub(crate) fn watched(&self) -> impl Iterator<Item = Handle<'_>> {
        let streams = self.connections.iter().map(|connection| connection.stream.as_handle());
        std::iter::once(self.listener.as_handle()).chain(streams)
    }

    /// Takes new connections and sends each the hello report.
    pub(crate) fn accept(&mut self, hello: impl Fn() -> Report) -> io::Result<()> {
        while let Some(mut stream) = self.listener.accept()? {
            if stream.send(&line(&Reply::Report(Box::new(hello())))).is_err() {
                continue;
            }
            if self.connections.len() >= CONNECTIONS_MAX {
                self.connections.remove(0);
            }
            self.next += 1;
            self.connections.push(Connection { number: self.next, stream, unread: Vec::new() });
        }
        Ok(())
    }

    /// Every whole request that has come; what cannot be read is refused at once.
    pub(crate) fn requests(&mut self) -> Vec<(Asker, Request)> {
        let mut requests = Vec::new();
        self.connections.retain_mut(|connection| connection.receive(&mut requests));
        requests
    }

    /// Answers one request.
    pub(crate) fn reply(&mut self, asker: Asker, reply: &Reply) {
        let bytes = line(reply);
        let to = |connection: &Connection| connection.number == asker.0;
        self.connections
            .retain_mut(|connection| !to(connection) || connection.stream.send(&bytes).is_ok());
    }

    /// Answers one request with descriptors beside the line.
    pub(crate) fn reply_with(&mut self, asker: Asker, reply: &Reply, fds: &[Handle<'_>]) {
        let bytes = line(reply);
        let to = |connection: &Connection| connection.number == asker.0;
        self.connections.retain_mut(|it| !to(it) || it.stream.send_with(&bytes, fds).is_ok());
    }

    /// Tells everyone.
    pub(crate) fn publish(&mut self, report: &Report) {
        let bytes = line(&Reply::Report(Box::new(report.clone())));
        // Who does not read is let go: they find out by the end of the stream and come again.
        self.connections.retain_mut(|connection| connection.stream.send(&bytes).is_ok());
    }
}

impl Connection {
    /// Reads what has come; `false` when the connection is over.
    fn receive(&mut self, requests: &mut Vec<(Asker, Request)>) -> bool {
        let mut chunk = [0; 1024];
        let open = loop {
            match self.stream.read(&mut chunk) {
                Ok(Some(0)) | Err(_) => break false,
                Ok(Some(len)) => self.unread.extend_from_slice(&chunk[..len]),
                Ok(None) => break true,
            }
            if self.unread.len() > LINE_LEN_MAX {
                return false;
            }
        };
        while let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
            let whole: Vec<u8> = self.unread.drain(..=end).collect();
            match serde_json::from_slice(&whole) {
                Ok(request) => requests.push((Asker(self.number), request)),
                Err(error) => {
                    let version = env!("CARGO_PKG_VERSION");
                    let why =
                        format!("not a request this keeper knows, of version {version}: {error}");
                    if self.stream.send(&line(&Reply::Refused { why })).is_err() {
                        return false;
                    }
                }
            }
        }
        open
    }
}

fn line(reply: &Reply) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(reply).expect("replies always serialize");
    bytes.push(b'\n');
    bytes
}

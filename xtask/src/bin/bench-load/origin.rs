//! The backend of the benchmark: one thread that answers each request with the same bytes.

use std::net::SocketAddr;

use anyhow::Result;
use slab::Slab;
use stead_proc::{Done, News, Ready, TcpListening, TcpSocket};

/// Ask for one answer and keep the connection, or end it after that.
pub(crate) const KEPT: &[u8] = b"GET /one HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n\r\n";
pub(crate) const CLOSED: &[u8] = b"GET /one HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
/// Asks for bytes without end.
pub(crate) const BULK: &[u8] = b"GET /bulk HTTP/1.1\r\nHost: bench\r\n\r\n";

const BODY_LEN: usize = 256;
const CHUNK_LEN: usize = 256 << 10;
const BACKLOG: i32 = 4096;
const LISTENING: u64 = u64::MAX;

/// The whole answer to [`KEPT`] and [`CLOSED`].
pub(crate) fn answer() -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_LEN}\r\n\r\n");
    [head.as_bytes(), &[b'x'; BODY_LEN]].concat()
}

struct Peer {
    socket: TcpSocket,
    /// Streams as long as there is room.
    is_bulk: bool,
}

struct Served {
    ready: Ready,
    peers: Slab<Peer>,
    answer: Vec<u8>,
    chunk: Vec<u8>,
}

/// Serves until this process ends; `tell` is given the address.
pub(crate) fn run(tell: impl FnOnce(SocketAddr)) -> Result<()> {
    let listening = TcpListening::bind(([127, 0, 0, 1], 0).into(), BACKLOG)?;
    let ready = Ready::new()?;
    ready.add_steady(&listening, LISTENING)?;
    tell(listening.address()?);
    let (answer, chunk) = (answer(), vec![b'x'; CHUNK_LEN]);
    Served { ready, peers: Slab::new(), answer, chunk }.run(&listening)
}

impl Served {
    fn run(mut self, listening: &TcpListening) -> Result<()> {
        let mut news = News::default();
        let mut request = [0; 1024];
        loop {
            self.ready.wait(&mut news, None)?;
            for told in news.iter() {
                if told.number == LISTENING {
                    self.accept(listening);
                } else {
                    self.serve(usize::try_from(told.number)?, &mut request);
                }
            }
        }
    }

    fn accept(&mut self, listening: &TcpListening) {
        // What cannot be taken now is told of again.
        while let Ok(Some(socket)) = listening.accept() {
            let key = self.peers.insert(Peer { socket, is_bulk: false });
            let added = self.ready.add_both(&self.peers[key].socket, key as u64);
            added.expect("epoll takes a socket");
        }
    }

    fn serve(&mut self, key: usize, request: &mut [u8]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let goes_on = match peer.socket.read(request) {
            Ok(Done::Bytes(len)) => match &request[..len] {
                KEPT => matches!(peer.socket.write(&self.answer), Ok(Done::Bytes(_))),
                BULK => {
                    peer.is_bulk = true;
                    true
                }
                CLOSED => {
                    // Closed by the drop, right behind the answer.
                    let _last = peer.socket.write(&self.answer);
                    false
                }
                _ => false,
            },
            Ok(Done::Later) => true,
            Err(_) => false,
        };
        if !goes_on || (peer.is_bulk && !pour(&peer.socket, &self.chunk)) {
            self.peers.remove(key);
        }
    }
}

/// Writes until there is no room; `false` when nobody reads any more.
fn pour(socket: &TcpSocket, chunk: &[u8]) -> bool {
    loop {
        match socket.write(chunk) {
            Ok(Done::Bytes(_)) => (),
            Ok(Done::Later) => return true,
            Err(_) => return false,
        }
    }
}

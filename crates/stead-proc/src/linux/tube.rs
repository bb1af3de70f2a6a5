//! Bytes from one socket to another that never pass through this process.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::tcp::{Done, TcpSocket, done};

/// How much a tube is asked to hold; what the system grants may be less.
const CAPACITY: usize = 256 << 10;

/// A pipe of one's own between two sockets: the pages that hold the bytes move, the bytes do not.
#[derive(Debug)]
pub struct Tube {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
}

impl Tube {
    pub fn new() -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused past the user's share of pipe memory; then the default has to do.
        let _ = fcntl_setpipe_size(&into, CAPACITY);
        Ok(Self { out, into, held: 0 })
    }

    /// Bytes that are in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes in what has come; no bytes are the end of the stream. Later when nothing has come or
    /// the tube is full: only an empty one tells the two apart.
    pub fn fill(&mut self, from: &TcpSocket) -> io::Result<Done> {
        let filled = done(|| splice(from, None, &self.into, None, CAPACITY, FLAGS))?;
        if let Done::Bytes(len) = filled {
            self.held += len;
        }
        Ok(filled)
    }

    /// Lets out what it holds, as far as there is room.
    pub fn empty(&mut self, to: &TcpSocket) -> io::Result<Done> {
        let emptied = done(|| splice(&self.out, None, to, None, self.held, FLAGS))?;
        if let Done::Bytes(len) = emptied {
            self.held -= len.min(self.held);
        }
        Ok(emptied)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

//! A service's output on its way from a FIFO to a file.
//!
//! `splice` takes bytes out of the pipe as it writes them to the file, in one call: a process that
//! is killed at any moment leaves every byte in the one or in the other, once.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice, tee,
};

use crate::news::Moved;
use crate::{Handle, OwnedHandle, StreamEnds};

/// How much a pipe is asked to hold, so that a service can write on while its keeper is replaced.
/// What the system grants may be less.
const PIPE_CAPACITY: usize = 256 << 10;

/// The reading end of a FIFO.
#[derive(Debug)]
pub struct Pipe {
    fd: OwnedFd,
    path: PathBuf,
    capacity: usize,
}

impl Pipe {
    /// Opens a FIFO; see [`super::folder::open_fifo`]. It is found by its path, whoever else has
    /// let go of it, so that what a run holds of it is of no use here.
    pub fn open(path: &Path, _held_by_run: Option<StreamEnds<'_>>) -> io::Result<Self> {
        let fd = super::folder::open_fifo(path)?;
        // Refused past the user's share of pipe memory; then the default has to do.
        let _ = fcntl_setpipe_size(&fd, PIPE_CAPACITY);
        let capacity = fcntl_getpipe_size(&fd)?;
        Ok(Self { fd, path: path.to_owned(), capacity })
    }

    /// Another hold on the same pipe, for another thread.
    pub fn again(&self) -> io::Result<Self> {
        Self::open(&self.path, None)
    }

    /// The end that one run writes to, and nobody else has: `O_NONBLOCK` belongs to the open file,
    /// and a service that sets it must not set it for its keeper.
    pub fn for_run(&self) -> io::Result<OwnedHandle> {
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let flags = flags | rustix::fs::OFlags::NOFOLLOW;
        Ok(rustix::fs::open(&self.path, flags, rustix::fs::Mode::empty())?)
    }

    /// What a run has to hold of it besides, so that it outlives its keeper: nothing.
    pub fn to_be_held(&self) -> Option<Handle<'_>> {
        None
    }

    /// Moves at most `len_max` bytes to the file at this offset.
    pub fn store(&self, file: &File, offset: u64, len_max: usize) -> io::Result<Moved> {
        let mut offset = offset;
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        moved(splice(&self.fd, None, file, Some(&mut offset), len_max, flags))
    }

    /// What [`Self::store`] would be without splice: bytes pass through this process, and die with
    /// it. Kept as the control of the tests that show why it is not done so.
    /// `between` is called while the bytes are in neither place.
    pub fn store_by_copy(
        &self,
        file: &File,
        offset: u64,
        len_max: usize,
        between: impl FnOnce(),
    ) -> io::Result<Moved> {
        use std::os::unix::fs::FileExt;
        let mut buffer = vec![0; len_max.min(PIPE_CAPACITY)];
        match moved(rustix::io::read(&self.fd, &mut buffer))? {
            Moved::Nothing => Ok(Moved::Nothing),
            Moved::Bytes(len) => {
                between();
                file.write_all_at(&buffer[..len], offset)?;
                Ok(Moved::Bytes(len))
            }
        }
    }

    /// Bytes that wait in the pipe.
    pub fn waiting(&self) -> usize {
        let waiting = rustix::io::ioctl_fionread(&self.fd).unwrap_or(0);
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }

    /// Bytes that fit into the pipe before its writer has to wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many of the waiting bytes there are up to and with the first line end; `None` when there
    /// is none among those that can be looked at.
    pub fn first_line_end(&self) -> io::Result<Option<usize>> {
        let mut end = None;
        self.peek(|offset, chunk| {
            end = chunk.iter().position(|b| *b == b'\n').map(|at| offset + at + 1);
            end.is_none()
        })?;
        Ok(end)
    }

    /// Takes at least this many waiting bytes out of the pipe, up to a line end if there is one,
    /// and says how many they were.
    pub fn discard_lines(&self, at_least: usize) -> io::Result<usize> {
        let mut end = None;
        self.peek(|offset, chunk| {
            let from = at_least.saturating_sub(offset + 1).min(chunk.len());
            end = chunk[from..].iter().position(|b| *b == b'\n').map(|at| offset + from + at + 1);
            end.is_none()
        })?;
        let mut left = end.unwrap_or(at_least);
        let mut discarded = 0;
        let mut buffer = [0; CHUNK_LEN];
        while left > 0 {
            let len = left.min(CHUNK_LEN);
            match moved(rustix::io::read(&self.fd, &mut buffer[..len]))? {
                Moved::Nothing => break,
                Moved::Bytes(len) => {
                    left -= len;
                    discarded += len;
                }
            }
        }
        Ok(discarded)
    }

    /// Shows the waiting bytes, with their offsets, without taking them, until told to stop.
    fn peek(&self, mut look: impl FnMut(usize, &[u8]) -> bool) -> io::Result<()> {
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _ = fcntl_setpipe_size(&write_end, self.capacity);
        let copied = moved(tee(&self.fd, &write_end, self.capacity, SpliceFlags::NONBLOCK))?;
        let Moved::Bytes(len) = copied else { return Ok(()) };
        let mut chunk = [0; CHUNK_LEN];
        let mut offset = 0;
        while offset < len {
            let Moved::Bytes(read) = moved(rustix::io::read(&read_end, &mut chunk))? else { break };
            if !look(offset, &chunk[..read]) {
                break;
            }
            offset += read;
        }
        Ok(())
    }
}

/// Bytes looked at in one go; on the stack of a thread that has little of it.
const CHUNK_LEN: usize = 4096;

fn moved(result: rustix::io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(0) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(Moved::Nothing),
        Ok(len) => Ok(Moved::Bytes(len)),
        Err(error) => Err(error.into()),
    }
}

impl AsFd for Pipe {
    /// Readable when there is output.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

//! A service's output on its way from a pipe to a file.
//!
//! A pipe here has no path: it is there as long as somebody has both of its ends open. Each run
//! holds a duplicate of the reading end besides the one it writes to, so that its pipe outlives a
//! keeper, and the next keeper takes both up there.
//!
//! Bytes are looked at, written to the file, and only then taken out of the pipe: a keeper that is
//! killed in between leaves them in both places, and what it had stored last may come twice; none
//! is lost.

#![expect(unsafe_code, reason = "pipes that can be waited for have no safe form")]

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_INBOUND, ReadFile,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PeekNamedPipe,
};

use super::local::{Pending, Went, new_pipe_name};
use super::sys::{Owners, duplicate_from, made, raw, wide};
use crate::news::{Moved, StreamEnds};

/// How much a pipe is asked to hold, so that a service can write on while its keeper is replaced.
const PIPE_CAPACITY: usize = 256 << 10;

/// Bytes on their way in one go.
const BATCH_LEN: usize = 64 << 10;

/// Both ends of a pipe that runs write to.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedHandle,
    write: OwnedHandle,
    /// Tells that something has come: a read of nothing, which waits until there is something.
    coming: RefCell<Pending>,
}

impl Pipe {
    /// Takes up the pipe that a run holds, or makes a new one. The path says nothing here.
    pub fn open(_path: &Path, held_by_run: Option<StreamEnds<'_>>) -> io::Result<Self> {
        if let Some(StreamEnds { process, read, write }) = held_by_run {
            let from = raw(&process.handle);
            return Self::of(duplicate_from(from, read)?, duplicate_from(from, write)?);
        }
        let text = new_pipe_name();
        let (name, only) = (wide(&text)?, Owners::new()?);
        // SAFETY: the name ends with a zero, and who may is said by a descriptor that lives on.
        let read = unsafe {
            made(CreateNamedPipeW(
                name.as_ptr(),
                PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_REJECT_REMOTE_CLIENTS,
                1,
                PIPE_CAPACITY as u32,
                PIPE_CAPACITY as u32,
                0,
                only.attributes(),
            ))?
        };
        let write = File::options().write(true).custom_flags(0).open(text)?;
        Self::of(read, write.into())
    }

    fn of(read: OwnedHandle, write: OwnedHandle) -> io::Result<Self> {
        Ok(Self { read, write, coming: RefCell::new(Pending::new()?) })
    }

    /// Another hold on the same pipe, for another thread.
    pub fn again(&self) -> io::Result<Self> {
        Self::of(self.read.try_clone()?, self.write.try_clone()?)
    }

    /// The end that one run writes to.
    pub fn for_run(&self) -> io::Result<OwnedHandle> {
        self.write.try_clone()
    }

    /// What a run has to hold of it besides, so that it outlives its keeper.
    pub fn to_be_held(&self) -> Option<BorrowedHandle<'_>> {
        Some(self.read.as_handle())
    }

    /// Moves at most `len_max` bytes to the file at this offset.
    pub fn store(&self, file: &File, offset: u64, len_max: usize) -> io::Result<Moved> {
        let mut buffer = vec![0; len_max.min(BATCH_LEN)];
        let len = self.peek_into(&mut buffer)?;
        if len == 0 {
            return Ok(Moved::Nothing);
        }
        write_all_at(file, &buffer[..len], offset)?;
        self.take(&mut buffer[..len])?;
        Ok(Moved::Bytes(len))
    }

    /// As [`Self::store`], but bytes are taken first, and die with whoever has taken them. Kept as
    /// the control of the tests that show why it is not done so.
    /// `between` is called while the bytes are in neither place.
    pub fn store_by_copy(
        &self,
        file: &File,
        offset: u64,
        len_max: usize,
        between: impl FnOnce(),
    ) -> io::Result<Moved> {
        let mut buffer = vec![0; len_max.min(BATCH_LEN).min(self.waiting())];
        if buffer.is_empty() {
            return Ok(Moved::Nothing);
        }
        let len = self.take(&mut buffer)?;
        between();
        write_all_at(file, &buffer[..len], offset)?;
        Ok(Moved::Bytes(len))
    }

    /// Bytes that wait in the pipe.
    pub fn waiting(&self) -> usize {
        let mut waiting = 0;
        // SAFETY: the number is ours to write.
        let answer = unsafe {
            let none = ptr::null_mut();
            PeekNamedPipe(raw(&self.read), none, 0, none.cast(), &raw mut waiting, none.cast())
        };
        if answer == 0 { 0 } else { waiting as usize }
    }

    /// Bytes that fit into the pipe before its writer has to wait.
    pub fn capacity(&self) -> usize {
        PIPE_CAPACITY
    }

    /// How many of the waiting bytes there are up to and with the first line end; `None` when there
    /// is none among those that can be looked at.
    pub fn first_line_end(&self) -> io::Result<Option<usize>> {
        let mut buffer = vec![0; PIPE_CAPACITY];
        let len = self.peek_into(&mut buffer)?;
        Ok(buffer[..len].iter().position(|b| *b == b'\n').map(|at| at + 1))
    }

    /// Takes at least this many waiting bytes out of the pipe, up to a line end if there is one,
    /// and says how many they were.
    pub fn discard_lines(&self, at_least: usize) -> io::Result<usize> {
        let mut buffer = vec![0; PIPE_CAPACITY];
        let len = self.peek_into(&mut buffer)?;
        let from = at_least.saturating_sub(1).min(len);
        let end = buffer[from..len].iter().position(|b| *b == b'\n').map(|at| from + at + 1);
        let wanted = end.unwrap_or(at_least).min(len);
        if wanted == 0 { Ok(0) } else { self.take(&mut buffer[..wanted]) }
    }

    /// Shows as many waiting bytes as there is room for, without taking them.
    fn peek_into(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        let room = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let none = ptr::null_mut();
        // SAFETY: the buffer has so much room.
        super::sys::check(unsafe {
            let into = buffer.as_mut_ptr().cast();
            PeekNamedPipe(raw(&self.read), into, room, &raw mut len, none, none)
        })?;
        Ok(len as usize)
    }

    /// Takes bytes that are there.
    fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut reading = Pending::new()?;
        let len = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        // SAFETY: buffer and record stay in their places until the operation is over, which is
        // waited for here.
        let answer = unsafe {
            let into = buffer.as_mut_ptr();
            ReadFile(raw(&self.read), into, len, ptr::null_mut(), reading.record())
        };
        reading.began(answer)?;
        match reading.look(&self.read, true)? {
            Went::Done(len) => Ok(len),
            Went::Pending => Ok(0),
        }
    }

    /// Has the event tell what is so now, and what comes later.
    fn watch(&self) {
        let mut coming = self.coming.borrow_mut();
        if coming.is_under_way && matches!(coming.look(&self.read, false), Ok(Went::Pending)) {
            return;
        }
        if self.waiting() > 0 {
            coming.event().set();
            return;
        }
        coming.event().reset();
        let mut nothing = [0_u8; 0];
        // SAFETY: nothing is written, and the record stays in its place until it is over.
        let answer = unsafe {
            let into = nothing.as_mut_ptr();
            ReadFile(raw(&self.read), into, 0, ptr::null_mut(), coming.record())
        };
        if coming.began(answer).is_err() {
            coming.event().set();
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.coming.get_mut().cancel(&self.read);
    }
}

fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let (mut left, mut offset) = (bytes, offset);
    while !left.is_empty() {
        let len = file.seek_write(left, offset)?;
        if len == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        left = &left[len..];
        offset += len as u64;
    }
    Ok(())
}

impl AsHandle for Pipe {
    /// Set when there is output.
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.watch();
        let pending = self.coming.as_ptr();
        // SAFETY: the event is made with the pipe and stays until its end, whatever is borrowed.
        unsafe { (*pending).event().0.as_handle() }
    }
}

//! A named pipe that only this host can reach, found by a path: the file there says its name, which
//! nobody can guess, so that nobody can take it first.

#![expect(unsafe_code, reason = "named pipes have no safe form")]

use std::fs::{self, File};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, ERROR_NO_DATA, ERROR_PIPE_CONNECTED,
    WAIT_OBJECT_0,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX, ReadFile, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS,
    PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES,
};
use windows_sys::Win32::System::Threading::WaitForSingleObject;

use super::poll::random;
use super::sys::{Event, check, made, raw, wide};

/// Bytes that a pipe holds each way.
const PIPE_LEN: u32 = 64 << 10;
/// Bytes read at once.
const READ_LEN: usize = 4 << 10;
/// How long a peer may let what it is sent wait.
const SEND_WITHIN_MS: u32 = 100;

/// What every named pipe of stead begins with.
const PIPES: &str = r"\\.\pipe\stead-";

/// A name that nobody has, for a pipe.
pub fn new_pipe_name() -> String {
    format!("{PIPES}{:08x}{:08x}{:08x}", std::process::id(), random(), random())
}

/// Has whoever looks at this path find the pipe of this name, in place of whatever was there.
pub fn tell_pipe_name(path: &Path, name: &str) -> io::Result<()> {
    // Who reads half of it finds no pipe of that name, and comes again. A file of its own that is
    // renamed would not do: who reads the old one at that moment keeps it from being replaced.
    fs::write(path, name)
}

/// The name of the pipe that is found at this path.
pub fn pipe_name_at(path: &Path) -> io::Result<String> {
    let name = fs::read_to_string(path)?;
    if !name.starts_with(PIPES) {
        let why = format!("`{}` does not name a pipe", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(name)
}

/// An operation that the system may still be at work on. It knows the place of this, which must
/// therefore not move.
#[derive(Debug)]
pub(super) struct Pending {
    overlapped: Box<OVERLAPPEDCell>,
    event: Event,
    pub(super) is_under_way: bool,
}

#[derive(Debug)]
struct OVERLAPPEDCell(std::cell::UnsafeCell<Overlapped>);

/// The system's own record.
#[repr(transparent)]
struct Overlapped(OVERLAPPED);

impl std::fmt::Debug for Overlapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OVERLAPPED")
    }
}

// SAFETY: the record is only touched by whoever has the operation, and by the system.
unsafe impl Send for OVERLAPPEDCell {}

/// How an operation stands.
pub(super) enum Went {
    Done(usize),
    Pending,
}

impl Pending {
    pub(super) fn new() -> io::Result<Self> {
        let event = Event::new(false)?;
        let record = OVERLAPPED { hEvent: raw(&event.0), ..OVERLAPPED::default() };
        let cell = OVERLAPPEDCell(std::cell::UnsafeCell::new(Overlapped(record)));
        Ok(Self { overlapped: Box::new(cell), event, is_under_way: false })
    }

    pub(super) fn record(&self) -> *mut OVERLAPPED {
        self.overlapped.0.get().cast()
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }

    /// Notes what the call that began it has said.
    pub(super) fn began(&mut self, answer: i32) -> io::Result<()> {
        let error = io::Error::last_os_error();
        let is_pending = error.raw_os_error() == Some(ERROR_IO_PENDING as i32);
        if answer == 0 && !is_pending {
            return Err(error);
        }
        self.is_under_way = true;
        Ok(())
    }

    /// How it stands; bytes if it is over.
    pub(super) fn look(&mut self, file: &OwnedHandle, wait: bool) -> io::Result<Went> {
        let mut len = 0;
        // SAFETY: the record belongs to an operation on this file.
        let answer = check(unsafe {
            GetOverlappedResult(raw(file), self.record(), &raw mut len, wait.into())
        });
        match answer {
            Err(error) if error.raw_os_error() == Some(ERROR_IO_INCOMPLETE as i32) => {
                Ok(Went::Pending)
            }
            Err(error) => {
                self.is_under_way = false;
                Err(error)
            }
            Ok(()) => {
                self.is_under_way = false;
                Ok(Went::Done(len as usize))
            }
        }
    }

    /// Has the system let go of it.
    pub(super) fn cancel(&mut self, file: &OwnedHandle) {
        if self.is_under_way {
            // SAFETY: the record is that of this operation, and it is waited for.
            unsafe { CancelIoEx(raw(file), self.record()) };
            let _ = self.look(file, true);
        }
    }
}

/// Takes connections; never blocks.
#[derive(Debug)]
pub struct LocalListener {
    name: Vec<u16>,
    /// The end that the next connection gets.
    next: OwnedHandle,
    connecting: Pending,
}

/// One connection; never blocks.
#[derive(Debug)]
pub struct LocalStream {
    pipe: OwnedHandle,
    reading: Pending,
    buffer: Box<[u8; READ_LEN]>,
    /// What was read and not taken.
    unread: std::ops::Range<usize>,
    has_ended: bool,
}

impl LocalListener {
    /// Listens at a path, in place of whatever was there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let text = new_pipe_name();
        let name = wide(&text)?;
        let next = instance(&name, FILE_FLAG_FIRST_PIPE_INSTANCE)?;
        let mut listener = Self { name, next, connecting: Pending::new()? };
        listener.begin()?;
        tell_pipe_name(path, &text)?;
        Ok(listener)
    }

    /// Lets the next client come; one may be there already.
    fn begin(&mut self) -> io::Result<()> {
        // SAFETY: the record stays in its place until the operation is over.
        let answer = unsafe { ConnectNamedPipe(raw(&self.next), self.connecting.record()) };
        match self.connecting.began(answer) {
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_CONNECTED as i32) => {
                self.connecting.event().set();
                Ok(())
            }
            went => went,
        }
    }

    /// The next connection that waits; `None` when none does.
    pub fn accept(&mut self) -> io::Result<Option<LocalStream>> {
        if !self.connecting.event().is_set() {
            return Ok(None);
        }
        // One that has gone again is found out when it is read.
        if self.connecting.is_under_way {
            let _ = self.connecting.look(&self.next, false);
        }
        let taken = std::mem::replace(&mut self.next, instance(&self.name, 0)?);
        self.connecting = Pending::new()?;
        self.begin()?;
        LocalStream::new(taken).map(Some)
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        self.connecting.cancel(&self.next);
    }
}

/// One more end of a pipe, which only who runs this, the system and administrators may open.
fn instance(name: &[u16], flags: u32) -> io::Result<OwnedHandle> {
    let only = super::sys::Owners::new()?;
    // SAFETY: the name ends with a zero, and who may is said by a descriptor that lives on.
    unsafe {
        made(CreateNamedPipeW(
            name.as_ptr(),
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | flags,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_REJECT_REMOTE_CLIENTS,
            PIPE_UNLIMITED_INSTANCES,
            PIPE_LEN,
            PIPE_LEN,
            0,
            only.attributes(),
        ))
    }
}

impl LocalStream {
    /// Connects to whoever listens at a path.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(FILE_FLAG_OVERLAPPED);
        Self::new(options.open(pipe_name_at(path)?)?.into())
    }

    fn new(pipe: OwnedHandle) -> io::Result<Self> {
        let mut stream = Self {
            pipe,
            reading: Pending::new()?,
            buffer: Box::new([0; READ_LEN]),
            unread: 0..0,
            has_ended: false,
        };
        stream.begin();
        Ok(stream)
    }

    /// Has the system fill the buffer with what comes.
    fn begin(&mut self) {
        // SAFETY: buffer and record stay in their places until the operation is over.
        let answer = unsafe {
            let buffer = self.buffer.as_mut_ptr();
            let len = READ_LEN as u32;
            ReadFile(raw(&self.pipe), buffer, len, ptr::null_mut(), self.reading.record())
        };
        if self.reading.began(answer).is_err() {
            self.has_ended = true;
            self.reading.event().set();
        }
    }

    /// What has come: `None` when there is nothing now, no bytes at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if self.unread.is_empty() && !self.has_ended {
            match self.reading.look(&self.pipe, false) {
                Ok(Went::Pending) => return Ok(None),
                Ok(Went::Done(len)) => self.unread = 0..len,
                Err(error) if is_end(&error) => self.has_ended = true,
                Err(error) => return Err(error),
            }
        }
        if self.has_ended {
            return Ok(Some(0));
        }
        let len = self.unread.len().min(buffer.len());
        buffer[..len].copy_from_slice(&self.buffer[self.unread.start..][..len]);
        self.unread.start += len;
        if self.unread.is_empty() {
            self.begin();
        }
        Ok(Some(len))
    }

    /// Sends all of it or fails: a peer that lets its buffer fill up is not listening.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            let mut writing = Pending::new()?;
            let len = left.len().min(PIPE_LEN as usize) as u32;
            // SAFETY: bytes and record stay in their places until the operation is over, which is
            // waited for here.
            let answer = unsafe {
                WriteFile(raw(&self.pipe), left.as_ptr(), len, ptr::null_mut(), writing.record())
            };
            writing.began(answer)?;
            // SAFETY: the event is open.
            let waited = unsafe { WaitForSingleObject(raw(&writing.event().0), SEND_WITHIN_MS) };
            if waited != WAIT_OBJECT_0 {
                writing.cancel(&self.pipe);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let Went::Done(sent) = writing.look(&self.pipe, true)? else { continue };
            left = &left[sent.min(left.len())..];
        }
        Ok(())
    }

    /// Nothing can be handed along here.
    pub fn send_with(&mut self, bytes: &[u8], handed: &[BorrowedHandle<'_>]) -> io::Result<()> {
        if handed.is_empty() {
            return self.send(bytes);
        }
        Err(io::Error::new(io::ErrorKind::Unsupported, "sockets cannot be handed over here"))
    }
}

impl Drop for LocalStream {
    fn drop(&mut self) {
        self.reading.cancel(&self.pipe);
    }
}

fn is_end(error: &io::Error) -> bool {
    let ends = [ERROR_BROKEN_PIPE, ERROR_NO_DATA].map(|code| Some(code as i32));
    ends.contains(&error.raw_os_error())
}

impl AsHandle for LocalListener {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.connecting.event().0.as_handle()
    }
}

impl AsHandle for LocalStream {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.reading.event().0.as_handle()
    }
}

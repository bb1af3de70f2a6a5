//! Windows: named pipes, found by a file that holds their name, and what the console says.

#![expect(unsafe_code, reason = "who may open a pipe is said by a raw descriptor")]

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use stead_proc::{
    OwnedHandle, Owners, new_pipe_name, pipe_name_at, tell_of_ends, tell_of_requests_to_end,
    tell_pipe_name,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::windows::named_pipe::{
    ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions,
};
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};
use tokio::sync::Notify;
use tokio::time::sleep;
use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_BUSY, ERROR_PIPE_NOT_CONNECTED,
};

use crate::Peer;

/// How long who listens may take to let one more client in, and how often to look.
const BUSY_WITHIN: Duration = Duration::from_secs(5);
const BUSY_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Bytes that a pipe holds each way.
const PIPE_LEN: u32 = 64 << 10;

/// Takes connections.
#[derive(Debug)]
pub struct Listener {
    name: String,
    /// The end that the next connection gets.
    next: NamedPipeServer,
}

/// One connection.
#[derive(Debug)]
pub enum Stream {
    Ours(NamedPipeServer),
    Theirs(NamedPipeClient),
}

impl Listener {
    /// Listens at a path, in place of whatever was there. Whoever runs this may connect, and the
    /// system and its administrators: the mode says nothing here.
    pub fn bind(path: &Path, _mode: u32) -> io::Result<Self> {
        let name = new_pipe_name();
        let next = instance(&name, true)?;
        tell_pipe_name(path, &name)?;
        Ok(Self { name, next })
    }

    /// The next connection.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        match self.next.connect().await {
            Ok(()) => (),
            // It has gone again, and its end cannot be used twice.
            Err(error) if is_end(&error) => (),
            Err(error) => return Err(error),
        }
        let next = instance(&self.name, false)?;
        Ok(Stream::Ours(std::mem::replace(&mut self.next, next)))
    }
}

/// One more end of a pipe.
fn instance(name: &str, is_first: bool) -> io::Result<NamedPipeServer> {
    let owners = Owners::new()?;
    let mut options = ServerOptions::new();
    options.first_pipe_instance(is_first).reject_remote_clients(true);
    options.in_buffer_size(PIPE_LEN).out_buffer_size(PIPE_LEN);
    // SAFETY: the attributes live until the pipe has been made, and are as the system wants them.
    unsafe {
        options.create_with_security_attributes_raw(name, owners.attributes().cast_mut().cast())
    }
}

impl Stream {
    /// Connects to whoever listens at a path.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        let name = pipe_name_at(path)?;
        let mut waited = Duration::ZERO;
        loop {
            match ClientOptions::new().open(&name) {
                Ok(pipe) => return Ok(Self::Theirs(pipe)),
                // It has just let somebody else in.
                Err(error) if code(&error) == Some(ERROR_PIPE_BUSY) && waited < BUSY_WITHIN => (),
                Err(error) => return Err(error),
            }
            sleep(BUSY_LOOK_EVERY).await;
            waited += BUSY_LOOK_EVERY;
        }
    }

    /// Who has connected: nobody else can.
    pub fn peer(&self) -> io::Result<Peer> {
        Ok(Peer::Owner)
    }

    /// Waits until something may have come.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Ours(pipe) => pipe.readable().await,
            Self::Theirs(pipe) => pipe.readable().await,
        }
    }

    /// Waits until something may be sent.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Ours(pipe) => pipe.writable().await,
            Self::Theirs(pipe) => pipe.writable().await,
        }
    }

    /// What has come; no bytes at the end, `WouldBlock` when there is nothing now.
    pub fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Self::Ours(pipe) => pipe.try_read(bytes),
            Self::Theirs(pipe) => pipe.try_read(bytes),
        };
        read.or_else(|error| if is_end(&error) { Ok(0) } else { Err(error) })
    }

    /// Sends as much as can be sent now; `WouldBlock` when that is nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Ours(pipe) => pipe.try_write(bytes),
            Self::Theirs(pipe) => pipe.try_write(bytes),
        }
    }

    /// What comes next; nothing can be handed over beside it here.
    pub async fn receive_with(&self, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedHandle>)> {
        loop {
            self.readable().await?;
            match self.try_read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                read => return Ok((read?, Vec::new())),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match self.get_mut() {
            Self::Ours(pipe) => Pin::new(pipe).poll_read(context, buffer),
            Self::Theirs(pipe) => Pin::new(pipe).poll_read(context, buffer),
        };
        // Nothing read is the end.
        Poll::Ready(ready!(read).or_else(|error| if is_end(&error) { Ok(()) } else { Err(error) }))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Ours(pipe) => Pin::new(pipe).poll_write(context, bytes),
            Self::Theirs(pipe) => Pin::new(pipe).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Ours(pipe) => Pin::new(pipe).poll_flush(context),
            Self::Theirs(pipe) => Pin::new(pipe).poll_flush(context),
        }
    }

    /// A pipe has no half that could be closed: it ends when it is dropped, and what was written is
    /// there to be read after that.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

fn code(error: &io::Error) -> Option<u32> {
    error.raw_os_error().map(i32::cast_unsigned)
}

fn is_end(error: &io::Error) -> bool {
    let ends = [ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED];
    code(error).is_some_and(|code| ends.contains(&code))
        || error.kind() == io::ErrorKind::BrokenPipe
}

/// Set by who wants this process to end as after an interrupt.
static INTERRUPTED: Notify = Notify::const_new();

/// Has [`Interrupts::next`] return, as if one had come: one that waits now, or the next that does.
pub fn interrupt() {
    INTERRUPTED.notify_one();
}

/// Requests to end this process, typed or sent.
#[derive(Debug)]
pub struct Interrupts {
    typed: CtrlC,
    sent: CtrlBreak,
    host_ends: CtrlShutdown,
    /// The end of the console.
    closed: Option<CtrlClose>,
}

impl Interrupts {
    /// From here on Ctrl-C, Ctrl-Break and the end of the host no longer end the process by
    /// themselves; the last one does so in the end.
    pub fn listen() -> io::Result<Self> {
        let (typed, sent) = (ctrl_c()?, ctrl_break()?);
        Ok(Self { typed, sent, host_ends: ctrl_shutdown()?, closed: None })
    }

    /// As [`Self::listen`], with the end of the console and what programs of ours ask for, which
    /// needs no console.
    pub fn listen_to_all() -> io::Result<Self> {
        tell_of_requests_to_end(interrupt)?;
        Ok(Self { closed: Some(ctrl_close()?), ..Self::listen()? })
    }

    /// Returns once one has come.
    pub async fn next(&mut self) {
        let closed = async {
            match &mut self.closed {
                Some(closed) => closed.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.typed.recv() => (),
            _ = self.sent.recv() => (),
            _ = self.host_ends.recv() => (),
            _ = closed => (),
            () = INTERRUPTED.notified() => (),
        }
    }
}

/// Set by the system when a child has ended.
static ENDED: Notify = Notify::const_new();

/// Ends of processes that this one has started.
#[derive(Debug)]
pub struct ChildrenEnd(());

impl ChildrenEnd {
    /// Must be called before those are started whose end is to be told. They are told to one.
    pub fn watch() -> io::Result<Self> {
        tell_of_ends(|| ENDED.notify_one());
        Ok(Self(()))
    }

    /// Returns once at least one has ended since the last time.
    pub async fn next(&mut self) {
        ENDED.notified().await;
    }
}

//! Linux: Unix sockets and signals.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use stead_proc::{OwnedHandle, near, receive_with, set_mode};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Peer;

/// Takes connections.
#[derive(Debug)]
pub struct Listener(UnixListener);

/// One connection.
#[derive(Debug)]
pub struct Stream(UnixStream);

impl Listener {
    /// Listens at a path, however long it is, in place of whatever was there; `mode` says who may
    /// connect.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => (),
        }
        let (_folder, near) = near(path)?;
        let listener = UnixListener::bind(near)?;
        set_mode(path, mode)?;
        Ok(Self(listener))
    }

    /// The next connection.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        let (stream, _) = self.0.accept().await?;
        Ok(Stream(stream))
    }
}

impl Stream {
    /// Connects to whoever listens at a path, however long it is.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        let (_folder, near) = near(path)?;
        Ok(Self(UnixStream::connect(near).await?))
    }

    /// Asks the kernel who has connected.
    pub fn peer(&self) -> io::Result<Peer> {
        let credentials = self.0.peer_cred()?;
        let mut groups = vec![credentials.gid()];
        groups.extend(credentials.pid().map(groups_of).unwrap_or_default());
        Ok(Peer::User { uid: credentials.uid(), groups })
    }

    /// Waits until something may have come.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// Waits until something may be sent.
    pub async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    /// What has come; no bytes at the end, `WouldBlock` when there is nothing now.
    pub fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(bytes)
    }

    /// Sends as much as can be sent now; `WouldBlock` when that is nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// What comes next, with what was handed over beside it.
    pub async fn receive_with(&self, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedHandle>)> {
        self.0.async_io(Interest::READABLE, || receive_with(&self.0, bytes)).await
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

/// The groups of a process beyond its first one; none when it is gone.
fn groups_of(pid: i32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(|gid| gid.parse().ok()).collect()
}

/// Requests to end this process, typed or sent.
#[derive(Debug)]
pub struct Interrupts(Vec<Signal>);

impl Interrupts {
    /// From here on Ctrl-C and SIGTERM no longer end the process by themselves.
    pub fn listen() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        Ok(Self(kinds.into_iter().map(signal).collect::<io::Result<_>>()?))
    }

    /// As [`Self::listen`], and the end of the terminal does not either.
    pub fn listen_to_all() -> io::Result<Self> {
        let mut all = Self::listen()?;
        all.0.push(signal(SignalKind::hangup())?);
        Ok(all)
    }

    /// Returns once one has come.
    pub async fn next(&mut self) {
        poll_fn(|context| {
            let came = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Ends of processes that this one has started.
#[derive(Debug)]
pub struct ChildrenEnd(Signal);

impl ChildrenEnd {
    /// Must be called before those are started whose end is to be told.
    pub fn watch() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::child())?))
    }

    /// Returns once at least one has ended since the last time.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

//! A socket that only this host can reach, named by a path.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

/// Takes connections; never blocks.
#[derive(Debug)]
pub struct LocalListener(UnixListener);

/// One connection; never blocks.
#[derive(Debug)]
pub struct LocalStream(UnixStream);

/// A way to a socket by way of its open folder, while that is held: the name of one has 107 bytes.
pub fn near(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let near = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((folder, near))
}

impl LocalListener {
    /// Listens at a path, however long it is, in place of whatever dead socket is there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let (_folder, near) = near(path)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => (),
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The name gets the mode of its socket: there is no moment at which others could connect.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(&near)?)?;
        listen(&socket, BACKLOG)?;
        Ok(Self(UnixListener::from(socket)))
    }

    /// The next connection that waits; `None` when none does.
    pub fn accept(&self) -> io::Result<Option<LocalStream>> {
        match self.0.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                Ok(Some(LocalStream(stream)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl LocalStream {
    /// Connects to whoever listens at a path, however long it is.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let (_folder, near) = near(path)?;
        let stream = UnixStream::connect(near)?;
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    /// What has come: `None` when there is nothing now, no bytes at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.read(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends all of it or fails: a peer that lets its buffer fill up is not listening.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// As [`Self::send`], with duplicates of these descriptors beside it.
    pub fn send_with(&mut self, bytes: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        super::sockets::send_with(&self.0, bytes, sockets)
    }
}

impl AsFd for LocalListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for LocalStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! TCP sockets that never block.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{
    set_socket_keepalive, set_socket_linger, set_socket_reuseaddr, set_tcp_nodelay,
    socket_acceptconn, socket_error,
};
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, accept_with, bind, connect,
    getsockname, listen, send, shutdown, socket_with,
};

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// Takes connections.
#[derive(Debug)]
pub struct TcpListening(OwnedFd);

/// One connection. Small writes leave at once, and a peer that is gone for hours is noticed.
#[derive(Debug)]
pub struct TcpSocket(OwnedFd);

/// How far something on a socket came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Done {
    /// So many bytes; when reading, none is the end of the stream.
    Bytes(usize),
    /// Nothing can be done at the moment.
    Later,
}

impl TcpListening {
    /// Listens at an address. `backlog` is how many connections wait in the system at most, as far
    /// as it allows.
    pub fn bind(address: SocketAddr, backlog: i32) -> io::Result<Self> {
        let socket = socket_with(family(address), SocketType::STREAM, FLAGS, None)?;
        // Without it, a port that had connections a minute ago cannot be bound.
        set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        listen(&socket, backlog)?;
        Self::of(socket)
    }

    /// Takes up a socket that somebody else made and may hold, too. `None` if it does not take TCP
    /// connections.
    pub fn adopt(socket: OwnedFd) -> io::Result<Option<Self>> {
        let is_ip = |family| matches!(family, AddressFamily::INET | AddressFamily::INET6);
        match getsockname(&socket).map(|address| is_ip(address.address_family())) {
            Ok(true) if socket_acceptconn(&socket)? => (),
            Ok(_) | Err(Errno::NOTSOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Self::of(socket).map(Some)
    }

    /// What connections have to be set to is set here once: they inherit it.
    fn of(socket: OwnedFd) -> io::Result<Self> {
        set_tcp_nodelay(&socket, true)?;
        set_socket_keepalive(&socket, true)?;
        Ok(Self(socket))
    }

    /// Changes how many connections wait in the system at most.
    pub fn set_backlog(&self, backlog: i32) -> io::Result<()> {
        Ok(listen(&self.0, backlog)?)
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(getsockname(&self.0)?)?)
    }

    /// The next connection that waits; `None` when none does.
    pub fn accept(&self) -> io::Result<Option<TcpSocket>> {
        match accept_with(&self.0, FLAGS) {
            Ok(socket) => Ok(Some(TcpSocket(socket))),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl TcpSocket {
    /// Begins a connection; [`Self::is_connected`] says how it goes.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = socket_with(family(address), SocketType::STREAM, FLAGS, None)?;
        set_tcp_nodelay(&socket, true)?;
        set_socket_keepalive(&socket, true)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Self(socket)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a connection that was begun to this address is there; an error if it failed. Near
    /// peers are often connected before one can wait for them.
    pub fn is_connected(&self, address: SocketAddr) -> io::Result<bool> {
        match connect(&self.0, &address) {
            Ok(()) | Err(Errno::ISCONN) => Ok(true),
            Err(Errno::ALREADY | Errno::INPROGRESS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Done> {
        done(|| rustix::io::read(&self.0, &mut *buffer))
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<Done> {
        done(|| send(&self.0, bytes, SendFlags::NOSIGNAL))
    }

    /// Tells the peer that nothing more comes; what is on the way arrives.
    pub fn end_writing(&self) -> io::Result<()> {
        Ok(shutdown(&self.0, Shutdown::Write)?)
    }

    /// Whether the connection is broken; said once.
    pub fn is_broken(&self) -> bool {
        !matches!(socket_error(&self.0), Ok(Ok(())))
    }

    /// Closes it so that the peer sees it as broken off; what is on the way may be lost.
    pub fn reset(self) {
        // Where it is refused, an orderly end is all there is.
        let _ = set_socket_linger(&self.0, Some(Duration::ZERO));
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

pub(super) fn done(act: impl FnMut() -> Result<usize, Errno>) -> io::Result<Done> {
    match retry_on_intr(act) {
        Ok(len) => Ok(Done::Bytes(len)),
        Err(Errno::AGAIN) => Ok(Done::Later),
        Err(error) => Err(error.into()),
    }
}

impl AsFd for TcpListening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

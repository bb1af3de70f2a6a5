//! Sockets that outlive the process that opened them: handed to children and to other processes.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, bind, listen, recvmsg, sendmsg,
    socket_with, sockopt,
};

use super::procfs;

/// Connections that wait to be taken, as far as the system lets them (`somaxconn`).
const BACKLOG: i32 = 4096;

/// The most sockets that are handed over at once; the kernel takes 253.
pub const SOCKETS_MAX: usize = 32;

/// The variable that names the descriptors that a program was handed: `NAME=FD,NAME=FD`.
const SOCKETS_VARIABLE: &str = "STEAD_SOCKETS";

/// The longest datagram of `sd_notify` that is read.
const NOTIFY_LEN_MAX: usize = 4096;

/// A socket with its name.
pub type NamedSocket = (String, OwnedFd);

/// Opens a TCP socket that listens.
pub fn open_listener(address: IpAddr, port: u16) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // What an earlier owner left in TIME_WAIT keeps nobody from its port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::new(address, port))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Where what a service says by `sd_notify` arrives.
#[derive(Debug)]
pub struct NotifySocket(OwnedFd);

impl NotifySocket {
    /// The address in `NOTIFY_SOCKET` for the owner of this folder: an abstract name, which needs
    /// no way through folders that the service may not pass.
    pub fn address(owner: &Path) -> io::Result<String> {
        let meta = fs::metadata(owner)?;
        Ok(format!("@stead/{:x}-{:x}/notify", meta.dev(), meta.ino()))
    }

    /// Makes it; fails while another one of that name is there.
    pub fn open(owner: &Path) -> io::Result<Self> {
        let name = Self::address(owner)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        let address = rustix::net::SocketAddrUnix::new_abstract_name(&name.as_bytes()[1..])?;
        bind(&socket, &address)?;
        Self::from_socket(socket)
    }

    /// One that another process made.
    pub fn from_socket(socket: OwnedFd) -> io::Result<Self> {
        sockopt::set_socket_passcred(&socket, true)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(socket))
    }

    /// The next message with the pid of its sender; `None` when there is none now.
    pub fn receive(&self) -> io::Result<Option<(u32, String)>> {
        let mut space = [MaybeUninit::uninit(); 256];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; NOTIFY_LEN_MAX];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = match recvmsg(&self.0, &mut slices, &mut ancillary, flags) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut pid = 0;
        // Descriptors that somebody sends along are closed by being dropped here.
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmCredentials(from) = message {
                pid = u32::try_from(from.pid.as_raw_nonzero().get()).unwrap_or(0);
            }
        }
        let text = String::from_utf8_lossy(&bytes[..received.bytes]).into_owned();
        Ok(Some((pid, text)))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The session of a process; `None` when it is gone.
pub fn session(pid: u32) -> Option<u32> {
    procfs::stat(pid).ok().map(|stat| stat.session)
}

/// The variable that tells a program which descriptors it was handed, and its value.
pub(crate) fn handed(sockets: &[(&str, BorrowedFd<'_>)]) -> (&'static str, String) {
    let pairs = sockets.iter().map(|(name, socket)| format!("{name}={}", socket.as_raw_fd()));
    (SOCKETS_VARIABLE, pairs.collect::<Vec<_>>().join(","))
}

/// The sockets that this process was handed by the one that started it, once.
pub fn carried_sockets() -> Vec<NamedSocket> {
    let text = std::env::var(SOCKETS_VARIABLE).unwrap_or_default();
    let own = |pair: &str| {
        let (name, fd) = pair.split_once('=')?;
        let fd: i32 = fd.parse().ok().filter(|fd| *fd >= 3)?;
        #[expect(unsafe_code, reason = "a descriptor that came through exec has no owner yet")]
        // SAFETY: whoever started us left it open for us, and nothing has taken it before; a
        // number that is not open gives an error at the next line.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        match rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC) {
            Ok(()) => Some((name.to_owned(), socket)),
            Err(_) => {
                // It is not open, so it must not be closed either.
                std::mem::forget(socket);
                None
            }
        }
    };
    text.split(',').filter_map(own).take(SOCKETS_MAX).collect()
}

/// Sends a line with descriptors beside it.
pub(crate) fn send_with(
    stream: impl AsFd,
    line: &[u8],
    sockets: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets"));
    }
    let sent = sendmsg(&stream, &[IoSlice::new(line)], &mut ancillary, SendFlags::empty())?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Reads what has come, with the descriptors beside it. Blocks as the stream does.
pub fn receive_with(stream: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(bytes)];
    let received = recvmsg(stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    Ok((received.bytes, sockets))
}

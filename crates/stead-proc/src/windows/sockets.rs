//! Sockets that outlive runs. None can be handed to a program here.

use std::io;
use std::net::IpAddr;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::path::Path;

/// The most sockets that a run may be handed.
pub const SOCKETS_MAX: usize = 32;

/// A socket with its name.
pub type NamedSocket = (String, OwnedHandle);

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("{what} on Windows"))
}

/// Programs here know no sockets that they are handed.
pub fn open_listener(_address: IpAddr, _port: u16) -> io::Result<OwnedHandle> {
    Err(unsupported("sockets cannot be handed to a program"))
}

/// Where what a service says by `sd_notify` would arrive.
#[derive(Debug)]
pub struct NotifySocket(OwnedHandle);

impl NotifySocket {
    pub fn address(_owner: &Path) -> io::Result<String> {
        Err(unsupported("`notify` needs Unix sockets; there are none"))
    }

    pub fn open(owner: &Path) -> io::Result<Self> {
        Self::address(owner).and_then(|_| Err(io::ErrorKind::Unsupported.into()))
    }

    pub fn from_socket(socket: OwnedHandle) -> io::Result<Self> {
        Ok(Self(socket))
    }

    pub fn receive(&self) -> io::Result<Option<(u32, String)>> {
        Ok(None)
    }
}

impl AsHandle for NotifySocket {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

/// Processes have no sessions here.
pub fn session(_pid: u32) -> Option<u32> {
    None
}

/// Sockets do not come through the start of a program.
pub fn carried_sockets() -> Vec<NamedSocket> {
    Vec::new()
}

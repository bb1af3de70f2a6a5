//! `sd_notify` as a service speaks it.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says this to whoever listens at `NOTIFY_SOCKET`; nothing when nobody does.
pub(crate) fn notify(message: &str) -> io::Result<()> {
    let Ok(address) = env::var("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&address)?,
    };
    socket.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

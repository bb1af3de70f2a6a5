//! How a service on Linux is spoken to, and speaks.

use std::env;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::flag;

/// Has the flag set once TERM asks for the end.
pub(crate) fn note_end(is_asked: &Arc<AtomicBool>) -> io::Result<()> {
    flag::register(SIGTERM, Arc::clone(is_asked)).map(drop)
}

/// Has the flag set once HUP asks to read again what was read.
pub(crate) fn note_read_again(is_told: &Arc<AtomicBool>) -> io::Result<()> {
    flag::register(SIGHUP, Arc::clone(is_told)).map(drop)
}

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

/// A line for a shell.
pub(crate) fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// What the accounts of this machine call whoever this runs as.
pub(crate) fn user() -> io::Result<String> {
    // SAFETY: it only tells a number.
    #[expect(unsafe_code, reason = "the standard library does not tell it")]
    let uid = unsafe { libc::geteuid() }.to_string();
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let mut names = accounts.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    names.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Both streams without a buffer. Opening `/dev/stdout` again is what shells and many services do.
pub(crate) fn streams() -> io::Result<[File; 2]> {
    let open = |path| OpenOptions::new().write(true).open(path);
    Ok([open("/dev/stdout")?, open("/dev/stderr")?])
}

/// The first socket that this process was handed.
pub(crate) fn handed_listener() -> io::Result<TcpListener> {
    let own = std::process::id().to_string();
    let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == own);
    if !is_ours || env::var("LISTEN_FDS").is_err() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no socket was handed over"));
    }
    #[expect(unsafe_code, reason = "a descriptor that came through exec has no owner yet")]
    // SAFETY: LISTEN_FDS says that descriptor 3 is a socket for this process, and nothing has
    // taken it.
    let socket = unsafe { OwnedFd::from_raw_fd(3) };
    Ok(TcpListener::from(socket))
}

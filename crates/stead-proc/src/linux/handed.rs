//! What a service is handed by whoever keeps it: its listening sockets, and somewhere to say how it
//! goes. Both follow the protocols of systemd, `sd_listen_fds(3)` and `sd_notify(3)`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};

const FIRST: i32 = 3;

/// More handed sockets than this are a mistake.
const HANDED_MAX: i32 = 64;

/// The descriptors that were handed to this process, in their order; none if they are for another
/// one. They are given once: a second call has none.
pub fn handed_descriptors() -> io::Result<Vec<OwnedFd>> {
    static GIVEN: AtomicBool = AtomicBool::new(false);
    if GIVEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let number = |name| env::var(name).ok().map(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID").is_some_and(|pid| pid != Some(std::process::id())) {
        return Ok(Vec::new());
    }
    let count = match env::var("LISTEN_FDS") {
        Err(_) => return Ok(Vec::new()),
        Ok(text) => text.parse().ok().filter(|count| (0..=HANDED_MAX).contains(count)),
    };
    let Some(count) = count else {
        return Err(io::Error::other("`LISTEN_FDS` is not a number of descriptors"));
    };
    (FIRST..FIRST + count).map(adopt).collect()
}

#[expect(unsafe_code, reason = "a number is taken for a descriptor of ours")]
fn adopt(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is only borrowed to see whether it is open, and closed by nobody
    // meanwhile, since nothing else knows of it.
    let there = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) });
    there.map_err(|error| io::Error::other(format!("descriptor {number} is missing: {error}")))?;
    // SAFETY: it is open, whoever started us meant it for us, and it is taken once.
    let held = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::CLOEXEC)?;
    Ok(held)
}

/// Says something, like `READY=1`, to whoever keeps this process, if they want to know.
pub fn notify(text: &str) -> io::Result<()> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = notify_address(&name)?;
    let socket = UnixDatagram::unbound()?;
    // A keeper whose queue is full must not hold us up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

fn notify_address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other("`NOTIFY_SOCKET` begins with neither `/` nor `@`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notify_socket_is_a_path_or_an_abstract_name() {
        let address = |name: &str| notify_address(OsStr::new(name));
        assert_eq!(address("@a").unwrap().as_abstract_name(), Some(&b"a"[..]));
        assert_eq!(address("/a").unwrap().as_pathname(), Some("/a".as_ref()));
        assert!(address("a").is_err());
        assert!(address("").is_err());
    }
}

//! How a service on Windows is spoken to, and speaks.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::windows::io::AsHandle;

/// What the C library makes of Ctrl-Break.
pub(crate) const END: i32 = 21;

/// Nothing asks a service here to read again; this one never comes.
pub(crate) const READ_AGAIN: i32 = signal_hook::consts::SIGILL;

/// Nobody listens.
pub(crate) fn notify(_message: &str) -> io::Result<()> {
    Ok(())
}

/// Both streams without a buffer.
pub(crate) fn streams() -> io::Result<[File; 2]> {
    let [out, err] = [
        io::stdout().as_handle().try_clone_to_owned()?,
        io::stderr().as_handle().try_clone_to_owned()?,
    ];
    Ok([File::from(out), File::from(err)])
}

/// Nothing is handed over.
pub(crate) fn handed_listener() -> io::Result<TcpListener> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no socket is handed over on Windows"))
}

/// What is tried is a matter of Linux.
pub(crate) mod hostile {
    use std::io;

    pub(crate) fn try_all(_tries: &[&str]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

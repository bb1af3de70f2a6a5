//! Local sockets, interrupts and ends of children, as tokio waits for them: the one crate that
//! knows both tokio and the system.
//!
//! Each system's module gives the same names, as in `stead_proc`, which must not know tokio. A
//! socket is found by its path; what listens by `stead_proc` is connected to by this crate, and the
//! other way round.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod imp;
#[cfg(windows)]
#[path = "windows.rs"]
mod imp;

pub use imp::{ChildrenEnd, Interrupts, Listener, Stream};

/// How a service manager ends a process that it has told itself.
#[cfg(windows)]
pub use imp::interrupt;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peer {
    /// The system lets nobody connect but the owner of the socket and who administers the host.
    Owner,
    /// A user of this host, with all groups that its process has.
    User { uid: u32, groups: Vec<u32> },
}

#[cfg(test)]
mod tests;

//! Things that the system has open for a process.

use std::os::fd::AsFd;

pub use std::os::fd::{BorrowedFd as Handle, OwnedFd as OwnedHandle};

/// What holds something open.
pub trait AsHandle {
    fn as_handle(&self) -> Handle<'_>;
}

impl<T: AsFd> AsHandle for T {
    fn as_handle(&self) -> Handle<'_> {
        self.as_fd()
    }
}

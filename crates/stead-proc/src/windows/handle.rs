//! Things that the system has open for a process.

pub use std::os::windows::io::{AsHandle, BorrowedHandle as Handle, OwnedHandle};

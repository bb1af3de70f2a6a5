//! What differs from one system to the other.

#[cfg(target_os = "linux")]
pub(crate) mod hostile;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub(crate) use linux::{END, READ_AGAIN, handed_listener, notify, streams};
#[cfg(windows)]
pub(crate) use windows::{END, READ_AGAIN, handed_listener, hostile, notify, streams};

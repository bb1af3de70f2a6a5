//! What differs from one system to the other.

#[cfg(target_os = "linux")]
pub(crate) mod hostile;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub(crate) use linux::{handed_listener, note_end, note_read_again, notify, shell, streams, user};
#[cfg(windows)]
pub(crate) use windows::{
    handed_listener, hostile, note_end, note_read_again, notify, shell, streams, user,
};

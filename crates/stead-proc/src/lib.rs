//! Processes, their trees and their streams, behind one set of names.
//!
//! Each system's module gives the same functions and types; where one cannot keep a promise, the
//! doc of the item says so, and callers never ask which system they are on. Nothing in here knows
//! what a service or an instance is.

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod imp;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod imp;
#[cfg(target_os = "linux")]
mod linux_only;

pub use imp::files::{
    MODE_OF, TAKES_ANY_NAME, create_closed_file, create_file, make_closed_folder, make_link,
    make_open_folder, open_closed_file, read_link, set_file_mode, set_mode_durably, sync_folder,
};
pub use imp::folder::set_mode;
pub use imp::mapped::MappedFile;
#[cfg(target_os = "linux")]
pub use linux_only::*;

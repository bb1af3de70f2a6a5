//! Modes of folders.

use std::io;
use std::path::Path;

/// Sets the mode bits of a file or folder, if the disk keeps some: it does not.
pub fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

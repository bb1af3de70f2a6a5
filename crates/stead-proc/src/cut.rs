//! Files that are too long.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

/// Cuts a file to this length, whoever has it open for appending: Windows cuts none by a handle of
/// that kind.
pub fn cut_file(path: &Path, len: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(len)
}

//! What could not be given to another account.

use std::io;
use std::path::PathBuf;

/// What could not be given away.
#[derive(Debug, thiserror::Error)]
#[error("`{}` could not be given to user {uid}: {error}", path.display())]
pub struct HandOverError {
    pub path: PathBuf,
    pub uid: u32,
    pub error: io::Error,
}

//! What who started this process wants to hear.

use std::io;

/// Nobody listens to states here: who started this sees it in what it answers.
pub fn notify(_state: &str) -> io::Result<()> {
    Ok(())
}
